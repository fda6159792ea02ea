//! Policy: which download runs next. Higher priority first, then first come, first served; nothing is pre-empted. Torrents
//! that are whole take nobody's slot: they only look at their files, few at a time, and are seeded.

use crate::download::DownloadPriority;
use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Downloads that wait for a slot, and those that hold one.
#[derive(Debug)]
pub(crate) struct Queue<K> {
    waiting: BTreeSet<(Reverse<DownloadPriority>, u64, K)>,
    /// Torrents that are whole and wait for no slot.
    whole: BTreeSet<(Reverse<DownloadPriority>, u64, K)>,
    places: BTreeMap<K, (Reverse<DownloadPriority>, u64)>,
    running: BTreeSet<K>,
    /// Those of the whole that look at their files: they hold no slot.
    starting: BTreeSet<K>,
    /// Those that only wait for disk and store: they hold no slot.
    finishing: BTreeSet<K>,
    /// Torrents that are whole and serve others: they hold no slot.
    seeding: BTreeSet<K>,
    max_running: usize,
    next: u64,
}

impl<K: Copy + Ord> Queue<K> {
    pub(crate) fn new(max_running: usize) -> Self {
        Self {
            waiting: BTreeSet::new(),
            whole: BTreeSet::new(),
            places: BTreeMap::new(),
            running: BTreeSet::new(),
            starting: BTreeSet::new(),
            finishing: BTreeSet::new(),
            seeding: BTreeSet::new(),
            max_running,
            next: 0,
        }
    }

    /// Puts a download behind all others of its priority.
    pub(crate) fn push(&mut self, key: K, priority: DownloadPriority) {
        let (priority, age) = self.place(key, priority);
        self.waiting.insert((priority, age, key));
    }

    /// Puts a torrent that is whole behind all others of its priority that are.
    pub(crate) fn push_whole(&mut self, key: K, priority: DownloadPriority) {
        let (priority, age) = self.place(key, priority);
        self.whole.insert((priority, age, key));
    }

    fn place(&mut self, key: K, priority: DownloadPriority) -> (Reverse<DownloadPriority>, u64) {
        self.remove(key);
        let place = (Reverse(priority), self.next);
        self.next += 1;
        self.places.insert(key, place);
        place
    }

    /// Changes the priority of a waiting download; it keeps its age.
    pub(crate) fn set_priority(&mut self, key: K, priority: DownloadPriority) {
        let Some(place) = self.places.get_mut(&key) else { return };
        for queue in [&mut self.waiting, &mut self.whole] {
            if queue.remove(&(place.0, place.1, key)) {
                queue.insert((Reverse(priority), place.1, key));
            }
        }
        place.0 = Reverse(priority);
    }

    /// Takes a download out of the queue, or its slot from it.
    pub(crate) fn remove(&mut self, key: K) {
        self.running.remove(&key);
        self.starting.remove(&key);
        self.finishing.remove(&key);
        self.seeding.remove(&key);
        if let Some((priority, age)) = self.places.remove(&key) {
            self.waiting.remove(&(priority, age, key));
            self.whole.remove(&(priority, age, key));
        }
    }

    /// The next download that may start: one that is whole, or one that gets a free slot.
    pub(crate) fn pop(&mut self) -> Option<K> {
        let (queue, started) = if self.starting.len() < MAX_STARTING && !self.whole.is_empty() {
            (&mut self.whole, &mut self.starting)
        } else if self.running.len() < self.max_running {
            (&mut self.waiting, &mut self.running)
        } else {
            return None;
        };
        let (_, _, key) = queue.pop_first()?;
        self.places.remove(&key);
        started.insert(key);
        Some(key)
    }

    /// A download has everything and only waits for disk and store: its slot is free for the next, unless too many
    /// wait already.
    pub(crate) fn finish(&mut self, key: K) {
        if self.finishing.len() < MAX_FINISHING && self.running.remove(&key) {
            self.finishing.insert(key);
        }
    }

    /// A torrent is whole and serves others: its slot is free for the next.
    pub(crate) fn seed(&mut self, key: K) {
        if self.running.remove(&key) || self.starting.remove(&key) || self.finishing.remove(&key) {
            self.seeding.insert(key);
        }
    }

    /// A download that was about to finish, or had, fetches again: it holds a slot, also where none is free.
    pub(crate) fn unfinish(&mut self, key: K) {
        if self.finishing.remove(&key) || self.seeding.remove(&key) || self.starting.remove(&key) {
            self.running.insert(key);
        }
    }

    pub(crate) fn set_max_running(&mut self, max_running: usize) {
        self.max_running = max_running;
    }

