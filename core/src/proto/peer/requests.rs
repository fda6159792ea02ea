//! Policy: what we asked a peer for, and whether what it says is an answer.

use crate::base::{Block, Instant, PieceIndex};
use std::collections::VecDeque;

/// The requests that a peer has not answered, in the order in which they were made.
///
/// With the Fast extension each is answered exactly once, even if it was withdrawn (BEP 6). Without it, those withdrawn
/// or lost by a choke may still be answered, so as many answers are tolerated later (BEP 3: "it's possible for an
/// unexpected piece to arrive").
#[derive(Debug)]
pub(super) struct Requests {
    queue: VecDeque<Asked>,
    /// How many in the queue are not withdrawn.
    live: usize,
    /// How many answers may come although nothing in the queue waits for them.
    tolerated: u32,
    /// Since when the peer owes a block without giving any.
    owing_since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    block: Block,
    at: Instant,
    withdrawn: bool,
}

/// What an answer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// A request that was made then.
    Request(Instant),
    /// A request that was withdrawn, or lost.
    Withdrawn,
    /// Nothing that was ever asked.
    Nothing,
}

impl Requests {
    pub(super) fn new(now: Instant) -> Self {
        Self { queue: VecDeque::new(), live: 0, tolerated: 0, owing_since: now }
    }

    /// Notes a request; `false` where there are `limit` already.
    pub(super) fn ask(&mut self, now: Instant, block: Block, limit: usize) -> bool {
        if self.live >= limit {
            return false;
        }
        self.forget_withdrawn(limit - 1);
        if self.live == 0 {
            self.owing_since = now;
        }
        self.live += 1;
        self.queue.push_back(Asked { block, at: now, withdrawn: false });
        true
    }

    /// Withdraws a request; `false` where there is none. `answered` says whether an answer comes for certain.
    pub(super) fn withdraw(&mut self, block: Block, answered: bool) -> bool {
        let Some(at) = self.find(block, false) else { return false };
        self.live -= 1;
        if answered {
            self.queue[at].withdrawn = true;
        } else {
            self.queue.remove(at);
            self.tolerated = self.tolerated.saturating_add(1);
        }
        true
    }

    /// A block came. It rather answers a request than one that was withdrawn, where the same was asked for anew.
    pub(super) fn on_block(&mut self, now: Instant, block: Block) -> Answered {
        let answered = self.answer(block, false);
        if matches!(answered, Answered::Request(_)) {
            self.owing_since = now;
        }
        answered
    }

    /// A rejection came. It rather answers what was withdrawn.
    pub(super) fn on_reject(&mut self, block: Block) -> Answered {
        self.answer(block, true)
    }

    /// All requests are lost: which.
    pub(super) fn lose_all(&mut self) -> Vec<Block> {
        self.lose(|_| true)
    }

    /// The requests for a piece are lost: which.
    pub(super) fn lose_piece(&mut self, piece: PieceIndex) -> Vec<Block> {
        self.lose(|block| block.piece == piece)
    }

