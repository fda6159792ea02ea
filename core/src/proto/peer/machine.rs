//! Machine: one peer of one torrent, from the handshake to the end.

use super::{Arrival, CloseReason, Output, PeerConfig};
use crate::base::disk::FileKey;
use crate::base::{Bitfield, Block, BlockData, Instant, LinkInput, LinkOutput, PieceGrid, PieceIndex};
use crate::wire::peer::{Features, Pex};
use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

/// One peer of one torrent. It keeps the rules of the conversation on both sides; what to ask for, whom to choke and
/// what to answer is the torrent's to decide.
///
/// Small messages of one turn leave together: commands put them aside, and [`flush`](Self::flush) sends them, which
/// is due at once ([`poll_timeout`](Self::poll_timeout)). A torrent calls it when it has settled.
#[derive(Debug)]
pub struct Peer {
    config: Arc<PeerConfig>,
    grid: Option<PieceGrid>,
    remote: SocketAddr,
    credit: u64,
    outputs: VecDeque<Output>,
    closed: bool,
}

impl Peer {
    /// A peer that is being dialled; its link will say [`Opened`](LinkInput::Opened). Without a grid while the
    /// metadata is missing.
    pub fn connecting(
        now: Instant,
        config: Arc<PeerConfig>,
        grid: Option<PieceGrid>,
        remote: SocketAddr,
    ) -> Self {
        let _ = now;
        Self { config, grid, remote, credit: 0, outputs: VecDeque::new(), closed: false }
    }

    /// A peer that connected to us; its link is open.
    pub fn accepted(
        now: Instant,
        config: Arc<PeerConfig>,
        grid: Option<PieceGrid>,
        remote: SocketAddr,
        arrival: Arrival,
    ) -> Self {
        let _ = (now, arrival);
        Self { config, grid, remote, credit: 0, outputs: VecDeque::new(), closed: false }
    }

    /// What happened on the link.
    pub fn handle_input(&mut self, now: Instant, input: LinkInput) {
        let _ = (now, input);
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) gave.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Sends the small messages that commands and answers left, in one piece.
    pub fn flush(&mut self, now: Instant) {
        let _ = now;
    }

    /// Lets the link read this many bytes more.
    pub fn grant(&mut self, now: Instant, bytes: u32) {
        let _ = now;
        self.credit += u64::from(bytes);
        self.outputs.push_back(Output::Link(LinkOutput::Credit(bytes)));
    }

    /// Says which pieces we have, once and as the first command after [`Output::Greeted`]; what we can do beyond
    /// BEP 3 follows it. Without metadata the field has no bits.
    pub fn announce_have(&mut self, have: &Bitfield) {
        let _ = have;
    }

    /// Says that we have a piece more. Nothing before [`announce_have`](Self::announce_have).
    pub fn have(&mut self, piece: PieceIndex) {
        let _ = piece;
    }

    /// Takes a `have` back, where the peer understands that (BEP 54).
    pub fn dont_have(&mut self, piece: PieceIndex) {
        let _ = piece;
    }

    /// Says whether we want pieces from the peer, if that changes.
    pub fn interested(&mut self, interested: bool) {
        let _ = interested;
    }

    /// Stops answering the peer's requests: those that wait are rejected, or forgotten where there is no Fast
    /// extension. Requests for pieces given by [`allow_fast`](Self::allow_fast) stay.
    pub fn choke(&mut self) {}

    /// Begins to answer the peer's requests.
    pub fn unchoke(&mut self) {}

    /// Asks for a block. `false`, and nothing happens, where the peer may not be asked now: it chokes us and has not
    /// allowed the piece, it does not have the piece, we are not interested, or too much is asked for already.
    pub fn request(&mut self, now: Instant, block: Block) -> bool {
        let _ = (now, block);
        false
    }

    /// Does not want a block any more; if it comes nevertheless, it is dropped.
    pub fn cancel(&mut self, block: Block) {
        let _ = block;
    }

    /// Answers a request. `false`, and nothing happens, where the peer does not wait for that block (any more).
    pub fn send_block(&mut self, now: Instant, block: Block, data: BlockData) -> bool {
        let _ = (now, block, data);
        false
    }

    /// Answers a request with bytes of files, in this order; together as many as the block has. `false` as
    /// [`send_block`](Self::send_block).
    pub fn send_block_from(&mut self, now: Instant, block: Block, spans: &[FileSpan]) -> bool {
        let _ = (now, block, spans);
        false
    }

    /// Does not answer a request: says so, where there is the Fast extension.
    pub fn reject(&mut self, block: Block) {
        let _ = block;
    }

    /// Gives pieces even while the peer is choked; where there is the Fast extension.
    pub fn allow_fast(&mut self, pieces: &[PieceIndex]) {
        let _ = pieces;
    }

    /// Would rather give this piece; where there is the Fast extension.
    pub fn suggest(&mut self, piece: PieceIndex) {
        let _ = piece;
    }

    /// Asks for a piece of the metadata. `false` where the peer gives none, or too many are asked for already.
    pub fn request_metadata(&mut self, piece: u32) -> bool {
        let _ = piece;
        false
    }

    /// Answers a request for a piece of the metadata, which has `total_size` bytes in all.
    pub fn send_metadata(&mut self, piece: u32, total_size: u32, data: &Bytes) {
        let _ = (piece, total_size, data);
    }