    /// Those that run, with a slot or without.
    pub(crate) fn running(&self) -> impl Iterator<Item = K> + '_ {
        self.running.iter().chain(&self.starting).chain(&self.finishing).chain(&self.seeding).copied()
    }

    pub(crate) fn running_count(&self) -> usize {
        self.running.len() + self.starting.len() + self.finishing.len() + self.seeding.len()
    }

    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.len() + self.whole.len()
    }
}

/// Each of these holds a file open; the descriptors of a process are few.
const MAX_FINISHING: usize = 128;
/// As many keep every disk busy; each holds files and folders open while it looks at them.
const MAX_STARTING: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use DownloadPriority::{Critical, High, Low, Normal};
    use proptest::collection::vec;
    use proptest::prelude::*;

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
    fn finishing_downloads_hold_no_slot_but_only_so_many() {
        let mut queue = Queue::new(1);
        let all = MAX_FINISHING as i32 + 2;
        (0..all).for_each(|key| queue.push(key, Normal));
        let mut started = 0;
        while let Some(key) = queue.pop() {
            started += 1;
            queue.finish(key);
        }
        assert_eq!((started, queue.running_count()), (MAX_FINISHING + 1, MAX_FINISHING + 1));
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

    #[test]
    fn whole_torrents_hold_no_slot_and_start_few_at_a_time() {
        let mut queue = Queue::new(1);
        (0..2).for_each(|key| queue.push(key, Critical));
        let all = MAX_STARTING as i32 + 1;
        (10..10 + all).for_each(|key| queue.push_whole(key, Low));
        queue.set_priority(20, High);
        let started: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        let whole = std::iter::once(20).chain((10..10 + all).filter(|key| *key != 20));
        assert_eq!(started, whole.take(MAX_STARTING).chain([0]).collect::<Vec<_>>());
        assert_eq!((queue.waiting_count(), queue.running_count()), (2, MAX_STARTING + 1));
        queue.seed(11);
        assert_eq!((queue.pop(), queue.pop()), (Some(10 + all - 1), None));
        // What turns out to lack something holds a slot beyond the limit.
        queue.unfinish(12);
        queue.remove(0);
        assert_eq!(queue.pop(), None);
        queue.remove(12);
        assert_eq!(queue.pop(), Some(1));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(u8, DownloadPriority),
        SetPriority(u8, DownloadPriority),
        Remove(u8),
        Pop,
        SetMax(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let priority = || prop::sample::select(vec![Low, Normal, High, Critical]);
        prop_oneof![
            4 => (0..12u8, priority()).prop_map(|(key, priority)| Op::Push(key, priority)),
            2 => (0..12u8, priority()).prop_map(|(key, priority)| Op::SetPriority(key, priority)),
            2 => (0..12u8).prop_map(Op::Remove),
            4 => Just(Op::Pop),
            1 => (0..5usize).prop_map(Op::SetMax),
        ]
    }

    proptest! {
        /// The model is a list in order of age, of which the oldest of the highest priority goes first.
        #[test]
        fn behaves_like_a_sorted_list(ops in vec(op(), 0..100)) {
            let (mut queue, mut max) = (Queue::new(2), 2);
            let (mut waiting, mut running) = (Vec::<(u8, DownloadPriority)>::new(), BTreeSet::new());
            for op in ops {
                match op {
                    Op::Push(key, priority) => {
                        queue.push(key, priority);
                        waiting.retain(|(other, _)| *other != key);
                        running.remove(&key);
                        waiting.push((key, priority));
                    }
                    Op::SetPriority(key, priority) => {
                        queue.set_priority(key, priority);
                        waiting.iter_mut().filter(|w| w.0 == key).for_each(|w| w.1 = priority);
                    }
                    Op::Remove(key) => {
                        queue.remove(key);
                        waiting.retain(|(other, _)| *other != key);
                        running.remove(&key);
                    }
                    Op::Pop => {
                        let highest = waiting.iter().map(|w| w.1).max();
                        let next = waiting.iter().position(|w| Some(w.1) == highest);
                        let next = next.filter(|_| running.len() < max).map(|index| waiting.remove(index).0);
                        running.extend(next);
                        prop_assert_eq!(queue.pop(), next);
                    }
                    Op::SetMax(most) => {
                        max = most;
                        queue.set_max_running(most);
                    }
                }
                prop_assert_eq!(queue.waiting_count(), waiting.len());
                prop_assert_eq!(queue.running().collect::<BTreeSet<u8>>(), running.clone());
            }
        }
    }
}
