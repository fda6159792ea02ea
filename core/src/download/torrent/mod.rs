//! Machine: one torrent, a router over its policies and children.
//!
//! [`Picker`] says which block is asked for next, [`Choker`] who may download from this side, [`Candidates`] whom to
//! connect to, [`Pipeline`](pipeline::Pipeline) how much is asked of a peer at once, [`MetadataFetch`] who is asked for the info
//! dictionary; [`TorrentFiles`] are the files, [`Announcer`] the trackers, and each [`Peer`](crate::proto::peer::Peer) is one conversation.
//!
//! ```text
//! (magnet) Connecting ─▶ metadata ─▶ Checking ─▶ Connecting ─▶ Downloading ─▶ Finishing ─▶ Seeding ─▶ Ended
//! ```

pub mod announcer;
mod blame;
pub mod candidates;
pub mod choker;
mod connections;
pub mod files;
pub mod layout;
pub mod metadata;
mod metainfo;
mod peers;
pub mod picker;
mod pieces;
pub mod pipeline;
mod plan;
mod priorities;
pub(crate) mod reach;
mod reading;
mod routing;
pub mod super_seed;
mod trackers;
pub(crate) mod trail;
mod upload;
mod views;
pub mod web_seed;
mod web_seeds;

pub use self::files::FilesSaved;
pub use self::plan::{Goal, TorrentPlan, TorrentSaved, TorrentStart};
pub use self::priorities::file_priorities;
pub use self::reach::ReachError;
pub use self::trail::RedirectError;
pub use self::views::PeerView;
pub use self::web_seeds::{MAX_WEB_SEEDS, SeedKey, WebSeedView};

use self::announcer::Announcer;
use self::candidates::pex::PexJournal;
use self::candidates::{Candidates, Source};
use self::choker::Choker;
use self::files::TorrentFiles;
use self::metadata::MetadataFetch;
use self::peers::PeerSlot;
use self::picker::Picker;
use self::super_seed::SuperSeed;
use self::web_seeds::SeedSlot;
use super::lease::{self, Lease};
use super::reading::{ReadDone, Reading};
use super::{DownloadError, End};
use crate::base::disk::{DirKey, DiskError, DiskOp, DiskResult};
use crate::base::link::{LinkKey, ResolveError};
use crate::base::{Block, Deadlines, Instant, Key, LinkInput, LinkOutput, RateMeter, Rng, Slab};
use crate::proto::peer::{Arrival, PeerConfig};
use crate::wire::torrent::Metainfo;
use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;
use std::sync::Arc;

/// Names a peer of a torrent.
pub type PeerKey = Key<PeerSlot>;

/// Names what a link of a torrent is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// A conversation with a peer.
    Peer(PeerKey),
    /// An exchange with a tracker, or the look-up of its name.
    Tracker(announcer::SlotKey),
    /// An exchange with a web seed.
    WebSeed(SeedKey, web_seed::SlotKey),
    /// The look-up of a host that a magnet link names, with the port of the peer there.
    Host(u16),
}

/// Who sends blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sender {
    Peer(PeerKey),
    WebSeed(SeedKey),
}

/// What a torrent asks for, or tells.
#[derive(Debug)]
pub enum Output {
    /// A link to a peer; [`Torrent::dialled`] is told its key at once, or [`Torrent::not_dialled`] answers.
    Dial {
        /// The peer.
        peer: PeerKey,
        /// Its address.
        to: SocketAddr,
    },
    /// A link to a peer is closed.
    Gone(LinkKey),
    /// A connection for an exchange, or what is done with one; [`Torrent::leased`] or [`Torrent::lease_failed`] answers.
    Lease(lease::Output<Lane>),
    /// Do something on the link to a peer.
    Link(LinkKey, LinkOutput),
    /// Look up a host name; [`Torrent::resolved`] answers.
    Resolve {
        /// Who asks.
        lane: Lane,
        /// The name.
        host: Arc<str>,
    },
    /// Send a datagram, from the socket of the address's family.
    Datagram {
        /// Where to.
        to: SocketAddr,
        /// What.
        bytes: Bytes,
    },
    /// Perform a disk operation.
    Disk(files::DiskTag, DiskOp),
    /// Put [`Torrent::saved`] into the store at once; [`Torrent::recorded`] answers.
    Record,
    /// Put [`Torrent::saved`] into the store some time.
    Durable,
    /// The metainfo has come from peers: [`Torrent::metainfo`] has it for the store.
    Metainfo,
    /// A tracker has something to say to the user; safe to show.
    Message(String),
    /// A check that was asked for is over.
    Checked {
        /// How many pieces of wanted files are not there, or not right.
        bad: u32,
    },
    /// All that is wanted is verified, synced and under its final names. Seeding follows, or the end.
    Completed,
    /// What [`Torrent::read`] asked for is here, or will not be.
    ReadDone(ReadDone),
    /// It is over; nothing follows.
    Ended(End),
}

