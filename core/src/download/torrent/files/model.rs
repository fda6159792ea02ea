//! A disk in memory and a small world around the files of a torrent: for tests and fuzzing.

mod world;

#[cfg(test)]
pub(crate) use self::world::World;
pub(crate) use self::world::{ModelTorrent, adventure};

use crate::base::FileName;
use crate::base::disk::{
    Digest, DirKey, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileIdentity, FileKey, FileStat, HashInput,
    HashKey, OpenMode,
};
use bytes::Bytes;
use sha1::{Digest as _, Sha1};
use std::collections::BTreeMap;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Folder,
    File(u64),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// Directories are named by their paths, with `/` behind each name; the root is the empty path.
#[derive(Debug, Default)]
pub(crate) struct ModelDisk {
    names: BTreeMap<String, Entry>,
    durable_names: BTreeMap<String, Entry>,
    inodes: BTreeMap<u64, Inode>,
    dirs: BTreeMap<DirKey, String>,
    open: BTreeMap<FileKey, (u64, bool)>,
    hashes: BTreeMap<HashKey, Sha1>,
    next_inode: u64,
    /// How many files were open at most.
    pub(crate) most_open: usize,
    /// Bytes read for hashing and serving.
    pub(crate) bytes_read: u64,
    /// Bytes written.
    pub(crate) bytes_written: u64,
    /// How many bytes all files may have.
    pub(crate) capacity: Option<u64>,
}

impl ModelDisk {
    /// Puts a file there, durably, and the folders that it lies in.
    #[cfg(test)]
    pub(crate) fn put(&mut self, path: &str, content: &[u8]) {
        for (at, _) in path.match_indices('/') {
            self.names.insert(path[..=at].to_owned(), Entry::Folder);
        }
        self.next_inode += 1;
        let inode = Inode { now: content.to_vec(), durable: content.to_vec() };
        self.inodes.insert(self.next_inode, inode);
        self.names.insert(path.to_owned(), Entry::File(self.next_inode));
        self.durable_names = self.names.clone();
    }

    /// Somebody else changes what a file holds, durably.
    #[cfg(test)]
    pub(crate) fn change(&mut self, path: &str, content: &[u8]) {
        let Some(Entry::File(inode)) = self.names.get(path) else { panic!("there is no {path}") };
        self.inodes.insert(*inode, Inode { now: content.to_vec(), durable: content.to_vec() });
    }

    /// Somebody else removes a file.
    #[cfg(test)]
    pub(crate) fn delete(&mut self, path: &str) {
        self.names.remove(path);
        self.durable_names.remove(path);
    }

    /// The content of a file.
    pub(crate) fn content(&self, path: &str) -> Option<&[u8]> {
        match self.names.get(path)? {
            Entry::File(inode) => self.inodes.get(inode).map(|inode| &*inode.now),
            Entry::Folder => None,
        }
    }

    /// A part of a file that is open.
    pub(crate) fn part(&self, file: FileKey, offset: u64, len: u32) -> Option<&[u8]> {
        let (inode, _) = self.open.get(&file)?;
        self.inodes.get(inode)?.now.get(offset as usize..(offset + u64::from(len)) as usize)
    }

    /// All names.
    pub(crate) fn paths(&self) -> Vec<&str> {
        self.names.keys().map(String::as_str).collect()
    }

    /// How many files and folders are open, the root left out.
    pub(crate) fn open_count(&self) -> usize {
        self.open.len() + self.dirs.len() - 1
    }

    /// The process dies, and the power fails or not.
    pub(crate) fn crash(&mut self, power: bool) {
        self.open.clear();
        self.hashes.clear();
        self.dirs.clear();
        if power {
            self.names = self.durable_names.clone();
            let is_there = |path: &str, names: &BTreeMap<String, Entry>| {
                path.trim_end_matches('/').match_indices('/').all(|(at, _)| names.contains_key(&path[..=at]))
            };
            let names = self.names.clone();
            self.names.retain(|path, _| is_there(path, &names));
            self.inodes.values_mut().for_each(|inode| inode.now = inode.durable.clone());
        }
        if power {
            self.durable_names = self.names.clone();
        }
    }

    /// A directory without a name.
    pub(crate) fn open_root(&mut self, key: DirKey) {
        self.dirs.insert(key, String::new());
    }

    fn dir(&self, dir: DirKey) -> &str {
        self.dirs.get(&dir).unwrap_or_else(|| panic!("{dir:?} is not open"))
    }

    fn file(&mut self, file: FileKey) -> &mut Inode {
        let (inode, _) = *self.open.get(&file).unwrap_or_else(|| panic!("{file:?} is not open"));
        self.inodes.get_mut(&inode).unwrap_or_else(|| panic!("{inode} is not there"))
    }

