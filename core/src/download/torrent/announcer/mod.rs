//! Machine: the trackers of one torrent (BEP 12).

mod plan;
mod status;

pub use self::plan::{AnnouncePlan, Totals};
pub use self::status::{TrackerState, TrackerStatus};

use crate::base::link::{LinkKey, ResolveError};
use crate::base::{Instant, Key, LinkInput, LinkOutput, Rng};
use crate::download::DownloadError;
use crate::proto::http::Connection;
use crate::wire::http::Origin;
use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;
use std::sync::Arc;

/// Names one exchange with a tracker, or one look-up of its name.
pub type SlotKey = Key<Slot>;

/// What a [`SlotKey`] names.
#[derive(Debug)]
pub struct Slot {}

/// What an announcer asks for, or has found.
#[derive(Debug)]
pub enum Output {
    /// A connection to `origin` for one exchange; [`Announcer::leased`] or [`Announcer::lease_failed`] answers.
    Lease {
        /// The exchange.
        slot: SlotKey,
        /// The host.
        origin: Origin,
    },
    /// The connection is not wanted any more.
    Unlease {
        /// The exchange.
        slot: SlotKey,
        /// The host.
        origin: Origin,
    },
    /// The exchange is over: the connection is idle or closed.
    Release {
        /// The link under it.
        link: LinkKey,
        /// The connection.
        connection: Box<Connection>,
    },
    /// Do something on a link.
    Link(LinkKey, LinkOutput),
    /// Look up a host name, never an IP literal; [`Announcer::resolved`] answers.
    Resolve {
        /// Names the look-up.
        query: SlotKey,
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
    /// Addresses of peers that a tracker sent, at most [`MAX_PEERS`](crate::wire::tracker::MAX_PEERS); ports are never zero.
    Peers(Vec<SocketAddr>),
    /// The address under which a tracker sees this side (BEP 24).
    ExternalIp(IpAddr),
    /// A tracker has something to say to the user.
    Message {
        /// Its URL; safe to show.
        tracker: String,
        /// What it says; safe to show.
        text: String,
        /// Whether it refused.
        kind: MessageKind,
    },
    /// Nothing is under way any more after [`Announcer::stop`].
    Stopped,
}

/// What a tracker's message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// It answered all the same.
    Warning,
    /// It refused.
    Failure,
}

/// All trackers of one torrent.
#[derive(Debug)]
pub struct Announcer {
    plan: AnnouncePlan,
    totals: Totals,
    outputs: VecDeque<Output>,
}

impl Announcer {
    /// An announcer that is at rest; [`start`](Self::start) begins.
    pub fn new(_now: Instant, plan: AnnouncePlan, _rng: Rng) -> Self {
        Self { plan, totals: Totals::default(), outputs: VecDeque::new() }
    }

    /// Tells the trackers that this side takes part, and keeps them told. Also after [`Output::Stopped`].
    pub fn start(&mut self, _now: Instant) {}

    /// Tells the trackers that the last missing byte has arrived.
    pub fn completed(&mut self, _now: Instant) {}

    /// Takes leave of all trackers that know of this side; [`Output::Stopped`] follows within [`STOP_TIME`].
    pub fn stop(&mut self, _now: Instant) {
        self.outputs.push_back(Output::Stopped);
    }

    /// The user wants all trackers asked now.
    pub fn reannounce(&mut self, _now: Instant) {}

    /// There are few peers: asks for more as soon as the trackers allow.
    pub fn want_peers(&mut self, _now: Instant) {}

    /// Asks for the numbers of seeders and leechers (BEP 48).
    pub fn scrape(&mut self, _now: Instant) {}

    /// One more tracker, in a tier of its own where `tier` is past the last. Says whether it is new.
    pub fn add_tracker(&mut self, _now: Instant, _url: &str, _tier: usize) -> bool {
        false
    }

    /// What has been moved so far; the next announce carries it.
    pub fn set_totals(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// The port at which peers reach this side has changed.
    pub fn set_port(&mut self, port: u16) {
        self.plan.port = port;
    }

    /// The connection that an exchange waits for. `reused` tells that it has served before.
    pub fn leased(
        &mut self,
        _now: Instant,
        _slot: SlotKey,
        link: LinkKey,
        connection: Box<Connection>,
        _reused: bool,
    ) {
        self.outputs.push_back(Output::Release { link, connection });
    }

    /// There is no connection for an exchange.
    pub fn lease_failed(&mut self, _now: Instant, _slot: SlotKey, _error: DownloadError) {}

    /// Something happened on the link of an exchange.
    pub fn handle_link(&mut self, _now: Instant, _slot: SlotKey, _input: LinkInput) {}

    /// Lets the link of an exchange read `bytes` more.
    pub fn grant(&mut self, _now: Instant, _slot: SlotKey, _bytes: u32) {}

    /// A look-up ended.
    pub fn resolved(&mut self, _now: Instant, _query: SlotKey, _result: Result<Vec<IpAddr>, ResolveError>) {}

    /// A datagram arrived. Says whether it was for this announcer.
    pub fn handle_datagram(&mut self, _now: Instant, _from: SocketAddr, _bytes: &[u8]) -> bool {
        false
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// The next thing that is asked for or was found; nothing else happens in here.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    // ----- views -----------------------------------------------------------------------------------------------------

    /// All trackers, in the order in which they are asked.
    pub fn trackers(&self) -> Vec<TrackerStatus> {
        Vec::new()
    }

    /// How much more the link of an exchange may read: granted and not used; `None` if it wants nothing.
    pub fn credit(&self, _slot: SlotKey) -> Option<u64> {
        None
    }

    /// Whether the exchange waits for the beginning of an answer, which is short.
    pub fn is_asking(&self, _slot: SlotKey) -> bool {
        false
    }

    /// Whether the exchange may go over a connection to `ip`, which its host's name was resolved to: what a torrent
    /// or a redirect names must not lead to services of the own machine or network that are no trackers.
    pub fn may_reach(&self, _slot: SlotKey, _ip: IpAddr) -> bool {
        true
    }

    /// Whether a datagram of a tracker may come: where not, [`handle_datagram`](Self::handle_datagram) need not be asked.
    pub fn awaits_datagrams(&self) -> bool {
        false
    }
}

/// How long the leave-taking from all trackers takes at most: a shutdown waits for it.
pub const STOP_TIME: core::time::Duration = core::time::Duration::from_millis(2500);
