//! Policy: in which order the trackers of a torrent are asked (BEP 12).

use super::tracker::TrackerIndex;
use crate::base::{Instant, Rng};

/// Trackers that stand in for one another: one of them is kept told, and the next is asked when it fails.
#[derive(Debug)]
pub(super) struct Tier {
    order: Vec<TrackerIndex>,
    /// When one of them is to be asked.
    pub(super) due: Instant,
    /// Whether more peers are wanted than usual.
    pub(super) hungry: bool,
}

impl Tier {
    /// An empty tier that is due.
    pub(super) fn new(now: Instant) -> Self {
        Self { order: Vec::new(), due: now, hungry: false }
    }

    /// The trackers in the order in which they are asked.
    pub(super) fn order(&self) -> &[TrackerIndex] {
        &self.order
    }

    /// The one that answered last, or is to be asked first.
    pub(super) fn first(&self) -> Option<TrackerIndex> {
        self.order.first().copied()
    }

    /// Adds one at a random place behind the first, which may be in use.
    pub(super) fn insert(&mut self, tracker: TrackerIndex, rng: &mut Rng) {
        let behind = self.order.len().max(1) as u64;
        let place = usize::try_from(1 + rng.below(behind)).unwrap_or(0);
        self.order.insert(place.min(self.order.len()), tracker);
    }

    /// "The list will be shuffled when first read."
    pub(super) fn shuffle(&mut self, rng: &mut Rng) {
        for place in (1..self.order.len()).rev() {
            let other = usize::try_from(rng.below(place as u64 + 1)).unwrap_or(place);
            self.order.swap(place, other);
        }
    }

    /// "If a connection with a tracker is successful, it will be moved to the front of the tier."
    pub(super) fn promote(&mut self, tracker: TrackerIndex) {
        if let Some(place) = self.order.iter().position(|other| *other == tracker) {
            self.order[..=place].rotate_right(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use proptest::prelude::*;

    fn tier(count: usize) -> Tier {
        Tier { order: (0..count).map(TrackerIndex).collect(), ..Tier::new(Instant::ZERO) }
    }

    fn numbers(tier: &Tier) -> Vec<usize> {
        tier.order().iter().map(|index| index.0).collect()
    }

    #[test]
    fn example_of_the_bep() {
        let mut tier = tier(3);
        tier.promote(TrackerIndex(1));
        assert_eq!(numbers(&tier), [1, 0, 2]);
        tier.promote(TrackerIndex(2));
        assert_eq!(numbers(&tier), [2, 1, 0]);
        tier.promote(TrackerIndex(2));
        tier.promote(TrackerIndex(9));
        assert_eq!(numbers(&tier), [2, 1, 0]);
    }

    #[test]
    fn shuffling_gives_every_order_about_as_often() {
        let mut counts = std::collections::BTreeMap::new();
        let mut rng = Rng::from_seed([1; 32]);
        for _ in 0..6000 {
            let mut tier = tier(3);
            tier.shuffle(&mut rng);
            *counts.entry(numbers(&tier)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn nobody_gets_lost(count in 0usize..9, seed: [u8; 32], promoted in 0usize..9) {
            let (mut tier, mut rng) = (tier(count), Rng::from_seed(seed));
            let first = tier.first();
            tier.insert(TrackerIndex(count), &mut rng);
            prop_assert!(count == 0 || tier.first() == first);
            tier.shuffle(&mut rng);
            tier.promote(TrackerIndex(promoted));
            let mut found = numbers(&tier);
            found.sort_unstable();
            prop_assert_eq!(found, (0..=count).collect::<Vec<_>>());
        }
    }
}
