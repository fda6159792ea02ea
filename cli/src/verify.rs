//! `gosh-dl verify`: compares files with a torrent, and changes nothing.

use crate::failure::Failure;
use crate::pieces::{self, Part};
use crate::{metainfo, output, text};
use gosh_dl_core::wire::torrent::Metainfo;
use std::path::{Path, PathBuf};

/// Runs the command and returns its exit code.
pub(crate) fn verify(torrent: &Path, dir: Option<&Path>, quiet: bool) -> Result<u8, Failure> {
    let metainfo = metainfo::read(torrent)?;
    let dir = dir.unwrap_or(Path::new("."));
    let parts = parts(&metainfo, dir);
    let grid = metainfo.grid();
    let hashes = pieces::hash(grid, &parts);
    let is_bad = |piece: &gosh_dl_core::base::PieceIndex| !matches!(&hashes[piece.index()], Ok(hash) if hash == metainfo.piece_hash(*piece));
    let bad: Vec<_> = grid.all().filter(is_bad).collect();
    // Files without content are in no piece.
    let missing = |part: &&Part| part.len == 0 && part.path.as_ref().is_some_and(|path| !path.is_file());
    let empty: Vec<&Part> = parts.iter().filter(missing).collect();
    if !quiet {
        for piece in &bad {
            output::result(&format!("bad piece {piece}"));
        }
        for file in metainfo.files().iter().filter(|file| !file.pad) {
            let range = file.range();
            let touched = |piece: &gosh_dl_core::base::PieceIndex| {
                let piece = grid.piece_range(*piece);
                piece.start < range.end && range.start < piece.end
            };
            let lost = empty.iter().any(|part| part.path == parts[file.index].path);
            if lost || bad.iter().any(touched) {
                let shown = parts[file.index].path.as_deref().map(text::path).unwrap_or_default();
                output::result(&format!("bad file {} {shown}", file.index));
            }
        }
        let verdict = match (bad.len(), empty.is_empty()) {
            (0, true) => "every piece is right".to_owned(),
            (0, false) => "empty files are missing".to_owned(),
            (1, _) => format!("1 of {} pieces is missing or wrong", grid.pieces()),
            (bad, _) => format!("{bad} of {} pieces are missing or wrong", grid.pieces()),
        };
        output::note(&verdict);
    }
    Ok(u8::from(!bad.is_empty() || !empty.is_empty()))
}

/// The files of a torrent below `dir`, in its order.
fn parts(metainfo: &Metainfo, dir: &Path) -> Vec<Part> {
    let dir = if metainfo.is_single_file() { dir.to_owned() } else { dir.join(metainfo.name().as_str()) };
    let place = |file: &gosh_dl_core::wire::torrent::TorrentFile<'_>| {
        dir.join(file.path().iter().map(|name| name.as_str()).collect::<PathBuf>())
    };
    let part = |file: gosh_dl_core::wire::torrent::TorrentFile<'_>| Part {
        path: (!file.pad).then(|| place(&file)),
        len: file.len,
    };
    metainfo.files().iter().map(part).collect()
}
