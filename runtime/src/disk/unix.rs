//! Files on Unix: everything below a directory handle, nothing through a link.

use super::perform::{Medium, file_stat};
use bytes::Bytes;
use gosh_dl_core::base::FileName;
use gosh_dl_core::base::disk::{FileStat, OpenMode};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// An open directory.
pub(super) struct Dir(OwnedFd);

impl Dir {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// A directory that lies in this one, and is no link.
    pub(super) fn subdir(&self, name: &FileName) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.0, name.as_str(), flags, Mode::empty()) {
            Ok(dir) => Ok(Self(dir)),
            // Of a link, some systems say that it is one.
            Err(Errno::LOOP | Errno::MLINK) => Err(Errno::NOTDIR.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a directory in this one; says whether there was nothing of that name.
    pub(super) fn make_dir(&self, name: &FileName) -> io::Result<bool> {
        match rustix::fs::mkdirat(&self.0, name.as_str(), Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a directory that lies in this one and is empty.
    pub(super) fn remove_dir(&self, name: &FileName) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name.as_str(), AtFlags::REMOVEDIR)?)
    }

    pub(super) fn stat(&self, name: &FileName) -> io::Result<Option<FileStat>> {
        match rustix::fs::statat(&self.0, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(from_stat(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn open(&self, name: &FileName, mode: OpenMode) -> io::Result<File> {
        // O_NONBLOCK keeps a FIFO in the way from blocking the thread; on a regular file it does nothing.
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let flags = match mode {
            OpenMode::CreateNew => flags | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            OpenMode::Existing => flags | OFlags::RDWR,
            OpenMode::ReadOnly => flags | OFlags::RDONLY,
        };
        let mode = Mode::from_raw_mode(0o666);
        let open = || rustix::fs::openat(&self.0, name.as_str(), flags, mode);
        Ok(File::from(rustix::io::retry_on_intr(open)?))
    }

    pub(super) fn rename(&self, from: &FileName, to: &FileName, replace: bool) -> io::Result<()> {
        if replace {
            return Ok(rustix::fs::renameat(&self.0, from.as_str(), &self.0, to.as_str())?);
        }
        self.move_to(from, self, to)
    }

    /// Gives a file a name in another directory, where it is free.
    pub(super) fn move_to(&self, from: &FileName, dir: &Self, to: &FileName) -> io::Result<()> {
        match self.rename_no_replace(from, dir, to) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.link_and_unlink(from, dir, to),
            result => Ok(result?),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    fn rename_no_replace(&self, from: &FileName, dir: &Self, to: &FileName) -> rustix::io::Result<()> {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(&self.0, from.as_str(), &dir.0, to.as_str(), flags)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    fn rename_no_replace(&self, _from: &FileName, _dir: &Self, _to: &FileName) -> rustix::io::Result<()> {
        Err(Errno::NOSYS)
    }

    /// A link fails where the name is taken, so nothing is ever replaced; a crash in between leaves both names.
    pub(super) fn link_and_unlink(&self, from: &FileName, dir: &Self, to: &FileName) -> io::Result<()> {
        rustix::fs::linkat(&self.0, from.as_str(), &dir.0, to.as_str(), AtFlags::empty())?;
        Ok(rustix::fs::unlinkat(&self.0, from.as_str(), AtFlags::empty())?)
    }

    pub(super) fn remove(&self, name: &FileName) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name.as_str(), AtFlags::empty())?)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.0) {
            // Some file systems have nothing to sync in a directory and say so.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            result => Ok(result?),
        }
    }
}

pub(super) fn stat(file: &File) -> io::Result<FileStat> {
    Ok(from_stat(&rustix::fs::fstat(file)?))
}

#[cfg_attr(
    target_os = "linux",
    expect(clippy::unnecessary_cast, reason = "the widths of these fields vary by platform")
)]
fn from_stat(stat: &rustix::fs::Stat) -> FileStat {
    let regular = FileType::from_raw_mode(stat.st_mode as _) == FileType::RegularFile;
    file_stat(stat.st_dev as u64, stat.st_ino as u64, u64::try_from(stat.st_size).unwrap_or(0), regular)
}

/// Whoever may read it may execute it.
pub(super) fn set_executable(file: &File) -> io::Result<()> {
    let mode = Mode::from_raw_mode(rustix::fs::fstat(file)?.st_mode).as_raw_mode();
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode | (mode & 0o444) >> 2))?)
}

/// What the file system is.
#[cfg(target_os = "linux")]
pub(super) fn medium(file: &File) -> Medium {
    let Ok(stat) = rustix::fs::fstatfs(file) else { return Medium::Remote };
    // The kernel's magic numbers are 32 bits; the type of the field varies by architecture.
    match stat.f_type as u32 {
        magic if REMOTE.contains(&magic) => Medium::Remote,
        magic if MEMORY.contains(&magic) => Medium::Memory,
        _ => Medium::Local,
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn medium(_file: &File) -> Medium {
    Medium::Remote
}

#[cfg(target_os = "linux")]
const MEMORY: [u32; 2] = [
    0x0102_1994, // tmpfs
    0x8584_58F6, // ramfs
];

#[cfg(target_os = "linux")]
const REMOTE: [u32; 14] = [
    0x6969,      // NFS
    0x517B,      // SMB
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB2
    0x6573_5546, // FUSE
    0x0102_1997, // 9p
    0x5346_414F, // AFS
    0x6B41_4653, // kAFS
    0x00C3_6400, // Ceph
    0x7375_7245, // Coda
    0x0BD0_0BD0, // Lustre
    0x7461_636F, // OCFS2
    0x0116_1970, // GFS2
    0x786F_4256, // VirtualBox shared folders
];

/// Allocates every block up to `len`; `Unsupported` where the file system cannot.
pub(super) fn allocate(file: &File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    loop {
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Err(io::ErrorKind::Unsupported.into()),
            Err(error) => return Err(error.into()),
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    {
        let _ = file;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Writes all parts one behind the other.
pub(super) fn write_all_at(file: &File, mut offset: u64, data: &[Bytes]) -> io::Result<()> {
    let mut parts: Vec<IoSlice<'_>> =
        data.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
    let mut left = &mut parts[..];
    while !left.is_empty() {
        let batch = &left[..left.len().min(IOV_MAX)];
        match write_vectored_at(file, batch, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(not(target_vendor = "apple"))]
fn write_vectored_at(file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    Ok(rustix::io::pwritev(file, parts, offset)?)
}

#[cfg(target_vendor = "apple")]
fn write_vectored_at(file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    file.write_at(&parts[0], offset)
}

/// Reads once; 0 only at the end of the file.
pub(super) fn read_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read_at(into, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The most parts of one vectored write: what Linux takes, and every other system at least.
const IOV_MAX: usize = 1024;
