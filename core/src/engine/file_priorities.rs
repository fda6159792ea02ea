//! How much the files of a torrent are wanted, while it runs and at rest.

use super::entry::{EntryKey, Kind};
use super::error::{EngineError, Result};
use super::machine::Engine;
use super::status::DownloadState;
use crate::base::Instant;
use crate::download::torrent::file_priorities;
use crate::download::{DownloadId, DownloadOptions, FilePriority};
use std::collections::BTreeMap;

impl Engine {
    /// Files of a torrent, by their numbers, are wanted more or less from now on; those that are not named stay as they
    /// are. What is skipped keeps what is there of it. A torrent that is complete goes on when more of it is wanted.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidState`] for a download that is no torrent;
    /// [`EngineError::InvalidInput`] for a file that it does not have.
    pub fn set_file_priorities(
        &mut self,
        now: Instant,
        id: DownloadId,
        priorities: &[(usize, FilePriority)],
    ) -> Result<()> {
        self.check_open()?;
        let key = self.key_of(id)?;
        let Some(entry) = self.entries.get_mut(key) else {
            return Err(EngineError::NotFound(id.to_string()));
        };
        let Kind::Torrent(torrent) = &entry.kind else {
            let current_state = entry.state.name().to_owned();
            return Err(EngineError::InvalidState { action: "choose files of", current_state });
        };
        let files = torrent.metainfo.as_ref().map(|metainfo| metainfo.files().len());
        validate(priorities, files)?;
        let mut all: BTreeMap<usize, FilePriority> = entry.options.file_priorities.drain(..).collect();
        all.extend(priorities.iter().copied());
        entry.options.file_priorities = all.into_iter().collect();
        if let Some(torrent) = entry.torrent_mut() {
            torrent.set_file_priorities(now, &by_number(priorities));
            self.touch(key);
        } else {
            let is_complete = entry.state == DownloadState::Completed && entry.intent.is_none();
            if !self.is_enough(key) {
                self.lose_completion(key);
                if is_complete {
                    self.requeue(key, Vec::new());
                }
            }
        }
        self.journal.download(key);
        self.settle(now);
        Ok(())
    }

    /// Whether all that is wanted of a torrent at rest is there.
    fn is_enough(&self, key: EntryKey) -> bool {
        let Some(entry) = self.entries.get(key) else { return true };
        let Kind::Torrent(torrent) = &entry.kind else { return true };
        let Some(metainfo) = &torrent.metainfo else { return true };
        let wanted = entry.file_priorities(metainfo.files().len());
        metainfo.files().iter().zip(wanted).all(|(file, priority)| {
            let wanted = priority != FilePriority::Skip && !file.pad;
            !wanted || torrent.saved.completed_of(metainfo, file.index) >= file.len
        })
    }
}

impl super::entry::Entry {
    /// How much each of the torrent's files is wanted.
    pub(super) fn file_priorities(&self, files: usize) -> Vec<FilePriority> {
        file_priorities(files, self.selected_files().as_deref(), &by_number(&self.options.file_priorities))
    }
}

/// Checks the numbers of files, where it is known how many there are.
pub(super) fn validate(priorities: &[(usize, FilePriority)], files: Option<usize>) -> Result<()> {
    match files.and_then(|files| priorities.iter().find(|(file, _)| *file >= files)) {
        None => Ok(()),
        Some((beyond, _)) => {
            let message = format!("there is no file {beyond} in the torrent");
            Err(EngineError::InvalidInput { field: "file_priorities", message })
        }
    }
}

/// The same by the numbers that torrents use.
pub(super) fn by_number(priorities: &[(usize, FilePriority)]) -> BTreeMap<u32, FilePriority> {
    let number = |(file, priority): &(usize, FilePriority)| Some((u32::try_from(*file).ok()?, *priority));
    priorities.iter().filter_map(number).collect()
}

/// What the store keeps of them: a number and a word each.
pub(super) fn to_texts(options: &DownloadOptions) -> Vec<String> {
    options.file_priorities.iter().map(|(file, priority)| format!("{file} {priority}")).collect()
}

/// What [`to_texts`] gave.
pub(super) fn from_texts(texts: &[String]) -> Option<Vec<(usize, FilePriority)>> {
    let one = |text: &String| {
        let (file, priority) = text.split_once(' ')?;
        Some((file.parse().ok()?, priority.parse().ok()?))
    };
    texts.iter().map(one).collect()
}
