//! How a download pauses, resumes, ends and goes.

use super::entry::{EntryKey, Intent, Kind, Running};
use super::error::EngineError;
use super::event::DownloadEvent;
use super::io::{Answer, Output, Token};
use super::journal::Then;
use super::machine::Engine;
use super::status::{DownloadState, VerifyReport};
use crate::base::disk::DiskError;
use crate::base::{Instant, WallClock};
use crate::download::check::{Check, Finding, Report};
use crate::download::error::DiskAction;
use crate::download::http::HttpSaved;
use crate::download::target::{Part, Target};
use crate::download::{DownloadError, End};

impl Engine {
    pub(super) fn pause_entry(&mut self, now: Instant, key: EntryKey, reply: Token) {
        self.abort_check(key, overtaken("verify", "paused"));
        let Some(entry) = self.entries.get_mut(key) else { return };
        let id = entry.id;
        match (&mut entry.running, &mut entry.intent) {
            (Some(Running::Http(download)), None) => {
                entry.intent = Some(Intent::Pause(vec![reply]));
                download.stop(now);
                self.touch(key);
            }
            (Some(Running::Torrent(torrent)), None) => {
                entry.intent = Some(Intent::Pause(vec![reply]));
                torrent.stop(now);
                self.touch(key);
            }
            // What is to be fetched anew waits.
            (Some(Running::Torrent(_)), Some(Intent::Checked { again: true, .. })) => {
                entry.intent = Some(Intent::Pause(vec![reply]));
            }
            // It was at rest, and is so again.
            (Some(Running::Torrent(torrent)), Some(Intent::Checked { again: false, .. })) => {
                torrent.stop(now);
                self.touch(key);
                self.journal.then(Then::Reply(reply));
            }
            (Some(Running::Http(_) | Running::Torrent(_)), Some(Intent::Pause(replies))) => {
                replies.push(reply)
            }
            (Some(Running::Http(_) | Running::Torrent(_)), Some(Intent::Requeue(replies))) => {
                let mut replies = core::mem::take(replies);
                replies.push(reply);
                entry.intent = Some(Intent::Pause(replies));
            }
            (Some(_), _) => self.refuse(key, "pause", reply),
            (None, _) => match entry.state {
                DownloadState::Queued => {
                    self.queue.remove(key);
                    self.set_state(key, DownloadState::Paused);
                    self.journal.download(key);
                    self.journal.then(Then::Event(DownloadEvent::Paused { id }));
                    self.journal.then(Then::Reply(reply));
                }
                // The pause may not be in the store yet.
                DownloadState::Paused => self.journal.then(Then::Reply(reply)),
                _ => self.refuse(key, "pause", reply),
            },
        }
    }

    pub(super) fn resume_entry(&mut self, key: EntryKey, reply: Token) {
        let seeds_on = self.entries.get(key).is_some_and(|entry| entry.seeds_on(&self.config));
        let Some(entry) = self.entries.get_mut(key) else { return };
        match (&entry.state, &mut entry.intent) {
            (_, Some(Intent::Pause(replies))) => {
                let mut replies = core::mem::take(replies);
                replies.push(reply);
                entry.intent = Some(Intent::Requeue(replies));
            }
            (_, Some(Intent::Cancel(_) | Intent::Shutdown | Intent::Move { .. })) => {
                self.refuse(key, "resume", reply);
            }
            (_, Some(Intent::Check { .. } | Intent::Checked { .. })) => self.refuse(key, "resume", reply),
            (DownloadState::Paused | DownloadState::Error { .. }, _) if entry.running.is_none() => {
                self.requeue(key, vec![reply]);
            }
            (DownloadState::Completed, None) if seeds_on && entry.running.is_none() => {
                self.requeue(key, vec![reply]);
            }
            (DownloadState::Completed, _) => self.refuse(key, "resume", reply),
            _ => self.reply(reply, Ok(Answer::Done)),
        }
    }

    /// Puts a download that is at rest into the queue.
    pub(super) fn requeue(&mut self, key: EntryKey, replies: Vec<Token>) {
        let Some(entry) = self.entries.get(key) else { return };
        let (id, is_moving) = (entry.id, entry.moving.is_some());
        let is_at_rest = entry.running.is_none();
        self.set_state(key, DownloadState::Queued);
        self.outputs.push_back(Output::Event(DownloadEvent::Resumed { id }));
        if !is_moving {
            self.enqueue(key);
        } else if is_at_rest {
            // What could not be moved and not be left either comes first.
            self.begin_move(key, None);
        }
        self.journal.download(key);
        for reply in replies {
            self.journal.then(Then::Reply(reply));
        }
    }

    /// Lets a download start when it is its turn: at once where it is whole and only to be seeded.
    pub(super) fn enqueue(&mut self, key: EntryKey) {
        let Some(entry) = self.entries.get(key) else { return };
        let priority = entry.options.priority;
        if entry.completed_at.is_some() {
            self.queue.push_whole(key, priority);
        } else {
            self.queue.push(key, priority);
        }
    }

