//! Fuzzing: the small policies that many things share: rates, waits, mirrors, numbers of connections.

use super::machines::each;
use crate::base::bucket::Passed;
use crate::base::{Instant, Rng, TokenBucket};
use crate::download::DownloadError;
use crate::download::backoff::{Backoff, MAX_DOUBLINGS};
use crate::download::http::mirrors::{Mirror, MirrorIndex, Mirrors, Ranges};
use crate::download::http::ramp::Ramp;
use crate::wire::http::HttpUrl;
use arbitrary::Arbitrary;
use core::time::Duration;
use std::collections::BTreeSet;

/// What happens to a bucket.
#[derive(Arbitrary, Debug)]
enum Drop {
    /// So much of what is there; who takes all may take a little more.
    Take(u8, u8),
    Rate(Option<u32>),
    Micros(u16),
    Nanos(u64),
    Await(u8),
}

/// In any stretch of time no more passes than the rate allows, one burst, and once what was taken beyond what was there;
/// what was said to be there at an instant is there then and not before.
pub fn token_bucket(data: &[u8]) {
    let (mut now, mut rate) = (Instant::ZERO, Some(1_000_000));
    let mut bucket = TokenBucket::new(now, rate);
    let (mut passed, mut owed) = (Passed::default(), 0);
    each(data, |step: Drop| match step {
        Drop::Take(part, beyond) => {
            let there = bucket.available(now);
            // As the rest of a block: who found nothing takes nothing.
            let more = if part == 255 && there > 0 { beyond.into() } else { 0 };
            let tokens = if rate.is_some() { share(there, part) + more } else { u64::from(part) << 20 };
            bucket.take(tokens);
            passed.add(now, tokens);
            owed = more.max(owed);
            rate.into_iter().for_each(|rate| passed.check(rate, bucket.burst() + owed));
        }
        Drop::Rate(new) => {
            rate = new.map(u64::from);
            bucket.set_rate(now, rate);
            passed = Passed::default();
            assert!(bucket.available(now) <= bucket.burst(), "more than it holds");
            assert!(rate.is_none_or(|rate| bucket.burst() <= (rate / 50).max(1024)));
        }
        Drop::Micros(micros) => now += Duration::from_micros(micros.into()),
        Drop::Nanos(nanos) => now += Duration::from_nanos(nanos % DAY),
        Drop::Await(part) => {
            bucket.available(now);
            let wanted = share(bucket.burst(), part);
            let Some(at) = bucket.available_at(wanted) else { return assert_eq!(rate, None) };
            if at > now && at.as_nanos() < u64::MAX {
                let before = Instant::from_nanos(at.as_nanos() - 1);
                assert!(wanted == 0 || bucket.clone().available(before) < wanted, "it is there before");
                now = at;
            }
            assert!(rate == Some(0) || bucket.available(now) >= wanted, "it is not there then");
        }
    });
}

fn share(of: u64, part: u8) -> u64 {
    u64::try_from(u128::from(of) * u128::from(part) / 255).unwrap_or(of)
}

/// Waits are about the first doubled as often as it failed, at most the longest, and never overflow.
pub fn backoff(data: &[u8]) {
    let Some((settings, steps)) = data.split_first_chunk::<4>() else { return };
    // From a millisecond to ages: each magnitude is as likely.
    let length = |[magnitude, part]: [u8; 2]| {
        let nanos = (u128::from(part) + 1) << (20 + magnitude % 60);
        let nanos_per_sec = 1_000_000_000;
        Duration::new(
            u64::try_from(nanos / nanos_per_sec).unwrap_or(u64::MAX),
            (nanos % nanos_per_sec) as u32,
        )
    };
    let [a, b, c, d] = *settings;
    let (first, longest) = (length([a, b]), length([c, d]));
    let (mut backoff, mut rng) = (Backoff::new(first, longest), Rng::from_seed([d; 32]));
    let (mut even, mut failures) = (first.min(YEAR), 0);
    for step in steps.iter().take(200) {
        if step % 8 == 7 {
            backoff.reset();
            (even, failures) = (first.min(YEAR), 0);
        } else {
            let wait = backoff.next(&mut rng);
            let (least, most) = (even.mul_f64(0.75), even.mul_f64(1.25));
            // Jitter is reckoned in floating point.
            let slack = Duration::from_micros(1) + even / 1_000_000;
            assert!(wait + slack >= least && wait <= most + slack, "{wait:?} is not about {even:?}");
            if failures < MAX_DOUBLINGS {
                even = even.saturating_mul(2).min(longest.max(first)).min(YEAR);
            }
            failures += 1;
        }
        assert_eq!(backoff.failures(), failures);
    }
}

