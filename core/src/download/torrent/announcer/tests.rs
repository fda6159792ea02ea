//! Trackers over both transports, scripted by hand: as they should be, dead, slow and hostile.

mod http;
mod run;
mod udp;

use super::*;
use crate::base::link::LinkKey;
use crate::base::{InfoHash, LinkError, LinkOutput, PeerId, Reach};
use crate::download::lease;
use crate::proto::http::{Connection, ConnectionConfig};
use crate::wire::http::HttpUrl;
use bytes::BytesMut;
use std::collections::BTreeMap;

/// An announcer, its clock, and everything that it has asked for.
struct Table {
    announcer: Announcer,
    now: Instant,
    /// Exchanges that wait for a connection.
    leases: Vec<(SlotKey, String)>,
    /// Where each exchange may lead.
    reaches: BTreeMap<SlotKey, Reach>,
    /// Links in use, with what was sent over them.
    links: BTreeMap<LinkKey, (SlotKey, String)>,
    next_link: u64,
    lookups: Vec<(SlotKey, String)>,
    sent: Vec<(SocketAddr, Vec<u8>)>,
    peers: Vec<SocketAddr>,
    ips: Vec<IpAddr>,
    messages: Vec<(String, String, MessageKind)>,
    stopped: usize,
}

impl Table {
    fn new(tiers: &[&[&str]]) -> Self {
        let tiers = tiers.iter().map(|tier| tier.iter().map(|url| (*url).to_owned()).collect()).collect();
        let plan = AnnouncePlan {
            info_hash: InfoHash([b'h'; 20]),
            peer_id: PeerId([b'p'; 20]),
            port: 6881,
            key: 0xbeef,
            user_agent: "test/1".into(),
            tiers,
            announce_ip: None,
            ipv6: None,
        };
        let now = Instant::ZERO + Duration::from_secs(1000);
        let mut announcer = Announcer::new(now, plan, Rng::from_seed([3; 32]));
        announcer.set_totals(Totals { uploaded: 1, downloaded: 2, left: 3 });
        Self {
            announcer,
            now,
            leases: Vec::new(),
            reaches: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            lookups: Vec::new(),
            sent: Vec::new(),
            peers: Vec::new(),
            ips: Vec::new(),
            messages: Vec::new(),
            stopped: 0,
        }
    }

