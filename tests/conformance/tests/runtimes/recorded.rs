//! What was recorded of a run on any runtime, or in the simulator, makes an engine do the same again.

use crate::same_decisions::{LEN, SCENARIOS, body, config, partial, serve};
use crate::threads::Threads;
use gosh_dl_core::download::{DownloadId, DownloadOptions, DownloadPriority, ExpectedChecksum};
use gosh_dl_core::engine::recording::{Ending, Replay, output_line};
use gosh_dl_core::engine::{DownloadState, EngineConfig, Output};
use gosh_dl_runtime::{Driver, Handle, Runtime as _, Task as _, drive};

use gosh_dl_sim::{Content, CrashMode, End, Part, Resource, World};
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
