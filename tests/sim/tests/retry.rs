//! Failures of hosts and networks: what is tried again, when, and what is not.

use core::time::Duration;
use gosh_dl_core::base::link::TlsError;
use gosh_dl_core::base::{Instant, LinkError};
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{
    DownloadEvent, DownloadState, EngineConfig, EngineError, HttpConfig, NetworkErrorKind, ResolveError,
};
use gosh_dl_sim::{
    AfterReply, Behaviour, Content, Cut, Dial, End, Latency, OverLimit, Ranges, Refusal, Resource, World,
};
use std::net::IpAddr;

const URL: &str = "http://a.example/file.bin";
const MIB: u64 = 1 << 20;

fn file(behaviour: Behaviour) -> Resource {
    Resource::new(Content::generated(1, 4 * MIB)).behave(behaviour)
}

fn fetch(behaviour: Behaviour) -> (World, DownloadState) {
    let mut world = World::new(2);
    world.serve(URL, file(behaviour));
    let state = world.fetch(URL);
    (world, state)
}

fn add(world: &mut World) -> DownloadId {
    world.add(URL, DownloadOptions::new())
}

fn network_kind(world: &World, id: DownloadId) -> NetworkErrorKind {
    match world.failure(id) {
        Some(EngineError::Network { kind, .. }) => *kind,
        other => panic!("{other:?}"),
    }
}

/// The first two requests: whatever the second is, it must not come early.
fn pause_after_first(world: &World) -> Duration {
    let requests = &world.log("a.example").requests;
    requests[1].at - requests[0].at
}

#[test]
fn statuses_that_mean_not_now_are_tried_again() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let first = vec![Refusal::new(status)];
        let (world, state) = fetch(Behaviour { first, ..Behaviour::default() });
        assert_eq!(state, DownloadState::Completed, "{status}");
        assert!(pause_after_first(&world) >= Duration::from_millis(700), "{status}");
    }
}

#[test]
fn statuses_that_mean_no_are_not_tried_again() {
    for status in [400, 401, 403, 404, 410, 451] {
        let mut world = World::new(2);
        world.serve(URL, Resource::refusal(Refusal::new(status)));
        let id = add(&mut world);
        assert!(matches!(world.wait_done(id), DownloadState::Error { retryable: false, .. }), "{status}");
        assert_eq!(network_kind(&world, id), NetworkErrorKind::HttpStatus(status));
        // Some servers answer 400 to a range; that one may be asked again without.
        let most = if status == 400 { 2 } else { 1 };
        assert!(world.log("a.example").requests.len() <= most, "{status}");
    }
}

#[test]
fn retry_after_in_seconds_is_honoured() {
    for status in [429, 503] {
        let first = vec![Refusal::new(status).retry_after(7)];
        let (world, state) = fetch(Behaviour { first, ..Behaviour::default() });
        assert_eq!(state, DownloadState::Completed);
        let pause = pause_after_first(&world);
        assert!((Duration::from_secs(7)..Duration::from_secs(10)).contains(&pause), "{pause:?}");
    }
}

#[test]
fn retry_after_as_a_date_is_honoured() {
    let first = vec![Refusal::new(503).retry_at(Duration::from_secs(20))];
    let (world, state) = fetch(Behaviour { first, ..Behaviour::default() });
    assert_eq!(state, DownloadState::Completed);
    let pause = pause_after_first(&world);
    assert!((Duration::from_secs(19)..Duration::from_secs(26)).contains(&pause), "{pause:?}");
}

