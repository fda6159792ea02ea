//! What was recorded of a run on any runtime, or in the simulator, makes an engine do the same again.

use crate::same_decisions::{LEN, SCENARIOS, body, config, partial, serve};
use crate::threads::Threads;
use bytes::Bytes;
use gosh_dl_core::download::{DownloadId, DownloadOptions, DownloadPriority, ExpectedChecksum};
use gosh_dl_core::engine::recording::{Ending, Replay, output_line};
use gosh_dl_core::engine::{DownloadState, EngineConfig, Output, TorrentConfig};
use gosh_dl_core::wire::torrent::create::NewTorrent;
use gosh_dl_runtime::{Driver, Handle, Runtime as _, Task as _, drive};

use gosh_dl_sim::{Content, CrashMode, End, Framing, Part, Resource, World};
use sha1::{Digest as _, Sha1};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Every output in its line, and how the recording ended.
fn replay(file: &[u8]) -> (Vec<String>, Option<Ending>) {
    let mut replay = Replay::new(file).unwrap();
    let mut lines = Vec::new();
    while let Some(step) = replay.step().unwrap() {
        lines.extend(step.outputs.iter().map(output_line));
        assert_ne!(
            step.agrees,
            Some(false),
            "after {} outputs, {}: {}",
            lines.len(),
            step.what,
            lines.join("\n")
        );
    }
    assert!(!replay.has_diverged());
    (lines, replay.ending())
}

