//! What the engine tells its users, as it happens.

use super::{DownloadProgress, DownloadState, EngineError};
use crate::download::DownloadId;
use core::time::Duration;

/// Something that happened to a download.
///
/// [`Progress`](Self::Progress) is coalesced to at most one per download and 250 ms; all others are never lost.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DownloadEvent {
    /// It was added.
    Added {
        /// Which.
        id: DownloadId,
    },
    /// It left the queue and runs.
    Started {
        /// Which.
        id: DownloadId,
    },
    /// How far it is.
    Progress {
        /// Which.
        id: DownloadId,
        /// How far.
        progress: DownloadProgress,
    },
    /// Its state changed.
    StateChanged {
        /// Which.
        id: DownloadId,
        /// Before.
        old_state: DownloadState,
        /// After.
        new_state: DownloadState,
    },
    /// It is whole, verified, synced, and has its final name.
    Completed {
        /// Which.
        id: DownloadId,
    },
    /// It failed; what arrived is kept.
    Failed {
        /// Which.
        id: DownloadId,
        /// Why.
        error: EngineError,
        /// Whether `resume` may succeed without changing anything.
        retryable: bool,
    },
    /// Nothing arrives any more; it is tried again in a while.
    Waiting {
        /// Which.
        id: DownloadId,
        /// What failed last.
        error: EngineError,
        /// For how long.
        delay: Duration,
    },
    /// A tracker or peer has something to say that the user may want to know; safe to show.
    Warning {
        /// Which.
        id: DownloadId,
        /// What.
        message: String,
    },
    /// It is gone from the engine.
    Removed {
        /// Which.
        id: DownloadId,
    },
    /// It is paused, and everything that arrived is durable.
    Paused {
        /// Which.
        id: DownloadId,
    },
    /// It is queued again.
    Resumed {
        /// Which.
        id: DownloadId,
    },
}

impl DownloadEvent {
    /// The download it is about.
    pub fn id(&self) -> DownloadId {
        match self {
            Self::Added { id }
            | Self::Started { id }
            | Self::Progress { id, .. }
            | Self::StateChanged { id, .. }
            | Self::Completed { id }
            | Self::Failed { id, .. }
            | Self::Waiting { id, .. }
            | Self::Warning { id, .. }
            | Self::Removed { id }
            | Self::Paused { id }
            | Self::Resumed { id } => *id,
        }
    }
}
