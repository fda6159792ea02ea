//! Machine: the files of one torrent.

use super::layout::Layout;
use crate::base::disk::{AllocationMode, DirKey, DiskError, DiskOp, DiskResult};
use crate::base::{Bitfield, Block, BlockData, Instant, PieceIndex, RangeSet};
use crate::download::DownloadError;
use crate::proto::peer::FileSpan;
use crate::wire::torrent::Metainfo;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

mod saved;

pub use saved::FilesSaved;

/// What the files of a torrent are told at their start.
#[derive(Clone, Debug)]
pub struct FilesPlan {
    /// The directory that the torrent's file or folder stands in, for messages; operations go through its key.
    pub dir_path: PathBuf,
    /// How room is reserved.
    pub allocation: AllocationMode,
    /// What the torrent is.
    pub metainfo: Arc<Metainfo>,
    /// Where its files lie.
    pub layout: Arc<Layout>,
    /// The numbers of the files that are not wanted.
    pub unwanted: BTreeSet<u32>,
    /// Whether files that stand under the torrent's names, are not ours, and have no right piece in them may be
    /// written over. Otherwise they are [`DownloadError::Exists`].
    pub overwrite: bool,
}

/// Names an operation of the files of a torrent; each is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskTag(u64);

/// What is to be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckScope {
    /// Every piece that there could be.
    All,
    /// The pieces that are not known to be there.
    Missing,
}

/// What the files of a torrent ask for, or tell.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Perform a disk operation; [`TorrentFiles::handle_disk`] answers, unless it has no completion.
    Disk(DiskTag, DiskOp),
    /// It is known what was there: [`TorrentFiles::have`] is right, and blocks may come.
    Ready,
    /// A check goes on.
    CheckProgress {
        /// How many bytes were hashed.
        done: u64,
        /// How many there are to hash.
        total: u64,
    },
    /// A check that [`TorrentFiles::check`] asked for is over; what was found was told before.
    Checked {
        /// How many pieces of wanted files are not there, or not right.
        bad: u32,
    },
    /// All blocks of a piece came, and it was hashed. A bad one is to be fetched again as a whole.
    Piece {
        /// The piece.
        piece: PieceIndex,
        /// Whether it is right; then [`TorrentFiles::have`] has it.
        good: bool,
    },
    /// A check found a piece that was not known to be there.
    Found(PieceIndex),
    /// A check found that a piece is not there any more; it is to be fetched again.
    Lost(PieceIndex),
    /// What [`TorrentFiles::read`] asked for, or what [`TorrentFiles::serve`] asked for and cannot go by spans.
    Read {
        /// The number that was given.
        token: u64,
        /// The bytes, as many as were asked for.
        result: Result<Bytes, DiskError>,
    },
    /// What [`TorrentFiles::serve`] asked for: the files are open, and stay open until [`TorrentFiles::served`].
    Spans {
        /// The number that was given.
        token: u64,
        /// Together as many bytes as were asked for.
        result: Result<Vec<FileSpan>, DiskError>,
    },
    /// Put [`TorrentFiles::saved`] into the store; [`TorrentFiles::recorded`] answers.
    Record,
    /// More is durable than before.
    Durable,
    /// A wanted file is whole, verified, synced, and has its final name.
    FileDone(u32),
    /// All wanted files are.
    Finished,
    /// Everything is at rest and closed; the last output.
    Stopped(Option<DownloadError>),
}

/// The files of one torrent.
#[derive(Debug)]
pub struct TorrentFiles {
    plan: FilesPlan,
    saved: FilesSaved,
    have: Bitfield,
    outputs: VecDeque<Output>,
}

impl TorrentFiles {
    /// The files of a torrent that starts, or goes on where `saved` says. `keys` is the first of 2^20 numbers that are
    /// its own to name directories, files and digests.
    pub fn new(plan: FilesPlan, saved: Option<FilesSaved>, keys: u64) -> Self {
        let _ = keys;
        let saved = saved.unwrap_or_else(|| FilesSaved::new(&plan.layout));
        Self { have: Bitfield::new(plan.layout.grid().pieces()), plan, saved, outputs: VecDeque::new() }
    }

