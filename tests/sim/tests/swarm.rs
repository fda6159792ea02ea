//! Swarms of engines, each with a disk and a store of its own.

use core::time::Duration;
use gosh_dl_core::base::Instant;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadState, Engine, EngineConfig, TorrentConfig};
use gosh_dl_sim::one_file::{OneFile, place};
use gosh_dl_sim::{Content, CrashMode, NodeId, Station, World};

const LEN: usize = 3_000_000;

fn file() -> OneFile {
    OneFile::new(Content::generated(5, LEN as u64), 64 << 10)
}

fn config() -> EngineConfig {
    EngineConfig::new().seed_ratio(0.0)
}

/// An engine that has the file, or fetches it from these peers.
fn join(world: &mut World, number: u8, has: bool, peers: &[u8]) -> (NodeId, DownloadId) {
    let options = peers.iter().fold(DownloadOptions::new(), |options, peer| options.peer(place(*peer)));
    if has {
        file().seed(world, number, config(), options)
    } else {
        file().join(world, number, config(), options)
    }
}

fn assert_same(world: &World, id: NodeId) {
    assert!(world.station(id).disk.content(World::DIR, "file").is_some_and(|bytes| bytes == file().bytes()));
}

#[test]
fn everybody_completes_while_one_seed_lives_and_one_loses_its_power() {
    let mut world = World::new(3);
    join(&mut world, 1, true, &[]);
    world.run_for(Duration::from_secs(1));
    let leechers: Vec<NodeId> =
        (2..8).map(|number| join(&mut world, number, false, &[1, number - 1]).0).collect();
    world.run_for(Duration::from_millis(300));
    world.crash_station(leechers[2], CrashMode::PowerCut);
    world.run_for(Duration::from_secs(1));
    world.restart_station(leechers[2]);
    let all = |world: &mut World| leechers.iter().all(|id| world.has_completed(*id));
    assert!(world.run_until(all, Duration::from_secs(300)), "{}", world.report());
    leechers.iter().for_each(|id| assert_same(&world, *id));
}

#[test]
fn a_seed_whose_disk_lies_spoils_nothing() {
    let mut world = World::new(4);
    join(&mut world, 1, true, &[]);
    let (liar, _) = join(&mut world, 2, true, &[]);
    world.run_for(Duration::from_secs(2));
    // It has checked its file; now every piece is wrong in its first byte.
    let bytes = file().bytes();
    world.act(liar, |station: &mut Station, _| {
        for piece in 0..LEN.div_ceil(64 << 10) {
            station.disk.change(World::DIR, "file", (piece as u64) << 16, &[bytes[piece << 16] ^ 1]);
        }
    });
    let (leecher, _) = join(&mut world, 3, false, &[2, 1]);
    file().assert_fetched(&mut world, leecher, Duration::from_secs(600));
}

#[test]
fn a_seed_does_next_to_nothing_until_somebody_comes() {
    let mut world = World::new(12);
    let (seed, _) = join(&mut world, 1, true, &[]);
    world.run_for(Duration::from_secs(30));
    let (steps, events) = (world.steps(), world.station(seed).events.len());
    world.run_for(Duration::from_secs(600));
    assert!(world.steps() - steps <= 30, "{} steps", world.steps() - steps);
    assert!(world.station(seed).events.len() - events <= 30, "progress where there is none");
    let (leecher, _) = join(&mut world, 2, false, &[1]);
    file().assert_fetched(&mut world, leecher, Duration::from_secs(10));
}

#[test]
fn piece_that_was_lost_while_seeding_comes_from_a_seed_that_keeps_no_other_seeds() {
    let mut world = World::new(14);
    join(&mut world, 1, true, &[]);
    world.run_for(Duration::from_secs(1));
    let other = join(&mut world, 2, false, &[1]);
    let done = world.run_until(|world| world.has_completed(other.0), Duration::from_secs(60));
    assert!(done, "{}", world.report());
    world.run_for(Duration::from_secs(2));
    world.act(other.0, |station: &mut Station, _| station.disk.change(World::DIR, "file", 3 << 16, b"lost"));
    world.command(other.0, |engine: &mut Engine, now, token| engine.repair(now, other.1, token));
    world.run_for(Duration::from_secs(300));
    assert_same(&world, other.0);
    assert_eq!(world.status_of(other).state, DownloadState::Seeding);
}

/// A block is more than a fiftieth of a second's worth, which is all that may be saved up: what it went beyond was
/// forgotten, and a seed sent 800,000 bytes per second whatever its limit.
#[test]
fn an_upload_limit_is_kept_where_one_block_is_more_than_may_be_saved_up() {
    for (own, limit) in [(false, 100_000), (true, 100_000), (false, 400_000)] {
        let mut world = World::new(13);
        let config = if own { config() } else { config().global_upload_limit(limit) };
        let options = DownloadOptions::new();
        let options = if own { options.max_upload_speed(limit) } else { options };
        file().seed(&mut world, 1, config, options);
        world.run_for(Duration::from_secs(1));
        let began = world.now();
        let (leecher, _) = join(&mut world, 2, false, &[1]);
        file().assert_fetched(&mut world, leecher, Duration::from_secs(60));
        let (took, least) = ((world.now() - began).as_secs_f64(), LEN as f64 / limit as f64);
        assert!(took > least * 0.95, "{took} s, {least} s at {limit} B/s");
        assert!(took < least * 1.2 + 2.0, "{took} s, {least} s at {limit} B/s");
    }
}

