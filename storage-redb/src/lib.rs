//! The [`Store`] of the gosh-dl engine on redb: one file, transactional, safe across power cuts.
//!
//! Besides the database `state.redb` lies `state.redb.note`, which spares work after the death of a process and may be
//! deleted at any time.

mod note;

use gosh_dl_core::base::store::{Record, Store, StoreError, StoreOp, Table};
use note::NoteFile;
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    TableError,
};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// A store in one redb file.
#[derive(Debug)]
pub struct RedbStore {
    database: Guarded,
    path: PathBuf,
    note: Option<NoteFile>,
    /// Whether the last commit found no room: redb wants to be opened anew then.
    full: bool,
}

impl RedbStore {
    /// Opens the store at `path`, and makes it where there is none.
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
        let fresh = std::fs::metadata(path).map_or(true, |found| found.len() == 0);
        if fresh {
            // Records hold cookies and passwords: nobody else needs to read them.
            make_private(path).map_err(|error| from_io(&error))?;
        }
        let create = || Database::builder().set_cache_size(CACHE).create(path).map_err(from_open);
        let database = Guarded(Some(guarded(create)?));
        let store = Self { database, path: path.to_owned(), note: None, full: false };
        guarded(|| if fresh { store.write_version() } else { store.check_version() })?;
        Ok(store)
    }

    fn write_version(&self) -> Result<(), StoreError> {
        let mut transaction = self.database.get()?.begin_write().map_err(other)?;
        transaction.set_durability(Durability::Immediate).map_err(other)?;
        {
            let mut meta = transaction.open_table(definition(Table::Meta)).map_err(from_table)?;
            meta.insert(VERSION_KEY, &VERSION.to_be_bytes()[..]).map_err(from_storage)?;
        }
        transaction.commit().map_err(other)
    }

    fn check_version(&self) -> Result<(), StoreError> {
        let read = self.database.get()?.begin_read().map_err(other)?;
        let meta = match read.open_table(definition(Table::Meta)) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_))
                if read.list_tables().map_err(from_storage)?.next().is_some() =>
            {
                return Err(StoreError::Corrupt("it is a database of something else".to_owned()));
            }
            // Made, but its process died before the first commit.
            Err(TableError::TableDoesNotExist(_)) => return self.write_version(),
            Err(error) => return Err(from_table(error)),
        };
        let Some(version) = meta.get(VERSION_KEY).map_err(from_storage)? else {
            return Err(StoreError::Corrupt("it has no version".to_owned()));
        };
        let Ok(bytes) = <[u8; 4]>::try_from(version.value()) else {
            return Err(StoreError::Corrupt("its version is no number".to_owned()));
        };
        let found = u32::from_be_bytes(bytes);
        match found {
            VERSION => Ok(()),
            // Version 2 has one table more, which is made when it is first written to.
            0..VERSION => self.write_version(),
            _ => Err(StoreError::NewerVersion { found, supported: VERSION }),
        }
    }

    /// Only after a full disk: what a failed sync left behind must not be read again and believed.
    fn reopen(&mut self) -> Result<(), StoreError> {
        self.database = Guarded(None);
        let open = || Database::builder().set_cache_size(CACHE).open(&self.path).map_err(from_open);
        self.database = Guarded(Some(guarded(open)?));
        self.full = false;
        Ok(())
    }

    fn read_all(&self) -> Result<Vec<Record>, StoreError> {
        let read = self.database.get()?.begin_read().map_err(other)?;
        let mut records = Vec::new();
        for table in Table::ALL {
            let open = match read.open_table(definition(table)) {
                Ok(open) => open,
                Err(TableError::TableDoesNotExist(_)) => continue,
                Err(error) => return Err(from_table(error)),
            };
            for entry in open.iter().map_err(from_storage)? {
                let (key, value) = entry.map_err(from_storage)?;
                if table == Table::Meta && key.value() == VERSION_KEY {
                    continue;
                }
                records.push(Record { table, key: key.value().to_vec(), value: value.value().to_vec() });
            }
        }
        Ok(records)
    }

    fn write_all(&self, batch: &[StoreOp]) -> Result<(), StoreError> {
        let mut transaction = self.database.get()?.begin_write().map_err(other)?;
        transaction.set_durability(Durability::Immediate).map_err(other)?;
        for table in Table::ALL {
            let mine = |op: &&StoreOp| match op {
                StoreOp::Put { table: of, .. } | StoreOp::Delete { table: of, .. } => *of == table,
            };
            if !batch.iter().any(|op| mine(&op)) {
                continue;
            }
            // Operations on one key are in one table, so going table by table keeps their order.
            let mut open = transaction.open_table(definition(table)).map_err(from_table)?;
            for op in batch.iter().filter(mine) {
                match op {
                    StoreOp::Put { key, value, .. } => {
                        drop(open.insert(&key[..], &value[..]).map_err(from_storage)?)
                    }
                    StoreOp::Delete { key, .. } => drop(open.remove(&key[..]).map_err(from_storage)?),
                }
            }
        }
        transaction.commit().map_err(other)
    }

    fn note(&mut self) -> Result<&mut NoteFile, StoreError> {
        let note = match self.note.take() {
            Some(note) => note,
            None => NoteFile::open(&self.note_path()).map_err(|error| from_io(&error))?,
        };
        Ok(self.note.insert(note))
    }

    fn note_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".note");
        name.into()
    }
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        guarded(|| self.read_all())
    }

    fn commit(&mut self, batch: &[StoreOp]) -> Result<(), StoreError> {
        if self.full {
            self.reopen()?;
        }
        let result = guarded(|| self.write_all(batch));
        self.full = result == Err(StoreError::Full);
        result
    }

    fn save_note(&mut self, note: &[u8]) -> Result<(), StoreError> {
        self.note()?.save(note).map_err(|error| from_io(&error))
    }

    fn load_note(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.note_path().exists() {
            return Ok(None);
        }
        self.note()?.load().map_err(|error| from_io(&error))
    }
}

