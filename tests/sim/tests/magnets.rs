//! Magnet links: what a torrent does that learns from its peers what it is.

use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadState, Engine, EngineConfig};
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

/// A world with a seed at 1, and an engine that has a magnet link to it.
fn play(more: &str, options: DownloadOptions) -> (World, NodeId, DownloadId) {
    let mut world = World::new(6);
    file().seed(&mut world, 1, EngineConfig::new(), DownloadOptions::new());
    world.run_for(Duration::from_secs(1));
    let node = world.add_station(&[place(2).ip()], EngineConfig::new().seed_ratio(0.0));
    let id = add(&mut world, node, more, &[1], options);
    (world, node, id)
}

#[test]
fn a_link_that_selects_no_file_of_the_torrent_selects_all() {
    let (mut world, node, _) = play("&so=3,99", DownloadOptions::new());
    file().assert_fetched(&mut world, node, Duration::from_secs(30));
}

#[test]
fn a_file_that_the_torrent_does_not_have_is_no_success() {
    let (mut world, node, id) = play("", DownloadOptions::new().selected_files(vec![0, 7]));
    let failure = |world: &mut World| {
        world.run_for(Duration::from_secs(30));
        assert!(!world.has_completed(node), "nobody has file 7");
        let state = world.status_of((node, id)).state;
        let DownloadState::Error { kind, message, retryable: false } = state else { panic!("{state:?}") };
        assert!(kind == "invalid_input" && message.contains("no file 7"), "{kind}: {message}");
    };
    failure(&mut world);
    world.command(node, |engine: &mut Engine, now, token| engine.resume(now, id, token));
    failure(&mut world);
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
    world
        .command(owner, |engine: &mut Engine, now, _| engine.add_peer(now, first, place(1)))
        .1
        .expect("it runs");
    file().assert_fetched(&mut world, leecher, Duration::from_secs(60));
}
