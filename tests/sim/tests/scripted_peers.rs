//! An engine among peers that behave badly: whatever they do, one honest peer is enough.

use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::base::InfoHash;
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{DownloadEvent, Engine, EngineConfig};
use gosh_dl_core::wire::torrent::Metainfo;
use gosh_dl_core::wire::torrent::create::NewTorrent;
use gosh_dl_sim::{Conduct, Content, NodeId, ScriptedPeer, World};
use sha1::{Digest as _, Sha1};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const LEN: u64 = 1_500_000;
const PIECE_LEN: u32 = 64 << 10;

const fn place(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, number)), 6881)
}

fn content() -> Content {
    Content::generated(8, LEN)
}

fn payload() -> Vec<u8> {
    content().slice(0..LEN).to_vec()
}

fn metainfo() -> Metainfo {
    let mut torrent = NewTorrent::file("file", LEN);
    torrent.piece_len = Some(PIECE_LEN);
    let hashes: Vec<[u8; 20]> =
        payload().chunks(PIECE_LEN as usize).map(|piece| Sha1::digest(piece).into()).collect();
    torrent.finish(&hashes).expect("there is one")
}

/// A world with these peers at 1, 2, .. and an engine that knows all of them.
fn play(seed: u64, conducts: &[Conduct]) -> (World, NodeId, Vec<NodeId>) {
    let mut world = World::new(seed);
    let torrent = metainfo();
    let hash: InfoHash = torrent.info_hash();
    let mut options = DownloadOptions::new();
    let mut peers = Vec::new();
    for (number, conduct) in (1..).zip(conducts) {
        let at = place(number);
        let peer = ScriptedPeer::new(at, hash, content(), PIECE_LEN, conduct.clone());
        peers.push(world.add_actor(&[at.ip()], peer));
        options = options.peer(at);
    }
    let leecher = world.add_station(&[place(200).ip()], EngineConfig::new().seed_ratio(0.0));
    let add =
        |engine: &mut Engine, now, token| engine.add_torrent(now, torrent.raw().clone(), options, token);
    world.command(leecher, add).1.expect("it is taken");
    (world, leecher, peers)
}

fn is_done(world: &World, id: NodeId) -> bool {
    world.station(id).events.iter().any(|(_, event)| matches!(event, DownloadEvent::Completed { .. }))
}

fn assert_completes(world: &mut World, leecher: NodeId, conduct: &[Conduct]) {
    let done = world.run_until(|world| is_done(world, leecher), Duration::from_secs(900));
    assert!(done, "{conduct:?}: {}", world.report());
    assert!(world.station(leecher).disk.content(World::DIR, "file").is_some_and(|file| file == payload()));
}

fn peer(world: &World, id: NodeId) -> &ScriptedPeer {
    world.actor(id)
}

fn violations() -> Vec<Conduct> {
    let violation = |bytes: &[u8]| Conduct::Violator(Bytes::copy_from_slice(bytes));
    vec![
        violation(b"\xff\xff\xff\xff\x07"),                     // A frame of 4 GiB.
        violation(b"\0\0\0\x05\x04\xff\xff\xff\xff"),           // A have of no piece.
        violation(b"\0\0\0\x02\x05\xff"),                       // A bit field of a wrong length.
        violation(b"\0\0\0\x03\x01\0\0"),                       // An unchoke with a body.
        violation(b"\0\0\0\x0d\x10\0\0\0\0\0\0\0\0\0\0@\0"),    // A reject without the Fast extension.
        violation(b"\0\0\0\x0d\x06\0\0\0\0\0\0\0\0\xff\0\0\0"), // A request of 4 GiB while choked.
        violation(b"\0\0\0\x0a\x07\0\0\0\0\0\0\0\0x"),          // A block that nobody asked for.
    ]
}

#[test]
fn whatever_one_peer_does_an_honest_one_is_enough() {
    let mut conducts = vec![
        Conduct::FreeRider,
        Conduct::Snubber,
        Conduct::Corrupt,
        Conduct::ChokesAfter(3),
        Conduct::OtherTorrent,
        Conduct::Garbage(Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        Conduct::Garbage(Bytes::from_static(b"\x13BitTorrent pro")),
    ];
    conducts.extend(violations());
    for (seed, conduct) in (20..).zip(conducts) {
        let cast = [conduct, Conduct::Honest];
        let (mut world, leecher, peers) = play(seed, &cast);
        assert_completes(&mut world, leecher, &cast);
        let [bad, good] = [0, 1].map(|index| peer(&world, peers[index]));
        assert!(bad.connections > 0, "{cast:?}: nobody called");
        assert_eq!((bad.requests_while_choked, good.requests_while_choked), (0, 0), "{cast:?}");
        assert!(good.blocks > 0, "{cast:?}");
    }
}

#[test]
fn all_of_them_together_do_not_stop_a_download_either() {
    let mut cast = vec![Conduct::Snubber, Conduct::FreeRider, Conduct::Corrupt, Conduct::ChokesAfter(5)];
    cast.extend(violations());
    cast.push(Conduct::Honest);
    let (mut world, leecher, peers) = play(40, &cast);
    assert_completes(&mut world, leecher, &cast);
    for id in peers {
        assert_eq!(peer(&world, id).requests_while_choked, 0, "{:?}", peer(&world, id));
    }
}
