//! Policy: in which order blocks are given to those who ask.

use super::order::CLASSES;
use super::partials::{Cell, Double};
use super::{Picker, Speed};
use crate::base::{Bitfield, Block, PieceIndex};

/// A peer that could be asked for more.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a, K> {
    /// Its name.
    pub who: K,
    /// The pieces that it has.
    pub has: &'a Bitfield,
    /// While it chokes: the pieces that may be asked for all the same (BEP 6, allowed fast).
    pub only: Option<&'a [PieceIndex]>,
    /// How many blocks at most.
    pub count: usize,
    /// How fast it is.
    pub speed: Speed,
}

/// What is left to give.
struct Turn<'a, 'b, K> {
    ask: &'b Ask<'a, K>,
    left: usize,
    parole: bool,
    out: &'b mut Vec<Block>,
}

impl<K: Copy + Ord> Picker<K> {
    /// Adds to `out` the blocks that the peer is to be asked for, which count as asked for until they are
    /// [`received`](Self::received) or [`released`](Self::released). The pieces that it has must have been counted
    /// ([`peer_joined`](Self::peer_joined)), or it is not known how rare they are.
    pub fn pick(&mut self, ask: &Ask<'_, K>, out: &mut Vec<Block>) {
        if ask.count == 0 || (self.is_complete() && self.urgent.is_empty()) {
            return;
        }
        self.refresh();
        let parole = self.suspects.has(ask.who);
        let mut turn = Turn { ask, left: ask.count, parole, out };
        if let Some(only) = ask.only {
            for piece in only.iter().take(MAX_ONLY) {
                if self.wanted.has(*piece) {
                    self.give_piece(&mut turn, *piece);
                }
            }
            return;
        }
        self.give_urgent(&mut turn);
        for class in 0..CLASSES {
            if turn.left > 0 {
                self.give_class(&mut turn, class);
            }
        }
        if turn.left > 0 {
            self.give_any(&mut turn);
        }
        // Nothing is left that a suspect could bring alone. It may as well be the only one who has the rest; should it
        // lie, its blocks tell.
        if turn.left == ask.count && core::mem::take(&mut turn.parole) {
            self.give_any(&mut turn);
            return;
        }
        // Nothing is left that nobody was asked for.
        if turn.left == ask.count {
            self.give_again(&mut turn);
        }
    }

    // ----- readers ---------------------------------------------------------------------------------------------------

    fn give_urgent(&mut self, turn: &mut Turn<'_, '_, K>) {
        for at in 0..self.urgent.len() {
            if turn.left == 0 {
                return;
            }
            let piece = self.urgent[at];
            self.give_piece(turn, piece);
        }
        // A reader waits for these: what slower peers were asked for is asked for again.
        for at in 0..self.urgent.len().min(URGENT_AGAIN) {
            let slot = self.partial_of(self.urgent[at]);
            let slot = slot.filter(|slot| self.partials.at(*slot).speed < turn.ask.speed);
            if let Some(slot) = slot.filter(|slot| turn.ask.has.has(self.partials.at(*slot).piece)) {
                self.double(turn, slot);
            }
        }
    }

    /// Gives blocks of one piece, if the peer has it and there are any.
    fn give_piece(&mut self, turn: &mut Turn<'_, '_, K>, piece: PieceIndex) {
        if turn.left == 0 || !turn.ask.has.has(piece) || self.have.has(piece) {
            return;
        }
        match self.partial_of(piece) {
            Some(slot) if self.may_join(turn, slot) => self.give(turn, slot),
            Some(_) => {}
            None => self.give_new(turn, piece),
        }
    }

    // ----- by priority -----------------------------------------------------------------------------------------------

    /// Pieces that were begun, its own first, then new ones.
    fn give_class(&mut self, turn: &mut Turn<'_, '_, K>, class: usize) {
        if !self.partials.lists[class].is_empty() {
            self.give_own(turn, class);
            self.give_shared(turn, class);
        }
        while turn.left > 0 {
            let Some(piece) = self.find_new(turn.ask, class) else { break };
            if !self.partials.has_room(self.grid.blocks_in(piece)) {
                break;
            }
            self.give_new(turn, piece);
        }
    }

    fn give_own(&mut self, turn: &mut Turn<'_, '_, K>, class: usize) {
        let Ok(at) = self.last.binary_search_by_key(&turn.ask.who, |(peer, _)| *peer) else { return };
        let piece = self.last[at].1;
        let Some(slot) = self.partial_of(piece) else { return };
        let partial = self.partials.at(slot);
        let fits = partial.free > 0 && partial.class.is_some_and(|own| usize::from(own) == class);
        if fits && turn.ask.has.has(piece) && self.may_join(turn, slot) {
            self.give(turn, slot);
        }
    }

