//! How one file is carried over: renamed where that is possible, else copied, synced and named.

use super::{KEYS, Move, Place, Recording, Step};
use crate::base::disk::{DiskErrorKind, DiskOk, DiskOp, DiskResult, FileIdentity, FileKey, OpenMode};
use crate::download::DownloadError;
use crate::download::error::DiskAction;
use bytes::Bytes;

/// How far one file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carry {
    /// Looking for it where it goes, under one of its names.
    There(usize),
    /// Looking for it where it was.
    Here(usize),
    Rename(usize),
    OpenOriginal(usize),
    OpenCopy(usize),
    Read(Copying),
    Write(Copying),
    Execute(Copying),
    SyncCopy(Copying),
    /// The copy gets its name.
    Name(usize),
}

/// A file that is being copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copying {
    name: usize,
    identity: FileIdentity,
    /// How many bytes are written.
    done: u64,
}

impl Move {
    /// Asks for the next operation on the file that has its turn.
    pub(super) fn carry(&mut self, carry: Carry) {
        let (source, target) = self.direction();
        match carry {
            Carry::There(name) => self.look(target, name),
            Carry::Here(name) => self.look(source, name),
            Carry::Rename(name) => {
                let (folder, name) = self.named(name);
                let dir = self.enter(source, &folder, false);
                if let (Some(dir), Some(to_dir)) = (dir, dir.and_then(|_| self.enter(target, &folder, true)))
                {
                    self.emit(DiskOp::Move { dir, from: name.clone(), to_dir, to: name });
                }
            }
            Carry::OpenOriginal(name) => {
                let (folder, name) = self.named(name);
                let file = self.original();
                if let Some(dir) = self.enter(source, &folder, false) {
                    self.emit(DiskOp::Open { dir, name, file, mode: OpenMode::ReadOnly });
                }
            }
            Carry::OpenCopy(_) => {
                let (dir, name) = (self.to.root(), self.plan.copy_name.clone());
                let file = self.copy();
                self.emit(DiskOp::Open { dir, name, file, mode: OpenMode::CreateNew });
            }
            Carry::Read(Copying { done: offset, .. }) => {
                self.emit(DiskOp::Read { file: self.original(), offset, len: COPIED_AT_ONCE });
            }
            Carry::Execute(_) => self.emit(DiskOp::SetExecutable { file: self.copy() }),
            Carry::SyncCopy(_) => self.emit(DiskOp::Sync { file: self.copy() }),
            // It was asked for when there was something to write.
            Carry::Write(_) => {}
            Carry::Name(name) => {
                let (folder, to) = self.named(name);
                let (dir, from) = (self.to.root(), self.plan.copy_name.clone());
                if let Some(to_dir) = self.enter(target, &folder, true) {
                    self.emit(DiskOp::Move { dir, from, to_dir, to });
                }
            }
        }
    }

    pub(super) fn on_carried(&mut self, carry: Carry, result: DiskResult) {
        let (source, target) = self.direction();
        let is_missing = |place: Place| self.side(place).missing().is_some();
        match (carry, result) {
            (Carry::There(_), Ok(DiskOk::Found(Some(stat)))) if self.is_known(stat.identity) => {
                self.next_item();
            }
            (Carry::There(name), Ok(DiskOk::Found(Some(_)))) => {
                self.turn_back(DownloadError::Exists { path: self.path(name) });
            }
            // What is in a folder that is missing is missing.
            (Carry::There(_), Err(_)) if is_missing(target) => self.step = Step::Carry(Carry::Here(0)),
            (Carry::There(name), Ok(_)) => self.step = Step::Carry(Carry::There(name + 1)),
            (Carry::Here(name), Ok(DiskOk::Found(Some(stat)))) if self.is_original(stat.identity) => {
                self.step = Step::Carry(Carry::Rename(name));
            }
            (Carry::Here(_), Err(_)) if is_missing(source) => self.not_found(),
            (Carry::Here(name), Ok(_)) => self.step = Step::Carry(Carry::Here(name + 1)),
            (Carry::Rename(_) | Carry::Name(_), Ok(_)) => self.next_item(),
            (Carry::Rename(name), Err(error))
                if error.kind == DiskErrorKind::CrossDevice && self.error.is_none() =>
            {
                self.step = Step::Carry(Carry::OpenOriginal(name));
            }
            (Carry::Rename(name) | Carry::Name(name), Err(error)) if error.kind == DiskErrorKind::Exists => {
                self.turn_back(DownloadError::Exists { path: self.path(name) });
            }
            // Some file systems know nothing of this.
            (Carry::Execute(copying), Err(_)) => self.step = Step::Carry(Carry::SyncCopy(copying)),
            (_, Err(error)) => {
                self.close_copying();
                self.turn_back_for(action_of(carry), error);
            }
            (carry, Ok(ok)) => self.on_copied(carry, ok),
        }
    }

