//! Machine: the files of one torrent.
//!
//! ```text
//! dir_ready() ─▶ Surveying ─▶ Checking ─▶ Ready ─▶ Resting ─▶ Rested
//! ```
//!
//! Blocks are gathered into large writes, and every piece is hashed from memory as it is written. A file is called
//! `NAME.part` until all of its pieces are right, and gets its name when it is synced. The parts of pieces that belong to
//! files that are not wanted are kept in one hidden file beside them. Files and folders are opened when they are needed,
//! each name by itself below an open folder; few are open at once, and none when nothing happens.

mod assembly;
mod blocks;
mod check;
mod finish;
mod folders;
mod handles;
mod moved;
mod output;
mod progress;
mod rest;
mod saved;
mod serving;
mod survey;
mod syncs;

pub use self::output::{CheckScope, DiskTag, FilesPlan, Output};
pub use self::saved::FilesSaved;

use self::assembly::Assembly;
use self::check::{Batch, Check};
use self::finish::{Checkpoint, Step};
use self::folders::{FolderState, Folders, ROOT};
use self::handles::{Handles, NameWork, Slot};
use self::rest::Rest;
use self::serving::{Reading, Serving};
use self::survey::Survey;
use self::syncs::{Node, Syncs};
use super::layout::{Layout, Span};
use crate::base::disk::{DirKey, DiskError, DiskResult, FileIdentity, HashKey};
use crate::base::{Bitfield, Block, BlockData, Instant, PieceIndex, RangeSet};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The files of one torrent.
#[derive(Debug)]
pub struct TorrentFiles {
    plan: FilesPlan,
    saved: FilesSaved,
    phase: Phase,
    now: Instant,
    keys: u64,
    next_key: u64,
    /// The pieces that are right.
    have: Bitfield,
    /// Where each file is; the last is the one for parts that are kept apart.
    places: Box<[Place]>,
    /// How many pieces of each file are not there.
    left: Box<[u32]>,
    /// The files that are whole and have their names.
    done: Box<[bool]>,
    /// How many wanted files are not done.
    undone: u32,
    /// `None` before [`Output::Ready`].
    wanted_len: Option<u64>,
    completed_len: u64,
    folders: Folders,
    opening_folders: BTreeMap<u32, DirKey>,
    handles: Handles,
    next_tag: u64,
    /// What goes on when an operation ends.
    ops: BTreeMap<u64, Context>,
    /// What goes on because it could not even be begun.
    failed: VecDeque<(Context, DiskError)>,
    survey: Survey,
    /// Whether all files are looked for again, before a check.
    looking_again: bool,
    /// Files that were made or renamed meanwhile.
    changed: BTreeSet<u32>,
    /// Files that were found at the start and that the store did not know.
    fresh: Vec<u32>,
    check: Option<Box<Check>>,
    /// A check that was asked for, until it can begin.
    asked: Option<CheckScope>,
    pieces: BTreeMap<u32, Assembly>,
    /// Bytes of unfinished pieces that were written since the last checkpoint began.
    written: RangeSet,
    in_memory: u64,
    /// How much of that is not yet with the disk.
    held: u64,
    flush_at: Option<Instant>,
    syncs: Syncs,
    checkpoint: Option<Box<Checkpoint>>,
    /// Files that are whole and wait for their turn.
    whole: BTreeSet<u32>,
    finishing: BTreeMap<u32, Step>,
    /// Parts that were kept apart and are in their files now, which are not synced yet.
    brought: BTreeSet<(u32, u32)>,
    told_finished: bool,
    next_read: u64,
    reading: BTreeMap<u64, (u64, Reading)>,
    serving: BTreeMap<u64, Serving>,
    /// Whether what is to be made must be put into the store before.
    needs_record: bool,
    recording: bool,
    dropping_parts: bool,
    /// Whether what was written survives the death of this process.
    is_local: bool,
    /// Whether blocks were written, read or served since all files were closed.
    in_use: bool,
    idle_at: Option<Instant>,
    outputs: VecDeque<Output>,
}

#[derive(Debug, PartialEq)]
enum Phase {
    /// Waiting for the directory.
    Waiting,
    /// Looking which files there are.
    Surveying,
    /// Hashing what is not known.
    Checking,
    /// Taking blocks.
    Ready,
    /// Coming to rest.
    Resting(Rest),
    /// At rest.
    Rested,
}

/// Where a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Absent,
    There {
        identity: FileIdentity,
        len: u64,
        /// Whether it has its final name.
        named: bool,
    },
}

