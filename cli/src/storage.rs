//! The kinds of state files, and the way from one to another.

use crate::failure::{Failure, io_message};
use crate::text;
use gosh_dl_core::base::store::{Record, Store, StoreError, StoreOp, Table};
use gosh_dl_redb::RedbStore;
use gosh_dl_sqlite::SqliteStore;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What keeps the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Storage {
    /// A redb file: the least that is needed.
    #[default]
    Redb,
    /// An SQLite database, to be looked at with sqlite3.
    Sqlite,
}

impl Storage {
    /// All kinds.
    pub(crate) const ALL: [Self; 2] = [Self::Redb, Self::Sqlite];

    /// What the names of such files end with.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Redb => "redb",
            Self::Sqlite => "sqlite",
        }
    }

    /// What the file at `path` is, or is to become: a file that is there knows best.
    pub(crate) fn of(path: &Path, new: Self) -> Self {
        let mut head = [0; SQLITE.len()];
        match File::open(path).and_then(|mut file| file.read_exact(&mut head)) {
            Ok(()) if head == SQLITE => Self::Sqlite,
            Ok(()) => Self::Redb,
            // Too short, not there, or not to be read, which opening will tell.
            Err(_) => new,
        }
    }

    /// Opens a state file of this kind.
    pub(crate) fn open(self, path: &Path) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            Self::Redb => Box::new(RedbStore::open(path)?),
            Self::Sqlite => Box::new(SqliteStore::open(path)?),
        })
    }

    fn other(self) -> Self {
        match self {
            Self::Redb => Self::Sqlite,
            Self::Sqlite => Self::Redb,
        }
    }
}

/// Copies the state in `from` to the new file `to`, which appears when it is whole. Returns how many downloads it has,
/// and what it is.
pub(crate) fn convert(from: &Path, to: &Path, kind: Option<Storage>) -> Result<(usize, Storage), Failure> {
    if !from.exists() {
        return Err(Failure(format!("{}: there is no such state file", text::path(from))));
    }
    if to.exists() {
        return Err(Failure(format!("{}: it is there already; name another file", text::path(to))));
    }
    let is_kind = |kind: &Storage| to.extension().is_some_and(|found| found == kind.extension());
    let source_kind = Storage::of(from, Storage::Redb);
    let kind = kind.or_else(|| Storage::ALL.into_iter().find(is_kind)).unwrap_or_else(|| source_kind.other());
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error: StoreError| Failure::state(&path, &error)
    };
    let mut source = source_kind.open(from).map_err(at(from))?;
    let records = source.load().map_err(at(from))?;
    let note = source.load_note().map_err(at(from))?;
    let working = beside(to, ".converting");
    remove(&working);
    let copied = copy(kind, &working, &records).map_err(at(&working));
    let renamed = copied.and_then(|()| {
        std::fs::rename(&working, to).map_err(|error| at(to)(StoreError::Io(io_message(&error))))
    });
    remove(&working);
    renamed?;
    if let Some(note) = note {
        let saved = kind.open(to).and_then(|mut store| store.save_note(&note));
        saved.map_err(at(to))?;
    }
    Ok((records.iter().filter(|record| record.table == Table::Download).count(), kind))
}

/// In one transaction; read back before it is believed.
fn copy(kind: Storage, to: &Path, records: &[Record]) -> Result<(), StoreError> {
    let put = |record: &Record| StoreOp::Put {
        table: record.table,
        key: record.key.clone().into(),
        value: record.value.clone().into(),
    };
    let mut target = kind.open(to)?;
    target.commit(&records.iter().map(put).collect::<Vec<_>>())?;
    let sorted = |mut records: Vec<Record>| {
        records.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        records
    };
    if sorted(target.load()?) != sorted(records.to_vec()) {
        return Err(StoreError::Corrupt("it does not hold what was put into it".to_owned()));
    }
    Ok(())
}

/// Deletes a state file of any kind and what lies beside it.
pub(crate) fn remove(path: &Path) {
    // What cannot be deleted now is deleted by a later command. The state goes last: without it nobody looks for more.
    for suffix in [".note", ".running", "-wal", "-shm", "", ".lock"] {
        let _ = std::fs::remove_file(beside(path, suffix));
    }
}

/// The path with `suffix` behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What an SQLite database begins with.
const SQLITE: [u8; 16] = *b"SQLite format 3\0";

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(path: &Path, kind: Storage) {
        let mut store = kind.open(path).unwrap();
        let put = |table, key: &[u8], value: &[u8]| StoreOp::Put {
            table,
            key: key.to_vec().into(),
            value: value.to_vec().into(),
        };
        let batch = [
            put(Table::Meta, b"m", b"1"),
            put(Table::Download, &[1; 16], &[0; 3000]),
            put(Table::Progress, &[1; 16], b""),
            put(Table::Torrent, &[1; 16], &[9; 5000]),
        ];
        store.commit(&batch).unwrap();
        store.save_note(b"note").unwrap();
    }

    #[test]
    fn a_state_moves_to_every_kind_and_back_without_loss() {
        let dir = tempfile::tempdir().unwrap();
        for from_kind in Storage::ALL {
            for to_kind in Storage::ALL {
                let from = dir.path().join(format!("{from_kind:?}-{to_kind:?}"));
                let to = dir.path().join(format!("{from_kind:?}-{to_kind:?}.{}", to_kind.extension()));
                filled(&from, from_kind);
                assert_eq!(convert(&from, &to, None).unwrap(), (1, to_kind));
                assert_eq!(Storage::of(&to, from_kind), to_kind);
                let (mut one, mut two) = (from_kind.open(&from).unwrap(), to_kind.open(&to).unwrap());
                let moved = two.load().unwrap();
                assert_eq!(one.load().unwrap(), moved);
                assert_eq!(moved.len(), Table::ALL.len(), "one record of every table");
                assert_eq!(two.load_note().unwrap().unwrap(), b"note");
            }
        }
        let is_working = |name: &str| name.contains("converting");
        let mut left = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!left.any(|name| is_working(&name.to_string_lossy())));
    }

    #[test]
    fn nothing_is_written_over_and_nothing_made_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a.redb"), dir.path().join("b.sqlite"));
        assert!(convert(&from, &to, None).unwrap_err().0.contains("no such state file"));
        filled(&from, Storage::Redb);
        std::fs::write(&to, "mine").unwrap();
        assert!(convert(&from, &to, None).unwrap_err().0.contains("there already"));
        std::fs::write(&from, [7; 5000]).unwrap();
        let other = dir.path().join("c.sqlite");
        assert!(convert(&from, &other, None).unwrap_err().0.contains("damaged"));
        assert!(!other.exists());
    }
}
