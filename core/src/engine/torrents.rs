//! How the engine runs torrents.

use super::entry::{EntryKey, Intent, Kind, Running, TorrentEntry};
use super::error::{EngineError, Result};
use super::event::DownloadEvent;
use super::io::{Answer, ArrivalKey, ListenerKey, Output, Token, UdpKey};
use super::journal::Then;
use super::machine::{DiskOwner, Engine, Who};
use super::record::{DownloadRecord, SavedState};
use super::status::{DownloadState, VerifyReport};
use super::swarm::{Greeted, ListenPlan};
use crate::base::mutants::{self, Mutant};
use crate::base::{Instant, LinkError, LinkOutput, PeerId};
use crate::download::torrent::announcer::TrackerStatus;
use crate::download::torrent::{self, Lane, Torrent, TorrentPlan, TorrentStart, WebSeedView};
use crate::download::{DownloadId, DownloadOptions};
use crate::wire::torrent::{Magnet, Metainfo};
use bytes::Bytes;
use core::net::SocketAddr;
use std::sync::Arc;

impl Engine {
    /// Adds a torrent from the bytes of its metainfo file (BEP 3). [`Output::Reply`] with `reply` follows once it is in
    /// the store.
    ///
    /// # Errors
    ///
    /// [`EngineError::Protocol`] where the bytes are no torrent, saying which key is wrong;
    /// [`EngineError::InvalidInput`] for an option that is wrong; [`EngineError::AlreadyExists`] where a download of
    /// the same torrent is there.
    pub fn add_torrent(
        &mut self,
        now: Instant,
        metainfo: Bytes,
        options: DownloadOptions,
        reply: Token,
    ) -> Result<DownloadId> {
        let metainfo = Arc::new(Metainfo::decode(metainfo)?);
        super::entry::validate_torrent(&options, Some(metainfo.files().len()))?;
        let name = Some(metainfo.name().to_string());
        let url = Magnet { name, ..Magnet::new(metainfo.info_hash()) }.to_string();
        let entry = TorrentEntry::new(metainfo.info_hash(), None, Some(metainfo));
        self.add_swarm(now, url, entry, options, reply)
    }

    /// Adds a torrent by its magnet link (BEP 9): the metainfo comes from peers.
    ///
    /// # Errors
    ///
    /// [`EngineError::Protocol`] where it is no magnet link of a torrent; else as [`add_torrent`](Self::add_torrent).
    pub fn add_magnet(
        &mut self,
        now: Instant,
        uri: &str,
        options: DownloadOptions,
        reply: Token,
    ) -> Result<DownloadId> {
        let magnet = Magnet::parse(uri)?;
        super::entry::validate_torrent(&options, None)?;
        let entry = TorrentEntry::new(magnet.info_hash, Some(magnet), None);
        self.add_swarm(now, uri.to_owned(), entry, options, reply)
    }

    fn add_swarm(
        &mut self,
        now: Instant,
        url: String,
        entry: TorrentEntry,
        options: DownloadOptions,
        reply: Token,
    ) -> Result<DownloadId> {
        self.check_open()?;
        let identity = super::entry::torrent_identity(entry.info_hash);
        if let Some(twin) = self.by_url.get(&identity).and_then(|twins| twins.first()) {
            let twin = self.entries.get(*twin).map_or_else(String::new, |entry| entry.id.to_string());
            return Err(EngineError::AlreadyExists(twin));
        }
        let id = DownloadId::from_random_bytes(self.rng.bytes());
        let state = if options.start_paused { SavedState::Paused } else { SavedState::Queued };
        let record = DownloadRecord {
            url,
            info_hash: Some(entry.info_hash),
            options,
            state,
            created_at: self.wall.unix_millis(now),
            completed_at: None,
            order: self.next_order,
            moving: None,
        };
        let has_metainfo = entry.metainfo.is_some();
        let key = self.insert(now, id, record, Kind::Torrent(Box::new(entry)));
        self.journal.download(key);
        if has_metainfo {
            self.journal.torrent(key);
        }
        self.journal.then(Then::Reply(reply));
        self.outputs.push_back(Output::Event(DownloadEvent::Added { id }));
        self.settle(now);
        Ok(id)
    }

