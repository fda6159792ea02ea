//! Sums over the downloads of a command.

use crate::rate;
use gosh_dl_core::engine::DownloadStatus;

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many downloads the command has.
    pub(crate) files: usize,
    /// How many are complete.
    pub(crate) done: usize,
    /// How many of those were there before.
    pub(crate) skipped: usize,
    /// How many failed.
    pub(crate) failed: usize,
    /// The bytes of those that ended.
    pub(crate) ended_bytes: u64,
}

/// A moment of all downloads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Total {
    /// Bytes that arrived.
    pub(crate) completed: u64,
    /// Bytes of all; known once every download has begun and told its length.
    pub(crate) size: Option<u64>,
    /// Bytes per second.
    pub(crate) speed: u64,
    /// Open connections.
    pub(crate) connections: u32,
}

impl Tally {
    /// How many have not ended.
    pub(crate) fn open(&self) -> usize {
        self.files.saturating_sub(self.done + self.failed)
    }

    /// All together, given those that run.
    pub(crate) fn total(&self, active: &[DownloadStatus]) -> Total {
        let mut total =
            Total { completed: self.ended_bytes, size: Some(self.ended_bytes), ..Total::default() };
        for progress in active.iter().map(|status| &status.progress) {
            total.completed += progress.completed_size;
            total.speed += progress.download_speed;
            total.connections += progress.connections;
            total.size = total.size.zip(progress.total_size).map(|(sum, size)| sum.saturating_add(size));
        }
        if active.len() < self.open() {
            total.size = None;
        }
        total
    }

    /// `3 of 10 files`, or `3 of 10, 1 failed`
    pub(crate) fn so_far(&self) -> String {
        match self.failed {
            0 => format!("{} of {} files", self.done, self.files),
            failed => format!("{} of {}, {failed} failed", self.done, self.files),
        }
    }

    /// `3 of 4 done, 1 failed`
    pub(crate) fn summary(&self) -> String {
        let mut text = format!("{} of {} done", self.done, self.files);
        if self.skipped > 0 {
            text.push_str(&format!(" ({} already there)", self.skipped));
        }
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", self.failed));
        }
        text
    }
}

impl Total {
    /// `12.3 MiB of 45.6 MiB (27%), 3.2 MiB/s, ETA 12s, 4 connections`
    pub(crate) fn sentence(&self) -> String {
        let connections = if self.connections == 1 { "connection" } else { "connections" };
        let size = self.size.map_or(String::new(), |size| {
            format!(" of {} ({}%)", rate::bytes(size), percent(self.completed, size))
        });
        let eta = self.eta().map_or(String::new(), |eta| format!(", ETA {eta}"));
        let (completed, speed) = (rate::bytes(self.completed), rate::speed(self.speed));
        format!("{completed}{size}, {speed}{eta}, {} {connections}", self.connections)
    }

    /// When all will be there at this speed.
    pub(crate) fn eta(&self) -> Option<String> {
        let left = self.size?.checked_sub(self.completed)?;
        Some(rate::eta(left.checked_div(self.speed)?))
    }
}

impl From<&DownloadStatus> for Total {
    fn from(status: &DownloadStatus) -> Self {
        let progress = &status.progress;
        Self {
            completed: progress.completed_size,
            size: progress.total_size,
            speed: progress.download_speed,
            connections: progress.connections,
        }
    }
}

/// Whole percent; 100 only when all is there.
pub(crate) fn percent(completed: u64, size: u64) -> u64 {
    if size == 0 {
        return 100;
    }
    let percent = u128::from(completed.min(size)) * 100 / u128::from(size);
    u64::try_from(percent).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_read_well() {
        let total = Total { completed: 1 << 20, size: Some(3 << 20), speed: 1 << 19, connections: 1 };
        assert_eq!(total.sentence(), "1.0 MiB of 3.0 MiB (33%), 512.0 KiB/s, ETA 4s, 1 connection");
        let unknown = Total { size: None, speed: 0, connections: 2, ..total };
        assert_eq!(unknown.sentence(), "1.0 MiB, 0 B/s, 2 connections");
        assert_eq!((percent(0, 0), percent(999, 1000), percent(u64::MAX, u64::MAX)), (100, 99, 100));
    }

    #[test]
    fn the_size_of_all_is_unknown_while_some_wait() {
        let tally = Tally { files: 3, done: 1, ended_bytes: 10, ..Tally::default() };
        assert_eq!(tally.total(&[]).size, None);
        let ended = Tally { files: 2, done: 1, failed: 1, skipped: 1, ended_bytes: 10 };
        assert_eq!(ended.total(&[]).size, Some(10));
        assert_eq!((tally.so_far().as_str(), ended.so_far().as_str()), ("1 of 3 files", "1 of 2, 1 failed"));
        assert_eq!(ended.summary(), "1 of 2 done (1 already there), 1 failed");
    }
}