    /// Resolves what an operation names, as executors do when it is given to them.
    pub(crate) fn resolve(&mut self, op: &DiskOp) -> Resolved {
        match op {
            DiskOp::Close { file } => {
                assert!(self.open.remove(file).is_some(), "{file:?} is closed but not open");
            }
            DiskOp::CloseDir { dir } => {
                assert!(self.dirs.remove(dir).is_some(), "{dir:?} is closed but not open");
            }
            DiskOp::HashDrop { hash } => _ = self.hashes.remove(hash),
            _ => {}
        }
        let dir = match op {
            DiskOp::OpenSubdir { parent: dir, .. }
            | DiskOp::RemoveDir { dir, .. }
            | DiskOp::Stat { dir, .. }
            | DiskOp::Open { dir, .. }
            | DiskOp::SyncDir { dir }
            | DiskOp::Rename { dir, .. }
            | DiskOp::Remove { dir, .. } => self.dir(*dir).to_owned(),
            _ => String::new(),
        };
        let inode = match op {
            DiskOp::Write { file, .. }
            | DiskOp::WriteHashed { file, .. }
            | DiskOp::Allocate { file, .. }
            | DiskOp::SetLen { file, .. }
            | DiskOp::SetExecutable { file }
            | DiskOp::Read { file, .. }
            | DiskOp::HashSpans { file, .. }
            | DiskOp::Hash { input: HashInput::File { file, .. }, .. }
            | DiskOp::Sync { file } => {
                self.file(*file);
                self.open.get(file).map(|(inode, _)| *inode)
            }
            _ => None,
        };
        let synced = match op {
            DiskOp::Sync { .. } => {
                inode.and_then(|inode| self.inodes.get(&inode)).map(|inode| inode.now.clone())
            }
            _ => None,
        };
        let is_in = |path: &str| {
            path.strip_prefix(&*dir).is_some_and(|rest| !rest.trim_end_matches('/').contains('/'))
        };
        let names = match op {
            DiskOp::SyncDir { .. } => self
                .names
                .iter()
                .filter(|(path, _)| is_in(path))
                .map(|(path, entry)| (path.clone(), *entry))
                .collect(),
            _ => Vec::new(),
        };
        Resolved { dir, inode, synced, names }
    }

    /// Performs an operation.
    pub(crate) fn perform(&mut self, op: DiskOp, resolved: Resolved) -> DiskResult {
        let Resolved { dir, inode, synced, names } = resolved;
        let path = |name: &FileName| format!("{dir}{name}");
        let folder = |name: &FileName| format!("{dir}{name}/");
        match op {
            DiskOp::OpenSubdir { name, dir: key, create, .. } => {
                if self.names.contains_key(&path(&name)) {
                    return Err(DiskErrorKind::NotADirectory.into());
                }
                let is_there = self.names.contains_key(&folder(&name));
                if !is_there && !create {
                    return Err(DiskErrorKind::NotFound.into());
                }
                self.names.insert(folder(&name), Entry::Folder);
                assert!(self.dirs.insert(key, folder(&name)).is_none(), "{key:?} is used twice");
                Ok(DiskOk::OpenedDir { created: !is_there })
            }
            DiskOp::RemoveDir { name, .. } => {
                let folder = folder(&name);
                if self.names.keys().any(|path| path.starts_with(&folder) && *path != folder) {
                    return Err(DiskErrorKind::NotEmpty.into());
                }
                self.names.remove(&folder);
                Ok(DiskOk::Done)
            }
            DiskOp::Stat { name, .. } => Ok(DiskOk::Found(self.stat(&path(&name), &folder(&name)))),
            DiskOp::Open { name, file, mode, .. } => self.open_file(&path(&name), file, mode),
            DiskOp::SyncDir { .. } => {
                let is_in = |path: &str| {
                    path.strip_prefix(&*dir).is_some_and(|rest| !rest.trim_end_matches('/').contains('/'))
                };
                self.durable_names.retain(|path, _| !is_in(path));
                self.durable_names.extend(names);
                Ok(DiskOk::Done)
            }
            DiskOp::Rename { from, to, replace, .. } => {
                if !replace && self.names.contains_key(&path(&to)) {
                    return Err(DiskErrorKind::Exists.into());
                }
                let entry = self.names.remove(&path(&from)).ok_or(DiskErrorKind::NotFound)?;
                self.names.insert(path(&to), entry);
                Ok(DiskOk::Done)
            }
            DiskOp::Remove { name, .. } => {
                self.names.remove(&path(&name));
                Ok(DiskOk::Done)
            }
            op => self.perform_on_file(op, inode, synced),
        }
    }

    fn stat(&self, path: &str, folder: &str) -> Option<FileStat> {
        let stat =
            |inode, len, regular| FileStat { identity: FileIdentity { device: 7, inode }, len, regular };
        match self.names.get(path).or_else(|| self.names.get(folder))? {
            Entry::Folder => Some(stat(0, 0, false)),
            Entry::File(inode) => Some(stat(*inode, self.inodes.get(inode)?.now.len() as u64, true)),
        }
    }

