//! Codec: making a metainfo file of content that is there (BEP 3, 12, 17, 19, 27, 47).

use super::error::MetainfoError;
use super::metainfo::Metainfo;
use super::{MAX_PIECE_LEN, MAX_PIECES, MAX_TOTAL_LEN};
use crate::base::PieceGrid;
use crate::wire::bencode::{DictEncoder, Encoder, Written, encode};

/// A torrent to be.
///
/// From the same files in the same order and the same length of pieces comes, byte for byte, the info dictionary that
/// libtorrent, mktorrent and transmission-create write, and so the same info-hash.
///
/// ```
/// use gosh_dl_core::wire::torrent::create::{NewFile, NewTorrent};
/// use sha1::{Digest, Sha1};
///
/// let mut torrent = NewTorrent::folder("songs", vec![NewFile::new("b.ogg", 3), NewFile::new("a/a.ogg", 2)]);
/// torrent.sort_files();
/// let content = b"aabbb";
/// let grid = torrent.grid()?;
/// let hashes: Vec<[u8; 20]> =
///     content.chunks(grid.piece_len() as usize).map(|piece| Sha1::digest(piece).into()).collect();
/// let metainfo = torrent.finish(&hashes)?;
/// assert_eq!(metainfo.files().len(), 2);
/// # Ok::<(), gosh_dl_core::wire::torrent::create::CreateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTorrent {
    /// The name of the file, or of the folder around the files.
    pub name: String,
    /// What is in it.
    pub content: Content,
    /// The length of a piece in bytes, a power of two from [`MIN_PIECE_LEN`] to [`MAX_PIECE_LEN`]; without one it follows
    /// from the length of the content, see [`automatic_piece_len`].
    pub piece_len: Option<u32>,
    /// Whether peers may be learnt from the trackers only (BEP 27). `Some(false)` is written too, which makes another
    /// info-hash than `None`: transmission-create writes it.
    pub private: Option<bool>,
    /// Makes the info-hash another one, so that the same content can be in a swarm of its own.
    pub source: Option<String>,
    /// Trackers, in tiers (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// Web servers that have the files (BEP 19).
    pub web_seeds: Vec<String>,
    /// Web servers that have a script for the pieces (BEP 17).
    pub http_seeds: Vec<String>,
    /// Nodes of the DHT to start from: hosts and ports (BEP 5).
    pub nodes: Vec<(String, u16)>,
    /// What to say of it.
    pub comment: Option<String>,
    /// The program that makes it.
    pub created_by: Option<String>,
    /// The time, in seconds since 1970.
    pub creation_date: Option<i64>,
}

/// What a torrent is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One file of this many bytes.
    File(u64),
    /// A folder of files; the order is that of their bytes in the pieces.
    Folder(Vec<NewFile>),
}

/// A file of a torrent to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Its path below the folder of the torrent: the names of folders, then its own.
    pub path: Vec<String>,
    /// Its length in bytes.
    pub len: u64,
    /// Whether to say that it may be executed (BEP 47): libtorrent does, others do not.
    pub executable: bool,
    /// Whether to say that it is hidden (BEP 47).
    pub hidden: bool,
    /// Whether it is padding: zeros that are hashed but are on no disk (BEP 47).
    pub pad: bool,
}

impl NewFile {
    /// A file with a path whose parts are put apart by `/`.
    pub fn new(path: &str, len: u64) -> Self {
        let path = path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Self { path, len, executable: false, hidden: false, pad: false }
    }
}

impl NewTorrent {
    /// A torrent of one file.
    pub fn file(name: &str, len: u64) -> Self {
        Self::new(name, Content::File(len))
    }

    /// A torrent of several files.
    pub fn folder(name: &str, files: Vec<NewFile>) -> Self {
        Self::new(name, Content::Folder(files))
    }

    fn new(name: &str, content: Content) -> Self {
        Self {
            name: name.to_owned(),
            content,
            piece_len: None,
            private: None,
            source: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            http_seeds: Vec::new(),
            nodes: Vec::new(),
            comment: None,
            created_by: None,
            creation_date: None,
        }
    }

