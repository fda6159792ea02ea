//! Fuzzing: what peers say: messages, extensions, and a whole conversation beside a judge that shares no code with it.

use super::machines::each;
use crate::base::{
    Bitfield, Block, InfoHash, Instant, LinkError, LinkInput, LinkOutput, PeerId, PieceGrid, PieceIndex,
};
use crate::proto::peer::judge::Judge;
use crate::proto::peer::{CloseReason, Greeting, GreetingOutput, Output, Peer, PeerConfig, Violation};
use crate::wire::peer::{
    ExtensionHandshake, Features, Handshake, Message, MessageDecoder, MessageError, MetadataMessage, Pex,
    Span,
};
use arbitrary::Arbitrary;
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use std::sync::Arc;

/// Cutting changes nothing; a message is read as it is written; what is payload decides nothing but blocks.
pub fn peer_messages(data: &[u8]) {
    if let Some(bytes) = data.first_chunk()
        && let Some(handshake) = Handshake::decode(bytes)
    {
        assert_eq!(Handshake::decode(&handshake.encode()), Some(handshake));
        assert!((0..bytes.len()).all(|len| Handshake::may_begin(&bytes[..len])));
    }
    let whole = messages(data, usize::MAX, false);
    for step in [1, 3, 64] {
        assert_eq!(messages(data, step, false), whole, "cut every {step} bytes");
    }
    let again: Vec<u8> = whole.0.iter().flat_map(encoded).collect();
    assert_eq!(messages(&again, usize::MAX, false), (whole.0.clone(), None), "written and read");
    let zeroed = whole.0.into_iter().map(|message| match message {
        Message::Piece { index, begin, data } => {
            Message::Piece { index, begin, data: Bytes::from(vec![0; data.len()]).into() }
        }
        other => other,
    });
    assert_eq!(messages(data, 7, true), (zeroed.collect(), whole.1), "payload decides nothing");
}

/// What a stream says that comes in parts of `step` bytes, perhaps without its payload, and how it ends.
fn messages(data: &[u8], step: usize, without_payload: bool) -> (Vec<Message>, Option<MessageError>) {
    let (mut decoder, mut said) = (MessageDecoder::default(), Vec::new());
    for part in data.chunks(step) {
        let mut part = part.to_vec();
        for span in decoder.payload(&part).into_iter().filter(|_| without_payload) {
            part[span].fill(0);
        }
        let mut part = Bytes::from(part);
        loop {
            match decoder.decode(&mut part) {
                Ok(Some(message)) => said.push(message),
                Ok(None) => break,
                Err(error) => return (said, Some(error)),
            }
        }
        assert!(part.is_empty(), "what was not read is kept by the decoder");
    }
    (said, None)
}

pub(super) fn encoded(message: &Message) -> BytesMut {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out
}

/// What extensions say is bounded, and read as it is written.
pub fn peer_extensions(data: &[u8]) {
    if let Ok(said) = ExtensionHandshake::decode(data) {
        assert_eq!(ExtensionHandshake::decode(&said.encode()), Ok(said));
    }
    if let Ok(pex) = Pex::decode(data) {
        // Of IPv4 and IPv6 each.
        assert!(pex.added.len().max(pex.dropped.len()) <= 2 * Pex::MAX_ENTRIES);
        // IPv4 addresses that came as IPv6 leave as IPv4, before the others.
        let sorted = |mut pex: Pex| {
            pex.added.sort_by_key(|(address, _)| *address);
            pex.dropped.sort();
            (pex.added, pex.dropped)
        };
        if pex.added.len().max(pex.dropped.len()) <= Pex::MAX_ENTRIES {
            assert_eq!(Pex::decode(&pex.encode()).map(sorted), Ok(sorted(pex)));
        }
    }
    if let Ok(Some(message)) = MetadataMessage::decode(&Bytes::copy_from_slice(data)) {
        let mut again = message.encode_head();
        if let MetadataMessage::Data { data, .. } = &message {
            again.extend_from_slice(data);
        }
        assert_eq!(MetadataMessage::decode(&again.into()), Ok(Some(message)));
    }
}

/// What happens on a link on which a handshake comes.
#[derive(Arbitrary, Debug)]
enum Arriving {
    Bytes(u8),
    Grant(u16),
    Later(u16),
    Due,
    Closed,
}

