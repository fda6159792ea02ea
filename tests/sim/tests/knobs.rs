//! What may be changed of a torrent that runs: how fast it is sent, and when its seeding ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadState, Engine, EngineConfig, EngineError};
use gosh_dl_sim::one_file::{OneFile, place};
use gosh_dl_sim::{Content, CrashMode, NodeId, World};

const LEN: u64 = 8_000_000;
const SECOND: Duration = Duration::from_secs(1);

/// An engine that has the file, or fetches it from the first.
fn join(world: &mut World, number: u8) -> (NodeId, DownloadId) {
    let file = OneFile::new(Content::generated(5, LEN), 64 << 10);
    let config = EngineConfig::new().seed_ratio(0.0).enable_pex(false);
    match number {
        1 => file.seed(world, 1, config, DownloadOptions::new()),
        _ => file.join(world, number, config, DownloadOptions::new().peer(place(1))),
    }
}

/// How many bytes it has sent, and how many peers it serves.
fn served(world: &mut World, seed: (NodeId, DownloadId)) -> (u64, usize) {
    let status = world.status_of(seed);
    let unchoked = status.peers.unwrap().iter().filter(|peer| !peer.am_choking).count();
    (status.torrent_info.unwrap().uploaded, unchoked)
}

#[test]
fn uploads_and_slots_follow_a_limit_that_changes() {
    let mut world = World::new(3);
    let seed = join(&mut world, 1);
    world.run_for(SECOND);
    (2..14).for_each(|number| _ = join(&mut world, number));
    // As many slots as the root of a fortieth of the limit in KiB, and four at least.
    let limits = [(3_000_000, 8), (300_000, 4), (2_000_000, 6), (300_000, 4), (4_000_000, 9)];
    for (index, (limit, slots)) in limits.into_iter().enumerate() {
        // The limit of all torrents and that of this one by turns; the new one comes before the old one goes.
        let (all, own) = if index % 2 == 1 { (Some(limit), None) } else { (None, Some(limit)) };
        for (all, own) in [(Some(limit), Some(limit)), (all, own)] {
            let set = |engine: &mut Engine, now, _| {
                let config = engine.config().clone().global_upload_limit(all);
                engine.set_upload_limit(now, seed.1, own).and_then(|()| engine.set_config(now, config))
            };
            world.command(seed.0, set).1.unwrap();
        }
        world.run_for(SECOND);
        let (before, _) = served(&mut world, seed);
        world.run_for(SECOND * 4);
        let (after, unchoked) = served(&mut world, seed);
        let rate = (after - before) / 4;
        assert!((limit * 85 / 100..=limit * 105 / 100).contains(&rate), "{rate} instead of {limit}");
        assert_eq!(unchoked, slots, "at {limit} bytes per second");
    }
    let nothing =
        world.command(seed.0, |engine: &mut Engine, now, _| engine.set_upload_limit(now, seed.1, Some(0)));
    assert!(matches!(nothing.1, Err(EngineError::InvalidInput { field: "max_upload_speed", .. })));
}

fn set_goal(world: &mut World, (node, id): (NodeId, DownloadId), ratio: Option<f64>, time: Option<Duration>) {
    let set = |engine: &mut Engine, now, _| engine.set_seed_goal(now, id, ratio, time);
    world.command(node, set).1.unwrap();
}

fn resume(world: &mut World, (node, id): (NodeId, DownloadId)) -> bool {
    let token = world.command(node, |engine: &mut Engine, now, token| engine.resume(now, id, token)).0;
    world.run_for(SECOND * 2);
    world.station(node).reply(token).unwrap().is_ok()
}

#[test]
fn a_lower_goal_is_met_at_once_and_a_higher_one_goes_on() {
    let mut world = World::new(4);
    let seed = join(&mut world, 1);
    world.run_for(SECOND);
    let leecher = join(&mut world, 2);
    world.run_for(SECOND * 20);
    assert_eq!(world.status_of(leecher).state, DownloadState::Seeding);
    let state = |world: &mut World| world.status_of(seed).state;
    // It has sent each byte once.
    set_goal(&mut world, seed, Some(1.5), None);
    world.run_for(SECOND);
    assert_eq!(state(&mut world), DownloadState::Seeding);
    set_goal(&mut world, seed, Some(0.5), None);
    world.run_for(SECOND);
    assert_eq!(state(&mut world), DownloadState::Completed);
    assert!(!resume(&mut world, seed), "the goal is met");
    set_goal(&mut world, seed, Some(1.9), None);
    assert_eq!(state(&mut world), DownloadState::Completed, "nothing begins by itself");
    assert!(resume(&mut world, seed));
    assert_eq!(state(&mut world), DownloadState::Seeding);
    // The same by time, and it is remembered.
    set_goal(&mut world, seed, Some(0.0), Some(SECOND * 3));
    world.run_for(SECOND);
    assert_eq!(state(&mut world), DownloadState::Completed);
    set_goal(&mut world, seed, Some(0.0), Some(SECOND * 600));
    world.run_for(SECOND);
    world.crash_station(seed.0, CrashMode::PowerCut);
    world.restart_station(seed.0);
    assert!(resume(&mut world, seed));
    world.run_for(SECOND * 500);
    assert_eq!(state(&mut world), DownloadState::Seeding);
    world.run_for(SECOND * 100);
    assert_eq!(state(&mut world), DownloadState::Completed);
}
