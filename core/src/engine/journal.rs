//! Policy: what goes into the next store batch, and who waits for it. At most one batch is under way.

use super::io::{BatchKey, Token};
use super::{DownloadEvent, EngineError};
use crate::base::Instant;
use crate::download::DownloadId;
use core::time::Duration;
use std::collections::BTreeSet;

/// What happens once a batch is durable.
#[derive(Debug)]
pub(super) enum Then<K> {
    /// A download is told that the store knows what it said.
    Recorded(K),
    /// A command is answered.
    Reply(Token),
    /// An event becomes true.
    Event(DownloadEvent),
}

/// Which records changed since the last batch.
#[derive(Debug)]
pub(super) struct Journal<K> {
    next: u64,
    in_flight: Option<(BatchKey, BTreeSet<K>, BTreeSet<K>)>,
    told: Vec<Then<K>>,
    downloads: BTreeSet<K>,
    progress: BTreeSet<K>,
    deleted: Vec<DownloadId>,
    waiting: Vec<Then<K>>,
    retry_at: Option<Instant>,
}

/// What a batch must hold.
#[derive(Debug)]
pub(super) struct Batch<K> {
    pub(super) key: BatchKey,
    /// Whose `Download` records are written.
    pub(super) downloads: BTreeSet<K>,
    /// Whose `Progress` records are written.
    pub(super) progress: BTreeSet<K>,
    /// Whose records are removed.
    pub(super) deleted: Vec<DownloadId>,
}

impl<K: Copy + Ord> Journal<K> {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            in_flight: None,
            told: Vec::new(),
            downloads: BTreeSet::new(),
            progress: BTreeSet::new(),
            deleted: Vec::new(),
            waiting: Vec::new(),
            retry_at: None,
        }
    }

    /// The download's own record changed.
    pub(super) fn download(&mut self, key: K) {
        self.downloads.insert(key);
    }

    /// The download's progress changed.
    pub(super) fn progress(&mut self, key: K) {
        self.progress.insert(key);
    }

    /// The download is gone.
    pub(super) fn delete(&mut self, key: K, id: DownloadId) {
        self.downloads.remove(&key);
        self.progress.remove(&key);
        self.deleted.push(id);
    }

    /// Something waits for all that changed so far.
    pub(super) fn then(&mut self, then: Then<K>) {
        self.waiting.push(then);
    }

    /// The next batch, unless one is under way or nothing changed.
    pub(super) fn take(&mut self, now: Instant) -> Option<Batch<K>> {
        let changed = !self.downloads.is_empty() || !self.progress.is_empty() || !self.deleted.is_empty();
        let paused = self.retry_at.is_some_and(|at| at > now) && self.waiting.is_empty();
        if self.in_flight.is_some() || paused || (!changed && self.waiting.is_empty()) {
            return None;
        }
        self.retry_at = None;
        let key = BatchKey(self.next);
        self.next += 1;
        let downloads = core::mem::take(&mut self.downloads);
        let progress = core::mem::take(&mut self.progress);
        self.told = core::mem::take(&mut self.waiting);
        self.in_flight = Some((key, downloads.clone(), progress.clone()));
        Some(Batch { key, downloads, progress, deleted: core::mem::take(&mut self.deleted) })
    }

    /// The batch is durable, or failed: returns who waited for it. What failed is written again with the next batch.
    pub(super) fn done(
        &mut self,
        now: Instant,
        key: BatchKey,
        ok: bool,
        alive: impl Fn(K) -> bool,
    ) -> Vec<Then<K>> {
        let Some((_, downloads, progress)) = self.in_flight.take_if(|(batch, ..)| *batch == key) else {
            return Vec::new();
        };
        if !ok {
            self.downloads.extend(downloads.into_iter().filter(|&key| alive(key)));
            self.progress.extend(progress.into_iter().filter(|&key| alive(key)));
            self.retry_at = Some(now + RETRY_AFTER);
        }
        core::mem::take(&mut self.told)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether everything is in the store.
    pub(super) fn is_quiet(&self) -> bool {
        let changed = !self.downloads.is_empty() || !self.progress.is_empty() || !self.deleted.is_empty();
        self.in_flight.is_none() && !changed && self.waiting.is_empty()
    }
}

/// The error for those who waited for a batch that failed.
pub(super) fn store_failed(error: &crate::base::store::StoreError) -> EngineError {
    EngineError::Database(error.clone())
}

/// A store that failed is tried again after this time, or when somebody waits for it.
const RETRY_AFTER: Duration = Duration::from_secs(5);
