//! Finished downloads go to another directory.

use crate::lab::{Home, content};
use crate::origin::{Origin, Resource};
use std::time::Duration;

const MIB: usize = 1 << 20;

/// A complete download, and its id.
fn fetched(home: &Home, origin: &Origin, len: usize) -> (String, Vec<u8>) {
    let body = content(len);
    let url = origin.put("/a.bin", Resource::new(body.clone()));
    home.run(&["get", "--state", "s.redb", &url]).expect(0);
    let list = home.run(&["list", "--json", "--state", "s.redb"]).expect(0).json();
    (list[0]["id"].as_str().unwrap().to_owned(), body)
}

#[test]
fn a_complete_file_moves_and_is_known_where_it_is() {
    let (home, origin) = (Home::new(), Origin::new());
    let (id, body) = fetched(&home, &origin, MIB);
    let moved = home.run(&["move", "--state", "s.redb", &id[..6], "new/deeper"]).expect(0).stdout;
    let (from, to) = (home.file("a.bin"), home.file("new/deeper/a.bin"));
    assert_eq!(moved, format!("moved {} to {}\n", from.display(), to.display()));
    assert!(!from.exists() && home.read("new/deeper/a.bin") == body);

    let moved = home.run(&["move", "--json", "--state", "s.redb", &id, "."]).expect(0).json();
    assert_eq!((moved.len(), &moved[0]["event"], &moved[0]["id"]), (1, &"moved".into(), &id.into()));
    assert_eq!(moved[0]["path"], from.to_str().unwrap());
    assert!(home.read("a.bin") == body);
    let list = home.run(&["list", "--json", "--state", "s.redb"]).expect(0).json();
    assert_eq!((&list[0]["state"], &list[0]["path"]), (&"completed".into(), &from.to_str().unwrap().into()));
}

#[test]
fn what_cannot_be_moved_says_why_and_stays() {
    let (home, origin) = (Home::new(), Origin::new());
    let (id, body) = fetched(&home, &origin, MIB);
    std::fs::create_dir(home.file("taken")).unwrap();
    std::fs::write(home.file("taken/a.bin"), "mine").unwrap();
    let cases = [
        ("ffffffff", "new", "ffffffff: no such download; gosh-dl list shows the ids"),
        (&id, "s.redb", "/s.redb: this is not a directory"),
        (&id, "a.bin/below", "/a.bin"),
        (&id, "taken", "nothing was moved: take that away first, or choose another directory"),
    ];
    for (id, dir, why) in cases {
        let refused = home.run(&["move", "--state", "s.redb", id, dir]).expect(1);
        assert!(refused.stderr.contains(why) && refused.stdout.is_empty(), "{}", refused.stderr);
        assert!(refused.stderr.starts_with("gosh-dl: "), "{}", refused.stderr);
        assert!(home.read("a.bin") == body);
    }
    let failed = home.run(&["move", "--json", "--state", "s.redb", &id, "taken"]).expect(1).json();
    assert_eq!((&failed[0]["event"], &failed[0]["kind"]), (&"failed".into(), &"storage".into()));
    assert_eq!(failed[0]["path"], home.file("a.bin").to_str().unwrap());
    assert_eq!(home.read("taken/a.bin"), b"mine");
    assert_eq!(std::fs::read_dir(home.file("taken")).unwrap().count(), 1);
}

#[test]
fn what_is_not_complete_is_not_moved_and_not_gone_on_with() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/big.bin", Resource::new(content(32 * MIB)));
    origin.allow(8 * MIB as u64);
    let mut first = home.start(&["get", "--json", &url]);
    first.wait_for_bytes(1);
    let id = home.run(&["list", "--json"]).expect(0).json()[0]["id"].as_str().unwrap().to_owned();
    let running = home.run(&["move", &id, "new"]).expect(1).stderr;
    assert!(running.contains("it is running; stop it first"), "{running}");
    first.signal("INT");
    first.end().expect(130);
    origin.open();
    let heads = origin.heads().len();
    let refused = home.run(&["move", &id, "new"]).expect(1).stderr;
    let why = format!("it is not complete; gosh-dl resume {id} fetches the rest");
    assert!(refused.contains(&why), "{refused}");
    assert_eq!((origin.heads().len(), home.file("new").exists()), (heads, false));
    home.run(&["resume", &id]).expect(0);
}

/// Killed at any moment, the same command goes on, across file systems too.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_move_goes_on_when_run_again() {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &std::path::Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    let (home, origin) = (Home::new(), Origin::new());
    let (id, body) = fetched(&home, &origin, 32 * MIB);
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    assert_ne!(device(other.path()), device(&home.file(".")), "they are two file systems");
    let mut killed = 0;
    for round in 0..12 {
        let (to, from) = (other.path().to_str().unwrap().to_owned(), home.file(".").display().to_string());
        let (from, to) = if round % 2 == 0 { (from, to) } else { (to, from) };
        let arguments = ["move", "--state", "s.redb", &*id, &*to];
        let running = home.start(&arguments);
        std::thread::sleep(Duration::from_millis(3 * (round + 1)));
        running.signal("KILL");
        killed += u32::from(running.end().code.is_none());
        home.run(&arguments).expect(0);
        let path = std::path::Path::new(&to).join("a.bin");
        assert!(std::fs::read(&path).unwrap() == body, "round {round}");
        let left: Vec<_> =
            std::fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name.to_string_lossy().starts_with("s.redb")), "{round}: {left:?}");
    }
    assert!(killed > 0, "none of them lived long enough");
}
