//! The simulated network by itself: a hand-made client talks to hosts, without an engine.

use bytes::{Bytes, BytesMut};
use core::time::Duration;
use gosh_dl_core::base::{Instant, LinkError, LinkInput, LinkOutput, Rng, WallClock};
use gosh_dl_core::engine::LinkKey;
use gosh_dl_sim::network::{Moment, Network};
use gosh_dl_sim::{Behaviour, Content, Dial, OverLimit, Resource};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

/// Links that send one request each as soon as they open and then read everything.
struct Client {
    network: Network,
    now: Instant,
    wakes: BTreeMap<(Instant, u64), ()>,
    got: BTreeMap<LinkKey, BytesMut>,
    closed: Vec<(LinkKey, LinkError)>,
}

impl Client {
    fn new(network: Network) -> Self {
        let (wakes, got) = (BTreeMap::new(), BTreeMap::new());
        Self { network, now: Instant::ZERO, wakes, got, closed: Vec::new() }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, wall: WallClock::new(Instant::ZERO, 1_700_000_000_000) }
    }

    fn connect(&mut self, number: u64) -> LinkKey {
        let key = LinkKey::from_u64(number);
        let at = self.moment();
        self.network.connect(at, key, (ADDRESS, 80).into(), None);
        key
    }

    fn run(&mut self) {
        loop {
            while let Some((at, id)) = self.network.poll_wake() {
                self.wakes.insert((at, id), ());
            }
            if let Some((key, input)) = self.network.poll_arrival() {
                self.hear(key, input);
            } else if let Some(((at, id), ())) = self.wakes.pop_first() {
                self.now = self.now.max(at);
                let at = self.moment();
                self.network.handle_wake(at, id);
            } else {
                return;
            }
        }
    }

    fn hear(&mut self, key: LinkKey, input: LinkInput) {
        let at = self.moment();
        match input {
            LinkInput::Opened => {
                let request = Bytes::from_static(b"GET /f HTTP/1.1\r\nHost: a.example\r\n\r\n");
                self.network.handle_output(at, key, LinkOutput::Send(request));
                self.network.handle_output(at, key, LinkOutput::Credit(1 << 30));
            }
            LinkInput::Data(bytes) => self.got.entry(key).or_default().extend_from_slice(&bytes),
            LinkInput::Closed(reason) => self.closed.push((key, reason)),
            _ => {}
        }
    }
}

fn network(resource: Resource) -> Network {
    let mut network = Network::new(Rng::from_seed([5; 32]));
    network.add_host("a.example", &[ADDRESS]).put("/f", resource);
    network
}

fn file() -> Resource {
    Resource::new(Content::generated(1, 100_000))
}

#[test]
fn content_arrives_whole_and_is_counted() {
    let mut client = Client::new(network(file()));
    let key = client.connect(1);
    client.run();
    let body = &client.got[&key][client.got[&key].len() - 100_000..];
    assert_eq!(Content::generated(1, 100_000).first_mismatch(0, body), None);
    let log = &client.network.host("a.example").unwrap().log;
    assert_eq!((log.content_sent("/f"), log.content_repeated("/f")), (100_000, 0));
    assert_eq!(log.statuses(), [200]);
}

#[test]
fn connections_share_the_line_of_their_host() {
    let mut network = network(file());
    network.host_mut("a.example").unwrap().rate = Some(100_000);
    let mut client = Client::new(network);
    for number in 0..4 {
        client.connect(number);
    }
    client.run();
    assert!((client.now - Instant::ZERO).abs_diff(Duration::from_secs(4)) < Duration::from_millis(200));
    let log = &client.network.host("a.example").unwrap().log;
    assert_eq!((log.peak, log.content_repeated("/f")), (4, 300_000));
}

#[test]
fn slow_answers_are_slow_per_connection() {
    let behaviour = Behaviour { rate: Some(50_000), ..Behaviour::default() };
    let mut client = Client::new(network(file().behave(behaviour)));
    client.connect(1);
    client.connect(2);
    client.run();
    assert!((client.now - Instant::ZERO).abs_diff(Duration::from_secs(2)) < Duration::from_millis(200));
}

#[test]
fn connections_over_the_limit_are_refused_or_told_so() {
    let mut network = network(file());
    network.host_mut("a.example").unwrap().max_connections = 1;
    let mut client = Client::new(network);
    client.connect(1);
    client.run();
    let second = client.connect(2);
    client.run();
    assert_eq!(client.closed, [(second, LinkError::Refused)]);

    client.network.host_mut("a.example").unwrap().over_limit = OverLimit::Status(503);
    client.connect(3);
    client.run();
    assert_eq!(client.network.host("a.example").unwrap().log.statuses(), [200, 503]);
}

#[test]
fn silent_address_never_answers() {
    let mut network = network(file());
    network.host_mut("a.example").unwrap().dial_all(Dial::Silent, &[ADDRESS]);
    let mut client = Client::new(network);
    client.connect(1);
    client.run();
    assert!(client.got.is_empty() && client.closed.is_empty());
}

#[test]
fn unknown_address_is_unreachable() {
    let mut client = Client::new(Network::new(Rng::from_seed([5; 32])));
    let key = client.connect(1);
    client.run();
    assert_eq!(client.closed, [(key, LinkError::Unreachable)]);
}
