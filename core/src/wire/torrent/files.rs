//! Codec: the files of a torrent (BEP 3, 47), read from the metainfo whenever they are asked for.
//!
//! A torrent may have some hundred thousand files. Each costs 8 bytes beside the metainfo, which is held anyway: where
//! its content begins, and its attributes in the bits above.

use super::collisions::{Filter, Renamed};
use super::error::{MetainfoError, Place};
use super::info::{integer, once, path, string};
use super::path::RawPath;
use super::{MAX_FILES, MAX_TOTAL_LEN};
use crate::base::FileName;
use crate::wire::bencode::{Cursor, ValueKind};
use core::ops::Range;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// The files of a torrent, in the order of their content.
///
/// A torrent of a single file has one whose path is the torrent's name.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    pub(super) table: &'a FileTable,
    pub(super) raw: &'a [u8],
    pub(super) name: &'a FileName,
    pub(super) raw_name: &'a [u8],
}

impl<'a> Files<'a> {
    /// How many there are; at least 1.
    pub fn len(self) -> usize {
        self.table.begins.len()
    }

    /// Never: a torrent without files is none.
    pub fn is_empty(self) -> bool {
        self.table.begins.is_empty()
    }

    /// The file of that number. The time it takes does not depend on how many there are.
    pub fn get(self, index: usize) -> Option<TorrentFile<'a>> {
        let mut files = self.from(index)?;
        files.next()
    }

    /// All files.
    pub fn iter(self) -> FilesIter<'a> {
        FilesIter { files: self, index: 0, cursor: self.cursor(0) }
    }

    /// All files from the one of that number on.
    pub fn from(self, index: usize) -> Option<FilesIter<'a>> {
        if index >= self.len() {
            return None;
        }
        let block = index / STRIDE;
        let mut cursor = self.cursor(block);
        if self.table.is_multi() {
            for _ in block * STRIDE..index {
                cursor.skip().ok()?;
            }
        }
        Some(FilesIter { files: self, index, cursor })
    }

    /// Where the content of a file lies in the whole, in bytes; empty beyond the end. Reads no more than two numbers.
    pub fn range(self, index: usize) -> Range<u64> {
        let begin =
            |index: usize| self.table.begins.get(index).map_or(self.table.total, |entry| entry.begin());
        begin(index)..begin(index + 1)
    }

    /// Whether a file is padding: zeros that belong on no disk (BEP 47).
    pub fn is_pad(self, index: usize) -> bool {
        self.table.begins.get(index).is_some_and(|entry| entry.attributes().has(Attributes::PAD))
    }

    /// Whether a file is a symbolic link (BEP 47), which has no content.
    pub fn is_symlink(self, index: usize) -> bool {
        self.table.begins.get(index).is_some_and(|entry| entry.attributes().has(Attributes::SYMLINK))
    }

    /// The number of the file that has the byte at this place in the whole; `None` beyond the end.
    pub fn at(self, offset: u64) -> Option<usize> {
        let behind = self.table.begins.partition_point(|entry| entry.begin() <= offset);
        // Of files that begin here, all but the last are empty.
        (offset < self.table.total).then(|| behind.saturating_sub(1))
    }

    fn cursor(self, block: usize) -> Cursor<'a> {
        Cursor::at(self.raw, self.table.starts.get(block).map_or(0, |start| *start as usize))
    }
}

impl<'a> IntoIterator for Files<'a> {
    type Item = TorrentFile<'a>;
    type IntoIter = FilesIter<'a>;

    fn into_iter(self) -> FilesIter<'a> {
        self.iter()
    }
}

/// Goes through files in order.
#[derive(Clone, Debug)]
pub struct FilesIter<'a> {
    files: Files<'a>,
    index: usize,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for FilesIter<'a> {
    type Item = TorrentFile<'a>;

    fn next(&mut self) -> Option<TorrentFile<'a>> {
        let entry = self.files.table.begins.get(self.index)?;
        let range = self.files.range(self.index);
        let raw = if self.files.table.is_multi() {
            RawFile::read(&mut self.cursor, number(self.index)).ok()?
        } else {
            RawFile::default()
        };
        let attributes = entry.attributes();
        let file = TorrentFile {
            index: self.index,
            offset: range.start,
            len: range.end - range.start,
            pad: attributes.has(Attributes::PAD),
            executable: attributes.has(Attributes::EXECUTABLE),
            hidden: attributes.has(Attributes::HIDDEN),
            files: self.files,
            raw,
        };
        self.index += 1;
        Some(file)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.files.len() - self.index.min(self.files.len());
        (left, Some(left))
    }
}

impl ExactSizeIterator for FilesIter<'_> {}

/// One file of a torrent.
#[derive(Clone, Copy, Debug)]
pub struct TorrentFile<'a> {
    /// Its number, counted from 0.
    pub index: usize,
    /// Where its content begins in the whole, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Whether it is padding: zeros that are hashed but belong on no disk (BEP 47).
    pub pad: bool,
    /// Whether it may be executed (BEP 47).
    pub executable: bool,
    /// Whether it is hidden from people (BEP 47).
    pub hidden: bool,
    files: Files<'a>,
    raw: RawFile<'a>,
}

