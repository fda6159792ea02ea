//! Codec: a torrent's metainfo (BEP 3, 12, 17, 19, 27, 47).

use super::MAX_METAINFO_LEN;
use super::error::{MetainfoError, Place};
use super::files::{FileTable, Files, Scan};
use super::info::{INFO, NAME, RawInfo, once};
use super::outer::Outer;
use super::path::safe;
use crate::base::{FileName, InfoHash, PieceGrid, PieceIndex};
use crate::wire::bencode::{Cursor, ValueKind};
use bytes::Bytes;
use core::fmt;
use core::ops::Range;
use sha1::{Digest, Sha1};

/// What a `.torrent` file says: which content there is, and how each piece of it is known to be right.
///
/// It holds the bytes that it was read from, and little more: hashes and files are read from them when they are asked
/// for.
///
/// ```
/// use bytes::Bytes;
/// use gosh_dl_core::wire::torrent::Metainfo;
///
/// let bytes = b"d4:infod6:lengthi3e4:name5:a.txt12:piece lengthi16384e6:pieces20:01234567890123456789ee";
/// let metainfo = Metainfo::decode(Bytes::from_static(bytes))?;
/// assert_eq!(metainfo.name().as_str(), "a.txt");
/// assert_eq!(metainfo.grid().total(), 3);
/// assert_eq!(metainfo.info_hash().to_string(), "441411690f931ff5dffa056e3feca72420b36aa3");
/// # Ok::<(), gosh_dl_core::wire::torrent::MetainfoError>(())
/// ```
#[derive(Clone)]
pub struct Metainfo {
    raw: Bytes,
    info: Range<usize>,
    info_hash: InfoHash,
    name: FileName,
    /// Where the name stands in `raw`.
    raw_name: Range<usize>,
    grid: PieceGrid,
    hashes_at: usize,
    is_private: bool,
    files: FileTable,
    outer: Outer,
}

impl Metainfo {
    /// Reads a whole `.torrent` file. Bytes behind its end, which some carry, are dropped.
    pub fn decode(raw: Bytes) -> Result<Self, MetainfoError> {
        if raw.len() > MAX_METAINFO_LEN {
            return Err(MetainfoError::TooLong(raw.len()));
        }
        let mut cursor = Cursor::new(&raw);
        if cursor.kind()? != ValueKind::Dict {
            return Err(MetainfoError::WrongKind(Place::top("")));
        }
        let (mut outer, mut info) = (Outer::default(), None);
        cursor.dict(|key, value| match key {
            b"info" => {
                let start = value.position();
                let read = RawInfo::read(value)?;
                once(&mut info, start, (start..value.position(), read))
            }
            _ => outer.read(key, value),
        })?;
        let (span, info) = info.ok_or(MetainfoError::Missing(INFO))?;
        let end = cursor.position();
        let (grid, hashes) = info.pieces()?;
        let raw_name = info.name_utf8.or(info.name).ok_or(MetainfoError::Missing(NAME))?;
        let name =
            safe(raw_name).and_then(|name| FileName::new(&name)).ok_or(MetainfoError::UnsafeName(NAME))?;
        let is_private = info.is_private();
        let files = match info.files {
            Some(scan) => Scan::finish(scan, &raw)?,
            None => FileTable::single(grid.total(), info.attributes.unwrap_or_default()),
        };
        let place_of = |part: &[u8]| part.as_ptr().addr() - raw.as_ptr().addr();
        let hashes_at = place_of(hashes);
        let raw_name = place_of(raw_name)..place_of(raw_name) + raw_name.len();
        let info_hash = InfoHash(Sha1::digest(&raw[span.clone()]).into());
        let outer = outer.finish();
        let raw = raw.slice(..end);
        Ok(Self { raw, info: span, info_hash, name, raw_name, grid, hashes_at, is_private, files, outer })
    }

    /// Reads an info dictionary that came from a peer (BEP 9), which must have the hash that was asked for. There are no
    /// trackers in it.
    pub fn from_info(info: &[u8], info_hash: InfoHash) -> Result<Self, MetainfoError> {
        if InfoHash(Sha1::digest(info).into()) != info_hash {
            return Err(MetainfoError::HashMismatch);
        }
        Self::decode([b"d4:info", info, b"e"].concat().into())
    }

    /// The name of the torrent.
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// What the file, or the folder around the files, is called.
    pub fn name(&self) -> &FileName {
        &self.name
    }

    /// How the content is cut into pieces.
    pub fn grid(&self) -> PieceGrid {
        self.grid
    }

    /// The SHA-1 that a piece must have. The piece must be of this torrent.
    ///
    /// # Panics
    ///
    /// If the piece is of a torrent with more pieces.
    pub fn piece_hash(&self, piece: PieceIndex) -> &[u8; 20] {
        let (hashes, _) = self.raw[self.hashes_at..].as_chunks::<20>();
        let hashes = &hashes[..self.grid.pieces() as usize];
        &hashes[piece.index()]
    }

    /// The files.
    pub fn files(&self) -> Files<'_> {
        Files {
            table: &self.files,
            raw: &self.raw,
            name: &self.name,
            raw_name: &self.raw[self.raw_name.clone()],
        }
    }

    /// Whether the torrent is one file, and not a folder.
    pub fn is_single_file(&self) -> bool {
        !self.files.is_multi()
    }

    /// Whether peers may be learnt from its trackers only (BEP 27).
    pub fn is_private(&self) -> bool {
        self.is_private
    }

    /// The info dictionary as it came, which the info-hash is the hash of.
    pub fn info_bytes(&self) -> Bytes {
        self.raw.slice(self.info.clone())
    }

    /// The whole metainfo as it came; for one from a peer, with nothing but the info dictionary.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The trackers, in tiers (BEP 12).
    pub fn trackers(&self) -> &[Vec<String>] {
        &self.outer.tiers
    }

    /// Web servers that have the files (`url-list`, BEP 19).
    pub fn web_seeds(&self) -> &[String] {
        &self.outer.web_seeds
    }

    /// Web servers that have a script for the pieces (`httpseeds`, BEP 17).
    pub fn http_seeds(&self) -> &[String] {
        &self.outer.http_seeds
    }

    /// Nodes of the DHT to start from: hosts and ports (BEP 5).
    pub fn nodes(&self) -> &[(String, u16)] {
        &self.outer.nodes
    }

    /// What its maker says of it.
    pub fn comment(&self) -> Option<&str> {
        self.outer.comment.as_deref()
    }

    /// The program that made it.
    pub fn created_by(&self) -> Option<&str> {
        self.outer.created_by.as_deref()
    }

    /// When it was made, in seconds since 1970.
    pub fn creation_date(&self) -> Option<i64> {
        self.outer.creation_date
    }
}

impl fmt::Debug for Metainfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files().len();
        f.debug_struct("Metainfo")
            .field("info_hash", &self.info_hash)
            .field("name", &self.name)
            .field("grid", &self.grid)
            .field("files", &files)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
