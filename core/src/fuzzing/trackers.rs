//! Fuzzing of what trackers send: their answers, their packets, and a whole announcer by a list of operations.

use crate::base::link::LinkKey;
use crate::base::{InfoHash, Instant, LinkError, LinkInput, LinkOutput, PeerId, ResolveError, Rng};
use crate::download::DownloadError;
use crate::download::lease::{self, Lease};
use crate::download::torrent::announcer::{
    AnnouncePlan, Announcer, MAX_TRACKERS, Output, STOP_TIME, SlotKey, Totals,
};
use crate::proto::http::{Connection, ConnectionConfig};
use crate::wire::printable::Printable;
use crate::wire::tracker::udp::{Answer, Packet};
use crate::wire::tracker::{AnnounceAnswer, AnnounceRequest, Event, MAX_PEERS, TrackerUrl, http};
use bytes::BytesMut;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

/// Answers over HTTP: peers are few and can be connected to, and what follows an answer is not looked at.
pub fn tracker_http(data: &[u8]) {
    if let Ok(answer) = http::decode_announce(data) {
        check_answer(&answer);
        assert_eq!(http::decode_announce(&[data, b"\r\n"].concat()).as_ref(), Ok(&answer));
        check_request(&answer);
    }
    let hash = data.first_chunk::<20>().copied().unwrap_or_default();
    let _ = http::decode_scrape(data, InfoHash(hash));
    if let Ok(url) = TrackerUrl::parse(&String::from_utf8_lossy(data)) {
        let shown = url.to_string();
        assert!(shown.chars().all(|c| c.is_ascii_graphic() || c == '…'), "{shown}");
        if let TrackerUrl::Http(url) = url {
            let scrape = http::scrape_url(&url, InfoHash(hash));
            assert!(scrape.is_none_or(|scrape| scrape.origin() == url.origin()));
        }
    }
}

fn check_answer(answer: &AnnounceAnswer) {
    assert!(answer.peers.len() <= MAX_PEERS);
    for peer in &answer.peers {
        assert!(peer.port() != 0 && !peer.ip().is_unspecified() && !peer.ip().is_multicast(), "{peer}");
    }
    for length in [answer.interval, answer.min_interval].into_iter().flatten() {
        assert!(!length.is_zero());
    }
}

/// Whatever a tracker wants to have sent back, the next request is one request.
fn check_request(answer: &AnnounceAnswer) {
    let request = AnnounceRequest {
        info_hash: InfoHash([0xff; 20]),
        peer_id: PeerId([b' '; 20]),
        port: 1,
        uploaded: 0,
        downloaded: 0,
        left: u64::MAX,
        event: Event::None,
        num_want: 0,
        key: 0,
        ip: None,
        ipv6: None,
    };
    let Ok(TrackerUrl::Http(url)) = TrackerUrl::parse("http://t/announce") else { return };
    let url = http::announce_url(&url, &request, answer.tracker_id.as_deref());
    assert!(url.is_ok_and(|url| url.target().bytes().all(|byte| byte.is_ascii_graphic())));
}

/// Packets: read or refused, and the same with more behind them where they have a fixed length.
pub fn tracker_udp(data: &[u8]) {
    for from in ["192.0.2.1", "2001:db8::1"] {
        let Some(from) = from.parse::<IpAddr>().ok() else { return };
        let Ok(packet) = Packet::decode(from, data) else { continue };
        match &packet.answer {
            Answer::Announced(answer) => {
                check_answer(answer);
                assert!(answer.peers.iter().all(|peer| peer.is_ipv4() || from.is_ipv6()));
            }
            Answer::Connected(_) | Answer::Scraped(_) => {
                assert_eq!(Packet::decode(from, &[data, b"more"].concat()), Ok(packet));
            }
            Answer::Refused(reason) => assert!(reason.len() <= 4096),
        }
    }
}

/// An announcer by a list of operations, each a byte and what it needs: every lease is answered, every deadline moves
/// on, leave is taken in time, and nothing raw and no secret is shown.
pub fn announcer(data: &[u8]) {
    if data.windows(SECRET.len()).any(|window| window == SECRET) {
        // Who knows the secret already may say it.
        return;
    }
    let mut world = World::new();
    let mut rest = data;
    while let Some((op, behind)) = rest.split_first() {
        rest = behind;
        world.step(*op, &mut rest);
    }
    world.finish();
}

struct World {
    announcer: Announcer,
    now: Instant,
    leases: Vec<SlotKey>,
    links: BTreeMap<LinkKey, SlotKey>,
    next_link: u64,
    lookups: Vec<SlotKey>,
    questions: Vec<(SocketAddr, Vec<u8>)>,
    /// Leave is being taken, and must be over by then.
    stop_by: Option<Instant>,
}

