//! How a torrent serves its peers: who is unchoked, and which blocks leave.

use super::choker::ChokePeer;
use super::{PeerKey, Phase, Timer, Torrent};
use crate::base::disk::DiskError;
use crate::base::{Block, BlockData, Instant, PieceIndex};
use crate::proto::peer::FileSpan;
use bytes::Bytes;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Peers that wait for blocks, each once, in the order in which they have their turn.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    waiting: VecDeque<PeerKey>,
}

impl Uploads {
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// Blocks that are being read for peers.
#[derive(Debug, Default)]
pub(super) struct Reads {
    under_way: BTreeMap<u64, (PeerKey, Block)>,
    next: u64,
}

impl Reads {
    /// A number for one more read.
    pub(super) fn token(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Torrent {
    /// Whether a peer waits for something that could be sent now.
    pub fn wants_upload(&self) -> bool {
        !self.uploads.waiting.is_empty() && self.reads.under_way.len() < MAX_READS
    }

    /// Changes how fast it may be sent, in bytes per second: the slots follow.
    pub fn set_upload_limit(&mut self, now: Instant, limit: Option<u64>) {
        if self.choker.set_limit(limit) && self.stop.is_none() && !self.peers.is_empty() {
            self.deadlines.set(Timer::Choke, Some(now));
        }
    }

    /// Sends up to `allowance` bytes of blocks to peers in turn, at least one block; says how many bytes.
    pub fn upload(&mut self, now: Instant, allowance: u64) -> u64 {
        let mut used = 0;
        for _ in 0..self.uploads.waiting.len() {
            if used >= allowance || self.reads.under_way.len() >= MAX_READS {
                break;
            }
            let Some(peer) = self.uploads.waiting.pop_front() else { break };
            used += self.serve(now, peer);
        }
        self.settle(now);
        used
    }

    /// A peer waits for a block.
    pub(super) fn queue_upload(&mut self, peer: PeerKey) {
        let Some(slot) = self.peers.get_mut(peer) else { return };
        let ready = slot.machine.wanted_count() > 0 && slot.machine.unsent() < MAX_UNSENT;
        if ready && !core::mem::replace(&mut slot.uploading, true) {
            self.uploads.waiting.push_back(peer);
        }
    }

    /// Begins to send the next block that a peer waits for.
    fn serve(&mut self, now: Instant, peer: PeerKey) -> u64 {
        let Some(slot) = self.peers.get_mut(peer) else { return 0 };
        slot.uploading = false;
        let reads = &self.reads.under_way;
        let next = slot.machine.wanted().find(|block| !reads.values().any(|read| *read == (peer, *block)));
        let Some(block) = next else { return 0 };
        let has = self.content.as_ref().is_some_and(|content| content.files.have().has(block.piece));
        if !has || block.len > MAX_SERVED {
            slot.machine.reject(block);
            self.touch_peer(peer);
            return 0;
        }
        let token = self.reads.token();
        self.reads.under_way.insert(token, (peer, block));
        self.with_files(|files| files.serve(now, token, block));
        self.queue_upload(peer);
        u64::from(block.len)
    }

    /// The bytes of a block are here, or cannot be read.
    pub(super) fn on_read(&mut self, now: Instant, token: u64, result: Result<Bytes, DiskError>) {
        if self.on_reader_read(now, token, &result) {
            return;
        }
        let Some((peer, block)) = self.reads.under_way.remove(&token) else {
            return self.on_evidence(now, token, result);
        };
        let Some(slot) = self.peers.get_mut(peer) else { return };
        match result {
            Ok(bytes) => _ = slot.machine.send_block(now, block, BlockData::from(bytes)),
            Err(error) => {
                tracing::warn!(%error, "a block cannot be read");
                slot.machine.reject(block);
            }
        }
        self.touch_peer(peer);
    }

    /// The files that a block lies in are open: it leaves without passing through here.
    pub(super) fn on_spans(&mut self, now: Instant, token: u64, result: Result<Vec<FileSpan>, DiskError>) {
        let Some((peer, block)) = self.reads.under_way.remove(&token) else { return };
        if let Some(slot) = self.peers.get_mut(peer) {
            match result {
                Ok(spans) => _ = slot.machine.send_block_from(now, block, &spans),
                Err(error) => {
                    tracing::warn!(%error, "a block cannot be read");
                    slot.machine.reject(block);
                }
            }
            self.touch_peer(peer);
        }
        // The driver has taken hold of the files by then: an order to send comes before one to close.
        self.with_files(|files| files.served(now, token));
    }

    /// Shows a peer as many pieces as it may be shown, where the torrent is super-seeded (BEP 16).
    pub(super) fn show_pieces(&mut self, peer: PeerKey) {
        let Some(picker) = self.content.as_ref().and_then(|content| content.picker.as_ref()) else { return };
        let (Some(seed), Some(slot)) = (&mut self.super_seed, self.peers.get_mut(peer)) else { return };
        let Some(has) = slot.machine.has() else { return };
        let copies = |piece| picker.availability(piece);
        let shown: Vec<_> = core::iter::from_fn(|| seed.offer(peer, has, copies, &mut self.rng)).collect();
        for piece in &shown {
            slot.machine.have(*piece);
        }
        if !shown.is_empty() {
            self.touch_peer(peer);
        }
    }

    /// A peer has got a piece: those who passed it on are shown more.
    pub(super) fn saw_piece(&mut self, now: Instant, peer: PeerKey, piece: PieceIndex) {
        let free = self.super_seed.as_mut().map(|seed| seed.saw(now, peer, piece)).unwrap_or_default();
        free.into_iter().for_each(|peer| self.show_pieces(peer));
    }

    pub(super) fn on_interested(&mut self, now: Instant, interested: bool) {
        // A free slot is not left empty until the next round.
        if interested && self.choker.has_free_slot() {
            self.deadlines.set(Timer::Choke, Some(now));
        }
    }

    /// Decides anew who is unchoked.
    pub(super) fn choke_round(&mut self, now: Instant) {
        let mut peers = Vec::with_capacity(self.peers.len());
        for (key, slot) in self.peers.iter_mut() {
            if slot.id.is_none() || !slot.machine.is_open() {
                continue;
            }
            let snubbed = slot.machine.am_interested() && slot.machine.stalled_for(now) >= SNUBBED_AFTER;
            peers.push(ChokePeer {
                key,
                interested: slot.machine.peer_interested(),
                unchoked: !slot.machine.am_choking(),
                rate_down: slot.down.rate(now),
                rate_up: slot.up.rate(now),
                snubbed,
                since: slot.since,
                upload_only: slot.machine.is_upload_only(),
            });
        }
        let waited = self.super_seed.as_mut().map(|seed| seed.wait_no_longer(now)).unwrap_or_default();
        waited.into_iter().for_each(|peer| self.show_pieces(peer));
        let seeding = self.phase == Phase::Seeding;
        let unchoked = self.choker.round(now, &peers, seeding, &mut self.rng);
        for peer in peers {
            let Some(slot) = self.peers.get_mut(peer.key) else { continue };
            match (unchoked.contains(&peer.key), peer.unchoked) {
                (true, false) => slot.machine.unchoke(),
                (false, true) => slot.machine.choke(),
                _ => continue,
            }
            self.touch_peer(peer.key);
        }
        let next = if self.stop.is_none() && !self.peers.is_empty() { Some(now + CHOKE_EVERY) } else { None };
        self.deadlines.set(Timer::Choke, next);
    }
}

/// Bytes that may wait in a link before the next block is read for it: what a choke still finds waiting is saved.
const MAX_UNSENT: u64 = 256 << 10;
/// Blocks that are read at once, in memory until they have left.
const MAX_READS: usize = 64;
/// Who asks for longer blocks than everybody else gets none.
const MAX_SERVED: u32 = 128 << 10;
/// The rhythm of tit for tat, as all clients have it (BEP 3).
const CHOKE_EVERY: Duration = Duration::from_secs(10);
/// BEP 3: a peer that has sent nothing for a minute is not worth a slot.
const SNUBBED_AFTER: Duration = Duration::from_secs(60);
