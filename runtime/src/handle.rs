//! The public handle: what an application holds, whatever the runtime.

use crate::driver::{Driver, Shared, check_certificates, start};
use crate::events::EventStream;
use crate::reader::FileReader;
use bytes::Bytes;
use gosh_dl_core::base::Instant;
use gosh_dl_core::base::store::Store;
use gosh_dl_core::download::torrent::WebSeedView;
use gosh_dl_core::download::torrent::announcer::TrackerStatus;
use gosh_dl_core::download::{DownloadId, DownloadOptions, DownloadPriority, FilePriority};
use gosh_dl_core::engine::recording::RecordedEngine;
use gosh_dl_core::engine::{
    Answer, BatchResult, DownloadEvent, DownloadState, DownloadStatus, Engine, EngineConfig, EngineError,
    GlobalStats, PeerInfo, Token, VerifyReport,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type Result<T> = core::result::Result<T, EngineError>;

/// Many downloads in one engine. Calls return when what they ask for is done and durable, unless they say otherwise;
/// futures can be dropped at any time, and the command that they sent is carried out all the same.
///
/// Dropping the handle stops everything at once, as a crash would; what was recorded by then is kept. It waits for
/// threads, so that files and the store are free afterwards: as a rule for no time at all, and for half a second at most
/// where a disk hangs. [`shutdown`](Self::shutdown) records everything first.
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Starts an engine on what `store` holds, and returns it with the driver that a runtime must turn. Without a
    /// store, state lives in memory. Blocks while the store is read.
    ///
    /// # Errors
    ///
    /// [`EngineError::InvalidInput`] for a setting out of range, [`EngineError::Database`] where the store cannot be
    /// read.
    pub fn start(config: EngineConfig, store: Option<Box<dyn Store>>) -> Result<(Self, Driver)> {
        let (shared, driver) = start(config, store)?;
        Ok((Self { shared }, driver))
    }

    /// Adds a download over HTTP or HTTPS; it is in the store when this returns.
    ///
    /// # Errors
    ///
    /// [`EngineError::InvalidInput`] names the argument that is wrong; [`EngineError::AlreadyExists`] where an
    /// unfinished download has the same URL, directory and name.
    pub async fn add_http(&self, url: &str, options: DownloadOptions) -> Result<DownloadId> {
        self.add(|engine, now, token| engine.add_http(now, url, options, token)).await
    }

    /// Adds a torrent from the bytes of its metainfo file; it is in the store when this returns.
    ///
    /// # Errors
    ///
    /// [`EngineError::Protocol`] where the bytes are no torrent, saying which key is wrong;
    /// [`EngineError::InvalidInput`] for an option that is wrong; [`EngineError::AlreadyExists`] where the same torrent
    /// is there.
    pub async fn add_torrent(&self, metainfo: &[u8], options: DownloadOptions) -> Result<DownloadId> {
        let metainfo = Bytes::copy_from_slice(metainfo);
        self.add(|engine, now, token| engine.add_torrent(now, metainfo, options, token)).await
    }

    /// Adds a torrent by its magnet link; its metainfo comes from peers. It is in the store when this returns.
    ///
    /// # Errors
    ///
    /// [`EngineError::Protocol`] where it is no magnet link of a torrent; else as [`add_torrent`](Self::add_torrent).
    pub async fn add_magnet(&self, uri: &str, options: DownloadOptions) -> Result<DownloadId> {
        self.add(|engine, now, token| engine.add_magnet(now, uri, options, token)).await
    }

    /// Pauses a queued or running download; everything that arrived is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidState`] for one that is complete or has failed.
    pub async fn pause(&self, id: DownloadId) -> Result<()> {
        self.command(|engine, now, token| engine.pause(now, id, token)).await.map(drop)
    }

    /// Queues a paused or failed download again, or a complete torrent whose seeding goal is not met.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidState`] for one that is complete.
    pub async fn resume(&self, id: DownloadId) -> Result<()> {
        self.command(|engine, now, token| engine.resume(now, id, token)).await.map(drop)
    }

    /// Moves the files of a finished download to another directory, which is made where it is missing; a torrent that
    /// seeds goes on from there. Within one file system they are renamed, else copied and then removed. Files that have
    /// their names there are never replaced: then, and after any other error, everything is where it was.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidState`] for one that is not complete, or moves already;
    /// [`EngineError::InvalidInput`] for a directory whose path is not UTF-8; [`EngineError::Storage`] where it could not
    /// be done.
    pub async fn move_to(&self, id: DownloadId, dir: impl AsRef<Path>) -> Result<()> {
        self.command(|engine, now, token| engine.move_to(now, id, dir.as_ref(), token)).await.map(drop)
    }

    /// Removes a download; with `delete_files` also the file that it made, and nothing else.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`].
    pub async fn cancel(&self, id: DownloadId, delete_files: bool) -> Result<()> {
        self.command(|engine, now, token| engine.cancel(now, id, delete_files, token)).await.map(drop)
    }

    /// Checks a complete file: its digest where one is known, else its length.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidState`] for one that is not complete; [`EngineError::Storage`]
    /// where it cannot be read.
    pub async fn verify(&self, id: DownloadId) -> Result<VerifyReport> {
        report(self.command(|engine, now, token| engine.verify(now, id, token)).await?)
    }

    /// Like [`verify`](Self::verify), and queues the download to fetch again what is wrong. Returns the report from
    /// before the repair.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub async fn repair(&self, id: DownloadId) -> Result<VerifyReport> {
        report(self.command(|engine, now, token| engine.repair(now, id, token)).await?)
    }

    /// Waits until a download is complete.
    ///
    /// # Errors
    ///
    /// Why it failed; [`EngineError::NotFound`] where it is not there or was cancelled.
    pub async fn wait(&self, id: DownloadId) -> Result<()> {
        let mut events = self.subscribe();
        match self.status(id).map(|status| status.state) {
            None => return Err(EngineError::NotFound(id.to_string())),
            Some(DownloadState::Completed) => return Ok(()),
            Some(DownloadState::Error { message, .. }) => {
                let error = self.shared.view(|engine, _| engine.error(id));
                return Err(error.unwrap_or(EngineError::Failed(message)));
            }
            Some(_) => {}
        }
        while let Some(event) = events.recv().await {
            match event {
                DownloadEvent::Completed { id: done } if done == id => return Ok(()),
                DownloadEvent::Failed { id: failed, error, .. } if failed == id => return Err(error),
                DownloadEvent::Removed { id: gone } if gone == id => {
                    return Err(EngineError::NotFound(id.to_string()));
                }
                _ => {}
            }
        }
        Err(EngineError::Shutdown)
    }

    /// Pauses every download that is queued or running.
    pub async fn pause_all(&self) -> BatchResult {
        let skip = |state: &DownloadState| matches!(state, DownloadState::Paused) || state.is_finished();
        self.all(skip, |engine, now, id, token| engine.pause(now, id, token)).await
    }

    /// Resumes every download that is paused or has failed.
    pub async fn resume_all(&self) -> BatchResult {
        let skip =
            |state: &DownloadState| !matches!(state, DownloadState::Paused | DownloadState::Error { .. });
        self.all(skip, |engine, now, id, token| engine.resume(now, id, token)).await
    }

    /// Removes every download; with `delete_files` also the files that they made.
    pub async fn cancel_all(&self, delete_files: bool) -> BatchResult {
        self.all(|_| false, |engine, now, id, token| engine.cancel(now, id, delete_files, token)).await
    }

    /// One download as it is now.
    pub fn status(&self, id: DownloadId) -> Option<DownloadStatus> {
        self.shared.view(|engine, now| engine.status(now, id))
    }

    /// All downloads, oldest first.
    pub fn list(&self) -> Vec<DownloadStatus> {
        self.shared.view(Engine::list)
    }

    /// Downloads that run.
    pub fn active(&self) -> Vec<DownloadStatus> {
        self.only(DownloadState::is_active)
    }

    /// Downloads that wait for a slot.
    pub fn waiting(&self) -> Vec<DownloadStatus> {
        self.only(|state| matches!(state, DownloadState::Queued))
    }

    /// Downloads that are paused, complete or failed.
    pub fn stopped(&self) -> Vec<DownloadStatus> {
        self.only(|state| matches!(state, DownloadState::Paused) || state.is_finished())
    }

    /// Sums over all downloads.
    pub fn global_stats(&self) -> GlobalStats {
        self.shared.view(Engine::global_stats)
    }

    /// A stream of what happens from now on.
    pub fn subscribe(&self) -> EventStream {
        self.shared.events.subscribe()
    }

    /// Changes the settings; limits and counts apply at once, the rest to what starts later.
    ///
    /// # Errors
    ///
    /// [`EngineError::InvalidInput`] for a setting out of range; nothing is changed then.
    pub fn set_config(&self, config: EngineConfig) -> Result<()> {
        check_certificates(&config)?;
        let http = config.http.clone();
        self.shared.with(|engine, now| engine.set_config(now, config))?;
        self.shared.links.set_tls(&http);
        Ok(())
    }

    /// The settings.
    pub fn get_config(&self) -> EngineConfig {
        self.shared.view(|engine, _| engine.config().clone())
    }

    /// Changes a download's place in the queue; running downloads are not pre-empted.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`].
    pub fn set_priority(&self, id: DownloadId, priority: DownloadPriority) -> Result<()> {
        self.shared.with(|engine, now| engine.set_priority(now, id, priority))
    }

    /// A download's place in the queue.
    pub fn get_priority(&self, id: DownloadId) -> Option<DownloadPriority> {
        self.status(id).map(|status| status.priority)
    }

    /// Changes the speed limit of one download, in bytes per second; it applies at once.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidInput`] for a limit of 0.
    pub fn set_download_limit(&self, id: DownloadId, limit: Option<u64>) -> Result<()> {
        self.shared.with(|engine, now| engine.set_download_limit(now, id, limit))
    }

    /// Changes how fast one download is sent to others, in bytes per second. It applies at once, also to how many peers
    /// are served at a time.
    ///
    /// # Errors
    ///
    /// As [`set_download_limit`](Self::set_download_limit).
    pub fn set_upload_limit(&self, id: DownloadId, limit: Option<u64>) -> Result<()> {
        self.shared.with(|engine, now| engine.set_upload_limit(now, id, limit))
    }

    /// Changes when the seeding of a torrent ends: after so many bytes sent for each of its own, 0 being never and `None`
    /// what the engine has set, or after so long, whichever comes first. A goal that is met by then ends it at once. What
    /// has ended goes on with [`resume`](Self::resume) where the new goal is not met.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidInput`] for a ratio below 0; [`EngineError::InvalidState`] for a
    /// download that is no torrent.
    pub fn set_seed_goal(&self, id: DownloadId, ratio: Option<f64>, time: Option<Duration>) -> Result<()> {
        self.shared.with(|engine, now| engine.set_seed_goal(now, id, ratio, time))
    }

    /// Files of a torrent, by their numbers, are wanted more or less from now on; those that are not named stay as they
    /// are. What is skipped keeps what is there of it. A torrent that is complete goes on when more of it is wanted.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidState`] for a download that is no torrent;
    /// [`EngineError::InvalidInput`] for a file that it does not have.
    pub fn set_file_priorities(&self, id: DownloadId, priorities: &[(usize, FilePriority)]) -> Result<()> {
        self.shared.with(|engine, now| engine.set_file_priorities(now, id, priorities))
    }

    /// Connects a torrent to a peer whose address is known.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidState`] for one that is no torrent or does not run.
    pub fn add_peer(&self, id: DownloadId, address: SocketAddr) -> Result<()> {
        self.shared.with(|engine, now| engine.add_peer(now, id, address))
    }

    /// Announces a torrent to one more tracker; says whether it is new.
    ///
    /// # Errors
    ///
    /// As [`add_peer`](Self::add_peer).
    pub fn add_tracker(&self, id: DownloadId, url: &str) -> Result<bool> {
        self.shared.with(|engine, now| engine.add_tracker(now, id, url))
    }

    /// Asks all trackers of a torrent now.
    ///
    /// # Errors
    ///
    /// As [`add_peer`](Self::add_peer).
    pub fn force_reannounce(&self, id: DownloadId) -> Result<()> {
        self.shared.with(|engine, now| engine.force_reannounce(now, id))
    }

    /// Asks all trackers of a torrent how many seeders and leechers there are (BEP 48), each at most once a minute;
    /// [`trackers`](Self::trackers) has the answers when they came.
    ///
    /// # Errors
    ///
    /// As [`add_peer`](Self::add_peer).
    pub fn scrape(&self, id: DownloadId) -> Result<()> {
        self.shared.with(|engine, now| engine.scrape(now, id))
    }

    /// The connected peers of a torrent that runs; empty for all others.
    pub fn peers(&self, id: DownloadId) -> Vec<PeerInfo> {
        self.status(id).and_then(|status| status.peers).unwrap_or_default()
    }

    /// The trackers of a torrent that runs, and how they stand; empty for all others.
    pub fn trackers(&self, id: DownloadId) -> Vec<TrackerStatus> {
        self.shared.view(|engine, _| engine.trackers(id)).unwrap_or_default()
    }

    /// The web seeds of a torrent that runs, once it asks them; empty for all others.
    pub fn web_seeds(&self, id: DownloadId) -> Vec<WebSeedView> {
        self.shared.view(|engine, now| engine.web_seeds(now, id)).unwrap_or_default()
    }

    /// Which pieces of a torrent are here: one bit each, the high bit of the first byte is piece 0.
    pub fn piece_map(&self, id: DownloadId) -> Option<Vec<u8>> {
        self.shared.view(|engine, _| engine.piece_map(id))
    }

    /// The metainfo file of a torrent; `None` while its peers have not sent it. Without its trackers where it came from
    /// peers.
    pub fn metainfo(&self, id: DownloadId) -> Option<Vec<u8>> {
        self.shared.view(|engine, _| engine.metainfo(id)).map(|metainfo| metainfo.raw().to_vec())
    }

    /// Where peers reach this side, once it listens.
    pub fn listen_port(&self) -> Option<u16> {
        self.shared.view(|engine, _| engine.listen_port())
    }

    /// Reads a file of a download, by its number (0 of one over HTTP), while it is fetched or afterwards: what is read comes
    /// first, with a window ahead of it that follows how fast it is read. Dropping the reader ends that. What is not there
    /// of a download that is paused or queued is waited for until it goes on.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidState`] for a torrent whose metainfo has not come yet;
    /// [`EngineError::InvalidInput`] for a file that it does not have.
    pub fn open_reader(&self, id: DownloadId, file: usize) -> Result<FileReader> {
        FileReader::open(Arc::clone(&self.shared), id, file)
    }

    /// Stops everything and records what arrived; what ran goes on at the next start. Takes five seconds at most,
    /// whatever servers and disks do.
    ///
    /// # Errors
    ///
    /// None at present; the type leaves room.
    pub async fn shutdown(&self) -> Result<()> {
        let closed = self.shared.expect_close();
        self.shared.with(RecordedEngine::shutdown);
        // The sender is dropped when the driver has ended.
        let _ = closed.await;
        Ok(())
    }

    async fn add(
        &self,
        call: impl FnOnce(&mut RecordedEngine, Instant, Token) -> Result<DownloadId>,
    ) -> Result<DownloadId> {
        let (token, reply) = self.shared.expect_reply();
        let added = self.shared.with(|engine, now| call(engine, now, token));
        let id = added.inspect_err(|_| self.shared.forget_reply(token))?;
        reply.await.unwrap_or(Err(EngineError::Shutdown))?;
        Ok(id)
    }

    fn only(&self, which: impl Fn(&DownloadState) -> bool) -> Vec<DownloadStatus> {
        let mut all = self.list();
        all.retain(|status| which(&status.state));
        all
    }

    async fn command(&self, call: impl FnOnce(&mut RecordedEngine, Instant, Token)) -> Result<Answer> {
        let (token, reply) = self.shared.expect_reply();
        self.shared.with(|engine, now| call(engine, now, token));
        reply.await.unwrap_or(Err(EngineError::Shutdown))
    }

    async fn all(
        &self,
        skip: impl Fn(&DownloadState) -> bool,
        call: impl Fn(&mut RecordedEngine, Instant, DownloadId, Token),
    ) -> BatchResult {
        let mut result = BatchResult::default();
        let mut sent = Vec::new();
        for status in self.list() {
            if skip(&status.state) {
                result.skipped.push(status.id);
                continue;
            }
            let (token, reply) = self.shared.expect_reply();
            self.shared.with(|engine, now| call(engine, now, status.id, token));
            sent.push((status.id, reply));
        }
        for (id, reply) in sent {
            match reply.await.unwrap_or(Err(EngineError::Shutdown)) {
                Ok(_) => result.succeeded.push(id),
                Err(error) => result.failed.push((id, error)),
            }
        }
        result
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.finish();
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

fn report(answer: Answer) -> Result<VerifyReport> {
    match answer {
        Answer::Verified(report) => Ok(report),
        _ => Err(EngineError::Internal("a check was answered without a report".to_owned())),
    }
}