/// Where a torrent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What is on the disk is being looked at.
    Checking,
    /// Nothing has arrived yet.
    Connecting,
    /// Data arrives.
    Downloading,
    /// Everything arrived; it is being synced and named.
    Finishing,
    /// Others are served.
    Seeding,
    /// Coming to rest.
    Stopping,
    /// At rest.
    Ended,
}

/// One torrent.
#[derive(Debug)]
pub struct Torrent {
    plan: Arc<TorrentPlan>,
    config: Arc<PeerConfig>,
    rng: Rng,
    phase: Phase,
    /// What is fetched; `None` until the metainfo is known.
    content: Option<Content>,
    metadata: MetadataFetch<PeerKey>,
    dir: Option<Result<DirKey, DiskError>>,
    /// What an earlier life left, until the files take it over.
    start: TorrentSaved,
    keys: u64,
    peers: Slab<PeerSlot>,
    seeds: Slab<SeedSlot>,
    candidates: Candidates,
    /// Whether there was no room for the last link that was asked for: other torrents hold all.
    crowded: bool,
    choker: Choker<PeerKey>,
    /// When seeding ends.
    goal: Goal,
    pex: PexJournal,
    /// When a peer that was idle made room for one that is dialled.
    parted_at: Instant,
    announcer: Announcer,
    /// Whether the trackers have been taken leave of, or were never told.
    announced: Announced,
    /// What peers are shown while it is seeded as if it had nothing (BEP 16).
    super_seed: Option<SuperSeed<PeerKey>>,
    uploads: upload::Uploads,
    reads: upload::Reads,
    blame: blame::Blame,
    reading: Reading,
    touched: VecDeque<Child>,
    /// Peers with small messages that wait to leave together.
    unflushed: VecDeque<PeerKey>,
    /// Peers whose links may want credit.
    hungry: VecDeque<Lane>,
    /// Credit that the links of peers hold, in bytes.
    credit: u64,
    /// Room for what is picked.
    picked: Vec<Block>,
    /// Whether blocks became free that a peer with nothing to do could fetch.
    blocks_freed: bool,
    deadlines: Deadlines<Timer>,
    down: RateMeter,
    up: RateMeter,
    downloaded: u64,
    uploaded: u64,
    /// When it became whole in this life.
    seeding_since: Option<Instant>,
    stop: Option<Stop>,
    outputs: VecDeque<Output>,
}

/// What is known once the metainfo is.
#[derive(Debug)]
struct Content {
    metainfo: Arc<Metainfo>,
    files: TorrentFiles,
    /// Once it is known what is there.
    picker: Option<Picker<Sender>>,
}

/// Whose outputs are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    Peer(PeerKey),
    WebSeed(SeedKey),
    Files,
    Announcer,
}

/// What can be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Peer(PeerKey),
    WebSeed(SeedKey),
    Files,
    Announcer,
    /// New peers may be connected to.
    Connect,
    /// It is decided anew who is unchoked.
    Choke,
    /// Peers that let requests lie are looked for.
    Requests,
    /// Peers are told of each other.
    Pex,
    /// Parts of the info dictionary may be asked for again.
    Metadata,
    /// Seeding has lasted long enough.
    Goal,
}

/// How far the trackers are with a torrent that stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    /// They were not told of this life.
    Never,
    /// They know of it.
    Started,
    /// They are being taken leave of.
    Leaving,
    /// They have been.
    Left,
}

/// How it comes to rest.
#[derive(Debug)]
struct Stop {
    /// What is said in the end, if the files have nothing worse to say.
    end: End,
    /// Whether the files are at rest.
    files: bool,
}

