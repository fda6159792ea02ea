//! Machine: a disk with its page cache, locks and faults, performing the engine's disk operations.
//!
//! An operation takes effect when it completes, and completions come in any order; a sync covers what had completed
//! when it was asked for. Operations under way when the machine goes down have taken effect or not, by the seed.

mod operations;

use crate::agenda::Latency;
use crate::digest::Hasher;
use crate::folder::{Entry, Folder};
use crate::image::{CrashMode, File};
use core::time::Duration;
use gosh_dl_core::base::disk::{DirKey, DiskErrorKind, DiskOp, DiskResult, FileKey, HashKey};
use gosh_dl_core::base::{FileName, RangeSet, Rng};
use gosh_dl_core::engine::DiskKey;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The kinds of operations that faults and latencies are set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpClass {
    /// `OpenDir` and `OpenSubdir`.
    OpenDir,
    /// `Stat`.
    Stat,
    /// `Open`.
    Open,
    /// `Allocate`, `SetLen` and `SetExecutable`.
    Resize,
    /// `Write` and `WriteHashed`.
    Write,
    /// `Read`.
    Read,
    /// `Hash` and `HashSpans`.
    Hash,
    /// `Sync`.
    Sync,
    /// `SyncDir`.
    SyncDir,
    /// `Rename` and `Move`.
    Rename,
    /// `Remove` and `RemoveDir`.
    Remove,
}

/// The disk.
#[derive(Debug)]
pub struct Disk {
    /// What its files are expected to hold, kept once for many disks.
    pub shared: Option<Arc<[u8]>>,
    rng: Rng,
    files: BTreeMap<u64, File>,
    folders: BTreeMap<PathBuf, Folder>,
    /// Directories that were made below others, which have entries for them.
    made: BTreeSet<PathBuf>,
    /// Names that went from one directory to another, while only the running system knows: such a change is durable at
    /// both ends or at none.
    moves: Vec<[(PathBuf, u64); 2]>,
    /// Files that may be executed.
    executable: BTreeSet<u64>,
    /// Directories that are file systems of their own.
    mounts: BTreeSet<PathBuf>,
    next_inode: u64,
    dirs: BTreeMap<DirKey, PathBuf>,
    open: BTreeMap<FileKey, Held>,
    hashes: BTreeMap<HashKey, Hasher>,
    locked: BTreeSet<u64>,
    /// Files that other programs changed or took the name of: nobody answers for what they hold.
    meddled: BTreeSet<u64>,
    under_way: BTreeMap<u64, (DiskKey, Work)>,
    next_ticket: u64,
    faults: Vec<Fault>,
    latencies: BTreeMap<OpClass, Latency>,
    /// How long operations take that have no latency of their own.
    pub latency: Latency,
    /// How many bytes fit; `None` is no limit.
    pub capacity: Option<u64>,
    /// Whether names that differ only in the case of their letters (of ASCII) are the same.
    pub folds_case: bool,
    /// Whether every change fails.
    pub read_only: bool,
    /// Whether the file system is on this machine, so that written data survives the process.
    pub local: bool,
    /// How many bytes were written, by all operations that succeeded.
    pub bytes_written: u64,
    /// How many bytes were read back, by reads and digests.
    pub bytes_read: u64,
    /// How many operations failed because they were meant to.
    pub failed: u64,
    /// How many operations of each kind were asked for.
    pub counts: BTreeMap<OpClass, u64>,
}

/// An open file.
#[derive(Clone, Copy, Debug)]
struct Held {
    inode: u64,
    /// Whether it is locked, and may be written.
    locked: bool,
}

#[derive(Debug)]
struct Fault {
    class: OpClass,
    skip: u64,
    times: u64,
    kind: DiskErrorKind,
}

/// An operation under way: its file or directory is already found, and a sync knows how far it reaches.
#[derive(Debug)]
struct Work {
    op: DiskOp,
    inode: Option<u64>,
    path: PathBuf,
    /// Where a name moves to.
    to: PathBuf,
    barrier: u64,
    fault: Option<DiskErrorKind>,
}

