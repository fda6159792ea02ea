//! What came of pieces that are not whole outlives a pause, a shutdown and, but for one batch, a crash.

use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{Engine, EngineConfig};
use gosh_dl_sim::one_file::{OneFile, place};
use gosh_dl_sim::{Content, CrashMode, NodeId, Station, World};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A bit more than two pieces.
const LEN: u64 = 9_000_000;
const PIECE: usize = 4 << 20;
/// Bytes per second.
const RATE: u64 = 1_000_000;
const LIMIT: Duration = Duration::from_secs(60);

fn file() -> OneFile {
    OneFile::new(Content::generated(5, LEN), PIECE as u32)
}

/// A leecher of so many seeds that has about half of the file.
fn begin(seed: u64, seeds: u8) -> (World, (NodeId, DownloadId)) {
    let (mut world, file) = (World::new(seed), file());
    let config = || EngineConfig::new().seed_ratio(0.0);
    (1..=seeds).for_each(|number| _ = file.seed(&mut world, number, config(), DownloadOptions::new()));
    world.run_for(Duration::from_secs(2));
    let options = DownloadOptions::new().max_download_speed(RATE);
    let options = (1..=seeds).map(place).fold(options, DownloadOptions::peer);
    let leecher = file.join(&mut world, 9, config(), options);
    assert!(world.run_until(|world| fetched(world, leecher) > LEN / 2, LIMIT), "{}", world.report());
    (world, leecher)
}

/// Bytes of blocks that came, in all lives.
fn fetched(world: &mut World, leecher: (NodeId, DownloadId)) -> u64 {
    world.status_of(leecher).torrent_info.expect("it is a torrent").downloaded
}

fn pause(world: &mut World, (node, id): (NodeId, DownloadId)) {
    let (token, ()) = world.command(node, |engine: &mut Engine, now, token| engine.pause(now, id, token));
    assert!(world.run_until(|world| world.station(node).reply(token).is_some(), LIMIT), "{}", world.report());
    assert!(world.station(node).reply(token).is_some_and(Result::is_ok));
}

fn resume(world: &mut World, (node, id): (NodeId, DownloadId)) {
    world.command(node, |engine: &mut Engine, now, token| engine.resume(now, id, token));
}

/// With one seed nothing is asked for twice in the end.
fn assert_each_block_once(world: &mut World, leecher: (NodeId, DownloadId)) {
    file().assert_fetched(world, leecher.0, LIMIT);
    assert_eq!(fetched(world, leecher), LEN);
}

#[test]
fn no_block_is_fetched_twice_after_a_pause() {
    for seed in 0..6 {
        let (mut world, leecher) = begin(seed, 1);
        pause(&mut world, leecher);
        resume(&mut world, leecher);
        assert_each_block_once(&mut world, leecher);
    }
}

#[test]
fn no_block_is_fetched_twice_after_a_pause_and_a_power_cut() {
    let (mut world, leecher) = begin(7, 1);
    pause(&mut world, leecher);
    world.crash_station(leecher.0, CrashMode::PowerCut);
    world.restart_station(leecher.0);
    resume(&mut world, leecher);
    assert_each_block_once(&mut world, leecher);
}

#[test]
fn no_block_is_fetched_twice_after_a_shutdown() {
    for seed in 10..14 {
        let (mut world, leecher) = begin(seed, 1);
        world.command(leecher.0, |engine: &mut Engine, now, _| engine.shutdown(now));
        let closed = |world: &mut World| !world.station(leecher.0).is_running();
        assert!(world.run_until(closed, LIMIT), "{}", world.report());
        world.restart_station(leecher.0);
        assert_each_block_once(&mut world, leecher);
    }
}

#[test]
fn a_crash_loses_one_batch_of_blocks() {
    for (seed, mode) in (20..26).zip([CrashMode::Kill, CrashMode::PowerCut].into_iter().cycle()) {
        let (mut world, leecher) = begin(seed, 1);
        let before = fetched(&mut world, leecher);
        world.crash_station(leecher.0, mode);
        world.restart_station(leecher.0);
        let known = fetched(&mut world, leecher);
        file().assert_fetched(&mut world, leecher.0, LIMIT);
        let twice = before + fetched(&mut world, leecher) - known - LEN;
        // What comes in a second, and what it takes to sync and commit that.
        assert!(twice <= RATE * 3 / 2, "{seed}: {twice} bytes");
    }
}

/// Changes the first block of each piece that is begun; says whether there is one.
fn spoil(world: &mut World, (node, id): (NodeId, DownloadId)) -> bool {
    let right = file().bytes();
    let there = world.station(node).disk.content(World::DIR, "file.part").expect("it is begun");
    let whole = world.command(node, |engine: &mut Engine, _, _| engine.piece_map(id)).1;
    let whole = whole.expect("it is a torrent")[0];
    let open = (0..3).filter(|piece| whole << piece & 0x80 == 0).map(|piece| piece * PIECE + 9);
    let begun: Vec<usize> = open.filter(|at| there.get(*at) == Some(&right[*at])).collect();
    for at in &begun {
        let wrong = [right[*at] ^ 1];
        world.act(node, |station: &mut Station, _| {
            station.disk.change(World::DIR, "file.part", *at as u64, &wrong);
        });
    }
    !begun.is_empty()
}

#[test]
fn peers_are_not_blamed_for_a_block_that_became_wrong_on_the_disk() {
    let mut spoiled = 0;
    for seed in 30..36 {
        let (mut world, leecher) = begin(seed, 3);
        pause(&mut world, leecher);
        let before = fetched(&mut world, leecher);
        if !spoil(&mut world, leecher) {
            continue;
        }
        spoiled += 1;
        resume(&mut world, leecher);
        let mut looks: Vec<BTreeSet<IpAddr>> = Vec::new();
        while !world.has_completed(leecher.0) {
            world.run_for(Duration::from_millis(20));
            let peers = world.status_of(leecher).peers.into_iter().flatten().map(|peer| peer.ip);
            looks.push(peers.collect());
            assert!(looks.len() < 50 * 60, "{}", world.report());
        }
        // Whoever has everything is parted with in the end.
        let met = looks.iter().position(|peers| peers.len() == 3).expect("all are there");
        let last = looks.iter().rposition(|peers| peers.len() == 3).unwrap_or(met);
        assert!(looks[met..last].iter().all(|peers| peers.len() == 3), "an honest peer went");
        assert!(looks.len() - last < 10, "an honest peer went: {:?}", &looks[last..]);
        file().assert_fetched(&mut world, leecher.0, LIMIT);
        let more = fetched(&mut world, leecher) - before;
        assert!(more >= LEN - before + 1_000_000, "{seed}: what is wrong was not fetched anew: {more}");
    }
    assert!(spoiled > 2, "{spoiled}");
}
