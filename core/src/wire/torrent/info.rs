//! Codec: the info dictionary, which the info-hash covers (BEP 3, 27, 47).

use super::error::{MetainfoError, Place};
use super::files::{Attributes, Scan};
use super::path::RawPath;
use super::{MAX_PIECE_LEN, MAX_PIECES, MAX_TOTAL_LEN};
use crate::base::PieceGrid;
use crate::wire::bencode::{Cursor, DecodeError, ValueKind};

/// The values of the keys that mean something here. Keys in `info` that stand twice are an error, because two readers
/// could take them for different values.
#[derive(Default)]
pub(super) struct RawInfo<'a> {
    pub(super) name: Option<&'a [u8]>,
    pub(super) name_utf8: Option<&'a [u8]>,
    pub(super) pieces: Option<&'a [u8]>,
    pub(super) files: Option<Scan>,
    pub(super) attributes: Option<Attributes>,
    piece_len: Option<i64>,
    len: Option<i64>,
    private: Option<bool>,
    version: Option<i64>,
}

impl<'a> RawInfo<'a> {
    pub(super) fn read(value: &mut Cursor<'a>) -> Result<Self, MetainfoError> {
        if value.kind()? != ValueKind::Dict {
            return Err(MetainfoError::WrongKind(INFO));
        }
        let mut info = Self::default();
        value.dict(|key, value| info.entry(key, value))?;
        Ok(info)
    }

    fn entry(&mut self, key: &[u8], value: &mut Cursor<'a>) -> Result<(), MetainfoError> {
        let at = value.position();
        match key {
            b"name" => once(&mut self.name, at, string(value, NAME)?),
            b"name.utf-8" => once(&mut self.name_utf8, at, string(value, NAME)?),
            b"pieces" => once(&mut self.pieces, at, string(value, PIECES)?),
            b"piece length" => once(&mut self.piece_len, at, integer(value, PIECE_LENGTH)?),
            b"length" => once(&mut self.len, at, integer(value, LENGTH)?),
            b"files" if value.kind()? == ValueKind::List => once(&mut self.files, at, Scan::read(value)?),
            b"files" => Err(MetainfoError::WrongKind(FILES)),
            b"private" => once(&mut self.private, at, flag(value)?),
            b"meta version" => once(&mut self.version, at, integer(value, VERSION)?),
            b"attr" if value.kind()? == ValueKind::String => {
                once(&mut self.attributes, at, Attributes::read(value.bytes()?))
            }
            _ => value.skip().map(|_| ()).map_err(MetainfoError::from),
        }
    }

    /// BEP 27.
    pub(super) fn is_private(&self) -> bool {
        self.private == Some(true)
    }

    /// The length of the content in bytes.
    pub(super) fn total(&self) -> Result<u64, MetainfoError> {
        match (&self.files, self.len) {
            (Some(files), _) => Ok(files.total()),
            (None, Some(len)) => u64::try_from(len).map_err(|_| MetainfoError::OutOfRange(LENGTH)),
            (None, None) if self.is_only_v2() => Err(MetainfoError::OnlyV2),
            (None, None) => Err(MetainfoError::Missing(LENGTH)),
        }
    }

    /// How the content is cut, and the hashes of the pieces.
    pub(super) fn pieces(&self) -> Result<(PieceGrid, &'a [u8]), MetainfoError> {
        let total = self.total()?;
        if total > MAX_TOTAL_LEN {
            return Err(MetainfoError::TotalTooLong);
        }
        let piece_len = self.piece_len.ok_or(MetainfoError::Missing(PIECE_LENGTH))?;
        let piece_len = u32::try_from(piece_len).ok().filter(|len| (1..=MAX_PIECE_LEN).contains(len));
        let piece_len = piece_len.ok_or(MetainfoError::OutOfRange(PIECE_LENGTH))?;
        let hashes = match self.pieces {
            Some(hashes) => hashes,
            None if self.is_only_v2() => return Err(MetainfoError::OnlyV2),
            None => return Err(MetainfoError::Missing(PIECES)),
        };
        let count = total.div_ceil(u64::from(piece_len));
        if count > u64::from(MAX_PIECES) {
            return Err(MetainfoError::TooManyPieces(count));
        }
        let (expected, found) = (count * 20, hashes.len() as u64);
        if expected != found {
            return Err(MetainfoError::PiecesLength { expected, found });
        }
        let grid = PieceGrid::new(piece_len, total).ok_or(MetainfoError::Empty)?;
        Ok((grid, hashes))
    }

    fn is_only_v2(&self) -> bool {
        self.version == Some(2) && self.pieces.is_none()
    }
}

pub(super) fn once<T>(slot: &mut Option<T>, at: usize, value: T) -> Result<(), MetainfoError> {
    match slot.replace(value) {
        Some(_) => Err(DecodeError::DuplicateKey(at).into()),
        None => Ok(()),
    }
}

pub(super) fn string<'a>(value: &mut Cursor<'a>, place: Place) -> Result<&'a [u8], MetainfoError> {
    match value.kind()? {
        ValueKind::String => Ok(value.bytes()?),
        _ => Err(MetainfoError::WrongKind(place)),
    }
}

pub(super) fn integer(value: &mut Cursor<'_>, place: Place) -> Result<i64, MetainfoError> {
    match value.kind()? {
        ValueKind::Integer => Ok(value.int()?),
        _ => Err(MetainfoError::WrongKind(place)),
    }
}

pub(super) fn path<'a>(value: &mut Cursor<'a>, place: Place) -> Result<RawPath<'a>, MetainfoError> {
    match value.kind()? {
        ValueKind::List => Ok(RawPath(value.skip()?)),
        _ => Err(MetainfoError::WrongKind(place)),
    }
}

/// Whatever is not plainly zero means yes: a torrent that may be private must not be spoken of.
fn flag(value: &mut Cursor<'_>) -> Result<bool, MetainfoError> {
    Ok(!matches!(value.skip()?, b"i0e" | b"0:" | b"1:0"))
}

pub(super) const INFO: Place = Place::top("info");
pub(super) const NAME: Place = Place::top("info.name");
const PIECES: Place = Place::top("info.pieces");
const PIECE_LENGTH: Place = Place::top("info.piece length");
const LENGTH: Place = Place::top("info.length");
const FILES: Place = Place::top("info.files");
const VERSION: Place = Place::top("info.meta version");
