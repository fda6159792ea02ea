//! Codec: [`FilesSaved`] as a record of the store has it.

use super::saved::{FilesSaved, SavedFile};
use crate::base::disk::FileIdentity;
use crate::base::{Bitfield, FileName, RangeSet};
use crate::wire::bencode::{ListEncoder, Value, encode};
use std::collections::{BTreeMap, BTreeSet};

impl FilesSaved {
    /// As a bencoded dictionary.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            e.dict(|d| {
                d.entry(b"count", |e| e.int(self.pieces.len()));
                d.entry(b"pieces", |e| e.bytes(self.pieces.as_bytes()));
                d.entry(b"files", |e| e.list(|l| self.files.iter().for_each(|file| put_file(l, *file))));
                d.entry(b"folders", |e| e.list(|l| self.folders.iter().for_each(|path| put_path(l, path))));
                d.entry(b"kept", |e| e.list(|l| self.kept.iter().for_each(|kept| put_kept(l, kept))));
            })
        })
    }

    /// What [`encode`](Self::encode) wrote; `None` where it is something else.
    pub fn decode(value: Value<'_>) -> Option<Self> {
        let count = u32::try_from(value.get(b"count")?.as_uint()?).ok()?;
        let pieces = Bitfield::from_bytes(value.get(b"pieces")?.as_bytes()?, count)?;
        let files: Option<Box<[SavedFile]>> = value.get(b"files")?.list()?.map(file).collect();
        let folders: Option<BTreeSet<Vec<FileName>>> = value.get(b"folders")?.list()?.map(path).collect();
        let kept: Option<BTreeMap<(u32, u32), u32>> = value.get(b"kept")?.list()?.map(kept).collect();
        Some(Self { pieces, files: files?, folders: folders?, kept: kept?, suspects: RangeSet::new() })
    }
}

/// A byte for whose it is, and 16 for which file it is, where that is known.
fn put_file(l: &mut ListEncoder<'_>, file: SavedFile) {
    let mut bytes = vec![u8::from(file.ours)];
    if let Some(FileIdentity { device, inode }) = file.identity {
        bytes.extend([device.to_be_bytes(), inode.to_be_bytes()].concat());
    }
    l.item(|e| e.bytes(&bytes));
}

fn file(value: Value<'_>) -> Option<SavedFile> {
    let (ours, identity) = value.as_bytes()?.split_first()?;
    let identity = match identity.split_at_checked(8) {
        None if identity.is_empty() => None,
        Some((device, inode)) => Some(FileIdentity {
            device: u64::from_be_bytes(device.try_into().ok()?),
            inode: u64::from_be_bytes(inode.try_into().ok()?),
        }),
        None => return None,
    };
    Some(SavedFile { ours: *ours != 0, identity })
}

fn put_path(l: &mut ListEncoder<'_>, path: &[FileName]) {
    l.item(|e| e.list(|l| path.iter().for_each(|name| l.item(|e| e.str(name.as_str())))));
}

/// A record is as little trusted as a torrent: its names are made safe again.
fn path(value: Value<'_>) -> Option<Vec<FileName>> {
    value.list()?.map(|name| FileName::new(name.as_str()?)).collect()
}

fn put_kept(l: &mut ListEncoder<'_>, ((file, piece), room): (&(u32, u32), &u32)) {
    l.item(|e| e.bytes(&[file.to_be_bytes(), piece.to_be_bytes(), room.to_be_bytes()].concat()));
}

fn kept(value: Value<'_>) -> Option<((u32, u32), u32)> {
    let (numbers, rest) = value.as_bytes()?.as_chunks::<4>();
    let [file, piece, room] = *numbers else { return None };
    let number = u32::from_be_bytes;
    rest.is_empty().then_some(((number(file), number(piece)), number(room)))
}
