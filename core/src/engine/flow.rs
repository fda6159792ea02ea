//! Policy: how much each link may read. Credit is the rate limit, the backpressure of the disk and the bound on memory.

use crate::base::mutants::{self, Mutant};
use crate::base::{Instant, TokenBucket};
use core::time::Duration;

/// The limits that all links share.
#[derive(Debug)]
pub(super) struct Flow {
    bucket: TokenBucket,
    budget: u64,
}

/// Why a link gets nothing more for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// A limit allows nothing before then.
    Rate(Instant),
    /// Buffers are full.
    Memory,
}

/// One link in a round.
#[derive(Debug)]
pub(super) struct Share<'a> {
    /// Granted and not used, in bytes.
    pub(super) credit: u64,
    /// Whether it waits for the beginning of an answer, which is short.
    pub(super) asking: bool,
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
        Self { bucket: TokenBucket::new(now, limit), budget }
    }

    pub(super) fn set(&mut self, now: Instant, limit: Option<u64>, budget: u64) {
        self.bucket.set_rate(now, limit);
        self.budget = budget;
    }

    /// Begins a round over `links` links, while `used` bytes are in memory or granted.
    pub(super) fn round(&self, links: usize, used: u64) -> Round {
        Round { links: links.max(1) as u64, room: self.budget.saturating_sub(used) }
    }

    /// Whether one download's bytes fill so much memory that others would wait for its disk.
    pub(super) fn is_greedy(&self, backlog: u64) -> bool {
        backlog > self.budget / 2
    }

    /// Whether a link may read so much unasked that a limit would not hold: it was granted that for somebody who has none.
    pub(super) fn is_too_free(&self, links: usize, credit: u64, own: &TokenBucket) -> bool {
        let limit = self.bucket.rate().into_iter().chain(own.rate()).min();
        limit.is_some_and(|rate| credit > limited_window(rate, links.max(1) as u64))
    }

    /// How much more the link may read now; 0 where it has enough.
    pub(super) fn grant(
        &mut self,
        now: Instant,
        round: &mut Round,
        share: &mut Share<'_>,
    ) -> Result<u32, Held> {
        let own = share.bucket.rate().filter(|_| !mutants::is(Mutant::NoOwnLimit));
        let all = self.bucket.rate().filter(|_| !mutants::is(Mutant::NoGlobalLimit));
        let limit = match (all, own) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let window = match limit {
            Some(rate) => limited_window(rate, round.links),
            None => (self.budget / 2 / round.links).clamp(MIN_WINDOW, MAX_WINDOW),
        };
        // Servers that never answer must not hold the memory that others need.
        let window = if share.asking { window.min(ASK_WINDOW) } else { window };
        if share.credit > window / 2 {
            return Ok(0);
        }
        let wanted = (window - share.credit).min(round.room);
        if wanted < MIN_GRANT.min(window) && (share.credit > 0 || round.room < MIN_GRANT) {
            return Err(Held::Memory);
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
            return Err(Held::Rate(when.unwrap_or(now).max(now + SHORTEST)));
        }
        let granted = wanted.min(available);
        self.bucket.take(granted);
        share.bucket.take(granted);
        round.room -= granted;
        Ok(u32::try_from(granted).unwrap_or(u32::MAX))
    }
}

/// What all links hold unused stays near 2 % of a second's worth.
fn limited_window(rate: u64, links: u64) -> u64 {
    (rate / 50 / links).clamp(MIN_GRANT, MAX_WINDOW)
}

