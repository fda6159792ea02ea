//! How everything comes to rest: what is under way ends, what came is written and made durable, what is not wanted any more
//! is removed, and all is closed.

use super::folders::ROOT;
use super::handles::NameWork;
use super::{Output, PARTS, Phase, Place, TorrentFiles};
use crate::base::disk::{DiskError, DiskErrorKind, DiskOk, DiskResult};
use crate::download::DownloadError;
use crate::download::error::DiskAction;
use std::path::PathBuf;

/// How it comes to rest.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rest {
    why: Option<DownloadError>,
    /// Whether what was written can be trusted to a sync.
    sync: bool,
    /// Whether what is ours is removed.
    remove: bool,
    removal: Removal,
}

/// What is removed next.
#[derive(Debug, Default, PartialEq)]
struct Removal {
    next_file: u32,
    under_way: u32,
    parts_done: bool,
    /// Those below this number are still there.
    folders: Option<u32>,
}

impl TorrentFiles {
    /// Comes to rest because an operation failed.
    pub(super) fn leave(&mut self, action: DiskAction, file: u32, error: DiskError) {
        self.leave_at(action, (file, self.is_named(file)), error);
    }

    /// The same, of a file under its final name or its partial one.
    pub(super) fn leave_at(&mut self, action: DiskAction, (file, named): (u32, bool), error: DiskError) {
        let path = self.path_of(file, named);
        let why = DownloadError::Disk { action, path, error };
        self.come_to_rest(Rest { why: Some(why), sync: action != DiskAction::Sync, ..Rest::default() });
    }

    /// Comes to rest because a name is taken by something else.
    pub(super) fn leave_for_conflict(&mut self, file: u32) {
        let path = self.path_of(file, true);
        let why = Some(DownloadError::Exists { path });
        self.come_to_rest(Rest { why, sync: true, ..Rest::default() });
    }

    /// Comes to rest because the directory cannot be opened.
    pub(super) fn leave_for_directory(&mut self, error: DiskError) {
        let path = self.plan.dir_path.clone();
        let why = Some(DownloadError::Disk { action: DiskAction::OpenDirectory, path, error });
        self.come_to_rest(Rest { why, ..Rest::default() });
        if let Phase::Resting(rest) = &mut self.phase {
            // What cannot be reached cannot be removed.
            rest.remove = false;
        }
    }

    pub(super) fn rest(&mut self, remove: bool) {
        self.come_to_rest(Rest { sync: true, remove, ..Rest::default() });
    }

    fn come_to_rest(&mut self, rest: Rest) {
        match &mut self.phase {
            Phase::Rested => {}
            Phase::Resting(old) => {
                old.remove |= rest.remove;
                old.sync &= rest.sync;
                old.why = old.why.take().or(rest.why);
            }
            _ => {
                // What is in memory is worth a write, unless writing fails or all of it goes.
                let write = rest.why.is_none() && !rest.remove;
                self.phase = Phase::Resting(rest);
                if write {
                    self.write_all();
                }
                self.drop_pieces();
                self.check = None;
                self.whole.clear();
                self.finishing.clear();
                self.reading.clear();
                self.serving.clear();
                self.handles.unpin_all();
                let freed = self.handles.drop_waiting(write);
                self.in_memory = self.in_memory.saturating_sub(freed);
            }
        }
    }

    fn is_quiet(&self) -> bool {
        self.ops.is_empty() && self.failed.is_empty() && self.handles_are_quiet() && self.syncs.is_quiet()
    }

    /// Goes on with coming to rest, once nothing is under way.
    pub(super) fn pump_rest(&mut self) {
        let Phase::Resting(rest) = &self.phase else { return };
        let (sync, remove) = (rest.sync, rest.remove);
        if remove && self.has_anything_of_ours() {
            if !self.is_root_open() {
                return;
            }
            if !self.survey.is_over() {
                return self.pump_survey();
            }
            self.pump_removal();
            if self.has_anything_of_ours() {
                return;
            }
        }
        if !self.is_quiet() {
            return;
        }
        if sync && self.needs_sync() {
            self.begin_checkpoint();
            if self.checkpoint.is_some() {
                return;
            }
        }
        self.close_all();
        if let Phase::Resting(rest) = core::mem::replace(&mut self.phase, Phase::Rested) {
            self.outputs.push_back(Output::Stopped(rest.why));
        }
    }

