//! Torrents between us and Transmission and aria2: from them and to them, by file and by magnet link.

use gosh_dl_interop::album::Album;
use gosh_dl_interop::binary::Gosh;
use gosh_dl_interop::peers::{Aria2, Transmission, free_address, mktorrent, transmission_create, wait_until};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

fn local() -> SocketAddr {
    free_address("127.0.0.1")
}

#[test]
fn transmission_seeds_and_we_get_by_file_and_by_magnet_link() {
    let Some(album) = Album::new(&[]) else { return };
    let Some(theirs) = Transmission::start(&album.dir("transmission"), local()) else { return };
    theirs.add(album.path(), &album.lab.path("www"));
    theirs.wait_whole();
    // It has one connection to each address, and looks every ten seconds whom it serves.
    let peer = theirs.address().to_string();
    let get = |name: &str, what: &str, bind: &str| {
        album.leech(name, what).args(["--peer", &peer, "--bind", bind, "--listen", "127.0.0.1:0"]).spawn()
    };
    let by_file = get("by-file", album.path(), "127.0.0.2");
    let by_magnet = get("by-magnet", &album.magnet(), "127.0.0.3");
    for (name, running) in [("by-file", by_file), ("by-magnet", by_magnet)] {
        let done = running.wait();
        assert_eq!(done.code, Some(0), "{name}: {}", done.stderr);
        album.assert_whole(name);
    }
}

#[test]
fn we_seed_and_transmission_gets_by_file_and_by_magnet_link() {
    let Some(album) = Album::new(&[]) else { return };
    let ways = [("by-file", album.path().to_owned()), ("by-magnet", album.magnet())];
    let mut theirs = Vec::new();
    for (name, what) in &ways {
        let Some(daemon) = Transmission::start(&album.dir(&format!("{name}-daemon")), local()) else {
            return;
        };
        daemon.add(what, &album.dir(name));
        theirs.push(daemon);
    }
    let peers = theirs.iter().map(|daemon| daemon.address().to_string()).collect::<Vec<_>>();
    let seeder = album.seed_with(local(), &["--peer", &peers[0], "--peer", &peers[1]]);
    for (daemon, (name, _)) in theirs.iter().zip(&ways) {
        daemon.wait_whole();
        // Transmission makes no empty files.
        fs::write(album.lab.path(name).join("album/empty"), "").expect("room for it");
        album.assert_whole(name);
    }
    assert_eq!(seeder.interrupt().code, Some(0), "to be interrupted is how it ends");
}

#[test]
fn aria2_seeds_and_we_get_by_file_and_by_magnet_link() {
    let Some(album) = Album::new(&[]) else { return };
    let Some(aria2) = Aria2::new() else { return };
    let address = local();
    let _theirs = aria2.seed(&album.torrent, &album.lab.path("www"), address);
    let peer = address.to_string();
    for (name, what) in [("by-file", album.path().to_owned()), ("by-magnet", album.magnet())] {
        album.leech(name, &what).args(["--peer", &peer, "--listen", "127.0.0.1:0"]).succeed();
        album.assert_whole(name);
    }
}

#[test]
fn we_seed_and_aria2_gets_by_file_and_by_magnet_link() {
    let Some((tracker, album)) = Album::tracked() else { return };
    let Some(aria2) = Aria2::new() else { return };
    let _ours = album.seed(local());
    wait_until("our seed is known to the tracker", || tracker.scrape(&album.info_hash).complete == 1);
    let magnet = format!("{}&tr={}", album.magnet(), tracker.http());
    for (name, what) in [("by-file", album.path().to_owned()), ("by-magnet", magnet)] {
        aria2.get(what, &album.dir(name), local()).succeed();
        album.assert_whole(name);
    }
}

#[test]
fn what_we_create_has_the_info_hash_that_others_make() {
    let Some(album) = Album::new(&[]) else { return };
    let tracker = "http://127.0.0.1:1/announce";
    let (folder, file) = (album.lab.path("www/album"), album.lab.path("www/album/a.bin"));
    for (content, private) in [(&folder, false), (&folder, true), (&file, false)] {
        let options: &[&str] = if private { &["--private", "--tracker", tracker] } else { &[] };
        let theirs = album.lab.path("theirs.torrent");
        let Some(()) = mktorrent(content, &theirs, 15, private) else { return };
        assert_eq!(
            info_hash(&album, &theirs),
            created(&album, content, options),
            "mktorrent: {content:?} {private}"
        );
    }
    // Transmission leaves empty files out.
    fs::remove_file(folder.join("empty")).expect("it is there");
    for (content, private) in [(&folder, false), (&folder, true), (&file, false)] {
        let options: &[&str] = if private { &["--private", "--tracker", tracker] } else { &[] };
        let theirs = album.lab.path("theirs.torrent");
        let Some(()) = transmission_create(content, &theirs, private.then_some(tracker)) else { return };
        if !private {
            // It always says whether a torrent is private, which others do only where it is.
            let bytes = fs::read(&theirs).expect("it is there");
            let word = b"7:privatei0e";
            let at = bytes.windows(word.len()).position(|window| window == word).expect("it says so");
            fs::write(&theirs, [&bytes[..at], &bytes[at + word.len()..]].concat()).expect("room for it");
        }
        let ours = created(&album, content, options);
        assert_eq!(info_hash(&album, &theirs), ours, "transmission-create: {content:?} {private}");
    }
}

/// The info-hash of a torrent that we create. Nobody is asked for a length of pieces but mktorrent, which has none of its
/// own choice: 3.8 MB give 32 KiB.
fn created(album: &Album, content: &Path, options: &[&str]) -> String {
    let torrent = album.lab.path("ours.torrent");
    let _ = fs::remove_file(&torrent);
    let create = Gosh::new(&album.lab.path(".")).arg("create").arg(content).arg("-o").arg(&torrent);
    create.args(options).succeed();
    info_hash(album, &torrent)
}

fn info_hash(album: &Album, torrent: &Path) -> String {
    let shown = Gosh::new(&album.lab.path(".")).args(["show", "--json"]).arg(torrent).succeed().stdout;
    let at = shown.find("\"info_hash_v1\":\"").expect("it is there") + 16;
    shown[at..at + 40].to_owned()
}