impl Disk {
    /// An empty disk.
    pub fn new(rng: Rng) -> Self {
        Self {
            shared: None,
            rng,
            files: BTreeMap::new(),
            folders: BTreeMap::new(),
            made: BTreeSet::new(),
            moves: Vec::new(),
            executable: BTreeSet::new(),
            mounts: BTreeSet::new(),
            next_inode: 1,
            dirs: BTreeMap::new(),
            open: BTreeMap::new(),
            hashes: BTreeMap::new(),
            locked: BTreeSet::new(),
            meddled: BTreeSet::new(),
            under_way: BTreeMap::new(),
            next_ticket: 0,
            faults: Vec::new(),
            latencies: BTreeMap::new(),
            latency: Latency::micros(50, 3000),
            capacity: None,
            folds_case: false,
            read_only: false,
            local: true,
            bytes_written: 0,
            bytes_read: 0,
            failed: 0,
            counts: BTreeMap::new(),
        }
    }

    /// After `skip` more operations of `class`, the next `times` fail with `kind`.
    pub fn fail(&mut self, class: OpClass, skip: u64, times: u64, kind: DiskErrorKind) {
        self.faults.push(Fault { class, skip, times, kind });
    }

    /// Forgets every fault that was set with [`fail`](Self::fail), the capacity and the write protection.
    pub fn heal(&mut self) {
        self.faults.clear();
        self.capacity = None;
        self.read_only = false;
    }

    /// Operations of `class` take this long.
    pub fn slow(&mut self, class: OpClass, latency: Latency) {
        self.latencies.insert(class, latency);
    }

    /// Begins an operation: its ticket and how long it takes; `None` where no completion follows.
    ///
    /// # Panics
    ///
    /// Where the engine names a directory or file that is not open, or a key that is taken.
    pub fn submit(&mut self, key: DiskKey, op: DiskOp) -> Option<(Duration, u64)> {
        let Some(class) = operations::class(&op) else {
            self.release(&op);
            return None;
        };
        *self.counts.entry(class).or_default() += 1;
        let work = self.prepare(class, op);
        let took = self.latencies.get(&class).copied().unwrap_or(self.latency).draw(&mut self.rng);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.under_way.insert(ticket, (key, work));
        Some((took, ticket))
    }

    /// Ends an operation; `None` where a crash came first.
    pub fn complete(&mut self, ticket: u64) -> Option<(DiskKey, DiskResult)> {
        let (key, work) = self.under_way.remove(&ticket)?;
        Some((key, self.perform(work)))
    }

    /// The machine goes down and comes up again.
    pub fn crash(&mut self, mode: CrashMode) {
        for (_, work) in core::mem::take(&mut self.under_way).into_values() {
            if self.rng.below(2) == 0 {
                // Nobody hears how it ended.
                let _ = self.perform(work);
            }
        }
        self.close_all();
        for file in self.files.values_mut() {
            file.crash(mode, &mut self.rng);
        }
        self.settle_moves(mode);
        for folder in self.folders.values_mut() {
            folder.crash(mode, &mut self.rng);
        }
        if mode != CrashMode::Kill {
            self.drop_lost_folders();
            let named: BTreeSet<u64> =
                self.folders.values().flat_map(Folder::names).map(|(_, entry)| entry.inode()).collect();
            self.files.retain(|inode, _| named.contains(inode));
        }
    }

    /// What moved is there or here after a power cut, and never in both places or in none.
    fn settle_moves(&mut self, mode: CrashMode) {
        match mode {
            CrashMode::Kill | CrashMode::PowerCut => {}
            CrashMode::Torn => {
                let moves = core::mem::take(&mut self.moves);
                for [(path, change), other] in moves {
                    // What was done in these directories before is durable then, too: the journal has one order.
                    if self.rng.below(2) == 0 {
                        self.sync_folder(&path, change + 1);
                        self.sync_folder(&other.0, other.1 + 1);
                    } else {
                        self.folder(&path).forget(change);
                        self.folder(&other.0).forget(other.1);
                    }
                }
            }
        }
        if mode != CrashMode::Kill {
            self.moves.clear();
        }
    }

    /// Makes the names of a directory durable, and with a name that came from another one, or went there, that one's.
    fn sync_folder(&mut self, path: &Path, barrier: u64) {
        let mut todo = vec![(path.to_owned(), barrier)];
        while let Some((path, barrier)) = todo.pop() {
            self.folder(&path).sync(barrier);
            let is_done = |(at, change): &(PathBuf, u64)| *at == path && *change < barrier;
            let done: Vec<_> = self.moves.extract_if(.., |ends| ends.iter().any(is_done)).collect();
            todo.extend(done.into_iter().flatten().map(|(path, change)| (path, change + 1)));
        }
    }

