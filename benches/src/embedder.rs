//! The least program around an engine, once for each runtime: what an application pays for it.

use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{EngineConfig, EngineError};
use gosh_dl_runtime::Handle;
use std::path::Path;

#[path = "../../runtime/examples/plain_threads/threads.rs"]
mod threads;

/// What drives the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// A tokio runtime of the caller's thread.
    TokioCurrent,
    /// A tokio runtime with two threads.
    TokioMulti,
    /// smol's executor, with its one thread.
    Smol,
    /// The example without an async library.
    Threads,
}

impl Runtime {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::TokioCurrent, Self::TokioMulti, Self::Smol, Self::Threads];

    /// Its name in the tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TokioCurrent => "tokio, one thread",
            Self::TokioMulti => "tokio, two threads",
            Self::Smol => "smol",
            Self::Threads => "plain threads",
        }
    }
}

/// Fetches a file to `out` in `dir`, and keeps no state.
///
/// # Errors
///
/// Those of the engine.
pub(crate) fn run(name: &str, url: &str, connections: usize, dir: &Path) -> Result<(), EngineError> {
    let runtime = Runtime::ALL.into_iter().find(|runtime| runtime.name() == name);
    let runtime = runtime.expect("it is one of the names");
    let config = EngineConfig::new().download_dir(dir);
    let fetch = async |engine: &Handle| {
        let options = DownloadOptions::new().filename("out").max_connections(connections);
        let id = engine.add_http(url, options).await?;
        engine.wait(id).await?;
        engine.shutdown().await
    };
    match runtime {
        Runtime::TokioCurrent => on_tokio(tokio::runtime::Builder::new_current_thread())
            .block_on(async { fetch(&*gosh_dl_tokio::DownloadEngine::new(config).await?).await }),
        Runtime::TokioMulti => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(2);
            on_tokio(builder)
                .block_on(async { fetch(&*gosh_dl_tokio::DownloadEngine::new(config).await?).await })
        }
        Runtime::Smol => {
            smol::block_on(async { fetch(&*gosh_dl_smol::DownloadEngine::new(config).await?).await })
        }
        Runtime::Threads => {
            let engine = threads::DownloadEngine::start(config, None)?;
            smol::block_on(fetch(&engine))
        }
    }
}

fn on_tokio(mut builder: tokio::runtime::Builder) -> tokio::runtime::Runtime {
    builder.enable_all().build().expect("a runtime")
}
