//! Policy: what has to be synced before something counts as durable.
//!
//! A sync promises what had been written when it was asked for, no more. So whoever needs something durable gets a
//! ticket, and waits until a sync with that number, or a later one of the same file, has ended.

use std::collections::{BTreeMap, VecDeque};

/// What can be made durable: the content of a file, or the names in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    File(u32),
    Folder(u32),
}

/// The number of a sync.
pub(super) type Ticket = u64;

/// Which files and folders are dirty, and which are being synced; at most one sync of each is under way.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    nodes: BTreeMap<Node, State>,
    asked: VecDeque<Node>,
    running: usize,
    last: Ticket,
}

#[derive(Debug, Default)]
struct State {
    dirty: bool,
    asked: Option<Ticket>,
    running: Option<Ticket>,
}

impl Syncs {
    /// Something in it is not durable.
    pub(super) fn dirty(&mut self, node: Node) {
        self.nodes.entry(node).or_default().dirty = true;
    }

    /// Asks for what is dirty by now; `None` where nothing is.
    pub(super) fn request(&mut self, node: Node) -> Option<Ticket> {
        let state = self.nodes.get_mut(&node)?;
        if !state.dirty {
            return state.running;
        }
        if state.asked.is_none() {
            self.last += 1;
            state.asked = Some(self.last);
            if state.running.is_none() {
                self.asked.push_back(node);
            }
        }
        state.asked
    }

    /// Asks for everything that is dirty by now.
    pub(super) fn request_all(&mut self) -> BTreeMap<Node, Ticket> {
        let nodes: Vec<Node> = self.nodes.keys().copied().collect();
        nodes.into_iter().filter_map(|node| Some((node, self.request(node)?))).collect()
    }

    /// Nothing is kept of what is clean.
    pub(super) fn give_back_room(&mut self) {
        if self.nodes.is_empty() {
            self.nodes = BTreeMap::new();
        }
        self.asked.shrink_to_fit();
    }

    /// The next sync to begin, if there may be another.
    pub(super) fn next(&mut self) -> Option<Node> {
        if self.running >= MAX_RUNNING {
            return None;
        }
        let node = self.asked.pop_front()?;
        let state = self.nodes.get_mut(&node)?;
        state.dirty = false;
        state.running = state.asked.take();
        self.running += 1;
        Some(node)
    }

    /// A sync ended; which one.
    pub(super) fn done(&mut self, node: Node) -> Ticket {
        self.running = self.running.saturating_sub(1);
        let Some(state) = self.nodes.get_mut(&node) else { return 0 };
        let ticket = state.running.take().unwrap_or(0);
        if state.asked.is_some() {
            self.asked.push_back(node);
        } else if !state.dirty {
            self.nodes.remove(&node);
        }
        ticket
    }

    /// Whether no sync is asked for or under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.running == 0 && self.asked.is_empty()
    }
}

/// Syncs mostly wait for the device; more at once than an executor has threads are of no use.
const MAX_RUNNING: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Node = Node::File(0);

    #[test]
    fn what_is_clean_needs_no_sync() {
        let mut syncs = Syncs::default();
        assert_eq!((syncs.request(A), syncs.next()), (None, None));
        syncs.dirty(A);
        let ticket = syncs.request(A);
        assert!(ticket.is_some() && syncs.request(A) == ticket, "one sync for both");
        assert_eq!((syncs.next(), syncs.next()), (Some(A), None));
        assert_eq!(syncs.request(A), ticket, "under way, and nothing came since");
        assert_eq!(Some(syncs.done(A)), ticket);
        assert!(syncs.request(A).is_none() && syncs.is_quiet());
    }

    #[test]
    fn what_came_during_a_sync_needs_another() {
        let mut syncs = Syncs::default();
        syncs.dirty(A);
        let first = syncs.request(A);
        assert_eq!(syncs.next(), Some(A));
        syncs.dirty(A);
        let second = syncs.request(A);
        assert_ne!(second, first);
        assert_eq!(syncs.next(), None, "one of each at a time");
        assert_eq!(Some(syncs.done(A)), first);
        assert_eq!(syncs.next(), Some(A));
        assert_eq!(Some(syncs.done(A)), second);
    }

    #[test]
    fn few_syncs_are_under_way_at_once() {
        let mut syncs = Syncs::default();
        (0..10).for_each(|file| syncs.dirty(Node::File(file)));
        assert_eq!(syncs.request_all().len(), 10);
        let begun: Vec<_> = std::iter::from_fn(|| syncs.next()).collect();
        assert_eq!(begun.len(), MAX_RUNNING);
        syncs.done(begun[0]);
        assert!(syncs.next().is_some() && syncs.next().is_none());
    }

    proptest! {
        /// A ticket is passed only by a sync that began after the writes it was given for.
        #[test]
        fn tickets_cover_what_was_written(steps in prop::collection::vec(0..4u8, 1..60)) {
            let (mut syncs, mut written, mut covered, mut running) = (Syncs::default(), 0, 0, None);
            let mut waiting: Vec<(Ticket, u32)> = Vec::new();
            for step in steps {
                match step {
                    0 => {
                        written += 1;
                        syncs.dirty(A);
                    }
                    1 => match syncs.request(A) {
                        Some(ticket) => waiting.push((ticket, written)),
                        None => prop_assert_eq!(covered, written),
                    },
                    2 => {
                        if syncs.next().is_some() {
                            prop_assert!(running.is_none());
                            running = Some(written);
                        }
                    }
                    _ => {
                        let Some(reach) = running.take() else { continue };
                        covered = reach;
                        let passed = syncs.done(A);
                        for (_, needed) in waiting.extract_if(.., |(ticket, _)| *ticket <= passed) {
                            prop_assert!(needed <= covered);
                        }
                    }
                }
            }
            while syncs.next().is_some() || running.is_some() {
                running = None;
                let passed = syncs.done(A);
                waiting.retain(|(ticket, _)| *ticket > passed);
            }
            prop_assert!(waiting.is_empty() || syncs.is_quiet());
        }
    }
}
