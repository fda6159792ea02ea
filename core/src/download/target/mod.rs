//! Machine: the file of one download, from its name to its final place, with the order of things that makes a power
//! cut harmless.
//!
//! ```text
//! choose(name) ─▶ Naming ─▶ Reserving ─▶ Opening ─▶ Allocating ─▶ Ready ─▶ Finishing(..) ─▶ Closed
//!                   ▲ name taken │ recorded()          restart() ▼  ▲
//!                   └────────────┘                        Truncating
//! ```
//!
//! The store learns the names before a file of that name is made, so that no file is ever left behind unknown; what it
//! is told of the content has been synced before; and the file gets its final name only when it is whole, verified,
//! synced, and the store knows that it is about to be renamed.

mod digester;
mod finish;
mod naming;
mod runs;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod script;
mod stopping;

use self::digester::Digester;
use self::finish::Step;
use self::runs::{Run, Runs};
use super::error::{DiskAction, DownloadError};
use super::{ConflictPolicy, ExpectedChecksum};
use crate::base::disk::{
    AllocationMode, DirKey, DiskError, DiskOk, DiskOp, DiskResult, FileIdentity, FileKey, HashKey, OpenMode,
};
use crate::base::mutants::{self, Mutant};
use crate::base::{FileName, Instant, RangeSet};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

/// What a target is told at its start.
#[derive(Clone, Debug)]
pub struct TargetPlan {
    /// The directory, for messages; operations go through its key.
    pub dir_path: PathBuf,
    /// What happens when a file of the final name exists.
    pub on_conflict: ConflictPolicy,
    /// How room is reserved.
    pub allocation: AllocationMode,
    /// The digest that the whole must have.
    pub checksum: Option<ExpectedChecksum>,
}

/// What the store keeps of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The name that the file will get.
    pub final_name: FileName,
    /// The name that it has meanwhile.
    pub part_name: FileName,
    /// Which file it is, once it was made.
    pub identity: Option<FileIdentity>,
    /// What is known to be on the disk.
    pub durable: RangeSet,
    /// Whether everything is there and the file is being renamed.
    pub finalizing: bool,
}

/// What a target asks for.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Perform a disk operation.
    Disk(DiskTag, DiskOp),
    /// Put [`Target::part`] into the store; [`Target::recorded`] answers.
    Record,
    /// More is durable than before.
    Durable,
    /// The file is open; what was there before is as the part said.
    Opened,
    /// What was there before is lost, was replaced by others, or must not be trusted: start from zero.
    Lost,
    /// A file of that name exists and the policy is to leave it at that.
    Skipped,
    /// The whole does not have the expected digest but this one. The file waits for [`Target::restart`] or
    /// [`Target::discard`].
    Mismatch(ExpectedChecksum),
    /// It is whole, verified, synced and has its final name.
    Finished,
    /// Everything is at rest and closed, after [`Target::stop`], [`Target::discard`] or a failure.
    Stopped(Option<DownloadError>),
}

/// Names the operations of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskTag {
    /// Looking at the final name.
    Stat,
    /// Opening the part.
    Open,
    /// Reserving room.
    Allocate,
    /// Setting the length.
    SetLen,
    /// A write.
    Write(u32),
    /// A sync.
    Sync,
    /// Feeding the digest.
    Hash,
    /// A read for somebody who reads the file meanwhile.
    Read(u64),
    /// Giving the final name.
    Rename,
    /// Syncing the directory after the final name was given.
    SyncDir,
    /// Syncing the directory so that the part's own name is durable.
    SyncEntry,
    /// Removing the part.
    Remove,
}

