//! An engine among peers that behave badly: whatever they do, one honest peer is enough.

use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{Engine, EngineConfig};
use gosh_dl_sim::one_file::{OneFile, place};
use gosh_dl_sim::{Conduct, Content, NodeId, ScriptedPeer, Station, World};

fn file() -> OneFile {
    OneFile::new(Content::generated(8, 1_500_000), 64 << 10)
}

/// A world with these peers at 1, 2, .. and an engine that knows all of them.
fn play(seed: u64, conducts: &[Conduct]) -> (World, NodeId, Vec<NodeId>) {
    let mut world = World::new(seed);
    let cast = (1..).zip(conducts);
    let peers = cast.clone().map(|(number, conduct)| file().scripted(&mut world, number, conduct.clone()));
    let peers = peers.collect();
    let options = cast.fold(DownloadOptions::new(), |options, (number, _)| options.peer(place(number)));
    let (leecher, _) = file().join(&mut world, 200, EngineConfig::new().seed_ratio(0.0), options);
    (world, leecher, peers)
}

fn peer(world: &World, id: NodeId) -> &ScriptedPeer {
    world.actor(id)
}

/// Who sends no bit field has no pieces until it says so; such a peer was never asked for anything.
#[test]
fn a_peer_that_names_its_pieces_one_by_one_is_used_and_counted_once() {
    let (mut world, leecher, peers) = play(60, &[Conduct::Haves]);
    let mut most = 0.0_f64;
    let done = |world: &mut World| {
        let look = |engine: &mut Engine, now| engine.list(now);
        let listed = world.act(leecher, |station: &mut Station, now| station.view(now, look));
        listed.iter().flatten().for_each(|status| most = most.max(status.progress.availability));
        world.has_completed(leecher)
    };
    assert!(world.run_until(done, Duration::from_secs(60)), "{}", world.report());
    assert_eq!((most, peer(&world, peers[0]).blocks), (1.0, 1_500_000_u32.div_ceil(16 << 10)));
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
        file().assert_fetched(&mut world, leecher, Duration::from_secs(900));
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
    file().assert_fetched(&mut world, leecher, Duration::from_secs(900));
    for id in peers {
        assert_eq!(peer(&world, id).requests_while_choked, 0, "{:?}", peer(&world, id));
    }
}
