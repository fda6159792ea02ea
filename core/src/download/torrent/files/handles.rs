//! How operations reach their files: folders and files are opened when something is to be done in them, and closed
//! when others need the room, or nothing is to be done any more.

use super::folders::{FolderState, ROOT};
use super::syncs::Node;
use super::{Context, Output, PARTS, Phase, Place, Then, TorrentFiles};
use crate::base::disk::{
    AllocationMode, DirKey, DiskError, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileKey, FileRange,
    FileStat, HashAlgorithm, HashKey, OpenMode,
};
use crate::base::{FileName, RangeSet};
use crate::wire::torrent::Metainfo;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Reading what is there: nothing is locked, and nothing need be writable.
    Read,
    /// Everything; made where it is missing.
    Write,
}

/// An open file, or one that is to be opened.
pub(super) type Slot = (u32, Access);

/// Something to do with an open file.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) slot: Slot,
    pub(super) op: JobOp,
    pub(super) then: Then,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum JobOp {
    Write {
        offset: u64,
        data: Vec<Bytes>,
    },
    WriteHashed {
        offset: u64,
        data: Vec<Bytes>,
        hash: HashKey,
        finish: bool,
    },
    Read {
        offset: u64,
        len: u32,
    },
    Hash {
        offset: u64,
        len: u64,
        hash: HashKey,
        finish: bool,
    },
    HashSpans(Vec<FileRange>),
    Sync,
    SetLen(u64),
    SetExecutable,
    /// Nothing: it is enough that it is open.
    Touch,
}

impl JobOp {
    /// The bytes that are in memory for it.
    fn held(&self) -> u64 {
        match self {
            Self::Write { data, .. } | Self::WriteHashed { data, .. } => {
                data.iter().map(|part| part.len() as u64).sum()
            }
            _ => 0,
        }
    }

    fn on(self, file: FileKey) -> Option<DiskOp> {
        let algorithm = HashAlgorithm::Sha1;
        Some(match self {
            Self::Write { offset, data } => DiskOp::Write { file, offset, data },
            Self::WriteHashed { offset, data, hash, finish } => {
                DiskOp::WriteHashed { file, offset, data, hash, algorithm, finish }
            }
            Self::Read { offset, len } => DiskOp::Read { file, offset, len },
            Self::Hash { offset, len, hash, finish } => {
                let input = crate::base::disk::HashInput::File { file, offset, len };
                DiskOp::Hash { hash, algorithm, input, finish }
            }
            Self::HashSpans(spans) => DiskOp::HashSpans { file, algorithm, spans },
            Self::Sync => DiskOp::Sync { file },
            Self::SetLen(len) => DiskOp::SetLen { file, len },
            Self::SetExecutable => DiskOp::SetExecutable { file },
            Self::Touch => return None,
        })
    }

    /// How long the file is at least once it is done.
    fn reach(&self) -> Option<u64> {
        match self {
            Self::Write { offset, data } | Self::WriteHashed { offset, data, .. } => {
                Some(data.iter().fold(*offset, |end, part| end.saturating_add(part.len() as u64)))
            }
            _ => None,
        }
    }
}

/// Something to do in an open folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameWork {
    /// Opening a folder in it; made where this is set.
    Subfolder(u32, bool),
    /// Looking for a file under its final name, or under its partial one.
    Look { file: u32, named: bool },
    /// Opening a file.
    Open(Slot, OpenMode),
    /// Taking the final name from a file that is not whole, so that it can be opened.
    Unname(Slot),
    /// Looking whether a file that is to get its final name is still ours.
    LookToName(u32),
    /// Giving a whole file its final name.
    Name(u32),
    /// Making names durable.
    Sync(u32),
    /// Looking whether a file is still ours, to remove it.
    LookToRemove(u32),
    /// Removing a file.
    Remove(u32),
    /// Removing a folder, if it is empty.
    RemoveFolder(u32),
}

/// Files that are open or to be opened.
#[derive(Debug, Default)]
pub(super) struct Handles {
    handles: BTreeMap<Slot, Handle>,
    /// Those that wait for room.
    queue: VecDeque<Slot>,
    /// Those that wait until the store knows that they are to be made.
    unrecorded: Vec<Slot>,
    /// How many are open or being opened.
    open: usize,
    /// How many of them must stay open.
    pub(super) pinned: usize,
    clock: u64,
}

