//! An engine and its trackers: whatever one of them does, the others are heard, the torrent is fetched, and leave is taken
//! in time.

use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::base::{InfoHash, Instant};
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{DownloadEvent, Engine, EngineConfig};
use gosh_dl_core::wire::torrent::create::{NewFile, NewTorrent};
use gosh_dl_core::wire::tracker::Event;
use gosh_dl_sim::one_file::{OneFile, place};
use gosh_dl_sim::{Conduct, Content, NodeId, Tracker, TrackerConduct, World};

fn torrent(tiers: &[&[String]]) -> OneFile {
    OneFile::with(Content::generated(8, 1_500_000), 64 << 10, |torrent| {
        torrent.trackers = tiers.iter().map(|tier| tier.to_vec()).collect();
    })
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

fn join(world: &mut World, number: u8, torrent: &OneFile) -> NodeId {
    torrent.join(world, number, EngineConfig::new().seed_ratio(0.0), DownloadOptions::new()).0
}

/// An honest peer that a tracker knows of, since it has told it.
fn seed(world: &mut World, number: u8, torrent: &OneFile, tracker: NodeId) {
    let hash: InfoHash = torrent.metainfo.info_hash();
    torrent.scripted(world, number, Conduct::Honest);
    world.act(tracker, |tracker: &mut Tracker, _| tracker.admit(hash, place(number)));
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
        true => torrent(&[&[lie, url]]),
        false => torrent(&[&[lie], &[url]]),
    };
    seed(&mut world, 1, &torrent, honest);
    let leecher = join(&mut world, 2, &torrent);
    let began = world.now();
    let done = world.run_until(|world| world.has_completed(leecher), Duration::from_secs(120));
    assert!(done, "{conduct:?} over {over}: {}", world.report());
    let took = world.now() - began;
    let parted = leave(&mut world, leecher);
    assert_eq!(told(&world, liar).faults, Vec::<String>::new(), "{conduct:?}");
    assert!(same_tier || told(&world, liar).asked > 0, "{conduct:?}: nobody asked");
    // A body is read up to a megabyte, and what was under way then.
    let liar = told(&world, liar);
    assert!(liar.taken < 4 << 20, "{conduct:?}: {}", liar.taken);
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
            // No more than were asked for are tried first, twenty at a time.
            let trials =
                if matches!(conduct, TrackerConduct::Ghosts(_)) { usual * 4 } else { Duration::ZERO };
            assert!(took < usual * 2 + trials, "{conduct:?} over {over}: {took:?}, usually {usual:?}");
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
        let torrent = torrent(&[&[urls[over].clone()]]);
        torrent.seed(&mut world, 1, EngineConfig::new().seed_ratio(0.0), DownloadOptions::new());
        world.run_for(Duration::from_secs(5));
        let others = [2, 3].map(|number| join(&mut world, number, &torrent));
        let all = |world: &mut World| others.iter().all(|id| world.has_completed(*id));
        assert!(world.run_until(all, Duration::from_secs(900)), "{}", world.report());
        assert_eq!(told(&world, id).faults, Vec::<String>::new());
        let swarm: Vec<_> = told(&world, id).swarm(torrent.metainfo.info_hash()).collect();
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
        let torrent = torrent(&[&urls[..1], &urls[1..]]);
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
            join(&mut world, 2, &torrent(&[&[urls[over].clone()]]));
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

/// Whoever has everything needs nobody, and was asked for more as often as trackers bear it.
#[test]
fn a_seed_does_not_ask_for_peers() {
    let mut world = World::new(70);
    let (id, urls) = tracker(&mut world, 100, TrackerConduct::Honest);
    world.act(id, |tracker: &mut Tracker, _| tracker.min_interval = Some(60));
    let config = EngineConfig::new().seed_ratio(0.0);
    torrent(&[&urls[..1]]).seed(&mut world, 1, config, DownloadOptions::new());
    world.run_for(Duration::from_secs(2 * 3600));
    let told = told(&world, id).announces.iter().map(|announce| (announce.event, announce.left));
    // At the beginning, and every half hour as the tracker asked.
    assert_eq!(told.collect::<Vec<_>>(), [vec![(Event::Started, 0)], vec![(Event::None, 0); 3]].concat());
}

/// BEP 3: `left` is what is missing of the torrent, and `completed` that nothing is; other clients take a peer that has
/// nothing left for a seed.
#[test]
fn a_torrent_of_which_a_part_is_wanted_is_not_complete_for_its_trackers() {
    const FIRST: u64 = 10 << 16;
    let mut world = World::new(71);
    let (id, urls) = tracker(&mut world, 100, TrackerConduct::Honest);
    let content = Content::generated(8, 1_500_000);
    let (all, second) = (content.len(), content.len() - FIRST);
    let files = vec![NewFile::new("a", FIRST), NewFile::new("b", second)];
    let mut album = NewTorrent::folder("album", files);
    album.piece_len = Some(1 << 16);
    album.trackers = vec![vec![urls[0].clone()]];
    let metainfo = album.finish(&content.piece_hashes(1 << 16)).expect("there is one");
    let album = OneFile { content, metainfo };
    seed(&mut world, 1, &album, id);
    let (config, options) = (EngineConfig::new().seed_ratio(0.0), DownloadOptions::new());
    let (node, _) = album.join(&mut world, 2, config, options.selected_files(vec![0]));
    let done = world.run_until(|world| world.has_completed(node), Duration::from_secs(120));
    assert!(done, "{}", world.report());
    world.run_for(Duration::from_secs(2000));
    leave(&mut world, node);
    let told = told(&world, id).announces.iter().map(|announce| (announce.event, announce.left));
    let told: Vec<_> = told.collect();
    assert_eq!(told, [(Event::Started, all), (Event::None, second), (Event::Stopped, second)]);
}

/// The link to a tracker was given credit once: 16 KiB, and under a low limit no more than 1 KiB.
#[test]
fn an_answer_that_is_longer_than_the_first_credit_is_read_to_its_end() {
    for (ghosts, limit) in [(200, Some(1_000)), (9_000, None)] {
        let mut world = World::new(77);
        let (_, [http, _]) = tracker(&mut world, 100, TrackerConduct::Ghosts(ghosts));
        let torrent = torrent(&[&[http]]);
        let config = EngineConfig::new().global_download_limit(limit);
        let (leecher, id) = torrent.join(&mut world, 2, config, DownloadOptions::new());
        world.run_for(Duration::from_secs(20));
        let trackers = world.command(leecher, |engine: &mut Engine, _, _| engine.trackers(id)).1;
        let tracker = trackers.expect("it runs").remove(0);
        assert_eq!(tracker.last_error, None, "{ghosts} peers at {limit:?} B/s");
        assert!(tracker.peers_received > 0, "{ghosts} peers at {limit:?} B/s: {tracker:?}");
    }
}
