//! The suite over every runtime, and every runtime with every store.
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

#[path = "../../../../runtime/examples/plain_threads/threads.rs"]
mod threads;

mod recorded;
mod same_decisions;
mod simulated;
mod simulated_wires;

use gosh_dl_conformance::runtime::{Rig, cut_short};
use gosh_dl_conformance::store::Backend;
use gosh_dl_conformance::{engine_suite, links_suite, wires_suite, world_suite};
use gosh_dl_core::base::store::{MemoryStore, Store, StoreError};
use gosh_dl_core::engine::{EngineConfig, EngineError};
use gosh_dl_runtime::{Handle, LinkContext, Links, Runtime, Task as _, drive};
use gosh_dl_smol::Smol;
use gosh_dl_tokio::Tokio;
use std::path::Path;
use std::sync::Arc;
use threads::Threads;

struct TokioRig {
    handle: tokio::runtime::Handle,
    /// Dropping it ends the runtime's thread.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl TokioRig {
    fn new(mut builder: tokio::runtime::Builder) -> Self {
        let runtime = builder.enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = runtime.block_on(stopped);
        });
        Self { handle, _stop: stop }
    }

    fn current_thread() -> Self {
        Self::new(tokio::runtime::Builder::new_current_thread())
    }

    fn multi_thread() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2);
        Self::new(builder)
    }
}

impl Rig for TokioRig {
    type Engine = gosh_dl_tokio::DownloadEngine;
    type Links = Links<Tokio>;

    fn start(&self, config: EngineConfig, store: Box<dyn Store>) -> Result<Arc<Self::Engine>, EngineError> {
        let _entered = self.handle.enter();
        at_once(gosh_dl_tokio::DownloadEngine::with_store(config, store))
    }

    fn start_for(
        &self,
        polls: usize,
        config: EngineConfig,
        store: Box<dyn Store>,
    ) -> Option<Result<Handle, EngineError>> {
        let _entered = self.handle.enter();
        Some(start_for(&Tokio, polls, config, store))
    }

    fn links(&self, context: Arc<LinkContext>) -> Links<Tokio> {
        Links::new(Tokio, context)
    }

    fn enter<T>(&self, act: impl FnOnce() -> T) -> T {
        let _entered = self.handle.enter();
        act()
    }
}

struct SmolRig;

impl Rig for SmolRig {
    type Engine = gosh_dl_smol::DownloadEngine;
    type Links = Links<Smol>;

    fn start(&self, config: EngineConfig, store: Box<dyn Store>) -> Result<Arc<Self::Engine>, EngineError> {
        at_once(gosh_dl_smol::DownloadEngine::with_store(config, store))
    }

    fn start_for(
        &self,
        polls: usize,
        config: EngineConfig,
        store: Box<dyn Store>,
    ) -> Option<Result<Handle, EngineError>> {
        Some(start_for(&Smol, polls, config, store))
    }

    fn links(&self, context: Arc<LinkContext>) -> Links<Smol> {
        Links::new(Smol, context)
    }
}

struct ThreadsRig;

impl Rig for ThreadsRig {
    type Engine = threads::DownloadEngine;
    type Links = Links<Threads>;

    fn start(&self, config: EngineConfig, store: Box<dyn Store>) -> Result<Arc<Self::Engine>, EngineError> {
        threads::DownloadEngine::start(config, Some(store)).map(Arc::new)
    }

    fn start_for(
        &self,
        polls: usize,
        config: EngineConfig,
        store: Box<dyn Store>,
    ) -> Option<Result<Handle, EngineError>> {
        Some(start_for(&Threads::new().unwrap(), polls, config, store))
    }

    fn links(&self, context: Arc<LinkContext>) -> Links<Threads> {
        Links::new(Threads::new().unwrap(), context)
    }
}

fn start_for<R: Runtime>(
    runtime: &R,
    polls: usize,
    config: EngineConfig,
    store: Box<dyn Store>,
) -> Result<Handle, EngineError> {
    let (handle, driver) = Handle::start(config, Some(store))?;
    runtime.spawn(cut_short(drive(runtime.clone(), driver), polls)).detach();
    Ok(handle)
}

/// Starting an engine waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("starting waits"),
    }
}

struct Redb;

impl Backend for Redb {
    fn open(&self, path: &Path) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(gosh_dl_redb::RedbStore::open(path)?))
    }
}

struct Sqlite;

impl Backend for Sqlite {
    fn open(&self, path: &Path) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(gosh_dl_sqlite::SqliteStore::open(path)?))
    }
}

struct Memory(MemoryStore);

impl Backend for Memory {
    fn open(&self, _path: &Path) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(self.0.clone()))
    }
}

links_suite!(tokio_multi_links, super::TokioRig::multi_thread());
links_suite!(tokio_current_links, super::TokioRig::current_thread());
links_suite!(smol_links, super::SmolRig);
links_suite!(threads_links, super::ThreadsRig);
wires_suite!(simulated_links, super::simulated_wires::Simulated::new());

engine_suite!(tokio_multi_redb, super::TokioRig::multi_thread(), super::Redb);
engine_suite!(tokio_multi_sqlite, super::TokioRig::multi_thread(), super::Sqlite);
engine_suite!(tokio_multi_memory, super::TokioRig::multi_thread(), super::Memory(Default::default()));
engine_suite!(tokio_current_redb, super::TokioRig::current_thread(), super::Redb);
engine_suite!(tokio_current_sqlite, super::TokioRig::current_thread(), super::Sqlite);
engine_suite!(tokio_current_memory, super::TokioRig::current_thread(), super::Memory(Default::default()));
engine_suite!(smol_redb, super::SmolRig, super::Redb);
engine_suite!(smol_sqlite, super::SmolRig, super::Sqlite);
engine_suite!(smol_memory, super::SmolRig, super::Memory(Default::default()));
engine_suite!(threads_redb, super::ThreadsRig, super::Redb);
engine_suite!(threads_sqlite, super::ThreadsRig, super::Sqlite);
engine_suite!(threads_memory, super::ThreadsRig, super::Memory(Default::default()));

world_suite!(simulated_redb, super::simulated::Simulated::new(super::Redb));
world_suite!(simulated_sqlite, super::simulated::Simulated::new(super::Sqlite));
world_suite!(simulated_memory, super::simulated::Simulated::new(super::Memory(Default::default())));
