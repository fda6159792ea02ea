//! Views of downloads for users.

use super::EngineError;
use crate::download::{DownloadId, DownloadPriority, ExpectedChecksum, FilePriority};
use std::path::PathBuf;

/// What kind of download it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum DownloadKind {
    /// From one or more HTTP(S) URLs.
    Http,
    /// From the peers of a torrent.
    Torrent,
    /// A torrent whose metainfo is yet to come from its peers.
    Magnet,
}

/// Where a download is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "state", rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum DownloadState {
    /// Waiting for a slot.
    Queued,
    /// What is on the disk is being hashed.
    Checking,
    /// Running; no data yet.
    Connecting,
    /// Data arrives.
    Downloading,
    /// Everything arrived; it is being verified, synced and renamed.
    Finishing,
    /// A torrent that is whole and serves others.
    Seeding,
    /// Stopped by the user; resumes where it is.
    Paused,
    /// Whole, verified, synced and under its final name.
    Completed,
    /// Failed; what arrived is kept and `resume` tries again.
    Error {
        /// A short stable word (see [`EngineError::kind`]).
        kind: String,
        /// One sentence for a person.
        message: String,
        /// Whether `resume` may succeed without changing anything.
        retryable: bool,
    },
}

impl DownloadState {
    /// Whether it runs.
    pub fn is_active(&self) -> bool {
        matches!(
            self,
            Self::Checking | Self::Connecting | Self::Downloading | Self::Finishing | Self::Seeding
        )
    }

    /// Whether it ended, well or badly.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Completed | Self::Error { .. })
    }

    /// The word for it, in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Checking => "checking",
            Self::Connecting => "connecting",
            Self::Downloading => "downloading",
            Self::Finishing => "finishing",
            Self::Seeding => "seeding",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Error { .. } => "error",
        }
    }

    /// The word that aria2's `tellStatus` would use.
    pub fn to_aria2_status(&self) -> &'static str {
        match self {
            Self::Queued => "waiting",
            Self::Checking | Self::Connecting | Self::Downloading | Self::Finishing | Self::Seeding => {
                "active"
            }
            Self::Paused => "paused",
            Self::Completed => "complete",
            Self::Error { .. } => "error",
        }
    }
}

/// How far a download is.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DownloadProgress {
    /// Length of the whole in bytes, once known.
    pub total_size: Option<u64>,
    /// Bytes that arrived and were accepted.
    pub completed_size: u64,
    /// Bytes per second.
    pub download_speed: u64,
    /// Bytes per second sent to others.
    pub upload_speed: u64,
    /// Open connections.
    pub connections: u32,
    /// Peers that have everything, among those that are connected.
    pub seeders: u32,
    /// Peers that are connected.
    pub peers: u32,
    /// Seconds until it is complete at this speed, once known.
    pub eta_seconds: Option<u64>,
    /// Torrents: payload bytes sent to peers since it was added.
    pub uploaded: u64,
    /// Torrents: bytes sent for each byte of the torrent.
    pub ratio: f64,
    /// Torrents that are not whole: how many whole copies the connected peers have together.
    pub availability: f64,
}

impl DownloadProgress {
    /// Percent complete, 0 to 100; 0 while the length is unknown.
    pub fn percentage(&self) -> f64 {
        match self.total_size {
            None => 0.0,
            Some(0) => 100.0,
            Some(total) => self.completed_size as f64 / total as f64 * 100.0,
        }
    }
}

/// What a download is, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DownloadMetadata {
    /// The best name so far: the file's, else one from the URL.
    pub name: String,
    /// The URL it was added with, without user-info.
    pub url: String,
    /// Torrents: the magnet link that names it.
    pub magnet_uri: Option<String>,
    /// Torrents: the info-hash as 40 hexadecimal digits.
    pub info_hash: Option<String>,
    /// The directory it is saved in.
    pub save_dir: PathBuf,
    /// The final file name, once it is decided; `None` of a completed download is one that was skipped because a file
    /// of its name exists.
    pub filename: Option<String>,
    /// The other URLs of the same file, without user-info.
    pub mirrors: Vec<String>,
    /// The expected digest.
    pub checksum: Option<ExpectedChecksum>,
    /// The strong ETag of what is being fetched.
    pub etag: Option<String>,
    /// The `Last-Modified` of what is being fetched.
    pub last_modified: Option<String>,
}