#[derive(Debug)]
struct Handle {
    key: FileKey,
    state: HandleState,
    waiting: VecDeque<Job>,
    pins: u32,
    used: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandleState {
    Queued,
    Opening,
    Open,
}

impl Handles {
    /// Whether anything is open or being opened.
    pub(super) fn any_open(&self) -> bool {
        self.open > 0
    }

    /// Keeps a file open until [`unpin`](Self::unpin).
    pub(super) fn pin(&mut self, slot: Slot) -> Option<FileKey> {
        let handle = self.handles.get_mut(&slot)?;
        handle.pins += 1;
        self.pinned += usize::from(handle.pins == 1);
        Some(handle.key)
    }

    /// Lets a file be closed again.
    pub(super) fn unpin(&mut self, slot: Slot) {
        if let Some(handle) = self.handles.get_mut(&slot).filter(|handle| handle.pins > 0) {
            handle.pins -= 1;
            self.pinned -= usize::from(handle.pins == 0);
        }
    }

    /// Whether a file is open for this.
    pub(super) fn is_open(&self, slot: Slot) -> bool {
        self.handles.get(&slot).is_some_and(|handle| handle.state == HandleState::Open)
    }

    /// Whether a file is open for this, or to be opened.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.handles.contains_key(&slot)
    }

    /// Gives up all jobs that wait, but for those that make data durable, and those that `write` blocks to files that
    /// may be made already. Says how many bytes they held in memory.
    pub(super) fn drop_waiting(&mut self, write: bool) -> u64 {
        let mut freed = 0;
        let unrecorded = &self.unrecorded;
        for (slot, handle) in &mut self.handles {
            let write = write && !unrecorded.contains(slot);
            handle.waiting.retain(|job| {
                let is_of_block = matches!(job.then, Then::Wrote { .. } | Then::Fed { .. });
                let stays = matches!(job.op, JobOp::Sync) || write && is_of_block && job.op.reach().is_some();
                freed += if stays { 0 } else { job.op.held() };
                stays
            });
        }
        // What waits for the store will not be made any more.
        for slot in self.unrecorded.drain(..) {
            self.open -= usize::from(self.handles.remove(&slot).is_some());
        }
        let is_idle = |handle: &Handle| handle.state == HandleState::Queued && handle.waiting.is_empty();
        self.handles.retain(|_, handle| !is_idle(handle));
        let left = &self.handles;
        self.queue.retain(|slot| left.contains_key(slot));
        freed
    }

    fn evict(&mut self) -> Option<FileKey> {
        let can_go = |handle: &&Handle| handle.state == HandleState::Open && handle.pins == 0;
        let oldest = self.handles.iter().filter(|(_, handle)| can_go(handle));
        let slot = oldest.min_by_key(|(_, handle)| handle.used).map(|(slot, _)| *slot)?;
        self.close(slot)
    }

    /// Closes a file, unless it must stay open or is being opened.
    pub(super) fn close(&mut self, slot: Slot) -> Option<FileKey> {
        let handle = self.handles.get(&slot)?;
        if handle.state != HandleState::Open || handle.pins > 0 {
            return None;
        }
        self.open -= 1;
        self.handles.remove(&slot).map(|handle| handle.key)
    }

    fn all_open(&self) -> Vec<Slot> {
        let open = |(_, handle): &(&Slot, &Handle)| handle.state == HandleState::Open;
        self.handles.iter().filter(open).map(|(slot, _)| *slot).collect()
    }

    /// Lets all files be closed, whoever may still send from them.
    pub(super) fn unpin_all(&mut self) {
        self.handles.values_mut().for_each(|handle| handle.pins = 0);
        self.pinned = 0;
    }
}

impl TorrentFiles {
    // ----- operations ------------------------------------------------------------------------------------------------

    /// Asks for an operation; `context` is handed to whoever goes on when it has ended.
    pub(super) fn emit(&mut self, context: Context, op: DiskOp) {
        self.next_tag += 1;
        let tag = super::DiskTag(self.next_tag);
        self.ops.insert(self.next_tag, context);
        self.outputs.push_back(Output::Disk(tag, op));
    }

