//! Machine: moves the files of a finished download to another directory.
//!
//! ```text
//! Open ─▶ Sweep ─▶ Free ─▶ Carry ─▶ Sync ─▶ (the store learns that all is there) ─▶ Clear ─▶ ended
//!                            │ failed
//!                            └─▶ Sweep ─▶ Carry back ─▶ Sync ─▶ Clear ─▶ ended
//! ```
//!
//! Files are renamed where that is possible, and else copied under a name that nobody else uses, synced, and given their
//! name; what was copied is removed only after the store knows that all of it arrived. The store knows both places
//! from before the first change until after the last. Which file is where is found out by looking: after a crash
//! everything is gone through again, and what has been done is left as it is. One operation is under way at a time.

mod carry;
mod plan;
mod side;

pub use self::plan::{Item, MovePlan, MovingSaved};

use self::carry::Carry;
use self::side::{Entered, Side};
use super::DownloadError;
use super::error::DiskAction;
use crate::base::FileName;
use crate::base::disk::{DirKey, DiskError, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileIdentity};
use std::collections::VecDeque;
use std::path::PathBuf;

/// A move under way.
#[derive(Debug)]
pub struct Move {
    plan: MovePlan,
    saved: MovingSaved,
    from: Side,
    to: Side,
    /// Why everything goes back, where it does.
    error: Option<DownloadError>,
    step: Step,
    /// Which file, folder or entry of a list has its turn.
    at: usize,
    /// All folders of the files; when they are to be removed, those that are ours, and those below others first.
    folders: Vec<Vec<FileName>>,
    stopped: bool,
    keys: u64,
    next_dir: u64,
    /// Names the file that is copied; the next number names its copy.
    file: u64,
    outputs: VecDeque<Output>,
}

/// What a move asks for, or tells.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Perform a disk operation; [`Move::handle_disk`] answers where it has a completion.
    Disk(DiskOp),
    /// Put [`Move::saved`] into the store; [`Move::recorded`] answers.
    Record,
    /// All is in the new directory: put that into the store, with the copies that [`Move::saved`] names in the places of
    /// what they were made from; [`Move::recorded`] answers.
    Arrived,
    /// It is over, and nothing is open; the last output.
    Ended(MoveEnd),
}

/// How a move ended.
#[derive(Debug, PartialEq)]
pub enum MoveEnd {
    /// All is in the new directory, and nothing is left in the old one.
    Done,
    /// All is where it was.
    Undone(DownloadError),
    /// Neither was possible; the next try goes on.
    Stuck(DownloadError),
    /// It was stopped; the next try goes on.
    Stopped,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Opening the directories.
    OpenFrom,
    OpenTo,
    /// Removing a copy that was not finished.
    Sweep,
    /// Looking whether the names are free.
    Free(usize),
    /// Moving the files, one after the other.
    Carry(Carry),
    /// Making names durable, in the one directory and then in the other.
    Sync(Place),
    /// Waiting for the store.
    Recording(Recording),
    /// Removing what was copied, by their names.
    Clear(usize),
    Remove(usize),
    /// Removing folders that are empty now.
    ClearFolders,
    ClearSync,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recording {
    /// That something will be made.
    Begin,
    /// Which file a copy is that gets this name.
    Copy(usize),
    Arrival,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    From,
    To,
}

impl Move {
    /// A move that begins, or goes on where `saved` says. `keys` is the first of 2^20 numbers that are its own to name
    /// directories and files.
    pub fn new(plan: MovePlan, saved: MovingSaved, keys: u64) -> Self {
        let (from, to) = if saved.arrived {
            (saved.other.clone(), plan.dir.clone())
        } else {
            (plan.dir.clone(), saved.other.clone())
        };
        let mut machine = Self {
            folders: plan.folders(),
            plan,
            saved,
            from: Side::new(from),
            to: Side::new(to),
            error: None,
            step: Step::OpenFrom,
            at: 0,
            stopped: false,
            keys,
            next_dir: 0,
            file: 0,
            outputs: VecDeque::new(),
        };
        machine.advance();
        machine
    }

    /// The operation that was asked for ended.
    pub fn handle_disk(&mut self, result: DiskResult) {
        if self.stopped {
            self.on_stopped(result);
            return self.end(MoveEnd::Stopped);
        }
        let result = match self.side_that_opens() {
            Some(side) => match side.opened(result) {
                Ok(()) => return self.advance(),
                Err(error) => Err(error),
            },
            None => result,
        };
        self.on_result(result);
        self.advance();
    }

