//! Policy: what a resource holds. A function from an offset to a byte, so that a terabyte costs no memory.

use crate::digest::Hasher;
use bytes::{Bytes, BytesMut};
use core::ops::Range;
use gosh_dl_core::base::disk::{Digest, HashAlgorithm};
use sha1::{Digest as _, Sha1};

/// The bytes of one version of one resource.
///
/// ```
/// use gosh_dl_sim::Content;
///
/// let content = Content::generated(7, 1 << 40);
/// let part = content.slice(1_000_000..1_000_016);
/// assert_eq!(content.first_mismatch(1_000_000, &part), None);
/// assert_eq!(Content::from("hello").slice(1..3), "el");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Pseudo-random bytes.
    Generated {
        /// What distinguishes it from other contents.
        seed: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// These bytes.
    Literal(Bytes),
}

impl Content {
    /// `len` pseudo-random bytes that differ from those of every other seed.
    pub const fn generated(seed: u64, len: u64) -> Self {
        Self::Generated { seed, len }
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Generated { len, .. } => *len,
            Self::Literal(bytes) => bytes.len() as u64,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in `range`, which is cut at the end of the content.
    pub fn slice(&self, range: Range<u64>) -> Bytes {
        let end = range.end.min(self.len());
        let start = range.start.min(end);
        match self {
            Self::Generated { seed, .. } => generate(*seed, start, (end - start) as usize).freeze(),
            Self::Literal(bytes) => bytes.slice(start as usize..end as usize),
        }
    }

    /// The first offset at which `bytes`, standing at `offset`, are not this content.
    pub fn first_mismatch(&self, offset: u64, bytes: &[u8]) -> Option<u64> {
        let expected = self.slice(offset..offset.saturating_add(bytes.len() as u64));
        if expected == bytes {
            return None;
        }
        let same = expected.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        Some(offset + same as u64)
    }

    /// The hash of each piece of a torrent of this content alone; pieces are `piece_len` bytes long.
    pub fn piece_hashes(&self, piece_len: u32) -> Vec<[u8; 20]> {
        let starts = (0..self.len()).step_by(piece_len as usize);
        starts.map(|start| Sha1::digest(self.slice(start..start + u64::from(piece_len))).into()).collect()
    }

    /// The digest of the whole.
    pub fn digest(&self, algorithm: HashAlgorithm) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        let mut at = 0;
        while at < self.len() {
            hasher.update(&self.slice(at..at + STEP));
            at += STEP;
        }
        hasher.finish()
    }

    /// The digest of the whole as `algorithm:hex`, the way users write it.
    pub fn checksum(&self, algorithm: HashAlgorithm) -> String {
        format!("{algorithm}:{}", self.digest(algorithm))
    }
}

impl From<&'static str> for Content {
    fn from(text: &'static str) -> Self {
        Self::Literal(Bytes::from_static(text.as_bytes()))
    }
}

fn generate(seed: u64, start: u64, len: usize) -> BytesMut {
    let skip = (start % 8) as usize;
    let mut bytes = BytesMut::with_capacity(skip + len + 8);
    let mut block = start / 8;
    while bytes.len() < skip + len {
        bytes.extend_from_slice(&mix(seed, block).to_le_bytes());
        block += 1;
    }
    bytes.truncate(skip + len);
    bytes.split_off(skip)
}

/// The finaliser of SplitMix64 over a stream that the seed chooses.
fn mix(seed: u64, block: u64) -> u64 {
    let mut z =
        block.wrapping_add(seed.wrapping_mul(0xd1b5_4a32_d192_ed03)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How much is generated at once for a digest.
const STEP: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_agree_with_the_whole() {
        let content = Content::generated(3, 1000);
        let whole = content.slice(0..1000);
        for start in 0..40 {
            assert_eq!(content.slice(start..start + 33), whole[start as usize..start as usize + 33]);
        }
        assert_eq!(content.slice(990..5000).len(), 10);
    }

    #[test]
    fn first_wrong_byte_is_found() {
        let content = Content::generated(3, 1000);
        let mut part = content.slice(100..200).to_vec();
        part[50] ^= 1;
        assert_eq!(content.first_mismatch(100, &part), Some(150));
        assert_eq!(content.first_mismatch(950, &[0; 100]).map(|at| at < 1000), Some(true));
    }
}
