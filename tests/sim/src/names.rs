//! Policy: the name servers of the simulated world.

use crate::agenda::Latency;
use core::time::Duration;
use gosh_dl_core::base::Rng;
use gosh_dl_core::engine::ResolveError;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// Answers look-ups from a script.
#[derive(Debug)]
pub struct Names {
    hosts: BTreeMap<String, Name>,
    /// How long an answer takes where the name has no latency of its own.
    pub latency: Latency,
    /// Every name that was looked up, in order.
    pub asked: Vec<String>,
    /// How many look-ups failed.
    pub failed: u64,
}

/// The result of one look-up.
pub type Resolution = Result<Vec<IpAddr>, ResolveError>;

#[derive(Debug)]
struct Name {
    /// Given once each, before the lasting answer.
    first: VecDeque<Resolution>,
    answer: Resolution,
    latency: Option<Latency>,
}

impl Names {
    /// No names.
    pub const fn new() -> Self {
        Self { hosts: BTreeMap::new(), latency: Latency::millis(1, 20), asked: Vec::new(), failed: 0 }
    }

    /// From now on `host` resolves to `answer`.
    pub fn set(&mut self, host: &str, answer: Resolution) {
        self.name(host).answer = answer;
    }

    /// The next look-up of `host` gets `answer`, once, before the lasting answer; several queue up.
    pub fn once(&mut self, host: &str, answer: Resolution) {
        self.name(host).first.push_back(answer);
    }

    /// Look-ups of `host` take this long.
    pub fn delay(&mut self, host: &str, latency: Latency) {
        self.name(host).latency = Some(latency);
    }

    /// Whether `host` has an address.
    pub fn knows(&self, host: &str) -> bool {
        self.hosts.get(&key(host)).is_some_and(|name| name.answer.is_ok())
    }

    /// Whether `host` resolves, now or later, to `address`.
    pub fn points_to(&self, host: &str, address: IpAddr) -> bool {
        let Some(name) = self.hosts.get(&key(host)) else { return false };
        name.first.iter().chain([&name.answer]).flatten().flatten().any(|known| *known == address)
    }

    /// Looks `host` up: the answer, and how long it takes. [`ResolveError::TimedOut`] takes [`TIMEOUT`].
    pub fn look_up(&mut self, host: &str, rng: &mut Rng) -> (Duration, Resolution) {
        self.asked.push(host.to_owned());
        let latency = self.latency;
        let Some(name) = self.hosts.get_mut(&key(host)) else {
            return (latency.draw(rng), Err(ResolveError::NotFound));
        };
        let answer = name.first.pop_front().unwrap_or_else(|| name.answer.clone());
        self.failed += u64::from(answer.is_err());
        let took = name.latency.unwrap_or(latency).draw(rng);
        let took = if answer == Err(ResolveError::TimedOut) { TIMEOUT } else { took };
        (took, answer)
    }

    fn name(&mut self, host: &str) -> &mut Name {
        self.hosts.entry(key(host)).or_insert_with(|| Name {
            first: VecDeque::new(),
            answer: Err(ResolveError::NotFound),
            latency: None,
        })
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

fn key(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// How long resolvers usually wait before they give up.
pub const TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_change_after_the_first() {
        let (mut names, mut rng) = (Names::new(), Rng::from_seed([0; 32]));
        let address: IpAddr = [10, 0, 0, 1].into();
        names.set("a.example", Ok(vec![address]));
        names.once("a.example", Err(ResolveError::Failed));
        assert_eq!(names.look_up("A.example.", &mut rng).1, Err(ResolveError::Failed));
        assert_eq!(names.look_up("a.example", &mut rng).1, Ok(vec![address]));
        assert_eq!(names.look_up("b.example", &mut rng).1, Err(ResolveError::NotFound));
        assert_eq!(names.asked.len(), 3);
    }

    #[test]
    fn silent_name_server_takes_its_time() {
        let (mut names, mut rng) = (Names::new(), Rng::from_seed([0; 32]));
        names.set("a.example", Err(ResolveError::TimedOut));
        assert_eq!(names.look_up("a.example", &mut rng), (TIMEOUT, Err(ResolveError::TimedOut)));
    }
}
