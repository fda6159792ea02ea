//! What `seed` and `get` are told about swarms: goals, limits, addresses, and how they leave.

use gosh_dl_interop::album::{Album, number};
use gosh_dl_interop::binary::{Gosh, Running};
use gosh_dl_interop::peers::{Libtorrent, free_address, wait_until};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

fn local() -> SocketAddr {
    free_address("127.0.0.1")
}

#[test]
fn an_interrupted_seed_takes_leave_of_its_tracker() {
    let Some((tracker, album)) = Album::tracked() else { return };
    let seed = album.seed(local());
    wait_until("the seed is known", || tracker.scrape(&album.info_hash).complete == 1);
    let done = seed.interrupt();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let scrape = tracker.scrape(&album.info_hash);
    assert_eq!((scrape.complete, scrape.incomplete), (0, 0), "it has said that it stops");
}

#[test]
fn a_seed_tells_how_it_goes_in_json() {
    let Some(album) = Album::new(&[]) else { return };
    let address = local();
    let seed = album.seed_with(address, &["--json"]);
    album.get(album.path(), Some(address)).args(["--limit-rate", "1M"]).succeed();
    let done = seed.interrupt();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let lines: Vec<_> = done.stdout.lines().collect();
    let where_ =
        lines.iter().find(|line| line.starts_with("{\"event\":\"seeding\",")).expect("it says where");
    assert!(where_.ends_with(&format!(",\"listen\":\"{address}\"}}")), "{where_}");
    let most = lines.iter().filter_map(|line| number(line, "peers")).fold(0.0, f64::max);
    assert_eq!(most, 1.0, "{}", done.stdout);
    let last = lines.last().expect("a line");
    assert!(last.starts_with("{\"event\":\"interrupted\","), "{last}");
    let (sent, ratio) = (number(last, "uploaded"), number(last, "ratio"));
    assert_eq!((sent.map(|sent| sent as u64), ratio), (Some(album.total()), Some(1.0)));
}

#[test]
fn a_download_tells_its_tracker_of_its_end() {
    let Some((tracker, album)) = Album::tracked() else { return };
    let _seed = album.seed(local());
    wait_until("the seed is known", || tracker.scrape(&album.info_hash).complete == 1);
    album.get(album.path(), None).succeed();
    let scrape = tracker.scrape(&album.info_hash);
    assert_eq!((scrape.complete, scrape.incomplete, scrape.downloaded), (1, 0, 1));
}

#[test]
fn a_seed_ends_when_it_has_given_what_was_asked() {
    let Some(album) = Album::new(&[]) else { return };
    let Some(libtorrent) = Libtorrent::new(&album.lab.path(".")) else { return };
    let address = local();
    let seed = album.seed_with(address, &["--seed-ratio", "0.9"]);
    let theirs = libtorrent.get(album.path(), &album.dir("theirs"), address);
    assert_eq!(seed.wait().code, Some(0));
    drop(theirs);
    let seed = album.seed_with(local(), &["--seed-time", "1"]);
    let done = seed.wait();
    assert_eq!(done.code, Some(0));
    assert!(done.took >= Duration::from_secs(1), "{:?}", done.took);
}

#[test]
fn a_download_serves_for_as_long_as_asked_and_no_longer() {
    let Some(album) = Album::new(&[]) else { return };
    let address = local();
    let _seed = album.seed(address);
    let began = Instant::now();
    let done = album.get(album.path(), Some(address)).args(["--json", "--seed-time", "2"]).succeed();
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(done.stdout.lines().any(|line| line.contains("\"state\":\"seeding\"")), "{}", done.stdout);
    let fetched = done.stdout.lines().filter_map(|line| number(line, "downloaded")).fold(0.0, f64::max);
    assert_eq!(fetched as u64, album.total(), "every byte once");
}

