//! The root error of the engine: whose fault, which rule, and whether another try may help.

use crate::base::LinkError;
use crate::base::disk::DiskErrorKind;
use crate::base::store::StoreError;
use crate::download::DownloadError;
use crate::download::error::BadResponse;
use crate::wire::torrent::{MagnetError, MetainfoError};
use std::path::PathBuf;

/// The result of an engine call.
pub type Result<T> = core::result::Result<T, EngineError>;

/// Why a call or a download failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The network or a server failed.
    #[error("{message}")]
    Network {
        /// What kind of failure.
        kind: NetworkErrorKind,
        /// One sentence for a person: what, and which URL or host. Nothing a server sent stands in it unescaped.
        message: String,
        /// Whether trying again later may succeed.
        retryable: bool,
    },
    /// The disk or a path failed.
    #[error("{message}")]
    Storage {
        /// What kind of failure.
        kind: StorageErrorKind,
        /// The path it is about.
        path: PathBuf,
        /// One sentence for a person.
        message: String,
    },
    /// A server broke its protocol, or content is not what it should be.
    #[error("{message}")]
    Protocol {
        /// Which rule.
        kind: ProtocolErrorKind,
        /// One sentence for a person.
        message: String,
    },
    /// An argument is wrong.
    #[error("{field}: {message}")]
    InvalidInput {
        /// Which argument or option.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A limit of the engine is reached.
    #[error("too many {resource}: the limit is {limit}")]
    ResourceLimit {
        /// What there would be too many of.
        resource: &'static str,
        /// The limit.
        limit: usize,
    },
    /// There is no download with that id.
    #[error("no download with id {0}")]
    NotFound(String),
    /// The same download is already there.
    #[error("already added as download {0}")]
    AlreadyExists(String),
    /// The download's state does not allow the action.
    #[error("cannot {action} a download that is {current_state}")]
    InvalidState {
        /// What was asked.
        action: &'static str,
        /// The state it is in.
        current_state: String,
    },
    /// The download failed in an earlier life of the engine, for this reason.
    #[error("{0}")]
    Failed(String),
    /// The engine is shutting down or gone.
    #[error("the engine has shut down")]
    Shutdown,
    /// The store failed.
    #[error("{}{error}", before(.path))]
    Database {
        /// The file, where there is one and its name is known.
        path: Option<PathBuf>,
        /// How.
        error: StoreError,
    },
    /// A bug in the engine.
    #[error("internal error: {0}")]
    Internal(String),
}

impl EngineError {
    /// Whether trying again later may succeed without changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Network { retryable, .. } => *retryable,
            Self::Storage { kind, .. } => matches!(kind, StorageErrorKind::DiskFull | StorageErrorKind::Io),
            _ => false,
        }
    }

    /// Whether there is no such download.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Whether the network or a server failed.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Network { .. })
    }

    /// Whether the engine has shut down.
    pub fn is_shutdown(&self) -> bool {
        matches!(self, Self::Shutdown)
    }

    /// A short stable word for the kind of error, for records and machine-readable output.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Network { .. } => "network",
            Self::Storage { .. } => "storage",
            Self::Protocol { .. } => "protocol",
            Self::InvalidInput { .. } => "invalid_input",
            Self::ResourceLimit { .. } => "resource_limit",
            Self::NotFound(_) => "not_found",
            Self::AlreadyExists(_) => "already_exists",
            Self::InvalidState { .. } => "invalid_state",
            Self::Failed(_) => "failed",
            Self::Shutdown => "shutdown",
            Self::Database { .. } => "database",
            Self::Internal(_) => "internal",
        }
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        Self::Database { path: None, error }
    }
}

fn before(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or_else(String::new, |path| format!("{}: ", path.display()))
}

