//! Policy: who fetches which bytes of a file.
//!
//! Segments are handed out from the front, so that the received part grows nearly contiguous (good for digests, for
//! streaming and for disks). They shrink towards the end of the file, and when nothing is left to hand out, a free
//! connection takes its share of the segment that would finish last. A tail too short to share is fetched twice, and
//! whoever is first wins; at most [`MAX_RACE`] bytes are fetched twice that way per racer.
//!
//! Where somebody reads the file meanwhile, what lies in the windows of readers comes before all else.

use crate::base::RangeSet;
use core::ops::Range;

/// The bytes that one exchange fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment<S> {
    owner: S,
    /// The next byte that is expected.
    pos: u64,
    /// Where this owner stops.
    end: u64,
    /// Where the response itself ends; beyond `end` it can go on without another request.
    covers: u64,
    /// Whether these bytes also belong to another segment.
    racing: bool,
}

/// How fast an owner is, as far as known.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bytes per second; 0 where nothing arrives.
    pub rate: u64,
}

/// What is received, what is being fetched, and what is free.
#[derive(Clone, Debug)]
pub struct Segments<S> {
    total: u64,
    received: RangeSet,
    active: Vec<Segment<S>>,
    min_segment: u64,
    /// What readers need soon.
    windows: Vec<Range<u64>>,
}

impl<S: Copy + Eq> Segments<S> {
    /// A file of `total` bytes (`u64::MAX` while unknown), of which `received` is there.
    pub fn new(total: u64, received: RangeSet, min_segment: u64) -> Self {
        Self { total, received, active: Vec::new(), min_segment: min_segment.max(1), windows: Vec::new() }
    }

    /// The length of the file in bytes; `u64::MAX` while unknown.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Fixes the length of a file whose length was unknown.
    pub fn set_total(&mut self, total: u64) {
        self.total = total;
    }

    /// What is there.
    pub fn received(&self) -> &RangeSet {
        &self.received
    }

    /// Whether all of it is there.
    pub fn is_complete(&self) -> bool {
        self.received.contains(0..self.total)
    }

    /// How many bytes nobody has or fetches.
    pub fn free(&self) -> u64 {
        let taken: RangeSet =
            self.received.iter().chain(self.active.iter().map(|segment| segment.pos..segment.end)).collect();
        self.total - taken.len().min(self.total)
    }

    /// How many owners there are.
    pub fn owners(&self) -> usize {
        self.active.len()
    }

    /// What lies in these ranges, each from its beginning, comes before all else from now on.
    pub fn prefer(&mut self, windows: Vec<Range<u64>>) {
        self.windows = windows;
    }

    /// Lets go of what readers wait for and would have to wait long for, because whoever is to fetch it is still far from
    /// it; and leaves others a share of what lies ahead of a reader.
    pub fn make_room(&mut self, owners: usize) {
        for window in &self.windows {
            let Some(gap) = self.received.first_gap(window.start, self.total) else { continue };
            let share = window_share(window, owners).max(self.min_segment);
            let needed = gap.start;
            let holds = |segment: &&mut Segment<S>| {
                !segment.racing && segment.pos <= needed && needed < segment.end.min(window.end)
            };
            for segment in self.active.iter_mut().filter(holds) {
                if needed - segment.pos > NEAR {
                    segment.end = needed;
                } else if owners > 1 {
                    segment.end = segment.end.min(segment.pos + share);
                }
            }
        }
    }

    /// The next free bytes of those that readers need soon; those nearest to a reader first.
    pub fn first_needed(&self) -> Option<Range<u64>> {
        let free = |window: &Range<u64>| Some((window.start, self.first_free_in(window.clone())?));
        let needed = self.windows.iter().filter_map(free);
        needed.min_by_key(|(reader, free)| free.start - reader).map(|(_, free)| free)
    }

    /// Whether nothing that `owner` still has to fetch is needed soon.
    pub fn can_wait(&self, owner: S) -> bool {
        let meets =
            |window: &Range<u64>, rest: &Range<u64>| rest.start < window.end && window.start < rest.end;
        self.remaining(owner).is_some_and(|rest| !self.windows.iter().any(|window| meets(window, &rest)))
    }

