//! Policy: how much each link may read. Credit is the rate limit, the backpressure of the disk and the bound on memory.

use crate::base::{Instant, TokenBucket};
use core::time::Duration;

/// The limits that all links share.
#[derive(Debug)]
pub(super) struct Flow {
    bucket: TokenBucket,
    budget: u64,
    /// Where the next round starts: behind the last link that was granted something, so that all have their turn.
    turn: usize,
}

/// One link in a round.
#[derive(Debug)]
pub(super) struct Share<'a> {
    /// Granted and not used, in bytes.
    pub(super) credit: u64,
    /// The limit of its download.
    pub(super) bucket: &'a mut TokenBucket,
}

/// How the round stands for all links.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    links: u64,
    /// Bytes of the budget that are not spoken for.
    room: u64,
}

impl Flow {
    pub(super) fn new(now: Instant, limit: Option<u64>, budget: u64) -> Self {
        Self { bucket: TokenBucket::new(now, limit), budget, turn: 0 }
    }

    pub(super) fn set(&mut self, now: Instant, limit: Option<u64>, budget: u64) {
        self.bucket.set_rate(now, limit);
        self.budget = budget;
    }

    /// Begins a round over `links` links, while `used` bytes are in memory or granted.
    pub(super) fn round(&self, links: usize, used: u64) -> Round {
        Round { links: links.max(1) as u64, room: self.budget.saturating_sub(used) }
    }

    /// Which of `links` links is first in this round.
    pub(super) fn first(&self, links: usize) -> usize {
        self.turn.checked_rem(links).unwrap_or(0)
    }

    /// The link in this place was granted something.
    pub(super) fn granted(&mut self, place: usize) {
        self.turn = place.wrapping_add(1);
    }

    /// How much more the link may read now. `Err` says when to ask again because of a rate limit.
    pub(super) fn grant(
        &mut self,
        now: Instant,
        round: &mut Round,
        share: &mut Share<'_>,
    ) -> Result<u32, Instant> {
        let limit = match (self.bucket.rate(), share.bucket.rate()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let window = match limit {
            // What all links hold unused stays near 2 % of a second's worth.
            Some(rate) => (rate / 50 / round.links).clamp(MIN_GRANT, MAX_WINDOW),
            None => (self.budget / 2 / round.links).clamp(MIN_WINDOW, MAX_WINDOW),
        };
        if share.credit > window / 2 {
            return Ok(0);
        }
        let wanted = (window - share.credit).min(round.room);
        if wanted < MIN_GRANT.min(window) && (share.credit > 0 || round.room < MIN_GRANT) {
            return Ok(0);
        }
        if limit.is_none() {
            round.room -= wanted;
            return Ok(u32::try_from(wanted).unwrap_or(u32::MAX));
        }
        let available = self.bucket.available(now).min(share.bucket.available(now));
        let least = wanted.min(MIN_GRANT / 2);
        if available < least {
            let at = |bucket: &TokenBucket| bucket.available_at(least);
            let when = at(&self.bucket).into_iter().chain(at(share.bucket)).max();
            return Err(when.unwrap_or(now).max(now + SHORTEST));
        }
        let granted = wanted.min(available);
        self.bucket.take(granted);
        share.bucket.take(granted);
        round.room -= granted;
        Ok(u32::try_from(granted).unwrap_or(u32::MAX))
    }
}

/// Smaller grants cost more than they pace.
const MIN_GRANT: u64 = 1024;
/// A link that may read less at once spends its time asking.
const MIN_WINDOW: u64 = 64 << 10;
/// A link that may read more at once fills the memory that others need, and cools the cache.
const MAX_WINDOW: u64 = 1 << 20;
/// Timers are not finer than this.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlimited_link_gets_its_window_and_no_more() {
        let now = Instant::ZERO;
        let mut flow = Flow::new(now, None, 8 << 20);
        let mut bucket = TokenBucket::new(now, None);
        let mut round = flow.round(1, 0);
        let mut share = Share { credit: 0, bucket: &mut bucket };
        assert_eq!(flow.grant(now, &mut round, &mut share), Ok(1 << 20));
        share.credit = 1 << 20;
        assert_eq!(flow.grant(now, &mut round, &mut share), Ok(0));
    }

    #[test]
    fn full_memory_stops_all_links() {
        let now = Instant::ZERO;
        let mut flow = Flow::new(now, None, 1 << 20);
        let mut bucket = TokenBucket::new(now, None);
        let mut round = flow.round(1, 1 << 20);
        assert_eq!(flow.grant(now, &mut round, &mut Share { credit: 0, bucket: &mut bucket }), Ok(0));
    }

    #[test]
    fn limited_links_get_the_rate_and_no_more() {
        let mut now = Instant::ZERO;
        let rate = 1_000_000;
        let mut flow = Flow::new(now, Some(rate), 8 << 20);
        let mut bucket = TokenBucket::new(now, None);
        let mut sum = 0;
        while now < Instant::ZERO + Duration::from_secs(10) {
            let mut round = flow.round(1, 0);
            match flow.grant(now, &mut round, &mut Share { credit: 0, bucket: &mut bucket }) {
                Ok(granted) => sum += u64::from(granted),
                Err(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        assert!((rate * 10 - 50_000..=rate * 10 + 50_000).contains(&sum), "{sum}");
    }
}