impl Torrent {
    /// A torrent that starts, or goes on where `start` says.
    pub fn new(now: Instant, plan: Arc<TorrentPlan>, start: TorrentStart) -> Self {
        let TorrentStart { metainfo, saved, keys, mut rng } = start;
        let config = Arc::new(plan.peer_config(metainfo.as_deref()));
        let announcer = Announcer::new(now, plan.announce_plan(metainfo.as_deref(), &mut rng), rng.fork());
        let mut torrent = Self {
            config,
            phase: Phase::Connecting,
            content: None,
            metadata: MetadataFetch::new(),
            dir: None,
            keys,
            peers: Slab::new(),
            seeds: Slab::new(),
            candidates: plan.candidates(metainfo.as_deref(), rng.fork()),
            crowded: false,
            choker: Choker::new(plan.upload_slots, plan.upload_limit),
            goal: plan.goal,
            pex: PexJournal::new(),
            parted_at: now,
            announcer,
            announced: Announced::Never,
            super_seed: None,
            uploads: upload::Uploads::default(),
            reads: upload::Reads::default(),
            blame: blame::Blame::default(),
            reading: Reading::default(),
            touched: VecDeque::new(),
            unflushed: VecDeque::new(),
            hungry: VecDeque::new(),
            credit: 0,
            picked: Vec::new(),
            blocks_freed: false,
            deadlines: Deadlines::new(),
            down: RateMeter::new(now),
            up: RateMeter::new(now),
            downloaded: saved.downloaded,
            uploaded: saved.uploaded,
            seeding_since: None,
            stop: None,
            outputs: VecDeque::new(),
            start: saved,
            rng,
            plan,
        };
        match metainfo {
            Some(metainfo) => torrent.know(now, metainfo),
            None => torrent.join_swarm(now),
        }
        torrent.settle(now);
        torrent
    }

    /// The directory is open, or cannot be.
    pub fn dir_ready(&mut self, now: Instant, dir: Result<DirKey, DiskError>) {
        self.dir = Some(dir);
        self.with_files(|files| files.dir_ready(now, dir));
        self.settle(now);
    }

    /// The link to a peer that [`Output::Dial`] asked for.
    pub fn dialled(&mut self, peer: PeerKey, link: LinkKey) {
        if let Some(slot) = self.peers.get_mut(peer) {
            slot.link = Some(link);
        }
        self.crowded = false;
    }

    /// There is no room for the link that [`Output::Dial`] asked for.
    pub fn not_dialled(&mut self, now: Instant, peer: PeerKey) {
        self.undo_dial(now, peer);
        self.settle(now);
    }

    /// A peer has connected and greeted: takes it, or refuses it with `None`.
    pub fn accept(
        &mut self,
        now: Instant,
        link: LinkKey,
        from: SocketAddr,
        arrival: Arrival,
    ) -> Option<PeerKey> {
        let peer = self.admit(now, link, from, arrival);
        self.settle(now);
        peer
    }

    /// Something happened on a link.
    pub fn handle_link(&mut self, now: Instant, lane: Lane, input: LinkInput) {
        match lane {
            Lane::Peer(peer) => self.on_link(now, peer, input),
            Lane::WebSeed(seed, slot) => self.with_seed(seed, |seed| seed.handle_link(now, slot, input)),
            Lane::Tracker(slot) => {
                self.announcer.handle_link(now, slot, input);
                self.feed_tracker(slot);
                self.touched.push_back(Child::Announcer);
            }
            Lane::Host(_) => {}
        }
        self.settle(now);
    }

    /// The connection that an exchange waits for. `reused` tells that it has served before.
    pub fn leased(&mut self, now: Instant, lane: Lane, lease: Lease) {
        match lane {
            Lane::Tracker(slot) => {
                self.announcer.leased(now, slot, lease);
                self.feed_tracker(slot);
                self.touched.push_back(Child::Announcer);
            }
            Lane::WebSeed(seed, slot) if self.seeds.contains(seed) => {
                self.with_seed(seed, |seed| seed.leased(now, slot, lease));
            }
            Lane::WebSeed(..) | Lane::Peer(_) | Lane::Host(_) => {
                self.outputs.push_back(Output::Lease(lease::Output::Release(lease)));
            }
        }
        self.settle(now);
    }