impl TorrentFile<'_> {
    /// Where its content lies in the whole, in bytes.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.len
    }

    /// Its path: folders, then its own name; at least one component. In a torrent of several files it is below the folder
    /// that has the torrent's name. No two files of a torrent have the same, nor do they differ only in what file systems
    /// do not keep apart (case, and how accents are composed); only what is padding shares its path with others.
    pub fn path(&self) -> Vec<FileName> {
        if !self.files.table.is_multi() {
            return vec![self.files.name.clone()];
        }
        let mut path = self.raw.names(self.index);
        if let Some(name) = self.files.table.renamed.get(number(self.index)) {
            path.pop();
            path.push(name.clone());
        }
        if path.is_empty() {
            // BEP 47: padding may go without a path.
            let names = [".pad", &self.len.to_string()].map(FileName::new);
            path.extend(names.into_iter().flatten());
        }
        path
    }

    /// Its path as a web server has it (BEP 19): the torrent's name, then the names of folders and its own, literally and
    /// with everything escaped that is not plain in a URL. It does not lead upwards.
    pub fn url_path(&self) -> String {
        let mut path = escaped(self.files.raw_name);
        if self.files.table.is_multi() {
            let raw = self.raw.path(number(self.index)).unwrap_or(RawPath(b"le"));
            raw.each_raw(|part| {
                path.push('/');
                path.push_str(&escaped(part));
            });
        }
        path
    }

    /// Where it points, if it is a symbolic link: a path like that of a file (BEP 47).
    pub fn symlink(&self) -> Option<Vec<FileName>> {
        let entry = self.files.table.begins.get(self.index)?;
        let target = self.raw.symlink.filter(|_| entry.attributes().has(Attributes::SYMLINK))?;
        target.names(Place::of(number(self.index), SYMLINK)).ok().filter(|path| !path.is_empty())
    }
}

/// What is kept of the files.
#[derive(Clone, Debug)]
pub(super) struct FileTable {
    begins: Box<[Begin]>,
    total: u64,
    /// Where every [`STRIDE`]th entry of `info.files` stands in the metainfo; empty for a single file.
    starts: Box<[u32]>,
    renamed: Renamed,
}

impl FileTable {
    pub(super) fn single(total: u64, attributes: Attributes) -> Self {
        let begins = [Begin::new(0, attributes.without(Attributes::PAD))].into();
        Self { begins, total, starts: Box::default(), renamed: Renamed::default() }
    }

    pub(super) fn is_multi(&self) -> bool {
        !self.starts.is_empty()
    }
}

/// What the first reading of `info.files` found: that its entries are well-formed, and how long they are together.
pub(super) struct Scan {
    count: u32,
    total: u64,
    starts: Vec<u32>,
    filter: Filter,
}

impl Scan {
    /// Reads a list of files.
    pub(super) fn read(value: &mut Cursor<'_>) -> Result<Self, MetainfoError> {
        let mut scan = Self { count: 0, total: 0, starts: Vec::new(), filter: Filter::default() };
        value.list(|entry| scan.entry(entry))?;
        if scan.count == 0 {
            return Err(MetainfoError::Empty);
        }
        Ok(scan)
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    fn entry(&mut self, entry: &mut Cursor<'_>) -> Result<(), MetainfoError> {
        if self.count == MAX_FILES {
            return Err(MetainfoError::TooManyFiles);
        }
        if (self.count as usize).is_multiple_of(STRIDE) {
            // Fits: the metainfo is no longer than `MAX_METAINFO_LEN`.
            self.starts.push(entry.position() as u32);
        }
        let raw = RawFile::read(entry, self.count)?;
        if self.count == SAMPLE {
            let taken = entry.position() - self.starts.first().map_or(0, |start| *start as usize);
            let more = entry.remaining() / taken.max(1) * SAMPLE as usize;
            self.filter.expect(more.min(MAX_FILES as usize));
        }
        self.total += raw.len(self.count)?;
        if self.total > MAX_TOTAL_LEN {
            return Err(MetainfoError::TotalTooLong);
        }
        if !raw.attributes.has(Attributes::PAD) {
            self.filter.add(self.count, raw.path(self.count)?)?;
        }
        self.count += 1;
        Ok(())
    }

    /// Reads the list again, `raw` being the metainfo that it was read from.
    pub(super) fn finish(self, raw: &[u8]) -> Result<FileTable, MetainfoError> {
        let entries = || {
            let mut cursor = Cursor::at(raw, self.starts.first().map_or(0, |start| *start as usize));
            (0..self.count).map(move |index| RawFile::read(&mut cursor, index).map(|file| (index, file)))
        };
        let is_suspect = self.filter.finish();
        let mut paths = Vec::new();
        if is_suspect {
            for entry in entries() {
                let (index, file) = entry?;
                if !file.attributes.has(Attributes::PAD) {
                    paths.push((index, file.path(index)?));
                }
            }
        }
        let renamed = Renamed::resolve(&paths)?;
        let (mut begins, mut begin) = (Vec::with_capacity(self.count as usize), 0);
        for entry in entries() {
            let (index, file) = entry?;
            begins.push(Begin::new(begin, file.attributes));
            begin += file.len(index)?;
        }
        Ok(FileTable { begins: begins.into(), total: begin, starts: self.starts.clone().into(), renamed })
    }
}

/// An entry of `info.files`.
#[derive(Clone, Copy, Debug, Default)]
struct RawFile<'a> {
    len: Option<i64>,
    path: Option<RawPath<'a>>,
    path_utf8: Option<RawPath<'a>>,
    symlink: Option<RawPath<'a>>,
    attributes: Attributes,
}

