//! Torrents: from other programs and to them, with and without trackers.

use gosh_dl_interop::album::Album;
use gosh_dl_interop::binary::Gosh;
use gosh_dl_interop::lab::assert_same;
use gosh_dl_interop::peers::{Libtorrent, Opentracker, free_address};
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

fn local() -> SocketAddr {
    free_address("127.0.0.1")
}

#[test]
fn libtorrent_seeds_and_we_get_by_file_and_by_magnet_link() {
    let Some(album) = Album::new(&[]) else { return };
    let Some(libtorrent) = Libtorrent::new(&album.lab.path(".")) else { return };
    let address = local();
    let _seeder = libtorrent.seed(album.path(), &album.lab.path("www"), address);
    album.get(album.path(), Some(address)).succeed();
    album.assert_whole("out");
    fs::remove_dir_all(album.lab.path("out/album")).expect("it is there");
    album.get(&album.magnet(), Some(address)).succeed();
    album.assert_whole("out");
}

#[test]
fn we_seed_and_libtorrent_gets_by_file_and_by_magnet_link() {
    let Some(album) = Album::new(&[]) else { return };
    let Some(libtorrent) = Libtorrent::new(&album.lab.path(".")) else { return };
    let address = local();
    let seeder = album.seed(address);
    for (dir, what) in [("by-file", album.path().to_owned()), ("by-magnet", album.magnet())] {
        libtorrent.get(&what, &album.lab.path(dir), address).succeed();
        album.assert_whole(dir);
    }
    assert_eq!(seeder.interrupt().code, Some(0), "to be interrupted is how it ends");
}

#[test]
fn ipv6_peers_are_reached_and_reach_us() {
    let Some(album) = Album::new(&[]) else { return };
    let Some(libtorrent) = Libtorrent::new(&album.lab.path(".")) else { return };
    let (theirs, ours) = (free_address("::1"), free_address("::1"));
    let _seeder = libtorrent.seed(album.path(), &album.lab.path("www"), theirs);
    album
        .lab
        .get(&[album.path()])
        .args(["--listen", &ours.to_string(), "--peer", &theirs.to_string()])
        .succeed();
    album.assert_whole("out");
    let _ours = album.seed(ours);
    libtorrent.get(album.path(), &album.lab.path("six"), ours).succeed();
    album.assert_whole("six");
}

#[test]
fn selected_files_are_fetched_and_no_others_are_made() {
    let Some(album) = Album::new(&[]) else { return };
    let Some(libtorrent) = Libtorrent::new(&album.lab.path(".")) else { return };
    let address = local();
    let _seeder = libtorrent.seed(album.path(), &album.lab.path("www"), address);
    album.get(album.path(), Some(address)).args(["--select-file", "2"]).succeed();
    let (name, content) = &album.files[2];
    assert_same(&album.lab.out().join("album").join(name), content);
    for (name, _) in [&album.files[0], &album.files[3]] {
        assert!(!album.lab.out().join("album").join(name).exists(), "{name} was not asked for");
    }
}

#[test]
fn after_a_kill_the_rest_is_fetched_and_what_is_there_is_not_fetched_again() {
    let Some(album) = Album::new(&[]) else { return };
    let address = local();
    let _seeder = album.seed(address);
    let get = || album.get(album.path(), Some(address));
    let mut running = get().args(["--limit-rate", "1M"]).spawn();
    running.run_for(Duration::from_millis(2000));
    running.kill();
    let done = get().args(["--json", "--limit-rate", "4M"]).succeed();
    album.assert_whole("out");
    // The first event that tells how far it is tells of what was there.
    let completed = done.stdout.lines().find(|line| line.contains("\"progress\"")).map(str::to_owned);
    assert!(completed.is_none_or(|line| !line.contains("\"completed\":0,")), "{}", done.stdout);
}

#[test]
fn verify_names_what_is_wrong() {
    let Some(album) = Album::new(&[]) else { return };
    let verify = || {
        Gosh::new(&album.lab.path(".")).arg("verify").arg(&album.torrent).arg("-d").arg(album.lab.path("www"))
    };
    verify().succeed();
    let path = album.lab.path("www/album/sub/b.bin");
    let mut content = fs::read(&path).expect("it is there");
    content[300_000] ^= 1;
    fs::write(&path, content).expect("room for it");
    let done = verify().run();
    assert_eq!(done.code, Some(1), "{}", done.stdout);
    assert!(done.stdout.contains("bad file 2 ") && done.stdout.contains("bad piece "), "{}", done.stdout);
}

#[test]
fn a_swarm_meets_over_a_tracker_by_http_and_by_udp() {
    let Some(first) = Album::new(&[]) else { return };
    let Some(tracker) = Opentracker::start(&first.lab.path("."), std::slice::from_ref(&first.info_hash))
    else {
        return;
    };
    for url in [tracker.http(), tracker.udp()] {
        let Some(album) = Album::new(std::slice::from_ref(&url)) else { return };
        assert_eq!(album.info_hash, first.info_hash, "the same content is the same torrent");
        let _seeder = album.seed(local());
        album.get(album.path(), None).succeed();
        album.assert_whole("out");
    }
}
