//! Policy: which requests to a web server bring a range of a torrent (BEP 17, 19), and what its answers mean.

use super::WebSeedError;
use crate::base::InfoHash;
use crate::download::torrent::layout::Layout;
use crate::wire::http::{HttpUrl, ResponseHead, UrlError};
use crate::wire::torrent::Metainfo;
use core::fmt::Write as _;
use core::ops::Range;

/// Which of the two protocols a web server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has the files (`url-list`, BEP 19).
    Files,
    /// It has a script that is asked for pieces (`httpseeds`, BEP 17).
    Script,
}

/// The next bytes of a torrent, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Padding: so many zeros, from nowhere.
    Zeros(u64),
    /// The bytes of `range` of a file, which are asked for at once.
    File {
        /// The number of the file.
        file: u32,
        /// The bytes in the file.
        range: Range<u64>,
    },
    /// The rest of a piece, from the script.
    Piece {
        /// The number of the piece.
        piece: u32,
        /// The bytes in the piece.
        range: Range<u64>,
        /// Its length in bytes.
        len: u64,
    },
}

impl Part {
    /// How many bytes it brings.
    pub fn len(&self) -> u64 {
        match self {
            Self::Zeros(len) => *len,
            Self::File { range, .. } | Self::Piece { range, .. } => range.end - range.start,
        }
    }

    /// The file that it is of, if it is asked for as one.
    pub fn file(&self) -> Option<u32> {
        match self {
            Self::File { file, .. } => Some(*file),
            _ => None,
        }
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What brings the first bytes of `range` of the whole; `None` where there are none.
pub fn next_part(kind: Kind, layout: &Layout, range: Range<u64>) -> Option<Part> {
    let grid = layout.grid();
    if kind == Kind::Files {
        let span = layout.spans(range).next()?;
        let part = Part::File { file: span.file, range: span.offset..span.offset + span.len };
        return Some(if span.pad { Part::Zeros(span.len) } else { part });
    }
    let piece = grid.pieces_in(range.clone()).next()?;
    let whole = grid.piece_range(piece);
    let inner = range.start - whole.start..range.end.min(whole.end) - whole.start;
    Some(Part::Piece { piece: piece.get(), range: inner, len: whole.end - whole.start })
}

/// The URL that a part is asked for at.
pub fn url_of(base: &HttpUrl, metainfo: &Metainfo, part: &Part) -> Result<HttpUrl, UrlError> {
    let base = base.as_str_with_user_info();
    let text = match part {
        Part::Zeros(_) => base.to_owned(),
        Part::File { file, .. } => file_url(base, metainfo, *file),
        Part::Piece { piece, range, len } => piece_url(base, metainfo.info_hash(), *piece, range, *len),
    };
    HttpUrl::parse(&text)
}

/// BEP 19: the address of a single file is complete unless it ends in a slash; otherwise it is that of the folder which
/// the torrent's own is in.
fn file_url(base: &str, metainfo: &Metainfo, file: u32) -> String {
    if metainfo.is_single_file() && !base.ends_with('/') {
        return base.to_owned();
    }
    let slash = if base.ends_with('/') { "" } else { "/" };
    let path = metainfo.files().get(file as usize).map(|file| file.url_path()).unwrap_or_default();
    format!("{base}{slash}{path}")
}

fn piece_url(base: &str, info_hash: InfoHash, piece: u32, range: &Range<u64>, len: u64) -> String {
    let mut url = format!("{base}{}info_hash=", if base.contains('?') { '&' } else { '?' });
    for byte in info_hash.0 {
        // Writing to a string cannot fail.
        let _ = write!(url, "%{byte:02X}");
    }
    let _ = write!(url, "&piece={piece}");
    if *range != (0..len) {
        let _ = write!(url, "&ranges={}-{}", range.start, range.end - 1);
    }
    url
}

/// What is good of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Good {
    /// How many bytes of the body come before those that were asked for.
    pub skip: u64,
}

/// Judges the head of an answer to a request for `part`, of a file of `file_len` bytes.
pub fn judge(part: &Part, file_len: u64, head: &ResponseHead) -> Result<Good, WebSeedError> {
    if !matches!(head.status, 200 | 206) {
        return Err(WebSeedError::Status(head.status));
    }
    if !head.content_encoding_is_identity() {
        return Err(WebSeedError::Encoded);
    }
    let is_chunked = head.is_chunked().map_err(WebSeedError::Http)?;
    let len = head.content_length().map_err(WebSeedError::Http)?.filter(|_| !is_chunked);
    let (whole, wanted) = match part {
        Part::Zeros(len) => (*len, 0..*len),
        Part::File { range, .. } => (file_len, range.clone()),
        // The script sends the ranges alone.
        Part::Piece { range, .. } => (range.end - range.start, 0..range.end - range.start),
    };
    if head.status == 206 {
        let sent = head.content_range().map_err(WebSeedError::Http)?.ok_or(WebSeedError::WrongRange)?;
        if sent.total.is_some_and(|total| total != file_len) {
            return Err(WebSeedError::WrongLength);
        }
        let is_it =
            sent.range.as_ref() == Some(&wanted) && len.is_none_or(|len| len == wanted.end - wanted.start);
        return if is_it { Ok(Good { skip: 0 }) } else { Err(WebSeedError::WrongRange) };
    }
    if len.is_some_and(|len| len != whole) {
        return Err(WebSeedError::WrongLength);
    }
    if wanted.start > MAX_SKIP {
        return Err(WebSeedError::NoRanges);
    }
    Ok(Good { skip: wanted.start })
}

/// A server without ranges sends the file from its beginning; more than this, in bytes, is not thrown away.
const MAX_SKIP: u64 = 256 << 10;
