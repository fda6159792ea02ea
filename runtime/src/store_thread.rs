//! The one thread that talks to the store, because a commit waits for the disk.

use bytes::Bytes;
use gosh_dl_core::base::store::{Store, StoreError, StoreOp};
use gosh_dl_core::engine::BatchKey;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is called when a batch is durable or has failed, on the store's thread.
pub type StoreDone = Arc<dyn Fn(BatchKey, Result<(), StoreError>) + Send + Sync>;

/// Owns a [`Store`] and makes its blocking calls on a thread that starts with the first of them.
pub struct StoreThread {
    shared: Arc<Shared>,
}

struct Shared {
    done: StoreDone,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The store while no thread has it.
    store: Option<Box<dyn Store>>,
    batches: VecDeque<(BatchKey, Vec<StoreOp>)>,
    /// The newest note; older ones that were not written yet are no longer wanted.
    note: Option<Bytes>,
    running: bool,
    closing: bool,
    /// Why there is no store any more.
    broken: Option<StoreError>,
}

impl StoreThread {
    /// Takes the store; no thread starts yet.
    pub fn new(store: Box<dyn Store>, done: StoreDone) -> Self {
        let state = State { store: Some(store), ..State::default() };
        Self { shared: Arc::new(Shared { done, state: Mutex::new(state), changed: Condvar::new() }) }
    }

    /// Queues a batch.
    pub fn commit(&self, batch: BatchKey, ops: Vec<StoreOp>) {
        let mut state = self.shared.state();
        if let Some(error) = state.broken.clone() {
            drop(state);
            (self.shared.done)(batch, Err(error));
        } else if !state.closing {
            state.batches.push_back((batch, ops));
            self.wake(state);
        }
    }

    /// Queues a note, in place of an earlier one that is not written yet.
    pub fn note(&self, note: Bytes) {
        let mut state = self.shared.state();
        if !state.closing && state.broken.is_none() {
            state.note = Some(note);
            self.wake(state);
        }
    }

    /// Writes what is queued, closes the store, and waits for that up to `patience`. Returns whether it is closed.
    pub fn close(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.state();
        state.closing = true;
        let unused = state.store.take();
        self.shared.changed.notify_all();
        while state.running {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        drop(unused);
        true
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let Some(store) = state.store.take() else {
            drop(state);
            self.shared.changed.notify_all();
            return;
        };
        state.running = true;
        drop(state);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("gosh-store".into()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || shared.run(store)) {
            tracing::warn!(%error, "cannot start the store's thread");
            self.shared.state().running = false;
            self.shared.give_up(&StoreError::Io(error.to_string()));
        }
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.close(DROP_PATIENCE);
    }
}

impl std::fmt::Debug for StoreThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreThread").finish_non_exhaustive()
    }
}

/// Answers one batch, also where its commit panics.
struct Told<'a> {
    shared: &'a Shared,
    batch: BatchKey,
    result: Option<Result<(), StoreError>>,
}

impl Told<'_> {
    fn with(mut self, result: Result<(), StoreError>) {
        self.result = Some(result);
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let panicked = || Err(StoreError::Io("the store panicked".to_owned()));
        (self.shared.done)(self.batch, self.result.take().unwrap_or_else(panicked));
    }
}

