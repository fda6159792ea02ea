//! Finished downloads go to another directory: by renaming or by copying, and through crashes and errors at any step.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use gosh_dl_core::base::disk::DiskErrorKind;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{
    Answer, DownloadState, Engine, EngineConfig, EngineError, StorageErrorKind, Token,
};
use gosh_dl_core::wire::torrent::Metainfo;
use gosh_dl_core::wire::torrent::create::{NewFile, NewTorrent};
use gosh_dl_sim::{Content, CrashMode, NodeId, OpClass, Resource, Station, World};
use sha1::{Digest as _, Sha1};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const URL: &str = "http://a.example/file.bin";
const LEN: u64 = 3_000_000;
const NEW: &str = "/elsewhere/new";

fn content() -> Content {
    Content::generated(1, LEN)
}

fn fetched(mount: bool) -> (World, DownloadId) {
    let mut world = World::new(7);
    world.serve(URL, Resource::new(content()));
    if mount {
        world.disk.mount("/elsewhere");
    }
    let id = world.add(URL, DownloadOptions::new());
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    (world, id)
}

fn places(world: &World) -> [Vec<String>; 2] {
    [world.disk.names(World::DIR), world.disk.names(NEW)]
}

#[test]
fn a_finished_file_moves_within_and_across_file_systems() {
    for mount in [false, true] {
        let (mut world, id) = fetched(mount);
        let written = world.disk.bytes_written;
        let token = world.move_to(id, NEW);
        assert_eq!(world.wait_reply(token), Ok(Answer::Done));
        assert_eq!(places(&world), [vec![], vec!["file.bin".to_owned()]]);
        assert_eq!(content().first_mismatch(0, &world.disk.content(NEW, "file.bin").unwrap()), None);
        assert!(world.disk.is_durable(NEW, "file.bin"));
        assert_eq!(world.disk.bytes_written > written, mount, "a rename copies nothing");
        assert_eq!(world.status(id).unwrap().state, DownloadState::Completed);
        assert!(world.verify(id).unwrap().valid);
        assert_eq!(world.disk.open_files(), 0);
        // The engine knows that it made what is there.
        let token = world.cancel(id, true);
        assert_eq!(world.wait_reply(token), Ok(Answer::Done));
        assert_eq!(places(&world), [Vec::<String>::new(), vec![]]);
    }
}

#[test]
fn a_file_in_the_way_stays_and_so_does_the_download() {
    for mount in [false, true] {
        let (mut world, id) = fetched(mount);
        world.disk.put(NEW, "file.bin", b"mine");
        let token = world.move_to(id, NEW);
        let refused = world.wait_reply(token);
        let exists = StorageErrorKind::AlreadyExists;
        assert!(matches!(&refused, Err(EngineError::Storage { kind, .. }) if *kind == exists), "{refused:?}");
        assert_eq!(places(&world), [["file.bin".to_owned()], ["file.bin".to_owned()]]);
        assert_eq!(world.disk.content(NEW, "file.bin").unwrap(), b"mine");
        assert!(world.verify(id).unwrap().valid);
    }
}

#[test]
fn only_what_is_finished_can_be_moved() {
    let mut world = World::new(7);
    world.serve(URL, Resource::new(content())).rate = Some(100_000);
    let id = world.add(URL, DownloadOptions::new());
    world.run_for(Duration::from_secs(2));
    let token = world.move_to(id, NEW);
    let refused = world.wait_reply(token);
    assert!(
        matches!(&refused, Err(EngineError::InvalidState { action: "move", current_state }) if current_state == "downloading"),
        "{refused:?}"
    );
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert_eq!(places(&world), [vec!["file.bin".to_owned()], vec![]]);
}

// ----- torrents ------------------------------------------------------------------------------------------------------

const FILES: [(&[&str], u64); 4] =
    [(&["a", "one"], 90_000), (&["a", "b", "two"], 0), (&["a", "b", "three"], 120_000), (&["four"], 50_000)];
const PIECE: usize = 64 << 10;

const fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, number))
}

fn file(index: usize) -> Vec<u8> {
    Content::generated(index as u64, FILES[index].1).slice(0..FILES[index].1).to_vec()
}

fn metainfo() -> Metainfo {
    let files = FILES.iter().map(|(path, len)| {
        let path = path.iter().map(ToString::to_string).collect();
        NewFile { path, len: *len, executable: *len == 120_000, hidden: true, pad: false }
    });
    let mut torrent = NewTorrent::folder("album", files.collect());
    torrent.piece_len = Some(PIECE as u32);
    let all: Vec<u8> = (0..FILES.len()).flat_map(file).collect();
    let hashes: Vec<[u8; 20]> = all.chunks(PIECE).map(|piece| Sha1::digest(piece).into()).collect();
    torrent.finish(&hashes).unwrap()
}

