//! A tracker over UDP as BEP 15 has it, and as it must not be.

use super::*;
use crate::base::{InfoHash, Instant, PeerId, Rng};
use crate::wire::tracker::{AnnounceAnswer, AnnounceRequest, Event, ScrapeAnswer};
use core::net::SocketAddr;
use core::time::Duration;
use proptest::prelude::*;

const BEP_15: Patience = Patience { resend: Duration::from_secs(15), total: Duration::from_secs(3600) };

struct Table {
    now: Instant,
    conversation: Conversation,
    sent: Vec<Vec<u8>>,
    ended: Option<Output>,
}

impl Table {
    fn new(request: Request, patience: Patience, connection: Option<Connection>) -> Self {
        let now = Instant::ZERO + Duration::from_secs(1000);
        let rng = Rng::from_seed([7; 32]);
        let conversation = Conversation::new(now, address(), request, patience, connection, rng);
        let mut table = Self { now, conversation, sent: Vec::new(), ended: None };
        table.drain();
        table
    }

    fn announce() -> Self {
        Self::new(announce(), BEP_15, None)
    }

    fn connected() -> Self {
        let mut table = Self::announce();
        assert!(table.answer(&connected(&table.last())));
        table
    }

    fn drain(&mut self) {
        while let Some(output) = self.conversation.poll_output() {
            assert_eq!(self.ended, None, "nothing after the end");
            match output {
                Output::Datagram(bytes) => self.sent.push(bytes.to_vec()),
                other => self.ended = Some(other),
            }
        }
        assert_eq!(self.conversation.has_ended(), self.ended.is_some());
    }

    fn answer(&mut self, packet: &[u8]) -> bool {
        self.answer_from(address(), packet)
    }

    fn answer_from(&mut self, from: SocketAddr, packet: &[u8]) -> bool {
        let taken = self.conversation.handle_datagram(self.now, from, packet);
        self.drain();
        taken
    }

    fn wait(&mut self) -> u64 {
        let at = self.conversation.poll_timeout().unwrap();
        let waited = at - self.now;
        self.now = at;
        self.conversation.handle_timeout(at);
        assert!(self.conversation.poll_timeout().is_none_or(|next| next > at));
        self.drain();
        waited.as_secs()
    }

    fn last(&self) -> Vec<u8> {
        self.sent.last().unwrap().clone()
    }

    fn actions(&self) -> Vec<u8> {
        self.sent.iter().map(|packet| packet[11]).collect()
    }
}

fn address() -> SocketAddr {
    "192.0.2.1:6969".parse().unwrap()
}

fn announce() -> Request {
    let request = AnnounceRequest {
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([2; 20]),
        port: 6881,
        uploaded: 0,
        downloaded: 0,
        left: 1,
        event: Event::Started,
        num_want: 50,
        key: 3,
        ip: None,
        ipv6: None,
    };
    Request::Announce { request: Box::new(request), url_data: "/announce".into() }
}

fn packet(action: u8, question: &[u8], rest: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, action], &question[12..16], rest].concat()
}

fn connected(question: &[u8]) -> Vec<u8> {
    packet(0, question, b"\x01\x02\x03\x04\x05\x06\x07\x08")
}

fn announced(question: &[u8]) -> Vec<u8> {
    packet(1, question, b"\0\0\x07\x08\0\0\0\x02\0\0\0\x03")
}

fn answer() -> AnnounceAnswer {
    AnnounceAnswer {
        interval: Some(Duration::from_secs(1800)),
        seeders: Some(3),
        leechers: Some(2),
        ..AnnounceAnswer::default()
    }
}

#[test]
fn connect_then_announce_then_the_answer() {
    let mut table = Table::announce();
    assert_eq!(table.sent[0][..12], [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0]);
    assert!(!table.conversation.has_asked());
    assert!(table.answer(&connected(&table.last())));
    assert!(table.conversation.has_asked());
    assert_eq!(table.sent[1][..12], [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1]);
    assert!(table.sent[1].ends_with(b"\x02\x09/announce"));
    assert!(table.answer(&announced(&table.last())));
    assert_eq!(table.ended, Some(Output::Announced(answer())));
    assert_eq!(table.conversation.poll_timeout(), None);
}

#[test]
fn lost_packets_are_repeated_after_fifteen_seconds_and_twice_as_long_each_time() {
    let mut table = Table::announce();
    let waits: Vec<u64> = (0..5).map(|_| table.wait()).collect();
    assert_eq!(waits, [15, 30, 60, 120, 240]);
    assert_eq!(table.actions(), [0; 6]);
    let numbers: std::collections::BTreeSet<_> =
        table.sent.iter().map(|packet| packet[12..16].to_vec()).collect();
    assert_eq!(numbers.len(), 6, "each question has a number of its own");
}

#[test]
fn expired_connection_id_is_asked_for_again_as_in_the_example_of_the_bep() {
    // "Announce times out": announce at 2, 17, 47, connect at 107 and 227.
    let mut table = Table::connected();
    let waits: Vec<u64> = (0..4).map(|_| table.wait()).collect();
    assert_eq!(waits, [15, 30, 60, 120]);
    assert_eq!(table.actions(), [0, 1, 1, 1, 0, 0]);
    assert!(table.answer(&connected(&table.last())));
    assert!(table.answer(&announced(&table.last())));
    assert_eq!(table.ended, Some(Output::Announced(answer())));
}

