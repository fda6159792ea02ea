//! What a runtime's links, listeners and UDP sockets are tested on: orders go in, and what is reported is kept.

use super::{Rig, until};
use bytes::Bytes;
use gosh_dl_core::base::{LinkError, LinkInput, LinkOutput};
use gosh_dl_core::engine::{ArrivalKey, EngineConfig, Input, LinkKey, ListenerKey, UdpKey};
use gosh_dl_runtime::disk::DiskExecutor;
use gosh_dl_runtime::{Dial, Inbox, LinkContext, Links, Transport as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Links and what was reported.
pub(super) struct Bench<'r, R: Rig> {
    rig: &'r R,
    pub(super) links: Links<R::Runtime>,
    inbox: Arc<Inbox>,
    pub(super) seen: Vec<(u64, LinkInput)>,
    /// Who connected: the listener, the arrival, from where.
    pub(super) arrivals: Vec<(u64, ArrivalKey, SocketAddr)>,
    /// What listens or is bound, or why not.
    pub(super) places: Vec<(u64, Result<SocketAddr, LinkError>)>,
    pub(super) datagrams: Vec<(u64, SocketAddr, Vec<u8>)>,
}

impl<'r, R: Rig> Bench<'r, R> {
    pub(super) fn new(rig: &'r R) -> Self {
        Self::make(rig, |context| context)
    }

    /// With files to send.
    pub(super) fn with_disk(rig: &'r R, disk: Arc<DiskExecutor>) -> Self {
        Self::make(rig, |context| context.with_disk(disk))
    }

    fn make(rig: &'r R, finish: impl FnOnce(LinkContext) -> LinkContext) -> Self {
        let inbox = Arc::new(Inbox::default());
        let context = finish(LinkContext::new(&EngineConfig::new(), Arc::clone(&inbox)));
        Self {
            rig,
            links: rig.enter(|| Links::new(rig.runtime(), Arc::new(context))),
            inbox,
            seen: Vec::new(),
            arrivals: Vec::new(),
            places: Vec::new(),
            datagrams: Vec::new(),
        }
    }

    pub(super) fn connect(&mut self, link: u64, to: SocketAddr) {
        self.dial(link, Dial::plain(to));
    }

    pub(super) fn dial(&mut self, link: u64, dial: Dial) {
        self.rig.enter(|| self.links.connect(LinkKey::from_u64(link), dial));
    }

    pub(super) fn order(&mut self, link: u64, output: LinkOutput) {
        self.rig.enter(|| self.links.link(LinkKey::from_u64(link), output));
    }

    pub(super) fn listen(&mut self, listener: u64, on: SocketAddr) -> Result<SocketAddr, LinkError> {
        self.rig.enter(|| self.links.listen(ListenerKey(listener), on));
        self.place(listener)
    }

    pub(super) fn adopt(&mut self, arrival: ArrivalKey, link: u64) {
        self.rig.enter(|| self.links.adopt(arrival, LinkKey::from_u64(link)));
    }

    pub(super) fn dismiss(&mut self, arrival: ArrivalKey) {
        self.rig.enter(|| self.links.dismiss(arrival));
    }

    pub(super) fn bind(&mut self, socket: u64, on: SocketAddr) -> Result<SocketAddr, LinkError> {
        self.rig.enter(|| self.links.bind(UdpKey(socket), on));
        self.place(socket)
    }

    pub(super) fn unbind(&mut self, socket: u64) {
        self.rig.enter(|| self.links.unbind(UdpKey(socket)));
    }

    pub(super) fn datagram(&mut self, socket: u64, to: SocketAddr, bytes: Bytes) {
        self.rig.enter(|| self.links.datagram(UdpKey(socket), to, bytes));
    }

    fn place(&mut self, key: u64) -> Result<SocketAddr, LinkError> {
        let mut found = None;
        until("a place", || {
            self.look();
            found = self.places.iter().rev().find(|(known, _)| *known == key).map(|(_, result)| *result);
            found.is_some()
        });
        found.expect("it was just found")
    }

    /// Takes in what was reported.
    pub(super) fn look(&mut self) -> &[(u64, LinkInput)] {
        let mut inputs = Vec::new();
        self.inbox.take(&mut inputs);
        for input in inputs {
            match input {
                Input::Link { link, input } => self.seen.push((link.as_u64(), input)),
                Input::Accepted { listener, arrival, from } => {
                    self.arrivals.push((listener.0, arrival, from));
                }
                Input::Listening { listener, result } => self.places.push((listener.0, result)),
                Input::Bound { socket, result } => self.places.push((socket.0, result)),
                Input::Datagram { socket, from, bytes } => {
                    self.datagrams.push((socket.0, from, bytes.to_vec()));
                }
                other => panic!("{other:?}"),
            }
        }
        &self.seen
    }

    pub(super) fn data(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        for (_, input) in self.look() {
            if let LinkInput::Data(data) = input {
                all.extend_from_slice(data);
            }
        }
        all
    }

    pub(super) fn sent(&mut self) -> u64 {
        let sent = |(_, input): &(u64, LinkInput)| match input {
            LinkInput::Sent(bytes) => u64::from(*bytes),
            _ => 0,
        };
        self.look().iter().map(sent).sum()
    }

    pub(super) fn end(&mut self) -> Option<LinkError> {
        self.look().iter().find_map(|(_, input)| match input {
            LinkInput::Closed(error) => Some(*error),
            _ => None,
        })
    }

    /// A link, and the other side of it.
    pub(super) fn pair(&mut self) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        self.connect(1, listener.local_addr().expect("an address"));
        let (peer, _) = listener.accept().expect("a connection");
        until("opened", || self.look() == [(1, LinkInput::Opened)]);
        peer
    }
}

pub(super) fn pattern(len: u64) -> Vec<u8> {
    (0..len).map(|number| (number % 251).to_le_bytes()[0]).collect()
}

/// Time enough for a mistake to show.
pub(super) const PAUSE: Duration = Duration::from_millis(40);