    /// What is not withdrawn, oldest first, and when it was asked for.
    pub(super) fn live(&self) -> impl Iterator<Item = (Block, Instant)> + '_ {
        self.queue.iter().filter(|asked| !asked.withdrawn).map(|asked| (asked.block, asked.at))
    }

    /// How many are not withdrawn.
    pub(super) fn live_count(&self) -> usize {
        self.live
    }

    /// Since when the peer owes a block without giving any.
    pub(super) fn owing_since(&self) -> Option<Instant> {
        (self.live > 0).then_some(self.owing_since)
    }

    /// Gives memory back that is not used.
    pub(super) fn trim(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    fn answer(&mut self, block: Block, withdrawn_first: bool) -> Answered {
        let at = self.find(block, withdrawn_first).or_else(|| self.find(block, !withdrawn_first));
        match at.and_then(|at| self.queue.remove(at)) {
            Some(asked) if asked.withdrawn => Answered::Withdrawn,
            Some(asked) => {
                self.live -= 1;
                Answered::Request(asked.at)
            }
            None if self.tolerated > 0 => {
                self.tolerated -= 1;
                Answered::Withdrawn
            }
            None => Answered::Nothing,
        }
    }

    fn find(&self, block: Block, withdrawn: bool) -> Option<usize> {
        if withdrawn && self.live == self.queue.len() {
            return None;
        }
        self.queue.iter().position(|asked| asked.block == block && asked.withdrawn == withdrawn)
    }

    fn lose(&mut self, which: impl Fn(Block) -> bool) -> Vec<Block> {
        let mut lost = Vec::new();
        self.queue.retain(|asked| {
            let goes = !asked.withdrawn && which(asked.block);
            if goes {
                lost.push(asked.block);
            }
            !goes
        });
        self.live -= lost.len();
        self.tolerated = self.tolerated.saturating_add(u32::try_from(lost.len()).unwrap_or(u32::MAX));
        lost
    }

    /// Forgets the oldest withdrawn requests that a peer has not answered, although it should, until so many are left.
    fn forget_withdrawn(&mut self, left: usize) {
        let mut excess = self.queue.len().saturating_sub(left);
        if excess == 0 {
            return;
        }
        self.queue.retain(|asked| {
            let goes = asked.withdrawn && excess > 0;
            excess -= usize::from(goes);
            self.tolerated = self.tolerated.saturating_add(u32::from(goes));
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PieceGrid;

    fn block(number: u32) -> Block {
        PieceGrid::new(1 << 30, 1 << 30).unwrap().span(0, number * 16384, 16384).unwrap()
    }

    fn requests(numbers: impl IntoIterator<Item = u32>) -> Requests {
        let mut requests = Requests::new(Instant::ZERO);
        for number in numbers {
            assert!(requests.ask(Instant::from_nanos(u64::from(number)), block(number), 100));
        }
        requests
    }

    fn live(requests: &Requests) -> Vec<u32> {
        let numbers: Vec<u32> = requests.live().map(|(block, _)| block.number()).collect();
        assert_eq!(numbers.len(), requests.live_count());
        numbers
    }

    #[test]
    fn answers_come_in_any_order_and_once() {
        let mut requests = requests(0..3);
        let now = Instant::from_nanos(9);
        assert_eq!(requests.on_block(now, block(1)), Answered::Request(Instant::from_nanos(1)));
        assert_eq!(requests.on_block(now, block(1)), Answered::Nothing);
        assert_eq!(requests.on_reject(block(0)), Answered::Request(Instant::from_nanos(0)));
        assert_eq!(live(&requests), [2]);
        assert_eq!(requests.owing_since(), Some(now));
    }

    #[test]
    fn what_was_withdrawn_is_answered_once_more() {
        let mut requests = requests(0..2);
        assert!(requests.withdraw(block(0), true) && !requests.withdraw(block(0), true));
        assert_eq!(live(&requests), [1]);
        assert_eq!(requests.on_block(Instant::ZERO, block(0)), Answered::Withdrawn);
        assert_eq!(requests.on_block(Instant::ZERO, block(0)), Answered::Nothing);
    }

    #[test]
    fn what_is_asked_for_anew_takes_the_block_and_leaves_the_rejection() {
        for block_first in [true, false] {
            let mut requests = requests([0]);
            assert!(requests.withdraw(block(0), true) && requests.ask(Instant::ZERO, block(0), 100));
            if !block_first {
                assert_eq!(requests.on_reject(block(0)), Answered::Withdrawn);
            }
            assert_eq!(requests.on_block(Instant::ZERO, block(0)), Answered::Request(Instant::ZERO));
            if block_first {
                assert_eq!(requests.on_reject(block(0)), Answered::Withdrawn);
            }
            assert_eq!(requests.on_reject(block(0)), Answered::Nothing);
        }
    }

    #[test]
    fn as_many_late_answers_are_tolerated_as_were_lost() {
        let mut requests = requests(0..3);
        assert!(requests.withdraw(block(0), false));
        assert_eq!(requests.lose_all(), [block(1), block(2)]);
        assert_eq!(requests.owing_since(), None);
        for _ in 0..3 {
            assert_eq!(requests.on_block(Instant::ZERO, block(0)), Answered::Withdrawn);
        }
        assert_eq!(requests.on_block(Instant::ZERO, block(0)), Answered::Nothing);
    }

    #[test]
    fn no_more_is_asked_for_than_the_peer_keeps_but_withdrawn_requests_make_room() {
        let mut requests = requests(0..100);
        assert!(!requests.ask(Instant::ZERO, block(100), 100));
        assert!(requests.withdraw(block(5), true));
        assert!(
            requests.ask(Instant::ZERO, block(100), 100) && !requests.ask(Instant::ZERO, block(101), 100)
        );
        // Its answer comes after all.
        assert_eq!(requests.on_reject(block(5)), Answered::Withdrawn);
        assert_eq!(requests.live_count(), 100);
    }
    #[test]
    fn a_peer_that_keeps_fewer_than_before_is_asked_for_no_more_than_that() {
        let mut requests = requests(0..4);
        assert!(requests.withdraw(block(1), true));
        assert!(!requests.ask(Instant::ZERO, block(9), 2) && !requests.ask(Instant::ZERO, block(9), 3));
        assert!(requests.ask(Instant::ZERO, block(9), 4));
        assert_eq!(live(&requests), [0, 2, 3, 9]);
    }
}
