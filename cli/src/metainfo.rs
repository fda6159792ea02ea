//! Reading `.torrent` files.

use crate::failure::{Failure, io_message};
use crate::text;
use gosh_dl_core::wire::torrent::{MAX_METAINFO_LEN, Metainfo};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Whether an argument names a torrent and not a URL: a magnet link, or a file that is there.
pub(crate) fn is_magnet(argument: &str) -> bool {
    argument.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"))
}

/// Whether an argument is meant as a `.torrent` file.
pub(crate) fn is_file(argument: &str) -> bool {
    !argument.contains("://") && (argument.ends_with(".torrent") || Path::new(argument).is_file())
}

/// The torrent in a file, or why there is none.
pub(crate) fn read(path: &Path) -> Result<Metainfo, Failure> {
    let failed = |why: &str| Failure(format!("{}: {why}", text::path(path)));
    if path.to_str().is_some_and(is_magnet) {
        return Err(failed("a magnet link does not do here; give the .torrent file"));
    }
    let mut bytes = Vec::new();
    let limit = MAX_METAINFO_LEN as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| failed(&io_message(&error)))?;
    Metainfo::decode(bytes.into()).map_err(|error| failed(&text::escape(&error.to_string())))
}
