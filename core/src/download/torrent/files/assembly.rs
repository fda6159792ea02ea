//! Pieces under construction: blocks are gathered into large writes, and the digest of each piece is fed with the same
//! bytes while they are hot; only what came out of order is read back.

use super::handles::{Access, Job, JobOp};
use super::syncs::Node;
use super::{Output, PARTS, Phase, Then, TorrentFiles};
use crate::base::disk::{
    Digest, DiskErrorKind, DiskOk, DiskOp, DiskResult, HashAlgorithm, HashInput, HashKey,
};
use crate::base::{BLOCK_LEN, Block, BlockData, Instant, PieceIndex, RangeSet};
use crate::download::error::DiskAction;
use bytes::Bytes;
use core::ops::Range;
use core::time::Duration;

/// A piece of which some blocks came.
#[derive(Debug)]
pub(super) struct Assembly {
    /// A bit for each block that came.
    came: Box<[u64]>,
    /// Blocks in memory, in order of place.
    runs: Vec<Run>,
    /// All bytes before this one are with the digest.
    fed: u64,
    /// What is in the file and not yet with the digest.
    on_disk: RangeSet,
    /// Whether the digest has an operation under way.
    feeding: bool,
    /// How many writes are under way.
    writes: u32,
    hash: HashKey,
    /// Whether the digest was begun and not ended.
    hashing: bool,
    digest: Option<Digest>,
}

/// Bytes that follow each other in a piece and are not yet with the disk.
#[derive(Debug)]
struct Run {
    begin: u64,
    len: u64,
    parts: Vec<Bytes>,
    /// When it has waited long enough.
    due: Instant,
}

impl Run {
    const fn end(&self) -> u64 {
        self.begin + self.len
    }
}

impl Assembly {
    fn new(blocks: u32, hash: HashKey) -> Self {
        Self {
            came: vec![0; blocks.div_ceil(64) as usize].into(),
            runs: Vec::new(),
            fed: 0,
            on_disk: RangeSet::new(),
            feeding: false,
            writes: 0,
            hash,
            hashing: false,
            digest: None,
        }
    }

    /// Takes bytes that are in the file from before this life: whole blocks.
    fn inherit(&mut self, range: Range<u64>) {
        let number = |at: u64| u32::try_from(at / u64::from(BLOCK_LEN)).unwrap_or(u32::MAX);
        (number(range.start)..number(range.end - 1) + 1).for_each(|block| _ = self.mark(block));
        self.on_disk.insert(range);
    }

    /// Notes that a block came; says whether it is the first time.
    fn mark(&mut self, block: u32) -> bool {
        let Some(word) = self.came.get_mut((block / 64) as usize) else { return false };
        let bit = 1 << (block % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Adds a block to the runs, which stay in order and apart.
    fn add(&mut self, now: Instant, begin: u64, data: BlockData) {
        let len = data.len() as u64;
        let index = self.runs.partition_point(|run| run.begin < begin);
        let follows = index > 0 && self.runs[index - 1].end() == begin;
        let at = if follows {
            let run = &mut self.runs[index - 1];
            run.len += len;
            run.parts.extend(data);
            index - 1
        } else {
            let mut parts = Vec::with_capacity(PARTS_AT_FIRST);
            parts.extend(data);
            self.runs.insert(index, Run { begin, len, parts, due: now + MAX_AGE });
            index
        };
        if self.runs.get(at + 1).is_some_and(|next| next.begin == self.runs[at].end()) {
            let next = self.runs.remove(at + 1);
            let run = &mut self.runs[at];
            run.len += next.len;
            run.parts.extend(next.parts);
        }
    }

    /// The run that the digest needs next, if it is worth a write.
    fn take_next(&mut self, piece_len: u64, due: Instant) -> Option<Run> {
        let run = self.runs.first().filter(|run| run.begin == self.fed)?;
        let is_worth_it =
            run.len >= WRITE_SIZE || run.parts.len() >= MAX_PARTS || run.end() == piece_len || run.due <= due;
        is_worth_it.then(|| self.runs.remove(0))
    }

    /// A run that has waited long enough for those before it, or has become too long to wait.
    fn take_old(&mut self, due: Instant) -> Option<Run> {
        let next = self.fed;
        let feeding = self.feeding;
        let is_old = |run: &Run| {
            let is_next = run.begin == next && feeding;
            (run.parts.len() >= MAX_PARTS || run.due <= due) && !is_next
        };
        let index = self.runs.iter().position(is_old)?;
        Some(self.runs.remove(index))
    }

    fn is_due(&self, now: Instant) -> bool {
        self.runs.iter().any(|run| run.due <= now)
    }

    /// When the next run has waited long enough. What is due already and still here is what the digest takes next: it
    /// waits for the digest, and needs no timer.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        self.runs.iter().map(|run| run.due).filter(|due| *due > now).min()
    }
}

impl TorrentFiles {
    pub(super) fn take_block(&mut self, now: Instant, block: Block, data: BlockData) {
        self.in_use = true;
        let grid = self.plan.layout.grid();
        let is_whole =
            grid.block(block.piece, block.number()) == Some(block) && data.len() == block.len as usize;
        if self.phase != Phase::Ready || !is_whole || self.have.has(block.piece) {
            return;
        }
        let piece = block.piece.get();
        if !self.pieces.contains_key(&piece) {
            self.begin_piece(block.piece);
        }
        let Some(assembly) = self.pieces.get_mut(&piece) else { return };
        if !assembly.mark(block.number()) {
            return;
        }
        self.in_memory += u64::from(block.len);
        self.held += u64::from(block.len);
        assembly.add(now, u64::from(block.begin), data);
        self.flush_at.get_or_insert(now + MAX_AGE);
        let due = if self.held > MAX_HELD { now + MAX_AGE } else { now };
        self.advance_piece(block.piece, due);
    }

