//! Pauses, kills and power cuts at any step: nothing recorded is wrong, and little is fetched again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use gosh_dl_core::base::Instant;
use gosh_dl_core::base::disk::HashAlgorithm;
use gosh_dl_core::download::{DownloadId, DownloadOptions, ExpectedChecksum};
use gosh_dl_core::engine::{DownloadEvent, DownloadState};
use gosh_dl_sim::{Behaviour, Content, CrashMode, Ranges, Resource, World};

const URL: &str = "http://a.example/file.bin";
const MIB: u64 = 1 << 20;
const LEN: u64 = 12 * MIB;

fn content() -> Content {
    Content::generated(1, LEN)
}

/// 12 MiB at 3 MB/s: four seconds, a few checkpoints.
fn world(behaviour: Behaviour) -> World {
    let mut world = World::new(7);
    world.serve(URL, Resource::new(content()).behave(behaviour)).rate = Some(3_000_000);
    world
}

fn add(world: &mut World) -> DownloadId {
    world.add(URL, DownloadOptions::new())
}

fn completed(world: &World, id: DownloadId) -> bool {
    world.events.iter().any(|(_, event)| *event == DownloadEvent::Completed { id })
}

/// Payload that the engine was given beyond the file's length; heads count too, but are small.
fn surplus(world: &World) -> u64 {
    world.received_since(Instant::ZERO).saturating_sub(LEN)
}

#[test]
fn pause_keeps_everything_that_arrived() {
    let mut world = world(Behaviour::default());
    let id = add(&mut world);
    for _ in 0..3 {
        world.run_for(Duration::from_secs(1));
        let token = world.pause(id);
        world.wait_reply(token).unwrap();
        assert_eq!(world.state(id), DownloadState::Paused);
        let before = world.received_since(Instant::ZERO);
        world.run_for(Duration::from_secs(60));
        assert_eq!(world.received_since(Instant::ZERO), before, "bytes arrive in a pause");
        let token = world.resume(id);
        world.wait_reply(token).unwrap();
    }
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert!(surplus(&world) < 100_000, "{} bytes twice", surplus(&world));
}

#[test]
fn paused_download_survives_a_power_cut_to_the_byte() {
    let mut world = world(Behaviour::default());
    let id = add(&mut world);
    world.run_for(Duration::from_secs(2));
    let token = world.pause(id);
    world.wait_reply(token).unwrap();
    let progress = world.status(id).unwrap().progress.completed_size;
    assert!(progress > MIB);
    world.crash(CrashMode::PowerCut);
    world.restart();
    let status = world.status(id).unwrap();
    assert_eq!((status.state, status.progress.completed_size), (DownloadState::Paused, progress));
    world.resume(id);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert!(surplus(&world) < 100_000, "{} bytes twice", surplus(&world));
}

#[test]
fn shutdown_keeps_everything_that_arrived() {
    let mut world = world(Behaviour::default());
    let id = add(&mut world);
    world.run_for(Duration::from_secs(2));
    assert!(world.shutdown(Duration::from_secs(5)), "the shutdown takes too long");
    world.run_for(Duration::from_secs(3600));
    world.crash(CrashMode::PowerCut);
    world.restart();
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert!(surplus(&world) < 100_000, "{} bytes twice", surplus(&world));
}

