//! The stores that the suites are run over.

use gosh_dl_conformance::store::Backend;
use gosh_dl_core::base::store::{MemoryStore, Store, StoreError};
use gosh_dl_redb::RedbStore;
use gosh_dl_sqlite::SqliteStore;
use std::path::Path;

pub(crate) struct Redb;

impl Backend for Redb {
    fn open(&self, path: &Path) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(RedbStore::open(path)?))
    }

    fn make_newer(&self, path: &Path) -> bool {
        let database = redb::Database::open(path).unwrap();
        let write = database.begin_write().unwrap();
        let table: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("meta");
        write.open_table(table).unwrap().insert(&b"version"[..], &99_u32.to_be_bytes()[..]).unwrap();
        write.commit().unwrap();
        true
    }

    fn make_foreign(&self, path: &Path) -> bool {
        let database = redb::Database::create(path).unwrap();
        let write = database.begin_write().unwrap();
        let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("theirs");
        write.open_table(table).unwrap().insert("a", 1).unwrap();
        write.commit().unwrap();
        true
    }
}

pub(crate) struct Sqlite;

impl Backend for Sqlite {
    fn open(&self, path: &Path) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(SqliteStore::open(path)?))
    }

    fn make_newer(&self, path: &Path) -> bool {
        let database = rusqlite::Connection::open(path).unwrap();
        database.pragma_update(None, "user_version", 99).unwrap();
        true
    }

    fn make_foreign(&self, path: &Path) -> bool {
        let database = rusqlite::Connection::open(path).unwrap();
        database.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)").unwrap();
        true
    }
}

#[derive(Default)]
pub(crate) struct Memory(MemoryStore);

impl Backend for Memory {
    fn open(&self, _path: &Path) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(self.0.clone()))
    }
}