    /// Does not answer a request for a piece of the metadata.
    pub fn reject_metadata(&mut self, piece: u32) {
        let _ = piece;
    }

    /// Says whom we are connected to; once a minute at most (BEP 11). `false` where the peer does not want to know.
    pub fn pex(&mut self, pex: &Pex) -> bool {
        let _ = pex;
        false
    }

    /// Says whether nothing more will be asked for, to peers that understand it (BEP 21).
    pub fn upload_only(&mut self, upload_only: bool) {
        let _ = upload_only;
    }

    /// Says where our DHT node listens, where the peer has one (BEP 5).
    pub fn dht_port(&mut self, port: u16) {
        let _ = port;
    }

    /// The metadata has arrived: what the peer said of pieces before is understood now.
    pub fn set_pieces(&mut self, now: Instant, grid: PieceGrid) {
        let _ = now;
        self.grid = Some(grid);
    }

    /// Other settings, which are said anew where they differ.
    pub fn configure(&mut self, config: Arc<PeerConfig>) {
        self.config = config;
    }

    /// Ends the conversation. What was sent before still leaves.
    pub fn close(&mut self, now: Instant) {
        let _ = now;
        self.closed = true;
        self.outputs.push_back(Output::Closed(CloseReason::Local));
    }

    /// The next output; nothing else happens in here.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; [`Instant::ZERO`] is at once.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Where it is.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether the handshakes are exchanged and the conversation goes on.
    pub fn is_open(&self) -> bool {
        !self.closed
    }

    /// Bytes granted but not yet received. Stays as it is when the conversation ends.
    pub fn credit(&self) -> u64 {
        self.credit
    }

    /// What both sides can do.
    pub fn features(&self) -> Features {
        Features::default()
    }

    /// Which pieces it has; `None` before the handshakes are exchanged, and while the metadata is missing.
    pub fn has(&self) -> Option<&Bitfield> {
        None
    }

    /// Whether it has every piece.
    pub fn is_seed(&self) -> bool {
        false
    }

    /// Whether it has every piece or wants no more (BEP 21).
    pub fn is_upload_only(&self) -> bool {
        false
    }

    /// Whether we choke it.
    pub fn am_choking(&self) -> bool {
        true
    }

    /// Whether we are interested in it.
    pub fn am_interested(&self) -> bool {
        false
    }

    /// Whether it chokes us.
    pub fn peer_choking(&self) -> bool {
        true
    }

    /// Whether it is interested in us.
    pub fn peer_interested(&self) -> bool {
        false
    }

    /// The pieces that it gives although it chokes us.
    pub fn allowed_fast(&self) -> &[PieceIndex] {
        &[]
    }

    /// The blocks that were asked for and not answered or cancelled, oldest first.
    pub fn in_flight(&self) -> impl Iterator<Item = Block> + '_ {
        core::iter::empty()
    }

    /// How many blocks are [in flight](Self::in_flight).
    pub fn in_flight_count(&self) -> usize {
        0
    }

    /// When the oldest block that is [in flight](Self::in_flight) was asked for.
    pub fn oldest_request_at(&self) -> Option<Instant> {
        None
    }

    /// From the request to the arrival of the block that came last.
    pub fn last_round_trip(&self) -> Option<Duration> {
        None
    }

    /// When a block came last.
    pub fn last_block_at(&self) -> Option<Instant> {
        None
    }

    /// For how long it has owed us a block without giving any; zero where it owes none.
    pub fn stalled_for(&self, now: Instant) -> Duration {
        let _ = now;
        Duration::ZERO
    }

    /// The blocks that it waits for, oldest first.
    pub fn wanted(&self) -> impl Iterator<Item = Block> + '_ {
        core::iter::empty()
    }

    /// How many blocks it [waits](Self::wanted) for.
    pub fn wanted_count(&self) -> usize {
        0
    }

    /// Bytes that were sent and that the kernel has not taken yet. A torrent gives no block while these are many, so
    /// that a choke or a cancel still finds it waiting.
    pub fn unsent(&self) -> u64 {
        0
    }

    /// Bytes of blocks that were asked for and came.
    pub fn received(&self) -> u64 {
        0
    }

    /// Bytes of blocks that came too late, or were not wanted any more.
    pub fn wasted(&self) -> u64 {
        0
    }

    /// Bytes of blocks that were given to the link.
    pub fn sent(&self) -> u64 {
        0
    }

    /// The name of its client as it gives it; for people only through
    /// [`Printable`](crate::wire::printable::Printable).
    pub fn client(&self) -> Option<&str> {
        None
    }

    /// How many requests it keeps (BEP 10, `reqq`); what most clients keep where it does not say.
    pub fn request_queue(&self) -> u32 {
        250
    }

    /// The port that others reach it at, where it says so (BEP 10, `p`).
    pub fn listen_port(&self) -> Option<u16> {
        None
    }

    /// The address that it sees us at (BEP 10, `yourip`).
    pub fn external_ip(&self) -> Option<IpAddr> {
        None
    }

    /// The length of its metadata in bytes, where it has some and gives it (BEP 9).
    pub fn metadata_size(&self) -> Option<u32> {
        None
    }

    /// Whether it wants to know whom we are connected to (BEP 11).
    pub fn wants_pex(&self) -> bool {
        false
    }
}

/// Some bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSpan {
    /// The file.
    pub file: FileKey,
    /// Where they begin, in bytes.
    pub offset: u64,
    /// How many they are.
    pub len: u32,
}
