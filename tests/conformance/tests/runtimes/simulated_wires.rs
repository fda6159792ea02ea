//! The simulated network as one of those that the suite knows: links, listeners and datagrams in virtual time.

use bytes::Bytes;
use gosh_dl_conformance::runtime::wires::Wires;
use gosh_dl_core::base::{Instant, LinkError, LinkInput, LinkOutput, Rng};
use gosh_dl_core::engine::{ArrivalKey, Input, LinkKey, ListenerKey, Output, UdpKey};
use gosh_dl_sim::actor::OUTSIDE;
use gosh_dl_sim::{Actor, Actors, NodeId};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The one outside is the driver under test; one actor plays all peers.
pub(crate) struct Simulated {
    actors: Actors,
    peers: NodeId,
    now: Instant,
}

impl Simulated {
    pub(crate) fn new() -> Self {
        let here = Self::HERE.map(IpAddr::V4);
        let mut actors = Actors::new(Rng::from_seed([4; 32]), &here);
        let peers = actors.add(Instant::ZERO, &[THERE.ip()], Peers::default());
        let mut wires = Self { actors, peers, now: Instant::ZERO };
        wires.act(|peers| {
            peers.outputs.push_back(Output::Listen { listener: ListenerKey(0), on: THERE });
            peers.outputs.push_back(Output::Bind { socket: UdpKey(0), on: THERE });
        });
        wires
    }

    const HERE: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];

    fn act<T>(&mut self, act: impl FnOnce(&mut Peers) -> T) -> T {
        self.actors.act(self.now, self.peers, act).unwrap()
    }

    fn order(&mut self, peer: usize, output: LinkOutput) {
        self.act(|peers| peers.order(peer, output));
    }
}

impl Wires for Simulated {
    fn ask(&mut self, output: Output) {
        // What is given back names something that is gone.
        let _ = self.actors.handle_output(self.now, output);
    }

    fn reported(&mut self) -> Vec<Input> {
        std::iter::from_fn(|| self.actors.poll_input()).collect()
    }

    fn pass(&mut self) -> bool {
        let Some(at) = self.actors.poll_timeout() else { return false };
        self.now = self.now.max(at);
        self.actors.handle_timeout(self.now);
        true
    }

    fn pause(&mut self) {
        let until = self.now + Duration::from_secs(5);
        while self.actors.poll_timeout().is_some_and(|at| at <= until) {
            self.pass();
        }
        self.now = until;
    }

    fn end(&mut self) {
        self.actors.abort(self.now, OUTSIDE);
    }

    fn addresses(&self) -> [IpAddr; 2] {
        Self::HERE.map(IpAddr::V4)
    }

    fn peers_listen(&mut self) -> SocketAddr {
        THERE
    }

    fn peer_accepts(&mut self) -> Option<(usize, SocketAddr)> {
        self.act(|peers| {
            let (arrival, from) = peers.waiting.pop_front()?;
            let peer = peers.add();
            peers.outputs.push_back(Output::Adopt { arrival, link: LinkKey::from_u64(peer as u64) });
            Some((peer, from))
        })
    }

    fn peer_connects(&mut self, to: SocketAddr) -> usize {
        self.act(|peers| {
            let peer = peers.add();
            let link = LinkKey::from_u64(peer as u64);
            peers.outputs.push_back(Output::Connect { link, to, from: None, tls: None });
            peer
        })
    }

    fn peer_sends(&mut self, peer: usize, bytes: &[u8]) {
        self.order(peer, LinkOutput::Send(Bytes::copy_from_slice(bytes)));
    }

    fn peer_finishes(&mut self, peer: usize) {
        self.order(peer, LinkOutput::Close);
    }

    fn peer_resets(&mut self, peer: usize) {
        self.actors.internet.fail(self.now, self.peers, LinkKey::from_u64(peer as u64), LinkError::Reset);
        self.act(|_| {});
    }

    fn peer_hears(&mut self, peer: usize) -> (Vec<u8>, Option<LinkError>) {
        self.order(peer, LinkOutput::Credit(1 << 20));
        self.act(|peers| (std::mem::take(&mut peers.heard[peer]), peers.gone.get(&peer).copied()))
    }

    fn peers_bind(&mut self) -> SocketAddr {
        THERE
    }

    fn peers_send(&mut self, to: SocketAddr, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.act(|peers| peers.outputs.push_back(Output::Datagram { socket: UdpKey(0), to, bytes }));
    }

    fn peers_receive(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.act(|peers| std::mem::take(&mut peers.datagrams))
    }
}

/// All peers: they do what the suite tells them.
#[derive(Debug, Default)]
struct Peers {
    outputs: VecDeque<Output>,
    waiting: VecDeque<(ArrivalKey, SocketAddr)>,
    heard: Vec<Vec<u8>>,
    gone: BTreeMap<usize, LinkError>,
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
}

impl Peers {
    fn add(&mut self) -> usize {
        self.heard.push(Vec::new());
        self.heard.len() - 1
    }

    fn order(&mut self, peer: usize, output: LinkOutput) {
        self.outputs.push_back(Output::Link { link: LinkKey::from_u64(peer as u64), output });
    }
}

impl Actor for Peers {
    fn handle_input(&mut self, _now: Instant, input: Input) {
        match input {
            Input::Accepted { arrival, from, .. } => self.waiting.push_back((arrival, from)),
            Input::Link { link, input } => {
                let peer = usize::try_from(link.as_u64()).unwrap();
                match input {
                    LinkInput::Data(bytes) => self.heard[peer].extend_from_slice(&bytes),
                    LinkInput::Closed(reason) => drop(self.gone.insert(peer, reason)),
                    _ => {}
                }
            }
            Input::Datagram { from, bytes, .. } => self.datagrams.push((from, bytes.to_vec())),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

const THERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), 7);
