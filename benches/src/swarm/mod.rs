//! BitTorrent: fetching from one peer and from many, seeding, and checking what is there.

mod bare;
pub(crate) mod programs;
mod stage;
mod tracker;

use crate::measure::{self, Cost};
use crate::plan::Plan;
use crate::table;
use gosh_dl_interop::lab::noise;
use programs::{Program, bare_seed, free_address};
use stage::{Serving, Stage};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Seeders in the section `many`.
const SEEDERS: usize = 20;

/// Is one of the programs that the sections start, if `word` names one.
pub(crate) fn play(word: &str, rest: &[String]) -> bool {
    match (word, rest) {
        ("bare-seed", [torrent, file, first, count]) => {
            let (first, count) = (first.parse().expect("an address"), count.parse().expect("a number"));
            bare::seed(torrent.as_ref(), file.as_ref(), first, count);
        }
        ("bare-leech", [torrent, peer, out]) => {
            bare::leech(torrent.as_ref(), peer.parse().expect("an address"), out.as_ref());
        }
        ("idle", [mode, time, dir, listen]) => crate::idle::ours(mode, time, dir.as_ref(), listen),
        _ => return false,
    }
    true
}

/// Fetches from one bare seeder.
pub(crate) fn leech(plan: &Plan) {
    let mut stage = Stage::new(plan, plan.size(2048, 512));
    let SocketAddr::V4(address) = free_address() else { return };
    let _seeder = stage.bare_seeders(vec![address]);
    let programs = [Program::Gosh, Program::Tuned, Program::Default, Program::Aria2, Program::Bare].map(Some);
    let runs = stage.fetches(&programs.into_iter().flatten().filter(|who| who.is_here()).collect::<Vec<_>>());
    let title = format!("Leech {} MiB from a bare seeder", stage.len >> 20);
    print(&title, stage.len, &runs);
    let (ours, bare) = (find(&runs, Program::Gosh), find(&runs, Program::Bare));
    let wall = ratio(ours, find(&runs, Program::Tuned), |run| run.cost.wall.as_secs_f64());
    let cpu = ratio(ours, bare, |run| run.cost.cpu.as_secs_f64());
    println!("\nwall / tuned libtorrent {wall} (wanted: at most 0.75), cpu / bare loop {cpu} (at most 1.2)");
}

/// Fetches from many seeders in one process.
pub(crate) fn many(plan: &Plan) {
    let mut stage = Stage::new(plan, plan.size(1024, 256));
    let port = free_address().port();
    let at = |number: usize| SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, 1 + number as u8), port);
    let _seeder = stage.bare_seeders((0..SEEDERS).map(at).collect());
    let programs = [Program::Gosh, Program::Tuned, Program::Default, Program::Aria2];
    let programs: Vec<_> = programs.into_iter().filter(|who| who.is_here()).collect();
    let runs = stage.fetches(&programs);
    print(&format!("Leech {} MiB from {SEEDERS} bare seeders", stage.len >> 20), stage.len, &runs);
    let ours = find(&runs, Program::Gosh);
    let others = runs.iter().filter(|run| run.program != Program::Gosh);
    let best = others.min_by_key(|run| run.cost.wall);
    println!(
        "\nwall / best peer {} (wanted: at most 0.9)",
        ratio(ours, best, |run| run.cost.wall.as_secs_f64())
    );
}

/// Serves one tuned libtorrent.
pub(crate) fn seed(plan: &Plan) {
    let mut stage = Stage::new(plan, plan.size(2048, 512));
    if !Program::Tuned.is_here() {
        println!("\nlibtorrent is not here, and it is who fetches in the section `seed`");
        return;
    }
    let programs = [Program::Gosh, Program::Bare, Program::Aria2, Program::Tuned];
    let programs: Vec<_> = programs.into_iter().filter(|who| who.is_here()).collect();
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); programs.len()];
    for round in 0..plan.rounds {
        for (program, runs) in programs.iter().zip(&mut runs) {
            let mut run = stage.serve(*program);
            run.cost.good &= round > 0 || stage.is_same();
            runs.push(run);
        }
    }
    let runs: Vec<Run> = runs.iter().map(|runs| Run::median(runs)).collect();
    let title =
        format!("Seed {} MiB to a tuned libtorrent: wall of that, the rest of the seeder", stage.len >> 20);
    print(&title, stage.len, &runs);
    let ours = find(&runs, Program::Gosh);
    let others = runs.iter().filter(|run| !matches!(run.program, Program::Gosh | Program::Bare));
    let best = others.min_by_key(|run| run.cost.cpu);
    let cpu = ratio(ours, best, |run| run.cost.cpu.as_secs_f64());
    let wall = ratio(ours, find(&runs, Program::Bare), |run| run.cost.wall.as_secs_f64());
    println!("\ncpu / best peer {cpu} (wanted: at most 0.6), wall / bare seeder {wall} (at most 1.2)");
}

