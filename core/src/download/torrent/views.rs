//! What a torrent shows of itself.

use super::announcer::TrackerStatus;
use super::{Lane, Phase, Torrent, TorrentSaved};
use crate::base::{Bitfield, Instant, PeerId, RangeSet};
use crate::wire::printable::Printable;
use crate::wire::torrent::Metainfo;
use core::net::SocketAddr;
use core::ops::Range;
use std::sync::Arc;

/// A connected peer as users see it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerView {
    /// Its id.
    pub id: Option<PeerId>,
    /// Its address.
    pub address: SocketAddr,
    /// The program that it says it is; safe to show.
    pub client: String,
    /// Bytes per second from it.
    pub download_speed: u64,
    /// Bytes per second to it.
    pub upload_speed: u64,
    /// How much it has, 0 to 1.
    pub progress: f64,
    /// Whether this side lets it wait.
    pub am_choking: bool,
    /// Whether it lets this side wait.
    pub peer_choking: bool,
    /// Whether it connected to this side.
    pub incoming: bool,
}

impl Torrent {
    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether a peer is still being dialled or talked with.
    pub fn has_peer(&self, peer: super::PeerKey) -> bool {
        self.peers.contains(peer)
    }

    /// Which of `data`, were it to arrive on a lane now, nothing looks at: bytes of blocks and of bodies of web seeds. On
    /// a lane that is gone, all of it.
    pub fn payload(&self, lane: Lane, data: &[u8]) -> Vec<Range<usize>> {
        let known = match lane {
            Lane::Peer(peer) => self.peers.get(peer).map(|slot| slot.machine.payload(data)),
            Lane::WebSeed(seed, exchange) => {
                self.seeds.get(seed).map(|slot| slot.machine.payload(exchange, data))
            }
            // What a tracker answers is read.
            Lane::Tracker(_) | Lane::Host(_) => Some(Vec::new()),
        };
        known.unwrap_or_else(|| vec![0..data.len()])
    }

    /// What it is, once known.
    pub fn metainfo(&self) -> Option<&Arc<Metainfo>> {
        self.content.as_ref().map(|content| &content.metainfo)
    }

    /// The pieces that are here and right.
    pub fn have(&self) -> Option<&Bitfield> {
        self.content.as_ref().map(|content| content.files.have())
    }

    /// Whether only its files are looked at.
    pub fn is_offline(&self) -> bool {
        self.plan.offline
    }

    /// The byte ranges of the whole that are wanted and not here.
    pub fn missing(&self) -> Vec<Range<u64>> {
        let Some(content) = &self.content else { return Vec::new() };
        let (grid, have, layout) = (content.metainfo.grid(), content.files.have(), content.files.layout());
        let mut missing = RangeSet::new();
        for file in (0..layout.files()).filter(|file| content.files.is_wanted(*file)) {
            let lost = layout.pieces_of(file).filter(|piece| !have.has(*piece));
            lost.for_each(|piece| missing.insert(grid.piece_range(piece)));
        }
        missing.iter().collect()
    }

    /// Bytes of the files that are wanted, once known. Until it is seen what there is, as the store has it.
    pub fn wanted(&self) -> Option<u64> {
        let content = self.content.as_ref();
        content.and_then(|content| content.files.wanted_len()).or(self.start.wanted)
    }

    /// Bytes of these that are here. Until it is seen what there is, as the store has it.
    pub fn completed(&self) -> u64 {
        let content = self.content.as_ref();
        content.and_then(|content| content.files.completed_len()).unwrap_or(self.start.completed)
    }

    /// Bytes per second, received and sent.
    pub fn speeds(&self, now: Instant) -> (u64, u64) {
        (self.down.rate(now), self.up.rate(now))
    }

    /// How many links to peers there are, those that are being made included.
    pub fn connections(&self) -> usize {
        self.peers.len()
    }

    /// How many peers are connected.
    pub fn connected(&self) -> usize {
        self.peers.iter().filter(|(_, slot)| slot.id.is_some()).count()
    }

    /// How many of them have everything.
    pub fn seeders(&self) -> usize {
        self.peers.iter().filter(|(_, slot)| slot.machine.is_seed()).count()
    }

    /// Payload bytes sent to peers since it was added.
    pub fn uploaded(&self) -> u64 {
        self.uploaded
    }

    /// How many whole copies the connected peers have together.
    pub fn availability(&self) -> f64 {
        let picker = self.content.as_ref().and_then(|content| content.picker.as_ref());
        picker.map_or(0.0, |picker| picker.distributed_copies())
    }

