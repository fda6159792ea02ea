//! The map of segments under random owners: nothing is counted twice, nothing is lost, and everything completes.

use gosh_dl_core::base::RangeSet;
use gosh_dl_core::download::http::segments::{MAX_RACE, Pace, Segments};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

const MIN_SEGMENT: u64 = 256 << 10;

#[derive(Clone, Debug)]
enum Op {
    Assign(u8),
    /// Takes all that is free in one place, as an answer to the end of the file does.
    TakeFree(u8),
    Share(u8),
    Extend(u8),
    Steal(u8),
    Accept(u8, u64),
    Release(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let owner = 0..6u8;
    prop_oneof![
        3 => owner.clone().prop_map(Op::Assign),
        1 => owner.clone().prop_map(Op::TakeFree),
        1 => owner.clone().prop_map(Op::Share),
        2 => owner.clone().prop_map(Op::Extend),
        3 => owner.clone().prop_map(Op::Steal),
        8 => (owner.clone(), 0..600_000u64).prop_map(|(owner, len)| Op::Accept(owner, len)),
        2 => owner.prop_map(Op::Release),
    ]
}

/// The map, and what it was seen to do.
struct Run {
    map: Segments<u8>,
    rates: Vec<u64>,
    /// Every byte that was ever accepted as new.
    counted: RangeSet,
    had: u64,
}

impl Run {
    fn new(total: u64, received: RangeSet, rates: Vec<u64>) -> Self {
        let had = received.len();
        Self { map: Segments::new(total, received.clone(), MIN_SEGMENT), rates, counted: received, had }
    }

    fn pace(&self, owner: u8) -> Pace {
        Pace { rate: self.rates[usize::from(owner)] }
    }

    fn idle(&self, owner: u8) -> bool {
        self.map.remaining(owner).is_none()
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Assign(owner) if self.idle(owner) => {
                self.map.assign(owner, 4, self.pace(owner));
            }
            Op::TakeFree(owner) if self.idle(owner) => {
                if let Some(free) = self.map.first_free() {
                    self.map.take(owner, free.clone(), free.end);
                }
            }
            Op::Share(owner) => self.map.share(owner, 4, self.pace(owner)),
            Op::Extend(owner) => {
                self.map.extend(owner, 4, self.pace(owner));
            }
            Op::Steal(owner) if self.idle(owner) => self.steal(owner),
            Op::Accept(owner, len) => self.accept(owner, len),
            Op::Release(owner) => self.map.release(owner),
            _ => {}
        }
        self.check();
    }

    fn steal(&mut self, owner: u8) {
        let rates = self.rates.clone();
        let of = |owner: u8| Pace { rate: rates[usize::from(owner)] };
        let could = self.map.can_steal(of(owner), 0.01, of);
        let range = self.map.steal(owner, of(owner), 0.01, of);
        assert_eq!(range.is_some(), could);
        assert_eq!(range, self.map.remaining(owner));
    }

    fn accept(&mut self, owner: u8, len: u64) {
        let before = self.map.remaining(owner).unwrap_or(0..0);
        let fresh = self.map.accept(owner, len);
        for range in fresh {
            assert!(before.start <= range.start && range.end <= before.end.min(before.start + len));
            for counted in self.counted.iter() {
                assert!(counted.end <= range.start || range.end <= counted.start, "{range:?} counted twice");
            }
            self.counted.insert(range);
        }
    }

    fn active(&self) -> BTreeMap<u8, Range<u64>> {
        let owners = 0..self.rates.len() as u8;
        owners.filter_map(|owner| Some((owner, self.map.remaining(owner)?))).collect()
    }

    fn check(&self) {
        let active = self.active();
        assert_eq!(self.map.received(), &self.counted);
        let mut taken = self.counted.clone();
        active.values().for_each(|range| taken.insert(range.clone()));
        assert_eq!(self.map.free() + taken.len(), self.map.total());
        assert_eq!(self.map.free() > 0, self.map.first_free().is_some());
        if let Some(free) = self.map.first_free() {
            assert!(free.start < free.end && free.end <= self.map.total());
            let mut rest = RangeSet::from_iter([free.clone()]);
            taken.iter().for_each(|range| rest.remove(range));
            assert_eq!(rest.len(), free.end - free.start, "{free:?} is not free");
        }
        self.check_races(&active);
    }

    /// At most two owners fetch the same bytes, and no more of them than a race may be long.
    fn check_races(&self, active: &BTreeMap<u8, Range<u64>>) {
        for (a, left) in active {
            let mut rivals = 0;
            for (_, right) in active.iter().filter(|(b, _)| *b != a) {
                let common = left.end.min(right.end).saturating_sub(left.start.max(right.start));
                assert!(common <= MAX_RACE, "{left:?} and {right:?}");
                rivals += usize::from(common > 0);
            }
            assert!(rivals <= 1, "{a} has {rivals} rivals: {active:?}");
        }
    }

    /// Owners that keep working, as exchanges do: on, or to the next free bytes, or to a share of another's.
    fn finish(&mut self) {
        for _ in 0..20_000 {
            if self.map.is_complete() {
                assert_eq!(self.counted.len(), self.map.total());
                assert!(self.had <= self.map.total());
                return;
            }
            for owner in 0..self.rates.len() as u8 {
                if self.map.is_done(owner) && !self.map.extend(owner, 4, self.pace(owner)) {
                    self.map.release(owner);
                    self.apply(&Op::Assign(owner));
                    self.apply(&Op::Steal(owner));
                }
                self.apply(&Op::Accept(owner, 64 << 10));
            }
        }
        panic!("not complete: {:?}", self.map);
    }
}

fn received() -> impl Strategy<Value = RangeSet> {
    vec((0..16u64, 1..=4u64), 0..4)
        .prop_map(|parts| parts.into_iter().map(|(at, len)| at << 18..(at + len).min(16) << 18).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_counted_once_and_all_of_them(
        total in (4u64 << 20)..(12 << 20),
        received in received(),
        rates in vec(prop_oneof![Just(0), 1..100_000u64, Just(10_000_000)], 6),
        ops in vec(op(), 0..120),
    ) {
        let mut run = Run::new(total, received, rates);
        ops.iter().for_each(|op| run.apply(op));
        run.finish();
    }

    #[test]
    fn file_of_unknown_length_is_one_segment_until_its_end_is_known(len in 1u64..10_000_000, read in 1u64..100_000) {
        let mut map = Segments::new(u64::MAX, RangeSet::new(), MIN_SEGMENT);
        map.take(0u8, 0..u64::MAX, u64::MAX);
        prop_assert_eq!((map.free(), map.first_free(), map.is_complete()), (0, None, false));
        let mut at = 0;
        while at < len {
            let step = read.min(len - at);
            prop_assert_eq!(map.accept(0, step), [at..at + step]);
            at += step;
        }
        map.set_total(len);
        map.release(0);
        prop_assert!(map.is_complete() && map.free() == 0);
    }
}
