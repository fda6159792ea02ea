//! JSON lines: one object per event, or per download of a list. Fields are only ever added.

use crate::text;
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::{DownloadKind, DownloadState, DownloadStatus, EngineError};
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;

/// One line of `get --json` and `resume --json`.
#[derive(Serialize)]
struct EventLine<'a> {
    event: &'a str,
    id: String,
    url: &'a str,
    path: Option<String>,
    total: Option<u64>,
    completed: u64,
    speed: u64,
    connections: u32,
    #[serde(flatten)]
    swarm: Option<SwarmFields>,
    #[serde(flatten)]
    more: Option<More<'a>>,
}

/// What only some events have.
#[derive(Serialize)]
#[serde(untagged)]
enum More<'a> {
    Failed(FailureFields<'a>),
    Waiting { error: &'a str, kind: &'a str, retry_in: f64 },
    Warning { message: &'a str },
    Seeding { listen: String },
}

/// What only torrents have.
#[derive(Serialize)]
struct SwarmFields {
    state: &'static str,
    peers: u32,
    seeders: u32,
    availability: f64,
    upload_speed: u64,
    downloaded: u64,
    uploaded: u64,
    ratio: f64,
}

#[derive(Serialize)]
struct FailureFields<'a> {
    error: &'a str,
    kind: &'a str,
    retryable: bool,
}

/// One line about a download that could not even be added: it has no id.
#[derive(Serialize)]
struct RefusedLine<'a> {
    event: &'a str,
    id: Option<String>,
    url: &'a str,
    path: Option<String>,
    #[serde(flatten)]
    failure: FailureFields<'a>,
}

/// One line of `list --json`.
#[derive(Serialize)]
struct ListLine<'a> {
    id: String,
    url: &'a str,
    path: Option<String>,
    state: &'a str,
    total: Option<u64>,
    completed: u64,
    state_file: &'a str,
    #[serde(flatten)]
    failure: Option<FailureFields<'a>>,
}

/// A line of `list --json` about a state file whose records could not be read.
#[derive(Serialize)]
struct FileLine<'a> {
    id: Option<String>,
    url: Option<&'a str>,
    state: &'a str,
    state_file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Where a player finds a file.
#[derive(Serialize)]
struct StreamLine<'a> {
    event: &'a str,
    id: String,
    file: usize,
    name: &'a str,
    url: &'a str,
}

/// Where a player finds a file of a download.
pub(crate) fn stream(id: DownloadId, file: usize, name: &str, url: &str) -> String {
    line(&StreamLine { event: "stream", id: id.to_gid(), file, name, url })
}

/// An event of a download.
pub(crate) fn event(event: &str, status: &DownloadStatus) -> String {
    line(&event_line(event, status))
}

/// The failure of a download.
pub(crate) fn failed(status: &DownloadStatus, error: &EngineError, retryable: bool) -> String {
    let message = error.to_string();
    let more = Some(More::Failed(FailureFields { error: &message, kind: error.kind(), retryable }));
    line(&EventLine { more, ..event_line("failed", status) })
}

/// A try failed, and the next one is in a while.
pub(crate) fn waiting(status: &DownloadStatus, error: &EngineError, delay: Duration) -> String {
    let message = error.to_string();
    let more = More::Waiting { error: &message, kind: error.kind(), retry_in: delay.as_secs_f64() };
    line(&EventLine { more: Some(more), ..event_line("waiting", status) })
}

/// What a tracker or peer of a download has to say.
pub(crate) fn warning(status: &DownloadStatus, message: &str) -> String {
    line(&EventLine { more: Some(More::Warning { message }), ..event_line("warning", status) })
}

/// A torrent is served at that address.
pub(crate) fn seeding(status: &DownloadStatus, listen: SocketAddr) -> String {
    let more = Some(More::Seeding { listen: listen.to_string() });
    line(&EventLine { more, ..event_line("seeding", status) })
}

/// The failure of a download that could not even be added.
pub(crate) fn refused(url: &str, error: &EngineError) -> String {
    let message = error.to_string();
    let failure = FailureFields { error: &message, kind: error.kind(), retryable: error.is_retryable() };
    line(&RefusedLine { event: "failed", id: None, url: &text::without_user_info(url), path: None, failure })
}

/// A download of a list that is `state` (completed, failed, paused or interrupted).
pub(crate) fn listed(status: &DownloadStatus, state: &str, state_file: &str) -> String {
    let failure = match &status.state {
        DownloadState::Error { kind, message, retryable } => {
            Some(FailureFields { error: message, kind, retryable: *retryable })
        }
        _ => None,
    };
    line(&ListLine {
        id: status.gid(),
        url: &status.metadata.url,
        path: path(status),
        state,
        total: status.progress.total_size,
        completed: status.progress.completed_size,
        state_file,
        failure,
    })
}

