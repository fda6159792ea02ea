//! Scenarios drawn from seeds: a fixed range, some that nobody has played, crashes at any step, and equal seeds twice.

use gosh_dl_sim::CrashMode;
use gosh_dl_sim::scenario::{Outcome, Scenario, crash_at, run};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

fn holds(seed: u64) -> Outcome {
    let outcome = run(&Scenario::generate(seed));
    assert_eq!(outcome.violation, None, "{}", outcome.report);
    outcome
}

/// A fault that is never met tests nothing.
#[test]
fn fixed_seeds_break_no_rule_and_meet_every_fault() {
    let mut met = BTreeMap::<_, u64>::new();
    for seed in 0..300 {
        let outcome = holds(seed);
        outcome.faults.into_iter().for_each(|(fault, times)| *met.entry(fault).or_default() += times);
    }
    let all = [
        "asleep",
        "clock set",
        "cut off",
        "disk full",
        "killed",
        "meddled with",
        "moved",
        "not found by name",
        "not in the store",
        "not on the disk",
        "read-only",
        "redirected",
        "refused",
        "stopped",
        "too many",
        "without power",
    ];
    let never: Vec<_> =
        all.into_iter().filter(|fault| met.get(fault).is_none_or(|times| *times == 0)).collect();
    assert_eq!(never, [""; 0]);
}

#[test]
fn fresh_seeds_break_no_rule() {
    // The standard library's hash keys are random in every process.
    let first = RandomState::new().build_hasher().finish() >> 16;
    println!("seeds {first}..{}", first + 200);
    (first..first + 200).for_each(|seed| _ = holds(seed));
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
fn crash_while_it_recovers_from_a_crash_breaks_no_rule() {
    let modes = [CrashMode::Kill, CrashMode::PowerCut, CrashMode::Torn];
    let scenario = Scenario::generate(4);
    let steps = run(&scenario).steps;
    for part in 0..60u64 {
        let (point, mode) = (steps * part / 60, |of: u64| modes[(of % 3) as usize]);
        let twice = crash_at(&crash_at(&scenario, point, mode(part)), point + 1 + part % 40, mode(part / 3));
        let outcome = run(&twice);
        assert_eq!(outcome.violation, None, "{:?}: {}", twice.crashes, outcome.report);
    }
}

#[test]
fn equal_seeds_play_the_same_to_the_last_bit() {
    for seed in 0..6 {
        let scenario = Scenario::generate(seed);
        assert_eq!(run(&scenario), run(&scenario));
    }
}