    /// The next free bytes, those that readers need soon or else from the front, without taking them: where an
    /// unbounded request would start.
    pub fn first_free(&self) -> Option<Range<u64>> {
        self.first_needed().or_else(|| self.first_free_in(0..self.total))
    }

    /// The first free bytes that begin in `range`; they may go on behind it.
    fn first_free_in(&self, range: Range<u64>) -> Option<Range<u64>> {
        let mut from = range.start;
        while let Some(gap) = self.received.first_gap(from, self.total) {
            let mut start = gap.start;
            while let Some(segment) = self.active.iter().find(|s| s.pos <= start && start < s.end) {
                start = segment.end;
            }
            if start >= range.end {
                return None;
            }
            if start >= gap.end {
                from = gap.end.max(start);
                continue;
            }
            let next = self.active.iter().map(|s| s.pos).filter(|&pos| pos > start).min().unwrap_or(gap.end);
            return Some(start..next.min(gap.end));
        }
        None
    }

    /// Gives `owner` exactly `range`, of a response that ends at `covers`.
    pub fn take(&mut self, owner: S, range: Range<u64>, covers: u64) {
        self.active.push(Segment { owner, pos: range.start, end: range.end, covers, racing: false });
    }

    /// Gives `owner` the next free segment for one of `owners` connections that goes at `pace`.
    pub fn assign(&mut self, owner: S, owners: usize, pace: Pace) -> Option<Range<u64>> {
        let free = self.first_free()?;
        let size = self.segment_size(free.start, owners, pace).min(free.end - free.start);
        // A rest too small to be worth a request of its own goes along.
        let rest = free.end - free.start - size;
        let end = if rest < self.min_segment / 2 { free.end } else { free.start + size };
        self.take(owner, free.start..end, end);
        Some(free.start..end)
    }

    /// How long a segment is that begins at `start`: two seconds' worth, at most a share of the free bytes that leaves
    /// each owner another, and where a reader needs it soon a share of its window.
    fn segment_size(&self, start: u64, owners: usize, pace: Pace) -> u64 {
        let needed = self.windows.iter().find(|window| window.contains(&start));
        let needed = needed.map_or(u64::MAX, |window| window_share(window, owners));
        let share = (self.free() / (2 * owners.max(1) as u64)).min(needed);
        share.min((pace.rate.saturating_mul(2)).max(MAX_UNPACED)).max(self.min_segment)
    }

    /// How many segments could be cut from the response of `owner` by [`share`](Self::share).
    pub fn sharable(&self, owner: S) -> u64 {
        self.remaining(owner).map_or(0, |rest| (rest.end - rest.start) / self.min_segment).saturating_sub(1)
    }

    /// Cuts the segment of a response that covers the whole rest, so that others find work.
    pub fn share(&mut self, owner: S, owners: usize, pace: Pace) {
        let Some(index) = self.index_of(owner) else { return };
        let remaining = self.active[index].end - self.active[index].pos;
        let size = (remaining / (2 * owners.max(1) as u64)).min(pace.rate.saturating_mul(2).max(MAX_UNPACED));
        if remaining >= 2 * self.min_segment {
            self.active[index].end = self.active[index].pos + size.max(self.min_segment);
        }
    }

    /// Lets `owner` go on past its end, if its response does and the bytes are free. Returns whether it does.
    pub fn extend(&mut self, owner: S, owners: usize, pace: Pace) -> bool {
        let Some(index) = self.index_of(owner) else { return false };
        let Segment { end, covers, .. } = self.active[index];
        let Some(free) = self.first_free_from(end).filter(|free| free.start == end && covers > end) else {
            return false;
        };
        if self.first_needed().is_some_and(|needed| !needed.contains(&end)) {
            return false;
        }
        let size = if owners <= 1 { u64::MAX } else { self.segment_size(end, owners, pace) };
        self.active[index].end = free.end.min(covers).min(end.saturating_add(size));
        true
    }

