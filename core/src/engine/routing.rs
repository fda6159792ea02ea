//! How the engine routes inputs down to its downloads, and their outputs up and out.

use super::credit::{NOTE_EVERY, PROGRESS_EVERY};
use super::dirs::Acquired;
use super::entry::{EntryKey, Running};
use super::error::EngineError;
use super::event::DownloadEvent;
use super::io::{Answer, BatchKey, DiskKey, LinkKey, Output};
use super::journal::{Then, store_failed};
use super::links;
use super::machine::{CHECKPOINT_EVERY, DiskOwner, Engine, Who};
use super::record::{encode_id, encode_progress};
use super::status::DownloadState;
use crate::base::disk::{DirKey, DiskError, DiskOp, DiskResult};
use crate::base::store::{StoreError, StoreOp, Table};
use crate::base::{Instant, LinkInput, RangeSet};
use crate::download::check;
use crate::download::http::{self, HttpDownload, HttpSaved, Start};
use crate::download::target::{self, DiskTag, Part};
use crate::download::{DownloadError, DownloadId};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;

impl Engine {
    pub(super) fn on_link(&mut self, now: Instant, link: LinkKey, input: LinkInput) {
        let Some(Who { entry, slot }) = self.links.leased_to(link) else {
            self.links.handle_link(now, link, input);
            return;
        };
        if let Some(download) = self.entries.get_mut(entry).and_then(super::entry::Entry::http_mut) {
            download.handle_link(now, slot, input);
            self.touch(entry);
        }
    }

    pub(super) fn on_disk(&mut self, now: Instant, key: DiskKey, result: DiskResult) {
        match self.disk_ops.remove(&key) {
            Some(DiskOwner::Entry(entry, tag)) => self.on_entry_disk(now, entry, tag, result),
            Some(DiskOwner::Dir(dir)) => self.on_dir(now, dir, result),
            None => {}
        }
    }

