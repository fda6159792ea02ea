//! Machine: the engine, a router over its downloads and policies.

use super::config::EngineConfig;
use super::dirs::Dirs;
use super::entry::{Entry, EntryKey, Intent, Kind, TorrentEntry, validate};
use super::error::{EngineError, Result};
use super::event::DownloadEvent;
use super::flow::Flow;
use super::io::{Answer, DiskKey, Input, Output, Token};
use super::journal::{Journal, Then};
use super::links::{Links, LinksConfig};
use super::queue::Queue;
use super::reading::Readers;
use super::record::{self, DownloadRecord, Note, RecordError, SavedState};
use super::shelves::{ShelfKey, Shelves};
use super::status::{DownloadState, DownloadStatus, GlobalStats};
use super::swarm::{GuestKey, Swarm};
use crate::base::disk::{DirKey, FileIdentity};
use crate::base::mutants::{self, Mutant};
use crate::base::store::{Record, StoreError, Table};
use crate::base::{Deadlines, Instant, RangeSet, Rng, Slab, TokenBucket, WallClock};
use crate::download::http::SlotKey;
use crate::download::shelf::ShelfTag;
use crate::download::target::DiskTag;
use crate::download::torrent::{self, Lane};
use crate::download::{DownloadId, DownloadOptions, DownloadPriority};
use crate::proto::http::ConnectionConfig;
use crate::wire::torrent::{Magnet, Metainfo};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What an engine starts from.
#[derive(Debug)]
pub struct EngineStart {
    /// The settings.
    pub config: EngineConfig,
    /// The seed of all randomness; from the operating system, or a constant in tests.
    pub seed: [u8; 32],
    /// The wall clock: milliseconds since the Unix epoch.
    pub unix_millis: u64,
    /// Names this boot of this machine, where the platform can tell. With it, notes of a killed process are trusted.
    pub boot_id: Option<[u8; 16]>,
    /// Every record of the store.
    pub records: Vec<Record>,
    /// The store's note, if it has one.
    pub note: Option<Vec<u8>>,
}

/// Many downloads, driven by bytes and timestamps. See the [crate] for the loop that drives it.
#[derive(Debug)]
pub struct Engine {
    pub(super) config: EngineConfig,
    pub(super) rng: Rng,
    pub(super) wall: WallClock,
    pub(super) boot_id: Option<[u8; 16]>,
    pub(super) entries: Slab<Entry>,
    pub(super) by_id: BTreeMap<DownloadId, EntryKey>,
    pub(super) by_url: BTreeMap<Arc<str>, Vec<EntryKey>>,
    pub(super) queue: Queue<EntryKey>,
    pub(super) links: Links<Who>,
    pub(super) swarm: Swarm,
    pub(super) dirs: Dirs<EntryKey>,
    pub(super) journal: Journal<EntryKey>,
    pub(super) flow: Flow,
    pub(super) readers: Readers,
    pub(super) shelves: Shelves,
    pub(super) disk_ops: BTreeMap<DiskKey, DiskOwner>,
    pub(super) next_disk: u64,
    pub(super) next_keys: u64,
    pub(super) next_order: u64,
    pub(super) deadlines: Deadlines<EntryKey>,
    pub(super) progress_due: Deadlines<EntryKey>,
    pub(super) touched: VecDeque<EntryKey>,
    /// Whose links may want credit: those that something happened to since they had enough, and those that wait for
    /// memory or a limit.
    pub(super) hungry: VecDeque<EntryKey>,
    /// Bytes of memory that are spoken for by all downloads.
    pub(super) used: u64,
    /// Torrents that have something to send, in the order in which they have their turn.
    pub(super) uploaders: VecDeque<EntryKey>,
    pub(super) upload_bucket: TokenBucket,
    pub(super) upload_at: Option<Instant>,
    pub(super) checkpoint: Checkpoint,
    pub(super) note_at: Option<Instant>,
    pub(super) flow_at: Option<Instant>,
    /// What a killed process had written, until the download that it belongs to starts.
    pub(super) notes: BTreeMap<DownloadId, (FileIdentity, RangeSet)>,
    pub(super) closing: Option<Instant>,
    pub(super) closed: bool,
    pub(super) outputs: VecDeque<Output>,
}

