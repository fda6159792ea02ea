//! Machine: a peer that speaks the wire protocol by a script, well or badly.

use crate::actor::Actor;
use crate::content::Content;
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use gosh_dl_core::base::{InfoHash, Instant, LinkInput, LinkOutput, PeerId};
use gosh_dl_core::engine::{Input, LinkKey, ListenerKey, Output};
use gosh_dl_core::wire::peer::{Features, Handshake, Message, MessageDecoder, Span};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// How a scripted peer behaves once somebody connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Unchokes at once and answers every request.
    Honest,
    /// Honest, but sends a `have` for each piece in place of a bit field.
    Haves,
    /// Claims every piece and never unchokes.
    FreeRider,
    /// Unchokes, takes requests and never answers one.
    Snubber,
    /// Answers every request, with a wrong first byte in every block.
    Corrupt,
    /// Answers so many requests, then chokes for good.
    ChokesAfter(u32),
    /// Says these bytes after an honest beginning, and is honest else.
    Violator(Bytes),
    /// Says these bytes instead of a handshake, and then nothing.
    Garbage(Bytes),
    /// Answers with a handshake for another torrent.
    OtherTorrent,
}

/// A peer with the whole payload of a torrent of one file. It listens, never dials, and offers no extension.
///
/// Its counts say what the other side did, so that a test can hold an engine to them.
#[derive(Debug)]
pub struct ScriptedPeer {
    listen: SocketAddr,
    info_hash: InfoHash,
    content: Content,
    piece_len: u32,
    /// How it behaves; a test may change that.
    pub conduct: Conduct,
    talks: BTreeMap<LinkKey, Talk>,
    outputs: VecDeque<Output>,
    begun: bool,
    /// How many connections came.
    pub connections: u32,
    /// How many requests came.
    pub requests: u32,
    /// How many blocks were sent.
    pub blocks: u32,
    /// How many requests came while the other side had to know that it was choked: before any unchoke, or later than
    /// [`GRACE`](Self::GRACE) after a choke.
    pub requests_while_choked: u32,
}

#[derive(Debug, Default)]
struct Talk {
    /// As much of a handshake as came.
    beginning: BytesMut,
    shaken: bool,
    decoder: MessageDecoder,
    choking: Choking,
}

#[derive(Clone, Copy, Debug, Default)]
enum Choking {
    #[default]
    FromTheStart,
    No,
    Since(Instant),
}

impl ScriptedPeer {
    /// How long requests may still be under way after a choke: more than the slowest simulated round trip.
    pub const GRACE: Duration = Duration::from_secs(5);

    /// A peer that listens at `listen`; pieces are `piece_len` bytes long.
    pub fn new(
        listen: SocketAddr,
        info_hash: InfoHash,
        content: Content,
        piece_len: u32,
        conduct: Conduct,
    ) -> Self {
        Self {
            listen,
            info_hash,
            content,
            piece_len,
            conduct,
            talks: BTreeMap::new(),
            outputs: VecDeque::new(),
            begun: false,
            connections: 0,
            requests: 0,
            blocks: 0,
            requests_while_choked: 0,
        }
    }

    fn send(&mut self, link: LinkKey, bytes: Bytes) {
        self.outputs.push_back(Output::Link { link, output: LinkOutput::Send(bytes) });
    }

    fn say(&mut self, link: LinkKey, message: &Message) {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        self.send(link, out.freeze());
    }

    fn take(&mut self, now: Instant, link: LinkKey, mut bytes: Bytes) {
        let Some(mut talk) = self.talks.remove(&link) else { return };
        if !talk.shaken {
            let missing = bytes.len().min(Handshake::LEN - talk.beginning.len());
            talk.beginning.extend_from_slice(&bytes.split_to(missing));
            if talk.beginning.len() == Handshake::LEN {
                talk.shaken = true;
                talk.choking = self.begin(link);
            }
        }
        while talk.shaken && !matches!(self.conduct, Conduct::Garbage(_)) {
            let Ok(Some(message)) = talk.decoder.decode(&mut bytes) else { break };
            if let Message::Request(span) = message {
                self.answer(now, link, &mut talk.choking, span);
            }
        }
        self.talks.insert(link, talk);
    }

