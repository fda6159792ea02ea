//! Policy: feeds the digest of the whole file in order: from memory while the bytes are hot, from the file where they
//! came out of order or in an earlier life.

use crate::base::RangeSet;
use crate::base::disk::{DiskOp, FileKey, HashInput, HashKey};
use crate::download::ExpectedChecksum;
use bytes::Bytes;

/// One digest in progress; at most one operation is under way.
#[derive(Debug)]
pub(super) struct Digester {
    expected: ExpectedChecksum,
    hash: HashKey,
    /// All bytes before this one are with the executor.
    fed: u64,
    /// Bytes that follow `fed`, in memory.
    hot: Vec<Bytes>,
    hot_len: u64,
    /// How many bytes of memory the operation under way holds.
    lent: u64,
    busy: bool,
    finished: bool,
}

impl Digester {
    /// A digest that starts at the first byte.
    pub(super) fn new(expected: ExpectedChecksum, hash: HashKey) -> Self {
        Self { expected, hash, fed: 0, hot: Vec::new(), hot_len: 0, lent: 0, busy: false, finished: false }
    }

    /// What the digest must be.
    pub(super) fn expected(&self) -> &ExpectedChecksum {
        &self.expected
    }

    /// The key of the digest.
    pub(super) fn key(&self) -> HashKey {
        self.hash
    }

    /// Whether an operation is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Offers bytes that just arrived; they are kept only if they are next.
    pub(super) fn offer(&mut self, offset: u64, bytes: &Bytes) {
        if offset == self.fed + self.hot_len && !self.finished {
            self.hot_len += bytes.len() as u64;
            self.hot.push(bytes.clone());
        }
    }

    /// How many bytes of memory wait for the digest.
    pub(super) fn backlog(&self) -> u64 {
        self.hot_len + self.lent
    }

    /// The next operation, unless one is under way: hot bytes first, then what `written` has next. With `total`, the
    /// digest is finished once all bytes are fed.
    pub(super) fn next(&mut self, file: FileKey, written: &RangeSet, total: Option<u64>) -> Option<DiskOp> {
        if self.busy || self.finished {
            return None;
        }
        let end = written.end_of(self.fed).unwrap_or(self.fed);
        let input = if self.hot_len > 0 {
            self.fed += self.hot_len;
            self.lent = core::mem::take(&mut self.hot_len);
            HashInput::Memory(core::mem::take(&mut self.hot))
        } else if end > self.fed {
            let len = (end - self.fed).min(MAX_READ);
            let offset = self.fed;
            self.fed += len;
            HashInput::File { file, offset, len }
        } else if total == Some(self.fed) {
            HashInput::Memory(Vec::new())
        } else {
            return None;
        };
        self.busy = true;
        self.finished = total == Some(self.fed);
        Some(DiskOp::Hash {
            hash: self.hash,
            algorithm: self.expected.algorithm,
            input,
            finish: self.finished,
        })
    }

    /// The operation under way ended.
    pub(super) fn done(&mut self) {
        self.busy = false;
        self.lent = 0;
    }
}

/// One operation reads at most this much, so that a download that is stopped meanwhile need not wait long.
const MAX_READ: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn bytes_in_order_come_from_memory_and_others_from_the_file() {
        let expected: ExpectedChecksum = "md5:00000000000000000000000000000000".parse().unwrap();
        let (file, hash) = (FileKey(1), HashKey(2));
        let mut digester = Digester::new(expected.clone(), hash);
        let mut written = RangeSet::new();
        let a = Bytes::from_static(b"aaaa");
        let op = |input, finish| DiskOp::Hash { hash, algorithm: expected.algorithm, input, finish };
        digester.offer(0, &a);
        digester.offer(8, &a);
        assert_eq!(digester.next(file, &written, None), Some(op(HashInput::Memory(vec![a.clone()]), false)));
        assert_eq!(digester.next(file, &written, None), None, "one at a time");
        digester.done();
        assert_eq!(digester.next(file, &written, None), None, "byte 4 is missing");
        written.insert(4..12);
        let read = HashInput::File { file, offset: 4, len: 8 };
        assert_eq!(digester.next(file, &written, None), Some(op(read, false)));
        digester.done();
        assert_eq!(digester.next(file, &written, Some(12)), Some(op(HashInput::Memory(vec![]), true)));
    }

    proptest! {
        /// However the bytes arrive, the digest sees each of them once, in order, and then ends.
        #[test]
        fn digest_is_fed_every_byte_in_order(
            blocks in Just((0..24u64).collect::<Vec<_>>()).prop_shuffle(),
            steps in vec(any::<bool>(), 24),
        ) {
            let expected: ExpectedChecksum = "md5:00000000000000000000000000000000".parse().unwrap();
            let mut digester = Digester::new(expected, HashKey(2));
            let (mut written, mut fed, total) = (RangeSet::new(), 0, 24 * 10);
            let mut feed = |digester: &mut Digester, written: &RangeSet, total: Option<u64>| {
                let Some(DiskOp::Hash { input, finish, .. }) = digester.next(FileKey(1), written, total) else {
                    return None;
                };
                fed += match input {
                    HashInput::Memory(parts) => {
                        let bytes = parts.concat();
                        assert!(bytes.iter().zip(fed..).all(|(byte, at)| *byte == at as u8), "out of order");
                        bytes.len() as u64
                    }
                    HashInput::File { offset, len, .. } => {
                        assert_eq!(offset, fed);
                        assert!(written.contains(offset..offset + len), "read before it was written");
                        len
                    }
                };
                digester.done();
                Some((finish, fed))
            };
            for (block, pump) in blocks.into_iter().zip(steps) {
                let bytes: Vec<u8> = (block * 10..block * 10 + 10).map(|at| at as u8).collect();
                digester.offer(block * 10, &bytes.into());
                if pump {
                    feed(&mut digester, &written, None);
                }
                written.insert(block * 10..block * 10 + 10);
            }
            let ends: Vec<_> = std::iter::from_fn(|| feed(&mut digester, &written, Some(total))).collect();
            prop_assert_eq!(ends.last(), Some(&(true, total)));
            prop_assert_eq!(ends.iter().filter(|(finish, _)| *finish).count(), 1);
            prop_assert_eq!(digester.backlog(), 0);
        }
    }
}
