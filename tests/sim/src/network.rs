//! Machine: everything between the engine and the hosts: who listens where, and the connections under way.

use crate::host::Host;
use crate::link::{Link, LinkEvent, transfer_time};
use crate::origin::{Connection, Pull};
use bytes::Bytes;
use gosh_dl_core::base::{Instant, LinkError, LinkInput, LinkOutput, Rng, WallClock};
use gosh_dl_core::engine::{LinkKey, TlsRequest};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// Hosts and connections.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    hosts: BTreeMap<String, Host>,
    addresses: BTreeMap<IpAddr, String>,
    wires: BTreeMap<u64, Wire>,
    by_key: BTreeMap<LinkKey, u64>,
    next_wire: u64,
    arrivals: VecDeque<(LinkKey, LinkInput)>,
    wakes: VecDeque<(Instant, u64)>,
}

#[derive(Debug)]
struct Wire {
    key: LinkKey,
    link: Link,
    host: Option<String>,
    secure: bool,
    /// The server's end, and its place in the host's log, once it has accepted.
    server: Option<(Connection, usize)>,
    planned: Option<Instant>,
}

/// The clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The virtual clock.
    pub now: Instant,
    /// The wall clock.
    pub wall: WallClock,
}

impl Network {
    /// No hosts.
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            hosts: BTreeMap::new(),
            addresses: BTreeMap::new(),
            wires: BTreeMap::new(),
            by_key: BTreeMap::new(),
            next_wire: 0,
            arrivals: VecDeque::new(),
            wakes: VecDeque::new(),
        }
    }

    /// Adds a host that listens on `addresses`.
    pub fn add_host(&mut self, name: &str, addresses: &[IpAddr]) -> &mut Host {
        for address in addresses {
            self.addresses.insert(*address, name.to_owned());
        }
        self.hosts.entry(name.to_owned()).or_insert_with(|| Host::new(name))
    }

    /// A host by its name or the text of one of its addresses.
    pub fn host(&self, name: &str) -> Option<&Host> {
        let literal = name.trim_matches(['[', ']']).parse().ok();
        let known = literal.and_then(|address: IpAddr| self.addresses.get(&address));
        self.hosts.get(known.map_or(name, |known| known))
    }

    /// A host by its name.
    pub fn host_mut(&mut self, name: &str) -> Option<&mut Host> {
        self.hosts.get_mut(name)
    }

    /// How many hosts there are.
    pub fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// The name of the host at an address.
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        self.addresses.get(&address).map(String::as_str)
    }

    /// The addresses of a host, in order.
    pub fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        self.addresses.iter().filter(|(_, known)| *known == name).map(|(address, _)| *address).collect()
    }

    /// The engine opens a link.
    pub fn connect(&mut self, at: Moment, key: LinkKey, to: SocketAddr, tls: Option<&TlsRequest>) {
        let host = self.addresses.get(&to.ip()).and_then(|name| self.hosts.get(name));
        let rng = self.rng.fork();
        let link = match host {
            Some(host) => {
                let verdict = tls.map(|_| host.tls);
                Link::new(at.now, host.profile.clone(), host.answer_dial(to.ip()), verdict, rng)
            }
            None => {
                let nobody = crate::link::Dial::Fail(LinkError::Unreachable);
                Link::new(at.now, crate::link::LinkProfile::default(), nobody, None, rng)
            }
        };
        let host = host.map(|host| host.name.clone());
        let id = self.next_wire;
        self.next_wire += 1;
        self.by_key.insert(key, id);
        self.wires.insert(id, Wire { key, link, host, secure: tls.is_some(), server: None, planned: None });
        self.settle(at, id);
    }

    /// The engine asks for something on a link.
    pub fn handle_output(&mut self, at: Moment, key: LinkKey, output: LinkOutput) {
        let id = match output {
            LinkOutput::Close => self.by_key.remove(&key),
            _ => self.by_key.get(&key).copied(),
        };
        let Some(id) = id else { return };
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.link.handle_output(at.now, output);
        }
        self.settle(at, id);
    }

    /// A wake that [`poll_wake`](Self::poll_wake) asked for.
    pub fn handle_wake(&mut self, at: Moment, id: u64) {
        if let Some(wire) = self.wires.get_mut(&id) {
            if wire.planned.is_some_and(|planned| planned <= at.now) {
                wire.planned = None;
            }
            self.settle(at, id);
        }
    }

    /// The engine's process is gone.
    pub fn abort_all(&mut self, at: Moment) {
        self.by_key.clear();
        self.arrivals.clear();
        for id in self.wires.keys().copied().collect::<Vec<_>>() {
            if let Some(wire) = self.wires.get_mut(&id) {
                wire.link.abort(at.now);
            }
            self.settle(at, id);
        }
    }

    /// Every connection to a host, or to any, ends like this, after what was sent on it.
    pub fn end_all(&mut self, at: Moment, host: Option<&str>, end: LinkError) {
        for id in self.wires.keys().copied().collect::<Vec<_>>() {
            let wire = self.wires.get_mut(&id).filter(|wire| host.is_none() || wire.host.as_deref() == host);
            if let Some(wire) = wire {
                wire.link.finish(at.now, end);
            }
            self.settle(at, id);
        }
    }

    /// What goes into the engine next.
    pub fn poll_arrival(&mut self) -> Option<(LinkKey, LinkInput)> {
        self.arrivals.pop_front()
    }

    /// When [`handle_wake`](Self::handle_wake) is due, and for what.
    pub fn poll_wake(&mut self) -> Option<(Instant, u64)> {
        self.wakes.pop_front()
    }

    /// How many links the engine holds.
    pub fn links(&self) -> usize {
        self.by_key.len()
    }

    /// How many links the engine holds to a host.
    pub fn links_to(&self, host: &str) -> usize {
        let to = |id: &&u64| self.wires.get(id).is_some_and(|wire| wire.host.as_deref() == Some(host));
        self.by_key.values().filter(to).count()
    }

    /// Lets one connection do all it can at this moment.
    fn settle(&mut self, at: Moment, id: u64) {
        let Some(mut wire) = self.wires.remove(&id) else { return };
        wire.link.handle_timeout(at.now);
        self.sort(at, &mut wire);
        let next = self.serve(at, &mut wire);
        self.sort(at, &mut wire);
        if wire.link.is_over() {
            return self.bury(at, wire);
        }
        let next = wire.link.poll_timeout().into_iter().chain(next).min();
        if let Some(next) = next.filter(|next| wire.planned.is_none_or(|planned| *next < planned)) {
            wire.planned = Some(next);
            self.wakes.push_back((next, id));
        }
        self.wires.insert(id, wire);
    }

    fn bury(&mut self, at: Moment, wire: Wire) {
        if let Some((_, place)) = wire.server
            && let Some(host) = wire.host.and_then(|name| self.hosts.get_mut(&name))
        {
            host.closed(at.now, place);
        }
    }

    fn sort(&mut self, at: Moment, wire: &mut Wire) {
        while let Some(event) = wire.link.poll_event() {
            match event {
                LinkEvent::ToClient(input) => {
                    if matches!(input, LinkInput::Closed(_)) {
                        self.by_key.remove(&wire.key);
                    }
                    self.arrivals.push_back((wire.key, input));
                }
                LinkEvent::ServerOpened => self.accept(at, wire),
                LinkEvent::ServerData(bytes) => self.hear(at, wire, &bytes),
                LinkEvent::ServerEof | LinkEvent::ServerReset => wire.link.finish(at.now, LinkError::Eof),
            }
        }
    }

    fn accept(&mut self, at: Moment, wire: &mut Wire) {
        if let Some(host) = wire.host.as_ref().and_then(|name| self.hosts.get_mut(name)) {
            let place = host.accept(at.now);
            wire.server = Some((Connection::new(at.now, host.idle_timeout), place));
        }
    }

    fn hear(&mut self, at: Moment, wire: &mut Wire, bytes: &Bytes) {
        let host = wire.host.as_ref().and_then(|name| self.hosts.get_mut(name));
        let (Some(host), Some((connection, place))) = (host, &mut wire.server) else { return };
        if let Some(request) = connection.handle_data(bytes) {
            let named = request.header("host").map(host_part).unwrap_or_default();
            let literal = named.parse().ok().and_then(|address: IpAddr| self.addresses.get(&address));
            let named = literal.map_or(named, |name| name);
            assert!(named == host.name, "a request for {named} at {}: {}", host.name, request.target);
            connection.answer(host.ask(at.now, &at.wall, (*place, wire.secure), request));
        }
    }

    /// Pulls answers while there is room; when to come back, if at all.
    fn serve(&mut self, at: Moment, wire: &mut Wire) -> Option<Instant> {
        let host = wire.host.as_ref().and_then(|name| self.hosts.get_mut(name))?;
        let (connection, place) = wire.server.as_mut()?;
        loop {
            let room = wire.link.room(at.now);
            if room == 0 {
                return Some(wire.link.free_at()).filter(|free| *free > at.now);
            }
            let piece = wire.link.draw_piece().min(room);
            match connection.pull(at.now, piece, host.idle_timeout) {
                Pull::Data { bytes, rate, content } => {
                    let len = bytes.len() as u64;
                    if let Some(content) = content {
                        host.count_content(connection.target(), content);
                    }
                    let shared = host.carry(at.now, *place, len);
                    wire.link.send(at.now, bytes, shared.max(at.now + transfer_time(len, rate)));
                }
                Pull::Until(until) => return Some(until),
                Pull::Idle => return None,
                Pull::Reset => wire.link.finish(at.now, LinkError::Reset),
                Pull::Close if host.cuts_tls && wire.secure => wire.link.finish(at.now, LinkError::Truncated),
                Pull::Close => wire.link.finish(at.now, LinkError::Eof),
            }
        }
    }
}

/// A `Host` field without its port and brackets.
fn host_part(field: &str) -> &str {
    let bare = match field.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => field,
    };
    bare.trim_matches(['[', ']'])
}
