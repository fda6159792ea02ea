//! How a finished download goes to another directory.

use super::entry::{EntryKey, Intent, Kind, Running};
use super::error::EngineError;
use super::event::DownloadEvent;
use super::io::{Answer, Output, Token};
use super::journal::Then;
use super::machine::{DiskOwner, Engine};
use super::status::DownloadState;
use crate::base::disk::DiskResult;
use crate::base::{FileName, Instant};
use crate::download::DownloadId;
use crate::download::moving::{self, Item, Move, MoveEnd, MovePlan, MovingSaved};
use std::path::{Path, PathBuf};

impl Engine {
    /// Moves the files of a finished download to another directory, which is made where it is missing. A torrent that
    /// seeds goes on from there. Files that have their names there are never replaced: then, and after any other error,
    /// everything is where it was. The reply follows once nothing is left in the old directory.
    pub fn move_to(&mut self, now: Instant, id: DownloadId, dir: &Path, reply: Token) {
        let Some(key) = self.entry_or_reply(id, reply) else { return };
        if dir.to_str().is_none_or(str::is_empty) {
            let message = "must be a path in UTF-8, or it could not be recorded".to_owned();
            self.reply(reply, Err(EngineError::InvalidInput { field: "dir", message }));
        } else if !self.refuses_while_moving(key, "move", reply) {
            self.move_entry(now, key, dir, reply);
        }
        self.settle(now);
    }