/// The file of one download.
#[derive(Debug)]
pub struct Target {
    plan: TargetPlan,
    dir: Option<DirKey>,
    next_key: u64,
    state: State,
    /// The operation that the state waits for; at most one besides writes, a sync and the digest.
    control: Option<DiskTag>,
    wanted: Option<FileName>,
    number: u32,
    /// How often only the part's name had to give way.
    part_number: u32,
    /// Whether the file that is being opened is made by that.
    creating: bool,
    /// Whether the store still believes what is not so any more: it must learn that before the file changes.
    clearing: bool,
    part: Option<Part>,
    file: Option<FileKey>,
    local: bool,
    total: Option<u64>,
    /// How long the file was when it was opened.
    opened_len: u64,
    /// Whether the sync that covers the whole file was asked for.
    synced_whole: bool,
    /// Whether all bytes were given.
    whole: bool,
    /// Whether the file has its final name.
    renamed: bool,
    runs: Runs,
    parked: Vec<Run>,
    writing: BTreeMap<u32, Run>,
    in_memory: u64,
    next_write: u32,
    written: RangeSet,
    syncing: Option<RangeSet>,
    /// Whether the part's name survives a power cut: until then nothing in the file does.
    entry_durable: bool,
    digester: Option<Digester>,
    /// A digest that is not wanted any more, though an operation on it is under way.
    orphan: Option<HashKey>,
    outputs: VecDeque<Output>,
}

#[derive(Debug, PartialEq)]
enum State {
    /// Waiting for a name and for the directory.
    Unnamed,
    /// Looking whether the name is free.
    Naming,
    /// Waiting until the store knows the names.
    Reserving,
    /// Opening the part.
    Opening(OpenMode),
    /// Reserving room.
    Allocating,
    /// Taking bytes.
    Ready,
    /// Emptying the file, once old writes have ended.
    Truncating,
    /// Everything is there.
    Finishing(Step),
    /// Coming to rest.
    Stopping(Stop),
    /// At rest.
    Closed,
}

/// How a target comes to rest.
#[derive(Debug, PartialEq)]
struct Stop {
    why: Option<DownloadError>,
    /// Whether what was written is made durable first.
    sync: bool,
    /// Whether the part is removed.
    remove: bool,
    /// Whether the part's name is being looked up for that.
    removing: bool,
}

impl Stop {
    fn because(why: Option<DownloadError>) -> Self {
        Self { why, sync: false, remove: false, removing: false }
    }

    fn after_sync(self) -> Self {
        Self { sync: true, ..self }
    }

    fn removing_part(self) -> Self {
        Self { remove: true, ..self }
    }
}

impl Target {
    /// A target without a name yet. `keys` is the first of 2^20 numbers that are its own to name files and digests.
    pub fn new(plan: TargetPlan, keys: u64) -> Self {
        let mut target = Self {
            plan,
            dir: None,
            next_key: keys,
            state: State::Unnamed,
            control: None,
            wanted: None,
            number: 0,
            part_number: 0,
            creating: false,
            clearing: false,
            part: None,
            file: None,
            local: false,
            total: None,
            opened_len: 0,
            synced_whole: false,
            whole: false,
            renamed: false,
            runs: Runs::default(),
            parked: Vec::new(),
            writing: BTreeMap::new(),
            in_memory: 0,
            next_write: 0,
            written: RangeSet::new(),
            syncing: None,
            entry_durable: false,
            digester: None,
            orphan: None,
            outputs: VecDeque::new(),
        };
        target.new_digest();
        target
    }

    /// The directory is open, or cannot be.
    pub fn dir_ready(&mut self, dir: Result<DirKey, DiskError>) {
        match dir {
            Ok(dir) => self.dir = Some(dir),
            Err(error) => {
                let error = DownloadError::disk(DiskAction::OpenDirectory, &self.plan.dir_path, None, error);
                self.leave(Stop::because(Some(error)));
                if let State::Stopping(stop) = &mut self.state {
                    // What cannot be reached cannot be removed.
                    stop.remove = false;
                }
            }
        }
        self.settle();
    }

    /// Chooses the name; what arrives is kept in memory until the file is open. A second choice is ignored.
    pub fn choose(&mut self, name: FileName) {
        if self.wanted.is_none() {
            self.wanted = Some(name);
            self.settle();
        }
    }

    /// Goes on with a file of an earlier life, of which `trusted` is there.
    pub fn resume(&mut self, part: Part, trusted: RangeSet) {
        self.wanted = Some(part.final_name.clone());
        let believed = part.durable.iter().all(|range| trusted.contains(range));
        self.written = trusted;
        self.part = Some(part);
        if !believed {
            self.clear_part();
        }
        self.settle();
    }

