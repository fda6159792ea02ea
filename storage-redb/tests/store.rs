//! The store against a model, against damage, and against the death of its process.
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

use bytes::Bytes;
use gosh_dl_core::base::store::{MemoryStore, Record, Store, StoreError, StoreOp, Table};
use gosh_dl_redb::RedbStore;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("deep/er/state.redb")
    }

    fn open(&self) -> RedbStore {
        RedbStore::open(self.path()).unwrap()
    }
}

fn put(table: Table, key: &[u8], value: &[u8]) -> StoreOp {
    StoreOp::Put { table, key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) }
}

fn sorted(store: &mut dyn Store) -> Vec<Record> {
    let mut records = store.load().unwrap();
    records.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
    records
}

/// xorshift: the same batches in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn op(&mut self) -> StoreOp {
        let table = Table::ALL[self.below(3) as usize];
        let key = Bytes::from(vec![self.below(12) as u8; 1 + self.below(16) as usize]);
        if self.below(3) == 0 {
            return StoreOp::Delete { table, key };
        }
        let value = Bytes::from(vec![self.below(256) as u8; self.below(5000) as usize]);
        StoreOp::Put { table, key, value }
    }
}

#[test]
fn it_keeps_what_a_store_in_memory_keeps() {
    let fixture = Fixture::new();
    let (mut random, mut model, mut store) = (Random(7), MemoryStore::new(), fixture.open());
    for round in 0..120 {
        let batch: Vec<StoreOp> = (0..random.below(20)).map(|_| random.op()).collect();
        model.commit(&batch).unwrap();
        store.commit(&batch).unwrap();
        if round % 10 == 0 {
            drop(store);
            store = fixture.open();
        }
        assert_eq!(sorted(&mut store), sorted(&mut model), "round {round}");
    }
}

#[test]
fn the_last_operation_on_a_key_counts() {
    let fixture = Fixture::new();
    let mut store = fixture.open();
    let delete = StoreOp::Delete { table: Table::Download, key: Bytes::from_static(b"b") };
    let put = |key: &[u8], value: &[u8]| put(Table::Download, key, value);
    store.commit(&[put(b"a", b"1"), put(b"b", b"1"), put(b"a", b"2"), delete]).unwrap();
    let records = store.load().unwrap();
    assert_eq!(records, [Record { table: Table::Download, key: b"a".into(), value: b"2".into() }]);
}

#[test]
fn a_second_opener_is_refused() {
    let fixture = Fixture::new();
    let first = fixture.open();
    assert_eq!(RedbStore::open(fixture.path()).unwrap_err(), StoreError::InUse);
    drop(first);
    fixture.open();
}

#[test]
fn a_newer_version_is_refused() {
    let fixture = Fixture::new();
    drop(fixture.open());
    {
        let database = redb::Database::open(fixture.path()).unwrap();
        let write = database.begin_write().unwrap();
        let table: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("meta");
        write.open_table(table).unwrap().insert(&b"version"[..], &99_u32.to_be_bytes()[..]).unwrap();
        write.commit().unwrap();
    }
    let error = RedbStore::open(fixture.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerVersion { found: 99, .. }), "{error:?}");
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path().parent().unwrap()).unwrap();
    for content in [&b"x"[..], &[0; 4096], &[0xff; 100_000], b"SQLite format 3\0 and more"] {
        std::fs::write(fixture.path(), content).unwrap();
        let error = RedbStore::open(fixture.path()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
        assert_eq!(std::fs::read(fixture.path()).unwrap(), content);
    }
    let directory = RedbStore::open(fixture.dir.path());
    assert!(matches!(directory, Err(StoreError::Io(_))), "{directory:?}");
}

#[test]
fn a_database_of_something_else_is_refused() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path().parent().unwrap()).unwrap();
    {
        let database = redb::Database::create(fixture.path()).unwrap();
        let write = database.begin_write().unwrap();
        let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("theirs");
        write.open_table(table).unwrap().insert("a", 1).unwrap();
        write.commit().unwrap();
    }
    let error = RedbStore::open(fixture.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
}