impl<'a> RawFile<'a> {
    fn read(entry: &mut Cursor<'a>, index: u32) -> Result<Self, MetainfoError> {
        if entry.kind()? != ValueKind::Dict {
            return Err(MetainfoError::WrongKind(Place::top("info.files")));
        }
        let mut file = Self::default();
        let mut attributes = None;
        entry.dict(|key, value| {
            let at = value.position();
            match key {
                b"length" => once(&mut file.len, at, integer(value, Place::of(index, LENGTH))?),
                b"path" => once(&mut file.path, at, path(value, Place::of(index, PATH))?),
                b"path.utf-8" => once(&mut file.path_utf8, at, path(value, Place::of(index, PATH))?),
                b"attr" => {
                    let letters = string(value, Place::of(index, "attr"))?;
                    once(&mut attributes, at, Attributes::read(letters))
                }
                b"symlink path" => once(&mut file.symlink, at, path(value, Place::of(index, SYMLINK))?),
                _ => value.skip().map(|_| ()).map_err(MetainfoError::from),
            }
        })?;
        file.attributes = attributes.unwrap_or_default();
        Ok(file)
    }

    /// BEP 47: a link is of no length, and need not say so.
    fn len(&self, index: u32) -> Result<u64, MetainfoError> {
        if self.attributes.has(Attributes::SYMLINK) {
            return Ok(0);
        }
        let place = Place::of(index, LENGTH);
        let len = self.len.ok_or(MetainfoError::Missing(place))?;
        u64::try_from(len).map_err(|_| MetainfoError::OutOfRange(place))
    }

    fn path(&self, index: u32) -> Result<RawPath<'a>, MetainfoError> {
        self.path_utf8.or(self.path).ok_or(MetainfoError::Missing(Place::of(index, PATH)))
    }

    fn names(&self, index: usize) -> Vec<FileName> {
        let index = number(index);
        self.path(index).and_then(|path| path.names(Place::of(index, PATH))).unwrap_or_default()
    }
}

/// The letters of `attr` (BEP 47), a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes(u8);

impl Attributes {
    const PAD: Self = Self(1);
    const EXECUTABLE: Self = Self(2);
    const HIDDEN: Self = Self(4);
    const SYMLINK: Self = Self(8);

    pub(super) fn read(letters: &[u8]) -> Self {
        let bit = |letter: &u8| match letter {
            b'p' => Self::PAD.0,
            b'x' => Self::EXECUTABLE.0,
            b'h' => Self::HIDDEN.0,
            b'l' => Self::SYMLINK.0,
            _ => 0,
        };
        Self(letters.iter().map(bit).fold(0, |bits, bit| bits | bit))
    }

    const fn has(self, attribute: Self) -> bool {
        self.0 & attribute.0 != 0
    }

    const fn without(self, attribute: Self) -> Self {
        Self(self.0 & !attribute.0)
    }
}

/// Where a file begins in the whole, and its attributes in the upper bits.
#[derive(Clone, Copy, Debug)]
struct Begin(u64);

impl Begin {
    const fn new(begin: u64, attributes: Attributes) -> Self {
        Self(begin | (attributes.0 as u64) << ATTRIBUTE_SHIFT)
    }

    const fn begin(self) -> u64 {
        self.0 & ((1 << ATTRIBUTE_SHIFT) - 1)
    }

    const fn attributes(self) -> Attributes {
        Attributes((self.0 >> ATTRIBUTE_SHIFT) as u8)
    }
}

/// Dots alone would be taken for directions.
fn escaped(part: &[u8]) -> String {
    if matches!(part, b"." | b"..") {
        return String::new();
    }
    percent_encode(part, ESCAPED).to_string()
}

/// A file's number as errors have it.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Above the greatest place where a file could begin.
const ATTRIBUTE_SHIFT: u32 = 56;
const _: () = assert!(MAX_TOTAL_LEN < 1 << ATTRIBUTE_SHIFT);

/// After so many entries it is estimated how many there are, since a list that grows by doubling would be the most of
/// the memory that decoding takes.
const SAMPLE: u32 = 1024;

/// How many entries are read past at most to reach one: less than a microsecond, for a quarter of a byte each.
const STRIDE: usize = 16;

/// RFC 3986, section 2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const PATH: &str = "path";
const LENGTH: &str = "length";
const SYMLINK: &str = "symlink path";
