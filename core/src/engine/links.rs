//! Machine: the links of all downloads. For HTTP it dials hosts, keeps idle connections for the next request, holds the
//! cap per host, and paces hosts that asked for it; links to peers it only keeps the book of.

mod dials;
#[cfg(test)]
mod tests;

use self::dials::Dial;
use super::io::{LinkKey, QueryKey, TlsRequest};
use crate::base::link::ResolveError;
use crate::base::mutants::{self, Mutant};
use crate::base::{Deadlines, Family, Instant, Key, LinkInput, LinkOutput, Reach, Slab};
use crate::download::{Destination, DownloadError, Lease};
use crate::proto::http::{self, Connection, ConnectionConfig};
use crate::wire::http::Origin;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// All connections; `W` names who waits for one.
#[derive(Debug)]
pub(super) struct Links<W> {
    config: LinksConfig,
    links: Slab<Link<W>>,
    dials: Slab<Dial>,
    hosts: Slab<Host<W>>,
    /// Connections of one origin that may lead to different addresses have nothing in common: what was dialled for one
    /// must not serve the other.
    by_destination: BTreeMap<Destination, Key<Host<W>>>,
    /// How many links there are to each host name, whatever the port.
    open: BTreeMap<Arc<str>, usize>,
    queries: BTreeMap<QueryKey, Query<W>>,
    /// How many links have somebody who reads from them.
    leased: usize,
    next_query: u64,
    deadlines: Deadlines<Timer>,
    outputs: VecDeque<Output<W>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct LinksConfig {
    pub(super) connect_timeout: Duration,
    pub(super) connection: ConnectionConfig,
    pub(super) max_per_host: usize,
}

#[derive(Debug)]
pub(super) enum Output<W> {
    Resolve {
        query: QueryKey,
        host: Arc<str>,
    },
    Connect {
        link: LinkKey,
        to: SocketAddr,
        /// The own address that it comes from.
        from: Option<IpAddr>,
        tls: Option<TlsRequest>,
    },
    Link(LinkKey, LinkOutput),
    /// The connection that `who` waits for.
    Leased {
        who: W,
        lease: Lease,
    },
    /// There is none for `who`.
    Failed {
        who: W,
        error: DownloadError,
    },
    /// What `who` looked up.
    Resolved {
        who: W,
        result: Result<Vec<IpAddr>, ResolveError>,
    },
}

/// What a look-up is for.
#[derive(Debug)]
enum Query<W> {
    Dial(Key<Dial>),
    /// Only the addresses are wanted.
    Addresses(W),
}

#[derive(Debug)]
struct Link<W> {
    /// `None` of a link to a peer.
    destination: Option<Destination>,
    /// Whether it leads into the own network, or to this machine; not known of a link to a peer.
    local: bool,
    /// The family of addresses that it leads over, where it was dialled.
    family: Option<Family>,
    state: LinkState<W>,
}

impl<W> Host<W> {
    /// The other family of addresses that it is known to have besides the one that was used.
    fn family_beside(&self, used: Family) -> Option<Family> {
        let (addresses, _) = self.addresses.as_ref()?;
        let to = &self.destination;
        let allowed = addresses.iter().filter(|ip| to.from.is_none() && to.reach.allows(**ip));
        allowed.map(|ip| Family::of(*ip)).find(|family| *family != used)
    }
}

#[derive(Debug)]
enum LinkState<W> {
    Dialing { dial: Key<Dial>, attempt: u32 },
    Leased { who: W },
    Idle { connection: Box<Connection> },
}

#[derive(Debug)]
struct Host<W> {
    destination: Destination,
    /// Most recently used last: the warmest is used first.
    idle: Vec<LinkKey>,
    waiting: VecDeque<W>,
    dials: usize,
    not_before: Option<Instant>,
    addresses: Option<(Vec<IpAddr>, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Dial(Key<Dial>),
    Idle(LinkKey),
    Host(Key<HostTag>),
}

/// What the key of a [`Host`] names, whoever waits there.
#[derive(Debug)]
enum HostTag {}

impl<W: Copy + PartialEq> Links<W> {
    pub(super) fn new(config: LinksConfig) -> Self {
        Self {
            config,
            links: Slab::new(),
            dials: Slab::new(),
            hosts: Slab::new(),
            by_destination: BTreeMap::new(),
            open: BTreeMap::new(),
            queries: BTreeMap::new(),
            leased: 0,
            next_query: 0,
            deadlines: Deadlines::new(),
            outputs: VecDeque::new(),
        }
    }

