//! Files of a torrent that are read while it is fetched.

use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::download::ReadRequest;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{Answer, DownloadState, Engine, EngineConfig, EngineError, Token};
use gosh_dl_core::wire::torrent::create::{NewFile, NewTorrent};
use gosh_dl_sim::one_file::{OneFile, place};
use gosh_dl_sim::{Content, CrashMode, Resource, World};
use sha1::{Digest as _, Sha1};

const PIECE: usize = 64 << 10;
const FILE: u64 = 16 << 20;
const NAMES: [&str; 2] = ["a", "b"];
const SEED: &str = "http://seed.example/";
/// Bytes per second of the one server that has it: all takes 32 s.
const RATE: u64 = 1 << 20;

fn content(number: usize) -> Content {
    Content::generated(number as u64, FILE)
}

fn torrent() -> Bytes {
    let mut torrent = NewTorrent::folder("album", NAMES.map(|name| NewFile::new(name, FILE)).to_vec());
    torrent.piece_len = Some(PIECE as u32);
    torrent.web_seeds = vec![SEED.to_owned()];
    let whole: Vec<u8> = (0..2).flat_map(|number| content(number).slice(0..FILE).to_vec()).collect();
    let hashes: Vec<[u8; 20]> = whole.chunks(PIECE).map(|piece| Sha1::digest(piece).into()).collect();
    torrent.finish(&hashes).expect("there is one").raw().clone()
}

fn begin() -> (World, DownloadId) {
    let mut world = World::new(1);
    let urls = NAMES.map(|name| format!("{SEED}album/{name}"));
    for (number, url) in urls.iter().enumerate() {
        world.serve(url, Resource::new(content(number))).profile.down_rate = Some(RATE);
    }
    let options = DownloadOptions::new().sequential(true).seed_time(Duration::ZERO);
    let id = world.add_torrent(torrent(), &urls.each_ref().map(String::as_str), options);
    world.run_for(Duration::from_secs(1));
    (world, id)
}

fn request(reader: u64, file: usize, offset: u64) -> ReadRequest {
    ReadRequest { reader, file, offset, len: 10_000 }
}

/// How long it takes until a read has the right bytes.
fn time_to(world: &mut World, token: Token, file: usize, offset: u64) -> Duration {
    let mut waited = Duration::ZERO;
    while world.reply(token).is_none() {
        assert!(waited < Duration::from_secs(60), "{}", world.report());
        world.run_for(Duration::from_millis(50));
        waited += Duration::from_millis(50);
    }
    let Some(Ok(Answer::Data(bytes))) = world.reply(token) else { panic!("{:?}", world.reply(token)) };
    assert!(!bytes.is_empty() && bytes.len() <= 10_000);
    assert!(*bytes == *content(file).slice(offset..offset + bytes.len() as u64));
    waited
}

#[test]
fn what_is_read_comes_long_before_its_turn_and_a_seek_moves_it_at_once() {
    let (mut world, id) = begin();
    for offset in [FILE - 100_000, FILE / 2 + 5] {
        let token = world.read_begin(id, request(1, 1, offset));
        let waited = time_to(&mut world, token, 1, offset);
        assert!(waited < Duration::from_secs(4), "{waited:?} at {offset}");
    }
    assert_eq!(world.wait_done(id), DownloadState::Completed, "{}", world.report());
}

/// Two seconds' worth of blocks is asked of a peer: a seek waited for all of them.
#[test]
fn a_seek_does_not_wait_for_what_peers_were_asked_for_before() {
    let file = OneFile::new(Content::generated(7, 64 << 20), 256 << 10);
    let mut world = World::new(2);
    file.seed(&mut world, 1, EngineConfig::new(), DownloadOptions::new().max_upload_speed(RATE));
    let options = DownloadOptions::new().sequential(true).peer(place(1));
    let (leecher, id) = file.join(&mut world, 2, EngineConfig::new(), options);
    world.run_for(Duration::from_secs(10));
    for offset in [48 << 20, 30 << 20, 60 << 20] {
        let request = ReadRequest { reader: 1, file: 0, offset, len: 10_000 };
        let read = |engine: &mut Engine, now, token| engine.read(now, id, request, token);
        let (token, ()) = world.command(leecher, read);
        let is_there = |world: &mut World| world.station(leecher).reply(token).is_some();
        let began = world.now();
        assert!(world.run_until(is_there, Duration::from_secs(10)), "{}", world.report());
        // A piece takes a quarter of a second, and what is on its way as long again.
        let waited = world.now() - began;
        assert!(waited < Duration::from_millis(800), "{waited:?} at {offset}");
        world.run_for(Duration::from_secs(5));
    }
}

