//! Machine: what a peer says by BEP 3 and BEP 6, and the rules that it must keep.

use super::machine::Phase;
use super::pieces::Said;
use super::requests::Answered;
use super::{Output, Peer, Violation};
use crate::base::mutants::{self, Mutant};
use crate::base::{Block, BlockData, Instant};
use crate::wire::peer::{Message, MessageDecoder, MessageError, Span};

impl Peer {
    pub(super) fn on_message(&mut self, now: Instant, message: Message) -> Result<(), Violation> {
        match message {
            Message::Piece { index, begin, data } => return self.on_piece(now, (index, begin), data),
            Message::Request(span) => return self.on_request(now, span),
            Message::Have(index) => {
                self.begin_pieces();
                let news = self.pieces.on_have(index, self.grid)?;
                self.outputs.extend(news.map(Output::Have));
            }
            Message::KeepAlive | Message::Unknown(_) => {}
            Message::Choke => self.on_choke(),
            Message::Unchoke => {
                if core::mem::replace(&mut self.them.choking, false) {
                    self.outputs.push_back(Output::Unchoked);
                }
            }
            Message::Interested => self.on_interested(true),
            Message::NotInterested => self.on_interested(false),
            Message::Bitfield(bits) => self.on_said(&Said::Bitfield(&bits))?,
            Message::Cancel(span) => self.on_cancel(span)?,
            Message::Port(port) => self.outputs.extend((port > 0).then_some(Output::Port(port))),
            Message::Extended { id, payload } => return self.on_extended(now, id, &payload),
            Message::Suggest(index) => {
                self.expect_fast(13)?;
                let piece =
                    self.grid.map(|grid| grid.piece(index).ok_or(Violation::NoSuchPiece)).transpose()?;
                self.outputs.extend(piece.map(Output::Suggested));
            }
            Message::HaveAll => {
                self.expect_fast(14)?;
                self.on_said(&Said::All)?;
            }
            Message::HaveNone => {
                self.expect_fast(15)?;
                self.on_said(&Said::None)?;
            }
            Message::Reject(span) => {
                self.expect_fast(16)?;
                self.on_reject(span)?;
            }
            Message::AllowedFast(index) => {
                self.expect_fast(17)?;
                self.on_allowed_fast(index)?;
            }
        }
        Ok(())
    }

    /// BEP 6: without the extension, whoever sends its messages is to be cut off.
    fn expect_fast(&self, id: u8) -> Result<(), Violation> {
        if self.features.fast { Ok(()) } else { Err(Violation::FastDisabled(id)) }
    }

    fn on_said(&mut self, said: &Said<'_>) -> Result<(), Violation> {
        match self.pieces.on_said(said)? {
            Some(more) => self.outputs.extend(more.into_iter().map(Output::Have)),
            None => self.outputs.extend(self.pieces.known().cloned().map(Output::HasPieces)),
        }
        Ok(())
    }

    /// BEP 3: a bit field "may be omitted": who sent none had no pieces until it says otherwise.
    pub(super) fn begin_pieces(&mut self) {
        if !self.pieces.begun() {
            self.outputs.extend(self.pieces.known().cloned().map(Output::HasPieces));
        }
    }

    fn on_choke(&mut self) {
        if core::mem::replace(&mut self.them.choking, true) {
            return;
        }
        // BEP 6: "Choke no longer implicitly rejects all pending requests".
        let lost = if self.features.fast { Vec::new() } else { self.requests.lose_all() };
        self.outputs.push_back(Output::Choked { lost });
    }

    fn on_interested(&mut self, interested: bool) {
        if core::mem::replace(&mut self.them.interested, interested) != interested {
            self.outputs.push_back(Output::Interested(interested));
        }
    }

