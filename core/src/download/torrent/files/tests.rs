//! The files of torrents on a disk in memory.

use super::model::{ModelTorrent, World};
use super::*;
use crate::base::disk::DiskErrorKind;
use crate::download::DownloadError;
use bytes::Bytes;
use proptest::prelude::*;

const KIB: usize = 1 << 10;

/// Three pieces of 32 KiB in one file, then small ones that share pieces, an empty one, and padding.
fn torrent() -> ModelTorrent {
    ModelTorrent::new(
        32 << 10,
        &[
            ("a/big.bin", 100 * KIB, false),
            ("a/b/small.txt", 5 * KIB, false),
            ("empty", 0, false),
            (".pad/1", 3 * KIB, true),
            ("c/d/e/last", 70 * KIB, false),
        ],
    )
}

fn world() -> World {
    let torrent = torrent();
    let plan = torrent.plan();
    World::new(torrent, plan)
}

fn assert_complete(world: &World) {
    let torrent = &world.torrent;
    for file in (0..torrent.layout.files()).filter(|file| world.files.is_wanted(*file)) {
        assert_eq!(
            world.disk.content(&torrent.path(file)),
            Some(torrent.file(file)),
            "{}",
            torrent.path(file)
        );
        assert!(world.files.is_done(file));
    }
    assert!(!world.disk.paths().iter().any(|path| path.ends_with(".part")), "{:?}", world.disk.paths());
}

#[test]
fn a_torrent_is_written_verified_synced_and_named() {
    let mut world = world();
    world.start();
    world.settle();
    assert_eq!(world.events, [Output::Ready, Output::Record, Output::FileDone(2)]);
    world.give_all();
    world.run();
    assert_complete(&world);
    let good = |event: &Output| matches!(event, Output::Piece { good: true, .. });
    assert_eq!(world.events.iter().filter(|event| good(event)).count(), 6);
    assert_eq!(world.events.last(), Some(&Output::Finished));
    assert!(world.files.durable().is_full() && world.stored.is_some());
    assert_eq!(world.files.completed_len(), world.files.wanted_len());
    assert_eq!(world.files.wanted_len(), Some(175 << 10));
    assert_eq!((world.files.backlog(), world.disk.open_count()), (0, 0));
    assert_eq!(world.disk.paths().iter().filter(|path| path.contains("pad")).count(), 0);
    world.check_claims();
    world.files.stop(world.now);
    world.drain();
    assert_eq!(world.events.last(), Some(&Output::Stopped(None)));
}

#[test]
fn what_comes_in_order_is_not_read_back() {
    let mut world = world();
    world.live();
    assert_eq!(world.disk.bytes_read, 0);
    assert_eq!(world.disk.bytes_written, 175 << 10);
    let writes = world.log.iter().filter(|op| op.starts_with("write")).count();
    assert_eq!(writes, 3 + 2 + 2 + 1, "three whole pieces in one each, a shared one in two, then the rest");
}

#[test]
fn a_name_is_given_after_the_sync_and_before_the_sync_of_the_folder() {
    let torrent = ModelTorrent::new(32 << 10, &[("f", 40 * KIB, false)]);
    let plan = torrent.plan();
    let mut world = World::new(torrent, plan);
    world.start();
    world.settle();
    world.log.clear();
    world.give_all();
    world.settle();
    let order: Vec<_> = world.log.iter().map(String::as_str).collect();
    let expected = [
        "folder t true",
        "open f.part CreateNew",
        "writehashed",
        "writehashed",
        "sync",
        "stat f.part",
        "rename f.part f",
        "syncdir",
        "syncdir",
        "close",
    ];
    assert_eq!(order, expected);
}

#[test]
fn what_another_program_put_under_the_name_of_a_part_does_not_get_the_final_name() {
    let torrent = ModelTorrent::new(32 << 10, &[("f", 40 * KIB, false)]);
    let plan = torrent.plan();
    let mut world = World::new(torrent, plan);
    world.start();
    world.settle();
    world.give_all();
    while !world.log.iter().any(|op| op == "sync") {
        assert!(world.step());
    }
    world.disk.put("t/f.part", b"a letter to my grandmother");
    world.run();
    assert!(matches!(world.events.last(), Some(Output::Stopped(Some(_)))), "{:?}", world.events);
    assert_eq!(world.disk.content("t/f"), None);
    assert_eq!(world.disk.content("t/f.part"), Some(&b"a letter to my grandmother"[..]));
}

