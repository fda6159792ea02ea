//! Policy: which block is asked for next.
//!
//! [`Picker`] knows which pieces are here, how many peers have each, and who was asked for which block. In order: what
//! readers wait for; then by priority: pieces that were begun, then the rarest, or the first if sequential; in the end
//! (endgame) what others were asked for already. It knows no time and no bytes.

mod choose;
mod evidence;
mod order;
mod partials;
mod run;
mod suspects;
mod swarm;

use self::order::{CLASSES, Order};
use self::partials::{Cell, Partials};
use self::suspects::Suspects;
use crate::base::{Bitfield, Block, PieceGrid, PieceIndex, Rng};
use core::fmt;
use core::str::FromStr;

pub use self::choose::Ask;
pub use self::evidence::Evidence;
pub use self::suspects::Parole;

/// How much a piece or a file is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Priority {
    /// Not at all.
    Skip,
    /// After all others.
    Low,
    /// As most are.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Skip => "skip",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        })
    }
}

impl FromStr for Priority {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Skip, Self::Low, Self::Normal, Self::High];
        all.into_iter()
            .find(|priority| priority.to_string() == text)
            .ok_or("must be skip, low, normal or high")
    }
}

/// How fast a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speed {
    /// It needs many seconds for a piece.
    Slow,
    /// What most are, and those of whom nothing is known.
    Medium,
    /// It needs less than a second or two for a piece.
    Fast,
}

/// What became of a block that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<K> {
    /// It was missing: write it. Otherwise it is here already, or it is no block of this torrent.
    pub fresh: bool,
    /// With it all blocks of its piece are here.
    pub piece_complete: bool,
    /// Others that were asked for it.
    pub cancel: Vec<K>,
}

/// How a piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceState {
    /// Here and right.
    Have,
    /// Begun: how many blocks are here, and how many were asked for.
    Partial {
        /// Blocks that are here.
        got: u32,
        /// Blocks that were asked for.
        asked: u32,
    },
    /// Wanted, and nobody was asked for it.
    Missing,
    /// Not wanted.
    Skipped,
}

/// Decides which blocks peers are asked for. `K` names a peer.
///
/// ```
/// use gosh_dl_core::base::{Bitfield, PieceGrid, Rng};
/// use gosh_dl_core::download::torrent::picker::{Ask, Picker, Speed};
///
/// let grid = PieceGrid::new(32 << 10, 64 << 10).unwrap();
/// let mut picker = Picker::new(grid, &Bitfield::new(2), Rng::from_seed([1; 32]));
/// let seed = Bitfield::full(2);
/// picker.peer_joined(&seed);
/// let mut blocks = Vec::new();
/// let ask = Ask { who: 'a', has: &seed, only: None, count: 9, speed: Speed::Fast };
/// picker.pick(&ask, &mut blocks);
/// assert_eq!(blocks.len(), 4);
/// for block in blocks {
///     let received = picker.received('a', block);
///     if received.piece_complete {
///         picker.passed(block.piece); // its hash is right
///     }
/// }
/// assert!(picker.is_complete());
/// ```
#[derive(Debug)]
pub struct Picker<K> {
    grid: PieceGrid,
    have: Bitfield,
    /// Neither here nor skipped.
    wanted: Bitfield,
    /// Bytes of the pieces that are not here.
    left: u64,
    /// `None` while all are normal.
    priorities: Option<Box<[Priority]>>,
    swarm: swarm::Swarm,
    /// What only a torrent needs that is being fetched.
    tables: Option<Box<Tables>>,
    partials: Partials<K>,
    /// The piece that each peer worked on last, ascending.
    last: Vec<(K, PieceIndex)>,
    suspects: Suspects<K>,
    /// Pieces that were wrong: one peer alone fetches each.
    retry: Vec<u32>,
    sequential: bool,
    urgent: Vec<PieceIndex>,
    /// Bytes that were asked for more than once.
    doubled: u64,
    cursor: u32,
    rng: Rng,
}

#[derive(Debug)]
struct Tables {
    order: Order,
    /// The pieces of `order` by class, to look for some by their number.
    open: [Bitfield; CLASSES],
    /// Byte of `open` before which there is none.
    first: [usize; CLASSES],
    /// Copies that the rarest piece had when the order was made.
    base: u16,
    /// Many counts changed at once since.
    stale: bool,
    /// Pieces begun since.
    begun: u32,
}