    fn move_entry(&mut self, now: Instant, key: EntryKey, dir: &Path, reply: Token) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let is_at_rest = matches!(entry.state, DownloadState::Completed | DownloadState::Paused);
        let is_idle = entry.intent.is_none() && entry.completed_at.is_some();
        match &mut entry.running {
            Some(Running::Torrent(torrent)) if is_idle && entry.state == DownloadState::Seeding => {
                entry.intent = Some(Intent::Move { to: dir.to_owned(), reply });
                torrent.stop(now);
                self.touch(key);
            }
            None if is_idle && is_at_rest && has_files(&entry.kind) => {
                self.start_move(key, dir.to_owned(), reply);
            }
            _ => self.refuse(key, "move", reply),
        }
    }

    /// Begins to move what is at rest.
    pub(super) fn start_move(&mut self, key: EntryKey, to: PathBuf, reply: Token) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.save_dir(&self.config) == to {
            self.reply(reply, Ok(Answer::Done));
            return self.go_on_after_move(key);
        }
        entry.moving = Some(Box::new(MovingSaved::new(to)));
        self.run_move(key, Some(reply), true);
    }

    /// Goes on with a move that was begun in an earlier life, or that could not be ended.
    pub(super) fn begin_move(&mut self, key: EntryKey, reply: Option<Token>) {
        self.run_move(key, reply, false);
    }

    fn run_move(&mut self, key: EntryKey, reply: Option<Token>, is_new: bool) {
        let keys = self.take_keys();
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(saved) = entry.moving.as_deref().cloned() else { return };
        let copy_name = FileName::sanitise(&format!(".{}", entry.id));
        let copy_name = copy_name.expect("a dot and an id make a safe name").partial();
        let dir = entry.save_dir(&self.config).to_owned();
        let (items, own_folders) = match &entry.kind {
            Kind::Http(saved) => (saved.part.iter().filter_map(item_of).collect(), Default::default()),
            Kind::Torrent(torrent) => match (&torrent.metainfo, &torrent.saved.files) {
                (Some(metainfo), Some(files)) => (files.items(metainfo), files.own_folders().clone()),
                _ => Default::default(),
            },
        };
        let plan = MovePlan { dir, items, own_folders, copy_name, is_new };
        self.shelves.stop(Some(key));
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.run = keys;
        entry.running = Some(Running::Move { machine: Box::new(Move::new(plan, saved, keys)), reply });
        self.touch(key);
    }

    /// Whether a download is being moved, so that this cannot be done.
    pub(super) fn refuses_while_moving(&mut self, key: EntryKey, action: &'static str, reply: Token) -> bool {
        let running = self.entries.get(key).and_then(|entry| entry.running.as_ref());
        let is_moving = matches!(running, Some(Running::Move { .. }));
        if is_moving {
            let current_state = "moving".to_owned();
            self.reply(reply, Err(EngineError::InvalidState { action, current_state }));
        }
        is_moving
    }

    pub(super) fn on_move_disk(&mut self, key: EntryKey, result: DiskResult) {
        let running = self.entries.get_mut(key).and_then(|entry| entry.running.as_mut());
        if let Some(Running::Move { machine, .. }) = running {
            machine.handle_disk(result);
            self.touch(key);
        }
    }

    pub(super) fn on_move(&mut self, key: EntryKey, output: moving::Output) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(Running::Move { machine, .. }) = &entry.running else { return };
        match output {
            moving::Output::Disk(op) => return self.emit_disk(DiskOwner::Move(key), op),
            moving::Output::Record => entry.moving = Some(Box::new(machine.saved().clone())),
            moving::Output::Arrived => {
                let (there, left) = (machine.saved().clone(), machine.left_behind());
                entry.moving = Some(Box::new(left));
                entry.options.save_dir = Some(there.other);
                match &mut entry.kind {
                    Kind::Http(saved) => {
                        if let (Some(part), Some(copy)) = (&mut saved.part, there.copies.get(&0)) {
                            part.identity = Some(*copy);
                        }
                    }
                    Kind::Torrent(torrent) => {
                        if let Some(files) = &mut torrent.saved.files {
                            files.moved(&there.copies, there.folders);
                        }
                    }
                }
                self.journal.progress(key);
            }
            moving::Output::Ended(end) => return self.on_moved(key, end),
        }
        self.journal.download(key);
        let run = self.entries.get(key).map_or(0, |entry| entry.run);
        self.journal.then(Then::Recorded(key, run));
    }

    fn on_moved(&mut self, key: EntryKey, end: MoveEnd) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let reply = match entry.running.take() {
            Some(Running::Move { reply, .. }) => reply,
            _ => None,
        };
        if matches!(end, MoveEnd::Done | MoveEnd::Undone(_)) {
            entry.moving = None;
            self.journal.download(key);
        }
        match end {
            MoveEnd::Done => {
                reply.into_iter().for_each(|reply| self.journal.then(Then::Reply(reply)));
                self.go_on_after_move(key);
            }
            MoveEnd::Undone(error) => {
                self.tell_not_moved(key, reply, error.into());
                self.go_on_after_move(key);
            }
            MoveEnd::Stuck(error) => {
                let error = EngineError::from(error);
                reply.into_iter().for_each(|reply| self.reply(reply, Err(error.clone())));
                self.fail_entry(key, error);
            }
            MoveEnd::Stopped => {
                reply.into_iter().for_each(|reply| self.reply(reply, Err(EngineError::Shutdown)));
            }
        }
    }

    fn tell_not_moved(&mut self, key: EntryKey, reply: Option<Token>, error: EngineError) {
        let Some(entry) = self.entries.get(key) else { return };
        match reply {
            Some(reply) => self.reply(reply, Err(error)),
            None => {
                let message = format!("it was not moved: {error}");
                self.outputs.push_back(Output::Event(DownloadEvent::Warning { id: entry.id, message }));
            }
        }
    }

    /// What ran before it was moved runs again.
    fn go_on_after_move(&mut self, key: EntryKey) {
        let Some(entry) = self.entries.get(key) else { return };
        if entry.state == DownloadState::Queued {
            self.enqueue(key);
        }
    }
}

/// Whether there is anything to move.
fn has_files(kind: &Kind) -> bool {
    match kind {
        Kind::Http(saved) => saved.part.as_ref().is_some_and(|part| part.identity.is_some()),
        Kind::Torrent(torrent) => torrent.metainfo.is_some() && torrent.saved.files.is_some(),
    }
}

fn item_of(part: &crate::download::target::Part) -> Option<Item> {
    let names = vec![part.final_name.clone()];
    Some(Item { number: 0, folder: Vec::new(), names, identity: part.identity?, executable: false })
}