#[test]
fn data_that_is_there_is_hashed_and_seeded_at_once() {
    let mut world = world();
    for file in [0, 1, 2, 4] {
        let (path, content) = (world.torrent.path(file), world.torrent.file(file).to_vec());
        world.disk.put(&path, &content);
    }
    world.start();
    world.run();
    assert_eq!(world.events, [Output::Ready, Output::Durable, Output::Finished]);
    assert!(world.files.have().is_full() && world.files.durable().is_full());
    assert_eq!(world.disk.bytes_written, 0);
    assert_complete(&world);
    world.check_claims();
    world.files.discard(world.now);
    world.drain();
    world.run();
    assert_eq!(
        world.disk.content(&world.torrent.path(0)).map(<[u8]>::len),
        Some(100 * KIB),
        "not ours to remove"
    );
}

#[test]
fn what_is_wrong_is_mended_in_place_and_nothing_else_is_fetched() {
    for name in ["", ".part"] {
        let mut world = world();
        for file in [0, 1, 4] {
            let (path, mut content) = (world.torrent.path(file) + name, world.torrent.file(file).to_vec());
            if file == 0 {
                content[40 * KIB] ^= 1;
                content.truncate(97 * KIB);
            }
            if file == 4 {
                content.extend([7; 100]);
            }
            world.disk.put(&path, &content);
        }
        world.start();
        world.settle();
        let have: Vec<u32> = world.files.have().ones().collect();
        assert_eq!(have, [0, 2, 4, 5]);
        world.give_all();
        world.run();
        assert_eq!(world.disk.bytes_written, 61 << 10, "two pieces without their padding, {:?}", world.log);
        assert_eq!(world.events.last(), Some(&Output::Finished));
        assert_complete(&world);
        world.check_claims();
    }
}

#[test]
fn a_stranger_under_one_of_our_names_is_not_touched() {
    let mut world = world();
    world.disk.put("t/a/big.bin", b"a letter to my grandmother");
    world.start();
    world.run();
    let path = "/d/t/a/big.bin".into();
    assert_eq!(world.events.last(), Some(&Output::Stopped(Some(DownloadError::Exists { path }))));
    assert_eq!(world.disk.content("t/a/big.bin"), Some(&b"a letter to my grandmother"[..]));

    let torrent = torrent();
    let plan = FilesPlan { overwrite: true, ..torrent.plan() };
    let mut world = World::new(torrent, plan);
    world.disk.put("t/a/big.bin", b"a letter to my grandmother");
    world.live();
    assert_complete(&world);
}

#[test]
fn a_stranger_under_the_name_of_an_unwanted_file_is_left_alone() {
    let torrent = torrent();
    let plan = FilesPlan { unwanted: BTreeSet::from([0]), ..torrent.plan() };
    let mut world = World::new(torrent, plan);
    world.disk.put("t/a/big.bin", b"a letter to my grandmother");
    world.live();
    assert_complete(&world);
    assert_eq!(world.disk.content("t/a/big.bin"), Some(&b"a letter to my grandmother"[..]));
}

#[test]
fn unwanted_files_are_not_made_and_their_parts_are_brought_home_later() {
    let torrent = torrent();
    let plan = FilesPlan { unwanted: BTreeSet::from([0, 4]), ..torrent.plan() };
    let mut world = World::new(torrent, plan);
    world.live();
    assert_eq!(world.events.last(), Some(&Output::Finished));
    assert_complete(&world);
    let kept = format!(".{}.parts", world.torrent.metainfo.info_hash());
    assert_eq!(world.disk.paths(), [kept.as_str(), "t/", "t/a/", "t/a/b/", "t/a/b/small.txt", "t/empty"]);
    world.check_claims();
    let block = world.torrent.layout.grid().span(3, 0, 32 << 10).unwrap();
    world.files.read(world.now, 5, block);
    world.drain();
    world.settle();
    let expected = world.torrent.data(block).into_bytes();
    assert_eq!(world.events.last(), Some(&Output::Read { token: 5, result: Ok(expected) }));

    world.files.set_unwanted(world.now, BTreeSet::new());
    world.drain();
    world.settle();
    assert_eq!(world.files.have().ones().collect::<Vec<_>>(), [3], "what is there is not fetched again");
    world.give_all();
    world.run();
    assert_complete(&world);
    world.check_claims();
    assert_eq!(world.disk.content(&kept), None, "nothing is kept apart any more");
    assert_eq!(world.events.iter().filter(|event| **event == Output::Finished).count(), 2);
}

