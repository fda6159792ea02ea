//! How a torrent talks with its peers: whom it connects to, what they say, and what it asks them for.

use super::candidates::Source;
use super::candidates::pex::PexCursor;
use super::picker::Ask;
use super::pipeline::Pipeline;
use super::{Child, Lane, Output, Sender, Timer, Torrent};
use crate::base::link::LinkKey;
use crate::base::{Bitfield, Block, Instant, LinkInput, LinkOutput, PeerId, PieceIndex, RateMeter};
use crate::proto::peer::{self, Peer, PeerConfig};
use crate::wire::peer::PexFlags;
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use super::PeerKey;

/// One peer and what the torrent keeps of it.
#[derive(Debug)]
pub struct PeerSlot {
    pub(super) machine: Peer,
    pub(super) link: Option<LinkKey>,
    pub(super) address: SocketAddr,
    pub(super) incoming: bool,
    /// Once it has greeted.
    pub(super) id: Option<PeerId>,
    pub(super) pipeline: Pipeline,
    pub(super) down: RateMeter,
    pub(super) up: RateMeter,
    /// Whether the picker counts its pieces.
    pub(super) counted: bool,
    /// How many of its pieces are wanted here.
    pub(super) offers: u32,
    pub(super) since: Instant,
    /// When a block came or went last, or the conversation began.
    pub(super) active_at: Instant,
    /// Credit of its link that is counted in the torrent's.
    pub(super) credit: u64,
    pub(super) touched: bool,
    pub(super) unflushed: bool,
    pub(super) hungry: bool,
    /// Whether it waits for something to be uploaded.
    pub(super) uploading: bool,
    /// Bytes of blocks whose arrival has been counted.
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Whom it was told of (BEP 11).
    pub(super) pex: PexCursor,
    /// The address at which others reach it, once known.
    pub(super) listens_at: Option<SocketAddr>,
}

impl Torrent {
    // ----- what they say ---------------------------------------------------------------------------------------------

    pub(super) fn on_link(&mut self, now: Instant, peer: PeerKey, input: LinkInput) {
        if let Some(slot) = self.peers.get_mut(peer) {
            slot.machine.handle_input(now, input);
            self.touch_peer(peer);
        }
    }

    /// Whoever changes a peer touches it; only `settle` reads it.
    pub(super) fn touch_peer(&mut self, peer: PeerKey) {
        if let Some(slot) = self.peers.get_mut(peer)
            && !core::mem::replace(&mut slot.touched, true)
        {
            self.touched.push_back(Child::Peer(peer));
        }
    }

    /// Reads what a peer said, and asks it for more.
    pub(super) fn drain_peer(&mut self, now: Instant, peer: PeerKey) {
        if let Some(slot) = self.peers.get_mut(peer) {
            slot.touched = false;
        }
        while let Some(output) = self.peers.get_mut(peer).and_then(|slot| slot.machine.poll_output()) {
            self.on_peer(now, peer, output);
        }
        self.part_if_redundant(now, peer);
        self.count_traffic(now, peer);
        self.ask_for_more(now, peer);
        self.queue_upload(peer);
        self.count_credit(peer);
        if let Some(slot) = self.peers.get_mut(peer)
            && !core::mem::replace(&mut slot.unflushed, true)
        {
            self.unflushed.push_back(peer);
        }
    }

    /// Lets small messages of all that happened leave together.
    pub(super) fn flush_peers(&mut self, now: Instant) {
        while let Some(peer) = self.unflushed.pop_front() {
            let Some(slot) = self.peers.get_mut(peer) else { continue };
            slot.unflushed = false;
            slot.machine.flush(now);
            while let Some(output) = self.peers.get_mut(peer).and_then(|slot| slot.machine.poll_output()) {
                self.on_peer(now, peer, output);
            }
            let deadline = self.peers.get(peer).and_then(|slot| slot.machine.poll_timeout());
            self.deadlines.set(Timer::Peer(peer), deadline);
        }
    }

