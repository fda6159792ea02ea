//! Codec: which rule a metainfo breaks, and at which key.

use crate::wire::bencode::DecodeError;
use core::fmt;

/// Why bytes are not a torrent that can be downloaded: one variant per rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum MetainfoError {
    /// It is not bencoded.
    #[error("not a torrent: {0}")]
    Bencode(#[from] DecodeError),
    /// It has this many bytes, which is more than [`MAX_METAINFO_LEN`](super::MAX_METAINFO_LEN).
    #[error("a torrent of {0} bytes is too long")]
    TooLong(usize),
    /// A key that must be there is not.
    #[error("the torrent has no `{0}`")]
    Missing(Place),
    /// A value is of the wrong kind, such as a number where there must be a string.
    #[error("`{0}` in the torrent is of the wrong kind")]
    WrongKind(Place),
    /// A number is negative, zero where it may not be, or too large.
    #[error("`{0}` in the torrent is out of range")]
    OutOfRange(Place),
    /// The files together are longer than [`MAX_TOTAL_LEN`](super::MAX_TOTAL_LEN).
    #[error("the files of the torrent are too long together")]
    TotalTooLong,
    /// There is not one byte to download.
    #[error("the torrent has no content")]
    Empty,
    /// There are more than [`MAX_PIECES`](super::MAX_PIECES).
    #[error("`info.pieces` would be {0}, which are too many")]
    TooManyPieces(u64),
    /// The hashes are not 20 bytes for each piece.
    #[error("`info.pieces` has {found} bytes, where the lengths make it {expected}")]
    PiecesLength {
        /// What the lengths of the files and of a piece make it, in bytes.
        expected: u64,
        /// How long it is.
        found: u64,
    },
    /// There are more than [`MAX_FILES`](super::MAX_FILES).
    #[error("`info.files` has too many files")]
    TooManyFiles,
    /// A path has more than [`MAX_PATH_DEPTH`](super::MAX_PATH_DEPTH) components.
    #[error("`{0}` in the torrent is too deep")]
    TooDeep(Place),
    /// A name has nothing in it that a file could be called.
    #[error("`{0}` in the torrent leaves no safe name")]
    UnsafeName(Place),
    /// Two files have the same path.
    #[error("`{second}` is the path of file {first} too")]
    DuplicatePath {
        /// The file that came first.
        first: u32,
        /// The path that repeats it.
        second: Place,
    },
    /// A file has the path of a folder that another file is in.
    #[error("`{file}` is a folder in the path of file {inside}")]
    FileIsFolder {
        /// The path of the file.
        file: Place,
        /// A file that would be inside.
        inside: u32,
    },
    /// So many names differ in nothing that file systems keep apart that no other names were found for them.
    #[error("`{0}` in the torrent is one of too many names that are nearly the same")]
    TooManyAlike(Place),
    /// It is of BitTorrent v2 only (BEP 52).
    #[error("the torrent is of version 2 only, which is not supported")]
    OnlyV2,
    /// The hash of the info dictionary is not the one that was asked for.
    #[error("the metadata is that of another torrent")]
    HashMismatch,
}

/// A key in a metainfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file, where the key is in an entry of `info.files`; counted from 0.
    pub file: Option<u32>,
    /// The key, with the keys of the dictionaries around it before it.
    pub key: &'static str,
}

impl Place {
    pub(super) const fn top(key: &'static str) -> Self {
        Self { file: None, key }
    }

    pub(super) const fn of(file: u32, key: &'static str) -> Self {
        Self { file: Some(file), key }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file {
            Some(file) => write!(f, "info.files[{file}].{}", self.key),
            None => f.write_str(self.key),
        }
    }
}
