//! Sums over the downloads of a command.

use crate::rate;
use gosh_dl_core::engine::{DownloadKind, DownloadState, DownloadStatus};

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
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Total {
    /// Bytes that arrived.
    pub(crate) completed: u64,
    /// Bytes of all; known once every download has begun and told its length.
    pub(crate) size: Option<u64>,
    /// Bytes per second.
    pub(crate) speed: u64,
    /// Open connections.
    pub(crate) connections: u32,
    /// Of one torrent: how its swarm is.
    pub(crate) swarm: Option<SwarmNow>,
}

/// A moment of the swarm of a torrent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SwarmNow {
    /// Whether it is whole and served.
    pub(crate) is_seeding: bool,
    /// Connected peers.
    pub(crate) peers: u32,
    /// How many of them have everything.
    pub(crate) seeders: u32,
    /// Whole copies that the peers have together.
    pub(crate) availability: f64,
    /// Bytes sent for each byte of the torrent.
    pub(crate) ratio: f64,
    /// Bytes per second to peers.
    pub(crate) upload_speed: u64,
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
    /// `12.3 MiB of 45.6 MiB (27%), 3.2 MiB/s, ETA 12s, 4 connections`; of a torrent
    /// `12.3 MiB of 45.6 MiB (27%), 3.2 MiB/s, ETA 12s, 4 peers (1 seed), availability 1.25, ratio 0.10`.
    pub(crate) fn sentence(&self) -> String {
        if let Some(swarm) = self.swarm.filter(|swarm| swarm.is_seeding) {
            return format!("seeding, {} up, {}", rate::speed(swarm.upload_speed), swarm.sentence());
        }
        let tail =
            self.swarm.map_or_else(|| counted(self.connections, "connection"), |swarm| swarm.sentence());
        let size = self.size.map_or(String::new(), |size| {
            format!(" of {} ({}%)", rate::bytes(size), percent(self.completed, size))
        });
        let eta = self.eta().map_or(String::new(), |eta| format!(", ETA {eta}"));
        let (completed, speed) = (rate::bytes(self.completed), rate::speed(self.speed));
        format!("{completed}{size}, {speed}{eta}, {tail}")
    }

    /// When all will be there at this speed.
    pub(crate) fn eta(&self) -> Option<String> {
        let left = self.size?.checked_sub(self.completed)?;
        Some(rate::eta(left.checked_div(self.speed)?))
    }
}

impl SwarmNow {
    fn sentence(&self) -> String {
        let seeds = match self.seeders {
            0 => String::new(),
            seeders => format!(" ({})", counted(seeders, "seed")),
        };
        let availability = match self.is_seeding {
            true => String::new(),
            false => format!(", availability {:.2}", self.availability),
        };
        format!("{}{seeds}{availability}, ratio {:.2}", counted(self.peers, "peer"), self.ratio)
    }
}

impl From<&DownloadStatus> for SwarmNow {
    fn from(status: &DownloadStatus) -> Self {
        let progress = &status.progress;
        Self {
            is_seeding: status.state == DownloadState::Seeding,
            peers: progress.peers,
            seeders: progress.seeders,
            availability: progress.availability,
            ratio: progress.ratio,
            upload_speed: progress.upload_speed,
        }
    }
}

/// `1 peer`, `2 peers`
fn counted(number: u32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

impl From<&DownloadStatus> for Total {
    fn from(status: &DownloadStatus) -> Self {
        let progress = &status.progress;
        Self {
            completed: progress.completed_size,
            size: progress.total_size,
            speed: progress.download_speed,
            connections: progress.connections,
            swarm: (status.kind != DownloadKind::Http).then(|| SwarmNow::from(status)),
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
        let total =
            Total { completed: 1 << 20, size: Some(3 << 20), speed: 1 << 19, connections: 1, swarm: None };
        assert_eq!(total.sentence(), "1.0 MiB of 3.0 MiB (33%), 512.0 KiB/s, ETA 4s, 1 connection");
        let unknown = Total { size: None, speed: 0, connections: 2, ..total };
        assert_eq!(unknown.sentence(), "1.0 MiB, 0 B/s, 2 connections");
        assert_eq!((percent(0, 0), percent(999, 1000), percent(u64::MAX, u64::MAX)), (100, 99, 100));
    }

    #[test]
    fn sentences_of_torrents_tell_of_the_swarm() {
        let swarm = SwarmNow { peers: 4, seeders: 1, availability: 1.25, ratio: 0.1, ..SwarmNow::default() };
        let total = Total { completed: 1 << 20, size: Some(3 << 20), speed: 1 << 19, ..Total::default() };
        let shown = |swarm| Total { swarm: Some(swarm), ..total }.sentence();
        assert_eq!(
            shown(swarm),
            "1.0 MiB of 3.0 MiB (33%), 512.0 KiB/s, ETA 4s, 4 peers (1 seed), availability 1.25, ratio 0.10"
        );
        let seeding = SwarmNow { is_seeding: true, peers: 1, seeders: 0, upload_speed: 1 << 19, ..swarm };
        assert_eq!(shown(seeding), "seeding, 512.0 KiB/s up, 1 peer, ratio 0.10");
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