    /// The connected peers.
    pub fn peers(&self, now: Instant) -> Vec<PeerView> {
        let pieces = self.content.as_ref().map_or(0, |content| content.metainfo.grid().pieces());
        let connected = self.peers.iter().filter(|(_, slot)| slot.id.is_some());
        let view = |slot: &super::PeerSlot| PeerView {
            id: slot.id,
            address: slot.address,
            client: Printable(slot.machine.client().unwrap_or_default()).to_string(),
            download_speed: slot.down.rate(now),
            upload_speed: slot.up.rate(now),
            progress: slot.machine.has().map_or(0.0, |has| f64::from(has.count()) / f64::from(pieces.max(1))),
            am_choking: slot.machine.am_choking(),
            peer_choking: slot.machine.peer_choking(),
            incoming: slot.incoming,
        };
        connected.map(|(_, slot)| view(slot)).collect()
    }

    /// The trackers and how they stand.
    pub fn trackers(&self) -> Vec<TrackerStatus> {
        self.announcer.trackers()
    }

    /// Whether the totals that the store has, as in `stored`, are not those of now. Time of seeding counts where seeding
    /// ends by it.
    pub fn has_new_totals(&self, stored: &TorrentSaved) -> bool {
        let is_timed = self.goal.time.is_some() && self.seeding_since.is_some();
        is_timed || (self.downloaded, self.uploaded) != (stored.downloaded, stored.uploaded)
    }

    /// What the store keeps of it.
    pub fn saved(&self, now: Instant) -> TorrentSaved {
        let files = self.content.as_ref().map(|content| &content.files);
        TorrentSaved {
            files: files.map(|files| files.saved().clone()).or_else(|| self.start.files.clone()),
            wanted: self.wanted(),
            completed: self.completed(),
            downloaded: self.downloaded,
            uploaded: self.uploaded,
            seeded: self.seeded(now),
        }
    }

    /// How many bytes of memory are spoken for because of it: what is in memory, and what links may still read.
    pub fn used(&self) -> u64 {
        self.credit + self.backlog()
    }

    /// The pieces that are on the disk though perhaps not durable, by their numbers, for a note that spares work after a
    /// kill.
    pub fn note(&self) -> RangeSet {
        self.content.as_ref().map(|content| content.files.note()).unwrap_or_default()
    }

    /// Whether something is on the disk that a power cut would take.
    pub fn needs_sync(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.files.needs_sync())
    }

    /// Whether [`note`](Self::note) would tell of something.
    pub fn needs_note(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.files.needs_note())
    }

    /// How many bytes wait for the disk.
    pub fn backlog(&self) -> u64 {
        self.content.as_ref().map_or(0, |content| content.files.backlog())
    }

    /// How many links may want credit.
    pub fn hungry(&self) -> usize {
        self.hungry.len()
    }

    /// The next link that may want credit, how much it has, and whether it expects little; each once, until something
    /// happens on it.
    pub fn next_hungry(&mut self) -> Option<(Lane, u64, bool)> {
        while let Some(lane) = self.hungry.pop_front() {
            let credit = match lane {
                Lane::Peer(peer) => self.peers.get_mut(peer).map(|slot| {
                    slot.hungry = false;
                    (slot.machine.credit(), slot.machine.in_flight_count() == 0)
                }),
                Lane::Tracker(slot) => self.announcer.credit(slot).map(|credit| (credit, true)),
                Lane::WebSeed(seed, slot) => self.seed_credit(seed, slot).map(|credit| (credit, false)),
                Lane::Host(_) => None,
            };
            if let Some((credit, idle)) = credit {
                return Some((lane, credit, idle));
            }
        }
        None
    }

    /// A link got nothing: it is asked again.
    pub fn still_hungry(&mut self, lane: Lane) {
        match lane {
            Lane::Peer(peer) => {
                if let Some(slot) = self.peers.get_mut(peer).filter(|slot| !slot.hungry) {
                    slot.hungry = true;
                    self.hungry.push_back(lane);
                }
            }
            Lane::Tracker(slot) => self.feed_tracker(slot),
            Lane::WebSeed(seed, slot) => self.seed_hungry(seed, slot),
            Lane::Host(_) => {}
        }
    }

    /// What was granted leaves.
    pub fn settle_grants(&mut self, now: Instant) {
        self.settle(now);
    }

    /// Lets a link read `bytes` more; [`settle_grants`](Self::settle_grants) follows when all are granted.
    pub fn grant(&mut self, now: Instant, lane: Lane, bytes: u32) {
        match lane {
            Lane::Peer(peer) => {
                if let Some(slot) = self.peers.get_mut(peer) {
                    slot.machine.grant(now, bytes);
                    self.touch_peer(peer);
                }
            }
            Lane::Tracker(slot) => {
                self.announcer.grant(now, slot, bytes);
                self.touched.push_back(super::Child::Announcer);
            }
            Lane::WebSeed(seed, slot) => self.with_seed(seed, |seed| seed.grant(now, slot, bytes)),
            Lane::Host(_) => {}
        }
    }
}
