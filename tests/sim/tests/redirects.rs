//! Redirects: where they lead, what goes with them, and where they stop.

use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{DownloadState, EngineConfig, EngineError, HttpConfig, NetworkErrorKind};
use gosh_dl_sim::{Behaviour, Content, Refusal, Resource, World};
use std::net::IpAddr;

const MIB: u64 = 1 << 20;

fn file() -> Resource {
    Resource::new(Content::generated(1, 4 * MIB))
}

#[test]
fn every_kind_of_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        for location in
            ["/real", "real", "http://a.example/real", "//a.example/real", "http://b.example/real"]
        {
            let mut world = World::new(1);
            world.serve("http://a.example/file.bin", Resource::redirect(status, location));
            world.serve("http://a.example/real", file());
            world.serve("http://b.example/real", file());
            let id = world.add("http://a.example/file.bin", DownloadOptions::new());
            world.expect(id, Content::generated(1, 4 * MIB));
            assert_eq!(world.wait_done(id), DownloadState::Completed, "{status} {location}");
        }
    }
}

#[test]
fn name_comes_from_the_url_that_the_user_gave() {
    let mut world = World::new(1);
    world.serve("http://a.example/nice.iso", Resource::redirect(302, "http://b.example/4f8a"));
    world.serve("http://b.example/4f8a", file());
    assert_eq!(world.fetch("http://a.example/nice.iso"), DownloadState::Completed);
    assert!(world.file("nice.iso").is_some(), "{:?}", world.disk.names(World::DIR));
}

#[test]
fn loop_of_redirects_ends() {
    let mut world = World::new(1);
    world.serve("http://a.example/x", Resource::redirect(302, "/y"));
    world.serve("http://a.example/y", Resource::redirect(302, "/x"));
    let id = world.add("http://a.example/x", DownloadOptions::new());
    assert!(matches!(world.wait_done(id), DownloadState::Error { retryable: false, .. }));
    let error = world.failure(id).unwrap();
    let kind = NetworkErrorKind::TooManyRedirects;
    assert!(matches!(error, EngineError::Network { kind: found, .. } if *found == kind), "{error:?}");
    assert_eq!(world.log("a.example").requests.len(), 11);
}

#[test]
fn redirect_to_another_scheme_is_refused() {
    for location in ["ftp://b.example/f", "file:///etc/passwd", "javascript:alert(1)", "http://", ""] {
        let mut world = World::new(1);
        world.serve("http://a.example/f", Resource::redirect(302, location));
        let state = world.fetch("http://a.example/f");
        assert!(matches!(state, DownloadState::Error { .. }), "{location}: {state:?}");
    }
}

#[test]
fn redirect_without_location_is_an_error() {
    let mut world = World::new(1);
    world.serve("http://a.example/f", Resource::refusal(Refusal::new(302)));
    assert!(matches!(world.fetch("http://a.example/f"), DownloadState::Error { .. }));
}

fn secretive() -> DownloadOptions {
    DownloadOptions::new()
        .header("Authorization", "Bearer canary")
        .header("X-Api-Key", "canary")
        .cookies(vec!["session=canary".to_owned()])
        .referer("http://ref.example/canary")
}

/// Whether any request to a host carries what is secret.
fn leaks(world: &World, host: &str, secure: bool) -> bool {
    let log = world.log(host);
    let secret = |value: &str| value.contains("canary") || value.to_ascii_lowercase().contains("basic");
    log.requests
        .iter()
        .filter(|asked| asked.secure == secure)
        .any(|asked| asked.request.headers.iter().any(|(_, value)| secret(value)))
}

#[test]
fn secrets_go_to_the_origin_they_were_given_for() {
    let mut world = World::new(1);
    world.serve("http://a.example/f", Resource::redirect(302, "/g"));
    world.serve("http://a.example/g", file());
    let id = world.add("http://user:canary@a.example/f", secretive());
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    let log = world.log("a.example");
    for asked in &log.requests {
        assert_eq!(asked.request.header("x-api-key"), Some("canary"), "{:?}", asked.request);
        assert_eq!(asked.request.header("cookie"), Some("session=canary"));
        assert!(asked.request.header("authorization").is_some());
    }
}

