//! Machine: one HTTP/1.1 connection with many exchanges, one after the other (RFC 9112 section 9.3).

use super::body::{Body, Part};
use super::head::HeadBuffer;
use crate::base::{Instant, LinkError, LinkInput, LinkOutput};
use crate::wire::http::{DecodeError, Request, ResponseHead};
use bytes::{Bytes, BytesMut};
use core::ops::Range;
use core::time::Duration;
use std::collections::VecDeque;

/// One connection: takes a request while it is [idle](Self::is_idle), and gives the response as a
/// [`Head`](Output::Head), any number of [`Body`](Output::Body) parts and an [`End`](Output::End).
///
/// ```text
///           request()              blank line              last byte, reusable
///   Idle ---------------> Head ------------------> Body ----------------------> Idle
///    |                     |  ^ 1xx: skipped         |
///    | keep-alive over     |                         | last byte, not reusable
///    v                     v                         v
///   Closed <--- violation, timeout, the link is gone, close()
/// ```
///
/// It is made when its link is open, and reads no more than it was [granted](Self::grant) credit for.
///
/// ```
/// use bytes::BytesMut;
/// use gosh_dl_core::base::{Instant, LinkInput};
/// use gosh_dl_core::proto::http::{Connection, ConnectionConfig, Output};
/// use gosh_dl_core::wire::http::{HttpUrl, Request};
/// use std::time::Duration;
///
/// let config = ConnectionConfig { read_timeout: Duration::from_secs(30), keep_alive: Duration::from_secs(60) };
/// let now = Instant::ZERO;
/// let mut connection = Connection::new(now, config);
/// connection.grant(now, 65_536);
/// connection.request(now, &Request::get(&HttpUrl::parse("http://example.com/").unwrap()));
/// let response = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
/// connection.handle_input(now, LinkInput::Data(response));
///
/// let outputs: Vec<Output> = std::iter::from_fn(|| connection.poll_output()).collect();
/// assert!(matches!(&outputs[..], [Output::Link(_), Output::Link(_), Output::Head(_), Output::Body(_), Output::End]));
/// assert!(connection.is_idle());
/// ```
#[derive(Clone, Debug)]
pub struct Connection {
    config: ConnectionConfig,
    phase: Phase,
    /// Bytes granted but not yet received.
    credit: u64,
    /// Bytes of requests that the kernel has not taken yet.
    unsent: u64,
    /// The last sign of life while a response is owed; since when it is idle otherwise.
    since: Instant,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Free for a request.
    Idle,
    /// A response is owed.
    Head { head: HeadBuffer, interim: u8 },
    /// A response is under way.
    Body { body: Body, reusable: bool },
    /// Inert.
    Closed,
}

/// How long a connection waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// For the next bytes of a response that is owed.
    pub read_timeout: Duration,
    /// For the next request.
    pub keep_alive: Duration,
}

impl Connection {
    /// A connection over a link that is open (and secured, where it is to be); idle, with the keep-alive time running.
    pub fn new(now: Instant, config: ConnectionConfig) -> Self {
        Self { config, phase: Phase::Idle, credit: 0, unsent: 0, since: now, outputs: VecDeque::new() }
    }

