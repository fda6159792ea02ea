//! `gosh-dl create`: a torrent of a file or folder.

use crate::args::CreateArgs;
use crate::failure::{Failure, io_message};
use crate::pieces::{self, Part};
use crate::{output, text};
use gosh_dl_core::wire::torrent::create::{NewFile, NewTorrent};
use std::path::{Path, PathBuf};

/// Runs the command and returns its exit code.
pub(crate) fn create(args: &CreateArgs) -> Result<u8, Failure> {
    let path = std::path::absolute(&args.path).map_err(|error| failed(&args.path, &io_message(&error)))?;
    let found = std::fs::metadata(&path).map_err(|error| failed(&path, &io_message(&error)))?;
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| failed(&path, "the name is not UTF-8, which torrents need"))?;
    let mut torrent = if found.is_dir() {
        let mut files = Vec::new();
        walk(&path, &mut Vec::new(), &mut files)?;
        NewTorrent::folder(name, files)
    } else {
        NewTorrent::file(name, found.len())
    };
    torrent.sort_files();
    torrent.piece_len = args.piece_length.map(|len| u32::try_from(len).unwrap_or(u32::MAX));
    torrent.private = args.private.then_some(true);
    torrent.trackers = args.tracker.iter().map(|url| vec![url.clone()]).collect();
    torrent.web_seeds.clone_from(&args.web_seed);
    torrent.created_by = Some(concat!("gosh-dl/", env!("CARGO_PKG_VERSION")).to_owned());
    let why = |error: &dyn std::fmt::Display| failed(&path, &error.to_string());
    let grid = torrent.grid().map_err(|error| why(&error))?;
    let parts = parts(&torrent, &path, found.is_dir());
    let hashes: Result<Vec<_>, _> = pieces::hash(grid, &parts).into_iter().collect();
    let hashes = hashes
        .map_err(|(part, error)| failed(parts[part].path.as_deref().unwrap_or(&path), &io_message(&error)))?;
    let metainfo = torrent.finish(&hashes).map_err(|error| why(&error))?;
    std::fs::write(&args.out, metainfo.raw()).map_err(|error| failed(&args.out, &io_message(&error)))?;
    if !args.quiet {
        output::result(&format!("wrote {} (info hash {})", text::path(&args.out), metainfo.info_hash()));
    }
    Ok(0)
}

fn failed(path: &Path, why: &str) -> Failure {
    Failure(format!("{}: {why}", text::path(path)))
}

/// All regular files below `dir`; links are not followed.
fn walk(dir: &Path, below: &mut Vec<String>, files: &mut Vec<NewFile>) -> Result<(), Failure> {
    let unreadable = |error: &std::io::Error| failed(dir, &io_message(error));
    for entry in std::fs::read_dir(dir).map_err(|error| unreadable(&error))? {
        let entry = entry.map_err(|error| unreadable(&error))?;
        let path = entry.path();
        let name = entry.file_name().into_string();
        let name = name.map_err(|_| failed(&path, "the name is not UTF-8, which torrents need"))?;
        let kind = entry.file_type().map_err(|error| failed(&path, &io_message(&error)))?;
        below.push(name);
        if kind.is_dir() {
            walk(&path, below, files)?;
        } else if kind.is_file() {
            let len = entry.metadata().map_err(|error| failed(&path, &io_message(&error)))?.len();
            files.push(NewFile::new(&below.join("/"), len));
        }
        below.pop();
    }
    Ok(())
}

fn parts(torrent: &NewTorrent, path: &Path, is_dir: bool) -> Vec<Part> {
    use gosh_dl_core::wire::torrent::create::Content;
    match &torrent.content {
        Content::Folder(files) if is_dir => {
            let place = |file: &NewFile| path.join(file.path.iter().collect::<PathBuf>());
            files.iter().map(|file| Part { path: Some(place(file)), len: file.len }).collect()
        }
        _ => vec![Part { path: Some(path.to_owned()), len: torrent.total() }],
    }
}
