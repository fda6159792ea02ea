//! Floor 3: one download each.

pub mod backoff;
pub mod id;
pub mod options;

pub use backoff::Backoff;
pub use id::DownloadId;
pub use options::{
    ConflictPolicy, DownloadOptions, DownloadPriority, ExpectedChecksum, OnChange, ParseChecksumError,
};