#[test]
fn parts_that_an_unknown_life_kept_apart_are_in_nobodys_way() {
    let torrent = torrent();
    let plan = FilesPlan { unwanted: BTreeSet::from([0, 4]), ..torrent.plan() };
    let mut world = World::new(torrent, plan.clone());
    world.live();
    let kept = format!(".{}.parts", world.torrent.metainfo.info_hash());
    assert!(world.disk.content(&kept).is_some());
    let everything = FilesPlan { unwanted: BTreeSet::new(), ..plan.clone() };
    for plan in [plan, everything] {
        // The store knows nothing of the life before.
        world.stored = None;
        world.restart(plan, false);
        world.live();
        assert!(world.has(&Output::Finished));
        assert_complete(&world);
        world.check_claims();
    }
    assert_eq!(world.disk.content(&kept), None, "nothing is kept apart any more");
}

#[test]
fn a_whole_file_keeps_its_name_when_it_is_not_wanted_any_more() {
    let torrent = torrent();
    let only = |file: u32| FilesPlan { unwanted: (0..5).filter(|f| *f != file).collect(), ..torrent.plan() };
    let mut world = World::new(torrent.clone(), only(1));
    world.live();
    let name = world.torrent.path(1);
    for forget in [false, true] {
        if forget {
            world.stored = None;
        }
        // The last piece of the first file is shared with the one that is whole, and must be taken anew.
        world.disk.delete("t/a/big.bin");
        world.restart(only(0), false);
        world.live();
        assert_eq!(world.events.last(), Some(&Output::Finished));
        assert_complete(&world);
        assert_eq!(world.disk.content(&name), Some(torrent.file(1)));
        world.check_claims();
    }
}

#[test]
fn a_wrong_piece_is_forgotten_and_taken_again() {
    let mut world = world();
    world.start();
    world.settle();
    let grid = world.torrent.layout.grid();
    let piece = grid.piece(1).unwrap();
    for block in grid.blocks(piece) {
        let mut bytes = world.torrent.data(block).into_bytes().to_vec();
        bytes[7] ^= u8::from(block.begin == 0);
        world.files.write(world.now, block, Bytes::from(bytes).into());
        world.drain();
    }
    world.run();
    assert!(world.has(&Output::Piece { piece, good: false }));
    assert_eq!(world.files.have().count(), 0);
    world.give_all();
    world.run();
    assert_complete(&world);
}

#[test]
fn what_is_no_block_or_came_before_is_dropped() {
    let mut world = world();
    world.start();
    let grid = world.torrent.layout.grid();
    let block = grid.block(grid.piece(0).unwrap(), 0).unwrap();
    world.give(block);
    assert_eq!(world.files.backlog(), 0, "not before it is known what is there");
    world.settle();
    world.give(block);
    assert_eq!(world.files.backlog(), 16 << 10);
    for wrong in [Block { begin: 1, ..block }, Block { len: 5, ..block }] {
        world.files.write(world.now, wrong, Bytes::from(vec![0; wrong.len as usize]).into());
    }
    world.files.write(world.now, block, Bytes::from_static(b"short").into());
    world.give(block);
    assert_eq!(world.files.backlog(), 16 << 10);
}

#[test]
fn what_is_given_up_before_its_file_is_open_is_no_longer_in_memory() {
    let mut world = world();
    world.start();
    world.settle();
    let grid = world.torrent.layout.grid();
    grid.blocks(grid.piece(0).unwrap()).for_each(|block| world.give(block));
    world.files.stop(world.now);
    world.drain();
    world.settle();
    assert_eq!((world.events.last(), world.files.backlog()), (Some(&Output::Stopped(None)), 0));
}

#[test]
fn what_was_only_checked_is_closed_as_soon_as_it_is_durable() {
    let mut world = world();
    world.live();
    let plan = world.torrent.plan();
    world.stored = None;
    world.restart(plan, false);
    world.start();
    world.settle();
    world.files.checkpoint(world.now);
    world.drain();
    world.settle();
    assert!(world.files.have().is_full() && world.disk.bytes_read > 0, "it was checked");
    assert_eq!((world.disk.open_count(), world.files.poll_timeout()), (0, None));
}

