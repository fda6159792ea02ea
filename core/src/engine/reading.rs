//! How users read the files of downloads while they are fetched.

use super::entry::{Entry, EntryKey, Kind, Running};
use super::error::{EngineError, ProtocolErrorKind, Result};
use super::io::{Answer, Token};
use super::machine::Engine;
use crate::base::Instant;
use crate::download::DownloadId;
use crate::download::reading::{ReadDone, ReadError, ReadRequest};
use std::collections::BTreeMap;

/// Who reads. As many as users have opened.
#[derive(Debug, Default)]
pub(super) struct Readers {
    known: BTreeMap<u64, Reader>,
}

#[derive(Debug)]
struct Reader {
    entry: EntryKey,
    /// Whether it has got bytes.
    fed: bool,
    /// Whether these are of another version of the file than what would follow.
    outdated: bool,
}

impl Readers {
    /// A reader asks; says whether what it got so far is outdated, once.
    fn ask(&mut self, reader: u64, entry: EntryKey) -> bool {
        let reader = self.known.entry(reader).or_insert(Reader { entry, fed: false, outdated: false });
        let outdated = core::mem::take(&mut reader.outdated);
        reader.fed &= !outdated;
        outdated
    }

    fn feed(&mut self, reader: u64) {
        if let Some(reader) = self.known.get_mut(&reader) {
            reader.fed = true;
        }
    }

    /// What arrived of a download is thrown away; another version of it may come.
    pub(super) fn forget(&mut self, entry: EntryKey) {
        for reader in self.known.values_mut().filter(|reader| reader.entry == entry) {
            reader.outdated |= reader.fed;
        }
    }
}

impl Engine {
    /// Reads bytes of a file of a download, or waits until they are there, and has them fetched first while it runs;
    /// replies with [`Answer::Data`]: at least one byte, unless none was asked for or the file ends there. At most 256
    /// KiB come at once. The bytes of a torrent are verified, those of a download over HTTP are as they came. One that is
    /// paused is waited for until it goes on; one that failed is an error, and so is what was not wanted of a torrent once
    /// all that is wanted is there.
    pub fn read(&mut self, now: Instant, id: DownloadId, request: ReadRequest, reply: Token) {
        if let Some(key) = self.entry_or_reply(id, reply) {
            self.route_read(now, key, request, reply);
            self.settle(now);
        }
    }

    /// A reader is gone: nothing is fetched first for it any more.
    pub fn close_reader(&mut self, now: Instant, id: DownloadId, reader: u64) {
        self.readers.known.remove(&reader);
        let Some(key) = self.by_id.get(&id).copied() else { return };
        self.close_waiting(key, reader);
        match self.entries.get_mut(key).and_then(|entry| entry.running.as_mut()) {
            Some(Running::Torrent(torrent)) => torrent.close_reader(now, reader),
            Some(Running::Http(download)) => download.close_reader(now, reader),
            _ => {}
        }
        self.touch(key);
        self.settle(now);
    }

    /// The length in bytes of a file of a download, by its number; `None` of a download over HTTP where the server has
    /// not told it.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidState`] for a torrent whose metainfo has not come yet;
    /// [`EngineError::InvalidInput`] for a file that it does not have.
    pub fn file_len(&self, id: DownloadId, file: usize) -> Result<Option<u64>> {
        let entry = self.entries.get(self.key_of(id)?);
        let entry = entry.ok_or_else(|| EngineError::NotFound(id.to_string()))?;
        let found = match &entry.kind {
            Kind::Http(saved) => (file == 0).then(|| match entry.http() {
                Some(download) => download.total(),
                None => saved.total,
            }),
            Kind::Torrent(torrent) => {
                let unknown = || entry.not_readable();
                let files = torrent.metainfo.as_ref().ok_or_else(unknown)?.files();
                files.get(file).filter(|file| !file.pad).map(|file| Some(file.len))
            }
        };
        found.ok_or_else(|| {
            let message = format!("there is no file {file} in the download");
            EngineError::InvalidInput { field: "file", message }
        })
    }

    /// Reads from what runs, or from the file of a download at rest; waits where it is neither just now.
    pub(super) fn route_read(&mut self, now: Instant, key: EntryKey, request: ReadRequest, reply: Token) {
        if self.readers.ask(request.reader, key) {
            return self.reply(reply, Err(outdated()));
        }
        let Some(entry) = self.entries.get_mut(key) else { return };
        let is_readable = entry.is_readable();
        match &mut entry.running {
            Some(Running::Torrent(torrent)) if is_readable => torrent.read(now, request, reply.0),
            Some(Running::Http(download)) if is_readable => download.read(now, request, reply.0),
            None => return self.read_at_rest(now, key, request, reply),
            Some(_) => return self.wait_to_read(key, request, reply),
        }
        self.touch(key);
    }

    pub(super) fn on_read_done(&mut self, key: EntryKey, done: ReadDone) {
        let ReadDone { request, reply, result } = done;
        let result = match result {
            Ok(bytes) => {
                if !bytes.is_empty() {
                    self.readers.feed(request.reader);
                }
                Ok(Answer::Data(bytes))
            }
            Err(ReadError::Stopped) => return self.wait_to_read(key, request, Token(reply)),
            Err(error) => Err(self.read_error(key, error)),
        };
        self.reply(Token(reply), result);
    }

    pub(super) fn read_error(&self, key: EntryKey, error: ReadError) -> EngineError {
        let invalid_state = |current_state: &str| EngineError::InvalidState {
            action: "read from",
            current_state: current_state.to_owned(),
        };
        match error {
            ReadError::Unknown => {
                self.entries.get(key).map_or_else(|| invalid_state("gone"), Entry::not_readable)
            }
            ReadError::Missing => EngineError::InvalidState {
                action: "read what was not fetched of",
                current_state: "completed".to_owned(),
            },
            ReadError::Stopped => invalid_state("cancelled"),
            ReadError::Closed => invalid_state("no longer read"),
            ReadError::Disk(error) => {
                let dir = self.entries.get(key).map(|entry| entry.save_dir(&self.config).to_owned());
                EngineError::Storage {
                    kind: error.kind.into(),
                    path: dir.unwrap_or_default(),
                    message: format!("a file of the download cannot be read: {error}"),
                }
            }
            other => EngineError::InvalidInput { field: "read", message: other.to_string() },
        }
    }
}

impl Entry {
    /// Its files are not known, or nothing of them can be read as it stands.
    fn not_readable(&self) -> EngineError {
        EngineError::InvalidState { action: "read from", current_state: self.state.name().to_owned() }
    }
}

/// What follows does not belong to what was read.
fn outdated() -> EngineError {
    EngineError::Protocol {
        kind: ProtocolErrorKind::ResourceChanged,
        message: "the file changed on the server while it was read".to_owned(),
    }
}
