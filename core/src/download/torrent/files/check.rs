//! Hashing what is on the disk: many pieces in one operation, several operations side by side.

use super::handles::{Access, Job, JobOp};
use super::syncs::Node;
use super::{CheckScope, Output, Phase, Place, Span, Then, TorrentFiles};
use crate::base::disk::{Digest, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileRange, HashKey};
use crate::base::{Bitfield, PieceIndex};
use crate::download::error::DiskAction;
use crate::download::torrent::layout::Layout;

/// Why pieces are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// To learn what an earlier life, or somebody else, left.
    Start,
    /// Because it was asked for.
    Asked,
}

/// A check under way.
#[derive(Debug)]
pub(super) struct Check {
    reason: Reason,
    todo: Bitfield,
    next: u32,
    under_way: u32,
    done: u64,
    total: u64,
}

impl Check {
    /// A check of these pieces.
    pub(super) fn new(layout: &Layout, todo: Bitfield, reason: Reason) -> Self {
        let grid = layout.grid();
        let short = u64::from(grid.pieces()) * u64::from(grid.piece_len()) - grid.total();
        let has_last = grid.all().next_back().is_some_and(|last| todo.has(last));
        let total = u64::from(todo.count()) * u64::from(grid.piece_len()) - if has_last { short } else { 0 };
        Self { reason, todo, next: 0, under_way: 0, done: 0, total }
    }

    /// Whether it was asked for while the torrent runs.
    pub(super) const fn is_asked(&self) -> bool {
        matches!(self.reason, Reason::Asked)
    }

    /// The next piece to hash.
    fn take(&mut self, layout: &Layout) -> Option<PieceIndex> {
        let piece = self.todo.next_one(self.next)?;
        self.next = piece + 1;
        layout.grid().piece(piece)
    }
}

/// A run of pieces that are hashed in one operation: the first, and how many follow each other.
pub(super) type Batch = (PieceIndex, u32);

impl TorrentFiles {
    /// Begins the check that was asked for, once it is known what is there.
    pub(super) fn begin_asked(&mut self) {
        if self.phase != Phase::Ready {
            return;
        }
        let is_idle = self.check.is_none() && !self.looking_again;
        match self.asked.take().filter(|_| is_idle) {
            Some(CheckScope::All) => self.look_again(),
            Some(scope) => self.begin_check(scope),
            None => {}
        }
    }

    /// Begins a check that was asked for.
    pub(super) fn begin_check(&mut self, scope: CheckScope) {
        let layout = &self.plan.layout;
        let mut todo = Bitfield::new(layout.grid().pieces());
        let is_meant = |piece: &PieceIndex| scope == CheckScope::All || !self.have.has(*piece);
        layout.grid().all().filter(is_meant).for_each(|piece| _ = todo.insert(piece));
        self.check = Some(Box::new(Check::new(layout, todo, Reason::Asked)));
    }

    /// Hashes more, and goes on when all is hashed.
    pub(super) fn pump_check(&mut self) {
        let layout = std::sync::Arc::clone(&self.plan.layout);
        while let Some(check) = &mut self.check {
            if check.under_way >= CHECKS_UNDER_WAY {
                return;
            }
            let Some(piece) = check.take(&layout) else { break };
            if self.pieces.contains_key(&piece.get()) {
                // It is being written, and will be hashed for that.
                self.count_checked(piece);
                continue;
            }
            match self.batch_from(&layout, piece) {
                Some((batch, span)) => self.check_batch(&layout, batch, span),
                None if self.is_available(piece) => self.check_across(piece),
                None => self.on_checked(piece, false),
            }
        }
        if self.check.as_ref().is_some_and(|check| check.under_way == 0) {
            self.conclude_check();
        }
    }

    /// Whether all bytes of a piece are in files that are long enough.
    fn is_available(&self, piece: PieceIndex) -> bool {
        let len = u64::from(self.plan.layout.grid().len_of(piece));
        self.places(piece, 0..len).iter().all(|place| self.has_span(*place))
    }

