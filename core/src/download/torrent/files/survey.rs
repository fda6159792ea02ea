//! What is there at the start: which files exist, which of their pieces are known to be right, and which have to be
//! looked at.

use super::check::{Check, Reason};
use super::folders::ROOT;
use super::handles::{Access, NameWork};
use super::syncs::Node;
use super::{CheckScope, Output, PARTS, Phase, Place, TorrentFiles};
use crate::base::disk::{DiskErrorKind, DiskOk, DiskResult, FileStat};
use crate::base::{Bitfield, PieceIndex};
use crate::download::error::DiskAction;
use core::ops::Range;

/// The look-ups of files at the start.
#[derive(Debug, Default)]
pub(super) struct Survey {
    next: u32,
    under_way: u32,
    parts_done: bool,
}

impl Survey {
    /// Whether all files were looked for.
    pub(super) const fn is_over(&self) -> bool {
        self.parts_done && self.under_way == 0
    }
}

impl TorrentFiles {
    /// Looks for more files, and goes on when all are found or known to be missing.
    pub(super) fn pump_survey(&mut self) {
        let files = self.plan.layout.files();
        loop {
            let survey = &mut self.survey;
            if survey.under_way >= LOOKS_UNDER_WAY {
                return;
            }
            let file = if survey.next < files {
                survey.next += 1;
                survey.next - 1
            } else if !core::mem::replace(&mut survey.parts_done, true) {
                PARTS
            } else {
                break;
            };
            let is_there = if file == PARTS {
                !self.saved.kept.is_empty() || self.saved.parts.ours || self.saved.knows_no_file()
            } else {
                !self.plan.layout.is_pad(file)
            };
            if is_there && !self.is_changing(file) {
                self.survey.under_way += 1;
                let named = file != PARTS;
                self.in_folder(self.folders.of(file), false, NameWork::Look { file, named });
            }
        }
        if !self.survey.is_over() || !self.failed.is_empty() {
            return;
        }
        if self.phase == Phase::Surveying {
            self.conclude_survey();
            return;
        }
        self.changed.clear();
        if core::mem::take(&mut self.looking_again) && self.phase == Phase::Ready {
            self.begin_check(CheckScope::All);
        }
    }

    /// Looks for all files anew, before they are all hashed.
    pub(super) fn look_again(&mut self) {
        self.survey = Survey::default();
        self.looking_again = true;
        self.changed.clear();
        // What is opened anew is what the names stand for now.
        self.close_all();
    }

    /// A file that is being made or renamed is not looked for.
    fn is_changing(&self, file: u32) -> bool {
        self.phase == Phase::Ready
            && (self.finishing.contains_key(&file) || self.handles.has((file, Access::Write)))
    }

    /// What a name stands for was looked up.
    fn found(&mut self, file: u32, place: Place) {
        if self.phase == Phase::Ready && self.place(file) != place {
            let identity = match place {
                Place::There { identity, .. } => Some(identity),
                Place::Absent => None,
            };
            let is_same = self.saved.file(file).identity == identity && identity.is_some();
            self.disown_blocks(
                file,
                if let (Place::There { len, .. }, true) = (place, is_same) { len } else { 0 },
            );
            let saved = self.saved.file_mut(file);
            // What was put in its place is somebody else's.
            saved.ours &= identity.is_none() || saved.identity == identity;
            saved.identity = identity;
            if place == Place::Absent {
                self.unmark_done(file);
            }
        }
        self.set_place(file, place);
    }

