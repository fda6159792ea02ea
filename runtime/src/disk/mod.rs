//! The disk executor: one queue, a few plain threads, a callback for every completion.
//!
//! Threads start when there is work, park when there is none, and end after some idle seconds, so an engine that
//! does nothing has none. Operations are resolved to the files they name when they are submitted, which is why closing
//! a file never pulls it from under an operation that is still under way.

mod digest;
mod error;
mod lend;
mod perform;
#[cfg(any(not(unix), test))]
mod portable;
#[cfg(unix)]
mod unix;

use gosh_dl_core::base::disk::{DirKey, DiskErrorKind, DiskOp, DiskResult, FileKey, HashAlgorithm, HashKey};
use gosh_dl_core::engine::DiskKey;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

#[cfg(not(unix))]
use portable as platform;
#[cfg(unix)]
use unix as platform;

pub use lend::LentFile;

/// What is called with every completion, on a disk thread.
pub type DiskDone = Arc<dyn Fn(DiskKey, DiskResult) + Send + Sync>;

/// Performs [`DiskOp`]s on a few threads of its own.
///
/// Dropping it gives up what is queued and waits a moment for what is under way.
pub struct DiskExecutor {
    shared: Arc<Shared>,
}

impl DiskExecutor {
    /// An executor that reports to `done`. No thread starts before the first operation.
    pub fn new(done: DiskDone) -> Self {
        let shared = Shared {
            done,
            state: Mutex::default(),
            work: Condvar::new(),
            changed: Condvar::new(),
            closing: Mutex::new(0),
            closed: Condvar::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Queues an operation. The completion follows on a disk thread, where there is one.
    pub fn submit(&self, key: DiskKey, op: DiskOp) {
        let mut state = self.shared.state();
        if state.stopped {
            return;
        }
        let job = state.resolve(&self.shared, key, op);
        self.enqueue(state, job);
    }

    fn queue(&self, job: Job) {
        let state = self.shared.state();
        if !state.stopped {
            self.enqueue(state, job);
        }
    }

    fn enqueue(&self, mut state: MutexGuard<'_, State>, job: Job) {
        state.queue.push_back(job);
        if state.idle > state.woken {
            state.woken += 1;
            drop(state);
            self.shared.work.notify_one();
        } else if state.threads < state.thread_limit() {
            state.threads += 1;
            drop(state);
            self.spawn();
        }
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.shared.state().threads
    }

    /// Gives up everything that is queued, closes every file, and waits up to `patience` for what is under way.
    /// Nothing completes any more; returns whether all threads have ended.
    pub fn stop(&self, patience: Duration) -> bool {
        let mut state = self.shared.state();
        state.stopped = true;
        state.files.values().for_each(|slot| slot.closed.store(true, Ordering::Relaxed));
        let abandoned = std::mem::take(&mut state.queue);
        let files = std::mem::take(&mut state.files);
        let dirs = std::mem::take(&mut state.dirs);
        state.digests.clear();
        drop(state);
        drop((abandoned, files, dirs));
        self.shared.work.notify_all();
        let deadline = Instant::now() + patience;
        let mut state = self.shared.state();
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = wait_timeout(&self.shared.changed, state, left);
        }
        true
    }

    fn spawn(&self) {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("gosh-disk".into()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || shared.run()) {
            tracing::warn!(%error, "cannot start a disk thread");
            let mut state = self.shared.state();
            state.threads -= 1;
            // Nobody will ever take what is queued, so it fails.
            let orphans = if state.threads == 0 { std::mem::take(&mut state.queue) } else { VecDeque::new() };
            drop(state);
            for job in orphans.into_iter().filter(|job| job.op.completes()) {
                self.shared.tell(job.key, job.reader, Err(DiskErrorKind::TooManyFiles.into()));
            }
        }
    }
}

impl Drop for DiskExecutor {
    fn drop(&mut self) {
        self.stop(DROP_PATIENCE);
    }
}

impl std::fmt::Debug for DiskExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskExecutor").finish_non_exhaustive()
    }
}

/// What the threads share.
struct Shared {
    done: DiskDone,
    state: Mutex<State>,
    /// There is something in the queue, or the executor stops.
    work: Condvar,
    /// A thread has ended.
    changed: Condvar,
    /// How many files core has let go of that are not closed yet, because an operation still uses them.
    closing: Mutex<usize>,
    /// One of those is closed now.
    closed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    dirs: HashMap<DirKey, Arc<DirSlot>>,
    files: HashMap<FileKey, Arc<FileSlot>>,
    digests: HashMap<HashKey, Arc<Mutex<digest::State>>>,
    threads: usize,
    idle: usize,
    /// How many of the idle threads have been notified and have not come round yet.
    woken: usize,
    /// How many threads are in an operation that mostly waits for the device.
    waiting: usize,
    stopped: bool,
}

