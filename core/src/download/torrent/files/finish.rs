//! How whole files get their final names: what was kept apart is brought home, what is too long is cut, the content is
//! synced, the file renamed, the folder synced. And how pieces become durable in between.

use super::folders::ROOT;
use super::handles::{Access, Job, JobOp, NameWork};
use super::syncs::{Node, Ticket};
use super::{Output, PARTS, Phase, Place, Then, TorrentFiles};
use crate::base::disk::{DiskErrorKind, DiskOk, DiskResult};
use crate::base::{Bitfield, PieceIndex, RangeSet};
use crate::download::error::DiskAction;
use std::collections::BTreeMap;

/// Where a whole file is on its way to its final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Parts that were kept apart are being brought home, or it is made (an empty one), or it is cut.
    Preparing,
    /// Waiting for the sync of its content.
    Sync(Ticket),
    /// Getting its name.
    Naming,
    /// Waiting for the syncs of the folders.
    Folders(BTreeMap<Node, Ticket>),
}

/// What is being made durable.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pieces: Bitfield,
    /// Bytes of pieces that are not whole.
    pub(super) blocks: RangeSet,
    waits: BTreeMap<Node, Ticket>,
}

impl TorrentFiles {
    // ----- files that are whole --------------------------------------------------------------------------------------

    /// Begins with the files that are whole and wanted and not yet done.
    pub(super) fn begin_finishing(&mut self) {
        for file in 0..self.plan.layout.files() {
            self.consider(file);
        }
        self.told_finished = false;
    }

    /// A file may be whole now.
    pub(super) fn consider(&mut self, file: u32) {
        if !self.is_wanted(file) || self.is_incomplete(file) || self.is_done(file) {
            return;
        }
        let len = self.plan.layout.len_of(file);
        let is_done =
            matches!(self.place(file), Place::There { len: actual, named: true, .. } if actual == len);
        if is_done && self.kept_of(file).next().is_none() {
            return self.mark_done(file);
        }
        self.whole.insert(file);
    }

    pub(super) fn pump_finishing(&mut self) {
        if self.phase != Phase::Ready || self.plan.look_only {
            return;
        }
        while self.finishing.len() < FINISHING_AT_ONCE {
            let Some(file) = self.whole.pop_first() else { break };
            if self.is_wanted(file) && !self.is_incomplete(file) && !self.finishing.contains_key(&file) {
                self.finishing.insert(file, Step::Preparing);
                self.prepare(file);
            }
        }
        if self.finishing.is_empty() && self.whole.is_empty() {
            self.conclude_finishing();
        }
    }

    fn prepare(&mut self, file: u32) {
        if self.is_incomplete(file) {
            // A check found something wrong meanwhile.
            self.finishing.remove(&file);
            return;
        }
        let len = self.plan.layout.len_of(file);
        let slot = (file, Access::Write);
        let kept = self.kept_of(file).find(|kept| !self.brought.contains(kept));
        if let Some((piece, _)) = kept {
            return self.bring_home(file, piece);
        }
        match self.place(file) {
            Place::Absent => self.submit(Job { slot, op: JobOp::Touch, then: Then::Prepared }),
            Place::There { len: actual, .. } if actual != len => {
                self.submit(Job { slot, op: JobOp::SetLen(len), then: Then::Prepared });
            }
            Place::There { .. } if self.is_executable(file) => {
                self.submit(Job { slot, op: JobOp::SetExecutable, then: Then::Executable });
            }
            Place::There { .. } => self.sync_whole(file),
        }
    }

    /// BEP 47: whether it may be executed.
    fn is_executable(&self, file: u32) -> bool {
        self.plan.metainfo.files().get(file as usize).is_some_and(|file| file.executable)
    }

    pub(super) fn on_executable(&mut self, file: u32, result: &DiskResult) {
        if let Err(error) = result {
            // The content is what was asked for; some file systems know nothing of this.
            tracing::debug!(%error, "a file cannot be made executable");
        }
        if self.is_incomplete(file) {
            self.finishing.remove(&file);
        } else if self.finishing.contains_key(&file) {
            self.syncs.dirty(Node::File(file));
            self.sync_whole(file);
        }
    }

    fn sync_whole(&mut self, file: u32) {
        let step = match self.syncs.request(Node::File(file)) {
            Some(ticket) => Step::Sync(ticket),
            None => Step::Naming,
        };
        self.finishing.insert(file, step.clone());
        if step == Step::Naming {
            self.give_name(file);
        }
    }

