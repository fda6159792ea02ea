//! Policy: what happens when. One heap, ordered by time and then by the order in which things were planned.

use core::cmp::Reverse;
use core::time::Duration;
use gosh_dl_core::base::{Instant, Rng};
use std::collections::BinaryHeap;

/// Events in time order; ties go to what was planned first, so that the order is total.
#[derive(Debug)]
pub struct Agenda<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    planned: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Instant,
    seq: u64,
    event: E,
}

impl<E> Agenda<E> {
    /// An empty agenda.
    pub const fn new() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }

    /// Plans `event` for the instant `at`.
    pub fn plan(&mut self, at: Instant, event: E) {
        let seq = self.planned;
        self.planned += 1;
        self.heap.push(Reverse(Entry { at, seq, event }));
    }

    /// When the next event is due.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes the next event that is due at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<E> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.event)
    }

    /// Takes out every event, in order.
    pub fn drain(&mut self) -> Vec<E> {
        core::iter::from_fn(|| self.heap.pop()).map(|Reverse(entry)| entry.event).collect()
    }
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// How long something takes: evenly between two lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latency {
    /// Always the same.
    pub const fn fixed(length: Duration) -> Self {
        Self { min: length, max: length }
    }

    /// Evenly between `min` and `max` milliseconds.
    pub const fn millis(min: u64, max: u64) -> Self {
        Self { min: Duration::from_millis(min), max: Duration::from_millis(max) }
    }

    /// Evenly between `min` and `max` microseconds.
    pub const fn micros(min: u64, max: u64) -> Self {
        Self { min: Duration::from_micros(min), max: Duration::from_micros(max) }
    }

    /// One length.
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        let spread = self.max.saturating_sub(self.min).as_nanos() as u64;
        if spread == 0 { self.min } else { self.min + Duration::from_nanos(rng.below(spread + 1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_what_was_planned_first() {
        let mut agenda = Agenda::new();
        let at = Instant::from_nanos(5);
        agenda.plan(at, 'b');
        agenda.plan(Instant::ZERO, 'a');
        agenda.plan(at, 'c');
        assert_eq!(agenda.pop_due(Instant::ZERO), Some('a'));
        assert_eq!(agenda.pop_due(Instant::ZERO), None);
        assert_eq!(agenda.drain(), ['b', 'c']);
    }
}
