//! Limits: bytes per second, downloads at once, connections per host, places in the queue.

use core::time::Duration;
use gosh_dl_core::base::Instant;
use gosh_dl_core::download::{DownloadId, DownloadOptions, DownloadPriority};
use gosh_dl_core::engine::{DownloadEvent, DownloadState, EngineConfig};
use gosh_dl_sim::{Content, Latency, Resource, World};

const MIB: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// `count` files of `len` bytes each at one host.
fn serve(world: &mut World, count: u64, len: u64) -> Vec<String> {
    (0..count)
        .map(|number| {
            let url = format!("http://a.example/{number}.bin");
            world.serve(&url, Resource::new(Content::generated(number, len)));
            url
        })
        .collect()
}

fn add_all(world: &mut World, urls: &[String]) -> Vec<DownloadId> {
    urls.iter().map(|url| world.add(url, DownloadOptions::new())).collect()
}

fn started(world: &World) -> Vec<DownloadId> {
    let started = |event: &(Instant, DownloadEvent)| match event.1 {
        DownloadEvent::Started { id } => Some(id),
        _ => None,
    };
    world.events.iter().filter_map(started).collect()
}

/// The rate holds over any second, and it is used.
fn keeps_to(world: &World, limit: u64, since: Instant, used_for: Duration) {
    let most = world.most_received_in(SECOND, since);
    assert!(most <= limit * 105 / 100, "{most} bytes in a second of at most {limit}");
    let average = (world.received_since(since) as f64 / used_for.as_secs_f64()) as u64;
    assert!(average >= limit * 90 / 100, "only {average} bytes per second of {limit}");
}

#[test]
fn global_limit_holds_over_any_second_and_is_used() {
    for limit in [100_000u64, 1_000_000, 20_000_000] {
        let mut world = World::with_config(9, EngineConfig::new().global_download_limit(Some(limit)));
        let urls = serve(&mut world, 3, limit * 20);
        add_all(&mut world, &urls);
        world.run_for(SECOND * 10);
        keeps_to(&world, limit, Instant::ZERO, SECOND * 10);
    }
}

#[test]
fn limit_of_one_download_holds_and_does_not_slow_the_others() {
    let mut world = World::new(9);
    world.serve("http://a.example/slow", Resource::new(Content::generated(1, 50 * MIB)));
    let slow = DownloadOptions::new().max_download_speed(500_000u64);
    world.add("http://a.example/slow", slow);
    world.run_for(SECOND * 5);
    keeps_to(&world, 500_000, Instant::ZERO, SECOND * 5);
    world.serve("http://b.example/fast", Resource::new(Content::generated(2, 20 * MIB)));
    world.host("b.example").rate = Some(10_000_000);
    let began = world.now();
    assert_eq!(world.fetch("http://b.example/fast"), DownloadState::Completed);
    assert!(world.now() - began < SECOND * 4, "{:?}", world.now() - began);
}

