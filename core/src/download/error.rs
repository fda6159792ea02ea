//! Why a download failed: whose fault it is, which rule was broken, and whether another try may help.

use crate::base::disk::{DiskError, DiskErrorKind};
use crate::base::link::ResolveError;
use crate::base::store::StoreError;
use crate::base::{FileName, LinkError};
use crate::wire::http::{DecodeError, HttpUrl, Origin, UrlError};
use crate::wire::torrent::MetainfoError;
use std::path::PathBuf;

use super::ExpectedChecksum;

/// Why a download failed. Displays as one sentence; nothing that a server sent stands in it unescaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The host's name has no addresses.
    #[error("{origin}: {error}")]
    Resolve {
        /// The host.
        origin: Origin,
        /// What the resolver said.
        error: ResolveError,
    },
    /// The host's name leads nowhere that may be asked for this.
    #[error("{origin}: the name leads into the own network, where this may not be asked")]
    OutOfReach {
        /// The host.
        origin: Origin,
    },
    /// No connection could be made.
    #[error("{origin}: {error}")]
    Connect {
        /// The host.
        origin: Origin,
        /// What failed.
        error: LinkError,
    },
    /// No connection came about in time.
    #[error("{origin}: no connection within {seconds} s")]
    ConnectTimeout {
        /// The host.
        origin: Origin,
        /// How long it may take.
        seconds: u64,
    },
    /// The connection broke before the answer was whole.
    #[error("{url}: the connection broke: {error}")]
    Lost {
        /// What was asked for.
        url: HttpUrl,
        /// What failed.
        error: LinkError,
    },
    /// The server closed before it had sent all it had announced.
    #[error("{url}: the server sent less than it announced")]
    Short {
        /// What was asked for.
        url: HttpUrl,
    },
    /// The server was silent for too long.
    #[error("{url}: no data for {seconds} s")]
    Silent {
        /// What was asked for.
        url: HttpUrl,
        /// How long it may be silent.
        seconds: u64,
    },
    /// The server refused.
    #[error("{url}: the server answered {status}{}", reason(*status))]
    Status {
        /// What was asked for.
        url: HttpUrl,
        /// The status code.
        status: u16,
    },
    /// The server asks to wait longer than anybody would.
    #[error("{url}: the server answered {status} and asks to wait {seconds} s")]
    RetryAfter {
        /// What was asked for.
        url: HttpUrl,
        /// The status code.
        status: u16,
        /// For how long.
        seconds: u64,
    },
    /// There were more redirects than allowed.
    #[error("{url}: more than {limit} redirects")]
    TooManyRedirects {
        /// The first URL.
        url: HttpUrl,
        /// How many are allowed.
        limit: usize,
    },
    /// A host elsewhere redirects into the own network.
    #[error("{url}: redirects into the own network, to {to}")]
    LocalRedirect {
        /// The first URL.
        url: HttpUrl,
        /// Where it leads.
        to: Origin,
    },
    /// A redirect leads nowhere that can be fetched.
    #[error("{url}: redirects to a URL that cannot be fetched: {error}")]
    BadRedirect {
        /// What was asked for.
        url: HttpUrl,
        /// What is wrong with the new one.
        error: UrlError,
    },
    /// The server broke HTTP.
    #[error("{url}: the server's answer is not valid HTTP: {error}")]
    Http {
        /// What was asked for.
        url: HttpUrl,
        /// Which rule was broken.
        error: DecodeError,
    },
    /// The server's answer contradicts the request or itself.
    #[error("{url}: {problem}")]
    BadResponse {
        /// What was asked for.
        url: HttpUrl,
        /// The contradiction.
        problem: BadResponse,
    },
    /// The resource changed while it was fetched.
    #[error("{url}: the file changed on the server while it was fetched")]
    Changed {
        /// The resource.
        url: HttpUrl,
    },
    /// A mirror has another file.
    #[error("{url}: this mirror has a different file")]
    OtherFile {
        /// The mirror.
        url: HttpUrl,
    },
    /// The content does not have the expected digest.
    #[error("checksum mismatch: expected {expected}, got {actual}")]
    ChecksumMismatch {
        /// What was expected.
        expected: ExpectedChecksum,
        /// What the file has.
        actual: ExpectedChecksum,
    },
    /// A file of the final name exists and must not be touched.
    #[error("{path} exists", path = .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The disk failed.
    #[error("cannot {action} {path}: {error}", path = .path.display())]
    Disk {
        /// What was being done.
        action: DiskAction,
        /// The file or directory.
        path: PathBuf,
        /// What failed.
        error: DiskError,
    },
    /// Peers sent what the magnet link names, and it cannot be downloaded.
    #[error("what the link leads to is refused: {0}")]
    Metainfo(MetainfoError),
    /// The torrent has fewer files than were selected before it was known.
    #[error("there is no file {file} in the torrent")]
    NoSuchFile {
        /// The number of one that it does not have.
        file: usize,
    },
    /// The store could not keep what must be kept before going on.
    #[error("{0}")]
    Store(StoreError),
    /// It did not complete in the time that was asked for.
    #[error("not complete within {seconds} s")]
    Deadline {
        /// How long it may take.
        seconds: u64,
    },
}