/// Smaller grants cost more than they pace.
const MIN_GRANT: u64 = 1024;
/// A link that may read less at once spends its time asking.
const MIN_WINDOW: u64 = 16 << 10;
/// Heads are shorter, and so is what small files need.
const ASK_WINDOW: u64 = 16 << 10;
/// A link that may read more at once fills the memory that others need, and cools the cache.
const MAX_WINDOW: u64 = 1 << 20;
/// Timers are not finer than this.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod model;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use proptest::prelude::*;

    #[test]
    fn unlimited_link_gets_its_window_and_no_more() {
        let now = Instant::ZERO;
        let mut flow = Flow::new(now, None, 8 << 20);
        let mut bucket = TokenBucket::new(now, None);
        let mut round = flow.round(1, 0);
        let mut share = Share { credit: 0, asking: false, bucket: &mut bucket };
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
        assert_eq!(
            flow.grant(now, &mut round, &mut Share { credit: 0, asking: false, bucket: &mut bucket }),
            Err(Held::Memory)
        );
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
            match flow.grant(now, &mut round, &mut Share { credit: 0, asking: false, bucket: &mut bucket }) {
                Ok(granted) => sum += u64::from(granted),
                Err(Held::Rate(at)) => {
                    assert!(at > now);
                    now = at;
                }
                Err(Held::Memory) => unreachable!("there is room"),
            }
        }
        assert!((rate * 10 - 50_000..=rate * 10 + 50_000).contains(&sum), "{sum}");
    }

    /// Links of one download that read in their own way for some seconds.
    struct Readers {
        flow: Flow,
        bucket: TokenBucket,
        credit: Vec<u64>,
        /// Which link is asked first: the one behind the last that was granted something.
        turn: usize,
        budget: u64,
        rng: Rng,
        /// When how much was read.
        reads: Vec<(Instant, u64)>,
    }

    impl Readers {
        fn new(links: usize, all: Option<u64>, one: Option<u64>, budget: u64, seed: [u8; 32]) -> Self {
            let now = Instant::ZERO;
            Self {
                flow: Flow::new(now, all, budget),
                bucket: TokenBucket::new(now, one),
                credit: vec![0; links],
                turn: 0,
                budget,
                rng: Rng::from_seed(seed),
                reads: Vec::new(),
            }
        }

        /// One round of grants; returns when the next one is due.
        fn round(&mut self, now: Instant) -> Option<Instant> {
            let links = self.credit.len();
            let mut round = self.flow.round(links, self.credit.iter().sum());
            let first = self.turn % links;
            let mut due = None;
            for place in (first..links).chain(0..first) {
                let share =
                    &mut Share { credit: self.credit[place], asking: false, bucket: &mut self.bucket };
                match self.flow.grant(now, &mut round, share) {
                    Ok(0) => {}
                    Ok(bytes) => {
                        self.credit[place] += u64::from(bytes);
                        self.turn = place + 1;
                    }
                    Err(Held::Rate(at)) => {
                        assert!(at > now, "a time that is not in the future");
                        due = Some(due.map_or(at, |old: Instant| old.min(at)));
                    }
                    Err(Held::Memory) => {}
                }
            }
            assert!(self.credit.iter().sum::<u64>() <= self.budget, "more than the memory there is");
            due
        }

        /// Every link reads all of its credit, or now and then nothing.
        fn read(&mut self, now: Instant, lazy: bool) {
            for credit in &mut self.credit {
                if !lazy || self.rng.below(4) > 0 {
                    self.reads.push((now, core::mem::take(credit)));
                }
            }
        }

        fn run(&mut self, seconds: u64, lazy: bool) {
            let mut now = Instant::ZERO;
            while now < Instant::ZERO + Duration::from_secs(seconds) {
                let due = self.round(now);
                self.read(now, lazy);
                // Whoever reads asks again, at the latest when the limit allows more.
                now = due.unwrap_or(now + Duration::from_millis(1)).min(now + Duration::from_millis(50));
            }
        }

        fn total(&self) -> u64 {
            self.reads.iter().map(|(_, bytes)| bytes).sum()
        }

        /// The most that was read within one second.
        fn fastest_second(&self) -> u64 {
            let (mut from, mut sum, mut most) = (0, 0, 0);
            for &(at, bytes) in &self.reads {
                sum += bytes;
                while self.reads[from].0 + Duration::from_secs(1) <= at {
                    sum -= self.reads[from].1;
                    from += 1;
                }
                most = most.max(sum);
            }
            most
        }
    }

    proptest! {
        #[test]
        fn no_credit_is_made_and_no_link_forgotten(ops in proptest::collection::vec(any::<u8>(), 0..300)) {
            model::run(&ops);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn no_second_is_faster_than_the_limit_and_ten_are_not_slower(
            links in 1usize..=64,
            limit in prop_oneof![20_000u64..1_000_000, 1_000_000u64..50_000_000],
            of_one in any::<bool>(),
            lazy in any::<bool>(),
            seed: [u8; 32],
        ) {
            let (all, one) = if of_one { (None, Some(limit)) } else { (Some(limit), Some(10 * limit)) };
            let mut readers = Readers::new(links, all, one, 8 << 20, seed);
            readers.run(10, lazy);
            let most = limit + limit / 20 + (16 << 10);
            prop_assert!(readers.fastest_second() <= most, "{} in a second", readers.fastest_second());
            prop_assert!(lazy || readers.total() >= limit * 95 / 10, "{} in ten", readers.total());
        }

        #[test]
        fn memory_is_never_exceeded(links in 1usize..=64, budget in (1u64 << 20)..(16 << 20), seed: [u8; 32]) {
            let mut readers = Readers::new(links, None, None, budget, seed);
            readers.run(1, true);
            prop_assert!(readers.total() > 0);
        }
    }
}