/// What goes on when an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    /// It was about a name.
    Name(NameWork),
    /// It was about an open file.
    Job(Slot, Then),
    /// It was about no file.
    Free(Then),
    /// It reserved room for a new file.
    Allocate(Slot),
}

/// What goes on when something was done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Wrote { piece: PieceIndex, begin: u64, len: u64, fed: bool },
    Fed { piece: PieceIndex, begin: u64, len: u64, hash: HashKey },
    CheckedBatch(Batch),
    CheckedPart { piece: PieceIndex, hash: HashKey, end: u64 },
    ReadPart { id: u64, index: usize },
    Serve { token: u64, index: usize },
    Synced,
    Prepared,
    Executable,
    Bringing { file: u32, piece: u32 },
    Brought { file: u32, piece: u32 },
}

impl TorrentFiles {
    /// The files of a torrent that starts, or goes on where `saved` says. `keys` is the first of 2^20 numbers that are
    /// its own to name directories, files and digests.
    pub fn new(plan: FilesPlan, saved: Option<FilesSaved>, keys: u64) -> Self {
        let layout = &plan.layout;
        let files = layout.files() as usize;
        let saved = saved.filter(|saved| saved.fits(layout)).unwrap_or_else(|| FilesSaved::new(layout));
        Self {
            have: Bitfield::new(layout.grid().pieces()),
            places: vec![Place::Absent; files + 1].into(),
            left: (0..layout.files()).map(|file| progress::piece_count(layout, file)).collect(),
            done: vec![false; files].into(),
            undone: 0,
            wanted_len: None,
            completed_len: 0,
            folders: Folders::new(&plan.metainfo),
            plan,
            saved,
            phase: Phase::Waiting,
            now: Instant::ZERO,
            keys,
            next_key: 0,
            opening_folders: BTreeMap::new(),
            handles: Handles::default(),
            next_tag: 0,
            ops: BTreeMap::new(),
            failed: VecDeque::new(),
            survey: Survey::default(),
            looking_again: false,
            changed: BTreeSet::new(),
            fresh: Vec::new(),
            check: None,
            asked: None,
            pieces: BTreeMap::new(),
            written: RangeSet::new(),
            in_memory: 0,
            held: 0,
            flush_at: None,
            syncs: Syncs::default(),
            checkpoint: None,
            whole: BTreeSet::new(),
            finishing: BTreeMap::new(),
            brought: BTreeSet::new(),
            told_finished: false,
            next_read: 0,
            reading: BTreeMap::new(),
            serving: BTreeMap::new(),
            needs_record: false,
            recording: false,
            dropping_parts: false,
            is_local: true,
            in_use: false,
            idle_at: None,
            outputs: VecDeque::new(),
        }
    }

    /// The directory is open, or cannot be.
    pub fn dir_ready(&mut self, now: Instant, dir: Result<DirKey, DiskError>) {
        match dir {
            Ok(key) => {
                self.folders.set_state(ROOT, FolderState::Open(key));
                if self.phase == Phase::Waiting {
                    self.phase = Phase::Surveying;
                }
            }
            Err(error) => self.leave_for_directory(error),
        }
        self.settle(now);
    }

    /// Takes a block that arrived: one of those that [`PieceGrid::blocks`](crate::base::PieceGrid::blocks) gives. One
    /// that is there already is dropped.
    pub fn write(&mut self, now: Instant, block: Block, data: BlockData) {
        self.now = now;
        self.take_block(now, block, data);
        self.settle(now);
    }

    /// Reads some bytes of a piece that is there; [`Output::Read`] answers.
    pub fn read(&mut self, now: Instant, token: u64, block: Block) {
        self.begin_read(token, block, false);
        self.settle(now);
    }

    /// Reads some bytes of a piece that was whole and wrong, as [`read`](Self::read) does of one that is right.
    pub fn read_unproved(&mut self, now: Instant, token: u64, block: Block) {
        self.begin_read(token, block, true);
        self.settle(now);
    }

    /// Opens the files that some bytes of a piece lie in, for a driver that sends from a file; [`Output::Spans`]
    /// answers, or [`Output::Read`] where that cannot be (padding, parts of unwanted files, too many open files).
    pub fn serve(&mut self, now: Instant, token: u64, block: Block) {
        self.begin_serve(token, block);
        self.settle(now);
    }

    /// What [`Output::Spans`] gave has been sent, or will not be.
    pub fn served(&mut self, now: Instant, token: u64) {
        self.end_serving(token);
        self.settle(now);
    }

