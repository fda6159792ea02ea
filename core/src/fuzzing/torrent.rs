//! Fuzzing: torrents and magnet links: what is read of them and what is made.

use super::check_name;
use crate::base::{FileName, InfoHash, Instant, Key, LinkError, LinkInput, PieceIndex, Rng};
use crate::download::lease::{self, Lease};
use crate::download::torrent::layout::Layout;
use crate::download::torrent::web_seed::requests::{Part, next_part, url_of};
use crate::download::torrent::web_seed::{Kind, Output, SlotKey, WebSeed, WebSeedPlan};
use crate::proto::http::{Connection, ConnectionConfig};
use crate::wire::bencode::{DecodeError, Document};
use crate::wire::http::HttpUrl;
use crate::wire::torrent::create::{Content, NewFile, NewTorrent};
use crate::wire::torrent::{
    MAX_ADDRESSES, MAX_FILES, MAX_PATH_DEPTH, MAX_PIECE_LEN, MAX_PIECES, MAX_TOTAL_LEN, Magnet, Metainfo,
    TorrentFile,
};
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use sha1::{Digest, Sha1};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A torrent that is accepted keeps every limit, its files cover its content once, and their paths are safe and differ.
pub fn metainfo(data: &[u8]) {
    let Ok(metainfo) = Metainfo::decode(Bytes::copy_from_slice(data)) else { return };
    let grid = metainfo.grid();
    assert!((1..=MAX_PIECE_LEN).contains(&grid.piece_len()) && grid.total() <= MAX_TOTAL_LEN);
    assert_eq!(u64::from(grid.pieces()), grid.total().div_ceil(u64::from(grid.piece_len())));
    assert!(grid.pieces() <= MAX_PIECES);
    let hashes: Vec<u8> = grid.all().flat_map(|piece| *metainfo.piece_hash(piece)).collect();
    assert!(data.windows(hashes.len()).any(|window| window == hashes), "hashes stand in the torrent");
    check_files(&metainfo);
    let addresses = [
        metainfo.trackers().iter().map(Vec::len).sum(),
        metainfo.web_seeds().len(),
        metainfo.http_seeds().len(),
        metainfo.nodes().len(),
    ];
    assert!(addresses.into_iter().all(|count| count <= MAX_ADDRESSES));
    check_info(data, &metainfo);
}

fn check_files(metainfo: &Metainfo) {
    let files = metainfo.files();
    assert!((1..=MAX_FILES as usize).contains(&files.len()));
    let (mut at, mut paths, mut folders) = (0, BTreeSet::new(), BTreeSet::new());
    for (index, file) in files.iter().enumerate() {
        assert_eq!((file.index, file.offset, file.range()), (index, at, files.range(index)));
        assert_eq!(files.get(index).map(|file| file.path()), Some(file.path()));
        assert_eq!(files.is_pad(index), file.pad);
        if file.len > 0 {
            assert_eq!([files.at(at), files.at(at + file.len - 1)], [Some(index); 2]);
        }
        let path = checked_path(&file);
        if !file.pad {
            folders.extend((1..path.len()).map(|depth| path[..depth].to_vec()));
            assert!(paths.insert(path), "no path twice");
        }
        at += file.len;
    }
    assert_eq!((at, files.at(at)), (metainfo.grid().total(), None));
    assert!(paths.is_disjoint(&folders), "no file is a folder");
}

fn checked_path(file: &TorrentFile<'_>) -> Vec<String> {
    let path = file.path();
    assert!((1..=MAX_PATH_DEPTH).contains(&path.len()));
    path.iter().chain(&file.symlink().unwrap_or_default()).for_each(check_name);
    path.iter().map(|name| name.as_str().to_lowercase()).collect()
}