    /// Puts the files in the order of their whole paths, byte by byte, as mktorrent does. A folder that was listed in any
    /// order gives the same torrent then.
    pub fn sort_files(&mut self) {
        if let Content::Folder(files) = &mut self.content {
            files.sort_by_cached_key(|file| file.path.join("/"));
        }
    }

    /// The length of the content in bytes.
    pub fn total(&self) -> u64 {
        match &self.content {
            Content::File(len) => *len,
            Content::Folder(files) => files.iter().fold(0, |total, file| total.saturating_add(file.len)),
        }
    }

    /// How the content is cut: each piece is hashed for [`NewTorrent::finish`].
    pub fn grid(&self) -> Result<PieceGrid, CreateError> {
        let total = self.total();
        if total > MAX_TOTAL_LEN {
            return Err(CreateError::TooLong);
        }
        let piece_len = self.piece_len.unwrap_or_else(|| automatic_piece_len(total));
        if !(MIN_PIECE_LEN..=MAX_PIECE_LEN).contains(&piece_len) || !piece_len.is_power_of_two() {
            return Err(CreateError::PieceLength(piece_len));
        }
        let grid = PieceGrid::new(piece_len, total).ok_or(CreateError::Empty)?;
        if grid.pieces() > MAX_PIECES {
            return Err(CreateError::TooManyPieces(grid.pieces()));
        }
        Ok(grid)
    }

    /// The torrent, `hashes` being the SHA-1 of each piece.
    pub fn finish(&self, hashes: &[[u8; 20]]) -> Result<Metainfo, CreateError> {
        let grid = self.grid()?;
        if hashes.len() != grid.pieces() as usize {
            return Err(CreateError::Hashes { expected: grid.pieces(), found: hashes.len() });
        }
        let raw = encode(|to| to.dict(|top| self.write(top, grid.piece_len(), hashes.as_flattened())));
        // What others could not read either is not handed out.
        Ok(Metainfo::decode(raw.into())?)
    }

    fn write(&self, top: &mut DictEncoder<'_>, piece_len: u32, hashes: &[u8]) {
        let tiers = self.trackers.iter().filter(|tier| !tier.is_empty());
        if let Some(first) = tiers.clone().flatten().next() {
            top.entry(b"announce", |to| to.str(first));
        }
        if tiers.clone().flatten().nth(1).is_some() {
            top.entry(b"announce-list", |to| {
                to.list(|list| tiers.for_each(|tier| list.item(|to| strings(to, tier))))
            });
        }
        put_text(top, b"comment", self.comment.as_deref());
        put_text(top, b"created by", self.created_by.as_deref());
        if let Some(date) = self.creation_date {
            top.entry(b"creation date", |to| to.int(date));
        }
        if !self.http_seeds.is_empty() {
            top.entry(b"httpseeds", |to| strings(to, &self.http_seeds));
        }
        top.entry(b"info", |to| to.dict(|info| self.write_info(info, piece_len, hashes)));
        if !self.nodes.is_empty() {
            top.entry(b"nodes", |to| {
                to.list(|list| self.nodes.iter().for_each(|node| list.item(|to| pair(to, node))))
            });
        }
        match self.web_seeds.as_slice() {
            [] => {}
            // Older programs read a list as nothing.
            [url] => top.entry(b"url-list", |to| to.str(url)),
            urls => top.entry(b"url-list", |to| strings(to, urls)),
        }
    }

    fn write_info(&self, info: &mut DictEncoder<'_>, piece_len: u32, hashes: &[u8]) {
        match &self.content {
            Content::File(len) => info.entry(b"length", |to| to.int(int(*len))),
            Content::Folder(files) => {
                info.entry(b"files", |to| {
                    to.list(|list| files.iter().for_each(|file| list.item(|to| entry(to, file))))
                });
            }
        }
        info.entry(b"name", |to| to.str(&self.name));
        info.entry(b"piece length", |to| to.int(piece_len));
        info.entry(b"pieces", |to| to.bytes(hashes));
        if let Some(private) = self.private {
            info.entry(b"private", |to| to.int(i64::from(private)));
        }
        put_text(info, b"source", self.source.as_deref());
    }
}

