//! What people look up, read out of the records that the engine keeps.
//!
//! A record that cannot be read has empty columns: whether that is an error is the engine's to say when it loads it.

use gosh_dl_core::engine::record::{DownloadRecord, SavedState, decode_id, decode_progress, decode_torrent};
use gosh_dl_core::wire::torrent::Magnet;
use std::path::Path;

/// The columns of a download.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DownloadColumns {
    pub(crate) id: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) file_name: Option<String>,
    pub(crate) save_dir: Option<String>,
    pub(crate) state: Option<&'static str>,
    pub(crate) error: Option<String>,
    pub(crate) added_ms: Option<i64>,
    pub(crate) completed_ms: Option<i64>,
}

impl DownloadColumns {
    /// What the record says.
    pub(crate) fn of(key: &[u8], value: &[u8]) -> Self {
        let id = decode_id(key).map(|id| id.to_string());
        let Ok(record) = DownloadRecord::decode(value) else { return Self { id, ..Self::default() } };
        let (state, error) = match record.state {
            SavedState::Queued => ("queued", None),
            SavedState::Paused => ("paused", None),
            SavedState::Completed => ("completed", None),
            SavedState::Error { message, .. } => ("error", Some(message)),
        };
        Self {
            id,
            file_name: record.options.filename.or_else(|| torrent_name(&record.url)),
            url: Some(without_user_info(&record.url)),
            save_dir: record.options.save_dir.as_deref().map(Path::to_string_lossy).map(Into::into),
            state: Some(state),
            error,
            added_ms: i64::try_from(record.created_at).ok(),
            completed_ms: record.completed_at.and_then(|at| i64::try_from(at).ok()),
        }
    }
}

/// The columns of a download's progress.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ProgressColumns {
    pub(crate) file_name: Option<String>,
    pub(crate) bytes_done: Option<i64>,
    pub(crate) bytes_total: Option<i64>,
}

impl ProgressColumns {
    /// What the record says.
    pub(crate) fn of(value: &[u8]) -> Self {
        let number = |bytes: u64| i64::try_from(bytes).ok();
        let Ok(saved) = decode_progress(value) else { return Self::of_torrent(value) };
        Self {
            bytes_done: saved.part.as_ref().and_then(|part| number(part.durable.len())),
            file_name: saved.part.map(|part| part.final_name.as_str().to_owned()),
            bytes_total: saved.total.and_then(number),
        }
    }

    /// Of a torrent: of the files that are wanted.
    fn of_torrent(value: &[u8]) -> Self {
        let Ok(saved) = decode_torrent(value) else { return Self::default() };
        let number = |bytes: u64| i64::try_from(bytes).ok();
        let bytes_total = saved.wanted.and_then(number);
        Self { file_name: None, bytes_done: number(saved.completed), bytes_total }
    }
}

/// What the link of a torrent calls it; its info-hash where it says nothing.
fn torrent_name(url: &str) -> Option<String> {
    let magnet = Magnet::parse(url).ok()?;
    Some(magnet.name.unwrap_or_else(|| magnet.info_hash.to_string()))
}

/// A name and a password are not for looking at.
fn without_user_info(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("http://me:pw@h/a@b", "http://h/a@b"),
            ("http://h/a", "http://h/a"),
            ("http://me@p@h", "http://h"),
            ("http://h?a=b@c", "http://h?a=b@c"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_user_info(url), shown);
        }
    }

    #[test]
    fn what_cannot_be_read_is_empty() {
        assert_eq!(DownloadColumns::of(b"k", b"junk"), DownloadColumns::default());
        assert_eq!(ProgressColumns::of(b"junk"), ProgressColumns::default());
    }
}