    fn on_copied(&mut self, carry: Carry, ok: DiskOk) {
        let next = match (carry, ok) {
            (Carry::OpenOriginal(name), DiskOk::Opened { stat, .. }) if self.is_original(stat.identity) => {
                Carry::OpenCopy(name)
            }
            (Carry::OpenCopy(name), DiskOk::Opened { stat, .. }) => {
                Carry::Read(Copying { name, identity: stat.identity, done: 0 })
            }
            (Carry::Read(copying), DiskOk::Data(data)) if data.is_empty() => self.after_last_byte(copying),
            (Carry::Read(copying), DiskOk::Data(data)) => return self.write(copying, data),
            (Carry::Write(copying), _) => Carry::Read(copying),
            (Carry::Execute(copying), _) => Carry::SyncCopy(copying),
            (Carry::SyncCopy(Copying { name, identity, .. }), _) => {
                self.close_copying();
                self.file += 2;
                if let Some(item) = self.plan.items.get(self.at) {
                    self.saved.copies.insert(item.number, identity);
                }
                return self.record(Recording::Copy(name));
            }
            // Somebody replaced it since it was looked at.
            (Carry::OpenOriginal(_), DiskOk::Opened { .. }) => {
                self.emit(DiskOp::Close { file: self.original() });
                return self.turn_back_for(DiskAction::Open, DiskErrorKind::NotFound.into());
            }
            (carry, _) => {
                self.step = Step::Carry(carry);
                self.close_copying();
                return self.turn_back_for(action_of(carry), DiskErrorKind::NotFound.into());
            }
        };
        self.step = Step::Carry(next);
    }

    fn after_last_byte(&self, copying: Copying) -> Carry {
        let executable = self.plan.items.get(self.at).is_some_and(|item| item.executable);
        if executable { Carry::Execute(copying) } else { Carry::SyncCopy(copying) }
    }

    fn write(&mut self, copying: Copying, data: Bytes) {
        let (file, offset) = (self.copy(), copying.done);
        let done = offset.saturating_add(data.len() as u64);
        self.step = Step::Carry(Carry::Write(Copying { done, ..copying }));
        self.emit(DiskOp::Write { file, offset, data: vec![data] });
    }

    /// Closes what a copy holds open.
    pub(super) fn close_copying(&mut self) {
        let open = match self.step {
            Step::Carry(Carry::OpenCopy(_)) => 1,
            Step::Carry(Carry::Read(_) | Carry::Write(_) | Carry::Execute(_) | Carry::SyncCopy(_)) => 2,
            _ => 0,
        };
        let files = [self.original(), self.copy()];
        files.into_iter().take(open).for_each(|file| self.emit(DiskOp::Close { file }));
    }

    pub(super) const fn original(&self) -> FileKey {
        FileKey(self.keys + self.file % KEYS)
    }

    pub(super) const fn copy(&self) -> FileKey {
        FileKey(self.original().0 + 1)
    }
}

const fn action_of(carry: Carry) -> DiskAction {
    match carry {
        Carry::There(_) | Carry::Here(_) | Carry::OpenOriginal(_) => DiskAction::Open,
        Carry::Rename(_) | Carry::Name(_) => DiskAction::Rename,
        Carry::OpenCopy(_) => DiskAction::Create,
        Carry::Read(_) => DiskAction::Read,
        Carry::Write(_) | Carry::Execute(_) => DiskAction::Write,
        Carry::SyncCopy(_) => DiskAction::Sync,
    }
}

/// How many bytes are copied at once: enough that few operations are needed, and little memory.
const COPIED_AT_ONCE: u32 = 1 << 20;