    /// What happened on the link.
    pub fn handle_input(&mut self, now: Instant, input: LinkInput) {
        if self.is_closed() {
            return;
        }
        match input {
            LinkInput::Opened | LinkInput::Secured => {}
            LinkInput::Sent(bytes) => self.on_sent(now, bytes),
            LinkInput::Closed(error) => self.on_link_closed(error),
            LinkInput::Data(data) => {
                if let Err(error) = self.on_data(now, data) {
                    self.hang_up(CloseReason::Violation(error));
                }
            }
        }
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) gave.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        let idle = self.is_idle();
        self.hang_up(if idle { CloseReason::Idle } else { CloseReason::TimedOut });
    }

    /// Sends a request. Only while the connection [is idle](Self::is_idle); ignored otherwise.
    pub fn request(&mut self, now: Instant, request: &Request) {
        debug_assert!(self.is_idle(), "a request on a connection that is not idle");
        if !self.is_idle() {
            return;
        }
        let head = request.encode();
        self.unsent += head.len() as u64;
        self.since = now;
        self.phase = Phase::Head { head: HeadBuffer::default(), interim: 0 };
        self.outputs.push_back(Output::Link(LinkOutput::Send(head)));
    }

    /// Lets the link read this many bytes more.
    pub fn grant(&mut self, now: Instant, bytes: u32) {
        if self.is_closed() || bytes == 0 {
            return;
        }
        // Until now it was we who did not read, so the server's time starts here.
        if self.credit == 0 && !self.is_idle() {
            self.since = now;
        }
        self.credit += u64::from(bytes);
        self.outputs.push_back(Output::Link(LinkOutput::Credit(bytes)));
    }

    /// Closes the connection, whatever it is doing.
    pub fn close(&mut self, _now: Instant) {
        if !self.is_closed() {
            self.hang_up(CloseReason::Local);
        }
    }

    /// The next output; nothing else happens in here.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called. While a response is owed but there is neither
    /// credit to read it nor anything left to send, the server cannot be late.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle => Some(self.since + self.config.keep_alive),
            Phase::Head { .. } | Phase::Body { .. } => {
                (self.credit > 0 || self.unsent > 0).then(|| self.since + self.config.read_timeout)
            }
            Phase::Closed => None,
        }
    }

    /// Whether it is open and free for a request.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Whether it is closed; [`Output::Closed`] is or was the last output.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Bytes granted but not yet received. Stays as it is when the connection closes, so that the rest can be given
    /// to another.
    pub fn credit(&self) -> u64 {
        self.credit
    }

    /// Which of `data`, were it to arrive next, belongs to bodies: in order, without touching. Everything else decides
    /// something.
    pub fn payload(&self, data: &[u8]) -> Vec<Range<usize>> {
        if self.is_closed() {
            return vec![0..data.len()];
        }
        let mut scout = Self { outputs: VecDeque::new(), ..self.clone() };
        let mut payload: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        while at < data.len() {
            let left = &data[at..];
            let body = scout.body_ahead().min(left.len());
            // Heads and the lines between chunks end with a line feed, so a body begins behind one.
            let line = left.iter().position(|byte| *byte == b'\n').map_or(left.len(), |end| end + 1);
            let len = if body > 0 { body } else { line };
            if body > 0 {
                payload.push(at..at + len);
            }
            if scout.is_closed() || scout.on_data(self.since, BytesMut::from(&left[..len])).is_err() {
                break;
            }
            scout.outputs.clear();
            at += len;
        }
        payload
    }

    /// How many bytes from here on are nothing but a body.
    fn body_ahead(&self) -> usize {
        match &self.phase {
            Phase::Body { body, .. } => usize::try_from(body.ahead()).unwrap_or(usize::MAX),
            Phase::Idle | Phase::Head { .. } | Phase::Closed => 0,
        }
    }

    fn on_sent(&mut self, now: Instant, bytes: u32) {
        self.unsent = self.unsent.saturating_sub(u64::from(bytes));
        if !self.is_idle() {
            self.since = now;
        }
    }

    fn on_data(&mut self, now: Instant, mut data: BytesMut) -> Result<(), DecodeError> {
        self.credit = self.credit.saturating_sub(data.len() as u64);
        if !data.is_empty() && !self.is_idle() {
            self.since = now;
        }
        // Each turn takes at least one byte, or ends a response or the connection.
        while !data.is_empty() {
            match &mut self.phase {
                Phase::Idle => return Err(DecodeError::Unsolicited),
                Phase::Head { head, interim } => {
                    let interim = *interim;
                    if let Some(head) = head.take(&mut data)? {
                        self.on_head(head, interim)?;
                    }
                }
                Phase::Body { .. } => {}
                Phase::Closed => return Ok(()),
            }
            self.take_body(now, &mut data)?;
        }
        Ok(())
    }

    fn on_head(&mut self, head: ResponseHead, interim: u8) -> Result<(), DecodeError> {
        if head.status == 101 {
            return Err(DecodeError::SwitchedProtocols);
        }
        if head.is_informational() {
            if interim == MAX_INTERIM {
                return Err(DecodeError::TooManyInterim);
            }
            self.phase = Phase::Head { head: HeadBuffer::default(), interim: interim + 1 };
            return Ok(());
        }
        let (body, reusable) = Body::of(&head)?;
        self.phase = Phase::Body { body, reusable };
        self.outputs.push_back(Output::Head(Box::new(head)));
        Ok(())
    }

    /// Passes on what `data` holds of the body that is under way, if one is.
    fn take_body(&mut self, now: Instant, data: &mut BytesMut) -> Result<(), DecodeError> {
        while let Phase::Body { body, reusable } = &mut self.phase {
            match body.take(data)? {
                Part::Data(part) => self.outputs.push_back(Output::Body(part)),
                Part::End => {
                    let reusable = *reusable;
                    self.on_end(now, reusable);
                }
                Part::More => return Ok(()),
            }
        }
        Ok(())
    }

    fn on_end(&mut self, now: Instant, reusable: bool) {
        self.outputs.push_back(Output::End);
        if reusable {
            self.phase = Phase::Idle;
            self.since = now;
        } else {
            self.hang_up(CloseReason::Finished);
        }
    }

    fn on_link_closed(&mut self, error: LinkError) {
        let ends_body = matches!(self.phase, Phase::Body { body: Body::UntilClose, .. });
        let reason = if ends_body && error == LinkError::Eof {
            self.outputs.push_back(Output::End);
            CloseReason::Finished
        } else {
            CloseReason::Link(error)
        };
        self.phase = Phase::Closed;
        self.outputs.push_back(Output::Closed(reason));
    }

    /// Closes from this side.
    fn hang_up(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed;
        self.outputs.push_back(Output::Link(LinkOutput::Close));
        self.outputs.push_back(Output::Closed(reason));
    }
}

/// What a connection wants done, or has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// For the link.
    Link(LinkOutput),
    /// The final response to the request has begun.
    Head(Box<ResponseHead>),
    /// The next bytes of the body, never empty; a slice of what was read, not a copy.
    Body(Bytes),
    /// The response is complete.
    End,
    /// The connection is closed. Always the last output; a response without [`End`](Self::End) is cut off.
    Closed(CloseReason),
}

/// Why a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CloseReason {
    /// The link is gone.
    #[error("{0}")]
    Link(LinkError),
    /// The server broke the protocol.
    #[error("{0}")]
    Violation(DecodeError),
    /// The server did not answer, or stopped in the middle.
    #[error("the server stopped responding")]
    TimedOut,
    /// After a complete response that leaves the connection without further use.
    #[error("closed after the response")]
    Finished,
    /// There was no further request in time.
    #[error("closed after being idle")]
    Idle,
    /// This side wanted it closed.
    #[error("closed by this side")]
    Local,
}

/// Interim responses to one request. Servers send one or two; an endless row would hold the connection for ever.
const MAX_INTERIM: u8 = 16;