    /// Asks for an operation that has no completion.
    pub(super) fn emit_release(&mut self, op: DiskOp) {
        self.next_tag += 1;
        self.outputs.push_back(Output::Disk(super::DiskTag(self.next_tag), op));
    }

    /// A number that is not in use.
    pub(super) fn take_key(&mut self) -> u64 {
        let key = self.keys + self.next_key % KEYS;
        self.next_key += 1;
        key
    }

    // ----- folders ---------------------------------------------------------------------------------------------------

    /// Does something in a folder, which is made first where `create` is set and it is missing.
    pub(super) fn in_folder(&mut self, folder: u32, create: bool, work: NameWork) {
        match self.folders.state(folder) {
            FolderState::Open(_) => self.emit_in_folder(folder, work),
            FolderState::Missing if !create => {
                self.failed.push_back((Context::Name(work), DiskErrorKind::NotFound.into()));
            }
            FolderState::Opening(_) => self.folders.get_mut(folder).waiting.push((create, work)),
            FolderState::Closed | FolderState::Missing => {
                self.folders.get_mut(folder).waiting.push((create, work));
                self.open_folder(folder, create);
            }
        }
    }

    fn open_folder(&mut self, folder: u32, create: bool) {
        if folder == ROOT {
            // It is given, and stays open.
            return;
        }
        self.folders.set_state(folder, FolderState::Opening(create));
        let parent = self.folders.get(folder).parent;
        self.in_folder(parent, create, NameWork::Subfolder(folder, create));
    }

    fn emit_in_folder(&mut self, folder: u32, work: NameWork) {
        let Some(dir) = self.folders.touch(folder) else { return };
        let op = match work {
            NameWork::Subfolder(child, create) => self.op_to_open_folder(dir, child, create),
            NameWork::Look { file, named } => Some(DiskOp::Stat { dir, name: self.name_of(file, named) }),
            NameWork::Open(slot, mode) => self.op_to_open(dir, slot, mode),
            NameWork::Unname((file, _)) => {
                let (from, to) = (self.name_of(file, true), self.name_of(file, false));
                Some(DiskOp::Rename { dir, from, to, replace: false })
            }
            NameWork::Name(file) => {
                let (from, to) = (self.name_of(file, false), self.name_of(file, true));
                Some(DiskOp::Rename { dir, from, to, replace: false })
            }
            NameWork::Sync(_) => Some(DiskOp::SyncDir { dir }),
            NameWork::LookToName(file) => Some(DiskOp::Stat { dir, name: self.name_of(file, false) }),
            NameWork::LookToRemove(file) => {
                Some(DiskOp::Stat { dir, name: self.name_of(file, self.is_named(file)) })
            }
            NameWork::Remove(file) => {
                Some(DiskOp::Remove { dir, name: self.name_of(file, self.is_named(file)) })
            }
            NameWork::RemoveFolder(child) => {
                self.folders.get(child).name.clone().map(|name| DiskOp::RemoveDir { dir, name })
            }
        };
        if let Some(op) = op {
            self.emit(Context::Name(work), op);
        }
    }

    fn op_to_open_folder(&mut self, parent: DirKey, child: u32, create: bool) -> Option<DiskOp> {
        let name = self.folders.get(child).name.clone()?;
        // The keys of directories that the engine opens by their paths count from 0.
        let dir = DirKey(self.take_key() | 1 << 63);
        self.opening_folders.insert(child, dir);
        Some(DiskOp::OpenSubdir { parent, name, dir, create })
    }