    /// A directory whose own name did not survive is gone with all that is in it.
    fn drop_lost_folders(&mut self) {
        // Those above come before those below.
        let made: Vec<PathBuf> = self.made.iter().cloned().collect();
        for path in made {
            let is_there = path.parent().zip(path.file_name()).is_some_and(|(parent, name)| {
                let name = name.to_str().and_then(FileName::new);
                let folder = self.folders.get(parent);
                folder
                    .zip(name)
                    .is_some_and(|(folder, name)| matches!(folder.find(&name), Some(Entry::Folder(_))))
            });
            if !is_there {
                self.folders.remove(&path);
                self.made.remove(&path);
            }
        }
    }

    /// The process ended in an orderly way: what it held open is closed, and nothing is lost.
    pub fn close_all(&mut self) {
        self.under_way.clear();
        self.dirs.clear();
        self.open.clear();
        self.hashes.clear();
    }

    /// Another program puts a file there (or replaces one), durably.
    ///
    /// # Panics
    ///
    /// Where `name` is not a safe file name.
    pub fn put(&mut self, dir: impl AsRef<Path>, name: &str, content: &[u8]) {
        self.meddle(dir.as_ref(), name);
        let inode = self.new_inode();
        self.files.insert(inode, File::durable(content, self.shared.clone()));
        self.folder(dir.as_ref()).put_durably(file_name(name), Entry::File(inode));
    }

    /// Another program makes a directory below another one, durably.
    ///
    /// # Panics
    ///
    /// Where `name` is not a safe file name.
    pub fn make_dir(&mut self, dir: impl AsRef<Path>, name: &str) {
        let inode = self.new_inode();
        self.folder(dir.as_ref()).put_durably(file_name(name), Entry::Folder(inode));
        let path = dir.as_ref().join(name);
        self.folder(&path);
        self.made.insert(path);
    }

    /// Whether a file may be executed.
    pub fn is_executable(&self, dir: impl AsRef<Path>, name: &str) -> bool {
        self.entry(dir.as_ref(), name).is_some_and(|entry| self.executable.contains(&entry.inode()))
    }

    /// From now on a directory is a file system of its own, with all that is below it.
    pub fn mount(&mut self, dir: impl AsRef<Path>) {
        self.mounts.insert(dir.as_ref().to_owned());
    }

    /// Whether there is such a directory.
    pub fn has_dir(&self, dir: impl AsRef<Path>) -> bool {
        self.folders.contains_key(dir.as_ref())
    }

    /// Another program puts something there that is not a regular file.
    ///
    /// # Panics
    ///
    /// Where `name` is not a safe file name.
    pub fn put_irregular(&mut self, dir: impl AsRef<Path>, name: &str) {
        let inode = self.new_inode();
        self.folder(dir.as_ref()).put_durably(file_name(name), Entry::Irregular(inode));
    }

    /// Another program removes a file, durably.
    pub fn delete(&mut self, dir: impl AsRef<Path>, name: &str) {
        self.meddle(dir.as_ref(), name);
        let name = self.known_as(dir.as_ref(), file_name(name));
        let folder = self.folder(dir.as_ref());
        folder.remove(&name);
        folder.sync(folder.barrier());
    }

    /// Another program changes a file in place, durably.
    ///
    /// # Panics
    ///
    /// Where there is no such file.
    pub fn change(&mut self, dir: impl AsRef<Path>, name: &str, offset: u64, data: &[u8]) {
        self.meddle(dir.as_ref(), name);
        let file = self.find_mut(dir.as_ref(), name).expect("no such file to change");
        file.write(offset, data.to_vec());
        file.sync(file.barrier());
    }

    /// Another program cuts a file, durably.
    ///
    /// # Panics
    ///
    /// Where there is no such file.
    pub fn truncate(&mut self, dir: impl AsRef<Path>, name: &str, len: u64) {
        self.meddle(dir.as_ref(), name);
        let file = self.find_mut(dir.as_ref(), name).expect("no such file to cut");
        file.set_len(len);
        file.sync(file.barrier());
    }