/// Crashes after each of `points` steps that are spread over the whole run, restarts, and runs to the end.
fn crash_everywhere(mode: CrashMode, points: u64, options: &DownloadOptions, most: u64) {
    let begin = || {
        let mut world = world(Behaviour::default());
        let id = world.add(URL, options.clone());
        (world, id)
    };
    let (mut whole, id) = begin();
    assert_eq!(whole.wait_done(id), DownloadState::Completed);
    let steps = whole.steps() + 20;
    let mut worst = 0;
    for point in 0..points {
        let (mut world, id) = begin();
        world.run_steps(steps * point / points);
        let (was_complete, known) = (completed(&world, id), world.is_acknowledged(id));
        let requests = world.log("a.example").requests.len();
        world.crash(mode);
        world.run_for(Duration::from_secs(1));
        world.restart();
        let Some(status) = world.status(id) else {
            assert!(!known, "point {point}: the download was added and is gone");
            continue;
        };
        if was_complete {
            assert_eq!(status.state, DownloadState::Completed, "point {point}");
        }
        assert_eq!(world.wait_done(id), DownloadState::Completed, "point {point}");
        assert_eq!(content().first_mismatch(0, &world.file("file.bin").unwrap()), None, "point {point}");
        assert_eq!(world.disk.names(World::DIR), ["file.bin"], "point {point}");
        if was_complete {
            assert_eq!(world.log("a.example").requests.len(), requests, "point {point}");
        }
        worst = worst.max(surplus(&world));
    }
    assert!(worst <= most, "{worst} bytes fetched again");
}

#[test]
fn kill_at_any_step_loses_a_moment() {
    crash_everywhere(CrashMode::Kill, 60, &DownloadOptions::new(), 2 * MIB);
}

#[test]
fn power_cut_at_any_step_loses_one_batch() {
    crash_everywhere(CrashMode::PowerCut, 60, &DownloadOptions::new(), 8 * MIB);
}

#[test]
fn torn_power_cut_at_any_step_loses_one_batch() {
    crash_everywhere(CrashMode::Torn, 60, &DownloadOptions::new(), 8 * MIB);
}

#[test]
fn torn_power_cut_with_a_checksum_still_verifies() {
    let sum: ExpectedChecksum = content().checksum(HashAlgorithm::Sha256).parse().unwrap();
    crash_everywhere(CrashMode::Torn, 40, &DownloadOptions::new().checksum(sum), 8 * MIB);
}

#[test]
fn every_single_step_of_a_small_download_may_be_the_last() {
    let small = || {
        let mut world = World::new(8);
        world.serve(URL, Resource::new(Content::generated(1, 5000)));
        let id = add(&mut world);
        (world, id)
    };
    let (mut whole, id) = small();
    assert_eq!(whole.wait_done(id), DownloadState::Completed);
    whole.run_for(Duration::from_secs(10));
    for step in 0..whole.steps() {
        for mode in [CrashMode::Kill, CrashMode::PowerCut, CrashMode::Torn] {
            let (mut world, id) = small();
            world.run_steps(step);
            let known = world.is_acknowledged(id);
            world.crash(mode);
            world.restart();
            if world.status(id).is_none() {
                assert!(!known, "step {step} {mode:?}: the download was added and is gone");
                continue;
            }
            assert_eq!(world.wait_done(id), DownloadState::Completed, "step {step} {mode:?}");
            assert_eq!(world.disk.names(World::DIR), ["file.bin"], "step {step} {mode:?}");
        }
    }
}

#[test]
fn two_crashes_in_a_row_are_no_worse() {
    for gap in [1, 5, 20, 80] {
        for mode in [CrashMode::Kill, CrashMode::Torn] {
            let mut world = world(Behaviour::default());
            let id = add(&mut world);
            world.run_for(Duration::from_millis(2500));
            world.crash(mode);
            world.restart();
            world.run_steps(gap);
            world.crash(mode);
            world.restart();
            assert_eq!(world.wait_done(id), DownloadState::Completed, "{gap} {mode:?}");
        }
    }
}

#[test]
fn process_that_lives_a_second_at_a_time_still_finishes() {
    for mode in [CrashMode::Kill, CrashMode::PowerCut] {
        let mut world = world(Behaviour::default());
        let id = add(&mut world);
        let mut lives = 0;
        while !world.run_until(|world| completed(world, id), Duration::from_millis(1300)) {
            lives += 1;
            assert!(lives < 60, "{mode:?}: no end after {lives} lives: {:?}", world.status(id));
            world.crash(mode);
            world.restart();
        }
    }
}

