//! Stopping in every way, and going on.

use crate::lab::{Ended, Home, content};
use crate::origin::{Origin, Resource};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// What surely arrives of it before the origin stops. Some of what is let through is lost: it is on its way on
/// connections that are closed when others take over the rest of their segments.
const SURE: u64 = 12 * MIB as u64;

/// A file of which most comes through before the origin stops.
fn part_sent(origin: &Origin) -> (String, Vec<u8>) {
    let body = content(32 * MIB);
    let url = origin.put("/big.bin", Resource::new(body.clone()));
    origin.allow(24 * MIB as u64);
    (url, body)
}

/// Fails the test unless a run began with at least `before` bytes of the file at `url`.
///
/// What the origin sends again says little: it has much on its way whenever a connection is closed.
#[track_caller]
fn expect_gone_on(run: &Ended, url: &str, before: u64) {
    let lines = run.json();
    let started = lines.iter().find(|line| line["url"] == url && line["event"] == "started").unwrap();
    assert!(started["completed"].as_u64().unwrap() >= before, "{before} bytes were there: {started}");
}

#[test]
fn an_interrupted_get_goes_on_when_run_again() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let (home, origin) = (Home::new(), Origin::new());
        let (url, body) = part_sent(&origin);
        let mut first = home.start(&["get", "--json", &url]);
        let seen = first.wait_for_bytes(SURE);
        let at = Instant::now();
        first.signal(signal);
        let ended = first.end().expect(code);
        assert!(at.elapsed() < Duration::from_secs(2), "{signal}: {:?}", at.elapsed());
        assert!(ended.stderr.contains(" are kept; run the same command again to resume"), "{}", ended.stderr);
        let last = ended.json().pop().unwrap();
        assert_eq!((&last["event"], &last["url"]), (&"interrupted".into(), &url.as_str().into()));
        assert!(last["completed"].as_u64().unwrap() >= seen, "{seen}: {last}");
        origin.open();
        expect_gone_on(&home.run(&["get", "--json", &url]).expect(0), &url, seen);
        assert!(home.read("big.bin") == body);
        assert_eq!((home.names(), home.states()), (vec!["big.bin".to_owned()], vec![]));
    }
}

#[test]
fn a_killed_get_goes_on_when_run_again() {
    let (home, origin) = (Home::new(), Origin::new());
    let (url, body) = part_sent(&origin);
    let mut first = home.start(&["get", "--json", &url]);
    first.wait_for_bytes(SURE);
    first.signal("KILL");
    assert_eq!(first.end().code, None);
    origin.open();
    home.run(&["get", &url]).expect(0);
    assert!(home.read("big.bin") == body);
    assert_eq!((home.names(), home.states()), (vec!["big.bin".to_owned()], vec![]));
}

#[test]
fn the_same_file_twice_at_once_is_a_clear_error() {
    let (home, origin) = (Home::new(), Origin::new());
    let (url, body) = part_sent(&origin);
    let mut first = home.start(&["get", "--json", &url]);
    first.wait_for_bytes(1);
    let second = home.run(&["get", &url]).expect(1);
    assert!(second.stderr.contains("already running in another process"), "{}", second.stderr);
    assert_eq!(second.stderr.lines().count(), 1);
    let other = origin.put("/other", Resource::new(""));
    let third = home.run(&["get", &url, &other]).expect(1);
    assert!(third.stderr.contains("already running in another process"), "{}", third.stderr);
    assert!(third.stderr.ends_with("1 of 2 done, 1 failed\n"), "{}", third.stderr);
    origin.open();
    first.end().expect(0);
    assert!(home.read("big.bin") == body);
}

#[test]
fn two_commands_at_once_both_work() {
    let (home, origin) = (Home::new(), Origin::new());
    let urls = ["/a", "/b"].map(|path| origin.put(path, Resource::new(content(4 * MIB))));
    origin.allow(MIB as u64);
    let running = urls.each_ref().map(|url| home.start(&["get", url]));
    origin.wait_for_request("/a");
    origin.wait_for_request("/b");
    origin.open();
    for running in running {
        running.end().expect(0);
    }
    assert!(home.read("a") == content(4 * MIB) && home.read("b") == content(4 * MIB));
}