#[test]
fn an_earlier_life_is_taken_over_without_hashing() {
    let mut world = world();
    world.start();
    world.settle();
    let grid = world.torrent.layout.grid();
    for piece in [0, 2, 5] {
        grid.blocks(grid.piece(piece).unwrap()).for_each(|block| world.give(block));
    }
    world.settle();
    world.files.checkpoint(world.now);
    world.drain();
    world.settle();
    // One more is written and not synced.
    grid.blocks(grid.piece(1).unwrap()).for_each(|block| world.give(block));
    world.settle();
    world.note = world.files.note();
    assert_eq!(world.note.iter().collect::<Vec<_>>(), [1..2]);
    let plan = world.torrent.plan();
    world.restart(plan, false);
    world.disk.bytes_read = 0;
    world.start();
    world.settle();
    assert_eq!(world.files.have().ones().collect::<Vec<_>>(), [0, 1, 2, 5]);
    assert_eq!(world.disk.bytes_read, 32 << 10, "only what the store did not know is hashed");
    world.give_all();
    world.run();
    assert_complete(&world);
    let plan = world.torrent.plan();
    world.restart(plan, true);
    world.disk.bytes_read = 0;
    world.start();
    world.run();
    assert_eq!((&world.events[..], world.disk.bytes_read), (&[Output::Ready, Output::Finished][..], 0));
    assert_eq!(world.disk.open_count(), 0);
}

#[test]
fn what_was_deleted_or_replaced_meanwhile_is_not_believed() {
    let mut world = world();
    world.live();
    world.disk.delete(&world.torrent.path(1));
    let mut other = world.torrent.file(4).to_vec();
    other[0] ^= 1;
    world.disk.put(&world.torrent.path(4), &other);
    let plan = world.torrent.plan();
    world.restart(plan, false);
    world.start();
    world.settle();
    assert_eq!(world.files.have().ones().collect::<Vec<_>>(), [0, 1, 2, 4, 5]);
    world.give_all();
    world.run();
    assert_complete(&world);
    world.check_claims();
}

#[test]
fn a_check_finds_what_became_wrong_and_it_is_mended() {
    let mut world = world();
    world.live();
    let mut other = world.torrent.file(0).to_vec();
    other[99 * KIB] ^= 1;
    world.disk.put(&world.torrent.path(0), &other);
    world.disk.delete(&world.torrent.path(1));
    world.events.clear();
    world.files.check(world.now, CheckScope::All);
    world.drain();
    world.settle();
    let grid = world.torrent.layout.grid();
    let lost = (0..4).map(|piece| Output::Lost(grid.piece(piece).unwrap()));
    for lost in lost.skip(3) {
        assert!(world.has(&lost), "{:?}", world.events);
    }
    let checked = world.events.iter().find_map(|event| match event {
        Output::Checked { bad } => Some(*bad),
        _ => None,
    });
    assert!(checked.is_some_and(|bad| bad >= 1));
    world.give_all();
    world.run();
    assert_eq!(world.events.last(), Some(&Output::Finished), "{:?}", world.events);
    assert_complete(&world);
    world.check_claims();
}

#[test]
fn discarding_removes_what_was_made_and_nothing_else() {
    for complete in [false, true] {
        let mut world = world();
        world.disk.put("t/c/mine", b"mine");
        world.start();
        world.settle();
        if complete {
            world.give_all();
            world.run();
        } else {
            let grid = world.torrent.layout.grid();
            grid.blocks(grid.piece(3).unwrap()).for_each(|block| world.give(block));
        }
        world.files.discard(world.now);
        world.drain();
        world.run();
        assert_eq!(world.events.last(), Some(&Output::Stopped(None)));
        assert_eq!(world.disk.paths(), ["t/", "t/c/", "t/c/mine"]);
        assert_eq!(world.disk.open_count(), 0);
    }
}

#[test]
fn a_paused_torrent_is_discarded_too() {
    let mut world = world();
    world.live();
    world.disk.put("t/new", b"");
    let plan = world.torrent.plan();
    world.restart(plan, false);
    world.files.discard(world.now);
    world.drain();
    assert!(world.events.is_empty(), "the directory is not open yet");
    world.start();
    world.run();
    assert_eq!(world.events.last(), Some(&Output::Stopped(None)));
    assert_eq!(world.disk.paths(), ["t/", "t/new"]);
}

