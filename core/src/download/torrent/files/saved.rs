//! Codec: what the store keeps of the files of a torrent.

use crate::base::disk::FileIdentity;
use crate::base::{Bitfield, FileName, PieceIndex, RangeSet};
use crate::download::torrent::layout::Layout;
use crate::wire::bencode::{Document, Encoder, Value};
use crate::wire::paths::{put_paths, take_paths};
use std::collections::{BTreeMap, BTreeSet};

/// What the store keeps of the files of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSaved {
    /// What is known to be on the disk.
    pub(super) pieces: Bitfield,
    /// What is known of each file.
    pub(super) files: Box<[SavedFile]>,
    /// What is known of the file for parts that are kept apart.
    pub(super) parts: SavedFile,
    /// Directories that were made for this torrent; what is below them was, too.
    pub(super) folders: BTreeSet<Vec<FileName>>,
    /// Parts that are kept apart, by their piece and file, with the number of the room that the piece has.
    pub(super) kept: BTreeMap<(u32, u32), u32>,
    /// How many rooms there are.
    pub(super) rooms: u32,
    /// Pieces that may be there though they are not known to be.
    pub(super) suspects: RangeSet,
    /// Bytes of the whole that are known to be on the disk though their pieces are not.
    pub(super) blocks: RangeSet,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SavedFile {
    /// Whether it is made by us, or will be: there was none when we first looked.
    pub(super) ours: bool,
    /// Which file it is, once it was made or found.
    pub(super) identity: Option<FileIdentity>,
}

impl FilesSaved {
    /// Nothing is known.
    pub fn new(layout: &Layout) -> Self {
        Self {
            pieces: Bitfield::new(layout.grid().pieces()),
            files: vec![SavedFile::default(); layout.files() as usize].into(),
            parts: SavedFile::default(),
            folders: BTreeSet::new(),
            kept: BTreeMap::new(),
            rooms: 0,
            suspects: RangeSet::new(),
            blocks: RangeSet::new(),
        }
    }

    /// Whether no file was ever seen.
    pub(super) fn knows_no_file(&self) -> bool {
        self.files.iter().all(|file| file.identity.is_none())
    }

    /// The pieces that are known to be on the disk.
    pub fn pieces(&self) -> &Bitfield {
        &self.pieces
    }

    /// How many bytes of a file are in those pieces.
    pub fn completed_of(&self, layout: &Layout, file: u32) -> u64 {
        bytes_of(layout, &self.pieces, file)
    }

    /// Which file it is, and which of its bytes are in those pieces; not those that are kept apart.
    pub fn on_disk(&self, layout: &Layout, file: u32) -> (Option<FileIdentity>, RangeSet) {
        if !self.fits(layout) || file >= layout.files() {
            return (None, RangeSet::new());
        }
        let range = layout.range(file);
        let is_there =
            |piece: &PieceIndex| self.pieces.has(*piece) && !self.kept.contains_key(&(piece.get(), file));
        let within = |piece| {
            let piece = layout.grid().piece_range(piece);
            piece.start.max(range.start) - range.start..piece.end.min(range.end) - range.start
        };
        (self.file(file).identity, layout.pieces_of(file).filter(is_there).map(within).collect())
    }

    /// Has these pieces looked at, by their numbers: a killed process had written them
    /// ([`TorrentFiles::note`](super::TorrentFiles::note)), in this boot of the machine.
    pub fn suspect(&mut self, pieces: &RangeSet) {
        self.suspects.union(pieces);
    }

