//! A tracker with addresses of both families learns both of this side's.

use core::time::Duration;
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{Engine, EngineConfig, TorrentConfig};
use gosh_dl_core::wire::tracker::Event;
use gosh_dl_sim::{Conduct, Content, NodeId, OneFile, ScriptedPeer, Tracker, TrackerConduct, World};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const LEN: u64 = 100_000;
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 100));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100));
const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x101));
const OURS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// A world with the two faces of one tracker.
fn world(named: &[IpAddr]) -> (World, [NodeId; 2]) {
    let mut world = World::new(7);
    world.names.set("tracker.example", Ok(named.to_vec()));
    let faces = [V4, V6].map(|ip| {
        let tracker = Tracker::new(SocketAddr::new(ip, 6969), TrackerConduct::Honest);
        world.add_actor(&[ip], tracker)
    });
    (world, faces)
}

fn file() -> OneFile {
    OneFile::with(Content::generated(8, LEN), 64 << 10, |torrent| {
        torrent.trackers = vec![vec!["http://tracker.example:6969/announce".to_owned()]];
    })
}

/// The two faces of one tracker, and an engine that takes part for an hour and leaves.
fn play(named: &[IpAddr], ours: &[IpAddr]) -> [Vec<(IpAddr, Event)>; 2] {
    let (mut world, faces) = world(named);
    let node = world.add_station(ours, EngineConfig::new());
    file().add(&mut world, node, DownloadOptions::new());
    world.run_for(Duration::from_secs(2000));
    world.command(node, |engine: &mut Engine, now, _| engine.shutdown(now));
    world.run_for(Duration::from_secs(10));
    let heard = |id: NodeId| {
        let tracker: &Tracker = world.actor(id);
        assert_eq!(tracker.faults, Vec::<String>::new());
        assert_eq!(tracker.hasty(), None);
        tracker.announces.iter().map(|told| (told.peer.ip(), told.event)).collect()
    };
    faces.map(heard)
}

fn of(ip: IpAddr) -> Vec<(IpAddr, Event)> {
    [Event::Started, Event::None, Event::Stopped].map(|event| (ip, event)).to_vec()
}

#[test]
fn a_tracker_of_both_families_hears_of_both() {
    for named in [[V4, V6], [V6, V4]] {
        let [four, six] = play(&named, &OURS);
        let events = |heard: Vec<(IpAddr, Event)>, ip: IpAddr| {
            assert!(heard.iter().all(|(from, _)| *from == ip), "{heard:?}");
            // It says nothing new where nobody else is; the second time may find the first still fresh.
            let told: Vec<Event> = heard.iter().map(|(_, event)| *event).collect();
            assert_eq!(
                (told.first(), told.last()),
                (Some(&Event::Started), Some(&Event::Stopped)),
                "{told:?}"
            );
            assert!(told.contains(&Event::None), "{told:?}");
        };
        events(four, OURS[0]);
        events(six, OURS[1]);
    }
}

#[test]
fn one_family_is_enough() {
    let [four, six] = play(&[V4], &OURS);
    assert_eq!(six, of(OURS[1])[..0]);
    assert_eq!(four.iter().filter(|(_, event)| *event == Event::Started).count(), 1);
    // Nobody is at the address of the other family.
    let [alone, none] = play(&[NOBODY, V4], &OURS);
    assert_eq!(none, of(OURS[1])[..0]);
    assert_eq!(alone.last(), Some(&(OURS[0], Event::Stopped)), "{alone:?}");
}

/// Whoever binds an address does not want to be seen at another: trackers over HTTP saw any, and so did trackers and
/// peers of the other family.
#[test]
fn nothing_of_a_torrent_comes_from_another_address_than_the_one_that_is_bound() {
    let bound = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));
    let (mut world, faces) = world(&[V6, V4]);
    let file = file();
    let seeds = [Ipv4Addr::new(203, 0, 113, 50).into(), NOBODY].map(|ip: IpAddr| {
        let (at, hash) = (SocketAddr::new(ip, 6881), file.metainfo.info_hash());
        let peer = ScriptedPeer::new(at, hash, file.content.clone(), 64 << 10, Conduct::Honest);
        (at, world.add_actor(&[ip], peer))
    });
    let config = EngineConfig::new().seed_ratio(0.0).torrent(TorrentConfig::new().bind_address(bound));
    let node = world.add_station(&[OURS[0], bound, OURS[1]], config);
    let options = seeds.iter().fold(DownloadOptions::new(), |options, (at, _)| options.peer(*at));
    let options = [V4, V6].iter().fold(options, |options, ip| {
        options.tracker(format!("udp://{}/announce", SocketAddr::new(*ip, 6969)))
    });
    file.add(&mut world, node, options);
    world.run_for(Duration::from_secs(600));
    let heard = faces.map(|id| {
        let tracker: &Tracker = world.actor(id);
        let from: Vec<IpAddr> = tracker.announces.iter().map(|told| told.peer.ip()).collect();
        (from.len(), from.iter().all(|ip| *ip == bound))
    });
    assert!(heard[0].0 >= 2 && heard[0].1, "over HTTP and UDP: {heard:?}");
    assert_eq!(heard[1], (0, true));
    let [four, six] = seeds.map(|(_, id)| world.actor::<ScriptedPeer>(id).connections);
    assert!(four > 0 && six == 0, "{four} to the one, {six} to the other");
}
