//! How a download ends.

use super::DownloadError;

/// How a download ends.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Whole, verified, synced and under its final name.
    Completed,
    /// A file of that name exists, and that was to be left alone.
    Skipped,
    /// Stopped or discarded as asked.
    Stopped,
    /// Failed; what arrived is kept.
    Failed(DownloadError),
}
