//! With whom a torrent is connected: whom it dials, who may come, one link for each, and what is remembered of those who go.

use super::candidates::pex::PexCursor;
use super::pipeline::Pipeline;
use super::{Child, Output, PeerKey, PeerSlot, Phase, Sender, Timer, Torrent};
use crate::base::link::LinkKey;
use crate::base::{Instant, PeerId, RateMeter};
use crate::proto::peer::{Arrival, CloseReason, Peer};
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

impl Torrent {
    /// Connects to as many more peers as are wanted.
    pub(super) fn connect_more(&mut self, now: Instant) {
        if !self.wants_peers() {
            self.deadlines.set(Timer::Connect, None);
            return;
        }
        let mut dialling = self.peers.iter().filter(|(_, slot)| slot.id.is_none() && !slot.incoming).count();
        let most = if self.crowded { 1 } else { MAX_DIALLING };
        while self.peers.len() < self.plan.max_peers && dialling < most {
            let Some(address) = self.candidates.next(now) else { break };
            self.dial(now, address);
            dialling += 1;
        }
        let full = self.peers.len() >= self.plan.max_peers && self.phase != Phase::Seeding;
        if full && self.parted_at + PART_EVERY <= now && self.candidates.has_ready(now) {
            self.part_with_idle(now);
        }
        // A seed needs nobody: those who want something come.
        if self.phase != Phase::Seeding && self.peers.len() < self.plan.max_peers / 2 {
            self.announcer.want_peers(now);
            self.touched.push_back(Child::Announcer);
        }
        let (soon, late) = (now + CONNECT_EVERY, now + LOOK_AROUND_EVERY);
        let next = match self.candidates.next_at() {
            Some(at) if self.peers.is_empty() => at.clamp(soon, late),
            None if self.peers.is_empty() && self.candidates.is_empty() => late,
            _ => soon,
        };
        self.deadlines.set(Timer::Connect, Some(next));
    }

    /// Whether somebody could be of use: while it is fetched, and while others may fetch from here.
    pub(super) fn wants_peers(&self) -> bool {
        self.stop.is_none() && matches!(self.phase, Phase::Connecting | Phase::Downloading | Phase::Seeding)
    }

    /// Hangs up on the peer with which nothing has been exchanged for the longest time, if that is long enough to let
    /// somebody else try. Whoever says nothing but that it is alive would keep its place for ever.
    fn part_with_idle(&mut self, now: Instant) -> bool {
        let idle = self
            .peers
            .iter()
            .filter(|(_, slot)| slot.active_at + IDLE_FOR <= now && !slot.machine.is_closed());
        let Some(peer) = idle.min_by_key(|(_, slot)| slot.active_at).map(|(peer, _)| peer) else {
            return false;
        };
        self.parted_at = now;
        self.close_peer(now, peer);
        true
    }

    fn dial(&mut self, now: Instant, address: SocketAddr) {
        let grid = self.content.as_ref().map(|content| content.metainfo.grid());
        let machine = Peer::connecting(now, Arc::clone(&self.config), grid, address);
        let peer = self.add_peer_slot(now, machine, address, false);
        self.outputs.push_back(Output::Dial { peer, to: address });
    }

    /// A connection that was not made: the address is as good as before.
    pub(super) fn undo_dial(&mut self, now: Instant, peer: PeerKey) {
        let Some(slot) = self.peers.remove(peer) else { return };
        self.deadlines.set(Timer::Peer(peer), None);
        self.candidates.put_back(slot.address);
        self.crowded = true;
        if self.wants_peers() {
            self.deadlines.set(Timer::Connect, Some(now + CONNECT_EVERY));
        }
    }

