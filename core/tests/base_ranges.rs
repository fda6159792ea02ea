//! `RangeSet` against the most naive model there is: one flag per offset.

use core::ops::Range;
use gosh_dl_core::base::RangeSet;
use proptest::prelude::*;

/// The model holds offsets below this; the set sees them moved up by `shift`, so that it meets the end of `u64` too.
const SIZE: u64 = 64;

#[derive(Clone, Debug)]
enum Op {
    Insert(Range<u64>),
    Remove(Range<u64>),
    Union(Vec<Range<u64>>),
}

fn range() -> impl Strategy<Value = Range<u64>> {
    // Inverted ranges count as empty.
    (0..=SIZE, 0..=SIZE).prop_map(|(start, end)| start..end)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => range().prop_map(Op::Insert),
        3 => range().prop_map(Op::Remove),
        1 => prop::collection::vec(range(), 0..4).prop_map(Op::Union),
    ]
}

struct Model {
    flags: [bool; SIZE as usize],
}

impl Model {
    fn set(&mut self, range: Range<u64>, flag: bool) {
        range.for_each(|offset| self.flags[offset as usize] = flag);
    }

    fn has(&self, offset: u64) -> bool {
        self.flags.get(offset as usize).copied().unwrap_or(false)
    }

    /// The runs of offsets for which `has` is `flag`.
    fn runs(&self, flag: bool, limit: u64) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for offset in (0..limit).filter(|&offset| self.has(offset) == flag) {
            match runs.last_mut().filter(|run| run.end == offset) {
                Some(run) => run.end += 1,
                None => runs.push(offset..offset + 1),
            }
        }
        runs
    }

    fn end_of(&self, offset: u64) -> Option<u64> {
        self.has(offset).then(|| (offset..).find(|&next| !self.has(next)).unwrap_or(SIZE))
    }

    fn first_gap(&self, from: u64, limit: u64) -> Option<Range<u64>> {
        let start = (from..limit).find(|&offset| !self.has(offset))?;
        Some(start..(start..limit).find(|&offset| self.has(offset)).unwrap_or(limit))
    }
}

fn moved(range: Range<u64>, shift: u64) -> Range<u64> {
    range.start + shift..range.end + shift
}

fn apply(set: &mut RangeSet, model: &mut Model, op: Op, shift: u64) {
    match op {
        Op::Insert(range) => {
            set.insert(moved(range.clone(), shift));
            model.set(range, true);
        }
        Op::Remove(range) => {
            set.remove(moved(range.clone(), shift));
            model.set(range, false);
        }
        Op::Union(ranges) => {
            set.union(&ranges.iter().map(|range| moved(range.clone(), shift)).collect());
            ranges.into_iter().for_each(|range| model.set(range, true));
        }
    }
}

proptest! {
    #[test]
    fn set_is_what_one_flag_per_offset_says(
        ops in prop::collection::vec(op(), 0..40),
        at_the_end: bool,
        probes in prop::collection::vec((0..=SIZE, 0..=SIZE), 8),
    ) {
        let shift = if at_the_end { u64::MAX - SIZE } else { 0 };
        let (mut set, mut model) = (RangeSet::new(), Model { flags: [false; SIZE as usize] });
        for op in ops {
            apply(&mut set, &mut model, op, shift);
            let runs: Vec<_> = model.runs(true, SIZE).into_iter().map(|run| moved(run, shift)).collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), &runs[..]);
            prop_assert_eq!(set.range_count(), runs.len());
            prop_assert_eq!(set.len(), runs.iter().map(|run| run.end - run.start).sum::<u64>());
            prop_assert_eq!(set.is_empty(), runs.is_empty());
        }
        for (from, to) in probes {
            prop_assert_eq!(set.contains(from + shift..to + shift), (from..to).all(|offset| model.has(offset)));
            prop_assert_eq!(set.end_of(from + shift), model.end_of(from).map(|end| end + shift));
            let gap = model.first_gap(from, to).map(|gap| moved(gap, shift));
            prop_assert_eq!(set.first_gap(from + shift, to + shift), gap);
        }
    }

    #[test]
    fn complement_is_the_rest(ranges in prop::collection::vec(range(), 0..20), limit in 0..=SIZE) {
        let (mut set, mut model) = (RangeSet::new(), Model { flags: [false; SIZE as usize] });
        ranges.into_iter().for_each(|range| apply(&mut set, &mut model, Op::Insert(range), 0));
        let rest = set.complement(limit);
        prop_assert_eq!(rest.iter().collect::<Vec<_>>(), model.runs(false, limit));
        let mut whole = rest;
        whole.union(&set);
        prop_assert!(whole.contains(0..limit));
    }
}
