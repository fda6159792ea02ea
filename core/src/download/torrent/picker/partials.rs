//! Policy: pieces that were begun, block by block: who was asked, who sent.

use super::Speed;
use super::order::CLASSES;
use crate::base::{Block, PieceGrid, PieceIndex};

/// Pieces that were begun. Their memory is used again, so that in the long run nothing is allocated.
#[derive(Debug)]
pub(super) struct Partials<K> {
    slots: Vec<Partial<K>>,
    vacant: Vec<u32>,
    /// Those with blocks that nobody was asked for, by class.
    pub(super) lists: [Vec<u32>; CLASSES],
    /// Blocks that were asked of more than one peer: the others.
    pub(super) doubles: Vec<Double<K>>,
    cells: usize,
}

#[derive(Debug)]
pub(super) struct Partial<K> {
    pub(super) piece: PieceIndex,
    /// How many blocks nobody was asked for; how many were asked for; how many are here.
    pub(super) free: u32,
    pub(super) asked: u32,
    pub(super) got: u32,
    /// How fast the peer is that began it.
    pub(super) speed: Speed,
    /// The one peer that may take part, so that it is known who is to blame.
    pub(super) only: Option<K>,
    pub(super) class: Option<u8>,
    pub(super) cells: Vec<Cell<K>>,
    /// No block before this one is free.
    hint: u32,
    listed: Option<u32>,
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell<K> {
    Free,
    Asked(K),
    Got(K),
    /// Here from an earlier life: nobody is to blame for it.
    Kept,
}

/// One more peer that was asked for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Double<K> {
    pub(super) slot: u32,
    pub(super) number: u32,
    pub(super) who: K,
}

