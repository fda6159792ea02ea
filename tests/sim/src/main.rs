//! The simulator's command: plays one seed, sweeps a range of them, or shrinks one that fails.

use gosh_dl_sim::CrashMode;
use gosh_dl_sim::scenario::swarm::{self, SwarmScenario};
use gosh_dl_sim::scenario::{Kind, Outcome, Scenario, crash_at, run, shrink};
use gosh_dl_sim::swarm::{SwarmPlan, play};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: gosh-dl-sim --seed N [--shrink | --every-step STRIDE [--twice] | --trace]
       gosh-dl-sim --swarm-seed N [--trace]
       gosh-dl-sim --seeds A..B
       gosh-dl-sim --fresh COUNT
       gosh-dl-sim --swarm LEECHERS [--size MIB] [--seed N]";

/// What the command line asks for.
enum Task {
    One(u64),
    Trace(u64),
    SwarmSeed { seed: u64, trace: bool },
    Shrink(u64),
    EveryStep(u64, u64, bool),
    Sweep(Range<u64>),
    Swarm(SwarmPlan),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut out = io::stdout().lock();
    let Some(task) = parse(&arguments) else {
        // Nothing is lost where nobody reads.
        let _ = writeln!(out, "{USAGE}");
        return ExitCode::from(2);
    };
    // A broken rule is reported once, in the table or below it.
    std::panic::set_hook(Box::new(|_| {}));
    let sound = match task {
        Task::One(seed) => one(&mut out, seed),
        Task::Trace(seed) => traced(&mut out, seed),
        Task::SwarmSeed { seed, trace } => swarm_seed(&mut out, seed, trace),
        Task::Shrink(seed) => shrunk(&mut out, seed),
        Task::EveryStep(seed, stride, twice) => every_step(&mut out, seed, stride, twice),
        Task::Sweep(seeds) => sweep(&mut out, seeds),
        Task::Swarm(plan) => swarm(&mut out, &plan),
    };
    match sound {
        Ok(true) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn parse(arguments: &[&str]) -> Option<Task> {
    Some(match arguments {
        ["--seed", seed] => Task::One(seed.parse().ok()?),
        ["--seed", seed, "--trace"] => Task::Trace(seed.parse().ok()?),
        ["--swarm-seed", seed] => Task::SwarmSeed { seed: seed.parse().ok()?, trace: false },
        ["--swarm-seed", seed, "--trace"] => Task::SwarmSeed { seed: seed.parse().ok()?, trace: true },
        ["--seed", seed, "--shrink"] | ["--shrink", "--seed", seed] => Task::Shrink(seed.parse().ok()?),
        ["--seed", seed, "--every-step", stride, more @ ..] if matches!(more, [] | ["--twice"]) => {
            let stride = stride.parse().ok().filter(|stride| *stride > 0)?;
            Task::EveryStep(seed.parse().ok()?, stride, !more.is_empty())
        }
        ["--seeds", range] => {
            let (from, to) = range.split_once("..")?;
            Task::Sweep(from.parse().ok()?..to.parse().ok()?)
        }
        ["--fresh", count] => {
            let from = fresh_seed();
            Task::Sweep(from..from.saturating_add(count.parse().ok()?))
        }
        ["--swarm", count, more @ ..] => {
            let mut plan = SwarmPlan { leechers: count.parse().ok()?, ..SwarmPlan::new(1) };
            for pair in more.chunks(2) {
                match pair {
                    ["--size", size] => plan.len = size.parse::<u64>().ok()?.checked_mul(1 << 20)?,
                    ["--seed", seed] => plan.seed = seed.parse().ok()?,
                    _ => return None,
                }
            }
            Task::Swarm(plan)
        }
        _ => return None,
    })
}

/// A seed that nobody has played; the standard library's hash keys are random in every process.
fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 16
}

fn one(out: &mut impl Write, seed: u64) -> io::Result<bool> {
    let scenario = Scenario::generate(seed);
    let began = Instant::now();
    let outcome = run(&scenario);
    report(out, &scenario, &outcome, began.elapsed())
}

fn traced(out: &mut impl Write, seed: u64) -> io::Result<bool> {
    let scenario = Scenario::generate(seed);
    let outcome = gosh_dl_sim::scenario::run_keeping(&scenario, usize::MAX);
    writeln!(out, "{scenario:#?}\n{}", outcome.report)?;
    report(out, &scenario, &Outcome { report: String::new(), ..outcome }, Duration::ZERO)
}

fn shrunk(out: &mut impl Write, seed: u64) -> io::Result<bool> {
    let scenario = Scenario::generate(seed);
    match shrink(&scenario, SHRINK_TRIES) {
        None => one(out, seed),
        Some((smaller, outcome)) => {
            writeln!(out, "{smaller:#?}")?;
            report(out, &smaller, &outcome, Duration::ZERO)
        }
    }
}

fn swarm_seed(out: &mut impl Write, seed: u64, trace: bool) -> io::Result<bool> {
    let scenario = SwarmScenario::generate(seed);
    let began = Instant::now();
    let outcome = if trace { swarm::run_keeping(&scenario, usize::MAX) } else { swarm::run(&scenario) };
    if trace {
        writeln!(out, "{scenario:#?}")?;
    }
    if outcome.violation.is_none() && trace {
        writeln!(out, "{}", outcome.report)?;
    }
    report_of(out, seed, SWARM, &outcome, began.elapsed())
}

fn report(out: &mut impl Write, scenario: &Scenario, outcome: &Outcome, took: Duration) -> io::Result<bool> {
    report_of(out, scenario.seed, &scenario.kind.to_string(), outcome, took)
}

fn report_of(
    out: &mut impl Write,
    seed: u64,
    kind: &str,
    outcome: &Outcome,
    took: Duration,
) -> io::Result<bool> {
    if let Some(violation) = &outcome.violation {
        writeln!(out, "broken rule: {violation}\n{}", outcome.report)?;
    }
    let (steps, time) = (outcome.steps, outcome.time);
    writeln!(out, "seed {seed} ({kind}): {steps} steps, {time:.1?} virtual, {took:.3?} wall")?;
    writeln!(out, "trace hash: {:016x}", outcome.trace_hash)?;
    Ok(outcome.violation.is_none())
}

/// The same swarm with the rarest piece first and in order, against what no swarm could beat.
fn swarm(out: &mut impl Write, plan: &SwarmPlan) -> io::Result<bool> {
    let bound = plan.bound().as_secs_f64();
    let (count, mib) = (plan.leechers, plan.len >> 20);
    writeln!(out, "{count} leechers, {mib} MiB, seed {}; no swarm needs less than {bound:.1} s", plan.seed)?;
    writeln!(
        out,
        "{:<14} {:>9} {:>9} {:>9} {:>9} {:>12} {:>9}",
        "order", "complete", "median s", "last s", "x bound", "seed sent", "wall s"
    )?;
    let mut sound = true;
    for (name, sequential) in [("rarest first", false), ("sequential", true)] {
        let began = Instant::now();
        let outcome = play(&SwarmPlan { sequential, ..*plan });
        let [median, last] =
            [outcome.median(), outcome.last()].map(|time| time.unwrap_or_default().as_secs_f64());
        let (complete, ratio, wall) = (outcome.finished.len(), last / bound, began.elapsed().as_secs_f64());
        let copies = outcome.seeded as f64 / plan.len as f64;
        writeln!(
            out,
            "{name:<14} {complete:>9} {median:>9.1} {last:>9.1} {ratio:>9.2} {copies:>5.2} copies {wall:>9.1}"
        )?;
        writeln!(out, "trace hash: {:016x}", outcome.trace_hash)?;
        sound &= complete == usize::from(count);
    }
    Ok(sound)
}

/// One more crash before every step, each in a run of its own; with `twice` another one soon after, in the recovery.
fn every_step(out: &mut impl Write, seed: u64, stride: u64, twice: bool) -> io::Result<bool> {
    let scenario = Scenario::generate(seed);
    let steps = run(&scenario).steps;
    let modes = [CrashMode::Kill, CrashMode::PowerCut, CrashMode::Torn];
    let points = steps.div_ceil(stride);
    let mode = |point: u64| modes[usize::try_from(point % 3).unwrap_or_default()];
    let play = |point: u64| {
        let once = crash_at(&scenario, point * stride, mode(point));
        let soon = point * stride + 1 + point % RECOVERY;
        let played = if twice { crash_at(&once, soon, mode(point / 3)) } else { once };
        vec![Story::Http(Box::new(played))]
    };
    let again = if twice { ", and again soon after" } else { "" };
    writeln!(out, "seed {seed}: {points} crashes{again}, one every {stride} of {steps} steps")?;
    table(out, 0..points, play)
}

fn sweep(out: &mut impl Write, seeds: Range<u64>) -> io::Result<bool> {
    writeln!(out, "seeds {}..{}", seeds.start, seeds.end)?;
    table(out, seeds, |seed| {
        let swarm = (seed % SWARM_EVERY == 0).then(|| Story::Swarm(Box::new(SwarmScenario::generate(seed))));
        let http = Story::Http(Box::new(Scenario::generate(seed)));
        core::iter::once(http).chain(swarm).collect()
    })
}

/// What is played.
enum Story {
    Http(Box<Scenario>),
    Swarm(Box<SwarmScenario>),
}

impl Story {
    fn run(&self) -> Outcome {
        match self {
            Self::Http(scenario) => run(scenario),
            Self::Swarm(scenario) => swarm::run(scenario),
        }
    }

