//! Swarms of several programs over a tracker.

use gosh_dl_interop::album::{Album, number};
use gosh_dl_interop::peers::{Aria2, Libtorrent, Transmission, free_address, wait_until};
use std::fs;
use std::net::SocketAddr;

/// Each takes part from an address of its own: Transmission keeps one connection to each.
fn place(host: u8) -> SocketAddr {
    free_address(&format!("127.0.0.{host}"))
}

#[test]
fn a_swarm_of_all_programs_gets_everything_from_one_slow_seed() {
    let Some((tracker, album)) = Album::tracked() else { return };
    let Some(libtorrent) = Libtorrent::new(&album.lab.path(".")) else { return };
    let Some(aria2) = Aria2::new() else { return };
    let Some(transmission) = Transmission::start(&album.dir("daemon"), place(13)) else { return };
    transmission.add(album.path(), &album.dir("transmission"));
    wait_until("Transmission is known", || tracker.scrape(&album.info_hash).incomplete == 1);
    let sent = album.lab.path("sent");
    let www = album.lab.path("www");
    let _seed = libtorrent.seed_slowly(album.path(), &www, place(11), SLOW, &sent);
    let ours = [("ours-1", "127.0.0.14"), ("ours-2", "127.0.0.15")].map(|(name, host)| {
        let leech = album.leech(name, album.path()).args(["--bind", host, "--listen", &format!("{host}:0")]);
        (name, leech.args(["--seed-time", "2"]).spawn())
    });
    let theirs = [
        ("libtorrent", libtorrent.join(album.path(), &album.dir("libtorrent"), place(12))),
        ("aria2", aria2.get(album.path(), &album.dir("aria2"), place(16))),
    ];
    for (name, running) in ours {
        let done = running.wait();
        assert_eq!(done.code, Some(0), "{name}: {}", done.stderr);
        album.assert_whole(name);
    }
    for (name, running) in theirs {
        running.succeed();
        album.assert_whole(name);
    }
    transmission.wait_whole();
    // It makes no empty files.
    fs::write(album.lab.path("transmission/album/empty"), "").expect("room for it");
    album.assert_whole("transmission");
    let sent: u64 = fs::read_to_string(sent).ok().and_then(|text| text.parse().ok()).expect("it says so");
    assert!(sent >= album.total(), "there is no other seed");
    assert!(
        sent < 4 * album.total(),
        "five have fetched {sent} bytes from the seed instead of from each other"
    );
}

#[test]
fn who_is_killed_in_a_swarm_goes_on_where_it_was() {
    let Some((tracker, album)) = Album::tracked() else { return };
    let Some(libtorrent) = Libtorrent::new(&album.lab.path(".")) else { return };
    let _seed = album.seed_with(free_address("127.0.0.1"), &["--upload-limit", "1M"]);
    wait_until("our seed is known", || tracker.scrape(&album.info_hash).complete == 1);
    let theirs = libtorrent.join(album.path(), &album.dir("libtorrent"), place(21));
    let leech = || album.leech("ours", album.path()).args(["--json", "--listen", "127.0.0.1:0"]);
    let running = leech().args(["--limit-rate", "400K"]).spawn();
    let said = || fs::read_to_string(album.lab.path("ours/stdout")).unwrap_or_default();
    let completed = || said().lines().filter_map(|line| number(line, "completed")).fold(0.0, f64::max);
    wait_until("a third is there", || completed() > 1_300_000.0);
    let before = completed();
    running.kill();
    let done = leech().succeed();
    album.assert_whole("ours");
    let first = done
        .stdout
        .lines()
        .filter(|line| line.contains("\"progress\""))
        .find_map(|line| number(line, "completed"));
    // What was about to be written is lost, and no more: a second's worth at that rate, where half a second is one.
    assert!(first.is_none_or(|first| first > before - 400_000.0), "{before} were there, then {first:?}");
    theirs.succeed();
    album.assert_whole("libtorrent");
}

/// Slow enough that the seed alone would take a minute for five.
const SLOW: u64 = 400_000;