#[test]
fn several_read_at_once_and_each_reads_on_to_the_end_of_its_file() {
    let (mut world, id) = begin();
    let far = world.read_begin(id, request(1, 1, FILE - 1000));
    let near = world.read_begin(id, request(2, 0, FILE / 2));
    assert!(time_to(&mut world, far, 1, FILE - 1000) < Duration::from_secs(5));
    assert!(time_to(&mut world, near, 0, FILE / 2) < Duration::from_secs(5));
    let end = world.read_begin(id, request(1, 1, FILE));
    assert_eq!(world.wait_reply(end), Ok(Answer::Data(Bytes::new())));
}

#[test]
fn reads_that_cannot_be_are_refused_and_those_that_wait_end_with_the_torrent() {
    let (mut world, id) = begin();
    let mut refused = |request: ReadRequest| {
        let token = world.read_begin(id, request);
        matches!(world.wait_reply(token), Err(EngineError::InvalidInput { .. }))
    };
    assert!(refused(request(1, 2, 0)));
    let waits = world.read_begin(id, request(3, 1, FILE - 1));
    let twice = world.read_begin(id, request(3, 1, FILE - 1));
    assert!(matches!(world.wait_reply(twice), Err(EngineError::InvalidInput { .. })));
    let closed = world.read_begin(id, request(4, 1, FILE - 1));
    world.close_reader(id, 4);
    assert!(matches!(world.reply(closed), Some(Err(EngineError::InvalidState { .. }))));
    assert!(world.reply(waits).is_none());
    let pause = world.pause(id);
    assert!(world.wait_reply(pause).is_ok());
    world.run_for(Duration::from_secs(60));
    assert!(world.reply(waits).is_none(), "it waits until the torrent goes on");
    let resume = world.resume(id);
    assert!(world.wait_reply(resume).is_ok());
    assert!(time_to(&mut world, waits, 1, FILE - 1) < Duration::from_secs(5));
}

#[test]
fn paused_torrent_gives_what_it_has_and_a_complete_one_everything() {
    let (mut world, id) = begin();
    world.run_for(Duration::from_secs(4));
    let pause = world.pause(id);
    assert!(world.wait_reply(pause).is_ok());
    for offset in [0, PIECE as u64 - 5, 1 << 20] {
        let there = world.read_begin(id, request(1, 0, offset));
        assert!(time_to(&mut world, there, 0, offset) < Duration::from_secs(1));
    }
    let waits = world.read_begin(id, request(2, 1, 5));
    world.crash(CrashMode::Kill);
    world.restart();
    assert!(world.reply(waits).is_none());
    let there = world.read_begin(id, request(1, 0, 1 << 20));
    assert!(time_to(&mut world, there, 0, 1 << 20) < Duration::from_secs(1), "also after a restart");
    let waits = world.read_begin(id, request(2, 1, 5));
    let resume = world.resume(id);
    assert!(world.wait_reply(resume).is_ok());
    assert!(time_to(&mut world, waits, 1, 5) < Duration::from_secs(5));
    assert_eq!(world.wait_done(id), DownloadState::Completed, "{}", world.report());
    for (file, offset) in [(1, 77), (0, FILE - 3), (1, FILE - 20_000)] {
        let token = world.read_begin(id, request(10 + file as u64, file, offset));
        assert!(time_to(&mut world, token, file, offset) < Duration::from_secs(1));
    }
    let cancel = world.cancel(id, true);
    assert!(world.wait_reply(cancel).is_ok());
    let gone = world.read_begin(id, request(11, 1, 0));
    assert!(matches!(world.wait_reply(gone), Err(EngineError::NotFound(_))));
}

#[test]
fn what_was_not_asked_for_of_a_complete_torrent_is_not_waited_for() {
    for seeds in [false, true] {
        let mut world = World::new(1);
        let urls = NAMES.map(|name| format!("{SEED}album/{name}"));
        for (number, url) in urls.iter().enumerate() {
            world.serve(url, Resource::new(content(number)));
        }
        let options = DownloadOptions::new().selected_files(vec![0]);
        let options = if seeds { options.seed_ratio(0.0) } else { options.seed_time(Duration::ZERO) };
        let id = world.add_torrent(torrent(), &urls.each_ref().map(String::as_str), options);
        // It is waited for while something is fetched, and not when that has ended.
        let early = world.read_begin(id, request(3, 1, FILE / 2));
        world.run_for(Duration::from_secs(60));
        let state = if seeds { DownloadState::Seeding } else { DownloadState::Completed };
        assert_eq!(world.state(id), state, "{}", world.report());
        let token = world.read_begin(id, request(1, 0, 5));
        time_to(&mut world, token, 0, 5);
        let late = world.read_begin(id, request(2, 1, PIECE as u64));
        world.run_for(Duration::from_secs(1));
        assert!(
            matches!(world.reply(late), Some(Err(EngineError::InvalidState { .. }))),
            "{:?}",
            world.reply(late)
        );
        assert!(world.reply(early).is_some());
    }
}