    /// The row of the table that it belongs to.
    fn row(&self) -> String {
        match self {
            Self::Http(scenario) => scenario.kind.to_string(),
            Self::Swarm(_) => SWARM.to_owned(),
        }
    }

    /// How to come back to it.
    fn name(&self) -> String {
        match self {
            Self::Http(scenario) => {
                let crash = match &scenario.crashes[..] {
                    [] => String::new(),
                    crashes => format!(" {crashes:?}"),
                };
                format!("seed {}{crash} ({})", scenario.seed, scenario.kind)
            }
            Self::Swarm(scenario) => format!("swarm-seed {}", scenario.seed),
        }
    }
}

/// Plays every scenario on all processors and prints a line for each kind.
fn table(
    out: &mut impl Write,
    seeds: Range<u64>,
    stories: impl Fn(u64) -> Vec<Story> + Sync,
) -> io::Result<bool> {
    let began = Instant::now();
    let results = play_all(seeds, &stories);
    let wall = began.elapsed();
    writeln!(
        out,
        "{:<12} {:>7} {:>14} {:>11} {:>11}",
        "scenario", "seeds", "virtual s", "wall s", "violations"
    )?;
    for kind in Kind::ALL.map(|kind| kind.to_string()).into_iter().chain([SWARM.to_owned()]) {
        let of: Vec<_> = results.iter().filter(|played| played.story.row() == kind).collect();
        let time: Duration = of.iter().map(|played| played.outcome.time).sum();
        let took: Duration = of.iter().map(|played| played.took).sum();
        let broken = of.iter().filter(|played| played.outcome.violation.is_some()).count();
        let (time, took) = (time.as_secs_f64(), took.as_secs_f64());
        writeln!(out, "{kind:<12} {:>7} {time:>14.0} {took:>11.2} {broken:>11}", of.len())?;
    }
    let mut faults = BTreeMap::<_, u64>::new();
    for (fault, times) in results.iter().flat_map(|played| &played.outcome.faults) {
        *faults.entry(*fault).or_default() += times;
    }
    let faults: Vec<String> = faults.iter().map(|(fault, times)| format!("{fault} {times}")).collect();
    writeln!(out, "met: {}", faults.join(", "))?;
    let mut hash = 0u64;
    let mut sound = true;
    for played in &results {
        hash = (hash.rotate_left(5) ^ played.outcome.trace_hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if let Some(violation) = &played.outcome.violation {
            let violation: String = violation.to_string().chars().take(200).collect();
            writeln!(out, "{}: {violation}", played.story.name())?;
            sound = false;
        }
    }
    writeln!(out, "{} scenarios in {:.1} s of wall time", results.len(), wall.as_secs_f64())?;
    writeln!(out, "trace hash: {hash:016x}")?;
    Ok(sound)
}

struct Played {
    place: u64,
    story: Story,
    outcome: Outcome,
    took: Duration,
}

fn play_all(seeds: Range<u64>, stories: &(impl Fn(u64) -> Vec<Story> + Sync)) -> Vec<Played> {
    let next = AtomicU64::new(seeds.start);
    let (sender, receiver) = mpsc::channel();
    let work = |sender: mpsc::Sender<Played>| {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= seeds.end {
                return;
            }
            for story in stories(place) {
                let began = Instant::now();
                let mut outcome = story.run();
                outcome.report.clear();
                let played = Played { place, story, outcome, took: began.elapsed() };
                if sender.send(played).is_err() {
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let sender = sender.clone();
            scope.spawn(|| work(sender));
        }
    });
    drop(sender);
    let mut results: Vec<Played> = receiver.into_iter().collect();
    results.sort_by_key(|played| played.place);
    results
}

/// An engine that starts is at work again after about so many steps.
const RECOVERY: u64 = 40;

/// Enough to get to a handful of acts.
const SHRINK_TRIES: usize = 2000;

/// The row of swarms.
const SWARM: &str = "swarm";
/// A swarm takes as long as some other scenarios together, so every second seed plays one.
const SWARM_EVERY: u64 = 2;
