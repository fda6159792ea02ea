//! The vocabulary of the disk: operations with completions. An executor performs them; core decides.
//!
//! Every name is one [`FileName`] under a directory handle, so nothing that came from outside can leave it. Operations
//! may complete in any order; where order matters, core waits for the first before it asks for the second.

use super::FileName;
use bytes::Bytes;
use core::fmt;
use std::path::PathBuf;

/// Names a directory that an executor holds open. Chosen by core, never reused within one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirKey(pub u64);

/// Names a file that an executor holds open. Chosen by core, never reused within one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey(pub u64);

/// Names a digest in progress. Chosen by core, never reused within one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(pub u64);

/// One operation. Those that return more than success say what in [`DiskOk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Opens a directory, creating it and its parents where they are missing. → [`DiskOk::Done`]
    OpenDir {
        /// The key that later operations use.
        dir: DirKey,
        /// The directory as the user named it; the one place where a whole path stands.
        path: PathBuf,
    },
    /// Opens a directory that lies in another one, and never follows a link. → [`DiskOk::OpenedDir`]
    OpenSubdir {
        /// The directory that it lies in.
        parent: DirKey,
        /// Its name there.
        name: FileName,
        /// The key that later operations use.
        dir: DirKey,
        /// Whether it is made where it is missing; otherwise that is [`DiskErrorKind::NotFound`].
        create: bool,
    },
    /// Removes a directory if it is empty, else [`DiskErrorKind::NotEmpty`]; a missing one is not an error.
    /// → [`DiskOk::Done`]
    RemoveDir {
        /// The directory that it lies in.
        dir: DirKey,
        /// Its name there.
        name: FileName,
    },
    /// Lets go of a directory. No completion.
    CloseDir {
        /// The directory.
        dir: DirKey,
    },
    /// Looks a name up without following links. → [`DiskOk::Found`]
    Stat {
        /// The directory.
        dir: DirKey,
        /// The name.
        name: FileName,
    },
    /// Opens a regular file, for reading and writing unless the mode says otherwise, takes an exclusive lock on it, and
    /// never follows a link. A file that another process has locked is [`DiskErrorKind::Locked`]. → [`DiskOk::Opened`]
    Open {
        /// The directory.
        dir: DirKey,
        /// The name.
        name: FileName,
        /// The key that later operations use.
        file: FileKey,
        /// Whether it must be new or must be there.
        mode: OpenMode,
    },
    /// Closes a file. No completion.
    Close {
        /// The file.
        file: FileKey,
    },
    /// Reserves room for `len` bytes, without changing what is there. → [`DiskOk::Done`]
    Allocate {
        /// The file.
        file: FileKey,
        /// The length in bytes.
        len: u64,
        /// How.
        mode: AllocationMode,
    },
    /// Cuts or extends the file to `len` bytes. → [`DiskOk::Done`]
    SetLen {
        /// The file.
        file: FileKey,
        /// The length in bytes.
        len: u64,
    },
    /// Lets those who may read the file execute it, too, where the system knows of that. → [`DiskOk::Done`]
    SetExecutable {
        /// The file.
        file: FileKey,
    },
    /// Writes all of `data` at `offset`, in one vectored write where the platform has it. → [`DiskOk::Done`]
    Write {
        /// The file.
        file: FileKey,
        /// Where, in bytes.
        offset: u64,
        /// What; the parts follow each other without gaps.
        data: Vec<Bytes>,
    },
    /// Writes as [`Write`](Self::Write) does, and feeds a digest as [`Hash`](Self::Hash) does with the same bytes, while
    /// they are in the cache. → [`DiskOk::Hashed`]
    WriteHashed {
        /// The file.
        file: FileKey,
        /// Where, in bytes.
        offset: u64,
        /// What; the parts follow each other without gaps.
        data: Vec<Bytes>,
        /// The digest.
        hash: HashKey,
        /// The algorithm; the same in every operation with that key.
        algorithm: HashAlgorithm,
        /// Whether these are the last bytes of the digest.
        finish: bool,
    },
    /// Reads up to `len` bytes at `offset`; fewer only at the end of the file. → [`DiskOk::Data`]
    Read {
        /// The file.
        file: FileKey,
        /// Where, in bytes.
        offset: u64,
        /// How many bytes.
        len: u32,
    },
    /// Feeds a digest. The first operation with a key starts it. → [`DiskOk::Hashed`], with the digest where `finish`
    /// is set, which ends it. Core keeps at most one operation per key under way.
    Hash {
        /// The digest.
        hash: HashKey,
        /// The algorithm; the same in every operation with that key.
        algorithm: HashAlgorithm,
        /// The bytes to feed.
        input: HashInput,
        /// Whether these are the last.
        finish: bool,
    },
    /// Makes a digest of each of these parts of a file by itself. → [`DiskOk::Digests`], as many as there are parts.
    HashSpans {
        /// The file.
        file: FileKey,
        /// The algorithm.
        algorithm: HashAlgorithm,
        /// The parts.
        spans: Vec<FileRange>,
    },
    /// Forgets a digest in progress. No completion.
    HashDrop {
        /// The digest.
        hash: HashKey,
    },
    /// Makes everything written to the file so far survive a power cut. → [`DiskOk::Done`]
    Sync {
        /// The file.
        file: FileKey,
    },
    /// Makes the names in a directory survive a power cut. → [`DiskOk::Done`]
    SyncDir {
        /// The directory.
        dir: DirKey,
    },
    /// Gives a file another name in the same directory. Without `replace`, a taken name is
    /// [`DiskErrorKind::Exists`]. → [`DiskOk::Done`]
    Rename {
        /// The directory.
        dir: DirKey,
        /// The old name.
        from: FileName,
        /// The new name.
        to: FileName,
        /// Whether a file that has the new name is replaced.
        replace: bool,
    },
    /// Gives a file a name in another directory, and never replaces one: a taken name is [`DiskErrorKind::Exists`], and
    /// another file system [`DiskErrorKind::CrossDevice`]. Syncing the new directory makes both ends of it durable.
    /// → [`DiskOk::Done`]
    Move {
        /// The directory that it lies in.
        dir: DirKey,
        /// Its name there.
        from: FileName,
        /// The directory that it goes to.
        to_dir: DirKey,
        /// Its name there.
        to: FileName,
    },
    /// Removes a name (never a directory); a missing one is not an error. → [`DiskOk::Done`]
    Remove {
        /// The directory.
        dir: DirKey,
        /// The name.
        name: FileName,
    },
}

