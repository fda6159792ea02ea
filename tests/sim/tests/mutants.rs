//! Do the checks bite? The engine with one deliberate mistake at a time has to break a rule in a bounded number of seeds.
#![cfg(feature = "mutants")]

use gosh_dl_core::base::mutants::{self, Mutant};
use gosh_dl_sim::scenario::{Scenario, run};

/// The seed that finds it, and the rule that it breaks.
fn killer(mutant: Mutant) -> Option<(u64, &'static str)> {
    mutants::set(Some(mutant));
    let found = (0..SEEDS).find_map(|seed| {
        let outcome = run(&Scenario::generate(seed));
        outcome.violation.map(|violation| (seed, violation.rule))
    });
    mutants::set(None);
    found
}

#[test]
fn every_mutant_is_killed() {
    let found = Mutant::ALL.map(|mutant| (mutant, killer(mutant)));
    for (mutant, killer) in found {
        println!("{mutant:?}: {killer:?}");
    }
    let alive: Vec<Mutant> =
        found.into_iter().filter(|(_, killer)| killer.is_none()).map(|(mutant, _)| mutant).collect();
    assert_eq!(alive, []);
}

#[test]
fn without_a_mutant_the_same_seeds_break_no_rule() {
    for seed in 0..60 {
        assert_eq!(run(&Scenario::generate(seed)).violation, None, "seed {seed}");
    }
}

/// Within so many seeds each has to be found.
const SEEDS: u64 = 4000;