/// Whoever connects is known by his first 68 bytes however they are cut, refused at the first wrong one, and waited for no
/// longer than was set; what came behind and what may still come is handed on, and nothing follows the end.
pub fn greeting(data: &[u8]) {
    let Some((&len, rest)) = data.split_first() else { return };
    let (said, steps) = rest.split_at(usize::from(len).min(rest.len()));
    let (start, timeout) = (Instant::from_nanos(1), Duration::from_secs(20));
    let mut greeting = Greeting::new(start, timeout);
    let (mut now, mut came, mut credit, mut over) = (start, 0, 0u64, false);
    each(steps, |step: Arriving| {
        match step {
            Arriving::Bytes(count) => {
                let bytes = &said[came..said.len().min(came + usize::from(count))];
                came += bytes.len();
                greeting.handle_input(now, LinkInput::Data(BytesMut::from(bytes)));
                credit = credit.saturating_sub(if over { 0 } else { bytes.len() as u64 });
            }
            Arriving::Grant(bytes) => {
                greeting.grant(now, bytes.into());
                credit += if over { 0 } else { u64::from(bytes) };
            }
            Arriving::Later(millis) => now += Duration::from_millis(millis.into()),
            Arriving::Due => {
                now = greeting.poll_timeout().map_or(now, |at| at.max(now));
                greeting.handle_timeout(now);
                assert!(greeting.poll_timeout().is_none_or(|at| at > now), "no progress (I2)");
            }
            Arriving::Closed => greeting.handle_input(now, LinkInput::Closed(LinkError::Reset)),
        }
        let came = &said[..came];
        while let Some(output) = greeting.poll_output() {
            assert!(!over, "{output:?} after the end (I4)");
            over = !matches!(output, GreetingOutput::Link(_));
            check_greeting(output, came, credit, now - start >= timeout);
        }
        assert_eq!(greeting.credit(), credit);
        assert!(over || came.len() < Handshake::LEN && Handshake::may_begin(came), "it waits for nothing");
    });
}

fn check_greeting(output: GreetingOutput, came: &[u8], credit: u64, late: bool) {
    match output {
        GreetingOutput::Link(LinkOutput::Credit(bytes)) => assert!(bytes > 0),
        GreetingOutput::Link(output) => assert_eq!(output, LinkOutput::Close),
        GreetingOutput::Done(arrival) => {
            let right = came.first_chunk().and_then(Handshake::decode);
            assert_eq!(Some(arrival.handshake), right);
            assert_eq!((&arrival.rest[..], arrival.credit), (&came[Handshake::LEN..], credit));
        }
        GreetingOutput::Closed(CloseReason::HandshakeTimeout) => assert!(late, "there was time left"),
        GreetingOutput::Closed(CloseReason::Violation(violation)) => {
            assert_eq!((violation, Handshake::may_begin(came)), (Violation::NotBitTorrent, false));
        }
        GreetingOutput::Closed(reason) => assert_eq!(reason, CloseReason::Link(LinkError::Reset)),
    }
}

/// What happens in a conversation: what the other side says, what the link does, and what is wanted of this side.
#[derive(Arbitrary, Debug)]
enum Talk {
    Hear(Said),
    HearAgain(u8),
    Grant(u16),
    Sent(u16),
    Later(u16),
    Due,
    LinkClosed,
    Close,
    Interested(bool),
    Choke(bool),
    Ask(u8),
    Cancel(u8),
    Give(u8),
    Refuse(u8),
    Have(u8),
    AllowFast(u8),
    Suggest(u8),
    Metadata(u8),
    Pieces,
}

/// What another side says, in true form and in any order.
#[derive(Arbitrary, Debug)]
pub(super) enum Said {
    Choke,
    Unchoke,
    Interested,
    NotInterested,
    Have(u8),
    Bitfield([u8; 2]),
    Request(u8, u16),
    Block(u8),
    Cancel(u8),
    Port(u16),
    Suggest(u8),
    HaveAll,
    HaveNone,
    Reject(u8),
    AllowedFast(u8),
    Introduce([u8; 4], Option<u16>),
    Extended(u8, Vec<u8>),
    Unknown(u8),
}

/// Whatever the other side says and this side wants: this side keeps the rules of its BEPs, nothing is answered that was
/// not asked, nothing follows the end.
pub fn peer_talk(data: &[u8]) {
    let [kind, rest @ ..] = data else { return };
    let bit = |at: u8| kind >> at & 1 == 1;
    let features = Features { extended: bit(0), fast: bit(1), dht: bit(2) };
    let mut talk = Conversation::new(features, bit(3).then(grid));
    each(rest, |step: Talk| talk.step(step));
}

