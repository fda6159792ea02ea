//! Machine: one peer of one torrent, from the handshake to the end.

use super::extended::Extended;
use super::greeting::HandshakeReader;
use super::outbox::Outbox;
use super::pieces::Pieces;
use super::requests::Requests;
use super::wanted::Wanted;
use super::{Arrival, CloseReason, Output, PeerConfig, Violation};
use crate::base::{Bitfield, Instant, LinkError, LinkInput, LinkOutput, PieceGrid, PieceIndex};
use crate::wire::peer::{Features, Handshake, Message, MessageDecoder};
use bytes::{Bytes, BytesMut};
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

/// One peer of one torrent. It keeps the rules of the conversation on both sides; what to ask for, whom to choke and
/// what to answer is the torrent's to decide.
///
/// Small messages of one turn leave together: commands put them aside, and [`flush`](Self::flush) sends them, which
/// is due at once ([`poll_timeout`](Self::poll_timeout)). A torrent calls it when it has settled.
///
/// ```
/// use bytes::BytesMut;
/// use gosh_dl_core::base::{Bitfield, InfoHash, Instant, LinkInput, PeerId, PieceGrid};
/// use gosh_dl_core::proto::peer::{Output, Peer, PeerConfig};
/// use gosh_dl_core::wire::peer::{Features, Handshake};
/// use std::sync::Arc;
///
/// let now = Instant::ZERO;
/// let (info_hash, them) = (InfoHash([1; 20]), PeerId([3; 20]));
/// let config = Arc::new(PeerConfig::new(info_hash, PeerId([2; 20])));
/// let grid = PieceGrid::new(32 << 10, 100 << 10).unwrap();
///
/// let mut peer = Peer::connecting(now, config, Some(grid), "192.0.2.1:6881".parse().unwrap());
/// peer.grant(now, 65_536);
/// peer.handle_input(now, LinkInput::Opened);
/// let theirs = Handshake { features: Features::default(), info_hash, peer_id: them };
/// peer.handle_input(now, LinkInput::Data(BytesMut::from(&theirs.encode()[..])));
///
/// let outputs: Vec<Output> = std::iter::from_fn(|| peer.poll_output()).collect();
/// assert_eq!(outputs[2], Output::Greeted { peer_id: them });
/// peer.announce_have(&Bitfield::new(grid.pieces()));
/// assert!(peer.is_open() && peer.has().is_some_and(|pieces| pieces.count() == 0));
/// ```
#[derive(Debug)]
pub struct Peer {
    pub(super) config: Arc<PeerConfig>,
    pub(super) grid: Option<PieceGrid>,
    pub(super) remote: SocketAddr,
    pub(super) phase: Phase,
    pub(super) features: Features,
    pub(super) us: Side,
    pub(super) them: Side,
    pub(super) decoder: MessageDecoder,
    pub(super) pieces: Pieces,
    pub(super) requests: Requests,
    pub(super) wanted: Wanted,
    /// The pieces that we give while we choke.
    pub(super) given: Vec<PieceIndex>,
    /// The pieces that the peer gives while it chokes.
    pub(super) allowed: Vec<PieceIndex>,
    /// What the peer said by the extension protocol.
    pub(super) extended: Option<Box<Extended>>,
    pub(super) outbox: Outbox,
    /// Bytes granted but not yet received.
    credit: u64,
    /// When the peer was heard last, or the conversation began.
    heard_at: Instant,
    pub(super) blocks: BlockCounts,
    pub(super) outputs: VecDeque<Output>,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// The link is not open yet.
    Dialling,
    /// The peer's handshake is awaited.
    Greeting(Box<HandshakeReader>),
    /// The handshakes are exchanged; what we have is not said yet, so nothing else may be.
    Greeted,
    /// Everything may be said.
    Open,
    /// Inert.
    Closed,
}

/// What one side thinks of the other (BEP 3).
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) choking: bool,
    pub(super) interested: bool,
}

/// Bytes of blocks, and the last of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BlockCounts {
    pub(super) received: u64,
    pub(super) wasted: u64,
    pub(super) sent: u64,
    /// When the last one came that was asked for, and when that was.
    pub(super) last: Option<(Instant, Instant)>,
}

impl Peer {
    /// A peer that is being dialled; its link will say [`Opened`](LinkInput::Opened). Without a grid while the
    /// metadata is missing.
    pub fn connecting(
        now: Instant,
        config: Arc<PeerConfig>,
        grid: Option<PieceGrid>,
        remote: SocketAddr,
    ) -> Self {
        let begin = Side { choking: true, interested: false };
        Self {
            config,
            grid,
            remote,
            phase: Phase::Dialling,
            features: Features::default(),
            us: begin,
            them: begin,
            decoder: MessageDecoder::default(),
            pieces: Pieces::new(grid),
            requests: Requests::new(now),
            wanted: Wanted::new(now),
            given: Vec::new(),
            allowed: Vec::new(),
            extended: None,
            outbox: Outbox::new(now),
            credit: 0,
            heard_at: now,
            blocks: BlockCounts::default(),
            outputs: VecDeque::new(),
        }
    }

