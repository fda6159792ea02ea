//! A set of pieces, one bit each, in the order of BEP 3: the high bit of the first byte is piece 0.

use super::piece::PieceIndex;
use core::fmt;

/// A fixed number of bits, and how many of them are set.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Bitfield {
    bytes: Box<[u8]>,
    len: u32,
    ones: u32,
}

impl Bitfield {
    /// `len` bits, all clear.
    pub fn new(len: u32) -> Self {
        Self { bytes: vec![0; byte_len(len)].into(), len, ones: 0 }
    }

    /// `len` bits, all set.
    pub fn full(len: u32) -> Self {
        let mut bytes: Box<[u8]> = vec![0xff; byte_len(len)].into();
        if let Some(last) = bytes.last_mut().filter(|_| !len.is_multiple_of(8)) {
            *last = !(0xff >> (len % 8));
        }
        Self { bytes, len, ones: len }
    }

    /// The bits of a message; `None` where there are too few or too many bytes, or one of the spare bits is set.
    pub fn from_bytes(bytes: &[u8], len: u32) -> Option<Self> {
        if bytes.len() != byte_len(len) {
            return None;
        }
        let spare = if len.is_multiple_of(8) { 0 } else { 0xff >> (len % 8) };
        if bytes.last().is_some_and(|last| last & spare != 0) {
            return None;
        }
        let ones = bytes.iter().map(|byte| byte.count_ones()).sum();
        Some(Self { bytes: bytes.into(), len, ones })
    }

    /// The bits as a message carries them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bits there are.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no bits at all.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bits are set.
    pub const fn count(&self) -> u32 {
        self.ones
    }

    /// Whether every bit is set.
    pub const fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// Whether the piece is in the set.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.get(piece.get())
    }

    /// Whether the bit of that number is set; `false` beyond the end.
    pub fn get(&self, index: u32) -> bool {
        self.bytes.get((index / 8) as usize).is_some_and(|byte| byte & mask(index) != 0)
    }

    /// Puts a piece into the set; says whether it was not there. A piece beyond the end is left out.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        let index = piece.get();
        if index >= self.len || self.get(index) {
            return false;
        }
        self.bytes[(index / 8) as usize] |= mask(index);
        self.ones += 1;
        true
    }

    /// Takes a piece out of the set; says whether it was there.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        let index = piece.get();
        if !self.get(index) {
            return false;
        }
        self.bytes[(index / 8) as usize] &= !mask(index);
        self.ones -= 1;
        true
    }

    /// The numbers of the bits that are set, ascending.
    pub fn ones(&self) -> impl Iterator<Item = u32> + '_ {
        self.bytes.iter().enumerate().flat_map(|(at, &byte)| {
            let first = u32::try_from(at).unwrap_or(u32::MAX).saturating_mul(8);
            (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| first + bit)
        })
    }

    /// The number of the first bit that is set, from this number on.
    pub fn next_one(&self, from: u32) -> Option<u32> {
        let at = (from / 8) as usize;
        let first = self.bytes.get(at)? & (0xff >> (from % 8));
        let rest = self.bytes[at + 1..].iter().copied();
        let (skipped, byte) =
            (0u32..).zip(core::iter::once(first).chain(rest)).find(|(_, byte)| *byte != 0)?;
        Some((from / 8 + skipped) * 8 + byte.leading_zeros())
    }

    /// How many bits of this range of numbers are set.
    pub fn count_in(&self, range: core::ops::Range<u32>) -> u32 {
        let (start, end) = (range.start, range.end.min(self.len));
        if start >= end {
            return 0;
        }
        let (first, last) = ((start / 8) as usize, ((end - 1) / 8) as usize);
        let head = 0xff >> (start % 8);
        let tail = 0xff_u8 << (7 - (end - 1) % 8);
        if first == last {
            return (self.bytes[first] & head & tail).count_ones();
        }
        let between: u32 = self.bytes[first + 1..last].iter().map(|byte| byte.count_ones()).sum();
        (self.bytes[first] & head).count_ones() + between + (self.bytes[last] & tail).count_ones()
    }

    /// Whether there is a bit that is set here and clear in `other`, which must be as long.
    pub fn has_more_than(&self, other: &Self) -> bool {
        self.bytes.iter().zip(&other.bytes).any(|(mine, theirs)| mine & !theirs != 0)
    }
}

impl fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bitfield({}/{})", self.ones, self.len)
    }
}

const fn mask(index: u32) -> u8 {
    0x80 >> (index % 8)
}

const fn byte_len(len: u32) -> usize {
    len.div_ceil(8) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::piece::PieceGrid;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn spare_bits_and_wrong_lengths_are_refused() {
        assert!(Bitfield::from_bytes(&[0xff, 0xc0], 10).is_some_and(|bits| bits.is_full()));
        assert_eq!(Bitfield::from_bytes(&[0xff, 0xe0], 10), None);
        assert_eq!(Bitfield::from_bytes(&[0xff], 10), None);
        assert_eq!(Bitfield::from_bytes(&[0xff, 0, 0], 10), None);
        assert_eq!(Bitfield::from_bytes(&[0xff, 0xc0], 10), Some(Bitfield::full(10)));
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(len in 1u32..70, ops in prop::collection::vec((any::<bool>(), 0u32..70), 0..200)) {
            let grid = PieceGrid::new(1, u64::from(len)).unwrap();
            let (mut bits, mut model) = (Bitfield::new(len), BTreeSet::new());
            for (insert, index) in ops {
                let Some(piece) = grid.piece(index) else { continue };
                if insert {
                    prop_assert_eq!(bits.insert(piece), model.insert(index));
                } else {
                    prop_assert_eq!(bits.remove(piece), model.remove(&index));
                }
                prop_assert_eq!(bits.has(piece), insert);
            }
            prop_assert_eq!(bits.count() as usize, model.len());
            for (start, end) in [(0, len), (3, 40), (8, 16), (9, 15), (40, 3), (5, 70), (69, 70)] {
                let expected = (start..end).filter(|index| model.contains(index)).count();
                prop_assert_eq!(bits.count_in(start..end) as usize, expected);
            }
            for from in 0..len + 9 {
                prop_assert_eq!(bits.next_one(from), model.range(from..).next().copied());
            }
            prop_assert_eq!(bits.ones().collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(Bitfield::from_bytes(bits.as_bytes(), len), Some(bits));
        }
    }
}
