//! Machine: a tracker, over HTTP (BEP 3, 7, 23) and UDP (BEP 15) at one address, well-behaved or not.

use crate::actor::Actor;
use crate::request::Request;
use bytes::{BufMut, Bytes, BytesMut};
use core::time::Duration;
use gosh_dl_core::base::{InfoHash, Instant, LinkInput, LinkOutput, PeerId};
use gosh_dl_core::engine::{Input, LinkKey, ListenerKey, Output, UdpKey};
use gosh_dl_core::wire::bencode::encode;
use gosh_dl_core::wire::tracker::Event;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How a tracker treats those who announce themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackerConduct {
    /// Names everybody who takes part.
    Honest,
    /// Names this many peers that do not exist, and then everybody who takes part.
    Ghosts(u16),
    /// Refuses, and says this.
    Refuses(Bytes),
    /// Takes connections and packets, and says nothing.
    Silent,
    /// Answers something else: over HTTP a page, over UDP a question that was not asked.
    Confused,
    /// Answers without end: over HTTP a body, over UDP many packets for each.
    Floods,
    /// Answers a byte in a second over HTTP, and nothing over UDP.
    Drips,
}

/// A tracker. It takes note of all that it is told, so that a test can hold an engine to it.
#[derive(Debug)]
pub struct Tracker {
    /// How it behaves; may be changed at any time.
    pub conduct: TrackerConduct,
    /// After how many seconds it wants to be told again.
    pub interval: u32,
    /// How many seconds it wants to be left alone at least; only HTTP can say so.
    pub min_interval: Option<u32>,
    /// Everything that it was told, in order; repeated packets are in it as often as they came.
    pub announces: Vec<Announced>,
    /// What nobody should send: packets that are none, and numbers that were not given out.
    pub faults: Vec<String>,
    /// How many requests and packets came.
    pub asked: u64,
    /// Bytes that somebody took over HTTP.
    pub taken: u64,
    place: SocketAddr,
    swarms: BTreeMap<InfoHash, BTreeMap<SocketAddr, bool>>,
    talks: BTreeMap<LinkKey, Talk>,
    drip_at: Option<Instant>,
    outputs: VecDeque<Output>,
    begun: bool,
}

/// What a tracker was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// When.
    pub at: Instant,
    /// Where who told it listens.
    pub peer: SocketAddr,
    /// As whom it is known.
    pub peer_id: PeerId,
    /// Which torrent.
    pub info_hash: InfoHash,
    /// What has happened.
    pub event: Event,
    /// Bytes that are missing.
    pub left: u64,
    /// How long it was asked to wait before it comes again without an event; `None` where it was not answered.
    pub wait: Option<Duration>,
}

#[derive(Debug, Default)]
struct Talk {
    from: Option<SocketAddr>,
    heard: Vec<u8>,
    /// What is still to be said, slowly.
    drips: VecDeque<u8>,
    floods: bool,
}

impl Tracker {
    /// A tracker at `place`, TCP and UDP, that wants to hear of everybody every half hour.
    pub fn new(place: SocketAddr, conduct: TrackerConduct) -> Self {
        Self {
            conduct,
            interval: 1800,
            min_interval: None,
            announces: Vec::new(),
            faults: Vec::new(),
            asked: 0,
            taken: 0,
            place,
            swarms: BTreeMap::new(),
            talks: BTreeMap::new(),
            drip_at: None,
            outputs: VecDeque::new(),
            begun: false,
        }
    }

    /// Its URL over HTTP.
    pub fn http(&self) -> String {
        format!("http://{}/announce", self.place)
    }

    /// Its URL over UDP.
    pub fn udp(&self) -> String {
        format!("udp://{}/announce", self.place)
    }

    /// Who takes part in a torrent, and whether it has everything.
    pub fn swarm(&self, info_hash: InfoHash) -> impl Iterator<Item = (SocketAddr, bool)> {
        self.swarms.get(&info_hash).into_iter().flatten().map(|(peer, whole)| (*peer, *whole))
    }

    /// Counts somebody in who has everything, as if it had told so.
    pub fn admit(&mut self, info_hash: InfoHash, peer: SocketAddr) {
        self.swarms.entry(info_hash).or_default().insert(peer, true);
    }

