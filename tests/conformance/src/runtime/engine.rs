//! Whole engines, each with a store.

use super::{Rig, until, wait};
use crate::server::{Manner, Server, content};
use crate::store::Backend;
use gosh_dl_core::base::store::Store;
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{DownloadEvent, EngineConfig};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
        rig.start(self.config(), self.open()).unwrap_or_else(|error| panic!("the engine: {error}"))
    }

    pub(super) fn config(&self) -> EngineConfig {
        EngineConfig::new().download_dir(self.dir.path().join(FILES))
    }

    pub(super) fn open(&self) -> Box<dyn Store> {
        let store = self.backend.open(&self.dir.path().join("state"));
        store.unwrap_or_else(|error| panic!("the store: {error}"))
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(FILES).join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// What there is where files go.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join(FILES)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    /// How many files of it, and of its store, this process has open.
    pub(super) fn open_files(&self) -> usize {
        open_files(self.dir.path())
    }
}

const FILES: &str = "files";

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
    assert_eq!(home.open_files(), 0, "files are closed");
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
