//! The sections: what is compared with what.

use crate::contender::{Job, Who};
use crate::embedder::Runtime;
use crate::measure::{self, Cost};
use crate::plan::Plan;
use crate::table;
use gosh_dl_interop::certificates::Authority;
use gosh_dl_interop::lab::noise;
use gosh_dl_interop::nginx::{Server, Site};
use gosh_dl_interop::{log, signal};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

/// Sources are made in blocks of this size, each with bytes of its own.
const BLOCK: usize = 64 << 20;

/// Runs the sections of a plan.
pub(crate) fn run(plan: &Plan) {
    assert!(plan.program.is_file(), "{} is missing: build it, or set GOSH_DL", plan.program.display());
    for section in &plan.sections {
        let bench = Bench::new(plan);
        match section.as_str() {
            "http" => bench.http(),
            "tls" => bench.tls(),
            "capped" => bench.capped(),
            "files" => bench.files(),
            "startup" => bench.startup(),
            "checksum" => bench.checksum(),
            "resume" => bench.resume(),
            "runtimes" => bench.runtimes(),
            "stores" => crate::stores::run(plan.quick),
            "decode" => crate::micro::decode(),
            "picker" => crate::micro::picker(),
            "leech" => crate::swarm::leech(plan),
            "seed" => crate::swarm::seed(plan),
            "many" => crate::swarm::many(plan),
            "idle" => crate::idle::run(plan),
            "check" => crate::swarm::check(plan),
            _ => crate::micro::run(),
        }
    }
}

struct Bench<'a> {
    plan: &'a Plan,
    dir: TempDir,
}

impl<'a> Bench<'a> {
    fn new(plan: &'a Plan) -> Self {
        let dir = measure::memory_dir();
        fs::create_dir(dir.path().join("www")).expect("a directory");
        Self { plan, dir }
    }

    fn site(&self) -> Site {
        Site::new(self.dir.path()).rule("sendfile_max_chunk 2m; keepalive_requests 100000;")
    }

    fn serve(&self, len: usize) {
        let mut file = File::create(self.source()).expect("room in memory");
        for (i, at) in (0..len).step_by(BLOCK).enumerate() {
            file.write_all(&noise(&i.to_string(), BLOCK.min(len - at))).expect("room in memory");
        }
    }

    fn is_same(&self, job: &Job) -> bool {
        let mut command = Command::new("cmp");
        command.arg("-s").arg(self.source()).arg(job.dir.join("out"));
        command.status().is_ok_and(|status| status.success())
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("www/big")
    }

    fn fresh(&self) -> PathBuf {
        let dir = self.dir.path().join("to");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("a directory");
        dir
    }

    fn job(&self, server: &Server, path: &str, connections: usize) -> Job {
        Job { url: server.url(path), dir: self.fresh(), connections, authority: None, sha256: None }
    }

    fn compare(&self, title: &str, contenders: &[(&str, Who, Job)]) -> Vec<Cost> {
        self.compare_often(self.plan.rounds, title, contenders)
    }

    /// Runs every contender once a round, in turn, and prints their medians. The first round's files are compared.
    fn compare_often(&self, rounds: usize, title: &str, contenders: &[(&str, Who, Job)]) -> Vec<Cost> {
        let mut costs = vec![Vec::new(); contenders.len()];
        for round in 0..rounds {
            for ((_, who, job), costs) in contenders.iter().zip(&mut costs) {
                self.fresh();
                let mut cost = measure::run(&who.fetch(self.plan, job));
                cost.good &= round > 0 || self.is_same(job);
                costs.push(cost);
            }
        }
        self.fresh();
        let medians: Vec<Cost> = costs.iter().map(|costs| measure::median(costs)).collect();
        let name = |(name, who, _): &(&str, Who, Job)| format!("{}{name}", who.name());
        let rows: Vec<(String, Cost)> = contenders.iter().map(name).zip(medians.iter().copied()).collect();
        table::costs(title, &rows);
        medians
    }

