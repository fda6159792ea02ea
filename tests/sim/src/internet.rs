//! Machine: what lies between those who have an address: listeners, connections between two of them, and datagrams.
//!
//! It speaks the engine's own vocabulary: what a node puts out goes in, and what happens to it comes out as inputs. So an
//! engine and a made-up peer are the same to it.

use crate::agenda::{Agenda, Latency};
use crate::link::LinkProfile;
use crate::pipe::{End, Line, Pipe, PipeEvent};
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use gosh_dl_core::base::{Instant, LinkError, LinkInput, LinkOutput, Rng};
use gosh_dl_core::engine::{ArrivalKey, Input, LinkKey, ListenerKey, Output, UdpKey};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// Who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Addresses, and what is under way between them.
#[derive(Debug)]
pub struct Internet {
    rng: Rng,
    nodes: BTreeMap<NodeId, Node>,
    addresses: BTreeMap<IpAddr, NodeId>,
    pipes: BTreeMap<u64, Wire>,
    next: u64,
    agenda: Agenda<Due>,
    inputs: VecDeque<(NodeId, Input)>,
    /// How many datagrams were lost: by the network, or because nobody was there.
    pub lost: u64,
}

/// One who has an address, and his line.
#[derive(Debug, Default)]
pub struct Node {
    /// What each connection to it is like; towards it is `up`, from it is `down`.
    pub profile: LinkProfile,
    /// The line that all its connections and datagrams share.
    pub line: Line,
    /// What becomes of datagrams to it.
    pub datagrams: DatagramProfile,
    /// Whether nobody reaches it, as behind a firewall: who dials it waits for ever, and datagrams to it are lost.
    pub silent: bool,
    addresses: Vec<IpAddr>,
    listeners: BTreeMap<ListenerKey, SocketAddr>,
    sockets: BTreeMap<UdpKey, SocketAddr>,
    links: BTreeMap<LinkKey, (u64, End)>,
    arrivals: BTreeMap<ArrivalKey, u64>,
    /// Counts up whenever its process dies, so that nothing from before reaches it.
    life: u32,
    next_port: u16,
}

/// What becomes of datagrams on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramProfile {
    /// How long each takes; so they may overtake each other.
    pub latency: Latency,
    /// Of 1,000, so many are lost.
    pub loss: u64,
    /// Of 1,000, so many come twice.
    pub twice: u64,
    /// The longest that arrives, in bytes; longer ones are lost.
    pub mtu: usize,
}

impl Default for DatagramProfile {
    fn default() -> Self {
        Self { latency: Latency::millis(10, 14), loss: 0, twice: 0, mtu: 1472 }
    }
}

#[derive(Debug)]
struct Wire {
    pipe: Pipe,
    near: (NodeId, LinkKey),
    far: Far,
    from: SocketAddr,
    planned: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Far {
    node: NodeId,
    listener: ListenerKey,
    link: Option<LinkKey>,
}

#[derive(Debug)]
enum Due {
    Pipe(u64),
    Input { node: NodeId, life: u32, input: Input },
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Bytes },
}