    /// Hashes what is on the disk; [`Output::Checked`] answers. It begins after [`Output::Ready`]; ignored while one that
    /// was asked for is under way.
    pub fn check(&mut self, now: Instant, scope: CheckScope) {
        self.asked = Some(scope);
        self.begin_asked();
        self.settle(now);
    }

    /// Which files are not wanted from now on.
    pub fn set_unwanted(&mut self, now: Instant, unwanted: BTreeSet<u32>) {
        self.plan.unwanted = unwanted;
        if self.phase == Phase::Ready {
            self.claim_missing();
            self.recount();
            self.begin_finishing();
        }
        self.settle(now);
    }

    /// Makes what was written so far durable; [`Output::Durable`] follows if that is more than before.
    pub fn checkpoint(&mut self, now: Instant) {
        if self.phase == Phase::Ready {
            self.begin_checkpoint();
        }
        self.settle(now);
    }

    /// The store knows [`saved`](Self::saved).
    pub fn recorded(&mut self, now: Instant) {
        if core::mem::take(&mut self.recording) && self.phase == Phase::Ready && !self.needs_record {
            self.open_recorded();
            self.remove_parts();
        }
        self.settle(now);
    }

    /// Brings everything to rest: what is under way ends, what came is written and made durable, all files are closed.
    pub fn stop(&mut self, now: Instant) {
        self.rest(false);
        self.settle(now);
    }

    /// Brings everything to rest and removes the files and directories that this torrent made.
    pub fn discard(&mut self, now: Instant) {
        self.rest(true);
        self.settle(now);
    }