    /// Pieces of peers that are as fast: a slow one in a fast piece would keep it from being whole.
    fn give_shared(&mut self, turn: &mut Turn<'_, '_, K>, class: usize) {
        while turn.left > 0 {
            let list = &self.partials.lists[class];
            let looked = list.iter().rev().take(MAX_LOOK).copied();
            let fits = |slot: &u32| {
                let partial = self.partials.at(*slot);
                let alike = partial.speed == turn.ask.speed || partial.asked == 0;
                // The first pieces are shared by all: without any there is nothing to trade with.
                (alike || self.have.count() < FIRST_PIECES)
                    && turn.ask.has.has(partial.piece)
                    && self.may_join(turn, *slot)
            };
            let key = |slot: &u32| {
                let partial = self.partials.at(*slot);
                if self.sequential { partial.piece.get() } else { partial.free }
            };
            let Some(slot) = looked.filter(fits).min_by_key(key) else { return };
            self.give(turn, slot);
        }
    }

    /// Any piece that was begun.
    fn give_any(&mut self, turn: &mut Turn<'_, '_, K>) {
        for class in 0..CLASSES {
            let mut at = 0;
            while let Some(slot) = self.partials.lists[class].get(at).copied().filter(|_| turn.left > 0) {
                let has = turn.ask.has.has(self.partials.at(slot).piece);
                if has && self.may_join(turn, slot) {
                    self.give(turn, slot);
                }
                // The last one takes the place of one that has no free block any more.
                if self.partials.lists[class].get(at) == Some(&slot) {
                    at += 1;
                }
            }
        }
    }

    /// Whether the peer may take part in a piece: suspects work alone, and nobody joins them.
    fn may_join(&self, turn: &Turn<'_, '_, K>, slot: u32) -> bool {
        match self.partials.at(slot).only {
            Some(only) => only == turn.ask.who,
            None => !turn.parole,
        }
    }

    fn give_new(&mut self, turn: &mut Turn<'_, '_, K>, piece: PieceIndex) {
        let alone = turn.parole || self.retry.contains(&piece.get());
        let slot = self.begin(piece, turn.ask.speed, alone.then_some(turn.ask.who));
        self.give(turn, slot);
    }

    fn give(&mut self, turn: &mut Turn<'_, '_, K>, slot: u32) {
        let before = turn.out.len();
        self.partials.take(slot, turn.ask.who, &self.grid, turn.left, turn.out);
        turn.left -= turn.out.len() - before;
        let piece = self.partials.at(slot).piece;
        match self.last.binary_search_by_key(&turn.ask.who, |(peer, _)| *peer) {
            Ok(at) => self.last[at].1 = piece,
            Err(at) if self.last.len() < MAX_PEERS => self.last.insert(at, (turn.ask.who, piece)),
            Err(_) => {}
        }
    }

    // ----- new pieces ------------------------------------------------------------------------------------------------

    /// The best piece of a class that nobody was asked for.
    fn find_new(&mut self, ask: &Ask<'_, K>, class: usize) -> Option<PieceIndex> {
        let tables = self.tables.as_deref_mut()?;
        if tables.order.is_empty(class) {
            return None;
        }
        let open = tables.open[class].as_bytes();
        while open.get(tables.first[class]) == Some(&0) {
            tables.first[class] += 1;
        }
        let first = tables.first[class];
        if self.sequential {
            return common(open, ask.has, first..open.len()).and_then(|index| self.grid.piece(index));
        }
        if self.have.count() < FIRST_PIECES {
            return self.find_any(ask, class, 1);
        }
        if let Some(piece) = self.find_rarest(ask, class) {
            return Some(piece);
        }
        self.find_any(ask, class, SAMPLES)
    }

    /// The rarest piece that the peer has, if it is among the first that are looked at.
    fn find_rarest(&mut self, ask: &Ask<'_, K>, class: usize) -> Option<PieceIndex> {
        let tables = self.tables.as_deref_mut()?;
        let mut looks = MAX_RARE_LOOK;
        for bucket in tables.order.buckets(class) {
            let pieces = tables.order.bucket(bucket);
            let looked = &pieces[..looks.min(pieces.len())];
            if let Some(found) = looked.iter().find(|piece| ask.has.get(**piece)) {
                return self.grid.piece(*found);
            }
            looks -= looked.len();
            if looks == 0 {
                break;
            }
        }
        None
    }

    /// The rarest of a few pieces at a random place.
    fn find_any(&mut self, ask: &Ask<'_, K>, class: usize, samples: usize) -> Option<PieceIndex> {
        let tables = self.tables.as_deref()?;
        let open = tables.open[class].as_bytes();
        let first = tables.first[class].min(open.len());
        let span = (open.len() - first) as u64;
        let from = first + usize::try_from(self.rng.below(span)).unwrap_or(0);
        let mut best: Option<(u16, u32)> = None;
        let mut found = 0;
        for range in [from..open.len(), first..from] {
            let mut at = range.start;
            while found < samples
                && let Some(index) = common(open, ask.has, at..range.end)
            {
                let copies = self.swarm.copies(index);
                if best.is_none_or(|(fewest, _)| copies < fewest) {
                    best = Some((copies, index));
                }
                found += 1;
                at = index as usize / 8 + 1;
            }
        }
        best.and_then(|(_, index)| self.grid.piece(index))
    }

    // ----- endgame ---------------------------------------------------------------------------------------------------