    fn on_peer(&mut self, now: Instant, peer: PeerKey, output: peer::Output) {
        match output {
            peer::Output::Link(output) => self.on_peer_link(peer, output),
            peer::Output::Greeted { peer_id } => self.on_greeted(now, peer, peer_id),
            peer::Output::Extended => self.on_extended(now, peer),
            peer::Output::Choked { lost } => self.on_choked(peer, &lost),
            peer::Output::Unchoked => self.on_unchoked(now, peer),
            peer::Output::Interested(interested) => self.on_interested(now, interested),
            peer::Output::HasPieces(has) => self.on_pieces(peer, Some(&has)),
            peer::Output::Have(piece) => self.on_have(now, peer, piece),
            peer::Output::DontHave(piece) => self.on_dont_have(peer, piece),
            peer::Output::Block(block, data) => self.on_block(now, Sender::Peer(peer), block, data),
            peer::Output::Requested(_) => self.queue_upload(peer),
            peer::Output::Cancelled(_) | peer::Output::Port(_) => {}
            peer::Output::Rejected(block) => {
                if let Some(slot) = self.peers.get_mut(peer) {
                    slot.pipeline.refused(slot.machine.allowed_fast().contains(&block.piece));
                }
                self.release(peer, &[block]);
            }
            // What a peer would rather give, it has in its cache; rarest first is worth more to the swarm.
            peer::Output::Suggested(_) | peer::Output::AllowedFast(_) => {}
            peer::Output::Metadata(message) => self.on_metadata(now, peer, message),
            peer::Output::Pex(pex) => self.on_pex(now, &pex),
            peer::Output::Closed(reason) => self.on_closed(now, peer, reason),
        }
    }

    fn on_peer_link(&mut self, peer: PeerKey, output: LinkOutput) {
        if let Some(link) = self.peers.get(peer).and_then(|slot| slot.link) {
            self.outputs.push_back(Output::Link(link, output));
        }
    }

    fn on_greeted(&mut self, now: Instant, peer: PeerKey, id: PeerId) {
        let surplus = self.surplus(now, peer, id);
        if let Some(surplus) = surplus {
            self.close_peer(now, surplus);
        }
        let Some(slot) = self.peers.get_mut(peer) else { return };
        slot.id = Some(id);
        slot.since = now;
        if surplus == Some(peer) {
            return;
        }
        if !slot.incoming {
            self.candidates.connected(now, slot.address);
            slot.listens_at = Some(slot.address);
            self.pex.connected(slot.address, PexFlags::REACHABLE.0);
        }
        let known = self.content.as_ref().filter(|content| content.picker.is_some());
        let shown = known.filter(|_| self.super_seed.is_none()).map(|content| content.files.have());
        match shown {
            Some(have) => slot.machine.announce_have(have),
            None => slot.machine.announce_have(&Bitfield::new(
                self.content.as_ref().map_or(0, |content| content.metainfo.grid().pieces()),
            )),
        }
        if let Some(seed) = &mut self.super_seed {
            seed.joined(peer);
            self.show_pieces(peer);
        }
        self.feed_peer(peer);
    }

    fn on_extended(&mut self, now: Instant, peer: PeerKey) {
        let Some(slot) = self.peers.get_mut(peer) else { return };
        if let Some(ip) = slot.machine.external_ip() {
            self.candidates.guess_own(ip);
        }
        // It says so once: who says another port each time would fill all lists of addresses.
        if let (true, None, Some(port)) = (slot.incoming, slot.listens_at, slot.machine.listen_port()) {
            let address = SocketAddr::new(slot.address.ip(), port);
            slot.listens_at = Some(address);
            self.pex.connected(address, 0);
            self.candidates.add(now, address, Source::Incoming);
            self.candidates.connected(now, address);
        }
        self.fetch_metadata(now, peer);
    }

    fn on_choked(&mut self, peer: PeerKey, lost: &[Block]) {
        if let Some(slot) = self.peers.get_mut(peer) {
            slot.pipeline.choked();
        }
        self.release(peer, lost);
    }

    fn on_unchoked(&mut self, now: Instant, peer: PeerKey) {
        if let Some(slot) = self.peers.get_mut(peer) {
            slot.pipeline.unchoked(now);
        }
    }

