//! What is redb's own. The rules that every store keeps are tested by the conformance suite.
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

use gosh_dl_core::base::store::Store as _;
use gosh_dl_redb::RedbStore;
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