    /// Tells the length of the whole file in bytes.
    pub fn set_total(&mut self, total: u64) {
        self.total = Some(total);
    }

    /// Takes bytes that arrived.
    pub fn write(&mut self, now: Instant, offset: u64, bytes: Bytes) {
        if matches!(self.state, State::Stopping(_) | State::Closed) {
            return;
        }
        if let Some(digester) = &mut self.digester {
            digester.offer(offset, &bytes);
        }
        self.in_memory += bytes.len() as u64;
        match self.runs.add(now, offset, bytes) {
            Some(run) if self.state == State::Ready => self.emit_write(run),
            Some(run) => self.parked.push(run),
            None => {}
        }
        self.settle();
    }

    /// Reads bytes that are there: [`DiskTag::Read`] with `token` brings them. Ignored where [`ready_from`](Self::ready_from) says
    /// that there are none.
    pub fn read(&mut self, token: u64, offset: u64, len: u32) {
        if let Some(file) = self.file {
            let op = DiskOp::Read { file, offset, len };
            self.outputs.push_back(Output::Disk(DiskTag::Read(token), op));
        }
    }

    /// How many bytes from `offset` on could be read now.
    pub fn ready_from(&self, offset: u64) -> u64 {
        let is_open = self.file.is_some() && matches!(self.state, State::Ready | State::Finishing(_));
        let end = self.written.end_of(offset).filter(|_| is_open);
        end.map_or(0, |end| end - offset)
    }

    /// The store knows [`part`](Self::part).
    pub fn recorded(&mut self) {
        match self.state {
            State::Reserving => self.open(OpenMode::CreateNew),
            State::Finishing(Step::Recording) => self.look_for_part(),
            State::Truncating => self.clearing = false,
            _ => {}
        }
        self.settle();
    }

    /// Makes what was written so far durable; [`Output::Durable`] follows if that is more than before.
    pub fn checkpoint(&mut self) {
        if self.state == State::Ready && self.needs_sync() {
            self.sync();
        }
    }

    /// Throws away what arrived and starts from zero, for another version of the file.
    pub fn restart(&mut self) {
        if self.state == State::Closed {
            return;
        }
        self.drop_memory();
        self.written = RangeSet::new();
        // What is under way still ends, but covers nothing that counts.
        self.writing.values_mut().for_each(|run| run.stale = true);
        self.syncing = self.syncing.take().map(|_| RangeSet::new());
        self.synced_whole = false;
        self.whole = false;
        self.total = None;
        self.new_digest();
        self.clear_part();
        if matches!(self.state, State::Ready | State::Allocating | State::Finishing(_)) {
            self.empty_file();
        }
        self.settle();
    }

    /// All bytes have been given to [`write`](Self::write): verifies, syncs, and gives the final name.
    pub fn finish(&mut self, total: u64) {
        self.total = Some(total);
        self.whole = true;
        if self.state == State::Ready {
            self.ready();
        }
        self.settle();
    }

    /// Brings everything to rest: writes and syncs what arrived, then closes.
    pub fn stop(&mut self) {
        if self.state == State::Ready {
            self.flush();
        }
        self.leave(Stop::because(None).after_sync());
        self.settle();
    }

    /// Brings everything to rest because of `error`, keeping what arrived.
    pub fn fail(&mut self, error: DownloadError) {
        if self.state == State::Ready {
            self.flush();
        }
        self.leave(Stop::because(Some(error)).after_sync());
        self.settle();
    }

    /// Brings everything to rest and removes the part, because of `why` or because the user wants it gone.
    pub fn discard(&mut self, why: Option<DownloadError>) {
        self.leave(Stop::because(why).removing_part());
        self.settle();
    }

