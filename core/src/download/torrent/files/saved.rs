//! Codec: what the store keeps of the files of a torrent.

use crate::base::disk::FileIdentity;
use crate::base::{Bitfield, FileName, RangeSet};
use crate::download::torrent::layout::Layout;
use std::collections::{BTreeMap, BTreeSet};

/// What the store keeps of the files of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSaved {
    /// What is known to be on the disk.
    pub(super) pieces: Bitfield,
    /// What is known of each file.
    pub(super) files: Box<[SavedFile]>,
    /// Directories that were made for this torrent; what is below them was, too.
    pub(super) folders: BTreeSet<Vec<FileName>>,
    /// Parts of pieces that are kept apart, by the file and the piece, with the number of the room they lie in.
    pub(super) kept: BTreeMap<(u32, u32), u32>,
    /// Pieces that may be there though they are not known to be.
    pub(super) suspects: RangeSet,
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
            folders: BTreeSet::new(),
            kept: BTreeMap::new(),
            suspects: RangeSet::new(),
        }
    }

    /// The pieces that are known to be on the disk.
    pub fn pieces(&self) -> &Bitfield {
        &self.pieces
    }

    /// How many bytes of a file are in those pieces.
    pub fn completed_of(&self, layout: &Layout, file: u32) -> u64 {
        bytes_of(layout, &self.pieces, file)
    }

    /// Has these pieces looked at, by their numbers: a killed process had written them
    /// ([`TorrentFiles::note`](super::TorrentFiles::note)), in this boot of the machine.
    pub fn suspect(&mut self, pieces: &RangeSet) {
        self.suspects.union(pieces);
    }
}

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
}
