//! Tests of the choice of candidates: what comes first, what is refused, and that the books agree.

use super::*;
use crate::base::Rng;
use proptest::prelude::*;

fn peer(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([20, 1, high, low], 6881))
}

fn at(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

fn candidates() -> Candidates {
    Candidates::new(Rng::from_seed([1; 32]))
}

fn drain(candidates: &mut Candidates, now: Instant) -> Vec<SocketAddr> {
    core::iter::from_fn(|| candidates.next(now)).collect()
}

#[test]
fn better_sources_come_first() {
    let mut candidates = candidates();
    for (number, source) in [(1, Source::Pex), (2, Source::Tracker), (3, Source::User), (4, Source::Dht)] {
        assert!(candidates.add(at(0), peer(number), source));
    }
    assert_eq!(drain(&mut candidates, at(0)), [peer(3), peer(2), peer(4), peer(1)]);
}

#[test]
fn address_is_tried_once_at_a_time_and_later_each_time_it_fails() {
    let mut candidates = candidates();
    candidates.add(at(0), peer(1), Source::Tracker);
    let mut waits = Vec::new();
    let mut now = at(0);
    for _ in 0..12 {
        assert_eq!(drain(&mut candidates, now), [peer(1)]);
        assert!(!candidates.add(now, peer(1), Source::Tracker), "it is known");
        candidates.failed(now, peer(1));
        let next = candidates.next_at().unwrap();
        waits.push((next - now).as_secs());
        now = next;
    }
    assert!(waits.windows(2).take(6).all(|pair| pair[0] < pair[1]), "{waits:?}");
    assert!(waits.iter().all(|wait| (11..=4500).contains(wait)), "{waits:?}");
}

#[test]
fn useful_peer_is_tried_again_before_others() {
    let mut candidates = candidates();
    candidates.add(at(0), peer(1), Source::Pex);
    candidates.next(at(0));
    candidates.connected(at(0), peer(1));
    candidates.disconnected(at(9), peer(1), true);
    candidates.add(at(9), peer(2), Source::User);
    assert_eq!(drain(&mut candidates, at(100)), [peer(1), peer(2)]);
    assert_eq!(candidates.worth_keeping(9).collect::<Vec<_>>(), [peer(1)]);
}

#[test]
fn peer_that_wants_nothing_is_let_alone_until_something_is_missing() {
    let mut candidates = candidates();
    candidates.add(at(0), peer(1), Source::User);
    candidates.next(at(0));
    candidates.connected(at(0), peer(1));
    candidates.rest(at(9), peer(1));
    assert_eq!(drain(&mut candidates, at(9 + REST.as_secs() - 1)), []);
    candidates.wake();
    assert_eq!(drain(&mut candidates, at(20)), [peer(1)]);
}

#[test]
fn what_cannot_be_a_peer_is_refused() {
    let mut candidates = candidates();
    for text in [
        "1.2.3.4:0",
        "0.0.0.0:1",
        "0.1.2.3:6881",
        "255.255.255.255:1",
        "224.0.0.1:6881",
        "[::]:1",
        "[ff02::1]:1",
    ] {
        assert!(!candidates.add(at(0), text.parse().unwrap(), Source::User), "{text}");
    }
    candidates.is_self(peer(1));
    assert!(!candidates.add(at(0), peer(1), Source::Tracker));
    assert_eq!(candidates.len(), 0);
}

#[test]
fn mapped_address_is_the_one_that_it_means() {
    let mut candidates = candidates();
    assert!(candidates.add(at(0), "[::ffff:20.1.0.1]:6881".parse().unwrap(), Source::Tracker));
    assert!(!candidates.add(at(0), peer(1), Source::Tracker));
    assert_eq!(candidates.next(at(0)), Some(peer(1)));
}

#[test]
fn banned_host_is_gone_and_comes_back_after_its_time() {
    let mut candidates = candidates();
    candidates.add(at(0), peer(1), Source::Tracker);
    candidates.ban(at(0), peer(1).ip());
    assert_eq!(candidates.next(at(0)), None);
    let may = |now| candidates.may_connect(now, peer(1), core::iter::empty());
    assert!(!may(at(1)) && may(at(7 * 3600)));
    assert!(!candidates.add(at(1), peer(1), Source::User));
    assert!(candidates.add(at(0) + BAN, peer(1), Source::Tracker));
    for number in 0..3000u16 {
        candidates.ban(at(1), peer(number).ip());
    }
    assert_eq!(candidates.banned.len(), MAX_BANNED);
}

#[test]
fn banned_address_that_nobody_names_again_is_tried_after_its_time() {
    for source in [Source::User, Source::Magnet] {
        let mut candidates = candidates();
        candidates.add(at(0), peer(1), source);
        assert_eq!(candidates.next(at(0)), Some(peer(1)));
        candidates.ban(at(0), peer(1).ip());
        candidates.disconnected(at(0), peer(1), true);
        assert_eq!(candidates.worth_keeping(9).count(), 0);
        assert_eq!(drain(&mut candidates, at(6 * 3600 - 1)), []);
        assert_eq!(candidates.next_at(), Some(at(0) + BAN));
        assert_eq!(candidates.next(at(0) + BAN), Some(peer(1)));
    }
}

#[test]
fn few_may_connect_from_one_network_of_strangers() {
    let candidates = candidates();
    let beside = |address: SocketAddr, others| {
        candidates.may_connect(at(0), address, core::iter::repeat_n(address, others))
    };
    assert!(beside(peer(1), 7) && !beside(peer(1), 8));
    assert!(candidates.may_connect(at(0), peer(1), core::iter::repeat_n(peer(2), 8)));
    assert!(beside("10.0.0.1:1".parse().unwrap(), 60), "the own network");
}

#[test]
fn private_torrent_knows_those_of_its_trackers_and_of_the_user_only() {
    let mut candidates = candidates();
    let sources = [
        Source::User,
        Source::Lpd,
        Source::Incoming,
        Source::Tracker,
        Source::Magnet,
        Source::Resume,
        Source::Dht,
        Source::Pex,
    ];
    for (number, source) in (0..).zip(sources) {
        candidates.add(at(0), peer(number), source);
    }
    candidates.go_private();
    assert_eq!(drain(&mut candidates, at(0)), [peer(0), peer(3)]);
    let taken = sources.map(|source| candidates.add(at(0), peer(100), source));
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
}

#[test]
fn filtered_addresses_are_not_used() {
    let mut candidates = candidates();
    candidates.add(at(0), peer(1), Source::Tracker);
    candidates.set_filter(Arc::new(IpFilter::new([peer(1).ip()..=peer(9).ip()])));
    assert!(
        candidates.is_empty()
            && !candidates.may_connect(at(0), peer(1), core::iter::empty())
            && candidates.may_connect(at(0), peer(10), core::iter::empty())
    );
    assert!(!candidates.add(at(0), peer(5), Source::User));
}

#[test]
fn flood_of_addresses_keeps_those_of_the_tracker() {
    let mut candidates = candidates();
    let tracked: Vec<_> = (0..50).map(peer).collect();
    tracked.iter().for_each(|address| assert!(candidates.add(at(0), *address, Source::Tracker)));
    for number in 100..20_000 {
        candidates.add(at(0), peer(number), Source::Pex);
    }
    assert_eq!(candidates.len(), MAX_KNOWN);
    let mut first: Vec<_> = (0..50).filter_map(|_| candidates.next(at(0))).collect();
    first.sort_unstable();
    assert_eq!(first, tracked);
}

#[test]
fn failed_address_stays_known_through_a_flood() {
    let mut candidates = candidates();
    candidates.add(at(0), peer(1), Source::Pex);
    candidates.next(at(0));
    candidates.failed(at(0), peer(1));
    for number in 100..20_000 {
        candidates.add(at(0), peer(number), Source::Pex);
    }
    assert!(!candidates.add(at(1), peer(1), Source::Pex));
    assert!(!drain(&mut candidates, at(1)).contains(&peer(1)), "one try per backoff, whoever names it");
}

#[test]
fn one_network_has_a_few_addresses_only() {
    let mut candidates = candidates();
    let port = |port| SocketAddr::new(peer(1).ip(), port);
    let taken = (2000..3000).filter(|number| candidates.add(at(0), port(*number), Source::Pex)).count();
    assert_eq!(taken, 8);
    let v6 = |number: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, number, 0, 0, 1], 6881));
    assert_eq!((0..100).filter(|number| candidates.add(at(0), v6(*number), Source::Dht)).count(), 8);
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!((2000..2100).filter(|number| candidates.add(at(0), local(*number), Source::Pex)).count(), 100);
}

