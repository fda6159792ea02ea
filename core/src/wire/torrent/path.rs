//! Codec: the path of a file: from a list of any strings to names that are safe.

use super::MAX_PATH_DEPTH;
use super::error::{MetainfoError, Place};
use crate::base::FileName;
use crate::wire::bencode::{Cursor, DecodeError, ValueKind};
use std::borrow::Cow;

/// A `path` as it stands in the torrent: a bencoded list of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawPath<'a>(pub(super) &'a [u8]);

impl<'a> RawPath<'a> {
    /// Calls `part` with each component as it may be written to disk. What cannot be the name of anything (`..`, nothing
    /// at all) is left out. Says how many there were.
    pub(super) fn each_part(
        self,
        place: Place,
        mut part: impl FnMut(Cow<'a, str>),
    ) -> Result<usize, MetainfoError> {
        let mut parts = 0;
        Cursor::new(self.0).list(|item| {
            if item.kind()? != ValueKind::String {
                return Err(MetainfoError::WrongKind(place));
            }
            let Some(name) = safe(item.bytes()?) else { return Ok(()) };
            if parts == MAX_PATH_DEPTH {
                return Err(MetainfoError::TooDeep(place));
            }
            parts += 1;
            part(name);
            Ok(())
        })?;
        Ok(parts)
    }

    /// Calls `part` with each component as it stands there.
    pub(super) fn each_raw(self, mut part: impl FnMut(&'a [u8])) {
        let _ = Cursor::new(self.0).list(|item| {
            part(item.bytes()?);
            Ok::<_, DecodeError>(())
        });
    }

    /// The components as names.
    pub(super) fn names(self, place: Place) -> Result<Vec<FileName>, MetainfoError> {
        let mut names = Vec::new();
        self.each_part(place, |part| names.extend(FileName::new(&part)))?;
        Ok(names)
    }
}

/// The nearest safe name. Bytes that are no UTF-8 become replacement characters.
pub(super) fn safe(name: &[u8]) -> Option<Cow<'_, str>> {
    let text = String::from_utf8_lossy(name);
    if FileName::is_safe(&text) {
        return Some(text);
    }
    FileName::sanitise(&text).map(|name| Cow::Owned(name.as_str().to_owned()))
}
