//! How fast swarms become complete, against what no swarm could beat.

use core::time::Duration;
use gosh_dl_sim::swarm::{SwarmPlan, play};

fn plan() -> SwarmPlan {
    SwarmPlan { leechers: 20, len: 8 << 20, limit: Duration::from_secs(600), ..SwarmPlan::new(1) }
}

#[test]
fn swarm_is_complete_in_less_than_three_times_the_least_time() {
    let plan = plan();
    let outcome = play(&plan);
    assert_eq!(outcome.finished.len(), 20, "everybody becomes complete while the seed lives");
    let (last, bound) = (outcome.last().unwrap(), plan.bound());
    assert!(bound <= last && last < bound * 3, "{last:?}, at least {bound:?}");
    assert!(outcome.seeded < 8 * plan.len, "the others give on what they get: {} sent", outcome.seeded);
    assert_eq!(play(&plan), outcome, "equal seeds play the same swarm");
}

#[test]
fn rarest_first_is_what_makes_it_fast() {
    let rarest = play(&plan()).last().unwrap();
    let sequential = play(&SwarmPlan { sequential: true, ..plan() }).last().unwrap();
    assert!(sequential > rarest * 2, "{sequential:?} in order, {rarest:?} with the rarest first");
}
