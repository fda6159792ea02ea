//! Whole engines, each with a store: what an application sees of them in any world.

use super::world::{Command, Manner, World};
use crate::server::content;
use bytes::Bytes;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadEvent, DownloadState, EngineError};
use std::time::Duration;

/// A download over several connections, from start to end, of which events tell; the next engine knows of it.
pub fn a_file_arrives(mut world: impl World) {
    let body = content(9_000_001);
    world.serve(&body, Manner::Answers);
    world.start();
    let id = world.add("file.bin", DownloadOptions::new()).expect("it is added");
    run_until_complete(&mut world, id);
    assert!(world.file("file.bin").is_some_and(|file| file == body));
    world.shut_down();
    let told = world.told();
    assert!(told.iter().all(|event| event.id() == id), "{told:?}");
    assert_eq!(told.first(), Some(&DownloadEvent::Added { id }));
    assert!(told.contains(&DownloadEvent::Started { id }), "{told:?}");
    assert!(told.contains(&DownloadEvent::Completed { id }), "{told:?}");
    world.run_until("no connection is left", |world| world.connections() == 0);
    world.start();
    let left: Vec<_> = world.list().into_iter().map(|status| (status.id, status.state)).collect();
    assert_eq!(left, [(id, DownloadState::Completed)]);
    world.shut_down();
    assert_eq!((world.files(), world.open_files()), (vec!["file.bin".to_owned()], 0));
}

/// A file without a byte is a file.
pub fn an_empty_file_arrives(mut world: impl World) {
    world.serve(&[], Manner::Answers);
    world.start();
    let id = world.add("empty", DownloadOptions::new()).expect("it is added");
    run_until_complete(&mut world, id);
    assert_eq!(world.file("empty"), Some(Vec::new()));
    world.shut_down();
}

/// Dropping an engine in the middle frees its store and files; the next one finishes the download.
pub fn it_goes_on_after_a_drop(mut world: impl World) {
    let body = content(3_000_000);
    world.serve(&body, Manner::Dawdles);
    world.start();
    let options = DownloadOptions::new().max_connections(4);
    let id = world.add("file.bin", options).expect("it is added");
    for sofar in [200_000, 1_000_000] {
        world.run_until("data", |world| completed_size(world, id) > sofar);
        world.drop_engine();
        assert_eq!(world.open_files(), 0, "files are closed");
        world.run_until("connections are closed", |world| world.connections() == 0);
        world.start();
    }
    run_until_complete(&mut world, id);
    assert!(world.file("file.bin").is_some_and(|file| file == body));
    world.shut_down();
}

/// A server that does not answer, or not to the end, keeps nobody.
pub fn shutdown_is_bounded(mut world: impl World) {
    for (path, manner) in [("never", Manner::Hangs), ("half", Manner::StopsHalfway)] {
        world.serve(&content(1_000_000), manner);
        world.start();
        let requests = world.requests();
        let id = world.add(path, DownloadOptions::new()).expect("it is added");
        world.run_until("a request", |world| world.requests() > requests);
        if manner == Manner::StopsHalfway {
            world.run_until("data", |world| completed_size(world, id) > 0);
        }
        let took = world.shut_down();
        assert!(took < Duration::from_secs(5), "{took:?}");
        world.run_until("connections are closed", |world| world.connections() == 0);
        assert_eq!(world.open_files(), 0);
    }
}

