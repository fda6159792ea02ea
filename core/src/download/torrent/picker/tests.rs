//! Tests of the picker: pictures of pieces and peers, and properties against a model.

use super::*;
use crate::base::Rng;
use proptest::prelude::*;

/// Pieces of four blocks, drawn as one sign each: `.` missing, `#` here, a digit: that many blocks are here, from `z`.
/// What a peer has: `x` or `.`; priorities: `0` skipped, `-` low, `+` high. Requests are written as
/// `piece:blocks`.
struct World {
    grid: PieceGrid,
    picker: Picker<char>,
    peers: Vec<(char, Bitfield, Speed)>,
}

impl World {
    fn new(picture: &str) -> Self {
        Self::with_seed(picture, 1)
    }

    fn with_seed(picture: &str, seed: u8) -> Self {
        let grid = PieceGrid::new(64 << 10, (picture.len() as u64) << 16).unwrap();
        let have = bits(&grid, picture, |sign| sign == '#');
        let mut world =
            Self { grid, picker: Picker::new(grid, &have, Rng::from_seed([seed; 32])), peers: Vec::new() };
        for (piece, sign) in grid.all().zip(picture.chars()) {
            for number in 0..sign.to_digit(10).unwrap_or(0) {
                world.picker.received('z', grid.block(piece, number).unwrap());
            }
        }
        world
    }

    fn peer(self, who: char, has: &str) -> Self {
        self.peer_of_speed(who, has, Speed::Medium)
    }

    fn peer_of_speed(mut self, who: char, has: &str, speed: Speed) -> Self {
        let has = bits(&self.grid, has, |sign| sign == 'x');
        self.picker.peer_joined(&has);
        self.peers.push((who, has, speed));
        self
    }

    fn priorities(mut self, picture: &str) -> Self {
        for (piece, sign) in self.grid.all().zip(picture.chars()) {
            let priority = match sign {
                '0' => Priority::Skip,
                '-' => Priority::Low,
                '+' => Priority::High,
                _ => Priority::Normal,
            };
            self.picker.set_priority(piece, priority);
        }
        self
    }

    fn piece(&self, index: u32) -> PieceIndex {
        self.grid.piece(index).unwrap()
    }

    fn pick_blocks(&mut self, who: char, count: usize, only: Option<&[PieceIndex]>) -> Vec<Block> {
        let (_, has, speed) = self.peers.iter().find(|(peer, ..)| *peer == who).unwrap();
        let mut out = Vec::new();
        self.picker.pick(&Ask { who, has, only, count, speed: *speed }, &mut out);
        self.picker.check();
        out
    }

    fn pick(&mut self, who: char, count: usize) -> String {
        draw(&self.pick_blocks(who, count, None))
    }

    /// Picks and receives.
    fn fetch(&mut self, who: char, count: usize) -> String {
        let blocks = self.pick_blocks(who, count, None);
        blocks.iter().for_each(|block| assert!(self.picker.received(who, *block).fresh));
        draw(&blocks)
    }

    fn states(&self) -> String {
        let draw = |state| match state {
            PieceState::Have => '#',
            PieceState::Partial { got, .. } => char::from_digit(got, 10).unwrap(),
            PieceState::Missing => '.',
            PieceState::Skipped => '0',
        };
        self.grid.all().map(|piece| draw(self.picker.state_of(piece))).collect()
    }
}

fn bits(grid: &PieceGrid, picture: &str, of: impl Fn(char) -> bool) -> Bitfield {
    let mut bits = Bitfield::new(grid.pieces());
    let chosen = grid.all().zip(picture.chars()).filter(|(_, sign)| of(*sign));
    chosen.for_each(|(piece, _)| _ = bits.insert(piece));
    bits
}

fn draw(blocks: &[Block]) -> String {
    let mut text = String::new();
    for (at, block) in blocks.iter().enumerate() {
        if at == 0 || blocks[at - 1].piece != block.piece {
            text += &format!("{}{}:", if at == 0 { "" } else { " " }, block.piece);
        }
        text += &block.number().to_string();
    }
    text
}