/// Every file below a directory, but for those that are only partly wanted.
fn tree(station: &Station, dir: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for name in station.disk.names(&at) {
            let path = format!("{at}/{name}");
            match station.disk.content(&at, &name) {
                Some(content) => _ = found.insert(path[dir.len() + 1..].to_owned(), content),
                None => todo.push(path),
            }
        }
    }
    found
}

fn album(selected: &[usize]) -> BTreeMap<String, Vec<u8>> {
    let path = |index: usize| format!("album/{}", FILES[index].0.join("/"));
    selected.iter().map(|index| (path(*index), file(*index))).collect()
}

/// An engine that has fetched three of four files from another one, and seeds them.
fn seeding(seed: u64, mount: bool) -> (World, NodeId, DownloadId) {
    let mut world = World::new(seed);
    let origin = world.add_station(&[address(1)], EngineConfig::new().seed_ratio(0.0));
    for (index, (path, _)) in FILES.iter().enumerate() {
        let (name, folder) = path.split_last().unwrap();
        world.act(origin, |station: &mut Station, _| {
            let mut dir = World::DIR.to_owned();
            for part in ["album"].iter().chain(folder) {
                if !station.disk.has_dir(format!("{dir}/{part}")) {
                    station.disk.make_dir(&dir, part);
                }
                dir = format!("{dir}/{part}");
            }
            station.disk.put(dir, name, &file(index));
        });
    }
    let torrent = metainfo().raw().clone();
    let add =
        |engine: &mut Engine, now, token| engine.add_torrent(now, torrent, DownloadOptions::new(), token);
    world.command(origin, add).1.unwrap();
    world.run_for(Duration::from_secs(1));
    let (mover, id) = join(&mut world, 2, &[1], mount);
    world.run_for(Duration::from_secs(5));
    assert_eq!(state(&mut world, mover, id), DownloadState::Seeding);
    (world, mover, id)
}

fn join(world: &mut World, number: u8, peers: &[u8], mount: bool) -> (NodeId, DownloadId) {
    let node = world.add_station(&[address(number)], EngineConfig::new().seed_ratio(0.0));
    world.act(node, |station: &mut Station, _| station.allow(NEW));
    if mount {
        world.act(node, |station: &mut Station, _| station.disk.mount("/elsewhere"));
    }
    let torrent = metainfo().raw().clone();
    let mut options = DownloadOptions::new().selected_files(vec![0, 1, 2]);
    for peer in peers {
        options = options.peer(SocketAddr::new(address(*peer), 6881));
    }
    let add = |engine: &mut Engine, now, token| engine.add_torrent(now, torrent, options, token);
    let id = world.command(node, add).1.unwrap();
    (node, id)
}

fn state(world: &mut World, node: NodeId, id: DownloadId) -> DownloadState {
    world.command(node, |engine: &mut Engine, now, _| engine.status(now, id)).1.unwrap().state
}

fn move_album(world: &mut World, node: NodeId, id: DownloadId) -> Token {
    world.command(node, |engine: &mut Engine, now, token| engine.move_to(now, id, NEW.as_ref(), token)).0
}

fn is_answered(world: &World, node: NodeId, token: Token) -> bool {
    world.station(node).reply(token).is_some()
}

/// The wanted files, and the parts of the unwanted one.
fn assert_all_in(world: &World, node: NodeId, dir: &str, why: &str) {
    let mut found = tree(world.station(node), dir);
    let parts = format!(".{}.parts", metainfo().info_hash());
    assert!(found.remove(&parts).is_some(), "{why}: the parts of pieces that others have");
    assert!(found == album(&[0, 1, 2]), "{why}: {:?}", found.keys());
    let is_executable =
        |path: &str, name| world.station(node).disk.is_executable(format!("{dir}/{path}"), name);
    assert!(is_executable("album/a/b", "three") && !is_executable("album/a", "one"), "{why}");
}

#[test]
fn a_torrent_seeds_on_from_where_it_was_moved() {
    for mount in [false, true] {
        let (mut world, node, id) = seeding(3, mount);
        let token = move_album(&mut world, node, id);
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.station(node).reply(token), Some(&Ok(Answer::Done)));
        assert_all_in(&world, node, NEW, "moved");
        assert_eq!(tree(world.station(node), World::DIR), BTreeMap::new());
        assert!(!world.station(node).disk.has_dir(format!("{}/album", World::DIR)), "made and empty");
        assert_eq!(state(&mut world, node, id), DownloadState::Seeding);
        // Nothing was hashed again: its files are known where they are now.
        let hashed = |world: &World| world.station(node).disk.counts.get(&OpClass::Hash).copied();
        let before = hashed(&world);
        world.crash_station(node, CrashMode::PowerCut);
        world.restart_station(node);
        let (leecher, _) = join(&mut world, 3, &[2], false);
        world.run_for(Duration::from_secs(10));
        assert_eq!(hashed(&world), before);
        let mut found = tree(world.station(leecher), World::DIR);
        found.retain(|path, _| path.starts_with("album"));
        assert!(found == album(&[0, 1, 2]), "{:?}", found.keys());
        let cancel = |engine: &mut Engine, now, token| engine.cancel(now, id, true, token);
        world.command(node, cancel);
        world.run_for(Duration::from_secs(5));
        assert_eq!(tree(world.station(node), NEW), BTreeMap::new());
        assert!(!world.station(node).disk.has_dir(format!("{NEW}/album")), "made and empty");
    }
}