    pub(super) fn cancel_entry(&mut self, now: Instant, key: EntryKey, delete_files: bool, reply: Token) {
        if self.refuses_while_moving(key, "cancel", reply) {
            return;
        }
        self.abort_check(key, overtaken("verify", "cancelled"));
        let intent = self.entries.get_mut(key).and_then(|entry| entry.intent.take());
        let mut replies = match intent {
            Some(Intent::Pause(replies) | Intent::Requeue(replies) | Intent::Cancel(replies)) => replies,
            Some(Intent::Move { reply: waiting, .. }) => {
                self.reply(waiting, Err(overtaken("move", "cancelled")));
                Vec::new()
            }
            Some(Intent::Check { .. } | Intent::Checked { .. } | Intent::Shutdown) | None => Vec::new(),
        };
        replies.push(reply);
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.intent = Some(Intent::Cancel(replies));
        match &mut entry.running {
            Some(Running::Http(download)) if delete_files => download.discard(now),
            Some(Running::Http(download)) => download.stop(now),
            Some(Running::Torrent(torrent)) if delete_files => torrent.discard(now),
            Some(Running::Torrent(torrent)) => torrent.stop(now),
            Some(Running::Remove(_) | Running::Move { .. }) => return,
            Some(Running::Check { check, .. }) => {
                entry.delete_files |= delete_files;
                check.stop();
            }
            None => self.cancel_resting(now, key, delete_files),
        }
        self.touch(key);
    }

    fn cancel_resting(&mut self, now: Instant, key: EntryKey, delete_files: bool) {
        let keys = self.take_keys();
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let (Kind::Torrent(_), true) = (&entry.kind, delete_files) {
            self.discard_torrent(now, key, keys);
            return;
        }
        let Some(part) = entry.part().cloned().filter(|part| delete_files && part.identity.is_some()) else {
            self.on_removed(key);
            return;
        };
        let done = entry.state == DownloadState::Completed;
        let part_name = if done { part.final_name.clone() } else { part.part_name.clone() };
        let mut target = Target::new(entry.target_plan(&self.config), keys);
        // All of it is believed, so that it stays known whether the part may have its final name already.
        let durable = part.durable.clone();
        target.resume(Part { part_name, ..part }, durable);
        target.discard(None);
        entry.running = Some(Running::Remove(Box::new(target)));
        self.queue.remove(key);
        self.open_dir(now, key);
    }

    /// A cancelled download is at rest, and its file gone if so asked.
    pub(super) fn on_removed(&mut self, key: EntryKey) {
        let intent = self.entries.get_mut(key).and_then(|entry| entry.intent.take());
        self.end_run(key);
        self.remove_entry(key);
        if let Some(Intent::Cancel(replies)) = intent {
            for reply in replies {
                self.journal.then(Then::Reply(reply));
            }
        }
    }

    /// The wall clock jumped.
    pub(super) fn set_wall(&mut self, wall: WallClock) {
        self.wall = wall;
        self.entries.iter_mut().filter_map(|(_, entry)| entry.http_mut()).for_each(|run| run.set_wall(wall));
    }

    /// A running download came to its end, or to rest.
    pub(super) fn on_ended(&mut self, now: Instant, key: EntryKey, end: End) {
        self.save(now, key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        if end == End::Skipped
            && let Some(saved) = entry.saved_mut()
        {
            // Nothing was fetched, and the file of that name is not ours.
            *saved = HttpSaved::default();
        }
        let (id, intent) = (entry.id, entry.intent.take());
        let completed = matches!(end, End::Completed | End::Skipped);
        if completed && end != End::Skipped {
            self.report_progress(now, key);
        }
        self.end_run(key);
        match (end, intent) {
            (_, Some(intent @ Intent::Cancel(_))) => {
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.intent = Some(intent);
                }
                self.on_removed(key);
            }
            (End::Stopped, Some(Intent::Move { to, reply })) => {
                self.set_state(key, DownloadState::Queued);
                self.start_move(key, to, reply);
            }
            (End::Completed | End::Skipped, intent) => self.on_completed(now, key, intent),
            (End::Failed(error), intent) => {
                let error = EngineError::from(error);
                self.answer_all(intent, &error);
                self.fail_entry(key, error);
            }
            (End::Stopped, Some(Intent::Checked { was, again })) => self.end_torrent_check(key, was, again),
            (End::Stopped, Some(Intent::Requeue(replies))) => self.requeue(key, replies),
            (End::Stopped, Some(Intent::Shutdown)) => {
                self.set_state(key, DownloadState::Queued);
                self.journal.progress(key);
            }
            (End::Stopped, Some(Intent::Pause(replies))) => {
                self.set_state(key, DownloadState::Paused);
                self.journal.download(key);
                self.journal.then(Then::Event(DownloadEvent::Paused { id }));
                for reply in replies {
                    self.journal.then(Then::Reply(reply));
                }
            }
            (End::Stopped, _) => {
                self.set_state(key, DownloadState::Paused);
                self.journal.download(key);
            }
        }
    }