impl<K: Copy + Ord> Picker<K> {
    /// A picker for pieces of which `have` are here.
    pub fn new(grid: PieceGrid, have: &Bitfield, rng: Rng) -> Self {
        let mut wanted = Bitfield::full(grid.pieces());
        let mut left = grid.total();
        let mut known = Bitfield::new(grid.pieces());
        for piece in have.ones().filter_map(|index| grid.piece(index)) {
            known.insert(piece);
            wanted.remove(piece);
            left -= u64::from(grid.len_of(piece));
        }
        Self {
            grid,
            have: known,
            wanted,
            left,
            priorities: None,
            swarm: swarm::Swarm::default(),
            tables: None,
            partials: Partials::new(),
            last: Vec::new(),
            suspects: Suspects::new(),
            retry: Vec::new(),
            sequential: false,
            urgent: Vec::new(),
            doubled: 0,
            cursor: 0,
            rng,
        }
    }

    // ----- what is wanted --------------------------------------------------------------------------------------------

    /// A piece is wanted more or less from now on. Blocks of a piece that is not wanted any more may still come.
    pub fn set_priority(&mut self, piece: PieceIndex, priority: Priority) {
        if self.priority(piece) == priority {
            return;
        }
        let all = self.grid.pieces() as usize;
        self.priorities.get_or_insert_with(|| vec![Priority::Normal; all].into())[piece.index()] = priority;
        if self.have.has(piece) {
            return;
        }
        self.unfile(piece);
        self.want(piece);
        self.file(piece);
        if let Some(slot) = self.partial_of(piece) {
            self.partials.reclass(slot, class_of(priority));
        }
        self.rest();
    }

    /// How much a piece is wanted.
    pub fn priority(&self, piece: PieceIndex) -> Priority {
        self.priorities.as_ref().map_or(Priority::Normal, |priorities| priorities[piece.index()])
    }

    /// Pieces in their order from now on, or rarest first again.
    pub fn set_sequential(&mut self, sequential: bool) {
        self.sequential = sequential;
    }

    /// Pieces that are needed before all others, the first first; replaces those of before. Skipped ones are fetched
    /// too. No more than [`MAX_URGENT`] are kept.
    pub fn set_urgent(&mut self, pieces: impl IntoIterator<Item = PieceIndex>) {
        self.urgent.clear();
        let missing = pieces.into_iter().filter(|piece| !self.have.has(*piece));
        self.urgent.extend(missing.take(MAX_URGENT));
    }

    // ----- what came -------------------------------------------------------------------------------------------------

    /// A block of a piece that is wanted is here from an earlier life: nobody is asked for it, and nobody to blame. Of no
    /// piece all blocks are: one that lacks none is [`passed`](Self::passed) or fetched anew.
    pub fn inherit(&mut self, block: Block) {
        if !self.wanted.has(block.piece) || self.grid.block(block.piece, block.number()) != Some(block) {
            return;
        }
        let blocks = self.grid.blocks_in(block.piece);
        let slot = match self.partial_of(block.piece) {
            Some(slot) => slot,
            None if self.partials.has_room(blocks) => self.begin(block.piece, Speed::Medium, None),
            None => return,
        };
        self.partials.keep(slot, block.number());
    }

    /// A block came, asked for or not.
    pub fn received(&mut self, who: K, block: Block) -> Received<K> {
        let known =
            self.grid.block(block.piece, block.number()) == Some(block) && !self.have.has(block.piece);
        if !known {
            return Received { fresh: false, piece_complete: false, cancel: Vec::new() };
        }
        let slot =
            self.partial_of(block.piece).unwrap_or_else(|| self.begin(block.piece, Speed::Medium, None));
        let (fresh, cancel) = self.partials.received(slot, block.number(), who);
        let partial = self.partials.at(slot);
        Received { fresh, piece_complete: fresh && partial.got as usize == partial.cells.len(), cancel }
    }

    /// A block that `who` was asked for will not come: rejected, choked, cancelled, timed out.
    pub fn released(&mut self, who: K, block: Block) {
        if let Some(slot) = self.partial_of(block.piece)
            && self.grid.block(block.piece, block.number()) == Some(block)
            && self.partials.released(slot, block.number(), who)
        {
            self.end_if_idle(slot);
        }
    }

    /// A peer is gone; returns the blocks that it was asked for.
    pub fn released_all(&mut self, who: K) -> Vec<Block> {
        let mut lost = Vec::new();
        for slot in 0..self.partials.places() {
            let Some(partial) = self.partials.get(slot) else { continue };
            if partial.only == Some(who) {
                self.partials.at_mut(slot).only = None;
            }
            let partial = self.partials.at(slot);
            if partial.asked == 0 {
                continue;
            }
            let piece = partial.piece;
            for number in 0..u32::try_from(partial.cells.len()).unwrap_or(0) {
                if self.partials.released(slot, number, who) {
                    lost.extend(self.grid.block(piece, number));
                }
            }
            self.end_if_idle(slot);
        }
        if let Ok(at) = self.last.binary_search_by_key(&who, |(peer, _)| *peer) {
            self.last.remove(at);
        }
        self.suspects.forget(who);
        lost
    }

