//! Policy: which addresses are tried, and when.
//!
//! Addresses come from strangers, so everything here is bounded: how many are kept, how many of one network, how often
//! one of them is tried. Those of private torrents come from their trackers and from the user only (BEP 27).

pub mod canonical;
pub mod filter;
pub mod pex;

pub use filter::IpFilter;

use crate::base::{Family, Instant, Rng};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where an address is from; the better known come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Somebody who uses this program.
    User,
    /// Found in the local network (BEP 14).
    Lpd,
    /// A peer that connected to us said where it listens.
    Incoming,
    /// A tracker.
    Tracker,
    /// A magnet link (`x.pe`).
    Magnet,
    /// An earlier run.
    Resume,
    /// The DHT (BEP 5).
    Dht,
    /// Another peer (BEP 11).
    Pex,
}

/// Known addresses of one torrent.
///
/// ```
/// use gosh_dl_core::base::{Instant, Rng};
/// use gosh_dl_core::download::torrent::candidates::{Candidates, Source};
///
/// let mut candidates = Candidates::new(Rng::from_seed([1; 32]));
/// let now = Instant::ZERO;
/// let address = "192.0.2.1:6881".parse().unwrap();
/// assert!(candidates.add(now, address, Source::Tracker));
/// assert_eq!(candidates.next(now), Some(address));
/// assert_eq!(candidates.next(now), None, "it is being tried");
/// ```
#[derive(Debug)]
pub struct Candidates {
    known: BTreeMap<SocketAddr, Candidate>,
    /// Those that may be tried now, best first.
    ready: BTreeSet<(Rank, SocketAddr)>,
    /// Those that may be tried later.
    waiting: BTreeSet<(Instant, SocketAddr)>,
    /// How many are known in each network.
    networks: BTreeMap<IpAddr, u32>,
    banned: BTreeMap<IpAddr, Instant>,
    selves: BTreeSet<SocketAddr>,
    filter: Arc<IpFilter>,
    own: Option<IpAddr>,
    family: Option<Family>,
    private: bool,
    low_port_at: Option<Instant>,
    rng: Rng,
}

#[derive(Debug)]
struct Candidate {
    source: Source,
    failures: u32,
    useful: bool,
    tie: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Waiting(Instant),
    Trying,
    Connected,
}

/// Less is better: those that were of use, that failed less, whose source is better; the rest as BEP 40 says.
type Rank = (bool, u32, Source, u32);

impl Candidates {
    /// Nothing is known.
    pub fn new(rng: Rng) -> Self {
        Self {
            known: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            networks: BTreeMap::new(),
            banned: BTreeMap::new(),
            selves: BTreeSet::new(),
            filter: Arc::default(),
            own: None,
            family: None,
            private: false,
            low_port_at: None,
            rng,
        }
    }

    /// The torrent is private: what other sources found is forgotten and refused from now on (BEP 27).
    pub fn go_private(&mut self) {
        self.private = true;
        let gone: Vec<_> = self
            .known
            .iter()
            .filter(|(_, c)| !is_for_private(c.source))
            .map(|(address, _)| *address)
            .collect();
        gone.into_iter().for_each(|address| self.forget(address));
    }

    /// Addresses that are never used; those that are known already are dropped.
    pub fn set_filter(&mut self, filter: Arc<IpFilter>) {
        let gone: Vec<_> = self.known.keys().copied().filter(|address| filter.blocks(address.ip())).collect();
        gone.into_iter().for_each(|address| self.forget(address));
        self.filter = filter;
    }

    /// The only family of addresses that can be connected to, if not both.
    pub fn set_family(&mut self, family: Option<Family>) {
        self.family = family;
    }

    /// Our address as others see it: the order among equals follows from it (BEP 40).
    pub fn set_own(&mut self, own: IpAddr) {
        self.own = Some(own);
    }

    /// Our address as a peer sees it, which is believed while nobody better has said it.
    pub fn guess_own(&mut self, own: IpAddr) {
        self.own = self.own.or(Some(own));
    }

