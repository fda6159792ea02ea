//! Where the downloads that are not complete are kept between commands.
//!
//! Each command has a database of its own, named by what it fetches, so that the same command finds it again and two
//! different ones never wait for each other.

use crate::failure::{Failure, io_message};
use crate::selection::{Part, Selection};
use crate::settings::{self, Request, Source};
use crate::storage::Storage;
pub(crate) use crate::storage::remove;
use crate::text;
use gosh_dl_core::base::Instant;
use gosh_dl_core::base::store::{Record, Store, StoreError, StoreOp, Table};
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::record::DownloadRecord;
use gosh_dl_core::engine::{DownloadState, DownloadStatus, Engine, EngineConfig, EngineError, EngineStart};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// An open state file and what it holds.
pub(crate) struct State {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its downloads, oldest first.
    pub(crate) downloads: Vec<Known>,
    store: Box<dyn Store>,
    records: Vec<Record>,
}

/// A download of a state file.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// How it stands.
    pub(crate) status: DownloadStatus,
    /// What was asked.
    pub(crate) record: DownloadRecord,
    /// What tells it from others, as [`Request::key`].
    pub(crate) key: String,
}

/// A state file as found.
pub(crate) enum Found {
    /// It is open now.
    Open(State),
    /// Another process works on it.
    InUse(PathBuf),
    /// It cannot be read.
    Broken(PathBuf, StoreError),
}

impl State {
    /// Opens a state file, or makes a new one of the kind `new`. `in_use` says what it means that another process has it.
    pub(crate) fn open(path: &Path, new: Storage, in_use: fn(&Path) -> Failure) -> Result<Self, Failure> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            create_private_dir(parent)
                .map_err(|error| Failure::state(parent, &StoreError::Io(io_message(&error))))?;
        }
        match look_at(path, new) {
            Found::Open(state) => Ok(state),
            Found::InUse(path) => Err(in_use(&path)),
            Found::Broken(path, error) => Err(Failure::state(&path, &error)),
        }
    }

    /// How a download stands.
    pub(crate) fn status(&self, id: DownloadId) -> Option<&DownloadStatus> {
        self.downloads.iter().map(|known| &known.status).find(|status| status.id == id)
    }

    /// How those of `ids` stand, oldest first.
    pub(crate) fn statuses(&self, ids: &HashSet<DownloadId>) -> Vec<DownloadStatus> {
        let all = self.downloads.iter().map(|known| &known.status);
        all.filter(|status| ids.contains(&status.id)).cloned().collect()
    }

    /// Removes the records of `ids`.
    pub(crate) fn forget(&mut self, ids: &HashSet<DownloadId>) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        let gone = self.keys(ids);
        let ops: Vec<_> = gone
            .iter()
            .flat_map(|key| {
                [Table::Download, Table::Progress, Table::Torrent].map(|table| (table, key.clone()))
            })
            .map(|(table, key)| StoreOp::Delete { table, key: key.into() })
            .collect();
        self.commit(&ops)?;
        self.records.retain(|record| !gone.contains(&record.key));
        self.downloads.retain(|known| !ids.contains(&known.status.id));
        Ok(())
    }

    /// Takes the downloads `ids` over from `other`, which forgets them.
    ///
    /// They are durable here before they are gone there; a death in between leaves them in both, which does no harm.
    pub(crate) fn adopt(&mut self, other: &mut Self, ids: &HashSet<DownloadId>) -> Result<(), Failure> {
        let keys = other.keys(ids);
        let is_new = self.records.is_empty();
        let moved: Vec<_> = other
            .records
            .iter()
            .filter(|record| keys.contains(&record.key) || is_new && record.table == Table::Meta)
            .cloned()
            .collect();
        let put = |record: &Record| StoreOp::Put {
            table: record.table,
            key: record.key.clone().into(),
            value: record.value.clone().into(),
        };
        self.commit(&moved.iter().map(put).collect::<Vec<_>>())?;
        if is_new && let Ok(Some(note)) = other.store.load_note() {
            // The note only ever spares work, and what it says about others is not looked at.
            let _ = self.store.save_note(&note);
        }
        self.records.extend(moved);
        self.downloads.extend(other.downloads.iter().filter(|known| ids.contains(&known.status.id)).cloned());
        other.forget(ids)
    }

    /// Lets the download `id` go on as `request` asks now: with today's cookies, mirrors and so on.
    pub(crate) fn ask_again(&mut self, id: DownloadId, request: &Request) -> Result<(), Failure> {
        let Some(known) = self.downloads.iter_mut().find(|known| known.status.id == id) else {
            return Ok(());
        };
        let same_url = known.record.url == request.url || matches!(request.source, Source::Torrent(_));
        if known.record.options == request.options && same_url {
            return Ok(());
        }
        known.record.options = request.options.clone();
        if !matches!(request.source, Source::Torrent(_)) {
            known.record.url.clone_from(&request.url);
        }
        let key = id.as_uuid().as_bytes().to_vec();
        let value = known.record.encode();
        let old = self.records.iter_mut().find(|old| old.table == Table::Download && old.key == key);
        if let Some(old) = old {
            old.value.clone_from(&value);
        }
        self.commit(&[StoreOp::Put { table: Table::Download, key: key.into(), value: value.into() }])
    }

    /// Whether something is left that a later command could go on with.
    pub(crate) fn has_unfinished(&self) -> bool {
        let is_left = |known: &Known| is_worth_keeping(&known.status) || known.record.moving.is_some();
        self.downloads.iter().any(is_left)
    }

    /// The store for an engine that shall know of `ids` and nothing else.
    pub(crate) fn into_part(self, ids: &HashSet<DownloadId>) -> Part {
        let keys = self.keys(ids);
        let is_wanted = |record: &Record| record.table == Table::Meta || keys.contains(&record.key);
        let records = self.records.into_iter().filter(is_wanted).collect();
        Part::new(self.store, records, keys)
    }

    /// As [`into_part`](Self::into_part), for an engine on this file alone.
    pub(crate) fn into_store(self, ids: &HashSet<DownloadId>) -> Box<dyn Store> {
        Box::new(Selection::new(vec![self.into_part(ids)]))
    }

    fn keys(&self, ids: &HashSet<DownloadId>) -> HashSet<Vec<u8>> {
        ids.iter().map(|id| id.as_uuid().as_bytes().to_vec()).collect()
    }

    fn commit(&mut self, ops: &[StoreOp]) -> Result<(), Failure> {
        self.store.commit(ops).map_err(|error| Failure::state(&self.path, &error))
    }
}

