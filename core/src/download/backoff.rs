//! Policy: how long to wait before the next try: exponential backoff with jitter.

use crate::base::Rng;
use core::time::Duration;

/// Waits that double from a first length up to a longest one, each varied by up to a quarter either way, so that
/// many clients of one server do not come back in step.
///
/// ```
/// use gosh_dl_core::{base::Rng, download::backoff::Backoff};
/// use std::time::Duration;
///
/// let mut rng = Rng::from_seed([1; 32]);
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// let first = backoff.next(&mut rng);
/// assert!(first >= Duration::from_millis(750) && first <= Duration::from_millis(1250));
/// assert_eq!(backoff.failures(), 1);
/// backoff.reset();
/// assert_eq!(backoff.failures(), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits from `first` up to `max`, both before jitter. A `max` below `first` counts as `first`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max: max.max(first), failures: 0 }
    }

    /// Counts one failure and returns how long to wait before the next try.
    pub fn next(&mut self, rng: &mut Rng) -> Duration {
        let doublings = self.failures.min(MAX_DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        let even = self.first.checked_mul(1 << doublings).unwrap_or(self.max).min(self.max);
        rng.jitter(even.min(LONGEST))
    }

    /// How many failures there were since the start or the last [`reset`](Self::reset).
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Starts over from the first length: something succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// 2³¹ milliseconds are 24 days: doubling further changes nothing, and a `u32` factor holds no more.
pub(crate) const MAX_DOUBLINGS: u32 = 31;

/// A year. Whoever sets more means "never", and arithmetic on it must not overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use proptest::prelude::*;

    fn within_a_quarter(length: Duration, even: Duration) -> bool {
        // One microsecond for the rounding of the jitter.
        let slack = Duration::from_micros(1);
        length + slack >= even.mul_f64(0.75) && length <= even.mul_f64(1.25) + slack
    }

    proptest! {
        #[test]
        fn waits_double_up_to_the_longest(first in 1u64..100_000, max in 1u64..10_000_000, seed: [u8; 32]) {
            let (first, max) = (Duration::from_millis(first), Duration::from_millis(max));
            let mut rng = Rng::from_seed(seed);
            let mut backoff = Backoff::new(first, max);
            let mut even = first;
            for failures in 1..80 {
                let length = backoff.next(&mut rng);
                prop_assert!(within_a_quarter(length, even), "{length:?} is not about {even:?}");
                prop_assert_eq!(backoff.failures(), failures);
                even = (even * 2).min(max.max(first));
            }
            backoff.reset();
            prop_assert!(within_a_quarter(backoff.next(&mut rng), first));
        }

        #[test]
        fn no_setting_overflows(first: Duration, max: Duration, seed: [u8; 32]) {
            let mut rng = Rng::from_seed(seed);
            let mut backoff = Backoff::new(first, max);
            for _ in 0..100 {
                prop_assert!(backoff.next(&mut rng) <= LONGEST.mul_f64(1.25));
            }
        }
    }

    #[test]
    fn zero_stays_zero() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(backoff.next(&mut Rng::from_seed([0; 32])), Duration::ZERO);
    }
}