struct Conversation {
    peer: Peer,
    judge: Judge,
    now: Instant,
    over: bool,
    credit: u64,
    last: BytesMut,
    /// Blocks that were asked for and neither came nor were lost.
    asked: Vec<Block>,
    /// What this side has; of no length before the metadata is there.
    own: Bitfield,
}

impl Conversation {
    fn new(features: Features, known: Option<PieceGrid>) -> Self {
        let now = Instant::from_nanos(1);
        let hash = InfoHash([7; 20]);
        let config =
            PeerConfig { dht: true, metadata_size: Some(30_000), ..PeerConfig::new(hash, PeerId([1; 20])) };
        let peer = Peer::connecting(now, Arc::new(config), known, ([192, 0, 2, 9], 6881).into());
        let own = Bitfield::new(known.map_or(0, |grid| grid.pieces()));
        let mut talk = Self {
            peer,
            judge: Judge::new(known),
            now,
            over: false,
            credit: 0,
            last: BytesMut::new(),
            asked: Vec::new(),
            own,
        };
        talk.peer.grant(now, 1 << 20);
        talk.peer.handle_input(now, LinkInput::Opened);
        talk.settle();
        let theirs = Handshake { features, info_hash: hash, peer_id: PeerId([2; 20]) };
        talk.hear(BytesMut::from(&theirs.encode()[..]));
        talk.peer.announce_have(&talk.own);
        talk.settle();
        talk
    }

    fn step(&mut self, step: Talk) {
        let now = self.now;
        match step {
            Talk::Hear(said) => self.hear(encoded(&said.message())),
            Talk::HearAgain(times) => {
                for _ in 0..times % 8 {
                    self.hear(self.last.clone());
                }
            }
            Talk::Grant(bytes) => self.peer.grant(now, bytes.into()),
            Talk::Sent(bytes) => self.peer.handle_input(now, LinkInput::Sent(bytes.into())),
            Talk::Later(millis) => self.now += Duration::from_millis(millis.into()),
            Talk::Due => self.due(),
            Talk::LinkClosed => self.peer.handle_input(now, LinkInput::Closed(LinkError::Reset)),
            Talk::Close => self.peer.close(now),
            Talk::Interested(interested) => self.peer.interested(interested),
            Talk::Choke(true) => self.peer.choke(),
            Talk::Choke(false) => self.peer.unchoke(),
            Talk::Ask(number) => self.ask(block(number)),
            Talk::Cancel(at) => self.cancel(at.into()),
            Talk::Give(at) => {
                let wanted = self.peer.wanted().nth(at.into());
                wanted.into_iter().for_each(|block| self.give(block));
            }
            Talk::Refuse(at) => {
                // BEP 3 has no way to say no.
                let wanted = self.peer.wanted().nth(at.into()).filter(|_| self.peer.features().fast);
                wanted.into_iter().for_each(|block| self.peer.reject(block));
            }
            Talk::Have(index) => self.have(piece(index)),
            // Who knows no pieces names none.
            Talk::AllowFast(_) | Talk::Suggest(_) if self.own.is_empty() => {}
            Talk::AllowFast(index) => self.peer.allow_fast(&[piece(index)]),
            Talk::Suggest(index) => self.peer.suggest(piece(index)),
            Talk::Metadata(part) => _ = self.peer.request_metadata(u32::from(part) % 3),
            Talk::Pieces => {
                self.settle();
                self.peer.set_pieces(now, grid());
                self.judge.set_pieces(grid());
                if self.own.is_empty() {
                    self.own = Bitfield::new(grid().pieces());
                }
            }
        }
        self.settle();
    }

    fn due(&mut self) {
        let at = self.peer.poll_timeout().map_or(self.now, |at| at.max(self.now));
        self.now = at;
        self.peer.handle_timeout(self.now);
        assert!(self.peer.poll_timeout().is_none_or(|at| at > self.now), "no progress (I2)");
    }

    fn hear(&mut self, bytes: BytesMut) {
        self.settle();
        if self.over {
            return;
        }
        self.judge.hears(&bytes);
        self.last = bytes.clone();
        let payload: usize = self.peer.payload(&bytes).iter().map(|span| span.len()).sum();
        assert!(payload <= bytes.len());
        self.peer.handle_input(self.now, LinkInput::Data(bytes));
        self.settle();
    }

    fn ask(&mut self, block: Block) {
        if self.peer.request(self.now, block) {
            assert!(!self.over);
            self.asked.push(block);
        }
    }

