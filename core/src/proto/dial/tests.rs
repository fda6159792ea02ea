//! Tests of the dialler: whole outputs are compared, at named instants.

use super::*;
use proptest::prelude::*;

const CONFIG: DialConfig = DialConfig {
    connect_timeout: Duration::from_secs(10),
    attempt_delay: Duration::from_millis(250),
    reach: Reach::Anywhere,
    family: None,
    own_family: None,
};

fn ms(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A dialler of the addresses in `list`, from 0 ms on.
fn known(list: &str, secure: bool) -> Dialer {
    let addresses = list.split_whitespace().map(ip).collect();
    Dialer::new(ms(0), DialHost::Known(addresses), 443, secure, CONFIG)
}

fn connect(attempt: u32, address: &str) -> Output {
    Output::Connect { attempt, to: SocketAddr::new(ip(address), 443) }
}

fn abandon(attempt: u32) -> Output {
    Output::Abandon { attempt }
}

fn link_error(error: LinkError) -> Output {
    Output::Failed(DialError::Link(error))
}

fn drain(dialer: &mut Dialer) -> Vec<Output> {
    core::iter::from_fn(|| dialer.poll_output()).collect()
}

/// Runs the timers up to and including `until`.
fn run(dialer: &mut Dialer, until: Instant) {
    while let Some(at) = dialer.poll_timeout().filter(|&at| at <= until) {
        dialer.handle_timeout(at);
        assert!(dialer.poll_timeout().is_none_or(|next| next > at), "I2 at {at:?}");
    }
}

#[test]
fn name_is_looked_up_and_the_first_address_connected() {
    let mut dialer = Dialer::new(ms(0), DialHost::Name("example.org".into()), 443, false, CONFIG);
    assert_eq!(drain(&mut dialer), [Output::Resolve { host: "example.org".into() }]);
    assert_eq!(dialer.poll_timeout(), Some(ms(10_000)));
    dialer.handle_resolved(ms(40), Ok(vec![ip("192.0.2.1"), ip("192.0.2.2")]));
    assert_eq!(drain(&mut dialer), [connect(0, "192.0.2.1")]);
    assert_eq!(dialer.poll_timeout(), Some(ms(290)));
    dialer.handle_opened(ms(80), 0);
    assert_eq!(drain(&mut dialer), [Output::Connected { attempt: 0 }]);
    assert_eq!(dialer.poll_timeout(), None);
}

#[test]
fn literal_needs_no_look_up() {
    for name in ["2001:db8::1", "[2001:db8::1]"] {
        let mut dialer = Dialer::new(ms(0), DialHost::Name(name.into()), 443, false, CONFIG);
        assert_eq!(drain(&mut dialer), [connect(0, "2001:db8::1")]);
    }
    let mut dialer = Dialer::new(ms(0), DialHost::Ip(ip("192.0.2.1")), 443, false, CONFIG);
    assert_eq!(drain(&mut dialer), [connect(0, "192.0.2.1")]);
}

#[test]
fn families_alternate_from_the_resolvers_first() {
    let order = |list: &str| {
        let list: Vec<_> = list.split_whitespace().map(ip).collect();
        interleave(&list).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(order("::1 ::2 ::3 1.0.0.1 1.0.0.2"), "::1 1.0.0.1 ::2 1.0.0.2 ::3");
    assert_eq!(order("1.0.0.1 1.0.0.2 ::1"), "1.0.0.1 ::1 1.0.0.2");
    assert_eq!(order("::1 ::1 1.0.0.1 ::1"), "::1 1.0.0.1");
    assert_eq!(order(""), "");
}

#[test]
fn at_most_sixteen_addresses_of_both_families_are_tried() {
    let mut addresses: Vec<IpAddr> =
        (0..1000u16).map(|n| IpAddr::from([0x2001, 0, 0, 0, 0, 0, 0, n])).collect();
    addresses.push(ip("192.0.2.1"));
    let mut dialer = Dialer::new(ms(0), DialHost::Known(addresses), 443, false, CONFIG);
    run(&mut dialer, ms(9_999));
    let outputs = drain(&mut dialer);
    assert_eq!(outputs.len(), MAX_ADDRESSES);
    assert_eq!(outputs[1], connect(1, "192.0.2.1"));
}

#[test]
fn next_address_starts_after_the_delay_and_the_loser_is_abandoned() {
    let mut dialer = known("::1 1.0.0.1", false);
    run(&mut dialer, ms(249));
    assert_eq!(drain(&mut dialer), [connect(0, "::1")]);
    run(&mut dialer, ms(250));
    assert_eq!(drain(&mut dialer), [connect(1, "1.0.0.1")]);
    dialer.handle_opened(ms(300), 1);
    assert_eq!(drain(&mut dialer), [abandon(0), Output::Connected { attempt: 1 }]);
}

#[test]
fn next_address_starts_at_once_when_one_fails() {
    let mut dialer = known("::1 1.0.0.1 ::2", false);
    dialer.handle_failed(ms(10), 0, LinkError::Unreachable);
    assert_eq!(drain(&mut dialer), [connect(0, "::1"), connect(1, "1.0.0.1")]);
    assert_eq!(dialer.poll_timeout(), Some(ms(260)), "the delay counts from the newest attempt");
}

#[test]
fn most_telling_error_is_reported() {
    let cases = [
        ([LinkError::TimedOut, LinkError::Refused, LinkError::Unreachable], LinkError::Refused),
        ([LinkError::Unreachable, LinkError::TimedOut, LinkError::Io], LinkError::Unreachable),
        ([LinkError::Refused, LinkError::Tls(TlsError::Protocol), LinkError::Reset], {
            LinkError::Tls(TlsError::Protocol)
        }),
    ];
    for (errors, telling) in cases {
        let mut dialer = known("::1 ::2 ::3", true);
        for (attempt, error) in (0..).zip(errors) {
            dialer.handle_failed(ms(1), attempt, error);
        }
        assert_eq!(drain(&mut dialer).last(), Some(&link_error(telling)), "{errors:?}");
    }
}

#[test]
fn secured_dial_ends_when_the_handshake_is_done() {
    let mut dialer = known("::1 1.0.0.1 ::2", true);
    run(&mut dialer, ms(250));
    drain(&mut dialer);
    dialer.handle_opened(ms(300), 1);
    assert_eq!(drain(&mut dialer), [abandon(0)]);
    assert_eq!(dialer.poll_timeout(), Some(ms(3_300)));
    dialer.handle_secured(ms(400), 1);
    assert_eq!(drain(&mut dialer), [Output::Connected { attempt: 1 }]);
}

#[test]
fn refused_certificate_ends_the_dial() {
    for tls in [TlsError::WrongHost, TlsError::Expired, TlsError::UnknownIssuer, TlsError::InvalidName] {
        let mut dialer = known("::1 1.0.0.1", true);
        dialer.handle_opened(ms(50), 0);
        dialer.handle_failed(ms(90), 0, LinkError::Tls(tls));
        assert_eq!(drain(&mut dialer), [connect(0, "::1"), link_error(LinkError::Tls(tls))]);
        assert_eq!(dialer.poll_timeout(), None);
    }
}

#[test]
fn handshake_that_is_reset_leads_to_the_addresses_held_back() {
    let mut dialer = known("::1 1.0.0.1 ::2", true);
    run(&mut dialer, ms(250));
    dialer.handle_opened(ms(300), 1);
    drain(&mut dialer);
    dialer.handle_failed(ms(350), 1, LinkError::Reset);
    assert_eq!(drain(&mut dialer), [connect(2, "::1")]);
    dialer.handle_failed(ms(360), 2, LinkError::TimedOut);
    assert_eq!(drain(&mut dialer), [connect(3, "::2")]);
    dialer.handle_failed(ms(370), 3, LinkError::TimedOut);
    assert_eq!(drain(&mut dialer), [link_error(LinkError::Reset)]);
}

#[test]
fn stuck_handshake_gets_company_and_either_may_win() {
    for winner in [0, 1] {
        let mut dialer = known("::1 1.0.0.1", true);
        dialer.handle_opened(ms(50), 0);
        run(&mut dialer, ms(3_050));
        dialer.handle_opened(ms(3_060), 1);
        assert_eq!(drain(&mut dialer), [connect(0, "::1"), connect(1, "1.0.0.1")]);
        dialer.handle_secured(ms(3_100), winner);
        assert_eq!(drain(&mut dialer), [abandon(1 - winner), Output::Connected { attempt: winner }]);
    }
}

#[test]
fn time_up_abandons_every_attempt() {
    let mut dialer = known("::1 1.0.0.1", false);
    run(&mut dialer, ms(9_999));
    drain(&mut dialer);
    run(&mut dialer, ms(10_000));
    assert_eq!(drain(&mut dialer), [abandon(0), abandon(1), Output::Failed(DialError::TimedOut)]);
}

#[test]
fn failed_look_up_ends_the_dial() {
    let dial = || {
        let mut dialer = Dialer::new(ms(0), DialHost::Name("example.org".into()), 443, false, CONFIG);
        drain(&mut dialer);
        dialer
    };
    let failed = |error| [Output::Failed(DialError::Resolve(error))];

    let mut dialer = dial();
    dialer.handle_resolved(ms(1), Err(ResolveError::Failed));
    assert_eq!(drain(&mut dialer), failed(ResolveError::Failed));
    let mut dialer = dial();
    dialer.handle_resolved(ms(1), Ok(vec![]));
    assert_eq!(drain(&mut dialer), failed(ResolveError::NotFound));
    let mut dialer = dial();
    run(&mut dialer, ms(10_000));
    assert_eq!(drain(&mut dialer), failed(ResolveError::TimedOut));
    dialer.handle_resolved(ms(10_001), Ok(vec![ip("::1")]));
    assert_eq!(drain(&mut dialer), []);
    let mut dialer = known("", false);
    assert_eq!(drain(&mut dialer), failed(ResolveError::NotFound));
}

#[test]
fn late_inputs_for_dead_attempts_change_nothing() {
    let mut dialer = known("::1 1.0.0.1 ::2", true);
    run(&mut dialer, ms(250));
    dialer.handle_opened(ms(260), 1);
    drain(&mut dialer);
    dialer.handle_opened(ms(270), 0);
    dialer.handle_secured(ms(270), 0);
    dialer.handle_failed(ms(270), 0, LinkError::Tls(TlsError::Expired));
    dialer.handle_failed(ms(270), 77, LinkError::Refused);
    dialer.handle_opened(ms(270), 1);
    dialer.handle_resolved(ms(270), Ok(vec![ip("::9")]));
    assert_eq!(drain(&mut dialer), []);
    assert_eq!(dialer.poll_timeout(), Some(ms(3_260)));
}

#[test]
fn secured_means_nothing_on_a_plain_dial() {
    let mut dialer = known("::1", false);
    drain(&mut dialer);
    dialer.handle_secured(ms(1), 0);
    assert_eq!(drain(&mut dialer), []);
}

#[test]
fn abandoned_dial_closes_its_links_and_is_inert() {
    let mut dialer = known("::1 1.0.0.1", false);
    run(&mut dialer, ms(250));
    dialer.abandon(ms(260));
    assert_eq!(drain(&mut dialer), [connect(0, "::1"), connect(1, "1.0.0.1"), abandon(0), abandon(1)]);
    dialer.handle_opened(ms(270), 0);
    dialer.handle_timeout(ms(20_000));
    dialer.abandon(ms(20_000));
    assert_eq!((drain(&mut dialer), dialer.poll_timeout()), (vec![], None));
}

#[derive(Clone, Debug)]
enum Op {
    Resolved(Result<Vec<IpAddr>, ResolveError>),
    Opened(u32),
    Secured(u32),
    Failed(u32, LinkError),
    /// Lets this many milliseconds pass, with the timers.
    Wait(u64),
    Abandon,
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    let v6 = (0..12u16).prop_map(|n| IpAddr::from([0x2001, 0, 0, 0, 0, 0, 0, n]));
    let v4 = (0..12u8).prop_map(|n| IpAddr::from([192, 0, 2, n]));
    prop::collection::vec(prop_oneof![v6, v4], 0..24)
}

fn op() -> impl Strategy<Value = Op> {
    let error = prop::sample::select(vec![
        LinkError::Refused,
        LinkError::TimedOut,
        LinkError::Reset,
        LinkError::Unreachable,
        LinkError::Tls(TlsError::Protocol),
        LinkError::Tls(TlsError::WrongHost),
    ]);
    prop_oneof![
        2 => addresses().prop_map(|list| Op::Resolved(Ok(list))),
        1 => Just(Op::Resolved(Err(ResolveError::Failed))),
        3 => (0..20u32).prop_map(Op::Opened),
        1 => (0..20u32).prop_map(Op::Secured),
        6 => (0..20u32, error).prop_map(|(attempt, error)| Op::Failed(attempt, error)),
        8 => (0..1500u64).prop_map(Op::Wait),
        1 => Just(Op::Abandon),
    ]
}

fn apply(dialer: &mut Dialer, now: &mut Instant, op: &Op) {
    match op.clone() {
        Op::Resolved(result) => dialer.handle_resolved(*now, result),
        Op::Opened(attempt) => dialer.handle_opened(*now, attempt),
        Op::Secured(attempt) => dialer.handle_secured(*now, attempt),
        Op::Failed(attempt, error) => dialer.handle_failed(*now, attempt, error),
        Op::Wait(millis) => {
            *now += Duration::from_millis(millis);
            run(dialer, *now);
            dialer.handle_timeout(*now);
            assert!(dialer.poll_timeout().is_none_or(|at| at > *now), "I2");
        }
        Op::Abandon => dialer.abandon(*now),
    }
}

/// What a parent keeps of a dialler: which links stand, and whether it is over.
#[derive(Default)]
struct Parent {
    links: Vec<u32>,
    connects: u32,
    over: bool,
}

impl Parent {
    fn take(&mut self, output: Output) {
        assert!(!self.over, "{output:?} after the last output");
        match output {
            Output::Resolve { .. } => {}
            Output::Connect { attempt, .. } => {
                assert_eq!(attempt, self.connects, "attempts are counted from 0");
                self.connects += 1;
                self.links.push(attempt);
                assert!(self.links.len() <= MAX_ADDRESSES);
            }
            Output::Abandon { attempt } => {
                let at = self.links.iter().position(|&link| link == attempt);
                self.links.remove(at.expect("only a link that stands is abandoned"));
            }
            Output::Connected { attempt } => {
                assert_eq!(self.links, [attempt], "all others are abandoned before");
                self.over = true;
            }
            Output::Failed(_) => {
                assert_eq!(self.links, [0; 0]);
                self.over = true;
            }
        }
    }
}

proptest! {
    #[test]
    fn no_link_is_leaked_and_the_last_output_is_last(
        ops in prop::collection::vec(op(), 1..60),
        secure: bool,
        delay in 0u64..400,
        list in prop::option::of(addresses()),
    ) {
        let config = DialConfig { attempt_delay: Duration::from_millis(delay), ..CONFIG };
        let host = list.map_or(DialHost::Name("example.org".into()), DialHost::Known);
        let mut dialer = Dialer::new(ms(0), host, 443, secure, config);
        let (mut now, mut parent) = (ms(0), Parent::default());
        drain(&mut dialer).into_iter().for_each(|output| parent.take(output));
        for op in &ops {
            apply(&mut dialer, &mut now, op);
            if let Op::Failed(attempt, _) = op {
                parent.links.retain(|link| link != attempt);
            }
            drain(&mut dialer).into_iter().for_each(|output| parent.take(output));
            prop_assert_eq!(dialer.poll_timeout().is_none(), matches!(dialer.state, State::Done));
        }
        run(&mut dialer, now + CONFIG.connect_timeout);
        drain(&mut dialer).into_iter().for_each(|output| parent.take(output));
        prop_assert_eq!(dialer.poll_timeout(), None, "every dial ends in time");
        prop_assert!(parent.over || ops.iter().any(|op| matches!(op, Op::Abandon)));
        prop_assert!(parent.connects as usize <= MAX_ADDRESSES * (MAX_ADDRESSES + 1));
    }

    #[test]
    fn draining_late_changes_nothing(ops in prop::collection::vec(op(), 1..60), secure: bool, list in addresses()) {
        let dial = || Dialer::new(ms(0), DialHost::Known(list.clone()), 443, secure, CONFIG);
        let (mut eager, mut lazy) = (dial(), dial());
        let (mut now, mut outputs) = (ms(0), vec![]);
        for op in &ops {
            outputs.extend(drain(&mut eager));
            let mut lazy_now = now;
            apply(&mut lazy, &mut lazy_now, op);
            apply(&mut eager, &mut now, op);
        }
        outputs.extend(drain(&mut eager));
        prop_assert_eq!(drain(&mut lazy), outputs);
    }
}
