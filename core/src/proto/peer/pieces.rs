//! Policy: which pieces a peer has, as far as it is understood before the metadata is there.

use super::Violation;
use crate::base::{Bitfield, PieceGrid, PieceIndex};
use crate::wire::peer::MessageDecoder;

/// Which pieces a peer has.
#[derive(Debug)]
pub(super) struct Pieces {
    state: State,
    /// It has said something; a bit field may only come before (BEP 3, BEP 6).
    begun: bool,
}

#[derive(Debug)]
enum State {
    Known(Bitfield),
    /// The metadata is missing.
    Early(Box<Early>),
}

/// What was said, as it was said.
#[derive(Debug, Default)]
struct Early {
    all: bool,
    /// One bit for each piece, as in the message.
    bits: Vec<u8>,
    /// How many bytes the message had.
    exact: Option<usize>,
    /// Pieces that it gives although it chokes.
    allowed: Vec<u32>,
}

/// All the pieces, or one of them.
pub(super) enum Said<'a> {
    Bitfield(&'a [u8]),
    All,
    None,
}

impl Pieces {
    pub(super) fn new(grid: Option<PieceGrid>) -> Self {
        let state = match grid {
            Some(grid) => State::Known(Bitfield::new(grid.pieces())),
            None => State::Early(Box::default()),
        };
        Self { state, begun: false }
    }

    /// The pieces, if it is known how many there are.
    pub(super) fn known(&self) -> Option<&Bitfield> {
        match &self.state {
            State::Known(bits) => Some(bits),
            State::Early(_) => None,
        }
    }

    /// Whether it has said anything about pieces.
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    /// It says which pieces it has, before anything else about pieces. A bit field that comes later, as aria2 sends it in
    /// place of many a `have`, adds to what it had: then the pieces that are news are returned.
    pub(super) fn on_said(&mut self, said: &Said<'_>) -> Result<Option<Vec<PieceIndex>>, Violation> {
        if core::mem::replace(&mut self.begun, true) {
            return self.on_said_later(said).map(Some);
        }
        match (&mut self.state, said) {
            (State::Known(bits), Said::Bitfield(bytes)) => {
                *bits = Bitfield::from_bytes(bytes, bits.len()).ok_or(Violation::MalformedBitfield)?;
            }
            (State::Known(bits), Said::All) => *bits = Bitfield::full(bits.len()),
            (State::Early(early), Said::Bitfield(bytes)) => {
                early.bits = bytes.to_vec();
                early.exact = Some(bytes.len());
            }
            (State::Early(early), Said::All) => early.all = true,
            (_, Said::None) => {}
        }
        Ok(None)
    }

    fn on_said_later(&mut self, said: &Said<'_>) -> Result<Vec<PieceIndex>, Violation> {
        match &mut self.state {
            State::Known(bits) => {
                let more = match said {
                    Said::Bitfield(bytes) => {
                        Bitfield::from_bytes(bytes, bits.len()).ok_or(Violation::MalformedBitfield)?
                    }
                    Said::All => Bitfield::full(bits.len()),
                    Said::None => return Ok(Vec::new()),
                };
                let grid = PieceGrid::new(1, bits.len().into());
                let pieces = more.ones().filter_map(|index| grid?.piece(index));
                Ok(pieces.filter(|piece| bits.insert(*piece)).collect())
            }
            State::Early(early) => {
                match said {
                    Said::Bitfield(bytes) => {
                        let last = early.exact.replace(bytes.len());
                        if last.is_some_and(|last| last != bytes.len()) || early.bits.len() > bytes.len() {
                            return Err(Violation::MalformedBitfield);
                        }
                        early.bits.resize(bytes.len(), 0);
                        early.bits.iter_mut().zip(*bytes).for_each(|(bits, more)| *bits |= more);
                    }
                    Said::All => early.all = true,
                    Said::None => {}
                }
                Ok(Vec::new())
            }
        }
    }

    /// It has a piece: which, if that is news and is known.
    pub(super) fn on_have(
        &mut self,
        index: u32,
        grid: Option<PieceGrid>,
    ) -> Result<Option<PieceIndex>, Violation> {
        self.begun = true;
        let piece = piece(index, grid)?;
        Ok(match &mut self.state {
            State::Known(bits) => piece.filter(|piece| bits.insert(*piece)),
            State::Early(early) => {
                *early.byte(index) |= mask(index);
                None
            }
        })
    }

    /// It does not have a piece any more: which, if that is news and is known.
    pub(super) fn on_dont_have(
        &mut self,
        index: u32,
        grid: Option<PieceGrid>,
    ) -> Result<Option<PieceIndex>, Violation> {
        self.begun = true;
        let piece = piece(index, grid)?;
        Ok(match &mut self.state {
            State::Known(bits) => piece.filter(|piece| bits.remove(*piece)),
            State::Early(early) => {
                *early.byte(index) &= !mask(index);
                None
            }
        })
    }

    /// It gives a piece although it chokes, and how many pieces there are is not known yet. `false` where it is.
    pub(super) fn keep_allowed(&mut self, index: u32, limit: usize) -> bool {
        let State::Early(early) = &mut self.state else { return false };
        if early.allowed.len() < limit && !early.allowed.contains(&index) {
            early.allowed.push(index);
        }
        true
    }

    /// The metadata is there: whether it had said anything about pieces, and which it gives although it chokes.
    pub(super) fn settle(&mut self, grid: PieceGrid) -> Result<(bool, Vec<u32>), Violation> {
        let State::Early(early) = &mut self.state else { return Ok((false, Vec::new())) };
        let Early { all, mut bits, exact, allowed } = core::mem::take(&mut **early);
        let right = grid.pieces().div_ceil(8) as usize;
        if exact.is_some_and(|exact| exact != right) {
            return Err(Violation::MalformedBitfield);
        }
        if bits.len() > right {
            return Err(Violation::NoSuchPiece);
        }
        bits.resize(right, 0);
        let known = if all {
            Some(Bitfield::full(grid.pieces()))
        } else {
            Bitfield::from_bytes(&bits, grid.pieces())
        };
        self.state = State::Known(known.ok_or(Violation::MalformedBitfield)?);
        Ok((self.begun, allowed))
    }
}

impl Early {
    fn byte(&mut self, index: u32) -> &mut u8 {
        let at = (index / 8) as usize;
        if self.bits.len() <= at {
            self.bits.resize(at + 1, 0);
        }
        &mut self.bits[at]
    }
}

/// The piece of that number; `None` where it cannot be known yet.
fn piece(index: u32, grid: Option<PieceGrid>) -> Result<Option<PieceIndex>, Violation> {
    match grid {
        Some(grid) => grid.piece(index).map(Some).ok_or(Violation::NoSuchPiece),
        None if index < MessageDecoder::MAX_BITFIELD * 8 => Ok(None),
        None => Err(Violation::NoSuchPiece),
    }
}

const fn mask(index: u32) -> u8 {
    0x80 >> (index % 8)
}