#[test]
fn secrets_never_go_to_another_origin() {
    let cases = [
        ("https://a.example/f", "https://b.example/g", "b.example", true),
        ("https://a.example/f", "http://a.example/g", "a.example", false),
        ("http://a.example/f", "https://a.example/g", "a.example", true),
    ];
    for (from, to, host, secure) in cases {
        let mut world = World::new(1);
        world.serve(from, Resource::redirect(302, to));
        world.serve(to, file());
        let from = from.replace("://", "://user:canary@");
        let id = world.add(&from, secretive());
        assert_eq!(world.wait_done(id), DownloadState::Completed, "{from} to {to}");
        assert!(!leaks(&world, host, secure), "{from} to {to}");
    }
}

#[test]
fn secrets_never_go_to_another_port() {
    let mut world = World::new(1);
    world.serve("http://a.example/f", Resource::redirect(302, "http://a.example:8080/g"));
    world.serve("http://a.example/g", file());
    let id = world.add("http://user:canary@a.example/f", secretive());
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    for asked in world.log("a.example").of("/g") {
        assert_eq!(asked.request.header("host"), Some("a.example:8080"));
        let secret = asked.request.headers.iter().any(|(_, value)| value.contains("canary"));
        assert!(!secret, "{:?}", asked.request);
    }
}

#[test]
fn secrets_never_go_to_a_mirror_on_another_host() {
    let mut world = World::new(1);
    for url in ["http://a.example/f", "http://b.example/f"] {
        world.serve(url, file()).profile.down_rate = Some(300_000);
    }
    let id = world.add("http://user:canary@a.example/f", secretive().mirror("http://b.example/f"));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert!(!world.log("b.example").requests.is_empty(), "the mirror was not used");
    assert!(!leaks(&world, "b.example", false));
}

#[test]
fn redirect_back_to_the_origin_carries_nothing_that_was_stripped_wrongly() {
    let mut world = World::new(1);
    world.serve("http://a.example/f", Resource::redirect(302, "http://b.example/g"));
    world.serve("http://b.example/g", Resource::redirect(302, "http://a.example/h"));
    world.serve("http://a.example/h", file());
    let id = world.add("http://a.example/f", secretive());
    world.expect(id, Content::generated(1, 4 * MIB));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert!(!leaks(&world, "b.example", false));
}

