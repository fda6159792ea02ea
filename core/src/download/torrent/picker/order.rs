//! Policy: pieces in the order of their rarity, which changes all the time.
//!
//! One array of pieces is cut into buckets, one for each class of priority and rank of rarity. A bucket has its pieces
//! at its front and places that are empty at its end, so that whatever happens to one piece moves no more than two
//! others: a peer's *have* takes the piece over the border to the next bucket, a piece that is begun leaves a hole. So
//! the cost does not grow with pieces or peers.

use crate::base::Rng;

/// Pieces that nobody was asked for, rarest first within each class.
#[derive(Debug)]
pub(super) struct Order {
    pieces: Box<[u32]>,
    /// Where each piece lies: in `pieces`, nowhere, or what its owner keeps there.
    places: Box<[u32]>,
    /// Where each bucket begins; one more than there are buckets.
    starts: Box<[u32]>,
    /// How many pieces each bucket has.
    live: Box<[u32]>,
    /// No bucket of the class before this one has a piece.
    lowest: [usize; CLASSES],
}

impl Order {
    /// Room for that many pieces, none of which is in it.
    pub(super) fn new(pieces: u32) -> Self {
        let mut starts: Box<[u32]> = vec![pieces; BUCKETS + 1].into();
        starts[0] = 0;
        Self {
            pieces: vec![0; pieces as usize].into(),
            places: vec![NOWHERE; pieces as usize].into(),
            starts,
            live: vec![0; BUCKETS].into(),
            lowest: core::array::from_fn(|class| (class + 1) * RANKS),
        }
    }

    /// Files pieces into the buckets that `bucket` says, all anew: those that are in it already in their order, then
    /// the `fresh` ones in theirs.
    pub(super) fn rebuild(&mut self, fresh: &[u32], bucket: impl Fn(u32) -> usize) {
        let held: Vec<u32> =
            (0..BUCKETS).flat_map(|b| self.bucket(b)).copied().chain(fresh.iter().copied()).collect();
        self.live.fill(0);
        for piece in &held {
            self.live[bucket(*piece)] += 1;
        }
        let mut at = 0;
        for b in 0..BUCKETS {
            self.starts[b] = at;
            at += core::mem::take(&mut self.live[b]);
        }
        self.lowest = core::array::from_fn(|class| (class + 1) * RANKS);
        for piece in held {
            let b = bucket(piece);
            let place = self.starts[b] + self.live[b];
            self.live[b] += 1;
            self.put(piece, place);
            self.lower(b);
        }
    }

    /// The pieces of a bucket.
    pub(super) fn bucket(&self, bucket: usize) -> &[u32] {
        let start = self.starts[bucket] as usize;
        &self.pieces[start..start + self.live[bucket] as usize]
    }

    /// The buckets of a class, from the first that may have pieces.
    pub(super) fn buckets(&mut self, class: usize) -> core::ops::Range<usize> {
        let end = (class + 1) * RANKS;
        let lowest = &mut self.lowest[class];
        while *lowest < end && self.live[*lowest] == 0 {
            *lowest += 1;
        }
        *lowest..end
    }

    /// Whether a class has no piece.
    pub(super) fn is_empty(&mut self, class: usize) -> bool {
        self.buckets(class).is_empty()
    }

    /// What is kept at a piece that is not in the order.
    pub(super) fn note(&self, piece: u32) -> Option<u32> {
        let place = self.places[piece as usize];
        (place != NOWHERE && place & NOTE != 0).then_some(place & !NOTE)
    }

    /// Keeps a number below 2^31 - 1 at a piece that is not in the order, or nothing.
    pub(super) fn set_note(&mut self, piece: u32, note: Option<u32>) {
        debug_assert!(!self.has(piece));
        self.places[piece as usize] = note.map_or(NOWHERE, |note| note | NOTE);
    }

    /// Whether a piece is in the order.
    pub(super) fn has(&self, piece: u32) -> bool {
        self.places[piece as usize] & NOTE == 0
    }

    /// Puts a piece, which is not in the order, at a random place of a bucket.
    pub(super) fn insert(&mut self, piece: u32, bucket: usize, rng: &mut Rng) {
        debug_assert!(!self.has(piece));
        self.make_hole(bucket);
        let place = self.starts[bucket] + self.live[bucket];
        self.live[bucket] += 1;
        self.put(piece, place);
        self.lower(bucket);
        self.mix(place, bucket, rng);
    }

    /// Takes a piece out.
    pub(super) fn remove(&mut self, piece: u32) {
        debug_assert!(self.has(piece));
        let place = self.places[piece as usize];
        let bucket = self.bucket_at(place);
        let last = self.starts[bucket] + self.live[bucket] - 1;
        self.swap(place, last);
        self.live[bucket] -= 1;
        self.places[piece as usize] = NOWHERE;
    }

