//! Where a real engine and its store live.

use super::Rig;
use crate::store::Backend;
use gosh_dl_core::base::store::Store;
use gosh_dl_core::engine::{EngineConfig, TorrentConfig};
use std::path::Path;
use std::sync::Arc;

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
        // Nobody from outside is to come.
        let torrent = TorrentConfig::new().enable_listen(false);
        EngineConfig::new().download_dir(self.dir.path().join(FILES)).torrent(torrent)
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

#[cfg(target_os = "linux")]
fn open_files(dir: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").expect("the list of descriptors").flatten();
    open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(dir))).count()
}

#[cfg(not(target_os = "linux"))]
fn open_files(_dir: &Path) -> usize {
    0
}

const FILES: &str = "files";