    /// The port at which peers reach this side, once it listens.
    pub fn listen_port(&self) -> Option<u16> {
        self.swarm.port()
    }

    // ----- commands --------------------------------------------------------------------------------------------------

    /// Connects a torrent to a peer whose address the user knows.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidState`] for one that is no torrent or does not run.
    pub fn add_peer(&mut self, now: Instant, id: DownloadId, address: SocketAddr) -> Result<()> {
        self.with_torrent(now, id, "add a peer to", |torrent| torrent.add_peer(now, address))
    }

    /// Announces a torrent to one more tracker; says whether it is new.
    ///
    /// # Errors
    ///
    /// As [`add_peer`](Self::add_peer).
    pub fn add_tracker(&mut self, now: Instant, id: DownloadId, url: &str) -> Result<bool> {
        let added =
            self.with_torrent(now, id, "add a tracker to", |torrent| torrent.add_tracker(now, url))?;
        let key = self.key_of(id)?;
        if let Some(entry) = self.entries.get_mut(key).filter(|_| added) {
            entry.options.trackers.push(url.to_owned());
            self.journal.download(key);
        }
        Ok(added)
    }

    /// Asks all trackers of a torrent now.
    ///
    /// # Errors
    ///
    /// As [`add_peer`](Self::add_peer).
    pub fn force_reannounce(&mut self, now: Instant, id: DownloadId) -> Result<()> {
        self.with_torrent(now, id, "announce", |torrent| torrent.reannounce(now))
    }

    /// Asks all trackers of a torrent how many seeders and leechers there are (BEP 48), each at most once a minute;
    /// [`trackers`](Self::trackers) has the answers when they came.
    ///
    /// # Errors
    ///
    /// As [`add_peer`](Self::add_peer).
    pub fn scrape(&mut self, now: Instant, id: DownloadId) -> Result<()> {
        self.with_torrent(now, id, "scrape", |torrent| torrent.scrape(now))
    }

    /// The trackers of a torrent that runs, and how they stand.
    pub fn trackers(&self, id: DownloadId) -> Option<Vec<TrackerStatus>> {
        Some(self.entries.get(*self.by_id.get(&id)?)?.torrent()?.trackers())
    }

    /// The web seeds of a torrent that runs, once it asks them.
    pub fn web_seeds(&self, now: Instant, id: DownloadId) -> Option<Vec<WebSeedView>> {
        Some(self.entries.get(*self.by_id.get(&id)?)?.torrent()?.web_seeds(now))
    }

    /// Which pieces of a torrent are here: one bit each, the high bit of the first byte is piece 0.
    pub fn piece_map(&self, id: DownloadId) -> Option<Vec<u8>> {
        let entry = self.entries.get(*self.by_id.get(&id)?)?;
        let Kind::Torrent(torrent) = &entry.kind else { return None };
        let live = entry.torrent().and_then(Torrent::have).map(|have| have.as_bytes().to_vec());
        live.or_else(|| torrent.saved.files.as_ref().map(|files| files.pieces().as_bytes().to_vec()))
    }

    /// The metainfo of a torrent as it was added, or as its peers sent it; `None` while they have not.
    pub fn metainfo(&self, id: DownloadId) -> Option<Arc<Metainfo>> {
        match &self.entries.get(*self.by_id.get(&id)?)?.kind {
            Kind::Torrent(torrent) => torrent.metainfo.clone(),
            Kind::Http(_) => None,
        }
    }

    fn with_torrent<T>(
        &mut self,
        now: Instant,
        id: DownloadId,
        action: &'static str,
        act: impl FnOnce(&mut Torrent) -> T,
    ) -> Result<T> {
        self.check_open()?;
        let key = self.key_of(id)?;
        let Some(entry) = self.entries.get_mut(key) else {
            return Err(EngineError::NotFound(id.to_string()));
        };
        let current_state = entry.state.name().to_owned();
        let Some(torrent) = entry.torrent_mut() else {
            return Err(EngineError::InvalidState { action, current_state });
        };
        let result = act(torrent);
        self.touch(key);
        self.settle(now);
        Ok(result)
    }

    // ----- running ---------------------------------------------------------------------------------------------------

