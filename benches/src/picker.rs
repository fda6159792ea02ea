//! What it costs to choose a block, with few and many pieces and peers. A torrent in the middle: there is always something
//! left to choose, a tenth of the peers are seeds, the others have half of the pieces each.

use gosh_dl_core::base::{Bitfield, Block, PieceGrid, Rng};
use gosh_dl_core::download::torrent::picker::{Ask, Picker, Speed};
use std::collections::VecDeque;
use std::time::{Duration, Instant as Clock};

/// What the allocator counts: calls, and bytes that are held.
pub(crate) struct Counters {
    pub(crate) calls: fn() -> u64,
    pub(crate) held: fn() -> u64,
}

/// One row for each number of pieces and peers, and the memory of a torrent at rest.
pub(crate) fn rows(counters: &Counters) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for pieces in [100, 10_000, 1_000_000] {
        for peers in [50, 500, 5000] {
            let cost = World::new(pieces, peers).run(counters.calls);
            rows.push(vec![
                format!("{pieces} pieces, {peers} peers"),
                format!("{:.0} ns", cost.pick),
                format!("{:.0} ns", cost.whole),
                format!("{:.3}", cost.allocations),
            ]);
        }
    }
    rows.push(vec![
        "1000 pieces at rest".to_owned(),
        format!("{} bytes", at_rest(counters.held)),
        String::new(),
        String::new(),
    ]);
    rows
}

struct Cost {
    pick: f64,
    whole: f64,
    allocations: f64,
}

struct World {
    grid: PieceGrid,
    picker: Picker<u32>,
    /// The sets of pieces; many peers share one, or there would be no memory for them.
    sets: Vec<Bitfield>,
    peers: u32,
    under_way: VecDeque<(u32, Block)>,
    /// Pieces that are here and wait to be wanted again, so that it does not end.
    whole: VecDeque<gosh_dl_core::base::PieceIndex>,
}

impl World {
    fn new(pieces: u32, peers: u32) -> Self {
        let grid = PieceGrid::new(256 << 10, u64::from(pieces) << 18).expect("a grid");
        let mut rng = Rng::from_seed([5; 32]);
        let mut sets = vec![Bitfield::full(pieces)];
        for _ in 0..SETS {
            let mut set = Bitfield::new(pieces);
            grid.all().filter(|_| rng.below(2) == 0).for_each(|piece| _ = set.insert(piece));
            sets.push(set);
        }
        let mut have = Bitfield::new(pieces);
        grid.all().step_by(10).for_each(|piece| _ = have.insert(piece));
        let picker = Picker::new(grid, &have, rng);
        let mut world =
            Self { grid, picker, sets, peers, under_way: VecDeque::new(), whole: VecDeque::new() };
        for peer in 0..peers {
            world.picker.peer_joined(&world.sets[set_of(peer)]);
        }
        world
    }

    fn run(&mut self, calls: fn() -> u64) -> Cost {
        let mut out = Vec::with_capacity(BATCH);
        self.turns(WARM_UP, &mut out);
        let (before, start) = (calls(), Clock::now());
        let (blocks, pick) = self.turns(TURNS, &mut out);
        let (whole, allocations) = (start.elapsed(), calls() - before);
        let each = |time: Duration| time.as_nanos() as f64 / blocks as f64;
        Cost { pick: each(pick), whole: each(whole), allocations: allocations as f64 / blocks as f64 }
    }

    /// Peers in turn pick a few blocks each, and what was picked a while ago comes. Says how many blocks that were, and
    /// how long the picking took.
    fn turns(&mut self, turns: u32, out: &mut Vec<Block>) -> (u64, Duration) {
        let (mut blocks, mut spent) = (0, Duration::ZERO);
        for turn in 0..turns {
            // A stride that is prime to all numbers of peers.
            let who = turn.wrapping_mul(7919) % self.peers;
            let has = &self.sets[set_of(who)];
            let ask = Ask { who, has, only: None, count: BATCH, speed: Speed::Medium };
            let start = Clock::now();
            self.picker.pick(&ask, out);
            spent += start.elapsed();
            blocks += out.len() as u64;
            self.under_way.extend(out.drain(..).map(|block| (who, block)));
            while self.under_way.len() > UNDER_WAY {
                self.receive();
            }
        }
        (blocks, spent)
    }

    fn receive(&mut self) {
        let Some((who, block)) = self.under_way.pop_front() else { return };
        if !self.picker.received(who, block).piece_complete {
            return;
        }
        self.picker.passed(block.piece);
        self.whole.push_back(block.piece);
        if self.whole.len() > self.grid.pieces() as usize / 4
            && let Some(piece) = self.whole.pop_front()
        {
            self.picker.lost(piece);
        }
    }
}

/// Every tenth peer is a seed.
fn set_of(peer: u32) -> usize {
    if peer.is_multiple_of(10) { 0 } else { 1 + peer as usize % SETS }
}

/// Memory of a picker that has some pieces and no peers.
fn at_rest(held: fn() -> u64) -> u64 {
    let grid = PieceGrid::new(256 << 10, 1000 << 18).expect("a grid");
    let before = held();
    let mut pickers = Vec::new();
    for _ in 0..100 {
        let mut picker = Picker::<u32>::new(grid, &Bitfield::new(1000), Rng::from_seed([1; 32]));
        let seed = Bitfield::full(1000);
        picker.peer_joined(&seed);
        let mut out = Vec::new();
        picker.pick(&Ask { who: 1, has: &seed, only: None, count: 9, speed: Speed::Fast }, &mut out);
        picker.released_all(1);
        picker.peer_left(&seed);
        pickers.push(picker);
    }
    (held() - before) / pickers.len() as u64
}

const SETS: usize = 32;
/// What a peer is asked for at a time.
const BATCH: usize = 16;
/// Blocks under way with all peers together: few enough that 100 pieces do not run out.
const UNDER_WAY: usize = 320;
const WARM_UP: u32 = 20_000;
const TURNS: u32 = 100_000;