    /// What a peer has to do because it took part in wrong pieces; it is forgotten with the peer.
    pub fn parole(&self, who: K) -> Option<Parole> {
        self.suspects.parole(who)
    }

    /// A peer is one that had this to do when it left.
    pub fn set_parole(&mut self, who: K, parole: Parole) {
        self.suspects.set(who, parole);
    }

    /// A piece is here, and its hash is right.
    pub fn passed(&mut self, piece: PieceIndex) {
        if let Some(slot) = self.partial_of(piece) {
            if let Some(sole) = self.sole_sender(slot) {
                self.suspects.clear(sole);
            }
            self.end(slot);
        }
        self.retry.retain(|retry| *retry != piece.get());
        self.urgent.retain(|urgent| *urgent != piece);
        if self.have.insert(piece) {
            self.left -= u64::from(self.grid.len_of(piece));
            self.unfile(piece);
            self.want(piece);
            self.rest();
        }
    }

    /// The hash of a piece is wrong: it is fetched again, by one peer alone. Returns who is proved guilty: whoever sent
    /// all of it. Where several took part, each has to bring whole pieces alone until one is wrong; but where some of it
    /// is from an earlier life, that may be what is wrong, and nobody is suspected.
    pub fn failed(&mut self, piece: PieceIndex) -> Vec<K> {
        let mut guilty = Vec::new();
        if let Some(slot) = self.partial_of(piece) {
            if let Some(sole) = self.sole_sender(slot) {
                guilty.push(sole);
            } else if !self.partials.at(slot).cells.contains(&Cell::Kept) {
                self.senders(slot).into_iter().for_each(|who| self.suspects.add(who));
            }
            self.end(slot);
        }
        if self.retry.len() < MAX_RETRY && !self.retry.contains(&piece.get()) {
            self.retry.push(piece.get());
        }
        self.lost(piece);
        guilty
    }

    /// A piece is not here any more, or never was.
    pub fn lost(&mut self, piece: PieceIndex) {
        if self.have.remove(piece) {
            self.left += u64::from(self.grid.len_of(piece));
        }
        self.want(piece);
        self.file(piece);
    }

    /// Who sent which blocks of a piece that was begun.
    pub fn contributors(&self, piece: PieceIndex) -> Vec<(Block, K)> {
        let Some(partial) = self.partial_of(piece).map(|slot| self.partials.at(slot)) else {
            return Vec::new();
        };
        let sent = |(number, cell): (u32, &Cell<K>)| match cell {
            Cell::Got(who) => self.grid.block(piece, number).map(|block| (block, *who)),
            Cell::Free | Cell::Asked(_) | Cell::Kept => None,
        };
        (0..).zip(&partial.cells).filter_map(sent).collect()
    }

    // ----- views -----------------------------------------------------------------------------------------------------

    /// The pieces that are here.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Whether a piece is neither here nor skipped.
    pub fn wants(&self, piece: PieceIndex) -> bool {
        self.wanted.has(piece)
    }

    /// How many pieces a peer has that are wanted. Looks at every byte of the sets: to be asked when a peer joins or the
    /// wishes change; for a single *have* and a single piece that is here now, count with [`wants`](Self::wants).
    pub fn wanted_of(&self, has: &Bitfield) -> u32 {
        let both = self.wanted.as_bytes().iter().zip(has.as_bytes());
        both.map(|(wanted, has)| (wanted & has).count_ones()).sum()
    }

    /// Whether a peer has a piece that is wanted: whether it is interesting.
    pub fn wants_from(&self, has: &Bitfield) -> bool {
        self.wanted.as_bytes().iter().zip(has.as_bytes()).any(|(wanted, has)| wanted & has != 0)
    }

    /// Whether all that is wanted is here.
    pub fn is_complete(&self) -> bool {
        self.wanted.count() == 0
    }

    /// The bytes of the pieces that are not here, whether they are wanted or not.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// How a piece stands.
    pub fn state_of(&self, piece: PieceIndex) -> PieceState {
        if self.have.has(piece) {
            return PieceState::Have;
        }
        match self.partial_of(piece).map(|slot| self.partials.at(slot)) {
            Some(partial) => PieceState::Partial { got: partial.got, asked: partial.asked },
            None if self.wanted.has(piece) => PieceState::Missing,
            None => PieceState::Skipped,
        }
    }