    /// There is one more copy of a piece.
    pub(super) fn more_common(&mut self, piece: u32, rng: &mut Rng) {
        let place = self.places[piece as usize];
        let bucket = self.bucket_at(place);
        let next = bucket + 1;
        if next.is_multiple_of(RANKS) {
            return;
        }
        // Its place becomes the last empty one of its bucket, and that the first of the next.
        let last = self.starts[bucket] + self.live[bucket] - 1;
        self.swap(place, last);
        self.live[bucket] -= 1;
        self.starts[next] -= 1;
        self.live[next] += 1;
        let place = self.starts[next];
        self.put(piece, place);
        self.mix(place, next, rng);
    }

    /// There is one copy of a piece less.
    pub(super) fn more_rare(&mut self, piece: u32, rng: &mut Rng) {
        let place = self.places[piece as usize];
        let bucket = self.bucket_at(place);
        if bucket.is_multiple_of(RANKS) {
            return;
        }
        let before = bucket - 1;
        let first = self.starts[bucket];
        self.swap(place, first);
        self.starts[bucket] += 1;
        self.live[bucket] -= 1;
        let place = self.starts[before] + self.live[before];
        self.live[before] += 1;
        self.put(piece, place);
        self.lower(before);
        self.mix(place, before, rng);
    }

    /// The bucket that has a place.
    fn bucket_at(&self, place: u32) -> usize {
        self.starts[..BUCKETS].partition_point(|start| *start <= place) - 1
    }

    fn put(&mut self, piece: u32, place: u32) {
        self.pieces[place as usize] = piece;
        self.places[piece as usize] = place;
    }

    fn swap(&mut self, a: u32, b: u32) {
        let (first, second) = (self.pieces[a as usize], self.pieces[b as usize]);
        self.put(first, b);
        self.put(second, a);
    }

    /// Others know the same about rarity: whoever came last must not be everybody's first.
    fn mix(&mut self, place: u32, bucket: usize, rng: &mut Rng) {
        let other = u32::try_from(rng.below(u64::from(self.live[bucket]))).unwrap_or(0);
        self.swap(place, self.starts[bucket] + other);
    }

    fn lower(&mut self, bucket: usize) {
        let lowest = &mut self.lowest[bucket / RANKS];
        *lowest = bucket.min(*lowest);
    }

    fn has_hole(&self, bucket: usize) -> bool {
        self.starts[bucket + 1] - self.starts[bucket] > self.live[bucket]
    }

    /// Gets an empty place for a bucket from the nearest one that has any; each bucket between moves one piece.
    fn make_hole(&mut self, bucket: usize) {
        if let Some(from) = (bucket..BUCKETS).find(|b| self.has_hole(*b)) {
            for b in (bucket + 1..=from).rev() {
                let (first, hole) = (self.starts[b], self.starts[b] + self.live[b]);
                if self.live[b] > 0 {
                    self.put(self.pieces[first as usize], hole);
                }
                self.starts[b] += 1;
            }
        } else if let Some(from) = (0..bucket).rev().find(|b| self.has_hole(*b)) {
            for b in from + 1..=bucket {
                self.starts[b] -= 1;
                let (first, last) = (self.starts[b], self.starts[b] + self.live[b]);
                if self.live[b] > 0 {
                    self.put(self.pieces[last as usize], first);
                }
            }
        }
    }

    /// Panics where the buckets do not agree with the places.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn check(&self) {
        assert!(self.starts[0] == 0 && self.starts[BUCKETS] as usize == self.pieces.len());
        let mut live = 0;
        for b in 0..BUCKETS {
            assert!(self.starts[b] + self.live[b] <= self.starts[b + 1], "bucket {b} has its room");
            for (at, piece) in (self.starts[b]..).zip(self.bucket(b)) {
                assert_eq!(self.places[*piece as usize], at, "piece {piece}");
            }
            assert!(self.live[b] == 0 || self.lowest[b / RANKS] <= b);
            live += self.live[b];
        }
        let filed = self.places.iter().filter(|place| **place & NOTE == 0).count();
        assert_eq!(filed, live as usize);
    }
}

/// The classes of priority: high, normal, low.
pub(super) const CLASSES: usize = 3;
/// The ranks of rarity that are told apart: with more copies than that beyond those of the rarest piece, no piece is in
/// danger.
pub(super) const RANKS: usize = 128;
const BUCKETS: usize = CLASSES * RANKS;
/// Marks what is no place but a note.
const NOTE: u32 = 1 << 31;
/// Neither a place nor a note.
const NOWHERE: u32 = u32::MAX;
