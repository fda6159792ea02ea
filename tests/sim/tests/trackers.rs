//! An engine and its trackers: whatever one of them does, the others are heard, the torrent is fetched, and leave is taken
//! in time.

use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::base::{InfoHash, Instant};
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadEvent, Engine, EngineConfig};
use gosh_dl_core::wire::torrent::Metainfo;
use gosh_dl_core::wire::torrent::create::NewTorrent;
use gosh_dl_core::wire::tracker::Event;
use gosh_dl_sim::{Conduct, Content, NodeId, ScriptedPeer, Station, Tracker, TrackerConduct, World};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const LEN: u64 = 1_500_000;
const PIECE_LEN: u32 = 64 << 10;

const fn place(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, number)), 6881)
}

fn content() -> Content {
    Content::generated(8, LEN)
}

fn metainfo(tiers: &[&[String]]) -> Metainfo {
    let mut torrent = NewTorrent::file("file", LEN);
    torrent.piece_len = Some(PIECE_LEN);
    torrent.trackers = tiers.iter().map(|tier| tier.to_vec()).collect();
    torrent.finish(&content().piece_hashes(PIECE_LEN)).expect("there is one")
}

/// A tracker at 100, 101, .. that does this, and its URLs over HTTP and UDP.
fn tracker(world: &mut World, number: u8, conduct: TrackerConduct) -> (NodeId, [String; 2]) {
    let tracker = Tracker::new(place(number), conduct);
    let urls = [tracker.http(), tracker.udp()];
    (world.add_actor(&[place(number).ip()], tracker), urls)
}

fn told(world: &World, id: NodeId) -> &Tracker {
    world.actor(id)
}

fn events(world: &World, id: NodeId) -> Vec<Event> {
    told(world, id).announces.iter().map(|announce| announce.event).collect()
}

fn join(world: &mut World, number: u8, torrent: &Metainfo) -> (NodeId, DownloadId) {
    let id = world.add_station(&[place(number).ip()], EngineConfig::new().seed_ratio(0.0));
    let add = |engine: &mut Engine, now, token| {
        engine.add_torrent(now, torrent.raw().clone(), DownloadOptions::new(), token)
    };
    let download = world.command(id, add).1.expect("it is taken");
    (id, download)
}

/// An honest peer that a tracker knows of, since it has told it.
fn seed(world: &mut World, number: u8, hash: InfoHash, tracker: NodeId) {
    let peer = ScriptedPeer::new(place(number), hash, content(), PIECE_LEN, Conduct::Honest);
    world.add_actor(&[place(number).ip()], peer);
    world.act(tracker, |tracker: &mut Tracker, _| tracker.admit(hash, place(number)));
}

fn is_done(world: &World, id: NodeId) -> bool {
    world.station(id).events.iter().any(|(_, event)| matches!(event, DownloadEvent::Completed { .. }))
}

/// How long the engine took to leave.
fn leave(world: &mut World, id: NodeId) -> Duration {
    let began = world.now();
    world.command(id, |engine: &mut Engine, now, _| engine.shutdown(now));
    assert!(world.run_until(|world| !world.station(id).is_running(), Duration::from_secs(60)));
    world.now() - began
}

fn bad() -> Vec<TrackerConduct> {
    vec![
        TrackerConduct::Ghosts(10_000),
        TrackerConduct::Refuses(Bytes::from_static(b"\x1b[31mgo away\x1b[0m\x07")),
        TrackerConduct::Silent,
        TrackerConduct::Confused,
        TrackerConduct::Floods,
        TrackerConduct::Drips,
    ]
}

/// How long a download takes, and then the leave-taking, where this one is the tracker of the first tier, or stands with
/// an honest one in the same.
fn play(number: u64, conduct: &TrackerConduct, over: usize, same_tier: bool) -> [Duration; 2] {
    let mut world = World::new(60 + number);
    let (liar, lies) = tracker(&mut world, 100, conduct.clone());
    let (honest, urls) = tracker(&mut world, 101, TrackerConduct::Honest);
    let (lie, url) = (lies[over].clone(), urls[1 - over].clone());
    let torrent = match same_tier {
        true => metainfo(&[&[lie, url]]),
        false => metainfo(&[&[lie], &[url]]),
    };
    seed(&mut world, 1, torrent.info_hash(), honest);
    let (leecher, _) = join(&mut world, 2, &torrent);
    let began = world.now();
    let done = world.run_until(|world| is_done(world, leecher), Duration::from_secs(120));
    assert!(done, "{conduct:?} over {over}: {}", world.report());
    let took = world.now() - began;
    let parted = leave(&mut world, leecher);
    assert_eq!(told(&world, liar).faults, Vec::<String>::new(), "{conduct:?}");
    assert!(same_tier || told(&world, liar).asked > 0, "{conduct:?}: nobody asked");
    // A body is read up to a megabyte, and what was under way then.
    assert!(told(&world, liar).taken < 3 << 20, "{conduct:?}: {}", told(&world, liar).taken);
    let heard = events(&world, honest);
    assert_eq!(heard, [Event::Started, Event::Completed, Event::Stopped], "{conduct:?}");
    for (_, event) in &world.station(leecher).events {
        let DownloadEvent::Warning { message, .. } = event else { continue };
        assert!(!message.contains(char::is_control), "{message:?}");
    }
    [took, parted]
}

