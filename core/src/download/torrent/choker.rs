//! Policy: which peers may download from us (BEP 3, "Choking and optimistic unchoking").
//!
//! While it loads: tit for tat. Whoever sends most gets a slot; a part of the slots goes round among the others, so that
//! new peers get something to trade with and better ones are found. While it seeds: everybody in turn, and those longer
//! who take what is sent.

use crate::base::mutants::{self, Mutant};
use crate::base::{Instant, Rng};
use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BTreeMap;

/// What a decision looks at in one peer.
#[derive(Clone, Copy, Debug)]
pub struct ChokePeer<K> {
    /// Its name.
    pub key: K,
    /// It wants something from us.
    pub interested: bool,
    /// It is unchoked now.
    pub unchoked: bool,
    /// Bytes per second that it sends.
    pub rate_down: u64,
    /// Bytes per second that it is sent.
    pub rate_up: u64,
    /// It owes us blocks and has sent none for a minute.
    pub snubbed: bool,
    /// When it was connected.
    pub since: Instant,
    /// It wants nothing from anybody (BEP 21).
    pub upload_only: bool,
}

/// Who is unchoked, and since when.
#[derive(Debug)]
pub struct Choker<K> {
    slots: Option<usize>,
    limit: Option<u64>,
    turns: BTreeMap<K, Turn>,
    decided_at: Option<Instant>,
    rotated_at: Option<Instant>,
    free: usize,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    /// When its slot was given to it, while it has one.
    began: Option<Instant>,
    /// When it last had one; [`Instant::ZERO`] where it never had.
    ended: Instant,
    /// It has its slot for trial, not for what it sends.
    optimistic: bool,
}

impl<K: Copy + Ord> Choker<K> {
    /// With that many slots; `None` lets them follow the upload limit in bytes per second, or else the rate.
    pub fn new(slots: Option<usize>, limit: Option<u64>) -> Self {
        Self { slots, limit, turns: BTreeMap::new(), decided_at: None, rotated_at: None, free: MIN_SLOTS }
    }

    /// Other slots.
    pub fn set_slots(&mut self, slots: Option<usize>) {
        self.slots = slots;
    }

    /// The upload limit in bytes per second, which the slots follow where they are not set; says whether it is another.
    pub fn set_limit(&mut self, limit: Option<u64>) -> bool {
        core::mem::replace(&mut self.limit, limit) != limit
    }

    /// A peer is gone.
    pub fn left(&mut self, peer: K) {
        if self.turns.remove(&peer).is_some_and(|turn| turn.began.is_some()) {
            self.free += 1;
        }
    }

    /// Whether the last decision left a slot empty.
    pub fn has_free_slot(&self) -> bool {
        self.free > 0
    }

    /// Decides who is unchoked from now on; the answer is ascending. Meant for every [`ROUND`]; between rounds nobody
    /// loses a slot who still wants it, only empty ones are filled. `peers` are all that are connected.
    pub fn round(&mut self, now: Instant, peers: &[ChokePeer<K>], seeding: bool, rng: &mut Rng) -> Vec<K> {
        let slots = self.slots_for(peers);
        let mut waiting: Vec<&ChokePeer<K>> =
            peers.iter().filter(|peer| peer.interested && !peer.upload_only).collect();
        shuffle(&mut waiting, rng);
        let due = self.decided_at.is_none_or(|at| now - at >= ROUND);
        let mut unchoked = Vec::with_capacity(slots.min(waiting.len()));
        let kept = match (due, seeding) {
            (false, _) => Self::keep_all(&mut waiting, slots),
            (true, false) => self.keep_traders(now, &mut waiting, slots),
            (true, true) => self.keep_served(now, &mut waiting, slots),
        };
        unchoked.extend(kept.iter().map(|(peer, optimistic)| (peer.key, *optimistic)));
        waiting.retain(|peer| kept.iter().all(|(kept, _)| kept.key != peer.key));
        self.fill(now, &mut unchoked, waiting, slots, (seeding, rng));
        if due {
            self.decided_at = Some(now);
        }
        self.free = slots.saturating_sub(unchoked.len());
        self.remember(now, peers, &unchoked);
        unchoked.sort_unstable();
        unchoked.into_iter().map(|(key, _)| key).collect()
    }

