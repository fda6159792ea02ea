//! Policy: runs of whole pieces, for web seeds (BEP 19): long ones, where nobody else is at work.

use super::order::CLASSES;
use super::{Picker, Speed};
use crate::base::{Bitfield, PieceIndex};
use core::ops::Range;

impl<K: Copy + Ord> Picker<K> {
    /// Asks `who` for up to `max` whole pieces in a row that nobody was asked for, all blocks of them; puts them into
    /// `out`. What readers wait for comes first; otherwise they are of the longest gap among those that are wanted most: at its start, or in the middle of
    /// it where somebody else comes from the left.
    pub fn pick_run(&mut self, who: K, has: &Bitfield, max: u32, speed: Speed, out: &mut Vec<PieceIndex>) {
        if max == 0 || self.is_complete() {
            return;
        }
        self.refresh();
        let Some(start) = self.run_start(has) else { return };
        let mut scratch = Vec::new();
        let grid = self.grid;
        for piece in (start..grid.pieces()).take(max as usize).map_while(|piece| grid.piece(piece)) {
            let blocks = grid.blocks_in(piece);
            if !self.is_open(piece) || !has.has(piece) || !self.partials.has_room(blocks) {
                break;
            }
            let alone = self.suspects.has(who) || self.retry.contains(&piece.get());
            let slot = self.begin(piece, speed, alone.then_some(who));
            scratch.clear();
            self.partials.take(slot, who, &grid, blocks as usize, &mut scratch);
            out.push(piece);
        }
    }

    /// Asks `who` for what is missing of a piece that others began and gave up: the blocks that nobody was asked for. Says
    /// in which bytes of the whole they lie; some of these may be here already.
    pub fn pick_rest(&mut self, who: K, has: &Bitfield) -> Option<Range<u64>> {
        let fits = |slot: &u32| {
            let partial = self.partials.at(*slot);
            partial.asked == 0 && has.has(partial.piece) && partial.only.is_none_or(|only| only == who)
        };
        let slot = self.partials.lists.iter().flatten().copied().find(fits)?;
        let (grid, mut blocks) = (self.grid, Vec::new());
        self.partials.take(slot, who, &grid, usize::MAX, &mut blocks);
        let (first, last) = (*blocks.first()?, *blocks.last()?);
        Some(grid.block_range(first).start..grid.block_range(last).end)
    }

    fn run_start(&self, has: &Bitfield) -> Option<u32> {
        let urgent = self.urgent.iter().find(|piece| self.is_open(**piece) && has.has(**piece));
        if let Some(piece) = urgent {
            return Some(piece.get());
        }
        let gap = (0..CLASSES).find_map(|class| self.gap(has, class))?;
        let busy = gap.start.checked_sub(1).and_then(|before| self.grid.piece(before));
        let busy = busy.is_some_and(|before| self.partial_of(before).is_some());
        let middle = gap.start + (gap.end - gap.start) / 2;
        Some(if busy && !self.sequential { middle } else { gap.start })
    }

    /// The longest gap among the pieces of a class, or the first one if sequential.
    fn gap(&self, has: &Bitfield, class: usize) -> Option<Range<u32>> {
        let wanted = &self.tables.as_ref()?.open[class];
        let (mut best, mut at) = (0..0, None);
        let end = self.grid.pieces();
        for index in 0..=end {
            let open = self.grid.piece(index).is_some_and(|piece| has.has(piece) && wanted.has(piece));
            match (open, at) {
                (true, None) => at = Some(index),
                (false, Some(start)) => {
                    if index - start > best.end - best.start {
                        best = start..index;
                    }
                    at = None;
                    if self.sequential {
                        break;
                    }
                }
                _ => {}
            }
        }
        (!best.is_empty()).then_some(best)
    }

    /// Whether a piece is wanted and nobody works on it.
    pub(super) fn is_open(&self, piece: PieceIndex) -> bool {
        let open = |tables: &super::Tables| (0..CLASSES).any(|class| tables.open[class].has(piece));
        self.tables.as_ref().is_some_and(|tables| open(tables))
    }
}
