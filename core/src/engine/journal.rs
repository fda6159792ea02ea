//! Policy: what goes into the next store batch, and who waits for it. At most one batch is under way.

use super::io::{BatchKey, Token};
use super::{DownloadEvent, EngineError};
use crate::base::Instant;
use crate::base::mutants::{self, Mutant};
use crate::download::DownloadId;
use core::time::Duration;
use std::collections::BTreeSet;

/// What happens once a batch is durable.
#[derive(Debug)]
pub(super) enum Then<K> {
    /// A download is told that the store knows what it said, unless this is not the run that asked any more.
    Recorded(K, u64),
    /// A command is answered.
    Reply(Token),
    /// An event becomes true.
    Event(DownloadEvent),
}

/// Which records changed since the last batch.
#[derive(Debug)]
pub(super) struct Journal<K> {
    next: u64,
    in_flight: Option<Batch<K>>,
    told: Vec<Then<K>>,
    downloads: BTreeSet<K>,
    progress: BTreeSet<K>,
    torrents: BTreeSet<K>,
    deleted: Vec<DownloadId>,
    waiting: Vec<Then<K>>,
    retry_at: Option<Instant>,
}

/// What a batch must hold.
#[derive(Clone, Debug)]
pub(super) struct Batch<K> {
    pub(super) key: BatchKey,
    /// Whose `Download` records are written.
    pub(super) downloads: BTreeSet<K>,
    /// Whose `Progress` records are written.
    pub(super) progress: BTreeSet<K>,
    /// Whose `Torrent` records are written.
    pub(super) torrents: BTreeSet<K>,
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
            torrents: BTreeSet::new(),
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

    /// The metainfo of a torrent is known.
    pub(super) fn torrent(&mut self, key: K) {
        self.torrents.insert(key);
    }

    /// The download is gone.
    pub(super) fn delete(&mut self, key: K, id: DownloadId) {
        self.downloads.remove(&key);
        self.progress.remove(&key);
        self.torrents.remove(&key);
        self.deleted.push(id);
    }

    /// Something waits for all that changed so far.
    pub(super) fn then(&mut self, then: Then<K>) {
        self.waiting.push(then);
    }

    /// The next batch, unless one is under way or nothing changed.
    pub(super) fn take(&mut self, now: Instant) -> Option<Batch<K>> {
        let paused = self.retry_at.is_some_and(|at| at > now) && self.waiting.is_empty();
        if self.in_flight.is_some() || paused {
            return None;
        }
        self.retry_at = None;
        if !self.has_changes() && self.waiting.is_empty() {
            return None;
        }
        let key = BatchKey(self.next);
        self.next += 1;
        let downloads = core::mem::take(&mut self.downloads);
        let progress = core::mem::take(&mut self.progress);
        let torrents = core::mem::take(&mut self.torrents);
        let batch = Batch { key, downloads, progress, torrents, deleted: core::mem::take(&mut self.deleted) };
        self.told = core::mem::take(&mut self.waiting);
        self.in_flight = Some(batch.clone());
        Some(batch)
    }

    /// The batch is durable, or failed: returns who waited for it. What failed is written again with the next batch.
    pub(super) fn done(
        &mut self,
        now: Instant,
        key: BatchKey,
        ok: bool,
        alive: impl Fn(K) -> bool,
    ) -> Vec<Then<K>> {
        let Some(batch) = self.in_flight.take_if(|batch| batch.key == key) else { return Vec::new() };
        if !ok && !mutants::is(Mutant::DropFailedBatch) {
            let Batch { downloads, progress, torrents, deleted, .. } = batch;
            self.deleted.extend(deleted);
            self.downloads.extend(downloads.into_iter().filter(|&key| alive(key)));
            self.progress.extend(progress.into_iter().filter(|&key| alive(key)));
            self.torrents.extend(torrents.into_iter().filter(|&key| alive(key)));
            self.retry_at = Some(now + RETRY_AFTER);
        }
        core::mem::take(&mut self.told)
    }

    /// There is no time to let a store that failed rest.
    pub(super) fn hurry(&mut self) {
        self.retry_at = None;
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether everything is in the store.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.is_none() && !self.has_changes() && self.waiting.is_empty()
    }

    fn has_changes(&self) -> bool {
        !self.downloads.is_empty()
            || !self.progress.is_empty()
            || !self.torrents.is_empty()
            || !self.deleted.is_empty()
    }
}

/// The error for those who waited for a batch that failed.
pub(super) fn store_failed(error: &crate::base::store::StoreError) -> EngineError {
    error.clone().into()
}

/// A store that failed is tried again after this time, or when somebody waits for it.
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod model;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::store::StoreError;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn id(n: u8) -> DownloadId {
        DownloadId::from_random_bytes([n; 16])
    }

    fn alive(_: u8) -> bool {
        true
    }

    #[test]
    fn failed_batch_is_written_again_with_what_it_deleted() {
        let (mut journal, now) = (Journal::new(), Instant::ZERO);
        journal.download(1);
        journal.progress(2);
        journal.delete(3, id(3));
        let first = journal.take(now).expect("something changed");
        assert!(journal.done(now, first.key, false, alive).is_empty());
        assert!(journal.take(now).is_none(), "the store gets a rest");
        let due = journal.poll_timeout().expect("it is tried again");
        let again = journal.take(due).expect("it is due");
        assert_eq!((again.downloads, again.progress), (first.downloads, first.progress));
        assert_eq!(again.deleted, [id(3)]);
        journal.done(due, again.key, true, alive);
        assert!(journal.is_quiet() && journal.poll_timeout().is_none());
    }

    #[test]
    fn nothing_is_due_once_a_failed_batch_has_nothing_left_to_write() {
        let (mut journal, now) = (Journal::new(), Instant::ZERO);
        journal.download(1);
        let batch = journal.take(now).expect("something changed");
        journal.done(now, batch.key, false, |_| false);
        let due = journal.poll_timeout().unwrap_or(now);
        assert!(journal.take(due).is_none());
        assert_eq!(journal.poll_timeout(), None, "else the loop would spin (I2)");
    }

    #[test]
    fn whoever_waits_does_not_wait_for_the_rest_of_a_failed_store() {
        let (mut journal, now) = (Journal::new(), Instant::ZERO);
        journal.download(1);
        let batch = journal.take(now).expect("something changed");
        journal.done(now, batch.key, false, alive);
        journal.then(Then::Recorded(1, 0));
        assert!(journal.take(now).is_some());
    }

    #[test]
    fn end_of_an_unknown_batch_means_nothing() {
        let (mut journal, now) = (Journal::new(), Instant::ZERO);
        journal.download(1u8);
        journal.then(Then::Recorded(1, 0));
        let batch = journal.take(now).expect("something changed");
        assert!(journal.done(now, BatchKey(batch.key.0 + 1), true, alive).is_empty());
        assert!(!journal.is_quiet());
        assert_eq!(journal.done(now, batch.key, true, alive).len(), 1);
    }

    #[test]
    fn store_error_reaches_those_who_waited() {
        assert_eq!(store_failed(&StoreError::Full), EngineError::from(StoreError::Full));
    }

    proptest! {
        /// A store that fails now and then ends up with the newest of every record, and whoever waits is told once.
        #[test]
        fn every_change_reaches_the_store(ops in vec(any::<u8>(), 0..200)) {
            super::model::run(&ops);
        }
    }
}
