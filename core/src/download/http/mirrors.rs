//! Policy: which mirror the next connection goes to, and what a mirror's failures mean.

use crate::base::mutants::{self, Mutant};
use crate::base::{Instant, Reach, Rng};
use crate::download::backoff::Backoff;
use crate::download::error::DownloadError;
use crate::download::lease::Destination;
use crate::wire::http::{DecodeError, HttpUrl, Origin, Validator};
use core::time::Duration;

/// The position of a mirror in the order in which the user named them; 0 is the download's own URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MirrorIndex(pub usize);

/// Whether a mirror can send parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// Not known yet.
    Unknown,
    /// It did.
    Yes,
    /// It did not, or sent wrong ones.
    No,
}

/// One URL of the file, and what is known of it.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The URL as the user gave it: secrets go to its origin only.
    pub home: HttpUrl,
    /// Where it led, after redirects.
    pub url: HttpUrl,
    /// How many redirects led there.
    pub redirects: usize,
    /// Where connections may lead to.
    reach: Reach,
    /// The validator of what it has.
    pub validator: Option<Validator>,
    /// Whether it can send parts.
    pub ranges: Ranges,
    /// How many exchanges it has under way.
    pub busy: usize,
    /// How many it takes at once, until `limited_until`.
    pub max_busy: usize,
    limited_until: Instant,
    /// Whether anything of the file came from it.
    pub delivered: bool,
    /// How often its answers broke the rules.
    violations: u32,
    state: Health,
    backoff: Backoff,
    /// Bytes per second that one of its connections gives, averaged.
    rate: Option<f64>,
    last_error: Option<DownloadError>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    Usable,
    Resting { until: Instant },
    Dead,
}

impl Mirror {
    /// Whether it may still deliver, now or later.
    pub fn is_alive(&self) -> bool {
        self.state != Health::Dead
    }

    /// What its connections lead to.
    pub fn destination(&self) -> Destination {
        Destination { origin: self.url.origin().clone(), reach: self.reach, family: None, from: None }
    }

    /// Goes where a redirect leads, as far as that may.
    pub fn follow(&mut self, url: HttpUrl, reach: Reach) {
        self.redirects += 1;
        (self.url, self.reach) = (url, reach);
    }

    /// Goes back to where it began.
    pub fn go_home(&mut self) {
        self.redirects = 0;
        (self.url, self.reach) = (self.home.clone(), Reach::Anywhere);
    }
}

/// All mirrors of one download.
#[derive(Debug)]
pub struct Mirrors {
    list: Vec<Mirror>,
    max_failures: u32,
}

impl Mirrors {
    /// Mirrors that give up after `max_failures` failures in a row without progress; 0 never gives up.
    pub fn new(
        urls: impl IntoIterator<Item = HttpUrl>,
        max_failures: u32,
        first: Duration,
        longest: Duration,
    ) -> Self {
        let mirror = |url: HttpUrl| Mirror {
            home: url.clone(),
            url,
            redirects: 0,
            reach: Reach::Anywhere,
            validator: None,
            ranges: Ranges::Unknown,
            busy: 0,
            max_busy: usize::MAX,
            limited_until: Instant::ZERO,
            delivered: false,
            violations: 0,
            state: Health::Usable,
            backoff: Backoff::new(first, longest),
            rate: None,
            last_error: None,
        };
        Self { list: urls.into_iter().map(mirror).collect(), max_failures }
    }

    /// One mirror.
    pub fn at(&self, index: MirrorIndex) -> &Mirror {
        &self.list[index.0]
    }

    /// One mirror.
    pub fn at_mut(&mut self, index: MirrorIndex) -> &mut Mirror {
        &mut self.list[index.0]
    }

    /// All mirrors, in the user's order.
    pub fn iter(&self) -> impl Iterator<Item = (MirrorIndex, &Mirror)> {
        self.list.iter().enumerate().map(|(index, mirror)| (MirrorIndex(index), mirror))
    }

