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

mod link;

pub use gosh_dl_core::base::disk::{AllocationMode, Digest, HashAlgorithm};
pub use gosh_dl_core::base::store::{MemoryStore, Record, Store, StoreError, StoreOp, Table};
pub use gosh_dl_core::download::{
    ConflictPolicy, DownloadId, DownloadOptions, DownloadPriority, ExpectedChecksum, OnChange,
    ParseChecksumError,
};
pub use gosh_dl_core::engine::{
    BatchResult, DownloadEvent, DownloadKind, DownloadMetadata, DownloadProgress, DownloadState,
    DownloadStatus, EngineConfig, EngineError, GlobalStats, HttpConfig, NetworkErrorKind, ProtocolErrorKind,
    StorageErrorKind, VerifyReport,
};
pub use gosh_dl_redb::RedbStore;
pub use gosh_dl_runtime::{EventStream, Handle};

use gosh_dl_core::base::LinkOutput;
use gosh_dl_core::engine::{LinkKey, TlsRequest};
use gosh_dl_runtime::{Driver, LinkContext, Transport, Turn};
use link::LinkHandle;
use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The result of an engine call.
pub type Result<T> = core::result::Result<T, EngineError>;

/// Types that can be serialised, for applications that pass them on (feature `serde` of `gosh-dl-core`).
pub mod protocol {
    pub use gosh_dl_core::download::{DownloadId, DownloadPriority, ExpectedChecksum};
    pub use gosh_dl_core::engine::{
        DownloadKind, DownloadMetadata, DownloadProgress, DownloadState, DownloadStatus, GlobalStats,
        VerifyReport,
    };
}

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
            Some(path) => Some(Box::new(RedbStore::open(path)?) as Box<dyn Store>),
            None => None,
        };
        Self::launch(config, store)
    }

    /// Starts an engine whose state is kept in `store`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub async fn with_store(config: EngineConfig, store: Box<dyn Store>) -> Result<Arc<Self>> {
        Self::launch(config, Some(store))
    }

    fn launch(config: EngineConfig, store: Option<Box<dyn Store>>) -> Result<Arc<Self>> {
        let (handle, driver) = Handle::start(config, store)?;
        let links = Links { links: HashMap::new(), context: driver.links(), sweep_at: FEW };
        tokio::spawn(drive(driver, links));
        Ok(Arc::new(Self { handle }))
    }
}

impl Deref for DownloadEngine {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

/// The turn loop.
async fn drive(mut driver: Driver, mut links: Links) {
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let mut armed = None;
    while let Turn::Wait(deadline) = driver.turn(&mut links) {
        if let Some(at) = deadline.filter(|_| deadline != armed) {
            sleep.as_mut().reset(at.into());
        }
        armed = deadline;
        let mut polls = 0_u32;
        poll_fn(|cx| {
            polls += 1;
            match driver.poll_ready(cx) {
                Poll::Pending if armed.is_some() => sleep.as_mut().poll(cx),
                ready => ready,
            }
        })
        .await;
        if polls == 1 {
            // There was work at once: while the disk has completions, links must have their turn all the same.
            tokio::task::yield_now().await;
        }
    }
}

/// The sockets.
struct Links {
    links: HashMap<LinkKey, LinkHandle>,
    context: Arc<LinkContext>,
    /// At how many links those that have ended are looked for.
    sweep_at: usize,
}

impl Transport for Links {
    fn connect(&mut self, link: LinkKey, to: SocketAddr, tls: Option<TlsRequest>) {
        if self.links.len() >= self.sweep_at {
            self.links.retain(|_, handle| !handle.is_over());
            self.sweep_at = self.links.len() * 2 + FEW;
        }
        self.links.insert(link, LinkHandle::connect(link, to, tls, Arc::clone(&self.context)));
    }

    fn link(&mut self, link: LinkKey, output: LinkOutput) {
        let close = output == LinkOutput::Close;
        if let Some(handle) = self.links.get(&link) {
            handle.order(output);
        }
        if close {
            self.links.remove(&link);
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.links.values().for_each(LinkHandle::abort);
    }
}

/// So many links that have ended may lie about.
const FEW: usize = 16;
