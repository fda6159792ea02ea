//! Monotonic instants and the wall clock, both of which only ever enter from outside.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A point on the monotonic time line of one engine, in nanoseconds since an origin that the driver chose.
///
/// There is no `now()`: a machine learns the time as the first argument of every call.
///
/// ```
/// use gosh_dl_core::base::Instant;
/// use std::time::Duration;
///
/// let start = Instant::ZERO;
/// let later = start + Duration::from_millis(5);
/// assert_eq!(later - start, Duration::from_millis(5));
/// assert_eq!(start - later, Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the time line.
    pub const ZERO: Self = Self(0);

    /// The instant that lies `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, length: Duration) {
        *self = *self + length;
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// The time from `earlier` to `self`; zero where `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// The wall clock as last reported by the driver: milliseconds since the Unix epoch at a known instant.
///
/// Used for what is defined in calendar time only (`Retry-After` dates, `created_at`); never for deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    at: Instant,
    unix_millis: u64,
}

impl WallClock {
    /// A clock that showed `unix_millis` at the instant `at`.
    pub const fn new(at: Instant, unix_millis: u64) -> Self {
        Self { at, unix_millis }
    }

    /// Milliseconds since the Unix epoch at `now`.
    pub fn unix_millis(&self, now: Instant) -> u64 {
        let elapsed = u64::try_from((now - self.at).as_millis()).unwrap_or(u64::MAX);
        self.unix_millis.saturating_add(elapsed)
    }

    /// Whole seconds since the Unix epoch at `now`.
    pub fn unix_seconds(&self, now: Instant) -> u64 {
        self.unix_millis(now) / 1000
    }
}