/// Who waits for a connection or uses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// An exchange of a download over HTTP.
    Http { entry: EntryKey, slot: SlotKey },
    /// Something of a torrent.
    Torrent { entry: EntryKey, lane: Lane },
    /// Somebody who has connected and not yet said what for.
    Guest(GuestKey),
}

/// Whose a disk operation is.
#[derive(Clone, Copy, Debug)]
pub(super) enum DiskOwner {
    Entry(EntryKey, DiskTag),
    Torrent(EntryKey, torrent::files::DiskTag),
    Shelf(ShelfKey, ShelfTag),
    Dir(DirKey),
    Move(EntryKey),
}

/// When what was written is made durable.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) at: Option<Instant>,
    pub(super) began: Option<Instant>,
    pub(super) every: Duration,
    /// When the store is told what was sent, and for how long, where nothing is to be made durable.
    pub(super) totals_at: Option<Instant>,
}

impl Engine {
    /// Starts an engine on what its store holds: every download is back, and what was queued or running goes on.
    ///
    /// # Errors
    ///
    /// [`EngineError::InvalidInput`] for a setting out of range, [`EngineError::Database`] for a record that cannot be
    /// read.
    pub fn new(now: Instant, start: EngineStart) -> Result<Self> {
        let EngineStart { config, seed, unix_millis, boot_id, records, note } = start;
        config.validate()?;
        let mut engine = Self {
            rng: Rng::from_seed(seed),
            wall: WallClock::new(now, unix_millis),
            boot_id,
            entries: Slab::new(),
            by_id: BTreeMap::new(),
            by_url: BTreeMap::new(),
            queue: Queue::new(config.max_concurrent_downloads),
            links: Links::new(links_config(&config)),
            swarm: Swarm::new(),
            dirs: Dirs::new(),
            journal: Journal::new(),
            flow: Flow::new(now, config.global_download_limit, config.buffer_budget),
            readers: Readers::default(),
            shelves: Shelves::new(),
            disk_ops: BTreeMap::new(),
            next_disk: 0,
            next_keys: 1,
            next_order: 0,
            deadlines: Deadlines::new(),
            progress_due: Deadlines::new(),
            touched: VecDeque::new(),
            hungry: VecDeque::new(),
            used: 0,
            uploaders: VecDeque::new(),
            upload_bucket: TokenBucket::new(now, config.global_upload_limit),
            upload_at: None,
            checkpoint: Checkpoint { at: None, began: None, every: CHECKPOINT_EVERY, totals_at: None },
            note_at: None,
            flow_at: None,
            notes: BTreeMap::new(),
            closing: None,
            closed: false,
            outputs: VecDeque::new(),
            config,
        };
        engine.load(now, records).map_err(EngineError::from)?;
        engine.read_note(note);
        engine.settle(now);
        Ok(engine)
    }

