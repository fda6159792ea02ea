//! Policy: what is there of pieces that are not whole, so that another life goes on with it.
//!
//! What is written of them becomes durable with the next checkpoint, and is put into the store with the pieces. The next
//! life takes the whole blocks among it: nobody is asked for them again, and the digest of their piece reads them back.

use super::saved::MAX_RUNS;
use super::{Output, Span, TorrentFiles};
use crate::base::{BLOCK_LEN, Block, PieceGrid, PieceIndex, RangeSet};
use core::ops::Range;
use std::collections::BTreeSet;

impl TorrentFiles {
    /// Blocks of pieces that are not there, which an earlier life made durable. What came in this life may be among them.
    pub fn inherited(&self) -> impl Iterator<Item = Block> + '_ {
        let grid = self.plan.layout.grid();
        let blocks = move |(piece, range): (PieceIndex, Range<u64>)| {
            let first = (range.start - grid.piece_range(piece).start) / u64::from(BLOCK_LEN);
            let numbers = u32::try_from(first).unwrap_or(u32::MAX)..grid.blocks_in(piece);
            let blocks = numbers.filter_map(move |number| grid.block(piece, number));
            blocks.take_while(move |block| grid.block_range(*block).end <= range.end)
        };
        self.inherited_ranges().filter(|(piece, _)| !self.have.has(*piece)).flat_map(blocks)
    }

    fn inherited_ranges(&self) -> impl Iterator<Item = (PieceIndex, Range<u64>)> + '_ {
        let grid = self.plan.layout.grid();
        let pieces = move |range: Range<u64>| {
            grid.pieces_in(range.clone()).map(move |piece| (piece, whole_blocks(grid, piece, &range)))
        };
        self.saved.blocks.iter().flat_map(pieces).filter(|(_, range)| range.start < range.end)
    }

    /// The pieces of these blocks, one or several times each.
    pub(super) fn inherited_pieces(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.inherited_ranges().map(|(piece, _)| piece)
    }

    /// Where they lie in a piece.
    pub(super) fn inherited_of(&self, piece: PieceIndex) -> impl Iterator<Item = Range<u64>> + use<> {
        let grid = self.plan.layout.grid();
        let start = grid.piece_range(piece).start;
        let parts = self.saved.blocks.within(grid.piece_range(piece));
        let parts: Vec<_> = parts.map(|part| whole_blocks(grid, piece, &part)).collect();
        let parts = parts.into_iter().filter(|part| part.start < part.end);
        parts.map(move |part| part.start - start..part.end - start)
    }

    /// Whether all bytes of a piece are known to be on the disk.
    pub(super) fn has_all_blocks(&self, piece: PieceIndex) -> bool {
        self.saved.blocks.contains(self.plan.layout.grid().piece_range(piece))
    }

    /// Whether some of these bytes of a file are known to be on the disk, though their piece is not.
    pub(super) fn has_blocks_in(&self, span: Span) -> bool {
        let at = self.plan.layout.range(span.file).start + span.offset;
        self.saved.blocks.within(at..at + span.len).next().is_some()
    }

    /// Leaves whole blocks of pieces that are not known to be there.
    pub(super) fn tidy_blocks(&mut self) {
        let open = self.inherited_ranges().filter(|(piece, _)| !self.saved.pieces.has(*piece));
        self.saved.blocks = open.map(|(_, range)| range).collect();
    }

    /// A file that is being looked at again is another than before, or has no more than so many bytes.
    pub(super) fn disown_blocks(&mut self, file: u32, len: u64) {
        let grid = self.plan.layout.grid();
        let is_there = |(piece, range): &(PieceIndex, Range<u64>)| {
            let start = grid.piece_range(*piece).start;
            let mut places = self.spans_in(*piece, range.start - start..range.end - start);
            places.all(|place| place.pad || place.file != file || place.offset + place.len <= len)
        };
        let idle = |piece: &PieceIndex| !self.pieces.contains_key(&piece.get()) && !self.have.has(*piece);
        let lost = self.inherited_ranges().filter(|blocks| !is_there(blocks)).map(|(piece, _)| piece);
        let lost: BTreeSet<_> = lost.filter(idle).collect();
        for piece in lost {
            self.forget_blocks(piece);
            self.outputs.push_back(Output::Piece { piece, good: false });
        }
    }

    /// Bytes of a piece are with the operating system.
    pub(super) fn note_written(&mut self, piece: PieceIndex, begin: u64, len: u64) {
        if self.written.range_count() < MAX_RUNS {
            let start = self.plan.layout.grid().piece_range(piece).start + begin;
            self.written.insert(start..start + len);
        }
    }

    /// They are durable.
    pub(super) fn keep_blocks(&mut self, durable: &RangeSet) {
        for range in durable.iter() {
            if self.saved.blocks.range_count() < MAX_RUNS {
                self.saved.blocks.insert(range);
            }
        }
    }

    /// A piece is wrong, and nothing of it is known to be right.
    pub(super) fn forget_blocks(&mut self, piece: PieceIndex) {
        let range = self.plan.layout.grid().piece_range(piece);
        self.written.remove(range.clone());
        self.saved.blocks.remove(range.clone());
        if let Some(checkpoint) = &mut self.checkpoint {
            checkpoint.blocks.remove(range);
        }
    }
}

/// Where in the whole the blocks of a piece lie that are all within a range; empty where there are none.
fn whole_blocks(grid: PieceGrid, piece: PieceIndex, within: &Range<u64>) -> Range<u64> {
    let (whole, block) = (grid.piece_range(piece), u64::from(BLOCK_LEN));
    let start = whole.start + within.start.saturating_sub(whole.start).next_multiple_of(block);
    let end = within.end.min(whole.end);
    let end = if end == whole.end { end } else { end - (end - whole.start) % block };
    start.min(end)..end
}

#[cfg(test)]
mod tests;
