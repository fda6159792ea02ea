//! Machine: plays a scenario: the acts, then everything is healed, and then every download has to end well.

use super::fate::address;
use super::{Act, After, DownloadPlan, HostPlan, Scenario, SourcePlan};
use crate::behaviour::{Behaviour, Resource};
use crate::image::CrashMode;
use crate::invariants::{Violation, broken};
use crate::link::Dial;
use crate::world::World;
use core::time::Duration;
use gosh_dl_core::base::disk::HashAlgorithm;
use gosh_dl_core::base::{Instant, LinkError};
use gosh_dl_core::download::{ConflictPolicy, DownloadId, ExpectedChecksum};
use gosh_dl_core::engine::DownloadState;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
    /// Where the world stood then: seed, step, time and the last actions.
    pub report: String,
    /// The hash of everything that happened.
    pub trace_hash: u64,
    /// How many steps the world made.
    pub steps: u64,
    /// How much virtual time passed.
    pub time: Duration,
    /// How often which fault was met.
    pub faults: BTreeMap<&'static str, u64>,
}

/// Plays a scenario to its end, or until a rule is broken. A panic in the engine is a broken rule too.
pub fn run(scenario: &Scenario) -> Outcome {
    run_keeping(scenario, crate::trace::Trace::KEPT)
}

/// Like [`run`], with this many actions in the report.
pub fn run_keeping(scenario: &Scenario, actions: usize) -> Outcome {
    let mut world = World::with_config(scenario.seed, scenario.config.clone());
    world.trace.kept = actions;
    let mut player = Player::new(scenario, &mut world);
    let played = catch_unwind(AssertUnwindSafe(|| player.play()));
    let faults = player.faults();
    let violation = match played {
        Ok(result) => result.err(),
        Err(panic) => Some(violation_of(panic.as_ref())),
    };
    Outcome {
        violation,
        report: world.report(),
        trace_hash: world.trace_hash(),
        steps: world.steps(),
        time: world.now() - Instant::ZERO,
        faults,
    }
}

/// The same scenario with one more crash, before the given step.
pub fn crash_at(scenario: &Scenario, step: u64, mode: CrashMode) -> Scenario {
    let mut scenario = scenario.clone();
    scenario.crashes.push((step, mode));
    scenario
}

/// The scenario that these bytes choose: a seed, a step to crash before, and how.
///
/// # Panics
///
/// Where a rule is broken.
pub fn fuzz(data: &[u8]) {
    let (seed, rest) = data.split_at(data.len().min(8));
    let mut bytes = [0; 8];
    bytes[..seed.len()].copy_from_slice(seed);
    let mut scenario = Scenario::generate(u64::from_le_bytes(bytes));
    if let [low, high, mode, ..] = rest {
        let modes = [CrashMode::Kill, CrashMode::PowerCut, CrashMode::Torn];
        let step = u64::from(u16::from_le_bytes([*low, *high]));
        scenario = crash_at(&scenario, step, modes[usize::from(*mode) % 3]);
    }
    let outcome = run(&scenario);
    assert!(outcome.violation.is_none(), "{:?}: {}", outcome.violation, outcome.report);
}

pub(super) fn violation_of(panic: &(dyn core::any::Any + Send)) -> Violation {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text");
    let first = text.lines().next().unwrap_or_default();
    match first.strip_prefix("broken rule: ").and_then(|rest| rest.split_once(": ")) {
        Some((rule, detail)) => broken(intern(rule), detail),
        None => broken("no panic", first),
    }
}

/// Rules are few; one that was broken stays in memory.
fn intern(rule: &str) -> &'static str {
    String::leak(rule.to_owned())
}

pub(super) struct Player<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) world: &'a mut World,
    /// `None` where it was not added, or is cancelled.
    pub(super) ids: Vec<Option<DownloadId>>,
    /// Cancelled without their files, so that these stay.
    left_behind: bool,
    /// How many of the crashes before given steps have come.
    crashes: usize,
    /// How often what fate does was done.
    pub(super) fates: BTreeMap<&'static str, u64>,
}