    fn on_entry_disk(&mut self, now: Instant, key: EntryKey, tag: DiskTag, result: DiskResult) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let lost = matches!(tag, DiskTag::Sync | DiskTag::SyncEntry) && result.is_err();
        match &mut entry.running {
            Some(Running::Http(download)) => download.handle_disk(now, tag, result),
            Some(Running::Check { check, .. }) => check.handle_disk(tag, result),
            Some(Running::Remove(target)) => target.handle_disk(tag, result),
            None => return,
        }
        if matches!(tag, DiskTag::Write(_)) {
            self.checkpoint.at.get_or_insert(now + self.checkpoint.every);
            if self.boot_id.is_some() {
                self.note_at.get_or_insert(now + NOTE_EVERY);
            }
        }
        if lost {
            // The last note tells of bytes that the disk has forgotten.
            self.write_note();
        }
        self.touch(key);
    }

    fn on_dir(&mut self, now: Instant, dir: DirKey, result: DiskResult) {
        let (waiting, result) = self.dirs.opened(dir, result.map(|_| ()));
        if waiting.is_empty() && result.is_ok() {
            // Everybody who wanted it has gone.
            self.emit_disk(DiskOwner::Dir(dir), DiskOp::CloseDir { dir });
        }
        for key in waiting {
            self.tell_dir(now, key, result);
        }
    }

    fn tell_dir(&mut self, now: Instant, key: EntryKey, result: Result<DirKey, DiskError>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match &mut entry.running {
            Some(Running::Http(download)) => download.dir_ready(now, result),
            Some(Running::Check { check, .. }) => check.dir_ready(result),
            Some(Running::Remove(target)) => target.dir_ready(result),
            None => return,
        }
        self.touch(key);
    }

    pub(super) fn on_stored(&mut self, now: Instant, batch: BatchKey, result: &Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!(%error, "the store failed");
        }
        let entries = &self.entries;
        let told = self.journal.done(now, batch, result.is_ok(), |key| entries.contains(key));
        for then in told {
            match (then, result) {
                (Then::Recorded(key, run), result) => {
                    self.tell_recorded(now, key, run, result.as_ref().err())
                }
                (Then::Reply(token), Ok(())) => self.reply(token, Ok(Answer::Done)),
                (Then::Reply(token), Err(error)) => self.reply(token, Err(store_failed(error))),
                (Then::Event(event), _) => self.outputs.push_back(Output::Event(event)),
            }
        }
    }

    fn tell_recorded(&mut self, now: Instant, key: EntryKey, run: u64, error: Option<&StoreError>) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.run == run) else { return };
        if let Some(download) = entry.http_mut() {
            match error {
                None => download.recorded(now),
                Some(error) => download.fail(now, DownloadError::Store(error.clone())),
            }
            self.touch(key);
        }
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.closing) {
            self.close();
            return;
        }
        while let Some(key) = self.deadlines.pop_due(now) {
            match self.entries.get_mut(key).and_then(|entry| entry.running.as_mut()) {
                Some(Running::Http(download)) => download.handle_timeout(now),
                Some(Running::Remove(target)) => target.handle_timeout(now),
                Some(Running::Check { .. }) | None => {}
            }
            self.touch(key);
        }
        while let Some(key) = self.progress_due.pop_due(now) {
            self.report_progress(now, key);
        }
        if due(self.checkpoint.at) {
            self.make_durable(now);
        }
        if due(self.note_at) {
            self.note_at = None;
            self.write_note();
        }
        if due(self.flow_at) {
            self.flow_at = None;
        }
        self.links.handle_timeout(now);
    }

    /// The only place where children's outputs are read. Ends when nothing is touched any more.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            while self.settle_one(now) {}
            self.grant_credit(now);
            if self.touched.is_empty() {
                break;
            }
        }
        self.commit(now);
        self.finish_shutdown(now);
    }

    fn settle_one(&mut self, now: Instant) -> bool {
        if let Some(key) = self.touched.pop_front() {
            self.drain_entry(now, key);
        } else if let Some(output) = self.links.poll_output() {
            self.on_links(now, output);
        } else if self.closing.is_none()
            && let Some(key) = self.queue.pop()
        {
            self.start(now, key);
        } else {
            return false;
        }
        true
    }

    // ----- running ---------------------------------------------------------------------------------------------------

    fn start(&mut self, now: Instant, key: EntryKey) {
        let part_is_taken = self.part_is_taken(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let id = entry.id;
        let plan = match entry.plan(&self.config) {
            Ok(plan) => Arc::new(plan),
            Err(error) => return self.fail_entry(key, error),
        };
        let mut saved = (*entry.saved).clone();
        let trusted = trusted_note(&mut saved, self.notes.remove(&id));
        entry.run = self.next_keys;
        if part_is_taken {
            saved.part = None;
        }
        let start = Start { saved, trusted, keys: self.next_keys, rng: self.rng.fork(), wall: self.wall };
        self.next_keys += KEYS_EACH;
        entry.running = Some(Running::Http(Box::new(HttpDownload::new(now, plan, start))));
        self.set_state(key, DownloadState::Connecting);
        self.outputs.push_back(Output::Event(DownloadEvent::Started { id }));
        self.open_dir(now, key);
        self.progress_due.set(key, Some(now + PROGRESS_EVERY));
        self.touch(key);
    }

    /// Whether a download only meant to make a part, and another one has a part of that name or means to make it.
    fn part_is_taken(&self, key: EntryKey) -> bool {
        let Some(entry) = self.entries.get(key) else { return false };
        let Some(part) = entry.saved.part.as_ref().filter(|part| part.identity.is_none()) else {
            return false;
        };
        let dir = entry.save_dir(&self.config);
        self.entries.iter().any(|(other_key, other)| {
            let same = |theirs: &Part| theirs.part_name == part.part_name;
            other_key != key
                && other.state != DownloadState::Completed
                && other.save_dir(&self.config) == dir
                && other.saved.part.as_ref().is_some_and(same)
        })
    }

    /// Opens the directory of a download, or shares it.
    pub(super) fn open_dir(&mut self, now: Instant, key: EntryKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let path: PathBuf = entry.save_dir(&self.config).to_owned();
        entry.dir = Some(path.clone());
        match self.dirs.acquire(&path, key) {
            Acquired::Ready(dir) => self.tell_dir(now, key, Ok(dir)),
            Acquired::Wait => {}
            Acquired::Open(dir) => {
                let op = DiskOp::OpenDir { dir, path };
                self.emit_disk(DiskOwner::Dir(dir), op);
            }
        }
    }

    pub(super) fn take_keys(&mut self) -> u64 {
        self.next_keys += KEYS_EACH;
        self.next_keys - KEYS_EACH
    }

    /// What ran for a download is over.
    pub(super) fn end_run(&mut self, key: EntryKey) {
        self.deadlines.set(key, None);
        self.progress_due.set(key, None);
        self.queue.remove(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.running = None;
        self.used = self.used.saturating_sub(core::mem::take(&mut entry.used));
        if let Some(dir) = entry.dir.take().and_then(|path| self.dirs.release(&path, key)) {
            self.emit_disk(DiskOwner::Dir(dir), DiskOp::CloseDir { dir });
        }
    }

    pub(super) fn drain_entry(&mut self, now: Instant, key: EntryKey) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.touched = false;
        }
        while let Some(entry) = self.entries.get_mut(key) {
            match &mut entry.running {
                Some(Running::Http(download)) => match download.poll_output() {
                    Some(output) => self.on_http(now, key, output),
                    None => break,
                },
                Some(Running::Check { check, .. }) => match check.poll_output() {
                    Some(output) => self.on_check(now, key, output),
                    None => break,
                },
                Some(Running::Remove(target)) => match target.poll_output() {
                    Some(output) => self.on_remove(key, output),
                    None => break,
                },
                None => break,
            }
        }
        self.count_memory(key);
        let Some(entry) = self.entries.get(key) else { return };
        let (state, deadline) = (entry.running_state(), entry.poll_timeout());
        self.deadlines.set(key, deadline);
        match &state {
            Some(DownloadState::Finishing) => self.queue.finish(key),
            Some(_) => self.queue.unfinish(key),
            None => {}
        }
        if let Some(state) = state {
            self.set_state(key, state);
        }
    }

    fn on_http(&mut self, now: Instant, key: EntryKey, output: http::Output) {
        match output {
            http::Output::Lease { slot, origin } => self.links.lease(now, &origin, Who { entry: key, slot }),
            http::Output::Unlease { slot, origin } => {
                self.links.unlease(now, &origin, Who { entry: key, slot })
            }
            http::Output::Release { link, connection } => self.links.release(now, link, connection),
            http::Output::Link(link, output) => self.outputs.push_back(Output::Link { link, output }),
            http::Output::Disk(tag, op) => self.emit_disk(DiskOwner::Entry(key, tag), op),
            http::Output::Record => {
                self.save(key);
                let run = self.entries.get(key).map_or(0, |entry| entry.run);
                self.journal.then(Then::Recorded(key, run));
            }
            http::Output::Forgotten => self.save(key),
            http::Output::Durable => {
                self.save(key);
                if let Some(began) = self.checkpoint.began.take() {
                    // A disk that needs long for a sync is asked less often.
                    self.checkpoint.every =
                        ((now - began) * 4).clamp(CHECKPOINT_EVERY, CHECKPOINT_EVERY * 10);
                }
            }
            http::Output::Pace { origin, until } => self.links.pace(now, &origin, until),
            http::Output::Ended(end) => self.on_ended(now, key, end),
        }
    }

    /// Takes over what the store must know of a running download.
    pub(super) fn save(&mut self, key: EntryKey) {
        if let Some(entry) = self.entries.get_mut(key) {
            if let Some(saved) = entry.http().map(HttpDownload::saved) {
                *entry.saved = saved;
            }
            self.journal.progress(key);
        }
    }

    fn on_check(&mut self, now: Instant, key: EntryKey, output: check::Output) {
        match output {
            check::Output::Disk(tag, op) => self.emit_disk(DiskOwner::Entry(key, tag), op),
            check::Output::Ended(result) => self.on_checked(now, key, result),
            check::Output::Stopped => self.on_check_stopped(now, key),
        }
    }

    fn on_remove(&mut self, key: EntryKey, output: target::Output) {
        match output {
            target::Output::Disk(tag, op) => self.emit_disk(DiskOwner::Entry(key, tag), op),
            target::Output::Stopped(_) => self.on_removed(key),
            _ => {}
        }
    }

    fn on_links(&mut self, now: Instant, output: links::Output<Who>) {
        match output {
            links::Output::Resolve { query, host } => self.outputs.push_back(Output::Resolve { query, host }),
            links::Output::Connect { link, to, tls } => {
                self.outputs.push_back(Output::Connect { link, to, from: None, tls })
            }
            links::Output::Link(link, output) => self.outputs.push_back(Output::Link { link, output }),
            links::Output::Leased { who, link, connection, reused } => {
                let links = self.links.leased().count();
                match self.entries.get_mut(who.entry) {
                    Some(entry) if self.flow.is_too_free(links, connection.credit(), &entry.bucket) => {
                        self.links.decline(now, link, connection, who);
                    }
                    Some(super::entry::Entry { running: Some(Running::Http(download)), .. }) => {
                        download.leased(now, who.slot, link, connection, reused)
                    }
                    _ => self.links.release(now, link, connection),
                }
                self.touch(who.entry);
            }
            links::Output::Resolved { .. } => {}
            links::Output::Failed { who, error } => {
                if let Some(download) =
                    self.entries.get_mut(who.entry).and_then(super::entry::Entry::http_mut)
                {
                    download.lease_failed(now, who.slot, error);
                    self.touch(who.entry);
                }
            }
        }
    }

    fn emit_disk(&mut self, owner: DiskOwner, op: DiskOp) {
        let key = DiskKey(self.next_disk);
        self.next_disk += 1;
        if op.completes() {
            self.disk_ops.insert(key, owner);
        }
        self.outputs.push_back(Output::Disk { key, op });
    }

    // ----- store -----------------------------------------------------------------------------------------------------

    fn commit(&mut self, now: Instant) {
        let Some(batch) = self.journal.take(now) else { return };
        let mut ops =
            Vec::with_capacity(batch.downloads.len() + batch.progress.len() + 2 * batch.deleted.len());
        let key_of = |id: DownloadId| Bytes::copy_from_slice(&encode_id(id));
        for entry in batch.downloads.iter().filter_map(|&key| self.entries.get(key)) {
            let value = Bytes::from(entry.record().encode());
            ops.push(StoreOp::Put { table: Table::Download, key: key_of(entry.id), value });
        }
        for entry in batch.progress.iter().filter_map(|&key| self.entries.get(key)) {
            let value = Bytes::from(encode_progress(&entry.saved));
            ops.push(StoreOp::Put { table: Table::Progress, key: key_of(entry.id), value });
        }
        for id in batch.deleted {
            for table in [Table::Download, Table::Progress] {
                ops.push(StoreOp::Delete { table, key: key_of(id) });
            }
        }
        self.outputs.push_back(Output::Store { batch: batch.key, ops });
    }

    fn finish_shutdown(&mut self, now: Instant) {
        if self.closing.is_none() || self.closed {
            return;
        }
        let busy = self.entries.iter().any(|(_, entry)| entry.running.is_some());
        if !busy && self.journal.is_quiet() {
            self.links.close_idle(now);
            while let Some(output) = self.links.poll_output() {
                self.on_links(now, output);
            }
            self.close();
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.outputs.push_back(Output::Closed);
    }

    pub(super) fn fail_entry(&mut self, key: EntryKey, error: EngineError) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.error = Some(error.clone());
        let (id, retryable) = (entry.id, error.is_retryable());
        let state =
            DownloadState::Error { kind: error.kind().to_owned(), message: error.to_string(), retryable };
        self.queue.remove(key);
        self.set_state(key, state);
        self.journal.download(key);
        self.outputs.push_back(Output::Event(DownloadEvent::Failed { id, error, retryable }));
    }
}

/// What a note of a killed process adds to what the store knows: only of the very file that the store knows of, or is
/// about to.
fn trusted_note(
    saved: &mut HttpSaved,
    note: Option<(crate::base::disk::FileIdentity, RangeSet)>,
) -> RangeSet {
    let (Some(part), Some((identity, ranges))) = (&mut saved.part, note) else { return RangeSet::new() };
    if part.identity.is_some_and(|known| known != identity) {
        return RangeSet::new();
    }
    part.identity = Some(identity);
    ranges
}

/// How many names of files and digests each run gets.
const KEYS_EACH: u64 = 1 << 20;
