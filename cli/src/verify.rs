//! `gosh-dl verify`: compares files with a torrent, and changes nothing.

use crate::failure::{Failure, io_message};
use crate::pieces::{self, Part};
use crate::{json, metainfo, output, text};
use gosh_dl_core::wire::torrent::{Metainfo, TorrentFile};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// The exit code only.
    Nothing,
    /// Lines for people.
    Lines,
    /// Lines of JSON.
    Json,
}

/// A file that is not as the torrent has it.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "bad_file")]
pub(crate) struct BadFile {
    /// Its number in the torrent.
    file: usize,
    /// Where it is, or should be.
    path: String,
    /// The bad pieces that it has a part in, as first and last of each run.
    pieces: Vec<(u32, u32)>,
    /// What is wrong with it besides.
    error: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "verified")]
pub(crate) struct Verdict {
    info_hash_v1: String,
    /// Whether all is as the torrent has it.
    pub(crate) valid: bool,
    pieces: u32,
    bad_pieces: u32,
    files: usize,
    bad_files: usize,
}

/// Runs the command and returns its exit code.
pub(crate) fn verify(torrent: &Path, dir: Option<&Path>, say: Say) -> Result<u8, Failure> {
    let metainfo = metainfo::read(torrent)?;
    let dir = dir.unwrap_or(Path::new("."));
    std::fs::read_dir(dir)
        .map_err(|error| Failure(format!("--dir {}: {}", text::path(dir), io_message(&error))))?;
    let (bad, verdict) = compare(&metainfo, dir);
    match say {
        Say::Nothing => {}
        Say::Lines => {
            bad.iter().for_each(|file| output::result(&line(file)));
            output::note(&verdict.sentence());
        }
        Say::Json => {
            bad.iter().for_each(|file| output::result(&json::line(file)));
            output::result(&json::line(&verdict));
        }
    }
    Ok(u8::from(!verdict.valid))
}

/// What is wrong with the files below `dir`.
pub(crate) fn compare(metainfo: &Metainfo, dir: &Path) -> (Vec<BadFile>, Verdict) {
    let (grid, parts) = (metainfo.grid(), parts(metainfo, dir));
    let hashes = pieces::hash(grid, &parts);
    let is_bad = |index: &u32| {
        grid.piece(*index).is_some_and(
            |piece| !matches!(&hashes[piece.index()], Ok(hash) if hash == metainfo.piece_hash(piece)),
        )
    };
    let bad_pieces: Vec<u32> = (0..grid.pieces()).filter(is_bad).collect();
    let (mut bad, mut files) = (Vec::new(), 0);
    for file in metainfo.files().iter() {
        let Some(path) = &parts[file.index].path else { continue };
        files += 1;
        let (range, len) = (file.range(), u64::from(grid.piece_len()));
        // An empty file is in no piece, even where one goes around it.
        let first = bad_pieces.partition_point(|piece| (u64::from(*piece) + 1) * len <= range.start);
        let end = bad_pieces.partition_point(|piece| u64::from(*piece) * len < range.end);
        let pieces = if file.len == 0 { Vec::new() } else { runs(&bad_pieces[first..end]) };
        let error = fault(path, file.len);
        if error.is_some() || !pieces.is_empty() {
            bad.push(BadFile { file: file.index, path: path.to_string_lossy().into_owned(), pieces, error });
        }
    }
    let verdict = Verdict {
        info_hash_v1: metainfo.info_hash().to_string(),
        valid: bad_pieces.is_empty() && bad.is_empty(),
        pieces: grid.pieces(),
        bad_pieces: u32::try_from(bad_pieces.len()).unwrap_or(u32::MAX),
        files,
        bad_files: bad.len(),
    };
    (bad, verdict)
}

/// What is wrong with a file as a whole.
fn fault(path: &Path, len: u64) -> Option<String> {
    let found = std::fs::metadata(path).and_then(|found| std::fs::File::open(path).map(|_| found));
    match found {
        Err(error) => Some(io_message(&error)),
        Ok(found) if !found.is_file() => Some("this is not a file".to_owned()),
        Ok(found) if found.len() < len => Some(format!("{} bytes too short", len - found.len())),
        Ok(found) if found.len() > len => Some(format!("{} bytes too long", found.len() - len)),
        Ok(_) => None,
    }
}

/// Numbers that follow one another, as the first and the last of each run.
fn runs(sorted: &[u32]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in sorted {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

/// `bad file 2 PATH: 5 bytes too short; pieces 3-9, 12`
fn line(bad: &BadFile) -> String {
    let mut line = format!("bad file {} {}: ", bad.file, text::escape(&bad.path));
    line.push_str(bad.error.as_deref().unwrap_or_default());
    if bad.pieces.is_empty() {
        return line;
    }
    if bad.error.is_some() {
        line.push_str("; ");
    }
    let is_one = matches!(bad.pieces[..], [(first, last)] if first == last);
    line.push_str(if is_one { "piece " } else { "pieces " });
    for (index, (first, last)) in bad.pieces.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _ = match first == last {
            true => write!(line, "{comma}{first}"),
            false => write!(line, "{comma}{first}-{last}"),
        };
    }
    line
}

impl Verdict {
    /// The same for people.
    pub(crate) fn sentence(&self) -> String {
        if self.valid {
            return "every piece is right".to_owned();
        }
        let Self { pieces, bad_pieces, files, bad_files, .. } = self;
        format!("{bad_pieces} of {pieces} pieces and {bad_files} of {files} files are missing or wrong")
    }
}

/// The files of a torrent below `dir`, in its order.
fn parts(metainfo: &Metainfo, dir: &Path) -> Vec<Part> {
    let dir = if metainfo.is_single_file() { dir.to_owned() } else { dir.join(metainfo.name().as_str()) };
    let place =
        |file: &TorrentFile<'_>| dir.join(file.path().iter().map(|name| name.as_str()).collect::<PathBuf>());
    let part = |file: TorrentFile<'_>| Part { path: (!file.pad).then(|| place(&file)), len: file.len };
    metainfo.files().iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_one_another_are_one_run() {
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[3, 4, 5, 9, 12, 13]), [(3, 5), (9, 9), (12, 13)]);
        let file = |pieces, error: Option<&str>| {
            line(&BadFile { file: 2, path: "a\x1b".into(), pieces, error: error.map(str::to_owned) })
        };
        assert_eq!(file(vec![(3, 9), (12, 12)], None), "bad file 2 a\\u{1b}: pieces 3-9, 12");
        assert_eq!(file(vec![(7, 7)], Some("short")), "bad file 2 a\\u{1b}: short; piece 7");
        assert_eq!(file(vec![], Some("missing")), "bad file 2 a\\u{1b}: missing");
    }
}
