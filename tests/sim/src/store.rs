//! Machine: the store that keeps the engine's state, with faults, and with crashes on either side of a commit.

use crate::agenda::Latency;
use crate::image::CrashMode;
use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::base::Rng;
use gosh_dl_core::base::store::{Record, Store as RealStore, StoreError, StoreOp, Table};
use gosh_dl_core::engine::BatchKey;
use std::collections::{BTreeMap, VecDeque};

/// The store.
#[derive(Debug)]
pub struct Store {
    rng: Rng,
    records: Records,
    note: Option<Bytes>,
    under_way: Option<(BatchKey, Vec<StoreOp>)>,
    faults: VecDeque<(u64, u64, StoreError)>,
    real: Option<Real>,
    /// How long a commit takes.
    pub latency: Latency,
    /// What happens to a commit that is under way when the machine goes down.
    pub on_crash: OnCrash,
    /// How many batches were committed.
    pub commits: u64,
    /// How many commits failed because they were meant to.
    pub failed: u64,
}

/// A store for real files.
struct Real(Box<dyn RealStore>);

impl core::fmt::Debug for Real {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Real")
    }
}

/// Every record by its table and key.
pub type Records = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// What happens to a commit that is under way in a crash: a batch is applied whole or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCrash {
    /// Either, by the seed.
    #[default]
    Either,
    /// The crash comes before the commit.
    Before,
    /// The crash comes after the commit and before its acknowledgement.
    After,
}