    /// All mirrors, in the user's order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (MirrorIndex, &mut Mirror)> {
        self.list.iter_mut().enumerate().map(|(index, mirror)| (MirrorIndex(index), mirror))
    }

    /// The mirror for the next connection: untried ones first, so that they get measured, then those whose
    /// connections are fastest, sharing evenly between equals.
    pub fn best(&self, now: Instant, whole: bool) -> Option<MirrorIndex> {
        self.best_of(now, whole, |_| true)
    }

    /// The [`best`](Self::best) of those that `allowed` lets through.
    pub fn best_of(
        &self,
        now: Instant,
        whole: bool,
        allowed: impl Fn(MirrorIndex) -> bool,
    ) -> Option<MirrorIndex> {
        let usable = |m: &Mirror| {
            let resting = matches!(m.state, Health::Resting { until } if until > now);
            m.state != Health::Dead
                && !resting
                && (m.busy < m.max_busy || m.limited_until <= now)
                && (whole || m.ranges != Ranges::No)
        };
        let score = |m: &Mirror| match m.rate {
            None if m.busy == 0 => f64::INFINITY,
            None => 0.0,
            Some(rate) => rate / (1.0 + m.busy as f64 * BALANCE),
        };
        let candidates = self.iter().filter(|&(index, m)| allowed(index) && usable(m));
        // Of equals the first, which the user named first.
        candidates
            .reduce(|best, next| if score(next.1) > score(best.1) { next } else { best })
            .map(|(index, _)| index)
    }

    /// Whether any mirror may still deliver, now or later.
    pub fn any_alive(&self) -> bool {
        self.list.iter().any(Mirror::is_alive)
    }

    /// Whether `origin` is the home of the first mirror, the only origin that headers and cookies are for.
    pub fn is_first_home(&self, origin: &Origin) -> bool {
        self.list.first().is_some_and(|m| m.home.origin() == origin)
    }

    /// When the first resting mirror wakes.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        let waking = |m: &Mirror| match m.state {
            Health::Resting { until } if until > now => Some(until),
            _ => None,
        };
        self.list.iter().filter_map(waking).min()
    }

    /// Until when a mirror rests, and why.
    pub fn rest_of(&self, index: MirrorIndex) -> Option<(Instant, &DownloadError)> {
        let mirror = self.at(index);
        match mirror.state {
            Health::Resting { until } => Some((until, mirror.last_error.as_ref()?)),
            Health::Usable | Health::Dead => None,
        }
    }

    /// The most telling error of those that have one.
    pub fn worst_error(&self) -> Option<&DownloadError> {
        self.list.iter().rev().filter_map(|m| m.last_error.as_ref()).max_by_key(|error| error.weight())
    }

    /// A failure that another try may mend. Returns whether the mirror is given up.
    pub fn failed(&mut self, now: Instant, index: MirrorIndex, error: DownloadError, rng: &mut Rng) -> bool {
        let max_failures = self.max_failures;
        let violation = matches!(error, DownloadError::Http { .. } | DownloadError::BadResponse { .. });
        let mirror = self.at_mut(index);
        mirror.violations += u32::from(violation);
        let is_other_service = matches!(error, DownloadError::Http { error: DecodeError::NotHttp, .. })
            && !mirror.delivered
            && mirror.violations >= OTHER_SERVICE;
        if mirror.violations > MAX_VIOLATIONS || is_other_service {
            // It delivers a little before each, so progress alone would keep it for ever.
            mirror.state = Health::Dead;
        }
        mirror.last_error = Some(error);
        mirror.rate = None;
        if mirror.state == Health::Dead {
            return true;
        }
        if matches!(mirror.state, Health::Resting { until } if until > now) {
            // Connections that fail together count once.
            return false;
        }
        let pause = if mutants::is(Mutant::NoBackoff) { Duration::ZERO } else { mirror.backoff.next(rng) };
        let given_up = max_failures != 0 && mirror.backoff.failures() >= max_failures;
        mirror.state = if given_up { Health::Dead } else { Health::Resting { until: now + pause } };
        given_up
    }

    /// The mirror takes no more than `busy` exchanges at once, for a while.
    pub fn limit(&mut self, now: Instant, index: MirrorIndex, busy: usize) {
        let mirror = self.at_mut(index);
        mirror.max_busy = busy;
        mirror.limited_until = now + LIMITED_FOR;
    }

    /// Leaves a mirror alone until then, because its host asked for it, and as long as it rests anyhow.
    pub fn rest(&mut self, index: MirrorIndex, until: Instant) {
        let mirror = self.at_mut(index);
        mirror.state = match mirror.state {
            Health::Dead => Health::Dead,
            Health::Resting { until: old } => Health::Resting { until: old.max(until) },
            Health::Usable => Health::Resting { until },
        };
    }

    /// A failure that no other try will mend.
    pub fn give_up(&mut self, index: MirrorIndex, error: DownloadError) {
        let mirror = self.at_mut(index);
        mirror.last_error = Some(error);
        mirror.state = Health::Dead;
    }

    /// Bytes arrived from it: earlier failures no longer count.
    pub fn progressed(&mut self, index: MirrorIndex) {
        let mirror = self.at_mut(index);
        mirror.delivered = true;
        // A rest that has begun goes on: others of its connections fail, or its host has asked for it.
        mirror.backoff.reset();
    }

    /// One of its connections gave `bytes` in `time`.
    pub fn measured(&mut self, index: MirrorIndex, bytes: u64, time: Duration) {
        if time.is_zero() || bytes == 0 {
            return;
        }
        let sample = bytes as f64 / time.as_secs_f64();
        let mirror = self.at_mut(index);
        mirror.rate = Some(mirror.rate.map_or(sample, |rate| rate.mul_add(1.0 - WEIGHT, sample * WEIGHT)));
    }

    /// Bytes per second that one connection of a mirror gives; 0 while unknown.
    pub fn rate(&self, index: MirrorIndex) -> u64 {
        self.at(index).rate.map_or(0, |rate| rate as u64)
    }

    /// Gives another chance to mirrors that were put aside because they have another file. Returns whether there are.
    pub fn revive_others(&mut self) -> bool {
        let others =
            self.list.iter_mut().filter(|m| matches!(m.last_error, Some(DownloadError::OtherFile { .. })));
        others.map(|mirror| (mirror.last_error, mirror.state) = (None, Health::Usable)).count() > 0
    }

    /// Forgets what was learned of the content, because the download starts again from zero. Dead mirrors stay dead.
    pub fn forget_content(&mut self) {
        for mirror in &mut self.list {
            mirror.validator = None;
            mirror.ranges = Ranges::Unknown;
            mirror.delivered = false;
        }
    }
}

