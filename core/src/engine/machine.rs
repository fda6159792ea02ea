//! Machine: the engine, a router over its downloads and policies.

use super::config::EngineConfig;
use super::error::{EngineError, Result};
use super::io::{Input, Output, Token};
use super::status::{DownloadStatus, GlobalStats};
use crate::base::Instant;
use crate::base::store::Record;
use crate::download::{DownloadId, DownloadOptions, DownloadPriority};

/// What an engine starts from.
#[derive(Debug)]
pub struct EngineStart {
    /// The settings.
    pub config: EngineConfig,
    /// The seed of all randomness; from the operating system, or a constant in tests.
    pub seed: [u8; 32],
    /// The wall clock: milliseconds since the Unix epoch.
    pub unix_millis: u64,
    /// Names this boot of this machine, where the platform can tell. With it, notes of a killed process are trusted.
    pub boot_id: Option<[u8; 16]>,
    /// Every record of the store.
    pub records: Vec<Record>,
    /// The store's note, if it has one.
    pub note: Option<Vec<u8>>,
}

/// Many downloads, driven by bytes and timestamps.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
}

impl Engine {
    /// Starts an engine on what its store holds: every download is back, and what was queued or running goes on.
    pub fn new(_now: Instant, start: EngineStart) -> Result<Self> {
        start.config.validate()?;
        Ok(Self { config: start.config })
    }
    /// Feeds what happened in the world.
    pub fn handle_input(&mut self, _now: Instant, _input: Input) {}
    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: Instant) {}
    /// The next thing for the driver to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }
    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    /// Adds a download. [`Output::Reply`] follows once it is in the store.
    pub fn add_http(
        &mut self,
        _now: Instant,
        _url: &str,
        _options: DownloadOptions,
        _reply: Token,
    ) -> Result<DownloadId> {
        Err(EngineError::Shutdown)
    }
    /// Pauses; the reply follows once all that arrived is durable.
    pub fn pause(&mut self, _now: Instant, _id: DownloadId, _reply: Token) {}
    /// Queues a paused or failed download again.
    pub fn resume(&mut self, _now: Instant, _id: DownloadId, _reply: Token) {}
    /// Removes a download, and with `delete_files` also what it created on disk.
    pub fn cancel(&mut self, _now: Instant, _id: DownloadId, _delete_files: bool, _reply: Token) {}
    /// Checks a complete file; replies with [`Answer::Verified`](super::io::Answer::Verified).
    pub fn verify(&mut self, _now: Instant, _id: DownloadId, _reply: Token) {}
    /// Like [`verify`](Self::verify), and fetches again what is wrong; replies with the report from before.
    pub fn repair(&mut self, _now: Instant, _id: DownloadId, _reply: Token) {}
    /// Changes a download's place in the queue.
    pub fn set_priority(
        &mut self,
        _now: Instant,
        _id: DownloadId,
        _priority: DownloadPriority,
    ) -> Result<()> {
        Ok(())
    }
    /// Changes the settings; limits and counts apply at once, the rest to what starts later.
    pub fn set_config(&mut self, _now: Instant, config: EngineConfig) -> Result<()> {
        config.validate()?;
        self.config = config;
        Ok(())
    }
    /// The settings.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }
    /// One download.
    pub fn status(&mut self, _now: Instant, _id: DownloadId) -> Option<DownloadStatus> {
        None
    }
    /// All downloads, oldest first.
    pub fn list(&mut self, _now: Instant) -> Vec<DownloadStatus> {
        Vec::new()
    }
    /// Sums over all downloads.
    pub fn global_stats(&mut self, _now: Instant) -> GlobalStats {
        GlobalStats::default()
    }
    /// Stops everything: saves what arrived, then says [`Output::Closed`].
    pub fn shutdown(&mut self, _now: Instant) {}
}
