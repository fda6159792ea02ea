//! From what the operating system reports to what core decides by.

use gosh_dl_core::base::disk::{DiskError, DiskErrorKind};
use std::io;

/// The disk error that `error` stands for.
pub(super) fn disk_error(error: &io::Error) -> DiskError {
    DiskError { kind: kind(error), os: error.raw_os_error() }
}

#[cfg(unix)]
fn kind(error: &io::Error) -> DiskErrorKind {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => DiskErrorKind::Full,
        Some(Errno::ROFS) => DiskErrorKind::ReadOnly,
        Some(Errno::ACCESS | Errno::PERM) => DiskErrorKind::PermissionDenied,
        Some(Errno::NOENT) => DiskErrorKind::NotFound,
        Some(Errno::EXIST) => DiskErrorKind::Exists,
        // O_NOFOLLOW met a link; a directory or a device was opened for writing.
        Some(Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NODEV) => DiskErrorKind::NotRegular,
        Some(Errno::XDEV) => DiskErrorKind::CrossDevice,
        Some(Errno::NOTEMPTY) => DiskErrorKind::NotEmpty,
        Some(Errno::NOTDIR) => DiskErrorKind::NotADirectory,
        Some(Errno::NAMETOOLONG | Errno::ILSEQ) => DiskErrorKind::InvalidName,
        Some(Errno::FBIG) => DiskErrorKind::TooLarge,
        Some(Errno::MFILE | Errno::NFILE) => DiskErrorKind::TooManyFiles,
        _ => portable_kind(error),
    }
}

#[cfg(not(unix))]
fn kind(error: &io::Error) -> DiskErrorKind {
    portable_kind(error)
}

fn portable_kind(error: &io::Error) -> DiskErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskErrorKind::Full,
        io::ErrorKind::ReadOnlyFilesystem => DiskErrorKind::ReadOnly,
        io::ErrorKind::PermissionDenied => DiskErrorKind::PermissionDenied,
        io::ErrorKind::NotFound => DiskErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => DiskErrorKind::Exists,
        io::ErrorKind::IsADirectory => DiskErrorKind::NotRegular,
        io::ErrorKind::NotADirectory => DiskErrorKind::NotADirectory,
        io::ErrorKind::CrossesDevices => DiskErrorKind::CrossDevice,
        io::ErrorKind::DirectoryNotEmpty => DiskErrorKind::NotEmpty,
        io::ErrorKind::InvalidFilename => DiskErrorKind::InvalidName,
        io::ErrorKind::FileTooLarge => DiskErrorKind::TooLarge,
        io::ErrorKind::UnexpectedEof => DiskErrorKind::UnexpectedEof,
        _ => DiskErrorKind::Io,
    }
}
