//! The death of the process, at any moment.

use super::{Backend, Place, Random, open, put};
use gosh_dl_core::base::store::{Record, StoreError, Table};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Commits numbered batches for ever, and says so of each, if this process is a child that the suite started.
pub fn commit_until_killed(backend: &impl Backend) {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let mut store = open(backend, Path::new(&path));
    let records = store.load().unwrap_or_else(|error| panic!("{error}"));
    let start = records.iter().filter(|record| record.table == Table::Download).count() as u64;
    for number in start.. {
        let key = number.to_be_bytes();
        let batch = [put(Table::Download, &key, &key.repeat(40)), put(Table::Progress, b"last", &key)];
        if store.commit(&batch).and_then(|()| store.save_note(&key)).is_err() {
            return;
        }
        // Straight to the pipe: the test harness captures what `println!` says.
        if writeln!(std::io::stdout(), "acknowledged {number}").is_err() {
            return;
        }
    }
}

/// Kills a process again and again while it commits: all that it acknowledged is there, each batch whole. While it
/// lives, nobody else gets in. `child` is the path of the test that calls [`commit_until_killed`], with the crate's name.
pub fn killed_processes_lose_nothing(backend: &impl Backend, child: &str) {
    let place = Place::new();
    let mut random = Random(3);
    for round in 0..10 {
        let mut process = start(child, &place.path());
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let acknowledged = lines
            .map_while(Result::ok)
            .filter_map(|line| line.split_once("acknowledged ")?.1.trim().parse::<u64>().ok());
        let mut acknowledged = acknowledged.peekable();
        assert!(acknowledged.peek().is_some(), "round {round}: the child committed nothing");
        assert_eq!(backend.open(&place.path()).err(), Some(StoreError::InUse), "round {round}");
        let killer = std::thread::spawn({
            let after = Duration::from_micros(random.below(30_000) as u64);
            move || {
                std::thread::sleep(after);
                process.kill().expect("it can be killed");
                process.wait().expect("it has ended");
            }
        });
        let last = acknowledged.last().unwrap_or(0);
        killer.join().expect("it was killed");
        check(backend, &place.path(), last);
    }
}

fn start(test: &str, path: &Path) -> Child {
    let name = test.split_once("::").map_or(test, |(_, name)| name);
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child")
}

fn check(backend: &impl Backend, path: &Path, last: u64) {
    let mut store = open(backend, path);
    let records = store.load().unwrap_or_else(|error| panic!("{error}"));
    let downloads: Vec<&Record> = records.iter().filter(|record| record.table == Table::Download).collect();
    assert!(downloads.len() as u64 > last, "{} of {last}", downloads.len());
    for (number, record) in (0_u64..).zip(&downloads) {
        let key = number.to_be_bytes();
        assert_eq!((&record.key[..], &record.value[..]), (&key[..], &key.repeat(40)[..]));
    }
    let newest = records.iter().find(|record| record.table == Table::Progress).expect("a batch is whole");
    assert_eq!(newest.value, (downloads.len() as u64 - 1).to_be_bytes(), "a batch is whole or not there");
    let note = store.load_note().unwrap_or_else(|error| panic!("{error}"));
    let noted = note.and_then(|note| note.try_into().ok()).map_or(0, u64::from_be_bytes);
    assert!(noted >= last, "the note says {noted}, {last} was acknowledged");
}

const CHILD: &str = "GOSH_DL_CONFORMANCE_CHILD";
