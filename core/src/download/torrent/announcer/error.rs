//! Why an announce failed.

use crate::base::ResolveError;
use crate::download::DownloadError;
use crate::download::torrent::reach::ReachError;
use crate::download::torrent::trail::RedirectError;
use crate::proto::http::CloseReason;
use crate::proto::tracker::ConversationError;
use crate::wire::http::UrlError;
use crate::wire::printable::Printable;
use crate::wire::tracker::Retry;
use crate::wire::tracker::http::AnswerError;
use core::time::Duration;

/// Why an announce or a scrape failed. Displays as a few words; nothing that a tracker sent stands in it unescaped, and
/// no URL, because it may hold a passkey.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TrackerError {
    #[error("{0}")]
    NoConnection(Box<DownloadError>),
    #[error("{0}")]
    Resolve(ResolveError),
    #[error("{0}")]
    Closed(CloseReason),
    #[error("the tracker does not answer")]
    TimedOut,
    #[error("the tracker answered {status}")]
    Status { status: u16, retry_after: Option<Duration> },
    #[error("the tracker compresses its answer although it was asked not to")]
    Encoded,
    #[error("the answer is too long")]
    TooLong,
    #[error("{0}")]
    Redirect(RedirectError),
    #[error("the URL is too long")]
    Url(UrlError),
    #[error("{0}")]
    Reach(ReachError),
    #[error("{0}")]
    Answer(AnswerError),
    #[error("{0}")]
    Udp(ConversationError),
}

impl TrackerError {
    /// When the tracker wants to be asked again.
    pub(super) fn retry(&self) -> Retry {
        match self {
            Self::Answer(AnswerError::Refused(refusal)) => refusal.retry,
            Self::Status { retry_after: Some(after), .. } => Retry::After(*after),
            _ => Retry::Unsaid,
        }
    }

    /// What the tracker itself said, safe to show.
    pub(super) fn reason(&self) -> Option<String> {
        match self {
            Self::Answer(AnswerError::Refused(refusal)) => Some(Printable(&refusal.reason).to_string()),
            Self::Udp(ConversationError::Refused(reason)) => Some(Printable(reason).to_string()),
            _ => None,
        }
    }
}