type Played = Result<(), Violation>;

impl<'a> Player<'a> {
    fn new(scenario: &'a Scenario, world: &'a mut World) -> Self {
        Self { scenario, world, ids: Vec::new(), left_behind: false, crashes: 0, fates: BTreeMap::new() }
    }

    fn play(&mut self) -> Played {
        self.build();
        for (after, act) in &self.scenario.acts {
            match after {
                After::Time(length) => self.wait(*length, |_| false),
                After::Steps(steps) => self.wait_steps(*steps),
            };
            self.act(act);
        }
        self.wait(Duration::from_secs(5), |_| false);
        self.heal();
        self.finish()?;
        self.rest()?;
        self.stop_and_start()
    }

    fn build(&mut self) {
        for plan in &self.scenario.hosts {
            self.set_up(plan);
        }
        self.world.disk.folds_case = self.scenario.folds_case;
        for name in &self.scenario.aliens {
            self.world.disk.put(World::DIR, name, ALIEN);
        }
        self.world.disk.latency = self.scenario.disk_latency;
        self.world.store.latency = self.scenario.store_latency;
        for (place, plan) in self.scenario.downloads.iter().enumerate() {
            for source in &plan.sources {
                self.serve(source, source.behaviour.clone(), false);
            }
            let later = self.scenario.acts.iter().any(|(_, act)| *act == Act::Add(place));
            let id = if later { None } else { self.add(plan) };
            self.ids.push(id);
        }
    }

    fn set_up(&mut self, plan: &HostPlan) {
        let [.., number] =
            self.scenario.hosts.iter().position(|host| host.name == plan.name).unwrap_or(0).to_be_bytes();
        let addresses: Vec<IpAddr> =
            (1..).map(|place| address(number, place)).take(plan.dials.len()).collect();
        let host = self.world.addresses(&plan.name, &addresses);
        host.dials.extend(addresses.iter().copied().zip(plan.dials.iter().copied()));
        host.profile = plan.profile.clone();
        host.rate = plan.rate;
        host.idle_timeout = plan.idle_timeout;
        (host.tls, host.cuts_tls) = (plan.tls, plan.cuts_tls);
        if let Some((connections, over)) = plan.limit {
            (host.max_connections, host.over_limit) = (connections, over);
        }
        for failure in &plan.lookups {
            self.world.names.once(&plan.name, Err(*failure));
        }
        self.world.names.delay(&plan.name, plan.lookup_latency);
    }