    fn on_completed(&mut self, now: Instant, key: EntryKey, intent: Option<Intent>) {
        let at = self.wall.unix_millis(now);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let id = entry.id;
        // A torrent that ends its seeding was complete before.
        let first = entry.completed_at.is_none();
        entry.completed_at.get_or_insert(at);
        self.set_state(key, DownloadState::Completed);
        self.journal.download(key);
        if first {
            self.outputs.push_back(Output::Event(DownloadEvent::Completed { id }));
        }
        match intent {
            // It was complete before it could stop.
            Some(Intent::Pause(replies) | Intent::Requeue(replies)) => {
                replies.into_iter().for_each(|reply| self.journal.then(Then::Reply(reply)));
            }
            Some(Intent::Move { to, reply }) => self.start_move(key, to, reply),
            // Its seeding ended meanwhile; what is asked for can be done at rest.
            Some(Intent::Check { reply, repair, .. }) => self.check_entry(now, key, repair, reply),
            _ => {}
        }
    }

    fn answer_all(&mut self, intent: Option<Intent>, error: &EngineError) {
        match intent {
            Some(Intent::Pause(replies) | Intent::Requeue(replies) | Intent::Cancel(replies)) => {
                for reply in replies {
                    self.reply(reply, Err(error.clone()));
                }
            }
            Some(Intent::Check { reply, .. } | Intent::Move { reply, .. }) => {
                self.reply(reply, Err(error.clone()));
            }
            Some(Intent::Checked { .. } | Intent::Shutdown) | None => {}
        }
    }

    pub(super) fn check_entry(&mut self, now: Instant, key: EntryKey, repair: bool, reply: Token) {
        let keys = self.take_keys();
        let Some(entry) = self.entries.get_mut(key) else { return };
        let action = if repair { "repair" } else { "verify" };
        if matches!(entry.kind, Kind::Torrent(_)) {
            self.check_torrent(now, key, repair, reply);
            return;
        }
        let part = entry.part().cloned().filter(|_| entry.state == DownloadState::Completed);
        let (Some(part), Kind::Http(saved), None) = (part, &entry.kind, &entry.running) else {
            self.refuse(key, action, reply);
            return;
        };
        let check = Check::new(part, saved.total, entry.options.checksum.clone(), repair, keys);
        entry.running = Some(Running::Check { check: Box::new(check), reply });
        self.open_dir(now, key);
        self.touch(key);
    }

    pub(super) fn on_checked(
        &mut self,
        now: Instant,
        key: EntryKey,
        result: Result<Report, (DiskAction, DiskError)>,
    ) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if matches!(entry.intent, Some(Intent::Cancel(_))) {
            self.on_check_stopped(now, key);
            return;
        }
        let Some(Running::Check { reply, .. }) = &entry.running else { return };
        let reply = *reply;
        let name = entry.part().map(|part| part.final_name.clone());
        let dir = entry.save_dir(&self.config).to_owned();
        self.end_run(key);
        let report = match result {
            Ok(report) => report,
            Err((action, error)) => {
                let error = DownloadError::disk(action, &dir, name.as_ref(), error);
                self.reply(reply, Err(error.into()));
                return;
            }
        };
        if let (Some(part), Some(entry)) = (report.repair.clone(), self.entries.get_mut(key)) {
            if let Some(saved) = entry.saved_mut() {
                saved.part = Some(part);
            }
            self.lose_completion(key);
            self.journal.progress(key);
            self.requeue(key, Vec::new());
        }
        let (valid, detail) = (report.bad.is_empty(), describe(&report.finding));
        self.reply(reply, Ok(Answer::Verified(VerifyReport { valid, bad_ranges: report.bad, detail })));
    }

    /// A check ended early because its download goes.
    pub(super) fn on_check_stopped(&mut self, now: Instant, key: EntryKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let (delete_files, running) = (entry.delete_files, entry.running.take());
        self.end_run(key);
        if self.closing.is_some() {
            if let Some(Running::Check { reply, .. }) = running {
                self.reply(reply, Err(EngineError::Shutdown));
            }
            return;
        }
        if let Some(Running::Check { reply, .. }) = running {
            self.reply(reply, Err(overtaken("verify", "cancelled")));
        }
        self.cancel_resting(now, key, delete_files);
    }

    pub(super) fn refuse(&mut self, key: EntryKey, action: &'static str, reply: Token) {
        let Some(entry) = self.entries.get(key) else { return };
        let current_state = entry.state.name().to_owned();
        self.reply(reply, Err(EngineError::InvalidState { action, current_state }));
    }
}

/// What was asked for cannot be done any more, because of what was asked for since.
pub(super) fn overtaken(action: &'static str, since: &str) -> EngineError {
    EngineError::InvalidState { action, current_state: since.to_owned() }
}

fn describe(finding: &Finding) -> String {
    match finding {
        Finding::Verified => "the digest is right".to_owned(),
        Finding::LengthOnly => "the length is right; no digest is known to compare with".to_owned(),
        Finding::Missing => "the file is missing".to_owned(),
        Finding::Length { actual, expected } => format!("the file has {actual} bytes instead of {expected}"),
        Finding::Digest { actual, expected } => format!("expected {expected}, got {actual}"),
    }
}
