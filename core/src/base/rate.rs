//! Policy: how fast something goes, as a moving average.

use super::Instant;
use core::time::Duration;

/// Bytes per second, averaged with exponential decay over about [`RateMeter::WINDOW`].
#[derive(Clone, Debug)]
pub struct RateMeter {
    rate: f64,
    pending: u64,
    since: Instant,
    started: Instant,
}

impl RateMeter {
    /// The time constant of the average.
    pub const WINDOW: Duration = Duration::from_secs(2);

    /// A meter that starts at zero.
    pub fn new(now: Instant) -> Self {
        Self { rate: 0.0, pending: 0, since: now, started: now }
    }

    /// Counts `bytes`.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        self.pending += bytes;
        if now - self.since >= Self::STEP {
            self.fold(now);
        }
    }

    /// Bytes per second at `now`. Looking changes nothing: what is said later is the same whether anybody looked.
    pub fn rate(&self, now: Instant) -> u64 {
        let mut seen = self.clone();
        if now - seen.since >= Self::STEP {
            seen.fold(now);
        }
        // A young average is corrected for the time it has not seen yet.
        let share = 1.0 - (-(seen.since - seen.started).as_secs_f64() / Self::WINDOW.as_secs_f64()).exp();
        if share <= 0.0 { 0 } else { (seen.rate / share) as u64 }
    }

    fn fold(&mut self, now: Instant) {
        let step = (now - self.since).as_secs_f64();
        let keep = (-step / Self::WINDOW.as_secs_f64()).exp();
        self.rate = self.rate * keep + (self.pending as f64 / step) * (1.0 - keep);
        self.pending = 0;
        self.since = now;
    }

    /// Samples shorter than this say more about scheduling than about the rate.
    const STEP: Duration = Duration::from_millis(20);
}