    pub(super) fn on_prepared(&mut self, file: u32, result: DiskResult) {
        match result {
            Ok(_) => {
                if let Place::There { identity, named, .. } = self.place(file) {
                    let len = self.plan.layout.len_of(file);
                    self.set_place(file, Place::There { identity, len, named });
                }
                self.syncs.dirty(Node::File(file));
                self.prepare(file);
            }
            Err(error) => self.leave(DiskAction::Write, file, error),
        }
    }

    /// Copies a part that was kept apart, while its file was not wanted, to its file.
    fn bring_home(&mut self, file: u32, piece: u32) {
        let Some((place, span)) = self.kept_span(file, piece) else { return };
        let op = JobOp::Read { offset: place, len: u32::try_from(span.len).unwrap_or(u32::MAX) };
        self.submit(Job { slot: (PARTS, Access::Read), op, then: Then::Bringing { file, piece } });
    }

    /// Where a part is kept, and where it belongs.
    fn kept_span(&self, file: u32, piece: u32) -> Option<(u64, super::Span)> {
        let piece = self.plan.layout.grid().piece(piece)?;
        let mut at = self.kept_at(piece, file)?;
        for span in self.plan.layout.piece_spans(piece) {
            if span.file == file {
                return Some((at, span));
            }
            at += span.len;
        }
        None
    }

    pub(super) fn on_bringing(&mut self, file: u32, piece: u32, result: DiskResult) {
        let (data, span) = match (result, self.kept_span(file, piece)) {
            (Ok(DiskOk::Data(data)), Some((_, span))) if data.len() as u64 == span.len => (data, span),
            (Err(error), _) => return self.leave(DiskAction::Read, PARTS, error),
            _ => return self.leave(DiskAction::Read, PARTS, DiskErrorKind::UnexpectedEof.into()),
        };
        self.grow(file, span.offset + span.len);
        let op = JobOp::Write { offset: span.offset, data: vec![data] };
        self.submit(Job { slot: (file, Access::Write), op, then: Then::Brought { file, piece } });
    }

    pub(super) fn on_brought(&mut self, file: u32, piece: u32, result: DiskResult) {
        match result {
            Ok(_) => {
                self.syncs.dirty(Node::File(file));
                self.brought.insert((piece, file));
                self.prepare(file);
            }
            Err(error) => self.leave(DiskAction::Write, file, error),
        }
    }

    fn give_name(&mut self, file: u32) {
        // What was brought home is durable there now.
        let home: Vec<_> = self.brought.iter().copied().filter(|(_, of)| *of == file).collect();
        for kept in home {
            self.brought.remove(&kept);
            self.saved.kept.remove(&kept);
        }
        if self.is_named(file) {
            self.sync_folders(file);
        } else {
            self.in_folder(self.folders.of(file), false, NameWork::LookToName(file));
        }
    }

    /// Another program may have put something else under the name of the part, and that must not become the file.
    pub(super) fn on_look_to_name(&mut self, file: u32, result: DiskResult) {
        match result {
            Ok(found) if self.is_ours(file, &found) => {
                self.in_folder(self.folders.of(file), false, NameWork::Name(file));
            }
            Ok(_) => self.leave(DiskAction::Rename, file, DiskErrorKind::NotFound.into()),
            Err(error) => self.leave(DiskAction::Rename, file, error),
        }
    }

    pub(super) fn on_named(&mut self, file: u32, result: DiskResult) {
        match result {
            Ok(_) => {
                self.set_named(file, true);
                self.syncs.dirty(Node::Folder(self.folders.of(file)));
                if self.finishing.contains_key(&file) {
                    self.sync_folders(file);
                }
            }
            Err(error) if error.kind == DiskErrorKind::Exists => self.leave_for_conflict(file),
            Err(error) => self.leave(DiskAction::Rename, file, error),
        }
    }

    /// The name is durable once all folders on the way to it are.
    fn sync_folders(&mut self, file: u32) {
        let waits = self.request_folders(self.folders.of(file));
        if waits.is_empty() {
            self.finish_file(file);
        } else {
            self.finishing.insert(file, Step::Folders(waits));
        }
    }

    fn request_folders(&mut self, folder: u32) -> BTreeMap<Node, Ticket> {
        let chain: Vec<u32> = self.folders.chain(folder).collect();
        let nodes = chain.into_iter().map(Node::Folder);
        nodes.filter_map(|node| Some((node, self.syncs.request(node)?))).collect()
    }

