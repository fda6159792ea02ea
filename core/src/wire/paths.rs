//! Codec: paths below a directory, as records keep them: a bencoded list of lists of names.

use super::bencode::{Encoder, ListEncoder, Value, Written};
use crate::base::FileName;
use std::collections::BTreeSet;

/// Paths below a directory, as a list of lists of names.
pub(crate) fn put_paths(to: Encoder<'_>, paths: &BTreeSet<Vec<FileName>>) -> Written {
    let put = |l: &mut ListEncoder<'_>, path: &Vec<FileName>| {
        l.item(|e| e.list(|l| path.iter().for_each(|name| l.item(|e| e.bytes(name.as_str().as_bytes())))));
    };
    to.list(|l| paths.iter().for_each(|path| put(l, path)))
}

/// What [`put_paths`] wrote.
pub(crate) fn take_paths(from: Value<'_>) -> Option<BTreeSet<Vec<FileName>>> {
    let name = |name: Value<'_>| FileName::new(name.as_str()?);
    let path = |names: Value<'_>| {
        names.list()?.map(name).collect::<Option<Vec<FileName>>>().filter(|path| !path.is_empty())
    };
    from.list()?.map(path).collect()
}
