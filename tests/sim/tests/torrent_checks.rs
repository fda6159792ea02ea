//! Torrents whose pieces are hashed anew: whoever asked for it is answered, whatever else happens meanwhile.

use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{Answer, DownloadState, EngineError, Token};
use gosh_dl_sim::one_file::OneFile;
use gosh_dl_sim::{Content, CrashMode, Latency, OpClass, World};

const LEN: u64 = 2_000_000;
const PIECE: u32 = 64 << 10;

/// A torrent whose file is there, on a disk that needs a second to hash it.
fn begin(options: DownloadOptions) -> (World, DownloadId) {
    let mut world = World::new(1);
    let file = OneFile::new(Content::generated(1, LEN), PIECE);
    world.disk.put(World::DIR, OneFile::NAME, &file.bytes());
    world.disk.slow(OpClass::Hash, Latency::fixed(Duration::from_secs(1)));
    let id = world.add_torrent(file.raw(), &[], options);
    (world, id)
}

fn spoil(world: &mut World) {
    world.disk.change(World::DIR, "file", u64::from(3 * PIECE), b"other bytes");
}

/// Whether the report says that all is right.
fn verdict(world: &World, token: Token) -> Option<bool> {
    match world.reply(token)? {
        Ok(Answer::Verified(report)) => Some(report.valid),
        other => panic!("{other:?}"),
    }
}

fn is_refused(world: &World, token: Token) -> bool {
    matches!(world.reply(token), Some(Err(EngineError::InvalidState { .. })))
}

#[test]
fn what_is_asked_while_a_torrent_looks_at_its_files_is_done_afterwards() {
    let (mut world, id) = begin(DownloadOptions::new().seed_ratio(0.0));
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.state(id), DownloadState::Checking);
    let token = world.verify_begin(id);
    world.run_for(Duration::from_secs(1));
    assert_eq!(
        verdict(&world, token),
        None,
        "the first look is no answer: it only looks at what is not known"
    );
    world.run_for(Duration::from_secs(2));
    assert_eq!(verdict(&world, token), Some(true));
    assert_eq!(world.state(id), DownloadState::Seeding);
    let token = world.pause(id);
    assert_eq!(world.wait_reply(token), Ok(Answer::Done));
}

#[test]
fn check_that_the_end_of_seeding_comes_into_goes_on_at_rest() {
    for wrong in [false, true] {
        let (mut world, id) = begin(DownloadOptions::new().seed_time(Duration::from_secs(4)));
        world.run_for(Duration::from_millis(4_500));
        assert_eq!(world.state(id), DownloadState::Seeding);
        if wrong {
            spoil(&mut world);
        }
        let token = world.verify_begin(id);
        world.run_for(Duration::from_secs(5));
        assert_eq!(verdict(&world, token), Some(!wrong));
        assert_eq!(world.state(id), DownloadState::Completed);
    }
}

#[test]
fn pause_ends_a_check() {
    let (mut world, id) = begin(DownloadOptions::new().seed_ratio(0.0));
    world.run_for(Duration::from_secs(3));
    let check = world.verify_begin(id);
    world.run_for(Duration::from_millis(500));
    let pause = world.pause(id);
    assert_eq!(world.wait_reply(pause), Ok(Answer::Done));
    assert!(is_refused(&world, check), "{:?}", world.reply(check));
    assert_eq!(world.state(id), DownloadState::Paused);
    // At rest, too.
    let check = world.verify_begin(id);
    world.run_for(Duration::from_millis(500));
    let pause = world.pause(id);
    assert_eq!(world.wait_reply(pause), Ok(Answer::Done));
    assert!(is_refused(&world, check), "{:?}", world.reply(check));
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.state(id), DownloadState::Paused);
    let resume = world.resume(id);
    assert_eq!(world.wait_reply(resume), Ok(Answer::Done));
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.state(id), DownloadState::Seeding);
}

#[test]
fn shutdown_answers_who_waits_for_a_check() {
    for paused in [false, true] {
        let (mut world, id) = begin(DownloadOptions::new().seed_ratio(0.0));
        world.run_for(Duration::from_secs(3));
        if paused {
            let token = world.pause(id);
            assert_eq!(world.wait_reply(token), Ok(Answer::Done));
        }
        let check = world.verify_begin(id);
        world.run_for(Duration::from_millis(500));
        assert!(world.shutdown(Duration::from_secs(3)));
        assert_eq!(world.reply(check), Some(&Err(EngineError::Shutdown)));
        world.restart();
        world.run_for(Duration::from_secs(3));
        let state = if paused { DownloadState::Paused } else { DownloadState::Seeding };
        assert_eq!(world.state(id), state);
    }
}

#[test]
fn check_is_no_new_beginning_of_seeding() {
    let (mut world, id) = begin(DownloadOptions::new().seed_time(Duration::from_secs(10)));
    world.run_for(Duration::from_secs(8));
    let token = world.verify_begin(id);
    world.run_for(Duration::from_secs(2));
    assert_eq!((verdict(&world, token), world.state(id)), (Some(true), DownloadState::Seeding));
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.state(id), DownloadState::Completed);
}

#[test]
fn time_of_seeding_outlives_kills_though_nothing_else_happens() {
    let (mut world, id) = begin(DownloadOptions::new().seed_time(Duration::from_secs(3600)));
    for _ in 0..3 {
        world.run_for(Duration::from_secs(1000));
        let steps = world.steps();
        world.run_for(Duration::from_secs(100));
        assert!(world.steps() - steps < 10, "{} steps", world.steps() - steps);
        world.crash(CrashMode::Kill);
        world.restart();
    }
    world.run_for(Duration::from_secs(250));
    assert_eq!(world.state(id), DownloadState::Seeding, "not longer than it was");
    world.run_for(Duration::from_secs(3 * 150));
    assert_eq!(world.state(id), DownloadState::Completed);
}

#[test]
fn check_at_rest_changes_nothing_on_the_disk() {
    let (mut world, id) = begin(DownloadOptions::new().seed_ratio(0.0));
    world.run_for(Duration::from_secs(3));
    let pause = world.pause(id);
    assert_eq!(world.wait_reply(pause), Ok(Answer::Done));
    world.disk.change(World::DIR, "file", LEN, b"more than it should have");
    let before = world.file("file");
    world.disk.read_only = true;
    let report = world.verify(id).expect("looking is no change");
    world.run_for(Duration::from_secs(1));
    assert!(report.valid, "{report:?}");
    assert_eq!((world.file("file") == before, world.state(id)), (true, DownloadState::Paused));
    // What somebody else put in its place is only looked at, too.
    world.disk.read_only = false;
    world.disk.put(World::DIR, "file", b"another file");
    assert!(!world.verify(id).expect("it is not what it should be").valid);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.state(id), DownloadState::Paused);
    assert_eq!(world.file("file").as_deref(), Some(&b"another file"[..]));
}