    fn first_free_from(&self, from: u64) -> Option<Range<u64>> {
        let end = self.received.first_gap(from, self.total).filter(|gap| gap.start == from)?.end;
        if self.active.iter().any(|s| s.pos <= from && from < s.end) {
            return None;
        }
        let next = self.active.iter().map(|s| s.pos).filter(|&pos| pos > from).min().unwrap_or(end);
        Some(from..next.min(end))
    }

    /// Takes a share of the segment that would finish last for `owner`, who goes at `pace`; `pace_of` tells how fast
    /// the others go. `None` where nobody would gain at least `worth_it` seconds.
    pub fn steal(
        &mut self,
        owner: S,
        pace: Pace,
        worth_it: f64,
        pace_of: impl Fn(S) -> Pace,
    ) -> Option<Range<u64>> {
        let (index, range) = self.find_steal(pace, worth_it, pace_of)?;
        let victim = &mut self.active[index];
        let racing = range.start == victim.pos;
        if racing {
            victim.racing = true;
        } else {
            victim.end = range.start;
        }
        self.active.push(Segment { owner, pos: range.start, end: range.end, covers: range.end, racing });
        Some(range)
    }

    /// Whether [`steal`](Self::steal) would give something.
    pub fn can_steal(&self, pace: Pace, worth_it: f64, pace_of: impl Fn(S) -> Pace) -> bool {
        self.find_steal(pace, worth_it, pace_of).is_some()
    }

    fn find_steal(
        &self,
        pace: Pace,
        worth_it: f64,
        pace_of: impl Fn(S) -> Pace,
    ) -> Option<(usize, Range<u64>)> {
        let left = |segment: &Segment<S>| segment.end - segment.pos;
        let seconds = |segment: &Segment<S>| left(segment) as f64 / pace_of(segment.owner).rate.max(1) as f64;
        let candidates = self.active.iter().enumerate().filter(|(_, s)| !s.racing && left(s) > 0);
        let (index, last) = candidates.max_by(|(_, a), (_, b)| seconds(a).total_cmp(&seconds(b)))?;
        let (remaining, theirs) = (left(last), pace_of(last.owner).rate as f64);
        let ours = if pace.rate == 0 { theirs.max(1.0) } else { pace.rate as f64 };
        if seconds(last) - remaining as f64 / (theirs + ours) < worth_it {
            return None;
        }
        let least = MIN_SHARE.min(remaining);
        let kept =
            ((remaining as f64 * (theirs / (theirs + ours))) as u64).clamp(least, (remaining / 2).max(least));
        if remaining - kept >= MIN_SHARE {
            return Some((index, last.pos + kept..last.end));
        }
        // Too short to share: both fetch it, and whoever is first wins.
        (remaining <= MAX_RACE && ours > theirs).then_some((index, last.pos..last.end))
    }

    /// Counts `len` bytes that arrived for `owner` and returns which of them are new and wanted.
    pub fn accept(&mut self, owner: S, len: u64) -> Vec<Range<u64>> {
        let Some(index) = self.index_of(owner) else { return Vec::new() };
        let segment = &mut self.active[index];
        let (start, end) = (segment.pos, segment.end.min(segment.pos.saturating_add(len)));
        segment.pos = end;
        let mut fresh = Vec::with_capacity(1);
        let mut from = start;
        while let Some(gap) = self.received.first_gap(from, end) {
            from = gap.end;
            fresh.push(gap);
        }
        self.received.insert(start..end);
        fresh
    }

    /// Whether nothing of `owner`'s segment is missing any more.
    pub fn is_done(&self, owner: S) -> bool {
        self.index_of(owner).is_none_or(|index| {
            let segment = &self.active[index];
            self.received.contains(segment.pos..segment.end)
        })
    }

    /// What `owner` still has to fetch.
    pub fn remaining(&self, owner: S) -> Option<Range<u64>> {
        self.index_of(owner).map(|index| self.active[index].pos..self.active[index].end)
    }

