//! Policy: a picker that is too slow to be wrong, beside the true one, for any list of operations.

use super::{Ask, Picker, Priority, Speed};
use crate::base::{Bitfield, Block, PieceGrid, PieceIndex, Rng};
use std::collections::{BTreeMap, BTreeSet};

type Peer = u8;

/// Two bytes say how large the torrent is; each three that follow are one operation. Panics where the picker does
/// something that it must not do.
pub(crate) fn run(data: &[u8]) {
    let [pieces, blocks, ops @ ..] = data else { return };
    let (pieces, blocks) = (u64::from(pieces % 40) + 1, u32::from(blocks % 4) + 1);
    let piece_len = blocks * (16 << 10);
    let Some(grid) = PieceGrid::new(piece_len, pieces * u64::from(piece_len) - 5000) else { return };
    let mut world = World::new(grid);
    for op in ops.as_chunks::<3>().0.iter().take(MAX_OPS) {
        world.step(op[0] % 20, op[1], op[2]);
        world.picker.check();
        world.compare();
    }
}

struct World {
    grid: PieceGrid,
    picker: Picker<Peer>,
    peers: BTreeMap<Peer, Bitfield>,
    have: BTreeSet<PieceIndex>,
    asked: BTreeMap<Block, BTreeSet<Peer>>,
    got: BTreeMap<Block, Peer>,
    priorities: BTreeMap<PieceIndex, Priority>,
    urgent: Vec<PieceIndex>,
    sequential: bool,
    /// Some pieces may be for one peer alone.
    alone: bool,
    doubled: u64,
}

impl World {
    fn new(grid: PieceGrid) -> Self {
        let picker = Picker::new(grid, &Bitfield::new(grid.pieces()), Rng::from_seed([3; 32]));
        Self {
            grid,
            picker,
            peers: BTreeMap::new(),
            have: BTreeSet::new(),
            asked: BTreeMap::new(),
            got: BTreeMap::new(),
            priorities: BTreeMap::new(),
            urgent: Vec::new(),
            sequential: false,
            alone: false,
            doubled: 0,
        }
    }

    fn step(&mut self, op: u8, a: u8, b: u8) {
        let peer = a % 6;
        let piece = self.grid.piece(u32::from(b) % self.grid.pieces()).expect("a piece of the grid");
        match op {
            0 | 1 => self.join(peer, b),
            2 => self.leave(peer),
            3 => self.have(peer, piece),
            4 => self.dont_have(peer, piece),
            5..=9 => self.pick(peer, b),
            10..=12 => self.receive(peer, b),
            13 => self.release(peer, b),
            14 => self.prioritise(piece, a),
            15 => self.hurry(a, b),
            16 => {
                self.sequential = a.is_multiple_of(2);
                self.picker.set_sequential(self.sequential);
            }
            17 => self.verify(a, b),
            18 => self.surprise(peer, piece, a),
            _ if a < 128 => self.run(peer, b),
            _ if a >= 192 => self.inherit(piece, a),
            _ => {
                self.have.remove(&piece);
                self.picker.lost(piece);
            }
        }
    }

    fn join(&mut self, peer: Peer, pattern: u8) {
        if self.peers.contains_key(&peer) {
            return;
        }
        let mut has = Bitfield::new(self.grid.pieces());
        let chosen = |piece: &PieceIndex| match pattern % 4 {
            0 => true,
            1 => false,
            _ => (piece.get() * 7 + 3).wrapping_mul(u32::from(pattern)) >> 3 & 1 == 1,
        };
        self.grid.all().filter(chosen).for_each(|piece| _ = has.insert(piece));
        self.picker.peer_joined(&has);
        self.peers.insert(peer, has);
    }

    fn leave(&mut self, peer: Peer) {
        let Some(has) = self.peers.remove(&peer) else { return };
        let lost: BTreeSet<_> = self.picker.released_all(peer).into_iter().collect();
        let mine: BTreeSet<_> = self.asked_of(peer).into_iter().collect();
        assert_eq!(lost, mine, "all that it was asked for is free again");
        mine.iter().for_each(|block| self.unask(peer, *block));
        self.picker.peer_left(&has);
    }

    fn have(&mut self, peer: Peer, piece: PieceIndex) {
        if self.peers.get_mut(&peer).is_some_and(|has| has.insert(piece)) {
            self.picker.peer_got(piece);
        }
    }

    fn dont_have(&mut self, peer: Peer, piece: PieceIndex) {
        if self.peers.get_mut(&peer).is_some_and(|has| has.remove(piece)) {
            self.picker.peer_lost(piece);
        }
    }