    /// The first who came again without an event before the time that it was given.
    pub fn hasty(&self) -> Option<(Announced, Announced)> {
        let mut last: BTreeMap<(InfoHash, PeerId), Announced> = BTreeMap::new();
        self.announces.iter().find_map(|next| {
            let before = last.insert((next.info_hash, next.peer_id), *next)?;
            let soon = before.wait.is_some_and(|wait| next.at < before.at + wait);
            (soon && next.event == Event::None).then_some((before, *next))
        })
    }

    /// Where a peer is that does not exist: nobody in the simulated world has an address of this network.
    pub fn ghost(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(77, 77, high, low))
    }

    /// Takes note, and says whom to name; `least` is the shortest interval where it can be said.
    fn note(&mut self, mut told: Announced, wanted: usize, least: Option<u32>) -> Vec<SocketAddr> {
        let answers = matches!(self.conduct, TrackerConduct::Honest | TrackerConduct::Ghosts(_));
        let least = least.unwrap_or_else(|| self.interval.min(EAGER));
        told.wait = answers.then_some(Duration::from_secs(u64::from(least.clamp(FLOOR, DAY))));
        self.announces.push(told);
        let swarm = self.swarms.entry(told.info_hash).or_default();
        let others: Vec<SocketAddr> = swarm.keys().copied().filter(|peer| *peer != told.peer).collect();
        match told.event {
            Event::Stopped => swarm.remove(&told.peer),
            _ => swarm.insert(told.peer, told.left == 0),
        };
        let ghosts = match self.conduct {
            TrackerConduct::Ghosts(count) => count,
            _ => 0,
        };
        (0..ghosts)
            .map(|number| SocketAddr::new(Self::ghost(number), 6881))
            .chain(others.into_iter().take(wanted))
            .collect()
    }

    // ----- HTTP ------------------------------------------------------------------------------------------------------

    fn on_link(&mut self, now: Instant, link: LinkKey, input: LinkInput) {
        let Some(mut talk) = self.talks.remove(&link) else { return };
        match input {
            LinkInput::Data(bytes) => {
                talk.heard.extend_from_slice(&bytes);
                while let Some(request) = Request::take(&mut talk.heard) {
                    self.hear(now, link, &mut talk, &request);
                }
                let came = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                self.link(link, LinkOutput::Credit(came));
            }
            LinkInput::Sent(count) => {
                self.taken += u64::from(count);
                if talk.floods {
                    self.send(link, vec![b'x'; count as usize]);
                }
            }
            LinkInput::Closed(_) => return,
            LinkInput::Opened | LinkInput::Secured => {}
        }
        self.talks.insert(link, talk);
    }

    fn hear(&mut self, now: Instant, link: LinkKey, talk: &mut Talk, request: &Request) {
        self.asked += 1;
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        if path != "/announce" {
            return self.send(link, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec());
        }
        let from = talk.from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from| from.ip());
        let Some((told, wanted)) = read_query(now, from, query) else {
            return self.faults.push(request.target.clone());
        };
        let peers = self.note(told, wanted, self.min_interval);
        let body = match &self.conduct {
            TrackerConduct::Silent => return,
            TrackerConduct::Confused => b"<html>It works!</html>".to_vec(),
            TrackerConduct::Refuses(why) => {
                encode(|value| value.dict(|root| root.entry(b"failure reason", |value| value.bytes(why))))
            }
            TrackerConduct::Floods => {
                talk.floods = true;
                self.send(link, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec());
                return self.send(link, vec![b'x'; FLOOD]);
            }
            TrackerConduct::Honest | TrackerConduct::Ghosts(_) | TrackerConduct::Drips => {
                self.answer(told.info_hash, &peers)
            }
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let all = [head.into_bytes(), body].concat();
        if self.conduct == TrackerConduct::Drips {
            talk.drips.extend(all);
            self.drip_at = self.drip_at.or(Some(now + DRIP));
        } else {
            self.send(link, all);
        }
    }

    fn answer(&self, info_hash: InfoHash, peers: &[SocketAddr]) -> Vec<u8> {
        let (whole, others): (Vec<_>, Vec<_>) = self.swarm(info_hash).partition(|(_, whole)| *whole);
        let count = |of: Vec<(SocketAddr, bool)>| u32::try_from(of.len()).unwrap_or(u32::MAX);
        encode(|value| {
            value.dict(|root| {
                root.entry(b"interval", |value| value.int(self.interval));
                if let Some(least) = self.min_interval {
                    root.entry(b"min interval", |value| value.int(least));
                }
                root.entry(b"complete", |value| value.int(count(whole)));
                root.entry(b"incomplete", |value| value.int(count(others)));
                root.entry(b"peers", |value| value.bytes(&compact(peers, false)));
                root.entry(b"peers6", |value| value.bytes(&compact(peers, true)));
            })
        })
    }

    fn drip(&mut self, now: Instant) {
        let links: Vec<LinkKey> = self.talks.keys().copied().collect();
        self.drip_at = None;
        for link in links {
            let Some(talk) = self.talks.get_mut(&link) else { continue };
            if let Some(byte) = talk.drips.pop_front() {
                self.drip_at = Some(now + DRIP);
                self.send(link, vec![byte]);
            }
        }
    }

    fn send(&mut self, link: LinkKey, bytes: Vec<u8>) {
        self.link(link, LinkOutput::Send(bytes.into()));
    }

    fn link(&mut self, link: LinkKey, output: LinkOutput) {
        self.outputs.push_back(Output::Link { link, output });
    }

    // ----- UDP -------------------------------------------------------------------------------------------------------

    fn on_datagram(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        self.asked += 1;
        let (Some(connection), Some(action), Some(transaction)) =
            (number(packet, 0, 8), number(packet, 8, 4), number(packet, 12, 4))
        else {
            return self.faults.push(format!("a packet of {} bytes from {from}", packet.len()));
        };
        let expected = match action {
            0 => PROTOCOL,
            _ => connection_of(from),
        };
        if connection != expected || action > 2 {
            return self.faults.push(format!("{connection:x} for action {action} from {from}"));
        }
        let mut answer = BytesMut::new();
        let (mut reply, mut number_of) = (action as u32, transaction as u32);
        match action {
            0 => answer.put_u64(connection_of(from)),
            1 => {
                let Some((told, wanted)) = read_packet(now, from, packet) else {
                    return self.faults.push(format!("an announce of {} bytes from {from}", packet.len()));
                };
                let peers = self.note(told, wanted, None);
                let seeders = self.swarm(told.info_hash).filter(|(_, whole)| *whole).count();
                answer.put_u32(self.interval);
                answer.put_u32(peers.len() as u32 - seeders.min(peers.len()) as u32);
                answer.put_u32(seeders as u32);
                answer.extend_from_slice(&compact(&peers, from.is_ipv6()));
            }
            _ => answer.put_bytes(0, 12),
        }
        let mut copies = 1;
        match &self.conduct {
            TrackerConduct::Honest | TrackerConduct::Ghosts(_) => {}
            TrackerConduct::Silent | TrackerConduct::Drips => return,
            TrackerConduct::Confused => number_of ^= 1,
            TrackerConduct::Floods => {
                number_of ^= 1;
                copies = FLOOD_PACKETS;
            }
            TrackerConduct::Refuses(_) if action == 0 => {}
            TrackerConduct::Refuses(why) => {
                reply = 3;
                answer = BytesMut::from(&why[..]);
            }
        }
        answer.truncate(MAX_PACKET);
        let head = [reply.to_be_bytes(), number_of.to_be_bytes()].concat();
        let bytes = Bytes::from([&head[..], &answer].concat());
        for _ in 0..copies {
            self.outputs.push_back(Output::Datagram { socket: SOCKET, to: from, bytes: bytes.clone() });
        }
    }
}