    /// The store knows what it was to know.
    pub fn recorded(&mut self) {
        let Step::Recording(what) = self.step else { return };
        if self.stopped {
            return self.end(MoveEnd::Stopped);
        }
        match what {
            Recording::Begin => self.begin(Step::Carry(Carry::There(0))),
            Recording::Copy(name) => self.step = Step::Carry(Carry::Name(name)),
            Recording::Arrival => self.begin(Step::Clear(0)),
        }
        self.advance();
    }

    /// The store could not take what it was to know.
    pub fn fail(&mut self, error: DownloadError) {
        match self.step {
            Step::Recording(_) if self.stopped => self.end(MoveEnd::Stopped),
            Step::Recording(Recording::Arrival) => self.end(MoveEnd::Stuck(error)),
            Step::Recording(_) => {
                self.turn_back(error);
                self.advance();
            }
            _ => {}
        }
    }

    /// Ends it as soon as the operation under way has ended; a later one goes on.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// The next output; nothing else happens in here.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What the store must know, until all has arrived.
    pub fn saved(&self) -> &MovingSaved {
        &self.saved
    }

    /// What the store must know from then on.
    pub fn left_behind(&self) -> MovingSaved {
        let copied = self.plan.items.iter().filter(|item| self.saved.copies.contains_key(&item.number));
        MovingSaved {
            other: self.plan.dir.clone(),
            arrived: true,
            copies: copied.map(|item| (item.number, item.identity)).collect(),
            folders: self.plan.own_folders.clone(),
        }
    }

    // ----- what is done next -----------------------------------------------------------------------------------------

    /// Asks for the next operation, or whatever else is waited for.
    fn advance(&mut self) {
        while self.outputs.iter().all(|output| matches!(output, Output::Disk(op) if !op.completes())) {
            match self.step {
                Step::OpenFrom => return self.open_root(Place::From),
                Step::OpenTo => return self.open_root(Place::To),
                Step::Sweep => {
                    let (dir, name) = (self.to.root(), self.plan.copy_name.clone());
                    return self.emit(DiskOp::Remove { dir, name });
                }
                Step::Free(name) => self.look(Place::To, name),
                Step::Carry(carry) => self.carry(carry),
                Step::Sync(place) => self.sync(place),
                Step::Recording(_) | Step::Ended => return,
                Step::Clear(name) => self.clear(name),
                Step::Remove(name) => {
                    let (dir, (_, name)) = (self.side(self.clearing()).reached(), self.named(name));
                    return self.emit(DiskOp::Remove { dir, name });
                }
                Step::ClearFolders => self.clear_folders(),
                Step::ClearSync => {
                    let dir = self.side(self.clearing()).root();
                    return self.emit(DiskOp::SyncDir { dir });
                }
            }
        }
    }

    fn open_root(&mut self, place: Place) {
        let dir = self.take_dir();
        let path = self.side_mut(place).open_root(dir);
        self.emit(DiskOp::OpenDir { dir, path });
    }

    /// Looks for the file that has its turn under one of its names, or goes on with the step after the last file.
    fn look(&mut self, place: Place, name: usize) {
        let Some(item) = self.plan.items.get(self.at) else { return self.after_last() };
        let (folder, Some(name)) = (item.folder.clone(), item.names.get(name).cloned()) else {
            return self.not_found();
        };
        if let Some(dir) = self.enter(place, &folder, false) {
            self.emit(DiskOp::Stat { dir, name });
        }
    }

    fn sync(&mut self, place: Place) {
        match self.folders.get(self.at).cloned() {
            Some(folder) => {
                if let Some(dir) = self.enter(place, &folder, false) {
                    self.emit(DiskOp::SyncDir { dir });
                }
            }
            None if place == self.direction().1 => self.begin(Step::Sync(self.direction().0)),
            None if self.error.is_some() => self.begin(Step::Clear(0)),
            None => {
                self.step = Step::Recording(Recording::Arrival);
                self.outputs.push_back(Output::Arrived);
            }
        }
    }

    fn clear(&mut self, name: usize) {
        if self.plan.items.get(self.at).is_some_and(|item| self.leftover(item).is_none()) {
            self.next_item();
        } else {
            self.look(self.clearing(), name);
        }
    }

    fn clear_folders(&mut self) {
        match self.folders.get(self.at).and_then(|folder| folder.split_last()) {
            Some((name, parent)) => {
                let (name, parent) = (name.clone(), parent.to_vec());
                if let Some(dir) = self.enter(self.clearing(), &parent, false) {
                    self.emit(DiskOp::RemoveDir { dir, name });
                }
            }
            None => self.begin(Step::ClearSync),
        }
    }