    /// A peer that connected to us; its link is open, and `arrival` is what came over it.
    pub fn accepted(
        now: Instant,
        config: Arc<PeerConfig>,
        grid: Option<PieceGrid>,
        remote: SocketAddr,
        arrival: Arrival,
    ) -> Self {
        let mut peer = Self::connecting(now, config, grid, remote);
        peer.credit = arrival.credit;
        peer.greet(now);
        let begun = peer.on_handshake(arrival.handshake);
        let begun = begun.and_then(|()| Ok(peer.on_messages(now, arrival.rest.freeze())?));
        if let Err(reason) = begun {
            peer.hang_up(reason);
        }
        peer
    }

    /// What happened on the link.
    pub fn handle_input(&mut self, now: Instant, input: LinkInput) {
        if self.is_closed() {
            return;
        }
        match input {
            LinkInput::Opened if matches!(self.phase, Phase::Dialling) => self.greet(now),
            LinkInput::Opened | LinkInput::Secured => {}
            LinkInput::Sent(bytes) => self.outbox.on_taken(now, bytes),
            LinkInput::Closed(error) => self.on_link_closed(error),
            LinkInput::Data(data) => {
                if let Err(reason) = self.on_data(now, data) {
                    self.hang_up(reason);
                }
            }
        }
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) gave.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.flush(now);
        if self.silence_ends_at().is_some_and(|at| at <= now) {
            let greeted = matches!(self.phase, Phase::Greeted | Phase::Open);
            self.hang_up(if greeted { CloseReason::IdleTimeout } else { CloseReason::HandshakeTimeout });
        } else if self.keep_alive_at().is_some_and(|at| at <= now) {
            self.outbox.push(&Message::KeepAlive);
            self.flush(now);
            self.trim();
        }
    }

    /// Sends the small messages that commands and answers left, in one piece.
    pub fn flush(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        if let Some(bytes) = self.outbox.flush(now) {
            self.outputs.push_back(Output::Link(LinkOutput::Send(bytes)));
        }
    }

    /// Lets the link read this many bytes more.
    pub fn grant(&mut self, now: Instant, bytes: u32) {
        if self.is_closed() || bytes == 0 {
            return;
        }
        // Until now it was we who did not read, so the peer's time starts here.
        if self.credit == 0 && matches!(self.phase, Phase::Greeted | Phase::Open) {
            self.heard_at = now;
        }
        self.credit += u64::from(bytes);
        self.outputs.push_back(Output::Link(LinkOutput::Credit(bytes)));
    }

    /// Says which pieces we have, once and as the first command after [`Output::Greeted`]; what we can do beyond
    /// BEP 3 follows it. Without metadata the field has no bits.
    pub fn announce_have(&mut self, have: &Bitfield) {
        if !matches!(self.phase, Phase::Greeted) {
            return;
        }
        self.phase = Phase::Open;
        // BEP 6: it must stand immediately after the handshake, before answers to what came meanwhile.
        let answers = self.outbox.take_back();
        match (self.features.fast, have.count()) {
            (true, 0) => self.outbox.push(&Message::HaveNone),
            (true, _) if have.is_full() => self.outbox.push(&Message::HaveAll),
            (false, 0) => {}
            _ => self.outbox.push(&Message::Bitfield(Bytes::copy_from_slice(have.as_bytes()))),
        }
        self.introduce(false);
        self.outbox.push_bytes(&answers);
    }

    /// The metadata has arrived: what the peer said of pieces before is understood now.
    pub fn set_pieces(&mut self, _now: Instant, grid: PieceGrid) {
        if self.is_closed() || self.grid.is_some() {
            return;
        }
        self.grid = Some(grid);
        let settled = self.pieces.settle(grid).and_then(|(begun, allowed)| {
            if begun {
                self.outputs.extend(self.pieces.known().cloned().map(Output::HasPieces));
            }
            allowed.into_iter().try_for_each(|index| self.on_allowed_fast(index))
        });
        if let Err(violation) = settled {
            self.hang_up(violation.into());
        }
    }

    /// Ends the conversation. What was sent before still leaves.
    pub fn close(&mut self, now: Instant) {
        if !self.is_closed() {
            self.flush(now);
            self.hang_up(CloseReason::Local);
        }
    }

    /// The next output; nothing else happens in here.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() && self.outputs.capacity() > KEPT_OUTPUTS {
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; [`Instant::ZERO`] is at once.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.phase, Phase::Open) && !self.outbox.is_empty() {
            return Some(Instant::ZERO);
        }
        [self.silence_ends_at(), self.keep_alive_at()].into_iter().flatten().min()
    }

    /// Bytes granted but not yet received. Stays as it is when the conversation ends.
    pub fn credit(&self) -> u64 {
        self.credit
    }

    /// Whether it is over; [`Output::Closed`] is or was the last output.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// When the peer has been silent for too long. While there is neither credit to read it nor anything that it has
    /// to take, it cannot be late.
    fn silence_ends_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Dialling | Phase::Greeting(_) => Some(self.heard_at + self.config.handshake_timeout),
            Phase::Greeted | Phase::Open => {
                let heard = (self.credit > 0).then_some(self.heard_at);
                let taken = (self.outbox.unsent() > 0).then_some(self.outbox.taken_at);
                [heard, taken].into_iter().flatten().min().map(|at| at + self.config.idle_timeout)
            }
            Phase::Closed => None,
        }
    }

    fn keep_alive_at(&self) -> Option<Instant> {
        let open = matches!(self.phase, Phase::Open);
        open.then(|| self.outbox.sent_at + self.config.keep_alive.max(MIN_KEEP_ALIVE))
    }

    /// Sends our handshake and awaits the peer's.
    fn greet(&mut self, now: Instant) {
        let ours = Handshake {
            features: Self::offered(&self.config),
            info_hash: self.config.info_hash,
            peer_id: self.config.peer_id,
        };
        self.outbox.on_given(now, Handshake::LEN as u64);
        let bytes = Bytes::copy_from_slice(&ours.encode());
        self.outputs.push_back(Output::Link(LinkOutput::Send(bytes)));
        self.phase = Phase::Greeting(Box::default());
    }

    fn offered(config: &PeerConfig) -> Features {
        Features { extended: true, fast: true, dht: config.dht }
    }

    fn on_data(&mut self, now: Instant, data: BytesMut) -> Result<(), CloseReason> {
        self.credit = self.credit.saturating_sub(data.len() as u64);
        let data = match &mut self.phase {
            Phase::Dialling | Phase::Closed => return Ok(()),
            Phase::Greeting(reader) => match reader.take(data)? {
                Some((handshake, rest)) => {
                    self.on_handshake(handshake)?;
                    rest
                }
                None => return Ok(()),
            },
            Phase::Greeted | Phase::Open => data,
        };
        self.heard_at = now;
        Ok(self.on_messages(now, data.freeze())?)
    }

    fn on_handshake(&mut self, handshake: Handshake) -> Result<(), CloseReason> {
        if handshake.info_hash != self.config.info_hash {
            return Err(Violation::WrongInfoHash.into());
        }
        if handshake.peer_id == self.config.peer_id {
            return Err(CloseReason::Myself);
        }
        self.features = handshake.features.common(Self::offered(&self.config));
        self.phase = Phase::Greeted;
        self.outputs.push_back(Output::Greeted { peer_id: handshake.peer_id });
        Ok(())
    }

    fn on_messages(&mut self, now: Instant, mut input: Bytes) -> Result<(), Violation> {
        while let Some(message) = self.decoder.decode(&mut input)? {
            self.on_message(now, message)?;
        }
        Ok(())
    }

    fn on_link_closed(&mut self, error: LinkError) {
        self.end(CloseReason::Link(error));
    }

    /// Closes from this side.
    pub(super) fn hang_up(&mut self, reason: CloseReason) {
        self.outputs.push_back(Output::Link(LinkOutput::Close));
        self.end(reason);
    }

    fn end(&mut self, reason: CloseReason) {
        let now = self.heard_at;
        self.phase = Phase::Closed;
        self.decoder = MessageDecoder::default();
        self.requests = Requests::new(now);
        self.wanted = Wanted::new(now);
        self.outbox = Outbox::new(now);
        self.outputs.push_back(Output::Closed(reason));
    }

    /// Gives memory back that a quiet peer does not need.
    fn trim(&mut self) {
        self.outbox.trim();
        self.requests.trim();
        self.wanted.trim();
        self.outputs.shrink_to_fit();
    }
}

impl From<Violation> for CloseReason {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// A queue of outputs that was longer is given back when it is empty: a flood of small messages shall not cost memory
/// for good.
const KEPT_OUTPUTS: usize = 64;

/// Whatever the settings say, a keep-alive is not due again at once.
const MIN_KEEP_ALIVE: Duration = Duration::from_secs(1);
