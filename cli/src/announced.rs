//! What a command tells others of what it works on, for as long as its state file is in use: they cannot read that, but
//! they must not fetch the same file at the same time.
//!
//! The file's first line is `process PID`; each other one is `HASH URL`, the [`state::hash`] of a [`Request::key`], or
//! `HASH id ID` once the download has an id.
//!
//! [`Request::key`]: crate::settings::Request::key

use crate::state::{self, State};
use crate::storage::beside;
use gosh_dl_core::download::DownloadId;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// Where a command tells. Where that fails, only a warning to others is lost.
pub(crate) struct Announcement(Option<File>);

impl Announcement {
    /// Tells that the command with this state works on the files with these keys and URLs.
    pub(crate) fn new<'a>(state: &State, files: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let line = |(key, url): (&str, &str)| format!("{:016x} {}\n", state::hash([key]), one_line(url));
        let text = format!("process {}\n{}", std::process::id(), files.map(line).collect::<String>());
        let mut announcement = Self(create_private(&beside(&state.path, ".running")).ok());
        announcement.write(&text);
        announcement
    }

    /// Tells the id of the download with that key.
    pub(crate) fn identify(&mut self, key: &str, id: DownloadId) {
        self.write(&format!("{:016x} id {}\n", state::hash([key]), id.to_gid()));
    }

    fn write(&mut self, text: &str) {
        if let Some(file) = &mut self.0 {
            let _ = file.write_all(text.as_bytes());
        }
    }
}

/// What the command that uses a state file works on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The process that does.
    pub(crate) process: Option<u32>,
    /// What it works on.
    pub(crate) files: Vec<AnnouncedFile>,
}

/// One of the files that another command works on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AnnouncedFile {
    hash: u64,
    /// Its URL.
    pub(crate) url: String,
    /// Its id, once it has one.
    pub(crate) id: Option<DownloadId>,
}

impl Announced {
    /// Reads what the command that uses the state file at `path` told.
    pub(crate) fn read(path: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(beside(path, ".running")).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut told = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            if key == "process" {
                told.process = value.parse().ok();
                continue;
            }
            let Ok(hash) = u64::from_str_radix(key, 16) else { continue };
            match value.strip_prefix("id ") {
                None => told.files.push(AnnouncedFile { hash, url: value.to_owned(), id: None }),
                Some(id) => {
                    let id = DownloadId::from_gid(id);
                    told.files.iter_mut().filter(|file| file.hash == hash).for_each(|file| file.id = id);
                }
            }
        }
        told
    }

    /// Whether the file with this [`Request::key`](crate::settings::Request::key) is among them.
    pub(crate) fn has(&self, key: &str) -> bool {
        let wanted = state::hash([key]);
        self.files.iter().any(|file| file.hash == wanted)
    }

    /// Whether a download whose id is, or begins with, `id` is among them.
    pub(crate) fn has_id(&self, id: &str) -> bool {
        self.files.iter().filter_map(|file| file.id).any(|known| known.matches_gid(id))
    }
}

/// A magnet link may hold anything.
fn one_line(url: &str) -> String {
    url.replace(['\r', '\n'], " ")
}

/// A new file is for its owner only.
fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_read() {
        let id = DownloadId::from_gid("0123456789abcdef").unwrap();
        let hash = state::hash(["a"]);
        let told = Announced::parse(&format!(
            "process 12\n{hash:016x} http://h/a b\n{hash:016x} id {}\n",
            id.to_gid()
        ));
        let file = AnnouncedFile { hash, url: "http://h/a b".to_owned(), id: Some(id) };
        assert_eq!(told, Announced { process: Some(12), files: vec![file] });
        assert!(told.has("a") && !told.has("b"));
        assert!(told.has_id("0123") && !told.has_id("1234"));
    }

    #[test]
    fn nonsense_tells_nothing() {
        for text in ["", "\n\n", "process x\n", "zz http://h/\n", "0000000000000001 id x\n", "\u{0}\u{1b}"] {
            assert_eq!(Announced::parse(text), Announced::default(), "{text:?}");
        }
    }
}