    fn started(tiers: &[&[&str]]) -> Self {
        let mut table = Self::new(tiers);
        table.act(|announcer, now| announcer.start(now));
        table
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Announcer, Instant) -> T) -> T {
        let result = act(&mut self.announcer, self.now);
        self.drain();
        result
    }

    fn drain(&mut self) {
        while let Some(output) = self.announcer.poll_output() {
            match output {
                Output::Lease(output) => self.on_lease(output),
                Output::Resolve { query, host } => self.lookups.push((query, host.to_string())),
                Output::Datagram { to, bytes } => self.sent.push((to, bytes.to_vec())),
                Output::Peers(peers) => self.peers.extend(peers),
                Output::ExternalIp(ip) => self.ips.push(ip),
                Output::Message { tracker, text, kind } => self.messages.push((tracker, text, kind)),
                Output::Stopped => self.stopped += 1,
            }
        }
    }

    fn on_lease(&mut self, output: lease::Output<SlotKey>) {
        match output {
            lease::Output::Lease { slot, to } => {
                self.leases.push((slot, to.origin.to_string()));
                self.reaches.insert(slot, to.reach);
            }
            lease::Output::Unlease { slot, to } => {
                assert_eq!(self.reaches[&slot], to.reach);
                let waits = (slot, to.origin.to_string());
                let place = self.leases.iter().position(|lease| *lease == waits).expect("it waits");
                self.leases.remove(place);
            }
            lease::Output::Release(lease) => _ = self.links.remove(&lease.link).expect("a link in use"),
            lease::Output::Link(link, LinkOutput::Send(bytes)) => {
                let text = core::str::from_utf8(&bytes).unwrap();
                self.links.get_mut(&link).expect("a link in use").1.push_str(text);
            }
            lease::Output::Link(link, _) => assert!(self.links.contains_key(&link)),
        }
    }

    /// Waits until something is due or the time is over; says whether something was.
    fn wait(&mut self, length: Duration) -> bool {
        let until = self.now + length;
        let due = self.announcer.poll_timeout().filter(|at| *at <= until);
        self.now = due.unwrap_or(until);
        if due.is_some() {
            self.act(|announcer, now| announcer.handle_timeout(now));
            let next = self.announcer.poll_timeout();
            assert!(next.is_none_or(|at| at > self.now), "{next:?} at {:?}", self.now);
        }
        due.is_some()
    }

    fn pass(&mut self, length: Duration) {
        let until = self.now + length;
        while self.wait(until - self.now) {}
    }

    /// Gives a connection to the exchange that waits for `origin`, and returns its link.
    fn lease(&mut self, origin: &str) -> LinkKey {
        self.lease_of(origin, false)
    }

    fn lease_of(&mut self, origin: &str, reused: bool) -> LinkKey {
        let place = self.leases.iter().position(|(_, wanted)| wanted == origin);
        let (slot, _) = self.leases.remove(place.unwrap_or_else(|| panic!("{origin} of {:?}", self.leases)));
        self.next_link += 1;
        let link = LinkKey::from_u64(self.next_link);
        let config =
            ConnectionConfig { read_timeout: Duration::from_secs(30), keep_alive: Duration::from_secs(60) };
        let connection = Box::new(Connection::new(self.now, config));
        self.links.insert(link, (slot, String::new()));
        let lease = Lease { link, connection, reused, local: false, other_family: None };
        self.act(|announcer, now| announcer.leased(now, slot, lease));
        self.act(|announcer, now| announcer.grant(now, slot, 1 << 30));
        link
    }

    /// The name of the host of the exchange that waits leads only to where it must not.
    fn lead_astray(&mut self) -> Reach {
        let (slot, origin) = self.leases.remove(0);
        let origin = HttpUrl::parse(&origin).unwrap().origin().clone();
        self.act(|announcer, now| {
            announcer.lease_failed(now, slot, DownloadError::OutOfReach { origin });
        });
        self.reaches[&slot]
    }

    /// The target of the request that was sent over a link.
    fn target(&self, link: LinkKey) -> String {
        self.links[&link].1.split(' ').nth(1).unwrap().to_owned()
    }

    fn input(&mut self, link: LinkKey, input: LinkInput) {
        let slot = self.links[&link].0;
        self.act(|announcer, now| announcer.handle_link(now, slot, input));
    }

    fn reply(&mut self, link: LinkKey, bytes: &[u8]) {
        self.input(link, LinkInput::Data(BytesMut::from(bytes)));
    }

    fn reply_with(&mut self, link: LinkKey, head: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
        self.reply(link, &[head.as_bytes(), body].concat());
    }

    /// Leases a connection to `origin`, answers the announce over it, and returns its target.
    fn serve(&mut self, origin: &str, body: &[u8]) -> String {
        let link = self.lease(origin);
        let target = self.target(link);
        self.reply_with(link, "200 OK", body);
        target
    }

    fn resolve(&mut self, addresses: &[&str]) -> String {
        let (query, host) = self.lookups.remove(0);
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        self.act(|announcer, now| announcer.resolved(now, query, Ok(addresses)));
        host
    }

    /// The packets sent since the last look: the address and the action of each.
    fn actions(&mut self) -> Vec<(String, u8)> {
        self.sent.drain(..).map(|(to, packet)| (to.to_string(), packet[11])).collect()
    }

    /// The last packet sent to `to`, answered.
    fn answer(&mut self, to: &str, action: u8, rest: &[u8]) -> bool {
        let to: SocketAddr = to.parse().unwrap();
        let (_, question) = self.sent.iter().rfind(|(at, _)| *at == to).expect("a question").clone();
        let packet = [&[0, 0, 0, action], &question[12..16], rest].concat();
        self.act(|announcer, now| announcer.handle_datagram(now, to, &packet))
    }

    /// Connects and answers the announce to `to` with a peer; returns the event that it told.
    fn serve_udp(&mut self, to: &str, peers: &[u8]) -> u8 {
        if self.sent.iter().rfind(|(at, _)| at.to_string() == to).expect("a question").1[11] == 0 {
            assert!(self.answer(to, 0, b"\x01\x02\x03\x04\x05\x06\x07\x08"));
        }
        let (_, announce) = self.sent.iter().rfind(|(at, _)| at.to_string() == to).unwrap().clone();
        assert!(self.answer(to, 1, &[b"\0\0\x07\x08\0\0\0\x02\0\0\0\x03", peers].concat()));
        announce[83]
    }

    fn states(&self) -> Vec<(String, TrackerState)> {
        self.announcer.trackers().into_iter().map(|status| (status.url, status.state)).collect()
    }

    fn error(&self) -> String {
        self.announcer.trackers()[0].last_error.clone().unwrap_or_default()
    }
}

fn peer(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const SECOND: Duration = Duration::from_secs(1);
const GOOD: &[u8] = b"d8:intervali1800e5:peers6:\x0a\0\0\x01\x1a\xe1e";