    /// Another program locks a file, or lets go of it.
    ///
    /// # Panics
    ///
    /// Where there is no such file.
    pub fn lock(&mut self, dir: impl AsRef<Path>, name: &str, locked: bool) {
        let inode = self.entry(dir.as_ref(), name).expect("no such file to lock").inode();
        if locked {
            self.locked.insert(inode);
        } else {
            self.locked.remove(&inode);
        }
    }

    /// A file by its name.
    pub fn find(&self, dir: impl AsRef<Path>, name: &str) -> Option<&File> {
        self.files.get(&self.entry(dir.as_ref(), name)?.inode())
    }

    /// Whether a power cut now would leave these bytes of a file as they are, under a name that it would also leave.
    pub fn keeps(&self, inode: u64, ranges: &RangeSet) -> bool {
        if self.meddled.contains(&inode) {
            return true;
        }
        let Some(file) = self.files.get(&inode) else { return false };
        let same = |range: core::ops::Range<u64>| {
            file.durable_image().read(range.clone()) == file.current().read(range)
        };
        ranges.iter().all(same) && self.folders.values().any(|folder| folder.names_durably(inode))
    }

    /// The content of a file.
    pub fn content(&self, dir: impl AsRef<Path>, name: &str) -> Option<Vec<u8>> {
        let image = self.find(dir, name)?.current();
        Some(image.read(0..image.len()))
    }

    /// The names in a directory, in order.
    pub fn names(&self, dir: impl AsRef<Path>) -> Vec<String> {
        let folder = self.folders.get(dir.as_ref());
        folder.into_iter().flat_map(Folder::names).map(|(name, _)| name.as_str().to_owned()).collect()
    }

    /// Whether a power cut now would leave the name standing for the same file, with all of its content.
    pub fn is_durable(&self, dir: impl AsRef<Path>, name: &str) -> bool {
        let name = self.known_as(dir.as_ref(), file_name(name));
        let Some(folder) = self.folders.get(dir.as_ref()) else { return false };
        let entry = folder.find(&name);
        entry.is_some()
            && entry == folder.find_durable(&name)
            && entry.and_then(|entry| self.files.get(&entry.inode())).is_some_and(File::is_synced)
    }

    /// How many files the engine holds open.
    pub fn open_files(&self) -> usize {
        self.open.len()
    }

    /// How many operations are under way.
    pub fn operations_under_way(&self) -> usize {
        self.under_way.len()
    }

    /// The directory behind a key.
    pub fn dir_path(&self, dir: DirKey) -> Option<&Path> {
        self.dirs.get(&dir).map(PathBuf::as_path)
    }

    fn entry(&self, dir: &Path, name: &str) -> Option<Entry> {
        self.folders.get(dir)?.find(&self.known_as(dir, file_name(name)))
    }

    /// The name under which a directory knows what is meant by `name`.
    fn known_as(&self, dir: &Path, name: FileName) -> FileName {
        let Some(folder) = self.folders.get(dir).filter(|_| self.folds_case) else { return name };
        let same = |known: &&FileName| known.as_str().eq_ignore_ascii_case(name.as_str());
        folder.names().map(|(known, _)| known).find(same).cloned().unwrap_or(name)
    }

    fn meddle(&mut self, dir: &Path, name: &str) {
        self.meddled.extend(self.entry(dir, name).map(Entry::inode));
    }

    fn find_mut(&mut self, dir: &Path, name: &str) -> Option<&mut File> {
        let inode = self.entry(dir, name)?.inode();
        self.files.get_mut(&inode)
    }

    fn folder(&mut self, dir: &Path) -> &mut Folder {
        self.folders.entry(dir.to_owned()).or_default()
    }

    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode - 1
    }

    /// How many bytes all files take.
    pub fn bytes_in_use(&self) -> u64 {
        self.files.values().map(File::allocated).sum()
    }
}

fn file_name(name: &str) -> FileName {
    FileName::new(name).or_else(|| part_name(name)).unwrap_or_else(|| panic!("{name:?} is no safe file name"))
}

/// The name of a partial file may be longer than a name that a user may choose.
fn part_name(name: &str) -> Option<FileName> {
    name.strip_suffix(".part").and_then(FileName::new).map(|name| name.partial())
}