    fn has_anything_of_ours(&self) -> bool {
        self.saved.parts.ours
            || !self.saved.folders.is_empty()
            || self.saved.files.iter().any(|file| file.ours)
    }

    fn pump_removal(&mut self) {
        let quiet = self.is_quiet();
        let files = self.plan.layout.files();
        let Phase::Resting(Rest { removal, .. }) = &mut self.phase else { return };
        if removal.next_file == 0 && !quiet {
            // Not before the last write has ended.
            return;
        }
        if removal.next_file == 0 {
            self.close_all();
        }
        loop {
            let Phase::Resting(Rest { removal, .. }) = &mut self.phase else { return };
            if removal.under_way >= REMOVALS_UNDER_WAY {
                return;
            }
            let file = if removal.next_file < files {
                removal.next_file += 1;
                removal.next_file - 1
            } else if !core::mem::replace(&mut removal.parts_done, true) {
                PARTS
            } else {
                break;
            };
            if self.saved.file(file).ours && self.is_there(file) {
                if let Phase::Resting(Rest { removal, .. }) = &mut self.phase {
                    removal.under_way += 1;
                }
                self.in_folder(self.folders.of(file), false, NameWork::LookToRemove(file));
            }
        }
        self.pump_folder_removal();
    }

    /// Folders go one by one, those below others first; those that are not empty stay.
    fn pump_folder_removal(&mut self) {
        let count = self.folders.len();
        loop {
            let Phase::Resting(Rest { removal, .. }) = &mut self.phase else { return };
            if removal.under_way > 0 {
                return;
            }
            let below = removal.folders.unwrap_or(count);
            let Some(folder) = below.checked_sub(1).filter(|folder| *folder != ROOT) else { break };
            removal.folders = Some(folder);
            if self.is_our_folder(folder) {
                if let Phase::Resting(Rest { removal, .. }) = &mut self.phase {
                    removal.under_way += 1;
                }
                let parent = self.folders.get(folder).parent;
                self.in_folder(parent, false, NameWork::RemoveFolder(folder));
            }
        }
        // Nothing of ours is left.
        self.saved = super::FilesSaved::new(&self.plan.layout);
        self.keep_saved();
        self.checkpoint = None;
    }

    /// Whether what was found under the name of a file is what it was when we knew it.
    pub(super) fn is_ours(&self, file: u32, found: &DiskOk) -> bool {
        let Place::There { identity, .. } = self.place(file) else { return false };
        matches!(found, DiskOk::Found(Some(stat)) if stat.identity == identity && stat.regular)
    }

    pub(super) fn on_look_to_remove(&mut self, file: u32, result: DiskResult) {
        if result.is_ok_and(|found| self.is_ours(file, &found)) {
            self.in_folder(self.folders.of(file), false, NameWork::Remove(file));
        } else {
            self.on_removed(file, Ok(DiskOk::Done));
        }
    }

    pub(super) fn on_removed(&mut self, file: u32, result: DiskResult) {
        self.count_removal();
        match result {
            Ok(_) => self.set_place(file, Place::Absent),
            Err(error) if matches!(error.kind, DiskErrorKind::NotFound) => {
                self.set_place(file, Place::Absent)
            }
            Err(error) => self.fail_removal(file, error),
        }
    }

    pub(super) fn on_folder_removed(&mut self) {
        // A folder that is not empty, or cannot be removed, stays.
        self.count_removal();
    }

    fn count_removal(&mut self) {
        if let Phase::Resting(Rest { removal, .. }) = &mut self.phase {
            removal.under_way = removal.under_way.saturating_sub(1);
        }
    }

    fn fail_removal(&mut self, file: u32, error: DiskError) {
        let path = self.path_of(file, self.is_named(file));
        if let Phase::Resting(rest) = &mut self.phase {
            let why = DownloadError::Disk { action: DiskAction::Remove, path, error };
            rest.why = rest.why.take().or(Some(why));
        }
    }

    /// The whole path of a file, for messages.
    fn path_of(&self, file: u32, named: bool) -> PathBuf {
        let folders = self.folders.path(self.folders.of(file));
        let mut path = self.plan.dir_path.clone();
        path.extend(folders.iter().map(|name| name.as_str()));
        path.push(self.name_of(file, named).as_str());
        path
    }
}

/// How many files are being removed at once.
const REMOVALS_UNDER_WAY: u32 = 16;
