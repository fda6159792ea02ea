//! Blocks of unfinished pieces from one life to the next.

use super::super::model::{ModelTorrent, World};
use super::super::{FilesPlan, FilesSaved, Output};
use super::*;
use crate::base::disk::DiskErrorKind;
use crate::download::torrent::layout::Layout;
use proptest::prelude::*;

const KIB: usize = 1 << 10;

/// Two pieces of 16 blocks, in two files that share the first one within a block.
fn torrent() -> ModelTorrent {
    ModelTorrent::new(256 << 10, &[("a", 100 * KIB, false), ("b", 412 * KIB, false)])
}

fn begin(torrent: ModelTorrent, plan: FilesPlan) -> World {
    let mut world = World::new(torrent, plan);
    world.start();
    world.settle();
    world
}

fn block(world: &World, piece: u32, number: u32) -> Block {
    let grid = world.torrent.layout.grid();
    grid.block(grid.piece(piece).unwrap(), number).unwrap()
}

fn give(world: &mut World, piece: u32, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        world.give(block(world, piece, number));
    }
}

fn stop(world: &mut World) {
    world.files.stop(world.now);
    world.drain();
    world.settle();
    assert_eq!(world.events.last(), Some(&Output::Stopped(None)));
    world.check_claims();
}

/// Another life after a power cut; says which blocks it takes over.
fn next_life(world: &mut World, plan: FilesPlan) -> Vec<(u32, u32)> {
    world.restart(plan, true);
    world.start();
    world.settle();
    world.files.inherited().map(|block| (block.piece.get(), block.number())).collect()
}

fn numbers(piece: u32, numbers: impl IntoIterator<Item = u32>) -> Vec<(u32, u32)> {
    numbers.into_iter().map(|number| (piece, number)).collect()
}

#[test]
fn blocks_in_memory_are_written_and_durable_before_a_stop_ends() {
    let (torrent, plan) = (torrent(), torrent().plan());
    let mut world = begin(torrent, plan.clone());
    give(&mut world, 0, [0, 1, 2, 5, 6, 9]);
    give(&mut world, 1, [15, 3]);
    assert!(world.files.backlog() > 0, "some are in memory");
    stop(&mut world);
    assert_eq!(world.files.backlog(), 0);
    let taken = next_life(&mut world, plan);
    assert_eq!(taken, [numbers(0, [0, 1, 2, 5, 6, 9]), numbers(1, [3, 15])].concat());
}

#[test]
fn blocks_of_a_checkpoint_outlive_a_power_cut_and_later_ones_do_not() {
    let (torrent, plan) = (torrent(), torrent().plan());
    let mut world = begin(torrent, plan.clone());
    give(&mut world, 1, 0..5);
    while world.wait() {}
    world.settle();
    assert!(world.files.needs_sync() && !world.files.needs_note());
    world.files.checkpoint(world.now);
    world.drain();
    world.settle();
    assert_eq!(world.events.last(), Some(&Output::Durable));
    assert!(!world.files.needs_sync());
    give(&mut world, 1, 5..9);
    while world.wait() {}
    world.settle();
    world.check_claims();
    assert_eq!(next_life(&mut world, plan), numbers(1, 0..5));
}

#[test]
fn only_what_is_missing_is_taken_and_what_is_there_is_read_back() {
    let (torrent, plan) = (torrent(), torrent().plan());
    let mut world = begin(torrent, plan.clone());
    give(&mut world, 0, (0..16).filter(|number| number % 5 != 0));
    stop(&mut world);
    let taken = next_life(&mut world, plan);
    assert_eq!(taken.len(), 12);
    assert_eq!((world.disk.bytes_read, world.files.completed_len()), (0, Some(0)));
    // What comes once more is dropped.
    let written = world.disk.bytes_written;
    give(&mut world, 0, [1, 2]);
    assert_eq!((world.files.backlog(), world.disk.bytes_written), (0, written));
    give(&mut world, 0, [0, 5, 10, 15]);
    world.run();
    let piece = block(&world, 0, 0).piece;
    assert!(world.has(&Output::Piece { piece, good: true }), "{:?}", world.events);
    assert_eq!(world.disk.bytes_written - written, 64 << 10);
    world.files.checkpoint(world.now);
    world.drain();
    world.settle();
    assert!(world.files.saved.blocks.is_empty(), "a piece that is durable needs no blocks");
}