    /// As bytes for the store. What is suspected is left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut files = Vec::with_capacity(self.files.len() * 4 + 16);
        let mut last = FileIdentity { device: 0, inode: 0 };
        self.files.iter().chain([&self.parts]).for_each(|file| put_file(&mut files, *file, &mut last));
        let mut kept = Vec::new();
        for ((piece, file), room) in &self.kept {
            [*piece, *file, *room].into_iter().for_each(|number| put_number(&mut kept, u64::from(number)));
        }
        let mut blocks = Vec::new();
        put_ranges(&mut blocks, &self.blocks);
        let len = files.len() + self.pieces.as_bytes().len() + kept.len() + blocks.len() + 64;
        let mut bytes = Vec::with_capacity(len);
        let _ = Encoder::new(&mut bytes).dict(|d| {
            if !blocks.is_empty() {
                d.entry(b"blocks", |e| e.bytes(&blocks));
            }
            d.entry(b"count", |e| e.int(i64::from(self.pieces.len())));
            d.entry(b"files", |e| e.bytes(&files));
            d.entry(b"folders", |e| put_paths(e, &self.folders));
            d.entry(b"kept", |e| e.bytes(&kept));
            d.entry(b"pieces", |e| e.bytes(self.pieces.as_bytes()));
            d.entry(b"rooms", |e| e.int(i64::from(self.rooms)));
        });
        bytes
    }

    /// What [`encode`](Self::encode) made; `None` where it did not.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let document = Document::decode_lax(bytes).ok()?;
        let d = document.root();
        let number = |key: &[u8]| d.get(key).and_then(Value::as_int).and_then(|int| u32::try_from(int).ok());
        let blob = |key: &[u8]| d.get(key).and_then(Value::as_bytes);
        let mut files = Vec::new();
        let mut last = FileIdentity { device: 0, inode: 0 };
        let mut rest = blob(b"files")?;
        while !rest.is_empty() {
            files.push(take_file(&mut rest, &mut last)?);
        }
        let parts = files.pop()?;
        let rooms = number(b"rooms")?;
        let mut kept = BTreeMap::new();
        let mut rest = blob(b"kept")?;
        while !rest.is_empty() {
            let mut next = || u32::try_from(take_number(&mut rest)?).ok();
            let (piece, file, room) = (next()?, next()?, next().filter(|room| *room < rooms)?);
            kept.insert((piece, file), room);
        }
        let folders = d.get(b"folders").and_then(take_paths)?;
        let pieces = Bitfield::from_bytes(blob(b"pieces")?, number(b"count")?)?;
        // Records from before there were any have none.
        let blocks =
            d.get(b"blocks").map_or(Some(RangeSet::new()), |blocks| take_ranges(blocks.as_bytes()?))?;
        let suspects = RangeSet::new();
        Some(Self { pieces, files: files.into(), parts, folders, kept, rooms, suspects, blocks })
    }

    /// Whether it is about a torrent of this layout.
    pub(super) fn fits(&self, layout: &Layout) -> bool {
        self.pieces.len() == layout.grid().pieces() && self.files.len() == layout.files() as usize
    }

    pub(super) fn file(&self, file: u32) -> SavedFile {
        self.files.get(file as usize).copied().unwrap_or(self.parts)
    }

    pub(super) fn file_mut(&mut self, file: u32) -> &mut SavedFile {
        self.files.get_mut(file as usize).unwrap_or(&mut self.parts)
    }
}

/// A byte that says what follows: the device, if it is another than before, and how far the inode is from the last.
fn put_file(to: &mut Vec<u8>, file: SavedFile, last: &mut FileIdentity) {
    let same = file.identity.is_some_and(|identity| identity.device == last.device);
    let flags = u8::from(file.ours) | u8::from(file.identity.is_some()) << 1 | u8::from(same) << 2;
    to.push(flags);
    let Some(identity) = file.identity else { return };
    if !same {
        put_number(to, identity.device);
    }
    let step = identity.inode.wrapping_sub(last.inode).cast_signed();
    put_number(to, (step << 1 ^ step >> 63).cast_unsigned());
    *last = identity;
}

fn take_file(from: &mut &[u8], last: &mut FileIdentity) -> Option<SavedFile> {
    let (flags, rest) = from.split_first().filter(|(flags, _)| **flags < 8)?;
    *from = rest;
    let (ours, is_known, same) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
    if !is_known {
        return (!same).then_some(SavedFile { ours, identity: None });
    }
    let device = if same { last.device } else { take_number(from)? };
    let step = take_number(from)?;
    let step = (step >> 1) ^ (step & 1).wrapping_neg();
    let identity = FileIdentity { device, inode: last.inode.wrapping_add(step) };
    *last = identity;
    Some(SavedFile { ours, identity: Some(identity) })
}