impl Internet {
    /// Nobody is there.
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            pipes: BTreeMap::new(),
            next: 0,
            agenda: Agenda::new(),
            inputs: VecDeque::new(),
            lost: 0,
        }
    }

    /// Somebody has these addresses.
    pub fn add(&mut self, id: NodeId, addresses: &[IpAddr]) -> &mut Node {
        for address in addresses {
            self.addresses.insert(*address, id);
        }
        let node = self.nodes.entry(id).or_default();
        node.addresses = addresses.to_vec();
        node.next_port = FIRST_PORT;
        node
    }

    /// One who has an address.
    pub fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&id)
    }

    /// Who has this address.
    pub fn at(&self, address: IpAddr) -> Option<NodeId> {
        self.addresses.get(&address).copied()
    }

    /// How many links somebody holds.
    pub fn links_of(&self, id: NodeId) -> usize {
        self.nodes.get(&id).map_or(0, |node| node.links.len())
    }

    /// Does what a node asks for; gives back what is not the network's, or goes where nobody here has an address.
    pub fn handle_output(&mut self, now: Instant, id: NodeId, output: Output) -> Option<Output> {
        if !self.nodes.contains_key(&id) {
            return Some(output);
        }
        match output {
            Output::Connect { link, to, from, .. } if self.addresses.contains_key(&to.ip()) => {
                self.connect(now, (id, link), to, from);
            }
            Output::Link { link, output } => return self.on_link(now, id, link, output),
            Output::Listen { listener, on } => self.listen(id, listener, on),
            Output::Unlisten { listener } => self.unlisten(now, id, listener),
            Output::Adopt { arrival, link } => self.adopt(id, arrival, link),
            Output::Dismiss { arrival } => self.dismiss(now, id, arrival),
            Output::Bind { socket, on } => self.bind(id, socket, on),
            Output::Unbind { socket } => {
                self.node(id).sockets.remove(&socket);
            }
            Output::Datagram { socket, to, bytes } => self.send(now, id, socket, to, bytes),
            other => return Some(other),
        }
        None
    }

    /// A link of a node ends with this, because the node itself failed it; the other end sees a reset.
    pub fn fail(&mut self, now: Instant, id: NodeId, link: LinkKey, error: LinkError) {
        if let Some((pipe, end)) = self.node(id).links.remove(&link) {
            self.inputs.push_back((id, Input::Link { link, input: LinkInput::Closed(error) }));
            self.with_pipe(pipe, |wire| wire.pipe.abort(now, end));
        }
    }

    /// All links of a node end with this, as they do for a machine that was asleep for long.
    pub fn fail_all(&mut self, now: Instant, id: NodeId, error: LinkError) {
        let links: Vec<LinkKey> =
            self.nodes.get(&id).map_or_else(Vec::new, |node| node.links.keys().copied().collect());
        links.into_iter().for_each(|link| self.fail(now, id, link, error));
    }

    /// A node's process is gone, and with it all that it had.
    pub fn abort(&mut self, now: Instant, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.life += 1;
        node.listeners.clear();
        node.sockets.clear();
        let links: Vec<(u64, End)> = core::mem::take(&mut node.links).into_values().collect();
        let arrivals = core::mem::take(&mut node.arrivals).into_values().map(|pipe| (pipe, End::Far));
        let all: Vec<(u64, End)> = links.into_iter().chain(arrivals).collect();
        self.inputs.retain(|(to, _)| *to != id);
        for (pipe, end) in all {
            self.with_pipe(pipe, |wire| wire.pipe.abort(now, end));
        }
    }

    /// An input for a node, later; lost where its process dies before.
    pub fn plan(&mut self, at: Instant, node: NodeId, input: Input) {
        let life = self.nodes.get(&node).map_or(0, |node| node.life);
        self.agenda.plan(at, Due::Input { node, life, input });
    }

    /// Moves what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.agenda.pop_due(now) {
            match due {
                Due::Pipe(id) => self.with_pipe(id, |wire| {
                    if wire.planned.is_some_and(|planned| planned <= now) {
                        wire.planned = None;
                    }
                    wire.pipe.handle_timeout(now);
                }),
                Due::Input { node, life, input } => {
                    if self.nodes.get(&node).is_some_and(|node| node.life == life) {
                        self.inputs.push_back((node, input));
                    }
                }
                Due::Datagram { from, to, bytes } => self.receive(from, to, &bytes),
            }
        }
    }

    /// What happens to whom next.
    pub fn poll_input(&mut self) -> Option<(NodeId, Input)> {
        self.inputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.agenda.next()
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.entry(id).or_default()
    }

    // ----- connections -----------------------------------------------------------------------------------------------

    fn connect(&mut self, now: Instant, near: (NodeId, LinkKey), to: SocketAddr, from: Option<IpAddr>) {
        let source = self.node(near.0).source(to, from);
        let target = self.addresses.get(&to.ip()).and_then(|id| Some((*id, self.nodes.get(id)?)));
        let rng = self.rng.fork();
        let (Some((node, target)), Some(source)) = (target, source) else {
            // An address that is asked for is there or not; of the other family there may be none at all.
            let reason = from.map_or(LinkError::Unreachable, |_| LinkError::AddressNotAvailable);
            return self.plan(now, near.0, closed(near.1, reason));
        };
        let profile = target.profile.clone();
        let silent = target.silent;
        let listener = target.listening_on(to);
        match listener {
            _ if silent => {}
            None => {
                let there_and_back = profile.latency.draw(&mut self.rng) * 2;
                self.plan(now + there_and_back, near.0, closed(near.1, LinkError::Refused));
            }
            Some(listener) => {
                let id = self.next;
                self.next += 1;
                let pipe = Pipe::new(now, profile, rng);
                let far = Far { node, listener, link: None };
                self.node(near.0).links.insert(near.1, (id, End::Near));
                self.pipes.insert(id, Wire { pipe, near, far, from: source, planned: None });
                self.with_pipe(id, |_| {});
            }
        }
    }

    fn on_link(&mut self, now: Instant, id: NodeId, link: LinkKey, output: LinkOutput) -> Option<Output> {
        let links = &mut self.node(id).links;
        let Some((pipe, end)) = links.get(&link).copied() else {
            return Some(Output::Link { link, output });
        };
        if output == LinkOutput::Close {
            links.remove(&link);
        }
        self.with_pipe(pipe, |wire| wire.pipe.handle_output(now, end, output));
        None
    }

    fn listen(&mut self, id: NodeId, listener: ListenerKey, on: SocketAddr) {
        let node = self.node(id);
        let taken = |port| node.listeners.values().any(|known| overlaps(*known, on, port));
        let result = node.place(on, taken);
        if let Ok(on) = result {
            self.node(id).listeners.insert(listener, on);
        }
        self.inputs.push_back((id, Input::Listening { listener, result }));
    }

    fn unlisten(&mut self, now: Instant, id: NodeId, listener: ListenerKey) {
        self.node(id).listeners.remove(&listener);
        let waiting: Vec<(ArrivalKey, u64)> =
            self.node(id).arrivals.iter().map(|(key, pipe)| (*key, *pipe)).collect();
        for (arrival, pipe) in waiting {
            if self.pipes.get(&pipe).is_some_and(|wire| wire.far.listener == listener) {
                self.dismiss(now, id, arrival);
            }
        }
    }

    fn adopt(&mut self, id: NodeId, arrival: ArrivalKey, link: LinkKey) {
        let Some(pipe) = self.node(id).arrivals.remove(&arrival) else {
            return self.inputs.push_back((id, closed(link, LinkError::Reset)));
        };
        self.node(id).links.insert(link, (pipe, End::Far));
        if let Some(wire) = self.pipes.get_mut(&pipe) {
            wire.far.link = Some(link);
        }
    }

    fn dismiss(&mut self, now: Instant, id: NodeId, arrival: ArrivalKey) {
        if let Some(pipe) = self.node(id).arrivals.remove(&arrival) {
            self.with_pipe(pipe, |wire| wire.pipe.handle_output(now, End::Far, LinkOutput::Close));
        }
    }

    /// Touches a connection, and takes in what it says.
    fn with_pipe(&mut self, id: u64, touch: impl FnOnce(&mut Wire)) {
        let Some(mut wire) = self.pipes.remove(&id) else { return };
        let ends = [wire.near.0, wire.far.node];
        wire.pipe.lines = ends.map(|end| self.nodes.get(&end).map(|node| node.line).unwrap_or_default());
        touch(&mut wire);
        for (end, line) in ends.iter().zip(&wire.pipe.lines) {
            if let Some(node) = self.nodes.get_mut(end) {
                node.line.merge(line);
            }
        }
        while let Some((end, event)) = wire.pipe.poll_event() {
            self.on_pipe(id, &wire, end, event);
        }
        let next = wire.pipe.poll_timeout();
        if wire.pipe.is_over() {
            return;
        }
        if let Some(next) = next.filter(|next| wire.planned.is_none_or(|planned| *next < planned)) {
            wire.planned = Some(next);
            self.agenda.plan(next, Due::Pipe(id));
        }
        self.pipes.insert(id, wire);
    }

    fn on_pipe(&mut self, id: u64, wire: &Wire, end: End, event: PipeEvent) {
        let (node, link) = match end {
            End::Near => (wire.near.0, Some(wire.near.1)),
            End::Far => (wire.far.node, wire.far.link),
        };
        match (event, link) {
            (PipeEvent::Arrived, _) => {
                let (listener, arrival, from) = (wire.far.listener, ArrivalKey(id), wire.from);
                self.node(node).arrivals.insert(arrival, id);
                self.inputs.push_back((node, Input::Accepted { listener, arrival, from }));
            }
            (PipeEvent::Link(input), Some(link)) => {
                if matches!(input, LinkInput::Closed(_)) {
                    self.node(node).links.remove(&link);
                }
                self.inputs.push_back((node, Input::Link { link, input }));
            }
            // It has gone before it was adopted, which whoever adopts it is told.
            (PipeEvent::Link(LinkInput::Closed(_)), None) => {
                self.node(node).arrivals.remove(&ArrivalKey(id));
            }
            (PipeEvent::Link(_), None) => {}
        }
    }

    // ----- datagrams -------------------------------------------------------------------------------------------------

    fn bind(&mut self, id: NodeId, socket: UdpKey, on: SocketAddr) {
        let node = self.node(id);
        let taken = |port| node.sockets.values().any(|known| overlaps(*known, on, port));
        let result = node.place(on, taken);
        if let Ok(on) = result {
            self.node(id).sockets.insert(socket, on);
        }
        self.inputs.push_back((id, Input::Bound { socket, result }));
    }

    fn send(&mut self, now: Instant, id: NodeId, socket: UdpKey, to: SocketAddr, bytes: Bytes) {
        let node = self.node(id);
        let mut line = node.line;
        let bound = node.sockets.get(&socket).copied().filter(|on| on.is_ipv4() == to.is_ipv4());
        let from = bound.and_then(|on| {
            let specific = (!on.ip().is_unspecified()).then_some(on.ip());
            Some(SocketAddr::new(node.address_for(to, specific)?, on.port()))
        });
        let target = self.addresses.get(&to.ip()).and_then(|id| self.nodes.get_mut(id));
        let target = target.filter(|node| !node.silent);
        let (Some(from), Some(target)) = (from, target) else {
            self.lost += 1;
            return;
        };
        let profile = target.datagrams;
        let is_full = Line::backlog(&line, &target.line, now) > QUEUE;
        if is_full || bytes.len() > profile.mtu || self.rng.below(1000) < profile.loss {
            self.lost += 1;
            return;
        }
        let copies = if self.rng.below(1000) < profile.twice { 2 } else { 1 };
        let carried = Line::carry(&mut line, &mut target.line, now, (bytes.len() + HEADERS) as u64);
        self.node(id).line.merge(&line);
        for _ in 0..copies {
            let at = carried + profile.latency.draw(&mut self.rng);
            self.agenda.plan(at, Due::Datagram { from, to, bytes: bytes.clone() });
        }
    }

    fn receive(&mut self, from: SocketAddr, to: SocketAddr, bytes: &Bytes) {
        let target = self.addresses.get(&to.ip()).copied();
        let socket = target.and_then(|id| {
            let sockets = &self.nodes.get(&id)?.sockets;
            let hears = |on: &SocketAddr| overlaps(*on, to, to.port());
            Some((id, sockets.iter().find(|(_, on)| hears(on)).map(|(key, _)| *key)?))
        });
        let Some((id, socket)) = socket else {
            self.lost += 1;
            return;
        };
        let bytes = BytesMut::from(&bytes[..]);
        self.inputs.push_back((id, Input::Datagram { socket, from, bytes }));
    }
}

