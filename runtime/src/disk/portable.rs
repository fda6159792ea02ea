//! Files by std alone, for platforms without `openat`.
//!
//! What is weaker here than on Unix: a directory is its path, so whoever can replace the directory can redirect what
//! is opened later; links are looked for before a file or a directory is opened, not by the opening itself; a rename without
//! replacing checks first; there is no file identity, so a file is recognised by its name alone; and directories are
//! not synced.

use super::perform::{Medium, file_stat};
use bytes::Bytes;
use gosh_dl_core::base::FileName;
use gosh_dl_core::base::disk::{FileStat, OpenMode};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A directory by its path.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        match path.metadata()?.is_dir() {
            true => Ok(Self(path.canonicalize()?)),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn subdir(&self, name: &FileName) -> io::Result<Self> {
        let path = self.0.join(name.as_str());
        match path.symlink_metadata()?.is_dir() {
            true => Ok(Self(path)),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn make_dir(&self, name: &FileName) -> io::Result<bool> {
        match std::fs::create_dir(self.0.join(name.as_str())) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn remove_dir(&self, name: &FileName) -> io::Result<()> {
        std::fs::remove_dir(self.0.join(name.as_str()))
    }

    pub(super) fn stat(&self, name: &FileName) -> io::Result<Option<FileStat>> {
        match self.0.join(name.as_str()).symlink_metadata() {
            Ok(metadata) => Ok(Some(from_metadata(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn open(&self, name: &FileName, mode: OpenMode) -> io::Result<File> {
        if mode != OpenMode::CreateNew && self.stat(name)?.is_some_and(|found| !found.regular) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (create, path) = (mode == OpenMode::CreateNew, self.0.join(name.as_str()));
        match OpenOptions::new().read(true).write(true).create_new(create).open(&path) {
            // Some systems sync only what could be written, so even what is only read is opened so where that is allowed.
            Err(error) if mode == OpenMode::ReadOnly && is_refused(&error) => File::open(&path),
            result => result,
        }
    }

    pub(super) fn rename(&self, from: &FileName, to: &FileName, replace: bool) -> io::Result<()> {
        if !replace && self.stat(to)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        std::fs::rename(self.0.join(from.as_str()), self.0.join(to.as_str()))
    }

    pub(super) fn move_to(&self, from: &FileName, dir: &Self, to: &FileName) -> io::Result<()> {
        if dir.stat(to)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        std::fs::rename(self.0.join(from.as_str()), dir.0.join(to.as_str()))
    }

    pub(super) fn remove(&self, name: &FileName) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name.as_str()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the same face as on Unix, where it can fail")]
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

pub(super) fn stat(file: &File) -> io::Result<FileStat> {
    Ok(from_metadata(&file.metadata()?))
}

fn from_metadata(metadata: &Metadata) -> FileStat {
    file_stat(0, 0, metadata.len(), metadata.is_file())
}

#[expect(clippy::unnecessary_wraps, reason = "the same face as on Unix, where it can fail")]
pub(super) fn set_executable(_file: &File) -> io::Result<()> {
    Ok(())
}

pub(super) fn medium(_file: &File) -> Medium {
    Medium::Remote
}

pub(super) fn allocate(_file: &File, _len: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn write_all_at(mut file: &File, offset: u64, data: &[Bytes]) -> io::Result<()> {
    let _one_at_a_time = CURSOR.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(offset))?;
    data.iter().try_for_each(|part| file.write_all(part))
}

pub(super) fn read_at(mut file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let _one_at_a_time = CURSOR.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(offset))?;
    file.read(into)
}

/// A file has one cursor, and two threads may use one file.
static CURSOR: Mutex<()> = Mutex::new(());
