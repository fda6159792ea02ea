//! What is SQLite's own: the columns for people, read as `sqlite3` would. The rules that every store keeps are tested by
//! the conformance suite.
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

use bytes::Bytes;
use gosh_dl_core::base::store::{Record, Store as _, StoreOp, Table};
use gosh_dl_core::base::{FileName, InfoHash, RangeSet};
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::download::http::HttpSaved;
use gosh_dl_core::download::target::Part;
use gosh_dl_core::download::torrent::TorrentSaved;
use gosh_dl_core::engine::record::{DownloadRecord, SavedState, encode_progress, encode_torrent};
use gosh_dl_core::wire::torrent::Magnet;
use gosh_dl_sqlite::SqliteStore;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

const KEY: [u8; 16] = [0x11; 16];

fn record(state: SavedState) -> StoreOp {
    let record = DownloadRecord {
        url: "http://me:secret@h.example/big.iso".to_owned(),
        info_hash: None,
        options: DownloadOptions::new().save_dir("/srv").filename("asked"),
        completed_at: (state == SavedState::Completed).then_some(1_700_000_001_500),
        state,
        created_at: 1_700_000_000_500,
        order: 0,
        moving: None,
    };
    put(Table::Download, record.encode())
}

fn progress(done: u64) -> StoreOp {
    let name = FileName::new("big.iso").unwrap();
    let mut durable = RangeSet::new();
    durable.insert(0..done);
    let part_name = name.partial();
    let part = Part { final_name: name, part_name, identity: None, durable, finalizing: false };
    let saved = HttpSaved { total: Some(1000), part: Some(part), ..HttpSaved::default() };
    put(Table::Progress, encode_progress(&saved))
}

fn put(table: Table, value: Vec<u8>) -> StoreOp {
    StoreOp::Put { table, key: Bytes::copy_from_slice(&KEY), value: value.into() }
}

/// The row of the view as one line, as another program sees it.
fn shown(path: &Path) -> String {
    let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let query =
        "SELECT concat_ws(' ', id, name, state, bytes_done, coalesce(bytes_total, '-'), coalesce(error, '-'),
        added_utc, coalesce(completed_utc, '-'), save_dir, url) FROM downloads";
    reader.query_row(query, [], |row| row.get(0)).unwrap()
}

/// As the command line shows it.
const ID: &str = "1111111111111111";
const ENDS: &str = "/srv http://h.example/big.iso";

#[test]
fn others_read_how_a_download_stands_while_the_store_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    let mut store = SqliteStore::open(&path).unwrap();
    store.commit(&[record(SavedState::Queued)]).unwrap();
    assert_eq!(shown(&path), format!("{ID} asked queued 0 - - 2023-11-14 22:13:20 - {ENDS}"));
    store.commit(&[progress(400)]).unwrap();
    assert_eq!(shown(&path), format!("{ID} big.iso queued 400 1000 - 2023-11-14 22:13:20 - {ENDS}"));
    let failed =
        SavedState::Error { kind: "network".into(), message: "the server hung up".into(), retryable: true };
    store.commit(&[record(failed)]).unwrap();
    assert_eq!(
        shown(&path),
        format!("{ID} big.iso error 400 1000 the server hung up 2023-11-14 22:13:20 - {ENDS}")
    );
    store.commit(&[record(SavedState::Completed)]).unwrap();
    assert_eq!(
        shown(&path),
        format!("{ID} big.iso completed 1000 1000 - 2023-11-14 22:13:20 2023-11-14 22:13:21 {ENDS}")
    );
}

#[test]
fn torrents_have_names_and_bytes_too() {
    let hash = InfoHash([0xab; 20]);
    for (name, shown_name) in [(Some("some album"), "some album"), (None, &*hash.to_string())] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.sqlite");
        let mut store = SqliteStore::open(&path).unwrap();
        let link = Magnet { name: name.map(str::to_owned), ..Magnet::new(hash) }.to_string();
        let record = DownloadRecord {
            url: link.clone(),
            info_hash: Some(hash),
            options: DownloadOptions::new().save_dir("/srv"),
            completed_at: None,
            state: SavedState::Paused,
            created_at: 1_700_000_000_500,
            order: 0,
            moving: None,
        };
        let saved = TorrentSaved { wanted: Some(3000), completed: 1000, ..TorrentSaved::default() };
        store
            .commit(&[put(Table::Download, record.encode()), put(Table::Progress, encode_torrent(&saved))])
            .unwrap();
        let expected = format!("{ID} {shown_name} paused 1000 3000 - 2023-11-14 22:13:20 - /srv {link}");
        assert_eq!(shown(&path), expected);
    }
}

/// A database as version 1 of the schema made it, which had no torrents.
#[test]
fn a_database_of_the_first_version_is_brought_up_to_date_with_all_that_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../src/schema.sql")).unwrap();
    old.execute_batch(
        "PRAGMA application_id = 0x676f7368; PRAGMA user_version = 1;
        INSERT INTO meta VALUES (x'6d', x'01'); INSERT INTO note VALUES (1, x'6e');
        INSERT INTO download (key, value, state) VALUES (x'6b', x'02', 'paused');
        INSERT INTO progress (key, value, bytes_done) VALUES (x'6b', x'03', 7);",
    )
    .unwrap();
    drop(old);
    let mut store = SqliteStore::open(&path).unwrap();
    let record = |table, key: &[u8], value: u8| Record { table, key: key.to_vec(), value: vec![value] };
    let before =
        [record(Table::Meta, b"m", 1), record(Table::Download, b"k", 2), record(Table::Progress, b"k", 3)];
    let sorted = |mut records: Vec<Record>| {
        records.sort_by_key(|record| record.value.clone());
        records
    };
    assert_eq!(sorted(store.load().unwrap()), before);
    assert_eq!(store.load_note().unwrap().unwrap(), b"n");
    store.commit(&[put(Table::Torrent, vec![4])]).unwrap();
    drop(store);
    let reader = Connection::open(&path).unwrap();
    let version: i64 = reader.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 2);
    drop(reader);
    let after = sorted(SqliteStore::open(&path).unwrap().load().unwrap());
    assert_eq!((&after[..3], &after[3]), (&before[..], &record(Table::Torrent, &KEY, 4)));
}

#[test]
fn the_log_is_folded_into_the_database_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    let mut store = SqliteStore::open(&path).unwrap();
    store.commit(&[record(SavedState::Queued)]).unwrap();
    store.save_note(b"note").unwrap();
    drop(store);
    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["state.sqlite", "state.sqlite.lock"]);
}

#[cfg(unix)]
#[test]
fn every_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(dir.path().join("state.sqlite")).unwrap();
    store.commit(&[record(SavedState::Queued)]).unwrap();
    for name in ["state.sqlite", "state.sqlite-wal", "state.sqlite-shm", "state.sqlite.lock"] {
        let found = std::fs::metadata(dir.path().join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name}");
    }
}
