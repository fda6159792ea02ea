//! What the files of a torrent are told at their start, and what they ask for.

use crate::base::PieceIndex;
use crate::base::disk::{AllocationMode, DiskError, DiskOp};
use crate::download::DownloadError;
use crate::download::torrent::layout::Layout;
use crate::proto::peer::FileSpan;
use crate::wire::torrent::Metainfo;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// Whether files are only looked at: none is made, cut or renamed, and [`Output::Finished`] does not come.
    pub look_only: bool,
}

/// Names an operation of the files of a torrent; each is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskTag(pub(super) u64);

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
    /// Perform a disk operation; [`TorrentFiles::handle_disk`](super::TorrentFiles::handle_disk) answers, unless it has no completion.
    Disk(DiskTag, DiskOp),
    /// It is known what was there: [`TorrentFiles::have`](super::TorrentFiles::have) is right, and blocks may come.
    Ready,
    /// A check goes on.
    CheckProgress {
        /// How many bytes were hashed.
        done: u64,
        /// How many there are to hash.
        total: u64,
    },
    /// A check that [`TorrentFiles::check`](super::TorrentFiles::check) asked for is over; what was found was told before.
    Checked {
        /// How many pieces of wanted files are not there, or not right.
        bad: u32,
    },
    /// All blocks of a piece came, and it was hashed. A bad one is to be fetched again as a whole.
    Piece {
        /// The piece.
        piece: PieceIndex,
        /// Whether it is right; then [`TorrentFiles::have`](super::TorrentFiles::have) has it.
        good: bool,
    },
    /// A check found a piece that was not known to be there.
    Found(PieceIndex),
    /// A check found that a piece is not there any more; it is to be fetched again.
    Lost(PieceIndex),
    /// What [`TorrentFiles::read`](super::TorrentFiles::read) asked for, or what [`TorrentFiles::serve`](super::TorrentFiles::serve) asked for and cannot go by spans.
    Read {
        /// The number that was given.
        token: u64,
        /// The bytes, as many as were asked for.
        result: Result<Bytes, DiskError>,
    },
    /// What [`TorrentFiles::serve`](super::TorrentFiles::serve) asked for: the files are open, and stay open until [`TorrentFiles::served`](super::TorrentFiles::served).
    Spans {
        /// The number that was given.
        token: u64,
        /// Together as many bytes as were asked for.
        result: Result<Vec<FileSpan>, DiskError>,
    },
    /// Put [`TorrentFiles::saved`](super::TorrentFiles::saved) into the store; [`TorrentFiles::recorded`](super::TorrentFiles::recorded) answers.
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