    /// From now on the folders are those that are to be removed.
    fn begin_clearing_folders(&mut self) {
        let ours = match self.clearing() {
            Place::From if !self.saved.arrived => &self.plan.own_folders,
            _ => &self.saved.folders,
        };
        self.folders.retain(|folder| (1..=folder.len()).any(|len| ours.contains(&folder[..len])));
        self.folders.reverse();
        self.begin(Step::ClearFolders);
    }

    // ----- what came of it -------------------------------------------------------------------------------------------

    fn on_result(&mut self, result: DiskResult) {
        match (self.step, result) {
            (Step::OpenFrom, Ok(_)) => self.step = Step::OpenTo,
            (Step::OpenTo, Ok(_)) if self.saved.arrived => self.begin(Step::Clear(0)),
            (Step::OpenTo, Ok(_)) => self.begin(Step::Sweep),
            (Step::OpenFrom | Step::OpenTo, Err(error)) => {
                let side = if self.step == Step::OpenFrom { &mut self.from } else { &mut self.to };
                side.not_there();
                let path = side.path();
                self.cannot_open(DownloadError::Disk { action: DiskAction::OpenDirectory, path, error });
            }
            (Step::Sweep, Ok(_)) if self.plan.is_new && self.error.is_none() => self.begin(Step::Free(0)),
            (Step::Sweep, Ok(_)) => self.begin(Step::Carry(Carry::There(0))),
            (Step::Free(_), Err(_)) if let Some(folder) = self.to.missing() => {
                self.saved.folders.insert(folder.to_vec());
                self.next_item();
            }
            (Step::Free(name), Ok(DiskOk::Found(None))) => self.step = Step::Free(name + 1),
            (Step::Free(name), Ok(_)) => self.turn_back(DownloadError::Exists { path: self.path(name) }),
            (Step::Carry(carry), result) => self.on_carried(carry, result),
            (Step::Clear(name), Ok(DiskOk::Found(Some(stat)))) if self.is_leftover(stat.identity) => {
                self.step = Step::Remove(name);
            }
            (Step::Clear(name), Ok(_)) => self.step = Step::Clear(name + 1),
            // What cannot be removed stays.
            (Step::Clear(_), Err(_)) | (Step::Remove(_), _) => self.next_item(),
            (Step::Sync(_), Ok(_)) | (Step::ClearFolders, _) => self.at += 1,
            (Step::Sync(place), Err(_)) if self.side(place).missing().is_some() => self.at += 1,
            (Step::ClearSync, _) => match self.error.take() {
                Some(error) => self.end(MoveEnd::Undone(error)),
                None => self.end(MoveEnd::Done),
            },
            (Step::Sweep, Err(error)) => self.turn_back_for(DiskAction::Remove, error),
            (Step::Free(_), Err(error)) => self.turn_back_for(DiskAction::Open, error),
            (Step::Sync(_), Err(error)) => self.turn_back_for(DiskAction::Sync, error),
            (Step::Recording(_) | Step::Ended, _) => {}
        }
    }

    /// A file is under none of its names.
    fn not_found(&mut self) {
        match self.step {
            Step::Free(_) | Step::Clear(_) => self.next_item(),
            Step::Carry(Carry::There(_)) => self.step = Step::Carry(Carry::Here(0)),
            // Going back, it was not moved.
            Step::Carry(_) if self.error.is_some() => self.next_item(),
            _ => self.turn_back_for(DiskAction::Open, DiskErrorKind::NotFound.into()),
        }
    }

    fn next_item(&mut self) {
        self.at += 1;
        self.step = match self.step {
            Step::Free(_) => Step::Free(0),
            Step::Clear(_) | Step::Remove(_) => Step::Clear(0),
            _ => Step::Carry(Carry::There(0)),
        };
    }

    fn after_last(&mut self) {
        match self.step {
            Step::Free(_) => self.record(Recording::Begin),
            Step::Clear(_) => self.begin_clearing_folders(),
            _ => self.begin(Step::Sync(self.direction().1)),
        }
    }

    fn record(&mut self, what: Recording) {
        self.step = Step::Recording(what);
        self.outputs.push_back(Output::Record);
    }

    fn begin(&mut self, step: Step) {
        self.at = 0;
        self.step = step;
    }

    // ----- going back ------------------------------------------------------------------------------------------------

    fn turn_back_for(&mut self, action: DiskAction, error: DiskError) {
        let path = self.path(0);
        self.turn_back(DownloadError::Disk { action, path, error });
    }

    fn turn_back(&mut self, error: DownloadError) {
        match self.error.take() {
            None => {
                self.error = Some(error);
                self.begin(Step::Sweep);
            }
            // Neither forth nor back.
            Some(_) => self.end(MoveEnd::Stuck(error)),
        }
    }

