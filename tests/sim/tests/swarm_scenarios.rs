//! Swarms drawn from seeds: a fixed range, some that nobody has played, and equal seeds twice.

use gosh_dl_sim::scenario::swarm::{SwarmScenario, run};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

fn holds(seed: u64) {
    let outcome = run(&SwarmScenario::generate(seed));
    assert_eq!(outcome.violation, None, "{}", outcome.report);
}

#[test]
fn fixed_swarms_break_no_rule() {
    (0..40).for_each(holds);
}

#[test]
fn fresh_swarms_break_no_rule() {
    // The standard library's hash keys are random in every process.
    let first = RandomState::new().build_hasher().finish() >> 16;
    println!("swarms of seeds {first}..{}", first + 20);
    (first..first + 20).for_each(holds);
}

#[test]
fn equal_seeds_play_the_same_swarm_to_the_last_bit() {
    for seed in 0..3 {
        let scenario = SwarmScenario::generate(seed);
        assert_eq!(run(&scenario), run(&scenario));
    }
}
