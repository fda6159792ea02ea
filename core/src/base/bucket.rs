//! Policy: a token bucket, the one way in which a rate is limited.

use super::Instant;
use core::time::Duration;

/// Tokens (bytes) that accrue at a rate up to a burst. `None` is no limit.
///
/// The burst is 2 % of a second's worth, so that together with what is granted but not yet read no second
/// exceeds the rate by more than 5 %.
///
/// ```
/// use gosh_dl_core::base::{Instant, TokenBucket};
/// use std::time::Duration;
///
/// let mut bucket = TokenBucket::new(Instant::ZERO, Some(1_000_000));
/// let at = Instant::ZERO + Duration::from_millis(10);
/// assert_eq!(bucket.available(at), 10_000);
/// bucket.take(10_000);
/// assert_eq!(bucket.available(at), 0);
/// ```
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: Option<u64>,
    /// Tokens times a billion, so that no fraction is lost between refills; below zero where more was taken than there
    /// was.
    scaled: i128,
    refilled: Instant,
}

const SCALE: i128 = 1_000_000_000;

impl TokenBucket {
    /// An empty bucket that fills at `rate` bytes per second; `None` is unlimited.
    pub fn new(now: Instant, rate: Option<u64>) -> Self {
        Self { rate, scaled: 0, refilled: now }
    }

    /// The rate in bytes per second; `None` is unlimited.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Changes the rate; what has accrued stays, up to the new burst.
    pub fn set_rate(&mut self, now: Instant, rate: Option<u64>) {
        self.refill(now);
        self.rate = rate;
        self.scaled = self.scaled.min(self.scaled_burst());
    }

    /// The most tokens that it holds at once; `u64::MAX` without a limit.
    ///
    /// Tokens beyond it are lost, so whoever waits for more than half of them loses some of the rate to a late wake-up.
    pub fn burst(&self) -> u64 {
        self.rate.map_or(u64::MAX, |rate| (rate / 50).max(MIN_BURST))
    }

    /// How many bytes may pass at `now`; `u64::MAX` without a limit.
    pub fn available(&mut self, now: Instant) -> u64 {
        if self.rate.is_none() {
            return u64::MAX;
        }
        self.refill(now);
        u64::try_from(self.scaled.max(0) / SCALE).unwrap_or(u64::MAX)
    }

    /// Takes `tokens`. What goes beyond that which [`available`](Self::available) offered, as the rest of a block does,
    /// is owed: it accrues before anything is available again.
    pub fn take(&mut self, tokens: u64) {
        if self.rate.is_some() {
            self.scaled = self.scaled.saturating_sub(i128::from(tokens) * SCALE);
        }
    }

    /// When `tokens` (at most the burst) will be available: the end of time at a rate of 0, `None` without a limit.
    pub fn available_at(&self, tokens: u64) -> Option<Instant> {
        let rate = u128::from(self.rate?);
        let missing = (i128::from(tokens) * SCALE).min(self.scaled_burst()).saturating_sub(self.scaled);
        let nanos = match (missing, rate) {
            (..=0, _) => 0,
            (_, 0) => u64::MAX,
            _ => u64::try_from(missing.unsigned_abs().div_ceil(rate)).unwrap_or(u64::MAX),
        };
        Some(self.refilled + Duration::from_nanos(nanos))
    }

    fn refill(&mut self, now: Instant) {
        if let Some(rate) = self.rate {
            // Two numbers of 64 bits: the product is within 128 with a sign but for centuries of the highest rates.
            let gained = u128::from(rate) * (now - self.refilled).as_nanos();
            let gained = i128::try_from(gained).unwrap_or(i128::MAX);
            self.scaled = self.scaled.saturating_add(gained).min(self.scaled_burst());
        }
        self.refilled = self.refilled.max(now);
    }

    fn scaled_burst(&self) -> i128 {
        i128::from(self.burst()) * SCALE
    }
}

/// A bucket below this could not pay for one small read.
const MIN_BURST: u64 = 1024;

/// What has passed at one rate, and when: the judge of a bucket.
#[cfg(any(test, feature = "fuzzing"))]
#[derive(Debug, Default)]
pub(crate) struct Passed(Vec<(Instant, u64)>);

#[cfg(any(test, feature = "fuzzing"))]
impl Passed {
    pub(crate) fn add(&mut self, now: Instant, bytes: u64) {
        self.0.push((now, bytes));
    }

    /// Whether no stretch that ends now had more than what came in it and one burst.
    pub(crate) fn check(&self, rate: u64, burst: u64) {
        let Some((now, _)) = self.0.last() else { return };
        let mut sum = 0u128;
        for (at, bytes) in self.0.iter().rev() {
            sum += u128::from(*bytes);
            let came = u128::from(rate) * (*now - *at).as_nanos() / 1_000_000_000;
            assert!(sum <= came + u128::from(burst), "{sum} since {at:?} at {rate} B/s");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_beyond_what_is_there_is_paid_before_more_is_available() {
        let at = |millis| Instant::ZERO + Duration::from_millis(millis);
        let mut bucket = TokenBucket::new(Instant::ZERO, Some(100_000));
        assert_eq!(bucket.available(at(20)), 2_000);
        bucket.take(16_000);
        assert_eq!(bucket.available(at(20)), 0);
        assert_eq!(bucket.available_at(1_000), Some(at(170)));
        assert_eq!(bucket.available(at(160)), 0);
        assert_eq!(bucket.available(at(170)), 1_000);
        // Nothing is owed to nobody.
        bucket.set_rate(at(170), None);
        bucket.take(1 << 40);
        assert_eq!(bucket.available(at(170)), u64::MAX);
    }
}