/// How an answer contradicts its request or itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadResponse {
    /// The `Content-Range` is not the range that was asked for.
    #[error("the server sent another range than it was asked for")]
    WrongRange,
    /// A 206 without the `ETag` that the file had.
    #[error("the server sent a part without saying of which version of the file")]
    NoValidator,
    /// A 206 without `Content-Range`.
    #[error("the server sent a partial answer without saying which part")]
    NoContentRange,
    /// `Content-Range` and `Content-Length` differ.
    #[error("the server's Content-Range and Content-Length contradict each other")]
    LengthMismatch,
    /// The content is compressed although it was asked for as it is.
    #[error("the server compresses the file although it was asked not to")]
    Encoded,
    /// The server cannot send the missing part alone.
    #[error("the server cannot send parts of the file, which is needed to go on")]
    NoRanges,
    /// A redirect without `Location`.
    #[error("the server redirects without saying where to")]
    NoLocation,
}

/// What was being done on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskAction {
    /// Opening the directory.
    OpenDirectory,
    /// Creating the file.
    Create,
    /// Opening the file.
    Open,
    /// Reserving room.
    Allocate,
    /// Writing.
    Write,
    /// Reading for a digest.
    Read,
    /// Syncing.
    Sync,
    /// Giving the final name.
    Rename,
    /// Removing.
    Remove,
    /// Making room for a file of that name.
    Overwrite,
}

impl core::fmt::Display for DiskAction {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::OpenDirectory => "open the directory",
            Self::Create => "create",
            Self::Open => "open",
            Self::Allocate => "reserve room for",
            Self::Write => "write",
            Self::Read => "read",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Overwrite => "overwrite",
        })
    }
}

impl DownloadError {
    /// Whether another try later may succeed without changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::OutOfReach { .. }
            | Self::Connect { error: LinkError::Tls(_), .. }
            | Self::TooManyRedirects { .. }
            | Self::LocalRedirect { .. }
            | Self::BadRedirect { .. }
            | Self::Http { .. }
            | Self::BadResponse { .. }
            | Self::OtherFile { .. }
            | Self::ChecksumMismatch { .. }
            | Self::Metainfo(_)
            | Self::NoSuchFile { .. }
            | Self::Exists { .. } => {
                matches!(self, Self::Resolve { error, .. } if *error != ResolveError::NotFound)
            }
            Self::Status { status, .. } => is_transient(*status),
            Self::Disk { error, .. } => {
                matches!(error.kind, DiskErrorKind::Full | DiskErrorKind::Io | DiskErrorKind::TooManyFiles)
            }
            _ => true,
        }
    }

    /// How much it tells: where several sources failed, the most telling failure is shown.
    pub(crate) fn weight(&self) -> u8 {
        match self {
            Self::Resolve { .. } | Self::OutOfReach { .. } => 1,
            Self::Connect { .. } | Self::ConnectTimeout { .. } => 1,
            Self::Lost { .. } | Self::Short { .. } | Self::Silent { .. } => 2,
            Self::Status { .. } | Self::RetryAfter { .. } => 3,
            _ => 4,
        }
    }

    pub(crate) fn disk(
        action: DiskAction,
        dir: &std::path::Path,
        name: Option<&FileName>,
        error: DiskError,
    ) -> Self {
        let path = name.map_or_else(|| dir.to_owned(), |name| dir.join(name.as_str()));
        Self::Disk { action, path, error }
    }
}

/// The status codes that mean "not now" rather than "no".
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => " (bad request)",
        401 => " (authentication needed)",
        403 => " (forbidden)",
        404 => " (not found)",
        408 => " (request timeout)",
        410 => " (gone)",
        416 => " (range not satisfiable)",
        429 => " (too many requests)",
        451 => " (unavailable for legal reasons)",
        500 => " (internal server error)",
        502 => " (bad gateway)",
        503 => " (service unavailable)",
        504 => " (gateway timeout)",
        _ => "",
    }
}
