//! What is redb's own. The rules that every store keeps are tested by the conformance suite.
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

use gosh_dl_core::base::store::{Store as _, StoreOp, Table};
use gosh_dl_redb::RedbStore;
use redb::ReadableTable as _;
use std::path::PathBuf;

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

#[cfg(unix)]
#[test]
fn a_note_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    fixture.open().save_note(b"note").unwrap();
    let note = std::fs::metadata(fixture.path().with_extension("redb.note")).unwrap();
    assert_eq!(note.permissions().mode() & 0o777, 0o600);
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

/// Version 1 had no torrents; all else is as it was.
#[test]
fn a_file_of_the_first_version_is_brought_up_to_date_with_all_that_it_holds() {
    let fixture = Fixture::new();
    let put =
        |table, value: &'static [u8]| StoreOp::Put { table, key: b"key"[..].into(), value: value.into() };
    let mut store = fixture.open();
    store.commit(&[put(Table::Download, b"a"), put(Table::Progress, b"b")]).unwrap();
    let before = store.load().unwrap();
    drop(store);
    let table: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("meta");
    let version = |new: Option<u32>| {
        let database = redb::Database::open(fixture.path()).unwrap();
        let write = database.begin_write().unwrap();
        let found = {
            let mut meta = write.open_table(table).unwrap();
            let found = meta.get(&b"version"[..]).unwrap().unwrap().value().to_vec();
            if let Some(new) = new {
                meta.insert(&b"version"[..], &new.to_be_bytes()[..]).unwrap();
            }
            found
        };
        write.commit().unwrap();
        found
    };
    assert_eq!(version(Some(1)), 2_u32.to_be_bytes());
    let mut store = fixture.open();
    assert_eq!(store.load().unwrap(), before);
    store.commit(&[put(Table::Torrent, b"c")]).unwrap();
    assert_eq!(store.load().unwrap().len(), 3);
    drop(store);
    assert_eq!(version(None), 2_u32.to_be_bytes());
}
