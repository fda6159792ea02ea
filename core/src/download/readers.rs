//! Policy: what those who read while it loads need first.
//!
//! Each reader has a position and a window ahead of it that follows how fast it reads. The bytes of all windows, nearest
//! first, are what the picker of a torrent takes before anything else; a download over HTTP begins its segments with them.

use crate::base::{Instant, Key, PieceGrid, PieceIndex, RateMeter, Slab};
use core::ops::Range;
use core::time::Duration;

/// Names a reader.
pub type ReaderKey = Key<Reader>;

/// All readers of one download.
///
/// ```
/// use gosh_dl_core::base::{Instant, PieceGrid};
/// use gosh_dl_core::download::readers::Readers;
///
/// let grid = PieceGrid::new(4 << 20, 100 << 20).unwrap();
/// let mut readers = Readers::new();
/// readers.open(Instant::ZERO, 40 << 20..100 << 20).unwrap();
/// let urgent = readers.urgent(Instant::ZERO, &grid, |_| true);
/// assert_eq!(urgent.iter().map(|piece| piece.get()).collect::<Vec<_>>(), [10, 11]);
/// ```
#[derive(Debug)]
pub struct Readers {
    readers: Slab<Reader>,
}

/// One reader: bytes of the whole that it may read, where it is, and how fast.
#[derive(Debug)]
pub struct Reader {
    range: Range<u64>,
    at: u64,
    rate: RateMeter,
}

impl Readers {
    /// Nobody reads.
    pub fn new() -> Self {
        Self { readers: Slab::new() }
    }

    /// Somebody begins to read `range` of the whole, in bytes, at its start. `None` where there are
    /// [`MAX_READERS`] already.
    pub fn open(&mut self, now: Instant, range: Range<u64>) -> Option<ReaderKey> {
        if self.readers.len() >= MAX_READERS {
            return None;
        }
        let at = range.start;
        Some(self.readers.insert(Reader { range, at, rate: RateMeter::new(now) }))
    }

    /// The reader goes to a byte of the whole; its window begins anew.
    pub fn seek(&mut self, now: Instant, reader: ReaderKey, at: u64) {
        if let Some(reader) = self.readers.get_mut(reader) {
            reader.at = at.clamp(reader.range.start, reader.range.end.max(reader.range.start));
            reader.rate = RateMeter::new(now);
        }
    }

    /// The reader took `bytes` at its position.
    pub fn consumed(&mut self, now: Instant, reader: ReaderKey, bytes: u64) {
        if let Some(reader) = self.readers.get_mut(reader) {
            reader.at = reader.at.saturating_add(bytes).min(reader.range.end);
            reader.rate.add(now, bytes);
        }
    }

    /// The reader is gone; says whether it was there.
    pub fn close(&mut self, reader: ReaderKey) -> bool {
        self.readers.remove(reader).is_some()
    }

    /// Whether anybody reads.
    pub fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    /// Where a reader is and where what it reads ends, as bytes of the whole.
    pub fn rest(&self, reader: ReaderKey) -> Option<Range<u64>> {
        self.readers.get(reader).map(|reader| reader.at..reader.range.end)
    }

    /// Where a reader is, as a byte of the whole.
    pub fn position(&self, reader: ReaderKey) -> Option<u64> {
        self.readers.get(reader).map(|reader| reader.at)
    }

    /// The window of each reader, in bytes of the whole: at least `least` long, unless what it reads ends before.
    pub fn windows(&self, now: Instant, least: u64) -> Vec<Range<u64>> {
        self.readers.iter().map(|(_, reader)| reader.window(now, least)).collect()
    }

    /// What is read of the whole turned out to end there.
    pub fn set_end(&mut self, end: u64) {
        for (_, reader) in self.readers.iter_mut() {
            reader.range.end = reader.range.end.min(end).max(reader.range.start);
            reader.at = reader.at.min(reader.range.end);
        }
    }

    /// The pieces that are needed soon, the most urgent first: the readers take turns, each with its next piece that is
    /// `missing`. At most [`MAX_URGENT`].
    pub fn urgent(
        &self,
        now: Instant,
        grid: &PieceGrid,
        missing: impl Fn(PieceIndex) -> bool,
    ) -> Vec<PieceIndex> {
        let windows = self.windows(now, u64::from(grid.piece_len()) * MIN_PIECES);
        let mut windows: Vec<_> = windows
            .into_iter()
            .map(|window| grid.pieces_in(window).filter(|piece| missing(*piece)))
            .collect();
        let mut urgent = Vec::new();
        let mut left = true;
        while left && urgent.len() < MAX_URGENT {
            left = false;
            for piece in windows.iter_mut().filter_map(Iterator::next) {
                left = true;
                if urgent.len() < MAX_URGENT && !urgent.contains(&piece) {
                    urgent.push(piece);
                }
            }
        }
        urgent
    }
}

