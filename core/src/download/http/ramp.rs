//! Policy: how many connections a download uses. The number grows only while that makes the download faster.

use crate::base::Instant;
use core::time::Duration;

/// Doubles the number of connections, measures, and keeps the step if the download became faster by a quarter. A step
/// that did not help is kept as well while some connection was silent: then it is the server that holds connections
/// back one by one, and the path has room. After a step that did not help on a full path it goes back, and tries again
/// later, ever more rarely.
#[derive(Clone, Debug)]
pub struct Ramp {
    max: usize,
    /// What `max` goes back to, step by step, after it was capped.
    limit: usize,
    level: usize,
    before: Option<f64>,
    stage: Stage,
    pause: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Waiting until all connections of this level deliver.
    Settling { until: Instant },
    /// Counting bytes.
    Measuring { since: Instant, bytes: u64 },
    /// Not growing until then.
    Steady { until: Instant },
}

impl Ramp {
    /// Starts with one connection and never uses more than `max`.
    pub fn new(now: Instant, max: usize) -> Self {
        let stage = Stage::Settling { until: now + SETTLE };
        Self { max: max.max(1), limit: max.max(1), level: 1, before: None, stage, pause: FIRST_PAUSE }
    }

    /// How many connections are wanted.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Uses at most `max` from now on, for example because the server refuses more.
    pub fn cap(&mut self, now: Instant, max: usize) {
        self.max = self.max.min(max.max(1));
        if self.level > self.max {
            self.level = self.max;
            self.pause = self.pause.max(AFTER_REFUSAL);
            self.stage = Stage::Steady { until: now + self.pause };
        }
    }

    /// Takes notice of `received` bytes in all over a path with a round trip of `rtt`; `last_data` tells of each
    /// connection that delivers when it last did. Returns whether the level changed.
    pub fn observe(&mut self, now: Instant, received: u64, last_data: &[Instant], rtt: Duration) -> bool {
        let delivering = last_data.len();
        let window = (rtt * 2).clamp(MIN_WINDOW, MAX_WINDOW);
        match self.stage {
            Stage::Settling { until } if delivering >= self.level || now >= until => {
                self.stage = Stage::Measuring { since: now, bytes: received };
                false
            }
            Stage::Measuring { since, bytes } if now - since >= window => {
                let rate = received.saturating_sub(bytes) as f64 / (now - since).as_secs_f64();
                let full = last_data.iter().all(|&at| at >= since);
                self.judge(now, rate, full)
            }
            Stage::Steady { until } if now >= until && self.level < self.limit => {
                self.max = (self.max * 2).min(self.limit);
                self.before = None;
                self.stage = Stage::Measuring { since: now, bytes: received };
                false
            }
            _ => false,
        }
    }

    /// When [`observe`](Self::observe) has something to decide even if nothing arrives.
    pub fn deadline(&self, rtt: Duration) -> Option<Instant> {
        if self.level >= self.limit && !matches!(self.stage, Stage::Measuring { .. }) {
            return None;
        }
        Some(match self.stage {
            Stage::Settling { until } | Stage::Steady { until } => until,
            Stage::Measuring { since, .. } => since + (rtt * 2).clamp(MIN_WINDOW, MAX_WINDOW),
        })
    }

    fn judge(&mut self, now: Instant, rate: f64, full: bool) -> bool {
        let old = self.level;
        match self.before {
            Some(before) if full && rate < before * WORTH_IT => {
                self.level = (self.level / 2).max(1);
                self.stage = Stage::Steady { until: now + self.pause };
                self.pause = (self.pause * 2).min(MAX_PAUSE);
            }
            _ if self.level < self.max => {
                self.level = (self.level * 2).min(self.max);
                self.before = Some(rate);
                self.stage = Stage::Settling { until: now + SETTLE };
            }
            _ => self.stage = Stage::Steady { until: now + self.pause },
        }
        self.level != old
    }
}

/// A step must make the download faster by this factor.
const WORTH_IT: f64 = 1.25;
/// How long new connections may take to deliver before the step is judged without them.
const SETTLE: Duration = Duration::from_secs(1);
/// Shorter measurements say more about scheduling than about the path.
const MIN_WINDOW: Duration = Duration::from_millis(20);
/// Longer ones would make growing slow on long paths.
const MAX_WINDOW: Duration = Duration::from_millis(500);
/// How long after a step that did not help the next one is tried; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// A server that refused a connection is left at fewer for at least this time.
const AFTER_REFUSAL: Duration = Duration::from_secs(15);
const MAX_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a minute of a download whose speed is a function of the level, and returns the levels it went through.
    fn levels(max: usize, speed: impl Fn(usize) -> u64) -> Vec<usize> {
        let mut ramp = Ramp::new(Instant::ZERO, max);
        let (mut received, mut seen) = (0, vec![1]);
        for tick in 0..6000u64 {
            let now = Instant::from_nanos(tick * 10_000_000);
            received += speed(ramp.level()) / 100;
            let flowing = vec![now; ramp.level()];
            if ramp.observe(now, received, &flowing, Duration::from_millis(10)) {
                seen.push(ramp.level());
            }
        }
        seen
    }

    #[test]
    fn grows_to_the_maximum_while_each_connection_adds_speed() {
        assert_eq!(levels(16, |level| level as u64 * 1_000_000), [1, 2, 4, 8, 16]);
        assert_eq!(levels(6, |level| level as u64 * 1_000_000), [1, 2, 4, 6]);
    }

    #[test]
    fn goes_back_to_one_where_more_connections_do_not_help() {
        let seen = levels(16, |_| 10_000_000);
        assert_eq!(seen[..3], [1, 2, 1]);
        assert!(seen.iter().all(|&level| level <= 2), "{seen:?}");
        assert!(seen.len() < 14, "later tries become rare: {seen:?}");
    }

    #[test]
    fn stops_where_the_path_is_full() {
        let seen = levels(16, |level| (level as u64 * 3_000_000).min(12_000_000));
        assert_eq!(seen[..4], [1, 2, 4, 8]);
        assert_eq!(seen[4], 4);
    }

    #[test]
    fn grows_although_the_speed_does_not_while_the_server_holds_connections_back() {
        // Each connection gives all it may at once, and then nothing for a second.
        let mut ramp = Ramp::new(Instant::ZERO, 16);
        let mut received = 0;
        for tick in 0..100u64 {
            let now = Instant::from_nanos(tick * 10_000_000);
            let silent = vec![Instant::ZERO; ramp.level()];
            if ramp.observe(now, received, &silent, Duration::from_millis(1)) {
                received += 4_000_000;
            }
        }
        assert_eq!(ramp.level(), 16);
    }

    #[test]
    fn cap_lowers_the_level_at_once() {
        let mut ramp = Ramp::new(Instant::ZERO, 16);
        ramp.level = 8;
        ramp.cap(Instant::ZERO, 3);
        assert_eq!(ramp.level(), 3);
    }
}
