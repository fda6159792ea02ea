//! The engine on the runtime that was asked for.

use gosh_dl_core::base::store::Store;
use gosh_dl_core::engine::{EngineConfig, EngineError};
use gosh_dl_runtime::{EventStream, Handle};
use std::ops::Deref;
use std::sync::Arc;

/// What drives the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Runtime {
    /// A task on this program's own thread.
    #[default]
    Tokio,
    /// A thread of smol's.
    Smol,
}

/// A running engine. Clones share it.
#[derive(Clone)]
pub(crate) enum Engine {
    Tokio(Arc<gosh_dl_tokio::DownloadEngine>),
    Smol(Arc<gosh_dl_smol::DownloadEngine>),
}

impl Engine {
    /// Starts an engine on what `store` holds; the stream has everything that happens.
    pub(crate) async fn start(
        runtime: Runtime,
        config: EngineConfig,
        store: Box<dyn Store>,
    ) -> Result<(Self, EventStream), EngineError> {
        match runtime {
            Runtime::Tokio => {
                let (engine, events) = gosh_dl_tokio::DownloadEngine::with_events(config, store).await?;
                Ok((Self::Tokio(engine), events))
            }
            Runtime::Smol => {
                let (engine, events) = gosh_dl_smol::DownloadEngine::with_events(config, store).await?;
                Ok((Self::Smol(engine), events))
            }
        }
    }
}

impl Deref for Engine {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        match self {
            Self::Tokio(engine) => engine,
            Self::Smol(engine) => engine,
        }
    }
}
