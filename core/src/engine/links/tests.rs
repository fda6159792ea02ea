//! What connections lead to, and who shares them.

use super::*;
use core::net::Ipv4Addr;

const NOW: Instant = Instant::from_nanos(1_000_000_000);

struct Table {
    links: Links<char>,
    /// Links that were asked for and have not been opened.
    dialled: Vec<(LinkKey, IpAddr)>,
    queries: Vec<QueryKey>,
    /// The connections on loan.
    leased: Vec<Lease>,
    said: Vec<String>,
}

impl Table {
    fn new() -> Self {
        let connection =
            ConnectionConfig { read_timeout: Duration::from_secs(30), keep_alive: Duration::from_secs(60) };
        let config = LinksConfig { connect_timeout: Duration::from_secs(30), connection, max_per_host: 4 };
        Self {
            links: Links::new(config),
            dialled: Vec::new(),
            queries: Vec::new(),
            leased: Vec::new(),
            said: Vec::new(),
        }
    }

    fn lease(&mut self, who: char, url: &str, reach: Reach) {
        let origin = origin(url);
        self.links.lease(NOW, &Destination { origin, reach, family: None, from: None }, who);
        self.drain();
    }

    /// Over a connection that comes from that own address.
    fn lease_from(&mut self, who: char, url: &str, own: &str) {
        let from = Some(own.parse().expect("an address"));
        let to = Destination { origin: origin(url), reach: Reach::Anywhere, family: None, from };
        self.links.lease(NOW, &to, who);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.links.poll_output() {
            match output {
                Output::Resolve { query, .. } => self.queries.push(query),
                Output::Connect { link, to, from, .. } => {
                    self.said.extend(from.map(|from| format!("from {from}")));
                    self.dialled.push((link, to.ip()));
                }
                Output::Link(link, LinkOutput::Close) => self.dialled.retain(|(dialled, _)| *dialled != link),
                Output::Link(..) => {}
                Output::Leased { who, lease } => {
                    self.said
                        .push(format!("{who} has {}", if lease.reused { "an old one" } else { "a new one" }));
                    self.leased.push(lease);
                }
                Output::Failed { who, error } => self.said.push(format!("{who}: {error}")),
                Output::Resolved { who, .. } => self.said.push(format!("{who} has addresses")),
            }
        }
    }

    fn resolve(&mut self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
        let query = self.queries.remove(0);
        self.links.handle_resolved(NOW, query, Ok(addresses));
        self.drain();
    }

    fn open(&mut self) -> IpAddr {
        let (link, ip) = self.dialled.remove(0);
        self.links.handle_link(NOW, link, LinkInput::Opened);
        self.drain();
        ip
    }

    /// Gives the first connection on loan back.
    fn release(&mut self) {
        let lease = self.leased.remove(0);
        self.links.release(NOW, lease);
        self.drain();
    }

    fn said(&mut self) -> Vec<String> {
        core::mem::take(&mut self.said)
    }
}

fn origin(url: &str) -> Origin {
    crate::wire::http::HttpUrl::parse(url).expect("a URL").origin().clone()
}

const PRIVATE: &str = "10.0.0.1";
const PUBLIC: &str = "192.0.2.1";

#[test]
fn name_that_leads_into_the_own_network_only_is_not_dialled() {
    let mut table = Table::new();
    table.lease('a', "http://t.example", Reach::Elsewhere);
    table.resolve(&[PRIVATE, "::1", "64:ff9b::10.0.0.1", "0.0.0.0"]);
    assert!(table.dialled.is_empty());
    let error = "a: http://t.example: the name leads into the own network, where this may not be asked";
    assert_eq!(table.said(), [error]);
    table.lease('b', "http://t.example", Reach::Elsewhere);
    table.resolve(&[PUBLIC]);
    assert_eq!(table.open(), IpAddr::from([192, 0, 2, 1]), "it is looked up again");
    table.lease('c', "http://t.example", Reach::Host);
    table.resolve(&["0.0.0.0", PRIVATE]);
    assert_eq!(table.open(), IpAddr::from([10, 0, 0, 1]));
    table.lease('d', "http://t.example", Reach::Anywhere);
    table.resolve(&["0.0.0.0"]);
    assert_eq!(table.open(), Ipv4Addr::UNSPECIFIED);
}

