//! What each disk operation does to files and directories.

use super::{Disk, Held, OpClass, Work};
use crate::digest::Hasher;
use crate::folder::Entry;
use crate::image::File;
use bytes::Bytes;
use gosh_dl_core::base::FileName;
use gosh_dl_core::base::disk::{
    AllocationMode, DirKey, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileIdentity, FileKey, FileRange,
    FileStat, HashInput, OpenMode,
};
use std::path::Path;

impl Disk {
    pub(super) fn release(&mut self, op: &DiskOp) {
        match op {
            DiskOp::Close { file } => {
                assert!(self.open.remove(file).is_some(), "{file:?} is closed but not open");
            }
            DiskOp::CloseDir { dir } => {
                assert!(self.dirs.remove(dir).is_some(), "{dir:?} is closed but not open");
            }
            DiskOp::HashDrop { hash } => {
                self.hashes.remove(hash);
            }
            _ => {}
        }
    }

    pub(super) fn prepare(&mut self, class: OpClass, op: DiskOp) -> Work {
        let inode = file_key(&op).map(|file| {
            self.open.get(&file).unwrap_or_else(|| panic!("{op:?} names a file that is not open")).inode
        });
        let path = dir_key(&op).map(|dir| {
            self.dirs.get(&dir).unwrap_or_else(|| panic!("{op:?} names a directory that is not open")).clone()
        });
        let barrier = match &op {
            DiskOp::Sync { .. } => inode.and_then(|inode| self.files.get(&inode)).map_or(0, File::barrier),
            DiskOp::SyncDir { .. } => path.as_ref().map_or(0, |path| self.folder(path).barrier()),
            _ => 0,
        };
        let to = match &op {
            DiskOp::Move { to_dir, .. } => self.dirs.get(to_dir).cloned(),
            _ => None,
        };
        let (path, to) = (path.unwrap_or_default(), to.unwrap_or_default());
        Work { fault: self.fault(class), op, inode, path, to, barrier }
    }

    /// A part of a file that the engine holds open, for whoever sends it; `None` where it is not open, cannot be read or
    /// is shorter.
    pub fn read_open(&mut self, file: FileKey, offset: u64, len: u32) -> Option<Bytes> {
        if self.fault(OpClass::Read).is_some() {
            return None;
        }
        let image = self.files.get(&self.open.get(&file)?.inode)?.current();
        let end = offset.checked_add(u64::from(len)).filter(|end| *end <= image.len())?;
        let bytes = image.read(offset..end);
        self.bytes_read += u64::from(len);
        Some(Bytes::from(bytes))
    }

    fn fault(&mut self, class: OpClass) -> Option<DiskErrorKind> {
        let position = self.faults.iter().position(|fault| fault.class == class)?;
        let fault = &mut self.faults[position];
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        self.failed += 1;
        fault.times = fault.times.saturating_sub(1);
        let kind = fault.kind;
        if fault.times == 0 {
            self.faults.remove(position);
        }
        Some(kind)
    }

    pub(super) fn perform(&mut self, mut work: Work) -> DiskResult {
        if let Some(kind) = work.fault {
            self.fail_midway(&work);
            return Err(kind.into());
        }
        if self.folds_case {
            self.fold(&mut work);
        }
        if self.read_only && changes(&work.op) {
            return Err(DiskErrorKind::ReadOnly.into());
        }
        match work.op {
            DiskOp::OpenDir { .. }
            | DiskOp::OpenSubdir { .. }
            | DiskOp::Stat { .. }
            | DiskOp::Open { .. } => self.perform_open(work),
            DiskOp::Move { .. } => self.perform_move(work),
            DiskOp::Rename { .. }
            | DiskOp::Remove { .. }
            | DiskOp::RemoveDir { .. }
            | DiskOp::SyncDir { .. } => self.perform_name(work),
            DiskOp::Hash { .. } => self.perform_hash(work),
            DiskOp::WriteHashed { .. } => self.perform_write_hashed(work),
            DiskOp::HashSpans { .. } => self.perform_hash_spans(work),
            _ => self.perform_file(work),
        }
    }

    /// What an operation that fails leaves: a write may have got anywhere, and what a sync was for is forgotten.
    fn fail_midway(&mut self, work: &Work) {
        let share = self.rng.below(3);
        let Some(file) = self.file(work) else { return };
        match &work.op {
            DiskOp::Sync { .. } => file.fail_sync(work.barrier),
            DiskOp::Write { offset, data, .. } | DiskOp::WriteHashed { offset, data, .. } => {
                let mut data = data.concat();
                data.truncate(data.len() * share as usize / 3);
                write_some(file, *offset, data);
            }
            _ => {}
        }
    }