/// The clock was put right while the download ran, which went on comparing dates with the wrong one.
#[test]
fn retry_after_as_a_date_is_honoured_after_the_clock_was_set() {
    let mut world = World::new(2);
    world
        .serve(URL, file(Behaviour { cut: Some(Cut::once(MIB, End::Reset)), ..Behaviour::default() }))
        .rate = Some(MIB);
    let id = add(&mut world);
    world.run_for(Duration::from_millis(500));
    world.jump_wall_clock(400 * 24 * 3_600_000);
    let busy = Refusal::new(503).retry_at(Duration::from_secs(20));
    world.host("a.example").resource_mut("/file.bin").behaviour.always = Some(busy);
    world.run_for(Duration::from_secs(4));
    world.host("a.example").resource_mut("/file.bin").behaviour.always = None;
    assert!(world.log("a.example").statuses().contains(&503));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

/// A host said "now" again and again, and was asked again at once.
#[test]
fn retry_after_no_time_does_not_shorten_the_pause() {
    let first = vec![Refusal::new(503).retry_after(0)];
    let (world, state) = fetch(Behaviour { first, ..Behaviour::default() });
    assert_eq!(state, DownloadState::Completed);
    assert!(pause_after_first(&world) >= Duration::from_millis(700));
}

#[test]
fn retry_after_paces_every_download_from_that_host() {
    let mut world = World::new(2);
    let first = vec![Refusal::new(429).retry_after(15)];
    world.serve(URL, file(Behaviour { first, ..Behaviour::default() }));
    world.serve("http://a.example/other.bin", file(Behaviour::default()));
    let one = add(&mut world);
    world.run_for(Duration::from_secs(1));
    let other = world.add("http://a.example/other.bin", DownloadOptions::new());
    assert_eq!(world.wait_done(one), DownloadState::Completed);
    assert_eq!(world.wait_done(other), DownloadState::Completed);
    assert!(pause_after_first(&world) >= Duration::from_secs(14));
}

#[test]
fn absurd_retry_after_is_an_error_and_not_a_wait_for_years() {
    let mut world = World::new(2);
    world.serve(URL, Resource::refusal(Refusal::new(503).header("Retry-After", "99999999999")));
    let id = add(&mut world);
    assert!(matches!(world.wait_done(id), DownloadState::Error { .. }));
}

#[test]
fn host_that_always_fails_is_given_up_after_as_many_tries_as_allowed() {
    let mut world = World::new(2);
    world.serve(URL, Resource::refusal(Refusal::new(500)));
    let id = add(&mut world);
    assert!(matches!(world.wait_done(id), DownloadState::Error { retryable: true, .. }));
    assert_eq!(network_kind(&world, id), NetworkErrorKind::HttpStatus(500));
    assert_eq!(world.log("a.example").requests.len(), 5);
    let times: Vec<_> = world.log("a.example").requests.iter().map(|asked| asked.at).collect();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0]), "{pauses:?}");
}