impl Node {
    fn listening_on(&self, to: SocketAddr) -> Option<ListenerKey> {
        let hears = |on: &SocketAddr| overlaps(*on, to, to.port());
        self.listeners.iter().find(|(_, on)| hears(on)).map(|(key, _)| *key)
    }

    /// The address that something to `to` comes from.
    fn address_for(&self, to: SocketAddr, wanted: Option<IpAddr>) -> Option<IpAddr> {
        let fits = |address: &&IpAddr| {
            address.is_ipv4() == to.is_ipv4() && wanted.is_none_or(|wanted| wanted == **address)
        };
        self.addresses.iter().find(fits).copied()
    }

    fn source(&mut self, to: SocketAddr, from: Option<IpAddr>) -> Option<SocketAddr> {
        let address = self.address_for(to, from)?;
        Some(SocketAddr::new(address, self.free_port()))
    }

    fn free_port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        self.next_port
    }

    /// Where something is that is to be on `on`.
    fn place(&self, on: SocketAddr, taken: impl Fn(u16) -> bool) -> Result<SocketAddr, LinkError> {
        let has = |ip: IpAddr| {
            self.addresses
                .iter()
                .any(|own| if ip.is_unspecified() { own.is_ipv4() == ip.is_ipv4() } else { *own == ip })
        };
        if !has(on.ip()) {
            return Err(LinkError::AddressNotAvailable);
        }
        let port = match on.port() {
            0 => (FIRST_FREE_PORT..FIRST_PORT).find(|port| !taken(*port)).ok_or(LinkError::AddressInUse)?,
            port if taken(port) => return Err(LinkError::AddressInUse),
            port => port,
        };
        Ok(SocketAddr::new(on.ip(), port))
    }
}