    fn http(&self) {
        let len = self.plan.mib(4096);
        self.serve(len);
        let server = self.site().rule("access_log off;").start();
        for connections in [1, 4, 16] {
            let job = self.job(&server, "/big", connections);
            let row = |who| ("", who, job.clone());
            let contenders =
                [row(Who::Gosh), row(Who::Limit), row(Who::Aria2), (" (1)", Who::Curl, job.clone())];
            self.compare(&format!("HTTP, {} MiB, {connections} connections", len >> 20), &contenders);
        }
    }

    /// The same download on each runtime: by the program, which keeps its state, and by the least program around an engine.
    fn runtimes(&self) {
        let len = self.plan.mib(4096);
        self.serve(len);
        let server = self.site().rule("access_log off;").start();
        for connections in [1, 16] {
            let job = self.job(&server, "/big", connections);
            let mut contenders = vec![(" on tokio", Who::Gosh, job.clone()), ("", Who::Smol, job.clone())];
            contenders.extend(Runtime::ALL.map(|runtime| ("", Who::Embedder(runtime), job.clone())));
            let medians =
                self.compare(&format!("Runtimes, {} MiB, {connections} connections", len >> 20), &contenders);
            let per_gib = |cost: &Cost| cost.cpu.as_secs_f64() * f64::from(1 << 30) / len as f64;
            let each = contenders
                .iter()
                .zip(&medians)
                .map(|((name, who, _), cost)| format!("{}{name} {:.3}", who.name(), per_gib(cost)));
            println!("\nCPU seconds per GiB: {}", each.collect::<Vec<_>>().join("; "));
        }
    }

    fn tls(&self) {
        let len = self.plan.mib(2048);
        self.serve(len);
        let authority = Authority::new(self.dir.path());
        let site = self.site().rule("access_log off; ssl_conf_command MinProtocol TLSv1.3;");
        let server = site.tls(&authority.good()).start();
        for connections in [1, 8] {
            let job = Job { authority: Some(authority.file()), ..self.job(&server, "/big", connections) };
            let contenders =
                [("", Who::Gosh, job.clone()), ("", Who::Aria2, job.clone()), (" (1)", Who::Curl, job)];
            self.compare(&format!("TLS 1.3, {} MiB, {connections} connections", len >> 20), &contenders);
        }
    }

    fn capped(&self) {
        const RATE: usize = 4 << 20;
        let len = self.plan.mib(if self.plan.quick { 256 } else { 64 });
        self.serve(len);
        let server = self.site().rule("access_log off;").under("/capped/", "limit_rate 4m;").start();
        for connections in [1, 4, 16] {
            let job = self.job(&server, "/capped/big", connections);
            let contenders = [("", Who::Gosh, job.clone()), ("", Who::Aria2, job)];
            let ideal = len as f64 / (connections * RATE) as f64;
            let title = format!(
                "4 MiB/s per connection, {} MiB, {connections} connections: {ideal:.2} s is ideal",
                len >> 20
            );
            let medians = self.compare(&title, &contenders);
            println!("\ngosh-dl / ideal = {:.3}", medians[0].wall.as_secs_f64() / ideal);
        }
    }

    fn files(&self) {
        const FILES: usize = 1000;
        for i in 1..=FILES {
            fs::write(self.dir.path().join(format!("www/f-{i}")), noise(&i.to_string(), 64 << 10))
                .expect("room");
        }
        let everyone = [Who::Gosh, Who::Curl, Who::Aria2, Who::Wget2];
        let contenders: Vec<Who> = everyone.into_iter().filter(|who| who.is_here()).collect();
        let mut costs = vec![Vec::new(); contenders.len()];
        let mut connections = vec![0; contenders.len()];
        for _ in 0..self.plan.rounds {
            for (i, who) in contenders.iter().enumerate() {
                let server = self.site().start();
                let list = self.dir.path().join("list");
                let urls: Vec<String> = (1..=FILES).map(|i| server.url(&format!("/f-{i}"))).collect();
                fs::write(&list, urls.join("\n")).expect("room");
                let dir = self.fresh();
                let mut cost = measure::run(&who.fetch_all(self.plan, &dir, &server.url(""), FILES, &list));
                cost.good &= (1..=FILES)
                    .all(|i| fs::metadata(dir.join(format!("f-{i}"))).is_ok_and(|m| m.len() == 64 << 10));
                costs[i].push(cost);
                connections[i] = log::connections(&server.into_requests());
            }
        }
        let names =
            contenders.iter().zip(&connections).map(|(who, n)| format!("{} ({n} connections)", who.name()));
        let rows: Vec<(String, Cost)> = names.zip(costs.iter().map(|costs| measure::median(costs))).collect();
        table::costs("1,000 files of 64 KiB, 16 at a time", &rows);
    }