    /// An address at which we listen ourselves, or at which we found ourselves.
    pub fn is_self(&mut self, address: SocketAddr) {
        self.forget(address);
        if self.selves.len() < MAX_SELVES {
            self.selves.insert(address);
        }
    }

    /// Somebody may be reached there; says whether that is new and taken.
    pub fn add(&mut self, now: Instant, address: SocketAddr, source: Source) -> bool {
        let address = canonical_form(address);
        if !self.is_usable(now, address) || (self.private && !is_for_private(source)) {
            return false;
        }
        if let Some(candidate) = self.known.get(&address) {
            if source < candidate.source {
                self.change(address, |candidate| candidate.source = source);
            }
            return false;
        }
        let network = network_of(address.ip());
        let crowded = self.networks.get(&network).is_some_and(|count| *count >= MAX_PER_NETWORK);
        if crowded && source != Source::User && is_global(address.ip()) {
            return false;
        }
        let tie = self.tie(address);
        let candidate = Candidate { source, failures: 0, useful: false, tie, state: State::Ready };
        if self.known.len() >= MAX_KNOWN && !self.make_room(candidate.rank(address)) {
            return false;
        }
        *self.networks.entry(network).or_default() += 1;
        self.ready.insert((candidate.rank(address), address));
        self.known.insert(address, candidate);
        true
    }

    /// The best address to connect to now; it counts as being tried until [`connected`](Self::connected) or
    /// [`failed`](Self::failed).
    pub fn next(&mut self, now: Instant) -> Option<SocketAddr> {
        while let Some((_, address)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.change(address, |candidate| candidate.state = State::Ready);
        }
        let mut held = 0;
        while let Some((_, address)) = self.ready.first().copied() {
            let banned = self.banned.get(&address.ip()).copied().filter(|until| *until > now);
            if let Some(until) = banned {
                self.change(address, |candidate| candidate.state = State::Waiting(until));
                continue;
            }
            let user = self.known.get(&address).is_some_and(|candidate| candidate.source == Source::User);
            if user || address.port() >= LOW_PORTS {
                self.change(address, |candidate| candidate.state = State::Trying);
                return Some(address);
            }
            // Nobody can be made to knock at the doors of a web server or a resolver in a storm.
            let next = self.low_port_at.map_or(now, |at| at + LOW_PORT_EVERY);
            if next <= now {
                self.low_port_at = Some(now);
                self.change(address, |candidate| candidate.state = State::Trying);
                return Some(address);
            }
            self.change(address, |candidate| candidate.state = State::Waiting(next));
            held += 1;
            if held == MAX_HELD {
                break;
            }
        }
        None
    }

    /// Whether an address may be tried now.
    pub fn has_ready(&self, now: Instant) -> bool {
        !self.ready.is_empty() || self.waiting.first().is_some_and(|(at, _)| *at <= now)
    }

    /// When the next address may be tried, if none may now and any may later.
    pub fn next_at(&self) -> Option<Instant> {
        if self.ready.is_empty() { self.waiting.first().map(|(at, _)| *at) } else { None }
    }

    /// Whether somebody that connects to us may stay, beside these who are connected already.
    pub fn may_connect(
        &self,
        now: Instant,
        from: SocketAddr,
        others: impl Iterator<Item = SocketAddr>,
    ) -> bool {
        let ip = canonical_form(from).ip();
        let near = |other: &SocketAddr| network_of(other.ip()) == network_of(ip);
        let crowded = is_global(ip) && others.filter(near).count() >= MAX_PER_NETWORK as usize;
        !crowded && self.banned.get(&ip).is_none_or(|until| *until <= now) && !self.filter.blocks(ip)
    }

    /// A peer is there and speaks our language.
    pub fn connected(&mut self, _now: Instant, address: SocketAddr) {
        self.change(canonical_form(address), |candidate| {
            candidate.state = State::Connected;
            candidate.failures = 0;
        });
    }

    /// It was not tried after all.
    pub fn put_back(&mut self, address: SocketAddr) {
        self.change(canonical_form(address), |candidate| candidate.state = State::Ready);
    }