    /// The directory is open, or cannot be.
    pub fn dir_ready(&mut self, now: Instant, dir: Result<DirKey, DiskError>) {
        let _ = (now, dir);
    }

    /// Takes a block that arrived: one of those that [`PieceGrid::blocks`](crate::base::PieceGrid::blocks) gives. One
    /// that is there already is dropped.
    pub fn write(&mut self, now: Instant, block: Block, data: BlockData) {
        let _ = (now, block, data);
    }

    /// Reads some bytes of a piece that is there; [`Output::Read`] answers.
    pub fn read(&mut self, now: Instant, token: u64, block: Block) {
        let _ = (now, token, block);
    }

    /// Opens the files that some bytes of a piece lie in, for a driver that sends from a file; [`Output::Spans`]
    /// answers, or [`Output::Read`] where that cannot be (padding, parts of unwanted files, too many open files).
    pub fn serve(&mut self, now: Instant, token: u64, block: Block) {
        let _ = (now, token, block);
    }

    /// What [`Output::Spans`] gave has been sent, or will not be.
    pub fn served(&mut self, now: Instant, token: u64) {
        let _ = (now, token);
    }

    /// Hashes what is on the disk; [`Output::Checked`] answers.
    pub fn check(&mut self, now: Instant, scope: CheckScope) {
        let _ = (now, scope);
    }

    /// Which files are not wanted from now on.
    pub fn set_unwanted(&mut self, now: Instant, unwanted: BTreeSet<u32>) {
        let _ = now;
        self.plan.unwanted = unwanted;
    }

    /// Makes what was verified so far durable; [`Output::Durable`] follows if that is more than before.
    pub fn checkpoint(&mut self, now: Instant) {
        let _ = now;
    }

    /// The store knows [`saved`](Self::saved).
    pub fn recorded(&mut self, now: Instant) {
        let _ = now;
    }

    /// Brings everything to rest: what is under way ends, what is verified is made durable, all files are closed.
    pub fn stop(&mut self, now: Instant) {
        let _ = now;
        self.outputs.push_back(Output::Stopped(None));
    }

    /// Brings everything to rest and removes the files and directories that this torrent made.
    pub fn discard(&mut self, now: Instant) {
        let _ = now;
        self.outputs.push_back(Output::Stopped(None));
    }

    /// The operation with that tag ended.
    pub fn handle_disk(&mut self, now: Instant, tag: DiskTag, result: DiskResult) {
        let _ = (now, tag, result);
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) gave.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// The next output; nothing else happens in here.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    // ----- views -----------------------------------------------------------------------------------------------------

    /// Where the files lie.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.plan.layout
    }

    /// The pieces whose hash was right and whose bytes are with the operating system.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// The pieces that a power cut would leave.
    pub fn durable(&self) -> &Bitfield {
        self.saved.pieces()
    }

    /// Whether [`checkpoint`](Self::checkpoint) would do anything.
    pub fn needs_sync(&self) -> bool {
        false
    }

    /// How many bytes are in memory because of these files.
    pub fn backlog(&self) -> u64 {
        0
    }

    /// What the store must know.
    pub fn saved(&self) -> &FilesSaved {
        &self.saved
    }

    /// The numbers of pieces that are there and not yet durable: what a killed process leaves to be looked at by
    /// [`FilesSaved::suspect`]. Empty where that would be of no use.
    pub fn note(&self) -> RangeSet {
        RangeSet::new()
    }

    /// Whether a file is wanted; padding never is.
    pub fn is_wanted(&self, file: u32) -> bool {
        file < self.plan.layout.files()
            && !self.plan.layout.is_pad(file)
            && !self.plan.unwanted.contains(&file)
    }

    /// Whether a wanted file has its final name and all of its content.
    pub fn is_done(&self, file: u32) -> bool {
        let _ = file;
        false
    }

    /// How many bytes of a file are in pieces that are there.
    pub fn file_progress(&self, file: u32) -> u64 {
        saved::bytes_of(&self.plan.layout, &self.have, file)
    }

    /// The length of all wanted files in bytes.
    pub fn wanted_len(&self) -> u64 {
        0
    }

    /// How many bytes of wanted files are in pieces that are there.
    pub fn completed_len(&self) -> u64 {
        0
    }
}
