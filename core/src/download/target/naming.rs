//! How a target comes by its name and its file.

use super::{DiskTag, Output, Part, State, Step, Stop, Target};
use crate::base::disk::{
    AllocationMode, DiskError, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileKey, FileStat, OpenMode,
};
use crate::base::{FileName, RangeSet};
use crate::download::ConflictPolicy;
use crate::download::error::{DiskAction, DownloadError};

impl Target {
    /// Begins, once there is a name and a directory.
    pub(super) fn start(&mut self) {
        if self.dir.is_none() || self.wanted.is_none() {
            return;
        }
        if self.part.is_some() {
            self.open(OpenMode::Existing);
        } else {
            self.look_for(State::Naming, self.candidate());
        }
    }

    /// Looks whether there is a file of that name.
    pub(super) fn look_for(&mut self, state: State, name: Option<FileName>) {
        let (Some(dir), Some(name)) = (self.dir, name) else { return };
        self.state = state;
        self.control = Some(DiskTag::Stat);
        self.outputs.push_back(Output::Disk(DiskTag::Stat, DiskOp::Stat { dir, name }));
    }

    pub(super) fn on_stat(&mut self, result: DiskResult) {
        match (&self.state, result) {
            (State::Stopping(stop), result) if stop.removing => self.on_stat_to_remove(&result),
            (State::Naming, Ok(DiskOk::Found(None))) => self.reserve(),
            (State::Naming, Ok(DiskOk::Found(Some(FileStat { regular: false, .. })))) => self.on_obstacle(),
            (State::Naming, Ok(_)) => self.on_conflict(),
            (State::Finishing(Step::LookForRenamed), Ok(DiskOk::Found(found))) => self.on_looked(found),
            (State::Finishing(Step::LookForPart), Ok(DiskOk::Found(found))) => self.on_part_looked(found),
            (State::Naming | State::Finishing(_), Err(error)) => {
                let name = self.candidate();
                let why =
                    Some(DownloadError::disk(DiskAction::Open, &self.plan.dir_path, name.as_ref(), error));
                self.leave(Stop::because(why));
            }
            _ => {}
        }
    }

    fn on_conflict(&mut self) {
        match self.plan.on_conflict {
            ConflictPolicy::Rename if self.number < MAX_NUMBER => self.try_next_name(),
            ConflictPolicy::Overwrite => self.reserve(),
            ConflictPolicy::Skip => {
                self.state = State::Closed;
                self.outputs.push_back(Output::Skipped);
            }
            ConflictPolicy::Rename | ConflictPolicy::Fail => self.leave_for_conflict(),
        }
    }

    /// A folder, a link or a device has the name: it is no file to be kept or replaced.
    fn on_obstacle(&mut self) {
        match self.plan.on_conflict {
            ConflictPolicy::Rename => self.on_conflict(),
            ConflictPolicy::Skip | ConflictPolicy::Fail => self.leave_for_conflict(),
            ConflictPolicy::Overwrite => {
                let error = DiskError { kind: DiskErrorKind::NotRegular, os: None };
                let (dir, name) = (&self.plan.dir_path, self.candidate());
                let why = DownloadError::disk(DiskAction::Overwrite, dir, name.as_ref(), error);
                self.leave(Stop::because(Some(why)));
            }
        }
    }

    pub(super) fn leave_for_conflict(&mut self) {
        let name = self.part.as_ref().map(|part| part.final_name.clone()).or_else(|| self.candidate());
        let path = name.map_or_else(Default::default, |name| self.plan.dir_path.join(name.as_str()));
        self.leave(Stop::because(Some(DownloadError::Exists { path })).after_sync());
    }

    fn try_next_name(&mut self) {
        self.number += 1;
        self.look_for(State::Naming, self.candidate());
    }

    /// The wanted name, with a number where it is taken.
    pub(super) fn candidate(&self) -> Option<FileName> {
        let wanted = self.wanted.as_ref()?;
        Some(if self.number == 0 { wanted.clone() } else { wanted.numbered(self.number) })
    }

    fn reserve(&mut self) {
        let (Some(free), Some(wanted)) = (self.candidate(), &self.wanted) else { return };
        // A file that is to be overwritten keeps its name, so that only the part's name gives way.
        let keep = self.plan.on_conflict == ConflictPolicy::Overwrite;
        let final_name = if keep { wanted.clone() } else { free.clone() };
        let part_name = free.partial();
        self.part =
            Some(Part { final_name, part_name, identity: None, durable: RangeSet::new(), finalizing: false });
        self.state = State::Reserving;
        self.outputs.push_back(Output::Record);
    }

    pub(super) fn open(&mut self, mode: OpenMode) {
        let (Some(dir), Some(part)) = (self.dir, &self.part) else { return };
        let name = part.part_name.clone();
        let file = FileKey(self.take_key());
        self.file = Some(file);
        self.creating = mode == OpenMode::CreateNew;
        self.state = State::Opening(mode);
        self.control = Some(DiskTag::Open);
        self.outputs.push_back(Output::Disk(DiskTag::Open, DiskOp::Open { dir, name, file, mode }));
    }

