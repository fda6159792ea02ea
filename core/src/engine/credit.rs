//! How the engine lets links read, makes durable what arrived, and says how far downloads are.

use super::entry::{Entry, EntryKey, Running};
use super::event::DownloadEvent;
use super::flow::{Held, Round, Share};
use super::io::Output;
use super::machine::{CHECKPOINT_EVERY, Engine};
use super::record::Note;
use super::status::DownloadState;
use crate::base::Instant;
use crate::base::disk::FileIdentity;
use crate::download::http::SlotKey;
use bytes::Bytes;
use core::time::Duration;

/// What the links of a download still want.
enum Appetite {
    /// All have enough.
    None,
    /// They got nothing and wait for memory or a limit.
    Waits,
    /// They got something, and wait for more.
    WaitsForMore,
}

impl Engine {
    /// Lets links read as much as memory and limits allow. Only those are asked that something happened to since they
    /// had enough.
    pub(super) fn grant_credit(&mut self, now: Instant) {
        self.flow_at = None;
        if self.hungry.is_empty() {
            return;
        }
        let mut round = self.flow.round(self.links.leased(), self.used);
        let mut fed = Vec::new();
        for _ in 0..self.hungry.len() {
            let Some(key) = self.hungry.pop_front() else { break };
            match self.feed(now, key, &mut round) {
                Appetite::Waits => self.hungry.push_back(key),
                Appetite::WaitsForMore => fed.push(key),
                Appetite::None => {
                    if let Some(entry) = self.entries.get_mut(key) {
                        entry.hungry = false;
                    }
                }
            }
        }
        // Who got something stands behind those who got nothing.
        self.hungry.extend(fed);
        // Credit only leaves: draining it changes nothing that credit depends on.
        while let Some(key) = self.touched.pop_front() {
            self.drain_entry(now, key);
        }
    }

    /// Lets the links of one download read; says whether they want more.
    fn feed(&mut self, now: Instant, key: EntryKey, round: &mut Round) -> Appetite {
        let several = self.queue.running_count() > 1;
        let Some(entry) = self.entries.get_mut(key) else { return Appetite::None };
        let download = match &mut entry.running {
            Some(Running::Http(download)) => download,
            Some(Running::Torrent(_)) => return self.feed_torrent(now, key, round),
            _ => return Appetite::None,
        };
        let slots: Vec<SlotKey> = download.exchanges().collect();
        let first = entry.turn.checked_rem(slots.len()).unwrap_or(0);
        let (mut waits, mut touched) = (false, false);
        for place in (first..slots.len()).chain(0..first) {
            let slot = slots[place];
            if several && self.flow.is_greedy(download.backlog()) {
                waits = true;
                break;
            }
            let Some(credit) = download.credit(slot) else { continue };
            let asking = download.is_asking(slot);
            let mut share = Share { credit, asking, bucket: &mut entry.bucket };
            match self.flow.grant(now, round, &mut share) {
                Ok(0) => {}
                Ok(bytes) => {
                    download.grant(now, slot, bytes);
                    entry.turn = place + 1;
                    touched = true;
                }
                Err(held) => {
                    waits = true;
                    if let Held::Rate(at) = held {
                        self.flow_at = Some(self.flow_at.map_or(at, |old| old.min(at)));
                    }
                }
            }
        }
        if touched {
            self.touch(key);
        }
        match (waits, touched) {
            (false, _) => Appetite::None,
            (true, false) => Appetite::Waits,
            (true, true) => Appetite::WaitsForMore,
        }
    }

    /// Lets the links of a torrent read; says whether they want more.
    fn feed_torrent(&mut self, now: Instant, key: EntryKey, round: &mut Round) -> Appetite {
        let several = self.queue.running_count() > 1;
        let Some(entry) = self.entries.get_mut(key) else { return Appetite::None };
        let Some(Running::Torrent(torrent)) = &mut entry.running else { return Appetite::None };
        if several && self.flow.is_greedy(torrent.backlog()) {
            return Appetite::Waits;
        }
        let (mut waits, mut touched) = (false, false);
        for _ in 0..torrent.hungry() {
            let Some((lane, credit, asking)) = torrent.next_hungry() else { break };
            let mut share = Share { credit, asking, bucket: &mut entry.bucket };
            match self.flow.grant(now, round, &mut share) {
                Ok(0) => {}
                Ok(bytes) => {
                    torrent.grant(now, lane, bytes);
                    touched = true;
                }
                Err(held) => {
                    waits = true;
                    torrent.still_hungry(lane);
                    if let Held::Rate(at) = held {
                        self.flow_at = Some(self.flow_at.map_or(at, |old| old.min(at)));
                    }
                }
            }
        }
        if touched {
            torrent.settle_grants(now);
            self.touch(key);
        }
        match (waits, touched) {
            (false, _) => Appetite::None,
            (true, false) => Appetite::Waits,
            (true, true) => Appetite::WaitsForMore,
        }
    }