    pub(super) fn set_config(&mut self, config: LinksConfig) {
        self.config = config;
    }

    /// `who` wants a connection to `destination` for one exchange.
    pub(super) fn lease(&mut self, now: Instant, destination: &Destination, who: W) {
        let host = self.host(destination);
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.waiting.push_back(who);
        }
        self.pump(now, host);
    }

    /// `who` does not want one any more.
    pub(super) fn unlease(&mut self, now: Instant, destination: &Destination, who: W) {
        let host = self.host(destination);
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.waiting.retain(|waiting| *waiting != who);
        }
        self.forget_unused(now, host);
    }

    /// An exchange is over: its connection serves the next one, unless it is closed.
    pub(super) fn release(&mut self, now: Instant, lease: Lease) {
        let Lease { link, connection, .. } = lease;
        let Some(entry) = self.links.get_mut(as_slab(link)) else { return };
        let host = entry.destination.as_ref().and_then(|destination| self.by_destination.get(destination));
        let Some(host) = host.copied() else { return };
        if connection.is_idle() {
            self.deadlines.set(Timer::Idle(link), connection.poll_timeout());
            entry.state = LinkState::Idle { connection };
            self.leased = self.leased.saturating_sub(1);
            if let Some(host) = self.hosts.get_mut(host) {
                host.idle.push(link);
            }
        } else {
            self.remove_link(link);
        }
        self.pump_all_of(now, host);
    }

