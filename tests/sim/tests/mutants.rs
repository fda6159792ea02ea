//! Do the checks bite? The engine with one deliberate mistake at a time has to break a rule in a bounded number of seeds.
#![cfg(feature = "mutants")]

use gosh_dl_core::base::mutants::{self, Mutant};
use gosh_dl_sim::scenario::swarm::{self, SwarmScenario};
use gosh_dl_sim::scenario::{Outcome, Scenario, run};

/// The seed that finds it, and the rule that it breaks.
fn killer(mutant: Mutant, play: fn(u64) -> Outcome) -> Option<(u64, &'static str)> {
    mutants::set(Some(mutant));
    let found = (0..SEEDS).find_map(|seed| {
        let outcome = play(seed);
        outcome.violation.map(|violation| (seed, violation.rule))
    });
    mutants::set(None);
    found
}

fn host(seed: u64) -> Outcome {
    run(&Scenario::generate(seed))
}

fn swarm(seed: u64) -> Outcome {
    swarm::run(&SwarmScenario::generate(seed))
}

#[expect(clippy::print_stdout, reason = "which seed found what is for people, with --nocapture")]
fn assert_killed(mutants: &[Mutant], play: fn(u64) -> Outcome) {
    let found: Vec<_> = mutants.iter().map(|mutant| (*mutant, killer(*mutant, play))).collect();
    for (mutant, killer) in &found {
        println!("{mutant:?}: {killer:?}");
    }
    let alive: Vec<Mutant> =
        found.into_iter().filter(|(_, killer)| killer.is_none()).map(|(mutant, _)| mutant).collect();
    assert_eq!(alive, []);
}

#[test]
fn every_mutant_is_killed() {
    assert_killed(&Mutant::ALL, host);
}

#[test]
fn every_mutant_of_swarms_is_killed() {
    assert_killed(&Mutant::IN_SWARMS, swarm);
}

#[test]
fn without_a_mutant_the_same_seeds_break_no_rule() {
    for seed in 0..60 {
        assert_eq!(host(seed).violation, None, "seed {seed}");
        assert_eq!(swarm(seed).violation, None, "swarm of seed {seed}");
    }
}

/// Within so many seeds each has to be found.
const SEEDS: u64 = 4000;