#[test]
fn low_ports_are_tried_rarely() {
    let mut candidates = candidates();
    let web = |number: u16| SocketAddr::new(peer(number).ip(), 80);
    (0..100).for_each(|number| _ = candidates.add(at(0), web(number), Source::Tracker));
    candidates.add(at(0), peer(500), Source::Pex);
    let tries: usize = (0..60).map(|sec| drain(&mut candidates, at(sec)).len()).sum();
    assert!((10..=13).contains(&tries), "one in five seconds and the other one: {tries}");
}

proptest! {
    #[test]
    fn bookkeeping_agrees_whatever_happens(ops in prop::collection::vec((0u8..9, 0u16..12, 0u64..60), 0..300)) {
        let mut candidates = candidates();
        let mut now = at(0);
        for (op, number, secs) in ops {
            let address = peer(number);
            match op {
                0 => _ = candidates.add(now, address, Source::Pex),
                1 => _ = candidates.add(now, address, Source::Tracker),
                2 => _ = candidates.next(now),
                3 => candidates.connected(now, address),
                4 => candidates.failed(now, address),
                5 => candidates.disconnected(now, address, secs % 2 == 0),
                6 => candidates.ban(now, address.ip()),
                7 if secs == 0 => candidates.go_private(),
                7 => candidates.set_own(peer(900).ip()),
                _ => now += Duration::from_secs(secs),
            }
            let filed = |wanted: fn(&State) -> bool| candidates.known.values().filter(|c| wanted(&c.state)).count();
            prop_assert_eq!(candidates.ready.len(), filed(|state| *state == State::Ready));
            prop_assert_eq!(candidates.waiting.len(), filed(|state| matches!(state, State::Waiting(_))));
            let counted: u32 = candidates.networks.values().sum();
            prop_assert_eq!(counted as usize, candidates.known.len());
        }
    }
}