/// What was sent is in the store a few minutes later, with nothing to make durable and nobody who pauses.
#[test]
fn what_was_sent_outlives_a_kill() {
    let mut world = World::new(15);
    let seed = join(&mut world, 1, true, &[]);
    world.run_for(Duration::from_secs(1));
    let (leecher, _) = join(&mut world, 2, false, &[1]);
    let done = world.run_until(|world| world.has_completed(leecher), Duration::from_secs(60));
    assert!(done, "{}", world.report());
    world.run_for(Duration::from_secs(150));
    let uploaded = |world: &mut World| world.status_of(seed).torrent_info.expect("it is a torrent").uploaded;
    let before = uploaded(&mut world);
    assert!(before >= LEN as u64);
    world.crash_station(seed.0, CrashMode::Kill);
    world.restart_station(seed.0);
    assert_eq!(uploaded(&mut world), before);
}

#[test]
fn all_torrents_together_keep_to_the_limit_of_connections() {
    let mut world = World::new(8);
    (1..6).for_each(|number| _ = join(&mut world, number, true, &[]));
    world.run_for(Duration::from_secs(1));
    let config = config().torrent(TorrentConfig::new().max_connections(2));
    let options = DownloadOptions::new().max_download_speed(1_000_000);
    let options = (1..6).map(place).fold(options, DownloadOptions::peer);
    let (leecher, download) = file().join(&mut world, 9, config, options);
    let mut most = 0;
    while !world.has_completed(leecher) {
        world.run_for(Duration::from_millis(20));
        most = most.max(world.status_of((leecher, download)).progress.connections);
        assert!(world.now() < Instant::ZERO + Duration::from_secs(60), "{}", world.report());
    }
    assert_eq!(most, 2);
    assert_same(&world, leecher);
}

#[test]
fn super_seed_sends_little_more_than_each_piece_once() {
    let uploaded = |super_seeding: bool| {
        let mut world = World::new(9);
        let options = DownloadOptions::new().super_seeding(super_seeding);
        let seed = file().seed(&mut world, 1, config().global_upload_limit(Some(200_000)), options);
        world.run_for(Duration::from_secs(1));
        let others = |number: u8| (1..6).filter(|other| *other != number).collect::<Vec<_>>();
        let leechers: Vec<NodeId> =
            (2..6).map(|number| join(&mut world, number, false, &others(number)).0).collect();
        let all = |world: &mut World| leechers.iter().all(|id| world.has_completed(*id));
        assert!(world.run_until(all, Duration::from_secs(600)), "{}", world.report());
        leechers.iter().for_each(|id| assert_same(&world, *id));
        world.status_of(seed).torrent_info.expect("it is a torrent").uploaded as f64 / LEN as f64
    };
    let (usual, careful) = (uploaded(false), uploaded(true));
    assert!((1.0..1.2).contains(&careful) && careful < usual, "{careful} copies, {usual} as usual");
}

#[test]
fn a_torrent_that_is_cancelled_takes_its_files_along() {
    let mut world = World::new(5);
    join(&mut world, 1, true, &[]);
    world.run_for(Duration::from_secs(1));
    let (leecher, download) = join(&mut world, 2, false, &[1]);
    file().assert_fetched(&mut world, leecher, Duration::from_secs(60));
    world.command(leecher, |engine: &mut Engine, now, token| engine.cancel(now, download, true, token));
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.station(leecher).disk.names(World::DIR), Vec::<String>::new());
}

#[test]
fn equal_seeds_play_the_same_swarm() {
    let play = |seed| {
        let mut world = World::new(seed);
        join(&mut world, 1, true, &[]);
        let (leecher, _) = join(&mut world, 2, false, &[1]);
        world.run_until(|world| world.has_completed(leecher), Duration::from_secs(60));
        world.trace_hash()
    };
    assert_eq!(play(9), play(9));
}

#[test]
fn a_magnet_link_is_enough_and_a_pause_loses_nothing() {
    let mut world = World::new(6);
    join(&mut world, 1, true, &[]);
    world.run_for(Duration::from_secs(1));
    let leecher = world.add_station(&[place(2).ip()], EngineConfig::new());
    let link = format!("magnet:?xt=urn:btih:{}&x.pe=203.0.113.1:6881", file().metainfo.info_hash());
    let options = DownloadOptions::new().seed_time(Duration::ZERO).max_download_speed(500_000);
    let add = |engine: &mut Engine, now, token| engine.add_magnet(now, &link, options, token);
    let download = world.command(leecher, add).1.expect("it is taken");
    world.run_for(Duration::from_secs(3));
    world.command(leecher, |engine: &mut Engine, now, token| engine.pause(now, download, token));
    world.run_for(Duration::from_secs(3));
    let here = |world: &mut World| world.status_of((leecher, download)).progress.completed_size;
    let paused = here(&mut world);
    assert!(paused > 500_000, "{paused}");
    world.run_for(Duration::from_secs(3));
    assert_eq!(here(&mut world), paused, "it is paused");
    world.command(leecher, |engine: &mut Engine, now, token| engine.resume(now, download, token));
    world.run_for(Duration::from_millis(200));
    assert!(here(&mut world) >= paused);
    file().assert_fetched(&mut world, leecher, Duration::from_secs(60));
}

/// Links between seeds that were made after both were complete stayed for good, and took the places of others.
#[test]
fn seeds_part_and_let_each_other_alone() {
    let mut world = World::new(14);
    let seeds = [1, 2, 3].map(|number| {
        let options = [1, 2, 3].iter().filter(|other| **other != number);
        let options = options.fold(DownloadOptions::new(), |options, other| options.peer(place(*other)));
        file().seed(&mut world, number, EngineConfig::new().seed_ratio(0.0), options)
    });
    world.run_for(Duration::from_secs(30));
    let steps = world.steps();
    world.run_for(Duration::from_secs(1200));
    seeds.iter().for_each(|seed| assert_eq!(world.status_of(*seed).progress.connections, 0));
    assert!(world.steps() - steps < 400, "{} steps", world.steps() - steps);
}
