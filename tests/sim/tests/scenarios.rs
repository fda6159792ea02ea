//! Scenarios drawn from seeds: a fixed range, some that nobody has played, crashes at any step, and equal seeds twice.

use gosh_dl_sim::CrashMode;
use gosh_dl_sim::scenario::{Scenario, crash_at, run};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

fn holds(seed: u64) {
    let outcome = run(&Scenario::generate(seed));
    assert_eq!(outcome.violation, None, "{}", outcome.report);
}

#[test]
fn fixed_seeds_break_no_rule() {
    (0..300).for_each(holds);
}

#[test]
fn fresh_seeds_break_no_rule() {
    // The standard library's hash keys are random in every process.
    let first = RandomState::new().build_hasher().finish() >> 16;
    println!("seeds {first}..{}", first + 200);
    (first..first + 200).for_each(holds);
}

#[test]
fn crash_at_any_step_of_a_scenario_breaks_no_rule() {
    let modes = [CrashMode::Kill, CrashMode::PowerCut, CrashMode::Torn];
    for seed in [1, 3, 5] {
        let scenario = Scenario::generate(seed);
        let steps = run(&scenario).steps;
        for (mode, point) in modes.into_iter().cycle().zip((0..60).map(|part| steps * part / 60)) {
            let outcome = run(&crash_at(&scenario, point, mode));
            assert_eq!(outcome.violation, None, "seed {seed} {point} {mode:?}: {}", outcome.report);
        }
    }
}

#[test]
fn equal_seeds_play_the_same_to_the_last_bit() {
    for seed in 0..6 {
        let scenario = Scenario::generate(seed);
        assert_eq!(run(&scenario), run(&scenario));
    }
}
