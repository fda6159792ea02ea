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
}