impl DiskOp {
    /// Whether a completion follows.
    pub fn completes(&self) -> bool {
        !matches!(self, Self::Close { .. } | Self::CloseDir { .. } | Self::HashDrop { .. })
    }
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How many bytes it has; fewer in the file is [`DiskErrorKind::UnexpectedEof`].
    pub len: u64,
}

/// Whether a file must be new or must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Fails with [`DiskErrorKind::Exists`] where the name is taken.
    CreateNew,
    /// Fails with [`DiskErrorKind::NotFound`] where there is none.
    Existing,
    /// As [`Existing`](Self::Existing), but for reading only and without a lock: it may be written by others meanwhile.
    ReadOnly,
}

/// How room for a file is reserved before it is filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum AllocationMode {
    /// The file grows as it is written.
    #[default]
    None,
    /// The file has its full length from the start, without blocks behind it.
    Sparse,
    /// Every block is really allocated, so that a full disk shows at once.
    Full,
}

impl core::str::FromStr for AllocationMode {
    type Err = UnknownAllocation;

    fn from_str(text: &str) -> Result<Self, UnknownAllocation> {
        match text.to_ascii_lowercase().as_str() {
            "none" => Ok(Self::None),
            "sparse" => Ok(Self::Sparse),
            "full" | "preallocate" => Ok(Self::Full),
            _ => Err(UnknownAllocation),
        }
    }
}

/// The text names no allocation mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown allocation mode (none, sparse or full)")]
pub struct UnknownAllocation;

