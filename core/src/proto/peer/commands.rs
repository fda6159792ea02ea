//! Machine: what a torrent says to a peer by BEP 3 and BEP 6.

use super::incoming::{MAX_ALLOWED, MAX_QUEUE};
use super::{FileSpan, Output, Peer};
use crate::base::{Block, BlockData, Instant, LinkOutput, PieceIndex};
use crate::wire::peer::{Message, Span};

impl Peer {
    /// Says that we have a piece more. Nothing before [`announce_have`](Self::announce_have).
    pub fn have(&mut self, piece: PieceIndex) {
        if self.may_speak() {
            self.outbox.push(&Message::Have(piece.get()));
        }
    }

    /// Says whether we want pieces from the peer, if that changes.
    pub fn interested(&mut self, interested: bool) {
        if self.may_speak() && core::mem::replace(&mut self.us.interested, interested) != interested {
            self.outbox.push(if interested { &Message::Interested } else { &Message::NotInterested });
        }
    }

    /// Stops answering the peer's requests: those that wait are rejected, or forgotten where there is no Fast
    /// extension. Requests for pieces given by [`allow_fast`](Self::allow_fast) stay.
    pub fn choke(&mut self) {
        if !self.may_speak() || core::mem::replace(&mut self.us.choking, true) {
            return;
        }
        // BEP 6: "A peer SHOULD choke first and then reject requests".
        self.outbox.push(&Message::Choke);
        let given = core::mem::take(&mut self.given);
        self.reject_wanted(|block| !given.contains(&block.piece));
        self.given = given;
    }

    /// Stops waiting to answer some requests, and says so, where there is the Fast extension.
    pub(super) fn reject_wanted(&mut self, which: impl Fn(&Block) -> bool) {
        let says = self.features.fast && self.may_speak();
        let outbox = &mut self.outbox;
        self.wanted.retain(|block| {
            let goes = which(block);
            if goes && says {
                outbox.push(&Message::Reject(span(*block)));
            }
            !goes
        });
    }

    /// Begins to answer the peer's requests.
    pub fn unchoke(&mut self) {
        if self.may_speak() && core::mem::replace(&mut self.us.choking, false) {
            self.outbox.push(&Message::Unchoke);
        }
    }

    /// Asks for a block. `false`, and nothing happens, where the peer may not be asked now: it chokes us and has not
    /// allowed the piece, it does not have the piece, we are not interested, or too much is asked for already.
    pub fn request(&mut self, now: Instant, block: Block) -> bool {
        let may = self.may_speak()
            && self.us.interested
            && (!self.peer_choking() || self.allowed.contains(&block.piece))
            && self.pieces.known().is_some_and(|pieces| pieces.has(block.piece));
        let limit = self.request_queue().min(MAX_QUEUE) as usize;
        if !may || !self.requests.ask(now, block, limit) {
            return false;
        }
        self.outbox.push(&Message::Request(span(block)));
        true
    }

    /// Does not want a block any more; if it comes nevertheless, it is dropped.
    pub fn cancel(&mut self, block: Block) {
        if self.may_speak() && self.requests.withdraw(block, self.features.fast) {
            self.outbox.push(&Message::Cancel(span(block)));
        }
    }

    /// Answers a request. `false`, and nothing happens, where the peer does not wait for that block (any more), or the
    /// bytes are not as many as the block has.
    pub fn send_block(&mut self, now: Instant, block: Block, data: BlockData) -> bool {
        if !self.begin_block(now, block, data.len() as u64) {
            return false;
        }
        self.outputs.extend(data.into_iter().map(|part| Output::Link(LinkOutput::Send(part))));
        true
    }

    /// Answers a request with bytes of files, in this order. `false` as [`send_block`](Self::send_block).
    pub fn send_block_from(&mut self, now: Instant, block: Block, spans: &[FileSpan]) -> bool {
        if !self.begin_block(now, block, spans.iter().map(|span| u64::from(span.len)).sum()) {
            return false;
        }
        let send =
            |span: &FileSpan| LinkOutput::SendFile { file: span.file, offset: span.offset, len: span.len };
        self.outputs.extend(spans.iter().filter(|span| span.len > 0).map(|span| Output::Link(send(span))));
        true
    }

    /// Sends everything up to the bytes of a block, and counts those.
    fn begin_block(&mut self, now: Instant, block: Block, len: u64) -> bool {
        if !self.may_speak() || len != u64::from(block.len) || !self.wanted.remove(block) {
            return false;
        }
        self.outbox.push_piece_head(span(block));
        self.flush(now);
        self.outbox.on_given(now, len);
        self.blocks.sent += len;
        true
    }

    /// Does not answer a request: says so, where there is the Fast extension.
    pub fn reject(&mut self, block: Block) {
        if self.may_speak() && self.wanted.remove(block) && self.features.fast {
            self.outbox.push(&Message::Reject(span(block)));
        }
    }

    /// Gives pieces even while the peer is choked; where there is the Fast extension. No more than 64.
    pub fn allow_fast(&mut self, pieces: &[PieceIndex]) {
        if !self.may_speak() || !self.features.fast {
            return;
        }
        for piece in pieces {
            if self.given.len() < MAX_ALLOWED && !self.given.contains(piece) {
                self.given.push(*piece);
                self.outbox.push(&Message::AllowedFast(piece.get()));
            }
        }
    }

    /// Would rather give this piece; where there is the Fast extension.
    pub fn suggest(&mut self, piece: PieceIndex) {
        if self.may_speak() && self.features.fast {
            self.outbox.push(&Message::Suggest(piece.get()));
        }
    }

    /// Says where our DHT node listens, where the peer has one (BEP 5).
    pub fn dht_port(&mut self, port: u16) {
        if self.may_speak() && self.features.dht {
            self.outbox.push(&Message::Port(port));
        }
    }
}

fn span(block: Block) -> Span {
    Span { index: block.piece.get(), begin: block.begin, len: block.len }
}