#[test]
fn a_torrent_that_was_seeding_moves_and_seeds_on_from_there() {
    let Some(album) = Album::new(&[]) else { return };
    let home = album.lab.path(".");
    let first = local();
    let seed = album.seed(first);
    // Without a state file of its own, and so with one of the command's.
    let get = Gosh::new(&home).args(["get", "--json", "--seed-ratio", "0", "-d"]).arg(album.lab.out());
    let get = get.arg(album.path()).args(["--peer", &first.to_string()]);
    let mut running = get.args(["--listen", &local().to_string()]).spawn();
    wait_until("it is complete", || {
        running.run_for(Duration::from_millis(20));
        fs::read_to_string(home.join("stdout")).unwrap_or_default().contains("\"completed\",")
    });
    assert_eq!(running.interrupt().code, Some(130), "it would have seeded for ever");
    drop(seed);
    let list = Gosh::new(&home).args(["list", "--json"]).succeed().stdout;
    let id =
        list.strip_prefix("{\"id\":\"").and_then(|rest| rest.get(..16)).expect("it is listed").to_owned();
    Gosh::new(&home).args(["move", &id]).arg(album.lab.path("kept")).succeed();
    album.assert_whole("kept");
    assert!(!album.lab.out().join("album").exists(), "nothing is left");
    let mut resumed = Gosh::new(&album.dir("resumed"));
    resumed = resumed.env("HOME", home.join("home")).args(["resume", "--json", &id]);
    let mut resumed = resumed.spawn();
    let port = album.lab.path("resumed/stdout");
    wait_until("it seeds", || {
        resumed.run_for(Duration::from_millis(20));
        fs::read_to_string(&port).unwrap_or_default().contains("\"seeding\"")
    });
    drop(resumed);
}

#[test]
fn an_upload_limit_holds() {
    let Some(album) = Album::new(&[]) else { return };
    let Some(libtorrent) = Libtorrent::new(&album.lab.path(".")) else { return };
    let address = local();
    let _seed = album.seed_with(address, &["--upload-limit", "600K"]);
    let began = Instant::now();
    libtorrent.get(album.path(), &album.dir("theirs"), address).succeed();
    let (took, due) = (began.elapsed().as_secs_f64(), album.total() as f64 / (600.0 * 1024.0));
    album.assert_whole("theirs");
    // A second's worth may leave at once.
    assert!(took > due - 1.5, "{took} s, where {due} s are the limit");
    assert!(took < due * 3.0 + 5.0, "{took} s, where {due} s are the limit");
}

#[test]
fn no_more_peers_are_connected_than_allowed() {
    let Some(album) = Album::new(&[]) else { return };
    let Some(libtorrent) = Libtorrent::new(&album.lab.path(".")) else { return };
    let addresses = [local(), local()];
    let _seeds = addresses.map(|address| libtorrent.seed(album.path(), &album.lab.path("www"), address));
    let most = |max: &str| {
        let get = album.leech(max, album.path()).args(["--json", "--limit-rate", "2M", "--max-peers", max]);
        let done =
            get.args(addresses.iter().flat_map(|peer| ["--peer".to_owned(), peer.to_string()])).succeed();
        album.assert_whole(max);
        done.stdout.lines().filter_map(|line| number(line, "peers")).fold(0.0, f64::max)
    };
    assert_eq!((most("1"), most("2")), (1.0, 2.0));
}

#[test]
fn a_free_port_is_found_and_said() {
    let Some(album) = Album::new(&[]) else { return };
    let _seed = album.seed_with("127.0.0.1:0".parse().expect("an address"), &[]);
    let address = album.seed_address();
    assert_ne!(address.port(), 0);
    album.get(album.path(), Some(address)).succeed();
    album.assert_whole("out");
}

/// A peer that only looks at who comes and what he says at first.
struct Onlooker(TcpListener);

