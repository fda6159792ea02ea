//! What went wrong, in one line for a person: what, which URL, why, and what to do next.

use crate::{rate, text};
use gosh_dl_core::base::store::StoreError;
use gosh_dl_core::engine::{
    DownloadKind, DownloadStatus, EngineError, NetworkErrorKind, ProtocolErrorKind, StorageErrorKind,
};
use std::path::Path;
use std::time::Duration;

/// A failure of a whole command (exit code 1), as one line without the program's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

/// Wrong usage (exit code 2): one line for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageError(pub(crate) String);

/// Why a command did nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It was not meant like this.
    Usage(UsageError),
    /// It could not be done.
    Failure(Failure),
}

impl From<UsageError> for Refusal {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Failure {
    /// The engine could not start or go on.
    pub(crate) fn engine(error: &EngineError) -> Self {
        Self(format!("{}; {}", text::escape(&error.to_string()), next_step(error)))
    }

    /// A state file could not be used.
    pub(crate) fn state(path: &Path, error: &StoreError) -> Self {
        let path = text::path(path);
        Self(match error {
            StoreError::InUse => {
                format!("{path}: the state file is in use by another process; wait for it, or stop it first")
            }
            error => format!("{path}: {}; {}", text::escape(&error.to_string()), store_step(error)),
        })
    }

    /// The state file that is only of this very command is in use.
    pub(crate) fn running(path: &Path) -> Self {
        let path = text::path(path);
        Self(format!(
            "the same download is already running in another process (state {path}); wait for it, or stop it first"
        ))
    }
}

/// The operating system's sentence without its number.
pub(crate) fn io_message(error: &std::io::Error) -> String {
    let message = error.to_string();
    match message.find(" (os error") {
        Some(end) => message[..end].to_owned(),
        None => message,
    }
}

/// The line about a download that failed.
pub(crate) fn line(url: &str, error: &EngineError) -> String {
    let url = text::url(url);
    format!("{url}: {}; {}", why(&url, &error.to_string()), next_step(error))
}

/// The line about a download that failed, and that the engine knows.
pub(crate) fn of(status: &DownloadStatus, error: &EngineError) -> String {
    if status.kind == DownloadKind::Http {
        return line(&status.metadata.url, error);
    }
    let next = match error {
        EngineError::Storage { kind: StorageErrorKind::AlreadyExists, .. } => {
            "save elsewhere with --dir, or write over it with --on-conflict overwrite"
        }
        EngineError::Storage {
            kind: StorageErrorKind::PathTraversal | StorageErrorKind::InvalidPath,
            ..
        } => "save elsewhere with --dir",
        error => next_step(error),
    };
    format!("{}: {}; {next}", name(status), text::escape(&error.to_string()))
}

/// What people call a download: a torrent by its name, as nobody typed its link.
pub(crate) fn name(status: &DownloadStatus) -> String {
    match status.kind {
        DownloadKind::Http => text::url(&status.metadata.url),
        _ => text::escape(&status.metadata.name).into_owned(),
    }
}

/// The line about a download at `path` that could not be moved.
pub(crate) fn not_moved(path: &str, error: &EngineError) -> String {
    let next = match error {
        EngineError::Storage { kind: StorageErrorKind::AlreadyExists, .. } => {
            "nothing was moved: take that away first, or choose another directory"
        }
        EngineError::Storage { kind: StorageErrorKind::DiskFull, .. } => {
            "free some space, then run the same command again"
        }
        EngineError::Storage { kind: StorageErrorKind::PermissionDenied, .. } => {
            "check the permissions of both directories"
        }
        EngineError::Storage { .. } => "check both directories, then run the same command again",
        error => next_step(error),
    };
    format!("{path}: {}; {next}", text::escape(&error.to_string()))
}

/// The line about a try that failed, before the next one.
pub(crate) fn retry(url: &str, error: &EngineError, delay: Duration) -> String {
    let url = text::url(url);
    format!("{url}: {}; trying again in {}", why(&url, &error.to_string()), rate::elapsed(delay))
}

/// What `message` says besides `url`, escaped.
pub(crate) fn why(url: &str, message: &str) -> String {
    let message = text::escape(message);
    // Many messages begin with the URL or its origin themselves; one that differs was redirected to, and stays.
    let is_said =
        |head: &str| url.strip_prefix(head).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    message.split_once(": ").filter(|(head, _)| is_said(head)).map_or(&*message, |(_, why)| why).to_owned()
}

fn next_step(error: &EngineError) -> &'static str {
    match error {
        EngineError::Network { kind: NetworkErrorKind::Tls, message, .. } if message.contains(NO_TLS) => {
            "the server may not speak TLS at that port; try http://"
        }
        EngineError::Network { kind, retryable, .. } => network_step(*kind, *retryable),
        EngineError::Storage { kind, .. } => storage_step(*kind),
        EngineError::Protocol { kind, .. } => protocol_step(*kind),
        EngineError::Database { error, .. } => store_step(error),
        EngineError::InvalidInput { .. } => "correct it and run the command again",
        EngineError::AlreadyExists(_) => "see gosh-dl list",
        EngineError::NotFound(_) => "gosh-dl list shows the ids",
        EngineError::Internal(_) => "please report this",
        _ => AGAIN,
    }
}