    pub(super) fn host_name(&self, host: usize) -> &'a str {
        self.scenario.hosts.get(host).map_or("nowhere.example", |plan| &plan.name)
    }

    fn url(&self, source: &SourcePlan) -> String {
        let scheme = if source.secure { "https" } else { "http" };
        match source.via {
            Some((host, _)) => format!("{scheme}://{}/to{}", self.host_name(host), source.target),
            None => format!("{scheme}://{}{}", self.host_name(source.host), source.target),
        }
    }

    fn serve(&mut self, source: &SourcePlan, behaviour: Behaviour, healed: bool) {
        let scheme = if source.secure { "https" } else { "http" };
        let url = format!("{scheme}://{}{}", self.host_name(source.host), source.target);
        let mut resource = Resource::new("".into());
        resource.versions.clone_from(&source.versions);
        if healed {
            resource.versions.drain(..source.versions.len() - 1);
            resource.versions[0].since = crate::behaviour::Since::Start;
        }
        if let Some((_, status)) = source.via {
            let front = self.url(source);
            self.world.serve(&front, Resource::redirect(status, &url));
        }
        self.world.serve(&url, resource.behave(behaviour));
    }

    fn add(&mut self, plan: &DownloadPlan) -> Option<DownloadId> {
        let mut options = plan.options.clone();
        options.mirrors = plan.sources[1..].iter().map(|source| self.url(source)).collect();
        let last = plan.sources[0].versions.last().filter(|_| plan.checksum);
        if let Some(version) = last {
            let digest = version.content.digest(HashAlgorithm::Sha256);
            options.checksum = Some(ExpectedChecksum { algorithm: HashAlgorithm::Sha256, digest });
        }
        let id = self.world.try_add(&self.url(&plan.sources[0]), options).ok()?;
        let versions = plan.sources.iter().flat_map(|source| &source.versions);
        self.world.expect_one_of(id, versions.map(|version| version.content.clone()).collect());
        Some(id)
    }

    /// Steps until `done` or `limit`; the crash of the scenario comes in between.
    fn wait(&mut self, limit: Duration, mut done: impl FnMut(&mut World) -> bool) -> bool {
        let end = self.world.now() + limit;
        loop {
            let crash = self.scenario.crashes.get(self.crashes).copied();
            let ended = self.world.run_until(
                |world| {
                    let crash = crash.is_some_and(|(step, _)| world.steps() >= step);
                    crash || world.steps() > MAX_STEPS || done(world)
                },
                end - self.world.now(),
            );
            let steps = self.world.steps();
            let bounded = if steps > MAX_STEPS {
                Err(broken("bounded work", &format!("{steps} steps")))
            } else {
                Ok(())
            };
            self.world.check(bounded);
            match crash.filter(|(step, _)| self.world.steps() >= *step) {
                Some((_, mode)) => {
                    self.crashes += 1;
                    self.crash(mode, Duration::ZERO);
                }
                None => return ended,
            }
        }
    }

    fn wait_steps(&mut self, steps: u64) -> bool {
        let end = self.world.steps() + steps;
        self.wait(Duration::from_secs(600), |world| world.steps() >= end)
    }

    pub(super) fn crash(&mut self, mode: CrashMode, down: Duration) {
        if !self.world.is_running() {
            return;
        }
        self.meet(match mode {
            CrashMode::Kill => "killed",
            CrashMode::PowerCut | CrashMode::Torn => "without power",
        });
        self.world.crash(mode);
        self.world.run_for(down);
        self.start();
    }

    /// A download that was never acknowledged may be gone; one that was is there.
    pub(super) fn start(&mut self) {
        let known: Vec<bool> =
            self.ids.iter().map(|id| id.is_some_and(|id| self.world.is_acknowledged(id))).collect();
        self.world.restart();
        for (id, known) in self.ids.iter_mut().zip(known) {
            let gone = id.is_some_and(|id| self.world.status(id).is_none());
            if gone && known {
                let lost = Err(broken("acknowledged downloads survive", &format!("{id:?}")));
                self.world.check(lost);
            }
            if gone {
                *id = None;
            }
        }
    }

    fn act(&mut self, act: &Act) {
        if !self.world.is_running() {
            return;
        }
        match act {
            Act::Pause(which) => self.with(*which, |world, id| _ = world.pause(id)),
            Act::Resume(which) => self.with(*which, |world, id| _ = world.resume(id)),
            Act::Priority(which, to) => self.with(*which, |world, id| _ = world.set_priority(id, *to)),
            Act::Limit(which, limit) => self.with(*which, |world, id| _ = world.set_limit(id, *limit)),
            Act::Verify(which, mend) => self.with(*which, |world, id| _ = world.ask_check(id, *mend)),
            Act::Cancel(which, delete) => {
                self.left_behind |= !delete;
                self.with(*which, |world, id| _ = world.cancel(id, *delete));
                if let Some(id) = self.ids.get_mut(*which) {
                    *id = None;
                }
            }
            Act::Add(which) => {
                if let Some(plan) = self.scenario.downloads.get(*which).filter(|_| self.ids[*which].is_none())
                {
                    self.ids[*which] = self.add(plan);
                }
            }
            Act::GlobalLimit(limit) => {
                let config = self.world.config.clone().global_download_limit(*limit);
                let _ = self.world.set_config(config);
            }
            Act::Counts(downloads, connections) => {
                let config = self.world.config.clone().max_concurrent_downloads(*downloads);
                let _ = self.world.set_config(config.max_connections_per_host(*connections));
            }
            fate => self.fate(fate),
        }
    }

    fn with(&mut self, which: usize, command: impl FnOnce(&mut World, DownloadId)) {
        if let Some(id) = self.ids.get(which).copied().flatten() {
            command(self.world, id);
        }
    }

    pub(super) fn shut_down(&mut self) {
        let gone = self.world.shutdown(SHUTDOWN_LIMIT);
        let checked =
            if gone { Ok(()) } else { Err(broken("shutdown is bounded", &format!("{SHUTDOWN_LIMIT:?}"))) };
        self.world.check(checked);
    }

    /// From now on every first source is honest and can be reached, and disk and store are sound.
    fn heal(&mut self) {
        self.world.disk.heal();
        self.world.store.heal();
        for plan in &self.scenario.hosts {
            let addresses = self.world.network.addresses_of(&plan.name);
            let host = self.world.host(&plan.name);
            (host.profile.stall_at, host.profile.reset_at) = (None, None);
            (host.tls, host.cuts_tls, host.max_connections) = (Ok(()), false, usize::MAX);
            host.dial_all(Dial::Accept, &addresses);
            self.world.names.delay(&plan.name, crate::agenda::Latency::millis(1, 20));
            let drips = |source: &SourcePlan| {
                source.behaviour.rate.is_some_and(|rate| rate < DRIP)
                    && self.host_name(source.host) == plan.name
            };
            let drips = self.scenario.downloads.iter().flat_map(|plan| &plan.sources).any(drips);
            if plan.limit.is_some() || drips {
                // Connections that were too many stay so for as long as they live, and so do those that drip. A plain end would end a body that
                // lasts as long as its connection, which nobody could tell from the whole.
                self.world.end_connections(&plan.name, LinkError::Reset);
            }
        }
        for source in self.scenario.downloads.iter().flat_map(|plan| &plan.sources) {
            self.serve(source, Behaviour::default(), true);
        }
    }

    /// Everything completes in bounded time, whatever happened before.
    fn finish(&mut self) -> Played {
        let config = self.world.config.clone().global_download_limit(None);
        let _ = self.world.set_config(config);
        let end = self.world.now() + FINISH_LIMIT;
        for _ in 0..MAX_RESUMES {
            self.resume_all();
            let mut seen = usize::MAX;
            let mut rested = false;
            let ids: Vec<DownloadId> = self.ids.iter().flatten().copied().collect();
            // A crash may leave them at rest without an event: time is kept for another round.
            self.wait((end - self.world.now().min(end)) / 2, |world| {
                if core::mem::replace(&mut seen, world.events.len()) != world.events.len() {
                    rested = ids.iter().all(|id| at_rest(world, *id));
                }
                rested
            });
            if self.all_complete() || self.world.now() >= end {
                break;
            }
        }
        // After a crash in between some may never have been added.
        let ids: Vec<DownloadId> = self.ids.iter().flatten().copied().collect();
        for id in ids {
            let state = self.world.status(id).map(|status| status.state);
            if state != Some(DownloadState::Completed) {
                return Err(broken("completes once the world is sound", &format!("{id}: {state:?}")));
            }
        }
        Ok(())
    }

    fn resume_all(&mut self) {
        let ids: Vec<DownloadId> = self.ids.iter().flatten().copied().collect();
        for id in ids {
            let _ = self.world.set_limit(id, None);
            let state = self.world.status(id).map(|status| status.state);
            if matches!(state, Some(DownloadState::Paused | DownloadState::Error { .. })) {
                self.world.resume(id);
            }
        }
    }

    fn all_complete(&mut self) -> bool {
        let ids: Vec<DownloadId> = self.ids.iter().flatten().copied().collect();
        ids.into_iter()
            .all(|id| self.world.status(id).is_none_or(|status| status.state == DownloadState::Completed))
    }

    /// Then it is quiet: nothing is held, nothing is asked, nothing but the finished files is left.
    fn rest(&mut self) -> Played {
        self.wait(Duration::from_secs(120), |_| false);
        let (links, files) = (self.world.network.links(), self.world.disk.open_files());
        if links > 0 || files > 0 || self.world.disk.operations_under_way() > 0 {
            return Err(broken("nothing is held at rest", &format!("{links} links, {files} files")));
        }
        let before = self.world.steps();
        self.wait(Duration::from_secs(60), |_| false);
        if self.world.steps() - before > 60 {
            let steps = self.world.steps() - before;
            return Err(broken("idle engine is quiet", &format!("{steps} steps in a minute")));
        }
        self.check_names()
    }

    fn check_names(&mut self) -> Played {
        let ids: Vec<DownloadId> = self.ids.iter().flatten().copied().collect();
        let finished: Vec<String> =
            ids.iter().filter_map(|id| self.world.status(*id)?.metadata.filename.clone()).collect();
        for (place, name) in finished.iter().enumerate() {
            let overwrites = self.world.config.on_conflict == ConflictPolicy::Overwrite;
            if finished[..place].contains(name) && !overwrites {
                return Err(broken("every download has a file of its own", name));
            }
        }
        let storage_failed = self.scenario.acts.iter().any(|(_, act)| {
            matches!(act, Act::DiskFault(..) | Act::DiskFull(_) | Act::StoreFault(..) | Act::ReadOnly)
        });
        let crashes =
            self.crashes > 0 || self.scenario.acts.iter().any(|(_, act)| matches!(act, Act::Crash(..)));
        for name in self.world.disk.names(World::DIR) {
            let alien = self.scenario.aliens.contains(&name);
            let known = alien || finished.contains(&name);
            if !known && !self.left_behind && !self.has_met("meddled with") && !storage_failed && !crashes {
                return Err(broken("nothing but finished files is left", &name));
            }
        }
        self.check_aliens(&finished)
    }

    fn check_aliens(&mut self, finished: &[String]) -> Played {
        if self.world.config.on_conflict == ConflictPolicy::Overwrite {
            return Ok(());
        }
        for name in &self.scenario.aliens {
            if self.world.file(name).as_deref() != Some(ALIEN) || finished.contains(name) {
                return Err(broken("other programs' files are left alone", name));
            }
        }
        Ok(())
    }

    /// What is complete stays complete, and nobody is asked for it again.
    fn stop_and_start(&mut self) -> Played {
        let before = self.requests();
        self.shut_down();
        self.start();
        self.wait(Duration::from_secs(10), |_| false);
        if !self.all_complete() {
            let states = self.world.list();
            return Err(broken("complete stays complete", &format!("{states:?}")));
        }
        if self.requests() != before {
            return Err(broken("complete is not fetched again", "requests after a restart"));
        }
        Ok(())
    }

    fn requests(&self) -> usize {
        self.scenario.hosts.iter().map(|plan| self.world.log(&plan.name).requests.len()).sum()
    }
}

fn at_rest(world: &mut World, id: DownloadId) -> bool {
    world.status(id).is_none_or(|status| status.state.is_finished() || status.state == DownloadState::Paused)
}

/// Fewer bytes a second are dripping, and not waited for in the end.
const DRIP: u64 = 1000;

/// What files of other programs hold.
pub(super) const ALIEN: &[u8] = b"not yours";

/// The engine promises thirty seconds at most; a slow store may be in the middle of a commit.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(40);

/// A few megabytes on the slowest of lines, the longest `Retry-After`, and every timeout of what hung before.
const FINISH_LIMIT: Duration = Duration::from_secs(1200);

/// What was begun in the unsound world may fail in the sound one, a few times.
const MAX_RESUMES: usize = 4;

/// A few megabytes in single bytes are many steps; a loop is more.
const MAX_STEPS: u64 = 40_000_000;