/// A download is paused, resumed after the engine was ended, and another one taken away with all that it made, and nothing
/// else.
pub fn commands_are_obeyed(mut world: impl World) {
    let body = content(2_000_000);
    world.serve(&body, Manner::Dawdles);
    world.start();
    let kept = world.add("kept", DownloadOptions::new()).expect("it is added");
    let gone = world.add("gone", DownloadOptions::new()).expect("it is added");
    let again = world.add("kept", DownloadOptions::new());
    assert!(matches!(again, Err(EngineError::AlreadyExists(_))), "{again:?}");
    world.run_until("data", |world| [kept, gone].iter().all(|id| completed_size(world, *id) > 100_000));
    world.command(kept, Command::Pause).expect("it is paused");
    world.command(gone, Command::Cancel).expect("it is gone");
    assert!(matches!(world.command(gone, Command::Resume), Err(EngineError::NotFound(_))));
    world.run_until("nobody fetches any more", |world| world.connections() == 0);
    let before = completed_size(&mut world, kept);
    world.shut_down();
    world.start();
    let left: Vec<_> = world.list().into_iter().map(|status| (status.id, status.state)).collect();
    assert_eq!(left, [(kept, DownloadState::Paused)]);
    assert_eq!(completed_size(&mut world, kept), before, "what arrived before the pause is there");
    world.command(kept, Command::Resume).expect("it goes on");
    run_until_complete(&mut world, kept);
    assert!(world.file("kept").is_some_and(|file| file == body));
    world.shut_down();
    assert_eq!((world.files(), world.open_files()), (vec!["kept".to_owned()], 0));
}

/// Whoever does not read its events holds nothing up, and finds every end when it does.
pub fn a_slow_subscriber_slows_nobody(mut world: impl World) {
    world.serve(&content(20_000), Manner::Answers);
    world.start();
    let ids: Vec<_> = (0..30)
        .map(|number| world.add(&number.to_string(), DownloadOptions::new()).expect("it is added"))
        .collect();
    for id in &ids {
        run_until_complete(&mut world, *id);
    }
    world.shut_down();
    let told = world.told();
    for id in ids {
        let is_end =
            |event: &&DownloadEvent| matches!(event, DownloadEvent::Completed { id: done } if *done == id);
        assert_eq!(told.iter().filter(is_end).count(), 1, "{id}: {told:?}");
    }
}

/// A file of a torrent is read while it is fetched: what is read comes long before its turn, right to the byte.
pub fn files_are_read_before_their_turn(world: impl World) {
    read_before_its_turn(world, World::add_torrent);
}

/// So is a download over HTTP.
pub fn downloads_are_read_before_their_turn(world: impl World) {
    read_before_its_turn(world, World::add);
}

fn read_before_its_turn<W: World>(
    mut world: W,
    add: fn(&mut W, &str, DownloadOptions) -> Result<DownloadId, EngineError>,
) {
    let body = content(16_000_001);
    world.serve(&body, Manner::Answers);
    world.start();
    // All of it takes four seconds.
    let options = DownloadOptions::new().sequential(true).max_download_speed(4_000_000);
    let id = add(&mut world, "file", options).expect("it is added");
    world.run_until("data", |world| completed_size(world, id) > 0);
    for places in [15_900_000..16_000_001, 10_000_000..10_200_000] {
        let mut at = places.start;
        while at < places.end {
            let read = world.read(id, at as u64, 10_000).expect("it is read");
            assert!((1..=10_000).contains(&read.len()) && body[at..].starts_with(&read), "{at}");
            at += read.len();
        }
    }
    let fetched = completed_size(&mut world, id);
    assert!(fetched < 12_000_000, "{fetched} bytes were fetched first");
    assert_eq!(world.read(id, 16_000_001, 1), Ok(Bytes::new()), "the end");
    world.command(id, Command::Pause).expect("it is paused");
    let there = world.read(id, 10_000_000, 1).expect("what is there is read while it is paused");
    assert_eq!(there[..], body[10_000_000..10_000_001]);
    world.shut_down();
    assert_eq!(world.open_files(), 0);
}

fn run_until_complete(world: &mut impl World, id: DownloadId) {
    world.run_until("it is complete", |world| {
        let state = world.list().into_iter().find(|status| status.id == id).map(|status| status.state);
        assert!(!matches!(state, None | Some(DownloadState::Error { .. })), "{state:?}");
        state == Some(DownloadState::Completed)
    });
}

fn completed_size(world: &mut impl World, id: DownloadId) -> u64 {
    let found = world.list().into_iter().find(|status| status.id == id);
    found.map_or(0, |status| status.progress.completed_size)
}