    pub(super) fn on_folder(&mut self, folder: u32, create: bool, result: DiskResult) {
        let key = self.opening_folders.remove(&folder);
        let waiting = core::mem::take(&mut self.folders.get_mut(folder).waiting);
        match (result, key) {
            (Ok(DiskOk::OpenedDir { created }), Some(key)) => {
                self.folders.set_state(folder, FolderState::Open(key));
                if created {
                    self.on_folder_made(folder);
                }
                waiting.into_iter().for_each(|(_, work)| self.emit_in_folder(folder, work));
                while let Some(dir) = self.folders.evict(MAX_OPEN_FOLDERS) {
                    self.emit_release(DiskOp::CloseDir { dir });
                }
            }
            (Err(error), _) if error.kind == DiskErrorKind::NotFound && !create => {
                self.folders.set_state(folder, FolderState::Missing);
                waiting.into_iter().for_each(|(create, work)| self.in_folder(folder, create, work));
            }
            (result, _) => {
                let error = result.err().unwrap_or(DiskErrorKind::Io.into());
                self.folders.set_state(folder, FolderState::Closed);
                self.failed.extend(waiting.into_iter().map(|(_, work)| (Context::Name(work), error)));
            }
        }
    }

    fn on_folder_made(&mut self, folder: u32) {
        let parent = self.folders.get(folder).parent;
        self.syncs.dirty(Node::Folder(parent));
        if !self.is_our_folder(folder) {
            let path = self.folders.path(folder);
            self.saved.folders.insert(path);
        }
    }

    /// Whether a folder, or one that it lies in, was made for this torrent.
    pub(super) fn is_our_folder(&self, folder: u32) -> bool {
        self.folders
            .chain(folder)
            .any(|folder| folder != ROOT && self.saved.folders.contains(&self.folders.path(folder)))
    }

    // ----- files -----------------------------------------------------------------------------------------------------

    /// Does something with a file, once it is open.
    pub(super) fn submit(&mut self, job: Job) {
        let slot = job.slot;
        if self.handles.is_open(slot) {
            self.run(job);
            return;
        }
        let key = match self.handles.handles.get_mut(&slot) {
            Some(handle) => return handle.waiting.push_back(job),
            None => FileKey(self.take_key()),
        };
        let waiting = VecDeque::from([job]);
        let handle = Handle { key, state: HandleState::Queued, waiting, pins: 0, used: 0 };
        self.handles.handles.insert(slot, handle);
        self.handles.queue.push_back(slot);
    }

    fn run(&mut self, job: Job) {
        self.handles.clock += 1;
        let Some(handle) = self.handles.handles.get_mut(&job.slot) else { return };
        handle.used = self.handles.clock;
        let (key, slot, then) = (handle.key, job.slot, job.then);
        match job.op.on(key) {
            Some(op) => self.emit(Context::Job(slot, then), op),
            None => self.on_job(slot, then, Ok(DiskOk::Done)),
        }
    }

    /// Opens what waits, as far as there is room.
    pub(super) fn pump_opens(&mut self) {
        while let Some(slot) = self.handles.queue.front().copied() {
            if self.handles.open >= MAX_OPEN_FILES {
                let Some(file) = self.handles.evict() else { return };
                self.emit_release(DiskOp::Close { file });
            }
            self.handles.queue.pop_front();
            if let Some(handle) = self.handles.handles.get_mut(&slot) {
                handle.state = HandleState::Opening;
                self.handles.open += 1;
                self.begin_open(slot);
            }
        }
    }

    fn begin_open(&mut self, slot: Slot) {
        let (file, access) = slot;
        let folder = self.folders.of(file);
        match (self.place(file), access) {
            (Place::Absent, Access::Read) => self.fail_open(slot, DiskErrorKind::NotFound.into()),
            (Place::Absent, Access::Write) if self.is_recorded(file) => {
                self.in_folder(folder, true, NameWork::Open(slot, OpenMode::CreateNew));
            }
            // The store is not told any more.
            (Place::Absent, Access::Write) if self.phase != Phase::Ready => self.forgo(slot),
            (Place::Absent, Access::Write) => self.handles.unrecorded.push(slot),
            (Place::There { named: true, .. }, Access::Write)
                if file != PARTS && self.is_incomplete(file) =>
            {
                self.in_folder(folder, false, NameWork::Unname(slot));
            }
            (Place::There { .. }, _) => self.open_existing(slot),
        }
    }

