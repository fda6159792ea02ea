//! What a torrent names must not lead into the own network, whatever its names resolve to.

use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::DownloadState;
use gosh_dl_sim::{Content, OneFile, Resource, World};
use std::net::IpAddr;

const LEN: u64 = 300_000;
const GOOD: &str = "http://good.example/file";

/// A world where `lan.example` is a service of the own network, and `mixed.example` is elsewhere as well.
fn world() -> World {
    let mut world = World::new(1);
    let address = |octets: [u8; 4]| IpAddr::from(octets);
    world.addresses("lan.example", &[address([10, 0, 0, 1])]);
    world.addresses("mixed.example", &[address([10, 0, 0, 2]), address([203, 0, 113, 9])]);
    world.serve(GOOD, Resource::new(Content::generated(5, LEN)));
    world
}

fn run(world: &mut World, trackers: &[&str], seeds: &[&str]) -> DownloadId {
    let file = OneFile::with(Content::generated(5, LEN), 64 << 10, |torrent| {
        torrent.trackers = trackers.iter().map(|url| vec![(*url).to_owned()]).collect();
        torrent.web_seeds = seeds.iter().map(|url| (*url).to_owned()).collect();
    });
    let id = world.add_torrent(file.raw(), seeds, DownloadOptions::new().seed_time(Duration::ZERO));
    world.run_for(Duration::from_secs(20));
    id
}

#[test]
fn tracker_whose_name_leads_into_the_own_network_must_be_called_as_one() {
    let mut world = world();
    let trackers = ["http://lan.example/admin", "http://lan.example/announce", "http://mixed.example/admin"];
    let id = run(&mut world, &trackers, &[]);
    let said: Vec<_> = world.trackers(id).into_iter().filter_map(|tracker| tracker.last_error).collect();
    let refused = "a tracker in the own network must be called /announce";
    assert_eq!(said, [refused, "the tracker answered 404", "the tracker answered 404"]);
    let asked = &world.log("lan.example").requests;
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.request.target.starts_with("/announce?")));
}

#[test]
fn web_seed_whose_name_leads_into_the_own_network_is_asked_for_files_only() {
    let mut world = world();
    world.serve("http://lan.example/file?x=y", Resource::new(Content::generated(5, LEN)));
    let id = run(&mut world, &[], &["http://lan.example/file?x=y", GOOD]);
    assert_eq!(world.state(id), DownloadState::Completed, "{}", world.report());
    assert!(world.log("lan.example").connections.is_empty());
}

#[test]
fn redirect_of_a_web_seed_leads_nowhere_into_the_own_network() {
    let mut world = world();
    world.serve("http://a.example/file", Resource::redirect(302, "http://lan.example/file"));
    world.serve("http://lan.example/file", Resource::new(Content::generated(5, LEN)));
    let id = run(&mut world, &[], &["http://a.example/file", GOOD]);
    assert_eq!(world.state(id), DownloadState::Completed, "{}", world.report());
    assert!(!world.log("a.example").requests.is_empty());
    assert!(world.log("lan.example").connections.is_empty());
}

#[test]
fn web_seed_of_the_own_network_is_a_web_seed() {
    let mut world = world();
    world.serve("http://lan.example/file", Resource::new(Content::generated(5, LEN)));
    let id = run(&mut world, &[], &["http://lan.example/file"]);
    assert_eq!(world.state(id), DownloadState::Completed, "{}", world.report());
}