impl From<DownloadError> for EngineError {
    fn from(error: DownloadError) -> Self {
        let retryable = error.is_retryable();
        let message = error.to_string();
        let network = |kind| Self::Network { kind, message: message.clone(), retryable };
        let protocol = |kind| Self::Protocol { kind, message: message.clone() };
        match error {
            DownloadError::Resolve { .. } => network(NetworkErrorKind::DnsResolution),
            DownloadError::OutOfReach { .. } => network(NetworkErrorKind::Other),
            DownloadError::Connect { error, .. } | DownloadError::Lost { error, .. } => network(error.into()),
            DownloadError::ConnectTimeout { .. }
            | DownloadError::Silent { .. }
            | DownloadError::Deadline { .. } => network(NetworkErrorKind::Timeout),
            DownloadError::Short { .. } => network(NetworkErrorKind::ConnectionReset),
            DownloadError::Status { status, .. } | DownloadError::RetryAfter { status, .. } => {
                network(NetworkErrorKind::HttpStatus(status))
            }
            DownloadError::TooManyRedirects { .. } => network(NetworkErrorKind::TooManyRedirects),
            DownloadError::LocalRedirect { .. } => network(NetworkErrorKind::LocalRedirect),
            DownloadError::BadRedirect { .. } => protocol(ProtocolErrorKind::InvalidUrl),
            DownloadError::BadResponse { problem: BadResponse::NoRanges, .. } => {
                protocol(ProtocolErrorKind::RangeNotSupported)
            }
            DownloadError::Http { .. }
            | DownloadError::BadResponse { .. }
            | DownloadError::OtherFile { .. } => protocol(ProtocolErrorKind::InvalidResponse),
            DownloadError::Changed { .. } => protocol(ProtocolErrorKind::ResourceChanged),
            DownloadError::ChecksumMismatch { .. } => protocol(ProtocolErrorKind::HashMismatch),
            DownloadError::Exists { path } => {
                Self::Storage { kind: StorageErrorKind::AlreadyExists, path, message }
            }
            DownloadError::Disk { path, error, .. } => {
                Self::Storage { kind: error.kind.into(), path, message }
            }
            DownloadError::Metainfo(_) => protocol(ProtocolErrorKind::InvalidTorrent),
            DownloadError::NoSuchFile { .. } => Self::InvalidInput { field: "selected_files", message },
            DownloadError::Store(error) => error.into(),
        }
    }
}

impl From<MetainfoError> for EngineError {
    fn from(error: MetainfoError) -> Self {
        Self::Protocol { kind: ProtocolErrorKind::InvalidTorrent, message: error.to_string() }
    }
}

impl From<MagnetError> for EngineError {
    fn from(error: MagnetError) -> Self {
        Self::Protocol { kind: ProtocolErrorKind::InvalidMagnet, message: error.to_string() }
    }
}

impl From<LinkError> for NetworkErrorKind {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Refused => Self::ConnectionRefused,
            LinkError::Reset | LinkError::Eof | LinkError::Truncated => Self::ConnectionReset,
            LinkError::TimedOut => Self::Timeout,
            LinkError::Unreachable => Self::Unreachable,
            LinkError::Tls(_) => Self::Tls,
            _ => Self::Other,
        }
    }
}

/// What failed on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NetworkErrorKind {
    /// The host name could not be resolved.
    DnsResolution,
    /// Nothing listens there.
    ConnectionRefused,
    /// The connection broke.
    ConnectionReset,
    /// Nothing came in time.
    Timeout,
    /// The link could not be secured.
    Tls,
    /// The server answered with this status.
    HttpStatus(u16),
    /// The network has no way there.
    Unreachable,
    /// More redirects than allowed.
    TooManyRedirects,
    /// A host elsewhere redirects into the own network, which `allow_local_redirects` would let it.
    LocalRedirect,
    /// Anything else.
    Other,
}

/// What failed on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StorageErrorKind {
    /// A file or directory is missing.
    NotFound,
    /// The operating system does not allow it.
    PermissionDenied,
    /// The disk is full.
    DiskFull,
    /// A name would have left its directory.
    PathTraversal,
    /// A file of that name exists.
    AlreadyExists,
    /// The path or name is not possible here.
    InvalidPath,
    /// Another download is writing the file.
    InUse,
    /// Anything else.
    Io,
}

impl From<DiskErrorKind> for StorageErrorKind {
    fn from(kind: DiskErrorKind) -> Self {
        match kind {
            DiskErrorKind::Full | DiskErrorKind::TooLarge => Self::DiskFull,
            DiskErrorKind::ReadOnly | DiskErrorKind::PermissionDenied => Self::PermissionDenied,
            DiskErrorKind::NotFound => Self::NotFound,
            DiskErrorKind::Exists => Self::AlreadyExists,
            DiskErrorKind::Locked => Self::InUse,
            DiskErrorKind::NotRegular | DiskErrorKind::NotADirectory | DiskErrorKind::InvalidName => {
                Self::InvalidPath
            }
            _ => Self::Io,
        }
    }
}

/// Which rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolErrorKind {
    /// The URL is not one that the engine can fetch.
    InvalidUrl,
    /// The server cannot send ranges where they are needed.
    RangeNotSupported,
    /// The server's answer breaks HTTP, or contradicts itself.
    InvalidResponse,
    /// The resource changed while it was fetched.
    ResourceChanged,
    /// The content does not have the digest that was expected.
    HashMismatch,
    /// The bytes are no torrent, or one that cannot be fetched.
    InvalidTorrent,
    /// The text is no magnet link of a torrent.
    InvalidMagnet,
}
