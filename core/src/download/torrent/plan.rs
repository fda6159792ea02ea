//! What a torrent is told at its start, and what the store keeps of it.

use super::announcer::AnnouncePlan;
use super::candidates::{Candidates, Source};
use super::files::FilesSaved;
use super::layout::Layout;
use super::picker::Priority;
use crate::base::disk::{AllocationMode, FileIdentity};
use crate::base::{Family, InfoHash, PeerId, RangeSet, Rng};
use crate::proto::peer::PeerConfig;
use crate::wire::torrent::Metainfo;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What a torrent is told at its start.
#[derive(Clone, Debug)]
pub struct TorrentPlan {
    /// Its name.
    pub info_hash: InfoHash,
    /// Who this side is, to peers and trackers.
    pub peer_id: PeerId,
    /// The `User-Agent` for trackers and web seeds.
    pub user_agent: String,
    /// The port at which peers reach this side, once known.
    pub port: Option<u16>,
    /// The directory, for messages; operations go through its key.
    pub dir_path: PathBuf,
    /// How room is reserved.
    pub allocation: AllocationMode,
    /// Whether files of the same names that have nothing in common with the torrent are written over.
    pub overwrite: bool,
    /// How many peers it looks for.
    pub max_peers: usize,
    /// How many peers may download from it at once; `None` follows the upload limit.
    pub upload_slots: Option<usize>,
    /// Bytes per second that may be sent, as far as it is known at the start.
    pub upload_limit: Option<u64>,
    /// Whether peers are told of each other.
    pub pex: bool,
    /// Whether only its files are looked at: no peer and no tracker hears of it.
    pub offline: bool,
    /// Whether pieces are fetched in order.
    pub sequential: bool,
    /// Whether it is seeded as if it had nothing, to spread each piece with as little as can be (BEP 16).
    pub super_seeding: bool,
    /// The numbers of the files that are wanted; `None` is all.
    pub selected: Option<Vec<usize>>,
    /// How much files are wanted, by their numbers, where that was said.
    pub file_priorities: BTreeMap<u32, Priority>,
    /// Announce URLs, in tiers.
    pub trackers: Vec<Vec<String>>,
    /// Addresses of web servers that have its files (BEP 19), beside those that the metainfo names.
    pub web_seeds: Vec<String>,
    /// Addresses that the user names.
    pub known_peers: Vec<SocketAddr>,
    /// Peers that a magnet link names (`x.pe`): hosts or addresses, and ports.
    pub magnet_peers: Vec<(String, u16)>,
    /// The own address that connections come from, over whose family they go then.
    pub bind: Option<IpAddr>,
    /// When seeding ends.
    pub goal: Goal,
    /// How long a peer may be silent, but for the time that what it says may be under way.
    pub peer_timeout: Duration,
    /// How long a peer may take to accept a connection and greet.
    pub connect_timeout: Duration,
}

/// When seeding ends: as soon as one of them is met, never where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goal {
    /// Bytes sent for each byte of the torrent.
    pub ratio: Option<f64>,
    /// How long it is seeded.
    pub time: Option<Duration>,
}

impl Goal {
    /// Whether it is met once so many bytes of a torrent of that length were sent, and it was seeded for so long.
    pub fn is_met(&self, uploaded: u64, total: u64, seeded: Duration) -> bool {
        let by_ratio = self.ratio.is_some_and(|ratio| uploaded as f64 >= ratio * total.max(1) as f64);
        by_ratio || self.time.is_some_and(|time| seeded >= time)
    }
}

/// What a torrent starts from.
#[derive(Debug)]
pub struct TorrentStart {
    /// What it is, unless peers have to say.
    pub metainfo: Option<Arc<Metainfo>>,
    /// What the store kept.
    pub saved: TorrentSaved,
    /// The first of 2^20 numbers that are its own to name directories, files and digests.
    pub keys: u64,
    /// Its randomness.
    pub rng: Rng,
}

/// What the store keeps of a torrent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TorrentSaved {
    /// Its files, once they were looked at.
    pub files: Option<FilesSaved>,
    /// Bytes of the files that are wanted, once known.
    pub wanted: Option<u64>,
    /// Bytes of these that are durable.
    pub completed: u64,
    /// Payload bytes received, in all its lives.
    pub downloaded: u64,
    /// Payload bytes sent, in all its lives.
    pub uploaded: u64,
    /// How long it has been seeded, in all its lives.
    pub seeded: Duration,
}

impl TorrentSaved {
    /// How many bytes of a file are durable.
    pub fn completed_of(&self, metainfo: &Metainfo, file: usize) -> u64 {
        let file = u32::try_from(file).unwrap_or(u32::MAX);
        self.files.as_ref().map_or(0, |files| files.completed_of(&Layout::new(metainfo), file))
    }

    /// Which file it is on the disk, and which of its bytes are durable there.
    pub fn on_disk(&self, metainfo: &Metainfo, file: usize) -> (Option<FileIdentity>, RangeSet) {
        let file = u32::try_from(file).unwrap_or(u32::MAX);
        self.files
            .as_ref()
            .map_or((None, RangeSet::new()), |files| files.on_disk(&Layout::new(metainfo), file))
    }

    /// How many pieces are durable.
    pub fn pieces_have(&self) -> u32 {
        self.files.as_ref().map_or(0, |files| files.pieces().count())
    }
}

impl TorrentPlan {
    pub(super) fn peer_config(&self, metainfo: Option<&Metainfo>) -> PeerConfig {
        PeerConfig {
            listen_port: self.port,
            private: metainfo.is_some_and(Metainfo::is_private),
            pex: self.pex,
            handshake_timeout: self.connect_timeout,
            idle_timeout: self.peer_timeout + KEEP_ALIVE_DELAY,
            metadata_size: metainfo.and_then(|metainfo| u32::try_from(metainfo.info_bytes().len()).ok()),
            ..PeerConfig::new(self.info_hash, self.peer_id)
        }
    }

    pub(super) fn announce_plan(&self, metainfo: Option<&Metainfo>, rng: &mut Rng) -> AnnouncePlan {
        let mut tiers = self.trackers.clone();
        tiers.extend(metainfo.map_or(&[][..], Metainfo::trackers).iter().cloned());
        AnnouncePlan {
            info_hash: self.info_hash,
            peer_id: self.peer_id,
            port: self.port.unwrap_or(0),
            key: u32::from_be_bytes(rng.bytes()),
            user_agent: self.user_agent.clone(),
            tiers,
            announce_ip: None,
            ipv6: None,
        }
    }

    pub(super) fn candidates(&self, metainfo: Option<&Metainfo>, rng: Rng) -> Candidates {
        let mut candidates = Candidates::new(rng);
        candidates.set_family(self.bind.map(Family::of));
        if metainfo.is_some_and(Metainfo::is_private) {
            candidates.go_private();
        }
        for address in &self.known_peers {
            candidates.add(crate::base::Instant::ZERO, *address, Source::User);
        }
        candidates
    }
}

/// How late a keep-alive may be: peers send one every two minutes (BEP 3), which is the usual limit to their silence.
const KEEP_ALIVE_DELAY: Duration = Duration::from_secs(30);