fn entry(to: Encoder<'_>, file: &NewFile) -> Written {
    to.dict(|entry| {
        let letters = [(file.pad, 'p'), (file.hidden, 'h'), (file.executable, 'x')];
        let attributes: String = letters.iter().filter(|(is, _)| *is).map(|(_, letter)| *letter).collect();
        if !attributes.is_empty() {
            entry.entry(b"attr", |to| to.str(&attributes));
        }
        entry.entry(b"length", |to| to.int(int(file.len)));
        entry.entry(b"path", |to| strings(to, &file.path));
    })
}

fn strings(to: Encoder<'_>, strings: &[String]) -> Written {
    to.list(|list| strings.iter().for_each(|string| list.item(|to| to.str(string))))
}

fn pair(to: Encoder<'_>, (host, port): &(String, u16)) -> Written {
    to.list(|pair| {
        pair.item(|to| to.str(host));
        pair.item(|to| to.int(*port));
    })
}

fn put_text(dict: &mut DictEncoder<'_>, key: &[u8], text: Option<&str>) {
    if let Some(text) = text {
        dict.entry(key, |to| to.str(text));
    }
}

/// Lengths are at most [`MAX_TOTAL_LEN`].
fn int(len: u64) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// The length of a piece for content of `total` bytes: the shortest power of two that is at least ten times the square
/// root of the total, as libtorrent has it, so that the hashes grow as slowly as the pieces. At most 16 MiB where that is
/// enough: a piece is what is fetched again when one byte of it was wrong.
pub fn automatic_piece_len(total: u64) -> u32 {
    let is_enough = |len: &u32| {
        let square = u64::from(*len) * u64::from(*len);
        (square + 50) / 100 >= total
            || *len >= MAX_AUTOMATIC_LEN && total.div_ceil(u64::from(*len)) <= MAX_PIECES.into()
    };
    let lens = (MIN_PIECE_LEN.ilog2()..=MAX_PIECE_LEN.ilog2()).map(|bits| 1 << bits);
    lens.into_iter().find(is_enough).unwrap_or(MAX_PIECE_LEN)
}

/// Why there can be no such torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is not one byte in it.
    #[error("there is no content to make a torrent of")]
    Empty,
    /// It is longer than [`MAX_TOTAL_LEN`].
    #[error("the content is too long for a torrent")]
    TooLong,
    /// The length of a piece is not a power of two from [`MIN_PIECE_LEN`] to [`MAX_PIECE_LEN`].
    #[error("a piece length of {0} bytes is not a power of two from 16 KiB to 512 MiB")]
    PieceLength(u32),
    /// There would be more pieces than [`MAX_PIECES`].
    #[error("{0} pieces are too many: make them longer")]
    TooManyPieces(u32),
    /// There is not one hash for each piece.
    #[error("{found} hashes for {expected} pieces")]
    Hashes {
        /// How many pieces there are.
        expected: u32,
        /// How many hashes were given.
        found: usize,
    },
    /// Nobody could read it; a name that no file can have, or the same path twice.
    #[error(transparent)]
    Unreadable(#[from] MetainfoError),
}

/// The shortest piece in bytes: one block.
pub const MIN_PIECE_LEN: u32 = 16 << 10;

