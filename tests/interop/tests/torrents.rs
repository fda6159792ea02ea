//! Torrents: from other programs and to them, with and without trackers.

use gosh_dl_interop::album::{Album, number};
use gosh_dl_interop::binary::Gosh;
use gosh_dl_interop::lab::assert_same;
use gosh_dl_interop::peers::{Libtorrent, Opentracker, free_address};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
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
    let piece = (3_000_000 + 300_000) / 32_768;
    assert_eq!(done.stdout, format!("bad file 2 {}: piece {piece}\n", path.display()));
    assert_eq!(done.stderr, "1 of 118 pieces and 1 of 4 files are missing or wrong\n");
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

#[test]
fn damage_is_mended_and_nothing_else_is_fetched() {
    let Some(album) = Album::new(&[]) else { return };
    let address = local();
    let _seeder = album.seed(address);
    let get = || album.leech("ours", album.path()).args(["--json", "--peer", &address.to_string()]);
    get().succeed();
    album.assert_whole("ours");
    let path = album.lab.path("ours/album/sub/b.bin");
    let mut content = fs::read(&path).expect("it is there");
    content[300_000] ^= 1;
    fs::write(&path, content).expect("room for it");
    fs::remove_file(album.lab.path("ours/album/empty")).expect("it is there");
    let done = get().succeed();
    album.assert_whole("ours");
    let fetched = done.stdout.lines().filter_map(|line| number(line, "downloaded")).fold(0.0, f64::max);
    assert_eq!(fetched, 32_768.0, "one piece was damaged: {}", done.stdout);
}

#[test]
fn of_files_that_were_not_asked_for_nothing_is_there_until_they_are() {
    let Some(album) = Album::new(&[]) else { return };
    let address = local();
    let _seeder = album.seed(address);
    let get = || album.leech("ours", album.path()).args(["--json", "--peer", &address.to_string()]);
    let done = get().args(["--select-file", "2"]).succeed();
    let (name, content) = &album.files[2];
    assert_same(&album.lab.path("ours/album").join(name), content);
    assert_eq!(tree(&album.lab.path("ours/album")), ["sub", "sub/b.bin"]);
    // Its first and its last piece are those of its neighbours too.
    let fetched =
        |stdout: &str| stdout.lines().filter_map(|line| number(line, "downloaded")).fold(0.0, f64::max);
    let first = fetched(&done.stdout);
    assert!((777_777.0..777_777.0 + 2.0 * 32_768.0).contains(&first), "{first} bytes were fetched");
    let done = get().succeed();
    album.assert_whole("ours");
    let rest = album.total() as f64 - first;
    let second = fetched(&done.stdout);
    assert!(
        (rest..rest + 2.0 * 32_768.0 + 1.0).contains(&second),
        "{second} bytes were fetched, {rest} were missing"
    );
}

#[test]
fn show_has_the_keys_that_programs_read() {
    let tracker = "http://127.0.0.1:1/announce";
    let options = [
        "--v1",
        "--tracker",
        tracker,
        "--web-seed",
        "http://127.0.0.1:2/",
        "--piece-length",
        "64K",
        "--private",
    ];
    let Some(album) = Album::with(&options) else { return };
    let shown = Gosh::new(&album.lab.path(".")).args(["show", "--json"]).arg(&album.torrent).succeed().stdout;
    let expected = format!(
        "{{\"name\":\"album\",\"info_hash_v1\":\"{}\",\"info_hash_v2\":null,\"files\":[\
         {{\"path\":\"album/a.bin\",\"length\":3000000}},{{\"path\":\"album/empty\",\"length\":0}},\
         {{\"path\":\"album/sub/b.bin\",\"length\":777777}},{{\"path\":\"album/sub/deep/c.bin\",\"length\":70000}}],\
         \"piece_length\":65536,\"private\":true,\"trackers\":[\"{tracker}\"],\
         \"web_seeds\":[\"http://127.0.0.1:2/\"],\"total\":3847777,\"pieces\":59,\"comment\":null,\
         \"created_by\":\"gosh-dl/{}\",\"creation_date\":null,\"peers\":[],\"select_only\":[]}}\n",
        album.info_hash,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(shown, expected);
    let magnet = format!("{}&dn=a+b&tr={tracker}&x.pe=127.0.0.1:7&so=0,2-4", album.magnet());
    let shown = Gosh::new(&album.lab.path(".")).args(["show", "--json", &magnet]).succeed().stdout;
    let expected = format!(
        "{{\"name\":\"a b\",\"info_hash_v1\":\"{}\",\"info_hash_v2\":null,\"files\":[],\"piece_length\":null,\
         \"private\":false,\"trackers\":[\"{tracker}\"],\"web_seeds\":[],\"total\":null,\"pieces\":null,\
         \"comment\":null,\"created_by\":null,\"creation_date\":null,\"peers\":[\"127.0.0.1:7\"],\
         \"select_only\":[[0,0],[2,4]]}}\n",
        album.info_hash
    );
    assert_eq!(shown, expected);
}

/// Everything below a directory, sorted.
fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next).expect("it is there") {
            let path = entry.expect("an entry").path();
            found.push(path.strip_prefix(dir).expect("it is below").to_string_lossy().into_owned());
            if path.is_dir() {
                pending.push(path);
            }
        }
    }
    found.sort();
    found
}
