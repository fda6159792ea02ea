//! `gosh-dl show`: what a torrent or magnet link says.

use crate::failure::Failure;
use crate::{json, metainfo, output, rate, text};
use gosh_dl_core::wire::torrent::{Magnet, Metainfo};
use serde::Serialize;
use std::path::Path;

/// What `show --json` prints.
#[derive(Debug, Serialize)]
struct Shown {
    name: Option<String>,
    info_hash_v1: String,
    info_hash_v2: Option<String>,
    files: Vec<ShownFile>,
    piece_length: Option<u32>,
    private: bool,
    trackers: Vec<String>,
    web_seeds: Vec<String>,
    total: Option<u64>,
    pieces: Option<u32>,
    comment: Option<String>,
    created_by: Option<String>,
    /// In seconds since 1970.
    creation_date: Option<i64>,
    /// Addresses that a magnet link names.
    peers: Vec<String>,
    /// The first and the last of each run of files that a magnet link wants.
    select_only: Vec<(u32, u32)>,
}

#[derive(Debug, Serialize)]
struct ShownFile {
    path: String,
    length: u64,
}

/// Runs the command and returns its exit code.
pub(crate) fn show(torrent: &str, json: bool) -> Result<u8, Failure> {
    let shown = if metainfo::is_magnet(torrent) {
        let link =
            Magnet::parse(torrent).map_err(|error| Failure(format!("{}: {error}", text::escape(torrent))))?;
        of_magnet(&link)
    } else {
        of_metainfo(&metainfo::read(Path::new(torrent))?)
    };
    if json {
        output::result(&json::line(&shown));
    } else {
        lines(&shown).iter().for_each(|line| output::result(line));
    }
    Ok(0)
}

fn of_metainfo(metainfo: &Metainfo) -> Shown {
    let path = |file: &gosh_dl_core::wire::torrent::TorrentFile<'_>| {
        let path = file.path();
        let folder = (!metainfo.is_single_file()).then_some(metainfo.name());
        folder.into_iter().chain(&path).map(|name| name.as_str()).collect::<Vec<_>>().join("/")
    };
    // Padding is on no disk, but it counts: files keep the numbers that they have in the torrent.
    let files = metainfo.files().iter().map(|file| ShownFile { path: path(&file), length: file.len });
    Shown {
        name: Some(metainfo.name().to_string()),
        info_hash_v1: metainfo.info_hash().to_string(),
        info_hash_v2: None,
        files: files.collect(),
        piece_length: Some(metainfo.grid().piece_len()),
        private: metainfo.is_private(),
        trackers: metainfo.trackers().concat(),
        web_seeds: metainfo.web_seeds().to_vec(),
        total: Some(metainfo.grid().total()),
        pieces: Some(metainfo.grid().pieces()),
        comment: metainfo.comment().map(str::to_owned),
        created_by: metainfo.created_by().map(str::to_owned),
        creation_date: metainfo.creation_date(),
        peers: Vec::new(),
        select_only: Vec::new(),
    }
}

fn of_magnet(link: &Magnet) -> Shown {
    Shown {
        name: link.name.clone(),
        info_hash_v1: link.info_hash.to_string(),
        info_hash_v2: None,
        files: Vec::new(),
        piece_length: None,
        private: false,
        trackers: link.trackers.clone(),
        web_seeds: link.web_seeds.clone(),
        total: None,
        pieces: None,
        comment: None,
        created_by: None,
        creation_date: None,
        peers: link.peers.iter().map(|(host, port)| format!("{host}:{port}")).collect(),
        select_only: link.select_only.iter().map(|range| (*range.start(), *range.end())).collect(),
    }
}

fn lines(shown: &Shown) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |key: &str, value: &str| lines.push(format!("{key}: {}", text::escape(value)));
    line("name", shown.name.as_deref().unwrap_or("(not known)"));
    line("info hash", &shown.info_hash_v1);
    if let (Some(total), Some(pieces), Some(len)) = (shown.total, shown.pieces, shown.piece_length) {
        line("size", &format!("{} ({total} bytes)", rate::bytes(total)));
        line("pieces", &format!("{pieces} of {}", rate::bytes(len.into())));
        // A magnet link does not tell.
        line("private", if shown.private { "yes" } else { "no" });
    }
    let texts = [("comment", &shown.comment), ("created by", &shown.created_by)];
    texts
        .into_iter()
        .filter_map(|(key, text)| Some((key, text.as_deref()?)))
        .for_each(|(key, text)| line(key, text));
    for (first, last) in &shown.select_only {
        line("wanted files", &format!("{first} to {last}"));
    }
    shown.peers.iter().for_each(|peer| line("peer", peer));
    shown.trackers.iter().for_each(|url| line("tracker", url));
    shown.web_seeds.iter().for_each(|url| line("web seed", url));
    for (number, file) in shown.files.iter().enumerate() {
        line(&format!("file {number}"), &format!("{} ({})", file.path, rate::bytes(file.length)));
    }
    lines
}