    /// The operation with that tag ended.
    pub fn handle_disk(&mut self, tag: DiskTag, result: DiskResult) {
        if self.control == Some(tag) {
            self.control = None;
        }
        match tag {
            DiskTag::Stat => self.on_stat(result),
            DiskTag::Open => self.on_open(result),
            DiskTag::Allocate => self.on_prepared(DiskAction::Allocate, State::Allocating, result),
            DiskTag::SetLen => self.on_set_len(result),
            DiskTag::Write(number) => self.on_written(number, result),
            DiskTag::Sync => self.on_synced(result),
            DiskTag::Hash => self.on_hashed(result),
            DiskTag::Rename => self.on_renamed(result),
            DiskTag::SyncDir => self.on_dir_synced(result),
            DiskTag::SyncEntry => self.on_entry_synced(result),
            DiskTag::Remove | DiskTag::Read(_) => {}
        }
        self.settle();
    }

    /// Writes what has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.flush();
        }
        self.settle();
    }

    /// The next thing that is asked for.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.runs.deadline().filter(|_| self.state == State::Ready)
    }

    /// How many bytes are in memory because of this file.
    pub fn backlog(&self) -> u64 {
        self.in_memory + self.digester.as_ref().map_or(0, Digester::backlog)
    }

    /// What the store must know, once there is a name.
    pub fn part(&self) -> Option<&Part> {
        self.part.as_ref()
    }

    /// What is with the operating system, synced or not.
    pub fn written(&self) -> &RangeSet {
        &self.written
    }

    /// Whether what was written survives the death of this process, so that a note of it is worth something.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Whether [`checkpoint`](Self::checkpoint) would do anything.
    pub fn needs_sync(&self) -> bool {
        let durable = self.part.as_ref().map_or(0, |part| part.durable.len());
        self.syncing.is_none() && self.written.len() > durable
    }

    // ----- moving on -------------------------------------------------------------------------------------------------

    /// Does what the state allows now that something changed.
    fn settle(&mut self) {
        match self.state {
            State::Unnamed => self.start(),
            State::Truncating if self.is_quiet() && !self.clearing => {
                self.control(DiskTag::SetLen, |file| DiskOp::SetLen { file, len: 0 })
            }
            State::Ready => self.pump_digest(),
            State::Finishing(_) => self.advance_finish(),
            State::Stopping(_) => self.advance_stop(),
            _ => {}
        }
    }

    /// Whether no operation is under way.
    fn is_quiet(&self) -> bool {
        let hashing = self.orphan.is_some() || self.digester.as_ref().is_some_and(Digester::is_busy);
        self.control.is_none() && self.writing.is_empty() && self.syncing.is_none() && !hashing
    }

    /// Asks for an operation on the open file that the state waits for.
    fn control(&mut self, tag: DiskTag, op: impl FnOnce(FileKey) -> DiskOp) {
        if let Some(file) = self.file {
            self.control = Some(tag);
            self.outputs.push_back(Output::Disk(tag, op(file)));
        }
    }

    fn on_prepared(&mut self, action: DiskAction, state: State, result: DiskResult) {
        match result {
            Ok(_) if self.state == state => self.ready(),
            Ok(_) => {}
            Err(error) => self.leave_for(action, error),
        }
    }

    fn on_set_len(&mut self, result: DiskResult) {
        match self.state {
            State::Truncating => self.on_prepared(DiskAction::Write, State::Truncating, result),
            State::Finishing(_) => self.on_trimmed(result),
            _ => {}
        }
    }

    /// Nothing of the file counts any more.
    fn clear_part(&mut self) {
        if let Some(part) = &mut self.part {
            self.clearing |= !part.durable.is_empty() || part.finalizing;
            part.durable = RangeSet::new();
            part.finalizing = false;
        }
    }

    /// Empties the file, once the store knows that nothing in it counts.
    fn empty_file(&mut self) {
        self.state = State::Truncating;
        if self.clearing {
            self.outputs.push_back(Output::Record);
        }
    }

    fn ready(&mut self) {
        self.state = State::Ready;
        self.flush();
        if !self.whole {
            return;
        }
        if self.part.as_ref().is_some_and(|part| part.finalizing) {
            // An earlier life had verified and synced it.
            self.rename();
        } else {
            self.state = State::Finishing(Step::Writes);
        }
    }

    // ----- writing ---------------------------------------------------------------------------------------------------

    /// Gives everything in memory to the disk.
    fn flush(&mut self) {
        for run in core::mem::take(&mut self.parked).into_iter().chain(self.runs.take()) {
            self.emit_write(run);
        }
    }

    fn emit_write(&mut self, mut run: Run) {
        let Some(file) = self.file else { return };
        let number = self.next_write;
        self.next_write = number.wrapping_add(1);
        let (offset, data) = (run.offset, core::mem::take(&mut run.parts));
        self.outputs.push_back(Output::Disk(DiskTag::Write(number), DiskOp::Write { file, offset, data }));
        self.writing.insert(number, run);
    }

    fn on_written(&mut self, number: u32, result: DiskResult) {
        let Some(run) = self.writing.remove(&number) else { return };
        self.in_memory = self.in_memory.saturating_sub(run.len);
        match result {
            Ok(_) if run.stale => {}
            Ok(_) => self.written.insert(run.offset..run.offset + run.len),
            Err(error) => self.leave_for(DiskAction::Write, error),
        }
    }

    fn sync(&mut self) {
        let Some(file) = self.file else { return };
        self.syncing = Some(self.written.clone());
        let op = if mutants::is(Mutant::SyncNothing) {
            DiskOp::Read { file, offset: 0, len: 0 }
        } else {
            DiskOp::Sync { file }
        };
        self.outputs.push_back(Output::Disk(DiskTag::Sync, op));
    }

    fn on_synced(&mut self, result: DiskResult) {
        let Some(synced) = self.syncing.take() else { return };
        let Some(part) = &mut self.part else { return };
        match result {
            Ok(_) if self.state == State::Truncating => {}
            Ok(_) if !self.entry_durable && !mutants::is(Mutant::SkipEntrySync) => self.sync_entry(synced),
            Ok(_) => {
                let later = mutants::is(Mutant::SyncCoversLater);
                part.durable = if later { self.written.clone() } else { synced };
                self.outputs.push_back(Output::Durable);
            }
            Err(error) => {
                // After a failed sync nothing is known of what was not durable before; it is fetched again.
                self.written = part.durable.clone();
                self.local = false;
                self.leave_for(DiskAction::Sync, error);
            }
        }
    }

    /// The first sync of a new file is worth nothing before its name is durable too.
    fn sync_entry(&mut self, synced: RangeSet) {
        let Some(dir) = self.dir else { return };
        self.syncing = Some(synced);
        self.outputs.push_back(Output::Disk(DiskTag::SyncEntry, DiskOp::SyncDir { dir }));
    }

    fn on_entry_synced(&mut self, result: DiskResult) {
        self.entry_durable = result.is_ok();
        if self.syncing.is_some() {
            self.on_synced(result);
        }
    }

    fn pump_digest(&mut self) {
        let total = self.total.filter(|_| matches!(self.state, State::Finishing(_)));
        let (Some(digester), Some(file)) = (&mut self.digester, self.file) else { return };
        if let Some(op) = digester.next(file, &self.written, total) {
            self.outputs.push_back(Output::Disk(DiskTag::Hash, op));
        }
    }

    fn on_hashed(&mut self, result: DiskResult) {
        if let Some(hash) = self.orphan.take() {
            self.outputs.push_back(Output::Disk(DiskTag::Hash, DiskOp::HashDrop { hash }));
            return;
        }
        let Some(digester) = &mut self.digester else { return };
        digester.done();
        match result {
            Ok(DiskOk::Hashed(Some(digest))) => self.on_digest(digest),
            Ok(_) => {}
            Err(error) => self.leave_for(DiskAction::Read, error),
        }
    }

    /// Starts the digest anew; one under way is forgotten when its operation ends.
    fn new_digest(&mut self) {
        self.drop_digest();
        if let Some(checksum) = self.plan.checksum.clone() {
            let key = HashKey(self.take_key());
            self.digester = Some(Digester::new(checksum, key));
        }
    }

    fn drop_digest(&mut self) {
        let Some(digester) = self.digester.take() else { return };
        if digester.is_busy() {
            self.orphan = Some(digester.key());
        } else {
            self.outputs.push_back(Output::Disk(DiskTag::Hash, DiskOp::HashDrop { hash: digester.key() }));
        }
    }

    fn take_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key - 1
    }
}