    /// The connection that `who` was given must not be used: there will be a new one.
    pub(super) fn decline(&mut self, now: Instant, mut lease: Lease, who: W) {
        let entry = self.links.get(as_slab(lease.link));
        let Some(destination) = entry.and_then(|entry| entry.destination.clone()) else { return };
        lease.connection.close(now);
        while let Some(output) = lease.connection.poll_output() {
            if let http::Output::Link(output) = output {
                self.outputs.push_back(Output::Link(lease.link, output));
            }
        }
        let host = self.host(&destination);
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.waiting.push_front(who);
        }
        self.release(now, lease);
    }

    /// Nothing may be asked of `origin` before `until`.
    pub(super) fn pace(&mut self, now: Instant, origin: &Origin, until: Instant) {
        for host in self.hosts_of(origin) {
            if let Some(entry) = self.hosts.get_mut(host).filter(|_| !mutants::is(Mutant::PaceNobody)) {
                let until = entry.not_before.map_or(until, |old| old.max(until));
                entry.not_before = Some(until);
                self.deadlines.set(Timer::host(host), Some(until));
            }
            self.pump(now, host);
        }
    }

    /// Who uses the link, if it is leased.
    pub(super) fn leased_to(&self, link: LinkKey) -> Option<W> {
        match self.links.get(as_slab(link))?.state {
            LinkState::Leased { who } => Some(who),
            _ => None,
        }
    }

    /// How many links are leased.
    pub(super) fn leased(&self) -> usize {
        self.leased
    }

    /// A link to a peer for `who`.
    pub(super) fn connect(&mut self, who: W, to: SocketAddr, from: Option<IpAddr>) -> LinkKey {
        let link = self.adopt(who);
        self.outputs.push_back(Output::Connect { link, to, from, tls: None });
        link
    }

    /// A link for `who` that a peer has opened.
    pub(super) fn adopt(&mut self, who: W) -> LinkKey {
        self.leased += 1;
        let state = LinkState::Leased { who };
        as_link(self.links.insert(Link { destination: None, local: false, family: None, state }))
    }

    /// A link to a peer is somebody else's from now on.
    pub(super) fn hand_over(&mut self, link: LinkKey, who: W) {
        if let Some(entry) = self.links.get_mut(as_slab(link)) {
            entry.state = LinkState::Leased { who };
        }
    }

    /// A link to a peer is closed, or being closed.
    pub(super) fn forget(&mut self, link: LinkKey) {
        self.remove_link(link);
    }

    /// `who` wants the addresses of a host; [`Output::Resolved`] answers.
    pub(super) fn resolve(&mut self, who: W, host: Arc<str>) {
        let query = self.new_query(Query::Addresses(who));
        self.outputs.push_back(Output::Resolve { query, host });
    }

    /// Something happened on a link that is not leased.
    pub(super) fn handle_link(&mut self, now: Instant, link: LinkKey, input: LinkInput) {
        let Some(entry) = self.links.get_mut(as_slab(link)) else { return };
        match &mut entry.state {
            LinkState::Leased { .. } => {}
            LinkState::Idle { connection } => {
                connection.handle_input(now, input);
                self.check_idle(now, link);
            }
            LinkState::Dialing { dial, attempt } => {
                let (dial, attempt) = (*dial, *attempt);
                self.on_dialing(now, link, dial, attempt, input);
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.deadlines.pop_due(now) {
            match timer {
                Timer::Dial(dial) => {
                    if let Some(entry) = self.dials.get_mut(dial) {
                        entry.dialer.handle_timeout(now);
                    }
                    self.drain_dial(now, dial);
                }
                Timer::Idle(link) => {
                    if let Some(Link { state: LinkState::Idle { connection }, .. }) =
                        self.links.get_mut(as_slab(link))
                    {
                        connection.handle_timeout(now);
                    }
                    self.check_idle(now, link);
                }
                Timer::Host(host) => {
                    let host = Key::from_u64(host.as_u64());
                    if let Some(entry) = self.hosts.get_mut(host) {
                        entry.not_before = entry.not_before.filter(|at| *at > now);
                    }
                    self.pump(now, host);
                }
            }
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<Output<W>> {
        self.outputs.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Closes everything; what is leased is still so only where a download could not be stopped in time.
    pub(super) fn close_all(&mut self, now: Instant) {
        for key in self.links.keys() {
            let link = as_link(key);
            match self.links.get(key).map(|link| &link.state) {
                Some(LinkState::Dialing { dial, .. }) => {
                    let dial = *dial;
                    if let Some(entry) = self.dials.get_mut(dial) {
                        entry.dialer.abandon(now);
                    }
                    self.drain_dial(now, dial);
                    self.remove_dial(dial);
                }
                Some(_) => self.close_link(link),
                None => {}
            }
        }
    }

    // ----- private ---------------------------------------------------------------------------------------------------

    fn host(&mut self, destination: &Destination) -> Key<Host<W>> {
        if let Some(&host) = self.by_destination.get(destination) {
            return host;
        }
        // What a host said of itself holds wherever its name may lead.
        let paced = self.hosts_of(&destination.origin).into_iter();
        let not_before = paced.filter_map(|host| self.hosts.get(host)?.not_before).max();
        let host = self.hosts.insert(Host {
            destination: destination.clone(),
            idle: Vec::new(),
            waiting: VecDeque::new(),
            dials: 0,
            not_before,
            addresses: None,
        });
        self.by_destination.insert(destination.clone(), host);
        if not_before.is_some() {
            self.deadlines.set(Timer::host(host), not_before);
        }
        host
    }

    /// All hosts of that origin, wherever they may lead.
    fn hosts_of(&self, origin: &Origin) -> Vec<Key<Host<W>>> {
        let first = Destination { origin: origin.clone(), reach: Reach::Anywhere, family: None, from: None };
        let from = self.by_destination.range(first..);
        from.take_while(|(destination, _)| destination.origin == *origin).map(|(_, host)| *host).collect()
    }

    /// Serves those who wait for `host`, and dials where that is not enough.
    fn pump(&mut self, now: Instant, key: Key<Host<W>>) {
        loop {
            let Some(host) = self.hosts.get_mut(key) else { return };
            if host.waiting.is_empty() || host.not_before.is_some_and(|at| at > now) {
                break;
            }
            if let Some(link) = host.idle.pop() {
                self.lease_idle(now, key, link);
                continue;
            }
            if host.dials >= host.waiting.len() || !self.has_room(key) {
                break;
            }
            self.dial(now, key);
        }
        self.forget_unused(now, key);
    }

    /// A link to the host is gone or free: all origins of that host may find room.
    fn pump_all_of(&mut self, now: Instant, key: Key<Host<W>>) {
        let Some(name) = self.hosts.get(key).map(|host| host.destination.origin.host.clone()) else { return };
        self.pump(now, key);
        let others = self.hosts.iter().filter(|(other, host)| {
            *other != key && host.destination.origin.host == name && !host.waiting.is_empty()
        });
        let others: Vec<_> = others.map(|(other, _)| other).collect();
        for other in others {
            self.pump(now, other);
        }
    }

    /// Whether one more link to that host is allowed; an idle one to another port of it gives way.
    fn has_room(&mut self, key: Key<Host<W>>) -> bool {
        let Some(name) = self.hosts.get(key).map(|host| host.destination.origin.host.clone()) else {
            return false;
        };
        let open = self.open.get(&name).copied().unwrap_or(0);
        if open < self.config.max_per_host || mutants::is(Mutant::NoHostCap) {
            return true;
        }
        let idle = self.hosts.iter().find(|(other, host)| {
            *other != key && host.destination.origin.host == name && !host.idle.is_empty()
        });
        let Some(link) = idle.and_then(|(_, host)| host.idle.first().copied()) else { return false };
        self.close_link(link);
        true
    }

    fn lease_idle(&mut self, now: Instant, key: Key<Host<W>>, link: LinkKey) {
        self.deadlines.set(Timer::Idle(link), None);
        let Some(entry) = self.links.get_mut(as_slab(link)) else { return };
        let local = entry.local;
        let LinkState::Idle { connection } = &mut entry.state else { return };
        if !connection.is_idle() {
            self.check_idle(now, link);
            return;
        }
        let Some(host) = self.hosts.get_mut(key) else { return };
        let Some(who) = host.waiting.pop_front() else { return };
        let other_family = entry.family.and_then(|used| host.family_beside(used));
        if let LinkState::Idle { connection } =
            core::mem::replace(&mut entry.state, LinkState::Leased { who })
        {
            self.leased += 1;
            let lease = Lease { link, connection, reused: true, local, other_family };
            self.outputs.push_back(Output::Leased { who, lease });
        }
    }

    fn count_down(&mut self, name: &Arc<str>) {
        if let Some(count) = self.open.get_mut(name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.open.remove(name);
            }
        }
    }

    /// Reads what an idle connection has to say; closed ones go.
    fn check_idle(&mut self, now: Instant, link: LinkKey) {
        let Some(Link { state: LinkState::Idle { connection }, destination: Some(destination), .. }) =
            self.links.get_mut(as_slab(link))
        else {
            return;
        };
        while let Some(output) = connection.poll_output() {
            if let http::Output::Link(output) = output {
                self.outputs.push_back(Output::Link(link, output));
            }
        }
        if connection.is_idle() {
            self.deadlines.set(Timer::Idle(link), connection.poll_timeout());
            return;
        }
        let host = self.by_destination.get(destination).copied();
        self.remove_link(link);
        if let Some(host) = host {
            self.pump_all_of(now, host);
        }
    }

    fn close_link(&mut self, link: LinkKey) {
        self.outputs.push_back(Output::Link(link, LinkOutput::Close));
        self.remove_link(link);
    }

    fn remove_link(&mut self, link: LinkKey) {
        self.deadlines.set(Timer::Idle(link), None);
        let Some(entry) = self.links.remove(as_slab(link)) else { return };
        if matches!(entry.state, LinkState::Leased { .. }) {
            self.leased = self.leased.saturating_sub(1);
        }
        let Some(destination) = entry.destination else { return };
        let host = self.by_destination.get(&destination).and_then(|host| self.hosts.get_mut(*host));
        if let Some(host) = host {
            host.idle.retain(|idle| *idle != link);
        }
        self.count_down(&destination.origin.host);
    }

    fn new_query(&mut self, query: Query<W>) -> QueryKey {
        let key = QueryKey(self.next_query);
        self.next_query += 1;
        self.queries.insert(key, query);
        key
    }

    /// A host that nobody uses, paces or waits for is forgotten once its addresses are stale.
    fn forget_unused(&mut self, now: Instant, key: Key<Host<W>>) {
        let Some(host) = self.hosts.get(key) else { return };
        let fresh = host.addresses.as_ref().is_some_and(|(_, until)| *until > now);
        let used =
            !host.waiting.is_empty() || host.dials > 0 || host.not_before.is_some() || !host.idle.is_empty();
        let linked =
            || self.links.iter().any(|(_, link)| link.destination.as_ref() == Some(&host.destination));
        if let (false, Some((_, until))) = (used, &host.addresses) {
            self.deadlines.set(Timer::host(key), fresh.then_some(*until));
        }
        if !used && !fresh && !linked() {
            let destination = host.destination.clone();
            self.hosts.remove(key);
            self.by_destination.remove(&destination);
        }
    }
}

fn as_slab<W>(link: LinkKey) -> Key<Link<W>> {
    Key::from_u64(link.as_u64())
}

fn as_link<W>(key: Key<Link<W>>) -> LinkKey {
    Key::from_u64(key.as_u64())
}

impl Timer {
    fn host<W>(key: Key<Host<W>>) -> Self {
        Self::Host(Key::from_u64(key.as_u64()))
    }
}