impl<K: Copy + Ord> Partials<K> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            lists: Default::default(),
            doubles: Vec::new(),
            cells: 0,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// How many places there are, those that are empty included.
    pub(super) fn places(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is memory for one more of so many blocks.
    pub(super) fn has_room(&self, blocks: u32) -> bool {
        self.is_empty() || self.cells + blocks as usize <= MAX_CELLS
    }

    pub(super) fn at(&self, slot: u32) -> &Partial<K> {
        &self.slots[slot as usize]
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> &mut Partial<K> {
        &mut self.slots[slot as usize]
    }

    /// A place, unless it is empty.
    pub(super) fn get(&self, slot: u32) -> Option<&Partial<K>> {
        self.slots.get(slot as usize).filter(|partial| !partial.cells.is_empty())
    }

    /// Begins a piece of so many blocks.
    pub(super) fn begin(&mut self, piece: PieceIndex, blocks: u32, class: Option<u8>) -> u32 {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Partial::empty(piece));
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let partial = &mut self.slots[slot as usize];
        let mut cells = core::mem::take(&mut partial.cells);
        cells.resize(blocks as usize, Cell::Free);
        *partial = Partial { free: blocks, class, cells, ..Partial::empty(piece) };
        self.cells += blocks as usize;
        self.list(slot);
        slot
    }

    /// Forgets a piece.
    pub(super) fn end(&mut self, slot: u32) {
        self.unlist(slot);
        self.doubles.retain(|double| double.slot != slot);
        let partial = &mut self.slots[slot as usize];
        self.cells -= partial.cells.len();
        partial.cells.clear();
        // The memory of giant pieces is not kept.
        partial.cells.shrink_to(MAX_KEPT_CELLS);
        self.vacant.push(slot);
    }

    /// Asks `who` for up to `count` blocks that nobody was asked for, in order.
    pub(super) fn take(&mut self, slot: u32, who: K, grid: &PieceGrid, count: usize, out: &mut Vec<Block>) {
        let partial = &mut self.slots[slot as usize];
        let mut left = count;
        while partial.free > 0 && left > 0 {
            let number = partial.hint;
            partial.hint += 1;
            let Some(cell) = partial.cells.get_mut(number as usize) else { break };
            if *cell != Cell::Free {
                continue;
            }
            *cell = Cell::Asked(who);
            partial.free -= 1;
            partial.asked += 1;
            left -= 1;
            out.extend(grid.block(partial.piece, number));
        }
        if partial.free == 0 {
            self.unlist(slot);
        }
    }

    /// A block is here that nobody sent in this life.
    pub(super) fn keep(&mut self, slot: u32, number: u32) {
        let partial = &mut self.slots[slot as usize];
        let Some(cell) = partial.cells.get_mut(number as usize).filter(|cell| **cell == Cell::Free) else {
            return;
        };
        *cell = Cell::Kept;
        partial.free -= 1;
        partial.got += 1;
        if partial.free == 0 {
            self.unlist(slot);
        }
    }

    /// A block is here: says whether it was not before, and who else was asked for it.
    pub(super) fn received(&mut self, slot: u32, number: u32, who: K) -> (bool, Vec<K>) {
        let partial = &mut self.slots[slot as usize];
        let mut cancel = Vec::new();
        match partial.cells[number as usize] {
            Cell::Got(_) | Cell::Kept => return (false, cancel),
            Cell::Free => partial.free -= 1,
            Cell::Asked(asked) => {
                partial.asked -= 1;
                cancel.extend((asked != who).then_some(asked));
            }
        }
        partial.cells[number as usize] = Cell::Got(who);
        partial.got += 1;
        if partial.free == 0 {
            self.unlist(slot);
        }
        if !self.doubles.is_empty() {
            let (at, doubles) = ((slot, number), &mut self.doubles);
            let ours =
                doubles.iter().filter(|double| (double.slot, double.number) == at && double.who != who);
            cancel.extend(ours.map(|double| double.who));
            doubles.retain(|double| (double.slot, double.number) != at);
        }
        (true, cancel)
    }

    /// `who` will not send a block; says whether it had been asked.
    pub(super) fn released(&mut self, slot: u32, number: u32, who: K) -> bool {
        let mine = |double: &Double<K>| (double.slot, double.number) == (slot, number);
        if let Some(at) = self.doubles.iter().position(|double| mine(double) && double.who == who) {
            self.doubles.swap_remove(at);
            return true;
        }
        if self.slots[slot as usize].cells[number as usize] != Cell::Asked(who) {
            return false;
        }
        if let Some(at) = self.doubles.iter().position(mine) {
            let other = self.doubles.swap_remove(at).who;
            self.slots[slot as usize].cells[number as usize] = Cell::Asked(other);
            return true;
        }
        let partial = &mut self.slots[slot as usize];
        partial.cells[number as usize] = Cell::Free;
        partial.asked -= 1;
        partial.free += 1;
        partial.hint = partial.hint.min(number);
        // Whoever was to do it alone does not do it at all.
        if partial.asked == 0 {
            partial.only = None;
        }
        self.list(slot);
        true
    }

    /// The piece is wanted more or less than before, or not at all.
    pub(super) fn reclass(&mut self, slot: u32, class: Option<u8>) {
        self.unlist(slot);
        self.slots[slot as usize].class = class;
        self.list(slot);
    }

    fn list(&mut self, slot: u32) {
        let partial = &mut self.slots[slot as usize];
        let Some(class) = partial.class.filter(|_| partial.free > 0 && partial.listed.is_none()) else {
            return;
        };
        let list = &mut self.lists[usize::from(class)];
        partial.listed = u32::try_from(list.len()).ok();
        list.push(slot);
    }

    fn unlist(&mut self, slot: u32) {
        let partial = &mut self.slots[slot as usize];
        let (Some(at), Some(class)) = (partial.listed.take(), partial.class) else { return };
        let list = &mut self.lists[usize::from(class)];
        list.swap_remove(at as usize);
        if let Some(moved) = list.get(at as usize) {
            self.slots[*moved as usize].listed = Some(at);
        }
    }

    /// Panics where counts and lists do not agree with the cells.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn check(&self) {
        let mut cells = 0;
        for (at, partial) in (0..).zip(&self.slots) {
            let count = |wanted: fn(&Cell<K>) -> bool| {
                partial.cells.iter().filter(|cell| wanted(cell)).count() as u32
            };
            if partial.cells.is_empty() {
                assert!(self.vacant.contains(&at) && partial.listed.is_none());
                continue;
            }
            cells += partial.cells.len();
            assert_eq!(partial.free, count(|cell| *cell == Cell::Free));
            assert_eq!(partial.asked, count(|cell| matches!(cell, Cell::Asked(_))));
            assert_eq!(partial.got, count(|cell| matches!(cell, Cell::Got(_) | Cell::Kept)));
            assert_eq!(partial.listed.is_some(), partial.free > 0 && partial.class.is_some());
            assert!(partial.asked + partial.got > 0, "what nobody works on is no partial piece");
        }
        assert_eq!(cells, self.cells);
        for (class, list) in self.lists.iter().enumerate() {
            for (at, slot) in (0..).zip(list) {
                let partial = self.at(*slot);
                assert_eq!((partial.listed, partial.class), (Some(at), Some(class as u8)));
            }
        }
        for double in &self.doubles {
            let cell = self.at(double.slot).cells[double.number as usize];
            assert!(matches!(cell, Cell::Asked(who) if who != double.who));
        }
    }
}

impl<K> Partial<K> {
    fn empty(piece: PieceIndex) -> Self {
        Self {
            piece,
            free: 0,
            asked: 0,
            got: 0,
            speed: Speed::Medium,
            only: None,
            class: None,
            cells: Vec::new(),
            hint: 0,
            listed: None,
        }
    }
}

/// Blocks of pieces that are begun at once: 16 GiB of them, in a few megabytes of memory. When there are as many, those
/// pieces come first.
pub(super) const MAX_CELLS: usize = 1 << 20;
/// Pieces of up to 16 MiB keep their memory for the next one.
const MAX_KEPT_CELLS: usize = 1024;