/// Whether something on `known` hears, or takes the place of, something on `on` with that port.
fn overlaps(known: SocketAddr, on: SocketAddr, port: u16) -> bool {
    let same_address = known.ip() == on.ip() || known.ip().is_unspecified() || on.ip().is_unspecified();
    known.port() == port && known.is_ipv4() == on.is_ipv4() && same_address
}

fn closed(link: LinkKey, reason: LinkError) -> Input {
    Input::Link { link, input: LinkInput::Closed(reason) }
}

/// How much of time may wait before a line that is full loses datagrams, as the buffers of home routers are.
const QUEUE: Duration = Duration::from_millis(500);
/// What a datagram takes on a line beside its bytes.
const HEADERS: usize = 28;
/// The first port that connections come from.
const FIRST_PORT: u16 = 50_000;
/// The first port that somebody gets who asks for any.
const FIRST_FREE_PORT: u16 = 40_000;

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn place(number: u8) -> SocketAddr {
        ([203, 0, 113, number], 7).into()
    }

    fn two() -> Internet {
        let mut internet = Internet::new(Rng::from_seed([1; 32]));
        internet.add(A, &[place(1).ip()]);
        internet.add(B, &[place(2).ip()]);
        internet
    }

    fn link(number: u64) -> LinkKey {
        LinkKey::from_u64(number)
    }

    /// Does these, and then whatever comes of it until nothing is planned.
    fn run(internet: &mut Internet, outputs: Vec<(NodeId, Output)>) -> Vec<(NodeId, Input)> {
        let mut now = internet.poll_timeout().unwrap_or(Instant::ZERO);
        for (node, output) in outputs {
            assert_eq!(internet.handle_output(now, node, output), None);
        }
        while let Some(at) = internet.poll_timeout() {
            now = now.max(at);
            internet.handle_timeout(now);
        }
        core::iter::from_fn(|| internet.poll_input()).collect()
    }

    fn dialled() -> (Internet, ArrivalKey) {
        let mut internet = two();
        let listen = Output::Listen { listener: ListenerKey(1), on: place(2) };
        let connect = Output::Connect { link: link(1), to: place(2), from: None, tls: None };
        let credit = Output::Link { link: link(1), output: LinkOutput::Credit(10) };
        let came = run(&mut internet, vec![(B, listen), (A, connect), (A, credit)]);
        let Some((B, Input::Accepted { arrival, from, .. })) = came.get(1) else { panic!("{came:?}") };
        assert_eq!(from.ip(), place(1).ip());
        assert_eq!(came[2], (A, Input::Link { link: link(1), input: LinkInput::Opened }));
        (internet, *arrival)
    }

    #[test]
    fn what_waits_is_closed_when_nobody_listens_any_more() {
        let (mut internet, arrival) = dialled();
        let late = Output::Adopt { arrival, link: link(9) };
        let came = run(&mut internet, vec![(B, Output::Unlisten { listener: ListenerKey(1) }), (B, late)]);
        assert_eq!(came, [(B, closed(link(9), LinkError::Reset)), (A, closed(link(1), LinkError::Eof))]);
        assert_eq!(internet.links_of(A) + internet.links_of(B), 0);
        assert!(internet.pipes.is_empty(), "nothing is left of it");
    }

    #[test]
    fn what_was_on_its_way_to_a_process_that_died_does_not_reach_the_next() {
        let (mut internet, arrival) = dialled();
        let now = Instant::from_nanos(1 << 40);
        let adopt = Output::Adopt { arrival, link: link(9) };
        assert_eq!(internet.handle_output(now, B, adopt), None);
        internet.plan(now, A, closed(link(77), LinkError::TimedOut));
        internet.abort(now, A);
        assert_eq!(run(&mut internet, vec![]), [(B, closed(link(9), LinkError::Reset))]);
        assert!(internet.pipes.is_empty());
    }
}
