//! How a target comes to rest: what is under way ends, what arrived is synced or removed, and the file is closed.

use super::{DiskTag, Output, State, Stop, Target};
use crate::base::disk::{DiskError, DiskOk, DiskOp, DiskResult};
use crate::base::mutants::{self, Mutant};
use crate::download::error::{DiskAction, DownloadError};

impl Target {
    pub(super) fn leave_for(&mut self, action: DiskAction, error: DiskError) {
        let name = self.part.as_ref().map(|part| part.part_name.clone());
        let why = Some(DownloadError::disk(action, &self.plan.dir_path, name.as_ref(), error));
        self.leave(Stop { sync: action != DiskAction::Sync, ..Stop::because(why) });
    }

    pub(super) fn leave(&mut self, stop: Stop) {
        match &mut self.state {
            State::Closed => {}
            State::Stopping(old) => {
                old.remove |= stop.remove;
                old.sync &= stop.sync;
                old.why = old.why.take().or(stop.why);
            }
            state => {
                *state = State::Stopping(stop);
                self.drop_memory();
            }
        }
    }

    pub(super) fn drop_memory(&mut self) {
        let waiting: u64 = self.parked.drain(..).chain(self.runs.take()).map(|run| run.len).sum();
        self.in_memory = self.in_memory.saturating_sub(waiting);
    }

    pub(super) fn advance_stop(&mut self) {
        let needs_sync = self.file.is_some() && self.needs_sync();
        if !self.is_quiet() {
            return;
        }
        let State::Stopping(stop) = &mut self.state else { return };
        if core::mem::take(&mut stop.sync) && needs_sync {
            self.sync();
            return;
        }
        let ours = self.part.as_ref().is_some_and(|part| part.identity.is_some());
        // A file in which nothing stands is not left lying about.
        stop.remove |= self.dir.is_some()
            && self.written.is_empty()
            && self.part.as_ref().is_some_and(|part| part.durable.is_empty() && !part.finalizing);
        if stop.remove && ours && self.dir.is_none() {
            return;
        }
        let remove = core::mem::take(&mut stop.remove);
        stop.removing |= remove;
        self.close();
        if remove && ours && self.dir.is_some() {
            self.stat_to_remove();
            return;
        }
        if remove {
            self.part = None;
        }
        if let State::Stopping(stop) = core::mem::replace(&mut self.state, State::Closed) {
            self.outputs.push_back(Output::Stopped(stop.why));
        }
    }

    /// Looks whether the name still is our file's.
    fn stat_to_remove(&mut self) {
        let (Some(dir), Some(part)) = (self.dir, &self.part) else { return };
        let name = if self.renamed { part.final_name.clone() } else { part.part_name.clone() };
        self.control = Some(DiskTag::Stat);
        self.outputs.push_back(Output::Disk(DiskTag::Stat, DiskOp::Stat { dir, name }));
    }

    /// The part's name was looked up before its removal.
    pub(super) fn on_stat_to_remove(&mut self, result: &DiskResult) {
        let Some(part) = &self.part else { return };
        let ours = matches!(result, Ok(DiskOk::Found(Some(stat))) if Some(stat.identity) == part.identity);
        if !ours && part.finalizing && !self.renamed {
            // An earlier run was stopped when the part just had its final name.
            self.renamed = true;
            self.stat_to_remove();
            return;
        }
        let Some(part) = self.part.take() else { return };
        if let (true, Some(dir)) = (ours, self.dir) {
            let name = if self.renamed { part.final_name } else { part.part_name };
            self.control = Some(DiskTag::Remove);
            self.outputs.push_back(Output::Disk(DiskTag::Remove, DiskOp::Remove { dir, name }));
        }
    }

    pub(super) fn close(&mut self) {
        self.drop_digest();
        if let Some(file) = self.file.take().filter(|_| !mutants::is(Mutant::LeakFile)) {
            self.outputs.push_back(Output::Disk(DiskTag::Open, DiskOp::Close { file }));
        }
    }
}