#[test]
fn one_file_of_an_interrupted_command_goes_on_alone() {
    let (home, origin) = (Home::new(), Origin::new());
    let (url, body) = part_sent(&origin);
    let other = origin.put("/other", Resource::new(content(MIB)));
    let mut first = home.start(&["get", "--json", "-j", "1", &url, &other]);
    let seen = first.wait_for_bytes(SURE);
    first.signal("INT");
    first.end().expect(130);
    origin.open();
    expect_gone_on(&home.run(&["get", "--json", &url]).expect(0), &url, seen);
    assert!(home.read("big.bin") == body);
    let list = home.run(&["list", "--json"]).expect(0).json();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["url"], other.as_str());
    // The whole command again: one is complete, the other is fetched.
    home.run(&["get", &other, &url, "--on-conflict", "skip"]).expect(0);
    assert_eq!(home.names(), ["big.bin", "other"]);
    assert_eq!(home.states(), [""; 0]);
}

#[test]
fn a_new_cookie_is_used_when_run_again() {
    let (home, origin) = (Home::new(), Origin::new());
    let body = content(32 * MIB);
    let url = origin.put("/big.bin", Resource::new(body.clone()).only_with_cookie("k=old"));
    origin.allow(24 * MIB as u64);
    let mut first = home.start(&["get", "--json", &url, "--cookie", "k=old"]);
    let seen = first.wait_for_bytes(SURE);
    first.signal("INT");
    first.end().expect(130);
    origin.put("/big.bin", Resource::new(body.clone()).only_with_cookie("k=new"));
    origin.open();
    expect_gone_on(&home.run(&["get", "--json", &url, "--cookie", "k=new"]).expect(0), &url, seen);
    assert!(home.read("big.bin") == body);
}

#[test]
fn a_state_file_in_use_by_another_download_says_so() {
    let (home, origin) = (Home::new(), Origin::new());
    let (url, _) = part_sent(&origin);
    let mut first = home.start(&["get", "--json", "--state", "s.redb", &url]);
    first.wait_for_bytes(1);
    let other = origin.put("/other", Resource::new(""));
    let second = home.run(&["get", "--state", "s.redb", &other]).expect(1);
    assert_eq!(
        second.stderr,
        "gosh-dl: s.redb: the state file is in use by another process; wait for it, or stop it first\n"
    );
}

#[test]
fn list_resume_and_cancel_know_what_is_left() {
    let (home, origin) = (Home::new(), Origin::new());
    let (url, body) = part_sent(&origin);
    let mut first = home.start(&["get", "--json", &url]);
    first.wait_for_bytes(SURE);
    let list = home.run(&["list"]).expect(0);
    assert!(
        list.stdout.contains(&format!("running      in process {}  {url}", first.id())),
        "{}",
        list.stdout
    );
    assert!(list.stderr.contains("kill -INT PROCESS"), "{}", list.stderr);
    let running = home.run(&["list", "--json"]).expect(0).json();
    let id = running[0]["id"].as_str().unwrap();
    assert_eq!((running.len(), &running[0]["process"]), (1, &first.id().into()));
    assert!(list.stdout.starts_with(&format!("{id}  ")), "{}", list.stdout);
    for command in ["cancel", "resume"] {
        let refused = home.run(&[command, &id[..6]]).expect(1);
        let stop = format!("it is running; stop it first (kill -INT {})", first.id());
        assert!(refused.stderr.contains(&stop), "{}", refused.stderr);
    }
    first.signal("INT");
    first.end().expect(130);

    let list = home.run(&["list", "--json"]).expect(0).json();
    assert_eq!((list.len(), &list[0]["url"], &list[0]["id"]), (1, &url.as_str().into(), &id.into()));
    assert!(list[0]["completed"].as_u64().unwrap() >= SURE, "{list:?}");
    let plain = home.run(&["list"]).expect(0).stdout;
    assert!(plain.contains("of 32.0 MiB") && plain.contains(&url), "{plain}");

    let id = list[0]["id"].as_str().unwrap();
    let unknown = home.run(&["resume", "ffffffffffffffff"]).expect(1);
    assert!(unknown.stderr.contains("no such unfinished download"), "{}", unknown.stderr);
    origin.open();
    home.run(&["resume", &id[..6]]).expect(0);
    assert!(home.read("big.bin") == body);
    assert_eq!(home.states(), [""; 0]);
    assert!(home.run(&["list"]).expect(0).stderr.contains("no unfinished downloads"));
}