impl World {
    fn new() -> Self {
        let tiers = [
            &[
                "http://a/secretsecretsecret/announce",
                "udp://192.0.2.1:1/announce",
                "https://b/announce?k=secretsecret",
            ][..],
            &["udp://c.example:2", "wss://d/secretsecret"],
            &["http://127.0.0.1/announce", "http://127.0.0.1/x"],
        ];
        let plan = AnnouncePlan {
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
            port: 6881,
            key: 3,
            user_agent: "fuzz".into(),
            tiers: tiers.iter().map(|tier| tier.iter().map(|url| (*url).to_owned()).collect()).collect(),
            announce_ip: None,
            ipv6: None,
        };
        let mut announcer = Announcer::new(Instant::ZERO, plan, Rng::from_seed([7; 32]));
        announcer.set_totals(Totals { left: 1, ..Totals::default() });
        Self {
            announcer,
            now: Instant::ZERO,
            leases: Vec::new(),
            links: BTreeMap::new(),
            next_link: 0,
            lookups: Vec::new(),
            questions: Vec::new(),
            stop_by: None,
        }
    }

    fn step(&mut self, op: u8, rest: &mut &[u8]) {
        let now = self.now;
        match op % 16 {
            0 => self.pass(Duration::from_millis(u64::from(take(rest)) * 100)),
            1 => self.pass(Duration::from_secs(u64::from(take(rest)) * 20)),
            2 => {
                self.stop_by = None;
                self.announcer.start(now);
            }
            3 => {
                self.stop_by = self.stop_by.or(Some(now + STOP_TIME));
                self.announcer.stop(now);
            }
            4 => self.announcer.completed(now),
            5 => self.announcer.want_peers(now),
            6 => self.announcer.reannounce(now),
            7 => self.announcer.scrape(now),
            8 => self.lease(take(rest)),
            9 => self.refuse_lease(take(rest)),
            10 => self.reply(rest),
            11 => self.close_link(take(rest)),
            12 => self.resolve(rest),
            13 => self.answer(rest),
            14 => {
                let text = String::from_utf8_lossy(take_some(rest)).into_owned();
                let _ = self.announcer.add_tracker(now, &text, usize::from(take(rest)));
            }
            _ => {
                let bytes = take_some(rest);
                let from = SocketAddr::from(([192, 0, 2, 1], 1));
                self.announcer.handle_datagram(now, from, bytes);
            }
        }
        self.drain();
        self.check_shown();
    }