#[test]
fn failed_download_resumes_by_hand() {
    let mut world = World::new(2);
    let first = vec![Refusal::new(500); 5];
    world.serve(URL, file(Behaviour { first, ..Behaviour::default() }));
    let id = add(&mut world);
    assert!(matches!(world.wait_done(id), DownloadState::Error { .. }));
    let token = world.resume(id);
    world.wait_reply(token).unwrap();
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn refused_connection_is_tried_again() {
    let mut world = World::new(2);
    let address: IpAddr = [198, 18, 0, 1].into();
    world.serve(URL, file(Behaviour::default())).dial_all(Dial::Fail(LinkError::Refused), &[address]);
    let id = add(&mut world);
    world.run_for(Duration::from_secs(2));
    world.host("a.example").dial_all(Dial::Accept, &[address]);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn host_that_never_accepts_fails_in_bounded_time() {
    for (dial, kind) in [
        (Dial::Fail(LinkError::Refused), NetworkErrorKind::ConnectionRefused),
        (Dial::Fail(LinkError::Unreachable), NetworkErrorKind::Unreachable),
        (Dial::Silent, NetworkErrorKind::Timeout),
    ] {
        let mut world = World::new(2);
        world.serve(URL, file(Behaviour::default())).dial_all(dial, &[[198, 18, 0, 1].into()]);
        let id = add(&mut world);
        assert!(matches!(world.wait_done(id), DownloadState::Error { retryable: true, .. }), "{dial:?}");
        assert_eq!(network_kind(&world, id), kind, "{dial:?}");
        assert!(world.now() < Instant::ZERO + Duration::from_secs(300), "{dial:?}: {:?}", world.now());
    }
}

#[test]
fn silent_address_does_not_hold_up_the_others() {
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    let v4: IpAddr = [198, 18, 0, 77].into();
    for dial in [Dial::Silent, Dial::Fail(LinkError::Unreachable), Dial::Fail(LinkError::Refused)] {
        let mut world = World::new(2);
        world.addresses("a.example", &[v6, v4]).dial_all(dial, &[v6]);
        world.serve(URL, file(Behaviour::default()));
        assert_eq!(world.fetch(URL), DownloadState::Completed);
        assert!(world.now() < Instant::ZERO + Duration::from_secs(5), "{dial:?}: {:?}", world.now());
    }
}

#[test]
fn host_that_is_an_address_needs_no_name() {
    let mut world = World::new(2);
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    world.addresses("six.example", &[v6]).put("/f", file(Behaviour::default()));
    assert_eq!(world.fetch("http://[2001:db8::1]/f"), DownloadState::Completed);
    world.host("four.example").put("/f", file(Behaviour::default()));
    assert_eq!(world.fetch("http://198.18.0.2:8080/f"), DownloadState::Completed);
    assert!(world.names.asked.is_empty(), "{:?}", world.names.asked);
}

#[test]
fn name_that_does_not_exist_fails_at_once() {
    let mut world = World::new(2);
    let id = world.add("http://nowhere.example/f", DownloadOptions::new());
    assert!(matches!(world.wait_done(id), DownloadState::Error { retryable: false, .. }));
    assert_eq!(network_kind(&world, id), NetworkErrorKind::DnsResolution);
    assert!(world.now() < Instant::ZERO + Duration::from_secs(1));
}

#[test]
fn name_server_that_fails_is_asked_again() {
    let mut world = World::new(2);
    world.serve(URL, file(Behaviour::default()));
    world.names.once("a.example", Err(ResolveError::Failed));
    world.names.once("a.example", Err(ResolveError::TimedOut));
    assert_eq!(world.fetch(URL), DownloadState::Completed);
    assert_eq!(world.names.asked.len(), 3);
}

#[test]
fn bad_certificate_fails_and_nothing_is_sent() {
    for verdict in [TlsError::UnknownIssuer, TlsError::WrongHost, TlsError::Expired] {
        let mut world = World::new(2);
        let url = "https://a.example/file.bin";
        world.serve(url, file(Behaviour::default())).tls = Err(verdict);
        let id = world.add(url, DownloadOptions::new());
        assert!(matches!(world.wait_done(id), DownloadState::Error { retryable: false, .. }));
        assert_eq!(network_kind(&world, id), NetworkErrorKind::Tls);
        assert!(world.log("a.example").requests.is_empty());
    }
}

#[test]
fn secured_download_completes() {
    let mut world = World::new(2);
    let url = "https://a.example/file.bin";
    world.serve(url, file(Behaviour::default()));
    assert_eq!(world.fetch(url), DownloadState::Completed);
    assert!(world.log("a.example").requests.iter().all(|asked| asked.secure));
}

#[test]
fn slow_head_is_waited_for_and_a_silent_one_is_not() {
    let (_, state) = fetch(Behaviour { delay: Duration::from_secs(40), ..Behaviour::default() });
    assert_eq!(state, DownloadState::Completed);
    let (world, state) = fetch(Behaviour { delay: Duration::from_secs(3600), ..Behaviour::default() });
    assert!(matches!(state, DownloadState::Error { retryable: true, .. }), "{state:?}");
    assert!(world.now() < Instant::ZERO + Duration::from_secs(600), "{:?}", world.now());
}

#[test]
fn connection_closed_while_it_was_idle_costs_no_try() {
    let config = EngineConfig::new().http(HttpConfig::new().max_retries(1u32));
    let mut world = World::with_config(2, config);
    let behaviour = Behaviour { after: AfterReply::CloseSilently, ..Behaviour::default() };
    for number in 0..10 {
        world.serve(&format!("http://a.example/{number}"), file(behaviour.clone()));
        world.host("a.example").profile.latency = Latency::millis(5, 50);
    }
    for number in 0..10 {
        let state = world.fetch(&format!("http://a.example/{number}"));
        assert_eq!(state, DownloadState::Completed, "{number}");
    }
}

#[test]
fn idle_timeout_of_the_host_races_with_the_next_request() {
    let mut world = World::new(2);
    world.host("a.example").idle_timeout = Some(Duration::from_millis(100));
    for number in 0..20 {
        let url = format!("http://a.example/{number}");
        world.serve(&url, file(Behaviour::default()));
        assert_eq!(world.fetch(&url), DownloadState::Completed, "{number}");
        world.run_for(Duration::from_millis(80 + number * 2));
    }
}

#[test]
fn progress_forgives_earlier_failures() {
    // Far more failures than tries in a row are allowed, with bytes between them.
    let cut = Some(Cut::always(200_000, End::Reset));
    let (_, state) = fetch(Behaviour { cut, ..Behaviour::default() });
    assert_eq!(state, DownloadState::Completed);
}

#[test]
fn connection_that_dies_in_the_middle_is_replaced() {
    for end in [LinkError::Reset, LinkError::Eof] {
        let mut world = World::new(2);
        world.serve(URL, file(Behaviour::default())).profile.down_rate = Some(400_000);
        let id = add(&mut world);
        for _ in 0..5 {
            world.run_for(Duration::from_millis(300));
            world.end_connections("a.example", end);
        }
        assert_eq!(world.wait_done(id), DownloadState::Completed);
    }
}

#[test]
fn host_that_serves_few_connections_is_not_pressed() {
    for over_limit in [OverLimit::Refuse, OverLimit::Status(503), OverLimit::Status(429)] {
        let mut world = World::new(2);
        let resource = Resource::new(Content::generated(1, 32 * MIB));
        let host = world.serve(URL, resource);
        host.profile.down_rate = Some(1_000_000);
        host.max_connections = 2;
        host.over_limit = over_limit;
        assert_eq!(world.fetch(URL), DownloadState::Completed, "{over_limit:?}");
        let log = world.log("a.example");
        assert!(log.connections.len() < 60, "{over_limit:?}: {} connections", log.connections.len());
        assert!(world.now() < Instant::ZERO + Duration::from_secs(60), "{over_limit:?}: {:?}", world.now());
    }
}

#[test]
fn slow_connection_does_not_hold_up_the_end() {
    // Every other connection is a hundred times slower.
    let content = Content::generated(1, 16 * MIB);
    let resource = Resource::scripted({
        let content = content.clone();
        move |request, before| {
            let len = content.len();
            let range = request.range().map_or(0..len, |range| range.start..range.end.unwrap_or(len));
            let head = format!(
                "HTTP/1.1 206 Partial\r\nETag: \"a\"\r\nContent-Range: bytes {}-{}/{len}\r\nContent-Length: {}\r\n\r\n",
                range.start,
                range.end - 1,
                range.end - range.start
            );
            let rate = if before % 2 == 0 { 20_000 } else { 2_000_000 };
            let content = content.clone();
            vec![
                gosh_dl_sim::Part::Rate(rate),
                gosh_dl_sim::Part::text(head),
                gosh_dl_sim::Part::Content { content, range },
            ]
        }
    });
    let mut world = World::new(2);
    world.serve(URL, resource);
    let id = add(&mut world);
    world.expect(id, content);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert!(world.now() < Instant::ZERO + Duration::from_secs(30), "{:?}", world.now());
}

#[test]
fn slow_start_without_ranges_survives_pauses_shorter_than_the_read_timeout() {
    let behaviour = Behaviour { ranges: Ranges::None, rate: Some(100_000), ..Behaviour::default() };
    let (world, state) = fetch(behaviour);
    assert_eq!(state, DownloadState::Completed);
    assert_eq!(world.log("a.example").requests.len(), 1);
}

#[test]
fn deadline_of_a_download_ends_it() {
    let mut world = World::new(2);
    world.serve(URL, file(Behaviour { rate: Some(1000), ..Behaviour::default() }));
    let options = DownloadOptions::new().deadline(Duration::from_secs(20)).max_connections(1usize);
    let id = world.add(URL, options);
    assert!(matches!(world.wait_done(id), DownloadState::Error { .. }));
    let took = world.now() - Instant::ZERO;
    assert!((Duration::from_secs(20)..Duration::from_secs(22)).contains(&took), "{took:?}");
}

/// The waits that were told: when, for how long, why.
fn waits(world: &World) -> Vec<(Instant, Duration, String)> {
    let wait = |(at, event): &(Instant, DownloadEvent)| match event {
        DownloadEvent::Waiting { error, delay, .. } => Some((*at, *delay, error.to_string())),
        _ => None,
    };
    world.events.iter().filter_map(wait).collect()
}

#[test]
fn each_wait_is_told_with_its_reason_and_its_length() {
    let first = vec![Refusal::new(503), Refusal::new(500)];
    let (world, state) = fetch(Behaviour { first, ..Behaviour::default() });
    assert_eq!(state, DownloadState::Completed);
    let waits = waits(&world);
    let why: Vec<_> = waits.iter().map(|(.., why)| why.rsplit(" answered ").next().unwrap()).collect();
    assert_eq!(why, ["503 (service unavailable)", "500 (internal server error)"]);
    let requests = &world.log("a.example").requests;
    for ((at, delay, _), next) in waits.iter().zip(&requests[1..]) {
        let (due, asked) = (*at + *delay, next.at);
        assert!(due <= asked && asked - due < Duration::from_millis(500), "{due:?} {asked:?}");
    }
}

#[test]
fn a_wait_that_the_server_asks_for_is_told_as_long_as_it_is() {
    let first = vec![Refusal::new(503).header("Retry-After", "20")];
    let (world, state) = fetch(Behaviour { first, ..Behaviour::default() });
    assert_eq!(state, DownloadState::Completed);
    assert_eq!(waits(&world).iter().map(|(_, delay, _)| delay.as_secs()).collect::<Vec<_>>(), [20]);
}

#[test]
fn nothing_is_told_while_another_mirror_delivers() {
    let mut world = World::new(2);
    world.serve(URL, file(Behaviour::default()));
    world.serve("http://b.example/file.bin", Resource::refusal(Refusal::new(503)));
    let id = world.add(URL, DownloadOptions::new().mirror("http://b.example/file.bin"));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert_eq!(waits(&world), []);
}