    /// What runs for a torrent from now on.
    pub(super) fn new_torrent(
        &mut self,
        now: Instant,
        key: EntryKey,
        keys: u64,
        mode: Mode,
    ) -> Option<Running> {
        let port = self.swarm.port();
        let (peer_id, rng) = (self.peer_id(), self.rng.fork());
        let entry = self.entries.get_mut(key)?;
        let plan = TorrentPlan {
            offline: mode == Mode::Offline,
            ..entry.torrent_plan(&self.config, peer_id, port)?
        };
        let Kind::Torrent(torrent) = &mut entry.kind else { return None };
        let mut saved = torrent.saved.clone();
        if let (Some((_, pieces)), Some(files)) = (self.notes.remove(&entry.id), &mut saved.files) {
            files.suspect(&pieces);
        }
        let start = TorrentStart { metainfo: torrent.metainfo.clone(), saved, keys, rng };
        if mode == Mode::Online {
            self.swarm.join(listen_plan(&self.config), torrent.info_hash, key);
        }
        let files = start.metainfo.as_ref().map(|metainfo| metainfo.files().len());
        let mut running = Torrent::new(now, Arc::new(plan), start);
        if let (Mode::Online, Some(files)) = (mode, files)
            && let Some(error) = super::entry::selects_beyond(&entry.options, files)
        {
            running.fail(now, error);
        }
        Some(Running::Torrent(Box::new(running)))
    }

    /// BEP 20: two letters for the client, four digits for its version, and the rest random for each torrent.
    fn peer_id(&mut self) -> PeerId {
        let mut id = *b"-GD0100-............";
        let random: [u8; 12] = self.rng.bytes();
        for (place, byte) in id[8..].iter_mut().zip(random) {
            // Letters and digits only: some trackers take nothing else.
            *place =
                b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[usize::from(byte & 63)];
        }
        PeerId(id)
    }

    pub(super) fn on_torrent(&mut self, now: Instant, key: EntryKey, output: torrent::Output) {
        let who = |lane| Who::Torrent { entry: key, lane };
        match output {
            torrent::Output::Dial { peer, to } => {
                let room = self.swarm.peers() < self.config.torrent.max_connections;
                let Some(torrent) = self.entries.get_mut(key).and_then(|entry| entry.torrent_mut()) else {
                    return;
                };
                if !torrent.has_peer(peer) {
                    // It was parted with in the same turn.
                    return;
                }
                if !room {
                    torrent.not_dialled(now, peer);
                    return self.touch(key);
                }
                let from = self.config.torrent.bind_address;
                torrent.dialled(peer, self.links.connect(who(Lane::Peer(peer)), to, from));
                self.swarm.peer_came();
            }
            torrent::Output::Gone(link) => {
                self.swarm.peer_went();
                self.links.forget(link);
            }
            torrent::Output::Lease(lease) => {
                let own = self.config.torrent.bind_address;
                self.on_lease(now, lease.map(who).bound_to(own));
            }
            torrent::Output::Link(link, output) => self.outputs.push_back(Output::Link { link, output }),
            torrent::Output::Resolve { lane, host } => self.links.resolve(who(lane), host),
            torrent::Output::Datagram { to, bytes } => {
                self.swarm.send(key, to, bytes, self.config.torrent.bind_address);
            }
            torrent::Output::Disk(tag, op) => self.emit_disk(DiskOwner::Torrent(key, tag), op),
            torrent::Output::Record => {
                self.save(now, key);
                let run = self.entries.get(key).map_or(0, |entry| entry.run);
                self.journal.then(Then::Recorded(key, run));
            }
            torrent::Output::Durable => {
                self.save(now, key);
                self.end_checkpoint(now);
            }
            torrent::Output::Metainfo => self.on_metainfo(now, key),
            torrent::Output::Message(message) => {
                if let Some(id) = self.entries.get(key).map(|entry| entry.id) {
                    self.outputs.push_back(Output::Event(DownloadEvent::Warning { id, message }));
                }
            }
            torrent::Output::Checked { bad } => self.on_torrent_checked(now, key, bad),
            torrent::Output::Completed => self.on_torrent_completed(now, key),
            torrent::Output::ReadDone(done) => self.on_read_done(key, done),
            torrent::Output::Ended(end) => {
                self.leave_swarm(key);
                self.on_ended(now, key, end);
            }
        }
    }

