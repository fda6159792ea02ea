//! Policy: which paths of a torrent would be the same file, and what the later one is called instead.
//!
//! Names are compared as the pickiest of file systems does: without case, and with accents composed. A torrent whose
//! paths are literally the same is wrong. Where they only come to be the same on some disk, or by having been made safe,
//! the later file gets a number.

use super::error::{MetainfoError, Place};
use super::path::RawPath;
use crate::base::FileName;
use icu_normalizer::ComposingNormalizerBorrowed;
use std::borrow::Cow;
use std::collections::btree_map::{BTreeMap, Entry};

/// Finds out in little time and memory that a torrent has no two paths that are the same, as hardly any has.
#[derive(Default)]
pub(super) struct Filter {
    files: Vec<u64>,
    folders: Vec<u64>,
    /// The folders of the last path.
    last: Vec<u64>,
}

impl Filter {
    /// Takes the path of a file that will be written.
    pub(super) fn add(&mut self, index: u32, path: RawPath<'_>) -> Result<(), MetainfoError> {
        let place = Place::of(index, PATH);
        let (mut hash, mut depth) = (SEED, 0);
        let parts = path.each_part(place, |part| {
            if depth > 0 && self.last.get(depth - 1) != Some(&hash) {
                self.last.truncate(depth - 1);
                self.last.push(hash);
                self.folders.push(hash);
            }
            hash = add_part(hash, &folded(&part));
            depth += 1;
        })?;
        if parts == 0 {
            return Err(MetainfoError::UnsafeName(place));
        }
        self.last.truncate(parts - 1);
        self.files.push(hash);
        Ok(())
    }

    /// About so many more come. Each takes some bytes of the torrent, so that this is no more than a part of its length.
    pub(super) fn expect(&mut self, more: usize) {
        self.files.reserve_exact(more + more / 32);
    }

    /// Whether there may be two that are the same.
    pub(super) fn finish(self) -> bool {
        let Self { mut files, mut folders, .. } = self;
        files.sort_unstable();
        folders.sort_unstable();
        folders.dedup();
        let is_file = |folder: &u64| files.binary_search(folder).is_ok();
        files.windows(2).any(|pair| pair[0] == pair[1]) || folders.iter().any(is_file)
    }
}

/// The files that are called otherwise than the torrent says.
#[derive(Clone, Debug, Default)]
pub(super) struct Renamed(Box<[(u32, FileName)]>);

impl Renamed {
    pub(super) fn get(&self, index: u32) -> Option<&FileName> {
        let at = self.0.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        self.0.get(at).map(|(_, name)| name)
    }

    /// Finds other names for those of `paths` (numbers ascending) that need them.
    pub(super) fn resolve(paths: &[(u32, RawPath<'_>)]) -> Result<Self, MetainfoError> {
        let mut taken = Taken::folders(paths)?;
        let mut renamed = Vec::new();
        for &(index, path) in paths {
            if let Some(name) = taken.place(index, path)? {
                renamed.push((index, name));
            }
        }
        Ok(Self(renamed.into()))
    }
}

/// Which paths are in use, by what file systems may make of them.
struct Taken<'a> {
    paths: BTreeMap<String, Use<'a>>,
    /// The files, by their paths as they stand in the torrent.
    literal: BTreeMap<&'a [u8], u32>,
    /// The number that the next file of the same path gets, where there were some already.
    next: BTreeMap<String, u32>,
}

#[derive(Clone, Copy)]
enum Use<'a> {
    /// Of whose path it is a part.
    Folder(u32, RawPath<'a>),
    File,
}

impl<'a> Taken<'a> {
    fn folders(paths: &[(u32, RawPath<'a>)]) -> Result<Self, MetainfoError> {
        let mut taken = Self { paths: BTreeMap::new(), literal: BTreeMap::new(), next: BTreeMap::new() };
        for &(index, path) in paths {
            let names = path.names(Place::of(index, PATH))?;
            let mut key = String::new();
            for folder in names.iter().take(names.len().saturating_sub(1)) {
                push(&mut key, folder.as_str());
                if !taken.paths.contains_key(&key) {
                    taken.paths.insert(key.clone(), Use::Folder(index, path));
                }
            }
        }
        Ok(taken)
    }

    /// Takes the path of a file; says what it has to be called if that is taken.
    fn place(&mut self, index: u32, path: RawPath<'a>) -> Result<Option<FileName>, MetainfoError> {
        let place = Place::of(index, PATH);
        if let Some(first) = self.literal.insert(path.0, index) {
            return Err(MetainfoError::DuplicatePath { first, second: place });
        }
        let mut names = path.names(place)?;
        let name = names.pop().ok_or(MetainfoError::UnsafeName(place))?;
        let mut folder = String::new();
        names.iter().for_each(|name| push(&mut folder, name.as_str()));
        let key = joined(&folder, &name);
        match self.paths.get(&key) {
            None => {
                self.paths.insert(key, Use::File);
                return Ok(None);
            }
            Some(Use::Folder(inside, other)) if is_above(path, *other) => {
                return Err(MetainfoError::FileIsFolder { file: place, inside: *inside });
            }
            Some(_) => {}
        }
        let first = *self.next.get(&key).unwrap_or(&1);
        for number in first..first + MAX_TRIES {
            let other = name.numbered(number);
            if let Entry::Vacant(free) = self.paths.entry(joined(&folder, &other)) {
                free.insert(Use::File);
                self.next.insert(key, number + 1);
                return Ok(Some(other));
            }
        }
        Err(MetainfoError::TooManyAlike(place))
    }
}

/// Whether the torrent itself has `path` as a folder around `inside`.
fn is_above(path: RawPath<'_>, inside: RawPath<'_>) -> bool {
    path.0.strip_suffix(b"e").is_some_and(|path| inside.0.starts_with(path))
}

fn joined(folder: &str, name: &FileName) -> String {
    let mut key = folder.to_owned();
    push(&mut key, name.as_str());
    key
}

fn push(key: &mut String, part: &str) {
    key.push('/');
    key.push_str(&folded(part));
}

/// What a name has in common with all that some file system takes for the same.
fn folded(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Cow::Owned(name.to_ascii_lowercase());
        }
        return Cow::Borrowed(name);
    }
    let nfc = const { ComposingNormalizerBorrowed::new_nfc() };
    let lower = nfc.normalize(name).to_lowercase();
    Cow::Owned(nfc.normalize(&lower).into_owned())
}

/// A hash for [`Filter`]: equal for equal paths. That others are equal too costs time and nothing else, so nothing is
/// won by making them so.
fn add_part(hash: u64, part: &str) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let (words, rest) = part.as_bytes().as_chunks::<8>();
    let hash = words.iter().fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(hash, u64::from_le_bytes(last)), part.len() as u64 | 1 << 63)
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

/// How many numbers are tried for one name. More are taken only where somebody took them on purpose.
const MAX_TRIES: u32 = 1000;

const PATH: &str = "path";