impl Default for Readers {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    fn window(&self, now: Instant, least: u64) -> Range<u64> {
        let ahead = self.rate.rate(now).saturating_mul(AHEAD.as_secs());
        let len = ahead.clamp(MIN_WINDOW, MAX_WINDOW).max(least);
        self.at..self.at.saturating_add(len).min(self.range.end)
    }
}

/// More readers than anybody has screens; each costs a look at its window.
pub const MAX_READERS: usize = 64;
/// Pieces that are urgent at once: those of eight windows of 64 MiB in pieces of a megabyte. What comes later is not
/// urgent yet.
pub const MAX_URGENT: usize = 512;
/// How far ahead of a reader pieces are fetched first, as time at its rate: a hole in the network is shorter.
const AHEAD: Duration = Duration::from_secs(30);
/// A window at the start, and of whoever reads slowly: a player wants a few megabytes before it begins.
const MIN_WINDOW: u64 = 4 << 20;
/// Whoever reads faster than this fills in 30 s copies the file: order is of no use to it.
const MAX_WINDOW: u64 = 64 << 20;
/// However long pieces are, the next one is fetched while one is read.
const MIN_PIECES: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn grid() -> PieceGrid {
        PieceGrid::new(1 << 20, 1000 * MIB).unwrap()
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn urgent(readers: &Readers, now: Instant) -> Vec<u32> {
        readers.urgent(now, &grid(), |_| true).iter().map(|piece| piece.get()).collect()
    }

    #[test]
    fn window_follows_how_fast_it_is_read() {
        let mut readers = Readers::new();
        let reader = readers.open(at(0), 0..1000 * MIB).unwrap();
        assert_eq!(readers.windows(at(0), 0), [0..4 * MIB]);
        assert_eq!(readers.windows(at(0), 9 * MIB), [0..9 * MIB]);
        for second in 0..20 {
            readers.consumed(at(second), reader, MIB);
        }
        let window = readers.windows(at(20), 0).remove(0);
        assert_eq!(window.start, 20 * MIB);
        assert!((12 * MIB..35 * MIB).contains(&(window.end - window.start)), "{window:?}");
        readers.consumed(at(20), reader, 900 * MIB);
        assert_eq!(readers.windows(at(21), 0), [920 * MIB..984 * MIB]);
    }

    #[test]
    fn seek_makes_other_pieces_urgent_at_once() {
        let mut readers = Readers::new();
        let reader = readers.open(at(0), 0..1000 * MIB).unwrap();
        readers.seek(at(0), reader, 500 * MIB + 1);
        assert_eq!(urgent(&readers, at(0)), [500, 501, 502, 503, 504]);
        readers.seek(at(0), reader, u64::MAX);
        assert_eq!(urgent(&readers, at(0)), [0u32; 0]);
    }

    #[test]
    fn readers_take_turns_and_name_each_piece_once() {
        let mut readers = Readers::new();
        let one = readers.open(at(0), 0..1000 * MIB).unwrap();
        let other = readers.open(at(0), 100 * MIB..102 * MIB).unwrap();
        readers.open(at(0), 2 * MIB..1000 * MIB).unwrap();
        assert_eq!(urgent(&readers, at(0)), [0, 100, 2, 1, 101, 3, 4, 5]);
        assert!(readers.close(one) && readers.close(other) && !readers.close(one));
        assert_eq!(urgent(&readers, at(0)), [2, 3, 4, 5]);
    }

    #[test]
    fn pieces_that_are_there_are_not_urgent() {
        let mut readers = Readers::new();
        readers.open(at(0), MIB / 2..10 * MIB).unwrap();
        let have = [0, 1, 3];
        let urgent = readers.urgent(at(0), &grid(), |piece| !have.contains(&piece.get()));
        assert_eq!(urgent, [2, 4].map(|piece| grid().piece(piece).unwrap()));
    }

    #[test]
    fn end_that_becomes_known_cuts_windows_and_positions() {
        let mut readers = Readers::new();
        let near = readers.open(at(0), 0..u64::MAX).unwrap();
        let far = readers.open(at(0), 0..u64::MAX).unwrap();
        readers.seek(at(0), far, 5 * MIB);
        readers.set_end(MIB);
        assert_eq!((readers.rest(near), readers.rest(far)), (Some(0..MIB), Some(MIB..MIB)));
        assert_eq!(readers.windows(at(0), 0), [0..MIB, MIB..MIB]);
    }

    #[test]
    fn readers_and_urgent_pieces_are_bounded() {
        let mut readers = Readers::new();
        for reader in 0..MAX_READERS as u64 {
            let key = readers.open(at(0), reader * 15 * MIB..1000 * MIB).unwrap();
            readers.consumed(at(0), key, 1);
            readers.consumed(at(1), key, 4 * MIB);
        }
        assert_eq!(readers.open(at(0), 0..1), None);
        let many = urgent(&readers, at(1));
        assert!(many.len() <= MAX_URGENT && many.len() > 200, "{}", many.len());
    }
}
