//! Policy: what a peer asks us for and waits for.

use crate::base::{Block, Instant};
use core::time::Duration;
use std::collections::VecDeque;

/// The requests of a peer that wait for an answer, oldest first, and how many had to be refused.
#[derive(Debug)]
pub(super) struct Wanted {
    queue: VecDeque<Block>,
    refused: u32,
    refused_since: Instant,
}

impl Wanted {
    pub(super) fn new(now: Instant) -> Self {
        Self { queue: VecDeque::new(), refused: 0, refused_since: now }
    }

    /// Notes a request; `false` where `limit` wait already.
    pub(super) fn push(&mut self, block: Block, limit: u32) -> bool {
        let room = self.queue.len() < limit as usize;
        if room {
            self.queue.push_back(block);
        }
        room
    }

    /// Takes a request out; `false` where it does not wait.
    pub(super) fn remove(&mut self, block: Block) -> bool {
        let at = self.queue.iter().position(|waits| *waits == block);
        at.and_then(|at| self.queue.remove(at)).is_some()
    }

    /// Takes out what is not to be kept, oldest first.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Block) -> bool) {
        self.queue.retain(keep);
    }

    /// Counts a request that is refused; `false` where those are too many: more than `limit` times
    /// [`REFUSALS`] a minute.
    pub(super) fn refuse(&mut self, now: Instant, limit: u32) -> bool {
        if now - self.refused_since >= MINUTE {
            (self.refused, self.refused_since) = (0, now);
        }
        self.refused += 1;
        self.refused <= limit.saturating_mul(REFUSALS)
    }

    /// What waits, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Block> + '_ {
        self.queue.iter().copied()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Gives memory back that is not used.
    pub(super) fn trim(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }
}

/// A peer that fills its queue as it is choked, every ten seconds, and asks once more for all that is rejected, stays
/// below it; BEP 6 warns that it takes seconds until a choke is heard of.
const REFUSALS: u32 = 12;

const MINUTE: Duration = Duration::from_secs(60);