    /// Feeds what happened in the world.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        if self.closed {
            return;
        }
        match input {
            Input::Resolved { query, result } => self.links.handle_resolved(now, query, result),
            Input::Link { link, input } => self.on_link(now, link, input),
            // Nothing here takes connections or datagrams yet.
            Input::Listening { listener, result } => self.on_listening(now, listener, result),
            Input::Accepted { arrival, from, .. } => self.on_accepted(now, arrival, from),
            Input::Bound { socket, result } => self.swarm.on_bound(socket, result),
            Input::Datagram { socket, from, bytes } => self.on_datagram(now, socket, from, &bytes),
            Input::Disk { key, result } => self.on_disk(now, key, result),
            Input::Stored { batch, result } => self.on_stored(now, batch, &result),
            Input::WallClock { unix_millis } => self.set_wall(WallClock::new(now, unix_millis)),
        }
        self.settle(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        self.on_timeout(now);
        self.settle(now);
    }

    /// The next thing for the driver to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let timers = [
            self.deadlines.next(),
            self.progress_due.next(),
            self.checkpoint.at,
            self.checkpoint.totals_at,
            self.note_at,
            self.flow_at,
            self.upload_at,
            self.links.poll_timeout(),
            self.swarm.poll_timeout(),
            self.journal.poll_timeout(),
            self.closing,
        ];
        timers.into_iter().flatten().min()
    }

    // ----- commands --------------------------------------------------------------------------------------------------

    /// Adds a download. [`Output::Reply`] with `reply` follows once it is in the store.
    ///
    /// # Errors
    ///
    /// [`EngineError::InvalidInput`] names the argument that is wrong; [`EngineError::AlreadyExists`] where an
    /// unfinished download has the same URL, directory and name.
    pub fn add_http(
        &mut self,
        now: Instant,
        url: &str,
        options: DownloadOptions,
        reply: Token,
    ) -> Result<DownloadId> {
        self.check_open()?;
        let url = url.trim();
        validate(url, &options)?;
        if let Some(twin) = self.twin_of(url, &options) {
            return Err(EngineError::AlreadyExists(twin.to_string()));
        }
        let id = DownloadId::from_random_bytes(self.rng.bytes());
        let paused = options.start_paused;
        let record = DownloadRecord {
            url: url.to_owned(),
            info_hash: None,
            options,
            state: if paused { SavedState::Paused } else { SavedState::Queued },
            created_at: self.wall.unix_millis(now),
            completed_at: None,
            order: self.next_order,
            moving: None,
        };
        let key = self.insert(now, id, record, Kind::Http(Box::default()));
        self.journal.download(key);
        if mutants::is(Mutant::AcknowledgeEarly) {
            self.reply(reply, Ok(Answer::Done));
        } else {
            self.journal.then(Then::Reply(reply));
        }
        self.outputs.push_back(Output::Event(DownloadEvent::Added { id }));
        self.settle(now);
        Ok(id)
    }

    /// Pauses; the reply follows once all that arrived is durable.
    pub fn pause(&mut self, now: Instant, id: DownloadId, reply: Token) {
        if let Some(key) = self.entry_or_reply(id, reply) {
            self.pause_entry(now, key, reply);
            self.settle(now);
        }
    }

    /// Queues a paused or failed download again, or a complete torrent whose seeding goal is not met.
    pub fn resume(&mut self, now: Instant, id: DownloadId, reply: Token) {
        if let Some(key) = self.entry_or_reply(id, reply) {
            self.resume_entry(key, reply);
            self.settle(now);
        }
    }

    /// Removes a download, and with `delete_files` also what it created on disk.
    pub fn cancel(&mut self, now: Instant, id: DownloadId, delete_files: bool, reply: Token) {
        if let Some(key) = self.entry_or_reply(id, reply) {
            self.cancel_entry(now, key, delete_files, reply);
            self.settle(now);
        }
    }

    /// Checks a complete file; replies with [`Answer::Verified`].
    pub fn verify(&mut self, now: Instant, id: DownloadId, reply: Token) {
        if let Some(key) = self.entry_or_reply(id, reply) {
            self.check_entry(now, key, false, reply);
            self.settle(now);
        }
    }

    /// Like [`verify`](Self::verify), and fetches again what is wrong; replies with the report from before.
    pub fn repair(&mut self, now: Instant, id: DownloadId, reply: Token) {
        if let Some(key) = self.entry_or_reply(id, reply) {
            self.check_entry(now, key, true, reply);
            self.settle(now);
        }
    }

    /// Changes a download's place in the queue.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`], [`EngineError::Shutdown`].
    pub fn set_priority(&mut self, now: Instant, id: DownloadId, priority: DownloadPriority) -> Result<()> {
        self.check_open()?;
        let key = self.key_of(id)?;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.options.priority = priority;
        }
        self.queue.set_priority(key, priority);
        self.journal.download(key);
        self.settle(now);
        Ok(())
    }

    /// Changes the settings; limits and counts apply at once, the rest to what starts later.
    ///
    /// # Errors
    ///
    /// [`EngineError::InvalidInput`] for a setting out of range; nothing is changed then.
    pub fn set_config(&mut self, now: Instant, config: EngineConfig) -> Result<()> {
        self.check_open()?;
        config.validate()?;
        self.queue.set_max_running(config.max_concurrent_downloads);
        self.flow.set(now, config.global_download_limit, config.buffer_budget);
        self.upload_bucket.set_rate(now, config.global_upload_limit);
        self.links.set_config(links_config(&config));
        self.config = config;
        for key in self.entries.keys() {
            self.tell_upload_limit(now, key);
        }
        self.settle(now);
        Ok(())
    }

    /// Stops everything: saves what arrived, then says [`Output::Closed`], within [`SHUTDOWN_TIMEOUT`].
    pub fn shutdown(&mut self, now: Instant) {
        if self.closing.is_none() {
            self.closing = Some(now + SHUTDOWN_TIMEOUT);
            self.journal.hurry();
            self.stop_all(now);
            self.settle(now);
        }
    }

    // ----- views -----------------------------------------------------------------------------------------------------

    /// The settings.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// One download.
    pub fn status(&self, now: Instant, id: DownloadId) -> Option<DownloadStatus> {
        let key = *self.by_id.get(&id)?;
        self.entries.get(key).map(|entry| entry.full_status(now, &self.config))
    }

    /// All downloads, oldest first.
    pub fn list(&self, now: Instant) -> Vec<DownloadStatus> {
        let mut all: Vec<_> = self.entries.iter().collect();
        all.sort_by_key(|(_, entry)| entry.order);
        all.into_iter().map(|(_, entry)| entry.status(now, &self.config)).collect()
    }

    /// Why a download failed; `None` where it did not, or not in this process.
    pub fn error(&self, id: DownloadId) -> Option<EngineError> {
        let entry = self.entries.get(*self.by_id.get(&id)?)?;
        entry.error.clone().filter(|_| matches!(entry.state, DownloadState::Error { .. }))
    }

    /// Sums over all downloads.
    pub fn global_stats(&self, now: Instant) -> GlobalStats {
        let running: Vec<EntryKey> = self.queue.running().collect();
        let (mut download_speed, mut upload_speed) = (0, 0);
        for key in running {
            let Some(entry) = self.entries.get(key) else { continue };
            let progress = entry.progress(now);
            download_speed += progress.download_speed;
            upload_speed += progress.upload_speed;
        }
        let (num_active, num_waiting) = (self.queue.running_count(), self.queue.waiting_count());
        let num_stopped = self.entries.len().saturating_sub(num_active + num_waiting);
        GlobalStats { download_speed, upload_speed, num_active, num_waiting, num_stopped }
    }

    // ----- entries ---------------------------------------------------------------------------------------------------

    fn load(&mut self, now: Instant, records: Vec<Record>) -> core::result::Result<(), StoreError> {
        let mut downloads = Vec::new();
        let (mut progress, mut torrents) = (BTreeMap::new(), BTreeMap::new());
        for record in records {
            let id = record::record_id(&record);
            match (record.table, id) {
                (Table::Download, Some(id)) => {
                    downloads.push((id, DownloadRecord::decode(&record.value).map_err(bad_record)?));
                }
                (Table::Progress, Some(id)) => _ = progress.insert(id, record.value),
                (Table::Torrent, Some(id)) => _ = torrents.insert(id, record.value),
                (Table::Meta, _) => {}
                (_, None) => {
                    return Err(StoreError::Corrupt("a record has a key of the wrong length".to_owned()));
                }
            }
        }
        downloads.sort_by_key(|(_, record)| record.order);
        for (id, record) in downloads {
            let kind = load_kind(&record, progress.remove(&id), torrents.remove(&id))?;
            self.insert(now, id, record, kind);
        }
        Ok(())
    }

    pub(super) fn insert(
        &mut self,
        now: Instant,
        id: DownloadId,
        record: DownloadRecord,
        kind: Kind,
    ) -> EntryKey {
        self.next_order = self.next_order.max(record.order + 1);
        let state = match record.state {
            SavedState::Queued => DownloadState::Queued,
            SavedState::Paused => DownloadState::Paused,
            SavedState::Completed => DownloadState::Completed,
            SavedState::Error { kind, message, retryable } => {
                DownloadState::Error { kind, message, retryable }
            }
        };
        let queued = state == DownloadState::Queued;
        let is_moving = record.moving.is_some();
        let key = self.entries.insert(Entry {
            id,
            url: record.url.into(),
            bucket: TokenBucket::new(now, record.options.max_download_speed),
            upload_bucket: TokenBucket::new(now, record.options.max_upload_speed),
            options: Box::new(record.options),
            state,
            created_at: record.created_at,
            completed_at: record.completed_at,
            order: record.order,
            kind,
            running: None,
            intent: None,
            moving: record.moving.map(Box::new),
            error: None,
            run: 0,
            delete_files: false,
            touched: false,
            hungry: false,
            quiet: false,
            uploading: false,
            used: 0,
            turn: 0,
            dir: None,
        });
        self.by_id.insert(id, key);
        if let Some(identity) = self.entries.get(key).map(Entry::identity) {
            self.by_url.entry(identity).or_default().push(key);
        }
        if is_moving {
            self.begin_move(key, None);
        } else if queued {
            self.enqueue(key);
        }
        key
    }

    /// An unfinished download of the same file to the same place.
    fn twin_of(&self, url: &str, options: &DownloadOptions) -> Option<DownloadId> {
        let same = |entry: &&Entry| {
            entry.state != DownloadState::Completed
                && entry.options.save_dir == options.save_dir
                && entry.options.filename == options.filename
        };
        let twins = self.by_url.get(url)?;
        twins.iter().filter_map(|&key| self.entries.get(key)).find(same).map(|entry| entry.id)
    }

    pub(super) fn remove_entry(&mut self, key: EntryKey) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.by_id.remove(&entry.id);
        self.stop_waiting(Some(key), &EngineError::NotFound(entry.id.to_string()));
        let identity = entry.identity();
        if let Some(keys) = self.by_url.get_mut(&identity) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_url.remove(&identity);
            }
        }
        self.queue.remove(key);
        self.deadlines.set(key, None);
        self.progress_due.set(key, None);
        self.journal.delete(key, entry.id);
        self.journal.then(Then::Event(DownloadEvent::Removed { id: entry.id }));
    }

    fn read_note(&mut self, note: Option<Vec<u8>>) {
        let Some(note) = note.and_then(|bytes| Note::decode(&bytes).ok()) else { return };
        // Only within the same boot has everything that was written really reached the file.
        if Some(note.boot_id) == self.boot_id {
            self.notes = note.written.into_iter().map(|(id, file, ranges)| (id, (file, ranges))).collect();
        }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.closing.is_some() || self.closed { Err(EngineError::Shutdown) } else { Ok(()) }
    }

    pub(super) fn key_of(&self, id: DownloadId) -> Result<EntryKey> {
        self.by_id.get(&id).copied().ok_or_else(|| EngineError::NotFound(id.to_string()))
    }

    pub(super) fn entry_or_reply(&mut self, id: DownloadId, reply: Token) -> Option<EntryKey> {
        match self.check_open().and_then(|()| self.key_of(id)) {
            Ok(key) => Some(key),
            Err(error) => {
                self.reply(reply, Err(error));
                None
            }
        }
    }

    pub(super) fn reply(&mut self, token: Token, result: Result<Answer>) {
        self.outputs.push_back(Output::Reply { token, result });
    }

    /// Changes the state and says so.
    pub(super) fn set_state(&mut self, key: EntryKey, new_state: DownloadState) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.state == new_state {
            return;
        }
        let id = entry.id;
        let old_state = core::mem::replace(&mut entry.state, new_state.clone());
        tracing::info!(%id, from = old_state.name(), to = new_state.name(), "download");
        self.outputs.push_back(Output::Event(DownloadEvent::StateChanged { id, old_state, new_state }));
    }

    /// Whoever changes a child touches it; only [`settle`](Self::settle) reads it.
    pub(super) fn touch(&mut self, key: EntryKey) {
        if let Some(entry) = self.entries.get_mut(key)
            && !core::mem::replace(&mut entry.touched, true)
        {
            self.touched.push_back(key);
        }
    }

    fn stop_all(&mut self, now: Instant) {
        self.stop_waiting(None, &EngineError::Shutdown);
        for key in self.entries.keys() {
            self.abort_check(key, EngineError::Shutdown);
            let Some(entry) = self.entries.get_mut(key) else { continue };
            let Some(running) = &mut entry.running else { continue };
            match running {
                super::entry::Running::Http(download) => {
                    entry.intent.get_or_insert(Intent::Shutdown);
                    download.stop(now);
                    self.touch(key);
                }
                super::entry::Running::Torrent(torrent) => {
                    entry.intent.get_or_insert(Intent::Shutdown);
                    torrent.stop(now);
                    self.touch(key);
                }
                super::entry::Running::Check { check, .. } => {
                    check.stop();
                    self.touch(key);
                }
                super::entry::Running::Move { machine, .. } => machine.stop(),
                super::entry::Running::Remove(_) => {}
            }
        }
    }
}