#[test]
fn a_bad_tracker_delays_no_other_tier_no_download_and_no_leave_taking() {
    let [usual, _] = play(0, &TrackerConduct::Honest, 0, false);
    for (number, conduct) in (1..).zip(bad()) {
        for over in 0..2 {
            let [took, parted] = play(number, &conduct, over, false);
            assert!(took < usual * 2, "{conduct:?} over {over}: {took:?}, usually {usual:?}");
            assert!(parted < Duration::from_secs(4), "{conduct:?} over {over}: {parted:?} to leave");
        }
    }
}

#[test]
fn a_bad_tracker_is_not_waited_for_by_its_own_tier_either() {
    for (number, conduct) in (1..).zip(bad()) {
        for over in 0..2 {
            if matches!(conduct, TrackerConduct::Ghosts(_)) {
                // It has answered, so its tier is content with it.
                continue;
            }
            let [took, _] = play(number, &conduct, over, true);
            assert!(took < Duration::from_secs(20), "{conduct:?} over {over}: {took:?}");
        }
    }
}

#[test]
fn strangers_meet_over_a_tracker_alone() {
    for over in 0..2 {
        let mut world = World::new(70);
        let (id, urls) = tracker(&mut world, 100, TrackerConduct::Honest);
        let torrent = metainfo(&[&[urls[over].clone()]]);
        let (first, _) = join(&mut world, 1, &torrent);
        let payload = content().slice(0..LEN);
        world.act(first, |station: &mut Station, _| station.disk.put(World::DIR, "file", &payload));
        world.run_for(Duration::from_secs(5));
        let others = [2, 3].map(|number| join(&mut world, number, &torrent).0);
        let all = |world: &mut World| others.iter().all(|id| is_done(world, *id));
        assert!(world.run_until(all, Duration::from_secs(900)), "{}", world.report());
        assert_eq!(told(&world, id).faults, Vec::<String>::new());
        let swarm: Vec<_> = told(&world, id).swarm(torrent.info_hash()).collect();
        assert_eq!(swarm.len(), 3, "{swarm:?}");
    }
}

#[test]
fn a_tracker_is_not_told_again_before_the_time_it_gave() {
    let wishes =
        [(0, None), (1, None), (1800, Some(1)), (1800, Some(900)), (1 << 31, None), (5, Some(1 << 31))];
    for (number, (interval, least)) in (80..).zip(wishes) {
        let mut world = World::new(number);
        let ids = [100, 101].map(|place| tracker(&mut world, place, TrackerConduct::Honest));
        let urls = [ids[0].1[0].clone(), ids[1].1[1].clone()];
        for (id, _) in &ids {
            world.act(*id, |tracker: &mut Tracker, _| {
                (tracker.interval, tracker.min_interval) = (interval, least);
            });
        }
        let torrent = metainfo(&[&urls[..1], &urls[1..]]);
        // It finds nobody, so it is always hungry.
        join(&mut world, 2, &torrent);
        world.run_for(Duration::from_secs(2 * 3600));
        for (id, _) in &ids {
            let tracker = told(&world, *id);
            assert_eq!(tracker.hasty(), None, "interval {interval}, at least {least:?}");
            assert_eq!(tracker.faults, Vec::<String>::new());
            assert!((1..=121).contains(&tracker.announces.len()), "{}", tracker.announces.len());
        }
    }
}

#[test]
fn a_tracker_that_fails_is_asked_again_after_growing_pauses() {
    for (number, conduct) in (90..).zip(bad().into_iter().skip(1)) {
        for over in 0..2 {
            let mut world = World::new(number);
            let (id, urls) = tracker(&mut world, 100, conduct.clone());
            join(&mut world, 2, &metainfo(&[&[urls[over].clone()]]));
            world.run_for(Duration::from_secs(4 * 3600));
            let times: Vec<Instant> = told(&world, id).announces.iter().map(|announce| announce.at).collect();
            let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.iter().all(|gap| *gap >= Duration::from_secs(10)), "{conduct:?} {over}: {gaps:?}");
            assert!(gaps.iter().rev().take(3).all(|gap| *gap >= Duration::from_secs(15)), "{gaps:?}");
            let most = if over == 0 { 30 } else { 60 };
            assert!(times.len() <= most, "{conduct:?} {over}: {} announces", times.len());
        }
    }
}