    pub(super) fn on_open(&mut self, result: DiskResult) {
        match (&self.state, result) {
            (State::Opening(mode), Ok(DiskOk::Opened { stat, local })) => {
                let mode = *mode;
                self.local = local;
                self.on_opened(mode, stat);
            }
            (State::Opening(mode), Err(error)) => {
                let mode = *mode;
                self.file = None;
                self.on_open_failed(mode, error);
            }
            (_, Err(_)) => self.file = None,
            (_, Ok(DiskOk::Opened { stat, .. })) => {
                if let Some(part) = self.part.as_mut().filter(|_| self.creating) {
                    part.identity.get_or_insert(stat.identity);
                }
            }
            _ => {}
        }
    }

    fn on_opened(&mut self, mode: OpenMode, stat: FileStat) {
        let Some(part) = &mut self.part else { return };
        let ours = part.identity.map_or(stat.len == 0, |identity| identity == stat.identity);
        if mode == OpenMode::Existing && !ours {
            // Somebody put another file there: leave it alone and take another name for the part.
            self.close();
            self.forget_progress();
            self.take_other_part_name();
            return;
        }
        self.entry_durable = mode == OpenMode::Existing && !part.durable.is_empty();
        let known = part.identity.is_some();
        part.identity = Some(stat.identity);
        let reach = self.written.iter().last().map_or(0, |range| range.end);
        let trusted = known && stat.len >= reach;
        if self.clearing || (!trusted && mode == OpenMode::Existing) {
            if reach > 0 {
                self.forget_progress();
                self.identify(stat);
            }
            self.outputs.push_back(Output::Opened);
            self.empty_file();
            return;
        }
        self.opened_len = stat.len;
        self.outputs.push_back(Output::Opened);
        match self.total {
            Some(len) if self.plan.allocation != AllocationMode::None && len > 0 => {
                let mode = self.plan.allocation;
                self.state = State::Allocating;
                self.control(DiskTag::Allocate, |file| DiskOp::Allocate { file, len, mode });
            }
            _ => self.ready(),
        }
    }

    /// The final name stays; whether it is free shows when the file gets it.
    fn take_other_part_name(&mut self) {
        self.part_number += 1;
        if self.part_number > MAX_NUMBER {
            self.leave_for_conflict();
            return;
        }
        if let Some(part) = &mut self.part {
            part.part_name = part.final_name.numbered(self.part_number).partial();
        }
        self.state = State::Reserving;
        self.outputs.push_back(Output::Record);
    }

    fn identify(&mut self, stat: FileStat) {
        if let Some(part) = &mut self.part {
            part.identity = Some(stat.identity);
        }
    }

    fn on_open_failed(&mut self, mode: OpenMode, error: DiskError) {
        let finalizing = self.part.as_ref().is_some_and(|part| part.finalizing);
        let never_made = self.part.as_ref().is_some_and(|part| part.identity.is_none());
        match (mode, error.kind) {
            (OpenMode::CreateNew, DiskErrorKind::Exists) if self.part_number > 0 => {
                self.take_other_part_name()
            }
            (OpenMode::CreateNew, DiskErrorKind::Exists) if self.number < MAX_NUMBER => {
                // The part of that name is somebody else's, and was never ours.
                self.part = None;
                self.try_next_name();
            }
            (OpenMode::Existing, DiskErrorKind::Locked) if never_made && self.number < MAX_NUMBER => {
                // Stopped after it chose the name and before it made the file: another has made it since.
                self.part = None;
                self.try_next_name();
            }
            (OpenMode::Existing, DiskErrorKind::NotFound) if finalizing => {
                let name = self.part.as_ref().map(|part| part.final_name.clone());
                self.look_for(State::Finishing(Step::LookForRenamed), name);
            }
            (OpenMode::Existing, DiskErrorKind::NotFound) => {
                self.forget_progress();
                self.open(OpenMode::CreateNew);
            }
            (OpenMode::Existing | OpenMode::ReadOnly, _) => self.leave_for(DiskAction::Open, error),
            (OpenMode::CreateNew, _) => self.leave_for(DiskAction::Create, error),
        }
    }

    /// A finished file may have been renamed just before the process died.
    fn on_looked(&mut self, found: Option<FileStat>) {
        if found.is_some_and(|stat| self.is_ours(&stat)) {
            self.sync_dir();
        } else {
            self.forget_progress();
            self.open(OpenMode::CreateNew);
        }
    }

    /// What an earlier life left is gone, or must not be trusted.
    fn forget_progress(&mut self) {
        // What is still in memory is fetched again too, and must not be written over it.
        self.drop_memory();
        self.written = RangeSet::new();
        self.total = None;
        self.whole = false;
        self.synced_whole = false;
        self.clear_part();
        if let Some(part) = &mut self.part {
            part.identity = None;
        }
        self.new_digest();
        self.outputs.push_back(Output::Lost);
    }
}

/// After this many taken names something is wrong with the directory.
const MAX_NUMBER: u32 = 9999;