/// An operation with what it names.
struct Job {
    key: DiskKey,
    op: DiskOp,
    /// The directory that a directory lies in.
    parent: Option<Arc<DirSlot>>,
    dir: Option<Arc<DirSlot>>,
    file: Option<Arc<FileSlot>>,
    digest: Option<Arc<Mutex<digest::State>>>,
    /// Who is told how it ended, where that is not core.
    reader: Option<Reader>,
}

/// What a link that reads a file is told by.
type Reader = Box<dyn FnOnce(DiskResult) + Send>;

/// A directory from the moment its opening is asked for.
#[derive(Default)]
struct DirSlot {
    dir: OnceLock<platform::Dir>,
}

/// A file from the moment its opening is asked for.
struct FileSlot {
    file: OnceLock<Arc<lend::OpenFile>>,
    closed: AtomicBool,
    shared: std::sync::Weak<Shared>,
}

impl Drop for FileSlot {
    fn drop(&mut self) {
        let file = self.file.take().map(Arc::try_unwrap);
        if let Some(Err(lent)) = file.filter(|_| *self.closed.get_mut()) {
            // It stays readable, without its lock. Where there is none, this fails.
            let _unlocked = lent.file.unlock();
        }
        if let Some(shared) = self.shared.upgrade().filter(|_| *self.closed.get_mut()) {
            let mut closing = shared.closing.lock().unwrap_or_else(PoisonError::into_inner);
            *closing = closing.saturating_sub(1);
            shared.closed.notify_all();
        }
    }
}

impl State {
    /// Finds what an operation names. Keys come and go here, in the order of submission.
    fn resolve(&mut self, shared: &Arc<Shared>, key: DiskKey, op: DiskOp) -> Job {
        let (mut parent, mut dir, mut file, mut digest) = (None, None, None, None);
        match &op {
            DiskOp::OpenDir { dir: key, .. } => {
                dir = Some(Arc::clone(self.dirs.entry(*key).or_default()));
            }
            DiskOp::OpenSubdir { parent: above, dir: key, .. } => {
                parent = self.dirs.get(above).cloned();
                dir = Some(Arc::clone(self.dirs.entry(*key).or_default()));
            }
            DiskOp::Move { dir: from, to_dir, .. } => {
                parent = self.dirs.get(from).cloned();
                dir = self.dirs.get(to_dir).cloned();
            }
            DiskOp::CloseDir { dir: key } => dir = self.dirs.remove(key),
            DiskOp::Stat { dir: key, .. }
            | DiskOp::SyncDir { dir: key }
            | DiskOp::Rename { dir: key, .. }
            | DiskOp::RemoveDir { dir: key, .. }
            | DiskOp::Remove { dir: key, .. } => dir = self.dirs.get(key).cloned(),
            DiskOp::Open { dir: key, file: opened, .. } => {
                dir = self.dirs.get(key).cloned();
                let slot = FileSlot {
                    file: OnceLock::new(),
                    closed: AtomicBool::new(false),
                    shared: Arc::downgrade(shared),
                };
                let slot = Arc::new(slot);
                self.files.insert(*opened, Arc::clone(&slot));
                file = Some(slot);
            }
            DiskOp::Close { file: key } => {
                file = self.files.remove(key);
                if let Some(slot) = &file {
                    *shared.closing.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                    slot.closed.store(true, Ordering::Relaxed);
                }
            }
            DiskOp::Allocate { file: key, .. }
            | DiskOp::SetLen { file: key, .. }
            | DiskOp::SetExecutable { file: key }
            | DiskOp::Write { file: key, .. }
            | DiskOp::Read { file: key, .. }
            | DiskOp::HashSpans { file: key, .. }
            | DiskOp::Sync { file: key } => file = self.files.get(key).cloned(),
            DiskOp::Hash { hash, algorithm, input, finish } => {
                if let gosh_dl_core::base::disk::HashInput::File { file: key, .. } = input {
                    file = self.files.get(key).cloned();
                }
                digest = Some(self.digest(*hash, *algorithm, *finish));
            }
            DiskOp::WriteHashed { file: key, hash, algorithm, finish, .. } => {
                file = self.files.get(key).cloned();
                digest = Some(self.digest(*hash, *algorithm, *finish));
            }
            DiskOp::HashDrop { hash } => digest = self.digests.remove(hash),
        }
        Job { key, op, parent, dir, file, digest, reader: None }
    }