    /// One of the directories cannot be opened.
    fn cannot_open(&mut self, error: DownloadError) {
        let end = if self.plan.is_new { MoveEnd::Undone(error) } else { MoveEnd::Stuck(error) };
        self.end(end);
    }

    fn on_stopped(&mut self, result: DiskResult) {
        let is_open = matches!(result, Ok(DiskOk::Opened { .. }));
        match self.side_that_opens() {
            Some(side) => drop(side.opened(result)),
            None if result.is_err() => match self.step {
                Step::OpenFrom => self.from.not_there(),
                Step::OpenTo => self.to.not_there(),
                _ => {}
            },
            None => {}
        }
        self.close_copying();
        match self.step {
            Step::Carry(Carry::OpenOriginal(_)) if is_open => {
                self.emit(DiskOp::Close { file: self.original() })
            }
            Step::Carry(Carry::OpenCopy(_)) if is_open => self.emit(DiskOp::Close { file: self.copy() }),
            _ => {}
        }
    }

    fn end(&mut self, end: MoveEnd) {
        self.step = Step::Ended;
        let dirs: Vec<DirKey> = self.from.close().chain(self.to.close()).collect();
        dirs.into_iter().for_each(|dir| self.emit(DiskOp::CloseDir { dir }));
        self.outputs.push_back(Output::Ended(end));
    }

    // ----- what is where ---------------------------------------------------------------------------------------------

    /// From where to where files are carried.
    fn direction(&self) -> (Place, Place) {
        if self.error.is_some() { (Place::To, Place::From) } else { (Place::From, Place::To) }
    }

    /// Where things are left behind.
    fn clearing(&self) -> Place {
        self.direction().0
    }

    /// Whether the file that has its turn is this one.
    fn is_original(&self, identity: FileIdentity) -> bool {
        self.plan.items.get(self.at).is_some_and(|item| item.identity == identity)
    }

    /// The same, or its copy while files are carried forth.
    fn is_known(&self, identity: FileIdentity) -> bool {
        let copy = self.plan.items.get(self.at).and_then(|item| self.saved.copies.get(&item.number));
        self.is_original(identity) || self.error.is_none() && copy == Some(&identity)
    }

    /// Which file a copy has left behind where it is cleared.
    fn leftover(&self, item: &Item) -> Option<FileIdentity> {
        let copy = self.saved.copies.get(&item.number).copied();
        match self.error.is_some() || self.saved.arrived {
            true => copy,
            false => copy.map(|_| item.identity),
        }
    }

    fn is_leftover(&self, identity: FileIdentity) -> bool {
        self.plan.items.get(self.at).and_then(|item| self.leftover(item)) == Some(identity)
    }

    /// The folder of the file that has its turn, and one of its names.
    fn named(&self, name: usize) -> (Vec<FileName>, FileName) {
        let item = self.plan.items.get(self.at);
        let found = item.and_then(|item| Some((item.folder.clone(), item.names.get(name)?.clone())));
        found.unwrap_or_else(|| (Vec::new(), self.plan.copy_name.clone()))
    }

    /// The path of a file for messages: where it goes.
    fn path(&self, name: usize) -> PathBuf {
        let (folder, name) = self.named(name);
        let mut path = self.side(self.direction().1).path();
        path.extend(folder.iter().chain([&name]).map(FileName::as_str));
        path
    }

    fn side(&self, place: Place) -> &Side {
        match place {
            Place::From => &self.from,
            Place::To => &self.to,
        }
    }

    fn side_mut(&mut self, place: Place) -> &mut Side {
        match place {
            Place::From => &mut self.from,
            Place::To => &mut self.to,
        }
    }

    fn side_that_opens(&mut self) -> Option<&mut Side> {
        [&mut self.from, &mut self.to].into_iter().find(|side| side.is_opening())
    }

    /// The folder's key where it is open; otherwise it is being opened now.
    fn enter(&mut self, place: Place, folder: &[FileName], create: bool) -> Option<DirKey> {
        let dir = self.take_dir();
        loop {
            match self.side_mut(place).enter(folder, create, dir) {
                Entered::There(key) => return Some(key),
                Entered::Close(dir) => self.emit(DiskOp::CloseDir { dir }),
                Entered::Open(op) => {
                    self.emit(op);
                    return None;
                }
            }
        }
    }

    fn emit(&mut self, op: DiskOp) {
        self.outputs.push_back(Output::Disk(op));
    }

    /// The keys of directories that the engine opens by their paths count from 0.
    fn take_dir(&mut self) -> DirKey {
        self.next_dir += 1;
        DirKey((self.keys + self.next_dir % KEYS) | 1 << 63)
    }
}

/// How many numbers there are to name things by.
const KEYS: u64 = 1 << 20;