impl Actor for Tracker {
    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Accepted { arrival, from, .. } => {
                let link = LinkKey::from_u64(arrival.0);
                self.talks.insert(link, Talk { from: Some(from), ..Talk::default() });
                self.outputs.push_back(Output::Adopt { arrival, link });
                self.link(link, LinkOutput::Credit(CREDIT));
            }
            Input::Link { link, input } => self.on_link(now, link, input),
            Input::Datagram { from, bytes, .. } => self.on_datagram(now, from, &bytes),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if !self.begun {
            self.begun = true;
            self.outputs.push_back(Output::Listen { listener: ListenerKey(1), on: self.place });
            self.outputs.push_back(Output::Bind { socket: SOCKET, on: self.place });
        }
        if self.drip_at.is_some_and(|at| at <= now) {
            self.drip(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.drip_at
    }
}

/// An announce over HTTP, and how many peers are wanted.
fn read_query(now: Instant, from: IpAddr, query: &str) -> Option<(Announced, usize)> {
    let raw = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| unescape(value))
    };
    let text = |name: &str| String::from_utf8(raw(name)?).ok();
    let event = match text("event").as_deref() {
        None => Event::None,
        Some("started") => Event::Started,
        Some("completed") => Event::Completed,
        Some("stopped") => Event::Stopped,
        Some(_) => return None,
    };
    let told = Announced {
        at: now,
        peer: SocketAddr::new(from, text("port")?.parse().ok()?),
        peer_id: PeerId(raw("peer_id")?.try_into().ok()?),
        info_hash: InfoHash(raw("info_hash")?.try_into().ok()?),
        event,
        left: text("left")?.parse().ok()?,
        wait: None,
    };
    Some((told, text("numwant")?.parse().ok()?))
}