    /// Calls things as the directory knows them, where it does not tell cases apart.
    fn fold(&self, work: &mut Work) {
        let path = &work.path;
        match &mut work.op {
            DiskOp::Stat { name, .. }
            | DiskOp::Open { name, .. }
            | DiskOp::OpenSubdir { name, .. }
            | DiskOp::Remove { name, .. }
            | DiskOp::RemoveDir { name, .. } => *name = self.known_as(path, name.clone()),
            DiskOp::Rename { from, to, .. } => {
                *from = self.known_as(path, from.clone());
                *to = self.known_as(path, to.clone());
            }
            _ => {}
        }
    }

    fn file(&mut self, work: &Work) -> Option<&mut File> {
        self.files.get_mut(&work.inode?)
    }

    fn perform_open(&mut self, work: Work) -> DiskResult {
        match work.op {
            DiskOp::OpenDir { dir, path } => {
                self.folder(&path);
                assert!(self.dirs.insert(dir, path).is_none(), "{dir:?} is used twice");
                Ok(DiskOk::Done)
            }
            DiskOp::OpenSubdir { name, dir, create, .. } => self.open_subdir(&work.path, &name, dir, create),
            DiskOp::Stat { name, .. } => {
                let entry = self.folder(&work.path).find(&name);
                Ok(DiskOk::Found(entry.map(|entry| self.stat(entry))))
            }
            DiskOp::Open { name, file, mode, .. } => self.open_file(&work.path, &name, file, mode),
            _ => Err(DiskErrorKind::Io.into()),
        }
    }

    fn open_subdir(&mut self, parent: &Path, name: &FileName, dir: DirKey, create: bool) -> DiskResult {
        let path = parent.join(name.as_str());
        let created = match self.folder(parent).find(name) {
            Some(Entry::Folder(_)) => false,
            Some(_) => return Err(DiskErrorKind::NotADirectory.into()),
            None if !create => return Err(DiskErrorKind::NotFound.into()),
            None if self.read_only => return Err(DiskErrorKind::ReadOnly.into()),
            None => {
                let inode = self.new_inode();
                self.folder(parent).put(name.clone(), Entry::Folder(inode));
                self.made.insert(path.clone());
                true
            }
        };
        self.folder(&path);
        assert!(self.dirs.insert(dir, path).is_none(), "{dir:?} is used twice");
        Ok(DiskOk::OpenedDir { created })
    }

    fn open_file(&mut self, dir: &Path, name: &FileName, file: FileKey, mode: OpenMode) -> DiskResult {
        let entry = match (self.folder(dir).find(name), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(DiskErrorKind::Exists.into()),
            (None, OpenMode::Existing | OpenMode::ReadOnly) => return Err(DiskErrorKind::NotFound.into()),
            (Some(Entry::Folder(_) | Entry::Irregular(_)), _) => return Err(DiskErrorKind::NotRegular.into()),
            (Some(entry), OpenMode::Existing | OpenMode::ReadOnly) => entry,
            (None, OpenMode::CreateNew) => {
                let inode = self.new_inode();
                self.files.insert(inode, File::sharing(self.shared.clone()));
                self.folder(dir).put(name.clone(), Entry::File(inode));
                Entry::File(inode)
            }
        };
        let inode = entry.inode();
        let locked = mode != OpenMode::ReadOnly;
        let is_taken = || self.open.values().any(|held| held.locked && held.inode == inode);
        if locked && (self.locked.contains(&inode) || is_taken()) {
            return Err(DiskErrorKind::Locked.into());
        }
        assert!(self.open.insert(file, Held { inode, locked }).is_none(), "{file:?} is used twice");
        Ok(DiskOk::Opened { stat: self.stat(entry), local: self.local })
    }

    fn stat(&self, entry: Entry) -> FileStat {
        let len = self.files.get(&entry.inode()).map_or(0, |file| file.current().len());
        let identity = FileIdentity { device: 1, inode: entry.inode() };
        FileStat { identity, len, regular: matches!(entry, Entry::File(_)) }
    }

    fn perform_name(&mut self, work: Work) -> DiskResult {
        let folder = self.folder(&work.path);
        match work.op {
            DiskOp::Rename { from, to, replace, .. } => {
                if !replace && folder.find(&to).is_some() {
                    return Err(DiskErrorKind::Exists.into());
                }
                if !folder.rename(&from, &to) {
                    return Err(DiskErrorKind::NotFound.into());
                }
            }
            DiskOp::Remove { name, .. } => match folder.find(&name) {
                Some(Entry::Folder(_)) => return Err(DiskErrorKind::NotRegular.into()),
                _ => folder.remove(&name),
            },
            DiskOp::RemoveDir { name, .. } => return self.remove_dir(&work.path, &name),
            _ => self.sync_folder(&work.path, work.barrier),
        }
        Ok(DiskOk::Done)
    }