    fn pass(&mut self, length: Duration) {
        let until = self.now + length;
        while let Some(at) = self.announcer.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.announcer.handle_timeout(self.now);
            assert!(self.announcer.poll_timeout().is_none_or(|next| next > self.now), "it moves on");
            self.drain();
        }
        self.now = until;
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.announcer.poll_output() {
            count += 1;
            self.on_output(output);
        }
        assert!(count <= 8 * MAX_TRACKERS, "{count} outputs at once");
        assert!(self.stop_by.is_none_or(|by| self.now <= by), "leave is taken in time");
    }

    fn check_shown(&self) {
        for status in self.announcer.trackers() {
            for text in [Some(status.url), status.last_error, status.warning].into_iter().flatten() {
                check_text(&text);
            }
        }
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::Lease(lease::Output::Lease { slot, .. }) => self.leases.push(slot),
            Output::Lease(lease::Output::Unlease { slot, .. }) => {
                let place = self.leases.iter().position(|lease| *lease == slot);
                assert!(place.map(|place| self.leases.remove(place)).is_some(), "it waits for none");
            }
            Output::Lease(lease::Output::Release(lease)) => {
                assert!(self.links.remove(&lease.link).is_some(), "it has none");
            }
            Output::Lease(lease::Output::Link(link, output)) => {
                assert!(self.links.contains_key(&link), "it has none");
                if let LinkOutput::Send(bytes) = output {
                    assert!(bytes.starts_with(b"GET /") && bytes.ends_with(b"\r\n\r\n"));
                }
            }
            Output::Resolve { query, .. } => self.lookups.push(query),
            Output::Datagram { to, bytes } => {
                assert!(matches!(bytes.len(), 16 | 36 | 98..1280) && to.port() != 0);
                // Only the last few are ever answered.
                self.questions.drain(..self.questions.len().saturating_sub(8));
                self.questions.push((to, bytes.to_vec()));
            }
            Output::Peers(peers) => {
                check_answer(&AnnounceAnswer { peers, ..AnnounceAnswer::default() });
            }
            Output::ExternalIp(_) => {}
            Output::Message { tracker, text, .. } => {
                check_text(&tracker);
                check_text(&text);
            }
            Output::Stopped => {
                assert!(self.stop_by.take().is_some(), "nobody wanted it to stop");
                assert!(self.links.is_empty() && self.leases.is_empty());
            }
        }
    }

    fn lease(&mut self, reused: u8) {
        if self.leases.is_empty() {
            return;
        }
        let slot = self.leases.remove(usize::from(reused / 2) % self.leases.len());
        self.next_link += 1;
        let link = LinkKey::from_u64(self.next_link);
        self.links.insert(link, slot);
        let timeout = Duration::from_secs(30);
        let config = ConnectionConfig { read_timeout: timeout, keep_alive: timeout };
        let connection = Box::new(Connection::new(self.now, config));
        let lease = Lease { link, connection, reused: reused % 2 == 1, local: false, other_family: None };
        self.announcer.leased(self.now, slot, lease);
        self.announcer.grant(self.now, slot, 1 << 20);
    }

    fn refuse_lease(&mut self, place: u8) {
        if !self.leases.is_empty() {
            let slot = self.leases.remove(usize::from(place) % self.leases.len());
            self.announcer.lease_failed(self.now, slot, DownloadError::Deadline { seconds: 1 });
        }
    }

    fn link(&self, place: u8) -> Option<SlotKey> {
        self.links.values().nth(usize::from(place) % self.links.len().max(1)).copied()
    }

    fn reply(&mut self, rest: &mut &[u8]) {
        let Some(slot) = self.link(take(rest)) else { return };
        let kind = take(rest);
        let body = take_some(rest);
        let head = match kind % 4 {
            0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()),
            1 => "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ".to_owned(),
            2 => {
                format!("HTTP/1.1 {} x\r\nRetry-After: 5\r\nContent-Length: 2\r\n\r\n", 200 + u16::from(kind))
            }
            _ => String::new(),
        };
        let end = if kind % 4 == 1 { "\r\n\r\n" } else { "" };
        let bytes = [head.as_bytes(), body, end.as_bytes()].concat();
        self.announcer.handle_link(self.now, slot, LinkInput::Data(BytesMut::from(&bytes[..])));
    }

    fn close_link(&mut self, place: u8) {
        if let Some(slot) = self.link(place) {
            self.announcer.handle_link(self.now, slot, LinkInput::Closed(LinkError::Eof));
        }
    }

    fn resolve(&mut self, rest: &mut &[u8]) {
        if self.lookups.is_empty() {
            return;
        }
        let query = self.lookups.remove(0);
        let result = match take(rest) % 3 {
            0 => Err(ResolveError::Failed),
            1 => Ok(take_some(rest).as_chunks::<4>().0.iter().map(|ip| IpAddr::from(*ip)).collect()),
            _ => Ok(take_some(rest).as_chunks::<16>().0.iter().map(|ip| IpAddr::from(*ip)).collect()),
        };
        self.announcer.resolved(self.now, query, result);
    }

    /// Answers one of the last questions, perhaps one that is late.
    fn answer(&mut self, rest: &mut &[u8]) {
        let back = usize::from(take(rest) % 4);
        let Some((from, question)) = self.questions.iter().rev().nth(back) else { return };
        let packet = [&[0, 0, 0, take(rest)][..], &question[12..16], take_some(rest)].concat();
        self.announcer.handle_datagram(self.now, *from, &packet);
    }

    /// Everything comes to an end, whatever it was at.
    fn finish(&mut self) {
        self.stop_by = self.stop_by.or(Some(self.now + STOP_TIME));
        self.announcer.stop(self.now);
        self.drain();
        self.pass(Duration::from_secs(100));
        assert_eq!((self.stop_by, self.announcer.poll_timeout()), (None, None), "it has come to rest");
        assert!(self.links.is_empty() && self.leases.is_empty());
    }
}

/// What must not be shown.
const SECRET: &[u8] = b"secretsecret";

fn check_text(text: &str) {
    assert!(!text.contains("secretsecret"), "{text}");
    assert!(
        text.contains('…')
            || text.chars().count() > Printable::MAX_CHARS
            || Printable(text).to_string() == text
    );
    assert!(text.len() <= 16 << 10, "{text}");
}

fn take(rest: &mut &[u8]) -> u8 {
    let Some((byte, behind)) = rest.split_first() else { return 0 };
    *rest = behind;
    *byte
}

/// As many bytes as the first says.
fn take_some<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = usize::from(take(rest)).min(rest.len());
    let (some, behind) = rest.split_at(len);
    *rest = behind;
    some
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn announcer_keeps_its_promises_whatever_happens(ops in proptest::collection::vec((0u8..16, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..60)) {
            let mut data = vec![2];
            for (op, argument, bytes) in ops {
                data.extend([op, argument]);
                if matches!(op, 10 | 12 | 13) {
                    data.push(argument / 3);
                }
                if matches!(op, 10 | 12 | 13 | 14 | 15) {
                    data.push(bytes.len() as u8);
                    data.extend(bytes);
                }
            }
            super::announcer(&data);
        }
    }
}