    // ----- checks, removal -------------------------------------------------------------------------------------------

    /// Hashes everything that a torrent has; the report is the reply.
    pub(super) fn check_torrent(&mut self, now: Instant, key: EntryKey, repair: bool, reply: Token) {
        let action = if repair { "repair" } else { "verify" };
        let keys = self.take_keys();
        let Some(entry) = self.entries.get_mut(key) else { return };
        let known = matches!(&entry.kind, Kind::Torrent(torrent) if torrent.metainfo.is_some());
        let at_rest = matches!(
            entry.state,
            DownloadState::Completed | DownloadState::Paused | DownloadState::Error { .. }
        );
        let check = |was| Intent::Check { reply, repair, was };
        match &mut entry.running {
            Some(Running::Torrent(torrent)) if entry.intent.is_none() && known => {
                entry.intent = Some(check(entry.state.clone()));
                torrent.check(now);
                self.touch(key);
            }
            None if known && at_rest => {
                entry.intent = Some(check(entry.state.clone()));
                let running = self.new_torrent(now, key, keys, Mode::Offline);
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.running = running;
                }
                self.open_dir(now, key);
                self.touch(key);
            }
            _ => self.refuse(key, action, reply),
        }
    }

    /// A check is over: one that ran for it alone stops.
    fn on_torrent_checked(&mut self, now: Instant, key: EntryKey, bad: u32) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let intent = entry.intent.take_if(|intent| matches!(intent, Intent::Check { .. }));
        let Some(Intent::Check { reply, repair, was }) = intent else { return };
        let Some(Running::Torrent(torrent)) = &mut entry.running else { return };
        let bad_ranges = torrent.missing();
        let detail = match bad {
            0 => "every piece is right".to_owned(),
            1 => "1 piece is missing or wrong".to_owned(),
            bad => format!("{bad} pieces are missing or wrong"),
        };
        if torrent.is_offline() {
            let again = repair && bad > 0;
            // What is complete and not to be repaired stays what it was said to be.
            let is_incomplete = again || (bad > 0 && was != DownloadState::Completed);
            entry.intent = Some(Intent::Checked { was, again });
            torrent.stop(now);
            if is_incomplete {
                self.lose_completion(key);
            }
            self.touch(key);
        }
        let report = VerifyReport { valid: bad == 0, bad_ranges, detail };
        self.reply(reply, Ok(Answer::Verified(report)));
    }

    /// A check ends early, if there is one: whoever waits for it is told why. What runs for it alone is to be stopped.
    pub(super) fn abort_check(&mut self, key: EntryKey, why: EngineError) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let intent = entry.intent.take_if(|intent| matches!(intent, Intent::Check { .. }));
        let Some(Intent::Check { reply, was, .. }) = intent else { return };
        if entry.torrent().is_some_and(Torrent::is_offline) {
            entry.intent = Some(Intent::Checked { was, again: false });
        }
        self.reply(reply, Err(why));
    }

    /// What ran for a check alone is at rest.
    pub(super) fn end_torrent_check(&mut self, key: EntryKey, was: DownloadState, again: bool) {
        self.set_state(key, was);
        if again {
            self.requeue(key, Vec::new());
        }
    }

    /// Removes what a torrent at rest has made on the disk.
    pub(super) fn discard_torrent(&mut self, now: Instant, key: EntryKey, keys: u64) {
        self.queue.remove(key);
        match self.new_torrent(now, key, keys, Mode::Offline) {
            Some(Running::Torrent(mut torrent)) if torrent.metainfo().is_some() => {
                torrent.discard(now);
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.running = Some(Running::Torrent(torrent));
                }
                self.open_dir(now, key);
                self.touch(key);
            }
            _ => {
                self.leave_swarm(key);
                self.on_removed(key);
            }
        }
    }

    /// Peers have sent the metainfo.
    fn on_metainfo(&mut self, now: Instant, key: EntryKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let (Kind::Torrent(torrent), Some(Running::Torrent(running))) = (&mut entry.kind, &mut entry.running)
        else {
            return;
        };
        let Some(metainfo) = running.metainfo().cloned() else { return };
        if let Some(error) = super::entry::selects_beyond(&entry.options, metainfo.files().len()) {
            running.fail(now, error);
        }
        torrent.metainfo = Some(metainfo);
        self.journal.torrent(key);
        self.touch(key);
    }

    /// A torrent is whole, and goes on to serve others.
    fn on_torrent_completed(&mut self, now: Instant, key: EntryKey) {
        let at = self.wall.unix_millis(now);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let id = entry.id;
        if entry.completed_at.is_none() {
            entry.completed_at = Some(at);
            self.journal.download(key);
            self.report_progress(now, key);
            self.outputs.push_back(Output::Event(DownloadEvent::Completed { id }));
        }
    }

    fn leave_swarm(&mut self, key: EntryKey) {
        if let Some(Kind::Torrent(torrent)) = self.entries.get(key).map(|entry| &entry.kind) {
            self.swarm.leave(torrent.info_hash, key);
        }
    }

    // ----- who connects, and what comes over UDP -----------------------------------------------------------------------

    pub(super) fn on_listening(
        &mut self,
        now: Instant,
        listener: ListenerKey,
        result: core::result::Result<SocketAddr, LinkError>,
    ) {
        if !self.swarm.on_listening(listen_plan(&self.config), listener, result) {
            return;
        }
        let Some(port) = self.swarm.port() else { return };
        for key in self.entries.keys() {
            if let Some(torrent) = self.entries.get_mut(key).and_then(|entry| entry.torrent_mut()) {
                torrent.set_port(now, port);
                self.touch(key);
            }
        }
    }

    pub(super) fn on_accepted(&mut self, now: Instant, arrival: ArrivalKey, from: SocketAddr) {
        if self.closing.is_some() || !self.swarm.is_open() {
            self.swarm.dismiss(arrival);
            return;
        }
        if let Some(gone) = self.swarm.make_room() {
            self.on_greeted(now, gone);
        }
        let links = &mut self.links;
        self.swarm.welcome(now, from, arrival, |guest| links.adopt(Who::Guest(guest)));
    }

    pub(super) fn on_greeted(&mut self, now: Instant, greeted: Greeted) {
        match greeted {
            Greeted::Gone(link) | Greeted::Unknown(link) => self.links.forget(link),
            Greeted::Wants { entry, link, from, arrival } => {
                let room = self.swarm.peers() < self.config.torrent.max_connections;
                let torrent = self.entries.get_mut(entry).and_then(|entry| entry.torrent_mut());
                let torrent = torrent.filter(|_| room);
                match torrent.and_then(|torrent| torrent.accept(now, link, from, arrival)) {
                    Some(peer) => {
                        self.swarm.peer_came();
                        self.links.hand_over(link, Who::Torrent { entry, lane: Lane::Peer(peer) });
                    }
                    None => {
                        self.outputs.push_back(Output::Link { link, output: LinkOutput::Close });
                        self.links.forget(link);
                    }
                }
                self.touch(entry);
            }
        }
    }

    pub(super) fn on_datagram(&mut self, now: Instant, _socket: UdpKey, from: SocketAddr, bytes: &[u8]) {
        for key in self.swarm.routes_of(from) {
            let torrent = self.entries.get_mut(key).and_then(|entry| entry.torrent_mut());
            if torrent.is_some_and(|torrent| torrent.handle_datagram(now, from, bytes)) {
                self.touch(key);
                return;
            }
        }
    }

    /// Lets torrents send blocks to their peers, as far as limits allow.
    pub(super) fn grant_uploads(&mut self, now: Instant) {
        for _ in 0..self.uploaders.len() {
            let Some(key) = self.uploaders.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(key) else { continue };
            entry.uploading = false;
            let Some(Running::Torrent(torrent)) = &mut entry.running else { continue };
            if !torrent.wants_upload() {
                continue;
            }
            let allowed = self.upload_bucket.available(now).min(entry.upload_bucket.available(now));
            if allowed < LEAST_UPLOAD.min(self.upload_bucket.burst()).min(entry.upload_bucket.burst()) {
                let at =
                    |bucket: &crate::base::TokenBucket| bucket.available_at(LEAST_UPLOAD.min(bucket.burst()));
                let when = at(&self.upload_bucket).into_iter().chain(at(&entry.upload_bucket)).max();
                self.upload_at =
                    self.upload_at.into_iter().chain(when.map(|at| at.max(now + SHORTEST))).min();
                entry.uploading = true;
                self.uploaders.push_back(key);
                continue;
            }
            let used = torrent.upload(now, allowed.min(UPLOAD_TURN));
            if !mutants::is(Mutant::NoUploadLimit) {
                self.upload_bucket.take(used);
                entry.upload_bucket.take(used);
            }
            self.touch(key);
        }
    }

    /// A torrent may have something to send.
    pub(super) fn note_uploader(&mut self, key: EntryKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let wants = entry.torrent().is_some_and(Torrent::wants_upload);
        if wants && !core::mem::replace(&mut entry.uploading, true) {
            self.uploaders.push_back(key);
        }
    }
}

