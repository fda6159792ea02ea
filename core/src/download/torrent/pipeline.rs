//! Policy: how many requests are under way with one peer.
//!
//! A peer sends as long as it has requests, so they must cover its rate for longer than a round trip takes; more than
//! that only makes what was asked for come late. The window doubles each round trip until the rate follows no more
//! (slow start, as TCP has it) and then covers `QUEUE` of the rate.

use super::picker::Speed;
use crate::base::{BLOCK_LEN, Instant};
use core::time::Duration;

/// The requests of one peer.
///
/// ```
/// use gosh_dl_core::{base::Instant, download::torrent::pipeline::Pipeline};
///
/// let mut pipeline = Pipeline::new(Instant::ZERO);
/// let first = pipeline.window(0, 250);
/// pipeline.received(Instant::ZERO, 16 << 10);
/// assert_eq!(pipeline.window(0, 250), first + 1);
/// ```
#[derive(Clone, Debug)]
pub struct Pipeline {
    phase: Phase,
    /// Bytes of the epoch that is being measured, and when it began.
    epoch: u64,
    epoch_at: Instant,
    /// Bytes per second of the last whole epoch, and smoothed.
    last: u64,
    smooth: u64,
    /// Whether it chokes this side.
    choked: bool,
    /// Requests that it rejected since a block came.
    refusals: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The window grows by what arrives.
    SlowStart { window: u32 },
    /// The window follows the rate.
    Steady,
    /// Nothing came for too long: one request, to see whether it still lives.
    Snubbed,
}

impl Pipeline {
    /// A peer that was asked for nothing yet.
    pub fn new(now: Instant) -> Self {
        Self { phase: START, epoch: 0, epoch_at: now, last: 0, smooth: 0, choked: true, refusals: 0 }
    }

    /// The peer unchoked this side: it is measured anew.
    pub fn unchoked(&mut self, now: Instant) {
        self.choked = false;
        (self.epoch, self.epoch_at) = (0, now);
        if self.phase != Phase::Snubbed {
            self.phase = START;
        }
    }

    /// The peer chokes this side.
    pub fn choked(&mut self) {
        self.choked = true;
    }

    /// The peer rejected a request (BEP 6). Those of a choke say nothing of it, unless it gives the piece `despite` that.
    pub fn refused(&mut self, despite: bool) {
        self.refusals = (self.refusals + u32::from(despite || !self.choked)).min(MAX_REFUSALS);
    }

    /// Time has passed, and it may be asked once more; whether it was to be asked for nothing until now.
    pub fn forgive(&mut self) -> bool {
        let refused = self.refusals == MAX_REFUSALS;
        self.refusals = self.refusals.saturating_sub(1);
        refused
    }

    /// Payload arrived.
    pub fn received(&mut self, now: Instant, bytes: u64) {
        self.refusals = 0;
        match &mut self.phase {
            Phase::SlowStart { window } => {
                let blocks = u32::try_from(bytes.div_ceil(u64::from(BLOCK_LEN))).unwrap_or(MAX_WINDOW);
                *window = window.saturating_add(blocks).min(MAX_WINDOW);
            }
            Phase::Snubbed => {
                self.phase = START;
                (self.epoch, self.epoch_at) = (0, now);
            }
            Phase::Steady => {}
        }
        self.epoch = self.epoch.saturating_add(bytes);
        let length = now - self.epoch_at;
        if length >= EPOCH {
            self.end_epoch(now, length);
        }
    }

    /// It owes blocks for longer than [`patience`](Self::patience).
    pub fn snubbed(&mut self, now: Instant) {
        self.phase = Phase::Snubbed;
        (self.epoch, self.epoch_at) = (0, now);
        (self.last, self.smooth) = (0, 0);
    }

    /// Whether it was found to snub, and nothing came since.
    pub fn is_snubbed(&self) -> bool {
        self.phase == Phase::Snubbed
    }

    /// How many requests may be under way. `rate` is its rate in bytes per second as measured elsewhere over a longer
    /// time; `limit` is how many it says it takes (BEP 10, `reqq`). At least 1, unless it rejects whatever it is asked
    /// for: it would else be asked for the same again and again, as fast as it can say no.
    pub fn window(&self, rate: u64, limit: u32) -> usize {
        let steady = self.smooth.max(rate).saturating_mul(QUEUE.as_millis() as u64) / 1000;
        let steady = u32::try_from(steady / u64::from(BLOCK_LEN)).unwrap_or(MAX_WINDOW);
        let window = match self.phase {
            Phase::SlowStart { window } => window.max(steady),
            Phase::Steady => steady.max(MIN_WINDOW),
            Phase::Snubbed => 1,
        };
        let may_reject = if self.refusals > 0 { MAX_REFUSALS - self.refusals } else { MAX_WINDOW };
        window.min(limit.max(1)).min(may_reject) as usize
    }

    /// How fast it is, for the picker.
    pub fn speed(&self) -> Speed {
        match self.phase {
            Phase::Snubbed => Speed::Slow,
            // Nothing is known of it yet.
            _ if self.smooth == 0 => Speed::Medium,
            _ if self.smooth < SLOW => Speed::Slow,
            _ if self.smooth < FAST => Speed::Medium,
            _ => Speed::Fast,
        }
    }

    /// How long it may owe blocks before others are asked for them. `round_trip` is what the last block took from its
    /// request.
    pub fn patience(&self, round_trip: Option<Duration>) -> Duration {
        let one_block = match self.smooth {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(f64::from(BLOCK_LEN) / rate as f64),
        };
        let round_trip = round_trip.unwrap_or(Duration::ZERO).min(MAX_PATIENCE);
        (one_block * 3).max(round_trip * 2).clamp(MIN_PATIENCE, MAX_PATIENCE)
    }

