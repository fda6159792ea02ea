//! The [`Store`] of the gosh-dl engine on SQLite: one database in WAL mode, to be looked at with `sqlite3`.
//!
//! `SELECT * FROM downloads` shows name, state, bytes, error and times of each download, also while an engine runs.
//! Those columns are derived; what the engine reads are the opaque `value` columns. Beside the database lie, while it
//! is open, `-wal` and `-shm`, and always an empty `.lock`, which keeps a second engine out.

mod readable;

use gosh_dl_core::base::store::{Record, Store, StoreError, StoreOp, Table};
use readable::{DownloadColumns, ProgressColumns};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params,
};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A store in one SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    /// Held after the connection: whoever opens next finds it closed.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is held, and let go with the store"))]
    lock: Lock,
}

/// The lock of a store.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread is just starting still has a copy, and the lock with it.
        let _ = self.0.unlock();
    }
}

impl SqliteStore {
    /// Opens the store at `path`, and makes it where there is none. The whole database is checked.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] while another process has it open, [`StoreError::NewerVersion`] for one that a newer
    /// version wrote, [`StoreError::Corrupt`] for a file that is damaged or no store.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).map_err(|error| from_io(&error))?;
        }
        check_file(path)?;
        let lock = lock(path)?;
        create(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        let version = check(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", FULL).map_err(failed)?;
        migrate(&mut connection, version, &MIGRATIONS)?;
        Ok(Self { connection, lock })
    }

    fn read_note(&self) -> rusqlite::Result<Option<Vec<u8>>> {
        self.connection.query_row("SELECT value FROM note", [], |row| row.get(0)).optional()
    }

    /// Without a sync the write-ahead log still is with the operating system, and whole or not there after a power cut.
    fn write_note(&self, note: &[u8]) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "synchronous", NORMAL)?;
        let written = self.connection.prepare_cached(PUT_NOTE)?.execute([note]);
        self.connection.pragma_update(None, "synchronous", FULL)?;
        written.map(drop)
    }

    fn read_all(&self) -> rusqlite::Result<Vec<Record>> {
        let mut records = Vec::new();
        for table in Table::ALL {
            let mut all =
                self.connection.prepare(&format!("SELECT key, value FROM {} ORDER BY key", name(table)))?;
            let rows = all.query_map([], |row| Ok(Record { table, key: row.get(0)?, value: row.get(1)? }))?;
            for record in rows {
                records.push(record?);
            }
        }
        Ok(records)
    }

    fn write_all(&mut self, batch: &[StoreOp]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        batch.iter().try_for_each(|op| apply(&transaction, op))?;
        transaction.commit()
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        self.read_all().map_err(failed)
    }

    fn commit(&mut self, batch: &[StoreOp]) -> Result<(), StoreError> {
        self.write_all(batch).map_err(failed)
    }

    fn save_note(&mut self, note: &[u8]) -> Result<(), StoreError> {
        self.write_note(note).map_err(failed)
    }

    fn load_note(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_note().map_err(failed)
    }
}

fn apply(transaction: &Transaction<'_>, op: &StoreOp) -> rusqlite::Result<()> {
    match op {
        StoreOp::Put { table: Table::Download, key, value } => {
            let c = DownloadColumns::of(key, value);
            transaction.prepare_cached(PUT_DOWNLOAD)?.execute(params![
                &key[..],
                &value[..],
                c.id,
                c.url,
                c.file_name,
                c.save_dir,
                c.state,
                c.error,
                c.added_ms,
                c.completed_ms
            ])
        }
        StoreOp::Put { table: Table::Progress, key, value } => {
            let c = ProgressColumns::of(value);
            let columns = params![&key[..], &value[..], c.file_name, c.bytes_done, c.bytes_total];
            transaction.prepare_cached(PUT_PROGRESS)?.execute(columns)
        }
        StoreOp::Put { table: Table::Torrent, key, value } => {
            transaction.prepare_cached(PUT_TORRENT)?.execute(params![&key[..], &value[..]])
        }
        StoreOp::Put { key, value, .. } => {
            transaction.prepare_cached(PUT_META)?.execute(params![&key[..], &value[..]])
        }
        StoreOp::Delete { table, key } => {
            let delete = format!("DELETE FROM {} WHERE key = ?1", name(*table));
            transaction.prepare_cached(&delete)?.execute([&key[..]])
        }
    }
    .map(drop)
}

fn name(table: Table) -> &'static str {
    match table {
        Table::Download => "download",
        Table::Progress => "progress",
        Table::Torrent => "torrent",
        _ => "meta",
    }
}

/// SQLite lets several processes write one database, so a file beside it says whose it is. Locks of the database itself
/// would be lost when this process closes another handle of it, and would keep `sqlite3` from reading.
fn lock(path: &Path) -> Result<Lock, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    loop {
        let file = private(File::options().create(true)).open(&name);
        let file = file.map_err(|error| from_io(&error))?;
        match file.try_lock() {
            Ok(()) if is_at(&file, &name) => return Ok(Lock(file)),
            // Its owner has just deleted it.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => return Err(from_io(&error)),
        }
    }
}

