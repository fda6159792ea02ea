//! Servers, mirrors and disks that once made the engine hang, hammer, leak or mix; each test says what holds.

use core::time::Duration;
use gosh_dl_core::base::disk::HashAlgorithm;
use gosh_dl_core::base::store::StoreError;
use gosh_dl_core::base::{Instant, LinkError};
use gosh_dl_core::download::{DownloadOptions, ExpectedChecksum};
use gosh_dl_core::engine::{DownloadState, EngineConfig};
use gosh_dl_sim::{Behaviour, Content, End, Part, Ranges, Refusal, Request, Resource, World};

const MIB: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

fn content() -> Content {
    Content::generated(1, 16 * MIB)
}

/// An honest 206 (or 200) with this rate.
fn honest(content: &Content, request: &Request, rate: u64) -> Vec<Part> {
    let len = content.len();
    let range = request.range().map_or(0..len, |r| r.start..r.end.unwrap_or(len).min(len));
    let head = format!(
        "HTTP/1.1 206 Partial\r\nETag: \"same\"\r\nContent-Range: bytes {}-{}/{len}\r\nContent-Length: {}\r\n\r\n",
        range.start,
        range.end - 1,
        range.end - range.start
    );
    vec![Part::text(head), Part::Rate(rate), Part::Content { content: content.clone(), range }]
}

fn status(line: &str, more: &str) -> Vec<Part> {
    vec![Part::text(format!("HTTP/1.1 {line}\r\n{more}Content-Length: 0\r\n\r\n"))]
}

#[test]
fn secrets_do_not_go_to_a_redirect_target_that_redirects_back() {
    let config = EngineConfig::new().max_connections_per_host(2);
    let mut world = World::with_config(1, config);
    world.serve("http://a.example/f", Resource::redirect(302, "http://b.example/g"));
    world.serve("http://a.example/h", Resource::new(content()).validators(Some("\"same\""), None));
    let c = content();
    world.serve(
        "http://b.example/g",
        Resource::scripted(move |request, before| match before {
            0 | 1 => honest(&c, request, 1_000_000),
            _ => status("302 Found", "Location: http://a.example/h\r\n"),
        }),
    );
    let options = DownloadOptions::new()
        .header("Authorization", "Bearer canary")
        .header("X-Api-Key", "canary")
        .cookies(vec!["session=canary".to_owned()]);
    let id = world.add("http://a.example/f", options);
    world.expect_anything(id);
    world.run_for(SECOND * 60);
    let leaked: Vec<_> = world
        .log("b.example")
        .requests
        .iter()
        .filter(|asked| asked.request.headers.iter().any(|(_, value)| value.contains("canary")))
        .map(|asked| asked.request.clone())
        .collect();
    assert!(leaked.is_empty(), "{leaked:#?}");
}

#[test]
fn host_that_answers_503_after_it_delivered_is_not_hammered() {
    let mut world = World::new(1);
    let c = content();
    world.serve(
        "http://a.example/f",
        Resource::scripted(move |request, before| match before {
            0 => {
                let mut parts = honest(&c, request, 1_000_000);
                parts.insert(1, Part::CutAfter(300_000, End::Reset));
                parts
            }
            _ => status("503 Busy", ""),
        }),
    );
    let id = world.add("http://a.example/f", DownloadOptions::new());
    world.expect_anything(id);
    world.run_for(SECOND * 60);
    let count = world.log("a.example").requests.len();
    assert!(count < 20, "{count} requests in a minute, {:?}", world.state(id));
}

