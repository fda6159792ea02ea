//! The suite over every runtime, and every runtime with every store.
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

#[path = "../../../../runtime/examples/plain_threads/threads.rs"]
mod threads;

#[path = "../backends/mod.rs"]
mod backends;
mod recorded;
mod same_decisions;
mod simulated;
mod simulated_wires;

use gosh_dl_conformance::runtime::Rig;
use gosh_dl_conformance::{engine_suite, links_suite, wires_suite, world_suite};
use gosh_dl_core::base::store::Store;
use gosh_dl_core::engine::{EngineConfig, EngineError};
use gosh_dl_smol::Smol;
use gosh_dl_tokio::Tokio;
use std::sync::Arc;
use threads::Threads;

/// Every runtime has all of its links tested, and whole engines over every store.
macro_rules! runtimes {
    ($($name:ident: $rig:expr),+ $(,)?) => {$(
        mod $name {
            use super::*;

            links_suite!(links, $rig);
            engine_suite!(redb, $rig, crate::backends::Redb);
            engine_suite!(sqlite, $rig, crate::backends::Sqlite);
            engine_suite!(memory, $rig, crate::backends::Memory::default());
        }
    )+};
}

runtimes! {
    tokio_multi_thread: crate::TokioRig::multi_thread(),
    tokio_current_thread: crate::TokioRig::current_thread(),
    smol_executor: crate::SmolRig,
    plain_threads: crate::ThreadsRig,
}

/// The simulator: what needs no real sockets, in virtual time.
mod virtual_time {
    use super::*;

    wires_suite!(links, crate::simulated_wires::Simulated::new());
    world_suite!(redb, crate::simulated::Simulated::new(crate::backends::Redb));
    world_suite!(sqlite, crate::simulated::Simulated::new(crate::backends::Sqlite));
    world_suite!(memory, crate::simulated::Simulated::new(crate::backends::Memory::default()));
}

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
    type Runtime = Tokio;
    type Engine = gosh_dl_tokio::DownloadEngine;

    fn runtime(&self) -> Tokio {
        Tokio
    }

    fn start(&self, config: EngineConfig, store: Box<dyn Store>) -> Result<Arc<Self::Engine>, EngineError> {
        self.handle.block_on(gosh_dl_tokio::DownloadEngine::with_store(config, store))
    }

    fn enter<T>(&self, act: impl FnOnce() -> T) -> T {
        let _entered = self.handle.enter();
        act()
    }
}

struct SmolRig;

impl Rig for SmolRig {
    type Runtime = Smol;
    type Engine = gosh_dl_smol::DownloadEngine;

    fn runtime(&self) -> Smol {
        Smol
    }

    fn start(&self, config: EngineConfig, store: Box<dyn Store>) -> Result<Arc<Self::Engine>, EngineError> {
        smol::block_on(gosh_dl_smol::DownloadEngine::with_store(config, store))
    }
}

struct ThreadsRig;

impl Rig for ThreadsRig {
    type Runtime = Threads;
    type Engine = threads::DownloadEngine;

    fn runtime(&self) -> Threads {
        Threads::new().unwrap()
    }

    fn start(&self, config: EngineConfig, store: Box<dyn Store>) -> Result<Arc<Self::Engine>, EngineError> {
        threads::DownloadEngine::start(config, Some(store)).map(Arc::new)
    }
}