    /// A file will not be made, and what was to be written to it is given up.
    fn forgo(&mut self, slot: Slot) {
        let Some(handle) = self.handles.handles.remove(&slot) else { return };
        self.handles.open -= usize::from(handle.state != HandleState::Queued);
        for job in handle.waiting {
            self.in_memory = self.in_memory.saturating_sub(job.op.held());
            if matches!(job.op, JobOp::Sync) {
                self.failed.push_back((Context::Job(job.slot, job.then), DiskErrorKind::NotFound.into()));
            }
        }
    }

    fn open_existing(&mut self, slot: Slot) {
        let mode = match slot.1 {
            Access::Read => OpenMode::ReadOnly,
            Access::Write => OpenMode::Existing,
        };
        self.in_folder(self.folders.of(slot.0), false, NameWork::Open(slot, mode));
    }

    /// The store knows all files that are to be made.
    pub(super) fn open_recorded(&mut self) {
        for slot in core::mem::take(&mut self.handles.unrecorded) {
            self.begin_open(slot);
        }
    }

    /// Whether something cannot be opened before the store knows of it.
    pub(super) fn waits_for_record(&self) -> bool {
        !self.handles.unrecorded.is_empty()
    }

    /// Marks what is to be made as ours, so that it can be put into the store.
    pub(super) fn claim_unrecorded(&mut self) {
        let files: Vec<u32> = self.handles.unrecorded.iter().map(|slot| slot.0).collect();
        files.into_iter().for_each(|file| self.saved.file_mut(file).ours = true);
    }

    fn op_to_open(&self, dir: DirKey, slot: Slot, mode: OpenMode) -> Option<DiskOp> {
        let file = self.handles.handles.get(&slot)?.key;
        let name = self.name_of(slot.0, self.is_named(slot.0));
        Some(DiskOp::Open { dir, name, file, mode })
    }

    pub(super) fn on_unnamed(&mut self, slot: Slot, result: DiskResult) {
        let folder = self.folders.of(slot.0);
        match result {
            Ok(_) => {
                self.set_named(slot.0, false);
                self.syncs.dirty(Node::Folder(folder));
            }
            // The partial name is taken: then it is mended under its own.
            Err(error) if error.kind == DiskErrorKind::Exists => {}
            Err(error) => return self.fail_open(slot, error),
        }
        self.open_existing(slot);
    }

    pub(super) fn on_opened(&mut self, slot: Slot, mode: OpenMode, result: DiskResult) {
        let (stat, local) = match result {
            Ok(DiskOk::Opened { stat, local }) => (stat, local),
            Ok(_) => return self.fail_open(slot, DiskErrorKind::Io.into()),
            Err(error) if error.kind == DiskErrorKind::NotFound && self.is_expendable(slot) => {
                // It is gone, and nothing of it counted.
                self.set_place(slot.0, Place::Absent);
                return self.begin_open(slot);
            }
            Err(error) => return self.fail_open(slot, error),
        };
        let Some(key) = self.handles.handles.get(&slot).map(|handle| handle.key) else { return };
        self.is_local &= local;
        match self.place(slot.0) {
            Place::There { identity, .. } if identity != stat.identity => {
                // Somebody replaced it since it was looked at.
                self.emit_release(DiskOp::Close { file: key });
                self.fail_open(slot, DiskErrorKind::NotFound.into());
            }
            Place::There { .. } => self.opened(slot),
            Place::Absent => self.on_file_made(slot, mode, stat),
        }
    }

    fn is_expendable(&self, (file, access): Slot) -> bool {
        let mut pieces = self.plan.layout.pieces_of(file);
        access == Access::Write
            && self.is_there(file)
            && file != PARTS
            && !pieces.any(|piece| self.have.has(piece))
    }

    fn on_file_made(&mut self, slot: Slot, mode: OpenMode, stat: FileStat) {
        let (file, len) = (slot.0, self.plan.layout.len_of(slot.0));
        let named = file != PARTS && len == 0;
        let waiting = self.handles.handles.get(&slot).map(|handle| handle.waiting.iter());
        let reach = waiting.into_iter().flatten().filter_map(|job| job.op.reach()).max();
        let reach = reach.unwrap_or(0).max(stat.len);
        self.set_place(file, Place::There { identity: stat.identity, len: reach, named });
        self.note_change(file);
        self.saved.file_mut(file).identity = Some(stat.identity);
        self.syncs.dirty(Node::Folder(self.folders.of(file)));
        let allocation = self.plan.allocation;
        let key = self.handles.handles.get(&slot).map(|handle| handle.key);
        match key {
            Some(file) if allocation != AllocationMode::None && len > 0 && mode == OpenMode::CreateNew => {
                self.emit(Context::Allocate(slot), DiskOp::Allocate { file, len, mode: allocation });
            }
            _ => self.opened(slot),
        }
    }

