//! The other runtime and the other store.

use crate::lab::{Home, content};
use crate::origin::{Origin, Resource};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// What surely arrives of it before the origin stops.
const SURE: u64 = 12 * MIB as u64;

#[test]
fn a_killed_get_goes_on_with_every_runtime_and_store() {
    for runtime in ["tokio", "smol"] {
        for storage in ["redb", "sqlite"] {
            let (home, origin) = (Home::new(), Origin::new());
            let body = content(32 * MIB);
            let url = origin.put("/big.bin", Resource::new(body.clone()));
            origin.allow(24 * MIB as u64);
            let get = ["get", "--json", "--runtime", runtime, "--storage", storage, &url];
            let mut first = home.start(&get);
            first.wait_for_bytes(SURE);
            first.signal("KILL");
            assert_eq!(first.end().code, None);
            assert!(home.states().iter().any(|name| name.ends_with(&format!(".{storage}"))));
            origin.open();
            let second = home.run(&get).expect(0).json();
            let started = second.iter().find(|line| line["event"] == "started").unwrap();
            assert!(started["completed"].as_u64().unwrap() > 0, "{runtime} {storage}: {started}");
            assert!(home.read("big.bin") == body);
            assert_eq!(home.states(), Vec::<String>::new(), "{runtime} {storage}");
        }
    }
}

#[test]
fn a_download_moves_to_the_other_store_and_runtime_halfway() {
    let (home, origin) = (Home::new(), Origin::new());
    let body = content(32 * MIB);
    let url = origin.put("/big.bin", Resource::new(body.clone()));
    origin.allow(24 * MIB as u64);
    let mut first = home.start(&["get", "--json", "--state", "one.redb", &url]);
    let seen = first.wait_for_bytes(SURE);
    first.signal("INT");
    first.end().expect(130);
    let told = home.run(&["state", "convert", "one.redb", "two.sqlite"]).expect(0).stdout;
    assert!(told.contains("two.sqlite: a sqlite state with the 1 downloads of"), "{told}");
    let again = home.run(&["state", "convert", "one.redb", "two.sqlite"]).expect(1).stderr;
    assert!(again.contains("it is there already"), "{again}");
    let json = home.run(&["state", "convert", "--json", "one.redb", "three.redb"]).expect(0).json();
    let expected = serde_json::json!({
        "event": "converted", "from": "one.redb", "path": "three.redb", "storage": "redb", "downloads": 1
    });
    assert_eq!(json, [expected]);
    origin.open();
    let get = ["get", "--json", "--state", "two.sqlite", "--runtime", "smol", &url];
    let lines = home.run(&get).expect(0).json();
    let started = lines.iter().find(|line| line["event"] == "started").unwrap();
    assert!(started["completed"].as_u64().unwrap() >= seen, "{seen} bytes were there: {started}");
    assert!(home.read("big.bin") == body);
    let list = home.run(&["list", "--json", "--state", "two.sqlite"]).expect(0).json();
    assert_eq!(list[0]["state"], "completed");
}

/// Signals are heard, and answered in time, on a program without tokio as with it.
#[test]
fn signals_stop_a_get_on_smol() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let (home, origin) = (Home::new(), Origin::new());
        let url = origin.put("/big.bin", Resource::new(content(32 * MIB)));
        origin.allow(24 * MIB as u64);
        let mut first = home.start(&["get", "--json", "--runtime", "smol", &url]);
        first.wait_for_bytes(SURE);
        let at = Instant::now();
        first.signal(signal);
        let ended = first.end().expect(code);
        assert!(at.elapsed() < Duration::from_secs(2), "{signal}: {:?}", at.elapsed());
        assert!(ended.stderr.contains("run the same command again to resume"), "{}", ended.stderr);
    }
}

/// A runtime of tokio's has a poller of its own. With smol there is one poller in all, and no thread of tokio's.
#[cfg(target_os = "linux")]
#[test]
fn a_get_on_smol_makes_no_tokio_runtime() {
    let running = |runtime| {
        let (home, origin) = (Home::new(), Origin::new());
        let url = origin.put("/big.bin", Resource::new(content(32 * MIB)));
        origin.allow(24 * MIB as u64);
        let mut get = home.start(&["get", "--json", "--runtime", runtime, &url]);
        get.wait_for_bytes(SURE);
        let process = std::path::PathBuf::from(format!("/proc/{}", get.id()));
        let entries = |folder| std::fs::read_dir(process.join(folder)).unwrap().flatten();
        let threads: Vec<String> = entries("task")
            .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
            .collect();
        let is_poller = |path: &std::path::Path| path.to_string_lossy().contains("eventpoll");
        let pollers = entries("fd")
            .filter(|open| std::fs::read_link(open.path()).is_ok_and(|path| is_poller(&path)))
            .count();
        (pollers, threads)
    };
    let (pollers, threads) = running("smol");
    assert_eq!(pollers, 1, "{threads:?}");
    assert!(!threads.iter().any(|name| name.contains("tokio")), "{threads:?}");
    let (pollers, threads) = running("tokio");
    assert!(pollers > 1, "tokio's is seen: {threads:?}");
    assert!(!threads.iter().any(|name| name.contains("smol")), "{threads:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn bars_are_drawn_on_either_runtime() {
    for runtime in ["tokio", "smol"] {
        let (home, origin) = (Home::new(), Origin::new());
        let url = origin.put("/big.bin", Resource::new(content(2 * MIB)));
        let get = ["get", "--runtime", runtime, "--limit-rate", "1M", &url];
        let told = home.run_on_terminal(&get).expect(0).stdout;
        assert!(told.contains(" [==") && told.contains("KiB/s"), "{runtime}: {told:?}");
        assert!(told.contains("saved "), "{runtime}: {told:?}");
    }
}

/// Whoever waits for a server that says nothing leaves the processor to others.
#[cfg(target_os = "linux")]
#[test]
fn a_get_that_waits_takes_no_processor_time() {
    for runtime in ["tokio", "smol"] {
        let (home, origin) = (Home::new(), Origin::new());
        let url = origin.put("/big.bin", Resource::new(content(32 * MIB)));
        origin.allow(24 * MIB as u64);
        let mut get = home.start(&["get", "--json", "--runtime", runtime, &url]);
        get.wait_for_bytes(SURE);
        let used = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", get.id())).unwrap();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        // What is on its way still comes.
        std::thread::sleep(Duration::from_secs(1));
        let before = used();
        std::thread::sleep(Duration::from_secs(1));
        // In hundredths of a second.
        assert!(used() - before < 20, "{runtime}: {} of 100", used() - before);
    }
}