/// Crashes after each step of a move, and starts again.
fn crash_everywhere(mode: CrashMode, mount: bool) {
    let (mut moved, mut stayed) = (0, 0);
    for steps in 0.. {
        let (mut world, node, id) = seeding(3, mount);
        let token = move_album(&mut world, node, id);
        world.run_steps(steps);
        let was_moved = is_answered(&world, node, token);
        world.crash_station(node, mode);
        world.run_for(Duration::from_secs(1));
        world.restart_station(node);
        world.run_for(Duration::from_secs(10));
        assert_eq!(state(&mut world, node, id), DownloadState::Seeding, "after {steps} steps");
        let look = |engine: &mut Engine, now, _| engine.status(now, id);
        let status = world.command(node, look).1.unwrap();
        let is_moved = status.metadata.save_dir.to_str() == Some(NEW);
        let (full, empty) = if is_moved { (NEW, World::DIR) } else { (World::DIR, NEW) };
        assert_all_in(&world, node, full, &format!("after {steps} steps"));
        let rest = tree(world.station(node), empty);
        assert!(rest.is_empty(), "after {steps} steps: {:?}", rest.keys());
        assert!(!world.station(node).disk.has_dir(format!("{empty}/album")), "after {steps} steps");
        moved += u32::from(is_moved);
        stayed += u32::from(!is_moved);
        if was_moved {
            assert!(is_moved, "it was said to be moved");
            break;
        }
        let told = world.station(node).events.len();
        assert!(told < 1000, "events are bounded");
    }
    assert!(moved > 20 && stayed > 0, "{moved} went on, {stayed} had not begun");
}

#[test]
fn kill_at_any_step_of_a_move_loses_nothing() {
    crash_everywhere(CrashMode::Kill, false);
    crash_everywhere(CrashMode::Kill, true);
}

#[test]
fn power_cut_at_any_step_of_a_move_loses_nothing() {
    crash_everywhere(CrashMode::PowerCut, false);
    crash_everywhere(CrashMode::PowerCut, true);
}

#[test]
fn torn_power_cut_at_any_step_of_a_move_loses_nothing() {
    crash_everywhere(CrashMode::Torn, false);
    crash_everywhere(CrashMode::Torn, true);
}

#[test]
fn after_an_error_at_any_step_all_is_where_it_was_and_seeds_on() {
    let classes = [
        OpClass::OpenDir,
        OpClass::Stat,
        OpClass::Open,
        OpClass::Write,
        OpClass::Read,
        OpClass::Sync,
        OpClass::SyncDir,
        OpClass::Rename,
    ];
    for (class, mount) in classes.into_iter().flat_map(|class| [(class, false), (class, true)]) {
        let mut failed = 0;
        for skip in 0.. {
            let (mut world, node, id) = seeding(3, mount);
            let fault = |station: &mut Station, _| station.disk.fail(class, skip, 1, DiskErrorKind::Io);
            let token = move_album(&mut world, node, id);
            world.act(node, fault);
            world.run_for(Duration::from_secs(10));
            world.act(node, |station: &mut Station, _| station.disk.heal());
            let reply = world.station(node).reply(token).unwrap().clone();
            let why = format!("{class:?} {skip} {mount}: {reply:?}");
            if state(&mut world, node, id) != DownloadState::Seeding {
                // The fault hit what came after the move, or the last sync before it.
                assert!(matches!(state(&mut world, node, id), DownloadState::Error { .. }), "{why}");
                world.command(node, |engine: &mut Engine, now, token| engine.resume(now, id, token));
                world.run_for(Duration::from_secs(5));
                assert_eq!(state(&mut world, node, id), DownloadState::Seeding, "{why}");
            }
            let (full, empty) = if reply.is_ok() { (NEW, World::DIR) } else { (World::DIR, NEW) };
            assert_all_in(&world, node, full, &why);
            if reply.is_ok() {
                break;
            }
            assert!(tree(world.station(node), empty).is_empty(), "{why}");
            assert!(!world.station(node).disk.has_dir(format!("{empty}/album")), "{why}");
            failed += 1;
        }
        let copies = matches!(class, OpClass::Open | OpClass::Write | OpClass::Read | OpClass::Sync);
        assert_eq!(failed > 0, mount || !copies, "{class:?} {mount}");
    }
}