    /// A peer that connected to this side, unless there is no room for it.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        link: LinkKey,
        from: SocketAddr,
        arrival: Arrival,
    ) -> Option<PeerKey> {
        let others = self.peers.iter().map(|(_, slot)| slot.address);
        if !self.wants_peers() || !self.candidates.may_connect(now, from, others) {
            return None;
        }
        let full = self.peers.len() >= self.plan.max_peers + INCOMING_RESERVE;
        if full && !self.part_with_idle(now) {
            return None;
        }
        let grid = self.content.as_ref().map(|content| content.metainfo.grid());
        let machine = Peer::accepted(now, Arc::clone(&self.config), grid, from, arrival);
        let peer = self.add_peer_slot(now, machine, from, true);
        if let Some(slot) = self.peers.get_mut(peer) {
            slot.link = Some(link);
        }
        Some(peer)
    }

    /// Two that want nothing are of no use to each other (BEP 21).
    fn is_redundant(&self, slot: &PeerSlot) -> bool {
        self.phase == Phase::Seeding && slot.machine.is_upload_only()
    }

    /// Parts with a peer that is of no use any more, nor this side to it.
    pub(super) fn part_if_redundant(&mut self, now: Instant, peer: PeerKey) {
        if self.peers.get(peer).is_some_and(|slot| slot.machine.is_open() && self.is_redundant(slot)) {
            self.close_peer(now, peer);
        }
    }

    fn add_peer_slot(&mut self, now: Instant, machine: Peer, address: SocketAddr, incoming: bool) -> PeerKey {
        let peer = self.peers.insert(PeerSlot {
            machine,
            link: None,
            address,
            incoming,
            id: None,
            pipeline: Pipeline::new(now),
            down: RateMeter::new(now),
            up: RateMeter::new(now),
            counted: false,
            offers: 0,
            since: now,
            active_at: now,
            credit: 0,
            touched: false,
            unflushed: false,
            hungry: false,
            uploading: false,
            received: 0,
            sent: 0,
            pex: PexCursor::default(),
            listens_at: None,
        });
        if self.peers.len() == 1 {
            self.watch_peers(now);
        }
        self.touch_peer(peer);
        self.feed_peer(peer);
        peer
    }

    /// Where two links lead to the peer with this id: the one that is not needed. Both sides must name the same one, so
    /// of two that began at about the same time the greater id's own is kept; else the newer one goes, as who borrows the
    /// id of another must not drive it away.
    pub(super) fn surplus(&self, now: Instant, peer: PeerKey, id: PeerId) -> Option<PeerKey> {
        let (twin, older) = self.peers.iter().find(|(other, slot)| *other != peer && slot.id == Some(id))?;
        let newer = self.peers.get(peer)?;
        let crossed = older.incoming != newer.incoming && now < older.since + CROSSING_TIME;
        let keeps_newer = crossed && newer.incoming == (id > self.config.peer_id);
        Some(if keeps_newer { twin } else { peer })
    }

    pub(super) fn on_closed(&mut self, now: Instant, peer: PeerKey, reason: CloseReason) {
        let Some(slot) = self.peers.remove(peer) else { return };
        tracing::debug!(%reason, "peer closed");
        self.deadlines.set(Timer::Peer(peer), None);
        self.credit = self.credit.saturating_sub(slot.credit);
        self.choker.left(peer);
        if let Some(seed) = &mut self.super_seed {
            seed.left(peer);
        }
        self.metadata.lost(peer);
        self.fetch_metadata_anew(now);
        if slot.received > 0 {
            self.remember_host(peer, slot.address.ip());
        }
        if let Some(picker) = self.content.as_mut().and_then(|content| content.picker.as_mut()) {
            picker.released_all(Sender::Peer(peer));
            if let Some(has) = slot.machine.has().filter(|_| slot.counted) {
                picker.peer_left(has);
            }
            self.blocks_freed = true;
        }
        self.remember_address(now, &slot, reason);
        if let Some(link) = slot.link {
            self.outputs.push_back(Output::Gone(link));
        }
        if self.wants_peers() {
            let soon = now + RECONNECT_AFTER;
            self.deadlines.set(Timer::Connect, Some(soon));
        }
    }

    /// What the end of a link says of the address at which others reach the peer.
    fn remember_address(&mut self, now: Instant, slot: &PeerSlot, reason: CloseReason) {
        let address = if slot.incoming { slot.listens_at } else { Some(slot.address) };
        let redundant = self.is_redundant(slot);
        let twin = self
            .peers
            .iter_mut()
            .map(|(_, other)| other)
            .find(|other| slot.id.is_some() && other.id == slot.id);
        match (reason, address) {
            (CloseReason::Violation(_), _) => self.candidates.ban(now, slot.address.ip()),
            (CloseReason::Myself, _) if !slot.incoming => self.candidates.is_self(slot.address),
            (_, None) => {}
            (_, Some(address)) => match twin {
                Some(twin) => {
                    twin.listens_at = twin.listens_at.or(Some(address));
                    self.candidates.connected(now, address);
                    return;
                }
                None if slot.id.is_some() && redundant => self.candidates.rest(now, address),
                None if slot.id.is_some() => self.candidates.disconnected(now, address, slot.received > 0),
                None => self.candidates.failed(now, address),
            },
        }
        slot.listens_at.iter().for_each(|address| self.pex.dropped(*address));
    }
}

/// Connections that are being made at once: routers at home forget who asked when there are more.
const MAX_DIALLING: usize = 20;
/// How many peers may come beyond those that this side looks for.
const INCOMING_RESERVE: usize = 10;
/// How often new peers are looked for.
const CONNECT_EVERY: Duration = Duration::from_secs(2);
/// How often somebody is looked for where nobody is known; whoever is heard of is connected to at once.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(60);
/// A place that has become free is filled after this time, so that a mass of losses makes no storm.
const RECONNECT_AFTER: Duration = Duration::from_millis(200);
/// A peer of use gives or takes a block in this time; one that waits for its turn has several by then.
const IDLE_FOR: Duration = Duration::from_secs(300);
/// One that is idle makes room in this time for one that is dialled, so that those who come and go do not leave at once.
const PART_EVERY: Duration = Duration::from_secs(60);
/// Two links whose greetings are at most so far apart were begun by both sides at once: the time of a slow connect.
const CROSSING_TIME: Duration = Duration::from_secs(10);