    fn begin_piece(&mut self, piece: PieceIndex) {
        let blocks = self.plan.layout.grid().blocks_in(piece);
        let hash = HashKey(self.take_key());
        let mut assembly = Assembly::new(blocks, hash);
        self.inherited_of(piece).for_each(|range| assembly.inherit(range));
        self.pieces.insert(piece.get(), assembly);
        self.keep_parts_of(piece);
    }

    /// Gives to the disk what is worth it, and what is due by then.
    pub(super) fn advance_piece(&mut self, piece: PieceIndex, due: Instant) {
        let piece_len = u64::from(self.plan.layout.grid().len_of(piece));
        let Some(assembly) = self.pieces.get_mut(&piece.get()) else { return };
        if !assembly.feeding && assembly.digest.is_none() {
            if let Some(run) = assembly.take_next(piece_len, due) {
                self.feed_run(piece, run, piece_len);
            } else if let Some(end) = assembly.on_disk.end_of(assembly.fed) {
                self.feed_from_disk(piece, end, piece_len);
            }
        }
        while let Some(run) = self.pieces.get_mut(&piece.get()).and_then(|assembly| assembly.take_old(due)) {
            self.held -= run.len;
            self.write_run(piece, run, false);
        }
        self.conclude_piece(piece);
    }

    /// The digest takes a run, and the disk, in one operation where it lies in one file.
    fn feed_run(&mut self, piece: PieceIndex, run: Run, piece_len: u64) {
        let Some(assembly) = self.pieces.get_mut(&piece.get()) else { return };
        self.held -= run.len;
        assembly.fed = run.end();
        assembly.feeding = true;
        let (hash, finish) = (assembly.hash, run.end() == piece_len);
        assembly.hashing = !finish;
        let len = run.len;
        let first = self.first_place(piece, run.begin..run.end());
        if let Some(place) = first.filter(|place| !place.pad && place.len == len) {
            let op = JobOp::WriteHashed { offset: place.offset, data: run.parts, hash, finish };
            let then = Then::Fed { piece, begin: run.begin, len, hash };
            self.grow(place.file, place.offset + len);
            return self.submit(Job { slot: (place.file, Access::Write), op, then });
        }
        let input = HashInput::Memory(run.parts.clone());
        let begin = run.begin;
        self.write_run(piece, run, true);
        let op = DiskOp::Hash { hash, algorithm: HashAlgorithm::Sha1, input, finish };
        self.emit(super::Context::Free(Then::Fed { piece, begin, len: 0, hash }), op);
    }

    /// The digest takes what came out of order.
    fn feed_from_disk(&mut self, piece: PieceIndex, end: u64, piece_len: u64) {
        let Some(assembly) = self.pieces.get_mut(&piece.get()) else { return };
        let (from, hash) = (assembly.fed, assembly.hash);
        assembly.feeding = true;
        let Some(place) = self.first_place(piece, from..end) else { return };
        let fed = (from + place.len.min(MAX_READ)).min(end);
        if let Some(assembly) = self.pieces.get_mut(&piece.get()) {
            assembly.fed = fed;
            assembly.on_disk.remove(from..fed);
            assembly.hashing = fed != piece_len;
        }
        self.hash_place(
            place,
            fed - from,
            hash,
            fed == piece_len,
            Then::Fed { piece, begin: from, len: 0, hash },
        );
    }