    fn perform_move(&mut self, work: Work) -> DiskResult {
        let DiskOp::Move { from, to, .. } = work.op else { return Err(DiskErrorKind::Io.into()) };
        let mount =
            |path: &Path| path.ancestors().find(|path| self.mounts.contains(*path)).map(Path::to_owned);
        if mount(&work.path) != mount(&work.to) {
            return Err(DiskErrorKind::CrossDevice.into());
        }
        if self.folder(&work.to).find(&to).is_some() {
            return Err(DiskErrorKind::Exists.into());
        }
        let (taken, entry) = self.folder(&work.path).take(&from).ok_or(DiskErrorKind::NotFound)?;
        let target = self.folder(&work.to);
        target.put(to, entry);
        let put = target.barrier() - 1;
        self.moves.push([(work.path, taken), (work.to, put)]);
        Ok(DiskOk::Done)
    }

    fn remove_dir(&mut self, parent: &Path, name: &FileName) -> DiskResult {
        let path = parent.join(name.as_str());
        match self.folder(parent).find(name) {
            None => return Ok(DiskOk::Done),
            Some(Entry::Folder(_)) if !self.folder(&path).is_empty() => {
                return Err(DiskErrorKind::NotEmpty.into());
            }
            Some(Entry::Folder(_)) => {}
            Some(_) => return Err(DiskErrorKind::NotADirectory.into()),
        }
        self.folder(parent).remove(name);
        self.folders.remove(&path);
        self.made.remove(&path);
        Ok(DiskOk::Done)
    }

    fn perform_file(&mut self, work: Work) -> DiskResult {
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.bytes_in_use()));
        let barrier = work.barrier;
        if matches!(work.op, DiskOp::SetExecutable { .. }) {
            self.executable.extend(work.inode);
            return Ok(DiskOk::Done);
        }
        let file = self.file(&work).ok_or(DiskErrorKind::Io)?;
        let (mut written, mut read) = (0, 0);
        let result = match work.op {
            DiskOp::Allocate { len, mode: AllocationMode::Full, .. } if file.growth(0..len) > room => {
                Err(DiskErrorKind::Full.into())
            }
            DiskOp::Allocate { len, mode, .. } => {
                if mode == AllocationMode::Full {
                    file.allocate(0..len);
                }
                if mode != AllocationMode::None && file.current().len() < len {
                    file.set_len(len);
                }
                Ok(DiskOk::Done)
            }
            DiskOp::SetLen { len, .. } => {
                file.set_len(len);
                Ok(DiskOk::Done)
            }
            DiskOp::Write { offset, data, .. } => {
                written = data.iter().map(|part| part.len() as u64).sum();
                write(file, offset, &data, written, room)
            }
            DiskOp::Read { offset, len, .. } => {
                let bytes = file.current().read(offset..offset.saturating_add(u64::from(len)));
                read = bytes.len() as u64;
                Ok(DiskOk::Data(Bytes::from(bytes)))
            }
            _ => {
                file.sync(barrier);
                Ok(DiskOk::Done)
            }
        };
        self.bytes_read += read;
        self.bytes_written += if result.is_ok() { written } else { 0 };
        result
    }

    fn perform_hash(&mut self, work: Work) -> DiskResult {
        let DiskOp::Hash { hash, algorithm, ref input, finish } = work.op else {
            return Err(DiskErrorKind::Io.into());
        };
        let mut hasher = self.hashes.remove(&hash).unwrap_or_else(|| Hasher::new(algorithm));
        match input {
            HashInput::Memory(parts) => parts.iter().for_each(|part| hasher.update(part)),
            HashInput::File { offset, len, .. } => {
                let end = offset.saturating_add(*len);
                let image = self.file(&work).ok_or(DiskErrorKind::Io)?.current();
                if image.len() < end {
                    return Err(DiskErrorKind::UnexpectedEof.into());
                }
                hasher.update(&image.read(*offset..end));
                self.bytes_read += len;
            }
        }
        if finish {
            return Ok(DiskOk::Hashed(Some(hasher.finish())));
        }
        self.hashes.insert(hash, hasher);
        Ok(DiskOk::Hashed(None))
    }
}