/// An announce over UDP, and how many peers are wanted.
fn read_packet(now: Instant, from: SocketAddr, packet: &[u8]) -> Option<(Announced, usize)> {
    let event = match number(packet, 80, 4)? {
        0 => Event::None,
        1 => Event::Completed,
        2 => Event::Started,
        3 => Event::Stopped,
        _ => return None,
    };
    let told = Announced {
        at: now,
        peer: SocketAddr::new(from.ip(), u16::try_from(number(packet, 96, 2)?).ok()?),
        peer_id: PeerId(packet.get(36..56)?.try_into().ok()?),
        info_hash: InfoHash(packet.get(16..36)?.try_into().ok()?),
        event,
        left: number(packet, 64, 8)?,
        wait: None,
    };
    Some((told, usize::try_from(number(packet, 92, 4)?).ok()?))
}

fn number(packet: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = packet.get(at..at + len)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Percent-encoding undone (RFC 3986 section 2.1); what is none stays as it is.
fn unescape(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut out = Vec::new();
    while let Some((byte, behind)) = rest.split_first() {
        let hex = (*byte == b'%').then(|| core::str::from_utf8(behind.get(..2)?).ok()).flatten();
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = if escaped.is_some() { &behind[2..] } else { behind };
        out.push(escaped.unwrap_or(*byte));
    }
    out
}

/// BEP 23 and BEP 7: addresses of one family with their ports.
fn compact(peers: &[SocketAddr], v6: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for peer in peers.iter().filter(|peer| peer.is_ipv6() == v6) {
        match peer.ip() {
            IpAddr::V4(ip) => out.extend(ip.octets()),
            IpAddr::V6(ip) => out.extend(ip.octets()),
        }
        out.extend(peer.port().to_be_bytes());
    }
    out
}

/// The number that was given to whoever is at this address.
fn connection_of(from: SocketAddr) -> u64 {
    let ip = match from.ip() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() as u64,
    };
    (ip << 16 ^ u64::from(from.port())).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

const SOCKET: UdpKey = UdpKey(1);
/// BEP 15.
const PROTOCOL: u64 = 0x0417_2710_1980;
/// How many bytes the other side may send ahead: requests are small.
const CREDIT: u32 = 64 << 10;
/// How much of a body without end is under way at once.
const FLOOD: usize = 256 << 10;
const FLOOD_PACKETS: usize = 200;
/// What one packet carries; peers that do not fit are left out.
const MAX_PACKET: usize = 1400;
const DRIP: Duration = Duration::from_secs(1);
/// With few peers, who knows of no shortest interval may come after five minutes, but never within one; and nobody has to
/// wait longer than a day.
const EAGER: u32 = 300;
const FLOOR: u32 = 60;
const DAY: u32 = 24 * 3600;