#[test]
fn few_files_are_open_and_none_when_nothing_happens() {
    let names: Vec<String> = (0..300).map(|file| format!("{}/{file}", file % 40)).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), 3 * KIB, false)).collect();
    let torrent = ModelTorrent::new(16 << 10, &files);
    let plan = torrent.plan();
    let mut world = World::new(torrent, plan);
    world.shuffle(1);
    world.live();
    assert_complete(&world);
    assert!(world.disk.most_open <= handles::MAX_OPEN_FILES, "{}", world.disk.most_open);
    assert_eq!(world.disk.open_count(), 0);
    assert_eq!(world.files.poll_timeout(), None);
}

#[test]
fn blocks_are_served_from_open_files() {
    let mut world = world();
    world.live();
    world.events.clear();
    let grid = world.torrent.layout.grid();
    let block = grid.block(grid.piece(0).unwrap(), 1).unwrap();
    world.files.serve(world.now, 1, block);
    world.drain();
    world.settle();
    let Some(Output::Spans { token: 1, result: Ok(spans) }) = world.events.last() else {
        panic!("{:?}", world.events)
    };
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].offset, spans[0].len), (16 << 10, 16 << 10));
    assert!(!world.wait(), "it stays open as long as it is needed");
    world.files.served(world.now, 1);
    assert!(world.wait());
    assert_eq!(world.disk.open_count(), 0);
    // Padding is in no file.
    let block = grid.block(grid.piece(3).unwrap(), 0).unwrap();
    world.files.serve(world.now, 2, block);
    world.drain();
    world.settle();
    let expected = world.torrent.data(block).into_bytes();
    assert_eq!(world.events.last(), Some(&Output::Read { token: 2, result: Ok(expected) }));
    // What is not there cannot be read.
    world.run();
    world.disk.delete(&world.torrent.path(4));
    world.files.read(world.now, 3, grid.block(grid.piece(4).unwrap(), 0).unwrap());
    world.run();
    let missing = Err(DiskErrorKind::NotFound.into());
    assert_eq!(world.events.last(), Some(&Output::Read { token: 3, result: missing }));
}

#[test]
fn few_open_files_are_held_for_peers() {
    let names: Vec<String> = (0..100).map(|file| file.to_string()).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), 16 * KIB, false)).collect();
    let torrent = ModelTorrent::new(16 << 10, &files);
    let plan = torrent.plan();
    let mut world = World::new(torrent, plan);
    world.live();
    world.events.clear();
    let grid = world.torrent.layout.grid();
    for piece in grid.all() {
        world.files.serve(world.now, u64::from(piece.get()), grid.block(piece, 0).unwrap());
        world.drain();
        world.settle();
    }
    let spans =
        world.events.iter().filter(|event| matches!(event, Output::Spans { result: Ok(_), .. })).count();
    let reads =
        world.events.iter().filter(|event| matches!(event, Output::Read { result: Ok(_), .. })).count();
    assert_eq!((spans, reads), (handles::MAX_OPEN_FILES / 2, 100 - handles::MAX_OPEN_FILES / 2));
}

#[test]
fn a_full_disk_is_an_error_and_nothing_that_was_right_is_lost() {
    let mut world = world();
    world.disk.capacity = Some(110 << 10);
    world.live();
    let Some(Output::Stopped(Some(DownloadError::Disk { error, .. }))) = world.events.last() else {
        panic!("{:?}", world.events)
    };
    assert_eq!(error.kind, DiskErrorKind::Full);
    let before: Vec<u32> = world.files.durable().ones().collect();
    assert!(before.len() >= 3, "{before:?}");
    world.disk.capacity = None;
    let plan = world.torrent.plan();
    world.restart(plan, false);
    world.start();
    world.settle();
    assert!(before.iter().all(|piece| world.files.have().get(*piece)));
    world.give_all();
    world.run();
    assert_complete(&world);
}

