//! Policy: what can be wrong with a web seed, whose fault it is, and when it may be asked again.

use super::requests::Kind;
use crate::download::error::DownloadError;
use crate::download::torrent::reach::ReachError;
use crate::download::torrent::trail::RedirectError;
use crate::proto::http::CloseReason;
use crate::wire::http::{DecodeError, UrlError};
use core::time::Duration;

/// Why a web seed did not send what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebSeedError {
    /// There was no connection to it.
    #[error("no connection: {0}")]
    NoConnection(Box<DownloadError>),
    /// The connection ended.
    #[error("the connection ended: {0}")]
    Closed(CloseReason),
    /// It refused.
    #[error("the server answered {0}")]
    Status(u16),
    /// It is busy and says for how long, in seconds.
    #[error("the server is busy for {0} s")]
    Busy(u64),
    /// It broke HTTP.
    #[error("the server's answer is not valid HTTP: {0}")]
    Http(DecodeError),
    /// It sent other bytes than those that were asked for.
    #[error("the server sent another range than was asked for")]
    WrongRange,
    /// Its file is not as long as that of the torrent.
    #[error("the server has a file of another length")]
    WrongLength,
    /// It sends files from their beginning only.
    #[error("the server does not take ranges")]
    NoRanges,
    /// It sent compressed what must not be.
    #[error("the server sent an encoded file")]
    Encoded,
    /// It sent less than it announced.
    #[error("the server sent less than it announced")]
    Short,
    /// It redirected where is not followed.
    #[error("{0}")]
    Redirect(RedirectError),
    /// There is no address for a file.
    #[error("the URL of a file cannot be asked: {0}")]
    BadUrl(UrlError),
    /// It is not one host, or may not be asked because it is in the own network.
    #[error("{0}")]
    Reach(ReachError),
    /// What it sent was wrong.
    #[error("the server sent wrong data")]
    Lied,
}

impl WebSeedError {
    /// Whether the server just does not have that file, or not the one that is meant.
    pub(super) fn is_about_the_file(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 400..500) && !matches!(status, 408 | 425),
            Self::WrongRange | Self::WrongLength | Self::NoRanges | Self::Encoded => true,
            Self::Redirect(_) | Self::BadUrl(_) | Self::Reach(ReachError::Redirect) => true,
            _ => false,
        }
    }

    /// Whether it must not be asked any more, whatever for.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Lied => true,
            Self::Reach(why) => *why != ReachError::Redirect,
            _ => false,
        }
    }

    /// How long to let it rest at least; `None` where it may be asked for something else at once.
    pub(super) fn rest(&self, kind: Kind) -> Option<Duration> {
        match self {
            Self::Busy(seconds) => Some(Duration::from_secs(*seconds)),
            error if kind == Kind::Files && error.is_about_the_file() => None,
            _ => Some(Duration::ZERO),
        }
    }
}