/// Everything about a download.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DownloadStatus {
    /// Its id.
    pub id: DownloadId,
    /// What kind it is.
    pub kind: DownloadKind,
    /// Where it is in its life.
    pub state: DownloadState,
    /// Its place in the queue.
    pub priority: DownloadPriority,
    /// How far it is.
    pub progress: DownloadProgress,
    /// What it is.
    pub metadata: DownloadMetadata,
    /// What the torrent says and how far its files are, once its metainfo is known. Only where one download is asked
    /// for.
    pub torrent_info: Option<TorrentStatusInfo>,
    /// The connected peers of a torrent that runs. Only where one download is asked for.
    pub peers: Option<Vec<PeerInfo>>,
    /// When it was added: milliseconds since the Unix epoch.
    pub created_at: u64,
    /// When it completed: milliseconds since the Unix epoch.
    pub completed_at: Option<u64>,
}

impl DownloadStatus {
    /// The 16 hexadecimal digits that aria2 would call its GID.
    pub fn gid(&self) -> String {
        self.id.to_gid()
    }
}

/// What a torrent is and how far its files are.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TorrentStatusInfo {
    /// The files, in the torrent's order, without pad files.
    pub files: Vec<TorrentFile>,
    /// The length of a piece in bytes.
    pub piece_length: u64,
    /// How many pieces there are.
    pub pieces_count: u32,
    /// How many pieces are here and right.
    pub pieces_have: u32,
    /// Whether peers may come from its trackers only (BEP 27).
    pub private: bool,
    /// Payload bytes received since it was added.
    pub downloaded: u64,
    /// Payload bytes sent since it was added.
    pub uploaded: u64,
    /// Bytes sent for each byte of the torrent.
    pub ratio: f64,
    /// How many whole copies the connected peers have together.
    pub availability: f64,
}

/// One file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TorrentFile {
    /// Its number in the torrent, from 0.
    pub index: usize,
    /// Where it is, below the directory that it is saved in.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it is wanted.
    pub selected: bool,
    /// How much it is wanted.
    pub priority: FilePriority,
    /// How many of its bytes are here.
    pub completed: u64,
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PeerInfo {
    /// Its peer id; bytes that are no visible characters are escaped.
    pub id: String,
    /// Its address.
    pub ip: core::net::IpAddr,
    /// Its port.
    pub port: u16,
    /// The program that it says it is; safe to show.
    pub client: String,
    /// Bytes per second from it.
    pub download_speed: u64,
    /// Bytes per second to it.
    pub upload_speed: u64,
    /// How much of the torrent it has, 0 to 1.
    pub progress: f64,
    /// Whether this side lets it wait.
    pub am_choking: bool,
    /// Whether it lets this side wait.
    pub peer_choking: bool,
    /// Whether it connected to this side.
    pub incoming: bool,
}

/// Sums over all downloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GlobalStats {
    /// Bytes per second.
    pub download_speed: u64,
    /// Bytes per second sent to others.
    pub upload_speed: u64,
    /// Downloads that run.
    pub num_active: usize,
    /// Downloads that wait for a slot.
    pub num_waiting: usize,
    /// Downloads that are paused, complete or failed.
    pub num_stopped: usize,
}

/// What a call over many downloads did to each.
#[derive(Clone, Debug, Default)]
pub struct BatchResult {
    /// Done.
    pub succeeded: Vec<DownloadId>,
    /// Nothing to do (already so).
    pub skipped: Vec<DownloadId>,
    /// Failed, each with its reason.
    pub failed: Vec<(DownloadId, EngineError)>,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct VerifyReport {
    /// Whether the file is what it should be.
    pub valid: bool,
    /// The byte ranges that are wrong or missing; the whole file where only the whole can be checked.
    pub bad_ranges: Vec<core::ops::Range<u64>>,
    /// One sentence for a person.
    pub detail: String,
}
