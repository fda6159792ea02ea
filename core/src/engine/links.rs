//! Machine: the links of all downloads. For HTTP it dials hosts, keeps idle connections for the next request, holds the
//! cap per host, and paces hosts that asked for it; links to peers it only keeps the book of.

use super::io::{LinkKey, QueryKey, TlsRequest};
use crate::base::link::ResolveError;
use crate::base::mutants::{self, Mutant};
use crate::base::{Deadlines, Instant, Key, LinkInput, LinkOutput, Slab};
use crate::download::DownloadError;
use crate::proto::dial::{self, DialConfig, DialError, DialHost, Dialer};
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
    by_origin: BTreeMap<Origin, Key<Host<W>>>,
    /// How many links there are to each host name, whatever the port.
    open: BTreeMap<Arc<str>, usize>,
    queries: BTreeMap<QueryKey, Query<W>>,
    /// How many links have somebody who reads from them.
    leased: usize,
    next_query: u64,
    deadlines: Deadlines<Timer<W>>,
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
        link: LinkKey,
        connection: Box<Connection>,
        reused: bool,
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
    origin: Option<Origin>,
    state: LinkState<W>,
}

#[derive(Debug)]
enum LinkState<W> {
    Dialing { dial: Key<Dial>, attempt: u32 },
    Leased { who: W },
    Idle { connection: Box<Connection> },
}

#[derive(Debug)]
struct Dial {
    origin: Origin,
    dialer: Dialer,
    attempts: BTreeMap<u32, LinkKey>,
    query: Option<QueryKey>,
}

#[derive(Debug)]
struct Host<W> {
    origin: Origin,
    /// Most recently used last: the warmest is used first.
    idle: Vec<LinkKey>,
    waiting: VecDeque<W>,
    dials: usize,
    not_before: Option<Instant>,
    addresses: Option<(Vec<IpAddr>, Instant)>,
}

enum Timer<W> {
    Dial(Key<Dial>),
    Idle(LinkKey),
    Host(Key<Host<W>>),
}

impl<W: Copy + PartialEq> Links<W> {
    pub(super) fn new(config: LinksConfig) -> Self {
        Self {
            config,
            links: Slab::new(),
            dials: Slab::new(),
            hosts: Slab::new(),
            by_origin: BTreeMap::new(),
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

    /// `who` wants a connection to `origin` for one exchange.
    pub(super) fn lease(&mut self, now: Instant, origin: &Origin, who: W) {
        let host = self.host(origin);
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.waiting.push_back(who);
        }
        self.pump(now, host);
    }

    /// `who` does not want one any more.
    pub(super) fn unlease(&mut self, now: Instant, origin: &Origin, who: W) {
        let host = self.host(origin);
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.waiting.retain(|waiting| *waiting != who);
        }
        self.forget_unused(now, host);
    }

    /// An exchange is over: its connection serves the next one, unless it is closed.
    pub(super) fn release(&mut self, now: Instant, link: LinkKey, connection: Box<Connection>) {
        let Some(entry) = self.links.get_mut(as_slab(link)) else { return };
        let Some(host) = entry.origin.as_ref().and_then(|origin| self.by_origin.get(origin)).copied() else {
            return;
        };
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
    pub(super) fn decline(&mut self, now: Instant, link: LinkKey, mut connection: Box<Connection>, who: W) {
        let Some(origin) = self.links.get(as_slab(link)).and_then(|entry| entry.origin.clone()) else {
            return;
        };
        connection.close(now);
        while let Some(output) = connection.poll_output() {
            if let http::Output::Link(output) = output {
                self.outputs.push_back(Output::Link(link, output));
            }
        }
        let host = self.host(&origin);
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.waiting.push_front(who);
        }
        self.release(now, link, connection);
    }

    /// Nothing may be asked of `origin` before `until`.
    pub(super) fn pace(&mut self, now: Instant, origin: &Origin, until: Instant) {
        let host = self.host(origin);
        if let Some(entry) = self.hosts.get_mut(host).filter(|_| !mutants::is(Mutant::PaceNobody)) {
            let until = entry.not_before.map_or(until, |old| old.max(until));
            entry.not_before = Some(until);
            self.deadlines.set(Timer::Host(host), Some(until));
        }
        self.pump(now, host);
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
        let from = from.filter(|from| from.is_ipv6() == to.is_ipv6());
        self.outputs.push_back(Output::Connect { link, to, from, tls: None });
        link
    }