    /// Feeds a digest with bytes that are in a file, or with zeros for padding.
    pub(super) fn hash_place(
        &mut self,
        place: super::Span,
        len: u64,
        hash: HashKey,
        finish: bool,
        then: Then,
    ) {
        if place.pad {
            let input = HashInput::Memory(zeros(len));
            let op = DiskOp::Hash { hash, algorithm: HashAlgorithm::Sha1, input, finish };
            return self.emit(super::Context::Free(then), op);
        }
        let op = JobOp::Hash { offset: place.offset, len, hash, finish };
        self.submit(Job { slot: (place.file, Access::Read), op, then });
    }

    /// Writes a run, to all the files that it lies in.
    fn write_run(&mut self, piece: PieceIndex, run: Run, fed: bool) {
        let places = self.places(piece, run.begin..run.end());
        let (mut parts, mut at) = (run.parts.into(), run.begin);
        let mut waste = 0;
        for place in places {
            let data = split(&mut parts, place.len);
            let (begin, len) = (at, place.len);
            at += place.len;
            if place.pad {
                waste += len;
                self.note_written(piece, begin, len);
                let Some(assembly) = self.pieces.get_mut(&piece.get()) else { return };
                if !fed {
                    assembly.on_disk.insert(begin..begin + len);
                }
                continue;
            }
            let Some(assembly) = self.pieces.get_mut(&piece.get()) else { return };
            assembly.writes += 1;
            self.grow(place.file, place.offset + len);
            let op = JobOp::Write { offset: place.offset, data };
            self.submit(Job {
                slot: (place.file, Access::Write),
                op,
                then: Then::Wrote { piece, begin, len, fed },
            });
        }
        self.in_memory -= waste;
    }

    pub(super) fn on_wrote(&mut self, file: u32, then: Then, result: DiskResult) {
        let Then::Wrote { piece, begin, len, fed } = then else { return };
        self.in_memory = self.in_memory.saturating_sub(len);
        if let Err(error) = result {
            return self.leave(DiskAction::Write, file, error);
        }
        self.syncs.dirty(Node::File(file));
        self.note_written(piece, begin, len);
        let Some(assembly) = self.pieces.get_mut(&piece.get()) else { return };
        assembly.writes -= 1;
        if !fed {
            assembly.on_disk.insert(begin..begin + len);
        }
        self.advance_piece(piece, self.now);
    }

    pub(super) fn on_fed(&mut self, file: Option<u32>, then: Then, result: DiskResult) {
        let Then::Fed { piece, begin, len, hash } = then else { return };
        self.in_memory = self.in_memory.saturating_sub(len);
        let digest = match result {
            Ok(DiskOk::Hashed(digest)) => digest,
            Ok(_) => return self.leave(DiskAction::Read, file.unwrap_or(0), DiskErrorKind::Io.into()),
            Err(error) => {
                let action = if len > 0 { DiskAction::Write } else { DiskAction::Read };
                return self.leave(action, file.unwrap_or(0), error);
            }
        };
        if let Some(file) = file.filter(|_| len > 0) {
            self.syncs.dirty(Node::File(file));
            self.note_written(piece, begin, len);
        }
        let Some(assembly) = self.pieces.get_mut(&piece.get()).filter(|assembly| assembly.hash == hash)
        else {
            // Given up meanwhile.
            if digest.is_none() {
                self.emit_release(DiskOp::HashDrop { hash });
            }
            return;
        };
        assembly.feeding = false;
        assembly.digest = digest;
        self.advance_piece(piece, self.now);
    }

    fn conclude_piece(&mut self, piece: PieceIndex) {
        let Some(assembly) = self.pieces.get(&piece.get()).filter(|assembly| assembly.writes == 0) else {
            return;
        };
        let Some(digest) = &assembly.digest else { return };
        let good = digest.as_bytes() == self.plan.metainfo.piece_hash(piece);
        self.pieces.remove(&piece.get());
        if good {
            self.gain(piece);
        } else {
            self.forget_blocks(piece);
        }
        self.outputs.push_back(Output::Piece { piece, good });
    }

