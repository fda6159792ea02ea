//! An index of deadlines by key: the earliest first, ties in key order.

use super::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// At most one deadline per key. Setting, clearing and popping cost O(log n).
#[derive(Debug)]
pub struct Deadlines<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Copy + Ord> Deadlines<K> {
    /// No deadlines.
    pub const fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }

    /// Sets the deadline of `key`, or clears it with `None`.
    pub fn set(&mut self, key: K, deadline: Option<Instant>) {
        let old = self.by_key.get(&key).copied();
        if old == deadline {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&(old, key));
            self.by_key.remove(&key);
        }
        if let Some(at) = deadline {
            self.by_time.insert((at, key));
            self.by_key.insert(key, at);
        } else if self.by_key.is_empty() {
            // Empty trees keep room for eleven deadlines, which a thousand torrents at rest would hold for nothing.
            *self = Self::new();
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|&(at, _)| at)
    }

    /// Removes and returns the first key whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.by_time.remove(&(at, key));
        self.by_key.remove(&key);
        Some(key)
    }
}

impl<K: Copy + Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Self::new()
    }
}