/// Opens a state file and reads what it holds.
pub(crate) fn look(path: &Path) -> Found {
    look_at(path, Storage::default())
}

fn look_at(path: &Path, new: Storage) -> Found {
    match read(path, new) {
        Ok(state) => Found::Open(state),
        Err(StoreError::InUse) => Found::InUse(path.to_owned()),
        Err(error) => Found::Broken(path.to_owned(), error),
    }
}

/// All state files in `directory`, in the order of their names.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    // A directory that is not there, or that may not be read, holds nothing for this user.
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(is_state))
        .take(MAX_FILES)
        .collect();
    files.sort();
    files
}

fn is_state(extension: &std::ffi::OsStr) -> bool {
    Storage::ALL.iter().any(|kind| extension == kind.extension())
}

/// The directory of this user's state files.
pub(crate) fn directory() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| cfg!(windows).then(|| absolute("LOCALAPPDATA")).flatten())
        .or_else(|| Some(absolute("HOME")?.join(".local").join("state")))
        .map(|base| base.join("gosh-dl"))
        .ok_or_else(|| {
            Failure("there is no home directory to keep the state in; name a file with --state".into())
        })
}

/// The name of the state file of a command: the same for the same files, whatever their order and other options.
pub(crate) fn file_name(requests: &[Request], kind: Storage) -> String {
    let mut keys: Vec<_> = requests.iter().map(Request::key).collect();
    keys.sort();
    format!("{:016x}.{}", hash(keys.iter().map(|key| &**key)), kind.extension())
}

/// Deletes a state file if nothing is left in it to go on with.
pub(crate) fn tidy(path: &Path) {
    if let Found::Open(state) = look(path)
        && !state.has_unfinished()
    {
        remove(path);
    }
}

/// Whether a download is one that a later command could go on with.
pub(crate) fn is_worth_keeping(status: &DownloadStatus) -> bool {
    match &status.state {
        DownloadState::Completed => false,
        DownloadState::Error { retryable, .. } => *retryable || status.progress.completed_size > 0,
        _ => true,
    }
}

impl Known {
    fn new(status: DownloadStatus, record: DownloadRecord) -> Self {
        let plain_url = match record.info_hash {
            Some(info_hash) => settings::torrent_name(info_hash),
            None => text::without_user_info(&record.url),
        };
        let dir = record.options.save_dir.as_deref().unwrap_or(&status.metadata.save_dir);
        let key = settings::key(&plain_url, dir, record.options.filename.as_deref());
        Self { status, record, key }
    }
}