    /// Slots as the root of the rate, so that each gets more where there is more. Few: the sooner a piece is whole, the
    /// sooner it can be given on; simulated swarms are complete in three quarters of the time that the factor of the first
    /// client gives, which has five times as many.
    fn slots_for(&self, peers: &[ChokePeer<K>]) -> usize {
        if let Some(slots) = self.slots.filter(|_| !mutants::is(Mutant::IgnoreSlots)) {
            return slots.clamp(1, MAX_SLOTS);
        }
        let rate = self.limit.unwrap_or_else(|| peers.iter().map(|peer| peer.rate_up).sum());
        let slots = (rate as f64 / RATE_OF_ONE_SLOT).sqrt() as usize;
        // Without a limit there is room to find out how much more would flow.
        let least = if self.limit.is_some() { MIN_SLOTS } else { MIN_SLOTS_UNLIMITED };
        slots.clamp(least, MAX_SLOTS)
    }

    fn keep_all<'a>(waiting: &mut [&'a ChokePeer<K>], slots: usize) -> Vec<(&'a ChokePeer<K>, bool)> {
        let held = waiting.iter().filter(|peer| peer.unchoked);
        held.take(slots).map(|peer| (*peer, false)).collect()
    }

    /// Those who send most, and those whose trial is not over.
    fn keep_traders<'a>(
        &mut self,
        now: Instant,
        waiting: &mut [&'a ChokePeer<K>],
        slots: usize,
    ) -> Vec<(&'a ChokePeer<K>, bool)> {
        // At equal rates whoever has a slot keeps it.
        waiting.sort_by_key(|peer| (Reverse(peer.rate_down), !peer.unchoked));
        let trials = if slots > 1 && waiting.len() > slots { (slots / TRIAL_SHARE).max(1) } else { 0 };
        let trades = |peer: &ChokePeer<K>| peer.rate_down > 0 && !peer.snubbed;
        let mut kept: Vec<_> = waiting.iter().filter(|peer| trades(peer)).take(slots - trials).collect();
        let traders = kept.len();
        let over = self.rotated_at.is_none_or(|at| now - at >= TRIAL);
        if over {
            self.rotated_at = Some(now);
        } else {
            let on_trial = |key: &K| self.turns.get(key).is_some_and(|turn| turn.optimistic);
            let rest = waiting.iter().filter(|peer| peer.unchoked && on_trial(&peer.key));
            let rest: Vec<_> = rest.filter(|peer| kept.iter().all(|kept| kept.key != peer.key)).collect();
            kept.extend(rest.into_iter().take(slots - traders));
        }
        kept.into_iter().enumerate().map(|(at, peer)| (*peer, at >= traders)).collect()
    }

    /// Those whose turn is not over, and nobody loses a slot while nobody waits for it. Who has taken nothing for a
    /// while gives way first.
    fn keep_served<'a>(
        &mut self,
        now: Instant,
        waiting: &mut [&'a ChokePeer<K>],
        slots: usize,
    ) -> Vec<(&'a ChokePeer<K>, bool)> {
        let mut held: Vec<_> = waiting.iter().filter(|peer| peer.unchoked).copied().collect();
        let length = |peer: &ChokePeer<K>| {
            let turn = self.turns.get(&peer.key).and_then(|turn| turn.began);
            turn.map_or(Duration::ZERO, |began| now - began)
        };
        let idle = |peer: &ChokePeer<K>| peer.rate_up == 0 && length(peer) >= TRIAL;
        held.sort_by_key(|peer| (idle(peer), length(peer), Reverse(peer.rate_up)));
        let others = waiting.len() - held.len();
        let over = held.iter().filter(|peer| idle(peer) || length(peer) >= SEED_TURN).count();
        // Never all at once: whoever is served well keeps the link busy while others warm up.
        let leaving = over.min((slots / 2).max(1)).min((others + held.len()).saturating_sub(slots));
        held.truncate(slots.min(held.len() - leaving));
        held.into_iter().map(|peer| (peer, false)).collect()
    }

    /// Empty slots go to those who waited longest (seeding) or to some at random, new ones more likely (BEP 3: "three
    /// times as likely").
    fn fill(
        &self,
        now: Instant,
        unchoked: &mut Vec<(K, bool)>,
        mut waiting: Vec<&ChokePeer<K>>,
        slots: usize,
        (seeding, rng): (bool, &mut Rng),
    ) {
        let ended = |peer: &ChokePeer<K>| self.turns.get(&peer.key).map_or(Instant::ZERO, |turn| turn.ended);
        if seeding {
            // Who has just lost its slot has waited least.
            waiting.sort_by_key(|peer| (peer.unchoked, ended(peer)));
        } else {
            // A heavier peer draws more tickets; the best ticket wins.
            let tickets = |peer: &ChokePeer<K>| if now - peer.since < NEW { NEW_TICKETS } else { 1 };
            let mut drawn: Vec<_> = waiting
                .into_iter()
                .map(|peer| ((0..tickets(peer)).map(|_| rng.next_u64()).min().unwrap_or(0), peer))
                .collect();
            drawn.sort_by_key(|(ticket, peer)| (peer.unchoked, *ticket));
            waiting = drawn.into_iter().map(|(_, peer)| peer).collect();
        }
        let room = slots.saturating_sub(unchoked.len());
        unchoked.extend(waiting.iter().take(room).map(|peer| (peer.key, true)));
    }

    fn remember(&mut self, now: Instant, peers: &[ChokePeer<K>], unchoked: &[(K, bool)]) {
        for peer in peers {
            let slot = unchoked.iter().find(|(key, _)| *key == peer.key);
            let turn = self.turns.entry(peer.key).or_insert(Turn {
                began: None,
                ended: Instant::ZERO,
                optimistic: false,
            });
            match slot {
                Some((_, optimistic)) => {
                    turn.began.get_or_insert(now);
                    turn.optimistic = *optimistic;
                }
                None if turn.began.take().is_some() => turn.ended = now,
                None => {}
            }
        }
        if self.turns.len() > peers.len() {
            let there = |key: &K| peers.iter().any(|peer| peer.key == *key);
            self.turns.retain(|key, _| there(key));
        }
    }
}

fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for at in (1..items.len()).rev() {
        let other = usize::try_from(rng.below(at as u64 + 1)).unwrap_or(0);
        items.swap(at, other);
    }
}

/// How often it is decided who is unchoked; BEP 3: "every ten seconds".
pub const ROUND: Duration = Duration::from_secs(10);
/// How long a peer has a slot for trial; BEP 3: "every third rechoke period".
const TRIAL: Duration = Duration::from_secs(30);
/// How long a peer is served by a seed before others have their turn: some pieces at any usual rate.
const SEED_TURN: Duration = Duration::from_secs(60);
/// One slot of so many goes round.
const TRIAL_SHARE: usize = 5;
/// A peer is new for as long.
const NEW: Duration = Duration::from_secs(60);
/// BEP 3: newly connected peers are three times as likely to start as the current optimistic unchoke.
const NEW_TICKETS: u32 = 3;
/// Bytes per second that are enough for one slot; four times as much for two.
const RATE_OF_ONE_SLOT: f64 = 40.0 * 1024.0;
/// BEP 3: four, so that TCP works well.
const MIN_SLOTS: usize = 4;
/// The same where nothing limits the upload.
const MIN_SLOTS_UNLIMITED: usize = 8;
/// More than this share any link in parts too small to be of use, and reads of the disk scatter.
const MAX_SLOTS: usize = 200;

#[cfg(test)]
mod tests;