#[test]
fn only_those_addresses_that_may_be_dialled_are() {
    let mut table = Table::new();
    table.lease('a', "http://t.example", Reach::Elsewhere);
    table.resolve(&[PRIVATE, "127.0.0.1", PUBLIC]);
    let all: Vec<_> = table.dialled.iter().map(|(_, ip)| ip.to_string()).collect();
    assert_eq!(all, [PUBLIC]);
    let (link, _) = table.dialled.remove(0);
    table.links.handle_link(NOW, link, LinkInput::Closed(crate::base::LinkError::Refused));
    table.drain();
    assert!(table.dialled.is_empty(), "there is no other");
    assert_eq!(table.said(), ["a: http://t.example: connection refused"]);
}

#[test]
fn literal_addresses_are_judged_as_names_are() {
    let mut table = Table::new();
    table.lease('a', "http://127.0.0.1:80", Reach::Elsewhere);
    assert!(table.dialled.is_empty() && table.said().len() == 1);
    table.lease('a', "http://127.0.0.1:80", Reach::Host);
    assert_eq!(table.dialled.len(), 1);
}

#[test]
fn idle_connection_serves_only_those_who_may_be_led_as_far() {
    let mut table = Table::new();
    table.lease('a', "http://t.example", Reach::Anywhere);
    table.resolve(&[PRIVATE]);
    table.open();
    table.release();
    table.lease('b', "http://t.example", Reach::Anywhere);
    assert_eq!(table.said(), ["a has a new one", "b has an old one"]);
    table.release();
    table.lease('c', "http://t.example", Reach::Elsewhere);
    assert_eq!(table.said(), [""; 0], "the idle one leads into the own network");
    table.resolve(&[PRIVATE]);
    assert_eq!(table.said().len(), 1, "nor is what was looked up before");
    assert!(table.dialled.is_empty());
}

#[test]
fn pace_and_cap_of_a_host_hold_wherever_it_leads() {
    let mut table = Table::new();
    for who in ['a', 'b', 'c', 'd', 'e'] {
        let reach = if who < 'c' { Reach::Host } else { Reach::Anywhere };
        table.lease(who, "http://192.0.2.1", reach);
    }
    assert_eq!(table.dialled.len(), 4, "the most for one host");
    let to =
        Destination { origin: origin("http://192.0.2.1"), reach: Reach::Anywhere, family: None, from: None };
    table.links.unlease(NOW, &to, 'e');
    (0..4).for_each(|_| _ = table.open());
    table.links.pace(NOW, &origin("http://192.0.2.1"), NOW + Duration::from_secs(9));
    (0..4).for_each(|_| table.release());
    table.said();
    table.lease('f', "http://192.0.2.1", Reach::Host);
    table.lease('g', "http://192.0.2.1", Reach::Anywhere);
    assert_eq!(table.said(), [""; 0]);
    table.links.handle_timeout(NOW + Duration::from_secs(9));
    table.drain();
    assert_eq!(table.said(), ["f has an old one", "g has an old one"]);
}

#[test]
fn connections_from_an_own_address_keep_to_its_family_and_to_themselves() {
    let mut table = Table::new();
    table.lease_from('a', "http://h.example", "192.0.2.200");
    table.resolve(&["2001:db8::1", "192.0.2.1"]);
    assert_eq!((table.dialled.len(), table.open()), (1, "192.0.2.1".parse().expect("an address")));
    assert_eq!(table.leased[0].other_family, None);
    table.release();
    table.lease('b', "http://h.example", Reach::Anywhere);
    assert_eq!(table.said(), ["from 192.0.2.200", "a has a new one"]);
    table.lease_from('c', "http://h.example", "192.0.2.200");
    table.lease_from('d', "http://[2001:db8::1]", "192.0.2.200");
    let said = table.said();
    assert_eq!(said[0], "c has an old one");
    assert!(said[1].starts_with("d: ") && said[1].contains("unreachable"), "{said:?}");
}