/// What another process works on.
pub(crate) fn running(
    state_file: &str,
    process: Option<u32>,
    id: Option<String>,
    url: Option<&str>,
) -> String {
    line(&FileLine { id, url, state: "running", state_file, process, error: None })
}

/// A state file of a list that cannot be read.
pub(crate) fn unreadable(state_file: &str, error: &str) -> String {
    let error = Some(error);
    line(&FileLine { id: None, url: None, state: "unreadable", state_file, process: None, error })
}

fn event_line<'a>(event: &'a str, status: &'a DownloadStatus) -> EventLine<'a> {
    EventLine {
        event,
        id: status.gid(),
        url: &status.metadata.url,
        path: path(status),
        total: status.progress.total_size,
        completed: status.progress.completed_size,
        speed: status.progress.download_speed,
        connections: status.progress.connections,
        swarm: (status.kind != DownloadKind::Http).then(|| swarm_fields(status)),
        more: None,
    }
}

fn swarm_fields(status: &DownloadStatus) -> SwarmFields {
    let progress = &status.progress;
    SwarmFields {
        state: status.state.name(),
        peers: progress.peers,
        seeders: progress.seeders,
        availability: progress.availability,
        upload_speed: progress.upload_speed,
        downloaded: status.torrent_info.as_ref().map_or(0, |info| info.downloaded),
        uploaded: progress.uploaded,
        ratio: progress.ratio,
    }
}

/// The final path, once its name is decided.
fn path(status: &DownloadStatus) -> Option<String> {
    let name = status.metadata.filename.as_ref()?;
    Some(status.metadata.save_dir.join(name).to_string_lossy().into_owned())
}

/// One line of anything.
pub(crate) fn line(value: &impl Serialize) -> String {
    let line = serde_json::to_string(value)
        .unwrap_or_else(|error| format!("{{\"event\":\"error\",\"error\":\"{error}\"}}"));
    text::escape_json(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gosh_dl_core::download::DownloadId;
    use gosh_dl_core::engine::{DownloadMetadata, DownloadProgress, NetworkErrorKind};

    fn status() -> DownloadStatus {
        DownloadStatus {
            id: DownloadId::from_gid("0123456789abcdef").unwrap(),
            kind: DownloadKind::Http,
            state: DownloadState::Downloading,
            priority: Default::default(),
            progress: DownloadProgress { total_size: Some(10), completed_size: 5, ..Default::default() },
            metadata: DownloadMetadata {
                url: "http://h/a".into(),
                save_dir: "/d".into(),
                filename: Some("a\u{202e}\"".into()),
                ..Default::default()
            },
            torrent_info: None,
            peers: None,
            created_at: 0,
            completed_at: None,
        }
    }

    #[test]
    fn an_event_has_every_field() {
        assert_eq!(
            event("progress", &status()),
            "{\"event\":\"progress\",\"id\":\"0123456789abcdef\",\"url\":\"http://h/a\",\
             \"path\":\"/d/a\\u202e\\\"\",\"total\":10,\"completed\":5,\"speed\":0,\"connections\":0}"
        );
    }

    #[test]
    fn an_event_of_a_torrent_tells_of_its_swarm_too() {
        let mut status = DownloadStatus { kind: DownloadKind::Torrent, ..status() };
        let progress = &mut status.progress;
        (progress.peers, progress.seeders, progress.availability) = (3, 1, 1.5);
        (progress.upload_speed, progress.uploaded, progress.ratio) = (7, 20, 2.0);
        let end = ",\"connections\":0,\"state\":\"downloading\",\"peers\":3,\"seeders\":1,\"availability\":1.5,\
                   \"upload_speed\":7,\"downloaded\":0,\"uploaded\":20,\"ratio\":2.0}";
        let line = event("progress", &status);
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn a_failure_says_why() {
        let error = EngineError::Network {
            kind: NetworkErrorKind::Timeout,
            message: "no\x1banswer".into(),
            retryable: true,
        };
        let end = ",\"error\":\"no\\u001banswer\",\"kind\":\"network\",\"retryable\":true}";
        assert!(failed(&status(), &error, true).ends_with(end));
        let refused = refused("http://me:pw@h/a", &error);
        assert!(refused.starts_with("{\"event\":\"failed\",\"id\":null,\"url\":\"http://h/a\""), "{refused}");
    }

    #[test]
    fn a_list_says_the_state() {
        let line = listed(&status(), "interrupted", "/s/x.redb");
        assert!(
            line.contains("\"state\":\"interrupted\"") && line.contains("\"state_file\":\"/s/x.redb\""),
            "{line}"
        );
        assert_eq!(
            running("/s", Some(7), None, None),
            "{\"id\":null,\"url\":null,\"state\":\"running\",\"state_file\":\"/s\",\"process\":7}"
        );
    }
}
