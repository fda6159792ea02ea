//! How the bytes of a torrent are cut: pieces, which are hashed (BEP 3), and blocks, which are asked for.
//!
//! A [`PieceIndex`] or a [`Block`] exists only if it lies within the torrent: a [`PieceGrid`] makes them.

use core::fmt;
use core::ops::Range;

/// The length of a block in bytes; the last block of a piece may be shorter. Peers drop whoever asks for more.
pub const BLOCK_LEN: u32 = 16 << 10;

/// The number of a piece, counted from 0; always within its torrent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number, to index with.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Some bytes of one piece: what a request asks for. Never empty, never beyond the end of its piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The piece.
    pub piece: PieceIndex,
    /// Where it begins within the piece, in bytes.
    pub begin: u32,
    /// Its length in bytes.
    pub len: u32,
}

/// How a torrent of `total` bytes is cut into pieces of `piece_len` bytes, the last of which may be shorter.
///
/// ```
/// use gosh_dl_core::base::piece::{BLOCK_LEN, PieceGrid};
///
/// let grid = PieceGrid::new(40_000, 100_000).unwrap();
/// assert_eq!(grid.pieces(), 3);
/// let last = grid.piece(2).unwrap();
/// assert_eq!(grid.piece_range(last), 80_000..100_000);
/// let lens: Vec<u32> = grid.blocks(last).map(|block| block.len).collect();
/// assert_eq!(lens, [BLOCK_LEN, 20_000 - BLOCK_LEN]);
/// assert_eq!(grid.piece(3), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceGrid {
    piece_len: u32,
    total: u64,
    pieces: u32,
}

impl PieceGrid {
    /// A grid; `None` where a length is 0 or there would be more than 2^32 - 1 pieces.
    pub fn new(piece_len: u32, total: u64) -> Option<Self> {
        if piece_len == 0 || total == 0 {
            return None;
        }
        let pieces = u32::try_from(total.div_ceil(u64::from(piece_len))).ok()?;
        Some(Self { piece_len, total, pieces })
    }

    /// How many pieces there are; at least 1.
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// The length of every piece but the last, in bytes.
    pub const fn piece_len(&self) -> u32 {
        self.piece_len
    }

    /// The length of all pieces, in bytes.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The piece of that number, if there is one.
    pub fn piece(&self, index: u32) -> Option<PieceIndex> {
        (index < self.pieces).then_some(PieceIndex(index))
    }

    /// All pieces.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        (0..self.pieces).map(PieceIndex)
    }

    /// The length of a piece in bytes.
    pub fn len_of(&self, piece: PieceIndex) -> u32 {
        let range = self.piece_range(piece);
        u32::try_from(range.end - range.start).unwrap_or(self.piece_len)
    }

    /// Where a piece lies in the whole, in bytes.
    pub fn piece_range(&self, piece: PieceIndex) -> Range<u64> {
        let start = u64::from(piece.0) * u64::from(self.piece_len);
        start.min(self.total)..(start + u64::from(self.piece_len)).min(self.total)
    }

    /// Where a block lies in the whole, in bytes.
    pub fn block_range(&self, block: Block) -> Range<u64> {
        let start = self.piece_range(block.piece).start + u64::from(block.begin);
        start..start + u64::from(block.len)
    }

    /// How many blocks a piece has.
    pub fn blocks_in(&self, piece: PieceIndex) -> u32 {
        self.len_of(piece).div_ceil(BLOCK_LEN)
    }

    /// The block of that number in a piece, if there is one.
    pub fn block(&self, piece: PieceIndex, number: u32) -> Option<Block> {
        let begin = number.checked_mul(BLOCK_LEN)?;
        let left = self.len_of(piece).checked_sub(begin).filter(|left| *left > 0)?;
        Some(Block { piece, begin, len: left.min(BLOCK_LEN) })
    }

    /// All blocks of a piece, in order.
    pub fn blocks(&self, piece: PieceIndex) -> impl Iterator<Item = Block> + use<> {
        let grid = *self;
        (0..self.blocks_in(piece)).filter_map(move |number| grid.block(piece, number))
    }

    /// What a message names, if it lies within one piece and is not empty: for requests of others, which may be of any
    /// length.
    pub fn span(&self, index: u32, begin: u32, len: u32) -> Option<Block> {
        let piece = self.piece(index)?;
        let end = begin.checked_add(len)?;
        (len > 0 && end <= self.len_of(piece)).then_some(Block { piece, begin, len })
    }

    /// The pieces that a range of bytes of the whole touches.
    pub fn pieces_in(&self, range: Range<u64>) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        let end = range.end.min(self.total);
        let piece_len = u64::from(self.piece_len);
        let number = |at: u64| u32::try_from(at / piece_len).unwrap_or(u32::MAX);
        let numbers = if range.start < end { number(range.start)..number(end - 1) + 1 } else { 0..0 };
        numbers.map(PieceIndex)
    }
}

impl Block {
    /// Its number within its piece, where blocks are of [`BLOCK_LEN`].
    pub const fn number(self) -> u32 {
        self.begin / BLOCK_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_outside_the_torrent_has_a_name() {
        let grid = PieceGrid::new(32 << 10, (64 << 10) + 1).unwrap();
        assert_eq!(grid.pieces(), 3);
        assert_eq!(grid.piece(3), None);
        assert_eq!(grid.span(2, 0, 2), None);
        assert_eq!(grid.span(0, u32::MAX, 2), None);
        assert_eq!(grid.span(0, 0, 0), None);
        assert_eq!(grid.span(2, 0, 1).map(|block| grid.block_range(block)), Some(65536..65537));
        assert_eq!(PieceGrid::new(0, 1), None);
        assert_eq!(PieceGrid::new(1, 0), None);
        assert_eq!(PieceGrid::new(1, 1 << 32), None);
    }

    proptest! {
        #[test]
        fn pieces_and_blocks_cover_the_whole_once(piece_len in 1u32..100_000, total in 1u64..500_000) {
            prop_assume!(total / u64::from(piece_len) < 5000);
            let grid = PieceGrid::new(piece_len, total).unwrap();
            let mut at = 0;
            for block in grid.all().flat_map(|piece| grid.blocks(piece)) {
                let range = grid.block_range(block);
                prop_assert_eq!(range.start, at);
                prop_assert_eq!(grid.span(block.piece.get(), block.begin, block.len), Some(block));
                prop_assert_eq!(grid.block(block.piece, block.number()), Some(block));
                at = range.end;
            }
            prop_assert_eq!(at, total);
            prop_assert_eq!(grid.pieces_in(0..total).count(), grid.pieces() as usize);
        }
    }
}
