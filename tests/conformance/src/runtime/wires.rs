//! Links, listeners and UDP sockets, and whoever is at the other end of them: real ones, or simulated. The cases of links
//! that need no more than this are the same for both.

use super::{MINUTE, Rig};
use bytes::Bytes;
use gosh_dl_core::base::{LinkError, LinkInput, LinkOutput};
use gosh_dl_core::engine::{ArrivalKey, EngineConfig, Input, LinkKey, ListenerKey, Output, UdpKey};
use gosh_dl_runtime::{Dial, Inbox, LinkContext, Links, Transport as _};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a driver does with an engine's outputs, and those who talk to it: its peers. All is on one network.
pub trait Wires {
    /// Does what an engine asks for: what is about links, listeners and UDP sockets.
    fn ask(&mut self, output: Output);

    /// What happened since the last call.
    fn reported(&mut self) -> Vec<Input>;

    /// Lets a little time pass; `false` where nothing can happen any more, or all this takes too long.
    fn pass(&mut self) -> bool;

    /// Lets so much time pass that a mistake shows.
    fn pause(&mut self);

    /// The driver ends, as when an engine is dropped.
    fn end(&mut self);

    /// Two addresses of this side.
    fn addresses(&self) -> [IpAddr; 2];

    /// Where peers listen.
    fn peers_listen(&mut self) -> SocketAddr;

    /// A peer that has dialled, by a number, if one waits, and where it came from.
    fn peer_accepts(&mut self) -> Option<(usize, SocketAddr)>;

    /// A peer dials; its number.
    fn peer_connects(&mut self, to: SocketAddr) -> usize;

    /// A peer sends this, as the other side reads it.
    fn peer_sends(&mut self, peer: usize, bytes: &[u8]);

    /// A peer has sent all that it wants to say.
    fn peer_finishes(&mut self, peer: usize);

    /// A peer resets its connection.
    fn peer_resets(&mut self, peer: usize);

    /// Takes what has come to a peer, who reads nothing otherwise, and how it ended, if it has.
    fn peer_hears(&mut self, peer: usize) -> (Vec<u8>, Option<LinkError>);

    /// Where the peers' UDP socket is.
    fn peers_bind(&mut self) -> SocketAddr;

    /// The peers' UDP socket sends this.
    fn peers_send(&mut self, to: SocketAddr, bytes: &[u8]);

    /// What came to the peers' UDP socket.
    fn peers_receive(&mut self) -> Vec<(SocketAddr, Vec<u8>)>;
}

/// Wires, and all that was reported so far.
pub(super) struct Stage<W> {
    pub(super) wires: W,
    /// What happened on links.
    pub(super) seen: Vec<(u64, LinkInput)>,
    /// Who connected: the listener, the arrival, from where.
    pub(super) arrivals: VecDeque<(u64, ArrivalKey, SocketAddr)>,
    /// What listens or is bound, or why not.
    pub(super) places: Vec<(u64, Result<SocketAddr, LinkError>)>,
    pub(super) datagrams: Vec<(u64, SocketAddr, Vec<u8>)>,
    /// Where a case listens.
    pub(super) address: Option<SocketAddr>,
}

impl<W: Wires> Stage<W> {
    pub(super) fn new(wires: W) -> Self {
        let (seen, places, datagrams) = (Vec::new(), Vec::new(), Vec::new());
        Self { wires, seen, arrivals: VecDeque::new(), places, datagrams, address: None }
    }

