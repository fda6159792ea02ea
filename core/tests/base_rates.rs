//! `TokenBucket` and `RateMeter`: what they promise about seconds and averages.

use core::time::Duration;
use gosh_dl_core::base::{Instant, RateMeter, TokenBucket};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

/// From a modem to 100 Gbit/s, each order of magnitude as likely.
fn rate() -> impl Strategy<Value = u64> {
    (0..34u32, 0..1000u64).prop_map(|(magnitude, part)| (1 << magnitude) + (part << magnitude) / 1000)
}

/// How long to wait (microseconds), then which part of what is available to take (of 255).
fn steps(longest: u64) -> impl Strategy<Value = Vec<(u64, u8)>> {
    prop::collection::vec((0..longest, prop_oneof![2 => Just(255u8), 1 => any::<u8>()]), 1..400)
}

proptest! {
    #[test]
    fn no_second_exceeds_the_rate_by_more_than_the_burst(rate in rate(), steps in steps(100_000)) {
        let mut now = Instant::ZERO;
        let mut bucket = TokenBucket::new(now, Some(rate));
        let mut taken: Vec<(Instant, u64)> = Vec::new();
        for (wait, part) in steps {
            now += Duration::from_micros(wait);
            let tokens = (u128::from(bucket.available(now)) * u128::from(part) / 255) as u64;
            bucket.take(tokens);
            taken.push((now, tokens));
        }
        let allowed = rate + bucket.burst();
        prop_assert!(bucket.burst() <= (rate / 50).max(1024), "the burst is 2 % or one small read");
        for (from, &(start, _)) in taken.iter().enumerate() {
            let second = taken[from..].iter().take_while(|(at, _)| *at < start + SECOND);
            let total: u64 = second.map(|(_, tokens)| tokens).sum();
            prop_assert!(total <= allowed, "{total} of {allowed} in the second from {start:?}");
        }
    }

    #[test]
    fn greedy_taker_gets_the_rate_in_the_long_run(rate in rate(), steps in steps(10_000)) {
        let mut now = Instant::ZERO;
        let mut bucket = TokenBucket::new(now, Some(rate));
        let mut total = 0u64;
        for (wait, _) in steps.iter().cycle().take(4000) {
            now += Duration::from_micros(*wait);
            let tokens = bucket.available(now);
            bucket.take(tokens);
            total += tokens;
        }
        let due = u128::from(rate) * (now - Instant::ZERO).as_nanos() / 1_000_000_000;
        prop_assert!(u128::from(total) + 1 >= due * 99 / 100, "{total} of {due}");
        prop_assert!(u128::from(total) <= due, "{total} of {due}");
    }

    #[test]
    fn available_at_is_the_first_instant_with_enough(
        rate in rate(), wait in 0..100_000_000u64, taken in 0..255u64, wanted in 0..=255u64,
    ) {
        let mut bucket = TokenBucket::new(Instant::ZERO, Some(rate));
        let now = Instant::from_nanos(wait);
        let available = bucket.available(now);
        bucket.take(available * taken / 255);
        let wanted = bucket.burst() * wanted / 255;
        let at = bucket.available_at(wanted).expect("a limited bucket knows when");
        prop_assert!(bucket.clone().available(at) >= wanted);
        if at > now {
            let before = Instant::from_nanos(at.as_nanos() - 1);
            prop_assert!(bucket.clone().available(before) < wanted, "one nanosecond earlier is too early");
        }
    }

    #[test]
    fn new_rate_holds_from_the_instant_it_is_set(old in prop::option::of(rate()), new in rate(), wait in 0..2_000u64) {
        let mut bucket = TokenBucket::new(Instant::ZERO, old);
        let now = Instant::ZERO + Duration::from_millis(wait);
        bucket.set_rate(now, Some(new));
        let left = bucket.available(now);
        prop_assert!(left <= bucket.burst());
        bucket.take(left);
        let gained = bucket.available(now + Duration::from_millis(10));
        prop_assert!(gained.abs_diff(new / 100) <= 1, "{gained} after 10 ms at {new}");
    }

    #[test]
    fn constant_rate_is_measured_from_the_first_sample_on(rate in 1_000..10_000_000_000u64, wait in 1_000..30_000u64) {
        let mut meter = RateMeter::new(Instant::ZERO);
        let step = Duration::from_micros(wait);
        let (mut now, mut sent) = (Instant::ZERO, 0);
        for _ in 0..600 {
            now += step;
            let due = (u128::from(rate) * (now - Instant::ZERO).as_nanos() / 1_000_000_000) as u64;
            meter.add(now, due - sent);
            sent = due;
            if now - Instant::ZERO >= Duration::from_millis(100) {
                let measured = meter.rate(now);
                // Whole bytes per step are the resolution.
                let slack = rate / 50 + 2_000_000 / wait;
                prop_assert!(measured.abs_diff(rate) <= slack, "{measured} of {rate} at {now:?}");
            }
        }
    }
}

#[test]
fn unlimited_bucket_never_waits() {
    let mut bucket = TokenBucket::new(Instant::ZERO, None);
    bucket.take(u64::MAX);
    assert_eq!((bucket.available(Instant::ZERO), bucket.available_at(u64::MAX)), (u64::MAX, None));
    assert_eq!(bucket.burst(), u64::MAX);
}

#[test]
fn rate_of_zero_waits_for_ever() {
    let bucket = TokenBucket::new(Instant::ZERO, Some(0));
    assert_eq!(bucket.available_at(1), Some(Instant::from_nanos(u64::MAX)));
    assert_eq!(bucket.available_at(0), Some(Instant::ZERO));
    assert_eq!(bucket.clone().available(Instant::ZERO + 1_000_000 * SECOND), 0);
}

#[test]
fn extreme_rates_and_times_do_not_overflow() {
    let mut bucket = TokenBucket::new(Instant::ZERO, Some(u64::MAX));
    let end = Instant::from_nanos(u64::MAX);
    assert_eq!(bucket.available(end), bucket.burst());
    bucket.take(u64::MAX);
    assert_eq!(bucket.available_at(u64::MAX), Some(end));
}

#[test]
fn meter_forgets_within_a_few_windows() {
    let mut meter = RateMeter::new(Instant::ZERO);
    for step in 1..=500 {
        meter.add(Instant::ZERO + step * Duration::from_millis(20), 20_000);
    }
    let stopped = Instant::ZERO + 500 * Duration::from_millis(20);
    assert!(meter.rate(stopped).abs_diff(1_000_000) < 10_000);
    let later = |windows: u32| meter.clone().rate(stopped + windows * RateMeter::WINDOW);
    assert!((330_000..410_000).contains(&later(1)), "1/e after one window: {}", later(1));
    assert!(later(10) < 100);
}

#[test]
fn meter_without_samples_shows_zero() {
    let meter = RateMeter::new(Instant::ZERO);
    assert_eq!(meter.rate(Instant::ZERO), 0);
    assert_eq!(meter.rate(Instant::ZERO + SECOND), 0);
}