/// The info-hash is of the bytes as they came, and they alone are the same torrent.
fn check_info(data: &[u8], metainfo: &Metainfo) {
    match Document::decode_lax(metainfo.raw()) {
        Ok(document) => {
            let raw = document.root().get(b"info").map(|info| info.raw());
            assert_eq!(raw, Some(&metainfo.info_bytes()[..]));
        }
        // The tape also looks at keys that mean nothing.
        Err(error) => assert!(matches!(error, DecodeError::DuplicateKey(_)), "{error}"),
    }
    assert!(data.starts_with(metainfo.raw()));
    let info = metainfo.info_bytes();
    assert_eq!(metainfo.info_hash(), InfoHash(Sha1::digest(&info).into()));
    let again = Metainfo::from_info(&info, metainfo.info_hash()).expect("it was read before");
    let paths = |metainfo: &Metainfo| metainfo.files().iter().map(|file| file.path()).collect::<Vec<_>>();
    assert_eq!((again.info_bytes(), again.grid(), paths(&again)), (info, metainfo.grid(), paths(metainfo)));
}

/// A link is bounded, and what it displays as is the same link.
pub fn magnet(data: &[u8]) {
    let Ok(magnet) = Magnet::parse(&String::from_utf8_lossy(data)) else { return };
    let counts = [magnet.trackers.len(), magnet.web_seeds.len(), magnet.peers.len()];
    assert!(counts.into_iter().all(|count| count <= MAX_ADDRESSES));
    assert!(magnet.select_only.iter().all(|range| !range.is_empty() && *range.end() < MAX_FILES));
    check_name(&magnet.file_name());
    let text = magnet.to_string();
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    if text.len() <= Magnet::MAX_LEN {
        assert_eq!(Magnet::parse(&text), Ok(magnet));
    }
}

/// Lines are a name, then paths of files, each as long as its first byte says: a torrent that is made is read back the
/// same, and does not depend on the order in which a folder was listed.
pub fn create(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let name = lines.next().unwrap_or_default();
    let file = |line: &str| NewFile::new(line, u64::from(line.as_bytes().first().copied().unwrap_or(0)));
    let mut torrent = NewTorrent::folder(name, lines.map(file).collect());
    torrent.private = Some(data.len().is_multiple_of(2));
    torrent.sort_files();
    let Ok(grid) = torrent.grid() else { return };
    let hashes = vec![[1; 20]; grid.pieces() as usize];
    let Ok(metainfo) = torrent.finish(&hashes) else { return };
    assert_eq!((metainfo.grid(), Some(metainfo.is_private())), (grid, torrent.private));
    assert!(Document::decode(metainfo.raw()).is_ok(), "what is made is canonical");
    assert_eq!(FileName::sanitise(name).as_ref(), Some(metainfo.name()));
    let mut reversed = torrent.clone();
    let (Content::Folder(files), Content::Folder(other)) = (&torrent.content, &mut reversed.content) else {
        return;
    };
    other.reverse();
    reversed.sort_files();
    assert_eq!(reversed.finish(&hashes).map(|other| other.info_hash()), Ok(metainfo.info_hash()));
    assert_eq!(files.len(), metainfo.files().len());
    for (file, read) in files.iter().zip(metainfo.files()) {
        assert_eq!(file.len, read.len);
        let as_it_is = file.path.iter().map(|part| FileName::new(part)).collect::<Option<Vec<_>>>();
        let folders = |path: &[FileName]| path.split_last().map(|(_, folders)| folders.to_vec());
        if let Some(path) = as_it_is {
            assert_eq!(folders(&path), folders(&read.path()), "only a name is changed where paths are alike");
        }
    }
}