    /// Takes in what was reported.
    pub(super) fn look(&mut self) {
        for input in self.wires.reported() {
            match input {
                Input::Link { link, input } => self.seen.push((link.as_u64(), input)),
                Input::Accepted { listener, arrival, from } => {
                    self.arrivals.push_back((listener.0, arrival, from));
                }
                Input::Listening { listener, result } => self.places.push((listener.0, result)),
                Input::Bound { socket, result } => self.places.push((socket.0, result)),
                Input::Datagram { socket, from, bytes } => {
                    self.datagrams.push((socket.0, from, bytes.to_vec()));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Lets time pass until `is_so`.
    pub(super) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        loop {
            self.look();
            if is_so(self) {
                return;
            }
            assert!(self.wires.pass(), "{what}: it takes too long; {:?}", self.seen.last());
        }
    }

    pub(super) fn pause(&mut self) {
        self.wires.pause();
        self.look();
    }

    pub(super) fn dial(&mut self, link: u64, dial: Dial) {
        let Dial { to, from, tls } = dial;
        self.wires.ask(Output::Connect { link: LinkKey::from_u64(link), to, from, tls });
    }

    pub(super) fn order(&mut self, link: u64, output: LinkOutput) {
        self.wires.ask(Output::Link { link: LinkKey::from_u64(link), output });
    }

    pub(super) fn adopt(&mut self, arrival: ArrivalKey, link: u64) {
        self.wires.ask(Output::Adopt { arrival, link: LinkKey::from_u64(link) });
    }

    pub(super) fn listen(&mut self, listener: u64, on: SocketAddr) -> Result<SocketAddr, LinkError> {
        self.wires.ask(Output::Listen { listener: ListenerKey(listener), on });
        self.place(listener)
    }

    pub(super) fn bind(&mut self, socket: u64, on: SocketAddr) -> Result<SocketAddr, LinkError> {
        self.wires.ask(Output::Bind { socket: UdpKey(socket), on });
        self.place(socket)
    }

    pub(super) fn datagram(&mut self, socket: u64, to: SocketAddr, bytes: Bytes) {
        self.wires.ask(Output::Datagram { socket: UdpKey(socket), to, bytes });
    }

    fn place(&mut self, key: u64) -> Result<SocketAddr, LinkError> {
        let is_it = |(known, _): &(u64, _)| *known == key;
        self.until("a place", |stage| stage.places.iter().any(is_it));
        let at = self.places.iter().position(is_it).expect("it was just found");
        self.places.remove(at).1
    }

    /// All that came on links.
    pub(super) fn data(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (_, input) in &self.seen {
            if let LinkInput::Data(data) = input {
                all.extend_from_slice(data);
            }
        }
        all
    }

    /// How much is said to have left.
    pub(super) fn sent(&self) -> u64 {
        let sent = |(_, input): &(u64, LinkInput)| match input {
            LinkInput::Sent(bytes) => u64::from(*bytes),
            _ => 0,
        };
        self.seen.iter().map(sent).sum()
    }

    /// How a link ended.
    pub(super) fn end(&self) -> Option<LinkError> {
        self.seen.iter().find_map(|(_, input)| match input {
            LinkInput::Closed(error) => Some(*error),
            _ => None,
        })
    }

    /// A link, 1, and the peer at its other end.
    pub(super) fn pair(&mut self) -> usize {
        let to = self.wires.peers_listen();
        self.dial(1, Dial::plain(to));
        let peer = self.accepted().0;
        self.until("opened", |stage| stage.seen == [(1, LinkInput::Opened)]);
        peer
    }

    /// The next peer that was dialled.
    pub(super) fn accepted(&mut self) -> (usize, SocketAddr) {
        let mut accepted = None;
        self.until("a connection", |stage| {
            accepted = stage.wires.peer_accepts();
            accepted.is_some()
        });
        accepted.expect("it was just found")
    }

    /// The next one who dialled this side.
    pub(super) fn arrival(&mut self) -> ArrivalKey {
        self.until("an arrival", |stage| !stage.arrivals.is_empty());
        self.arrivals.pop_front().expect("it was just found").1
    }

    /// What a peer hears until there is so much of it, or its end.
    pub(super) fn heard(&mut self, peer: usize, len: usize) -> (Vec<u8>, Option<LinkError>) {
        let (mut all, mut end) = (Vec::new(), None);
        self.until("the peer hears", |stage| {
            let (bytes, ended) = stage.wires.peer_hears(peer);
            all.extend(bytes);
            end = ended;
            all.len() >= len || end.is_some()
        });
        (all, end)
    }
}

/// Real sockets on loopback.
pub struct Loopback<'r, R: Rig> {
    rig: &'r R,
    links: Option<Links<R::Runtime>>,
    inbox: Arc<Inbox>,
    listener: TcpListener,
    peers: Vec<Peer>,
    udp: UdpSocket,
    deadline: Instant,
}

/// A connection, what it has still to send, and whether it is finished then.
struct Peer {
    socket: Option<TcpStream>,
    unsent: VecDeque<u8>,
    finishing: bool,
}

impl<'r, R: Rig> Loopback<'r, R> {
    /// No links yet.
    pub fn new(rig: &'r R) -> Self {
        let inbox = Arc::new(Inbox::default());
        let context = Arc::new(LinkContext::new(&EngineConfig::new(), Arc::clone(&inbox)));
        let listener = TcpListener::bind(LOCAL).expect("a port");
        listener.set_nonblocking(true).expect("an option");
        let udp = UdpSocket::bind(LOCAL).expect("a port");
        udp.set_nonblocking(true).expect("an option");
        let links = Some(rig.enter(|| Links::new(rig.runtime(), context)));
        Self { rig, links, inbox, listener, peers: Vec::new(), udp, deadline: Instant::now() + MINUTE }
    }

    fn add(&mut self, socket: TcpStream) -> usize {
        socket.set_nonblocking(true).expect("an option");
        self.peers.push(Peer { socket: Some(socket), unsent: VecDeque::new(), finishing: false });
        self.peers.len() - 1
    }
}

impl<R: Rig> Wires for Loopback<'_, R> {
    fn ask(&mut self, output: Output) {
        let Some(links) = &mut self.links else { return };
        self.rig.enter(|| match output {
            Output::Connect { link, to, from, tls } => links.connect(link, Dial { to, from, tls }),
            Output::Link { link, output } => links.link(link, output),
            Output::Listen { listener, on } => links.listen(listener, on),
            Output::Unlisten { listener } => links.unlisten(listener),
            Output::Adopt { arrival, link } => links.adopt(arrival, link),
            Output::Dismiss { arrival } => links.dismiss(arrival),
            Output::Bind { socket, on } => links.bind(socket, on),
            Output::Unbind { socket } => links.unbind(socket),
            Output::Datagram { socket, to, bytes } => links.datagram(socket, to, bytes),
            other => panic!("{other:?}"),
        });
    }

    fn reported(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        self.inbox.take(&mut inputs);
        inputs
    }

    fn pass(&mut self) -> bool {
        self.peers.iter_mut().for_each(Peer::pump);
        std::thread::sleep(Duration::from_millis(1));
        Instant::now() < self.deadline
    }

    fn pause(&mut self) {
        let until = Instant::now() + Duration::from_millis(40);
        while Instant::now() < until {
            self.pass();
        }
    }

    fn end(&mut self) {
        let links = self.links.take();
        self.rig.enter(|| drop(links));
    }

    fn addresses(&self) -> [IpAddr; 2] {
        [LOCAL.0.into(), Ipv4Addr::new(127, 0, 0, 9).into()]
    }

    fn peers_listen(&mut self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    fn peer_accepts(&mut self) -> Option<(usize, SocketAddr)> {
        let (socket, from) = self.listener.accept().ok()?;
        Some((self.add(socket), from))
    }

    fn peer_connects(&mut self, to: SocketAddr) -> usize {
        self.add(TcpStream::connect(to).expect("somebody listens"))
    }

    fn peer_sends(&mut self, peer: usize, bytes: &[u8]) {
        self.peers[peer].unsent.extend(bytes);
        self.peers[peer].pump();
    }

    fn peer_finishes(&mut self, peer: usize) {
        self.peers[peer].finishing = true;
        self.peers[peer].pump();
    }

    fn peer_resets(&mut self, peer: usize) {
        let socket = self.peers[peer].socket.take().expect("it is open");
        let socket = socket2::Socket::from(socket);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }

    fn peer_hears(&mut self, peer: usize) -> (Vec<u8>, Option<LinkError>) {
        let mut all = Vec::new();
        let Some(socket) = &mut self.peers[peer].socket else { return (all, Some(LinkError::Reset)) };
        let mut room = vec![0; 64 << 10];
        loop {
            match socket.read(&mut room) {
                Ok(0) => return (all, Some(LinkError::Eof)),
                Ok(len) => all.extend_from_slice(&room[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return (all, None),
                Err(_) => return (all, Some(LinkError::Reset)),
            }
        }
    }

    fn peers_bind(&mut self) -> SocketAddr {
        self.udp.local_addr().expect("an address")
    }

    fn peers_send(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.udp.send_to(bytes, to).expect("it is sent");
    }

    fn peers_receive(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut room = vec![0; 64 << 10];
        let next = || {
            let (len, from) = self.udp.recv_from(&mut room).ok()?;
            Some((from, room[..len].to_vec()))
        };
        std::iter::from_fn(next).collect()
    }
}

impl Peer {
    /// Sends what the system takes.
    fn pump(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        while !self.unsent.is_empty() {
            // An error shows when it hears.
            let Ok(len) = socket.write(self.unsent.make_contiguous()) else { return };
            self.unsent.drain(..len);
        }
        if std::mem::take(&mut self.finishing) {
            let _ = socket.shutdown(Shutdown::Write);
        }
    }
}

const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
