//! The bytes of a block: slices of the reads that they came in.

use bytes::{Bytes, BytesMut};

/// Some bytes, in as many parts as reads brought them. A block that lies within one read is one part, which costs
/// neither an allocation nor a copy.
///
/// ```
/// use bytes::Bytes;
/// use gosh_dl_core::base::BlockData;
///
/// let mut data = BlockData::from(Bytes::from_static(b"one, "));
/// data.push(Bytes::from_static(b"two"));
/// assert_eq!(data.len(), 8);
/// assert_eq!(data.parts().map(|part| part.len()).collect::<Vec<_>>(), [5, 3]);
/// assert_eq!(data.into_bytes(), &b"one, two"[..]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct BlockData {
    /// Empty only where there are no bytes at all.
    first: Bytes,
    /// None of them empty.
    rest: Vec<Bytes>,
}

impl BlockData {
    /// No bytes.
    pub const fn new() -> Self {
        Self { first: Bytes::new(), rest: Vec::new() }
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, part: Bytes) {
        if self.first.is_empty() {
            self.first = part;
        } else if !part.is_empty() {
            self.rest.push(part);
        }
    }

    /// How many bytes there are in all parts.
    pub fn len(&self) -> usize {
        self.rest.iter().fold(self.first.len(), |sum, part| sum + part.len())
    }

    /// Whether there are no bytes.
    pub const fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The parts in order, none of them empty.
    pub fn parts(&self) -> impl Iterator<Item = &Bytes> {
        Some(&self.first).filter(|first| !first.is_empty()).into_iter().chain(&self.rest)
    }

    /// The bytes in one part: copied only where they lie in several.
    pub fn into_bytes(self) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.len());
        self.parts().for_each(|part| whole.extend_from_slice(part));
        whole.freeze()
    }
}

impl From<Bytes> for BlockData {
    fn from(first: Bytes) -> Self {
        Self { first, rest: Vec::new() }
    }
}

impl FromIterator<Bytes> for BlockData {
    fn from_iter<I: IntoIterator<Item = Bytes>>(parts: I) -> Self {
        let mut data = Self::new();
        parts.into_iter().for_each(|part| data.push(part));
        data
    }
}

impl IntoIterator for BlockData {
    type Item = Bytes;
    type IntoIter = core::iter::Chain<core::option::IntoIter<Bytes>, std::vec::IntoIter<Bytes>>;

    /// The parts in order, none of them empty.
    fn into_iter(self) -> Self::IntoIter {
        Some(self.first).filter(|first| !first.is_empty()).into_iter().chain(self.rest)
    }
}

/// Equal bytes are equal, wherever they were cut.
impl PartialEq for BlockData {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |data: &Self| data.parts().flat_map(|part| part.to_vec()).collect::<Vec<u8>>();
        self.len() == other.len() && (self.is_empty() || bytes(self) == bytes(other))
    }
}

impl Eq for BlockData {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_block_in_one_read_is_that_read() {
        let read = Bytes::from(vec![7; 100]);
        let data = BlockData::from(read.slice(10..20));
        assert_eq!(data.into_bytes().as_ptr(), read[10..].as_ptr());
    }

    proptest! {
        #[test]
        fn where_it_was_cut_makes_no_difference(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..6)) {
            let whole = parts.concat();
            let data: BlockData = parts.into_iter().map(Bytes::from).collect();
            prop_assert_eq!(data.len(), whole.len());
            prop_assert_eq!(data.is_empty(), whole.is_empty());
            prop_assert!(data.parts().all(|part| !part.is_empty()));
            prop_assert_eq!(&data, &BlockData::from(Bytes::from(whole.clone())));
            let parts: Vec<Bytes> = data.clone().into_iter().collect();
            prop_assert_eq!(parts.concat(), whole.clone());
            prop_assert_eq!(data.into_bytes(), whole);
        }
    }
}