/// Seven bits a byte, the low ones first; the high bit says that more follow.
fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn take_number(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// How long each gap is, and what follows it.
fn put_ranges(to: &mut Vec<u8>, set: &RangeSet) {
    let mut at = 0;
    for range in set.iter() {
        put_number(to, range.start - at);
        put_number(to, range.end - range.start);
        at = range.end;
    }
}

/// `None` where there are more than are ever put, or not as they are put: in order, apart, and none of them empty.
fn take_ranges(mut from: &[u8]) -> Option<RangeSet> {
    let mut set = RangeSet::new();
    let mut at = 0u64;
    while !from.is_empty() {
        let gap = take_number(&mut from).filter(|gap| *gap > 0 || set.is_empty())?;
        let start = at.checked_add(gap)?;
        at = take_number(&mut from).filter(|len| *len > 0).and_then(|len| start.checked_add(len))?;
        set.insert(start..at);
        if set.range_count() > MAX_RUNS {
            return None;
        }
    }
    Some(set)
}

/// How many runs of bytes of unfinished pieces are remembered: some pieces of each of a thousand peers, in at most
/// 40 KiB of a record that is written about once a second.
pub(super) const MAX_RUNS: usize = 4096;

/// How many bytes of a file are in these pieces.
pub(super) fn bytes_of(layout: &Layout, pieces: &Bitfield, file: u32) -> u64 {
    let (range, grid) = (layout.range(file), layout.grid());
    let mut inside = layout.pieces_of(file);
    let within = |piece| {
        let piece = grid.piece_range(piece);
        piece.end.min(range.end) - piece.start.max(range.start)
    };
    let ends = [inside.next(), inside.next_back()];
    let edges: u64 = ends.into_iter().flatten().filter(|piece| pieces.has(*piece)).map(within).sum();
    let (Some(first), Some(last)) = (inside.next(), inside.next_back().or(ends[0])) else { return edges };
    let whole = pieces.count_in(first.get()..last.get().max(first.get()) + 1);
    edges + u64::from(whole) * u64::from(grid.piece_len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PieceGrid;
    use proptest::prelude::*;

    proptest! {
        /// Byte by byte.
        #[test]
        fn bytes_of_a_file_are_those_in_its_pieces(
            piece_len in 1u32..9,
            lens in prop::collection::vec(0u64..40, 1..6),
            bits in any::<u64>(),
        ) {
            let Some(grid) = PieceGrid::new(piece_len, lens.iter().sum()) else { return Ok(()) };
            let layout = Layout::from_lens(grid, lens.iter().map(|len| (*len, false))).unwrap();
            let mut pieces = Bitfield::new(grid.pieces());
            let chosen = |index: u64| bits >> (index % 64) & 1 == 1;
            grid.all().filter(|piece| chosen(u64::from(piece.get()))).for_each(|piece| _ = pieces.insert(piece));
            for file in 0..layout.files() {
                let range = layout.range(file);
                let expected = range.filter(|at| chosen(at / u64::from(piece_len))).count() as u64;
                prop_assert_eq!(bytes_of(&layout, &pieces, file), expected);
            }
        }
    }

    fn numbers(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        numbers.into_iter().for_each(|number| put_number(&mut bytes, number));
        bytes
    }

    #[test]
    fn runs_that_are_never_written_are_refused() {
        assert_eq!(take_ranges(&numbers([0, 2, 3, 4])), Some([0..2, 5..9].into_iter().collect()));
        let empty_one_touching_one_beyond_everything =
            [vec![7, 0], vec![0, 2, 0, 4], vec![9, u64::MAX], vec![3]];
        for bad in empty_one_touching_one_beyond_everything {
            assert_eq!(take_ranges(&numbers(bad.clone())), None, "{bad:?}");
        }
        let runs = |count: usize| numbers((0..2 * count).map(|_| 1));
        assert!(take_ranges(&runs(MAX_RUNS)).is_some_and(|set| set.range_count() == MAX_RUNS));
        assert_eq!(take_ranges(&runs(MAX_RUNS + 1)), None);
    }

    fn identity() -> impl Strategy<Value = Option<FileIdentity>> {
        let number = || prop_oneof![0u64..4, any::<u64>()];
        prop::option::of((number(), number()).prop_map(|(device, inode)| FileIdentity { device, inode }))
    }

    prop_compose! {
        fn saved()(
            files in prop::collection::vec((any::<bool>(), identity()), 1..20),
            bits in prop::collection::vec(any::<bool>(), 1..40),
            kept in prop::collection::btree_map((any::<u32>(), any::<u32>()), 0u32..9, 0..5),
            folders in prop::collection::btree_set(prop::collection::vec("[a-z]{1,3}", 1..3), 0..4),
            blocks in prop::collection::vec((any::<u32>(), 1u64..9), 0..5),
        ) -> FilesSaved {
            let grid = PieceGrid::new(1, bits.len() as u64).unwrap();
            let mut pieces = Bitfield::new(grid.pieces());
            let set = grid.all().zip(&bits).filter(|(_, bit)| **bit);
            set.for_each(|(piece, _)| _ = pieces.insert(piece));
            let mut files: Vec<_> =
                files.into_iter().map(|(ours, identity)| SavedFile { ours, identity }).collect();
            let parts = files.pop().unwrap();
            let name = |name: String| FileName::new(&name).unwrap_or_else(|| FileName::new("x").unwrap());
            let folders = folders.into_iter().map(|path| path.into_iter().map(name).collect()).collect();
            let suspects = RangeSet::new();
            let blocks = blocks.into_iter().map(|(at, len)| u64::from(at)..u64::from(at) + len).collect();
            FilesSaved { pieces, files: files.into(), parts, folders, kept, rooms: 9, suspects, blocks }
        }
    }

    proptest! {
        #[test]
        fn what_is_saved_is_read_again(saved in saved(), cut in any::<prop::sample::Index>()) {
            let bytes = saved.encode();
            prop_assert_eq!(FilesSaved::decode(&bytes), Some(saved));
            prop_assert_eq!(FilesSaved::decode(&bytes[..cut.index(bytes.len())]), None);
        }

        /// What older builds wrote has no such key.
        #[test]
        fn record_without_blocks_is_read(saved in saved()) {
            let saved = FilesSaved { blocks: RangeSet::new(), ..saved };
            let bytes = saved.encode();
            prop_assert!(!bytes.windows(6).any(|key| key == b"blocks"));
            prop_assert_eq!(FilesSaved::decode(&bytes), Some(saved));
        }

        #[test]
        fn damage_is_no_panic(saved in saved(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = saved.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = FilesSaved::decode(&bytes);
        }
    }
}
