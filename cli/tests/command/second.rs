//! The other runtime and the other store.

use crate::lab::{Home, content};
use crate::origin::{Origin, Resource};

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
    origin.open();
    let get = ["get", "--json", "--state", "two.sqlite", "--runtime", "smol", &url];
    let lines = home.run(&get).expect(0).json();
    let started = lines.iter().find(|line| line["event"] == "started").unwrap();
    assert!(started["completed"].as_u64().unwrap() >= seen, "{seen} bytes were there: {started}");
    assert!(home.read("big.bin") == body);
    let list = home.run(&["list", "--json", "--state", "two.sqlite"]).expect(0).json();
    assert_eq!(list[0]["state"], "completed");
}
