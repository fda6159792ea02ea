//! Files of downloads over HTTP that are read while they are fetched.

use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions, ReadRequest};
use gosh_dl_core::engine::{Answer, DownloadState, EngineError, ProtocolErrorKind, Token};
use gosh_dl_sim::{
    Behaviour, Content, CrashMode, Cut, End, Framing, Ranges, Refusal, Resource, Since, World,
};

const FILE: u64 = 64 << 20;
const KIB: u64 = 1 << 10;
const URL: &str = "http://origin.example/film";
const STEP: Duration = Duration::from_millis(20);

fn content() -> Content {
    Content::generated(1, FILE)
}

/// A server that gives each connection a quarter of a megabyte per second, and what is fetched from it.
fn begin(behaviour: Behaviour, options: DownloadOptions) -> (World, DownloadId) {
    let mut world = World::new(1);
    let rate = Some(behaviour.rate.unwrap_or(256 * KIB));
    world.serve(URL, Resource::new(content()).behave(Behaviour { rate, ..behaviour }));
    let id = world.add(URL, options);
    world.run_for(Duration::from_secs(2));
    (world, id)
}

fn request(reader: u64, offset: u64) -> ReadRequest {
    ReadRequest { reader, file: 0, offset, len: 100_000 }
}

/// How long it takes until a read has the right bytes, and how many.
fn time_to(world: &mut World, token: Token, offset: u64) -> (Duration, u64) {
    let mut waited = Duration::ZERO;
    while world.reply(token).is_none() {
        assert!(waited < Duration::from_secs(600), "{}", world.report());
        world.run_for(STEP);
        waited += STEP;
    }
    let Some(Ok(Answer::Data(bytes))) = world.reply(token) else { panic!("{:?}", world.reply(token)) };
    assert!(*bytes == *content().slice(offset..offset + bytes.len() as u64), "wrong bytes at {offset}");
    (waited, bytes.len() as u64)
}

/// Reads on from there and says how long `len` bytes took.
fn read_on(world: &mut World, id: DownloadId, reader: u64, offset: u64, len: u64) -> Duration {
    let (mut at, mut time) = (offset, Duration::ZERO);
    while at < offset + len {
        let token = world.read_begin(id, request(reader, at));
        let (waited, bytes) = time_to(world, token, at);
        assert!(bytes > 0, "the file does not end at {at}");
        (at, time) = (at + bytes, time + waited);
    }
    time
}

#[test]
fn what_is_read_comes_first_and_a_seek_moves_it_at_once() {
    for connections in [1, 4, 16] {
        let (mut world, id) =
            begin(Behaviour::default(), DownloadOptions::new().max_connections(connections));
        for offset in [FILE - 300_000, FILE / 2 + 5, FILE / 4] {
            let token = world.read_begin(id, request(1, offset));
            let (waited, _) = time_to(&mut world, token, offset);
            assert!(waited < Duration::from_secs(1), "{waited:?} at {offset} over {connections}");
        }
        world.close_reader(id, 1);
        assert_eq!(world.wait_done(id), DownloadState::Completed, "{}", world.report());
    }
}

#[test]
fn all_connections_help_one_reader() {
    let (mut world, id) = begin(Behaviour::default(), DownloadOptions::new().max_connections(8));
    world.run_for(Duration::from_secs(5));
    let time = read_on(&mut world, id, 1, FILE / 2, 16 << 20);
    // One connection alone takes 64 s, all eight together 8 s.
    assert!(time < Duration::from_secs(13), "{time:?}");
    let file = world.status(id).expect("it is there").progress;
    assert!(file.completed_size < FILE, "{file:?}");
}

#[test]
fn connection_that_falls_silent_before_a_reader_is_replaced() {
    let cut = Some(Cut { answers: 1, after: 3_000_000, end: End::Stall });
    let behaviour = Behaviour { cut, rate: Some(1 << 20), ..Behaviour::default() };
    let (mut world, id) = begin(behaviour, DownloadOptions::new().max_connections(4));
    let time = read_on(&mut world, id, 1, 0, 4_000_000);
    assert!(time < Duration::from_secs(10), "{time:?}");
}

#[test]
fn two_readers_share_and_each_gets_its_place_early() {
    let (mut world, id) = begin(Behaviour::default(), DownloadOptions::new().max_connections(4));
    let far = world.read_begin(id, request(1, FILE - 5_000_000));
    let near = world.read_begin(id, request(2, FILE / 3));
    assert!(time_to(&mut world, far, FILE - 5_000_000).0 < Duration::from_secs(2));
    assert!(time_to(&mut world, near, FILE / 3).0 < Duration::from_secs(2));
    let both = [
        read_on(&mut world, id, 1, FILE - 4_000_000, 1 << 20),
        read_on(&mut world, id, 2, FILE / 3, 1 << 20),
    ];
    assert!(both.iter().all(|time| *time < Duration::from_secs(5)), "{both:?}");
}

#[test]
fn without_ranges_the_reader_waits_for_its_turn() {
    let behaviour = Behaviour { ranges: Ranges::None, rate: Some(1 << 20), ..Behaviour::default() };
    let (mut world, id) = begin(behaviour, DownloadOptions::new());
    let token = world.read_begin(id, request(1, FILE / 2));
    let (waited, _) = time_to(&mut world, token, FILE / 2);
    assert!((25..35).contains(&waited.as_secs()), "{waited:?}");
    let time = read_on(&mut world, id, 1, 0, 1 << 20);
    assert!(time < Duration::from_secs(1), "{time:?} for what is there");
    assert_eq!(world.log("origin.example").requests.len(), 1, "the answer was not given up for it");
}

