//! How the engine routes inputs down to its downloads, and their outputs up and out.

use super::credit::{NOTE_EVERY, PROGRESS_EVERY};
use super::dirs::Acquired;
use super::entry::{EntryKey, Kind, Running};
use super::error::EngineError;
use super::event::DownloadEvent;
use super::io::{Answer, BatchKey, DiskKey, LinkKey, Output};
use super::journal::{Then, store_failed};
use super::links;
use super::machine::{DiskOwner, Engine, Who};
use super::record::{encode_id, encode_progress, encode_torrent};
use super::status::DownloadState;
use super::torrents::Mode;
use crate::base::disk::{DirKey, DiskError, DiskOp, DiskResult};
use crate::base::store::{StoreError, StoreOp, Table};
use crate::base::{Instant, LinkInput, RangeSet};
use crate::download::check;
use crate::download::http::{self, HttpDownload, HttpSaved, Start};
use crate::download::lease::{self, Lease};
use crate::download::target::{self, DiskTag, Part};
use crate::download::torrent;
use crate::download::{DownloadError, DownloadId};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;

impl Engine {
    pub(super) fn on_link(&mut self, now: Instant, link: LinkKey, input: LinkInput) {
        match self.links.leased_to(link) {
            None => self.links.handle_link(now, link, input),
            Some(Who::Http { entry, slot }) => {
                if let Some(download) = self.entries.get_mut(entry).and_then(super::entry::Entry::http_mut) {
                    download.handle_link(now, slot, input);
                    self.touch(entry);
                }
            }
            Some(Who::Torrent { entry, lane }) => {
                if let Some(torrent) = self.entries.get_mut(entry).and_then(super::entry::Entry::torrent_mut)
                {
                    torrent.handle_link(now, lane, input);
                    self.touch(entry);
                }
            }
            Some(Who::Guest(guest)) => {
                if let Some(greeted) = self.swarm.handle_link(now, guest, input) {
                    self.on_greeted(now, greeted);
                }
            }
        }
    }

    pub(super) fn on_disk(&mut self, now: Instant, key: DiskKey, result: DiskResult) {
        match self.disk_ops.remove(&key) {
            Some(DiskOwner::Entry(entry, tag)) => self.on_entry_disk(now, entry, tag, result),
            Some(DiskOwner::Torrent(entry, tag)) => self.on_torrent_disk(now, entry, tag, result),
            Some(DiskOwner::Shelf(shelf, tag)) => self.on_shelf_disk(now, shelf, tag, result),
            Some(DiskOwner::Dir(dir)) => self.on_dir(now, dir, result),
            Some(DiskOwner::Move(entry)) => self.on_move_disk(entry, result),
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
            Some(Running::Torrent(_) | Running::Move { .. }) | None => return,
        }
        if matches!(tag, DiskTag::Write(_)) {
            self.note_write(now, true);
        }
        if lost {
            // The last note tells of bytes that the disk has forgotten.
            self.write_note();
        }
        self.touch(key);
    }

    fn on_torrent_disk(
        &mut self,
        now: Instant,
        key: EntryKey,
        tag: torrent::files::DiskTag,
        result: DiskResult,
    ) {
        if let Some(torrent) = self.entries.get_mut(key).and_then(super::entry::Entry::torrent_mut) {
            torrent.handle_disk(now, tag, result);
            let (needs_sync, needs_note) = (torrent.needs_sync(), torrent.needs_note());
            if needs_sync {
                self.note_write(now, needs_note);
            }
            self.touch(key);
        }
    }