#[test]
fn address_that_was_not_tried_after_all_is_as_good_as_before() {
    let mut candidates = candidates();
    candidates.add(at(0), peer(1), Source::Tracker);
    assert_eq!(candidates.next(at(0)), Some(peer(1)));
    candidates.put_back(peer(1));
    assert_eq!(candidates.next(at(0)), Some(peer(1)));
}

#[test]
fn first_who_says_where_we_are_is_believed_until_a_tracker_says_it() {
    let (here, there): (IpAddr, IpAddr) = ([123, 213, 32, 10].into(), [9, 8, 7, 6].into());
    let order = |say: &dyn Fn(&mut Candidates)| {
        let mut candidates = candidates();
        say(&mut candidates);
        (1..9).for_each(|number| _ = candidates.add(at(0), peer(number), Source::Tracker));
        drain(&mut candidates, at(0))
    };
    let of_here = order(&|c| c.set_own(here));
    assert_ne!(of_here, order(&|c| c.set_own(there)), "who comes first depends on it (BEP 40)");
    let guess = |first, second| order(&|c| [first, second].into_iter().for_each(|ip| c.guess_own(ip)));
    assert_eq!(guess(here, there), of_here);
    let told = order(&|c| {
        c.guess_own(there);
        c.set_own(here);
    });
    assert_eq!(told, of_here);
}