fn read(path: &Path, new: Storage) -> Result<State, StoreError> {
    let mut store = open_store(path, Storage::of(path, new))?;
    let records = store.load()?;
    let note = store.load_note().unwrap_or_default();
    let downloads = downloads(&records, note)?;
    Ok(State { path: path.to_owned(), downloads, store, records })
}

/// Opens the database; a short look of another process at it is waited for.
fn open_store(path: &Path, kind: Storage) -> Result<Box<dyn Store>, StoreError> {
    for _ in 0..LOOKS {
        match kind.open(path) {
            Err(StoreError::InUse) => std::thread::sleep(LOOK),
            result => return result,
        }
    }
    kind.open(path)
}

/// What an engine would make of `records`. The engine is a pure machine: without a driver it does nothing.
fn downloads(records: &[Record], note: Option<Vec<u8>>) -> Result<Vec<Known>, StoreError> {
    if !records.iter().any(|record| record.table == Table::Download) {
        return Ok(Vec::new());
    }
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let start = EngineStart {
        config: EngineConfig::new(),
        seed: [0; 32],
        unix_millis: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        boot_id: None,
        records: records.to_vec(),
        note,
    };
    let engine = Engine::new(Instant::ZERO, start).map_err(|error| match error {
        EngineError::Database { error, .. } => error,
        error => StoreError::Corrupt(error.to_string()),
    })?;
    let by_id: BTreeMap<&[u8], &Record> = records
        .iter()
        .filter(|record| record.table == Table::Download)
        .map(|record| (&record.key[..], record))
        .collect();
    let known = |status: DownloadStatus| {
        let record = by_id.get(&status.id.as_uuid().as_bytes()[..]);
        let record = record.ok_or_else(|| StoreError::Corrupt("a download has no record".to_owned()))?;
        let record =
            DownloadRecord::decode(&record.value).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok(Known::new(status, record))
    };
    engine.list(Instant::ZERO).into_iter().map(known).collect()
}

/// Headers and cookies may be secret, so the directory is for its owner only.
fn create_private_dir(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// FNV-1a, 64 bits: short, and the same in every version. Two commands with one hash would share a file and still work.
pub(crate) fn hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    // Each part is closed by a zero, so that parts cannot run into one another.
    let bytes = parts.into_iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Each look opens a database. Whoever left more than this many commands unfinished sees the first.
const MAX_FILES: usize = 1024;

/// `list` holds a database for some milliseconds; ten looks of 20 ms outlast it.
const LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use gosh_dl_core::download::DownloadOptions;

    fn request(url: &str, dir: &str, out: Option<&str>) -> Request {
        Request {
            source: Source::Url,
            url: url.to_owned(),
            plain_url: text::without_user_info(url),
            dir: dir.into(),
            out: out.map(str::to_owned),
            options: DownloadOptions::new(),
        }
    }

    #[test]
    fn the_same_files_have_the_same_state() {
        let (a, b) = (request("http://h/a", "/d", None), request("http://h/b", "/d", Some("x")));
        let name = file_name(&[a.clone(), b.clone()], Storage::Redb);
        assert_eq!(name, file_name(&[b.clone(), a.clone()], Storage::Redb));
        assert_eq!(name, file_name(&[request("http://me:pw@h/a", "/d", None), b.clone()], Storage::Redb));
        assert_eq!(name.len(), "0123456789abcdef.redb".len());
        // The name is part of what users have on disk: it must not change from version to version.
        assert_eq!(file_name(&[request("http://h/a", "/d", None)], Storage::Redb), "c7b69530b168af68.redb");
    }

    #[test]
    fn different_files_have_different_states() {
        let a = request("http://h/a", "/d", None);
        let others = [
            request("http://h/b", "/d", None),
            request("http://h/a", "/e", None),
            request("http://h/a", "/d", Some("x")),
        ];
        for other in others {
            assert_ne!(
                file_name(std::slice::from_ref(&a), Storage::Redb),
                file_name(&[other], Storage::Redb)
            );
        }
    }

    #[test]
    fn only_state_files_are_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.redb", "a.redb", "a.redb.note", "c.sqlite", "c.sqlite.lock", "readme"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(files(dir.path()), ["a.redb", "b.redb", "c.sqlite"].map(|name| dir.path().join(name)));
        remove(&dir.path().join("a.redb"));
        assert_eq!(files(dir.path()).len(), 2);
        assert!(!dir.path().join("a.redb.note").exists());
        assert_eq!(files(&dir.path().join("missing")), Vec::<PathBuf>::new());
    }
}