/// Answers that break the rules are tolerated this often, whatever arrives between them.
const MAX_VIOLATIONS: u32 = 16;
/// What never delivered and twice did not even begin as HTTP does is a service of another kind.
const OTHER_SERVICE: u32 = 2;
/// A server that refused one connection more may take it after this time.
const LIMITED_FOR: Duration = Duration::from_secs(30);
/// The weight of a new measurement of a mirror's speed.
const WEIGHT: f64 = 0.3;
/// How strongly connections already there count against a mirror: equal mirrors share evenly, and one that is ten
/// times as fast gets nearly all.
const BALANCE: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(n: usize) -> Mirrors {
        let url = |i: usize| HttpUrl::parse(&format!("http://m{i}.example/f")).unwrap();
        Mirrors::new((0..n).map(url), 3, Duration::from_secs(1), Duration::from_secs(30))
    }

    const ONE: MirrorIndex = MirrorIndex(0);

    fn refused(mirrors: &Mirrors, index: MirrorIndex) -> DownloadError {
        DownloadError::Short { url: mirrors.at(index).url.clone() }
    }

    #[test]
    fn untried_mirrors_are_tried_first_and_in_order() {
        let mut m = mirrors(3);
        for expected in 0..3 {
            let best = m.best(Instant::ZERO, false).unwrap();
            assert_eq!(best, MirrorIndex(expected));
            m.at_mut(best).busy += 1;
        }
    }

    #[test]
    fn connections_go_where_they_are_fastest_and_spread_over_equals() {
        let mut m = mirrors(2);
        m.measured(MirrorIndex(0), 1_000_000, Duration::from_secs(1));
        m.measured(MirrorIndex(1), 1_000_000, Duration::from_secs(1));
        for _ in 0..8 {
            let best = m.best(Instant::ZERO, false).unwrap();
            m.at_mut(best).busy += 1;
        }
        assert_eq!((m.at(MirrorIndex(0)).busy, m.at(MirrorIndex(1)).busy), (4, 4));
        for _ in 0..20 {
            m.measured(MirrorIndex(1), 20_000_000, Duration::from_secs(1));
        }
        assert_eq!(m.best(Instant::ZERO, false), Some(MirrorIndex(1)));
    }

    #[test]
    fn failures_in_a_row_rest_and_then_end_a_mirror_but_progress_resets_them() {
        let (mut m, mut rng) = (mirrors(1), Rng::from_seed([1; 32]));
        let one = MirrorIndex(0);
        let mut now = Instant::ZERO;
        for round in 0..2 {
            let error = refused(&m, one);
            assert!(!m.failed(now, one, error.clone(), &mut rng));
            assert_eq!(m.best(now, false), None);
            now = m.next_wake(now).unwrap();
            assert!(!m.failed(now, one, error, &mut rng));
            now = m.next_wake(now).unwrap();
            if round == 0 {
                m.progressed(one);
            }
        }
        let error = refused(&m, one);
        assert!(m.failed(now, one, error, &mut rng) && !m.any_alive());
    }

    #[test]
    fn what_is_no_web_server_is_tried_twice() {
        let not_http =
            |m: &Mirrors| DownloadError::Http { url: m.at(ONE).url.clone(), error: DecodeError::NotHttp };
        let tries = |delivered: bool| {
            let (mut m, mut rng) = (mirrors(1), Rng::from_seed([1; 32]));
            m.at_mut(ONE).delivered = delivered;
            let mut now = Instant::ZERO;
            let mut tries = 1;
            while !m.failed(now, ONE, not_http(&m), &mut rng) {
                now = m.next_wake(now).unwrap();
                tries += 1;
            }
            tries
        };
        // Three in a row end a mirror anyhow.
        assert_eq!((tries(false), tries(true)), (2, 3));
    }

    #[test]
    fn mirror_that_keeps_breaking_the_rules_is_given_up_whatever_it_delivers() {
        let (mut m, mut rng) = (mirrors(1), Rng::from_seed([1; 32]));
        let one = MirrorIndex(0);
        let error = DownloadError::Http {
            url: m.at(one).url.clone(),
            error: crate::wire::http::DecodeError::ChunkSize,
        };
        for _ in 0..MAX_VIOLATIONS {
            m.failed(Instant::ZERO, one, error.clone(), &mut rng);
            m.progressed(one);
            assert!(m.any_alive());
        }
        assert!(m.failed(Instant::ZERO, one, error, &mut rng));
    }

    #[test]
    fn connections_that_fail_together_count_once() {
        let (mut m, mut rng) = (mirrors(1), Rng::from_seed([1; 32]));
        for _ in 0..10 {
            let error = refused(&m, MirrorIndex(0));
            assert!(!m.failed(Instant::ZERO, MirrorIndex(0), error, &mut rng));
        }
        assert!(m.any_alive());
    }
}