    /// Something was written that is not durable yet, and it may be told in a note.
    fn note_write(&mut self, now: Instant, note: bool) {
        self.checkpoint.at.get_or_insert(now + self.checkpoint.every);
        if note && self.boot_id.is_some() {
            self.note_at.get_or_insert(now + NOTE_EVERY);
        }
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
            Some(Running::Torrent(torrent)) => torrent.dir_ready(now, result),
            Some(Running::Check { check, .. }) => check.dir_ready(result),
            Some(Running::Remove(target)) => target.dir_ready(result),
            Some(Running::Move { .. }) | None => return,
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
        match (&mut entry.running, error) {
            (Some(Running::Http(download)), None) => download.recorded(now),
            (Some(Running::Http(download)), Some(error)) => {
                download.fail(now, DownloadError::Store(error.clone()));
            }
            (Some(Running::Torrent(torrent)), None) => torrent.recorded(now),
            (Some(Running::Torrent(torrent)), Some(error)) => {
                torrent.fail(now, DownloadError::Store(error.clone()));
            }
            (Some(Running::Move { machine, .. }), None) => machine.recorded(),
            (Some(Running::Move { machine, .. }), Some(error)) => {
                machine.fail(DownloadError::Store(error.clone()));
            }
            _ => return,
        }
        self.touch(key);
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.closing) {
            self.close(now);
            return;
        }
        while let Some(key) = self.deadlines.pop_due(now) {
            match self.entries.get_mut(key).and_then(|entry| entry.running.as_mut()) {
                Some(Running::Http(download)) => download.handle_timeout(now),
                Some(Running::Torrent(torrent)) => torrent.handle_timeout(now),
                Some(Running::Remove(target)) => target.handle_timeout(now),
                Some(Running::Check { .. } | Running::Move { .. }) | None => {}
            }
            self.touch(key);
        }
        while let Some(key) = self.progress_due.pop_due(now) {
            self.report_progress(now, key);
        }
        if due(self.checkpoint.at) {
            self.make_durable(now);
        }
        if due(self.checkpoint.totals_at) {
            self.save_totals(now);
        }
        if due(self.note_at) {
            self.note_at = None;
            self.write_note();
        }
        if due(self.flow_at) {
            self.flow_at = None;
        }
        if due(self.upload_at) {
            self.upload_at = None;
        }
        self.links.handle_timeout(now);
        while let Some(greeted) = self.swarm.handle_timeout(now) {
            self.on_greeted(now, greeted);
        }
    }

    /// The only place where children's outputs are read. Ends when nothing is touched any more.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            while self.settle_one(now) {}
            self.grant_credit(now);
            self.grant_uploads(now);
            if self.touched.is_empty() {
                break;
            }
        }
        while let Some(output) = self.swarm.poll_output() {
            self.outputs.push_back(output);
        }
        self.commit(now);
        self.finish_shutdown(now);
    }

    fn settle_one(&mut self, now: Instant) -> bool {
        if let Some(key) = self.touched.pop_front() {
            self.drain_entry(now, key);
        } else if let Some(shelf) = self.shelves.next_touched() {
            self.drain_shelf(shelf);
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
        let keys = self.take_keys();
        let Some(entry) = self.entries.get(key) else { return };
        let id = entry.id;
        let running = match &entry.kind {
            Kind::Http(_) => self.new_http(now, key, keys),
            Kind::Torrent(_) => Ok(self.new_torrent(now, key, keys, Mode::Online)),
        };
        let running = match running {
            Ok(running) => running,
            Err(error) => return self.fail_entry(key, error),
        };
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.run = keys;
        entry.running = running;
        if entry.http().is_some_and(|download| download.completed() == 0) {
            // What comes may be another version than what was read of it before.
            self.readers.forget(key);
        }
        self.shelves.stop(Some(key));
        self.set_state(key, DownloadState::Connecting);
        self.outputs.push_back(Output::Event(DownloadEvent::Started { id }));
        self.open_dir(now, key);
        self.progress_due.set(key, Some(now + PROGRESS_EVERY));
        self.touch(key);
    }

    fn new_http(&mut self, now: Instant, key: EntryKey, keys: u64) -> Result<Option<Running>, EngineError> {
        let part_is_taken = self.part_is_taken(key);
        let Some(entry) = self.entries.get(key) else { return Ok(None) };
        let Kind::Http(saved) = &entry.kind else { return Ok(None) };
        let plan = Arc::new(entry.plan(&self.config)?);
        let mut saved = (**saved).clone();
        let trusted = trusted_note(&mut saved, self.notes.remove(&entry.id));
        if part_is_taken {
            saved.part = None;
        }
        let start = Start { saved, trusted, keys, rng: self.rng.fork(), wall: self.wall };
        Ok(Some(Running::Http(Box::new(HttpDownload::new(now, plan, start)))))
    }

    /// Whether a download only meant to make a part, and another one has a part of that name or means to make it.
    fn part_is_taken(&self, key: EntryKey) -> bool {
        let Some(entry) = self.entries.get(key) else { return false };
        let Some(part) = entry.part().filter(|part| part.identity.is_none()) else {
            return false;
        };
        let dir = entry.save_dir(&self.config);
        self.entries.iter().any(|(other_key, other)| {
            let same = |theirs: &Part| theirs.part_name == part.part_name;
            other_key != key
                && other.state != DownloadState::Completed
                && other.save_dir(&self.config) == dir
                && other.part().is_some_and(same)
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
            if core::mem::take(&mut entry.quiet) && entry.running.is_some() {
                self.progress_due.set(key, Some(now + PROGRESS_EVERY));
            }
        }
        while let Some(entry) = self.entries.get_mut(key) {
            match &mut entry.running {
                Some(Running::Http(download)) => match download.poll_output() {
                    Some(output) => self.on_http(now, key, output),
                    None => break,
                },
                Some(Running::Torrent(torrent)) => match torrent.poll_output() {
                    Some(output) => self.on_torrent(now, key, output),
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
                Some(Running::Move { machine, .. }) => match machine.poll_output() {
                    Some(output) => self.on_move(key, output),
                    None => break,
                },
                None => break,
            }
        }
        self.count_memory(key);
        self.note_uploader(key);
        self.watch_totals(now, key);
        let Some(entry) = self.entries.get(key) else { return };
        let (state, deadline) = (entry.running_state(), entry.poll_timeout());
        self.deadlines.set(key, deadline);
        match &state {
            Some(DownloadState::Finishing) => self.queue.finish(key),
            Some(DownloadState::Seeding) => self.queue.seed(key),
            // What there is of it is not known yet.
            Some(DownloadState::Checking) | None => {}
            Some(_) => {
                self.queue.unfinish(key);
                self.lose_completion(key);
            }
        }
        if let Some(state) = state {
            self.set_state(key, state);
        }
        self.route_waiting(now, key);
    }

    /// Something is missing of a download, perhaps again: it will be complete another time.
    pub(super) fn lose_completion(&mut self, key: EntryKey) {
        let entry = self.entries.get_mut(key);
        if entry.is_some_and(|entry| entry.completed_at.take().is_some()) {
            self.journal.download(key);
        }
    }

    fn on_http(&mut self, now: Instant, key: EntryKey, output: http::Output) {
        match output {
            http::Output::Lease(lease) => {
                self.on_lease(now, lease.map(|slot| Who::Http { entry: key, slot }));
            }
            http::Output::Disk(tag, op) => self.emit_disk(DiskOwner::Entry(key, tag), op),
            http::Output::Record => {
                self.save(now, key);
                let run = self.entries.get(key).map_or(0, |entry| entry.run);
                self.journal.then(Then::Recorded(key, run));
            }
            http::Output::Forgotten => {
                self.readers.forget(key);
                self.save(now, key);
            }
            http::Output::Durable => {
                self.save(now, key);
                self.end_checkpoint(now);
            }
            http::Output::Waiting { error, until } => {
                let Some(id) = self.entries.get(key).map(|entry| entry.id) else { return };
                let (error, delay) = (error.into(), until - now);
                self.outputs.push_back(Output::Event(DownloadEvent::Waiting { id, error, delay }));
            }
            http::Output::Pace { origin, until } => self.links.pace(now, &origin, until),
            http::Output::ReadDone(done) => self.on_read_done(key, done),
            http::Output::Ended(end) => self.on_ended(now, key, end),
        }
    }

    /// Takes over what the store must know of a running download.
    pub(super) fn save(&mut self, now: Instant, key: EntryKey) {
        if let Some(entry) = self.entries.get_mut(key) {
            match (&mut entry.kind, &entry.running) {
                (Kind::Http(saved), Some(Running::Http(download))) => **saved = download.saved(),
                (Kind::Torrent(kept), Some(Running::Torrent(torrent))) => kept.saved = torrent.saved(now),
                _ => {}
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
            links::Output::Connect { link, to, from, tls } => {
                self.outputs.push_back(Output::Connect { link, to, from, tls })
            }
            links::Output::Link(link, output) => self.outputs.push_back(Output::Link { link, output }),
            links::Output::Leased { who, lease } => self.on_leased(now, who, lease),
            links::Output::Failed { who, error } => self.on_lease_failed(now, who, error),
            links::Output::Resolved { who, result } => {
                if let Who::Torrent { entry, lane } = who
                    && let Some(torrent) =
                        self.entries.get_mut(entry).and_then(super::entry::Entry::torrent_mut)
                {
                    torrent.resolved(now, lane, result);
                    self.touch(entry);
                }
            }
        }
    }

    /// A download asks for a connection, or does something with one.
    pub(super) fn on_lease(&mut self, now: Instant, output: lease::Output<Who>) {
        match output {
            lease::Output::Lease { slot, to } => self.links.lease(now, &to, slot),
            lease::Output::Unlease { slot, to } => self.links.unlease(now, &to, slot),
            lease::Output::Release(lease) => self.links.release(now, lease),
            lease::Output::Link(link, output) => self.outputs.push_back(Output::Link { link, output }),
        }
    }

    fn on_leased(&mut self, now: Instant, who: Who, lease: Lease) {
        let (Who::Http { entry: key, .. } | Who::Torrent { entry: key, .. }) = who else { return };
        let links = self.links.leased();
        if let Some(entry) = self.entries.get(key)
            && self.flow.is_too_free(links, lease.connection.credit(), &entry.bucket)
        {
            self.links.decline(now, lease, who);
            self.touch(key);
            return;
        }
        let running = self.entries.get_mut(key).and_then(|entry| entry.running.as_mut());
        match (running, who) {
            (Some(Running::Http(download)), Who::Http { slot, .. }) => {
                download.leased(now, slot, lease);
            }
            (Some(Running::Torrent(torrent)), Who::Torrent { lane, .. }) => {
                torrent.leased(now, lane, lease);
            }
            _ => self.links.release(now, lease),
        }
        self.touch(key);
    }

    fn on_lease_failed(&mut self, now: Instant, who: Who, error: DownloadError) {
        let (Who::Http { entry: key, .. } | Who::Torrent { entry: key, .. }) = who else { return };
        let running = self.entries.get_mut(key).and_then(|entry| entry.running.as_mut());
        match (running, who) {
            (Some(Running::Http(download)), Who::Http { slot, .. }) => {
                download.lease_failed(now, slot, error)
            }
            (Some(Running::Torrent(torrent)), Who::Torrent { lane, .. }) => {
                torrent.lease_failed(now, lane, error);
            }
            _ => return,
        }
        self.touch(key);
    }

    pub(super) fn emit_disk(&mut self, owner: DiskOwner, op: DiskOp) {
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
            let value = Bytes::from(match &entry.kind {
                Kind::Http(saved) => encode_progress(saved),
                Kind::Torrent(torrent) => encode_torrent(&torrent.saved),
            });
            ops.push(StoreOp::Put { table: Table::Progress, key: key_of(entry.id), value });
        }
        for entry in batch.torrents.iter().filter_map(|&key| self.entries.get(key)) {
            let Kind::Torrent(torrent) = &entry.kind else { continue };
            let Some(metainfo) = &torrent.metainfo else { continue };
            ops.push(StoreOp::Put {
                table: Table::Torrent,
                key: key_of(entry.id),
                value: metainfo.raw().clone(),
            });
        }
        for id in batch.deleted {
            for table in [Table::Download, Table::Progress, Table::Torrent] {
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
        if !busy && self.shelves.is_empty() && self.journal.is_quiet() {
            self.close(now);
        }
    }

    fn close(&mut self, now: Instant) {
        self.links.close_all(now);
        self.swarm.close();
        while let Some(output) = self.swarm.poll_output() {
            self.outputs.push_back(output);
        }
        while let Some(output) = self.links.poll_output() {
            self.on_links(now, output);
        }
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
        self.touch(key);
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
