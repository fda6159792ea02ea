//! What is there: which pieces are right, where files are, and where on the disk the bytes of a piece lie.

use super::folders::{FolderState, ROOT};
use super::{Output, PARTS, Place, TorrentFiles};
use crate::base::{PieceIndex, RangeSet};
use crate::download::torrent::layout::{Layout, Span};
use core::ops::Range;
use std::sync::Arc;

impl TorrentFiles {
    /// A piece is right.
    pub(super) fn gain(&mut self, piece: PieceIndex) {
        if !self.have.insert(piece) {
            return;
        }
        self.written.remove(self.plan.layout.grid().piece_range(piece));
        let layout = Arc::clone(&self.plan.layout);
        for span in layout.piece_spans(piece).filter(|span| !span.pad) {
            if let Some(left) = self.left.get_mut(span.file as usize) {
                *left = left.saturating_sub(1);
            }
            if self.is_wanted(span.file) {
                self.completed_len += span.len;
            }
            self.consider(span.file);
        }
    }

    /// A piece is not right any more.
    pub(super) fn lose(&mut self, piece: PieceIndex) {
        if !self.have.remove(piece) {
            return;
        }
        self.told_finished = false;
        self.forget_blocks(piece);
        if self.saved.pieces.remove(piece) {
            // The store must learn it.
            self.outputs.push_back(Output::Durable);
        }
        let layout = Arc::clone(&self.plan.layout);
        for span in layout.piece_spans(piece).filter(|span| !span.pad) {
            if let Some(left) = self.left.get_mut(span.file as usize) {
                *left += 1;
            }
            if self.is_wanted(span.file) {
                self.completed_len = self.completed_len.saturating_sub(span.len);
            }
            self.unmark_done(span.file);
        }
    }

    /// Nothing is there but what is durable.
    pub(super) fn keep_saved(&mut self) {
        self.have = self.saved.pieces.clone();
        self.written = RangeSet::new();
        self.count_left();
        if self.wanted_len.is_some() {
            self.recount();
        }
    }

    /// A file is not whole any more, or not there.
    pub(super) fn unmark_done(&mut self, file: u32) {
        let is_wanted = self.is_wanted(file);
        if let Some(done) = self.done.get_mut(file as usize).filter(|done| **done) {
            *done = false;
            self.told_finished = false;
            self.undone += u32::from(is_wanted);
        }
    }

    pub(super) fn mark_done(&mut self, file: u32) {
        if let Some(done) = self.done.get_mut(file as usize).filter(|done| !**done) {
            *done = true;
            self.undone = self.undone.saturating_sub(1);
        }
    }

    /// Counts how many pieces each file lacks.
    pub(super) fn count_left(&mut self) {
        let layout = Arc::clone(&self.plan.layout);
        for (file, left) in (0..).zip(&mut self.left) {
            let mut pieces = layout.pieces_of(file);
            *left = match (pieces.next(), layout.pieces_of(file).next_back()) {
                (Some(first), Some(last)) => {
                    let there = self.have.count_in(first.get()..last.get() + 1);
                    piece_count(&layout, file) - there
                }
                _ => 0,
            };
        }
    }

    /// Counts again what changes with the files that are wanted.
    pub(super) fn recount(&mut self) {
        (self.undone, self.completed_len) = (0, 0);
        let mut wanted_len = 0;
        for file in 0..self.plan.layout.files() {
            if self.is_wanted(file) {
                self.undone += u32::from(!self.is_done(file));
                wanted_len += self.plan.layout.len_of(file);
                self.completed_len += self.file_progress(file);
            }
        }
        self.wanted_len = Some(wanted_len);
    }

    pub(super) fn is_incomplete(&self, file: u32) -> bool {
        self.left.get(file as usize).is_some_and(|left| *left > 0)
    }

    pub(super) fn index(&self, file: u32) -> usize {
        // What is no file of the torrent is the one for parts that are kept apart.
        (file as usize).min(self.places.len() - 1)
    }