    fn pick(&mut self, who: Peer, b: u8) {
        let Some(has) = self.peers.get(&who).cloned() else { return };
        let speed = [Speed::Slow, Speed::Medium, Speed::Fast][usize::from(b >> 3) % 3];
        let only: Vec<PieceIndex> = self.grid.all().filter(|piece| piece.get() % 5 == 0).collect();
        let only = (b >> 6 == 3).then_some(&only[..]);
        let ask = Ask { who, has: &has, only, count: usize::from(b % 8) + 1, speed };
        let mut out = Vec::new();
        self.picker.pick(&ask, &mut out);
        assert!(out.len() <= ask.count);
        self.check_rarity(&ask, &out);
        for block in &out {
            self.check_block(&ask, *block);
            self.asked.entry(*block).or_default().insert(who);
        }
        let more =
            |block: &Block| ask.has.has(block.piece) && self.is_free(*block) && self.is_wanted(block.piece);
        if out.len() < ask.count && only.is_none() && !self.alone {
            let missed = self.all_blocks().find(more);
            let doubled = out.iter().any(|block| self.asked[block].len() > 1);
            assert!(missed.is_none() || doubled, "{missed:?} was not given");
        }
    }

    fn check_block(&mut self, ask: &Ask<'_, Peer>, block: Block) {
        assert!(ask.has.has(block.piece) && ask.only.is_none_or(|only| only.contains(&block.piece)));
        assert!(!self.have.contains(&block.piece) && !self.got.contains_key(&block), "{block:?} is here");
        assert!(self.is_wanted(block.piece) || self.urgent.contains(&block.piece), "{block:?} is skipped");
        let others = self.asked.get(&block).cloned().unwrap_or_default();
        assert!(!others.contains(&ask.who), "{block:?} twice of one peer");
        assert!(others.len() < super::choose::MAX_COPIES);
        if !others.is_empty() {
            self.doubled += u64::from(block.len);
            assert!(self.doubled <= (self.grid.total() / 20).max(64 << 10), "too much is asked for twice");
        }
    }

    /// Each new piece is the rarest of its class that the peer has, and none of a better class is left.
    fn check_rarity(&self, ask: &Ask<'_, Peer>, out: &[Block]) {
        if self.sequential || !self.urgent.is_empty() || self.have.len() < 4 || ask.only.is_some() {
            return;
        }
        let fresh = |piece: &PieceIndex| self.grid.blocks(*piece).all(|block| self.is_free(block));
        let mut open: BTreeSet<PieceIndex> =
            self.grid.all().filter(|p| self.is_wanted(*p) && ask.has.has(*p) && fresh(p)).collect();
        for block in out.iter().filter(|block| block.begin == 0) {
            if !open.contains(&block.piece) {
                continue;
            }
            let (priority, copies) = (self.priority(block.piece), self.copies(block.piece));
            for other in &open {
                let worse = self.priority(*other) < priority;
                let equal = self.priority(*other) == priority && self.copies(*other) >= copies;
                assert!(worse || equal, "{other:?} would have been better than {block:?}");
            }
            open.remove(&block.piece);
        }
    }

    fn receive(&mut self, peer: Peer, b: u8) {
        let mine = self.asked_of(peer);
        let Some(block) = mine.get(usize::from(b) % mine.len().max(1)) else { return };
        self.deliver(peer, *block);
    }

    /// A block that nobody asked for, or that is here already.
    fn surprise(&mut self, peer: Peer, piece: PieceIndex, a: u8) {
        let number = u32::from(a) % self.grid.blocks_in(piece);
        let block = self.grid.block(piece, number).expect("a block of the piece");
        self.deliver(peer, block);
        let odd = self.picker.received(peer, Block { len: block.len + 1, ..block });
        assert!(!odd.fresh && odd.cancel.is_empty());
    }

    /// A block is here from an earlier life; never the last of its piece.
    fn inherit(&mut self, piece: PieceIndex, a: u8) {
        let number = u32::from(a) % self.grid.blocks_in(piece);
        let block = self.grid.block(piece, number).expect("a block of the piece");
        let missing = self.grid.blocks(piece).filter(|block| !self.got.contains_key(block)).count();
        if missing > 1 {
            self.picker.inherit(block);
            if self.is_wanted(piece) && self.is_free(block) {
                self.got.insert(block, NOBODY);
            }
        }
    }

    fn deliver(&mut self, peer: Peer, block: Block) {
        let received = self.picker.received(peer, block);
        let fresh = !self.have.contains(&block.piece) && !self.got.contains_key(&block);
        assert_eq!(received.fresh, fresh);
        if !fresh {
            return;
        }
        let mut others = self.asked.remove(&block).unwrap_or_default();
        others.remove(&peer);
        let cancel: BTreeSet<Peer> = received.cancel.iter().copied().collect();
        assert_eq!(cancel, others);
        assert_eq!(cancel.len(), received.cancel.len(), "each once");
        self.got.insert(block, peer);
        let whole = self.grid.blocks(block.piece).all(|block| self.got.contains_key(&block));
        assert_eq!(received.piece_complete, whole);
    }

    fn release(&mut self, peer: Peer, b: u8) {
        let mine = self.asked_of(peer);
        let Some(block) = mine.get(usize::from(b) % mine.len().max(1)) else { return };
        self.picker.released(peer, *block);
        self.unask(peer, *block);
        self.picker.released(peer, *block);
    }

    fn prioritise(&mut self, piece: PieceIndex, a: u8) {
        let priority = [Priority::Skip, Priority::Low, Priority::Normal, Priority::High][usize::from(a % 4)];
        self.picker.set_priority(piece, priority);
        self.priorities.insert(piece, priority);
    }