    /// The handshake, the bit field and what the script wants to say with them.
    fn begin(&mut self, link: LinkKey) -> Choking {
        if let Conduct::Garbage(bytes) = self.conduct.clone() {
            self.send(link, bytes);
            return Choking::FromTheStart;
        }
        let mut info_hash = self.info_hash;
        if self.conduct == Conduct::OtherTorrent {
            info_hash.0[0] ^= 1;
        }
        let mut peer_id = PeerId(*b"-SC0001-000000000000");
        peer_id.0[8..12].copy_from_slice(&match self.listen.ip() {
            std::net::IpAddr::V4(ip) => ip.octets(),
            std::net::IpAddr::V6(ip) => [ip.octets()[15]; 4],
        });
        let handshake = Handshake { features: Features::default(), info_hash, peer_id };
        self.send(link, Bytes::copy_from_slice(&handshake.encode()));
        if self.conduct == Conduct::Haves {
            (0..self.pieces()).for_each(|piece| self.say(link, &Message::Have(piece)));
        } else {
            self.say(link, &Message::Bitfield(self.bit_field()));
        }
        if self.conduct == Conduct::FreeRider {
            return Choking::FromTheStart;
        }
        self.say(link, &Message::Unchoke);
        if let Conduct::Violator(bytes) = self.conduct.clone() {
            self.send(link, bytes);
        }
        Choking::No
    }

    fn pieces(&self) -> u32 {
        u32::try_from(self.content.len().div_ceil(u64::from(self.piece_len))).unwrap_or(u32::MAX)
    }

    fn bit_field(&self) -> Bytes {
        let pieces = self.pieces() as usize;
        let mut bits = vec![0; pieces.div_ceil(8)];
        (0..pieces).for_each(|piece| bits[piece / 8] |= 0x80 >> (piece % 8));
        bits.into()
    }

    fn answer(&mut self, now: Instant, link: LinkKey, choking: &mut Choking, span: Span) {
        self.requests += 1;
        match *choking {
            Choking::No => {}
            Choking::FromTheStart => self.requests_while_choked += 1,
            Choking::Since(at) if now > at + Self::GRACE => self.requests_while_choked += 1,
            Choking::Since(_) => {}
        }
        if !matches!(choking, Choking::No) || self.conduct == Conduct::Snubber {
            return;
        }
        let from = u64::from(span.index) * u64::from(self.piece_len) + u64::from(span.begin);
        let to = from + u64::from(span.len);
        if span.len == 0 || to > self.content.len() {
            return;
        }
        let mut data = self.content.slice(from..to).to_vec();
        if self.conduct == Conduct::Corrupt {
            data[0] ^= 1;
        }
        let data = Bytes::from(data).into();
        self.say(link, &Message::Piece { index: span.index, begin: span.begin, data });
        self.blocks += 1;
        if matches!(self.conduct, Conduct::ChokesAfter(most) if self.blocks >= most) {
            self.say(link, &Message::Choke);
            *choking = Choking::Since(now);
        }
    }
}

impl Actor for ScriptedPeer {
    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Accepted { arrival, .. } => {
                let link = LinkKey::from_u64(arrival.0);
                self.connections += 1;
                self.talks.insert(link, Talk::default());
                self.outputs.push_back(Output::Adopt { arrival, link });
                self.outputs.push_back(Output::Link { link, output: LinkOutput::Credit(CREDIT) });
            }
            Input::Link { link, input: LinkInput::Data(bytes) } => {
                let came = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                self.take(now, link, bytes.freeze());
                self.outputs.push_back(Output::Link { link, output: LinkOutput::Credit(came) });
            }
            Input::Link { link, input: LinkInput::Closed(_) } => {
                self.talks.remove(&link);
            }
            _ => {}
        }
    }

    fn handle_timeout(&mut self, _: Instant) {
        if !self.begun {
            self.begun = true;
            self.outputs.push_back(Output::Listen { listener: ListenerKey(1), on: self.listen });
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// How many bytes the other side may send ahead: requests are small.
const CREDIT: u32 = 64 << 10;