/// Compares two files that lie in memory with their torrent.
pub(crate) fn check(plan: &Plan) {
    let len = plan.size(4096, 2048);
    let stage = Stage::bare(plan, len);
    let two = stage.path("www/two");
    fs::create_dir(&two).expect("a directory");
    for name in ["a", "b"] {
        stage::fill(&two.join(name), name, len / 2);
    }
    stage.make_torrent(&two);
    let programs = [Program::Gosh, Program::Bare, Program::Tuned, Program::Default, Program::Aria2];
    let programs: Vec<_> = programs.into_iter().filter(|who| who.is_here()).collect();
    let mut costs = vec![Vec::new(); programs.len()];
    for _ in 0..plan.rounds {
        for (program, costs) in programs.iter().zip(&mut costs) {
            costs.push(measure::run(&program.check(plan, &stage.subject, &stage.path("www"))));
        }
    }
    let name = |program: &Program| match program {
        Program::Bare => "two openssl dgst -sha1".to_owned(),
        program => program.name().to_owned(),
    };
    let medians = costs.iter().map(|costs| measure::median(costs));
    let rows: Vec<(String, Cost)> = programs.iter().map(name).zip(medians).collect();
    table::costs(&format!("Check {} MiB in the page cache", len >> 20), &rows);
    let (ours, limit) = (rows[0].1.wall.as_secs_f64(), rows[1].1.wall.as_secs_f64());
    println!("\nspeed / two openssl {:.2} (wanted: at least 0.95)", limit / ours);
    assert!(is_noticed(plan, &stage), "a wrong byte was not found");
}

/// Whether we find a wrong byte: who says yes to everything is fast.
fn is_noticed(plan: &Plan, stage: &Stage<'_>) -> bool {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::options().write(true).open(stage.path("www/two/b")).expect("it is there");
    file.write_all_at(&noise("wrong", 1), 123_456).expect("room");
    !measure::run(&Program::Gosh.check(plan, &stage.subject, &stage.path("www"))).good
}

/// One run of one program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    program: Program,
    cost: Cost,
    /// From the start to the first data on the disk.
    first: std::time::Duration,
}

impl Run {
    /// The medians, each figure for itself.
    fn median(runs: &[Self]) -> Self {
        let costs: Vec<Cost> = runs.iter().map(|run| run.cost).collect();
        let mut firsts: Vec<_> = runs.iter().map(|run| run.first).collect();
        firsts.sort();
        Self { program: runs[0].program, cost: measure::median(&costs), first: firsts[firsts.len() / 2] }
    }
}

impl Stage<'_> {
    /// Bare seeders in one process, of whom everybody knows.
    fn bare_seeders(&mut self, addresses: Vec<SocketAddrV4>) -> Serving {
        let (first, count) = (SocketAddr::V4(addresses[0]), addresses.len());
        self.know(addresses);
        let serving = Serving::start(&mut bare_seed(&self.subject, &self.source(), first, count));
        serving.until_it_says("seeding")
    }

    /// Runs every program once a round, in turn.
    fn fetches(&mut self, programs: &[Program]) -> Vec<Run> {
        let mut runs: Vec<Vec<Run>> = vec![Vec::new(); programs.len()];
        for round in 0..self.plan.rounds {
            for (program, runs) in programs.iter().zip(&mut runs) {
                let (cost, first) = self.fetch(*program);
                let mut run = Run { program: *program, cost, first };
                run.cost.good &= round > 0 || self.is_same();
                runs.push(run);
            }
        }
        runs.iter().map(|runs| Run::median(runs)).collect()
    }

    /// A program serves a tuned libtorrent: the wall time is that one's, the rest is the seeder's while it served.
    fn serve(&mut self, program: Program) -> Run {
        let SocketAddr::V4(listen) = free_address() else { panic!("an IPv4 address") };
        let dir = self.path("www");
        let serving = Serving::start(&mut program.seed(self.plan, &self.subject, &dir, listen.into()));
        let serving = match program {
            Program::Aria2 => serving.until_it_greets(listen.into(), &self.subject),
            _ => serving.until_it_says("seeding"),
        };
        self.know(vec![listen]);
        let before = serving.cpu();
        let (fetched, first) = self.fetch(Program::Tuned);
        let cpu = serving.cpu() - before;
        Run { program, cost: Cost { cpu, memory: serving.peak(), ..fetched }, first }
    }
}

fn find(runs: &[Run], program: Program) -> Option<&Run> {
    runs.iter().find(|run| run.program == program)
}

fn ratio(ours: Option<&Run>, theirs: Option<&Run>, figure: impl Fn(&Run) -> f64) -> String {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => format!("{:.2}", figure(ours) / figure(theirs)),
        _ => "-".to_owned(),
    }
}

fn print(title: &str, len: usize, runs: &[Run]) {
    let gib = len as f64 / f64::from(1 << 30);
    let row = |run: &Run| {
        let note = if run.cost.good { "" } else { " (FAILED)" };
        let name = if run.program == Program::Bare { "bare" } else { run.program.name() };
        let ours = runs.first().map(|run| run.cost).unwrap_or_default();
        vec![
            format!("{name}{note}"),
            format!("{:.2}", run.cost.wall.as_secs_f64()),
            format!("{:.3}", run.cost.cpu.as_secs_f64() / gib),
            format!("{:.3}", run.first.as_secs_f64()),
            format!("{:.1}", run.cost.memory as f64 / f64::from(1 << 20)),
            format!("{:.2}", run.cost.wall.as_secs_f64() / ours.wall.as_secs_f64()),
            format!("{:.2}", run.cost.cpu.as_secs_f64() / ours.cpu.as_secs_f64()),
        ]
    };
    let head = ["", "wall s", "cpu s/GiB", "first data s", "peak MiB", "wall / ours", "cpu / ours"];
    table::words(title, &head, &runs.iter().map(row).collect::<Vec<_>>());
}