    /// Counts what a peer has, as it said at first or as is known by now.
    fn on_pieces(&mut self, peer: PeerKey, said: Option<&Bitfield>) {
        let Some(picker) = self.content.as_mut().and_then(|content| content.picker.as_mut()) else { return };
        let Some(slot) = self.peers.get_mut(peer) else { return };
        let known = slot.machine.has().filter(|_| slot.machine.tells_pieces());
        let Some(has) = said.or(known) else { return };
        if !core::mem::replace(&mut slot.counted, true) {
            picker.peer_joined(has);
            if let Some(parole) = self.blame.comes(slot.address.ip()) {
                picker.set_parole(Sender::Peer(peer), parole);
            }
        }
        slot.offers = picker.wanted_of(has);
        self.show_interest(peer);
        self.show_pieces(peer);
    }

    /// The picker is made, or something else is wanted: every peer is looked at anew.
    pub(super) fn recount_offers(&mut self) {
        for peer in self.peers.keys() {
            self.on_pieces(peer, None);
            self.touch_peer(peer);
        }
    }

    fn on_have(&mut self, now: Instant, peer: PeerKey, piece: PieceIndex) {
        let Some(picker) = self.content.as_mut().and_then(|content| content.picker.as_mut()) else { return };
        let Some(slot) = self.peers.get_mut(peer).filter(|slot| slot.counted) else { return };
        picker.peer_got(piece);
        if picker.wants(piece) {
            slot.offers += 1;
            self.show_interest(peer);
        }
        self.saw_piece(now, peer, piece);
    }

    fn on_dont_have(&mut self, peer: PeerKey, piece: PieceIndex) {
        let Some(picker) = self.content.as_mut().and_then(|content| content.picker.as_mut()) else { return };
        let Some(slot) = self.peers.get_mut(peer).filter(|slot| slot.counted) else { return };
        picker.peer_lost(piece);
        if picker.wants(piece) {
            slot.offers = slot.offers.saturating_sub(1);
            self.show_interest(peer);
        }
    }

    /// A piece is not wanted any more: peers that have it have one thing less to offer.
    pub(super) fn offer_less(&mut self, piece: PieceIndex) {
        for peer in self.peers.keys() {
            let Some(slot) = self.peers.get_mut(peer).filter(|slot| slot.counted) else { continue };
            if slot.machine.has().is_some_and(|has| has.has(piece)) {
                slot.offers = slot.offers.saturating_sub(1);
                if slot.offers == 0 {
                    self.show_interest(peer);
                }
            }
        }
    }

    fn show_interest(&mut self, peer: PeerKey) {
        if let Some(slot) = self.peers.get_mut(peer) {
            let interested = slot.offers > 0;
            if slot.machine.am_interested() != interested {
                slot.machine.interested(interested);
                self.touch_peer(peer);
            }
        }
    }

    // ----- what is asked of them -------------------------------------------------------------------------------------

    /// Blocks that a peer will not send can be asked of others.
    pub(super) fn release(&mut self, peer: PeerKey, blocks: &[Block]) {
        let Some(picker) = self.content.as_mut().and_then(|content| content.picker.as_mut()) else { return };
        blocks.iter().for_each(|block| picker.released(Sender::Peer(peer), *block));
        self.blocks_freed |= !blocks.is_empty();
    }

    /// Asks a peer for as many blocks as it can send in time.
    fn ask_for_more(&mut self, now: Instant, peer: PeerKey) {
        let Some(picker) = self.content.as_mut().and_then(|content| content.picker.as_mut()) else { return };
        let Some(slot) = self.peers.get_mut(peer) else { return };
        let machine = &mut slot.machine;
        if self.stop.is_some() || !machine.am_interested() || !machine.is_open() {
            return;
        }
        let window = slot.pipeline.window(slot.down.rate(now), machine.request_queue());
        let under_way = machine.in_flight_count();
        // A few at a time, so that requests leave together.
        if under_way * 4 > window * 3 {
            return;
        }
        let only = machine.peer_choking().then(|| machine.allowed_fast());
        let Some(has) = machine.has() else { return };
        if only.is_some_and(<[PieceIndex]>::is_empty) {
            return;
        }
        let mut picked = core::mem::take(&mut self.picked);
        let who = Sender::Peer(peer);
        let ask = Ask { who, has, only, count: window - under_way, speed: slot.pipeline.speed() };
        picker.pick(&ask, &mut picked);
        for block in picked.drain(..) {
            if !machine.request(now, block) {
                picker.released(who, block);
            }
        }
        self.picked = picked;
    }