    fn startup(&self) {
        self.serve(1);
        let server = self.site().rule("access_log off;").start();
        let job = self.job(&server, "/big", 1);
        let everyone = [Who::Gosh, Who::Curl, Who::Aria2, Who::Wget2, Who::Limit];
        let contenders: Vec<_> =
            everyone.into_iter().filter(|who| who.is_here()).map(|who| ("", who, job.clone())).collect();
        self.compare_often(self.plan.rounds * 4, "One byte over HTTP", &contenders);
    }

    fn checksum(&self) {
        let len = self.plan.mib(2048);
        self.serve(len);
        let output = Command::new("sha256sum").arg(self.source()).output().expect("sha256sum is there");
        let digest: String = String::from_utf8_lossy(&output.stdout).chars().take(64).collect();
        let server = self.site().rule("access_log off;").start();
        for connections in [1, 16] {
            let plain = self.job(&server, "/big", connections);
            let checked = Job { sha256: Some(digest.clone()), ..plain.clone() };
            let contenders = [(" with SHA-256", Who::Gosh, checked), (" without", Who::Gosh, plain)];
            self.compare(&format!("SHA-256, {} MiB, {connections} connections", len >> 20), &contenders);
        }
        let piped = || {
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("curl -s {} | sha256sum", server.url("/big")));
            measure::run(&command)
        };
        let costs: Vec<Cost> = (0..self.plan.rounds).map(|_| piped()).collect();
        table::costs(
            "curl piped to sha256sum, nothing stored",
            &[("curl to sha256sum".to_owned(), measure::median(&costs))],
        );
    }

    fn resume(&self) {
        let len = 256 << 20;
        self.serve(len);
        let mut rows = Vec::new();
        for (who, connections) in [(Who::Gosh, 16), (Who::Gosh, 1), (Who::Aria2, 16), (Who::Curl, 1)] {
            for how in [How::Kill, How::Interrupt, How::Not] {
                let runs: Vec<(usize, bool)> =
                    (0..self.plan.rounds).map(|_| self.interrupted(who, connections, how, len)).collect();
                let mut twice: Vec<usize> = runs.iter().map(|run| run.0).collect();
                twice.sort_unstable();
                let kib = |bytes: usize| format!("{:.0}", bytes as f64 / 1024.0);
                let (middle, last) = (twice[twice.len() / 2], twice[twice.len() - 1]);
                let right = if runs.iter().all(|run| run.1) { "yes" } else { "NO" };
                rows.push(vec![
                    format!("{} ({connections})", who.name()),
                    how.name().to_owned(),
                    kib(middle),
                    kib(last),
                    right.to_owned(),
                ]);
            }
        }
        let head = ["", "how", "KiB twice, median", "most", "file right"];
        table::words("Interrupted at half of 256 MiB arriving at 64 MiB/s, then run again", &head, &rows);
    }

    /// One interruption; returns the bytes fetched twice, and whether the file is right.
    fn interrupted(&self, who: Who, connections: usize, how: How, len: usize) -> (usize, bool) {
        let server = self.site().under("/slow/", &format!("limit_rate {}m;", 64 / connections)).start();
        let job = self.job(&server, "/slow/big", connections);
        if how != How::Not {
            let mut child = measure::spawn(&mut who.fetch(self.plan, &job));
            sleep(Duration::from_secs(2));
            match how {
                How::Kill => child.kill().expect("it can be killed"),
                _ => signal::interrupt(&child),
            }
            child.wait().expect("it is ours");
        }
        let cost = measure::run(&who.fetch(self.plan, &job));
        let fetched = log::content(&server.into_requests()) as usize;
        (fetched.saturating_sub(len), cost.good && self.is_same(&job))
    }
}

/// How a download is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Kill,
    Interrupt,
    Not,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Interrupt => "SIGINT",
            Self::Not => "not at all",
        }
    }
}