#[test]
fn fresh_connection_id_spares_the_connect_and_an_old_one_does_not() {
    let mut first = Table::connected();
    let connection = first.conversation.connection();
    assert!(first.answer(&announced(&first.last())));
    let again = Table::new(announce(), BEP_15, connection);
    assert_eq!(again.actions(), [1]);
    let connection = connection.unwrap();
    assert!(connection.is_fresh(first.now + Duration::from_millis(59_999)));
    assert!(!connection.is_fresh(first.now + Duration::from_secs(60)));
}

#[test]
fn refused_old_connection_id_is_not_the_trackers_last_word() {
    let connection = Table::connected().conversation.connection();
    let mut table = Table::new(announce(), BEP_15, connection);
    assert!(table.answer(&packet(3, &table.last(), b"Connection ID missmatch.\0")));
    assert_eq!((table.actions(), &table.ended), (vec![1, 0], &None));
    assert!(table.answer(&connected(&table.last())));
    assert!(table.answer(&packet(3, &table.last(), b"no")));
    assert_eq!(table.ended, Some(Output::Failed(ConversationError::Refused("no".into()))));
}

#[test]
fn forged_late_and_broken_packets_leave_no_trace() {
    let mut table = Table::connected();
    let (connect, announce) = (table.sent[0].clone(), table.last());
    let good = announced(&announce);
    let mut wrong_number = good.clone();
    wrong_number[7] ^= 1;
    let others: [SocketAddr; 3] =
        ["192.0.2.1:6970", "192.0.2.2:6969", "[2001:db8::1]:6969"].map(|text| text.parse().unwrap());
    for from in others {
        assert!(!table.answer_from(from, &good), "{from}");
    }
    let scraped = packet(2, &announce, &[0; 12]);
    for packet in [
        &wrong_number[..],
        &wrong_number[..19],
        &good[..7],
        &[],
        &connected(&connect),
        &connected(&announce),
        &scraped,
    ] {
        assert!(!table.answer(packet), "{packet:?}");
    }
    assert_eq!((table.sent.len(), &table.ended), (2, &None));
    assert!(table.answer(&good));
}

#[test]
fn empty_answer_is_a_refusal_and_not_waited_out() {
    let mut table = Table::connected();
    assert!(table.answer(&packet(1, &table.last(), &[])));
    assert_eq!(table.ended, Some(Output::Failed(ConversationError::Empty)));
}

#[test]
fn answer_to_a_question_that_was_repeated_meanwhile_is_late() {
    let mut table = Table::connected();
    let late = announced(&table.last());
    table.wait();
    assert!(!table.answer(&late));
    assert!(table.answer(&announced(&table.last())));
}

#[test]
fn patience_ends() {
    let patience = Patience { resend: Duration::from_secs(1), total: Duration::from_millis(2500) };
    let mut table = Table::new(announce(), patience, None);
    table.wait();
    table.wait();
    assert_eq!(table.ended, Some(Output::Failed(ConversationError::TimedOut)));
    assert_eq!((table.sent.len(), table.now), (2, Instant::ZERO + Duration::from_millis(1_002_500)));
}

#[test]
fn tracker_that_only_connects_gets_no_more_packets_than_a_silent_one() {
    let patience = Patience { resend: Duration::from_secs(15), total: Duration::from_secs(1 << 30) };
    let mut table = Table::new(announce(), patience, None);
    while table.ended.is_none() {
        let last = table.last();
        if last[11] != 0 || !table.answer(&connected(&last)) {
            table.wait();
        }
    }
    assert_eq!(table.ended, Some(Output::Failed(ConversationError::TimedOut)));
    assert_eq!(table.sent.len(), 18);
}

#[test]
fn scrape_is_asked_and_answered() {
    let mut table = Table::new(Request::Scrape(InfoHash([9; 20])), BEP_15, None);
    assert!(table.answer(&connected(&table.last())));
    assert_eq!((table.last()[11], &table.last()[16..]), (2, &[9; 20][..]));
    assert!(!table.answer(&announced(&table.last())));
    assert!(table.answer(&packet(2, &table.last(), b"\0\0\0\x01\0\0\0\x02\0\0\0\x03")));
    let expected = ScrapeAnswer { seeders: Some(1), leechers: Some(3), completed: Some(2) };
    assert_eq!(table.ended, Some(Output::Scraped(expected)));
}

proptest! {
    #[test]
    fn whatever_arrives_the_packets_sent_are_few_and_the_end_comes(
        steps in proptest::collection::vec((0u8..6, any::<[u8; 24]>()), 0..200),
    ) {
        let mut table = Table::announce();
        for (step, bytes) in steps {
            if table.ended.is_some() {
                break;
            }
            let question = table.last();
            let before = table.sent.len();
            match step {
                0 => _ = table.wait(),
                5 => _ = table.answer(&bytes),
                action => _ = table.answer(&packet(action - 1, &question, &bytes)),
            }
            prop_assert!(table.sent.len() <= before + 1);
        }
        while table.ended.is_none() {
            table.wait();
        }
        prop_assert!(table.sent.len() <= 18);
        prop_assert!(table.now <= Instant::ZERO + Duration::from_secs(1000 + 3600));
    }
}
