//! Floor 4: many downloads. Queue, limits, links, disk and store bookkeeping, events.

pub mod config;
mod credit;
mod dirs;
mod entry;
pub mod error;
pub mod event;
mod file_priorities;
pub(crate) mod flow;
pub mod io;
pub(crate) mod journal;
mod lifecycle;
mod limits;
mod links;
pub mod machine;
mod moving;
pub(crate) mod queue;
mod reading;
pub mod record;
pub mod recording;
mod routing;
mod shelves;
pub mod status;
mod swarm;
mod torrents;
mod view;

pub use config::{EngineConfig, HttpConfig, TorrentConfig};
pub use entry::RESERVED_HEADERS;
pub use error::{EngineError, NetworkErrorKind, ProtocolErrorKind, StorageErrorKind};
pub use event::DownloadEvent;
pub use io::{
    Answer, ArrivalKey, BatchKey, DiskKey, Input, LinkKey, ListenerKey, Output, QueryKey, ResolveError,
    TlsRequest, Token, UdpKey,
};
pub use machine::{Engine, EngineStart, SHUTDOWN_TIMEOUT};
pub use status::{
    BatchResult, DownloadKind, DownloadMetadata, DownloadProgress, DownloadState, DownloadStatus,
    GlobalStats, PeerInfo, TorrentFile, TorrentStatusInfo, VerifyReport,
};