    /// The operation with that tag ended.
    pub fn handle_disk(&mut self, now: Instant, tag: DiskTag, result: DiskResult) {
        self.now = now;
        if let Some(context) = self.ops.remove(&tag.0) {
            self.on_done(context, result);
        }
        self.settle(now);
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) gave.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush();
        }
        if self.idle_at.is_some_and(|at| at <= now) {
            self.idle_at = None;
            self.close_all();
        }
        self.settle(now);
    }

    /// The next output; nothing else happens in here.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flush_at.into_iter().chain(self.idle_at).min()
    }

    // ----- views -----------------------------------------------------------------------------------------------------

    /// Where the files lie.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.plan.layout
    }

    /// The pieces whose hash was right and whose bytes are with the operating system.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// The pieces that a power cut would leave.
    pub fn durable(&self) -> &Bitfield {
        self.saved.pieces()
    }

    /// Whether [`checkpoint`](Self::checkpoint) would do anything.
    pub fn needs_sync(&self) -> bool {
        self.needs_note() || !self.written.is_empty()
    }

    /// Whether pieces are there that are not durable, which [`note`](Self::note) would tell of.
    pub fn needs_note(&self) -> bool {
        self.have.has_more_than(&self.saved.pieces)
    }

    /// How many bytes are in memory because of these files.
    pub fn backlog(&self) -> u64 {
        self.in_memory
    }

    /// What the store must know.
    pub fn saved(&self) -> &FilesSaved {
        &self.saved
    }

    /// The numbers of pieces that are there and not yet durable: what a killed process leaves to be looked at by
    /// [`FilesSaved::suspect`]. Empty where that would be of no use.
    pub fn note(&self) -> RangeSet {
        let mut note = RangeSet::new();
        if self.is_local && self.needs_note() {
            let grid = self.plan.layout.grid();
            let written = self.have.ones().filter_map(|piece| grid.piece(piece));
            for piece in written.filter(|piece| !self.saved.pieces.has(*piece)) {
                note.insert(u64::from(piece.get())..u64::from(piece.get()) + 1);
            }
        }
        note
    }

    /// Whether a file is wanted; padding never is.
    pub fn is_wanted(&self, file: u32) -> bool {
        let layout = &self.plan.layout;
        file < layout.files() && !layout.is_pad(file) && !self.plan.unwanted.contains(&file)
    }

    /// Whether a wanted file has its final name and all of its content.
    pub fn is_done(&self, file: u32) -> bool {
        self.done.get(file as usize).is_some_and(|done| *done)
    }

    /// How many bytes of a file are in pieces that are there.
    pub fn file_progress(&self, file: u32) -> u64 {
        saved::bytes_of(&self.plan.layout, &self.have, file)
    }

    /// The length of all wanted files in bytes; `None` before [`Output::Ready`].
    pub fn wanted_len(&self) -> Option<u64> {
        self.wanted_len
    }

    /// How many bytes of wanted files are in pieces that are there; `None` before [`Output::Ready`].
    pub fn completed_len(&self) -> Option<u64> {
        self.wanted_len.map(|_| self.completed_len)
    }

    // ----- moving on -------------------------------------------------------------------------------------------------

    /// Does what can be done now that something changed.
    fn settle(&mut self, now: Instant) {
        self.now = now;
        loop {
            while let Some((context, error)) = self.failed.pop_front() {
                self.on_done(context, Err(error));
            }
            let phase = core::mem::discriminant(&self.phase);
            match self.phase {
                Phase::Surveying => self.pump_survey(),
                Phase::Ready if self.looking_again => {
                    self.pump_survey();
                    self.pump_check();
                }
                Phase::Checking | Phase::Ready => self.pump_check(),
                Phase::Resting(_) => self.pump_rest(),
                Phase::Waiting | Phase::Rested => {}
            }
            self.pump_finishing();
            self.pump_syncs();
            self.pump_opens();
            if self.failed.is_empty() && phase == core::mem::discriminant(&self.phase) {
                break;
            }
        }
        self.ask_to_record();
        self.watch_idleness();
    }

    fn ask_to_record(&mut self) {
        if self.phase != Phase::Ready || self.recording || !(self.needs_record || self.waits_for_record()) {
            return;
        }
        self.claim_unrecorded();
        self.needs_record = false;
        self.recording = true;
        self.outputs.push_back(Output::Record);
    }

    fn watch_idleness(&mut self) {
        let is_open = self.handles.any_open() || self.folders.any_open();
        let is_idle = is_open && self.ops.is_empty() && self.pieces.is_empty() && self.handles.pinned == 0;
        match self.phase {
            // Of a thousand torrents that are only checked not a thousand files are open.
            Phase::Ready if is_idle && !self.in_use && !self.needs_sync() => {
                self.idle_at = None;
                self.close_all();
            }
            Phase::Ready if is_idle => _ = self.idle_at.get_or_insert(self.now + IDLE),
            _ => self.idle_at = None,
        }
    }

    fn on_done(&mut self, context: Context, result: DiskResult) {
        match context {
            Context::Name(work) => self.on_name(work, result),
            Context::Job(slot, then) => self.on_job(slot, then, result),
            Context::Free(then) => self.on_then(None, then, result),
            Context::Allocate(slot) => self.on_allocated(slot, result),
        }
    }

    fn on_name(&mut self, work: NameWork, result: DiskResult) {
        match work {
            NameWork::Subfolder(folder, create) => self.on_folder(folder, create, result),
            NameWork::Look { file, named } => self.on_looked(file, named, result),
            NameWork::Open(slot, mode) => self.on_opened(slot, mode, result),
            NameWork::Unname(slot) => self.on_unnamed(slot, result),
            NameWork::LookToName(file) => self.on_look_to_name(file, result),
            NameWork::Name(file) => self.on_named(file, result),
            NameWork::Sync(folder) => self.on_synced(Node::Folder(folder), result),
            NameWork::LookToRemove(file) => self.on_look_to_remove(file, result),
            NameWork::Remove(file) => self.on_removed(file, result),
            NameWork::RemoveFolder(_) => self.on_folder_removed(),
        }
    }

    fn on_job(&mut self, slot: Slot, then: Then, result: DiskResult) {
        match then {
            Then::Serve { token, index } => self.on_open_to_serve(slot, token, index, result),
            then => self.on_then(Some(slot.0), then, result),
        }
    }

    fn on_then(&mut self, file: Option<u32>, then: Then, result: DiskResult) {
        let of = file.unwrap_or(PARTS);
        match then {
            Then::Wrote { .. } => self.on_wrote(of, then, result),
            Then::Fed { .. } => self.on_fed(file, then, result),
            Then::CheckedBatch(batch) => self.on_batch(of, batch, result),
            Then::CheckedPart { .. } => self.on_part_checked(file, then, result),
            Then::ReadPart { id, index } => self.on_part_read(id, index, result),
            Then::Synced => self.on_synced(Node::File(of), result),
            Then::Prepared => self.on_prepared(of, result),
            Then::Executable => self.on_executable(of, &result),
            Then::Bringing { file, piece } => self.on_bringing(file, piece, result),
            Then::Brought { file, piece } => self.on_brought(file, piece, result),
            Then::Serve { .. } => {}
        }
    }
}

/// Stands for the file that keeps parts of files that are not wanted.
const PARTS: u32 = u32::MAX;

/// Files and folders are closed when nothing was done for this long.
const IDLE: Duration = Duration::from_secs(10);

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod model;
#[cfg(test)]
mod tests;