impl Disk {
    fn perform_write_hashed(&mut self, work: Work) -> DiskResult {
        let DiskOp::WriteHashed { file, offset, ref data, hash, algorithm, finish } = work.op else {
            return Err(DiskErrorKind::Io.into());
        };
        let input = HashInput::Memory(data.clone());
        let write = DiskOp::Write { file, offset, data: data.clone() };
        let digest = DiskOp::Hash { hash, algorithm, input, finish };
        let as_op = |op| Work {
            op,
            inode: work.inode,
            path: Default::default(),
            to: Default::default(),
            barrier: 0,
            fault: None,
        };
        self.perform_file(as_op(write))?;
        self.perform_hash(as_op(digest))
    }

    fn perform_hash_spans(&mut self, work: Work) -> DiskResult {
        let DiskOp::HashSpans { algorithm, ref spans, .. } = work.op else {
            return Err(DiskErrorKind::Io.into());
        };
        let image = self.file(&work).ok_or(DiskErrorKind::Io)?.current();
        let one = |span: &FileRange| {
            let end = span.offset.saturating_add(span.len);
            if image.len() < end {
                return Err(DiskErrorKind::UnexpectedEof.into());
            }
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&image.read(span.offset..end));
            Ok(hasher.finish())
        };
        let digests: Vec<_> = spans.iter().map(one).collect();
        self.bytes_read += spans.iter().map(|span| span.len).sum::<u64>();
        Ok(DiskOk::Digests(digests))
    }
}

fn write(file: &mut File, offset: u64, data: &[Bytes], len: u64, room: u64) -> DiskResult {
    let mut data = data.concat();
    if file.growth(offset..offset + len) > room {
        // A short write: what still fits is there.
        data.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        write_some(file, offset, data);
        return Err(DiskErrorKind::Full.into());
    }
    file.write(offset, data);
    Ok(DiskOk::Done)
}

/// Nothing does not make a file longer.
fn write_some(file: &mut File, offset: u64, data: Vec<u8>) {
    if !data.is_empty() {
        file.write(offset, data);
    }
}

pub(super) fn class(op: &DiskOp) -> Option<OpClass> {
    Some(match op {
        DiskOp::Close { .. } | DiskOp::CloseDir { .. } | DiskOp::HashDrop { .. } => return None,
        DiskOp::OpenDir { .. } | DiskOp::OpenSubdir { .. } => OpClass::OpenDir,
        DiskOp::Stat { .. } => OpClass::Stat,
        DiskOp::Open { .. } => OpClass::Open,
        DiskOp::Allocate { .. } | DiskOp::SetLen { .. } | DiskOp::SetExecutable { .. } => OpClass::Resize,
        DiskOp::Write { .. } | DiskOp::WriteHashed { .. } => OpClass::Write,
        DiskOp::Read { .. } => OpClass::Read,
        DiskOp::Hash { .. } | DiskOp::HashSpans { .. } => OpClass::Hash,
        DiskOp::Sync { .. } => OpClass::Sync,
        DiskOp::SyncDir { .. } => OpClass::SyncDir,
        DiskOp::Rename { .. } | DiskOp::Move { .. } => OpClass::Rename,
        DiskOp::Remove { .. } | DiskOp::RemoveDir { .. } => OpClass::Remove,
    })
}

fn file_key(op: &DiskOp) -> Option<FileKey> {
    match op {
        DiskOp::Allocate { file, .. }
        | DiskOp::SetLen { file, .. }
        | DiskOp::SetExecutable { file }
        | DiskOp::Write { file, .. }
        | DiskOp::WriteHashed { file, .. }
        | DiskOp::HashSpans { file, .. }
        | DiskOp::Read { file, .. }
        | DiskOp::Hash { input: HashInput::File { file, .. }, .. }
        | DiskOp::Sync { file } => Some(*file),
        _ => None,
    }
}

fn dir_key(op: &DiskOp) -> Option<DirKey> {
    match op {
        DiskOp::Stat { dir, .. }
        | DiskOp::Open { dir, .. }
        | DiskOp::SyncDir { dir }
        | DiskOp::OpenSubdir { parent: dir, .. }
        | DiskOp::Rename { dir, .. }
        | DiskOp::Move { dir, .. }
        | DiskOp::RemoveDir { dir, .. }
        | DiskOp::Remove { dir, .. } => Some(*dir),
        _ => None,
    }
}

fn changes(op: &DiskOp) -> bool {
    match op {
        DiskOp::Open { mode, .. } => *mode == OpenMode::CreateNew,
        DiskOp::OpenDir { .. }
        | DiskOp::OpenSubdir { .. }
        | DiskOp::Stat { .. }
        | DiskOp::Read { .. }
        | DiskOp::Hash { .. }
        | DiskOp::HashSpans { .. } => false,
        _ => true,
    }
}