    pub(super) fn on_looked(&mut self, file: u32, named: bool, result: DiskResult) {
        let place = match result {
            Ok(DiskOk::Found(None)) if named => {
                return self.in_folder(self.folders.of(file), false, NameWork::Look { file, named: false });
            }
            Ok(DiskOk::Found(Some(stat))) if !stat.regular => Err(DiskErrorKind::NotRegular.into()),
            Ok(DiskOk::Found(Some(FileStat { identity, len, .. }))) => {
                Ok(Place::There { identity, len, named })
            }
            Ok(_) => Ok(Place::Absent),
            Err(error) if error.kind == DiskErrorKind::NotFound => Ok(Place::Absent),
            Err(error) => Err(error),
        };
        self.survey.under_way -= 1;
        if self.is_changing(file) || self.changed.contains(&file) {
            // What was found may be older than what is known.
            return;
        }
        match place {
            Ok(place) => self.found(file, place),
            Err(error) if self.is_wanted(file) || file == PARTS => {
                self.leave_at(DiskAction::Open, (file, named), error);
            }
            Err(_) => {}
        }
    }

    fn conclude_survey(&mut self) {
        let before = self.saved.pieces.clone();
        self.forget_lost_pieces();
        // Its name says that a life made it of which the store has forgotten; what it holds cannot be told any more.
        self.saved.parts.ours |= self.is_there(PARTS);
        self.tidy_blocks();
        let todo = self.pieces_to_check(&before);
        self.have = self.saved.pieces.clone();
        self.saved.suspects = crate::base::RangeSet::new();
        self.count_left();
        let known = (0..self.plan.layout.files()).collect::<Vec<_>>();
        self.fresh = known.into_iter().filter(|file| !self.is_known(*file)).collect();
        self.doubt_names(&before);
        self.identify_all();
        let check = Check::new(&self.plan.layout, todo, Reason::Start);
        self.phase = Phase::Checking;
        self.check = Some(Box::new(check));
    }

    /// Whether a file is the one that the store knows.
    fn is_known(&self, file: u32) -> bool {
        match self.place(file) {
            Place::There { identity, .. } => self.saved.file(file).identity == Some(identity),
            Place::Absent => false,
        }
    }

    /// What was known of files that are gone, were replaced, or became shorter, is not known any more.
    fn forget_lost_pieces(&mut self) {
        let parts_known = self.is_known(PARTS);
        if !parts_known {
            let kept = core::mem::take(&mut self.saved.kept);
            for (piece, file) in kept.keys() {
                self.forget(*piece, self.plan.layout.range(*file));
            }
        }
        for file in 0..self.plan.layout.files() {
            if self.plan.layout.is_pad(file) {
                continue;
            }
            let start = self.plan.layout.range(file).start;
            let reach = match self.place(file) {
                Place::There { len, .. } if self.is_known(file) => start.saturating_add(len),
                _ => start,
            };
            if reach >= self.plan.layout.range(file).end {
                continue;
            }
            let lost = self.plan.layout.grid().pieces_in(reach..self.plan.layout.range(file).end);
            for piece in lost {
                if !self.saved.kept.contains_key(&(piece.get(), file)) {
                    self.forget(piece.get(), reach..self.plan.layout.range(file).end);
                }
            }
        }
    }

    /// A piece is not whole any more: these bytes of the whole are lost, as far as they are its own.
    fn forget(&mut self, piece: u32, lost: Range<u64>) {
        let grid = self.plan.layout.grid();
        if let Some(piece) = grid.piece(piece) {
            self.saved.pieces.remove(piece);
            let own = grid.piece_range(piece);
            self.saved.blocks.remove(own.start.max(lost.start)..own.end.min(lost.end));
        }
    }

