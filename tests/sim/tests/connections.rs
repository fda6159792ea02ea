//! Who is connected to whom: one link between two peers, whoever began.

use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{Engine, EngineConfig};
use gosh_dl_core::wire::torrent::create::NewTorrent;
use gosh_dl_sim::{Content, NodeId, Station, World};
use sha1::{Digest as _, Sha1};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const LEN: u64 = 3_000_000;
const PIECE_LEN: u32 = 64 << 10;
/// Bytes a second: half a minute for all.
const SPEED: u64 = 100_000;

const fn address(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, number)), 6881)
}

fn content() -> Vec<u8> {
    Content::generated(5, LEN).slice(0..LEN).to_vec()
}

fn torrent() -> Bytes {
    let mut torrent = NewTorrent::file("file", LEN);
    torrent.piece_len = Some(PIECE_LEN);
    let hashes: Vec<[u8; 20]> =
        content().chunks(PIECE_LEN as usize).map(|piece| Sha1::digest(piece).into()).collect();
    torrent.finish(&hashes).expect("there is one").raw().clone()
}

/// A slow leecher at `number` that knows these peers.
fn join(world: &mut World, number: u8, has: bool, peers: &[u8]) -> (NodeId, DownloadId) {
    let id = world.add_station(&[address(number).ip()], EngineConfig::new());
    if has {
        world.act(id, |station: &mut Station, _| station.disk.put(World::DIR, "file", &content()));
    }
    let options = DownloadOptions::new().max_download_speed(SPEED);
    let options = peers.iter().fold(options, |options, peer| options.peer(address(*peer)));
    let add = |engine: &mut Engine, now, token| engine.add_torrent(now, torrent(), options, token);
    (id, world.command(id, add).1.expect("it is taken"))
}

fn connections(world: &mut World, (id, download): (NodeId, DownloadId)) -> u32 {
    let look = |engine: &mut Engine, now, _| engine.status(now, download).map(|status| status.progress);
    world.command(id, look).1.expect("it is there").connections
}

#[test]
fn two_that_connect_to_each_other_at_once_keep_one_link() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        let one = join(&mut world, 1, true, &[2]);
        let other = join(&mut world, 2, false, &[1]);
        world.run_for(Duration::from_millis(500));
        for tick in 0..100 {
            world.run_for(Duration::from_millis(200));
            let both = (connections(&mut world, one), connections(&mut world, other));
            assert_eq!(both, (1, 1), "seed {seed}, tick {tick}: {}", world.report());
        }
    }
}