pub(super) fn links_config(config: &EngineConfig) -> LinksConfig {
    LinksConfig {
        connect_timeout: config.http.connect_timeout,
        connection: ConnectionConfig {
            read_timeout: config.http.read_timeout,
            keep_alive: config.http.keep_alive,
        },
        max_per_host: config.max_connections_per_host,
    }
}

/// What the store keeps of a download besides its own record.
fn load_kind(
    record: &DownloadRecord,
    progress: Option<Vec<u8>>,
    torrent: Option<Vec<u8>>,
) -> core::result::Result<Kind, StoreError> {
    let Some(info_hash) = record.info_hash else {
        let saved = progress.map(|bytes| record::decode_progress(&bytes)).transpose().map_err(bad_record)?;
        return Ok(Kind::Http(Box::new(saved.unwrap_or_default())));
    };
    let bad = |what: &str| StoreError::Corrupt(format!("the record of torrent {info_hash} has a bad {what}"));
    let saved = progress.map(|bytes| record::decode_torrent(&bytes)).transpose().map_err(bad_record)?;
    let metainfo = torrent.map(|bytes| Metainfo::decode(bytes.into())).transpose();
    let metainfo = metainfo.map_err(|_| bad("metainfo"))?.map(Arc::new);
    let magnet = Magnet::parse(&record.url).map_err(|_| bad("magnet link"))?;
    let mut entry = TorrentEntry::new(info_hash, Some(magnet), metainfo);
    entry.saved = saved.unwrap_or_default();
    Ok(Kind::Torrent(Box::new(entry)))
}

fn bad_record(error: RecordError) -> StoreError {
    match error {
        RecordError::NewerVersion(found) => {
            StoreError::NewerVersion { found, supported: record::VERSION as u32 }
        }
        error => StoreError::Corrupt(error.to_string()),
    }
}

/// How long a shutdown may take before it stops waiting for disk and store.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// What arrived is made durable this often; a sync that takes long makes it rarer.
pub(super) const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
