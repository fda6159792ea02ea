//! Policy: how many peers have each piece.

use super::order::{CLASSES, Order, RANKS};
use super::partials::Partials;
use super::{Picker, Tables, class_of};
use crate::base::{Bitfield, PieceIndex};

/// The copies of each piece among the connected peers.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    /// Peers that have everything, which are in no count.
    pub(super) seeds: u32,
    /// All others.
    others: u32,
    /// Copies of each piece among the others; empty where there are none.
    copies: Vec<u16>,
}

impl Swarm {
    /// How many of the others have a piece.
    pub(super) fn copies(&self, piece: u32) -> u16 {
        self.copies.get(piece as usize).copied().unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        self.seeds + self.others == 0
    }

    fn make_room(&mut self, pieces: u32) {
        if self.copies.is_empty() {
            self.copies = vec![0; pieces as usize];
        }
    }

    /// One seed counts as a peer like any other from now on: it has lost a piece.
    fn count_a_seed(&mut self, pieces: u32) {
        self.make_room(pieces);
        self.seeds -= 1;
        self.others += 1;
        self.copies.iter_mut().for_each(|copies| *copies = copies.saturating_add(1));
    }
}

impl<K: Copy + Ord> Picker<K> {
    /// A peer is connected and has these pieces.
    pub fn peer_joined(&mut self, has: &Bitfield) {
        if has.is_full() {
            self.swarm.seeds += 1;
            return;
        }
        self.swarm.others += 1;
        self.swarm.make_room(self.grid.pieces());
        self.count(has, true);
    }

    /// A peer is gone, which had these pieces in the end.
    pub fn peer_left(&mut self, has: &Bitfield) {
        if has.is_full() && self.swarm.seeds > 0 {
            self.swarm.seeds -= 1;
        } else {
            // A seed that lost pieces, or a peer that became a seed: who is counted as what makes no difference to sums.
            if self.swarm.seeds > 0 && has.ones().any(|piece| self.swarm.copies(piece) == 0) {
                self.swarm.count_a_seed(self.grid.pieces());
                self.stale();
            }
            self.swarm.others = self.swarm.others.saturating_sub(1);
            self.count(has, false);
        }
        if self.swarm.is_empty() {
            self.swarm.copies = Vec::new();
            self.rest();
        }
    }

    /// A peer has one piece more.
    pub fn peer_got(&mut self, piece: PieceIndex) {
        self.swarm.make_room(self.grid.pieces());
        self.adjust(piece.get(), true);
    }

    /// A peer has one piece less (`lt_donthave`, BEP 54).
    pub fn peer_lost(&mut self, piece: PieceIndex) {
        if self.swarm.copies(piece.get()) == 0 && self.swarm.seeds > 0 {
            self.swarm.count_a_seed(self.grid.pieces());
            self.stale();
        }
        self.adjust(piece.get(), false);
    }

    /// How many connected peers have a piece.
    pub fn availability(&self, piece: PieceIndex) -> u32 {
        self.swarm.seeds + u32::from(self.swarm.copies(piece.get()))
    }

    /// How many whole copies the connected peers have together: the copies of the rarest piece, and after the point the
    /// share of the pieces of which there are more.
    pub fn distributed_copies(&self) -> f64 {
        let seeds = f64::from(self.swarm.seeds);
        let Some(rarest) = self.swarm.copies.iter().min() else { return seeds };
        let more = self.swarm.copies.iter().filter(|copies| *copies > rarest).count();
        seeds + f64::from(*rarest) + more as f64 / self.swarm.copies.len() as f64
    }

    fn count(&mut self, has: &Bitfield, more: bool) {
        let few = u64::from(has.count()) * FEW < u64::from(self.grid.pieces());
        if few || self.tables.is_none() {
            for piece in has.ones() {
                self.adjust(piece, more);
            }
            return;
        }
        for (copies, &byte) in self.swarm.copies.chunks_mut(8).zip(has.as_bytes()) {
            for (bit, copies) in copies.iter_mut().enumerate() {
                let one = u16::from(byte & (0x80 >> bit) != 0);
                *copies = if more { copies.saturating_add(one) } else { copies.saturating_sub(one) };
            }
        }
        self.stale();
    }

    fn adjust(&mut self, piece: u32, more: bool) {
        let Some(copies) = self.swarm.copies.get_mut(piece as usize) else { return };
        let before = *copies;
        *copies = if more { before.saturating_add(1) } else { before.saturating_sub(1) };
        let after = *copies;
        let Some(tables) = &mut self.tables else { return };
        // Those that are rarer than the rarest was are not told apart until the order is made anew.
        tables.stale |= after < tables.base;
        if !tables.order.has(piece) || rank(before, tables.base) == rank(after, tables.base) {
            return;
        }
        if more {
            tables.order.more_common(piece, &mut self.rng);
        } else {
            tables.order.more_rare(piece, &mut self.rng);
        }
    }

