//! The order of announces: tiers, events, intervals, and the end.

use super::*;

#[test]
fn nothing_is_asked_before_the_start_and_nothing_is_left_to_stop() {
    let mut table = Table::new(&[&["http://a/announce"], &["udp://192.0.2.1:1"]]);
    table.pass(SECOND * 100_000);
    assert!(table.leases.is_empty() && table.sent.is_empty());
    table.act(|announcer, now| announcer.stop(now));
    assert_eq!(table.stopped, 1);
}

#[test]
fn all_tiers_are_announced_to_at_once_and_a_dead_one_delays_no_other() {
    let mut table = Table::started(&[&["udp://192.0.2.1:1"], &["http://b/announce"], &["http://c/announce"]]);
    assert_eq!(table.actions(), [("192.0.2.1:1".into(), 0)]);
    table.serve("http://b", GOOD);
    table.serve("http://c", GOOD);
    assert_eq!(table.peers, [peer("10.0.0.1:6881"); 2]);
    let states: Vec<_> = table.states().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [TrackerState::Announcing, TrackerState::Working, TrackerState::Working]);
}

#[test]
fn next_of_a_tier_is_asked_at_once_when_one_fails_and_the_one_that_answers_moves_to_the_front() {
    let mut table = Table::started(&[&["http://a/announce", "http://b/announce", "http://c/announce"]]);
    let order: Vec<String> =
        table.states().into_iter().map(|(url, _)| url.replace("/announce", "")).collect();
    assert_eq!(table.leases.len(), 1);
    let link = table.lease(&order[0]);
    table.input(link, LinkInput::Closed(LinkError::Reset));
    let link = table.lease(&order[1]);
    table.reply_with(link, "404 Not Found", b"");
    let target = table.serve(&order[2], GOOD);
    assert!(target.contains("event=started"));
    let after: Vec<String> =
        table.states().into_iter().map(|(url, _)| url.replace("/announce", "")).collect();
    assert_eq!(after, [&*order[2], &order[0], &order[1]]);
    table.pass(SECOND * 1800);
    let target = table.serve(&order[2], GOOD);
    assert!(!target.contains("event="), "{target}");
    assert!(table.leases.is_empty());
}

#[test]
fn tier_whose_trackers_all_fail_comes_back_after_growing_pauses() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let link = table.lease("http://a");
        table.reply_with(link, "500 Internal Server Error", b"");
        let began = table.now;
        while table.leases.is_empty() {
            assert!(table.wait(SECOND * 10_000));
        }
        pauses.push((table.now - began).as_secs());
    }
    assert!((11..19).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses[9] >= 1350 && pauses[9] <= 2250, "{pauses:?}");
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0] / 2), "{pauses:?}");
}

#[test]
fn slow_tracker_gets_company_and_is_dropped_when_another_answers() {
    let mut table = Table::started(&[&["http://a/announce", "http://b/announce"]]);
    table.pass(SECOND * 9);
    assert_eq!(table.leases.len(), 1);
    let slow = table.leases[0].1.clone();
    let link = table.lease(&slow);
    table.pass(SECOND * 2);
    let other = table.leases[0].1.clone();
    assert_ne!(slow, other);
    assert!(table.links.contains_key(&link));
    table.serve(&other, GOOD);
    assert!(table.links.is_empty() && table.leases.is_empty());
    assert_eq!(table.states()[0], (format!("{other}/announce"), TrackerState::Working));
    assert_eq!(table.states()[1].1, TrackerState::Idle);
}

#[test]
fn interval_zero_and_one_of_68_years_are_kept_within_reason() {
    let next = |interval: &str| {
        let mut table = Table::started(&[&["http://a/announce"]]);
        table.serve("http://a", format!("d8:intervali{interval}e5:peers0:e").as_bytes());
        let next = table.announcer.trackers()[0].next_announce.unwrap();
        assert_eq!(table.announcer.poll_timeout(), Some(next));
        (next - table.now).as_secs()
    };
    assert_eq!(
        ["0", "-5", "1", "900", "2147483648", "9223372036854775807"].map(next),
        [1800, 1800, 60, 900, 86400, 86400]
    );
}

#[test]
fn completed_is_told_at_once_to_who_knows_and_only_once() {
    let mut table = Table::started(&[&["http://a/announce"], &["udp://192.0.2.1:1"]]);
    table.serve("http://a", GOOD);
    // The other has not answered yet: it hears of it after `started`.
    table.announcer.set_totals(Totals { uploaded: 1, downloaded: 5, left: 0 });
    table.act(|announcer, now| announcer.completed(now));
    let target = table.serve("http://a", GOOD);
    assert!(target.contains("left=0") && target.contains("event=completed"), "{target}");
    assert_eq!(table.serve_udp("192.0.2.1:1", b""), 2);
    assert_eq!(table.serve_udp("192.0.2.1:1", b""), 1);
    table.act(|announcer, now| announcer.completed(now));
    table.pass(SECOND * 1799);
    assert!(table.leases.is_empty());
}

