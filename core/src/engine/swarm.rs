//! Machine: where peers reach this side: one port for all torrents, over TCP and UDP, and those who have connected and
//! not yet said which torrent they want.

use super::entry::EntryKey;
use super::io::{ArrivalKey, LinkKey, ListenerKey, Output, UdpKey};
use crate::base::{Deadlines, InfoHash, Instant, Key, LinkError, LinkInput, LinkOutput, Slab};
use crate::download::torrent::candidates::network_of;
use crate::proto::peer::{Arrival, Greeting, GreetingOutput};
use crate::wire::peer::Handshake;
use bytes::Bytes;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Names somebody who has connected and not yet greeted.
pub(super) type GuestKey = Key<Guest>;

/// The places where peers reach this side.
#[derive(Debug)]
pub(super) struct Swarm {
    listening: Listening,
    /// The port that both families share, once known.
    port: Option<u16>,
    listeners: BTreeMap<ListenerKey, SocketAddr>,
    sockets: BTreeMap<UdpKey, Socket>,
    next_key: u64,
    guests: Slab<Guest>,
    deadlines: Deadlines<GuestKey>,
    by_hash: BTreeMap<InfoHash, EntryKey>,
    /// Who expects datagrams from where.
    routes: BTreeMap<SocketAddr, BTreeSet<EntryKey>>,
    /// Links that torrents have to their peers.
    peers: usize,
    outputs: VecDeque<Output>,
}

/// Somebody who has connected and not yet greeted.
#[derive(Debug)]
pub(super) struct Guest {
    link: LinkKey,
    from: SocketAddr,
    greeting: Greeting,
}

/// What has become of a guest.
#[derive(Debug)]
pub(super) enum Greeted {
    /// It wants the torrent of that entry.
    Wants { entry: EntryKey, link: LinkKey, from: SocketAddr, arrival: Arrival },
    /// It is of no use; its link is closed.
    Gone(LinkKey),
    /// It wants a torrent that is not here.
    Unknown(LinkKey),
}

/// Where peers may connect to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenPlan {
    pub(super) ports: (u16, u16),
    pub(super) address: Option<IpAddr>,
    pub(super) enabled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listening {
    Off,
    /// Trying a port.
    Trying {
        listener: ListenerKey,
        port: u16,
    },
    On,
    /// No port could be had.
    Failed,
}

#[derive(Debug)]
struct Socket {
    ipv6: bool,
    ready: bool,
    /// What waits until it is ready.
    waiting: Vec<(SocketAddr, Bytes)>,
}

impl Swarm {
    pub(super) fn new() -> Self {
        Self {
            listening: Listening::Off,
            port: None,
            listeners: BTreeMap::new(),
            sockets: BTreeMap::new(),
            next_key: 0,
            guests: Slab::new(),
            deadlines: Deadlines::new(),
            by_hash: BTreeMap::new(),
            routes: BTreeMap::new(),
            peers: 0,
            outputs: VecDeque::new(),
        }
    }

    /// How many links torrents have to their peers.
    pub(super) fn peers(&self) -> usize {
        self.peers
    }

    /// A torrent has one link to a peer more.
    pub(super) fn peer_came(&mut self) {
        self.peers += 1;
    }

    /// A torrent has one link to a peer less.
    pub(super) fn peer_went(&mut self) {
        self.peers -= 1;
    }

