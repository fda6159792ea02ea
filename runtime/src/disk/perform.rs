//! How each operation is performed.

use super::error::disk_error;
use super::lend::OpenFile;
use super::{DirSlot, FileSlot, Job, Shared, digest, platform};
use bytes::{Bytes, BytesMut};
use gosh_dl_core::base::FileName;
use gosh_dl_core::base::disk::{
    AllocationMode, DiskError, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileIdentity, FileRange, FileStat,
    HashAlgorithm, HashInput, OpenMode,
};
use std::fs::{File, TryLockError};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

impl Job {
    pub(super) fn perform(self, shared: &Shared) -> DiskResult {
        let Self { op, parent, dir, file, digest, .. } = self;
        let named = Named { parent, dir, file };
        match op {
            DiskOp::OpenSubdir { name, create, .. } => named.open_subdir(&name, create),
            DiskOp::RemoveDir { name, .. } => match named.dir()?.remove_dir(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(DiskOk::Done),
                result => done(result),
            },
            DiskOp::WriteHashed { offset, data, finish, .. } => {
                let digest = digest.ok_or(DiskErrorKind::Io)?;
                let mut digest = digest.lock().unwrap_or_else(PoisonError::into_inner);
                data.iter().for_each(|part| digest.update(part));
                platform::write_all_at(named.file()?, offset, &data).map_err(lift)?;
                Ok(DiskOk::Hashed(finish.then(|| digest.finish().ok_or(DiskErrorKind::Io)).transpose()?))
            }
            DiskOp::HashSpans { algorithm, spans, .. } => named.hash_spans(algorithm, &spans),
            DiskOp::OpenDir { path, .. } => named.open_dir(&path),
            DiskOp::Close { .. } | DiskOp::CloseDir { .. } | DiskOp::HashDrop { .. } => Ok(DiskOk::Done),
            DiskOp::Stat { name, .. } => named.dir()?.stat(&name).map(DiskOk::Found).map_err(lift),
            DiskOp::Open { name, mode, .. } => named.open(shared, &name, mode),
            DiskOp::Allocate { len, mode, .. } => named.allocate(len, mode),
            DiskOp::SetExecutable { .. } => done(platform::set_executable(named.file()?)),
            DiskOp::SetLen { len, .. } => done(named.file()?.set_len(len)),
            DiskOp::Write { offset, data, .. } => done(platform::write_all_at(named.file()?, offset, &data)),
            DiskOp::Read { offset, len, .. } => named.read(offset, len),
            DiskOp::Hash { input, finish, .. } => {
                let digest = digest.ok_or(DiskErrorKind::Io)?;
                let mut digest = digest.lock().unwrap_or_else(PoisonError::into_inner);
                match input {
                    HashInput::Memory(parts) => parts.iter().for_each(|part| digest.update(part)),
                    HashInput::File { offset, len, .. } => {
                        let mut block = Vec::new();
                        read_blocks(named.file()?, offset, len, &mut block, |block| digest.update(block))?;
                    }
                }
                Ok(DiskOk::Hashed(finish.then(|| digest.finish().ok_or(DiskErrorKind::Io)).transpose()?))
            }
            // fdatasync on Linux also writes the metadata that is needed to read the data back, the length among it;
            // on Apple's systems std asks the drive to flush its cache, on Windows it is FlushFileBuffers.
            DiskOp::Sync { .. } => done(named.file()?.sync_data()),
            DiskOp::SyncDir { .. } => done(named.dir()?.sync()),
            DiskOp::Rename { from, to, replace, .. } => done(named.dir()?.rename(&from, &to, replace)),
            DiskOp::Move { from, to, .. } => {
                let above = named.parent.as_ref().and_then(|slot| slot.dir.get());
                done(above.ok_or(DiskErrorKind::NotFound)?.move_to(&from, named.dir()?, &to))
            }
            DiskOp::Remove { name, .. } => match named.dir()?.remove(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(DiskOk::Done),
                result => done(result),
            },
        }
    }
}

/// What an operation names.
struct Named {
    parent: Option<Arc<DirSlot>>,
    dir: Option<Arc<DirSlot>>,
    file: Option<Arc<FileSlot>>,
}

impl Named {
    /// The open directory; one that was never opened, or could not be, has nothing in it.
    fn dir(&self) -> Result<&platform::Dir, DiskErrorKind> {
        self.dir.as_ref().and_then(|slot| slot.dir.get()).ok_or(DiskErrorKind::NotFound)
    }

    fn file(&self) -> Result<&File, DiskErrorKind> {
        self.file
            .as_ref()
            .and_then(|slot| slot.file.get())
            .map(|open| &open.file)
            .ok_or(DiskErrorKind::NotFound)
    }

    fn open_dir(&self, path: &std::path::Path) -> DiskResult {
        let slot = self.dir.as_ref().ok_or(DiskErrorKind::Io)?;
        std::fs::create_dir_all(path).map_err(|error| match error.kind() {
            // A file stands where the directory should be.
            io::ErrorKind::AlreadyExists => DiskErrorKind::NotADirectory.into(),
            _ => disk_error(&error),
        })?;
        let dir = platform::Dir::at(path).map_err(lift)?;
        let _already = slot.dir.set(dir);
        Ok(DiskOk::Done)
    }

    fn open_subdir(&self, name: &FileName, create: bool) -> DiskResult {
        let slot = self.dir.as_ref().ok_or(DiskErrorKind::Io)?;
        let parent = self.parent.as_ref().and_then(|slot| slot.dir.get()).ok_or(DiskErrorKind::NotFound)?;
        let created = create && parent.make_dir(name).map_err(lift)?;
        let dir = parent.subdir(name).map_err(lift)?;
        let _already = slot.dir.set(dir);
        Ok(DiskOk::OpenedDir { created })
    }