#[test]
fn a_piece_with_a_wrong_block_from_before_is_taken_anew() {
    let (torrent, plan) = (torrent(), torrent().plan());
    let mut world = begin(torrent.clone(), plan.clone());
    give(&mut world, 1, 0..8);
    stop(&mut world);
    let mut content = world.disk.content("t/b.part").unwrap().to_vec();
    content[188 << 10] ^= 1;
    world.disk.change("t/b.part", &content);
    assert_eq!(next_life(&mut world, plan).len(), 8);
    give(&mut world, 1, 8..16);
    world.run();
    let piece = block(&world, 1, 0).piece;
    assert!(world.has(&Output::Piece { piece, good: false }), "{:?}", world.events);
    assert_eq!(world.files.inherited().count(), 0);
    give(&mut world, 1, 0..16);
    world.run();
    assert!(world.has(&Output::Piece { piece, good: true }), "{:?}", world.events);
}

#[test]
fn a_piece_that_lacks_nothing_but_its_check_is_hashed_at_the_start() {
    let (torrent, plan) = (torrent(), torrent().plan());
    for wrong in [false, true] {
        let mut world = begin(torrent.clone(), plan.clone());
        give(&mut world, 1, 0..16);
        stop(&mut world);
        assert!(world.files.durable().count() == 0, "it was stopped before");
        if wrong {
            let mut content = world.disk.content("t/b.part").unwrap().to_vec();
            content[300 << 10] ^= 1;
            world.disk.change("t/b.part", &content);
        }
        assert_eq!(next_life(&mut world, plan.clone()), []);
        assert_eq!(world.files.have().count(), u32::from(!wrong));
        world.give_all();
        world.run();
        assert!(world.has(&Output::Finished), "{:?}", world.events);
    }
}

#[test]
fn blocks_in_files_that_are_gone_cut_or_replaced_are_not_taken() {
    let (torrent, plan) = (torrent(), torrent().plan());
    let after = |meddle: &dyn Fn(&mut World)| {
        let mut world = begin(torrent.clone(), plan.clone());
        give(&mut world, 0, 0..16);
        give(&mut world, 1, [0, 4, 15]);
        world.run();
        stop(&mut world);
        meddle(&mut world);
        next_life(&mut world, plan.clone());
        let left =
            (world.files.have().count(), world.files.inherited().map(Block::number).collect::<Vec<_>>());
        world.give_all();
        world.run();
        assert!(world.has(&Output::Finished), "{:?}", world.events);
        left
    };
    assert_eq!(after(&|_| {}), (1, vec![0, 4, 15]));
    assert_eq!(after(&|world| world.disk.delete("t/b.part")), (0, vec![]));
    let cut = |world: &mut World| {
        let content = world.disk.content("t/b.part").unwrap()[..(412 - 16) << 10].to_vec();
        world.disk.change("t/b.part", &content);
    };
    assert_eq!(after(&cut), (1, vec![0, 4]), "one is not all there");
    let replaced = |world: &mut World| {
        let content = world.disk.content("t/b.part").unwrap().to_vec();
        world.disk.put("t/b.part", &content);
    };
    // What was durable is looked for in the new file, and is there.
    assert_eq!(after(&replaced), (1, vec![]));
}

#[test]
fn parts_that_are_kept_apart_are_taken_and_lost_with_their_file() {
    let torrent = torrent();
    let plan = FilesPlan { unwanted: [0].into(), ..torrent.plan() };
    for lost in [false, true] {
        let mut world = begin(torrent.clone(), plan.clone());
        // Of the first file, of both, of the second.
        give(&mut world, 0, [0, 5, 6, 7, 12]);
        stop(&mut world);
        let kept = world.disk.paths().into_iter().find(|path| path.ends_with(".parts")).map(str::to_owned);
        let kept = kept.unwrap_or_else(|| panic!("{:?}", world.disk.paths()));
        if lost {
            world.disk.delete(&kept);
        }
        let taken = next_life(&mut world, plan.clone());
        assert_eq!(taken, numbers(0, if lost { vec![7, 12] } else { vec![0, 5, 6, 7, 12] }));
        world.give_all();
        world.run();
        assert!(world.has(&Output::Finished), "{:?}", world.events);
        world.files.set_unwanted(world.now, Default::default());
        world.run();
        assert_eq!(world.disk.content("t/a"), Some(torrent.file(0)), "lost: {lost}");
    }
}

#[test]
fn a_file_that_vanishes_while_it_runs_is_told_of_when_it_is_checked() {
    let (torrent, plan) = (torrent(), torrent().plan());
    let mut world = begin(torrent, plan.clone());
    give(&mut world, 1, 0..8);
    stop(&mut world);
    assert_eq!(next_life(&mut world, plan).len(), 8);
    world.disk.delete("t/b.part");
    world.files.check(world.now, super::super::CheckScope::All);
    world.run();
    let piece = block(&world, 1, 0).piece;
    assert!(world.has(&Output::Piece { piece, good: false }), "whoever counts its blocks forgets them");
    assert_eq!(world.files.inherited().count(), 0);
    world.give_all();
    world.run();
    assert!(world.has(&Output::Finished), "{:?}", world.events);
}

