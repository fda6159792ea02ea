//! Floor 4: many downloads. Queue, limits, links, disk and store bookkeeping, events.

pub mod config;
pub mod error;
pub mod event;
pub mod io;
pub mod machine;
pub mod status;

pub use config::{EngineConfig, HttpConfig};
pub use error::{EngineError, NetworkErrorKind, ProtocolErrorKind, StorageErrorKind};
pub use event::DownloadEvent;
pub use io::{Answer, BatchKey, DiskKey, Input, LinkKey, Output, QueryKey, ResolveError, TlsRequest, Token};
pub use machine::{Engine, EngineStart};
pub use status::{
    BatchResult, DownloadKind, DownloadMetadata, DownloadProgress, DownloadState, DownloadStatus,
    GlobalStats, VerifyReport,
};