    /// Nobody was there, or nobody who speaks our language.
    pub fn failed(&mut self, now: Instant, address: SocketAddr) {
        let address = canonical_form(address);
        let Some(candidate) = self.known.get(&address) else { return };
        let (first, longest) = match candidate.source {
            Source::User => (FIRST_BACKOFF_USER, LONGEST_BACKOFF_USER),
            _ => (FIRST_BACKOFF, LONGEST_BACKOFF),
        };
        let wait = first.saturating_mul(1 << candidate.failures.min(MAX_DOUBLINGS)).min(longest);
        let until = now + self.rng.jitter(wait);
        self.change(address, |candidate| {
            candidate.state = State::Waiting(until);
            candidate.failures = candidate.failures.saturating_add(1);
        });
    }

    /// The connection ended; `useful` says whether the peer ever gave us anything.
    pub fn disconnected(&mut self, now: Instant, address: SocketAddr, useful: bool) {
        let address = canonical_form(address);
        if !useful {
            self.failed(now, address);
            return;
        }
        let until = now + self.rng.jitter(FIRST_BACKOFF);
        self.change(address, |candidate| {
            candidate.state = State::Waiting(until);
            candidate.failures = 0;
            candidate.useful = true;
        });
    }

    /// It wants nothing, and neither does this side: it is let alone for [`REST`], or until [`wake`](Self::wake).
    pub fn rest(&mut self, now: Instant, address: SocketAddr) {
        self.change(canonical_form(address), |candidate| candidate.state = State::Waiting(now + REST));
    }

    /// This side wants something again: whoever waits may be tried at once.
    pub fn wake(&mut self) {
        while let Some((_, address)) = self.waiting.first().copied() {
            self.change(address, |candidate| candidate.state = State::Ready);
        }
    }

    /// No connection to that host or from it for [`BAN`]. Its addresses are forgotten, but for those that nobody will
    /// name again: they are tried when the ban is over, as without them there may be no peer at all.
    pub fn ban(&mut self, now: Instant, ip: IpAddr) {
        let ip = canonical_form(SocketAddr::new(ip, 1)).ip();
        let from = SocketAddr::new(ip, 0);
        let to = SocketAddr::new(ip, u16::MAX);
        let all: Vec<_> = self.known.range(from..=to).map(|(at, known)| (*at, known.source)).collect();
        for (address, source) in all {
            match source {
                Source::User | Source::Magnet => {
                    self.change(address, |candidate| candidate.state = State::Waiting(now + BAN));
                }
                _ => self.forget(address),
            }
        }
        self.lift_bans(now);
        if self.banned.len() >= MAX_BANNED
            && let Some(soonest) = self.banned.iter().min_by_key(|(_, until)| **until).map(|(ip, _)| *ip)
        {
            self.banned.remove(&soonest);
        }
        self.banned.insert(ip, now + BAN);
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no address is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Up to `count` addresses that were of use, to begin with in the next run.
    pub fn worth_keeping(&self, count: usize) -> impl Iterator<Item = SocketAddr> + '_ {
        let good = self.known.iter().filter(|(_, c)| c.useful || c.state == State::Connected);
        let good = good.filter(|(address, _)| !self.banned.contains_key(&address.ip()));
        good.take(count).map(|(address, _)| *address)
    }

    /// Bans that are over end.
    fn lift_bans(&mut self, now: Instant) {
        self.banned.retain(|_, until| *until > now);
    }

    fn is_usable(&mut self, now: Instant, address: SocketAddr) -> bool {
        if self.banned.get(&address.ip()).is_some_and(|until| *until <= now) {
            self.lift_bans(now);
        }
        address.port() != 0
            && is_host(address.ip())
            && self.family.is_none_or(|family| Family::of(address.ip()) == family)
            && !self.selves.contains(&address)
            && !self.banned.contains_key(&address.ip())
            && !self.filter.blocks(address.ip())
    }

    fn tie(&mut self, address: SocketAddr) -> u32 {
        match self.own {
            // BEP 40: the highest priority is the best.
            Some(own) => u32::MAX - canonical::priority(own, address.ip()),
            None => u32::try_from(self.rng.below(1 << 32)).unwrap_or(0),
        }
    }