    fn on_piece(&mut self, now: Instant, at: (u32, u32), data: BlockData) -> Result<(), Violation> {
        let (index, begin) = at;
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let block = self.grid.and_then(|grid| grid.span(index, begin, len)).ok_or(Violation::UnaskedBlock)?;
        match self.requests.on_block(now, block) {
            Answered::Request(asked_at) => {
                self.blocks.received += u64::from(len);
                self.blocks.last = Some((asked_at, now));
                self.outputs.push_back(Output::Block(block, data));
            }
            Answered::Withdrawn if mutants::is(Mutant::CountWithdrawn) => {
                self.blocks.received += u64::from(len)
            }
            Answered::Withdrawn => self.blocks.wasted += u64::from(len),
            Answered::Nothing => return Err(Violation::UnaskedBlock),
        }
        Ok(())
    }

    fn on_reject(&mut self, span: Span) -> Result<(), Violation> {
        let block = self.block_of(span).ok_or(Violation::UnaskedReject)?;
        match self.requests.on_reject(block) {
            Answered::Request(_) => self.outputs.push_back(Output::Rejected(block)),
            Answered::Withdrawn => {}
            Answered::Nothing => return Err(Violation::UnaskedReject),
        }
        Ok(())
    }

    fn on_request(&mut self, now: Instant, span: Span) -> Result<(), Violation> {
        if self.grid.is_none() {
            return self.refuse(now, span);
        }
        let short = span.len <= MessageDecoder::MAX_BLOCK;
        let block = self.block_of(span).filter(|_| short).ok_or(Violation::InvalidRequest)?;
        if self.us.choking && !self.given.contains(&block.piece) {
            return self.refuse(now, span);
        }
        if !self.wanted.push(block, self.wanted_limit()) {
            return self.refuse(now, span);
        }
        self.outputs.push_back(Output::Requested(block));
        Ok(())
    }

    fn refuse(&mut self, now: Instant, span: Span) -> Result<(), Violation> {
        if !self.wanted.refuse(now, self.wanted_limit()) {
            return Err(Violation::RequestFlood);
        }
        if self.features.fast { self.answer(&Message::Reject(span)) } else { Ok(()) }
    }

    fn on_cancel(&mut self, span: Span) -> Result<(), Violation> {
        // One that was answered already, or never made, needs no answer.
        let Some(block) = self.block_of(span).filter(|block| self.wanted.remove(*block)) else {
            return Ok(());
        };
        self.outputs.push_back(Output::Cancelled(block));
        // BEP 6: even a request that is cancelled has exactly one answer.
        if self.features.fast { self.answer(&Message::Reject(span)) } else { Ok(()) }
    }

    /// A piece that it gives although it chokes. More of them than anybody needs are not kept.
    pub(super) fn on_allowed_fast(&mut self, index: u32) -> Result<(), Violation> {
        let Some(grid) = self.grid else {
            self.pieces.keep_allowed(index, MAX_ALLOWED);
            return Ok(());
        };
        let piece = grid.piece(index).ok_or(Violation::NoSuchPiece)?;
        if self.allowed.len() < MAX_ALLOWED && !self.allowed.contains(&piece) {
            self.allowed.push(piece);
            self.outputs.push_back(Output::AllowedFast(piece));
        }
        Ok(())
    }

    /// Says something that the peer makes us say.
    pub(super) fn answer(&mut self, message: &Message) -> Result<(), Violation> {
        if self.outbox.answer(message) { Ok(()) } else { Err(Violation::NotReading) }
    }

    fn block_of(&self, span: Span) -> Option<Block> {
        self.grid?.span(span.index, span.begin, span.len)
    }

    /// How many requests of the peer may wait.
    pub(super) fn wanted_limit(&self) -> u32 {
        self.config.request_queue.clamp(1, MAX_QUEUE)
    }

    /// Whether everything may be said.
    pub(super) fn may_speak(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }
}

impl From<MessageError> for Violation {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Length(id) => Self::MessageLength(id),
            MessageError::TooLong(id) => Self::MessageTooLong(id),
        }
    }
}

/// The most requests that wait on either side, whatever is said: 32 MiB of blocks, which is enough for 1 Gbit/s over
/// a quarter of a second.
pub(super) const MAX_QUEUE: u32 = 2000;

/// The most pieces that are noted as given while choked: clients give about ten (BEP 6).
pub(super) const MAX_ALLOWED: usize = 64;