#[test]
fn end_of_unknown_length_is_known_when_it_comes() {
    let framing = Framing::Chunked { size: 10_000, extension: "", trailers: Vec::new() };
    let behaviour = Behaviour { ranges: Ranges::None, framing, rate: Some(4 << 20), ..Behaviour::default() };
    let (mut world, id) = begin(behaviour, DownloadOptions::new());
    let beyond = world.read_begin(id, request(2, FILE + 1));
    read_on(&mut world, id, 1, 0, FILE - 1);
    let end = world.read_begin(id, request(1, FILE));
    assert_eq!(time_to(&mut world, end, FILE).1, 0);
    assert_eq!(time_to(&mut world, beyond, FILE).1, 0);
}

#[test]
fn reader_is_told_once_that_the_file_is_another_one_now() {
    let mut world = World::new(1);
    let behaviour = Behaviour { rate: Some(1 << 20), ..Behaviour::default() };
    let old = Content::generated(2, FILE);
    let file = Resource::new(old.clone()).behave(behaviour).validators(Some("\"1\""), None);
    world.serve(URL, file.then(Since::Bytes(6 << 20), content()));
    let id = world.add(URL, DownloadOptions::new().max_connections(2));
    let first = world.read_begin(id, request(1, 0));
    let Ok(Answer::Data(bytes)) = world.wait_reply(first) else { panic!("{:?}", world.reply(first)) };
    assert!(*bytes == *old.slice(0..bytes.len() as u64));
    world.run_for(Duration::from_secs(6));
    let changed = world.read_begin(id, request(1, FILE - 1000));
    let Err(EngineError::Protocol { kind, .. }) = world.wait_reply(changed) else {
        panic!("{:?}", world.reply(changed));
    };
    assert_eq!(kind, ProtocolErrorKind::ResourceChanged);
    let again = world.read_begin(id, request(1, FILE - 1000));
    time_to(&mut world, again, FILE - 1000);
}

#[test]
fn paused_download_gives_what_it_has_and_a_complete_one_everything() {
    let behaviour = Behaviour { rate: Some(2 << 20), ..Behaviour::default() };
    let (mut world, id) = begin(behaviour, DownloadOptions::new().max_connections(1));
    let waits = world.read_begin(id, request(3, FILE - 5));
    world.close_reader(id, 3);
    assert!(world.reply(waits).is_some());
    let pause = world.pause(id);
    assert!(world.wait_reply(pause).is_ok());
    assert!(read_on(&mut world, id, 1, 0, 1 << 20) < Duration::from_secs(1));
    let waits = world.read_begin(id, request(1, FILE - 10));
    world.run_for(Duration::from_secs(60));
    assert!(world.reply(waits).is_none(), "it waits until the download goes on");
    let resume = world.resume(id);
    assert!(world.wait_reply(resume).is_ok());
    assert!(time_to(&mut world, waits, FILE - 10).0 < Duration::from_secs(2));
    assert_eq!(world.wait_done(id), DownloadState::Completed, "{}", world.report());
    read_on(&mut world, id, 1, FILE - 1_000_000, 1_000_000);
    let end = world.read_begin(id, request(1, FILE));
    assert_eq!(time_to(&mut world, end, FILE).1, 0);
}

#[test]
fn reader_goes_on_without_a_seam_when_the_file_gets_its_name() {
    let behaviour = Behaviour { rate: Some(8 << 20), ..Behaviour::default() };
    let (mut world, id) = begin(behaviour, DownloadOptions::new().max_connections(4));
    read_on(&mut world, id, 1, 0, FILE);
    assert_eq!(world.state(id), DownloadState::Completed);
    world.crash(CrashMode::PowerCut);
    world.restart();
    read_on(&mut world, id, 1, FILE / 2, 1 << 20);
}

#[test]
fn reader_of_what_failed_is_told_why() {
    let mut world = World::new(1);
    world.serve(URL, Resource::refusal(Refusal::new(404)));
    let id = world.add(URL, DownloadOptions::new());
    let waits = world.read_begin(id, request(1, 0));
    assert!(matches!(world.wait_reply(waits), Err(EngineError::Network { .. })), "{:?}", world.reply(waits));
    let later = world.read_begin(id, request(1, 0));
    assert!(matches!(world.wait_reply(later), Err(EngineError::Network { .. })), "{:?}", world.reply(later));
}

#[test]
fn shutdown_ends_reads_at_once() {
    let (mut world, id) = begin(Behaviour::default(), DownloadOptions::new());
    let pause = world.pause(id);
    assert!(world.wait_reply(pause).is_ok());
    let waits = world.read_begin(id, request(1, FILE - 1));
    let reads = world.read_begin(id, request(2, 0));
    assert!(world.shutdown(Duration::from_secs(5)));
    for token in [waits, reads] {
        assert!(
            matches!(world.reply(token), Some(Err(EngineError::Shutdown) | Ok(_))),
            "{:?}",
            world.reply(token)
        );
    }
}

#[test]
fn reads_end_with_the_download_and_files_have_numbers() {
    let (mut world, id) = begin(Behaviour::default(), DownloadOptions::new());
    let other = world.read_begin(id, ReadRequest { file: 1, ..request(1, 0) });
    assert!(matches!(world.wait_reply(other), Err(EngineError::InvalidInput { .. })));
    let closed = world.read_begin(id, request(2, FILE - 1));
    world.close_reader(id, 2);
    assert!(matches!(world.reply(closed), Some(Err(EngineError::InvalidState { .. }))));
    let waits = world.read_begin(id, request(3, FILE - 1));
    world.cancel(id, true);
    assert!(world.wait_reply(waits).is_err());
}