    /// Each part by itself; one that cannot be read leaves the others alone.
    fn hash_spans(&self, algorithm: HashAlgorithm, spans: &[FileRange]) -> DiskResult {
        let file = self.file()?;
        let mut digest = digest::State::new(algorithm);
        let mut block = Vec::new();
        let one = |span: &FileRange| {
            let result = read_blocks(file, span.offset, span.len, &mut block, |block| digest.update(block));
            // The state starts afresh, also after one that failed.
            let digest = digest.finish().ok_or(DiskErrorKind::Io)?;
            result.map(|()| digest)
        };
        Ok(DiskOk::Digests(spans.iter().map(one).collect()))
    }

    fn open(&self, shared: &Shared, name: &FileName, mode: OpenMode) -> DiskResult {
        let slot = self.file.as_ref().ok_or(DiskErrorKind::Io)?;
        let file = self.dir()?.open(name, mode).map_err(lift)?;
        let stat = platform::stat(&file).map_err(lift)?;
        if !stat.regular {
            return Err(DiskErrorKind::NotRegular.into());
        }
        if mode != OpenMode::ReadOnly {
            lock(shared, &file)?;
        }
        // Whoever had it locked may have renamed or removed it before it let go: then this is no longer that name.
        let now = self.dir()?.stat(name).map_err(lift)?;
        if now.map(|found| found.identity) != Some(stat.identity) {
            return Err(DiskErrorKind::NotFound.into());
        }
        let stat = platform::stat(&file).map_err(lift)?;
        let medium = platform::medium(&file);
        let _already = slot.file.set(Arc::new(OpenFile { file, medium }));
        Ok(DiskOk::Opened { stat, local: medium != Medium::Remote })
    }

    fn allocate(&self, len: u64, mode: AllocationMode) -> DiskResult {
        let file = self.file()?;
        let current = file.metadata().map_err(lift)?.len();
        match mode {
            AllocationMode::None => Ok(DiskOk::Done),
            AllocationMode::Sparse if len <= current => Ok(DiskOk::Done),
            AllocationMode::Sparse => done(file.set_len(len)),
            AllocationMode::Full => match platform::allocate(file, len) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => self.write_zeros(current, len),
                result => done(result),
            },
        }
    }

    /// Allocates the hard way, beyond what is there; ends early when the file is closed.
    fn write_zeros(&self, from: u64, to: u64) -> DiskResult {
        let zeros = Bytes::from(vec![0; ZERO_STEP]);
        let mut offset = from;
        while offset < to {
            if self.file.as_ref().is_none_or(|slot| slot.closed.load(Ordering::Relaxed)) {
                return Err(DiskErrorKind::Io.into());
            }
            let step = usize::try_from(to - offset).unwrap_or(ZERO_STEP).min(ZERO_STEP);
            platform::write_all_at(self.file()?, offset, &[zeros.slice(..step)]).map_err(lift)?;
            offset += step as u64;
        }
        Ok(DiskOk::Done)
    }

    fn read(&self, offset: u64, len: u32) -> DiskResult {
        let mut data = BytesMut::zeroed(len as usize);
        let mut filled = 0;
        while filled < data.len() {
            match platform::read_at(self.file()?, offset + filled as u64, &mut data[filled..])
                .map_err(lift)?
            {
                0 => break,
                more => filled += more,
            }
        }
        data.truncate(filled);
        Ok(DiskOk::Data(data.freeze()))
    }
}

/// Locks a file for this engine. If this very engine is just closing it, that is waited for.
fn lock(shared: &Shared, file: &File) -> Result<(), DiskError> {
    let first = file.try_lock();
    let result = match first {
        Err(TryLockError::WouldBlock) => {
            shared.wait_for_closing();
            file.try_lock()
        }
        other => other,
    };
    match result {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(DiskErrorKind::Locked.into()),
        // Some network file systems have no locks; the store's own lock still guards against a second engine.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(disk_error(&error)),
    }
}

/// Reads `len` bytes from `offset`, block by block.
fn read_blocks(
    file: &File,
    mut offset: u64,
    len: u64,
    block: &mut Vec<u8>,
    mut each: impl FnMut(&[u8]),
) -> Result<(), DiskError> {
    let size = usize::try_from(len).unwrap_or(READ_BLOCK).min(READ_BLOCK);
    if block.len() < size {
        block.resize(size, 0);
    }
    let mut left = len;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(READ_BLOCK).min(READ_BLOCK);
        let got = platform::read_at(file, offset, &mut block[..want]).map_err(lift)?;
        if got == 0 {
            return Err(DiskErrorKind::UnexpectedEof.into());
        }
        each(&block[..got]);
        offset += got as u64;
        left -= got as u64;
    }
    Ok(())
}

fn done(result: io::Result<()>) -> DiskResult {
    result.map(|()| DiskOk::Done).map_err(lift)
}

fn lift(error: impl Into<io::Error>) -> DiskError {
    disk_error(&error.into())
}

/// What lies under a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// A network, or another process: data may be lost without a power cut.
    Remote,
    /// A device whose page cache is this machine's.
    Local,
    /// Memory, and nothing else (it may be swapped out, as all memory).
    Memory,
}

/// A stat from its parts.
pub(super) fn file_stat(device: u64, inode: u64, len: u64, regular: bool) -> FileStat {
    FileStat { identity: FileIdentity { device, inode }, len, regular }
}

/// Fits into the second-level cache of the core that hashes it.
const READ_BLOCK: usize = 256 << 10;
/// How much is allocated by zeros between two looks at whether the file is still wanted.
const ZERO_STEP: usize = 1 << 20;