impl Onlooker {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port is free"))
    }

    fn address(&self) -> String {
        self.0.local_addr().expect("it is bound").to_string()
    }

    /// Who has come, and what he said after the handshake.
    fn meet(&self, album: &Album) -> (SocketAddr, String) {
        let (mut stream, from) = self.0.accept().expect("somebody comes");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        let mut theirs = [0; 68];
        stream.read_exact(&mut theirs).expect("a handshake");
        // The same torrent, and the extension protocol (BEP 10).
        let mut ours = theirs;
        ours[20..28].copy_from_slice(&[0, 0, 0, 0, 0, 0x10, 0, 0]);
        ours[48..68].copy_from_slice(b"-XX0000-onlooker-123");
        let hash: String = theirs[28..48].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, album.info_hash);
        stream.write_all(&ours).expect("it reads");
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&said).contains("ut_metadata") {
            let len = stream.read(&mut buffer).expect("it goes on");
            assert_ne!(len, 0, "it left");
            said.extend_from_slice(&buffer[..len]);
        }
        (from, String::from_utf8_lossy(&said).into_owned())
    }
}

#[test]
fn peers_see_the_address_that_was_asked_for_and_no_peer_exchange_where_it_was_not() {
    let Some(album) = Album::new(&[]) else { return };
    let meet = |options: &[&str]| {
        let onlooker = Onlooker::new();
        let peer = onlooker.address();
        let _seed: Running = album.seed_with(local(), &[&["--peer", &*peer], options].concat());
        onlooker.meet(&album)
    };
    let (from, said) = meet(&["--bind", "127.0.0.9"]);
    assert_eq!(from.ip().to_string(), "127.0.0.9");
    assert!(said.contains("6:ut_pex"), "{said:?}");
    let (from, said) = meet(&["--no-pex"]);
    assert_eq!(from.ip().to_string(), "127.0.0.1");
    assert!(!said.contains("ut_pex"), "{said:?}");
}

#[test]
fn what_is_not_there_is_refused_and_what_changes_nothing_is_taken() {
    let Some(album) = Album::new(&[]) else { return };
    let address = local();
    let _seed = album.seed(address);
    for (option, value) in [("--transport", "utp"), ("--encryption", "required")] {
        for command in ["get", "seed"] {
            let done =
                Gosh::new(&album.lab.path(".")).arg(command).arg(album.path()).args([option, value]).run();
            assert_eq!(done.code, Some(2), "{command} {option}: {}", done.stderr);
            assert!(done.stderr.contains(option), "{}", done.stderr);
        }
    }
    let options = ["--no-dht", "--no-lpd", "--transport", "tcp", "--encryption", "off", "--sequential"];
    album.get(album.path(), Some(address)).args(options).succeed();
    album.assert_whole("out");
}

#[test]
fn a_seed_of_what_is_not_whole_says_so() {
    let Some(album) = Album::new(&[]) else { return };
    let dir = album.dir("nothing");
    let done = Gosh::new(&dir)
        .arg("seed")
        .arg(&album.torrent)
        .arg("-d")
        .arg(&dir)
        .args(["--listen", "127.0.0.1:0"])
        .run();
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("missing"), "{}", done.stderr);
    assert_eq!(fs::read_dir(dir.join("album")).map_or(0, Iterator::count), 0, "nothing is made");
    let address = local();
    let _seed = album.seed(address);
    album.get(album.path(), Some(address)).succeed();
    let again = album.get(album.path(), None).succeed();
    assert!(again.stdout.contains("album is whole ("), "nothing was fetched: {}", again.stdout);
    let file = album.lab.out().join("album").join(album.files[0].0);
    let mut bytes = fs::read(&file).expect("it is there");
    bytes[0] ^= 1;
    fs::write(&file, bytes).expect("it can be written");
    let done = Gosh::new(&dir).arg("seed").arg(&album.torrent).arg("-d").arg(album.lab.out()).run();
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("album: 1 piece is missing or wrong in "), "{}", done.stderr);
}