#[test]
fn rarest_piece_comes_first() {
    let mut world = World::new("####....").peer('a', "xxxxxxxx").peer('b', "xxxxx.xx").peer('c', "xxxxx.x.");
    let picked = world.pick('a', 9);
    assert!(picked.starts_with("5:0123 7:0123 "), "{picked}");
}

#[test]
fn peer_is_asked_for_what_it_has() {
    let mut world = World::new("####....").peer('a', ".......x").peer('b', "xxxxxxx.");
    assert_eq!(world.pick('a', 9), "7:0123");
}

#[test]
fn pieces_of_equal_rarity_come_in_random_order() {
    let first = |seed| World::with_seed("####........", seed).peer('a', "xxxxxxxxxxxx").pick('a', 4);
    let picked: std::collections::BTreeSet<String> = (0..60).map(first).collect();
    assert_eq!(picked.len(), 8, "{picked:?}");
}

#[test]
fn first_pieces_are_taken_at_random() {
    let first = |seed| {
        let world = World::with_seed("#...............................", seed);
        let world = world.peer('a', "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        world.peer('b', "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.").pick('a', 4)
    };
    let rare = (0..60).filter(|seed| first(*seed) == "31:0123").count();
    assert!(rare < 30, "the rarest is one among others: {rare} of 60");
}

#[test]
fn have_makes_a_piece_more_common() {
    let mut world = World::new("####....").peer('a', "xxxxxxxx").peer('b', "....xx.x");
    world.pick('a', 1);
    let piece = world.piece(4);
    world.picker.peer_got(piece);
    world.picker.peer_got(piece);
    world.picker.peer_got(world.piece(7));
    assert_eq!(world.pick('a', 15), "6:123 5:0123 7:0123 4:0123");
}

#[test]
fn piece_that_is_wanted_late_and_rarer_than_the_rarest_was_comes_first() {
    for seed in 0..20 {
        let world = World::with_seed("####........", seed).priorities("    0");
        let world = world.peer('a', "xxxxxxxxxxxx").peer('b', "xxxx.xxxxxxx");
        let mut world = world.peer('c', "xxxx.xxxxxxx").peer('d', "xxxx........");
        world.pick('a', 4);
        world.picker.set_priority(world.piece(4), Priority::Normal);
        assert_eq!(world.pick('a', 4), "4:0123");
    }
}

#[test]
fn begun_piece_comes_before_a_new_one() {
    let mut world = World::new("####...3").peer('a', "xxxxxxxx").peer('b', "xxxx...x");
    assert_eq!(world.pick('a', 1), "7:3");
    let mut world = World::new("####....").peer('a', "xxxxxxxx").peer('b', "xxxxxxxx");
    let first = world.pick('a', 2);
    let (piece, _) = first.split_once(':').unwrap();
    assert_eq!(world.pick('b', 2), format!("{piece}:23"), "peers that are as fast share it");
}

#[test]
fn slow_peer_stays_out_of_the_piece_of_a_fast_one_while_there_are_others() {
    let world = World::new("####..").peer_of_speed('a', "xxxxxx", Speed::Fast);
    let mut world = world.peer_of_speed('b', "xxxxxx", Speed::Slow);
    assert_eq!(world.pick('a', 1).len(), 3);
    let slow = world.pick('b', 5);
    let parts: Vec<&str> = slow.split([' ', ':']).collect();
    assert_eq!((parts[1], parts[3]), ("0123", "1"), "its own piece, and then what is left: {slow}");
}

#[test]
fn urgent_for_everybody_is_what_has_a_high_priority() {
    let mut world = World::new("####....").peer('a', "xxxxxxxx").priorities("    -0+ ");
    assert_eq!(world.pick('a', 99), "6:0123 7:0123 4:0123");
}

#[test]
fn wishes_change_while_it_runs() {
    let mut world = World::new("####....").peer('a', "xxxxxxxx").priorities("    0+00");
    assert_eq!(world.fetch('a', 2), "5:01");
    world = world.priorities("    +000");
    assert_eq!(world.pick('a', 9), "4:0123");
    assert_eq!((world.states().as_str(), world.picker.left()), ("####0200", 4 << 16));
    world = world.priorities("    0+00");
    assert_eq!(world.pick('a', 9), "5:23");
}

#[test]
fn all_that_is_wanted_is_enough() {
    let world = World::new("##..").priorities("  00");
    assert!(world.picker.is_complete());
    assert_eq!((world.states().as_str(), world.picker.left()), ("##00", 2 << 16));
}

#[test]
fn sequential_order_is_kept() {
    let mut world = World::new("#.......").peer('a', "xx.xxxxx").peer('b', "xxxxxxxx");
    world.picker.set_sequential(true);
    assert_eq!(world.pick('a', 6), "1:0123 3:01");
    assert_eq!(world.pick('b', 7), "3:23 2:0123 4:0");
}

#[test]
fn readers_get_their_pieces_first_whatever_the_wishes_are() {
    let mut world = World::new("####....").peer('a', "xxxxxxxx").priorities("    ++0 ");
    let pieces = [world.piece(6), world.piece(7)];
    world.picker.set_urgent(pieces);
    assert_eq!(world.pick('a', 8), "6:0123 7:0123");
    world.picker.set_urgent([]);
    assert!(!world.pick('a', 4).is_empty());
}

#[test]
fn what_a_reader_waits_for_is_asked_again_of_a_faster_peer() {
    let world =
        World::new("####....................").peer_of_speed('a', "xxxxxxxxxxxxxxxxxxxxxxxx", Speed::Slow);
    let mut world = world.peer_of_speed('b', "xxxxxxxxxxxxxxxxxxxxxxxx", Speed::Fast);
    let urgent = world.piece(20);
    world.picker.set_urgent([urgent]);
    assert_eq!(world.pick('a', 4), "20:0123");
    assert_eq!(world.pick('b', 4), "20:0123");
    let received = world.picker.received('b', world.grid.block(urgent, 0).unwrap());
    assert_eq!(received.cancel, ['a']);
}

#[test]
fn choking_peer_is_asked_for_allowed_fast_pieces_only() {
    let mut world = World::new("####....").peer('a', "xxxxxx.x");
    let only = [2, 6, 7].map(|index| world.piece(index));
    assert_eq!(draw(&world.pick_blocks('a', 9, Some(&only))), "7:0123");
}

#[test]
fn in_the_end_blocks_are_asked_of_several_and_cancelled_when_one_has_come() {
    let mut world =
        World::new("####.").peer('a', "xxxxx").peer('b', "xxxxx").peer('c', "xxxxx").peer('d', "xxxxx");
    let block = world.pick_blocks('a', 1, None)[0];
    assert_eq!(world.pick('b', 3), "4:123");
    assert_eq!(world.pick('c', 1), "4:0");
    assert_eq!(world.pick('d', 1), "4:0");
    let received = world.picker.received('c', block);
    assert_eq!(received, Received { fresh: true, piece_complete: false, cancel: vec!['a', 'd'] });
    assert!(!world.picker.received('a', block).fresh);
}

#[test]
fn nothing_is_asked_twice_while_there_is_something_else() {
    let mut world = World::new("####..").peer('a', "xxxxx.").peer('b', "xxxxx.").peer('c', "xxxxxx");
    world.pick('a', 4);
    assert_eq!(world.pick('b', 4), "");
    world.pick('c', 4);
    assert_eq!(world.pick('b', 1).len(), 3);
}

#[test]
fn what_is_asked_twice_is_bounded() {
    let mut world = World::new(&"#".repeat(4)).peer('z', "....");
    assert_eq!(world.pick('z', 4), "");
    let mut world = World::new(&".".repeat(40)).peer('a', &"x".repeat(40));
    for who in 'b'..='j' {
        world = world.peer(who, &"x".repeat(40));
    }
    assert_eq!(world.pick_blocks('a', 160, None).len(), 160);
    let again: Vec<usize> = ('b'..='j').map(|who| world.pick_blocks(who, 99, None).len()).collect();
    assert_eq!(again.iter().sum::<usize>(), 8, "one in twenty: {again:?}");
    assert_eq!(world.picker.in_flight(), 168);
}

#[test]
fn released_block_is_asked_of_others() {
    let mut world = World::new("####.").peer('a', "xxxxx").peer('b', "xxxxx");
    let blocks = world.pick_blocks('a', 4, None);
    world.picker.received('a', blocks[0]);
    world.picker.released('a', blocks[2]);
    world.picker.released('a', blocks[2]);
    world.picker.released('b', blocks[3]);
    assert_eq!(world.pick('b', 1), "4:2");
    assert_eq!(world.picker.released_all('a'), [blocks[1], blocks[3]]);
    assert_eq!(world.pick('b', 9), "4:13");
}

#[test]
fn piece_on_which_nobody_works_is_as_good_as_new() {
    let mut world = World::new("####.").peer('a', "xxxxx");
    let blocks = world.pick_blocks('a', 4, None);
    blocks.iter().for_each(|block| world.picker.released('a', *block));
    assert_eq!((world.states().as_str(), world.picker.partial_count()), ("####.", 0));
}

#[test]
fn late_block_is_taken_and_an_odd_one_is_not() {
    let mut world = World::new("####.");
    let block = world.grid.block(world.piece(4), 1).unwrap();
    assert!(world.picker.received('a', block).fresh);
    assert!(!world.picker.received('a', block).fresh);
    assert!(!world.picker.received('a', Block { begin: 1, ..block }).fresh);
    assert!(!world.picker.received('a', Block { piece: world.piece(0), ..block }).fresh);
    assert_eq!(world.states(), "####1");
}

#[test]
fn whoever_sent_all_of_a_wrong_piece_is_guilty() {
    let mut world = World::new("####.").peer('a', "xxxxx");
    world.fetch('a', 4);
    let piece = world.piece(4);
    assert_eq!(world.picker.contributors(piece).len(), 4);
    assert_eq!(world.picker.failed(piece), ['a']);
    assert_eq!(world.states(), "####.");
}

#[test]
fn suspects_bring_whole_pieces_alone_until_they_are_cleared_or_proved_guilty() {
    let mut world = World::new("####....").peer('a', "xxxxxxxx").peer('b', "xxxxxxxx");
    world.picker.set_sequential(true);
    world.fetch('a', 2);
    world.fetch('b', 2);
    assert_eq!(world.picker.failed(world.piece(4)), [char::MAX; 0]);
    assert_eq!(world.fetch('a', 2), "4:01");
    assert_eq!(world.fetch('b', 2), "5:01", "not in the same piece");
    assert_eq!((world.fetch('a', 2), world.fetch('b', 2)), ("4:23".to_owned(), "5:23".to_owned()));
    assert_eq!(world.picker.failed(world.piece(4)), ['a']);
    world.picker.released_all('a');
    world.picker.passed(world.piece(5));
    world = world.peer('c', "xxxxxxxx");
    assert_eq!(world.pick('b', 2), "4:01");
    assert_eq!(world.pick('c', 2), "6:01", "a piece that was wrong is left to one peer");
    assert_eq!(world.pick('b', 5), "4:23 6:23 7:0", "a peer that is cleared shares again");
}

#[test]
fn what_an_earlier_life_left_is_not_asked_for_and_nobody_is_blamed_for_it() {
    let mut world = World::new("####...").peer('a', "xxxxxxx").peer('b', "xxxxxxx").priorities("......0");
    world.picker.set_sequential(true);
    let block = |world: &World, piece, number| world.grid.block(world.piece(piece), number).unwrap();
    for (piece, number) in [(0, 1), (4, 1), (4, 2), (4, 2), (5, 0), (6, 0)] {
        let block = block(&world, piece, number);
        world.picker.inherit(block);
    }
    assert_eq!(world.states(), "####210", "of what is here or not wanted nothing is taken");
    assert_eq!((world.fetch('a', 1), world.pick('b', 2)), ("4:0".to_owned(), "4:3 5:1".to_owned()));
    let twice = block(&world, 4, 1);
    assert!(!world.picker.received('a', twice).fresh);
    assert!(world.picker.received('b', block(&world, 4, 3)).piece_complete);
    let sent: Vec<_> = world.picker.contributors(world.piece(4)).into_iter().map(|(_, who)| who).collect();
    assert_eq!(sent, ['a', 'b']);
    assert_eq!(world.picker.failed(world.piece(4)), [char::MAX; 0]);
    assert_eq!((world.picker.parole('a'), world.picker.parole('b')), (None, None));
    assert_eq!((world.states().as_str(), world.fetch('a', 4).as_str()), ("####.10", "5:23 4:01"));
    assert_eq!(world.fetch('a', 2), "4:23", "all of what is wrong");
    assert_eq!(world.picker.failed(world.piece(4)), ['a']);
    assert!(world.picker.received('a', block(&world, 5, 1)).piece_complete);
    assert_eq!(world.picker.failed(world.piece(5)), [char::MAX; 0], "not all of it is from one peer");
}

#[test]
fn suspects_that_come_back_are_suspects_still() {
    let mut world = World::new("####....").peer('a', "xxxxxxxx").peer('b', "xxxxxxxx");
    world.picker.set_sequential(true);
    world.fetch('a', 2);
    world.fetch('b', 2);
    world.picker.failed(world.piece(4));
    let parole = world.picker.parole('a').unwrap();
    world.picker.released_all('a');
    assert_eq!(world.picker.parole('a'), None);
    world = world.peer('c', "xxxxxxxx");
    world.picker.set_parole('c', parole);
    assert_eq!(world.fetch('c', 2), "4:01");
    assert_eq!(world.fetch('b', 2), "5:01", "not in the same piece");
    assert_eq!(world.fetch('c', 2), "4:23");
    assert_eq!(world.picker.failed(world.piece(4)), ['c'], "alone");
}

#[test]
fn suspects_finish_what_was_begun_when_there_is_nothing_else() {
    let mut world = World::new("####..").peer('a', "xxxxxx").peer('b', "xxxxxx");
    world.picker.set_sequential(true);
    world.fetch('a', 2);
    world.fetch('b', 2);
    let begun = world.grid.block(world.piece(5), 0).unwrap();
    world.picker.received('z', begun);
    world.picker.failed(world.piece(4));
    assert_eq!(world.pick('a', 4), "4:0123");
    assert_eq!(world.pick('b', 4), "5:123");
    assert_eq!(world.pick('b', 4), "", "what is left to one is not asked of others");
}

#[test]
fn nobody_waits_for_a_peer_that_was_to_work_alone_and_is_gone() {
    let mut world = World::new("####.").peer('a', "xxxxx").peer('b', "xxxxx");
    world.fetch('a', 2);
    world.fetch('b', 2);
    world.picker.failed(world.piece(4));
    assert_eq!((world.fetch('a', 1), world.pick('a', 1)), ("4:0".to_owned(), "4:1".to_owned()));
    assert_eq!(world.pick('b', 4), "");
    world.picker.released_all('a');
    world = world.peer('c', "xxxxx");
    assert_eq!(world.pick('c', 4), "4:123");
}

#[test]
fn seeds_and_those_who_become_seeds_count_alike() {
    let mut world = World::new("....").peer('a', "xxxx").peer('b', "xxx.");
    assert_eq!(world.picker.distributed_copies(), 1.75);
    world.picker.peer_got(world.piece(3));
    assert_eq!(world.picker.distributed_copies(), 2.0);
    let full = Bitfield::full(4);
    world.picker.peer_left(&full);
    world.picker.peer_lost(world.piece(0));
    assert_eq!(
        world.grid.all().map(|piece| world.picker.availability(piece)).collect::<Vec<_>>(),
        [0, 1, 1, 1]
    );
    world.picker.peer_left(&bits(&world.grid, ".xxx", |sign| sign == 'x'));
    assert_eq!(world.picker.distributed_copies(), 0.0);
}

#[test]
fn web_seed_takes_the_longest_gap_and_its_middle_where_others_come_near() {
    let mut world = World::new("#...#.......").peer('a', "xxxxxxxxxxxx").peer('b', "xxxxxxxxxxxx");
    let mut run = Vec::new();
    let full = Bitfield::full(12);
    world.picker.pick_run('w', &full, 2, Speed::Fast, &mut run);
    world.picker.pick_run('v', &full, 2, Speed::Fast, &mut run);
    assert_eq!(run.iter().map(|piece| piece.get()).collect::<Vec<_>>(), [5, 6, 9, 10]);
    assert_eq!(world.picker.in_flight(), 16);
    world.picker.check();
    let received = world.picker.received('w', world.grid.block(run[0], 0).unwrap());
    assert!(received.fresh);
    world.picker.released_all('w');
    assert_eq!(world.states(), "#...#1...00.");
    world.picker.set_urgent([world.piece(3)]);
    run.clear();
    world.picker.pick_run('w', &full, 9, Speed::Fast, &mut run);
    assert_eq!(run, [world.piece(3)]);
}

#[test]
fn giant_pieces_do_not_fill_the_memory() {
    let grid = PieceGrid::new(512 << 20, 1 << 40).unwrap();
    let mut picker = Picker::new(grid, &Bitfield::new(grid.pieces()), Rng::from_seed([1; 32]));
    let full = Bitfield::full(grid.pieces());
    picker.peer_joined(&full);
    let mut blocks = Vec::new();
    for who in 0..500u32 {
        let speed = [Speed::Slow, Speed::Medium, Speed::Fast][who as usize % 3];
        picker.pick(&Ask { who, has: &full, only: None, count: 20_000, speed }, &mut blocks);
    }
    assert!(
        blocks.len() <= partials::MAX_CELLS && picker.partial_count() <= 32,
        "{}",
        picker.partial_count()
    );
}

#[test]
fn torrent_at_rest_has_no_tables() {
    let mut world = World::new("####....").peer('a', "xxxxxxxx").peer('b', "x.......");
    world.pick('a', 9);
    assert!(world.picker.tables.is_some());
    world.picker.released_all('a');
    for (_, has, _) in core::mem::take(&mut world.peers) {
        world.picker.peer_left(&has);
    }
    assert!(world.picker.tables.is_none());
    let mut world = World::new("###.").peer('a', "xxxx");
    world.fetch('a', 4);
    world.picker.passed(world.piece(3));
    assert!(world.picker.tables.is_none() && world.picker.is_complete());
}

#[test]
fn urgent_pieces_are_bounded() {
    let grid = PieceGrid::new(16 << 10, 2000 << 14).unwrap();
    let mut picker: Picker<u32> = Picker::new(grid, &Bitfield::new(2000), Rng::from_seed([1; 32]));
    picker.set_urgent(grid.all());
    assert_eq!(picker.urgent.len(), MAX_URGENT);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn picker_does_what_a_simple_one_would(data in prop::collection::vec(any::<u8>(), 0..1200)) {
        model::run(&data);
    }

    #[test]
    fn order_keeps_its_buckets(ops in prop::collection::vec((0u8..5, 0u32..30, 0usize..384), 0..300)) {
        let mut order = Order::new(30);
        let mut rng = Rng::from_seed([1; 32]);
        for (op, piece, bucket) in ops {
            match op {
                0 if !order.has(piece) => order.insert(piece, bucket, &mut rng),
                1 if order.has(piece) => order.remove(piece),
                2 if order.has(piece) => order.more_common(piece, &mut rng),
                3 if order.has(piece) => order.more_rare(piece, &mut rng),
                4 if piece == 0 => order.rebuild(&[], |piece| (bucket + piece as usize) % 384),
                _ => {}
            }
            order.check();
        }
    }
}
