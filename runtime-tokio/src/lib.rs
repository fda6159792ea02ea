//! The gosh-dl download engine on tokio.
//!
//! ```no_run
//! use gosh_dl_tokio::{DownloadEngine, DownloadOptions, EngineConfig};
//!
//! # async fn run() -> Result<(), gosh_dl_tokio::EngineError> {
//! let engine = DownloadEngine::new(EngineConfig::new().download_dir("/tmp")).await?;
//! let id = engine.add_http("https://example.com/file.iso", DownloadOptions::new()).await?;
//! engine.wait(id).await?;
//! engine.shutdown().await?;
//! # Ok(())
//! # }
//! ```

mod reader;
mod tokio_runtime;

pub use gosh_dl_redb::RedbStore;
pub use gosh_dl_runtime::face::*;
pub use reader::DownloadReader;
pub use tokio_runtime::Tokio;

use gosh_dl_runtime::{Runtime as _, drive};
use std::ops::Deref;
use std::sync::Arc;

/// The engine, driven by a task on the tokio runtime that it was made on. Its calls are those of [`Handle`].
#[derive(Debug)]
pub struct DownloadEngine {
    handle: Handle,
}

impl DownloadEngine {
    /// Starts an engine. State is kept in the redb database at `config.database_path`, or in memory where that is
    /// `None`.
    ///
    /// # Errors
    ///
    /// [`EngineError::InvalidInput`] for a setting out of range; [`EngineError::Database`] where the database cannot be
    /// opened: in use by another process, written by a newer version, or damaged.
    pub async fn new(config: EngineConfig) -> Result<Arc<Self>> {
        let store = match &config.database_path {
            Some(path) => {
                let at_path = |error| EngineError::Database { path: Some(path.clone()), error };
                Some(Box::new(RedbStore::open(path).map_err(at_path)?) as Box<dyn Store>)
            }
            None => None,
        };
        Ok(Self::launch(config, store)?.0)
    }

    /// Starts an engine whose state is kept in `store`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub async fn with_store(config: EngineConfig, store: Box<dyn Store>) -> Result<Arc<Self>> {
        Ok(Self::launch(config, Some(store))?.0)
    }

    /// Reads a file of a download, by its number (0 of one over HTTP), while it is fetched or afterwards: what is read comes
    /// first, with a window ahead of it that follows how fast it is read. Dropping the reader ends that. What is not there
    /// of a download that is paused or queued is waited for until it goes on.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidState`] for a torrent whose metainfo has not come yet;
    /// [`EngineError::InvalidInput`] for a file that it does not have.
    pub fn open_reader(&self, id: DownloadId, file: usize) -> Result<DownloadReader> {
        self.handle.open_reader(id, file).map(DownloadReader)
    }

    /// As [`with_store`](Self::with_store), with a stream of everything that happens from the very first: a download that
    /// is in the store goes on at once, perhaps before a call of `subscribe`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub async fn with_events(
        config: EngineConfig,
        store: Box<dyn Store>,
    ) -> Result<(Arc<Self>, EventStream)> {
        Self::launch(config, Some(store))
    }

    fn launch(config: EngineConfig, store: Option<Box<dyn Store>>) -> Result<(Arc<Self>, EventStream)> {
        let (handle, driver) = Handle::start(config, store)?;
        let events = handle.subscribe();
        Tokio.spawn(drive(Tokio, driver));
        Ok((Arc::new(Self { handle }), events))
    }
}

impl Deref for DownloadEngine {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}