/// Answers slowly enough to be paused, and in chunks: what is payload has to be found between them.
fn slow_chunks(_: u64, from: Option<usize>) -> Vec<u8> {
    let body = body();
    let (from, mut answer) = match from {
        None | Some(0) => {
            (0, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: s=secret\r\n\r\n".to_vec())
        }
        Some(_) => return partial(from, LEN),
    };
    for chunk in body[from..].chunks(1000) {
        answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        answer.extend_from_slice(chunk);
        answer.extend_from_slice(b"\r\n");
    }
    [answer, b"0\r\n\r\n".to_vec()].concat()
}

/// Everything that a user can do, on an engine that is recorded.
async fn everything(handle: &Handle) {
    let url = |script| format!("http://me:secret@127.0.0.1:{}/file", serve(script));
    let sum = |digit: &str| ExpectedChecksum::sha256(&digit.repeat(64)).unwrap();
    let named = |name: &str| DownloadOptions::new().filename(name).header("X-Key", "secret");
    for (name, script) in SCENARIOS {
        let id = handle.add_http(&url(script), named(name)).await.unwrap();
        let _failed_or_not = handle.wait(id).await;
        handle.status(id).unwrap();
    }
    let wrong = handle.add_http(&url(SCENARIOS[0].1), named("wrong").checksum(sum("0"))).await.unwrap();
    handle.wait(wrong).await.unwrap_err();
    let id = handle.add_http(&url(slow_chunks), named("chunks").max_download_speed(40_000)).await.unwrap();
    handle.set_priority(id, DownloadPriority::High).unwrap();
    handle.pause(id).await.unwrap();
    handle.set_download_limit(id, None).unwrap();
    handle.resume(id).await.unwrap();
    handle.wait(id).await.unwrap();
    assert!(handle.verify(id).await.unwrap().valid);
    handle.cancel(id, true).await.unwrap();
    handle.set_config(handle.get_config().max_concurrent_downloads(2)).unwrap();
    handle.set_download_limit(id, Some(1)).unwrap_err();
    handle.add_http("nonsense", DownloadOptions::new()).await.unwrap_err();
    handle.add_http(&url(SCENARIOS[1].1), DownloadOptions::new().start_paused(true)).await.unwrap();
    handle.pause_all().await;
}

/// The lines of a live run, and its recording.
fn record(spawn: impl FnOnce(Driver), shut_down: bool) -> (Vec<String>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recording");
    let config = config().download_dir(dir.path().join("files")).record(path.clone());
    let (handle, mut driver) = Handle::start(config, None).unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    driver.observe({
        let lines = Arc::clone(&lines);
        move |output| lines.lock().unwrap().push(output_line(output))
    });
    spawn(driver);
    smol::block_on(async {
        everything(&handle).await;
        if shut_down {
            handle.shutdown().await.unwrap();
        }
    });
    drop(handle);
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    (lines, std::fs::read(path).unwrap())
}

fn check(runtime: &str, (mut live, file): (Vec<String>, Vec<u8>)) {
    let (lines, ending) = replay(&file);
    live.push(output_line(&Output::Closed));
    let part = live.iter().zip(&lines).position(|(live, again)| live != again);
    assert_eq!(
        (part, live.len()),
        (None, lines.len()),
        "{runtime}: {:?}",
        part.map(|at| (&live[at], &lines[at]))
    );
    assert_eq!(ending, Some(Ending::Closed), "{runtime}");
    let shown = lines.join("\n");
    assert!(
        live.len() > 100 && file.len() < 10 * LEN,
        "{runtime}: {} lines, {} bytes",
        live.len(),
        file.len()
    );
    assert!(!shown.contains("secret") && !file.windows(6).any(|six| six == b"secret"), "{runtime}");
}

#[test]
fn a_recording_of_any_runtime_is_repeated_output_for_output() {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let entered = tokio.enter();
    let on_tokio = |driver| gosh_dl_tokio::Tokio.spawn(drive(gosh_dl_tokio::Tokio, driver)).detach();
    check("tokio", record(on_tokio, true));
    drop(entered);
    let on_smol = |driver| gosh_dl_smol::Smol.spawn(drive(gosh_dl_smol::Smol, driver)).detach();
    check("smol", record(on_smol, true));
    let plain = Threads::new().unwrap();
    check("threads", record(|driver| plain.spawn(drive(plain.clone(), driver)).detach(), true));
}

#[test]
fn a_recording_that_was_cut_off_is_repeated_up_to_there() {
    let plain = Threads::new().unwrap();
    let (_, file) = record(|driver| plain.spawn(drive(plain.clone(), driver)).detach(), false);
    let (whole, ending) = replay(&file);
    assert_eq!(ending, Some(Ending::Stopped));
    let start = (0..file.len()).find(|len| Replay::new(&file[..*len]).is_ok()).unwrap();
    let mut last = 0;
    for len in (start..file.len()).step_by(file.len() / 200 + 1) {
        let (lines, ending) = replay(&file[..len]);
        assert_eq!((&lines[..], ending), (&whole[..lines.len()], None), "cut at {len}");
        assert!(lines.len() >= last);
        last = lines.len();
    }
    assert!(last > 100);
}

/// A torrent and its only file.
fn torrent(seeds: &[&str]) -> (Bytes, Vec<u8>) {
    let content = Content::generated(5, TORRENT_LEN as u64).slice(0..TORRENT_LEN as u64).to_vec();
    let mut torrent = NewTorrent::file("file", TORRENT_LEN as u64);
    torrent.piece_len = Some(64 << 10);
    torrent.web_seeds = seeds.iter().map(|url| (*url).to_owned()).collect();
    let hashes: Vec<[u8; 20]> = content.chunks(64 << 10).map(|piece| Sha1::digest(piece).into()).collect();
    (torrent.finish(&hashes).unwrap().raw().clone(), content)
}

#[test]
fn a_recording_of_a_torrent_holds_no_blocks_and_is_repeated_output_for_output() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recording");
    let (torrent, content) = torrent(&[]);
    let listen = TorrentConfig::new().listen_address(IpAddr::from([127, 0, 0, 1])).listen_port_range((0, 0));
    let settings = |name: &str| config().torrent(listen.clone()).download_dir(dir.path().join(name));
    let plain = Threads::new().unwrap();
    let spawn = |driver| plain.spawn(drive(plain.clone(), driver)).detach();
    let lines = Arc::new(Mutex::new(Vec::new()));
    std::fs::create_dir(dir.path().join("seed")).unwrap();
    std::fs::write(dir.path().join("seed/file"), &content).unwrap();

    let (seed, driver) = Handle::start(settings("seed").seed_ratio(100.0), None).unwrap();
    spawn(driver);
    let leecher = settings("leecher").seed_ratio(0.0).record(path.clone());
    let (leecher, mut driver) = Handle::start(leecher, None).unwrap();
    driver.observe({
        let lines = Arc::clone(&lines);
        move |output| lines.lock().unwrap().push(output_line(output))
    });
    spawn(driver);
    smol::block_on(async {
        let id = seed.add_torrent(&torrent, DownloadOptions::new()).await.unwrap();
        while seed.listen_port().is_none() || seed.status(id).unwrap().state != DownloadState::Seeding {
            smol::Timer::after(Duration::from_millis(10)).await;
        }
        let at = SocketAddr::from(([127, 0, 0, 1], seed.listen_port().unwrap()));
        let id = leecher.add_torrent(&torrent, DownloadOptions::new().peer(at)).await.unwrap();
        leecher.wait(id).await.unwrap();
        leecher.shutdown().await.unwrap();
        seed.shutdown().await.unwrap();
    });
    assert!(std::fs::read(dir.path().join("leecher/file")).unwrap() == content);

    let mut live = std::mem::take(&mut *lines.lock().unwrap());
    live.push(output_line(&Output::Closed));
    let file = std::fs::read(path).unwrap();
    let (lines, ending) = replay(&file);
    let part = live.iter().zip(&lines).position(|(live, again)| live != again);
    assert_eq!((part, live.len()), (None, lines.len()), "{:?}", part.map(|at| (&live[at], &lines[at])));
    assert_eq!(ending, Some(Ending::Closed));
    println!("{} bytes of recording for {TORRENT_LEN} of torrent", file.len());
    assert!(file.len() < TORRENT_LEN / 20, "{} bytes of recording", file.len());
}

