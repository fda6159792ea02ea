//! One peer among five has wrong bytes and does not know it.

use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadEvent, Engine, EngineConfig};
use gosh_dl_core::wire::torrent::create::NewTorrent;
use gosh_dl_sim::{Content, NodeId, Station, World};
use sha1::{Digest as _, Sha1};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const LEN: u64 = 12 << 20;
/// Long enough that every peer has blocks in each piece.
const PIECE: u32 = 1 << 20;
const BLOCK: u64 = 16 << 10;
const LIAR: u8 = 3;

const fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, number))
}

fn content() -> Vec<u8> {
    Content::generated(5, LEN).slice(0..LEN).to_vec()
}

fn torrent() -> Bytes {
    let mut torrent = NewTorrent::file("file", LEN);
    torrent.piece_len = Some(PIECE);
    let hashes: Vec<[u8; 20]> =
        content().chunks(PIECE as usize).map(|piece| Sha1::digest(piece).into()).collect();
    torrent.finish(&hashes).expect("there is one").raw().clone()
}

fn add(world: &mut World, station: NodeId, options: DownloadOptions) -> DownloadId {
    let add = |engine: &mut Engine, now, token| engine.add_torrent(now, torrent(), options, token);
    world.command(station, add).1.expect("it is taken")
}

fn is_done(world: &World, id: NodeId) -> bool {
    let events = &world.station(id).events;
    events.iter().any(|(_, event)| matches!(event, DownloadEvent::Completed { .. }))
}

/// Who was connected at each look until the leecher had everything. The liar's blocks at `wrong` are not right.
/// Says too whether a whole piece was fetched twice.
fn play(seed: u64, wrong: &[u64]) -> (Vec<BTreeSet<u8>>, bool) {
    let mut world = World::new(seed);
    for number in 1..=5 {
        let station = world.add_station(&[address(number)], EngineConfig::new().seed_ratio(0.0));
        world.act(station, |station: &mut Station, _| station.disk.put(World::DIR, "file", &content()));
        add(&mut world, station, DownloadOptions::new());
        if number == LIAR {
            world.run_for(Duration::from_secs(2));
            // It has checked its file by now.
            world.act(station, |station: &mut Station, _| {
                for block in wrong {
                    let at = block * BLOCK;
                    station.disk.change(World::DIR, "file", at, &[content()[at as usize] ^ 1]);
                }
            });
        }
    }
    world.run_for(Duration::from_secs(2));
    let leecher = world.add_station(&[address(9)], EngineConfig::new().seed_ratio(0.0));
    let peers = (1..=5).map(|number| SocketAddr::new(address(number), 6881));
    let options = peers.fold(DownloadOptions::new().max_download_speed(2_000_000), DownloadOptions::peer);
    let download = add(&mut world, leecher, options);
    let mut looks = Vec::new();
    while !is_done(&world, leecher) {
        world.run_for(Duration::from_millis(20));
        let look = |engine: &mut Engine, now, _| engine.status(now, download).and_then(|status| status.peers);
        let peers = world.command(leecher, look).1;
        let number = |address: IpAddr| match address {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        looks.push(peers.into_iter().flatten().map(|peer| number(peer.ip)).collect());
        assert!(looks.len() < 50 * 60, "{}", world.report());
    }
    assert!(world.station(leecher).disk.content(World::DIR, "file").is_some_and(|file| file == content()));
    let look =
        |engine: &mut Engine, now, _| engine.status(now, download).and_then(|status| status.torrent_info);
    let downloaded = world.command(leecher, look).1.expect("it is a torrent").downloaded;
    // What was asked of two in the end is less.
    (looks, downloaded >= LEN + 64 * BLOCK)
}

/// Says whether the liar was thrown out before the end: its piece may be the last to come again.
fn assert_only_the_liar_went(looks: &[BTreeSet<u8>]) -> bool {
    let all = looks.iter().position(|peers| peers.len() == 5).expect("all five were there");
    let met = &looks[all..];
    let honest = |peers: &BTreeSet<u8>| (1..=5).filter(|number| *number != LIAR).all(|n| peers.contains(&n));
    // Whoever has everything is parted with in the end.
    let met = &met[..met.iter().rposition(honest).map_or(0, |last| last + 1)];
    assert!(met.iter().all(honest), "an honest peer went");
    let Some(gone) = met.iter().position(|peers| !peers.contains(&LIAR)) else { return false };
    assert!(met[gone..].iter().all(|peers| !peers.contains(&LIAR)), "the liar came back");
    true
}

#[test]
fn a_liar_that_lies_always_is_thrown_out_and_nobody_else() {
    let wrong: Vec<u64> = (0..LEN / BLOCK).collect();
    for seed in 0..2 {
        let (looks, _) = play(seed, &wrong);
        assert!(assert_only_the_liar_went(&looks), "the liar is thrown out");
    }
}

#[test]
fn a_liar_that_lied_in_one_piece_is_found_by_its_blocks() {
    let wrong: Vec<u64> = (128..192).collect();
    let mut found = 0;
    for seed in 0..6 {
        // The piece may have come from the others.
        let (looks, twice) = play(seed, &wrong);
        if twice && assert_only_the_liar_went(&looks) {
            found += 1;
        }
    }
    assert!(found >= 2, "{found}");
}