    /// Sets where the response of `owner` ends, which may be before or behind its segment.
    pub fn set_covers(&mut self, owner: S, covers: u64) {
        if let Some(index) = self.index_of(owner) {
            let segment = &mut self.active[index];
            segment.covers = covers;
            segment.end = segment.end.min(covers).max(segment.pos);
        }
    }

    /// Takes the segment from `owner`; what it did not fetch is free again.
    pub fn release(&mut self, owner: S) {
        self.active.retain(|segment| segment.owner != owner);
        // A race with one runner left is none.
        for index in 0..self.active.len() {
            let Segment { pos, end, racing, .. } = self.active[index];
            let rival = |(i, s): (usize, &Segment<S>)| i != index && s.pos < end && s.end > pos;
            self.active[index].racing = racing && self.active.iter().enumerate().any(rival);
        }
    }

    fn index_of(&self, owner: S) -> Option<usize> {
        self.active.iter().position(|segment| segment.owner == owner)
    }
}

/// A segment of a connection whose speed is not known yet, or is low, is at most this long.
const MAX_UNPACED: u64 = 16 << 20;

/// The share of a reader's window that each of `owners` connections takes at once.
fn window_share(window: &Range<u64>, owners: usize) -> u64 {
    (window.end - window.start) / owners.max(1) as u64
}

/// Whoever is that close to what a reader waits for is there sooner than somebody else would be.
const NEAR: u64 = 256 << 10;

/// Shares below this cost more in requests than they save.
pub const MIN_SHARE: u64 = 64 << 10;