/// A connection that had served a download without a limit could still be read for up to a mebibyte, and the next one, with a
/// limit, was that much too fast.
#[test]
fn connection_of_a_download_without_a_limit_does_not_speed_up_one_that_has_one() {
    let mut world = World::new(9);
    let urls = serve(&mut world, 2, MIB);
    assert_eq!(world.fetch(&urls[0]), DownloadState::Completed);
    let id = world.add(&urls[1], DownloadOptions::new().max_download_speed(100_000u64));
    let since = world.now();
    world.run_for(SECOND * 3);
    let received = world.received_since(since);
    assert!(received < 350_000, "{received} bytes in three seconds of 100 kB/s");
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn changed_limit_applies_at_once() {
    let mut world = World::with_config(9, EngineConfig::new().global_download_limit(Some(2_000_000)));
    let urls = serve(&mut world, 1, 100 * MIB);
    add_all(&mut world, &urls);
    world.run_for(SECOND * 3);
    let config = world.config.clone().global_download_limit(Some(200_000));
    assert!(world.set_config(config).is_ok());
    let since = world.now();
    world.run_for(SECOND * 5);
    let received = world.received_since(since);
    assert!(received < 1_200_000, "{received} bytes in five seconds of 200 kB/s");
}

#[test]
fn downloads_share_a_limit_evenly() {
    let mut world = World::with_config(9, EngineConfig::new().global_download_limit(Some(1_000_000)));
    let urls = serve(&mut world, 2, 50 * MIB);
    let ids = add_all(&mut world, &urls);
    world.run_for(SECOND * 20);
    let sizes: Vec<u64> =
        ids.iter().map(|id| world.status(*id).map_or(0, |status| status.progress.completed_size)).collect();
    assert!(sizes[0].abs_diff(sizes[1]) < sizes[0].max(sizes[1]) / 4, "{sizes:?}");
}

#[test]
fn no_more_fetch_at_once_than_allowed() {
    let mut world = World::with_config(9, EngineConfig::new().max_concurrent_downloads(3usize));
    let urls = serve(&mut world, 10, MIB);
    world.host("a.example").rate = Some(1_000_000);
    let ids = add_all(&mut world, &urls);
    let mut most = 0;
    world.run_until(
        |world| {
            let fetches = |state: &DownloadState| state.is_active() && *state != DownloadState::Finishing;
            let fetching =
                ids.iter().filter(|id| world.status(**id).is_some_and(|status| fetches(&status.state)));
            most = most.max(fetching.count());
            false
        },
        SECOND * 20,
    );
    assert_eq!(most, 3);
    for id in ids {
        assert_eq!(world.wait_done(id), DownloadState::Completed);
    }
}

#[test]
fn queue_goes_by_priority_and_then_by_age() {
    let mut world = World::with_config(9, EngineConfig::new().max_concurrent_downloads(1usize));
    let urls = serve(&mut world, 6, 200_000);
    let priorities = [
        DownloadPriority::Normal,
        DownloadPriority::Low,
        DownloadPriority::Normal,
        DownloadPriority::Critical,
        DownloadPriority::High,
        DownloadPriority::Normal,
    ];
    let ids: Vec<DownloadId> = urls
        .iter()
        .zip(priorities)
        .map(|(url, priority)| world.add(url, DownloadOptions::new().priority(priority)))
        .collect();
    assert!(world.set_priority(ids[5], DownloadPriority::High).is_ok());
    world.run_for(SECOND * 30);
    let expected = [ids[0], ids[3], ids[4], ids[5], ids[2], ids[1]];
    assert_eq!(started(&world), expected);
}

#[test]
fn connections_stay_within_the_cap_of_a_host() {
    let config = EngineConfig::new().max_connections_per_host(3usize).max_concurrent_downloads(4usize);
    let mut world = World::with_config(9, config);
    let urls = serve(&mut world, 4, 16 * MIB);
    world.host("a.example").profile.down_rate = Some(2_000_000);
    for id in add_all(&mut world, &urls) {
        assert_eq!(world.wait_done(id), DownloadState::Completed);
    }
    assert!(world.log("a.example").peak <= 3);
}

#[test]
fn connections_of_a_download_stay_within_its_own_cap() {
    let mut world = World::new(9);
    world.serve("http://a.example/f", Resource::new(Content::generated(1, 32 * MIB))).profile.down_rate =
        Some(1_000_000);
    let id = world.add("http://a.example/f", DownloadOptions::new().max_connections(2usize));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert_eq!(world.log("a.example").peak, 2);
}

#[test]
fn small_file_takes_one_connection() {
    let mut world = World::new(9);
    world.serve("http://a.example/f", Resource::new(Content::generated(1, 100_000)));
    assert_eq!(world.fetch("http://a.example/f"), DownloadState::Completed);
    let log = world.log("a.example");
    assert_eq!((log.connections.len(), log.requests.len()), (1, 1));
}

#[test]
fn connections_are_used_again_for_the_next_download() {
    let mut world = World::new(9);
    let urls = serve(&mut world, 10, 100_000);
    for url in &urls {
        assert_eq!(world.fetch(url), DownloadState::Completed);
    }
    assert!(world.log("a.example").connections.len() <= 2);
}

#[test]
fn ten_thousand_queued_downloads_all_complete() {
    let mut world = World::with_config(9, EngineConfig::new().max_concurrent_downloads(20usize));
    world.disk.latency = Latency::micros(1, 20);
    let urls = serve(&mut world, 10_000, 2000);
    let ids = add_all(&mut world, &urls);
    world.run_for(SECOND * 3600);
    for id in ids {
        assert_eq!(world.state(id), DownloadState::Completed);
    }
}

#[test]
fn slow_disk_holds_back_the_network_instead_of_filling_memory() {
    let mut world = World::with_config(9, EngineConfig::new().buffer_budget(2 * MIB));
    world.disk.slow(gosh_dl_sim::OpClass::Write, Latency::fixed(SECOND * 2));
    let urls = serve(&mut world, 2, 64 * MIB);
    add_all(&mut world, &urls);
    for _ in 0..20 {
        world.run_for(Duration::from_millis(500));
        let held = world.received_since(Instant::ZERO).saturating_sub(world.disk.bytes_written);
        assert!(held <= 3 * MIB, "{held} bytes are in memory");
    }
    assert!(world.disk.bytes_written > 0);
}