    fn finish_file(&mut self, file: u32) {
        self.finishing.remove(&file);
        self.close_file((file, Access::Write));
        if !self.is_incomplete(file) {
            self.mark_done(file);
            self.outputs.push_back(Output::FileDone(file));
        }
    }

    fn conclude_finishing(&mut self) {
        if self.told_finished || self.undone > 0 {
            return;
        }
        self.begin_checkpoint();
        // Where everything is with the disk already, that was all of it.
        if self.needs_sync() || self.checkpoint.is_some() {
            return;
        }
        self.told_finished = true;
        self.outputs.push_back(Output::Finished);
        self.drop_parts();
    }

    /// Removes what was kept apart, if nothing is any more; but only after the store knows that.
    fn drop_parts(&mut self) {
        if self.saved.kept.is_empty() && self.is_there(PARTS) {
            self.dropping_parts = true;
            self.needs_record = true;
        }
    }

    pub(super) fn remove_parts(&mut self) {
        if core::mem::take(&mut self.dropping_parts) && self.saved.kept.is_empty() {
            self.close_file((PARTS, Access::Read));
            self.close_file((PARTS, Access::Write));
            self.in_folder(ROOT, false, NameWork::LookToRemove(PARTS));
        }
    }

    // ----- making durable --------------------------------------------------------------------------------------------

    /// Syncs whatever pieces and blocks that are not durable lie in.
    pub(super) fn begin_checkpoint(&mut self) {
        if self.checkpoint.is_some() || !self.needs_sync() {
            return;
        }
        let waits = self.syncs.request_all();
        let (pieces, blocks) = (self.have.clone(), core::mem::take(&mut self.written));
        self.checkpoint = Some(Box::new(Checkpoint { pieces, blocks, waits }));
        self.conclude_checkpoint();
    }

    pub(super) fn pump_syncs(&mut self) {
        while let Some(node) = self.syncs.next() {
            match node {
                Node::Folder(folder) => self.in_folder(folder, false, NameWork::Sync(folder)),
                Node::File(file) => {
                    let write = (file, Access::Write);
                    let is_open = self.handles.is_open(write);
                    let slot = if is_open { write } else { (file, Access::Read) };
                    self.submit(Job { slot, op: JobOp::Sync, then: Then::Synced });
                }
            }
        }
    }

    pub(super) fn on_synced(&mut self, node: Node, result: DiskResult) {
        let ticket = self.syncs.done(node);
        if let Err(error) = result {
            return self.on_sync_failed(node, error);
        }
        if let Some(checkpoint) = &mut self.checkpoint {
            checkpoint.waits.retain(|waiting, needed| *waiting != node || *needed > ticket);
        }
        let passed = |(file, step): (&u32, &mut Step)| match step {
            Step::Sync(needed) => (Node::File(*file) == node && *needed <= ticket).then_some(*file),
            Step::Folders(waits) => {
                waits.retain(|waiting, needed| *waiting != node || *needed > ticket);
                waits.is_empty().then_some(*file)
            }
            _ => None,
        };
        let passed: Vec<u32> = self.finishing.iter_mut().filter_map(passed).collect();
        for file in passed {
            match self.finishing.insert(file, Step::Naming) {
                Some(Step::Sync(_)) => self.give_name(file),
                _ => self.finish_file(file),
            }
        }
        self.conclude_checkpoint();
    }

    /// After a failed sync nothing is known of what was not durable before; it is fetched again.
    fn on_sync_failed(&mut self, node: Node, error: crate::base::disk::DiskError) {
        self.checkpoint = None;
        self.keep_saved();
        self.is_local = false;
        let file = match node {
            Node::File(file) => file,
            Node::Folder(_) => PARTS,
        };
        self.leave(DiskAction::Sync, file, error);
    }

    fn conclude_checkpoint(&mut self) {
        if self.checkpoint.as_ref().is_none_or(|checkpoint| !checkpoint.waits.is_empty()) {
            return;
        }
        let Some(checkpoint) = self.checkpoint.take() else { return };
        let durable: Vec<PieceIndex> =
            checkpoint.pieces.ones().filter_map(|piece| self.plan.layout.grid().piece(piece)).collect();
        // What a check found wrong meanwhile is not.
        for piece in durable.into_iter().filter(|piece| self.have.has(*piece)) {
            if self.saved.pieces.insert(piece) {
                self.saved.blocks.remove(self.plan.layout.grid().piece_range(piece));
            }
        }
        self.keep_blocks(&checkpoint.blocks);
        self.outputs.push_back(Output::Durable);
    }
}

/// How many whole files are being synced and named at once.
const FINISHING_AT_ONCE: usize = 16;
