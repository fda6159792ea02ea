//! `gosh-dl create`: a torrent of a file or folder.

use crate::args::CreateArgs;
use crate::failure::{Failure, Refusal, UsageError, io_message};
use crate::pieces::{self, Part};
use crate::{json, output, text};
use gosh_dl_core::wire::torrent::Metainfo;
use gosh_dl_core::wire::torrent::create::{NewFile, NewTorrent};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// What `create --json` prints.
#[derive(Serialize)]
#[serde(tag = "event", rename = "created")]
struct Created<'a> {
    path: String,
    name: &'a str,
    info_hash_v1: String,
    total: u64,
    files: usize,
    piece_length: u32,
    pieces: u32,
}

/// Runs the command and returns its exit code.
pub(crate) fn create(args: &CreateArgs) -> Result<u8, Refusal> {
    let is_piped = args.out == Path::new("-");
    if is_piped && args.json {
        return Err(UsageError("--json and the torrent would both go to standard output".to_owned()).into());
    }
    let path = std::path::absolute(&args.path).map_err(|error| failed(&args.path, &io_message(&error)))?;
    let found = std::fs::metadata(&path).map_err(|error| failed(&path, &io_message(&error)))?;
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| failed(&path, "the name is not UTF-8, which torrents need"))?;
    if !is_piped {
        check_out(&args.out, &path)?;
    }
    let mut torrent = if found.is_dir() {
        let mut files = Vec::new();
        walk(&path, &mut Vec::new(), &mut files)?;
        NewTorrent::folder(name, files)
    } else {
        NewTorrent::file(name, found.len())
    };
    torrent.sort_files();
    torrent.piece_len = args.piece_length;
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
    if is_piped {
        output::raw(metainfo.raw());
        return Ok(0);
    }
    write(&args.out, metainfo.raw()).map_err(|error| failed(&args.out, &io_message(&error)))?;
    if args.json {
        output::result(&json::line(&created(&args.out, &metainfo)));
    } else if !args.quiet {
        output::result(&format!("wrote {} (info hash {})", text::path(&args.out), metainfo.info_hash()));
    }
    Ok(0)
}

fn created<'a>(path: &Path, metainfo: &'a Metainfo) -> Created<'a> {
    let grid = metainfo.grid();
    Created {
        path: path.to_string_lossy().into_owned(),
        name: metainfo.name().as_str(),
        info_hash_v1: metainfo.info_hash().to_string(),
        total: grid.total(),
        files: metainfo.files().len(),
        piece_length: grid.piece_len(),
        pieces: grid.pieces(),
    }
}

/// Before anything is read: nothing is written over, and no torrent becomes a part of its own content.
fn check_out(out: &Path, content: &Path) -> Result<(), Failure> {
    if out.symlink_metadata().is_ok() {
        return Err(failed(out, "it is there already; name another file, or delete it first"));
    }
    let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = dir.canonicalize().map_err(|error| failed(dir, &io_message(&error)))?;
    let content = content.canonicalize().map_err(|error| failed(content, &io_message(&error)))?;
    match dir.starts_with(content) {
        true => Err(failed(out, "it would lie in the folder that it is made of; name a file elsewhere")),
        false => Ok(()),
    }
}

/// A new file; what is not whole does not stay.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    let written = file.write_all(content);
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
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