    /// Requests that are under way, those for one block of several peers each by itself.
    pub fn in_flight(&self) -> usize {
        let asked: u32 =
            (0..self.partials.places()).filter_map(|slot| self.partials.get(slot)).map(|p| p.asked).sum();
        asked as usize + self.partials.doubles.len()
    }

    /// Pieces that were begun.
    pub fn partial_count(&self) -> usize {
        self.partials.len()
    }

    /// Panics where what is kept twice does not agree.
    #[cfg(any(test, feature = "fuzzing"))]
    fn check(&self) {
        self.partials.check();
        let missing = self.grid.all().filter(|piece| !self.have.has(*piece));
        assert_eq!(missing.map(|piece| u64::from(self.grid.len_of(piece))).sum::<u64>(), self.left);
        let Some(tables) = &self.tables else {
            assert!(self.partials.is_empty(), "where there is no table no piece is begun");
            return;
        };
        tables.order.check();
        for piece in self.grid.all() {
            let begun = tables.order.note(piece.get());
            assert!(begun.is_none_or(|slot| self.partials.at(slot).piece == piece));
            assert_eq!(tables.order.has(piece.get()), self.wanted.has(piece) && begun.is_none(), "{piece:?}");
            let classes = (0..CLASSES).filter(|class| tables.open[*class].has(piece));
            let open = class_of(self.priority(piece)).filter(|_| tables.order.has(piece.get()));
            assert!(classes.eq(open.map(usize::from)), "{piece:?}");
        }
    }

    // ----- inside ----------------------------------------------------------------------------------------------------

    fn partial_of(&self, piece: PieceIndex) -> Option<u32> {
        self.tables.as_ref()?.order.note(piece.get())
    }

    /// Begins a piece.
    fn begin(&mut self, piece: PieceIndex, speed: Speed, only: Option<K>) -> u32 {
        self.make_tables();
        self.unfile(piece);
        let class = class_of(self.priority(piece));
        let slot = self.partials.begin(piece, self.grid.blocks_in(piece), class);
        let partial = self.partials.at_mut(slot);
        (partial.speed, partial.only) = (speed, only);
        if let Some(tables) = &mut self.tables {
            tables.order.set_note(piece.get(), Some(slot));
            tables.begun = tables.begun.saturating_add(1);
        }
        slot
    }

    fn end(&mut self, slot: u32) {
        let piece = self.partials.at(slot).piece;
        self.partials.end(slot);
        if let Some(tables) = &mut self.tables {
            tables.order.set_note(piece.get(), None);
        }
    }

    /// A piece on which nobody works, and of which nothing is here, is as good as any other.
    fn end_if_idle(&mut self, slot: u32) {
        let partial = self.partials.at(slot);
        if partial.asked + partial.got == 0 {
            let piece = partial.piece;
            self.end(slot);
            self.file(piece);
        }
    }

    /// Who sent all of a piece, if that was one.
    fn sole_sender(&self, slot: u32) -> Option<K> {
        let cells = &self.partials.at(slot).cells;
        let Some(Cell::Got(first)) = cells.first() else { return None };
        cells.iter().all(|cell| *cell == Cell::Got(*first)).then_some(*first)
    }

    fn senders(&self, slot: u32) -> Vec<K> {
        let sender = |cell: &Cell<K>| if let Cell::Got(who) = cell { Some(*who) } else { None };
        let mut senders: Vec<K> = self.partials.at(slot).cells.iter().filter_map(sender).collect();
        senders.sort_unstable();
        senders.dedup();
        senders
    }

    /// Brings `wanted` up to date with one piece.
    fn want(&mut self, piece: PieceIndex) {
        if !self.have.has(piece) && self.priority(piece) != Priority::Skip {
            self.wanted.insert(piece);
        } else {
            self.wanted.remove(piece);
        }
    }
}

/// The class of pieces of a priority; none for those that are skipped.
fn class_of(priority: Priority) -> Option<u8> {
    match priority {
        Priority::Skip => None,
        Priority::Low => Some(2),
        Priority::Normal => Some(1),
        Priority::High => Some(0),
    }
}

/// Pieces that readers need at once: see `readers`.
pub const MAX_URGENT: usize = 512;
/// Wrong pieces that are remembered; more than that are fetched as any other.
const MAX_RETRY: usize = 64;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod model;
#[cfg(test)]
mod tests;