    fn end_epoch(&mut self, now: Instant, length: Duration) {
        let rate = (self.epoch as f64 / length.as_secs_f64()) as u64;
        // Up at once, down slowly: a short silence does not close the window.
        self.smooth = rate.max(self.smooth - self.smooth / 4 + rate / 4);
        let grows = rate > self.last + self.last / 8;
        if matches!(self.phase, Phase::SlowStart { .. }) && !grows {
            self.phase = Phase::Steady;
        }
        self.last = rate;
        (self.epoch, self.epoch_at) = (0, now);
    }
}

/// What a peer is asked for before anything is known of it: enough for 1 MiB/s at 125 ms.
const START: Phase = Phase::SlowStart { window: 8 };
/// More rejections without any block between them are no mistake.
const MAX_REFUSALS: u32 = 64;
/// Fewer leave a hole between a block and the next request on every real network.
const MIN_WINDOW: u32 = 4;
/// How long the requests of a peer last at its rate: twice the longest round trip that is usual.
const QUEUE: Duration = Duration::from_secs(2);
/// 32 MiB under way with one peer is more than any path holds; peers that we know take no more than 2000.
const MAX_WINDOW: u32 = 2000;
/// Shorter samples say more about how blocks are bundled than about the rate.
const EPOCH: Duration = Duration::from_millis(250);
/// Bytes per second below which a peer is slow: a piece of 256 KiB takes it more than 16 s.
const SLOW: u64 = 16 << 10;
/// Bytes per second from which on a peer is fast: a piece of 256 KiB takes it half a second.
const FAST: u64 = 512 << 10;
/// A peer that is busy may take as long for a block.
const MIN_PATIENCE: Duration = Duration::from_secs(10);
/// BEP 3: after a minute without a block a peer counts as snubbing.
const MAX_PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = BLOCK_LEN as u64;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    /// `rate` bytes per second for some epochs from `from` on; returns when it ends.
    fn feed(pipeline: &mut Pipeline, from: u64, epochs: u64, rate: u64) -> u64 {
        for epoch in 1..=epochs {
            pipeline.received(at(from + epoch * 250), rate / 4);
        }
        from + epochs * 250
    }

    #[test]
    fn window_doubles_each_round_trip_while_the_rate_follows() {
        let mut pipeline = Pipeline::new(at(0));
        let mut windows = vec![pipeline.window(0, 250)];
        for trip in 1..=5 {
            let blocks = windows.last().copied().unwrap_or(0) as u64;
            pipeline.received(at(trip * 10), blocks * BLOCK);
            windows.push(pipeline.window(0, 250));
        }
        assert_eq!(windows, [8, 16, 32, 64, 128, 250]);
    }

    #[test]
    fn window_covers_two_seconds_of_a_steady_rate() {
        let mut pipeline = Pipeline::new(at(0));
        feed(&mut pipeline, 0, 8, 40 * BLOCK);
        assert_eq!(pipeline.window(0, 250), 80);
        assert_eq!(pipeline.window(0, 50), 50, "a peer is not asked for more than it takes");
    }

    #[test]
    fn window_of_a_crawling_peer_keeps_its_floor() {
        let mut pipeline = Pipeline::new(at(0));
        feed(&mut pipeline, 0, 8, 100);
        assert_eq!(pipeline.window(0, 250), 4);
        assert_eq!(pipeline.window(0, 0), 1);
    }

    #[test]
    fn no_rate_opens_the_window_beyond_its_limit() {
        let mut pipeline = Pipeline::new(at(0));
        pipeline.received(at(1), u64::MAX);
        pipeline.received(at(2), u64::MAX);
        assert_eq!(pipeline.window(u64::MAX, u32::MAX), 2000);
    }

    #[test]
    fn snubbing_peer_has_one_request_until_a_block_comes() {
        let mut pipeline = Pipeline::new(at(0));
        let now = feed(&mut pipeline, 0, 8, 40 * BLOCK);
        pipeline.snubbed(at(now));
        pipeline.unchoked(at(now));
        assert_eq!((pipeline.window(0, 250), pipeline.speed()), (1, Speed::Slow));
        pipeline.received(at(now + 1), BLOCK);
        assert!(!pipeline.is_snubbed());
        assert_eq!(pipeline.window(0, 250), 8);
    }

    #[test]
    fn speed_follows_the_rate() {
        let speed = |rate| {
            let mut pipeline = Pipeline::new(at(0));
            feed(&mut pipeline, 0, 8, rate);
            pipeline.speed()
        };
        assert_eq!(Pipeline::new(at(0)).speed(), Speed::Medium);
        assert_eq!(
            [speed(1000), speed(100_000), speed(10_000_000)],
            [Speed::Slow, Speed::Medium, Speed::Fast]
        );
    }

    #[test]
    fn patience_is_longer_with_slow_peers_and_never_longer_than_a_minute() {
        let secs = Duration::from_secs;
        let mut pipeline = Pipeline::new(at(0));
        assert_eq!(pipeline.patience(None), secs(10));
        assert_eq!(pipeline.patience(Some(secs(20))), secs(40));
        assert_eq!(pipeline.patience(Some(Duration::MAX)), secs(60));
        feed(&mut pipeline, 0, 8, 2048);
        assert_eq!(pipeline.patience(None), secs(24));
        let mut pipeline = Pipeline::new(at(0));
        feed(&mut pipeline, 0, 8, 4);
        assert_eq!(pipeline.patience(None), secs(60));
    }
}