    /// The port at which peers reach this side, once known.
    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }

    /// A torrent runs: its peers can be told apart by its name. Listens, if that was not begun.
    pub(super) fn join(&mut self, plan: ListenPlan, info_hash: InfoHash, entry: EntryKey) {
        self.by_hash.insert(info_hash, entry);
        if self.listening == Listening::Off && plan.enabled {
            self.try_port(plan, plan.ports.0);
        }
    }

    /// A torrent does not run any more.
    pub(super) fn leave(&mut self, info_hash: InfoHash, entry: EntryKey) {
        self.by_hash.remove(&info_hash);
        self.routes.retain(|_, entries| {
            entries.remove(&entry);
            !entries.is_empty()
        });
    }

    /// Closes everything.
    pub(super) fn close(&mut self) {
        for listener in core::mem::take(&mut self.listeners).into_keys() {
            self.outputs.push_back(Output::Unlisten { listener });
        }
        for socket in core::mem::take(&mut self.sockets).into_keys() {
            self.outputs.push_back(Output::Unbind { socket });
        }
        self.listening = Listening::Off;
    }

    /// A place that was to be listened on; says whether the port has become known by that.
    pub(super) fn on_listening(
        &mut self,
        plan: ListenPlan,
        listener: ListenerKey,
        result: Result<SocketAddr, LinkError>,
    ) -> bool {
        if result.is_err() {
            self.listeners.remove(&listener);
        }
        // Of the other family, without which it goes too, whatever comes late.
        let Listening::Trying { listener: tried, port } = self.listening else { return false };
        if tried != listener {
            return false;
        }
        match result {
            Ok(at) => {
                self.listening = Listening::On;
                self.port = Some(at.port());
                if plan.address.is_none() {
                    self.listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), at.port()));
                }
                true
            }
            Err(error) => {
                match port.checked_add(1).filter(|next| port > 0 && *next <= plan.ports.1) {
                    Some(next) => self.try_port(plan, next),
                    None => {
                        tracing::warn!(%error, "no port to listen on");
                        self.listening = Listening::Failed;
                    }
                }
                false
            }
        }
    }

    fn try_port(&mut self, plan: ListenPlan, port: u16) {
        let address = plan.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let listener = self.listen(SocketAddr::new(address, port));
        self.listening = Listening::Trying { listener, port };
    }

    fn listen(&mut self, on: SocketAddr) -> ListenerKey {
        let listener = ListenerKey(self.next_key);
        self.next_key += 1;
        self.listeners.insert(listener, on);
        self.outputs.push_back(Output::Listen { listener, on });
        listener
    }

    // ----- guests ----------------------------------------------------------------------------------------------------

    /// Whether anybody may come.
    pub(super) fn is_open(&self) -> bool {
        !self.by_hash.is_empty()
    }

    /// Where no more guests may wait, the time is up for one of the network that has most of them here, for the one who
    /// came first: a crowd that says nothing keeps nobody out who greets at once.
    pub(super) fn make_room(&mut self) -> Option<Greeted> {
        if self.guests.len() < MAX_GUESTS {
            return None;
        }
        let mut crowds: BTreeMap<IpAddr, Vec<(Instant, GuestKey)>> = BTreeMap::new();
        for (key, guest) in self.guests.iter() {
            let until = guest.greeting.poll_timeout().unwrap_or(Instant::ZERO);
            crowds.entry(network_of(guest.from.ip())).or_default().push((until, key));
        }
        let crowd = crowds.into_values().max_by_key(Vec::len)?;
        let (until, first) = crowd.into_iter().min()?;
        self.guests.get_mut(first)?.greeting.handle_timeout(until);
        self.drain(first)
    }

    /// Somebody has connected; `link` says under which key the connection is taken over.
    pub(super) fn welcome(
        &mut self,
        now: Instant,
        from: SocketAddr,
        arrival: ArrivalKey,
        link: impl FnOnce(GuestKey) -> LinkKey,
    ) {
        let mut greeting = Greeting::new(now, GREETING_TIMEOUT);
        greeting.grant(now, u32::try_from(Handshake::LEN).unwrap_or(68));
        let guest = self.guests.insert(Guest { link: Key::from_u64(u64::MAX), from, greeting });
        let link = link(guest);
        if let Some(guest) = self.guests.get_mut(guest) {
            guest.link = link;
        }
        self.outputs.push_back(Output::Adopt { arrival, link });
        self.drain(guest);
    }

    /// Somebody is not wanted.
    pub(super) fn dismiss(&mut self, arrival: ArrivalKey) {
        self.outputs.push_back(Output::Dismiss { arrival });
    }

    /// Something happened on the link of a guest.
    pub(super) fn handle_link(&mut self, now: Instant, guest: GuestKey, input: LinkInput) -> Option<Greeted> {
        self.guests.get_mut(guest)?.greeting.handle_input(now, input);
        self.drain(guest)
    }

    /// The next guest that was too slow.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Greeted> {
        while let Some(guest) = self.deadlines.pop_due(now) {
            if let Some(entry) = self.guests.get_mut(guest) {
                entry.greeting.handle_timeout(now);
            }
            if let Some(gone) = self.drain(guest) {
                return Some(gone);
            }
        }
        None
    }

    fn drain(&mut self, key: GuestKey) -> Option<Greeted> {
        while let Some(output) = self.guests.get_mut(key).and_then(|guest| guest.greeting.poll_output()) {
            let Some(guest) = self.guests.get(key) else { break };
            let link = guest.link;
            match output {
                GreetingOutput::Link(output) => self.outputs.push_back(Output::Link { link, output }),
                GreetingOutput::Closed(_) => {
                    self.forget(key);
                    return Some(Greeted::Gone(link));
                }
                GreetingOutput::Done(arrival) => {
                    let from = guest.from;
                    self.forget(key);
                    let entry = self.by_hash.get(&arrival.handshake.info_hash).copied();
                    return Some(match entry {
                        Some(entry) => Greeted::Wants { entry, link, from, arrival },
                        None => {
                            self.outputs.push_back(Output::Link { link, output: LinkOutput::Close });
                            Greeted::Unknown(link)
                        }
                    });
                }
            }
        }
        let deadline = self.guests.get(key).and_then(|guest| guest.greeting.poll_timeout());
        self.deadlines.set(key, deadline);
        None
    }

    fn forget(&mut self, guest: GuestKey) {
        self.guests.remove(guest);
        self.deadlines.set(guest, None);
    }

    // ----- datagrams -------------------------------------------------------------------------------------------------

    /// Sends a datagram for `entry`, which gets what comes back from there. From an address of the other family none goes.
    pub(super) fn send(&mut self, entry: EntryKey, to: SocketAddr, bytes: Bytes, from: Option<IpAddr>) {
        if from.is_some_and(|from| from.is_ipv6() != to.is_ipv6()) {
            return;
        }
        if self.routes.len() < MAX_ROUTES || self.routes.contains_key(&to) {
            self.routes.entry(to).or_default().insert(entry);
        }
        let found = self.sockets.iter().find(|(_, socket)| socket.ipv6 == to.is_ipv6()).map(|(key, _)| *key);
        let key = found.unwrap_or_else(|| self.bind(to.is_ipv6(), from));
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        if socket.ready {
            self.outputs.push_back(Output::Datagram { socket: key, to, bytes });
        } else if socket.waiting.len() < MAX_WAITING {
            socket.waiting.push((to, bytes));
        }
    }

    fn bind(&mut self, ipv6: bool, from: Option<IpAddr>) -> UdpKey {
        let any: IpAddr = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let address = from.unwrap_or(any);
        let key = UdpKey(self.next_key);
        self.next_key += 1;
        self.sockets.insert(key, Socket { ipv6, ready: false, waiting: Vec::new() });
        self.outputs.push_back(Output::Bind { socket: key, on: SocketAddr::new(address, 0) });
        key
    }

    pub(super) fn on_bound(&mut self, key: UdpKey, result: Result<SocketAddr, LinkError>) {
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        if let Err(error) = result {
            tracing::warn!(%error, "no UDP socket");
            self.sockets.remove(&key);
            return;
        }
        socket.ready = true;
        for (to, bytes) in core::mem::take(&mut socket.waiting) {
            self.outputs.push_back(Output::Datagram { socket: key, to, bytes });
        }
    }

    /// Who may be meant by a datagram from there.
    pub(super) fn routes_of(&self, from: SocketAddr) -> Vec<EntryKey> {
        self.routes.get(&from).map(|entries| entries.iter().copied().collect()).unwrap_or_default()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }
}

/// Who has connected says which torrent it wants within this time.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Guests hold a descriptor each and have given nothing for it.
const MAX_GUESTS: usize = 100;
/// Trackers over UDP that may answer; all torrents of an engine share the popular ones.
const MAX_ROUTES: usize = 10_000;
/// Datagrams that wait for their socket: more than a start has trackers.
const MAX_WAITING: usize = 1000;
