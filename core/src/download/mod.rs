//! Floor 3: one download each.

pub mod backoff;
pub mod check;
pub mod end;
pub mod error;
pub mod http;
pub mod id;
pub mod lease;
pub mod moving;
pub mod options;
pub mod readers;
pub mod reading;
pub mod shelf;
pub mod target;
pub mod torrent;

pub use backoff::Backoff;
pub use end::End;
pub use error::DownloadError;
pub use id::DownloadId;
pub use lease::{Destination, Lease};
pub use options::{
    ConflictPolicy, DownloadOptions, DownloadPriority, ExpectedChecksum, OnChange, ParseChecksumError,
};
pub use reading::{ReadError, ReadRequest};
pub use torrent::picker::Priority as FilePriority;
