//! Torrents from web servers, alone and beside peers.

use gosh_dl_interop::album::Album;
use gosh_dl_interop::binary::Gosh;
use gosh_dl_interop::lab::noise;
use gosh_dl_interop::log::content;
use gosh_dl_interop::peers::free_address;
use std::fs;

#[test]
fn a_folder_comes_from_a_web_server_alone() {
    let Some(mut album) = Album::new(&[]) else { return };
    let server = album.lab.site().start();
    album.create(&["--web-seed", &server.url("/")]);
    album.get(album.path(), None).succeed();
    album.assert_whole("out");
    let fetched = content(&server.into_requests());
    assert!(
        (album.total()..album.total() + album.total() / 10).contains(&fetched),
        "{fetched} bytes were fetched"
    );
}

#[test]
fn a_single_file_comes_from_a_web_server_alone() {
    let Some(album) = Album::new(&[]) else { return };
    let server = album.lab.site().start();
    let bytes = album.lab.serve("single.bin", 2_345_678);
    let torrent = album.lab.path("single.torrent");
    let create = Gosh::new(&album.lab.path(".")).arg("create").arg(album.lab.path("www/single.bin"));
    create.arg("-o").arg(&torrent).args(["--web-seed", &server.url("/single.bin")]).succeed();
    album.get(torrent.to_str().expect("it is UTF-8"), None).succeed();
    album.lab.assert_same("single.bin", &bytes);
}

#[test]
fn a_web_server_and_a_peer_share_the_work() {
    let Some(mut album) = Album::new(&[]) else { return };
    let server = album.lab.site().rule("limit_rate 1m;").start();
    album.create(&["--web-seed", &server.url("/")]);
    let peer = free_address("127.0.0.1");
    let seed = album.seed_with(peer, &["--upload-limit", "500K"]);
    let done = album.get(album.path(), Some(peer)).arg("--json").succeed();
    album.assert_whole("out");
    let fetched = content(&server.into_requests());
    assert!(fetched > 0 && fetched < album.total(), "the web server gave {fetched} bytes");
    assert!(done.stdout.contains("\"completed\""), "{}", done.stdout);
    assert_eq!(seed.interrupt().code, Some(0));
}

#[test]
fn a_web_server_with_wrong_bytes_is_dropped_and_a_peer_gives_the_right_ones() {
    let Some(mut album) = Album::new(&[]) else { return };
    for (name, bytes) in &album.files {
        let path = album.lab.path("lies/album").join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        fs::write(path, noise("a lie", bytes.len())).expect("room for it");
    }
    let rule = format!("location /lies/ {{ alias {}/; }}", album.lab.path("lies").display());
    let server = album.lab.site().rule(&rule).start();
    album.create(&["--web-seed", &server.url("/lies/")]);
    let peer = free_address("127.0.0.1");
    let _seed = album.seed_with(peer, &["--upload-limit", "1M"]);
    album.get(album.path(), Some(peer)).succeed();
    album.assert_whole("out");
    let requests = server.into_requests();
    assert!(!requests.is_empty(), "it was asked");
    let fetched = content(&requests);
    assert!(fetched <= album.total(), "{fetched} bytes of lies were taken from it");
}

#[test]
fn the_web_server_of_a_magnet_link_helps_once_a_peer_has_told_what_it_is() {
    let Some(album) = Album::new(&[]) else { return };
    let server = album.lab.site().start();
    let peer = free_address("127.0.0.1");
    let _seed = album.seed_with(peer, &["--upload-limit", "300K"]);
    let magnet = format!("{}&ws={}", album.magnet(), server.url("/"));
    album.get(&magnet, Some(peer)).succeed();
    album.assert_whole("out");
    let fetched = content(&server.into_requests());
    assert!(fetched > 0, "the web server was not asked");
}