    /// All that anybody has was asked for: what others have not sent yet is asked for again.
    fn give_again(&mut self, turn: &mut Turn<'_, '_, K>) {
        let places = self.partials.places();
        if places == 0 || self.is_something_open() {
            return;
        }
        turn.left = turn.left.min(MAX_AGAIN);
        for _ in 0..places.min(MAX_LOOK_AGAIN) {
            if turn.left == 0 {
                break;
            }
            self.cursor = (self.cursor + 1) % places;
            let Some(partial) = self.partials.get(self.cursor) else { continue };
            // A slow peer would only waste what a fast one sends in a moment.
            let fits = partial.class.is_some() && partial.speed <= turn.ask.speed;
            if fits && turn.ask.has.has(partial.piece) {
                self.double(turn, self.cursor);
            }
        }
    }

    /// Whether some peer has a piece that nobody was asked for.
    fn is_something_open(&mut self) -> bool {
        let Some(tables) = self.tables.as_deref_mut() else { return false };
        let nobody_has = |piece: &u32| self.swarm.copies(*piece) == 0 && self.swarm.seeds == 0;
        (0..CLASSES).any(|class| {
            let buckets = tables.order.buckets(class);
            buckets.clone().any(|bucket| {
                // Pieces of equal rank are alike, but for those that the order has not heard of yet.
                tables.order.bucket(bucket).iter().take(MAX_LOOK).any(|piece| !nobody_has(piece))
            })
        })
    }

    /// Asks for blocks of one piece that others were asked for.
    fn double(&mut self, turn: &mut Turn<'_, '_, K>, slot: u32) {
        let partial = self.partials.at(slot);
        if partial.only.is_some() || partial.asked == 0 {
            return;
        }
        let piece = partial.piece;
        for number in 0..u32::try_from(partial.cells.len()).unwrap_or(0) {
            let allowed = (self.grid.total() / DOUBLED_SHARE).max(DOUBLED_LEAST);
            let Some(block) = self.grid.block(piece, number) else { break };
            let spent = self.doubled + u64::from(block.len);
            if turn.left == 0 || self.partials.doubles.len() >= MAX_DOUBLES || spent > allowed {
                return;
            }
            let cell = self.partials.at(slot).cells[number as usize];
            let Cell::Asked(asked) = cell else { continue };
            let of_block = self.partials.doubles.iter().filter(|d| (d.slot, d.number) == (slot, number));
            let who = turn.ask.who;
            if asked == who || of_block.clone().any(|d| d.who == who) || of_block.count() >= MAX_COPIES - 1 {
                continue;
            }
            self.partials.doubles.push(Double { slot, number, who });
            self.doubled = spent;
            turn.left -= 1;
            turn.out.push(block);
        }
    }
}

/// The first bit that is set in both, within a range of bytes.
fn common(open: &[u8], has: &Bitfield, range: core::ops::Range<usize>) -> Option<u32> {
    let has = has.as_bytes();
    let end = range.end.min(open.len()).min(has.len());
    let start = range.start.min(end);
    let (open_words, open_rest) = open[start..end].as_chunks::<8>();
    let (has_words, has_rest) = has[start..end].as_chunks::<8>();
    let number = |byte: usize, zeros: u32| u32::try_from(byte * 8).ok().map(|bit| bit + zeros);
    let words =
        open_words.iter().zip(has_words).map(|(a, b)| u64::from_be_bytes(*a) & u64::from_be_bytes(*b));
    if let Some((at, word)) = words.enumerate().find(|(_, word)| *word != 0) {
        return number(start + at * 8, word.leading_zeros());
    }
    let rest = open_rest.iter().zip(has_rest).map(|(a, b)| a & b);
    let (at, byte) = rest.enumerate().find(|(_, byte)| *byte != 0)?;
    number(start + open_words.len() * 8 + at, byte.leading_zeros())
}

/// Until so many pieces are here they are taken at random: the rarest are slow to get, and there is nothing to trade with.
const FIRST_PIECES: u32 = 4;
/// Allowed fast sets are of ten pieces (BEP 6).
const MAX_ONLY: usize = 64;
/// Pieces begun by others that one question looks at.
const MAX_LOOK: usize = 32;
/// Pieces in order of rarity that one question looks at: a peer that has none of so many is asked for the rarest of
/// [`SAMPLES`] others.
const MAX_RARE_LOOK: usize = 256;
const SAMPLES: usize = 16;
/// More peers than a torrent has; the others work as well without a piece of their own.
const MAX_PEERS: usize = 10_000;
/// Peers that are asked for one block.
pub(super) const MAX_COPIES: usize = 3;
/// Blocks that are asked for of more than one peer at a time.
const MAX_DOUBLES: usize = 512;
/// Of all bytes one in so many is asked for more than once at most, or as much as the least.
const DOUBLED_SHARE: u64 = 20;
const DOUBLED_LEAST: u64 = 64 << 10;
/// Blocks that one peer is asked for again at a time, so that others have their share of the end.
const MAX_AGAIN: usize = 16;
/// Pieces that are looked at for it.
const MAX_LOOK_AGAIN: u32 = 64;
/// Pieces at the front of a reader that are asked for again.
const URGENT_AGAIN: usize = 2;
