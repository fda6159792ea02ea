//! Tests of a conversation with a peer: each rule of both sides, times and bounds.

use super::judge::Judge;
use super::*;
use crate::base::disk::FileKey;
use crate::base::{
    Bitfield, Block, BlockData, InfoHash, Instant, LinkError, LinkInput, LinkOutput, PeerId, PieceGrid,
    PieceIndex,
};
use crate::wire::peer::{
    Extension, ExtensionHandshake, Features, Handshake, Message, MessageDecoder, MetadataMessage, Pex,
    PexFlags, Span,
};
use bytes::{Bytes, BytesMut};
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

mod bounds;
mod extensions;
mod rules;
mod talk;
mod times;

pub(super) const HASH: InfoHash = InfoHash([7; 20]);
const US: PeerId = PeerId([1; 20]);
const THEM: PeerId = PeerId([2; 20]);
const ALL: Features = Features { extended: true, fast: true, dht: true };
const FAST: Features = Features { extended: false, fast: true, dht: false };
const PLAIN: Features = Features { extended: false, fast: false, dht: false };

/// Ten pieces of 32 KiB, the last of which is shorter.
fn grid() -> PieceGrid {
    PieceGrid::new(32 << 10, 10 * (32 << 10) - 20_000).unwrap()
}

fn piece(index: u32) -> PieceIndex {
    grid().piece(index).unwrap()
}

fn block(index: u32, number: u32) -> Block {
    grid().block(piece(index), number).unwrap()
}

fn span(block: Block) -> Span {
    Span { index: block.piece.get(), begin: block.begin, len: block.len }
}

fn remote() -> SocketAddr {
    "192.0.2.9:6881".parse().unwrap()
}

fn config() -> PeerConfig {
    PeerConfig { dht: true, listen_port: Some(6881), ..PeerConfig::new(HASH, US) }
}

fn encoded(messages: &[Message]) -> BytesMut {
    let mut out = BytesMut::new();
    messages.iter().for_each(|message| message.encode(&mut out));
    out
}

/// A message with the bytes of a block, all alike.
fn bytes_of(block: Block) -> Message {
    let data = Bytes::from(vec![9; block.len as usize]).into();
    Message::Piece { index: block.piece.get(), begin: block.begin, data }
}

/// A peer whose other end is in the test's hands.
struct Lab {
    peer: Peer,
    now: Instant,
    judge: Judge,
    greeted: bool,
    decoder: MessageDecoder,
    /// What it sent and nobody has looked at.
    said: Vec<Message>,
    /// What came out and nobody has looked at, without what is for the link.
    events: Vec<Output>,
    links: Vec<LinkOutput>,
}

impl Lab {
    /// An open conversation with a peer of these features that has all pieces, while we have none.
    fn open(features: Features) -> Self {
        let mut lab = Self::greeted(features, config(), Some(grid()));
        lab.announce(&Bitfield::new(grid().pieces()));
        if features.fast {
            lab.hear(&[Message::HaveAll]);
        } else {
            lab.hear(&[Message::Bitfield(Bitfield::full(grid().pieces()).as_bytes().to_vec().into())]);
        }
        lab.forget();
        lab
    }

    /// One in which we may ask.
    fn unchoked(features: Features) -> Self {
        let mut lab = Self::open(features);
        lab.peer.interested(true);
        lab.hear(&[Message::Unchoke]);
        lab.forget();
        lab
    }

    /// One in which it may ask, and we have all pieces.
    fn serving(features: Features) -> Self {
        let mut lab = Self::greeted(features, config(), Some(grid()));
        lab.announce(&Bitfield::full(grid().pieces()));
        lab.peer.unchoke();
        lab.hear(if features.fast {
            &[Message::HaveNone, Message::Interested]
        } else {
            &[Message::Interested]
        });
        lab.forget();
        lab
    }

    fn greeted(features: Features, config: PeerConfig, grid: Option<PieceGrid>) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let mut peer = Peer::connecting(now, Arc::new(config), grid, remote());
        peer.grant(now, 1 << 20);
        peer.handle_input(now, LinkInput::Opened);
        let mut lab = Self {
            peer,
            now,
            judge: Judge::new(grid),
            greeted: false,
            decoder: MessageDecoder::default(),
            said: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
        };
        lab.data(BytesMut::from(&handshake(features).encode()[..]));
        lab
    }

    fn announce(&mut self, have: &Bitfield) {
        self.peer.announce_have(have);
        self.settle();
    }

    fn hear(&mut self, messages: &[Message]) {
        self.data(encoded(messages));
    }

    fn data(&mut self, data: BytesMut) {
        self.settle();
        self.judge.hears(&data);
        self.peer.handle_input(self.now, LinkInput::Data(data));
        self.settle();
    }

    /// Sends what waits, and sorts what came out.
    fn settle(&mut self) {
        self.peer.flush(self.now);
        while let Some(output) = self.peer.poll_output() {
            match output {
                Output::Link(LinkOutput::Send(bytes)) => self.sent(bytes),
                Output::Link(output) => self.links.push(output),
                event => self.events.push(event),
            }
        }
    }

    fn sent(&mut self, mut bytes: Bytes) {
        self.judge.sends(&bytes);
        if !core::mem::replace(&mut self.greeted, true) {
            return;
        }
        while let Some(message) = self.decoder.decode(&mut bytes).unwrap() {
            self.said.push(message);
        }
    }

    fn said(&mut self) -> Vec<Message> {
        self.settle();
        core::mem::take(&mut self.said)
    }

    fn events(&mut self) -> Vec<Output> {
        self.settle();
        core::mem::take(&mut self.events)
    }

    fn links(&mut self) -> Vec<LinkOutput> {
        self.settle();
        core::mem::take(&mut self.links)
    }

    fn forget(&mut self) {
        let _ = (self.said(), self.events(), self.links());
    }

    /// The reason for which it was cut off, and that nothing came after it.
    fn end(&mut self) -> Option<CloseReason> {
        self.settle();
        match self.events.last() {
            Some(Output::Closed(reason)) => {
                assert!(self.peer.is_closed() && self.peer.poll_timeout().is_none());
                Some(*reason)
            }
            _ => None,
        }
    }

    fn violation(&mut self) -> Option<Violation> {
        match self.end()? {
            CloseReason::Violation(violation) => {
                assert_eq!(self.links().last(), Some(&LinkOutput::Close));
                Some(violation)
            }
            reason => panic!("{reason:?}"),
        }
    }
}

fn handshake(features: Features) -> Handshake {
    Handshake { features, info_hash: HASH, peer_id: THEM }
}