#[test]
fn expired_target_is_asked_for_again_at_the_front() {
    let mut world = World::new(1);
    // Each visit to the front gets a new signed URL; the first expires after two answers.
    let first = Refusal::new(302).header("Location", "http://cdn.example/signed1");
    let always = Refusal::new(302).header("Location", "http://cdn.example/signed2");
    let front = Behaviour { first: vec![first], always: Some(always), ..Behaviour::default() };
    world.serve("http://a.example/f", Resource::new(Content::from("")).behave(front));
    let content = Content::generated(1, 4 * MIB);
    let (expiring, etag) = (content.clone(), "\"same\"");
    let signed1 = Resource::scripted(move |request, before| {
        let range = request.range().map_or(0, |range| range.start);
        let len = expiring.len();
        if before > 0 {
            return vec![gosh_dl_sim::Part::text("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")];
        }
        let head = format!(
            "HTTP/1.1 206 Partial\r\nETag: {etag}\r\nContent-Range: bytes {range}-{}/{len}\r\nContent-Length: {}\r\n\r\n",
            len - 1,
            len - range
        );
        vec![
            gosh_dl_sim::Part::text(head),
            gosh_dl_sim::Part::CutAfter(500_000, gosh_dl_sim::End::Reset),
            gosh_dl_sim::Part::Content { content: expiring.clone(), range: range..len },
        ]
    });
    world.serve("http://cdn.example/signed1", signed1);
    world.serve("http://cdn.example/signed2", Resource::new(content.clone()).validators(Some(etag), None));
    let id = world.add("http://a.example/f", DownloadOptions::new());
    world.expect(id, content);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

/// Addresses of the own network and of this machine, as URLs write them.
const LOCAL: [&str; 8] = [
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "[::1]",
    "[::ffff:10.0.0.1]",
    "[fe80::1]",
];

fn local_world(config: EngineConfig) -> World {
    let mut world = World::with_config(1, config);
    for host in LOCAL {
        let address: IpAddr = host.trim_matches(['[', ']']).parse().expect("an address");
        world.addresses(host.trim_matches(['[', ']']), &[address]);
        world.serve(&format!("http://{host}/real"), file());
        world.serve(
            &format!("http://a.example/{address}"),
            Resource::redirect(302, &format!("http://{host}/real")),
        );
    }
    world.addresses("lan.example", &[IpAddr::from([10, 0, 0, 7])]);
    world.addresses("nas.example", &[IpAddr::from([192, 168, 0, 8])]);
    world
}

fn is_refused(world: &mut World, url: &str) -> bool {
    let state = world.fetch(url);
    let id = world.list().pop().expect("one was added").id;
    match (state, world.failure(id)) {
        (DownloadState::Completed, _) => false,
        (_, Some(EngineError::Network { kind: NetworkErrorKind::LocalRedirect, retryable: false, .. })) => {
            true
        }
        (state, error) => panic!("{url}: {state:?} {error:?}"),
    }
}

#[test]
fn nobody_elsewhere_redirects_into_the_own_network() {
    for host in LOCAL {
        let mut world = local_world(EngineConfig::new());
        let address: IpAddr = host.trim_matches(['[', ']']).parse().expect("an address");
        assert!(is_refused(&mut world, &format!("http://a.example/{address}")), "{host}");
        assert!(world.log(host.trim_matches(['[', ']'])).connections.is_empty(), "{host}");
    }
}

#[test]
fn names_that_lead_into_the_own_network_are_refused_by_where_they_lead() {
    let mut world = local_world(EngineConfig::new());
    world.serve("http://a.example/x", Resource::redirect(302, "http://b.example/x"));
    world.serve("http://b.example/x", Resource::redirect(302, "http://lan.example/real"));
    world.serve("http://lan.example/real", file());
    assert!(is_refused(&mut world, "http://a.example/x"));
    assert!(world.log("lan.example").connections.is_empty());
}

#[test]
fn a_name_that_leads_elsewhere_first_does_not_lead_home_later() {
    let mut world = local_world(EngineConfig::new());
    // The name of who redirects, too: it leads to the own network once it was asked.
    world.serve("http://rebound.example/x", Resource::redirect(302, "http://rebound.example:81/real"));
    let home = IpAddr::from([10, 0, 0, 9]);
    world.addresses("home.example", &[home]);
    world.serve("http://home.example/real", file());
    let elsewhere = world.network.addresses_of("rebound.example")[0];
    world.names.once("rebound.example", Ok(vec![elsewhere]));
    world.names.set("rebound.example", Ok(vec![home]));
    assert!(is_refused(&mut world, "http://rebound.example/x"));
    assert!(world.log("home.example").connections.is_empty());
}

#[test]
fn what_the_user_names_may_be_in_the_own_network_and_redirect_there() {
    for (from, to) in [("lan.example", "nas.example"), ("lan.example", "127.0.0.1"), ("127.0.0.1", "[::1]")] {
        let mut world = local_world(EngineConfig::new());
        world.serve(&format!("http://{to}/real"), file());
        world.serve(&format!("http://{from}/x"), Resource::redirect(302, &format!("http://{to}/real")));
        assert!(!is_refused(&mut world, &format!("http://{from}/x")), "{from} {to}");
    }
    // Through somebody elsewhere it is not the user's word any more.
    let mut world = local_world(EngineConfig::new());
    world.serve("http://lan.example/x", Resource::redirect(302, "http://a.example/127.0.0.1"));
    assert!(is_refused(&mut world, "http://lan.example/x"));
}

#[test]
fn redirects_into_the_own_network_can_be_allowed() {
    let mut world = local_world(EngineConfig::new().http(HttpConfig::new().allow_local_redirects(true)));
    assert!(!is_refused(&mut world, "http://a.example/10.0.0.1"));
}
