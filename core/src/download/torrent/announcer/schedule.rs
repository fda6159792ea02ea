//! When an announcer asks whom.

use super::tracker::TrackerIndex;
use super::{Announcer, Phase};
use crate::base::Instant;
use crate::wire::tracker::Event;
use core::time::Duration;

/// What a tier does next.
enum Step {
    Ask(TrackerIndex),
    Wait(Option<Instant>),
}

impl Announcer {
    /// Begins all announces that are due.
    pub(super) fn plan_announces(&mut self, now: Instant) {
        for index in (0..self.trackers.len()).map(TrackerIndex) {
            if self.completes_at(index).is_some_and(|at| at <= now) {
                self.announce(now, index);
            }
        }
        for tier in 0..self.tiers.len() {
            // Each turn makes one of the tier's trackers busy, or free only later.
            while let Step::Ask(index) = self.step(now, tier) {
                self.announce(now, index);
            }
        }
    }

    /// When a tracker is to hear that nothing is missing any more, if it is.
    fn completes_at(&self, index: TrackerIndex) -> Option<Instant> {
        let tracker = self.trackers.get(index.0)?;
        (self.completed && tracker.next_event(true) == Event::Completed).then(|| tracker.free_at())?
    }

    /// Whom a tier asks now, or when it will.
    fn step(&self, now: Instant, tier: usize) -> Step {
        let Some(tier) = self.tiers.get(tier) else { return Step::Wait(None) };
        if tier.due > now {
            return Step::Wait(Some(tier.due));
        }
        let trackers = tier.order().iter().filter_map(|index| Some((*index, self.trackers.get(index.0)?)));
        let newest = trackers.clone().filter_map(|(_, tracker)| Some(tracker.announcing?.began)).max();
        // While one takes its time the next is asked beside it, but not at once.
        let patience = newest.map_or(now, |began| began + HEDGE);
        let mut free =
            trackers.filter_map(|(index, tracker)| Some((index, tracker.free_at()?.max(patience))));
        match free.clone().find(|(_, at)| *at <= now) {
            Some((index, _)) => Step::Ask(index),
            None => Step::Wait(free.by_ref().map(|(_, at)| at).min()),
        }
    }

    /// The earliest deadline of all.
    pub(super) fn earliest(&self, now: Instant) -> Option<Instant> {
        let stop = match self.phase {
            Phase::Stopping { hurry, until } => Some(hurry.unwrap_or(until)),
            _ => None,
        };
        let slots = self.slots.iter().map(|(_, slot)| slot.poll_timeout());
        let talks = self.trackers.iter().filter_map(|tracker| tracker.udp.poll_timeout());
        let running = if self.phase == Phase::Running { self.tiers.len() } else { 0 };
        let steps = (0..running).filter_map(|tier| match self.step(now, tier) {
            Step::Ask(_) => None,
            Step::Wait(at) => at,
        });
        let own = if self.phase == Phase::Running { self.trackers.len() } else { 0 };
        let completes = (0..own).filter_map(|index| self.completes_at(TrackerIndex(index)));
        stop.into_iter().chain(slots).chain(talks).chain(steps).chain(completes).min()
    }
}

/// After this time the next of a tier is asked beside one that has not answered. Most trackers answer within one second.
const HEDGE: Duration = Duration::from_secs(10);