#[test]
fn resume_without_ids_goes_on_with_all_commands() {
    let (home, origin) = (Home::new(), Origin::new());
    let urls = ["/a", "/b"].map(|path| origin.put(path, Resource::new(content(4 * MIB))));
    for url in &urls {
        origin.allow(MIB as u64);
        let mut running = home.start(&["get", "--json", url]);
        running.wait_for_bytes(1);
        running.signal("INT");
        running.end().expect(130);
    }
    assert!(home.states().iter().filter(|name| name.ends_with(".redb")).count() == 2);
    origin.open();
    home.run(&["resume"]).expect(0);
    assert!(home.read("a") == content(4 * MIB) && home.read("b") == content(4 * MIB));
    assert_eq!(home.states(), [""; 0]);
}

#[test]
fn cancel_forgets_and_deletes_on_demand() {
    let (home, origin) = (Home::new(), Origin::new());
    for delete in [false, true] {
        let (url, _) = part_sent(&origin);
        let mut first = home.start(&["get", "--json", &url]);
        first.wait_for_bytes(SURE);
        first.signal("INT");
        first.end().expect(130);
        let id = home.run(&["list", "--json"]).expect(0).json()[0]["id"].as_str().unwrap().to_owned();
        if delete {
            let told = home.run(&["cancel", &id, "--delete-files", "--json"]).expect(0).json();
            assert_eq!(
                (told.len(), &told[0]["event"], &told[0]["id"]),
                (1, &"cancelled".into(), &(*id).into())
            );
            assert_eq!(told[0]["url"], url);
        } else {
            assert!(home.run(&["cancel", &id]).expect(0).stdout.starts_with(&format!("cancelled {id} ")));
        }
        assert_eq!(home.states(), [""; 0]);
        assert_eq!(home.names().is_empty(), delete, "{:?}", home.names());
        for name in home.names() {
            std::fs::remove_file(home.file(&name)).unwrap();
        }
    }
}

#[test]
fn a_named_state_is_kept_and_lists_what_is_complete() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/a.txt", Resource::new("abc"));
    for _ in 0..2 {
        home.run(&["get", "--state", "s.redb", &url]).expect(0);
    }
    assert_eq!(home.read("a.txt"), b"abc");
    assert_eq!(home.read("a.1.txt"), b"abc");
    let list = home.run(&["list", "--json", "--state", "s.redb"]).expect(0).json();
    assert_eq!((list.len(), &list[0]["state"]), (1, &"completed".into()));
    assert_eq!(home.states(), [""; 0]);
    let missing = home.run(&["list", "--state", "missing.redb"]).expect(1);
    assert!(missing.stderr.contains("no such state file"), "{}", missing.stderr);
}

#[cfg(unix)]
#[test]
fn states_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    for storage in ["redb", "sqlite"] {
        let (home, origin) = (Home::new(), Origin::new());
        let (url, _) = part_sent(&origin);
        let mut first = home.start(&["get", "--json", "--storage", storage, &url]);
        first.wait_for_bytes(SURE);
        let names = home.states();
        assert!(names.len() > 2, "{names:?}");
        for name in names {
            let found = std::fs::metadata(home.file("../state/gosh-dl").join(&name)).unwrap();
            assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_list_that_cannot_be_written_is_an_error() {
    let (home, origin) = (Home::new(), Origin::new());
    let (url, _) = part_sent(&origin);
    let mut first = home.start(&["get", "--json", &url]);
    first.wait_for_bytes(1);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = home.command(&["list"]).stdout(full).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write to standard output: "), "{stderr}");
}