    /// The digest of that key, which is new where there is none, and forgotten where it is finished.
    fn digest(&mut self, hash: HashKey, algorithm: HashAlgorithm, finish: bool) -> Arc<Mutex<digest::State>> {
        let known = if finish { self.digests.remove(&hash) } else { self.digests.get(&hash).cloned() };
        known.unwrap_or_else(|| {
            let digest = Arc::new(Mutex::new(digest::State::new(algorithm)));
            if !finish {
                self.digests.insert(hash, Arc::clone(&digest));
            }
            digest
        })
    }

    /// Two threads keep two cores busy; a thread that only waits for the device does not count.
    fn thread_limit(&self) -> usize {
        (BUSY_THREADS + self.waiting).min(MAX_THREADS)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn run(&self) {
        while let Some(job) = self.next() {
            let waits = waits_for_device(&job.op);
            if waits {
                self.state().waiting += 1;
            }
            self.perform(job);
            if waits {
                self.state().waiting -= 1;
            }
        }
        self.changed.notify_all();
    }

    /// The next operation; `None` when this thread is to end (it is then no longer counted).
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.queue.pop_front().filter(|_| !state.stopped) {
                return Some(job);
            }
            if state.stopped {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let parked_at = Instant::now();
            state = wait_timeout(&self.work, state, IDLE);
            state.idle -= 1;
            state.woken = state.woken.saturating_sub(1);
            if state.queue.is_empty() && parked_at.elapsed() >= IDLE {
                state.threads -= 1;
                return None;
            }
        }
    }

    fn perform(&self, mut job: Job) {
        let completes = job.op.completes();
        let (key, reader) = (job.key, job.reader.take());
        let opens = Opens::of(&job.op);
        let result = job.perform(self);
        if result.is_err() {
            self.forget(opens);
        }
        if completes && !self.state().stopped {
            self.tell(key, reader, result);
        }
    }

    fn tell(&self, key: DiskKey, reader: Option<Reader>, result: DiskResult) {
        match reader {
            Some(reader) => reader(result),
            None => (self.done)(key, result),
        }
    }

    /// Core does not close what was never open.
    fn forget(&self, opens: Opens) {
        match opens {
            Opens::File(file) => _ = self.state().files.remove(&file),
            Opens::Dir(dir) => _ = self.state().dirs.remove(&dir),
            Opens::Nothing => {}
        }
    }

    /// Waits until every file that core has let go of is closed; bounded, in case a device hangs.
    fn wait_for_closing(&self) {
        let deadline = Instant::now() + CLOSING_PATIENCE;
        let mut closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        while *closing > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            closing = wait_timeout(&self.closed, closing, left);
        }
    }
}

/// What an operation opens.
enum Opens {
    File(FileKey),
    Dir(DirKey),
    Nothing,
}

impl Opens {
    fn of(op: &DiskOp) -> Self {
        match op {
            DiskOp::Open { file, .. } => Self::File(*file),
            DiskOp::OpenDir { dir, .. } | DiskOp::OpenSubdir { dir, .. } => Self::Dir(*dir),
            _ => Self::Nothing,
        }
    }
}

fn wait_timeout<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>, length: Duration) -> MutexGuard<'a, T> {
    condition.wait_timeout(guard, length).unwrap_or_else(PoisonError::into_inner).0
}

fn waits_for_device(op: &DiskOp) -> bool {
    matches!(
        op,
        DiskOp::Sync { .. }
            | DiskOp::SyncDir { .. }
            | DiskOp::Allocate { .. }
            | DiskOp::OpenDir { .. }
            | DiskOp::OpenSubdir { create: true, .. }
            | DiskOp::Remove { .. }
            | DiskOp::RemoveDir { .. }
    )
}

/// How many threads run at most while all of them are busy copying or hashing.
const BUSY_THREADS: usize = 2;
/// How many threads run at most.
const MAX_THREADS: usize = 4;
/// The stack of a thread: the deepest call is a `pwritev` with its I/O vector.
const STACK: usize = 256 << 10;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(5);
/// How long dropping waits for operations that are under way.
const DROP_PATIENCE: Duration = Duration::from_secs(2);
/// How long the opening of a locked file waits for its own engine to close it.
const CLOSING_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
