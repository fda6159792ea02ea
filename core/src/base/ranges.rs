//! A set of byte offsets, kept as disjoint, non-touching half-open ranges.

use core::ops::Range;
use std::collections::BTreeMap;

/// A set of `u64` offsets with cheap range operations; O(log n) in the number of ranges.
///
/// ```
/// use gosh_dl_core::base::RangeSet;
/// let mut set = RangeSet::new();
/// set.insert(0..10);
/// set.insert(10..20);
/// set.remove(5..7);
/// assert_eq!(set.iter().collect::<Vec<_>>(), [0..5, 7..20]);
/// assert_eq!(set.len(), 18);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: BTreeMap<u64, u64>,
    len: u64,
}

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { ranges: BTreeMap::new(), len: 0 }
    }

    /// Adds `range`; an empty or inverted range adds nothing.
    pub fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        if let Some((&s, &e)) = self.ranges.range(..=start).next_back()
            && e >= start
        {
            if e >= end {
                return;
            }
            start = s;
        }
        while let Some((&s, &e)) = self.ranges.range(start..=end).next() {
            self.ranges.remove(&s);
            self.len -= e - s;
            end = end.max(e);
        }
        self.ranges.insert(start, end);
        self.len += end - start;
    }

    /// Takes `range` out.
    pub fn remove(&mut self, range: Range<u64>) {
        let Range { start, end } = range;
        if start >= end {
            return;
        }
        let first = self.ranges.range(..start).next_back().map_or(start, |(&s, _)| s);
        while let Some((&s, &e)) = self.ranges.range(first..end).find(|(_, e)| **e > start) {
            self.ranges.remove(&s);
            self.len -= e - s;
            for (from, to) in [(s, start.min(e)), (end.max(s), e)] {
                if from < to {
                    self.ranges.insert(from, to);
                    self.len += to - from;
                }
            }
        }
    }

    /// Adds every range of `other`.
    pub fn union(&mut self, other: &Self) {
        for range in other.iter() {
            self.insert(range);
        }
    }

    /// Whether all of `range` is in the set; true for an empty range.
    pub fn contains(&self, range: Range<u64>) -> bool {
        range.start >= range.end || self.end_of(range.start).is_some_and(|end| end >= range.end)
    }

    /// What of `range` is in the set, in ascending order.
    pub fn within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let Range { start, end } = range;
        let first = self.ranges.range(..=start).next_back().map_or(start, |(&s, _)| s);
        let near = self.ranges.range(first..end.max(first));
        near.map(move |(&s, &e)| s.max(start)..e.min(end)).filter(|part| part.start < part.end)
    }

    /// The end of the run that holds `offset`.
    pub fn end_of(&self, offset: u64) -> Option<u64> {
        self.ranges.range(..=offset).next_back().map(|(_, &end)| end).filter(|&end| end > offset)
    }

    /// The first range that is not in the set, from `from` on and below `limit`.
    pub fn first_gap(&self, from: u64, limit: u64) -> Option<Range<u64>> {
        let start = self.end_of(from).unwrap_or(from);
        if start >= limit {
            return None;
        }
        let end = self.ranges.range(start..).next().map_or(limit, |(&s, _)| s.min(limit));
        Some(start..end)
    }

    /// Everything below `limit` that is not in the set.
    pub fn complement(&self, limit: u64) -> Self {
        let mut rest = Self::new();
        let mut from = 0;
        while let Some(gap) = self.first_gap(from, limit) {
            from = gap.end;
            rest.insert(gap);
        }
        rest
    }

    /// The ranges in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// How many offsets the set holds.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many ranges the set is kept as.
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}
