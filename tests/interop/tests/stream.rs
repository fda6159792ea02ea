//! Files that are served to players while they are fetched.

use gosh_dl_interop::Lab;
use gosh_dl_interop::album::Album;
use gosh_dl_interop::binary::{Gosh, Running};
use gosh_dl_interop::lab::skip;
use gosh_dl_interop::peers::{Libtorrent, free_address};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What curl got.
struct Got {
    status: String,
    head: String,
    body: Vec<u8>,
}

fn curl(lab: &Lab, url: &str, options: &[&str]) -> Got {
    let head = lab.path("head");
    let mut run = Command::new("curl");
    run.args(["-s", "-S", "--max-time", "60", "-D"]).arg(&head).args(options).arg(url);
    let out = run.output().expect("curl runs");
    let head = fs::read_to_string(head).unwrap_or_default();
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Got { status, head: head.to_ascii_lowercase(), body: out.stdout }
}

/// Starts the program and waits until it tells where its files are.
fn stream(lab: &Lab, get: Gosh, files: usize) -> (Running, Vec<String>) {
    let _ = fs::remove_file(lab.path("stdout"));
    let mut running = get.args(["--stream", "0"]).spawn();
    for _ in 0..1000 {
        running.run_for(Duration::from_millis(20));
        let said = fs::read_to_string(lab.path("stdout")).unwrap_or_default();
        let urls: Vec<_> =
            said.lines().filter_map(|line| line.strip_prefix("stream ")).map(str::to_owned).collect();
        if urls.len() >= files {
            return (running, urls);
        }
    }
    panic!("it tells no address: {}", fs::read_to_string(lab.path("stderr")).unwrap_or_default());
}

/// Waits until all is fetched and only served.
fn wait_complete(lab: &Lab, running: &mut Running) {
    for _ in 0..500 {
        running.run_for(Duration::from_millis(20));
        assert!(!running.ended(), "it ended although nobody stopped it");
        if fs::read_to_string(lab.path("stderr")).unwrap_or_default().contains("players are served") {
            return;
        }
    }
    panic!("it is not complete");
}

fn has_curl() -> bool {
    let found = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        skip("curl not installed");
    }
    found
}

fn assert_part(got: &Got, content: &[u8], start: usize, end: usize) {
    assert_eq!(got.status, "206", "{}", got.head);
    assert!(
        got.head.contains(&format!("content-range: bytes {start}-{}/{}", end - 1, content.len())),
        "{}",
        got.head
    );
    assert!(got.body == content[start..end], "{} bytes of {start}..{end}", got.body.len());
}

#[test]
fn ranges_of_a_torrent_come_while_it_is_fetched_and_afterwards() {
    let Some(album) = Album::new(&[]).filter(|_| has_curl()) else { return };
    let Some(libtorrent) = Libtorrent::new(&album.lab.path(".")) else { return };
    let address = free_address("127.0.0.1");
    let _seeder = libtorrent.seed(album.path(), &album.lab.path("www"), address);
    // All of it takes eight seconds.
    let get = album.get(album.path(), Some(address)).args(["--limit-rate", "500K", "--sequential"]);
    let (mut running, urls) = stream(&album.lab, get, 4);
    let (big, content) = (&urls[0], &album.files[0].1);
    assert!(big.ends_with("/0/a.bin") && urls[3].ends_with("/3/c.bin"), "{urls:?}");
    let end = content.len();
    let got = curl(&album.lab, big, &["-r", "-1000"]);
    assert_part(&got, content, end - 1000, end);
    assert!(got.head.contains("accept-ranges: bytes") && got.head.contains("octet-stream"), "{}", got.head);
    assert!(!album.lab.out().join("album/a.bin").exists(), "it is still being fetched");
    assert_part(&curl(&album.lab, big, &["-r", "1000000-1099999"]), content, 1_000_000, 1_100_000);
    let head = curl(&album.lab, big, &["-I"]);
    assert_eq!(
        (head.status.as_str(), head.head.contains("content-length: 3000000")),
        ("200", true),
        "{}",
        head.head
    );
    assert_eq!(curl(&album.lab, big, &["-r", "3000000-"]).status, "416");
    assert_eq!(curl(&album.lab, &urls[1], &[]).body, b"");
    let whole: Vec<_> = std::thread::scope(|scope| {
        let get = |index: usize| {
            let url = &urls[index];
            scope.spawn(move || Command::new("curl").args(["-s", "--max-time", "60", url]).output())
        };
        let threads = [0, 2, 3].map(get);
        threads.into_iter().map(|thread| thread.join().expect("it ends").expect("curl runs").stdout).collect()
    });
    for (body, index) in whole.iter().zip([0, 2, 3]) {
        assert!(*body == album.files[index].1, "file {index} has {} bytes", body.len());
    }
    wait_complete(&album.lab, &mut running);
    assert_part(&curl(&album.lab, big, &["-r", "5-77"]), content, 5, 78);
    let list = curl(&album.lab, big.strip_suffix("0/a.bin").expect("it does"), &[]);
    assert!(String::from_utf8_lossy(&list.body).contains("<a href=\"/2/b.bin\">sub/b.bin</a>"));
    let done = running.interrupt();
    assert_eq!(done.code, Some(0), "all was complete: {}{}", done.stdout, done.stderr);
    album.assert_whole("out");
}

