//! Limits and goals of one download, which change while it runs.

use super::config::EngineConfig;
use super::entry::{Entry, EntryKey, Kind, check_ratio};
use super::error::{EngineError, Result};
use super::machine::Engine;
use crate::base::Instant;
use crate::download::DownloadId;
use crate::download::torrent::Goal;
use core::time::Duration;

impl Engine {
    /// Changes the speed limit of one download, in bytes per second; it applies at once.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`], [`EngineError::InvalidInput`] for a limit of 0.
    pub fn set_download_limit(&mut self, now: Instant, id: DownloadId, limit: Option<u64>) -> Result<()> {
        self.check_open()?;
        check_limit("max_download_speed", limit)?;
        let key = self.key_of(id)?;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.options.max_download_speed = limit;
            entry.bucket.set_rate(now, limit);
        }
        self.journal.download(key);
        self.settle(now);
        Ok(())
    }

    /// Changes how fast one download is sent to others, in bytes per second. It applies at once, also to how many peers
    /// are served at a time.
    ///
    /// # Errors
    ///
    /// As [`set_download_limit`](Self::set_download_limit).
    pub fn set_upload_limit(&mut self, now: Instant, id: DownloadId, limit: Option<u64>) -> Result<()> {
        self.check_open()?;
        check_limit("max_upload_speed", limit)?;
        let key = self.key_of(id)?;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.options.max_upload_speed = limit;
            entry.upload_bucket.set_rate(now, limit);
        }
        self.tell_upload_limit(now, key);
        self.journal.download(key);
        self.settle(now);
        Ok(())
    }

    /// Changes when the seeding of a torrent ends: after so many bytes sent for each of its own, 0 being never and `None`
    /// what the engine has set, or after so long, whichever comes first. A goal that is met by then ends it at once. What
    /// has ended goes on with [`resume`](Self::resume) where the new goal is not met.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotFound`]; [`EngineError::InvalidInput`] for a ratio below 0; [`EngineError::InvalidState`] for a
    /// download that is no torrent.
    pub fn set_seed_goal(
        &mut self,
        now: Instant,
        id: DownloadId,
        ratio: Option<f64>,
        time: Option<Duration>,
    ) -> Result<()> {
        self.check_open()?;
        check_ratio(ratio)?;
        let key = self.key_of(id)?;
        let Some(entry) = self.entries.get_mut(key) else {
            return Err(EngineError::NotFound(id.to_string()));
        };
        if matches!(entry.kind, Kind::Http(_)) {
            let current_state = entry.state.name().to_owned();
            return Err(EngineError::InvalidState { action: "set the seeding goal of", current_state });
        }
        (entry.options.seed_ratio, entry.options.seed_time) = (ratio, time);
        let goal = entry.goal(&self.config);
        if let Some(torrent) = entry.torrent_mut() {
            torrent.set_goal(now, goal);
            self.touch(key);
        }
        self.journal.download(key);
        self.settle(now);
        Ok(())
    }

    /// Lets a torrent know how fast it may be sent.
    pub(super) fn tell_upload_limit(&mut self, now: Instant, key: EntryKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let limit = entry.upload_limit(&self.config);
        if let Some(torrent) = entry.torrent_mut() {
            torrent.set_upload_limit(now, limit);
            self.touch(key);
        }
    }
}

impl Entry {
    /// How fast it may be sent at most.
    pub(super) fn upload_limit(&self, config: &EngineConfig) -> Option<u64> {
        self.options.max_upload_speed.into_iter().chain(config.global_upload_limit).min()
    }

    /// When its seeding ends.
    pub(super) fn goal(&self, config: &EngineConfig) -> Goal {
        let ratio = self.options.seed_ratio.unwrap_or(config.seed_ratio);
        Goal { ratio: (ratio > 0.0).then_some(ratio), time: self.options.seed_time }
    }

    /// Whether it is a complete torrent whose goal is not met any more.
    pub(super) fn seeds_on(&self, config: &EngineConfig) -> bool {
        let Kind::Torrent(torrent) = &self.kind else { return false };
        let (Some(metainfo), saved) = (&torrent.metainfo, &torrent.saved) else { return false };
        !self.goal(config).is_met(saved.uploaded, metainfo.grid().total(), saved.seeded)
    }
}

fn check_limit(field: &'static str, limit: Option<u64>) -> Result<()> {
    if limit == Some(0) {
        let message = "must be more than 0".to_owned();
        return Err(EngineError::InvalidInput { field, message });
    }
    Ok(())
}
