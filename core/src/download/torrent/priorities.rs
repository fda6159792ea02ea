//! How much each file of a torrent is wanted, which may change while it runs.

use super::picker::{Picker, Priority};
use super::{Content, Phase, Torrent};
use crate::base::Instant;
use crate::wire::torrent::Metainfo;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Torrent {
    /// Files are wanted more or less from now on, by their numbers; those that are not named stay as they are.
    pub fn set_file_priorities(&mut self, now: Instant, priorities: &BTreeMap<u32, Priority>) {
        Arc::make_mut(&mut self.plan).file_priorities.extend(priorities);
        let Some(Content { metainfo, files, picker: Some(_) }) = &mut self.content else {
            // The files are looked at first; what is wanted is known then.
            if let Some(Content { metainfo, files, .. }) = &mut self.content {
                files.set_unwanted(now, self.plan.unwanted(metainfo));
                self.touch_files();
            }
            self.settle(now);
            return;
        };
        files.set_unwanted(now, self.plan.unwanted(metainfo));
        self.touch_files();
        self.prioritize();
        if self.stop.is_none() && !self.plan.offline {
            self.on_other_wishes(now);
        }
        self.settle(now);
    }

    /// Tells the picker how much each piece is wanted: as much as the file in it that is wanted most.
    pub(super) fn prioritize(&mut self) {
        let Some(Content { metainfo, files, picker: Some(picker) }) = &mut self.content else { return };
        let layout = files.layout();
        let mut pieces = vec![Priority::Skip; metainfo.grid().pieces() as usize];
        for (file, priority) in (0..).zip(self.plan.priorities(metainfo.files().len())) {
            if layout.is_pad(file) || priority == Priority::Skip {
                continue;
            }
            for piece in layout.pieces_of(file) {
                pieces[piece.index()] = pieces[piece.index()].max(priority);
            }
        }
        for (piece, priority) in metainfo.grid().all().zip(pieces) {
            picker.set_priority(piece, priority);
        }
        files.inherited().for_each(|block| picker.inherit(block));
    }

    /// More is wanted than is here, or no more than is here.
    fn on_other_wishes(&mut self, now: Instant) {
        let picker = self.content.as_ref().and_then(|content| content.picker.as_ref());
        let whole = picker.is_some_and(Picker::is_complete);
        if whole && matches!(self.phase, Phase::Connecting | Phase::Downloading) {
            self.finish(now);
        }
        self.fetch_what_is_missing(now);
    }
}

impl super::TorrentPlan {
    fn priorities(&self, files: usize) -> Vec<Priority> {
        file_priorities(files, self.selected.as_deref(), &self.file_priorities)
    }

    /// The numbers of the files that are not wanted.
    pub(super) fn unwanted(&self, metainfo: &Metainfo) -> BTreeSet<u32> {
        let skipped = |(file, priority)| (priority == Priority::Skip).then_some(file);
        (0..).zip(self.priorities(metainfo.files().len())).filter_map(skipped).collect()
    }
}

/// How much each of so many files is wanted: as was said of it, otherwise as any other if it is `selected`. Where none of
/// the `selected` exist, as a magnet link may have it, all are.
pub fn file_priorities(
    files: usize,
    selected: Option<&[usize]>,
    said: &BTreeMap<u32, Priority>,
) -> Vec<Priority> {
    let selected = selected.filter(|selected| selected.iter().any(|file| *file < files));
    let mut priorities = vec![if selected.is_some() { Priority::Skip } else { Priority::Normal }; files];
    let selected = selected.unwrap_or_default().iter().map(|file| (*file, Priority::Normal));
    for (file, priority) in selected.chain(said.iter().map(|(file, priority)| (*file as usize, *priority))) {
        if let Some(place) = priorities.get_mut(file) {
            *place = priority;
        }
    }
    priorities
}