    fn cancel(&mut self, at: usize) {
        if let Some(block) = self.asked.get(at).copied() {
            self.peer.cancel(block);
            self.asked.remove(at);
        }
    }

    fn give(&mut self, block: Block) {
        let data = Bytes::from(vec![1; block.len as usize]);
        assert!(self.peer.send_block(self.now, block, data.into()) || self.over);
    }

    fn has(&self, block: Block) -> bool {
        !self.own.is_empty() && self.own.has(block.piece)
    }

    fn have(&mut self, piece: PieceIndex) {
        if !self.own.is_empty() && self.own.insert(piece) {
            self.peer.have(piece);
        }
    }

    /// Sends what waits, and looks at what came out.
    fn settle(&mut self) {
        self.peer.flush(self.now);
        while let Some(output) = self.peer.poll_output() {
            assert!(!self.over, "{output:?} after the end (I4)");
            match output {
                Output::Link(LinkOutput::Send(bytes)) => self.judge.sends(&bytes),
                Output::Link(LinkOutput::Credit(bytes)) => self.credit += u64::from(bytes),
                Output::Block(block, data) => {
                    assert_eq!(data.len(), block.len as usize);
                    self.answered(block);
                }
                Output::Requested(block) if !self.has(block) => self.peer.reject(block),
                Output::Rejected(block) => self.answered(block),
                Output::Choked { lost } => lost.into_iter().for_each(|block| self.answered(block)),
                Output::Closed(_) => self.over = true,
                _ => {}
            }
        }
        assert_eq!(self.over, self.peer.is_closed());
        assert!(self.over || self.peer.in_flight_count() == self.asked.len());
        assert!(self.peer.wanted().count() <= MAX_WANTED);
    }

    fn answered(&mut self, block: Block) {
        let at = self.asked.iter().position(|asked| *asked == block).expect("it was asked for");
        self.asked.remove(at);
    }
}

impl Said {
    pub(super) fn message(self) -> Message {
        match self {
            Self::Choke => Message::Choke,
            Self::Unchoke => Message::Unchoke,
            Self::Interested => Message::Interested,
            Self::NotInterested => Message::NotInterested,
            Self::Have(index) => Message::Have(u32::from(index) % 11),
            Self::Bitfield(bits) => Message::Bitfield(Bytes::copy_from_slice(&bits)),
            Self::Request(number, 0..0x8000) => Message::Request(span(block(number))),
            Self::Request(number, len) => Message::Request(Span { len: len.into(), ..span(block(number)) }),
            Self::Block(number) => {
                let Span { index, begin, len } = span(block(number));
                Message::Piece { index, begin, data: Bytes::from(vec![2; len as usize]).into() }
            }
            Self::Cancel(number) => Message::Cancel(span(block(number))),
            Self::Port(port) => Message::Port(port),
            Self::Suggest(index) => Message::Suggest(u32::from(index) % 11),
            Self::HaveAll => Message::HaveAll,
            Self::HaveNone => Message::HaveNone,
            Self::Reject(number) => Message::Reject(span(block(number))),
            Self::AllowedFast(index) => Message::AllowedFast(u32::from(index) % 11),
            Self::Introduce(ids, request_queue) => {
                let ids = ids.map(|id| (id < 128).then_some(id % 5));
                let said = ExtensionHandshake {
                    ids,
                    request_queue: request_queue.map(u32::from),
                    metadata_size: Some(30_000),
                    ..ExtensionHandshake::default()
                };
                Message::Extended { id: 0, payload: said.encode().into() }
            }
            Self::Extended(id, payload) => Message::Extended { id: id.max(1), payload: payload.into() },
            Self::Unknown(id) => Message::Unknown(id.max(21)),
        }
    }
}

/// Ten pieces of 32 KiB, the last of which is shorter.
fn grid() -> PieceGrid {
    PieceGrid::new(32 << 10, 10 * (32 << 10) - 20_000).expect("it is one")
}

fn piece(index: u8) -> PieceIndex {
    grid().piece(u32::from(index) % 10).expect("there are ten")
}

/// Any block but the last ones.
fn block(number: u8) -> Block {
    grid().block(piece(number % 9), u32::from(number / 9) % 2).expect("each of the first nine has two")
}

fn span(block: Block) -> Span {
    Span { index: block.piece.get(), begin: block.begin, len: block.len }
}

/// What `PeerConfig` says by itself.
const MAX_WANTED: usize = 500;
