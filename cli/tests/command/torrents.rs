//! What is done with torrents without any network.

use crate::lab::{Home, content};
use std::fs;
use std::net::TcpListener;

/// A folder of three files of 40,000, 0 and 50,000 bytes, in pieces of 16 KiB, and its torrent.
fn album(home: &Home) {
    fs::create_dir(home.file("album")).unwrap();
    for (name, len) in [("a", 40_000), ("empty", 0), ("z", 50_000)] {
        fs::write(home.file("album").join(name), content(len)).unwrap();
    }
    home.run(&["create", "album", "-o", "a.torrent", "--piece-length", "16K"]).expect(0);
}

#[test]
fn create_writes_over_nothing_and_not_into_its_content() {
    let home = Home::new();
    album(&home);
    fs::write(home.file("film.mp4"), "precious").unwrap();
    let cases = [
        (["film.mp4", "film.mp4"], "film.mp4: it is there already"),
        (["film.mp4", "a.torrent"], "a.torrent: it is there already"),
        (["album", "album/a.torrent"], "it would lie in the folder that it is made of"),
        (["film.mp4", "nowhere/a.torrent"], "nowhere: No such file or directory"),
    ];
    for ([path, out], why) in cases {
        let refused = home.run(&["create", path, "-o", out]).expect(1).stderr;
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(home.read("film.mp4"), b"precious");
    assert_eq!(home.names(), ["a.torrent", "album", "film.mp4"]);
    for value in ["100K", "abc", "1"] {
        let refused = home.run(&["create", "album", "-o", "b", "--piece-length", value]).expect(2).stderr;
        assert!(refused.contains("a power of two from 16K to 512M"), "{refused}");
    }
    let refused = home.run(&["create", "album", "-o", "b", "--tracker", "foo"]).expect(2).stderr;
    assert!(refused.contains("begins with http://, https:// or udp://"), "{refused}");
}

#[test]
fn create_tells_in_json_and_writes_to_standard_output() {
    let home = Home::new();
    album(&home);
    let arguments = ["create", "album", "-o", "b.torrent", "--piece-length", "16K", "--json"];
    let made = home.run(&arguments).expect(0).json();
    let shown = home.run(&["show", "--json", "b.torrent"]).expect(0).json();
    assert_eq!(
        (made.len(), &made[0]["event"], &made[0]["path"]),
        (1, &"created".into(), &"b.torrent".into())
    );
    for key in ["name", "info_hash_v1", "total", "pieces", "piece_length"] {
        assert!(!made[0][key].is_null() && made[0][key] == shown[0][key], "{key}: {} {}", made[0], shown[0]);
    }
    assert_eq!(made[0]["files"], 3);
    let piped = home.run(&["create", "album", "-o", "-", "--piece-length", "16K"]).expect(0).stdout;
    assert_eq!(piped, String::from_utf8_lossy(&home.read("b.torrent")));
    home.run(&["create", "album", "-o", "-", "--json"]).expect(2);
    assert_eq!(home.names(), ["a.torrent", "album", "b.torrent"]);
}

#[test]
fn verify_names_files_and_runs_of_pieces() {
    let home = Home::new();
    album(&home);
    assert_eq!(home.run(&["verify", "a.torrent"]).expect(0).stderr, "every piece is right\n");
    // Pieces 1 and 2 of six; the end of the second is that of the last file's beginning.
    let mut bytes = content(40_000);
    bytes[20_000] ^= 1;
    bytes[39_000] ^= 1;
    fs::write(home.file("album/a"), &bytes).unwrap();
    let bad = home.run(&["verify", "a.torrent"]).expect(1);
    assert_eq!(bad.stdout, "bad file 0 ./album/a: pieces 1-2\nbad file 2 ./album/z: piece 2\n");
    assert_eq!(bad.stderr, "2 of 6 pieces and 2 of 3 files are missing or wrong\n");
    let bad = home.run(&["verify", "a.torrent", "--json"]).expect(1).json();
    let expected = serde_json::json!({"event": "bad_file", "file": 0, "path": "./album/a", "pieces": [[1, 2]], "error": null});
    assert_eq!((bad.len(), &bad[0]), (3, &expected));
    assert_eq!(
        (&bad[2]["event"], &bad[2]["valid"], &bad[2]["bad_pieces"], &bad[2]["bad_files"]),
        (&"verified".into(), &false.into(), &2.into(), &2.into())
    );
    assert_eq!(home.run(&["verify", "a.torrent", "-q"]).expect(1).stdout, "");

    fs::write(home.file("album/a"), content(40_000)).unwrap();
    fs::remove_file(home.file("album/empty")).unwrap();
    fs::write(home.file("album/z"), [content(50_000), vec![0; 3]].concat()).unwrap();
    let bad = home.run(&["verify", "a.torrent"]).expect(1);
    assert_eq!(
        bad.stdout,
        "bad file 1 ./album/empty: No such file or directory\nbad file 2 ./album/z: 3 bytes too long\n"
    );
    fs::write(home.file("album/z"), content(49_000)).unwrap();
    let bad = home.run(&["verify", "a.torrent"]).expect(1).stdout;
    assert!(bad.contains("bad file 2 ./album/z: 1000 bytes too short; piece 5\n"), "{bad}");
}

#[test]
fn verify_of_what_is_no_place_or_no_torrent_says_so() {
    let home = Home::new();
    album(&home);
    let refused = home.run(&["verify", "a.torrent", "-d", "nowhere"]).expect(1);
    assert_eq!(refused.stderr, "gosh-dl: --dir nowhere: No such file or directory\n");
    assert_eq!(refused.stdout, "");
    let magnet = "magnet:?xt=urn:btih:0123456789012345678901234567890123456789";
    let refused = home.run(&["verify", magnet]).expect(1).stderr;
    assert!(refused.contains("give the .torrent file"), "{refused}");
}

#[test]
fn an_address_that_cannot_be_had_is_an_error() {
    let home = Home::new();
    album(&home);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for command in ["seed", "get"] {
        let refused = home.run(&[command, "a.torrent", "--listen", &taken]).expect(1).stderr;
        assert!(refused.contains(&format!("--listen {taken}: Address already in use")), "{refused}");
        // TEST-NET-1 is nobody's.
        let refused = home.run(&[command, "a.torrent", "--bind", "192.0.2.1"]).expect(1).stderr;
        assert!(refused.contains("--bind 192.0.2.1: Cannot assign requested address"), "{refused}");
        let refused = home.run(&[command, "a.torrent", "--peer", "nonsense"]).expect(2).stderr;
        assert!(
            refused.contains("HOST:PORT") && refused.contains(&format!("see gosh-dl {command} --help")),
            "{refused}"
        );
    }
    assert_eq!(home.names(), ["a.torrent", "album"]);
}

#[test]
fn a_seed_without_a_right_piece_says_what_is_wrong() {
    let home = Home::new();
    album(&home);
    for name in ["a", "z"] {
        fs::write(home.file("album").join(name), vec![7; 60_000]).unwrap();
    }
    let failed = home.run(&["seed", "a.torrent", "--listen", "127.0.0.1:0"]).expect(1).stderr;
    assert!(failed.contains("album: 6 of 6 pieces and 2 of 3 files are missing or wrong in "), "{failed}");
    let failed = home.run(&["get", "a.torrent", "--listen", "127.0.0.1:0"]).expect(1).stderr;
    assert!(failed.starts_with("gosh-dl: album: "), "{failed}");
    assert!(failed.contains("--dir, or write over it with --on-conflict overwrite"), "{failed}");
    assert_eq!(fs::read(home.file("album/a")).unwrap(), vec![7; 60_000]);
}

#[test]
fn who_finds_no_peers_is_told_why_once() {
    let home = Home::new();
    album(&home);
    let get = ["get", "--json", "--listen", "127.0.0.1:0"];
    let mut alone = home.start(&[&get[..], &["a.torrent", "-d", "alone"]].concat());
    alone.wait_for(|line| line.contains("\"warning\"") && line.contains("--peer HOST:PORT"));
    alone.signal("INT");
    alone.end().expect(130);
    let tracker = "http://127.0.0.1:1/announce";
    let arguments = ["create", "album", "-o", "b.torrent", "--piece-length", "16K", "--tracker", tracker];
    home.run(&arguments).expect(0);
    let mut refused = home.start(&[&get[..], &["b.torrent", "-d", "refused"]].concat());
    refused.wait_for(|line| line.contains("\"warning\"") && line.contains(&format!("{tracker}: ")));
    // Two more looks.
    std::thread::sleep(std::time::Duration::from_secs(7));
    refused.signal("INT");
    let ended = refused.end().expect(130);
    assert_eq!(ended.stderr.matches("warning: ").count(), 1, "{}", ended.stderr);
}

#[test]
fn a_torrent_that_cannot_be_read_is_a_failure_and_not_wrong_usage() {
    let home = Home::new();
    fs::write(home.file("bad.torrent"), "nonsense").unwrap();
    for command in ["get", "seed", "show", "verify"] {
        for torrent in ["bad.torrent", "missing.torrent"] {
            let failed = home.run(&[command, torrent]).expect(1).stderr;
            assert!(failed.starts_with(&format!("gosh-dl: {torrent}: ")), "{command}: {failed}");
        }
    }
}

#[test]
fn get_of_what_was_seeded_before_ends_when_asked_without_a_goal() {
    let home = Home::new();
    album(&home);
    let mut seeding =
        home.start(&["get", "--json", "a.torrent", "--seed-ratio", "1", "--listen", "127.0.0.1:0"]);
    seeding.wait_for(|line| line.contains("\"event\":\"completed\""));
    seeding.signal("INT");
    seeding.end().expect(130);
    for _ in 0..2 {
        let whole = home.run(&["get", "a.torrent", "--listen", "127.0.0.1:0"]).expect(0).stdout;
        assert!(whole.contains("album is whole"), "{whole}");
    }
}