/// Two bytes are the length of each of four files, and whether it is padding; then kind and run; the rest is what the
/// server answers. Parts cover a run once, no padding is asked for, and cutting the answer changes nothing.
pub fn web_seed(data: &[u8]) {
    let Some((shape, answer)) = data.split_first_chunk::<11>() else { return };
    let file = |(index, bytes): (usize, &[u8; 2])| {
        let mut file = NewFile::new(&format!("f {index}"), u64::from(u16::from_le_bytes(*bytes)));
        file.pad = bytes[0] % 4 == 1;
        file
    };
    let files: Vec<NewFile> = shape[..8].as_chunks::<2>().0.iter().enumerate().map(file).collect();
    let torrent = NewTorrent { piece_len: Some(1 << 14), ..NewTorrent::folder("d", files) };
    let Ok(grid) = torrent.grid() else { return };
    let Ok(metainfo) = torrent.finish(&vec![[0; 20]; grid.pieces() as usize]) else { return };
    let layout = Layout::new(&metainfo);
    let kind = if shape[8].is_multiple_of(2) { Kind::Files } else { Kind::Script };
    let Some(first) = grid.piece(u32::from(shape[9]) % grid.pieces()) else { return };
    let count = u32::from(shape[10] % 8) + 1;
    let url = HttpUrl::parse("http://h/").expect("a good address");
    let last = grid.pieces().min(first.get() + count);
    let mut range = grid.piece_range(first).start..(u64::from(last) << 14).min(grid.total());
    while let Some(part) = next_part(kind, &layout, range.clone()) {
        check_part(&layout, &part, range.start);
        let target = url_of(&url, &metainfo, &part).expect("a good address").target();
        assert!(target.bytes().all(|byte| byte.is_ascii_graphic()), "{target}");
        range.start += part.len();
    }
    assert!(range.is_empty(), "nothing is left out");
    let plan = WebSeedPlan {
        kind,
        url,
        metainfo: Arc::new(metainfo),
        layout: Arc::new(layout),
        user_agent: String::new(),
    };
    let whole = exchange(&plan, first, count, answer, usize::MAX);
    for step in [1, 13] {
        assert_eq!(exchange(&plan, first, count, answer, step), whole, "cut every {step} bytes");
    }
}

fn check_part(layout: &Layout, part: &Part, at: u64) {
    assert!(!part.is_empty());
    match part {
        Part::File { file, range } => {
            assert!(range.end <= layout.len_of(*file) && !layout.is_pad(*file));
            assert_eq!(layout.range(*file).start + range.start, at);
        }
        Part::Zeros(len) => assert!(layout.spans(at..at + len).all(|span| span.pad)),
        Part::Piece { piece, range, len } => {
            assert!(range.end <= *len);
            assert_eq!((u64::from(*piece) << 14) + range.start, at);
        }
    }
}

/// What comes of the first answer.
fn exchange(plan: &WebSeedPlan, first: PieceIndex, count: u32, answer: &[u8], step: usize) -> Vec<String> {
    let now = Instant::ZERO;
    let mut seed = WebSeed::new(plan.clone(), Rng::from_seed([1; 32]));
    let grid = plan.layout.grid();
    let last = grid.piece((first.get() + count).min(grid.pieces()) - 1).unwrap_or(first);
    assert!(seed.fetch(now, grid.piece_range(first).start..grid.piece_range(last).end));
    let (mut said, mut slot) = (Vec::new(), None);
    let mut listen = |seed: &mut WebSeed, slot: &mut Option<SlotKey>| {
        while let Some(output) = seed.poll_output() {
            match output {
                Output::Lease(lease::Output::Lease { slot: new, .. }) => *slot = Some(new),
                Output::Lease(lease::Output::Release(_)) => *slot = None,
                Output::Lease(_) => {}
                Output::Block(block, data) => said.push(format!("{block:?} {:?}", data.into_bytes())),
                other => said.push(format!("{other:?}")),
            }
        }
    };
    listen(&mut seed, &mut slot);
    if let Some(mut asked) = slot {
        let time = Duration::from_secs(9);
        let connection = Connection::new(now, ConnectionConfig { read_timeout: time, keep_alive: time });
        let connection = Box::new(connection);
        seed.leased(
            now,
            asked,
            Lease { link: Key::from_u64(1), connection, reused: false, local: false, other_family: None },
        );
        seed.grant(now, asked, u32::MAX);
        for bytes in answer.chunks(step) {
            seed.handle_link(now, asked, LinkInput::Data(BytesMut::from(bytes)));
            listen(&mut seed, &mut slot);
            let Some(_) = slot.filter(|slot| *slot == asked) else { return said };
        }
        seed.handle_link(now, asked, LinkInput::Closed(LinkError::Eof));
        listen(&mut seed, &mut slot);
        asked = slot.unwrap_or(asked);
        assert!(seed.poll_timeout().is_none_or(|at| at > now), "{asked:?}");
    }
    said
}