/// Whether a torrent takes part in its swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Online,
    /// Only its files are looked at, or removed.
    Offline,
}

fn listen_plan(config: &super::EngineConfig) -> ListenPlan {
    ListenPlan {
        ports: config.torrent.listen_port_range,
        address: config.torrent.listen_address,
        enabled: config.torrent.enable_listen,
    }
}

impl super::entry::Entry {
    /// The files of a torrent that the user or its link named, if any.
    pub(super) fn selected_files(&self) -> Option<Vec<usize>> {
        let Kind::Torrent(torrent) = &self.kind else { return None };
        self.options.selected_files.clone().or_else(|| torrent.magnet.as_ref().and_then(selected))
    }

    /// What a torrent is told when it starts.
    fn torrent_plan(
        &self,
        config: &super::EngineConfig,
        peer_id: PeerId,
        port: Option<u16>,
    ) -> Option<TorrentPlan> {
        let Kind::Torrent(torrent) = &self.kind else { return None };
        let options = &self.options;
        let magnet = torrent.magnet.as_ref();
        let mut trackers: Vec<Vec<String>> = magnet
            .map_or_else(Vec::new, |magnet| magnet.trackers.iter().map(|url| vec![url.clone()]).collect());
        trackers.extend(options.trackers.iter().map(|url| vec![url.clone()]));
        Some(TorrentPlan {
            info_hash: torrent.info_hash,
            peer_id,
            user_agent: options.user_agent.clone().unwrap_or_else(|| config.user_agent.clone()),
            port,
            dir_path: self.save_dir(config).to_owned(),
            overwrite: options.on_conflict == Some(crate::download::ConflictPolicy::Overwrite),
            allocation: options.allocation_mode.unwrap_or(config.allocation_mode),
            max_peers: options.max_peers.unwrap_or(config.max_peers),
            upload_slots: config.torrent.upload_slots,
            upload_limit: self.upload_limit(config),
            pex: config.enable_pex,
            sequential: options.sequential.unwrap_or(false),
            super_seeding: options.super_seeding.unwrap_or(false),
            offline: false,
            selected: self.selected_files(),
            file_priorities: super::file_priorities::by_number(&options.file_priorities),
            trackers,
            web_seeds: magnet.map_or_else(Vec::new, |magnet| magnet.web_seeds.clone()),
            known_peers: options.peers.clone(),
            magnet_peers: magnet.map_or_else(Vec::new, |magnet| magnet.peers.clone()),
            bind: config.torrent.bind_address,
            goal: self.goal(config),
            peer_timeout: config.torrent.peer_timeout,
            connect_timeout: config.torrent.connect_timeout,
        })
    }
}

/// The files that a magnet link names (BEP 53).
fn selected(magnet: &Magnet) -> Option<Vec<usize>> {
    let files = magnet.select_only.iter().cloned().flatten().take(MAX_SELECTED);
    let files: Vec<usize> = files.filter_map(|index| usize::try_from(index).ok()).collect();
    (!files.is_empty()).then_some(files)
}

/// A link that names more files means all of them.
const MAX_SELECTED: usize = 500_000;
/// Less than a block is not worth waking up for.
const LEAST_UPLOAD: u64 = 16 << 10;
/// What one torrent sends before others have their turn.
const UPLOAD_TURN: u64 = 1 << 20;
/// Timers are not finer than this.
const SHORTEST: core::time::Duration = core::time::Duration::from_millis(1);