#[test]
fn a_recording_of_web_seeds_holds_no_bodies_and_is_repeated_output_for_output() {
    const SEEDS: [&str; 2] = ["http://a.example/file", "http://b.example/file"];
    let mut world = recorded_world(config());
    let (torrent, content) = torrent(&SEEDS);
    for (number, seed) in SEEDS.into_iter().enumerate() {
        let mut resource = Resource::new(Content::Literal(content.clone().into()));
        if number == 1 {
            resource.behaviour.framing = Framing::Chunked { size: 7000, extension: "", trailers: Vec::new() };
        }
        world.serve(seed, resource);
    }
    let id = world.add_torrent(torrent, &SEEDS, DownloadOptions::new().seed_time(Duration::ZERO));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert!(world.file("file").unwrap() == content);
    assert!(world.shutdown(Duration::from_secs(10)));
    let live = lines_of(&mut world);
    let (lines, ending) = replay(&world.recording);
    let part = live.iter().zip(&lines).position(|(live, again)| live != again);
    assert_eq!((part, live.len()), (None, lines.len()), "{:?}", part.map(|at| (&live[at], &lines[at])));
    assert_eq!(ending, Some(Ending::Closed));
    assert!(world.recording.len() < TORRENT_LEN / 5, "{} bytes of recording", world.recording.len());
}

fn recorded_world(config: EngineConfig) -> World {
    let mut world = World::with_config(3, config.record(PathBuf::from("/state/recording")));
    world.outputs = Some(Vec::new());
    world
}

fn lines_of(world: &mut World) -> Vec<String> {
    world.outputs.take().unwrap().iter().map(output_line).collect()
}

fn add(world: &mut World, url: &str, options: DownloadOptions) -> DownloadId {
    let id = world.add(url, options);
    world.expect(id, Content::Literal(body().into()));
    id
}

#[test]
fn a_recording_of_the_simulator_is_repeated_output_for_output() {
    let mut world = recorded_world(config());
    for (path, script) in SCENARIOS.iter().map(|(_, script)| *script).chain([slow_chunks as _]).enumerate() {
        let resource = Resource::scripted(move |request, number| {
            let from = request.range().map(|range| usize::try_from(range.start).unwrap());
            vec![Part::Bytes(script(number, from).into()), Part::End(End::Close)]
        });
        world.serve(&format!("http://h/{path}"), resource);
    }
    for path in 0..6 {
        let id = add(&mut world, &format!("http://u:secret@h/{path}"), DownloadOptions::new());
        world.run_steps(20);
        if path % 2 == 0 {
            let token = world.pause(id);
            let _ = world.wait_reply(token);
            world.jump_wall_clock(-100_000);
            world.resume(id);
        }
        if path == 5 {
            world.run_steps(10);
            world.cancel(id, true);
        } else {
            let state = world.wait_done(id);
            assert!(matches!(state, DownloadState::Completed | DownloadState::Error { .. }), "{state:?}");
        }
    }
    assert!(world.shutdown(Duration::from_secs(10)));
    let live = lines_of(&mut world);
    let (lines, ending) = replay(&world.recording);
    let part = live.iter().zip(&lines).position(|(live, again)| live != again);
    assert_eq!((part, live.len()), (None, lines.len()), "{:?}", part.map(|at| (&live[at], &lines[at])));
    assert_eq!(ending, Some(Ending::Closed));
    assert!(!world.recording.windows(6).any(|six| six == b"secret"));
}

#[test]
fn each_life_of_a_killed_engine_has_a_recording_of_its_own() {
    let mut world = recorded_world(config());
    world.serve("http://h/f", Resource::new(Content::Literal(body().into())));
    let id = add(&mut world, "http://h/f", DownloadOptions::new().max_download_speed(20_000));
    world.run_for(Duration::from_secs(2));
    world.crash(CrashMode::Kill);
    let (lines, ending) = replay(&world.recording);
    assert_eq!((lines, ending), (lines_of(&mut world), None));
    world.outputs = Some(Vec::new());
    world.restart();
    world.wait_done(id);
    let (lines, _) = replay(&world.recording);
    assert_eq!(lines, lines_of(&mut world));
}

/// Enough that a recording with its blocks would be far larger than one without.
const TORRENT_LEN: usize = 4_000_000;
