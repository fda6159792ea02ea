//! Files of a torrent that are wanted more or less while it runs.

use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions, FilePriority};
use gosh_dl_core::engine::{DownloadEvent, DownloadState, EngineError};
use gosh_dl_core::wire::torrent::create::{NewFile, NewTorrent};
use gosh_dl_sim::{Content, CrashMode, Resource, World};
use sha1::{Digest as _, Sha1};

const PIECE: usize = 64 << 10;
const FILE: u64 = 2_000_000;
const NAMES: [&str; 3] = ["a", "b", "c"];
const SEED: &str = "http://seed.example/";

fn content(number: usize) -> Content {
    Content::generated(number as u64, FILE)
}

fn bytes(number: usize) -> Vec<u8> {
    content(number).slice(0..FILE).to_vec()
}

fn torrent() -> Bytes {
    let mut torrent = NewTorrent::folder("album", NAMES.map(|name| NewFile::new(name, FILE)).to_vec());
    torrent.piece_len = Some(PIECE as u32);
    torrent.web_seeds = vec![SEED.to_owned()];
    let whole: Vec<u8> = (0..3).flat_map(bytes).collect();
    let hashes: Vec<[u8; 20]> = whole.chunks(PIECE).map(|piece| Sha1::digest(piece).into()).collect();
    torrent.finish(&hashes).expect("there is one").raw().clone()
}

/// A torrent of three files that one web server has.
fn begin(options: DownloadOptions) -> (World, DownloadId) {
    let mut world = World::new(1);
    let urls = NAMES.map(|name| format!("{SEED}album/{name}"));
    for (number, url) in urls.iter().enumerate() {
        world.serve(url, Resource::new(content(number))).profile.down_rate = Some(1_000_000);
    }
    let options = if options.seed_ratio.is_none() { options.seed_time(Duration::ZERO) } else { options };
    let id = world.add_torrent(torrent(), &urls.each_ref().map(String::as_str), options);
    (world, id)
}

/// How many bytes of each file are here.
fn completed(world: &mut World, id: DownloadId) -> Vec<u64> {
    let status = world.status(id).expect("it is there");
    status.torrent_info.expect("it is known").files.iter().map(|file| file.completed).collect()
}

fn file(world: &World, number: usize) -> Option<Vec<u8>> {
    world.file_in("album", NAMES[number])
}

#[test]
fn file_that_is_wanted_most_is_there_first_and_least_last() {
    let (mut world, id) = begin(DownloadOptions::new().file_priority(0, FilePriority::Low));
    world.set_file_priorities(id, &[(2, FilePriority::High)]).expect("it is taken");
    while completed(&mut world, id)[2] < FILE {
        world.run_for(Duration::from_millis(100));
    }
    let here = completed(&mut world, id);
    assert!(here[0] < FILE / 4 && here[1] < FILE / 2, "{here:?}");
    while completed(&mut world, id)[1] < FILE {
        world.run_for(Duration::from_millis(100));
    }
    let here = completed(&mut world, id);
    assert!(here[0] < FILE / 2, "{here:?}");
    assert_eq!(world.wait_done(id), DownloadState::Completed, "{}", world.report());
    (0..3).for_each(|number| assert_eq!(file(&world, number), Some(bytes(number))));
}

#[test]
fn file_that_is_skipped_while_it_runs_is_not_fetched() {
    let (mut world, id) = begin(DownloadOptions::new().sequential(true));
    world.run_for(Duration::from_secs(1));
    world.set_file_priorities(id, &[(2, FilePriority::Skip)]).expect("it is taken");
    assert_eq!(world.wait_done(id), DownloadState::Completed, "{}", world.report());
    assert_eq!([file(&world, 0), file(&world, 1), file(&world, 2)], [Some(bytes(0)), Some(bytes(1)), None]);
    let files = world.status(id).expect("it is there").torrent_info.expect("it is known").files;
    assert_eq!((files[2].selected, files[2].priority), (false, FilePriority::Skip));
}

/// When nothing more was wanted, the run of a web server was cancelled, and the server never asked again.
#[test]
fn web_server_that_was_in_the_middle_of_a_file_is_asked_again_when_that_is_wanted_again() {
    let (mut world, id) = begin(DownloadOptions::new().sequential(true).seed_ratio(100.0));
    while completed(&mut world, id)[0] < FILE || completed(&mut world, id)[1] == 0 {
        world.run_for(Duration::from_millis(100));
    }
    world.set_file_priorities(id, &[(1, FilePriority::Skip), (2, FilePriority::Skip)]).expect("it is taken");
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.state(id), DownloadState::Seeding);
    world
        .set_file_priorities(id, &[(1, FilePriority::Normal), (2, FilePriority::Normal)])
        .expect("it is taken");
    world.run_for(Duration::from_secs(15));
    assert_eq!(world.state(id), DownloadState::Seeding);
    (0..3).for_each(|number| assert_eq!(file(&world, number), Some(bytes(number))));
}

