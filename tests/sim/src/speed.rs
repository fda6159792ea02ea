//! Policy: rate limits as whoever pays for the line sees them: in no stretch of time, however short, more than the rate
//! allows and one burst.

use crate::invariants::{Checked, broken};
use gosh_dl_core::base::{Instant, TokenBucket};
use gosh_dl_core::download::DownloadId;
use std::collections::{BTreeMap, BTreeSet};

/// The limits of one life of the engine.
#[derive(Debug, Default)]
pub struct Speed {
    all: Option<Budget>,
    each: BTreeMap<DownloadId, Own>,
    /// Whose limit was changed in this life; the store may not know it.
    changed: BTreeSet<DownloadId>,
}

/// One download with a limit of its own.
#[derive(Debug)]
struct Own {
    budget: Budget,
    /// How much of it was here when it was last said.
    completed: Option<u64>,
}

/// What may still pass: it grows with the rate up to a burst, and what passes is taken from it. That it never runs out says
/// the same as a bound for every window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    rate: u64,
    burst: u64,
    /// In billionths of a byte, so that no fraction is lost.
    left: u128,
    at: Instant,
}

impl Speed {
    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// The limit of all downloads together, from now on.
    pub fn limit_all(&mut self, now: Instant, rate: Option<u64>) {
        if self.all.map(|budget| budget.rate) != rate {
            self.all = rate.map(|rate| Budget::new(now, rate, burst(rate)));
        }
    }

    /// A new engine: what one download was told later may be lost.
    pub fn restart(&mut self, now: Instant, rate: Option<u64>) {
        let changed = core::mem::take(&mut self.changed);
        self.each.retain(|id, _| !changed.contains(id));
        self.limit_all(now, rate);
    }

    /// The limit that a download is added with.
    pub fn add(&mut self, now: Instant, id: DownloadId, rate: Option<u64>) {
        self.limit(now, id, rate, 0);
    }

    /// The limit of one download is changed; `granted` bytes may be on their way without it.
    pub fn change(&mut self, now: Instant, id: DownloadId, rate: Option<u64>, granted: u64) {
        self.changed.insert(id);
        self.limit(now, id, rate, granted);
    }

    fn limit(&mut self, now: Instant, id: DownloadId, rate: Option<u64>, granted: u64) {
        self.each.remove(&id);
        if let Some(rate) = rate {
            // It is seen by what has arrived, and that may have been allowed to come a little earlier.
            let ahead = burst(rate) + LINKS * MIN_GRANT;
            let mut budget = Budget::new(now, rate, burst(rate) + ahead);
            budget.left += u128::from(granted) * SCALE;
            self.each.insert(id, Own { budget, completed: None });
        }
    }

    /// Downloads start again: what they have then was there before.
    pub fn start_over(&mut self, id: DownloadId) {
        if let Some(own) = self.each.get_mut(&id) {
            own.completed = None;
        }
    }

    /// The engine allows a link to be read.
    ///
    /// # Errors
    ///
    /// Where that is more than all links together may be read.
    pub fn on_credit(&mut self, now: Instant, bytes: u64) -> Checked {
        let Some(budget) = &mut self.all else { return Ok(()) };
        if budget.take(now, bytes) {
            return Ok(());
        }
        Err(broken("rate within the limit", &format!("{bytes} bytes at {now:?} with {budget:?}")))
    }

    /// A download says how much of it is here.
    ///
    /// # Errors
    ///
    /// Where that is more than its own limit allows.
    pub fn on_progress(&mut self, now: Instant, id: DownloadId, completed: u64) -> Checked {
        let Some(own) = self.each.get_mut(&id) else { return Ok(()) };
        let before = own.completed.replace(completed).unwrap_or(completed);
        let new = completed.saturating_sub(before);
        if own.budget.take_since(now, new) {
            return Ok(());
        }
        let budget = own.budget;
        Err(broken("rate within the limit", &format!("{id}: {new} bytes at {now:?} with {budget:?}")))
    }
}

impl Budget {
    pub(crate) fn new(now: Instant, rate: u64, burst: u64) -> Self {
        Self { rate, burst, left: u128::from(burst) * SCALE, at: now }
    }

    /// Takes `bytes` that pass now; whether there were as many.
    pub(crate) fn take(&mut self, now: Instant, bytes: u64) -> bool {
        let most = (u128::from(self.burst) * SCALE).max(self.left);
        self.grow(now);
        self.left = self.left.min(most);
        self.pay(bytes)
    }

    /// Takes `bytes` that have passed since the last time; whether there were as many.
    fn take_since(&mut self, now: Instant, bytes: u64) -> bool {
        let most = (u128::from(self.burst) * SCALE).max(self.left);
        self.grow(now);
        let enough = self.pay(bytes);
        self.left = self.left.min(most);
        enough
    }

    fn grow(&mut self, now: Instant) {
        self.left += u128::from(self.rate) * (now - self.at).as_nanos();
        self.at = now;
    }

    fn pay(&mut self, bytes: u64) -> bool {
        let needed = u128::from(bytes) * SCALE;
        let enough = self.left >= needed;
        self.left = self.left.saturating_sub(needed);
        enough
    }
}

fn burst(rate: u64) -> u64 {
    TokenBucket::new(Instant::ZERO, Some(rate)).burst()
}

const SCALE: u128 = 1_000_000_000;

/// As many connections as a download has at most in the scenarios.
const LINKS: u64 = 16;

/// The least that a link is granted at once.
const MIN_GRANT: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const RATE: u64 = 1_000_000;

    #[test]
    fn rate_with_one_burst_is_within_the_limit() {
        let mut speed = Speed::new();
        speed.limit_all(Instant::ZERO, Some(RATE));
        assert_eq!(speed.on_credit(Instant::ZERO, burst(RATE)), Ok(()));
        for millis in 1..1000 {
            let now = Instant::ZERO + Duration::from_millis(millis);
            assert_eq!(speed.on_credit(now, RATE / 1000), Ok(()));
        }
    }

    #[test]
    fn a_little_more_than_the_rate_is_found_out() {
        let mut speed = Speed::new();
        speed.limit_all(Instant::ZERO, Some(RATE));
        let found = (1..1000).find(|millis| {
            let now = Instant::ZERO + Duration::from_millis(*millis);
            speed.on_credit(now, RATE * 11 / 10_000).is_err()
        });
        assert!(found.is_some());
    }

    #[test]
    fn progress_of_one_download_is_held_against_the_time_that_it_took() {
        let (mut speed, id) = (Speed::new(), DownloadId::from_random_bytes([1; 16]));
        speed.add(Instant::ZERO, id, Some(RATE));
        let at = |millis| Instant::ZERO + Duration::from_millis(millis);
        assert_eq!(speed.on_progress(at(250), id, 100), Ok(()));
        assert_eq!(speed.on_progress(at(500), id, 100 + RATE / 4), Ok(()));
        assert!(speed.on_progress(at(750), id, 100 + RATE).is_err());
    }

    #[test]
    fn what_was_saved_up_is_no_more_than_a_burst() {
        let mut speed = Speed::new();
        speed.limit_all(Instant::ZERO, Some(RATE));
        let later = Instant::ZERO + Duration::from_secs(3600);
        assert!(speed.on_credit(later, burst(RATE) + 1).is_err());
    }
}
