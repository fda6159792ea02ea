//! Whole engines, each with a store.

use super::{Rig, until, wait};
use crate::server::{Manner, Server, content};
use crate::store::Backend;
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{DownloadEvent, DownloadState, EngineConfig};
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// Where an engine and its store live.
pub(super) struct Home<'b, B> {
    dir: tempfile::TempDir,
    backend: &'b B,
}

impl<'b, B: Backend> Home<'b, B> {
    pub(super) fn new(backend: &'b B) -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory"), backend }
    }

    pub(super) fn start<R: Rig>(&self, rig: &R) -> Arc<R::Engine> {
        let store = self.backend.open(&self.dir.path().join("state"));
        let store = store.unwrap_or_else(|error| panic!("the store: {error}"));
        let config = EngineConfig::new().download_dir(self.dir.path());
        rig.start(config, store).unwrap_or_else(|error| panic!("the engine: {error}"))
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// A download over several connections, from start to end.
pub fn a_file_arrives(rig: &impl Rig, backend: &impl Backend) {
    let body = content(9_000_001);
    let server = Server::start(body.clone(), Manner::Answers);
    let home = Home::new(backend);
    let engine = home.start(rig);
    let id = wait(engine.add_http(&server.url("file.bin"), DownloadOptions::new())).expect("it is added");
    wait(engine.wait(id)).expect("it completes");
    assert!(home.read("file.bin") == body);
    wait(engine.shutdown()).expect("it ends");
    assert_eq!(engine.list().len(), 1);
    drop(engine);
    until("no connection is left", || server.open.load(Ordering::SeqCst) == 0);
}

/// Dropping an engine in the middle frees its store and files; the next one finishes the download.
pub fn it_goes_on_after_a_drop(rig: &impl Rig, backend: &impl Backend) {
    let body = content(3_000_000);
    let server = Server::start(body.clone(), Manner::Dawdles);
    let home = Home::new(backend);
    let engine = home.start(rig);
    let options = DownloadOptions::new().max_connections(4);
    let id = wait(engine.add_http(&server.url("file.bin"), options)).expect("it is added");
    until("data", || engine.status(id).is_some_and(|status| status.progress.completed_size > 200_000));
    drop(engine);
    assert_eq!(open_files(home.dir.path()), 0, "files are closed");
    until("connections are closed", || server.open.load(Ordering::SeqCst) == 0);
    let engine = home.start(rig);
    wait(engine.wait(id)).expect("it goes on");
    assert!(home.read("file.bin") == body);
    wait(engine.shutdown()).expect("it ends");
}

#[cfg(target_os = "linux")]
fn open_files(dir: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").expect("the list of descriptors").flatten();
    open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(dir))).count()
}

#[cfg(not(target_os = "linux"))]
fn open_files(_dir: &Path) -> usize {
    0
}

/// A server that does not answer keeps nobody.
pub fn shutdown_is_bounded(rig: &impl Rig, backend: &impl Backend) {
    let server = Server::start(Vec::new(), Manner::Hangs);
    let home = Home::new(backend);
    let engine = home.start(rig);
    wait(engine.add_http(&server.url("file.bin"), DownloadOptions::new())).expect("it is added");
    until("a request", || server.requests.load(Ordering::SeqCst) > 0);
    let began = Instant::now();
    wait(engine.shutdown()).expect("it ends");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(engine);
    until("connections are closed", || server.open.load(Ordering::SeqCst) == 0);
}

/// A future may be dropped before it is polled, or after any of its polls: what it asked for happens all the same once
/// it was polled, and nothing is stuck.
pub fn dropped_futures_leave_commands_in_force(rig: &impl Rig, backend: &impl Backend) {
    let server = Server::start(content(1000), Manner::Answers);
    let home = Home::new(backend);
    let engine = home.start(rig);
    let mut context = Context::from_waker(Waker::noop());
    for polls in 0..6 {
        let url = server.url(&format!("{polls}"));
        let mut future = pin!(engine.add_http(&url, DownloadOptions::new().start_paused(true)));
        for _ in 0..polls {
            if future.as_mut().poll(&mut context).is_ready() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let expected = 5;
    until("all that was asked is there", || engine.list().len() == expected);
    let ids: Vec<_> = engine.list().iter().map(|status| status.id).collect();
    for (polls, id) in ids.iter().enumerate() {
        let mut future = pin!(engine.resume(*id));
        for _ in 0..=polls {
            if future.as_mut().poll(&mut context).is_ready() {
                break;
            }
        }
    }
    let is_complete = |state: &DownloadState| *state == DownloadState::Completed;
    until("all are complete", || engine.list().iter().all(|status| is_complete(&status.state)));
    wait(engine.shutdown()).expect("it ends");
}

/// The same for every other call: dropped after any of its polls it takes nothing with it.
pub fn abandoned_calls_leave_the_engine_whole(rig: &impl Rig, backend: &impl Backend) {
    let body = content(100_000);
    let server = Server::start(body.clone(), Manner::Answers);
    let home = Home::new(backend);
    let engine = home.start(rig);
    let id = wait(engine.add_http(&server.url("kept"), DownloadOptions::new())).expect("it is added");
    wait(engine.wait(id)).expect("it completes");
    for polls in 0..4 {
        let url = server.url(&format!("gone-{polls}"));
        let paused = DownloadOptions::new().start_paused(true);
        let gone = wait(engine.add_http(&url, paused)).expect("it is added");
        let mut events = engine.subscribe();
        abandon(events.recv(), polls);
        abandon(engine.resume(gone), polls);
        abandon(engine.pause(gone), polls);
        abandon(engine.wait(gone), polls);
        abandon(engine.verify(id), polls);
        abandon(engine.repair(id), polls);
        abandon(engine.pause_all(), polls);
        abandon(engine.resume_all(), polls);
        abandon(engine.cancel(gone, true), polls);
        // Where the call before was never polled, nobody was told.
        let cancelled = wait(engine.cancel(gone, true));
        assert!(polls > 0 || cancelled.is_ok(), "{cancelled:?}");
        until("it is gone", || engine.status(gone).is_none());
        let removed = std::iter::from_fn(|| wait(events.recv())).find(|event| event.id() == gone);
        assert!(removed.is_some(), "no event was lost");
    }
    // A check that was asked for may still be under way.
    until("it can be checked", || wait(engine.verify(id)).is_ok_and(|report| report.valid));
    assert!(home.read("kept") == body);
    abandon(engine.shutdown(), 1);
    wait(engine.shutdown()).expect("it ends");
}

/// Polls a future so often, and drops it.
fn abandon(future: impl Future, polls: usize) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if future.as_mut().poll(&mut context).is_ready() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whoever does not read its events holds nothing up, and finds every end when it does.
pub fn a_slow_subscriber_slows_nobody(rig: &impl Rig, backend: &impl Backend) {
    let server = Server::start(content(20_000), Manner::Answers);
    let home = Home::new(backend);
    let engine = home.start(rig);
    let mut slow = engine.subscribe();
    let ids: Vec<_> = (0..30)
        .map(|number| {
            let url = server.url(&format!("{number}"));
            wait(engine.add_http(&url, DownloadOptions::new())).expect("it is added")
        })
        .collect();
    for id in &ids {
        wait(engine.wait(*id)).expect("it completes");
    }
    wait(engine.shutdown()).expect("it ends");
    drop(engine);
    let mut completed = 0;
    while let Some(event) = wait(slow.recv()) {
        completed += usize::from(matches!(event, DownloadEvent::Completed { .. }));
    }
    assert_eq!(completed, ids.len());
}