#[test]
fn who_completes_and_leaves_says_both_one_after_the_other() {
    for answer in [GOOD, b"d14:failure reason2:noe"] {
        let mut table = Table::started(&[&["http://a/announce"]]);
        table.serve("http://a", GOOD);
        table.act(|announcer, now| announcer.completed(now));
        table.act(|announcer, now| announcer.stop(now));
        assert!(table.serve("http://a", answer).contains("event=completed"));
        assert_eq!(table.stopped, 0);
        assert!(table.serve("http://a", GOOD).contains("event=stopped"));
        assert_eq!((table.stopped, table.leases.len(), table.announcer.poll_timeout()), (1, 0, None));
    }
}

#[test]
fn a_tracker_that_does_not_hear_of_completion_does_not_keep_who_leaves() {
    let mut table = Table::started(&[&["http://a/announce"], &["udp://192.0.2.1:1"]]);
    table.serve("http://a", GOOD);
    table.serve_udp("192.0.2.1:1", b"");
    table.act(|announcer, now| announcer.completed(now));
    table.lease("http://a");
    table.sent.clear();
    let began = table.now;
    table.act(|announcer, now| announcer.stop(now));
    assert!(table.leases.is_empty());
    table.pass(STOP_TIME / 2);
    // Neither has answered, and both hear that it leaves.
    let link = table.lease("http://a");
    assert!(table.target(link).contains("event=stopped"), "{}", table.target(link));
    assert_eq!(table.sent.last().map(|(_, packet)| packet[83]), Some(3), "{:?}", table.sent);
    while table.stopped == 0 {
        assert!(table.wait(SECOND * 10));
    }
    assert_eq!(table.now - began, STOP_TIME);
    assert_eq!((table.links.len(), table.leases.len(), table.announcer.poll_timeout()), (0, 0, None));
}

#[test]
fn who_starts_whole_never_tells_that_it_completed() {
    let mut table = Table::new(&[&["http://a/announce"]]);
    table.announcer.set_totals(Totals::default());
    table.act(|announcer, now| announcer.start(now));
    assert!(table.serve("http://a", GOOD).contains("event=started"));
    table.act(|announcer, now| announcer.completed(now));
    assert!(table.leases.is_empty());
}

#[test]
fn completed_that_fails_is_told_again() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    table.serve("http://a", GOOD);
    table.act(|announcer, now| announcer.completed(now));
    let link = table.lease("http://a");
    table.reply_with(link, "503 Service Unavailable", b"");
    table.pass(SECOND * 20);
    assert!(table.serve("http://a", GOOD).contains("event=completed"));
}

#[test]
fn leave_is_taken_from_who_knows_and_from_nobody_else() {
    let mut table = Table::started(&[&["http://a/announce"], &["http://b/announce"], &["udp://192.0.2.1:1"]]);
    table.serve("http://a", GOOD);
    table.serve_udp("192.0.2.1:1", b"");
    table.sent.clear();
    table.act(|announcer, now| announcer.stop(now));
    assert_eq!(table.leases.iter().map(|lease| &*lease.1).collect::<Vec<_>>(), ["http://a"]);
    let target = table.serve("http://a", GOOD);
    assert!(target.contains("event=stopped") && target.contains("numwant=0"), "{target}");
    assert_eq!((table.stopped, table.sent[0].1[11], table.sent[0].1[83]), (0, 1, 3));
    assert_eq!(table.peers.len(), 1, "peers are of no use any more");
    table.serve_udp("192.0.2.1:1", b"");
    assert_eq!((table.stopped, table.announcer.poll_timeout()), (1, None));
}

#[test]
fn leave_taking_is_bounded_whatever_the_trackers_do() {
    let mut table = Table::started(&[&["http://a/announce"], &["http://b/announce"], &["udp://192.0.2.1:1"]]);
    table.serve("http://a", GOOD);
    table.serve_udp("192.0.2.1:1", b"");
    // It may have heard of this side, though it has not answered.
    table.lease("http://b");
    table.sent.clear();
    let began = table.now;
    table.act(|announcer, now| announcer.stop(now));
    table.lease("http://a");
    assert_eq!(table.leases.len(), 1);
    while table.stopped == 0 {
        assert!(table.wait(SECOND * 10));
    }
    assert_eq!(table.now - began, STOP_TIME);
    assert_eq!(table.actions(), [("192.0.2.1:1".into(), 1), ("192.0.2.1:1".into(), 1)]);
    assert!(table.links.is_empty() && table.leases.is_empty());
    assert_eq!(table.announcer.poll_timeout(), None);
}