#[test]
fn solo_mirror_without_ranges_does_not_loop() {
    let sum: ExpectedChecksum = content().checksum(HashAlgorithm::Sha256).parse().unwrap();
    let mut world = World::new(4);
    let lying = Resource::new(Content::generated(2, 16 * MIB))
        .behave(Behaviour { ranges: Ranges::None, ..Behaviour::default() });
    world.serve("http://a.example/f", lying).profile.down_rate = Some(1_000_000);
    world.serve("http://b.example/f", Resource::new(content())).profile.down_rate = Some(1_000_000);
    let options = DownloadOptions::new().mirror("http://b.example/f").checksum(sum);
    let id = world.add("http://a.example/f", options);
    world.expect(id, content());
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn two_connections_that_find_an_expired_target_together_do_not_kill_the_download() {
    let mut world = World::with_config(1, EngineConfig::new().max_connections_per_download(2));
    // The front takes three seconds for its second answer, the expired target two for its refusals.
    world.serve(
        "http://a.example/f",
        Resource::scripted(|_, before| match before {
            0 => status("302 Found", "Location: /signed1\r\n"),
            _ => {
                let mut parts = status("302 Found", "Location: /signed2\r\n");
                parts.insert(0, Part::Wait(Duration::from_secs(3)));
                parts
            }
        }),
    );
    let c = content();
    world.serve(
        "http://a.example/signed1",
        Resource::scripted(move |request, before| match before {
            0 | 1 => honest(&c, request, 1_000_000),
            _ => {
                let mut parts = status("403 Expired", "");
                parts.insert(0, Part::Wait(Duration::from_secs(2)));
                parts
            }
        }),
    );
    world.serve("http://a.example/signed2", Resource::new(content()).validators(Some("\"same\""), None));
    let id = world.add("http://a.example/f", DownloadOptions::new());
    world.expect(id, content());
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn cancel_with_a_failing_store_neither_spins_nor_comes_back() {
    let mut world = World::new(1);
    world.serve("http://a.example/f", Resource::new(content()));
    let id = world.add("http://a.example/f", DownloadOptions::new().start_paused(true));
    world.run_for(SECOND);
    world.store.fail(0, 1, StoreError::Full);
    let token = world.cancel(id, false);
    let _ = world.wait_reply(token);
    world.run_for(SECOND * 20);
    world.crash(gosh_dl_sim::CrashMode::Kill);
    world.restart();
    assert!(world.list().is_empty(), "{:?}", world.list());
}

#[test]
fn repair_does_not_empty_a_strangers_part_file() {
    let mut world = World::new(1);
    world.serve("http://a.example/file.bin", Resource::new(content()));
    let id = world.add("http://a.example/file.bin", DownloadOptions::new());
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    world.disk.delete(World::DIR, "file.bin");
    world.disk.put(World::DIR, "file.bin.part", b"of another program");
    let _ = world.repair(id).unwrap();
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    world.run_for(SECOND * 30);
    assert_eq!(
        world.file("file.bin.part").as_deref(),
        Some(&b"of another program"[..]),
        "{:?}",
        world.disk.names(World::DIR)
    );
}

fn silent_hosts(budget: u64, hosts: usize) {
    let config = EngineConfig::new().buffer_budget(budget).max_concurrent_downloads(hosts + 5);
    let mut world = World::with_config(1, config);
    for number in 0..hosts {
        let url = format!("http://silent{number}.example/{number}");
        let silent = Behaviour { delay: Duration::from_secs(36000), ..Behaviour::default() };
        world.serve(&url, Resource::new(content()).behave(silent));
        world.add(&url, DownloadOptions::new());
    }
    world.run_for(SECOND * 2);
    world.serve("http://good.example/f", Resource::new(content()));
    let id = world.add("http://good.example/f", DownloadOptions::new());
    let done = world.run_until(|world| world.state(id) == DownloadState::Completed, SECOND * 30);
    assert!(done, "{:?}", world.status(id));
}

#[test]
fn silent_hosts_do_not_take_all_memory_from_others_small_budget() {
    silent_hosts(1 << 20, 20);
}

#[test]
fn silent_hosts_do_not_take_all_memory_from_others_default_budget() {
    silent_hosts(8 << 20, 140);
}

#[test]
fn one_reset_of_all_connections_does_not_leave_one_for_ever() {
    let mut world = World::new(1);
    let c = Content::generated(1, 256 * MIB);
    world.serve(
        "http://a.example/f",
        Resource::new(c).behave(Behaviour { rate: Some(500_000), ..Behaviour::default() }),
    );
    let id = world.add("http://a.example/f", DownloadOptions::new());
    world.run_for(SECOND * 8);
    let before = world.network.links_to("a.example");
    world.end_connections("a.example", LinkError::Reset);
    world.run_for(SECOND * 20);
    let after = world.network.links_to("a.example");
    assert!(
        after * 2 >= before,
        "{before} connections before, {after} twenty seconds later: {:?}",
        world.state(id)
    );
}

#[test]
fn paced_mirror_does_not_keep_a_good_one_from_being_tried() {
    let mut world = World::new(1);
    world.serve("http://a.example/f", Resource::refusal(Refusal::new(503).retry_after(3000)));
    let first = vec![Refusal::new(503)];
    world.serve(
        "http://b.example/f",
        Resource::new(content()).behave(Behaviour { first, ..Behaviour::default() }),
    );
    let id = world.add("http://a.example/f", DownloadOptions::new().mirror("http://b.example/f"));
    world.expect(id, content());
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert!(world.now() < Instant::ZERO + SECOND * 120, "{:?}", world.now());
}

#[test]
fn dripping_body_of_a_redirect_does_not_hold_up_what_it_leads_to() {
    let mut world = World::new(1);
    world.serve(
        "http://a.example/f",
        Resource::scripted(|_, _| {
            let mut parts =
                vec![Part::text("HTTP/1.1 302 Found\r\nLocation: /real\r\nContent-Length: 1000\r\n\r\n")];
            for _ in 0..1000 {
                parts.push(Part::Wait(Duration::from_secs(50)));
                parts.push(Part::text("x"));
            }
            parts
        }),
    );
    world.serve("http://a.example/real", Resource::new(content()));
    let id = world.add("http://a.example/f", DownloadOptions::new());
    world.expect(id, content());
    let done = world.run_until(|world| world.state(id) == DownloadState::Completed, SECOND * 600);
    assert!(done, "{:?}", world.state(id));
}

#[test]
fn requests_that_fail_beside_one_that_delivers_back_off() {
    let mut world = World::new(1);
    let c = content();
    world.serve(
        "http://a.example/f",
        Resource::scripted(move |request, before| match before {
            0 => honest(&c, request, 100_000),
            _ => status("500 Oops", ""),
        }),
    );
    let id = world.add("http://a.example/f", DownloadOptions::new());
    world.expect_anything(id);
    world.run_for(SECOND * 60);
    let count = world.log("a.example").requests.len();
    assert!(count < 60, "{count} requests in a minute, {:?}", world.state(id));
}

#[test]
fn redirects_between_deliveries_are_not_in_a_row() {
    let mut world = World::with_config(1, EngineConfig::new().max_connections_per_download(1));
    world.serve("http://a.example/f", Resource::redirect(302, "/0"));
    for hop in 0..16 {
        let c = content();
        world.serve(
            &format!("http://a.example/{hop}"),
            Resource::scripted(move |request, before| match before {
                0 => {
                    let mut parts = honest(&c, request, 10_000_000);
                    parts.insert(1, Part::CutAfter(MIB + 1000, End::Close));
                    parts
                }
                _ => status("302 Found", &format!("Location: /{}\r\n", hop + 1)),
            }),
        );
    }
    let c = content();
    world.serve("http://a.example/16", Resource::scripted(move |request, _| honest(&c, request, 10_000_000)));
    let id = world.add("http://a.example/f", DownloadOptions::new());
    world.expect(id, content());
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn server_that_refuses_more_connections_by_503_is_not_hammered() {
    let mut world = World::new(1);
    let c = content();
    world.serve(
        "http://a.example/f",
        Resource::scripted(move |request, before| match before {
            0 => honest(&c, request, 100_000),
            _ => status("503 One at a time", ""),
        }),
    );
    let id = world.add("http://a.example/f", DownloadOptions::new());
    world.expect_anything(id);
    world.run_for(SECOND * 60);
    let count = world.log("a.example").requests.len();
    assert!(count < 60, "{count} requests in a minute, {:?}", world.state(id));
}

#[test]
fn cancel_during_a_check_closes_the_file() {
    let mut world = World::new(1);
    world.serve("http://a.example/f", Resource::new(content()));
    let sum: ExpectedChecksum = content().checksum(HashAlgorithm::Sha256).parse().unwrap();
    let id = world.add("http://a.example/f", DownloadOptions::new().checksum(sum));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    world.disk.slow(gosh_dl_sim::OpClass::Hash, gosh_dl_sim::Latency::millis(1000, 1001));
    world.verify_begin(id);
    world.run_for(Duration::from_millis(500));
    let token = world.cancel(id, false);
    world.wait_reply(token).unwrap();
    world.run_for(SECOND * 30);
    assert_eq!(world.disk.open_files(), 0);
}

#[test]
fn parts_without_the_validator_of_the_first_are_not_mixed_in() {
    let mut world = World::new(1);
    let (one, two) = (Content::generated(1, 4 * MIB), Content::generated(2, 4 * MIB));
    let (a, b) = (one.clone(), two.clone());
    world.serve(
        "http://a.example/f",
        Resource::scripted(move |request, before| {
            if before == 0 {
                let mut parts = honest(&a, request, 10_000_000);
                parts.insert(1, Part::CutAfter(MIB, End::Close));
                return parts;
            }
            // The file has changed; the server neither looks at If-Range nor sends validators.
            let mut parts = honest(&b, request, 10_000_000);
            if let Part::Bytes(head) = &parts[0] {
                let head = String::from_utf8(head.to_vec()).unwrap().replace("ETag: \"same\"\r\n", "");
                parts[0] = Part::text(head);
            }
            parts
        }),
    );
    let id = world.add("http://a.example/f", DownloadOptions::new());
    world.expect_anything(id);
    if world.wait_done(id) == DownloadState::Completed {
        let file = world.file("f").unwrap();
        let pure = [one, two].iter().any(|content| content.first_mismatch(0, &file).is_none());
        assert!(pure, "the file is a mixture of two versions");
    }
}

#[test]
fn failure_before_the_first_byte_leaves_nothing_behind() {
    let mut world = World::new(1);
    world.serve(
        "http://a.example/f",
        Resource::scripted(|_, _| {
            vec![
                Part::text("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
                Part::Wait(Duration::from_millis(200)),
                Part::End(End::Close),
            ]
        }),
    );
    let id = world.add("http://a.example/f", DownloadOptions::new());
    assert!(matches!(world.wait_done(id), DownloadState::Error { .. }));
    world.run_for(SECOND * 5);
    assert!(world.disk.names(World::DIR).is_empty(), "{:?}", world.disk.names(World::DIR));
}

/// As t01, with the other origin on the same host, so that the simulated network lets the request through and the log
/// shows what it carries.
#[test]
fn secrets_of_one_origin_do_not_go_over_a_connection_to_another() {
    let config = EngineConfig::new().max_connections_per_host(2);
    let mut world = World::with_config(1, config);
    world.serve("http://a.example/f", Resource::redirect(302, "https://a.example/g"));
    world.serve("http://a.example/h", Resource::new(content()).validators(Some("\"same\""), None));
    let c = content();
    world.serve(
        "https://a.example/g",
        Resource::scripted(move |request, before| match before {
            0 | 1 => honest(&c, request, 1_000_000),
            _ => status("302 Found", "Location: http://a.example/h\r\n"),
        }),
    );
    let options = DownloadOptions::new().header("X-Api-Key", "canary");
    let id = world.add("http://a.example/f", options);
    world.expect_anything(id);
    world.run_for(SECOND * 60);
    let leaked: Vec<_> = world
        .log("a.example")
        .requests
        .iter()
        .filter(|asked| asked.secure && asked.request.header("x-api-key").is_some())
        .map(|asked| asked.request.clone())
        .collect();
    assert!(leaked.is_empty(), "sent to https://a.example: {leaked:#?}");
}

#[test]
fn host_that_is_paced_for_another_download_does_not_keep_a_mirror_from_being_tried() {
    let mut world = World::new(1);
    world.serve("http://a.example/x", Resource::refusal(Refusal::new(503).retry_after(3000)));
    world.serve("http://a.example/f", Resource::new(content()));
    world.serve("http://b.example/f", Resource::new(content()));
    world.add("http://a.example/x", DownloadOptions::new());
    world.run_for(SECOND);
    let id = world.add("http://a.example/f", DownloadOptions::new().mirror("http://b.example/f"));
    world.expect(id, content());
    let done = world.run_until(|world| world.state(id) == DownloadState::Completed, SECOND * 120);
    assert!(done, "{:?}", world.state(id));
}

#[test]
fn server_that_only_says_503_with_retry_after_once_it_has_delivered_is_given_up() {
    let mut world = World::new(1);
    let c = content();
    world.serve(
        "http://a.example/f",
        Resource::scripted(move |request, before| match before {
            0 => {
                let mut parts = honest(&c, request, 1_000_000);
                parts.insert(1, Part::CutAfter(300_000, End::Reset));
                parts
            }
            _ => status("503 Busy", "Retry-After: 1\r\n"),
        }),
    );
    let id = world.add("http://a.example/f", DownloadOptions::new());
    world.expect_anything(id);
    world.run_for(SECOND * 1000);
    let count = world.log("a.example").requests.len();
    assert!(count < 20, "{count} requests, {:?}", world.state(id));
}

#[test]
fn absurd_retry_after_on_a_second_connection_does_not_end_what_the_first_delivers() {
    let mut world = World::new(1);
    let c = Content::generated(1, 64 * MIB);
    let d = c.clone();
    let file = Resource::scripted(move |request, before| match before {
        // One connection at a time: the second is told to come back tomorrow.
        1 => status("429 One at a time", "Retry-After: 86400\r\n"),
        _ => honest(&d, request, 4_000_000),
    });
    world.serve("http://a.example/f", file);
    let id = world.add("http://a.example/f", DownloadOptions::new());
    world.expect(id, c);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}