#[test]
fn a_link_or_a_device_in_the_way_is_refused() {
    let mut world = world();
    world.disk.put("t/a/big.bin/x", b"");
    world.start();
    world.run();
    let Some(Output::Stopped(Some(DownloadError::Disk { error, path, .. }))) = world.events.last() else {
        panic!("{:?}", world.events)
    };
    assert_eq!((error.kind, path.to_str()), (DiskErrorKind::NotRegular, Some("/d/t/a/big.bin")));
}

#[test]
fn room_is_reserved_when_a_file_is_made() {
    let torrent = torrent();
    let plan = FilesPlan { allocation: crate::base::disk::AllocationMode::Full, ..torrent.plan() };
    let mut world = World::new(torrent, plan);
    world.start();
    world.settle();
    let grid = world.torrent.layout.grid();
    grid.blocks(grid.piece(0).unwrap()).for_each(|block| world.give(block));
    world.settle();
    assert_eq!(world.disk.content("t/a/big.bin.part").map(<[u8]>::len), Some(100 * KIB));
    world.give_all();
    world.run();
    assert_complete(&world);
}

#[test]
fn nothing_is_made_before_the_store_knows_of_it() {
    let mut world = world();
    world.records = false;
    world.live();
    assert!(world.disk.paths().is_empty());
    assert!(world.has(&Output::Record));
    world.store();
    world.files.recorded(world.now);
    world.records = true;
    world.drain();
    world.run();
    assert_complete(&world);
}

#[test]
fn a_large_piece_out_of_order_is_hashed_in_order() {
    let torrent = ModelTorrent::new(4 << 20, &[("x", (4 << 20) - 5, false), ("y", 10 * KIB, false)]);
    let plan = torrent.plan();
    let mut world = World::new(torrent, plan);
    world.start();
    world.settle();
    let grid = world.torrent.layout.grid();
    let mut blocks: Vec<_> = grid.all().flat_map(|piece| grid.blocks(piece)).collect();
    blocks.reverse();
    for (at, block) in blocks.into_iter().enumerate() {
        world.give(block);
        if at % 50 == 0 {
            world.wait();
            world.settle();
        }
    }
    world.run();
    assert_complete(&world);
    assert!(world.disk.bytes_read > 3 << 20, "{}", world.disk.bytes_read);
}

#[test]
fn a_gap_behind_what_the_digest_takes_next_is_flushed_in_time() {
    let torrent = ModelTorrent::new(1 << 20, &[("f", 1 << 20, false)]);
    let plan = torrent.plan();
    let mut world = World::new(torrent, plan);
    world.start();
    world.settle();
    let give = |world: &mut World, numbers: core::ops::Range<u32>| {
        let grid = world.torrent.layout.grid();
        let piece = grid.piece(0).unwrap();
        numbers.for_each(|number| world.give(grid.block(piece, number).unwrap()));
    };
    // The digest is busy with these, and takes the next one after them.
    give(&mut world, 0..17);
    world.now += Duration::from_millis(100);
    give(&mut world, 18..19);
    world.now += Duration::from_millis(100);
    world.files.handle_timeout(world.now);
    assert_eq!(world.files.poll_timeout(), Some(world.now + Duration::from_millis(100)));
}

#[test]
fn the_failure_of_any_operation_ends_in_good_order() {
    for nth in 0..80 {
        for kind in [DiskErrorKind::Io, DiskErrorKind::Full, DiskErrorKind::NotFound, DiskErrorKind::Exists] {
            let mut world = world();
            world.fail = Some((nth, kind));
            world.start();
            world.settle();
            world.give_all();
            world.run();
            let ended = matches!(world.events.last(), Some(Output::Stopped(Some(_))));
            let finished = world.has(&Output::Finished);
            assert!(ended || finished, "{nth} {kind}: {:?}", world.events);
            world.check_claims();
            assert_eq!(world.disk.open_count(), 0, "{nth} {kind}");
            let layout = &world.torrent.layout;
            let files = (0..layout.files()).filter(|file| !layout.is_pad(*file));
            let there = files.map(|file| world.files.file_progress(file)).sum();
            assert_eq!(world.files.completed_len().unwrap_or(there), there, "{nth} {kind}");
            let plan = world.torrent.plan();
            world.fail = None;
            world.restart(plan, nth % 2 == 0);
            world.start();
            world.settle();
            world.give_all();
            world.run();
            assert_complete(&world);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn adventures_end_well(data in prop::collection::vec(any::<u8>(), 4..80)) {
        model::adventure(&data);
    }
}
