//! Magnet links: what a torrent does that learns from its peers what it is.

use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{Engine, EngineConfig};
use gosh_dl_sim::one_file::{OneFile, place};
use gosh_dl_sim::{Content, NodeId, Station, World};

const LEN: u64 = 1_000_000;

fn file() -> OneFile {
    OneFile::new(Content::generated(5, LEN), 64 << 10)
}

/// Gives an engine a magnet link of the file that names these peers.
fn add(world: &mut World, node: NodeId, more: &str, peers: &[u8], options: DownloadOptions) -> DownloadId {
    let mut link = format!("magnet:?xt=urn:btih:{}{more}", file().metainfo.info_hash());
    peers.iter().for_each(|peer| link += &format!("&x.pe={}", place(*peer)));
    let add = |engine: &mut Engine, now, token| engine.add_magnet(now, &link, options, token);
    world.command(node, add).1.expect("it is taken")
}

/// What was on the disk before was known to nobody that had connected before it was known what the torrent is.
#[test]
fn peers_that_came_before_the_metadata_hear_of_what_was_there_before() {
    let mut world = World::new(7);
    // It gives the metadata at once, and the content not before the end of the test.
    let slow = EngineConfig::new().global_upload_limit(1_000);
    file().seed(&mut world, 1, slow, DownloadOptions::new());
    world.run_for(Duration::from_secs(1));
    let owner = world.add_station(&[place(2).ip()], EngineConfig::new());
    world.act(owner, |station: &mut Station, _| station.disk.put(World::DIR, OneFile::NAME, &file().bytes()));
    let leecher = world.add_station(&[place(3).ip()], EngineConfig::new().seed_ratio(0.0));
    let first = add(&mut world, owner, "", &[], DownloadOptions::new());
    add(&mut world, leecher, "", &[2], DownloadOptions::new());
    let met = |world: &mut World| world.status_of((owner, first)).progress.peers > 0;
    assert!(world.run_until(met, Duration::from_secs(30)), "{}", world.report());
    world.command(owner, |engine: &mut Engine, now, _| engine.add_peer(now, first, place(1))).1.expect("it runs");
    file().assert_fetched(&mut world, leecher, Duration::from_secs(60));
}
