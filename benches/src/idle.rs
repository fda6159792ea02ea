//! Many torrents that nothing happens to: memory, processor time, threads, descriptors, and how soon they are back.

use crate::measure;
use crate::plan::Plan;
use crate::swarm::programs::{Program, SCRIPT, free_address};
use crate::table;
use bytes::Bytes;
use gosh_dl_core::wire::torrent::create::NewTorrent;
use gosh_dl_interop::lab::noise;
use gosh_dl_tokio::{DownloadEngine, DownloadOptions, DownloadState, EngineConfig};
use sha1::{Digest as _, Sha1};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How many torrents there are.
const TORRENTS: usize = 1000;
/// The length of each, in bytes.
const LEN: usize = 16 << 10;
/// How long they settle, and how long they are watched then, in seconds.
const SETTLE: u64 = 2;
const WATCH: u64 = 4;

/// What a process with idle torrents says.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// From the start of the process until every torrent is what it was.
    ready: Duration,
    /// What the process held without torrents, in bytes.
    base: u64,
    /// And with them.
    held: u64,
    threads: u64,
    descriptors: u64,
    /// Processor time while it was watched, as a share of one processor.
    share: f64,
}

/// Runs and prints.
pub(crate) fn run(plan: &Plan) {
    let mut rows = Vec::new();
    for mode in ["paused", "seeding"] {
        for program in [Program::Gosh, Program::Default].into_iter().filter(|who| who.is_here()) {
            let dir = measure::memory_dir();
            make_torrents(dir.path());
            let first = figures(program, mode, "first", dir.path());
            let again: Vec<_> =
                (0..plan.rounds).map(|_| figures(program, mode, "again", dir.path())).collect();
            let mut ready: Vec<_> = again.iter().map(|figures| figures.ready).collect();
            ready.sort();
            let each = |figures: &Figures| {
                format!("{:.1}", figures.held.saturating_sub(first.base) as f64 / 1024.0 / TORRENTS as f64)
            };
            rows.push(vec![
                format!("{} {mode}", program.name()),
                each(&first),
                each(&again[0]),
                format!("{:.1}", first.base as f64 / f64::from(1 << 20)),
                format!("{:.3}", first.share * 100.0),
                first.threads.to_string(),
                first.descriptors.to_string(),
                format!("{:.3}", ready[ready.len() / 2].as_secs_f64()),
            ]);
        }
    }
    let head =
        ["", "KiB each", "restored", "base MiB", "% of a core", "threads", "descriptors", "restored in s"];
    table::words(&format!("{TORRENTS} idle torrents"), &head, &rows);
    println!("\nwanted: at most 16 KiB each, below 0.1 % of a core, restored in 0.12 s");
}

/// Files, and a torrent of each.
fn make_torrents(dir: &Path) {
    for name in ["files", "torrents"] {
        fs::create_dir(dir.join(name)).expect("a directory");
    }
    fs::write(dir.join("with_libtorrent.py"), SCRIPT).expect("room for the script");
    for number in 0..TORRENTS {
        let name = format!("f-{number}");
        let content = noise(&name, LEN);
        let torrent = NewTorrent { piece_len: Some(LEN as u32), ..NewTorrent::file(&name, LEN as u64) };
        let metainfo = torrent.finish(&[Sha1::digest(&content).into()]).expect("good numbers");
        fs::write(dir.join("files").join(&name), &content).expect("room");
        fs::write(dir.join("torrents").join(number.to_string()), metainfo.raw()).expect("room");
    }
}

/// Runs a program that adds the torrents (`first`) or finds them again.
fn figures(program: Program, mode: &str, time: &str, dir: &Path) -> Figures {
    let mut command = match program {
        Program::Gosh => crate::swarm::programs::itself("idle"),
        _ => {
            let mut command = Command::new(crate::swarm::programs::PYTHON);
            command.arg(dir.join("with_libtorrent.py")).arg("idle");
            command
        }
    };
    command.args([mode, time]).arg(dir).arg(free_address().to_string());
    let began = Instant::now();
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("the program runs");
    let process = child.id();
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let base = lines.find_map(|line| line.strip_prefix("base ")?.parse::<u64>().ok()).expect("it says so");
    assert!(lines.any(|line| line == "ready"), "it is never ready");
    let ready = began.elapsed();
    std::thread::sleep(Duration::from_secs(if time == "first" { SETTLE } else { 0 }));
    let before = measure::cpu_of(process);
    std::thread::sleep(Duration::from_secs(if time == "first" { WATCH } else { 0 }));
    let spent = measure::cpu_of(process) - before;
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
    let figures = Figures {
        ready,
        base: base * 1024,
        held: measure::status_of(process, "VmRSS") * 1024,
        threads: measure::status_of(process, "Threads"),
        descriptors: descriptors as u64,
        share: spent.as_secs_f64() / WATCH as f64,
    };
    // Its input ends, and so does it.
    drop(child.stdin.take());
    let status = child.wait().expect("it is ours");
    assert!(status.success(), "{} {mode} {time}: {status}", program.name());
    figures
}

/// Is the process with our engine: says what it holds without torrents, and when all are ready; ends with its input.
pub(crate) fn ours(mode: &str, time: &str, dir: &Path, listen: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listen: std::net::SocketAddr = listen.parse().expect("an address");
        let torrent = gosh_dl_core::engine::TorrentConfig::new()
            .listen_port_range((listen.port(), listen.port()))
            .listen_address(Some(listen.ip()));
        let config = EngineConfig::new().torrent(torrent).database_path(Some(dir.join("state.redb")));
        // What is read from the store comes with the engine, so an engine without a store tells the base.
        let base = || measure::status_of(std::process::id(), "VmRSS");
        if time == "again" {
            println!("base {}", base());
        }
        let engine = DownloadEngine::new(config).await.expect("it starts");
        if time == "first" {
            println!("base {}", base());
            for number in 0..TORRENTS {
                let torrent = fs::read(dir.join("torrents").join(number.to_string())).expect("it was made");
                let options = DownloadOptions::new().save_dir(dir.join("files")).seed_ratio(0.0);
                let options = options.start_paused(mode == "paused");
                engine.add_torrent(&Bytes::from(torrent), options).await.expect("a good torrent");
            }
        }
        let wanted = if mode == "paused" { DownloadState::Paused } else { DownloadState::Seeding };
        let are_ready = || engine.list().iter().filter(|status| status.state == wanted).count() == TORRENTS;
        while !are_ready() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        println!("ready");
        let input = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
        input.await.expect("it ends");
        engine.shutdown().await.expect("it stops");
    });
}