#[test]
fn ranges_of_a_download_over_http_come_while_it_is_fetched() {
    for runtime in ["tokio", "smol"] {
        let Some(lab) = Lab::new().filter(|_| has_curl()) else { return };
        let content = lab.serve("film.mp4", 20_000_000);
        let server = lab.site().start();
        // All of it takes twenty seconds.
        let get = lab.get(&[server.url("/film.mp4")]).args(["--limit-rate", "1M", "--runtime", runtime]);
        let (running, urls) = stream(&lab, get, 1);
        for start in [19_000_000, 10_000_000, 15_000_000] {
            let range = format!("{start}-{}", start + 99_999);
            let got = curl(&lab, &urls[0], &["-r", &range]);
            assert_part(&got, &content, start, start + 100_000);
            assert!(got.head.contains("content-type: video/mp4"), "{}", got.head);
        }
        assert!(lab.listing().iter().all(|name| name.ends_with(".part")), "{:?}", lab.listing());
        let done = running.interrupt();
        assert_eq!(done.code, Some(130), "it was not complete: {}{}", done.stdout, done.stderr);
    }
}

/// What is whole is served without being fetched again; of a torrent because its files are there, over HTTP because the
/// state of a command that was killed says so.
#[test]
fn what_is_complete_already_is_served_until_interrupted() {
    let Some(album) = Album::new(&[]).filter(|_| has_curl()) else { return };
    let lab = &album.lab;
    let get = || {
        let get = Gosh::new(&lab.path(".")).args(["get", "-d"]).arg(lab.path("www")).arg(album.path());
        get.args(["--listen", &free_address("127.0.0.1").to_string()])
    };
    let (mut running, urls) = stream(lab, get(), 4);
    wait_complete(lab, &mut running);
    assert_part(&curl(lab, &urls[0], &["-r", "5-77"]), &album.files[0].1, 5, 78);
    assert_eq!(running.interrupt().code, Some(0));

    let content = lab.serve("film.mp4", 1_000_000);
    let server = lab.site().start();
    let get = || Gosh::new(&lab.path(".")).args(["get", "-d"]).arg(lab.out()).arg(server.url("/film.mp4"));
    let (mut running, _) = stream(lab, get(), 1);
    wait_complete(lab, &mut running);
    running.kill();
    let (mut running, urls) = stream(lab, get(), 1);
    wait_complete(lab, &mut running);
    let got = curl(lab, &urls[0], &[]);
    assert!(got.status == "200" && got.body == content, "{}", got.head);
    assert_eq!(running.interrupt().code, Some(0));
    assert_eq!(lab.listing(), ["film.mp4"], "it was not fetched again");
}

#[test]
fn a_player_in_the_middle_is_not_cut_off_by_the_end_of_the_download() {
    let Some(lab) = Lab::new().filter(|_| has_curl()) else { return };
    let content = lab.serve("film.mp4", 4_000_000);
    let server = lab.site().start();
    // Two seconds to fetch, and four to play.
    let (mut running, urls) =
        stream(&lab, lab.get(&[server.url("/film.mp4")]).args(["--limit-rate", "2M"]), 1);
    let body = std::thread::scope(|scope| {
        let play = ["-s", "--max-time", "60", "--limit-rate", "1M", &urls[0]];
        let player = scope.spawn(move || Command::new("curl").args(play).output().expect("curl runs").stdout);
        wait_complete(&lab, &mut running);
        assert!(!player.is_finished(), "it was faster than the download");
        player.join().expect("it ends")
    });
    assert!(body == content, "{} bytes of {}", body.len(), content.len());
    assert_eq!(running.interrupt().code, Some(0));
}

#[test]
fn strangers_slow_talkers_and_crowds_keep_nobody_from_being_served() {
    let Some(lab) = Lab::new().filter(|_| has_curl()) else { return };
    let content = lab.serve("film.mp4", 1_000_000);
    let server = lab.site().start();
    let (mut running, urls) = stream(&lab, lab.get(&[server.url("/film.mp4")]), 1);
    let place = urls[0].strip_prefix("http://").and_then(|url| url.split('/').next()).expect("it has one");
    let ask = |request: &[u8]| {
        let mut link = TcpStream::connect(place).expect("it listens");
        link.write_all(request).expect("it is read");
        let mut answer = Vec::new();
        let _ = link.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(ask(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), "421");
    assert_eq!(ask(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"), "400");
    let mut long = b"GET / HTTP/1.1\r\nX: ".to_vec();
    long.resize(8 << 10, b'x');
    assert_eq!(ask(&long), "431");
    let mut crowd: Vec<_> = (0..200).filter_map(|_| TcpStream::connect(place).ok()).collect();
    crowd.iter_mut().for_each(|link| drop(link.write_all(b"GET / HT")));
    drop(crowd);
    wait_complete(&lab, &mut running);
    running.run_for(Duration::from_millis(500));
    let got = curl(&lab, &urls[0], &[]);
    assert!(got.status == "200" && got.body == content, "{}", got.head);
    assert_eq!(running.interrupt().code, Some(0));
}
