//! Policy: makes a failing scenario smaller while it keeps breaking the same rule.

use super::{Outcome, Scenario, run};
use crate::behaviour::Behaviour;
use crate::link::{Dial, LinkProfile};
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::EngineConfig;

/// A smaller scenario that breaks the same rule as `failing`, and what comes of it. At most `tries` runs are made.
///
/// `None` where the scenario breaks no rule.
pub fn shrink(failing: &Scenario, tries: usize) -> Option<(Scenario, Outcome)> {
    let outcome = run(failing);
    let rule = outcome.violation.as_ref()?.rule;
    let (mut best, mut found, mut left) = (failing.clone(), outcome, tries);
    loop {
        let mut smaller = None;
        for candidate in candidates(&best) {
            if left == 0 {
                return Some((best, found));
            }
            left -= 1;
            let outcome = run(&candidate);
            if outcome.violation.as_ref().is_some_and(|violation| violation.rule == rule) {
                smaller = Some((candidate, outcome));
                break;
            }
        }
        match smaller {
            Some((candidate, outcome)) => (best, found) = (candidate, outcome),
            None => return Some((best, found)),
        }
    }
}

/// Every scenario that is one simplification away, the boldest first.
fn candidates(from: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Scenario)| {
        let mut next = from.clone();
        change(&mut next);
        if format!("{next:?}") != format!("{from:?}") {
            all.push(next);
        }
    };
    let half = from.acts.len() / 2;
    with(&|next| next.acts.truncate(half));
    with(&|next| _ = next.acts.drain(..half));
    for place in (1..from.downloads.len()).rev() {
        // Acts name downloads by their places, so only the last one can go without changing what they mean.
        with(&|next| next.downloads.truncate(place));
    }
    for place in 0..from.acts.len() {
        with(&|next| _ = next.acts.remove(place));
    }
    with(&|next| (next.aliens, next.folds_case) = (Vec::new(), false));
    with(&|next| next.config = EngineConfig::new());
    for place in 0..from.downloads.len() {
        with(&|next| next.downloads[place].sources.truncate(1));
        with(&|next| next.downloads[place].options = DownloadOptions::new());
        with(&|next| next.downloads[place].checksum = false);
        for source in 0..from.downloads[place].sources.len() {
            with(&|next| next.downloads[place].sources[source].behaviour = Behaviour::default());
            with(&|next| next.downloads[place].sources[source].via = None);
            with(&|next| next.downloads[place].sources[source].secure = false);
            with(&|next| next.downloads[place].sources[source].versions.truncate(1));
        }
    }
    for place in 0..from.hosts.len() {
        with(&|next| next.hosts[place].profile = LinkProfile::default());
        with(&|next| next.hosts[place].dials = vec![Dial::Accept]);
        with(&|next| next.hosts[place].lookups.clear());
        with(&|next| (next.hosts[place].limit, next.hosts[place].idle_timeout) = (None, None));
    }
    all
}
