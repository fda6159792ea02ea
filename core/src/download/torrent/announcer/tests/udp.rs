//! Over UDP: look-ups, both families of addresses, and packets that are not what they seem.

use super::*;

const V4: &str = "192.0.2.1:6969";
const V6: &str = "[2001:db8::1]:6969";

fn started(addresses: &[&str]) -> Table {
    let mut table = Table::started(&[&["udp://t.example:6969/announce?k=v"]]);
    assert_eq!(table.resolve(addresses), "t.example");
    table
}

#[test]
fn tracker_is_asked_at_an_address_of_each_family_and_peers_of_both_are_taken() {
    let mut table = started(&["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"]);
    assert_eq!(table.sent.iter().map(|sent| sent.0.to_string()).collect::<Vec<_>>(), [V4, V6]);
    assert!(table.announcer.awaits_datagrams());
    assert_eq!(table.serve_udp(V4, &[10, 0, 0, 1, 0, 80]), 2);
    assert_eq!(table.states()[0].1, TrackerState::Working);
    assert!(table.sent.iter().any(|(_, packet)| packet.ends_with(b"\x02\x0d/announce?k=v")));
    assert_eq!(table.serve_udp(V6, &[0x20; 18]), 2);
    assert_eq!(table.peers, [peer("10.0.0.1:80"), peer("[2020:2020:2020:2020:2020:2020:2020:2020]:8224")]);
    assert!(!table.announcer.awaits_datagrams());
    let keys: Vec<_> =
        table.sent.iter().filter(|sent| sent.1[11] == 1).map(|sent| sent.1[88..92].to_vec()).collect();
    assert_eq!(keys, [[0, 0, 0xbe, 0xef], [0, 0, 0xbe, 0xef]]);
    let status = table.announcer.trackers().remove(0);
    assert_eq!((status.peers_received, status.seeders, status.leechers), (2, Some(3), Some(2)));
}

#[test]
fn dead_family_neither_delays_the_other_nor_its_farewell() {
    let mut table = started(&["192.0.2.1", "2001:db8::1"]);
    table.serve_udp(V4, b"");
    table.pass(SECOND * 70);
    assert_eq!(table.states()[0].1, TrackerState::Working);
    table.sent.clear();
    table.act(|announcer, now| announcer.stop(now));
    assert_eq!(table.sent.iter().map(|sent| sent.0.to_string()).collect::<Vec<_>>(), [V4]);
    assert_eq!(table.serve_udp(V4, b""), 3);
    assert_eq!(table.stopped, 1);
}

#[test]
fn only_the_failure_of_both_families_is_a_failure() {
    let mut table = started(&["192.0.2.1", "2001:db8::1"]);
    assert!(table.answer(V4, 3, b"go away\x1b"));
    assert_eq!(table.states()[0].1, TrackerState::Announcing);
    table.pass(SECOND * 60);
    assert_eq!(
        (table.states()[0].1, table.error()),
        (TrackerState::Failing, "the tracker does not answer".into())
    );
    let mut table = started(&["192.0.2.1"]);
    assert!(table.answer(V4, 3, b"go away\x1b"));
    assert_eq!(table.error(), "go away\\u{1b}");
    let url = "udp://t.example:6969/announce?k=…".to_owned();
    assert_eq!(table.messages, [(url, "go away\\u{1b}".into(), MessageKind::Failure)]);
}

#[test]
fn forged_packets_are_not_ours() {
    let mut table = started(&["192.0.2.1"]);
    let question = table.sent[0].1.clone();
    let good = [&[0, 0, 0, 0], &question[12..16], &[0; 8]].concat();
    let mut forge = |from: &str, packet: &[u8]| {
        let from = from.parse().unwrap();
        table.act(|announcer, now| announcer.handle_datagram(now, from, packet))
    };
    assert!(!forge("192.0.2.2:6969", &good));
    assert!(!forge("192.0.2.1:6968", &good));
    assert!(!forge(V4, &good[..7]));
    assert!(!forge(V4, &[]));
    assert!(!forge(V4, &[&[0, 0, 0, 0], &[0xff; 12][..]].concat()));
    // A socket for both families shows IPv4 addresses in another form.
    assert!(forge("[::ffff:192.0.2.1]:6969", &good));
    assert_eq!(table.sent.len(), 2);
}

#[test]
fn other_address_of_the_family_is_tried_after_a_silent_one() {
    let mut table = started(&["192.0.2.1", "192.0.2.2"]);
    table.pass(SECOND * 60);
    assert_eq!(table.states()[0].1, TrackerState::Failing);
    table.sent.clear();
    table.pass(SECOND * 20);
    assert!(table.lookups.is_empty());
    assert_eq!(table.serve_udp("192.0.2.2:6969", b""), 2);
}

#[test]
fn addresses_that_are_no_hosts_are_not_asked() {
    let table = started(&["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:0.0.0.0"]);
    assert!(table.sent.is_empty());
    assert_eq!(table.error(), "no such host");
    let table = Table::started(&[&["udp://255.255.255.255:1"]]);
    assert!(table.sent.is_empty());
    assert_eq!(table.error(), "not the address of a host");
}

#[test]
fn failed_look_up_is_a_failure_and_a_silent_one_is_not_waited_for() {
    let mut table = Table::started(&[&["udp://t.example:1"]]);
    let (query, _) = table.lookups.remove(0);
    table.act(|announcer, now| announcer.resolved(now, query, Err(ResolveError::Failed)));
    assert_eq!(table.error(), "the name server failed");
    table.pass(SECOND * 20);
    assert_eq!(table.lookups.len(), 1);
    table.pass(SECOND * 30);
    assert_eq!(table.error(), "the tracker does not answer");
}

#[test]
fn fresh_connection_id_spares_the_connect() {
    let mut table = started(&["192.0.2.1"]);
    table.serve_udp(V4, b"");
    table.sent.clear();
    table.act(|announcer, now| announcer.completed(now));
    assert_eq!(table.actions(), [(V4.to_owned(), 1)]);
}

#[test]
fn scrape_goes_over_the_same_addresses() {
    let mut table = Table::new(&[&["udp://192.0.2.1:6969"]]);
    table.act(|announcer, now| announcer.scrape(now));
    assert!(table.answer(V4, 0, &[1; 8]));
    assert_eq!(table.sent[1].1[16..], [b'h'; 20]);
    assert!(table.answer(V4, 2, b"\0\0\0\x01\0\0\0\x02\0\0\0\x03"));
    let status = table.announcer.trackers().remove(0);
    assert_eq!((status.seeders, status.completed, status.leechers), (Some(1), Some(2), Some(3)));
    table.pass(SECOND * 100);
    table.act(|announcer, now| announcer.start(now));
    table.act(|announcer, now| announcer.scrape(now));
    table.sent.clear();
    table.pass(SECOND * 60);
    // The announce fails; the scrape's failure counts for nothing.
    assert_eq!(table.announcer.trackers()[0].failures, 1);
}