#[test]
fn file_that_is_wanted_after_the_end_is_fetched_and_what_is_wanted_outlives_a_restart() {
    let (mut world, id) = begin(DownloadOptions::new().selected_files(vec![1]));
    assert_eq!(world.wait_done(id), DownloadState::Completed, "{}", world.report());
    assert_eq!([file(&world, 0), file(&world, 1), file(&world, 2)], [None, Some(bytes(1)), None]);
    world.set_file_priorities(id, &[(0, FilePriority::Normal)]).expect("it is taken");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.state(id), DownloadState::Downloading);
    world.crash(CrashMode::PowerCut);
    world.restart();
    assert_eq!(world.wait_done(id), DownloadState::Completed, "{}", world.report());
    assert_eq!([file(&world, 0), file(&world, 1), file(&world, 2)], [Some(bytes(0)), Some(bytes(1)), None]);
}

#[test]
fn seeding_torrent_goes_on_when_more_is_wanted_and_back_to_seeding() {
    let (mut world, id) = begin(DownloadOptions::new().selected_files(vec![0]).seed_ratio(0.0));
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.state(id), DownloadState::Seeding);
    world.set_file_priorities(id, &[(1, FilePriority::High), (2, FilePriority::Low)]).expect("it is taken");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.state(id), DownloadState::Downloading);
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.state(id), DownloadState::Seeding);
    (0..3).for_each(|number| assert_eq!(file(&world, number), Some(bytes(number))));
}

#[test]
fn seeding_time_goes_on_from_what_it_was_before_more_was_wanted() {
    let options =
        DownloadOptions::new().selected_files(vec![0]).seed_ratio(1e9).seed_time(Duration::from_secs(100));
    let (mut world, id) = begin(options);
    world.run_for(Duration::from_secs(70));
    world.set_file_priorities(id, &[(1, FilePriority::High)]).expect("it is taken");
    world.run_for(Duration::from_secs(45));
    assert_eq!(world.state(id), DownloadState::Completed, "{}", world.report());
    assert_eq!(file(&world, 1), Some(bytes(1)));
}

/// How often it was said that all that is wanted is there.
fn times_completed(world: &World) -> usize {
    world.events.iter().filter(|(_, event)| matches!(event, DownloadEvent::Completed { .. })).count()
}

#[test]
fn what_is_whole_again_is_said_to_be_so_again() {
    let (mut world, id) = begin(DownloadOptions::new().selected_files(vec![0, 1]).seed_ratio(0.0));
    world.run_for(Duration::from_secs(10));
    assert_eq!((world.state(id), times_completed(&world)), (DownloadState::Seeding, 1));
    // It was looked at, and is whole.
    world.verify(id).expect("it can be looked at");
    world.run_for(Duration::from_secs(10));
    assert_eq!(times_completed(&world), 1);
    // A piece is lost.
    world.disk.change(format!("{}/album", World::DIR), "a", 5 * PIECE as u64, b"lost");
    assert!(!world.repair(id).expect("it can be looked at").valid);
    world.run_for(Duration::from_secs(10));
    assert_eq!((world.state(id), times_completed(&world)), (DownloadState::Seeding, 2));
    // More is wanted of it while it is paused: it is not whole then, and cannot be moved.
    let pause = world.pause(id);
    assert!(world.wait_reply(pause).is_ok());
    world.set_file_priorities(id, &[(2, FilePriority::Normal)]).expect("it is taken");
    let moved = world.move_to(id, "/elsewhere");
    assert!(matches!(world.wait_reply(moved), Err(EngineError::InvalidState { .. })));
    let resume = world.resume(id);
    assert!(world.wait_reply(resume).is_ok());
    world.run_for(Duration::from_secs(10));
    assert_eq!((world.state(id), times_completed(&world)), (DownloadState::Seeding, 3));
    // A restart is nothing new.
    world.crash(CrashMode::Kill);
    world.restart();
    world.run_for(Duration::from_secs(10));
    assert_eq!((world.state(id), times_completed(&world)), (DownloadState::Seeding, 3));
}

#[test]
fn file_that_is_not_there_and_download_that_is_no_torrent_are_refused() {
    let (mut world, id) = begin(DownloadOptions::new());
    let refused = world.set_file_priorities(id, &[(0, FilePriority::High), (3, FilePriority::High)]);
    assert_eq!(refused.unwrap_err().to_string(), "file_priorities: there is no file 3 in the torrent");
    let files = world.status(id).expect("it is there").torrent_info.expect("it is known").files;
    assert!(files.iter().all(|file| file.priority == FilePriority::Normal), "nothing was changed");
    world.serve("http://b.example/x", Resource::new(content(0)));
    let http = world.add("http://b.example/x", DownloadOptions::new());
    let refused = world.set_file_priorities(http, &[(0, FilePriority::High)]);
    assert!(matches!(refused, Err(EngineError::InvalidState { .. })), "{refused:?}");
}
