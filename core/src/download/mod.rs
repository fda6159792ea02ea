//! Floor 3: one download each.

pub mod id;
pub mod options;

pub use id::DownloadId;
pub use options::{
    ConflictPolicy, DownloadOptions, DownloadPriority, ExpectedChecksum, OnChange, ParseChecksumError,
};