    /// A link for `who` that a peer has opened.
    pub(super) fn adopt(&mut self, who: W) -> LinkKey {
        self.leased += 1;
        as_link(self.links.insert(Link { origin: None, state: LinkState::Leased { who } }))
    }

    /// A link to a peer is somebody else's from now on.
    pub(super) fn hand_over(&mut self, link: LinkKey, who: W) {
        if let Some(entry) = self.links.get_mut(as_slab(link)) {
            entry.state = LinkState::Leased { who };
        }
    }

    /// A link to a peer is not wanted.
    pub(super) fn hang_up(&mut self, link: LinkKey) {
        if self.links.contains(as_slab(link)) {
            self.outputs.push_back(Output::Link(link, LinkOutput::Close));
            self.remove_link(link);
        }
    }

    /// A link to a peer is closed.
    pub(super) fn forget(&mut self, link: LinkKey) {
        self.remove_link(link);
    }

    /// `who` wants the addresses of a host; [`Output::Resolved`] answers.
    pub(super) fn resolve(&mut self, who: W, host: Arc<str>) {
        let query = self.new_query(Query::Addresses(who));
        self.outputs.push_back(Output::Resolve { query, host });
    }

    pub(super) fn handle_resolved(
        &mut self,
        now: Instant,
        query: QueryKey,
        result: Result<Vec<IpAddr>, ResolveError>,
    ) {
        let dial = match self.queries.remove(&query) {
            Some(Query::Dial(dial)) => dial,
            Some(Query::Addresses(who)) => {
                self.outputs.push_back(Output::Resolved { who, result });
                return;
            }
            None => return,
        };
        let Some(entry) = self.dials.get_mut(dial) else { return };
        entry.query = None;
        let origin = entry.origin.clone();
        if let Ok(addresses) = &result {
            let host = self.host(&origin);
            if let Some(host) = self.hosts.get_mut(host) {
                host.addresses = Some((addresses.clone(), now + REMEMBER_ADDRESSES));
            }
        }
        if let Some(entry) = self.dials.get_mut(dial) {
            entry.dialer.handle_resolved(now, result);
        }
        self.drain_dial(now, dial);
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

    /// Closes whatever is not leased.
    pub(super) fn close_idle(&mut self, now: Instant) {
        for key in self.links.keys() {
            let link = as_link(key);
            match self.links.get(key).map(|link| &link.state) {
                Some(LinkState::Idle { .. }) => self.close_idle_link(link),
                Some(LinkState::Dialing { dial, .. }) => {
                    let dial = *dial;
                    if let Some(entry) = self.dials.get_mut(dial) {
                        entry.dialer.abandon(now);
                    }
                    self.drain_dial(now, dial);
                    self.remove_dial(dial);
                }
                _ => {}
            }
        }
    }

    // ----- private ---------------------------------------------------------------------------------------------------

    fn host(&mut self, origin: &Origin) -> Key<Host<W>> {
        if let Some(&host) = self.by_origin.get(origin) {
            return host;
        }
        let host = self.hosts.insert(Host {
            origin: origin.clone(),
            idle: Vec::new(),
            waiting: VecDeque::new(),
            dials: 0,
            not_before: None,
            addresses: None,
        });
        self.by_origin.insert(origin.clone(), host);
        host
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
        let Some(name) = self.hosts.get(key).map(|host| host.origin.host.clone()) else { return };
        self.pump(now, key);
        let others = self
            .hosts
            .iter()
            .filter(|(other, host)| *other != key && host.origin.host == name && !host.waiting.is_empty());
        let others: Vec<_> = others.map(|(other, _)| other).collect();
        for other in others {
            self.pump(now, other);
        }
    }

    /// Whether one more link to that host is allowed; an idle one to another port of it gives way.
    fn has_room(&mut self, key: Key<Host<W>>) -> bool {
        let Some(name) = self.hosts.get(key).map(|host| host.origin.host.clone()) else { return false };
        let open = self.open.get(&name).copied().unwrap_or(0);
        if open < self.config.max_per_host || mutants::is(Mutant::NoHostCap) {
            return true;
        }
        let idle = self
            .hosts
            .iter()
            .find(|(other, host)| *other != key && host.origin.host == name && !host.idle.is_empty());
        let Some(link) = idle.and_then(|(_, host)| host.idle.first().copied()) else { return false };
        self.close_idle_link(link);
        true
    }

    fn lease_idle(&mut self, now: Instant, key: Key<Host<W>>, link: LinkKey) {
        self.deadlines.set(Timer::Idle(link), None);
        let Some(entry) = self.links.get_mut(as_slab(link)) else { return };
        let LinkState::Idle { connection } = &mut entry.state else { return };
        if !connection.is_idle() {
            self.check_idle(now, link);
            return;
        }
        let Some(who) = self.hosts.get_mut(key).and_then(|host| host.waiting.pop_front()) else { return };
        if let LinkState::Idle { connection } =
            core::mem::replace(&mut entry.state, LinkState::Leased { who })
        {
            self.leased += 1;
            self.outputs.push_back(Output::Leased { who, link, connection, reused: true });
        }
    }

    fn dial(&mut self, now: Instant, key: Key<Host<W>>) {
        let Some(host) = self.hosts.get_mut(key) else { return };
        let origin = host.origin.clone();
        host.dials += 1;
        let known =
            host.addresses.as_ref().filter(|(_, until)| *until > now).map(|(addresses, _)| addresses.clone());
        let target = match (origin.ip(), known) {
            (Some(ip), _) => DialHost::Ip(ip),
            (None, Some(addresses)) => DialHost::Known(addresses),
            (None, None) => DialHost::Name(origin.host.clone()),
        };
        let config = DialConfig { connect_timeout: self.config.connect_timeout, ..DialConfig::default() };
        let dialer = Dialer::new(now, target, origin.port, origin.secure, config);
        *self.open.entry(origin.host.clone()).or_default() += 1;
        let dial = self.dials.insert(Dial { origin, dialer, attempts: BTreeMap::new(), query: None });
        self.drain_dial(now, dial);
    }

    fn on_dialing(&mut self, now: Instant, link: LinkKey, dial: Key<Dial>, attempt: u32, input: LinkInput) {
        let Some(entry) = self.dials.get_mut(dial) else { return };
        match input {
            LinkInput::Opened => entry.dialer.handle_opened(now, attempt),
            LinkInput::Secured => entry.dialer.handle_secured(now, attempt),
            LinkInput::Closed(error) => {
                entry.attempts.remove(&attempt);
                entry.dialer.handle_failed(now, attempt, error);
                self.links.remove(as_slab(link));
            }
            LinkInput::Data(_) | LinkInput::Sent(_) => {}
        }
        self.drain_dial(now, dial);
    }

    fn drain_dial(&mut self, now: Instant, key: Key<Dial>) {
        while let Some(output) = self.dials.get_mut(key).and_then(|dial| dial.dialer.poll_output()) {
            self.on_dial(now, key, output);
        }
        let deadline = self.dials.get(key).and_then(|dial| dial.dialer.poll_timeout());
        self.deadlines.set(Timer::Dial(key), deadline);
    }

    fn on_dial(&mut self, now: Instant, key: Key<Dial>, output: dial::Output) {
        let Some(dial) = self.dials.get_mut(key) else { return };
        match output {
            dial::Output::Resolve { host } => {
                let query = self.new_query(Query::Dial(key));
                if let Some(dial) = self.dials.get_mut(key) {
                    dial.query = Some(query);
                }
                self.outputs.push_back(Output::Resolve { query, host });
            }
            dial::Output::Connect { attempt, to } => {
                let origin = dial.origin.clone();
                let tls = origin.secure.then(|| TlsRequest { server_name: origin.host.clone() });
                let state = LinkState::Dialing { dial: key, attempt };
                let link = as_link(self.links.insert(Link { origin: Some(origin), state }));
                dial.attempts.insert(attempt, link);
                self.outputs.push_back(Output::Connect { link, to, from: None, tls });
            }
            dial::Output::Abandon { attempt } => {
                if let Some(link) = dial.attempts.remove(&attempt) {
                    self.links.remove(as_slab(link));
                    self.outputs.push_back(Output::Link(link, LinkOutput::Close));
                }
            }
            dial::Output::Connected { attempt } => self.on_connected(now, key, attempt),
            dial::Output::Failed(error) => self.on_dial_failed(now, key, error),
        }
    }

    fn on_connected(&mut self, now: Instant, key: Key<Dial>, attempt: u32) {
        let Some(mut dial) = self.dials.remove(key) else { return };
        self.deadlines.set(Timer::Dial(key), None);
        let host = self.host(&dial.origin);
        let Some(link) = dial.attempts.remove(&attempt) else { return };
        let Some(entry) = self.links.get_mut(as_slab(link)) else { return };
        let connection = Box::new(Connection::new(now, self.config.connection));
        let Some(owner) = self.hosts.get_mut(host) else { return };
        owner.dials = owner.dials.saturating_sub(1);
        let paced = owner.not_before.is_some_and(|at| at > now);
        let next = if paced { None } else { owner.waiting.pop_front() };
        if let Some(who) = next {
            entry.state = LinkState::Leased { who };
            self.leased += 1;
            self.outputs.push_back(Output::Leased { who, link, connection, reused: false });
        } else {
            self.deadlines.set(Timer::Idle(link), connection.poll_timeout());
            entry.state = LinkState::Idle { connection };
            owner.idle.push(link);
        }
    }

    fn on_dial_failed(&mut self, now: Instant, key: Key<Dial>, error: DialError) {
        let Some(origin) = self.dials.get(key).map(|dial| dial.origin.clone()) else { return };
        self.remove_dial(key);
        let host = self.host(&origin);
        let Some(owner) = self.hosts.get_mut(host) else { return };
        owner.addresses = None;
        let seconds = self.config.connect_timeout.as_secs();
        let error = match error {
            DialError::Resolve(error) => DownloadError::Resolve { origin, error },
            DialError::Link(error) => DownloadError::Connect { origin, error },
            DialError::TimedOut => DownloadError::ConnectTimeout { origin, seconds },
        };
        if let Some(who) = owner.waiting.pop_front() {
            self.outputs.push_back(Output::Failed { who, error });
        }
        self.pump_all_of(now, host);
    }

    fn remove_dial(&mut self, key: Key<Dial>) {
        self.deadlines.set(Timer::Dial(key), None);
        let Some(dial) = self.dials.remove(key) else { return };
        if let Some(query) = dial.query {
            self.queries.remove(&query);
        }
        for link in dial.attempts.into_values() {
            self.links.remove(as_slab(link));
            self.outputs.push_back(Output::Link(link, LinkOutput::Close));
        }
        if let Some(host) = self.by_origin.get(&dial.origin).and_then(|host| self.hosts.get_mut(*host)) {
            host.dials = host.dials.saturating_sub(1);
        }
        self.count_down(&dial.origin.host);
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
        let Some(Link { state: LinkState::Idle { connection }, origin: Some(origin) }) =
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
        let host = self.by_origin.get(origin).copied();
        self.remove_link(link);
        if let Some(host) = host {
            self.pump_all_of(now, host);
        }
    }

    fn close_idle_link(&mut self, link: LinkKey) {
        self.outputs.push_back(Output::Link(link, LinkOutput::Close));
        self.remove_link(link);
    }

    fn remove_link(&mut self, link: LinkKey) {
        self.deadlines.set(Timer::Idle(link), None);
        let Some(entry) = self.links.remove(as_slab(link)) else { return };
        if matches!(entry.state, LinkState::Leased { .. }) {
            self.leased = self.leased.saturating_sub(1);
        }
        let Some(origin) = entry.origin else { return };
        if let Some(host) = self.by_origin.get(&origin).and_then(|host| self.hosts.get_mut(*host)) {
            host.idle.retain(|idle| *idle != link);
        }
        self.count_down(&origin.host);
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
        let linked = || self.links.iter().any(|(_, link)| link.origin.as_ref() == Some(&host.origin));
        if let (false, Some((_, until))) = (used, &host.addresses) {
            self.deadlines.set(Timer::Host(key), fresh.then_some(*until));
        }
        if !used && !fresh && !linked() {
            let origin = host.origin.clone();
            self.hosts.remove(key);
            self.by_origin.remove(&origin);
        }
    }
}

fn as_slab<W>(link: LinkKey) -> Key<Link<W>> {
    Key::from_u64(link.as_u64())
}

fn as_link<W>(key: Key<Link<W>>) -> LinkKey {
    Key::from_u64(key.as_u64())
}

impl<W> Clone for Timer<W> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<W> Copy for Timer<W> {}
impl<W> Timer<W> {
    fn order(&self) -> (u8, u64) {
        match self {
            Self::Dial(key) => (0, key.as_u64()),
            Self::Idle(key) => (1, key.as_u64()),
            Self::Host(key) => (2, key.as_u64()),
        }
    }
}
impl<W> PartialEq for Timer<W> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}
impl<W> Eq for Timer<W> {}
impl<W> PartialOrd for Timer<W> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<W> Ord for Timer<W> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}
impl<W> core::fmt::Debug for Timer<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.order())
    }
}

/// A look-up's answer is used this long. The resolver behind it caches for as long as the zone says.
const REMEMBER_ADDRESSES: Duration = Duration::from_secs(60);