    fn hurry(&mut self, a: u8, b: u8) {
        let numbers = if a.is_multiple_of(3) { vec![] } else { vec![u32::from(a), u32::from(b)] };
        let pieces: Vec<_> =
            numbers.into_iter().filter_map(|n| self.grid.piece(n % self.grid.pieces())).collect();
        self.urgent = pieces.iter().copied().filter(|piece| !self.have.contains(piece)).collect();
        self.picker.set_urgent(pieces);
    }

    fn verify(&mut self, a: u8, b: u8) {
        let whole = |piece: &PieceIndex| self.grid.blocks(*piece).all(|block| self.got.contains_key(&block));
        let whole: Vec<PieceIndex> = self.grid.all().filter(whole).collect();
        let Some(piece) = whole.get(usize::from(a) % whole.len().max(1)).copied() else { return };
        let senders: BTreeSet<Peer> =
            self.grid.blocks(piece).filter_map(|block| self.got.remove(&block)).collect();
        if b.is_multiple_of(4) {
            let guilty: Vec<Peer> = self.picker.failed(piece);
            let sole = senders.len() == 1 && !senders.contains(&NOBODY);
            assert_eq!(guilty, senders.into_iter().filter(|_| sole).collect::<Vec<_>>());
            self.alone = true;
        } else {
            self.picker.passed(piece);
            self.have.insert(piece);
            self.urgent.retain(|urgent| *urgent != piece);
        }
    }

    fn run(&mut self, peer: Peer, b: u8) {
        let Some(has) = self.peers.get(&peer).cloned() else { return };
        if b.is_multiple_of(8) {
            let Some(range) = self.picker.pick_rest(peer, &has) else { return };
            let pieces: Vec<PieceIndex> = self.grid.pieces_in(range.clone()).collect();
            assert!(pieces.len() == 1 && has.has(pieces[0]) && self.is_wanted(pieces[0]));
            let free: Vec<Block> = self.grid.blocks(pieces[0]).filter(|block| self.is_free(*block)).collect();
            assert!(free.len() < self.grid.blocks(pieces[0]).count(), "somebody began it");
            let ends = [free[0], free[free.len() - 1]].map(|block| self.grid.block_range(block));
            assert_eq!(range, ends[0].start..ends[1].end);
            free.into_iter().for_each(|block| _ = self.asked.entry(block).or_default().insert(peer));
            return;
        }
        let mut run = Vec::new();
        self.picker.pick_run(peer, &has, u32::from(b % 8), Speed::Fast, &mut run);
        assert!(run.len() <= usize::from(b % 8));
        self.alone |= !run.is_empty();
        for pair in run.windows(2) {
            assert_eq!(pair[0].get() + 1, pair[1].get());
        }
        for block in run.iter().flat_map(|piece| self.grid.blocks(*piece)) {
            assert!(self.is_free(block) && self.is_wanted(block.piece) && has.has(block.piece));
            self.asked.entry(block).or_default().insert(peer);
        }
    }

    fn compare(&self) {
        for piece in self.grid.all() {
            assert_eq!(self.picker.availability(piece) as usize, self.copies(piece), "copies of {piece:?}");
            assert_eq!(self.picker.wants(piece), self.is_wanted(piece));
        }
        let asked: usize = self.asked.values().map(BTreeSet::len).sum();
        assert_eq!(self.picker.in_flight(), asked);
        for has in self.peers.values() {
            let wanted = self.grid.all().filter(|piece| has.has(*piece) && self.is_wanted(*piece)).count();
            assert_eq!(self.picker.wanted_of(has) as usize, wanted);
            assert_eq!(self.picker.wants_from(has), wanted > 0);
        }
    }

    fn asked_of(&self, peer: Peer) -> Vec<Block> {
        self.asked.iter().filter(|(_, who)| who.contains(&peer)).map(|(block, _)| *block).collect()
    }

    fn unask(&mut self, peer: Peer, block: Block) {
        let Some(who) = self.asked.get_mut(&block) else { return };
        who.remove(&peer);
        if who.is_empty() {
            self.asked.remove(&block);
        }
    }

    fn copies(&self, piece: PieceIndex) -> usize {
        self.peers.values().filter(|has| has.has(piece)).count()
    }

    fn priority(&self, piece: PieceIndex) -> Priority {
        self.priorities.get(&piece).copied().unwrap_or_default()
    }

    fn is_wanted(&self, piece: PieceIndex) -> bool {
        !self.have.contains(&piece) && self.priority(piece) != Priority::Skip
    }

    fn is_free(&self, block: Block) -> bool {
        !self.have.contains(&block.piece)
            && !self.got.contains_key(&block)
            && !self.asked.contains_key(&block)
    }

    fn all_blocks(&self) -> impl Iterator<Item = Block> {
        let grid = self.grid;
        grid.all().flat_map(move |piece| grid.blocks(piece))
    }
}

/// Who sent what was here before.
const NOBODY: Peer = Peer::MAX;
/// Longer lists find nothing that shorter ones do not.
const MAX_OPS: usize = 2000;
