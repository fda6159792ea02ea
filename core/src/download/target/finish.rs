//! How a whole file gets its final name: writes, digest, sync, record, rename, sync of the directory.

use super::{DiskTag, Output, State, Stop, Target};
use crate::base::disk::{Digest, DiskErrorKind, DiskOp, DiskResult, FileStat};
use crate::base::mutants::{self, Mutant};
use crate::download::error::DiskAction;
use crate::download::{ConflictPolicy, ExpectedChecksum};

/// Where the finish is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Waiting for the last writes.
    Writes,
    /// Waiting for the digest.
    Digest,
    /// Cutting off what is beyond the end.
    Trim,
    /// Syncing the content.
    Sync,
    /// Waiting until the store knows that the file is about to be renamed.
    Recording,
    /// Looking whether the name of the part still stands for it.
    LookForPart,
    /// Giving the final name.
    Rename,
    /// Making the name durable.
    SyncDir,
    /// The digest was wrong; waiting for what the download decides.
    Mismatched,
    /// The part is gone: looking whether it has its final name already.
    LookForRenamed,
}

impl Target {
    pub(super) fn advance_finish(&mut self) {
        let State::Finishing(step) = self.state else { return };
        match step {
            Step::Writes if self.writing.is_empty() => {
                let next = if self.digester.is_some() { Step::Digest } else { Step::Trim };
                self.state = State::Finishing(next);
                self.advance_finish();
            }
            Step::Writes | Step::Digest => self.pump_digest(),
            Step::Trim if self.control.is_none() => self.trim(),
            // A checkpoint may be under way; its sync may not cover the last writes.
            Step::Sync if self.syncing.is_none() => self.sync_or_record(),
            _ => {}
        }
    }

    pub(super) fn on_digest(&mut self, digest: Digest) {
        let Some(digester) = self.digester.take() else { return };
        if !matches!(self.state, State::Finishing(Step::Writes | Step::Digest)) {
            return;
        }
        let expected = digester.expected();
        if digest == expected.digest || mutants::is(Mutant::IgnoreDigest) {
            // From memory the digest may be quicker than the last write.
            self.state = State::Finishing(Step::Writes);
        } else {
            let actual = ExpectedChecksum { algorithm: expected.algorithm, digest };
            self.state = State::Finishing(Step::Mismatched);
            self.outputs.push_back(Output::Mismatch(actual));
        }
    }

    /// An earlier, longer version may have left bytes behind the end.
    fn trim(&mut self) {
        match self.total {
            Some(len) if self.opened_len > len => {
                self.control(DiskTag::SetLen, |file| DiskOp::SetLen { file, len })
            }
            _ => {
                self.state = State::Finishing(Step::Sync);
                self.sync_or_record();
            }
        }
    }

    pub(super) fn on_trimmed(&mut self, result: DiskResult) {
        self.opened_len = 0;
        if let Err(error) = result {
            self.leave_for(DiskAction::Write, error);
        }
    }

    fn sync_or_record(&mut self) {
        if self.syncing.is_some() {
            return;
        }
        let whole = self.total.unwrap_or(0);
        let Some(part) = &mut self.part else { return };
        let synced = part.durable.contains(0..whole) && self.synced_whole;
        if !synced && !mutants::is(Mutant::RenameUnsynced) {
            self.synced_whole = true;
            self.sync();
            return;
        }
        part.finalizing = true;
        self.state = State::Finishing(Step::Recording);
        self.outputs.push_back(Output::Record);
    }

    /// Another program may have put something else under the name of the part, and that must not become the file.
    pub(super) fn look_for_part(&mut self) {
        let name = self.part.as_ref().map(|part| part.part_name.clone());
        self.look_for(State::Finishing(Step::LookForPart), name);
    }

    pub(super) fn on_part_looked(&mut self, found: Option<FileStat>) {
        match found.filter(|stat| self.is_ours(stat)) {
            Some(stat) if self.total.is_none_or(|total| stat.len == total) => self.rename(),
            Some(_) => self.leave_for(DiskAction::Rename, DiskErrorKind::UnexpectedEof.into()),
            None => self.leave_for(DiskAction::Rename, DiskErrorKind::NotFound.into()),
        }
    }

    /// Whether this is the file that was made for the part.
    pub(super) fn is_ours(&self, stat: &FileStat) -> bool {
        self.part.as_ref().is_some_and(|part| part.identity == Some(stat.identity))
    }

    pub(super) fn rename(&mut self) {
        let (Some(dir), Some(part)) = (self.dir, &self.part) else { return };
        let replace = self.plan.on_conflict == ConflictPolicy::Overwrite;
        let (from, to) = (part.part_name.clone(), part.final_name.clone());
        self.state = State::Finishing(Step::Rename);
        self.control = Some(DiskTag::Rename);
        self.outputs.push_back(Output::Disk(DiskTag::Rename, DiskOp::Rename { dir, from, to, replace }));
    }

    pub(super) fn on_renamed(&mut self, result: DiskResult) {
        self.renamed = result.is_ok();
        if self.state != State::Finishing(Step::Rename) {
            return;
        }
        match result {
            Ok(_) => self.sync_dir(),
            Err(error) if error.kind == DiskErrorKind::Exists => self.on_name_taken(),
            Err(error) => self.leave_for(DiskAction::Rename, error),
        }
    }

    /// The name was free at the start but is taken now.
    fn on_name_taken(&mut self) {
        if self.plan.on_conflict != ConflictPolicy::Rename {
            self.leave_for_conflict();
            return;
        }
        self.number += 1;
        let name = self.candidate();
        if let (Some(part), Some(name)) = (&mut self.part, name) {
            part.final_name = name;
        }
        self.state = State::Finishing(Step::Recording);
        self.outputs.push_back(Output::Record);
    }

    pub(super) fn sync_dir(&mut self) {
        let Some(dir) = self.dir else { return };
        self.state = State::Finishing(Step::SyncDir);
        self.control = Some(DiskTag::SyncDir);
        if let (true, Some(file)) = (mutants::is(Mutant::SkipFinalSync), self.file) {
            let op = DiskOp::Read { file, offset: 0, len: 0 };
            self.outputs.push_back(Output::Disk(DiskTag::SyncDir, op));
            return;
        }
        self.outputs.push_back(Output::Disk(DiskTag::SyncDir, DiskOp::SyncDir { dir }));
    }

    pub(super) fn on_dir_synced(&mut self, result: DiskResult) {
        if self.state != State::Finishing(Step::SyncDir) {
            return;
        }
        match result {
            Ok(_) => {
                self.close();
                self.state = State::Closed;
                self.outputs.push_back(Output::Finished);
            }
            Err(error) => {
                let name = self.part.as_ref().map(|part| part.final_name.clone());
                let why = crate::download::error::DownloadError::disk(
                    DiskAction::Sync,
                    &self.plan.dir_path,
                    name.as_ref(),
                    error,
                );
                self.leave(Stop::because(Some(why)));
            }
        }
    }
}