/// How much of a slow owner's tail is fetched a second time, at most.
pub const MAX_RACE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SLOW: Pace = Pace { rate: 1000 };

    fn segments(total: u64) -> Segments<u32> {
        Segments::new(total, RangeSet::new(), MIB)
    }

    #[test]
    fn segments_come_from_the_front_and_shrink_towards_the_end() {
        let mut map = segments(64 * MIB);
        let lengths: Vec<u64> = std::iter::from_fn(|| {
            let owner = map.owners() as u32;
            map.assign(owner, 4, SLOW).map(|range| range.end - range.start)
        })
        .collect();
        assert_eq!(lengths.iter().sum::<u64>(), 64 * MIB);
        assert_eq!(lengths[0], 8 * MIB);
        assert!(lengths.windows(2).all(|pair| pair[0] >= pair[1] || pair[1] < 2 * MIB), "{lengths:?}");
    }

    #[test]
    fn free_connection_takes_half_of_what_would_finish_last() {
        let mut map = segments(8 * MIB);
        map.take(0, 0..6 * MIB, 6 * MIB);
        map.take(1, 6 * MIB..8 * MIB, 8 * MIB);
        assert_eq!(map.steal(2, SLOW, 0.1, |_| SLOW), Some(3 * MIB..6 * MIB));
        assert_eq!(map.remaining(0), Some(0..3 * MIB));
    }

    #[test]
    fn stalled_owner_keeps_only_a_tail_that_is_then_raced() {
        let mut map = segments(4 * MIB);
        map.take(0, 0..4 * MIB, 4 * MIB);
        let stalled = |_| Pace { rate: 0 };
        assert_eq!(map.steal(1, Pace { rate: MIB }, 0.1, stalled), Some(MIN_SHARE..4 * MIB));
        map.accept(1, 4 * MIB);
        map.release(1);
        assert_eq!(map.steal(2, Pace { rate: MIB }, 0.1, stalled), Some(0..MIN_SHARE));
        assert_eq!(map.steal(3, Pace { rate: MIB }, 0.1, stalled), None, "a race has two runners");
        assert_eq!(map.accept(2, MIN_SHARE), [0..MIN_SHARE]);
        assert_eq!(map.accept(0, 100), []);
        assert!(map.is_complete() && map.is_done(0));
    }

    #[test]
    fn nothing_is_stolen_where_nothing_is_gained() {
        let mut map = segments(MIB);
        map.take(0, 0..MIB, MIB);
        let fast = Pace { rate: 1 << 30 };
        assert_eq!(map.steal(1, fast, 0.01, |_| fast), None);
    }

    #[test]
    fn open_ended_response_goes_on_while_the_bytes_behind_it_are_free() {
        let mut map = segments(32 * MIB);
        map.take(0, 0..32 * MIB, 32 * MIB);
        map.share(0, 2, SLOW);
        assert_eq!(map.remaining(0), Some(0..8 * MIB));
        map.accept(0, 8 * MIB);
        assert!(map.extend(0, 2, SLOW));
        assert_eq!(map.remaining(0), Some(8 * MIB..14 * MIB));
        assert_eq!(map.assign(1, 2, SLOW), Some(14 * MIB..18 * MIB + MIB / 2));
        map.accept(0, 6 * MIB);
        assert!(!map.extend(0, 2, SLOW), "the bytes behind are taken");
    }

    #[test]
    fn what_a_reader_needs_comes_first_in_shares_for_all() {
        let mut map = segments(64 * MIB);
        map.take(0, 0..64 * MIB, 64 * MIB);
        map.prefer(vec![40 * MIB..44 * MIB]);
        assert_eq!(map.first_needed(), None, "somebody else has it");
        map.make_room(4);
        assert_eq!(map.remaining(0), Some(0..40 * MIB));
        assert!(map.can_wait(0));
        let taken: Vec<_> = (1..6).filter_map(|owner| map.assign(owner, 4, SLOW)).collect();
        assert_eq!(taken[..4], [40, 41, 42, 43].map(|at| at * MIB..(at + 1) * MIB));
        assert_eq!(taken[4].start, 44 * MIB, "nothing more is needed soon");
        assert!(!map.can_wait(1) && map.can_wait(5));
    }

    #[test]
    fn whoever_is_close_to_what_a_reader_needs_goes_on_and_leaves_others_a_share() {
        let mut map = segments(64 * MIB);
        map.take(0, 0..16 * MIB, 16 * MIB);
        map.prefer(vec![NEAR..4 * MIB + NEAR]);
        map.make_room(4);
        assert_eq!(map.remaining(0), Some(0..MIB));
        assert_eq!(map.assign(1, 4, SLOW), Some(MIB..2 * MIB));
        map.make_room(1);
        assert_eq!(map.remaining(0), Some(0..MIB), "it is cut no further");
    }

    #[test]
    fn nobody_goes_on_elsewhere_while_a_reader_needs_something() {
        let mut map = segments(64 * MIB);
        map.take(0, 0..2 * MIB, 64 * MIB);
        map.accept(0, 2 * MIB);
        map.prefer(vec![40 * MIB..44 * MIB]);
        assert!(!map.extend(0, 2, SLOW));
        map.prefer(vec![MIB..5 * MIB]);
        assert!(map.extend(0, 2, SLOW));
        assert_eq!(map.remaining(0), Some(2 * MIB..4 * MIB));
    }

    #[test]
    fn readers_take_turns_by_who_has_least_ahead() {
        let mut map = segments(64 * MIB);
        map.prefer(vec![8 * MIB..12 * MIB, 40 * MIB..44 * MIB]);
        assert_eq!(map.assign(0, 2, SLOW), Some(8 * MIB..10 * MIB));
        assert_eq!(map.assign(1, 2, SLOW), Some(40 * MIB..42 * MIB));
    }

    #[test]
    fn released_segment_is_free_again() {
        let mut map = segments(4 * MIB);
        let range = map.assign(0, 1, SLOW).unwrap();
        map.accept(0, MIB / 2);
        map.release(0);
        assert_eq!(map.first_free(), Some(MIB / 2..4 * MIB));
        assert!(range.end > MIB / 2);
    }

    #[test]
    fn bytes_past_the_segment_are_not_accepted() {
        let mut map = segments(4 * MIB);
        map.take(0, 0..MIB, MIB);
        assert_eq!(map.accept(0, 2 * MIB), [0..MIB]);
        assert_eq!(map.accept(0, 1), []);
    }
}