fn network_step(kind: NetworkErrorKind, retryable: bool) -> &'static str {
    match kind {
        NetworkErrorKind::DnsResolution => {
            "check the host name and the network, then run the same command again"
        }
        NetworkErrorKind::Tls => {
            "check the address and the clock; --ca-certificate FILE trusts another authority"
        }
        NetworkErrorKind::TooManyRedirects => "check the URL; --max-redirects N allows more",
        NetworkErrorKind::LocalRedirect => "if that is right, --allow-local-redirects follows it",
        NetworkErrorKind::HttpStatus(401) => {
            "give user:password@ before the host in the URL, or --header 'Authorization: ...'"
        }
        NetworkErrorKind::HttpStatus(403 | 407) => "check the URL, and what --header or --cookie sends",
        NetworkErrorKind::HttpStatus(429 | 503) => "run the same command again later to resume",
        NetworkErrorKind::HttpStatus(400..=499) => "check the URL",
        _ if retryable => AGAIN,
        _ => "check the URL and the network, then run the same command again",
    }
}

fn storage_step(kind: StorageErrorKind) -> &'static str {
    match kind {
        StorageErrorKind::DiskFull => "free some space, then run the same command again to resume",
        StorageErrorKind::PermissionDenied => "check the permissions, or save elsewhere with --dir",
        StorageErrorKind::AlreadyExists => "use --on-conflict rename or overwrite",
        StorageErrorKind::InUse => "another download is writing it: wait for that, or use --out or --dir",
        StorageErrorKind::PathTraversal | StorageErrorKind::InvalidPath => "use --out NAME or --dir DIR",
        StorageErrorKind::NotFound => "check --dir, then run the same command again",
        _ => AGAIN,
    }
}

fn protocol_step(kind: ProtocolErrorKind) -> &'static str {
    match kind {
        ProtocolErrorKind::InvalidUrl => "check the URL",
        ProtocolErrorKind::RangeNotSupported => "try --connections 1",
        ProtocolErrorKind::ResourceChanged => "run the same command again to fetch the new version",
        ProtocolErrorKind::HashMismatch => "check the checksum, then run the same command again",
        _ => "try again later, or another mirror",
    }
}

fn store_step(error: &StoreError) -> &'static str {
    match error {
        StoreError::InUse => "wait for the other process, or stop it first",
        StoreError::NewerVersion { .. } => "use the newer gosh-dl that wrote it",
        StoreError::Corrupt(_) => "move it away to start over",
        StoreError::Full => "free some space, then run the same command again",
        _ => "check the path and its permissions, or name another with --state",
    }
}

/// How core says that no certificate is to blame.
const NO_TLS: &str = "the TLS protocol failed";

const AGAIN: &str = "run the same command again to resume";

#[cfg(test)]
mod tests {
    use super::*;
    use gosh_dl_core::base::TlsError;

    #[test]
    fn a_line_says_what_and_what_next_once() {
        for message in ["the server answered 404", "http://h.example/a: the server answered 404"] {
            let kind = NetworkErrorKind::HttpStatus(404);
            let error = EngineError::Network { kind, message: message.to_owned(), retryable: false };
            assert_eq!(
                line("http://me:pw@h.example/a", &error),
                "http://h.example/a: the server answered 404; check the URL"
            );
        }
    }

    #[test]
    fn hostile_messages_are_escaped() {
        let error = EngineError::Protocol {
            kind: ProtocolErrorKind::InvalidResponse,
            message: "status \x1b[31m\nred".to_owned(),
        };
        for line in [line("http://h/", &error), Failure::engine(&error).0] {
            assert!(!line.contains(char::is_control), "{line}");
        }
    }

    #[test]
    fn a_state_in_use_is_explained() {
        let Failure(line) = Failure::state(Path::new("/s/x.redb"), &StoreError::InUse);
        assert!(line.starts_with("/s/x.redb: the state file is in use by another process;"), "{line}");
        let Failure(line) = Failure::running(Path::new("/s/x.redb"));
        assert!(
            line.starts_with("the same download is already running in another process (state /s/x.redb);")
        );
    }

    #[test]
    fn the_origin_is_said_once_and_another_stays() {
        let refused = |origin: &str| EngineError::Network {
            kind: NetworkErrorKind::ConnectionRefused,
            message: format!("{origin}: the connection was refused"),
            retryable: true,
        };
        let line = |origin| line("http://h.example:81/a", &refused(origin));
        assert!(
            line("http://h.example:81").starts_with("http://h.example:81/a: the connection was refused;")
        );
        for other in ["http://h.example:8", "http://other.example"] {
            let line = line(other);
            assert!(line.starts_with(&format!("http://h.example:81/a: {other}: the connection")), "{line}");
        }
    }

    #[test]
    fn tls_where_there_is_none_is_explained() {
        let error = |why: TlsError| EngineError::Network {
            kind: NetworkErrorKind::Tls,
            message: why.to_string(),
            retryable: false,
        };
        assert!(line("https://h/", &error(TlsError::Protocol)).ends_with("; try http://"));
        assert!(line("https://h/", &error(TlsError::Expired)).contains("--ca-certificate FILE"));
    }
}
