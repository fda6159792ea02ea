//! Codec: what a move is told, and what the store keeps of it.

use crate::base::FileName;
use crate::base::disk::FileIdentity;
use crate::wire::bencode::{DictEncoder, Value};
use crate::wire::paths::{put_paths, take_paths};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What a move is told at its start.
#[derive(Debug)]
pub struct MovePlan {
    /// The directory where the download is.
    pub dir: PathBuf,
    /// Its files.
    pub items: Vec<Item>,
    /// The folders below the directory that were made for it.
    pub own_folders: BTreeSet<Vec<FileName>>,
    /// What a copy is called until it is whole: nothing else has this name.
    pub copy_name: FileName,
    /// Whether nothing was done yet: the names must all be free then.
    pub is_new: bool,
}

impl MovePlan {
    /// The folders of all files, with those that they lie in and the directory itself, which come first.
    pub(super) fn folders(&self) -> Vec<Vec<FileName>> {
        let mut folders = BTreeSet::from([Vec::new()]);
        for item in &self.items {
            for len in (1..=item.folder.len()).rev() {
                if !folders.insert(item.folder[..len].to_vec()) {
                    break;
                }
            }
        }
        folders.into_iter().collect()
    }
}

/// A file that is moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number in the download.
    pub number: u32,
    /// The folder that it lies in, below the directory.
    pub folder: Vec<FileName>,
    /// The names that it may have.
    pub names: Vec<FileName>,
    /// Which file it is.
    pub identity: FileIdentity,
    /// Whether a copy may be executed.
    pub executable: bool,
}

/// What the store keeps of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovingSaved {
    /// The other directory: the new one until all has arrived, and then the old one.
    pub other: PathBuf,
    /// Whether all is in the new one, and only what is left in the old one is to be removed.
    pub arrived: bool,
    /// By their numbers, files in the other directory that were copied, or are copies.
    pub copies: BTreeMap<u32, FileIdentity>,
    /// The folders in the other directory that were made for this download; what is below them was, too.
    pub folders: BTreeSet<Vec<FileName>>,
}

impl MovingSaved {
    /// A move to a directory, of which nothing is done yet.
    pub fn new(to: PathBuf) -> Self {
        Self { other: to, arrived: false, copies: BTreeMap::new(), folders: BTreeSet::new() }
    }

    /// Puts it into a dictionary.
    pub fn encode(&self, d: &mut DictEncoder<'_>) {
        let copies = self.copies.iter().flat_map(|(number, FileIdentity { device, inode })| {
            number.to_be_bytes().into_iter().chain(device.to_be_bytes()).chain(inode.to_be_bytes())
        });
        let copies: Vec<u8> = copies.collect();
        d.entry(b"arrived", |e| e.int(i64::from(self.arrived)));
        d.entry(b"copies", |e| e.bytes(&copies));
        d.entry(b"folders", |e| put_paths(e, &self.folders));
        d.entry(b"other", |e| e.str(&self.other.to_string_lossy()));
    }

    /// What [`encode`](Self::encode) put there; `None` where it did not.
    pub fn decode(d: Value<'_>) -> Option<Self> {
        let (copies, rest) = d.get(b"copies")?.as_bytes()?.as_chunks::<20>();
        let copy = |copy: &[u8; 20]| {
            let (number, identity) = copy.split_first_chunk::<4>()?;
            let (device, inode) = identity.split_first_chunk::<8>()?;
            let (device, inode) = (u64::from_be_bytes(*device), u64::from_be_bytes(inode.try_into().ok()?));
            Some((u32::from_be_bytes(*number), FileIdentity { device, inode }))
        };
        Some(Self {
            other: PathBuf::from(d.get(b"other")?.as_str()?),
            arrived: d.get(b"arrived")?.as_uint()? != 0,
            copies: copies.iter().map(copy).collect::<Option<_>>().filter(|_| rest.is_empty())?,
            folders: take_paths(d.get(b"folders")?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::bencode::{Document, encode};
    use proptest::prelude::*;

    prop_compose! {
        fn saved()(
            other in "/[a-z]{1,8}",
            arrived in any::<bool>(),
            copies in prop::collection::btree_map(any::<u32>(), (any::<u64>(), any::<u64>()), 0..5),
            folders in prop::collection::btree_set(prop::collection::vec("[a-z]{1,3}x", 1..3), 0..4),
        ) -> MovingSaved {
            let identity = |(number, (device, inode))| (number, FileIdentity { device, inode });
            let path = |path: Vec<String>| path.iter().filter_map(|name| FileName::new(name)).collect();
            MovingSaved {
                other: other.into(),
                arrived,
                copies: copies.into_iter().map(identity).collect(),
                folders: folders.into_iter().map(path).collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_saved_is_read_again(saved in saved()) {
            let bytes = encode(|e| e.dict(|d| saved.encode(d)));
            let document = Document::decode_lax(&bytes).unwrap();
            prop_assert_eq!(MovingSaved::decode(document.root()), Some(saved));
        }
    }
}