/// What happens to the mirrors of a download.
#[derive(Arbitrary, Debug)]
enum Mirrored {
    Begin(bool),
    End(u8),
    Fail(u8),
    GiveUp(u8),
    Progress(u8),
    Measure(u8, u16, u16),
    NoRanges(u8),
    Limit(u8, u8),
    Rest(u8, u8),
    Wait(u16),
}

/// The best mirror is alive, awake and has room, and there is one wherever one is; each is given up after as many failures
/// in a row as were set.
pub fn mirrors(data: &[u8]) {
    let mut world = MirrorWorld::new();
    each(data, |step: Mirrored| {
        world.step(step);
        world.check();
    });
}

/// What is known of a mirror, the simple way.
#[derive(Clone, Debug, Default)]
struct MirrorModel {
    failures: u32,
    resting: Option<Instant>,
    dead: bool,
    limit: Option<(usize, Instant)>,
}

struct MirrorWorld {
    mirrors: Mirrors,
    models: Vec<MirrorModel>,
    rng: Rng,
    now: Instant,
}

impl MirrorWorld {
    fn new() -> Self {
        let url = |index| HttpUrl::parse(&format!("http://m{index}.example/f")).expect("it is a URL");
        let (first, longest) = (Duration::from_secs(1), LONGEST_REST);
        let mirrors = Mirrors::new((0..MIRRORS).map(url), MAX_FAILURES, first, longest);
        let models = vec![MirrorModel::default(); MIRRORS];
        Self { mirrors, models, rng: Rng::from_seed([3; 32]), now: Instant::ZERO }
    }

    fn step(&mut self, step: Mirrored) {
        let index = |number: u8| MirrorIndex(usize::from(number) % MIRRORS);
        match step {
            Mirrored::Begin(whole) => {
                let best = self.mirrors.best(self.now, whole);
                best.into_iter().for_each(|best| self.mirrors.at_mut(best).busy += 1);
            }
            Mirrored::End(number) => {
                let mirror = self.mirrors.at_mut(index(number));
                mirror.busy = mirror.busy.saturating_sub(1);
            }
            Mirrored::Fail(number) => self.fail(index(number)),
            Mirrored::GiveUp(number) => {
                let error = self.error(index(number));
                self.mirrors.give_up(index(number), error);
                self.models[index(number).0].dead = true;
            }
            Mirrored::Progress(number) => {
                self.mirrors.progressed(index(number));
                self.models[index(number).0].failures = 0;
            }
            Mirrored::Measure(number, kib, millis) => {
                let (bytes, time) = (u64::from(kib) << 10, Duration::from_millis(millis.into()));
                self.mirrors.measured(index(number), bytes, time);
            }
            Mirrored::NoRanges(number) => self.mirrors.at_mut(index(number)).ranges = Ranges::No,
            Mirrored::Limit(number, most) => {
                self.mirrors.limit(self.now, index(number), most.into());
                self.models[index(number).0].limit = Some((most.into(), self.now + LIMITED_FOR));
            }
            Mirrored::Rest(number, seconds) => {
                let until = self.now + Duration::from_secs(seconds.into());
                self.mirrors.rest(index(number), until);
                let model = &mut self.models[index(number).0];
                model.resting = model.resting.max(Some(until));
            }
            Mirrored::Wait(millis) => self.now += Duration::from_millis(millis.into()),
        }
    }

    fn error(&self, index: MirrorIndex) -> DownloadError {
        DownloadError::Short { url: self.mirrors.at(index).url.clone() }
    }

    fn fail(&mut self, index: MirrorIndex) {
        let error = self.error(index);
        let (rested, before) = (self.is_resting(index), self.wakes());
        let given_up = self.mirrors.failed(self.now, index, error, &mut self.rng);
        let after = self.wakes();
        let model = &mut self.models[index.0];
        if !model.dead && !rested {
            model.failures += 1;
            model.dead = model.failures >= MAX_FAILURES;
            // How long it rests is chance.
            model.resting = after.difference(&before).next().copied();
            let rest = model.resting.map(|until| until - self.now);
            let usual = Duration::from_millis(749)..LONGEST_REST.mul_f64(1.251);
            assert!(model.dead || rest.is_some_and(|rest| usual.contains(&rest)), "{rest:?}");
        }
        assert_eq!(given_up, model.dead);
    }