    pub(super) fn on_allocated(&mut self, slot: Slot, result: DiskResult) {
        match result {
            Ok(_) => {
                let len = self.plan.layout.len_of(slot.0);
                self.grow(slot.0, len);
                self.opened(slot);
            }
            Err(error) => {
                if let Some(file) = self.handles.handles.get(&slot).map(|handle| handle.key) {
                    self.emit_release(DiskOp::Close { file });
                }
                self.fail_open(slot, error);
            }
        }
    }

    fn opened(&mut self, slot: Slot) {
        let Some(handle) = self.handles.handles.get_mut(&slot) else { return };
        handle.state = HandleState::Open;
        let waiting = core::mem::take(&mut handle.waiting);
        waiting.into_iter().for_each(|job| self.run(job));
    }

    pub(super) fn fail_open(&mut self, slot: Slot, error: DiskError) {
        let Some(handle) = self.handles.handles.remove(&slot) else { return };
        self.handles.open -= usize::from(handle.state != HandleState::Queued);
        let jobs = handle.waiting.into_iter();
        self.failed.extend(jobs.map(|job| (Context::Job(job.slot, job.then), error)));
    }

    /// Closes a file that is not needed for this any more.
    pub(super) fn close_file(&mut self, slot: Slot) {
        if let Some(file) = self.handles.close(slot) {
            self.emit_release(DiskOp::Close { file });
        }
    }

    /// Closes everything that can be.
    pub(super) fn close_all(&mut self) {
        self.in_use = false;
        self.handles.all_open().into_iter().for_each(|slot| self.close_file(slot));
        while let Some(dir) = self.folders.evict(0) {
            self.emit_release(DiskOp::CloseDir { dir });
        }
        self.give_back_room();
    }

    /// Maps keep the room that they had: a thousand torrents at rest would hold it for nothing.
    fn give_back_room(&mut self) {
        if self.handles.handles.is_empty() {
            self.handles.handles = BTreeMap::new();
        }
        if self.ops.is_empty() {
            self.ops = BTreeMap::new();
        }
        if self.written.is_empty() {
            self.written = RangeSet::new();
        }
        if self.saved.blocks.is_empty() {
            self.saved.blocks = RangeSet::new();
        }
        self.syncs.give_back_room();
        self.handles.queue.shrink_to_fit();
        self.failed.shrink_to_fit();
    }

    /// Whether nothing waits for a file to be opened.
    pub(super) fn handles_are_quiet(&self) -> bool {
        self.handles.queue.is_empty()
            && self.handles.unrecorded.is_empty()
            && self.handles.handles.values().all(|handle| handle.state == HandleState::Open)
    }

    /// What a file is called: in the end, or until it is whole.
    pub(super) fn name_of(&self, file: u32, named: bool) -> FileName {
        name_in(&self.plan.metainfo, file, named)
    }
}

/// The same, of a file of any torrent.
pub(super) fn name_in(metainfo: &Metainfo, file: u32, named: bool) -> FileName {
    let found = metainfo.files().get(file as usize).and_then(|file| file.path().pop());
    match found {
        Some(name) if named => name,
        Some(name) => name.partial(),
        None => FileName::sanitise(&format!(".{}.parts", metainfo.info_hash()))
            .unwrap_or_else(|| metainfo.name().partial()),
    }
}

/// How many files of one torrent are open at most. Enough for every peer of a usual swarm to be served from another;
/// few enough that many torrents stay below the customary 1,024 of a process.
pub(super) const MAX_OPEN_FILES: usize = 40;

/// How many folders of one torrent are open at most. They are needed for opening and naming only.
const MAX_OPEN_FOLDERS: usize = 16;

/// How many numbers there are to name things by.
const KEYS: u64 = 1 << 20;
