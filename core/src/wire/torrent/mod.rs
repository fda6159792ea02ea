//! Codecs: metainfo files (BEP 3) and magnet links (BEP 9).
//!
//! [`Metainfo`] reads a torrent, [`Magnet`] a link to one; [`create`] makes a torrent of content that is there.

mod collisions;
pub mod create;
mod error;
mod files;
mod info;
mod magnet;
mod metainfo;
mod outer;
mod path;

pub use error::{MetainfoError, Place};
pub use files::{Files, FilesIter, TorrentFile};
pub use magnet::{Magnet, MagnetError};
pub use metainfo::Metainfo;

/// The longest metainfo in bytes: that of the most pieces, and as much again for files.
pub const MAX_METAINFO_LEN: usize = 96 << 20;

/// The most pieces: 40 MiB of hashes.
pub const MAX_PIECES: u32 = 1 << 21;

/// The longest piece in bytes. It is hashed as a whole, and fetched again as a whole where it is wrong.
pub const MAX_PIECE_LEN: u32 = 512 << 20;

/// The longest content of a torrent in bytes; file systems end far below.
pub const MAX_TOTAL_LEN: u64 = 1 << 48;

/// The most files.
pub const MAX_FILES: u32 = 500_000;

/// The most components in the path of a file. Each is a directory that is opened by itself.
pub const MAX_PATH_DEPTH: usize = 64;

/// The most trackers, web seeds of each kind, and nodes that are kept. What follows is left out: a torrent with more
/// means to send its readers somewhere.
pub const MAX_ADDRESSES: usize = 256;

/// The longest address that is kept, in bytes.
pub const MAX_ADDRESS_LEN: usize = 2048;
