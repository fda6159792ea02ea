//! Machine: what is known of a peer.

use super::Peer;
use super::machine::Phase;
use crate::base::mutants::{self, Mutant};
use crate::base::{Bitfield, Block, Instant, PieceIndex};
use crate::wire::peer::Features;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use core::time::Duration;

impl Peer {
    /// Where it is.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether the handshakes are exchanged and the conversation goes on.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Greeted | Phase::Open)
    }

    /// Which of `data`, were it to arrive next, are bytes of blocks: in order, without touching. Everything else decides
    /// something. Where the link is not open or not any more, that is all of it.
    pub fn payload(&self, data: &[u8]) -> Vec<Range<usize>> {
        match &self.phase {
            Phase::Dialling | Phase::Closed => vec![0..data.len()],
            Phase::Greeting(reader) => {
                let greeting = reader.missing().min(data.len());
                let behind = self.decoder.payload(&data[greeting..]).into_iter();
                behind.map(|span| greeting + span.start..greeting + span.end).collect()
            }
            Phase::Greeted | Phase::Open => self.decoder.payload(data),
        }
    }

    /// What both sides can do; nothing before the handshakes are exchanged.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Which pieces it has, as far as it said; `None` while the metadata is missing. Stays when the conversation ends.
    pub fn has(&self) -> Option<&Bitfield> {
        self.pieces.known()
    }

    /// Whether it has said anything about pieces.
    pub fn tells_pieces(&self) -> bool {
        self.pieces.begun()
    }

    /// Whether it has every piece.
    pub fn is_seed(&self) -> bool {
        self.has().is_some_and(Bitfield::is_full)
    }

    /// Whether we choke it.
    pub fn am_choking(&self) -> bool {
        self.us.choking
    }

    /// Whether we are interested in it.
    pub fn am_interested(&self) -> bool {
        self.us.interested
    }

    /// Whether it chokes us.
    pub fn peer_choking(&self) -> bool {
        self.them.choking && !mutants::is(Mutant::AskThoughChoked)
    }

    /// Whether it is interested in us.
    pub fn peer_interested(&self) -> bool {
        self.them.interested
    }

    /// The pieces that it gives although it chokes us.
    pub fn allowed_fast(&self) -> &[PieceIndex] {
        &self.allowed
    }

    /// The blocks that were asked for and not answered or cancelled, oldest first.
    pub fn in_flight(&self) -> impl Iterator<Item = Block> + '_ {
        self.requests.live().map(|(block, _)| block)
    }

    /// How many blocks are [in flight](Self::in_flight).
    pub fn in_flight_count(&self) -> usize {
        self.requests.live_count()
    }

    /// When the oldest block that is [in flight](Self::in_flight) was asked for.
    pub fn oldest_request_at(&self) -> Option<Instant> {
        self.requests.live().next().map(|(_, at)| at)
    }

    /// From the request to the arrival of the block that came last.
    pub fn last_round_trip(&self) -> Option<Duration> {
        self.blocks.last.map(|(asked_at, came_at)| came_at - asked_at)
    }

    /// When a block came last.
    pub fn last_block_at(&self) -> Option<Instant> {
        self.blocks.last.map(|(_, came_at)| came_at)
    }

    /// For how long it has owed us a block without giving any; zero where it owes none.
    pub fn stalled_for(&self, now: Instant) -> Duration {
        self.requests.owing_since().map_or(Duration::ZERO, |since| now - since)
    }

    /// The blocks that it waits for, oldest first.
    pub fn wanted(&self) -> impl Iterator<Item = Block> + '_ {
        self.wanted.iter()
    }

    /// How many blocks it [waits](Self::wanted) for.
    pub fn wanted_count(&self) -> usize {
        self.wanted.len()
    }

    /// Bytes that were sent and that the kernel has not taken yet. A torrent gives no block while these are many, so
    /// that a choke or a cancel still finds it waiting.
    pub fn unsent(&self) -> u64 {
        self.outbox.unsent()
    }

    /// Bytes of blocks that were asked for and came.
    pub fn received(&self) -> u64 {
        self.blocks.received
    }

    /// Bytes of blocks that came too late, or were not wanted any more.
    pub fn wasted(&self) -> u64 {
        self.blocks.wasted
    }

    /// Bytes of blocks that were given to the link.
    pub fn sent(&self) -> u64 {
        self.blocks.sent
    }

    /// The name of its client as it gives it; for people only through
    /// [`Printable`](crate::wire::printable::Printable).
    pub fn client(&self) -> Option<&str> {
        self.extended.as_ref()?.client.as_deref()
    }

    /// How many requests it keeps (BEP 10, `reqq`), at most 2,000; what most clients keep where it does not say.
    pub fn request_queue(&self) -> u32 {
        self.extended.as_ref().and_then(|extended| extended.request_queue).unwrap_or(DEFAULT_QUEUE)
    }

    /// The port that others reach it at, where it says so (BEP 10, `p`).
    pub fn listen_port(&self) -> Option<u16> {
        self.extended.as_ref()?.listen_port
    }

    /// The address that it sees us at (BEP 10, `yourip`).
    pub fn external_ip(&self) -> Option<IpAddr> {
        self.extended.as_ref()?.external_ip
    }
}

/// BEP 10: what libtorrent keeps, and the least of what others do.
const DEFAULT_QUEUE: u32 = 250;