/// Opens and reads; whatever comes of it, it must be an answer.
fn survives(path: &Path) {
    let Ok(mut store) = RedbStore::open(path) else { return };
    let _ = store.load();
    let _ = store.commit(&[put(Table::Meta, b"k", b"v")]);
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let fixture = Fixture::new();
    let mut store = fixture.open();
    for number in 0..50_u8 {
        store.commit(&[put(Table::Progress, &[number; 16], &[number; 700])]).unwrap();
    }
    drop(store);
    let whole = std::fs::read(fixture.path()).unwrap();
    let damaged = fixture.dir.path().join("damaged.redb");
    for len in [1, 100, 512, 4096, 5000, 8192, 65_536, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&damaged, &whole[..len.min(whole.len())]).unwrap();
        survives(&damaged);
    }
    let mut random = Random(11);
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(8) {
            // Half of the damage is in the header, where it hurts most.
            let bound = if random.below(2) == 0 { 512 } else { bytes.len() as u64 };
            bytes[random.below(bound) as usize] ^= 1 << random.below(8);
        }
        std::fs::write(&damaged, &bytes).unwrap();
        survives(&damaged);
    }
}

#[test]
fn notes_survive_a_reopening_and_the_newest_wins() {
    let fixture = Fixture::new();
    for round in 0..4_u8 {
        let mut store = fixture.open();
        let expected = round.checked_sub(1).map(|before| vec![before; 3]);
        assert_eq!(store.load_note().unwrap(), expected);
        store.save_note(&[round; 1000]).unwrap();
        store.save_note(&[round; 3]).unwrap();
        assert_eq!(store.load_note().unwrap(), Some(vec![round; 3]));
    }
}

#[test]
fn a_damaged_note_is_none_and_a_torn_one_leaves_the_one_before() {
    let fixture = Fixture::new();
    let mut store = fixture.open();
    store.save_note(b"before").unwrap();
    store.save_note(b"after").unwrap();
    drop(store);
    let note = fixture.dir.path().join("deep/er/state.redb.note");
    let whole = std::fs::read(&note).unwrap();
    let after = whole.windows(5).position(|window| window == b"after").unwrap();
    for byte in [after - 20, after - 12, after - 8, after, after + 4] {
        let mut torn = whole.clone();
        torn[byte] ^= 0x40;
        std::fs::write(&note, &torn).unwrap();
        assert_eq!(fixture.open().load_note().unwrap().unwrap(), b"before", "byte {byte}");
    }
    std::fs::write(&note, b"garbage").unwrap();
    let mut store = fixture.open();
    assert_eq!(store.load_note().unwrap(), None);
    store.save_note(b"again").unwrap();
    drop(store);
    assert_eq!(fixture.open().load_note().unwrap().unwrap(), b"again");
}

const CHILD: &str = "GOSH_DL_REDB_TEST_CHILD";

/// Not a test of its own: what the next one runs in a process that it kills.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let mut store = RedbStore::open(Path::new(&path)).unwrap();
    let records = store.load().unwrap();
    let start = records.iter().filter(|record| record.table == Table::Download).count() as u64;
    for number in start.. {
        let key = number.to_be_bytes();
        let batch = [put(Table::Download, &key, &key.repeat(40)), put(Table::Progress, b"last", &key)];
        store.commit(&batch).unwrap();
        store.save_note(&key).unwrap();
        // Straight to the pipe: the test harness captures what `println!` says.
        writeln!(std::io::stdout(), "acknowledged {number}").unwrap();
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let fixture = Fixture::new();
    for round in 0..8_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_commits_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(CHILD, fixture.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged = lines.map_while(Result::ok).filter_map(|line| {
            line.split_once("acknowledged ").map(|(_, number)| number.trim().parse::<u64>().unwrap())
        });
        let last = acknowledged.take(5 + round * 7).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut store = fixture.open();
        let records = store.load().unwrap();
        let downloads: Vec<&Record> =
            records.iter().filter(|record| record.table == Table::Download).collect();
        assert!(downloads.len() as u64 > last, "round {round}: {} of {last}", downloads.len());
        for (number, record) in downloads.iter().enumerate() {
            let key = (number as u64).to_be_bytes();
            assert_eq!((&record.key[..], &record.value[..]), (&key[..], &key.repeat(40)[..]));
        }
        let newest = records.iter().find(|record| record.table == Table::Progress).unwrap();
        assert_eq!(newest.value, (downloads.len() as u64 - 1).to_be_bytes(), "a batch is whole or not there");
        let note = store.load_note().unwrap().unwrap();
        assert!(u64::from_be_bytes(note.try_into().unwrap()) >= last);
    }
}
