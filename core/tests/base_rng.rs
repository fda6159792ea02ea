//! `Rng`: bounds, spread, and that forks are apart.

use core::time::Duration;
use gosh_dl_core::base::Rng;
use proptest::prelude::any;
use proptest::{prop_assert, prop_assert_eq, proptest};

proptest! {
    #[test]
    fn below_is_below(seed: [u8; 32], bound: u64, shift in 0..64u32) {
        let mut rng = Rng::from_seed(seed);
        let bound = bound >> shift;
        for _ in 0..50 {
            let number = rng.below(bound);
            prop_assert!(number < bound || bound == 0 && number == 0);
        }
    }

    #[test]
    fn jitter_stays_within_a_quarter(seed: [u8; 32], length in any::<Duration>(), shift in 0..64u32) {
        let mut rng = Rng::from_seed(seed);
        let length = Duration::from_nanos(length.as_secs() >> shift);
        // Fractions of a nanosecond, and of a float's 53 bits.
        let slack = Duration::from_nanos(2) + length.mul_f64(1e-12);
        for _ in 0..20 {
            let varied = rng.jitter(length);
            prop_assert!(varied + slack >= length.mul_f64(0.75) && varied <= length.mul_f64(1.25) + slack);
        }
    }

    #[test]
    fn same_seed_gives_the_same_stream_and_forks_give_others(seed: [u8; 32]) {
        let (mut a, mut b) = (Rng::from_seed(seed), Rng::from_seed(seed));
        let (mut fork_a, mut fork_b) = (a.fork(), b.fork());
        let streams = [&mut a, &mut b, &mut fork_a, &mut fork_b].map(Rng::bytes::<32>);
        prop_assert_eq!((streams[0], streams[2]), (streams[1], streams[3]));
        prop_assert!(streams[0] != streams[2]);
    }
}

#[test]
fn jitter_of_the_longest_length_does_not_overflow() {
    let mut rng = Rng::from_seed([3; 32]);
    for _ in 0..100 {
        assert!(rng.jitter(Duration::MAX) >= Duration::MAX.mul_f64(0.74));
    }
}

#[test]
fn numbers_and_jitter_are_spread_evenly() {
    let mut rng = Rng::from_seed([5; 32]);
    let mut counts = [0u32; 10];
    for _ in 0..100_000 {
        counts[usize::try_from(rng.below(10)).expect("below ten")] += 1;
    }
    assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
    let second = Duration::from_secs(1);
    let mean = (0..10_000).map(|_| rng.jitter(second)).sum::<Duration>() / 10_000;
    assert!(mean.abs_diff(second) < Duration::from_millis(10), "{mean:?}");
}