enum Work {
    Commit(BatchKey, Vec<StoreOp>),
    Note(Bytes),
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, store: Box<dyn Store>) {
        // A store that panics is gone, as one whose thread never started: whoever waits for it is told.
        let over = catch_unwind(AssertUnwindSafe(|| self.serve(store)));
        self.state().running = false;
        self.changed.notify_all();
        if over.is_err() {
            self.give_up(&StoreError::Io("the store panicked".to_owned()));
        }
    }

    fn serve(&self, mut store: Box<dyn Store>) {
        while let Some(work) = self.next() {
            match work {
                Work::Commit(batch, ops) => {
                    let told = Told { shared: self, batch, result: None };
                    told.with(store.commit(&ops));
                }
                Work::Note(note) => {
                    if let Err(error) = store.save_note(&note) {
                        // A note only ever spares work after a crash.
                        tracing::debug!(%error, "note not saved");
                    }
                }
            }
        }
    }

    /// There is no store any more: everything fails from now on.
    fn give_up(&self, error: &StoreError) {
        let mut state = self.state();
        state.broken = Some(error.clone());
        state.note = None;
        let failed = std::mem::take(&mut state.batches);
        drop(state);
        failed.into_iter().for_each(|(batch, _)| (self.done)(batch, Err(error.clone())));
    }

    /// Batches go first: a note says what came after them.
    fn next(&self) -> Option<Work> {
        let mut state = self.state();
        loop {
            if let Some((batch, ops)) = state.batches.pop_front() {
                return Some(Work::Commit(batch, ops));
            }
            if let Some(note) = state.note.take() {
                return Some(Work::Note(note));
            }
            if state.closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// redb's B-tree code is the deepest that runs here.
const STACK: usize = 512 << 10;
/// How long dropping waits for a commit that is under way.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use gosh_dl_core::base::store::{MemoryStore, Record, Table};
    use std::sync::mpsc;

    fn put(key: u8) -> Vec<StoreOp> {
        let key = Bytes::copy_from_slice(&[key]);
        vec![StoreOp::Put { table: Table::Download, value: key.clone(), key }]
    }

    type Done = (BatchKey, Result<(), StoreError>);

    fn started(store: impl Store) -> (StoreThread, mpsc::Receiver<Done>) {
        let (sender, receiver) = mpsc::channel();
        let sender = Mutex::new(sender);
        let done = move |batch, result| {
            let _ = sender.lock().unwrap().send((batch, result));
        };
        (StoreThread::new(Box::new(store), Arc::new(done)), receiver)
    }

    #[test]
    fn batches_are_committed_in_order_and_notes_are_kept() {
        let mut memory = MemoryStore::new();
        let (thread, done) = started(memory.clone());
        (1..=3).for_each(|key| thread.commit(BatchKey(u64::from(key)), put(key)));
        let keys: Vec<u64> = (1..=3).map(|_| done.recv().unwrap().0.0).collect();
        assert_eq!(keys, [1, 2, 3]);
        thread.note(Bytes::from_static(b"note"));
        assert!(thread.close(Duration::from_secs(5)));
        assert_eq!(memory.load_note().unwrap().unwrap(), b"note");
        assert_eq!(memory.load().unwrap().len(), 3);
    }

    #[test]
    fn closing_writes_what_is_queued_and_takes_nothing_more() {
        let mut memory = MemoryStore::new();
        let (thread, _done) = started(memory.clone());
        (0..100).for_each(|key| thread.commit(BatchKey(u64::from(key)), put(key)));
        assert!(thread.close(Duration::from_secs(5)));
        thread.commit(BatchKey(100), put(100));
        assert_eq!(memory.load().unwrap().len(), 100);
    }

    /// Holds its first commit until the test lets it go on; counts notes.
    struct Slow {
        go: mpsc::Receiver<()>,
        notes: mpsc::Sender<Vec<u8>>,
    }

    impl Store for Slow {
        fn load(&mut self) -> Result<Vec<Record>, StoreError> {
            Ok(Vec::new())
        }
        fn commit(&mut self, _: &[StoreOp]) -> Result<(), StoreError> {
            let _ = self.go.recv();
            Ok(())
        }
        fn save_note(&mut self, note: &[u8]) -> Result<(), StoreError> {
            let _ = self.notes.send(note.to_vec());
            Ok(())
        }
    }

    #[test]
    fn only_the_newest_note_is_written() {
        let (go, wait) = mpsc::channel();
        let (notes, saved) = mpsc::channel();
        let (thread, done) = started(Slow { go: wait, notes });
        thread.commit(BatchKey(1), put(1));
        (0..5).for_each(|number| thread.note(Bytes::copy_from_slice(&[number])));
        go.send(()).unwrap();
        done.recv().unwrap().1.unwrap();
        assert!(thread.close(Duration::from_secs(5)));
        assert_eq!(saved.iter().last(), Some(vec![4]));
        assert!(saved.try_recv().is_err());
    }

    #[test]
    fn closing_is_bounded_while_the_store_hangs() {
        let (go, wait) = mpsc::channel();
        let (thread, _done) = started(Slow { go: wait, notes: mpsc::channel().0 });
        thread.commit(BatchKey(1), put(1));
        assert!(!thread.close(Duration::from_millis(20)));
        go.send(()).unwrap();
        assert!(thread.close(Duration::from_secs(5)));
    }

    struct Panics;

    impl Store for Panics {
        fn load(&mut self) -> Result<Vec<Record>, StoreError> {
            Ok(Vec::new())
        }
        fn commit(&mut self, _: &[StoreOp]) -> Result<(), StoreError> {
            panic!("this store is a broken one");
        }
    }

    #[test]
    fn a_store_that_panics_leaves_no_batch_unanswered() {
        let (thread, done) = started(Panics);
        (0..3).for_each(|key| thread.commit(BatchKey(u64::from(key)), put(key)));
        let answers: Vec<Done> = (0..3).map(|_| done.recv().unwrap()).collect();
        thread.note(Bytes::from_static(b"note"));
        thread.commit(BatchKey(3), put(3));
        for (at, (BatchKey(key), result)) in answers.into_iter().chain([done.recv().unwrap()]).enumerate() {
            assert_eq!((key, result), (at as u64, Err(StoreError::Io("the store panicked".to_owned()))));
        }
        assert!(thread.close(Duration::from_secs(5)));
    }
}
