//! Torrents: from other programs and to them, with and without trackers.

use gosh_dl_interop::Lab;
use gosh_dl_interop::binary::{Gosh, Running};
use gosh_dl_interop::lab::{assert_same, noise};
use gosh_dl_interop::peers::{Libtorrent, Opentracker, aria2, aria2_get, aria2_seed, free_address};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A torrent of a folder, with its content.
struct Album {
    lab: Lab,
    files: Vec<(&'static str, Vec<u8>)>,
    torrent: PathBuf,
    info_hash: String,
}

impl Album {
    fn new(trackers: &[String]) -> Option<Self> {
        let lab = Lab::new()?;
        let files = [("a.bin", 3_000_000), ("empty", 0), ("sub/b.bin", 777_777), ("sub/deep/c.bin", 70_000)];
        let files: Vec<_> = files.into_iter().map(|(name, len)| (name, noise(name, len))).collect();
        for (name, content) in &files {
            let path = lab.path("www/album").join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::write(path, content).expect("room for it");
        }
        let torrent = lab.path("album.torrent");
        let create =
            Gosh::new(&lab.path(".")).arg("create").arg(lab.path("www/album")).arg("-o").arg(&torrent);
        create.args(trackers.iter().flat_map(|url| ["--tracker", url])).succeed();
        let shown = Gosh::new(&lab.path(".")).arg("show").arg(&torrent).succeed().stdout;
        let info_hash = shown.lines().find_map(|line| line.strip_prefix("info hash: ")).expect("it is shown");
        let info_hash = info_hash.to_owned();
        Some(Self { lab, files, torrent, info_hash })
    }

    fn path(&self) -> &str {
        self.torrent.to_str().expect("it is UTF-8")
    }

    fn magnet(&self) -> String {
        format!("magnet:?xt=urn:btih:{}", self.info_hash)
    }

    fn get(&self, what: &str, peer: Option<SocketAddr>) -> Gosh {
        let get = self.lab.get(&[what]).args(["--listen", &free_address("127.0.0.1").to_string()]);
        get.args(peer.iter().flat_map(|peer| ["--peer".to_owned(), peer.to_string()]))
    }

    /// Our own program serves it; back once it does.
    fn seed(&self, listen: SocketAddr) -> Running {
        let home = self.lab.path("seeder");
        fs::create_dir_all(&home).expect("a directory");
        let seed = Gosh::new(&home).arg("seed").arg(&self.torrent).arg("-d").arg(self.lab.path("www"));
        let mut running = seed.args(["--listen", &listen.to_string()]).spawn();
        for _ in 0..500 {
            running.run_for(Duration::from_millis(20));
            let said = fs::read_to_string(home.join("stdout")).unwrap_or_default();
            if said.starts_with("seeding") {
                assert!(said.trim_end().ends_with(&listen.port().to_string()), "{said}");
                return running;
            }
        }
        panic!("it does not seed");
    }

    fn assert_whole(&self, dir: &str) {
        for (name, content) in &self.files {
            assert_same(&self.lab.path(dir).join("album").join(name), content);
        }
    }
}

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
        if url.starts_with("http:") && aria2().is_some() {
            aria2_get(&album.torrent, &album.lab.path("aria"), local().port()).succeed();
            album.assert_whole("aria");
        }
    }
}

#[test]
fn aria2_seeds_and_we_get() {
    let Some(album) = Album::new(&[]) else { return };
    let Some(()) = aria2() else { return };
    let address = local();
    let _theirs = aria2_seed(&album.torrent, &album.lab.path("www"), address.port());
    album.get(album.path(), Some(address)).succeed();
    album.assert_whole("out");
}