    /// There is no connection for an exchange.
    pub fn lease_failed(&mut self, now: Instant, lane: Lane, error: DownloadError) {
        match lane {
            Lane::Tracker(slot) => {
                self.announcer.lease_failed(now, slot, error);
                self.touched.push_back(Child::Announcer);
            }
            Lane::WebSeed(seed, slot) => self.with_seed(seed, |seed| seed.lease_failed(now, slot, error)),
            Lane::Peer(_) | Lane::Host(_) => {}
        }
        self.settle(now);
    }

    /// A look-up ended.
    pub fn resolved(&mut self, now: Instant, lane: Lane, result: Result<Vec<IpAddr>, ResolveError>) {
        match (lane, result) {
            (Lane::Tracker(slot), result) => {
                self.announcer.resolved(now, slot, result);
                self.touched.push_back(Child::Announcer);
            }
            (Lane::Host(port), Ok(ips)) if self.wants_peers() => {
                let found: Vec<_> = ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
                self.on_peers_found(now, &found, Source::Magnet);
            }
            _ => {}
        }
        self.settle(now);
    }

    /// A datagram arrived that may be for it; says whether it was.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> bool {
        let ours = self.announcer.awaits_datagrams() && self.announcer.handle_datagram(now, from, bytes);
        if ours {
            self.touched.push_back(Child::Announcer);
            self.settle(now);
        }
        ours
    }

    /// The disk operation with that tag ended.
    pub fn handle_disk(&mut self, now: Instant, tag: files::DiskTag, result: DiskResult) {
        self.with_files(|files| files.handle_disk(now, tag, result));
        self.settle(now);
    }

    /// The store knows what [`saved`](Self::saved) said.
    pub fn recorded(&mut self, now: Instant) {
        self.with_files(|files| files.recorded(now));
        self.settle(now);
    }

    /// Makes what arrived durable; [`Output::Durable`] follows.
    pub fn checkpoint(&mut self, now: Instant) {
        self.with_files(|files| files.checkpoint(now));
        self.settle(now);
    }

    /// The port at which peers reach this side is known, or has changed.
    pub fn set_port(&mut self, now: Instant, port: u16) {
        self.announcer.set_port(port);
        let config = PeerConfig { listen_port: Some(port), ..(*self.config).clone() };
        self.configure(now, config);
        self.settle(now);
    }

    /// Stops, keeping what arrived.
    pub fn stop(&mut self, now: Instant) {
        self.leave(now, End::Stopped);
        self.with_files(|files| files.stop(now));
        self.settle(now);
    }

    /// Stops because of `error`, keeping what arrived.
    pub fn fail(&mut self, now: Instant, error: DownloadError) {
        self.leave(now, End::Failed(error));
        self.with_files(|files| files.stop(now));
        self.settle(now);
    }

    /// Stops and removes what arrived.
    pub fn discard(&mut self, now: Instant) {
        self.leave(now, End::Stopped);
        self.with_files(|files| files.discard(now));
        self.settle(now);
    }

    /// Hashes everything that is on the disk; [`Output::Checked`] follows.
    pub fn check(&mut self, now: Instant) {
        self.with_files(|files| files.check(now, files::CheckScope::All));
        self.settle(now);
    }

    /// Asks all trackers now.
    pub fn reannounce(&mut self, now: Instant) {
        self.announcer.reannounce(now);
        self.touched.push_back(Child::Announcer);
        self.settle(now);
    }

    /// Asks all trackers how many seeders and leechers there are (BEP 48).
    pub fn scrape(&mut self, now: Instant) {
        self.announcer.scrape(now);
        self.touched.push_back(Child::Announcer);
        self.settle(now);
    }

    /// One more tracker; says whether it is new.
    pub fn add_tracker(&mut self, now: Instant, url: &str) -> bool {
        let added = self.announcer.add_tracker(now, url, usize::MAX);
        self.touched.push_back(Child::Announcer);
        self.settle(now);
        added
    }

    /// An address that the user knows of.
    pub fn add_peer(&mut self, now: Instant, address: SocketAddr) {
        self.candidates.add(now, address, candidates::Source::User);
        self.connect_more(now);
        self.settle(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.settle(now);
    }

    /// The next thing that is asked for.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Ended { None } else { self.deadlines.next() }
    }
}

#[cfg(test)]
mod tests;