    fn open_file(&mut self, path: &str, file: FileKey, mode: OpenMode) -> DiskResult {
        let inode = match (self.names.get(path), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(DiskErrorKind::Exists.into()),
            (Some(Entry::Folder), _) => return Err(DiskErrorKind::NotRegular.into()),
            (Some(Entry::File(inode)), _) => *inode,
            (None, OpenMode::CreateNew) => {
                self.next_inode += 1;
                self.inodes.insert(self.next_inode, Inode::default());
                self.names.insert(path.to_owned(), Entry::File(self.next_inode));
                self.next_inode
            }
            (None, _) => return Err(DiskErrorKind::NotFound.into()),
        };
        let writable = mode != OpenMode::ReadOnly;
        if writable && self.open.values().any(|held| *held == (inode, true)) {
            return Err(DiskErrorKind::Locked.into());
        }
        assert!(self.open.insert(file, (inode, writable)).is_none(), "{file:?} is used twice");
        self.most_open = self.most_open.max(self.open.len());
        let stat = self.stat(path, "").ok_or(DiskErrorKind::NotFound)?;
        Ok(DiskOk::Opened { stat, local: true })
    }

    fn perform_on_file(&mut self, op: DiskOp, inode: Option<u64>, synced: Option<Vec<u8>>) -> DiskResult {
        let used: usize = self.inodes.values().map(|inode| inode.now.len()).sum();
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used as u64));
        let mut none = Inode::default();
        let file = inode.and_then(|inode| self.inodes.get_mut(&inode)).unwrap_or(&mut none);
        match op {
            DiskOp::Write { offset, data, .. } => {
                self.bytes_written += data.iter().map(|part| part.len() as u64).sum::<u64>();
                write(file, offset, &data, room)
            }
            DiskOp::WriteHashed { offset, data, hash, finish, .. } => {
                self.bytes_written += data.iter().map(|part| part.len() as u64).sum::<u64>();
                write(file, offset, &data, room)?;
                Ok(DiskOk::Hashed(self.feed(hash, &data.concat(), finish)))
            }
            DiskOp::SetExecutable { .. } => Ok(DiskOk::Done),
            DiskOp::Allocate { len, .. } | DiskOp::SetLen { len, .. } => {
                let len = usize::try_from(len).unwrap_or(0);
                let len = if matches!(op, DiskOp::Allocate { .. }) { len.max(file.now.len()) } else { len };
                if len.saturating_sub(file.now.len()) as u64 > room {
                    return Err(DiskErrorKind::Full.into());
                }
                file.now.resize(len, 0);
                Ok(DiskOk::Done)
            }
            DiskOp::Read { offset, len, .. } => {
                let end = (offset + u64::from(len)).min(file.now.len() as u64);
                self.bytes_read += end.saturating_sub(offset);
                let bytes = file.now.get(offset as usize..end as usize).unwrap_or_default();
                Ok(DiskOk::Data(Bytes::copy_from_slice(bytes)))
            }
            DiskOp::HashSpans { spans, .. } => {
                let one = |offset: u64, len: u64| match file.now.get(offset as usize..(offset + len) as usize)
                {
                    Some(bytes) => Ok(Digest::new(&Sha1::digest(bytes))),
                    None => Err(DiskErrorKind::UnexpectedEof.into()),
                };
                self.bytes_read += spans.iter().map(|span| span.len).sum::<u64>();
                Ok(DiskOk::Digests(spans.iter().map(|span| one(span.offset, span.len)).collect()))
            }
            DiskOp::Hash { hash, input: HashInput::Memory(parts), finish, .. } => {
                Ok(DiskOk::Hashed(self.feed(hash, &parts.concat(), finish)))
            }
            DiskOp::Hash { hash, input: HashInput::File { offset, len, .. }, finish, .. } => {
                let bytes = file.now.get(offset as usize..(offset + len) as usize);
                let bytes = bytes.ok_or(DiskErrorKind::UnexpectedEof)?.to_vec();
                self.bytes_read += len;
                Ok(DiskOk::Hashed(self.feed(hash, &bytes, finish)))
            }
            _ => {
                file.durable = synced.unwrap_or_default();
                Ok(DiskOk::Done)
            }
        }
    }

    fn feed(&mut self, hash: HashKey, bytes: &[u8], finish: bool) -> Option<Digest> {
        let mut state = self.hashes.remove(&hash).unwrap_or_default();
        state.update(bytes);
        if finish {
            return Some(Digest::new(&state.finalize()));
        }
        self.hashes.insert(hash, state);
        None
    }
}

fn write(file: &mut Inode, offset: u64, data: &[Bytes], room: u64) -> DiskResult {
    let data = data.concat();
    let (start, end) = (offset as usize, offset as usize + data.len());
    if end.saturating_sub(file.now.len()) as u64 > room {
        return Err(DiskErrorKind::Full.into());
    }
    if file.now.len() < end {
        file.now.resize(end, 0);
    }
    file.now[start..end].copy_from_slice(&data);
    Ok(DiskOk::Done)
}

/// What an operation named when it was given.
#[derive(Debug)]
pub(crate) struct Resolved {
    dir: String,
    inode: Option<u64>,
    synced: Option<Vec<u8>>,
    names: Vec<(String, Entry)>,
}