    /// Gives to the disk what has waited long enough.
    pub(super) fn flush(&mut self) {
        let now = self.now;
        let old = self.pieces.iter().filter(|(_, assembly)| assembly.is_due(now));
        let old: Vec<u32> = old.map(|(piece, _)| *piece).collect();
        let grid = self.plan.layout.grid();
        for piece in old.into_iter().filter_map(|piece| grid.piece(piece)) {
            self.advance_piece(piece, now);
        }
        self.flush_at = self.pieces.values().filter_map(|assembly| assembly.next_due(now)).min();
    }

    /// Gives to the disk all that is in memory, whether or not the digest could take it next.
    pub(super) fn write_all(&mut self) {
        let grid = self.plan.layout.grid();
        let begun: Vec<u32> = self.pieces.keys().copied().collect();
        for piece in begun.into_iter().filter_map(|piece| grid.piece(piece)) {
            let runs = self.pieces.get_mut(&piece.get()).map(|assembly| core::mem::take(&mut assembly.runs));
            runs.into_iter().flatten().for_each(|run| self.write_run(piece, run, false));
        }
    }

    /// Gives up what is not with the disk, and all pieces that are not whole.
    pub(super) fn drop_pieces(&mut self) {
        for (_, assembly) in core::mem::take(&mut self.pieces) {
            let waiting: u64 = assembly.runs.iter().map(|run| run.len).sum();
            self.in_memory = self.in_memory.saturating_sub(waiting);
            if assembly.hashing && !assembly.feeding {
                self.emit_release(DiskOp::HashDrop { hash: assembly.hash });
            }
        }
        self.held = 0;
        self.flush_at = None;
    }
}

/// Takes `len` bytes from the front.
fn split(parts: &mut std::collections::VecDeque<Bytes>, mut len: u64) -> Vec<Bytes> {
    let mut taken = Vec::with_capacity(parts.len());
    while let Some(part) = parts.front_mut().filter(|_| len > 0) {
        let size = (part.len() as u64).min(len);
        len -= size;
        if size < part.len() as u64 {
            taken.push(part.split_to(size as usize));
        } else {
            taken.extend(parts.pop_front());
        }
    }
    taken
}

/// As many zeros, of which few are in memory.
fn zeros(len: u64) -> Vec<Bytes> {
    let zeros = Bytes::from_static(&[0; ZEROS]);
    let whole = len / ZEROS as u64;
    let rest = (len % ZEROS as u64) as usize;
    let mut parts: Vec<Bytes> = (0..whole).map(|_| zeros.clone()).collect();
    parts.extend((rest > 0).then(|| zeros.slice(..rest)));
    parts
}

/// Which file the parts of unwanted files go to is decided when a piece is begun, so that all of it goes the same way.
impl TorrentFiles {
    fn keep_parts_of(&mut self, piece: PieceIndex) {
        let layout = std::sync::Arc::clone(&self.plan.layout);
        for span in layout.piece_spans(piece).filter(|span| !span.pad) {
            let key = (piece.get(), span.file);
            // A file that was whole keeps its name and content though it is not wanted any more.
            let is_partial = self.is_there(span.file) && !self.is_named(span.file);
            let is_at_home = is_partial || self.has_blocks_in(span);
            if self.is_wanted(span.file) || is_at_home || self.saved.kept.contains_key(&key) {
                continue;
            }
            let room = self.room_for(piece.get());
            self.saved.kept.insert(key, room);
            if !self.saved.parts.ours && !self.is_there(PARTS) {
                // Told to the store now, so that a stop does not wait for it.
                self.saved.parts.ours = true;
                self.needs_record = true;
            }
        }
    }

    /// Where the parts of a piece are kept; another place for each piece.
    fn room_for(&mut self, piece: u32) -> u32 {
        let used = self.saved.kept.range((piece, 0)..=(piece, PARTS)).next();
        if let Some((_, room)) = used {
            return *room;
        }
        self.saved.rooms += 1;
        self.saved.rooms - 1
    }
}

/// A write of this length costs little more per byte than a longer one, and is still warm in the cache.
const WRITE_SIZE: u64 = 256 << 10;
/// Below the 1,024 parts that `pwritev` takes at once.
const MAX_PARTS: usize = 512;
/// Most runs become whole pieces or full writes of 16 blocks.
const PARTS_AT_FIRST: usize = 16;
/// Slow data reaches the disk after this time.
const MAX_AGE: Duration = Duration::from_millis(200);
/// What waits for its predecessors may take this much memory in bytes; beyond it, it is written and read back later.
const MAX_HELD: u64 = 8 << 20;
/// One operation reads at most this much, so that others get their turn.
const MAX_READ: u64 = 8 << 20;
/// How many zeros are in memory.
const ZEROS: usize = 16 << 10;