    fn has_span(&self, span: Span) -> bool {
        let reach = |len: u64| span.offset.checked_add(span.len).is_some_and(|end| end <= len);
        span.pad || matches!(self.place(span.file), Place::There { len, .. } if reach(len))
    }

    /// As many pieces from this one on as lie one behind the other in one file.
    fn batch_from(&mut self, layout: &Layout, first: PieceIndex) -> Option<(Batch, Span)> {
        let grid = layout.grid();
        let only = |files: &Self, piece: PieceIndex| {
            let len = u64::from(grid.len_of(piece));
            files
                .first_place(piece, 0..len)
                .filter(|place| place.len == len && !place.pad && files.has_span(*place))
        };
        let mut span = only(self, first)?;
        let mut count = 1;
        while span.len < BATCH_LEN && count < BATCH_PIECES {
            let following = grid.piece(first.get() + count);
            let following = following.filter(|piece| !self.pieces.contains_key(&piece.get()));
            let is_next = |check: &Check| following.is_some_and(|piece| check.todo.has(piece));
            let (Some(piece), true) = (following, self.check.as_deref().is_some_and(is_next)) else { break };
            match only(self, piece) {
                Some(more) if more.file == span.file && more.offset == span.offset + span.len => {
                    span.len += more.len;
                    count += 1;
                }
                _ => break,
            }
        }
        if let Some(check) = &mut self.check {
            check.next = first.get() + count;
            check.under_way += 1;
        }
        Some(((first, count), span))
    }

    fn check_batch(&mut self, layout: &Layout, batch: Batch, span: Span) {
        let mut offset = span.offset;
        let mut spans = Vec::with_capacity(batch.1 as usize);
        for piece in pieces_of(layout, batch) {
            let len = u64::from(layout.grid().len_of(piece));
            spans.push(FileRange { offset, len });
            offset += len;
        }
        let op = JobOp::HashSpans(spans);
        self.submit(Job { slot: (span.file, Access::Read), op, then: Then::CheckedBatch(batch) });
    }

    pub(super) fn on_batch(&mut self, file: u32, batch: Batch, result: DiskResult) {
        let Some(check) = &mut self.check else { return };
        check.under_way -= 1;
        let layout = std::sync::Arc::clone(&self.plan.layout);
        match result {
            Ok(DiskOk::Digests(digests)) => {
                let mut digests = digests.into_iter();
                for piece in pieces_of(&layout, batch) {
                    let digest = digests.next().and_then(Result::ok);
                    self.on_checked(piece, digest.is_some_and(|digest| self.is_right(piece, &digest)));
                }
            }
            Err(error) if !is_missing(error.kind) => self.leave(DiskAction::Read, file, error),
            _ => pieces_of(&layout, batch).for_each(|piece| self.on_checked(piece, false)),
        }
    }

    /// Hashes a piece that lies in several files, one file after the other.
    fn check_across(&mut self, piece: PieceIndex) {
        if let Some(check) = &mut self.check {
            check.under_way += 1;
        }
        let hash = HashKey(self.take_key());
        self.check_step(piece, hash, 0);
    }

    fn check_step(&mut self, piece: PieceIndex, hash: HashKey, from: u64) {
        let len = u64::from(self.plan.layout.grid().len_of(piece));
        let Some(place) = self.first_place(piece, from..len) else { return };
        let end = from + place.len;
        self.hash_place(place, place.len, hash, end == len, Then::CheckedPart { piece, hash, end });
    }

    pub(super) fn on_part_checked(&mut self, file: Option<u32>, then: Then, result: DiskResult) {
        let Then::CheckedPart { piece, hash, end } = then else { return };
        match result {
            Ok(DiskOk::Hashed(None)) if self.check.is_some() => self.check_step(piece, hash, end),
            Ok(DiskOk::Hashed(Some(digest))) => {
                self.end_across(piece, self.is_right(piece, &digest));
            }
            Err(error) if !is_missing(error.kind) && error.kind != DiskErrorKind::Io => {
                self.leave(DiskAction::Read, file.unwrap_or(0), error);
            }
            _ => {
                self.emit_release(DiskOp::HashDrop { hash });
                self.end_across(piece, false);
            }
        }
    }