/// A database whose closing is guarded too.
#[derive(Debug)]
struct Guarded(Option<Database>);

impl Guarded {
    fn get(&self) -> Result<&Database, StoreError> {
        self.0.as_ref().ok_or_else(|| StoreError::Io("it is closed".to_owned()))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let database = self.0.take();
        // Closing writes what only spares work at the next opening.
        let _spared = guarded(|| {
            drop(database);
            Ok(())
        });
    }
}

/// redb checks what it reads, but a damaged file can still trip one of its assertions. That is an error of the file and no
/// reason to end the process; what was being written is not committed then.
fn guarded<T>(access: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let contradicts = || StoreError::Corrupt("its structure contradicts itself".to_owned());
    catch_unwind(AssertUnwindSafe(access)).unwrap_or_else(|_| Err(contradicts()))
}

/// Makes an empty file that only its owner can read, where there is none.
fn make_private(path: &Path) -> io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(match table {
        Table::Download => "download",
        Table::Progress => "progress",
        Table::Torrent => "torrent",
        _ => "meta",
    })
}

fn from_open(error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse,
        DatabaseError::Storage(error) => from_storage(error),
        error => StoreError::Corrupt(error.to_string()),
    }
}

fn from_table(error: TableError) -> StoreError {
    match error {
        TableError::Storage(error) => from_storage(error),
        error => StoreError::Corrupt(error.to_string()),
    }
}

fn from_storage(error: StorageError) -> StoreError {
    match error {
        StorageError::Io(error) => from_io(&error),
        error => StoreError::Corrupt(error.to_string()),
    }
}

/// Errors of transactions: what is not the disk's fault is the file's.
fn other(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => from_io(&error),
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse,
        error => StoreError::Corrupt(error.to_string()),
    }
}

fn from_io(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        // A truncated file, or one that is too short to be a database.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Io(error.to_string()),
    }
}

/// The version of the file format that this build writes.
const VERSION: u32 = 2;
/// Not 16 bytes long, so that it is no download's key.
const VERSION_KEY: &[u8] = b"version";
/// The database's page cache in bytes: records are few and small.
const CACHE: usize = 1 << 20;
