//! Policy: gathers what arrives into few large writes.

use crate::base::Instant;
use bytes::Bytes;
use core::time::Duration;

/// Bytes that follow each other in the file and are not yet with the disk.
#[derive(Debug)]
pub(super) struct Run {
    /// Where they go, in bytes.
    pub(super) offset: u64,
    /// How many bytes.
    pub(super) len: u64,
    /// The bytes, part by part.
    pub(super) parts: Vec<Bytes>,
    /// Whether the bytes are of a version that was thrown away meanwhile.
    pub(super) stale: bool,
}

/// Runs under construction, one for each place at which data arrives.
#[derive(Debug, Default)]
pub(super) struct Runs {
    open: Vec<Run>,
    len: u64,
    flush_at: Option<Instant>,
}

impl Runs {
    /// Adds bytes; a run that is long enough comes back, ready to write.
    pub(super) fn add(&mut self, now: Instant, offset: u64, bytes: Bytes) -> Option<Run> {
        let len = bytes.len() as u64;
        self.len += len;
        self.flush_at.get_or_insert(now + MAX_AGE);
        let index = match self.open.iter().position(|run| run.offset + run.len == offset) {
            Some(index) => index,
            None => {
                self.open.push(Run { offset, len: 0, parts: Vec::with_capacity(4), stale: false });
                self.open.len() - 1
            }
        };
        let run = &mut self.open[index];
        run.len += len;
        run.parts.push(bytes);
        if run.len < WRITE_SIZE && run.parts.len() < MAX_PARTS {
            return None;
        }
        self.len -= run.len;
        if self.open.len() == 1 {
            self.flush_at = None;
        }
        Some(self.open.swap_remove(index))
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Vec<Run> {
        self.len = 0;
        self.flush_at = None;
        core::mem::take(&mut self.open)
    }

    /// How many bytes wait here.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// When the oldest bytes have waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.flush_at
    }
}

/// A write of this length costs little more per byte than a longer one, and is still warm in the cache.
const WRITE_SIZE: u64 = 256 << 10;
/// Below the 1024 parts that `pwritev` takes at once.
const MAX_PARTS: usize = 512;
/// Slow data reaches the disk after this time, so that a killed process loses little of it.
const MAX_AGE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn neighbours_are_gathered_until_a_write_is_worth_it() {
        let mut runs = Runs::default();
        let block = Bytes::from(vec![0; 64 << 10]);
        let now = Instant::ZERO;
        for i in 0..3u64 {
            assert!(runs.add(now, i << 16, block.clone()).is_none());
            assert!(runs.add(now, (1 << 30) + (i << 16), block.clone()).is_none());
        }
        assert_eq!(runs.len(), 6 << 16);
        let run = runs.add(now, 3 << 16, block).unwrap();
        assert_eq!((run.offset, run.len, run.parts.len()), (0, 256 << 10, 4));
        assert_eq!(runs.deadline(), Some(now + MAX_AGE));
        assert_eq!(runs.take().len(), 1);
        assert_eq!(runs.deadline(), None);
    }

    fn bytes_of(run: &Run) -> Vec<u8> {
        assert_eq!(run.len, run.parts.iter().map(|part| part.len() as u64).sum::<u64>());
        run.parts.concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Whatever goes in comes out once, where it belongs; a run is no longer than it must be.
        #[test]
        fn nothing_is_lost_or_moved(
            starts in vec(vec(1usize..100_000, 1..12), 1..6),
            order in vec(any::<prop::sample::Index>(), 60),
        ) {
            let (mut runs, mut seen, mut expected) = (Runs::default(), Vec::new(), Vec::new());
            let mut streams: Vec<(u64, Vec<usize>)> = Vec::new();
            for (index, lengths) in starts.into_iter().enumerate() {
                streams.push(((index as u64) << 24, lengths));
            }
            let mut waiting = 0;
            for pick in order {
                streams.retain(|(_, lengths)| !lengths.is_empty());
                if streams.is_empty() {
                    break;
                }
                let index = pick.index(streams.len());
                let (offset, lengths) = &mut streams[index];
                let len = lengths.remove(0);
                let bytes = vec![*offset as u8 ^ len as u8; len];
                expected.push((*offset, bytes.clone()));
                waiting += len as u64;
                if let Some(run) = runs.add(Instant::ZERO, *offset, bytes.into()) {
                    prop_assert!(run.len < WRITE_SIZE + 100_000 && run.parts.len() <= MAX_PARTS);
                    waiting -= run.len;
                    seen.push(run);
                }
                *offset += len as u64;
                prop_assert_eq!(runs.len(), waiting);
                prop_assert_eq!(runs.deadline().is_some(), waiting > 0);
            }
            seen.extend(runs.take());
            prop_assert_eq!((runs.len(), runs.deadline()), (0, None));
            // Put together, the runs of each stream are what went in.
            let mut streams: Vec<Vec<u8>> = vec![Vec::new(); 6];
            seen.sort_by_key(|run| run.offset);
            for run in &seen {
                let stream = &mut streams[(run.offset >> 24) as usize];
                prop_assert_eq!(run.offset & 0xff_ffff, stream.len() as u64);
                stream.extend(bytes_of(run));
            }
            for (offset, bytes) in &expected {
                let at = (offset & 0xff_ffff) as usize;
                prop_assert!(streams[(offset >> 24) as usize][at..at + bytes.len()] == bytes[..]);
            }
            let total: usize = expected.iter().map(|(_, bytes)| bytes.len()).sum();
            prop_assert_eq!(streams.iter().map(Vec::len).sum::<usize>(), total);
        }
    }
}