    /// Peers with nothing to do look whether there is something for them now.
    pub(super) fn ask_the_idle(&mut self, now: Instant) {
        if !core::mem::take(&mut self.blocks_freed) {
            return;
        }
        for peer in self.peers.keys() {
            self.ask_for_more(now, peer);
            self.mark_unflushed(peer);
        }
        self.wake_seeds();
    }

    /// Peers that owe blocks for too long: others are asked for them.
    pub(super) fn look_for_stalled(&mut self, now: Instant) {
        for peer in self.peers.keys() {
            let Some(slot) = self.peers.get_mut(peer) else { continue };
            if slot.pipeline.forgive() {
                self.touch_peer(peer);
                continue;
            }
            let stalled = slot.machine.stalled_for(now);
            if stalled < slot.pipeline.patience(slot.machine.last_round_trip()) {
                continue;
            }
            slot.pipeline.snubbed(now);
            let owed: Vec<Block> = slot.machine.in_flight().collect();
            // One stays asked for: should it come, the peer is asked for more again.
            for block in owed.iter().skip(1) {
                slot.machine.cancel(*block);
            }
            self.release(peer, &owed);
            self.touch_peer(peer);
        }
        let next = (!self.peers.is_empty()).then_some(now + LOOK_FOR_STALLED_EVERY);
        self.deadlines.set(Timer::Requests, next);
    }

    // ----- credit ----------------------------------------------------------------------------------------------------

    /// The link of a peer may want credit.
    pub(super) fn feed_peer(&mut self, peer: PeerKey) {
        if let Some(slot) = self.peers.get_mut(peer)
            && !core::mem::replace(&mut slot.hungry, true)
        {
            self.hungry.push_back(Lane::Peer(peer));
        }
    }

    fn count_credit(&mut self, peer: PeerKey) {
        let Some(slot) = self.peers.get_mut(peer) else { return };
        // A peer that owes nothing sends little, whatever it may.
        let credit = if slot.machine.in_flight_count() > 0 { slot.machine.credit() } else { 0 };
        self.feed_peer(peer);
        let Some(slot) = self.peers.get_mut(peer) else { return };
        self.credit = self.credit.saturating_sub(slot.credit) + credit;
        slot.credit = credit;
    }

    fn count_traffic(&mut self, now: Instant, peer: PeerKey) {
        let Some(slot) = self.peers.get_mut(peer) else { return };
        let (received, sent) = (slot.machine.received(), slot.machine.sent());
        let (more, out) = (received - slot.received, sent - slot.sent);
        (slot.received, slot.sent) = (received, sent);
        if more > 0 || out > 0 {
            slot.active_at = now;
        }
        if more > 0 {
            slot.down.add(now, more);
            slot.pipeline.received(now, more);
            self.down.add(now, more);
            self.downloaded += more;
        }
        if out > 0 {
            slot.up.add(now, out);
            self.up.add(now, out);
            self.uploaded += out;
        }
    }

    fn mark_unflushed(&mut self, peer: PeerKey) {
        if let Some(slot) = self.peers.get_mut(peer)
            && !core::mem::replace(&mut slot.unflushed, true)
        {
            self.unflushed.push_back(peer);
        }
    }

    /// Other settings for all conversations.
    pub(super) fn configure(&mut self, _now: Instant, config: PeerConfig) {
        self.config = Arc::new(config);
        for peer in self.peers.keys() {
            if let Some(slot) = self.peers.get_mut(peer) {
                slot.machine.configure(Arc::clone(&self.config));
                self.touch_peer(peer);
            }
        }
    }

    /// Ends all conversations.
    pub(super) fn close_peers(&mut self, now: Instant) {
        self.peers.keys().into_iter().for_each(|peer| self.close_peer(now, peer));
    }

    pub(super) fn close_peer(&mut self, now: Instant, peer: PeerKey) {
        if let Some(slot) = self.peers.get_mut(peer) {
            slot.machine.close(now);
            self.touch_peer(peer);
        }
    }
}

/// How often peers that owe blocks are looked at.
const LOOK_FOR_STALLED_EVERY: Duration = Duration::from_secs(1);