#[test]
fn file_that_changed_while_the_engine_was_away_is_fetched_anew() {
    for honours_if_range in [true, false] {
        let mut world = world(Behaviour { honours_if_range, ..Behaviour::default() });
        let id = add(&mut world);
        world.run_for(Duration::from_millis(2500));
        world.crash(CrashMode::Kill);
        let resource = Resource::new(Content::generated(2, LEN)).validators(Some("\"v2\""), None);
        world.serve(URL, resource.behave(Behaviour { honours_if_range, ..Behaviour::default() }));
        world.restart();
        assert_eq!(world.wait_done(id), DownloadState::Completed);
    }
}

#[test]
fn origin_without_ranges_starts_from_zero() {
    let mut world = world(Behaviour { ranges: Ranges::None, ..Behaviour::default() });
    let id = add(&mut world);
    world.run_for(Duration::from_millis(2500));
    world.crash(CrashMode::Kill);
    world.restart();
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn origin_without_validators_is_not_trusted_across_a_restart() {
    let mut world = World::new(7);
    world.serve(URL, Resource::new(content()).validators(None, None)).rate = Some(3_000_000);
    let id = add(&mut world);
    world.run_for(Duration::from_millis(2500));
    world.crash(CrashMode::Kill);
    world.serve(URL, Resource::new(Content::generated(2, LEN)).validators(None, None));
    world.restart();
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

/// Two seconds of a download, then somebody does something to the part, then the engine comes back.
fn meddled(meddle: impl FnOnce(&mut World)) -> (World, DownloadId) {
    let mut world = world(Behaviour::default());
    let id = add(&mut world);
    world.run_for(Duration::from_millis(2500));
    let token = world.pause(id);
    world.wait_reply(token).unwrap();
    world.crash(CrashMode::Kill);
    meddle(&mut world);
    world.restart();
    world.resume(id);
    (world, id)
}

#[test]
fn part_that_was_deleted_is_fetched_again() {
    let (mut world, id) = meddled(|world| world.disk.delete(World::DIR, "file.bin.part"));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn part_that_was_cut_is_fetched_again() {
    let (mut world, id) = meddled(|world| world.disk.truncate(World::DIR, "file.bin.part", 1000));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn part_that_was_replaced_is_not_taken_for_ours_and_not_harmed() {
    let (mut world, id) = meddled(|world| world.disk.put(World::DIR, "file.bin.part", &[9; 1000]));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    let content = world.disk.content(World::DIR, "file.bin.part");
    assert_eq!(content, Some(vec![9; 1000]), "{:?}", world.disk.names(World::DIR));
}

#[test]
fn wall_clock_that_jumps_changes_nothing() {
    let mut world = world(Behaviour::default());
    let id = add(&mut world);
    world.run_for(Duration::from_secs(1));
    world.jump_wall_clock(-400 * 24 * 3600 * 1000);
    world.run_for(Duration::from_secs(1));
    world.jump_wall_clock(800 * 24 * 3600 * 1000);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert!(world.now() < Instant::ZERO + Duration::from_secs(6));
}

#[test]
fn cancel_removes_what_was_created_and_nothing_else() {
    for (delete, expected) in [(true, vec!["other"]), (false, vec!["file.bin.part", "other"])] {
        let mut world = world(Behaviour::default());
        world.disk.put(World::DIR, "other", b"mine");
        let id = add(&mut world);
        world.run_for(Duration::from_secs(2));
        let token = world.cancel(id, delete);
        world.wait_reply(token).unwrap();
        assert!(world.status(id).is_none());
        assert_eq!(world.disk.names(World::DIR), expected);
        world.crash(CrashMode::Kill);
        world.restart();
        assert!(world.list().is_empty());
    }
}

#[test]
fn cancel_of_a_complete_download_deletes_its_file_only_if_asked() {
    for (delete, kept) in [(true, false), (false, true)] {
        let mut world = world(Behaviour::default());
        let id = add(&mut world);
        assert_eq!(world.wait_done(id), DownloadState::Completed);
        let token = world.cancel(id, delete);
        world.wait_reply(token).unwrap();
        assert_eq!(world.file("file.bin").is_some(), kept);
    }
}