/// The longest piece that is chosen where shorter ones do not become too many.
const MAX_AUTOMATIC_LEN: u32 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use sha1::{Digest, Sha1};

    const FILES: [(&str, usize); 7] = [
        ("Upper.txt", 3),
        ("empty", 0),
        ("run.sh", 5),
        ("sub.d/x", 70_000),
        ("sub/deeper/é", 40_000),
        ("sub/y", 1),
        ("zz", 99_999),
    ];

    /// What the file of that number contained when other tools made torrents of it.
    fn content(file: usize, len: usize) -> impl Iterator<Item = u8> {
        (0..len).map(move |at| (at * 7 + file) as u8)
    }

    fn hashed(torrent: &NewTorrent, content: impl Iterator<Item = u8>) -> String {
        let content: Vec<u8> = content.collect();
        let pieces = content.chunks(torrent.grid().unwrap().piece_len() as usize);
        let hashes: Vec<[u8; 20]> = pieces.map(|piece| Sha1::digest(piece).into()).collect();
        torrent.finish(&hashes).unwrap().info_hash().to_string()
    }

    fn tree() -> NewTorrent {
        let mut files: Vec<NewFile> =
            FILES.iter().map(|(path, len)| NewFile::new(path, *len as u64)).collect();
        files.rotate_left(3);
        let mut torrent = NewTorrent::folder("tree", files);
        torrent.sort_files();
        torrent
    }

    fn tree_content() -> impl Iterator<Item = u8> {
        FILES.iter().enumerate().flat_map(|(file, (_, len))| content(file, *len))
    }

    fn hash_of_tree(change: impl FnOnce(&mut NewTorrent)) -> String {
        let mut torrent = tree();
        change(&mut torrent);
        hashed(&torrent, tree_content())
    }

    fn hash_of_file(piece_len: u32, private: Option<bool>) -> String {
        let torrent =
            NewTorrent { piece_len: Some(piece_len), private, ..NewTorrent::file("single.bin", 100_001) };
        hashed(&torrent, content(9, 100_001))
    }

    #[test]
    fn info_hash_is_that_of_mktorrent() {
        // mktorrent 1.1: -l 15; -l 15 -p -s "A source".
        assert_eq!(hash_of_file(32 << 10, None), "2d0b42c1aa0bb861a816e46ea504b7c40e2517c9");
        assert_eq!(
            hash_of_tree(|torrent| torrent.piece_len = Some(32 << 10)),
            "e3851161267a0cdd91431c87dd0b25974b61ef63"
        );
        let private = hash_of_tree(|torrent| {
            torrent.piece_len = Some(32 << 10);
            torrent.private = Some(true);
            torrent.source = Some("A source".to_owned());
            torrent.trackers = vec![vec!["http://t/a".to_owned()]];
        });
        assert_eq!(private, "4e38db92d4c7ed543fb633161f4e82c0bc6d6769");
    }

    #[test]
    fn info_hash_is_that_of_transmission() {
        // transmission-create 3.00: -s 32; -s 32 -p.
        assert_eq!(hash_of_file(32 << 10, Some(false)), "3e2174e746b613b01a146546a7039f332dc370b7");
        assert_eq!(hash_of_file(32 << 10, Some(true)), "cb7770dfa79d53c61c3026c0580c16eea8dcd01c");
    }

    #[test]
    fn info_hash_is_that_of_libtorrent() {
        // libtorrent 2.0.8, v1_only.
        assert_eq!(hash_of_file(16 << 10, None), "8e56e950de48369756dd04305025864581a80209");
        assert_eq!(hash_of_file(16 << 10, Some(true)), "7d5a91e220f45595323d1b0198fe7527a41bc709");
        let mark = |torrent: &mut NewTorrent| {
            let Content::Folder(files) = &mut torrent.content else { return };
            files.iter_mut().for_each(|file| file.executable = file.path == ["run.sh"]);
        };
        assert_eq!(hash_of_tree(mark), "985b03a171b5c08ea1a3cd3834fbcd159ec314e1");
        let explicit = hash_of_tree(|torrent| {
            mark(torrent);
            torrent.piece_len = Some(32 << 10);
        });
        assert_eq!(explicit, "6eb35a8458d08e1a00605a3e57ffa4dd519124a0");
    }

    #[test]
    fn automatic_length_changes_where_libtorrents_does() {
        let bounds = [2_684_355, 10_737_418, 42_949_673, 171_798_692, 687_194_767, 2_748_779_069];
        for (doublings, bound) in bounds.into_iter().enumerate() {
            assert_eq!(automatic_piece_len(bound), MIN_PIECE_LEN << doublings);
            assert_eq!(automatic_piece_len(bound + 1), MIN_PIECE_LEN << (doublings + 1));
        }
        assert_eq!(automatic_piece_len(0), MIN_PIECE_LEN);
        assert_eq!(automatic_piece_len(32 << 40), 16 << 20);
        assert_eq!(automatic_piece_len((32 << 40) + 1), 32 << 20);
        assert_eq!(automatic_piece_len(MAX_TOTAL_LEN), 128 << 20);
    }

    #[test]
    fn everything_that_is_given_is_read_back() {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut pad = NewFile::new(".pad/2", 2);
        (pad.pad, pad.hidden) = (true, true);
        let torrent = NewTorrent {
            trackers: vec![owned(&["t:1", "t:2"]), vec![], owned(&["t:3"])],
            web_seeds: owned(&["http://w/", "http://v/"]),
            http_seeds: owned(&["http://h"]),
            nodes: vec![("n".to_owned(), 7)],
            comment: Some("says".to_owned()),
            created_by: Some("me".to_owned()),
            creation_date: Some(5),
            private: Some(true),
            ..NewTorrent::folder("f", vec![NewFile::new("a/b", 1), pad])
        };
        let metainfo = torrent.finish(&[[7; 20]]).unwrap();
        assert_eq!(metainfo.trackers(), [owned(&["t:1", "t:2"]), owned(&["t:3"])]);
        assert_eq!(metainfo.web_seeds(), torrent.web_seeds);
        assert_eq!(metainfo.http_seeds(), torrent.http_seeds);
        assert_eq!(metainfo.nodes(), torrent.nodes);
        assert_eq!((metainfo.comment(), metainfo.created_by()), (Some("says"), Some("me")));
        assert_eq!((metainfo.creation_date(), metainfo.is_private()), (Some(5), true));
        let files: Vec<_> = metainfo.files().iter().map(|file| (file.len, file.pad, file.hidden)).collect();
        assert_eq!(files, [(1, false, false), (2, true, true)]);
        let one = NewTorrent { web_seeds: owned(&["http://w/"]), ..NewTorrent::file("a", 1) };
        assert_eq!(one.finish(&[[7; 20]]).unwrap().web_seeds(), ["http://w/"]);
    }

    #[test]
    fn what_nobody_could_read_is_not_made() {
        let folder = |paths: &[&str]| {
            let files = paths.iter().map(|path| NewFile::new(path, 1)).collect();
            NewTorrent::folder("f", files).finish(&[[7; 20]]).map(drop).unwrap_err().to_string()
        };
        assert_eq!(folder(&["a", "b", "a"]), "`info.files[2].path` is the path of file 0 too");
        assert_eq!(folder(&["a", ".."]), "`info.files[1].path` in the torrent leaves no safe name");
        let error = |torrent: &NewTorrent| torrent.finish(&[]).map(drop).unwrap_err();
        assert_eq!(error(&NewTorrent::file("a", 0)), CreateError::Empty);
        assert_eq!(error(&NewTorrent::file("a", u64::MAX)), CreateError::TooLong);
        assert_eq!(error(&NewTorrent::file("a", 1)), CreateError::Hashes { expected: 1, found: 0 });
        for len in [0, 1 << 13, 3 << 14, 1 << 30] {
            let torrent = NewTorrent { piece_len: Some(len), ..NewTorrent::file("a", 1) };
            assert_eq!(error(&torrent), CreateError::PieceLength(len));
        }
        let fine = NewTorrent { piece_len: Some(1 << 14), ..NewTorrent::file("a", 1 << 36) };
        assert_eq!(error(&fine), CreateError::TooManyPieces(1 << 22));
    }
}