    /// What was written before a checkpoint is durable.
    pub(super) fn end_checkpoint(&mut self, now: Instant) {
        if let Some(began) = self.checkpoint.began.take() {
            // A disk that needs long for a sync is asked less often.
            self.checkpoint.every = ((now - began) * 4).clamp(CHECKPOINT_EVERY, CHECKPOINT_EVERY * 10);
        }
    }

    /// Something happened to a download: its memory is counted again, and its links may want credit.
    pub(super) fn count_memory(&mut self, key: EntryKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let used = entry.running.as_ref().map_or(0, Running::used);
        self.used = self.used.saturating_sub(entry.used) + used;
        entry.used = used;
        if entry.running.is_some() && !core::mem::replace(&mut entry.hungry, true) {
            self.hungry.push_back(key);
        }
    }

    pub(super) fn make_durable(&mut self, now: Instant) {
        self.checkpoint.at = None;
        self.checkpoint.began = Some(now);
        let running: Vec<EntryKey> = self.queue.running().collect();
        for key in running {
            match self.entries.get_mut(key).and_then(|entry| entry.running.as_mut()) {
                Some(Running::Http(download)) => download.checkpoint(now),
                Some(Running::Torrent(torrent)) => torrent.checkpoint(now),
                _ => continue,
            }
            self.touch(key);
        }
    }

    /// Something happened to a download: what it has sent is in the store some time later.
    pub(super) fn watch_totals(&mut self, now: Instant, key: EntryKey) {
        if self.checkpoint.totals_at.is_none() && self.entries.get(key).is_some_and(Entry::has_new_totals) {
            self.checkpoint.totals_at = Some(now + TOTALS_EVERY);
        }
    }

    /// Tells the store what all torrents have sent, where that is more than it knows.
    pub(super) fn save_totals(&mut self, now: Instant) {
        self.checkpoint.totals_at = None;
        let running: Vec<EntryKey> = self.queue.running().collect();
        for key in running {
            if self.entries.get(key).is_some_and(Entry::has_new_totals) {
                self.save(now, key);
                self.watch_totals(now, key);
            }
        }
    }

    pub(super) fn write_note(&mut self) {
        let Some(boot_id) = self.boot_id else { return };
        let note = |key| {
            let entry = self.entries.get(key)?;
            match &entry.running {
                Some(Running::Http(download)) => {
                    let (part, written) = download.note()?;
                    Some((entry.id, part.identity?, written.clone()))
                }
                // Of a torrent the numbers of pieces, which are hashed before they are believed.
                Some(Running::Torrent(torrent)) => {
                    let pieces = torrent.note();
                    let no_file = FileIdentity { device: 0, inode: 0 };
                    (!pieces.is_empty()).then_some((entry.id, no_file, pieces))
                }
                _ => None,
            }
        };
        // What a killed process left and nobody has taken up yet stays noted.
        let left = self.notes.iter().map(|(id, (file, ranges))| (*id, *file, ranges.clone()));
        let written = self.queue.running().filter_map(note).chain(left).collect();
        self.outputs.push_back(Output::Note(Bytes::from(Note { boot_id, written }.encode())));
    }

    pub(super) fn report_progress(&mut self, now: Instant, key: EntryKey) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.state.is_active()) else { return };
        let (id, progress) = (entry.id, entry.progress(now));
        let moves = progress.download_speed + progress.upload_speed > 0 || progress.connections > 0;
        entry.quiet = entry.state == DownloadState::Seeding && !moves;
        if !entry.quiet {
            self.progress_due.set(key, Some(now + PROGRESS_EVERY));
        }
        self.outputs.push_back(Output::Event(DownloadEvent::Progress { id, progress }));
    }
}

/// How often progress is reported, per download; not of one that is seeded to nobody, where nothing happens.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// A kill takes no more of the totals than came in this time. All that have any are stored together, so that a thousand
/// that are seeded for a time cost one commit.
const TOTALS_EVERY: Duration = Duration::from_secs(120);
/// How often what was written is noted for the case that this process is killed.
pub(super) const NOTE_EVERY: Duration = Duration::from_millis(50);
