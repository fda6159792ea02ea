//! What each store costs: durable commits, bytes on disk, and loading many downloads.

use crate::table;
use bytes::Bytes;
use gosh_dl_core::base::store::{Store, StoreError, StoreOp, Table};
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::download::http::HttpSaved;
use gosh_dl_core::engine::record::{DownloadRecord, SavedState, encode_progress};
use gosh_dl_redb::RedbStore;
use gosh_dl_sqlite::SqliteStore;
use std::path::Path;
use std::time::Instant;

/// Opens one kind of store.
type Open = fn(&Path) -> Result<Box<dyn Store>, StoreError>;

/// Runs and prints.
pub(crate) fn run(quick: bool) {
    let (commits, downloads) = if quick { (200, 1000) } else { (2000, 10_000) };
    let kinds: [(&str, Open); 2] = [
        ("redb", |path| Ok(Box::new(RedbStore::open(path)?))),
        ("SQLite", |path| Ok(Box::new(SqliteStore::open(path)?))),
    ];
    let rows: Vec<Vec<String>> =
        kinds.iter().map(|(name, open)| measure(name, *open, commits, downloads)).collect();
    let load = format!("load {downloads} downloads");
    let head = ["", "synced commits/s", "notes/s", "bytes on disk", "bytes per download", &load];
    table::words("Stores, in the temporary directory", &head, &rows);
}

fn measure(name: &str, open: Open, commits: u64, downloads: u64) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("state");
    let mut store = open(&path).expect("a store");
    let records: Vec<StoreOp> =
        (0..downloads).flat_map(|number| [download(number), progress(number, 0)]).collect();
    for batch in records.chunks(500) {
        store.commit(batch).expect("a commit");
    }
    let began = Instant::now();
    for number in 0..commits {
        // Its value changes each time: what stays as it is may cost nothing.
        store.commit(&[progress(number % downloads, number + 1)]).expect("a commit");
    }
    let per_second = commits as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    for number in 0..commits {
        store.save_note(&number.to_be_bytes().repeat(100)).expect("a note");
    }
    let notes = commits as f64 / began.elapsed().as_secs_f64();
    drop(store);
    let bytes: u64 = std::fs::read_dir(dir.path())
        .expect("the directory")
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|found| found.len())
        .sum();
    let began = Instant::now();
    let loaded = open(&path).and_then(|mut store| store.load()).expect("a store");
    let load = began.elapsed();
    assert_eq!(loaded.len() as u64, 2 * downloads, "{name} has all records");
    vec![
        name.to_owned(),
        format!("{per_second:.0}"),
        format!("{notes:.0}"),
        bytes.to_string(),
        (bytes / downloads).to_string(),
        format!("{:.1} ms", load.as_secs_f64() * 1000.0),
    ]
}

fn key(number: u64) -> Bytes {
    Bytes::from([number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(), number.to_be_bytes()].concat())
}

fn download(number: u64) -> StoreOp {
    let record = DownloadRecord {
        url: format!("https://mirror.example.org/pub/releases/{number}/image.iso"),
        info_hash: None,
        options: DownloadOptions::new().save_dir("/home/somebody/Downloads"),
        state: SavedState::Queued,
        created_at: 1_700_000_000_000 + number,
        completed_at: None,
        order: number,
        moving: None,
    };
    StoreOp::Put { table: Table::Download, key: key(number), value: record.encode().into() }
}

fn progress(number: u64, round: u64) -> StoreOp {
    let saved = HttpSaved { total: Some((1 << 30) + round), ..HttpSaved::default() };
    StoreOp::Put { table: Table::Progress, key: key(number), value: encode_progress(&saved).into() }
}