#[test]
fn start_after_stop_tells_again_and_breaks_a_stop_off() {
    let mut table = Table::started(&[&["http://a/announce"]]);
    table.serve("http://a", GOOD);
    table.act(|announcer, now| announcer.stop(now));
    table.act(|announcer, now| announcer.start(now));
    assert!(table.serve("http://a", GOOD).contains("event=started"));
    assert_eq!(table.stopped, 0);
    table.act(|announcer, now| announcer.stop(now));
    table.serve("http://a", GOOD);
    assert_eq!(table.stopped, 1);
    table.act(|announcer, now| announcer.start(now));
    assert!(table.serve("http://a", GOOD).contains("event=started"));
}

#[test]
fn few_peers_are_a_reason_to_ask_as_soon_as_the_tracker_allows() {
    let wait = |body: &[u8]| {
        let mut table = Table::started(&[&["http://a/announce"]]);
        assert!(table.serve("http://a", body).contains("numwant=200"));
        let began = table.now;
        while table.leases.is_empty() {
            table.act(|announcer, now| announcer.want_peers(now));
            assert!(!table.leases.is_empty() || table.wait(SECOND * 10_000));
        }
        let waited = (table.now - began).as_secs();
        assert!(table.serve("http://a", body).contains("numwant=200"));
        table.pass(SECOND * 1800);
        assert!(table.serve("http://a", body).contains("numwant=50"));
        waited
    };
    assert_eq!(wait(GOOD), 300);
    assert_eq!(wait(b"d8:intervali1800e12:min intervali900e5:peers0:e"), 900);
}

#[test]
fn users_impatience_reaches_trackers_within_bounds() {
    let mut table = Table::started(&[&["http://a/announce"], &["http://b/announce"]]);
    table.serve("http://a", GOOD);
    table.serve("http://b", b"d8:intervali1800e12:min intervali900e5:peers0:e");
    table.act(|announcer, now| announcer.reannounce(now));
    assert!(table.leases.is_empty());
    table.pass(SECOND * 10);
    table.serve("http://a", GOOD);
    assert!(table.leases.is_empty());
    table.pass(SECOND * 890);
    table.serve("http://b", b"d14:failure reason0:8:retry in5:nevere");
    table.pass(SECOND * 100_000);
    assert!(table.leases.iter().all(|(_, origin)| origin == "http://a"));
    table.act(|announcer, now| announcer.reannounce(now));
    assert!(table.leases.iter().any(|(_, origin)| origin == "http://b"));
}

#[test]
fn trackers_are_added_once_and_not_without_end() {
    let mut table = Table::started(&[&["http://a/announce", "http://a/announce"]]);
    assert_eq!(table.states().len(), 1);
    let mut add = |url: &str, tier| table.act(|announcer, now| announcer.add_tracker(now, url, tier));
    assert!(!add("http://A:80/announce", 7));
    assert!(add("http://b/announce", 0));
    assert!(add("http://c/announce", 7) && add("wss://d/secret", 7) && !add("wss://d/", 0));
    let tiers: Vec<(String, usize)> =
        table.announcer.trackers().into_iter().map(|status| (status.url, status.tier)).collect();
    let expected =
        [("http://a/announce", 0), ("http://b/announce", 0), ("http://c/announce", 1), ("wss://d", 2)];
    assert_eq!(tiers, expected.map(|(url, tier)| (url.to_owned(), tier)));
    assert_eq!(table.leases.iter().map(|lease| &*lease.1).collect::<Vec<_>>(), ["http://a", "http://c"]);
    let mut added = 0;
    for number in 0..MAX_TRACKERS {
        let url = format!("udp://192.0.2.1:{}", number + 1);
        added += usize::from(table.act(|announcer, now| announcer.add_tracker(now, &url, 0)));
    }
    assert_eq!((added, table.states().len()), (MAX_TRACKERS - 4, MAX_TRACKERS));
}

#[test]
fn late_inputs_change_nothing() {
    let mut table = Table::started(&[&["http://a/announce"], &["udp://b:1"]]);
    let (lease, lookup) = (table.leases[0].0, table.lookups[0].0);
    table.act(|announcer, now| announcer.stop(now));
    assert_eq!(table.stopped, 1);
    table.act(|announcer, now| announcer.resolved(now, lookup, Ok(vec!["192.0.2.1".parse().unwrap()])));
    table.act(|announcer, now| announcer.handle_link(now, lease, LinkInput::Closed(LinkError::Eof)));
    let error = DownloadError::Deadline { seconds: 1 };
    table.act(|announcer, now| announcer.lease_failed(now, lease, error));
    let link = LinkKey::from_u64(9);
    table.links.insert(link, (lease, String::new()));
    let config = ConnectionConfig { read_timeout: SECOND, keep_alive: SECOND };
    let connection = Box::new(Connection::new(table.now, config));
    let late = Lease { link, connection, reused: false, local: false, other_family: None };
    table.act(|announcer, now| announcer.leased(now, lease, late));
    assert!(table.links.is_empty() && table.sent.is_empty() && table.announcer.poll_timeout().is_none());
}
