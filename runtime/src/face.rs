//! The names that every driver crate offers, beside its own `DownloadEngine` and its stores.

pub use crate::{EventStream, FileReader, Handle};
pub use gosh_dl_core::base::disk::{AllocationMode, Digest, HashAlgorithm};
pub use gosh_dl_core::base::store::{MemoryStore, Record, Store, StoreError, StoreOp, Table};
pub use gosh_dl_core::download::{
    ConflictPolicy, DownloadId, DownloadOptions, DownloadPriority, ExpectedChecksum, OnChange,
    ParseChecksumError,
};
pub use gosh_dl_core::engine::{
    BatchResult, DownloadEvent, DownloadKind, DownloadMetadata, DownloadProgress, DownloadState,
    DownloadStatus, EngineConfig, EngineError, GlobalStats, HttpConfig, NetworkErrorKind, ProtocolErrorKind,
    StorageErrorKind, VerifyReport,
};

/// The result of an engine call.
pub type Result<T> = core::result::Result<T, EngineError>;

/// Types that can be serialised, for applications that pass them on (feature `serde` of `gosh-dl-core`).
pub mod protocol {
    pub use gosh_dl_core::download::{DownloadId, DownloadPriority, ExpectedChecksum};
    pub use gosh_dl_core::engine::{
        DownloadKind, DownloadMetadata, DownloadProgress, DownloadState, DownloadStatus, GlobalStats,
        VerifyReport,
    };
}
