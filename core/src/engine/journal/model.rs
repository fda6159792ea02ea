//! Policy: a store that loses and fails batches beside the journal that writes to it, for any list of operations.

use super::{BatchKey, Journal, Then};
use crate::base::Instant;
use crate::download::DownloadId;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// The versions of the three records of each download that there is.
type Records = BTreeMap<u8, [u32; 3]>;

/// A batch under way, and what its end will mean.
struct Flight {
    key: BatchKey,
    /// The store once it is durable.
    then: Records,
    /// All records as they were when it was made.
    all: Records,
    /// How many wait for it.
    waiting: usize,
}

/// Two bytes are one operation. Whatever fails and whenever the process dies, the store holds all records as they were at one
/// instant, never older than what somebody was told of; and whoever waits is told once.
pub(crate) fn run(data: &[u8]) {
    let mut world = World::new();
    for &[op, key] in data.as_chunks::<2>().0.iter().take(MAX_OPS) {
        world.step(op % 12, key);
        assert!(world.journal.is_quiet() == world.is_quiet(), "it is quiet when all is stored");
    }
    world.land(End::Stored);
    world.take(true);
    world.land(End::Stored);
    assert_eq!(world.stored, world.records, "all changes reach the store");
    assert!(world.journal.is_quiet() && world.waiting == 0 && world.journal.poll_timeout().is_none());
}

/// How a batch ends. One that failed may be in the store all the same.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Stored,
    Failed,
    FailedButStored,
}

struct World {
    journal: Journal<u8>,
    now: Instant,
    records: Records,
    /// Downloads that are no more: their keys and names are not used again.
    gone: BTreeSet<u8>,
    stored: Records,
    flight: Option<Flight>,
    /// Who waits for a batch that is not under way yet.
    waiting: usize,
    /// Whether something changed since the last batch, or that one failed.
    dirty: bool,
}

impl World {
    fn new() -> Self {
        Self {
            journal: Journal::new(),
            now: Instant::ZERO,
            records: Records::new(),
            gone: BTreeSet::new(),
            stored: Records::new(),
            flight: None,
            waiting: 0,
            dirty: false,
        }
    }

    fn step(&mut self, op: u8, key: u8) {
        let key = key % 32;
        match op {
            0..=2 if !self.gone.contains(&key) => {
                let is_new = !self.records.contains_key(&key);
                // Whose download record is not there yet has no others.
                let kind = if is_new { 0 } else { usize::from(op) };
                self.records.entry(key).or_default()[kind] += 1;
                [Journal::download, Journal::progress, Journal::torrent][kind](&mut self.journal, key);
                self.dirty = true;
            }
            3 if self.records.remove(&key).is_some() => {
                self.gone.insert(key);
                self.journal.delete(key, id(key));
                self.dirty = true;
            }
            4 => {
                self.waiting += 1;
                self.journal.then(Then::Recorded(key, 0));
            }
            5 => self.now += Duration::from_secs(u64::from(key) / 4),
            6 => self.journal.hurry(),
            7 | 8 => self.take(false),
            9 => self.land(End::Stored),
            10 => self.land(End::Failed),
            11 => self.land(End::FailedButStored),
            _ => {}
        }
    }

    fn is_quiet(&self) -> bool {
        self.flight.is_none() && !self.dirty && self.waiting == 0
    }

    fn take(&mut self, at_once: bool) {
        if at_once {
            self.journal.hurry();
        }
        let rests = self.journal.poll_timeout().is_some_and(|at| at > self.now) && self.waiting == 0;
        let Some(batch) = self.journal.take(self.now) else {
            assert!(self.flight.is_some() || self.is_quiet() || rests, "it writes nothing, and should");
            return;
        };
        assert!(self.flight.is_none() && !rests, "one batch at a time, and none while the store rests");
        assert!(self.journal.poll_timeout().is_none(), "else the loop would spin (I2)");
        let mut then = self.stored.clone();
        for (kind, keys) in [&batch.downloads, &batch.progress, &batch.torrents].into_iter().enumerate() {
            for key in keys {
                let now = self.records.get(key).expect("only what there is is written");
                then.entry(*key).or_default()[kind] = now[kind];
            }
        }
        then.retain(|key, _| !batch.deleted.contains(&id(*key)));
        let all = self.records.clone();
        self.flight = Some(Flight { key: batch.key, then, all, waiting: core::mem::take(&mut self.waiting) });
        self.dirty = false;
    }

    /// The batch under way ends.
    fn land(&mut self, end: End) {
        let ok = end == End::Stored;
        let Some(flight) = self.flight.take() else {
            assert!(self.journal.done(self.now, BatchKey(99), ok, |_| true).is_empty(), "there is none");
            return;
        };
        let told = self.journal.done(self.now, flight.key, ok, |key| self.records.contains_key(&key));
        assert_eq!(told.len(), flight.waiting, "whoever waits is told once");
        if end != End::Failed {
            self.stored = flight.then;
            assert_eq!(self.stored, flight.all, "all records as they were when the batch was made");
        }
        if !ok {
            self.dirty = self.journal.has_changes();
            let lost = self.records.iter().any(|(key, now)| self.stored.get(key) != Some(now));
            let left = self.stored.keys().any(|key| !self.records.contains_key(key));
            assert!(self.dirty || !(lost || left), "what failed is forgotten");
        }
    }
}

fn id(key: u8) -> DownloadId {
    DownloadId::from_random_bytes([key; 16])
}

/// Longer lists find nothing that shorter ones do not.
const MAX_OPS: usize = 2000;