    fn stale(&mut self) {
        if let Some(tables) = &mut self.tables {
            tables.stale = true;
        }
    }

    // ----- the order -------------------------------------------------------------------------------------------------

    /// Makes the order, if there is none.
    pub(super) fn make_tables(&mut self) {
        if self.tables.is_some() {
            return;
        }
        let pieces = self.grid.pieces();
        let tables = Tables {
            order: Order::new(pieces),
            open: core::array::from_fn(|_| Bitfield::new(pieces)),
            first: [0; CLASSES],
            base: 0,
            stale: false,
            begun: 0,
        };
        self.tables = Some(Box::new(tables));
        let mut fresh: Vec<u32> = self.wanted.ones().collect();
        for at in (1..fresh.len()).rev() {
            let other = usize::try_from(self.rng.below(at as u64 + 1)).unwrap_or(0);
            fresh.swap(at, other);
        }
        for piece in fresh.iter().filter_map(|piece| self.grid.piece(*piece)) {
            let class = class_of(self.priority(piece));
            if let (Some(tables), Some(class)) = (&mut self.tables, class) {
                tables.open[usize::from(class)].insert(piece);
            }
        }
        self.rebuild(&fresh);
    }

    /// Brings the order up to date if that is due: with many pieces, after as much work as it costs.
    pub(super) fn refresh(&mut self) {
        self.make_tables();
        let pieces = self.grid.pieces();
        let due = |tables: &Tables| tables.stale && (pieces <= SMALL || tables.begun >= pieces / WORTH);
        if self.tables.as_ref().is_some_and(|tables| due(tables)) {
            self.rebuild(&[]);
        }
    }

    fn rebuild(&mut self, fresh: &[u32]) {
        let Some(mut tables) = self.tables.take() else { return };
        let filed = (0..CLASSES).flat_map(|class| tables.open[class].ones());
        tables.base = filed.map(|piece| self.swarm.copies(piece)).min().unwrap_or(0);
        let base = tables.base;
        tables.order.rebuild(fresh, |piece| self.bucket_of(piece, base));
        tables.stale = false;
        tables.begun = 0;
        self.tables = Some(tables);
    }

    /// Where a piece that is wanted belongs.
    fn bucket_of(&self, piece: u32, base: u16) -> usize {
        let class = self.grid.piece(piece).and_then(|piece| class_of(self.priority(piece))).unwrap_or(0);
        usize::from(class) * RANKS + rank(self.swarm.copies(piece), base)
    }

    /// Puts a piece into the order, if it is wanted and nobody works on it.
    pub(super) fn file(&mut self, piece: PieceIndex) {
        let base = self.tables.as_ref().map_or(0, |tables| tables.base);
        let bucket = self.bucket_of(piece.get(), base);
        let Some(tables) = &mut self.tables else { return };
        let order = &mut tables.order;
        if self.wanted.has(piece) && !order.has(piece.get()) && order.note(piece.get()).is_none() {
            tables.stale |= self.swarm.copies(piece.get()) < base;
            order.insert(piece.get(), bucket, &mut self.rng);
            let class = bucket / RANKS;
            tables.open[class].insert(piece);
            tables.first[class] = tables.first[class].min(piece.index() / 8);
        }
    }

    /// Takes a piece out of the order, if it is there.
    pub(super) fn unfile(&mut self, piece: PieceIndex) {
        let Some(tables) = &mut self.tables else { return };
        if tables.order.has(piece.get()) {
            tables.order.remove(piece.get());
            tables.open.iter_mut().for_each(|open| _ = open.remove(piece));
        }
    }

    /// A torrent that fetches nothing costs no memory for it.
    pub(super) fn rest(&mut self) {
        if self.partials.is_empty() && (self.is_complete() || self.swarm.is_empty()) {
            self.tables = None;
            self.partials = Partials::new();
        }
    }
}

/// What a rank says: how many copies there are beyond those of the rarest.
fn rank(copies: u16, base: u16) -> usize {
    usize::from(copies.saturating_sub(base)).min(RANKS - 1)
}

/// Sets of less than one piece in so many are counted piece by piece, others in one go over all.
const FEW: u64 = 16;
/// With so many pieces the order is made in some 20 µs: it is always exact.
const SMALL: u32 = 4096;
/// Otherwise it is made anew after one piece in so many was begun, so that it costs each less than a microsecond.
const WORTH: u32 = 64;
