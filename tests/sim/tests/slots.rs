//! Who takes a place among the downloads that run at once, and who does not.

use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{Answer, DownloadState, EngineConfig};
use gosh_dl_sim::one_file::OneFile;
use gosh_dl_sim::{Content, CrashMode, World};

const LEN: u64 = 100_000;

fn name(number: usize) -> String {
    format!("file{number}")
}

/// A torrent of one file, called by its number.
fn torrent(number: usize) -> OneFile {
    let content = Content::generated(number as u64, LEN);
    OneFile::with(content, 64 << 10, |torrent| torrent.name = name(number))
}

fn states(world: &mut World, ids: &[DownloadId]) -> Vec<DownloadState> {
    ids.iter().map(|id| world.state(*id)).collect()
}

/// One download may run at once, and one nobody has; the others are whole.
fn begin(whole: usize) -> (World, DownloadId, Vec<DownloadId>) {
    let mut world = World::with_config(1, EngineConfig::new().max_concurrent_downloads(1).seed_ratio(0.0));
    let stalled = world.add_torrent(torrent(0).raw(), &[], DownloadOptions::new().start_paused(true));
    let mut ids = Vec::new();
    for number in 1..=whole {
        let torrent = torrent(number);
        world.disk.put(World::DIR, &name(number), &torrent.bytes());
        ids.push(world.add_torrent(torrent.raw(), &[], DownloadOptions::new()));
    }
    world.run_for(Duration::from_secs(5));
    assert_eq!(states(&mut world, &ids), vec![DownloadState::Seeding; whole]);
    let resume = world.resume(stalled);
    assert_eq!(world.wait_reply(resume), Ok(Answer::Done));
    (world, stalled, ids)
}

#[test]
fn whole_torrents_are_seeded_at_once_though_all_places_are_taken() {
    let (mut world, stalled, ids) = begin(20);
    world.crash(CrashMode::Kill);
    world.restart();
    world.run_for(Duration::from_secs(5));
    assert_eq!(states(&mut world, &ids), vec![DownloadState::Seeding; 20]);
    assert_eq!(world.state(stalled), DownloadState::Connecting);
    let moved = world.move_to(ids[7], "/elsewhere");
    assert_eq!(world.wait_reply(moved), Ok(Answer::Done));
    let pause = world.pause(ids[8]);
    assert_eq!(world.wait_reply(pause), Ok(Answer::Done));
    let resume = world.resume(ids[8]);
    assert_eq!(world.wait_reply(resume), Ok(Answer::Done));
    world.run_for(Duration::from_secs(5));
    assert_eq!(states(&mut world, &ids), vec![DownloadState::Seeding; 20]);
}

#[test]
fn what_is_not_whole_any_more_keeps_others_from_a_place() {
    let (mut world, stalled, ids) = begin(2);
    let pause = world.pause(stalled);
    assert_eq!(world.wait_reply(pause), Ok(Answer::Done));
    world.crash(CrashMode::Kill);
    world.disk.delete(World::DIR, &name(1));
    world.restart();
    world.run_for(Duration::from_secs(1));
    let resume = world.resume(stalled);
    assert_eq!(world.wait_reply(resume), Ok(Answer::Done));
    world.run_for(Duration::from_secs(5));
    assert_eq!(states(&mut world, &ids), [DownloadState::Connecting, DownloadState::Seeding]);
    assert_eq!(world.state(stalled), DownloadState::Queued);
}