    /// When those wake that rest.
    fn wakes(&self) -> BTreeSet<Instant> {
        core::iter::successors(self.mirrors.next_wake(self.now), |at| self.mirrors.next_wake(*at)).collect()
    }

    fn is_resting(&self, index: MirrorIndex) -> bool {
        self.models[index.0].resting.is_some_and(|until| until > self.now)
    }

    fn check(&self) {
        for whole in [false, true] {
            let best = self.mirrors.best(self.now, whole);
            let usable = |(index, mirror): &(MirrorIndex, &Mirror)| {
                let model = &self.models[index.0];
                let parts = whole || mirror.ranges != Ranges::No;
                let room = model.limit.is_none_or(|(most, until)| mirror.busy < most || self.now >= until);
                !model.dead && !self.is_resting(*index) && room && parts
            };
            let choice: Vec<MirrorIndex> =
                self.mirrors.iter().filter(usable).map(|(index, _)| index).collect();
            assert_eq!(best.is_some(), !choice.is_empty());
            assert!(best.is_none_or(|best| choice.contains(&best)), "{best:?} is not one of {choice:?}");
        }
        assert!(self.mirrors.next_wake(self.now).is_none_or(|at| at > self.now));
        assert_eq!(self.mirrors.any_alive(), self.models.iter().any(|model| !model.dead));
    }
}

/// What a download sees of its connections.
#[derive(Arbitrary, Debug)]
enum Flowing {
    Observe { bytes: u32, delivering: u8, silent: u8, millis: u16 },
    Due(u16),
    Cap(u8),
}

/// There is always one connection, never more than were set or capped; each change is at most a doubling or a halving, is
/// told, and the next look is later.
pub fn ramp(data: &[u8]) {
    let Some((&most, steps)) = data.split_first() else { return };
    let (mut now, mut received, rtt) = (Instant::ZERO, 0, Duration::from_millis(u64::from(most) * 3));
    let mut ramp = Ramp::new(now, most.into());
    let most = usize::from(most).max(1);
    each(steps, |step: Flowing| {
        let before = ramp.level();
        let mut observe = |ramp: &mut Ramp, now: Instant, last: &[Instant], bytes: u32| {
            received += u64::from(bytes);
            let changed = ramp.observe(now, received, last, rtt);
            assert_eq!(changed, ramp.level() != before, "what changes is told");
            assert!((before / 2..=before * 2).contains(&ramp.level()), "{before} became {}", ramp.level());
        };
        match step {
            Flowing::Observe { bytes, delivering, silent, millis } => {
                let count = usize::from(delivering) % (before + 1);
                let last = |connection| if connection < usize::from(silent) { Instant::ZERO } else { now };
                let last: Vec<Instant> = (0..count).map(last).collect();
                observe(&mut ramp, now, &last, bytes);
                now += Duration::from_millis(millis.into());
            }
            Flowing::Due(kib) => {
                let Some(at) = ramp.deadline(rtt) else { return };
                now = now.max(at);
                observe(&mut ramp, now, &vec![now; before], u32::from(kib) << 10);
                assert!(ramp.deadline(rtt).is_none_or(|at| at > now), "no progress (I2)");
            }
            Flowing::Cap(cap) => {
                ramp.cap(now, cap.into());
                assert!(ramp.level() <= usize::from(cap).max(1), "a cap holds at once");
            }
        }
        assert!((1..=most).contains(&ramp.level()), "{} of {most}", ramp.level());
    });
}

const MIRRORS: usize = 4;
const MAX_FAILURES: u32 = 3;
const LONGEST_REST: Duration = Duration::from_secs(9);
/// A server that refused one connection more is left at fewer for this long.
const LIMITED_FOR: Duration = Duration::from_secs(30);
/// In nanoseconds.
const DAY: u64 = 24 * 3600 * 1_000_000_000;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn small_policies_keep_their_promises(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            for body in [super::backoff, super::mirrors, super::ramp, super::token_bucket] {
                body(&data);
            }
        }
    }
}