/// What is fed to a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashInput {
    /// Bytes in memory, hot from the network.
    Memory(Vec<Bytes>),
    /// A part of a file.
    File {
        /// The file.
        file: FileKey,
        /// Where, in bytes.
        offset: u64,
        /// How many bytes; fewer in the file is [`DiskErrorKind::UnexpectedEof`].
        len: u64,
    },
}

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// MD5 (RFC 1321), 16 bytes. Broken against an attacker; still published as a guard against accidents.
    Md5,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl HashAlgorithm {
    /// The length of a digest in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha-1",
            Self::Sha256 => "sha-256",
            Self::Sha512 => "sha-512",
        })
    }
}

/// A finished digest: as many bytes as its algorithm gives.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Digest(Box<[u8]>);

impl Digest {
    /// A digest of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which file it is, whatever its name: stays the same across renames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// The device number.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
}

/// What an operation returns when it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOk {
    /// It is done.
    Done,
    /// The name's file, if there is one.
    Found(Option<FileStat>),
    /// The file is open and locked.
    Opened {
        /// Which file it is and how long.
        stat: FileStat,
        /// Whether what was written survives the death of this process on this machine (a local file system).
        local: bool,
    },
    /// The directory is open.
    OpenedDir {
        /// Whether it was missing and has been made.
        created: bool,
    },
    /// Bytes read.
    Data(Bytes),
    /// The digest has taken its input; the digest itself where it was finished.
    Hashed(Option<Digest>),
    /// A digest for each part, or why there is none.
    Digests(Vec<Result<Digest, DiskError>>),
}

impl DiskOk {
    /// The bytes, where some were read.
    pub fn into_data(self) -> Option<Bytes> {
        match self {
            Self::Data(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// A file as [`DiskOp::Stat`] and [`DiskOp::Open`] see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Which file it is.
    pub identity: FileIdentity,
    /// Its length in bytes.
    pub len: u64,
    /// Whether it is a regular file (not a directory, link or device).
    pub regular: bool,
}

/// The result of an operation.
pub type DiskResult = Result<DiskOk, DiskError>;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{kind}{}", os_suffix(.os))]
pub struct DiskError {
    /// What kind of failure it is.
    pub kind: DiskErrorKind,
    /// The operating system's number for it, where there is one.
    pub os: Option<i32>,
}

fn os_suffix(os: &Option<i32>) -> String {
    os.map_or_else(String::new, |code| format!(" (os error {code})"))
}

impl From<DiskErrorKind> for DiskError {
    fn from(kind: DiskErrorKind) -> Self {
        Self { kind, os: None }
    }
}

/// What kind of failure an operation met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DiskErrorKind {
    /// ENOSPC or EDQUOT.
    #[error("no space left on the device")]
    Full,
    /// EROFS.
    #[error("the file system is read-only")]
    ReadOnly,
    /// EACCES or EPERM.
    #[error("permission denied")]
    PermissionDenied,
    /// ENOENT.
    #[error("no such file or directory")]
    NotFound,
    /// EEXIST.
    #[error("a file of that name exists")]
    Exists,
    /// Another process (or another download) has it locked.
    #[error("the file is in use by another download")]
    Locked,
    /// It is a link, a directory or a device.
    #[error("not a regular file")]
    NotRegular,
    /// ENOTDIR.
    #[error("not a directory")]
    NotADirectory,
    /// ENOTEMPTY.
    #[error("the directory is not empty")]
    NotEmpty,
    /// EXDEV.
    #[error("that is another file system")]
    CrossDevice,
    /// ENAMETOOLONG, or a name that this file system cannot hold.
    #[error("the file name is not possible here")]
    InvalidName,
    /// EFBIG.
    #[error("the file is too large for this file system")]
    TooLarge,
    /// EMFILE or ENFILE.
    #[error("too many open files")]
    TooManyFiles,
    /// The file is shorter than what was asked for.
    #[error("the file is shorter than it should be")]
    UnexpectedEof,
    /// EIO and everything else.
    #[error("input/output error")]
    Io,
}