    /// A file under its final name was whole once, or is from somebody else; and so is one that we know nothing of. Of
    /// a partial file of ours only what a killed process left behind is worth a look, and pieces that lack no block.
    fn pieces_to_check(&self, before: &Bitfield) -> Bitfield {
        let layout = &self.plan.layout;
        let mut todo = Bitfield::new(layout.grid().pieces());
        let mut add = |piece: PieceIndex| {
            if !self.saved.pieces.has(piece) {
                todo.insert(piece);
            }
        };
        for file in 0..layout.files() {
            let all = match self.place(file) {
                Place::Absent => false,
                Place::There { named, .. } => named || !self.is_known(file),
            };
            if all {
                layout.pieces_of(file).for_each(&mut add);
            }
        }
        let pieces = layout.grid().pieces();
        let suspects = self.saved.suspects.iter().flatten();
        let suspects = suspects.take_while(|piece| *piece < u64::from(pieces));
        let suspects = suspects.filter_map(|piece| layout.grid().piece(u32::try_from(piece).ok()?));
        suspects.for_each(&mut add);
        self.inherited_pieces().filter(|piece| self.has_all_blocks(*piece)).for_each(&mut add);
        // What was durable and is in doubt now may still be there.
        let doubtful = before.ones().filter_map(|piece| layout.grid().piece(piece));
        doubtful.for_each(&mut add);
        todo
    }

    /// The names of files of which nothing is known to be durable may not be either.
    fn doubt_names(&mut self, before: &Bitfield) {
        let layout = std::sync::Arc::clone(&self.plan.layout);
        for file in (0..layout.files()).chain([PARTS]) {
            let is_known = file != PARTS && layout.pieces_of(file).any(|piece| before.has(piece));
            if self.is_there(file) && !is_known {
                self.dirty_names(file);
            }
        }
    }

    /// The name of a file is to be synced, and those of the folders that it lies in.
    pub(super) fn dirty_names(&mut self, file: u32) {
        let chain: Vec<u32> = self.folders.chain(self.folders.of(file)).collect();
        chain.into_iter().for_each(|folder| self.syncs.dirty(Node::Folder(folder)));
    }

    /// From now on the files that were found are the ones that are meant.
    fn identify_all(&mut self) {
        for file in (0..self.plan.layout.files()).chain([PARTS]) {
            let found = match self.place(file) {
                Place::There { identity, .. } => Some(identity),
                Place::Absent => None,
            };
            self.saved.file_mut(file).identity = found;
        }
    }

    /// What was there has been looked at.
    pub(super) fn conclude_start(&mut self) {
        for file in core::mem::take(&mut self.fresh) {
            if let Place::There { len, named: true, .. } = self.place(file)
                && self.is_strange(file, len)
            {
                if self.is_wanted(file) {
                    return self.leave_for_conflict(file);
                }
                // Not ours to touch, and not needed.
                self.set_place(file, Place::Absent);
                self.saved.file_mut(file).identity = None;
            }
        }
        self.claim_missing();
        self.close_all();
        self.phase = Phase::Ready;
        self.outputs.push_back(Output::Ready);
        self.recount();
        self.begin_finishing();
    }

    /// Whether a file that has the name of one of ours is nothing that this torrent ever made: it has another length and
    /// no right piece.
    fn is_strange(&self, file: u32, len: u64) -> bool {
        let layout = &self.plan.layout;
        !self.plan.overwrite
            && !self.saved.file(file).ours
            && len != 0
            && len != layout.len_of(file)
            && !layout.pieces_of(file).any(|piece| self.have.has(piece))
    }

    /// Marks the wanted files that are to be made, and the folders that this will make, as ours. The store learns it
    /// before they are made.
    pub(super) fn claim_missing(&mut self) {
        let mut any = false;
        for file in 0..self.plan.layout.files() {
            if self.is_wanted(file) && self.place(file) == Place::Absent && !self.saved.file(file).ours {
                self.saved.file_mut(file).ours = true;
                any = true;
            }
        }
        if !any {
            return;
        }
        for folder in self.folders.topmost_missing() {
            debug_assert_ne!(folder, ROOT);
            if !self.is_our_folder(folder) {
                let path = self.folders.path(folder);
                self.saved.folders.insert(path);
            }
        }
        self.needs_record = true;
    }
}

/// How many files are looked up at once. Each takes microseconds; more would only fill queues.
const LOOKS_UNDER_WAY: u32 = 32;
