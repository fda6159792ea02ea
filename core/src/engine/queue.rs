//! Policy: which download runs next. Higher priority first, then first come, first served; nothing is pre-empted.

use crate::download::DownloadPriority;
use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Downloads that wait for a slot, and those that hold one.
#[derive(Debug)]
pub(super) struct Queue<K> {
    waiting: BTreeSet<(Reverse<DownloadPriority>, u64, K)>,
    places: BTreeMap<K, (Reverse<DownloadPriority>, u64)>,
    running: BTreeSet<K>,
    max_running: usize,
    next: u64,
}

impl<K: Copy + Ord> Queue<K> {
    pub(super) fn new(max_running: usize) -> Self {
        Self {
            waiting: BTreeSet::new(),
            places: BTreeMap::new(),
            running: BTreeSet::new(),
            max_running,
            next: 0,
        }
    }

    /// Puts a download behind all others of its priority.
    pub(super) fn push(&mut self, key: K, priority: DownloadPriority) {
        self.remove(key);
        let place = (Reverse(priority), self.next);
        self.next += 1;
        self.waiting.insert((place.0, place.1, key));
        self.places.insert(key, place);
    }

    /// Changes the priority of a waiting download; it keeps its age.
    pub(super) fn set_priority(&mut self, key: K, priority: DownloadPriority) {
        if let Some(place) = self.places.get_mut(&key) {
            self.waiting.remove(&(place.0, place.1, key));
            place.0 = Reverse(priority);
            self.waiting.insert((place.0, place.1, key));
        }
    }

    /// Takes a download out of the queue, or its slot from it.
    pub(super) fn remove(&mut self, key: K) {
        self.running.remove(&key);
        if let Some((priority, age)) = self.places.remove(&key) {
            self.waiting.remove(&(priority, age, key));
        }
    }

    /// Gives a free slot to the next download.
    pub(super) fn pop(&mut self) -> Option<K> {
        if self.running.len() >= self.max_running {
            return None;
        }
        let (_, _, key) = self.waiting.pop_first()?;
        self.places.remove(&key);
        self.running.insert(key);
        Some(key)
    }

    pub(super) fn set_max_running(&mut self, max_running: usize) {
        self.max_running = max_running;
    }

    /// Those that hold a slot.
    pub(super) fn running(&self) -> impl Iterator<Item = K> + '_ {
        self.running.iter().copied()
    }

    pub(super) fn running_count(&self) -> usize {
        self.running.len()
    }

    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DownloadPriority::{Critical, High, Low, Normal};

    #[test]
    fn higher_priority_runs_first_and_equals_in_order() {
        let mut queue = Queue::new(usize::MAX);
        for (key, priority) in [(1, Normal), (2, Low), (3, Critical), (4, Normal), (5, High)] {
            queue.push(key, priority);
        }
        queue.set_priority(4, Critical);
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [3, 4, 5, 1, 2]);
    }

    #[test]
    fn slots_are_limited_and_come_back() {
        let mut queue = Queue::new(1);
        queue.push(1, Normal);
        queue.push(2, Normal);
        assert_eq!((queue.pop(), queue.pop()), (Some(1), None));
        queue.remove(1);
        assert_eq!(queue.pop(), Some(2));
        assert_eq!((queue.running_count(), queue.waiting_count()), (1, 0));
    }
}
