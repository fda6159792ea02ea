//! How users read the files of torrents while they are fetched.

use super::entry::EntryKey;
use super::error::EngineError;
use super::io::{Answer, Token};
use super::machine::Engine;
use crate::base::Instant;
use crate::download::DownloadId;
use crate::download::torrent::{ReadError, ReadRequest};
use bytes::Bytes;

impl Engine {
    /// Reads verified bytes of a file of a torrent that runs, or waits until they are there and has them fetched first;
    /// replies with [`Answer::Data`]: at least one byte, unless none was asked for or the file ends there.
    /// At most 256 KiB come at once.
    pub fn read(&mut self, now: Instant, id: DownloadId, request: ReadRequest, reply: Token) {
        let Some(key) = self.entry_or_reply(id, reply) else { return };
        let Some(entry) = self.entries.get_mut(key) else { return };
        let current_state = entry.state.name().to_owned();
        match entry.torrent_mut() {
            Some(torrent) => {
                torrent.read(now, request, reply.0);
                self.touch(key);
            }
            None => self.reply(reply, Err(EngineError::InvalidState { action: "read from", current_state })),
        }
        self.settle(now);
    }

    /// A reader is gone: nothing is fetched first for it any more.
    pub fn close_reader(&mut self, now: Instant, id: DownloadId, reader: u64) {
        let Some(key) = self.by_id.get(&id).copied() else { return };
        if let Some(torrent) = self.entries.get_mut(key).and_then(|entry| entry.torrent_mut()) {
            torrent.close_reader(now, reader);
            self.touch(key);
            self.settle(now);
        }
    }

    pub(super) fn on_read_done(
        &mut self,
        key: EntryKey,
        reply: u64,
        result: core::result::Result<Bytes, ReadError>,
    ) {
        let result = result.map(Answer::Data).map_err(|error| match error {
            ReadError::Stopped => {
                EngineError::InvalidState { action: "read from", current_state: "stopped".to_owned() }
            }
            ReadError::Disk(error) => {
                let dir = self.entries.get(key).map(|entry| entry.save_dir(&self.config).to_owned());
                EngineError::Storage {
                    kind: error.kind.into(),
                    path: dir.unwrap_or_default(),
                    message: format!("a file of the torrent cannot be read: {error}"),
                }
            }
            other => EngineError::InvalidInput { field: "read", message: other.to_string() },
        });
        self.reply(Token(reply), result);
    }
}