    fn end_across(&mut self, piece: PieceIndex, good: bool) {
        if let Some(check) = &mut self.check {
            check.under_way -= 1;
            self.on_checked(piece, good);
        }
    }

    fn is_right(&self, piece: PieceIndex, digest: &Digest) -> bool {
        digest.as_bytes() == self.plan.metainfo.piece_hash(piece)
    }

    fn on_checked(&mut self, piece: PieceIndex, good: bool) {
        let asked = self.check.as_deref().is_some_and(Check::is_asked);
        if self.pieces.contains_key(&piece.get()) {
            // Begun meanwhile: what was hashed may be half of it.
        } else if good && !self.have.has(piece) {
            self.gain(piece);
            self.dirty_piece(piece);
            if asked {
                self.outputs.push_back(Output::Found(piece));
            }
        } else if !good && self.have.has(piece) {
            self.lose(piece);
            self.outputs.push_back(Output::Lost(piece));
        } else if !good && self.has_all_blocks(piece) {
            // Nothing is left to ask for, and yet it is wrong.
            self.forget_blocks(piece);
        }
        self.count_checked(piece);
    }

    fn count_checked(&mut self, piece: PieceIndex) {
        let len = u64::from(self.plan.layout.grid().len_of(piece));
        let Some(check) = &mut self.check else { return };
        let step = check.done / PROGRESS_EVERY;
        check.done += len;
        if check.done / PROGRESS_EVERY != step {
            let (done, total) = (check.done, check.total);
            self.outputs.push_back(Output::CheckProgress { done, total });
        }
    }

    /// Who left it there may not have made it durable.
    fn dirty_piece(&mut self, piece: PieceIndex) {
        let layout = std::sync::Arc::clone(&self.plan.layout);
        let len = u64::from(layout.grid().len_of(piece));
        let places = self.places(piece, 0..len);
        for place in places.into_iter().filter(|place| !place.pad) {
            self.syncs.dirty(Node::File(place.file));
            if !self.is_done(place.file) {
                self.dirty_names(place.file);
            }
        }
    }

    fn conclude_check(&mut self) {
        let Some(check) = self.check.take() else { return };
        match check.reason {
            Reason::Start => {
                self.conclude_start();
                self.begin_asked();
            }
            Reason::Asked => {
                let bad = self.count_bad();
                self.outputs.push_back(Output::Checked { bad });
                self.begin_finishing();
            }
        }
    }

    /// How many pieces that hold bytes of wanted files are not there.
    fn count_bad(&self) -> u32 {
        let layout = &self.plan.layout;
        let is_wanted = |piece: PieceIndex| layout.piece_spans(piece).any(|span| self.is_wanted(span.file));
        let bad = layout.grid().all().filter(|piece| !self.have.has(*piece) && is_wanted(*piece)).count();
        u32::try_from(bad).unwrap_or(u32::MAX)
    }
}

fn pieces_of(layout: &Layout, (first, count): Batch) -> impl Iterator<Item = PieceIndex> + use<> {
    let grid = layout.grid();
    (first.get()..first.get() + count).filter_map(move |piece| grid.piece(piece))
}

/// It went away, or was cut, while it was looked at.
fn is_missing(kind: DiskErrorKind) -> bool {
    matches!(kind, DiskErrorKind::NotFound | DiskErrorKind::UnexpectedEof)
}

/// One operation hashes about this many bytes: long enough to be worth its way, short enough that others get a turn.
const BATCH_LEN: u64 = 8 << 20;
/// One operation hashes at most this many pieces.
const BATCH_PIECES: u32 = 512;
/// As many operations as an executor has threads for.
const CHECKS_UNDER_WAY: u32 = 4;
/// Progress is told after this many bytes.
const PROGRESS_EVERY: u64 = 64 << 20;
