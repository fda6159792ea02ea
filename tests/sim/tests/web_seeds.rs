//! Torrents whose files web servers have (BEP 19).

use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::DownloadState;
use gosh_dl_sim::{Behaviour, Content, Cut, End, OneFile, Ranges, Refusal, Resource, World};

const A: &str = "http://a.example/pub/file";
const B: &str = "http://b.example/file";
const LEN: u64 = 12_000_000;

fn content() -> Content {
    Content::generated(5, LEN)
}

fn bytes() -> Vec<u8> {
    content().slice(0..LEN).to_vec()
}

fn torrent(seeds: &[&str]) -> Bytes {
    let seeds = seeds.iter().map(|url| (*url).to_owned()).collect();
    OneFile::with(content(), 64 << 10, |torrent| torrent.web_seeds = seeds).raw()
}

fn options() -> DownloadOptions {
    DownloadOptions::new().seed_time(Duration::ZERO)
}

fn fetch(world: &mut World, seeds: &[&str]) -> DownloadId {
    let id = world.add_torrent(torrent(seeds), seeds, options());
    assert_eq!(world.wait_done(id), DownloadState::Completed, "{}", world.report());
    assert!(world.file("file").is_some_and(|file| file == bytes()));
    id
}

#[test]
fn web_server_alone_is_enough() {
    let mut world = World::new(1);
    world.serve(A, Resource::new(content()));
    let id = fetch(&mut world, &[A]);
    assert_eq!(world.log("a.example").content_repeated("/pub/file"), 0, "no byte is fetched twice");
    let progress = world.status(id).expect("it is there").progress;
    assert_eq!(progress.completed_size, LEN);
}

#[test]
fn several_share_the_work_and_slow_ones_do_not_hold_up_the_end() {
    let mut world = World::new(2);
    world.serve(A, Resource::new(content())).profile.down_rate = Some(20_000);
    world.serve(B, Resource::new(content())).profile.down_rate = Some(1_000_000);
    let began = world.now();
    fetch(&mut world, &[A, B]);
    let sent = world.log("a.example").content_sent("/pub/file");
    assert!(sent > 0, "both are asked");
    let took = world.now() - began;
    assert!(took < Duration::from_secs(60), "{took:?}: more than the slow one needs for its run");
}

#[test]
fn one_that_fails_is_replaced_by_the_other() {
    let broken = [
        Resource::refusal(Refusal::new(404)),
        Resource::refusal(Refusal::new(503)),
        Resource::new(content()).behave(Behaviour { ranges: Ranges::None, ..Behaviour::default() }),
        Resource::new(content())
            .behave(Behaviour { cut: Some(Cut::always(100_000, End::Stall)), ..Behaviour::default() }),
        Resource::new(Content::generated(5, LEN - 1)),
    ];
    for (number, resource) in (10..).zip(broken) {
        let mut world = World::new(number);
        world.serve(A, resource);
        world.serve(B, Resource::new(content())).profile.down_rate = Some(1_000_000);
        fetch(&mut world, &[A, B]);
    }
}

#[test]
fn one_that_lies_is_found_out_by_hash_and_asked_no_more() {
    let mut world = World::new(3);
    world.serve(A, Resource::new(Content::generated(6, LEN)));
    world.serve(B, Resource::new(content())).profile.down_rate = Some(1_000_000);
    fetch(&mut world, &[A, B]);
    let sent = world.log("a.example").content_sent("/pub/file");
    assert!(sent > 0 && sent < LEN / 2, "{sent} wrong bytes were fetched");
}

#[test]
fn pause_gives_its_connection_back_and_loses_nothing() {
    let mut world = World::new(4);
    world.serve(A, Resource::new(content())).profile.down_rate = Some(1_000_000);
    let id = world.add_torrent(torrent(&[A]), &[A], options());
    world.run_for(Duration::from_secs(6));
    world.pause(id);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.state(id), DownloadState::Paused);
    let paused = world.status(id).expect("it is there").progress.completed_size;
    assert!(paused > 2_000_000, "{paused}");
    world.run_for(Duration::from_secs(60));
    world.resume(id);
    let resumed = world.status(id).expect("it is there").progress;
    let known = (resumed.completed_size, resumed.total_size);
    assert_eq!(known, (paused, Some(LEN)), "also while it is still looked for on the disk");
    assert_eq!(world.wait_done(id), DownloadState::Completed, "{}", world.report());
    assert!(world.file("file").is_some_and(|file| file == bytes()));
    let again = world.log("a.example").content_repeated("/pub/file");
    assert!(again < 1_500_000, "{again}: no more than what was under way");
}
