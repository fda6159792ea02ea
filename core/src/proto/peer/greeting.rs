//! Machine: the first 68 bytes of a link that somebody else opened, before it is known which torrent they are about.

use super::{CloseReason, Violation};
use crate::base::{Instant, LinkInput, LinkOutput};
use crate::wire::peer::Handshake;
use bytes::BytesMut;
use core::time::Duration;
use std::collections::VecDeque;

/// Reads the handshake of an incoming link, so that its torrent can be found by the info-hash. Says nothing itself:
/// [`Peer::accepted`](super::Peer::accepted) answers, or the engine closes the link.
#[derive(Debug)]
pub struct Greeting {
    /// `None` once it is over.
    reader: Option<HandshakeReader>,
    deadline: Instant,
    credit: u64,
    outputs: VecDeque<GreetingOutput>,
}

impl Greeting {
    /// A link that is open, for `timeout` at most.
    pub fn new(now: Instant, timeout: Duration) -> Self {
        Self {
            reader: Some(HandshakeReader::default()),
            deadline: now + timeout,
            credit: 0,
            outputs: VecDeque::new(),
        }
    }

    /// What happened on the link.
    pub fn handle_input(&mut self, _now: Instant, input: LinkInput) {
        match input {
            LinkInput::Opened | LinkInput::Secured | LinkInput::Sent(_) => {}
            LinkInput::Data(data) => self.on_data(data),
            LinkInput::Closed(error) => {
                if self.reader.take().is_some() {
                    self.outputs.push_back(GreetingOutput::Closed(CloseReason::Link(error)));
                }
            }
        }
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) gave.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.hang_up(CloseReason::HandshakeTimeout);
        }
    }

    /// Lets the link read this many bytes more.
    pub fn grant(&mut self, _now: Instant, bytes: u32) {
        if self.reader.is_some() && bytes > 0 {
            self.credit += u64::from(bytes);
            self.outputs.push_back(GreetingOutput::Link(LinkOutput::Credit(bytes)));
        }
    }

    /// The next output; nothing else happens in here.
    pub fn poll_output(&mut self) -> Option<GreetingOutput> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.reader.is_some().then_some(self.deadline)
    }

    /// Bytes granted but not yet received.
    pub fn credit(&self) -> u64 {
        self.credit
    }

    fn on_data(&mut self, data: BytesMut) {
        let Some(reader) = &mut self.reader else { return };
        self.credit = self.credit.saturating_sub(data.len() as u64);
        match reader.take(data) {
            Ok(None) => {}
            Ok(Some((handshake, rest))) => {
                self.reader = None;
                let arrival = Arrival { handshake, rest, credit: self.credit };
                self.outputs.push_back(GreetingOutput::Done(arrival));
            }
            Err(violation) => self.hang_up(CloseReason::Violation(violation)),
        }
    }

    /// Closes from this side.
    fn hang_up(&mut self, reason: CloseReason) {
        if self.reader.take().is_some() {
            self.outputs.push_back(GreetingOutput::Link(LinkOutput::Close));
            self.outputs.push_back(GreetingOutput::Closed(reason));
        }
    }
}

/// Collects the bytes of a handshake.
#[derive(Debug, Default)]
pub(super) struct HandshakeReader(BytesMut);

impl HandshakeReader {
    /// How many bytes of the handshake have not come.
    pub(super) fn missing(&self) -> usize {
        Handshake::LEN.saturating_sub(self.0.len())
    }

    /// Takes what came: the handshake and what is behind it, once it is there. What cannot become one is refused at
    /// its first wrong byte.
    pub(super) fn take(&mut self, data: BytesMut) -> Result<Option<(Handshake, BytesMut)>, Violation> {
        self.0.unsplit(data);
        if !Handshake::may_begin(&self.0) {
            return Err(Violation::NotBitTorrent);
        }
        if self.0.len() < Handshake::LEN {
            return Ok(None);
        }
        let mut rest = core::mem::take(&mut self.0);
        let head = rest.split_to(Handshake::LEN);
        let handshake = head.first_chunk().and_then(Handshake::decode).ok_or(Violation::NotBitTorrent)?;
        Ok(Some((handshake, rest)))
    }
}

/// What a greeting wants done, or has found.
#[derive(Debug, PartialEq, Eq)]
pub enum GreetingOutput {
    /// For the link.
    Link(LinkOutput),
    /// The handshake is there. The last output: the link is for [`Peer::accepted`](super::Peer::accepted) now.
    Done(Arrival),
    /// It is over. The last output.
    Closed(CloseReason),
}

/// What has come over an incoming link.
#[derive(Debug, PartialEq, Eq)]
pub struct Arrival {
    /// What the other side said.
    pub handshake: Handshake,
    /// What came behind it.
    pub rest: BytesMut,
    /// Bytes granted but not yet received.
    pub credit: u64,
}