impl Store {
    /// An empty store.
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            records: Records::new(),
            note: None,
            under_way: None,
            faults: VecDeque::new(),
            real: None,
            latency: Latency::millis(1, 8),
            on_crash: OnCrash::Either,
            commits: 0,
            failed: 0,
        }
    }

    /// After `skip` more commits, the next `times` fail with `error`.
    pub fn fail(&mut self, skip: u64, times: u64, error: StoreError) {
        self.faults.push_back((skip, times, error));
    }

    /// Forgets all faults.
    pub fn heal(&mut self) {
        self.faults.clear();
    }

    /// From now on this is what `real` is: a store for real files, whose commits take no virtual time of their own.
    ///
    /// # Errors
    ///
    /// What the real store says when it is read.
    pub fn become_real(&mut self, mut real: Box<dyn RealStore>) -> Result<(), StoreError> {
        let records = real.load()?;
        self.records = records.into_iter().map(|record| ((record.table, record.key), record.value)).collect();
        self.note = real.load_note()?.map(Bytes::from);
        self.real = Some(Real(real));
        Ok(())
    }

    /// Closes the real store, if this is one. What it kept stays here, too.
    pub fn close_real(&mut self) {
        self.real = None;
    }

    /// Begins a commit; how long it takes.
    ///
    /// # Panics
    ///
    /// Where another one is under way, or a key is longer than 64 bytes.
    pub fn submit(&mut self, batch: BatchKey, ops: Vec<StoreOp>) -> Duration {
        assert!(self.under_way.is_none(), "{batch:?} is asked for while another batch is under way");
        for op in &ops {
            let (StoreOp::Put { key, .. } | StoreOp::Delete { key, .. }) = op;
            assert!(key.len() <= 64, "a key of {} bytes", key.len());
        }
        self.under_way = Some((batch, ops));
        self.latency.draw(&mut self.rng)
    }

    /// Ends the commit; `None` where a crash came first.
    pub fn complete(&mut self, batch: BatchKey) -> Option<Result<(), StoreError>> {
        let (_, ops) = self.under_way.take_if(|(key, _)| *key == batch)?;
        Some(match self.fault() {
            Some(error) => Err(error),
            None => self.apply(ops),
        })
    }

    /// Ends the commit that is under way, if any: the engine is gone, and its driver waits for the store.
    pub fn finish(&mut self) {
        if let Some((batch, _)) = self.under_way {
            let _ = self.complete(batch);
        }
    }

    /// Keeps the note.
    pub fn save_note(&mut self, note: Bytes) {
        if let Some(Real(real)) = &mut self.real {
            // As a driver does: without the note only work is lost.
            let _ = real.save_note(&note);
        }
        self.note = Some(note);
    }

    /// The machine goes down. A note outlives its process; a power cut may or may not have left it.
    pub fn crash(&mut self, mode: CrashMode) {
        let after = match self.on_crash {
            OnCrash::Either => self.rng.below(2) == 0,
            OnCrash::Before => false,
            OnCrash::After => true,
        };
        if let Some((_, ops)) = self.under_way.take().filter(|_| after) {
            // Nobody is left to be told.
            let _ = self.apply(ops);
        }
        if mode == CrashMode::PowerCut || (mode == CrashMode::Torn && self.rng.below(2) == 0) {
            self.note = None;
        }
    }

    /// Every record, as an engine loads them.
    pub fn load(&self) -> Vec<Record> {
        let record = |((table, key), value): (&(Table, Vec<u8>), &Vec<u8>)| Record {
            table: *table,
            key: key.clone(),
            value: value.clone(),
        };
        self.records.iter().map(record).collect()
    }

    /// The note, as an engine loads it.
    pub fn load_note(&self) -> Option<Vec<u8>> {
        self.note.as_ref().map(|note| note.to_vec())
    }

    /// The records, to look at or to damage.
    pub fn records_mut(&mut self) -> &mut Records {
        &mut self.records
    }

    /// The records.
    pub fn records(&self) -> &Records {
        &self.records
    }

    fn fault(&mut self) -> Option<StoreError> {
        let (skip, times, error) = self.faults.front_mut()?;
        if *skip > 0 {
            *skip -= 1;
            return None;
        }
        self.failed += 1;
        *times = times.saturating_sub(1);
        let (done, error) = (*times == 0, error.clone());
        if done {
            self.faults.pop_front();
        }
        Some(error)
    }

    fn apply(&mut self, ops: Vec<StoreOp>) -> Result<(), StoreError> {
        if let Some(Real(real)) = &mut self.real {
            real.commit(&ops)?;
        }
        self.commits += 1;
        for op in ops {
            match op {
                StoreOp::Put { table, key, value } => {
                    self.records.insert((table, key.to_vec()), value.to_vec());
                }
                StoreOp::Delete { table, key } => {
                    self.records.remove(&(table, key.to_vec()));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> Vec<StoreOp> {
        vec![StoreOp::Put { table: Table::Meta, key: Bytes::from(key), value: Bytes::from("v") }]
    }

    #[test]
    fn crash_before_the_acknowledgement_leaves_the_batch_whole_or_not_at_all() {
        for (on_crash, expected) in [(OnCrash::Before, 0), (OnCrash::After, 1)] {
            let mut store = Store::new(Rng::from_seed([0; 32]));
            store.on_crash = on_crash;
            store.submit(BatchKey(1), put("a"));
            store.crash(CrashMode::Kill);
            assert_eq!(store.load().len(), expected);
            assert_eq!(store.complete(BatchKey(1)), None);
        }
    }

    #[test]
    fn failed_commit_changes_nothing() {
        let mut store = Store::new(Rng::from_seed([0; 32]));
        store.fail(1, 1, StoreError::Full);
        let results = ["a", "b", "c"].map(|key| {
            store.submit(BatchKey(1), put(key));
            store.complete(BatchKey(1))
        });
        assert_eq!(results, [Some(Ok(())), Some(Err(StoreError::Full)), Some(Ok(()))]);
        assert_eq!(store.load().iter().map(|record| record.key[0]).collect::<Vec<_>>(), *b"ac");
    }

    #[test]
    fn commit_under_way_at_an_orderly_end_is_carried_out() {
        let mut store = Store::new(Rng::from_seed([0; 32]));
        store.submit(BatchKey(1), put("a"));
        store.finish();
        store.submit(BatchKey(0), put("b"));
        assert_eq!(store.load().iter().map(|record| record.key[0]).collect::<Vec<_>>(), *b"a");
    }

    #[test]
    fn note_outlives_its_process_but_not_a_power_cut() {
        let mut store = Store::new(Rng::from_seed([0; 32]));
        store.save_note(Bytes::from("note"));
        store.crash(CrashMode::Kill);
        assert_eq!(store.load_note(), Some(b"note".to_vec()));
        store.crash(CrashMode::PowerCut);
        assert_eq!(store.load_note(), None);
    }
}