/// Makes an empty database where there is none. SQLite gives what it makes beside it the same permissions.
fn create(path: &Path) -> Result<(), StoreError> {
    match private(File::options().create_new(true)).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(from_io(&error)),
        _ => Ok(()),
    }
}

/// A new file is for its owner only: records may hold passwords, headers and cookies.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.write(true)
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |found: io::Result<std::fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
    identity(file.metadata()) == identity(std::fs::metadata(path))
}

/// A file that is open is not deleted.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

/// SQLite takes a file that is too short to be a database for an empty one.
fn check_file(path: &Path) -> Result<(), StoreError> {
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(from_io(&error)),
    };
    if !found.is_file() {
        return Err(StoreError::Io("it is not a file".to_owned()));
    }
    if (1..SHORTEST).contains(&found.len()) {
        return Err(StoreError::Corrupt("it is too short to be a database".to_owned()));
    }
    Ok(())
}

/// Looks at a database before anything is written to it. Returns the version of its schema, 0 where it is empty.
fn check(connection: &Connection) -> Result<usize, StoreError> {
    let number = |pragma: &str| {
        connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(failed)
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    let objects = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    if application != APPLICATION {
        return match (application, version, objects.map_err(failed)?) {
            (0, 0, 0) => Ok(0),
            _ => Err(StoreError::Corrupt("it is a database of something else".to_owned())),
        };
    }
    let Ok(found) = u32::try_from(version) else {
        return Err(StoreError::Corrupt("its version is out of range".to_owned()));
    };
    let found_steps = usize::try_from(found).unwrap_or(usize::MAX);
    if found_steps > MIGRATIONS.len() {
        return Err(StoreError::NewerVersion { found, supported: VERSION });
    }
    let verdict = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    match verdict.map_err(failed)?.as_str() {
        "ok" => Ok(found_steps),
        why => Err(StoreError::Corrupt(why.to_owned())),
    }
}

/// Makes every step from `version` on in one transaction.
fn migrate(connection: &mut Connection, version: usize, steps: &[&str]) -> Result<(), StoreError> {
    let Some(missing) = steps.get(version..).filter(|missing| !missing.is_empty()) else { return Ok(()) };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    missing.iter().try_for_each(|step| transaction.execute_batch(step)).map_err(failed)?;
    transaction.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
    let reached = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    transaction.pragma_update(None, "user_version", reached).map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn failed(error: rusqlite::Error) -> StoreError {
    let message = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(message),
        // A column or table that is not what it was made to be.
        Some(ErrorCode::Unknown | ErrorCode::TypeMismatch | ErrorCode::ConstraintViolation) | None => {
            StoreError::Corrupt(message)
        }
        Some(_) => StoreError::Io(message),
    }
}

fn from_io(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Io(error.to_string()),
    }
}

/// The steps from each version of the schema to the next; the first makes an empty database a store.
const MIGRATIONS: [&str; VERSION as usize] = [include_str!("schema.sql"), include_str!("schema_2.sql")];
/// The version of the schema that this build writes: `user_version`.
const VERSION: u32 = 2;
/// "gosh" in ASCII: tells a store from other databases.
const APPLICATION: i64 = 0x676f_7368;
/// How long a commit waits for somebody who writes with a tool.
const BUSY: Duration = Duration::from_secs(5);
/// The length in bytes of a database of one page of the smallest size.
const SHORTEST: u64 = 512;
/// Each commit is synced.
const FULL: &str = "FULL";
/// Commits are synced with the next that is, or when the log is folded into the database.
const NORMAL: &str = "NORMAL";

const PUT_META: &str = "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
const PUT_TORRENT: &str =
    "INSERT INTO torrent VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
const PUT_DOWNLOAD: &str = "INSERT OR REPLACE INTO download VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const PUT_PROGRESS: &str = "INSERT OR REPLACE INTO progress VALUES (?1, ?2, ?3, ?4, ?5)";
const PUT_NOTE: &str = "INSERT OR REPLACE INTO note VALUES (1, ?1)";

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> i64 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_migration_is_made_whole_or_not_at_all() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, 0, &["CREATE TABLE a (b)"]).unwrap();
        let steps = ["CREATE TABLE a (b)", "CREATE TABLE c (d)", "CREATE TABLE a (b)"];
        assert!(migrate(&mut connection, 1, &steps).is_err());
        assert_eq!(version(&connection), 1);
        assert!(connection.execute("INSERT INTO c VALUES (1)", []).is_err(), "the second step is undone");
        migrate(&mut connection, 1, &steps[..2]).unwrap();
        assert_eq!(version(&connection), 2);
        connection.execute("INSERT INTO c VALUES (1)", []).unwrap();
    }

    #[test]
    fn what_is_closed_is_free_though_a_process_that_is_being_started_has_a_copy_of_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = SqliteStore::open(&path).unwrap();
        let copy = store.lock.0.try_clone().unwrap();
        assert!(matches!(SqliteStore::open(&path), Err(StoreError::InUse)));
        drop(store);
        assert!(SqliteStore::open(&path).is_ok());
        drop(copy);
    }
}
