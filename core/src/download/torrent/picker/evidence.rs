//! Policy: who sent which bytes of a wrong piece, kept until the right ones are known (smart ban).
//!
//! Where several peers took part in a wrong piece, the digests of its blocks are kept with those who sent them. When the
//! piece was fetched again and is right, whoever sent a block that was different is guilty, and all others are not.

use crate::base::PieceIndex;
use std::collections::BTreeMap;

/// Blocks of wrong pieces. `K` names a peer: best by its address, which outlives its connection.
///
/// ```
/// use gosh_dl_core::base::PieceGrid;
/// use gosh_dl_core::download::torrent::picker::Evidence;
///
/// let piece = PieceGrid::new(32 << 10, 32 << 10).unwrap().piece(0).unwrap();
/// let mut evidence = Evidence::new();
/// evidence.keep(piece, [(0, "honest", [1; 20]), (1, "liar", [2; 20])]);
/// let right = [[1; 20], [3; 20]];
/// assert_eq!(evidence.judge(piece, &right), ["liar"]);
/// ```
#[derive(Debug)]
pub struct Evidence<K> {
    pieces: BTreeMap<PieceIndex, Vec<(u32, K, [u8; 20])>>,
}

impl<K: Copy + Ord> Evidence<K> {
    /// Nothing was wrong yet.
    pub fn new() -> Self {
        Self { pieces: BTreeMap::new() }
    }

    /// A piece is wrong: the numbers of its blocks, who sent each, and their SHA-1. What several failures of one piece
    /// bring is all kept. At most 16 pieces with 1024 blocks each.
    pub fn keep(&mut self, piece: PieceIndex, blocks: impl IntoIterator<Item = (u32, K, [u8; 20])>) {
        if self.pieces.len() >= MAX_PIECES && !self.pieces.contains_key(&piece) {
            return;
        }
        let kept = self.pieces.entry(piece).or_default();
        let room = MAX_BLOCKS - kept.len().min(MAX_BLOCKS);
        kept.extend(blocks.into_iter().take(room));
    }

    /// Whether something is kept of a piece: its blocks are worth hashing when it is right.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.pieces.contains_key(&piece)
    }

    /// The piece is right, and these are the SHA-1 of its blocks: says who sent others, each once, and forgets the rest.
    pub fn judge(&mut self, piece: PieceIndex, right: &[[u8; 20]]) -> Vec<K> {
        let kept = self.pieces.remove(&piece).unwrap_or_default();
        let wrong = |(number, _, digest): &&(u32, K, [u8; 20])| {
            right.get(*number as usize).is_some_and(|right| right != digest)
        };
        let mut guilty: Vec<K> = kept.iter().filter(wrong).map(|(_, who, _)| *who).collect();
        guilty.sort_unstable();
        guilty.dedup();
        guilty
    }
}

impl<K: Copy + Ord> Default for Evidence<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// Wrong pieces that wait for right bytes. More at a time means that most peers lie.
const MAX_PIECES: usize = 16;
/// Blocks of one wrong piece, of all its failures together: those of a piece of 16 MiB, in 48 KiB.
const MAX_BLOCKS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PieceGrid;

    fn piece(index: u32) -> PieceIndex {
        PieceGrid::new(1, 100).unwrap().piece(index).unwrap()
    }

    #[test]
    fn whoever_sent_what_is_not_right_is_guilty_and_nobody_else() {
        let mut evidence = Evidence::new();
        evidence.keep(piece(1), [(0, 'a', [1; 20]), (1, 'b', [9; 20]), (2, 'c', [3; 20])]);
        evidence.keep(piece(1), [(0, 'd', [8; 20]), (1, 'a', [2; 20]), (2, 'b', [7; 20])]);
        assert!(evidence.has(piece(1)) && !evidence.has(piece(2)));
        assert_eq!(evidence.judge(piece(1), &[[1; 20], [2; 20], [3; 20]]), ['b', 'd']);
        assert!(!evidence.has(piece(1)));
    }

    #[test]
    fn block_without_a_right_digest_proves_nothing() {
        let mut evidence = Evidence::new();
        evidence.keep(piece(1), [(5, 'a', [1; 20])]);
        assert_eq!(evidence.judge(piece(1), &[[2; 20]]), [char::MAX; 0]);
    }

    #[test]
    fn evidence_is_bounded() {
        let mut evidence = Evidence::new();
        for index in 0..100 {
            evidence.keep(piece(index), (0..5000).map(|number| (number, 'a', [0; 20])));
            evidence.keep(piece(index), (0..5000).map(|number| (number, 'b', [0; 20])));
        }
        assert_eq!(evidence.pieces.len(), MAX_PIECES);
        assert!(evidence.pieces.values().all(|blocks| blocks.len() == MAX_BLOCKS));
    }
}