#[test]
fn what_waits_for_the_store_when_it_stops_is_given_up() {
    let (torrent, plan) = (torrent(), torrent().plan());
    let mut world = World::new(torrent, plan);
    world.records = false;
    world.start();
    world.settle();
    give(&mut world, 0, 0..16);
    world.files.stop(world.now);
    world.drain();
    world.settle();
    assert_eq!(world.events.last(), Some(&Output::Stopped(None)));
    assert_eq!((world.files.backlog(), world.disk.open_count()), (0, 0));
    assert!(world.disk.paths().is_empty(), "{:?}", world.disk.paths());
}

#[test]
fn after_a_failed_sync_no_block_counts_that_was_not_durable_before() {
    let (torrent, plan) = (torrent(), torrent().plan());
    let mut world = begin(torrent, plan.clone());
    give(&mut world, 1, 0..3);
    world.run();
    world.files.checkpoint(world.now);
    world.drain();
    world.settle();
    give(&mut world, 1, 4..7);
    world.run();
    world.fail = Some((0, DiskErrorKind::Io));
    world.files.checkpoint(world.now);
    world.drain();
    world.settle();
    assert!(matches!(world.events.last(), Some(Output::Stopped(Some(_)))), "{:?}", world.events);
    world.store();
    world.check_claims();
    assert_eq!(next_life(&mut world, plan), numbers(1, 0..3));
}

#[test]
fn what_a_record_cannot_know_is_dropped() {
    let torrent = torrent();
    let mut world = begin(torrent.clone(), torrent.plan());
    give(&mut world, 0, 0..16);
    give(&mut world, 1, 0..4);
    world.run();
    stop(&mut world);
    let mut saved = world.files.saved().clone();
    // Of a piece that is there, no whole block in front and behind, and beyond the end.
    let piece = 256 << 10;
    saved.blocks = [0..50_000, piece + 1..piece + 40_000, 400 << 10..u64::MAX].into_iter().collect();
    world.stored = Some(saved.encode());
    world.restart(torrent.plan(), false);
    world.start();
    world.settle();
    assert_eq!(world.files.saved.blocks.iter().collect::<Vec<_>>(), [piece + (16 << 10)..piece + (32 << 10)]);
    assert_eq!(world.files.inherited().collect::<Vec<_>>(), [block(&world, 1, 1)]);
    world.give_all();
    world.run();
    assert!(world.has(&Output::Finished), "{:?}", world.events);
}

#[test]
fn so_many_runs_are_remembered_and_no_more() {
    let len = (4 * MAX_RUNS) << 14;
    let torrent = Layout::from_lens(PieceGrid::new(1 << 20, len as u64).unwrap(), [(len as u64, false)]);
    let mut world = begin(self::torrent(), self::torrent().plan());
    world.files.plan.layout = std::sync::Arc::new(torrent.unwrap());
    let grid = world.files.plan.layout.grid();
    for block in grid.all().flat_map(|piece| grid.blocks(piece)).step_by(2) {
        world.files.note_written(block.piece, u64::from(block.begin), u64::from(block.len));
    }
    assert_eq!(world.files.written.range_count(), MAX_RUNS);
    let written = world.files.written.clone();
    world.files.keep_blocks(&written);
    let other = (0..MAX_RUNS as u64).map(|run| (run << 20) + 77..(run << 20) + 78).collect();
    world.files.keep_blocks(&other);
    assert_eq!(world.files.saved.blocks.range_count(), MAX_RUNS);
    let bytes = world.files.saved.encode();
    assert!(bytes.len() < 40 << 10, "{}", bytes.len());
    assert_eq!(FilesSaved::decode(&bytes).as_ref(), Some(world.files.saved()));
}

proptest! {
    /// Byte by byte.
    #[test]
    fn whole_blocks_are_those_with_all_their_bytes(
        piece_len in 1u32..70_000,
        total in 1u64..200_000,
        start in 0u64..200_000,
        len in 1u64..100_000,
    ) {
        let grid = PieceGrid::new(piece_len, total).unwrap();
        let within = start..start + len;
        for piece in grid.pieces_in(within.clone()).take(5) {
            let found = whole_blocks(grid, piece, &within);
            let inside = |block: &Block| {
                let block = grid.block_range(*block);
                block.start >= within.start && block.end <= within.end
            };
            let expected: RangeSet =
                grid.blocks(piece).filter(inside).map(|block| grid.block_range(block)).collect();
            prop_assert_eq!([found].into_iter().collect::<RangeSet>(), expected);
        }
    }
}
