//! `--record` and `gosh-dl replay`: a run as one file, and the same again from it.

use crate::lab::{Ended, Home, content};
use crate::origin::{Origin, Resource};

const MIB: usize = 1 << 20;

/// The last line of a replay.
fn trace_hash(ended: &Ended) -> String {
    let last = ended.stdout.lines().last().unwrap();
    assert!(last.starts_with("trace hash: "), "{last}");
    last.to_owned()
}

#[test]
fn a_recorded_run_is_replayed_step_by_step() {
    for runtime in ["tokio", "smol"] {
        let (home, origin) = (Home::new(), Origin::new());
        let good = origin.put("/good", Resource::new(content(2 * MIB)).header("X-Evil: \u{9b}2J\u{202e}"));
        let good = good.replace("http://", "http://me:hidden@");
        let options = ["--record", "run", "--runtime", runtime, "-H", "X-Key: hidden"];
        home.run(&[&["get", &good, &origin.url("/missing")], &options[..]].concat()).expect(1);
        let file = home.read("run");
        assert!(file.len() < MIB / 2 && !file.windows(6).any(|six| six == b"hidden"), "{} bytes", file.len());

        let shown = home.run(&["replay", "run"]).expect(0);
        shown.expect_harmless();
        for part in [
            "#1 ",
            "AddHttp { url: \"http://xx:xxxxxx@127.0.0.1:",
            "send \"GET /good HTTP/1.1",
            "data, ",
            "HTTP/1.1 404",
            "Completed",
            "it ends with the engine\n",
            "all outputs are those of the recorded run",
        ] {
            assert!(shown.stdout.contains(part), "{runtime}: no {part} in\n{}", shown.stdout);
        }
        assert!(!shown.stdout.contains("hidden"));
        let again = home.run(&["replay", "-q", "run"]).expect(0);
        assert_eq!((trace_hash(&again), again.stdout.lines().count()), (trace_hash(&shown), 3));
        let verbose = home.run(&["replay", "-q", "-vv", "run"]).expect(0);
        assert!(verbose.stderr.lines().count() > 3, "{}", verbose.stderr);
    }
}

#[test]
fn a_killed_run_is_replayed_up_to_its_end() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/big.bin", Resource::new(content(32 * MIB)));
    origin.allow(24 * MIB as u64);
    let mut running = home.start(&["get", "--json", "--record", "run", &url]);
    running.wait_for_bytes(12 * MIB as u64);
    running.signal("KILL");
    assert_eq!(running.end().code, None);
    let shown = home.run(&["replay", "run"]).expect(0);
    assert!(shown.stdout.contains("it was cut off there\n"), "{}", shown.stdout);
    assert!(shown.stdout.contains("all outputs are those of the recorded run"), "{}", shown.stdout);
    assert!(shown.stdout.matches(" write ").count() > 10);
    trace_hash(&shown);

    // The next run goes on where this one was, and its recording begins with what was left.
    origin.open();
    home.run(&["get", "--record", "next", &url]).expect(0);
    assert!(home.run(&["replay", "next"]).expect(0).stdout.contains("Completed"));
}

#[test]
fn what_cannot_be_recorded_or_replayed_is_said() {
    let (home, origin) = (Home::new(), Origin::new());
    let url = origin.put("/a", Resource::new("x"));
    let ended = home.run(&["get", "--record", "no/such/dir/run", &url]).expect(1);
    assert!(ended.stderr.contains("no/such/dir/run"), "{}", ended.stderr);
    let ended = home.run(&["replay", "missing"]).expect(1);
    assert!(ended.stderr.contains("missing: No such file or directory"), "{}", ended.stderr);
    std::fs::write(home.file("other"), "something else").unwrap();
    let ended = home.run(&["replay", "other"]).expect(1);
    assert!(ended.stderr.contains("other: not a recording of gosh-dl"), "{}", ended.stderr);
    home.run(&["get", "--record", "run", &url]).expect(0);
    let mut file = home.read("run");
    let middle = file.len() / 2;
    file[middle..middle + 40].fill(0xff);
    std::fs::write(home.file("damaged"), file).unwrap();
    let ended = home.run(&["replay", "damaged"]);
    assert!(ended.code == Some(1) || ended.stdout.contains("cut off"), "{ended:?}");
}