    pub(super) fn place(&self, file: u32) -> Place {
        self.places[self.index(file)]
    }

    pub(super) fn set_place(&mut self, file: u32, place: Place) {
        self.places[self.index(file)] = place;
    }

    pub(super) fn is_there(&self, file: u32) -> bool {
        self.place(file) != Place::Absent
    }

    /// Whether a file has its final name, or is made under it.
    pub(super) fn is_named(&self, file: u32) -> bool {
        match self.place(file) {
            Place::There { named, .. } => named,
            // Nothing can be missing in an empty file.
            Place::Absent => file != PARTS && self.plan.layout.len_of(file) == 0,
        }
    }

    pub(super) fn set_named(&mut self, file: u32, is_named: bool) {
        let index = self.index(file);
        if let Place::There { named, .. } = &mut self.places[index] {
            *named = is_named;
        }
        self.note_change(file);
    }

    /// A look that is under way may not know of it.
    pub(super) fn note_change(&mut self, file: u32) {
        if self.looking_again {
            self.changed.insert(file);
        }
    }

    /// A file reaches at least this far.
    pub(super) fn grow(&mut self, file: u32, end: u64) {
        let index = self.index(file);
        if let Place::There { len, .. } = &mut self.places[index] {
            *len = end.max(*len);
        }
    }

    /// Whether the store knows that a file is ours to make.
    pub(super) fn is_recorded(&self, file: u32) -> bool {
        self.saved.file(file).ours && !self.needs_record && !self.recording
    }

    pub(super) fn is_root_open(&self) -> bool {
        matches!(self.folders.state(ROOT), FolderState::Open(_))
    }

    // ----- where pieces lie ------------------------------------------------------------------------------------------

    /// Where some bytes of a piece are on the disk: in the files that they belong to, or where they are kept apart.
    pub(super) fn places(&self, piece: PieceIndex, range: Range<u64>) -> Vec<Span> {
        self.spans_in(piece, range).collect()
    }

    /// The first of those.
    pub(super) fn first_place(&self, piece: PieceIndex, range: Range<u64>) -> Option<Span> {
        self.spans_in(piece, range).next()
    }

    pub(super) fn spans_in(&self, piece: PieceIndex, range: Range<u64>) -> impl Iterator<Item = Span> + '_ {
        let start = self.plan.layout.grid().piece_range(piece).start;
        let mut at = range.start;
        self.plan.layout.spans(start + range.start..start + range.end).map(move |span| {
            let begin = at;
            at += span.len;
            match self.kept_at(piece, span.file) {
                Some(room) if !span.pad => Span { file: PARTS, offset: room + begin, ..span },
                _ => span,
            }
        })
    }

    /// Where the room for a piece begins in the file for what is kept apart, if the bytes of this file are there.
    pub(super) fn kept_at(&self, piece: PieceIndex, file: u32) -> Option<u64> {
        if self.saved.kept.is_empty() {
            return None;
        }
        let room = self.saved.kept.get(&(piece.get(), file))?;
        Some(u64::from(*room) * u64::from(self.plan.layout.grid().piece_len()))
    }

    /// The parts of a file that are kept apart.
    pub(super) fn kept_of(&self, file: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut pieces = self.plan.layout.pieces_of(file).map(PieceIndex::get);
        let first = pieces.next().unwrap_or(u32::MAX);
        let last = pieces.next_back().unwrap_or(first);
        let near = self.saved.kept.range((first, 0)..=(last, u32::MAX));
        near.map(|(key, _)| *key).filter(move |(_, of)| *of == file)
    }
}

/// How many pieces have bytes of a file.
pub(super) fn piece_count(layout: &Layout, file: u32) -> u32 {
    let mut pieces = layout.pieces_of(file).map(PieceIndex::get);
    let Some(first) = pieces.next() else { return 0 };
    pieces.next_back().unwrap_or(first) - first + 1
}