    /// Forgets the worst that can be spared, if it is worse than `rank`.
    fn make_room(&mut self, rank: Rank) -> bool {
        if let Some((worst, address)) = self.ready.last().copied() {
            if worst > rank {
                self.forget(address);
            }
            return worst > rank;
        }
        // Those that fail for long are no loss; who waits remembers that it failed, so it goes only if nothing is ready.
        match self.waiting.last().copied() {
            Some((_, address)) => {
                self.forget(address);
                true
            }
            None => false,
        }
    }

    fn forget(&mut self, address: SocketAddr) {
        let Some(candidate) = self.known.remove(&address) else { return };
        self.unfile(&candidate, address);
        let network = network_of(address.ip());
        if let Some(count) = self.networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
    }

    fn unfile(&mut self, candidate: &Candidate, address: SocketAddr) {
        match candidate.state {
            State::Ready => _ = self.ready.remove(&(candidate.rank(address), address)),
            State::Waiting(until) => _ = self.waiting.remove(&(until, address)),
            State::Trying | State::Connected => {}
        }
    }

    /// Changes what is known of an address, and files it anew.
    fn change(&mut self, address: SocketAddr, change: impl FnOnce(&mut Candidate)) {
        let Some(mut candidate) = self.known.remove(&address) else { return };
        self.unfile(&candidate, address);
        change(&mut candidate);
        match candidate.state {
            State::Ready => _ = self.ready.insert((candidate.rank(address), address)),
            State::Waiting(until) => _ = self.waiting.insert((until, address)),
            State::Trying | State::Connected => {}
        }
        self.known.insert(address, candidate);
    }
}

impl Candidate {
    fn rank(&self, address: SocketAddr) -> Rank {
        // A low port of somebody who was never reached is most likely nobody's peer.
        let low = u32::from(address.port() < LOW_PORTS && self.source != Source::User);
        (!self.useful, self.failures.saturating_add(low), self.source, self.tie)
    }
}

/// BEP 27: peers "only from the tracker"; whoever uses this program may say more.
fn is_for_private(source: Source) -> bool {
    matches!(source, Source::Tracker | Source::User)
}

/// IPv4 that came as IPv6 is IPv4.
fn canonical_form(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether an address can be that of one host.
fn is_host(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast() || ip.octets()[0] == 0);
    !(ip.is_unspecified() || ip.is_multicast() || broadcast)
}

/// Whether an address is one of the whole internet: hosts of one's own network are not counted against each other.
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

/// What one host can have many addresses of: IPv6 networks are given out by /64.
pub(crate) fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
    }
}

/// More than a torrent ever tries before it hears of others; about 500 KiB.
const MAX_KNOWN: usize = 3000;
/// Hosts behind one address are few; those who want us to flood one name many of its ports, and those who want all our
/// connections make them from one.
const MAX_PER_NETWORK: u32 = 8;
/// We listen on a few ports at a few addresses.
const MAX_SELVES: usize = 16;
/// Whoever has more addresses to lose is not stopped by a list; about 50 KiB.
const MAX_BANNED: usize = 1024;
/// How long a ban lasts: longer than most downloads, and addresses change hands.
pub const BAN: Duration = Duration::from_secs(6 * 3600);
/// A peer that has everything may lose something some day.
pub const REST: Duration = Duration::from_secs(24 * 3600);
/// Below lie servers that are nobody's peers.
const LOW_PORTS: u16 = 1024;
/// One low port in this time, whoever named it.
const LOW_PORT_EVERY: Duration = Duration::from_secs(5);
/// Candidates on low ports that one look puts aside; the next look goes on.
const MAX_HELD: usize = 64;
/// A peer that is not there is most likely gone for a while.
const FIRST_BACKOFF: Duration = Duration::from_secs(15);
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);
/// What the user names is likely to start soon.
const FIRST_BACKOFF_USER: Duration = Duration::from_secs(2);
const LONGEST_BACKOFF_USER: Duration = Duration::from_secs(120);
/// Enough to reach the longest wait from the first.
const MAX_DOUBLINGS: u32 = 10;

#[cfg(test)]
mod tests;
