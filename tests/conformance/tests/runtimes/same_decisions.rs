//! The same scenario makes the engine decide the same, whatever drives it: its outputs under tokio, smol, plain threads and
//! the simulator are equal up to timing.
//!
//! What comes over different ways (links, files, records, events) may be in any order among itself, so each way is
//! compared by itself. Credit, where a write ends, and what a record says of a file of which nothing is durable yet depend on how
//! bytes happened to arrive; they are not decisions.

use crate::threads::Threads;
use gosh_dl_core::base::disk::DiskOp;
use gosh_dl_core::base::store::{StoreOp, Table};
use gosh_dl_core::base::{LinkOutput, Rng};
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::record::{DownloadRecord, SavedState, decode_progress};
use gosh_dl_core::engine::{DownloadEvent, EngineConfig, HttpConfig, Output};
use gosh_dl_runtime::{Driver, Handle, Runtime as _, Task as _, drive};
use gosh_dl_sim::reply::Part;
use gosh_dl_sim::{Content, End, Resource, World};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a server says to the request of this number, counted from 0, that asks for bytes from `from` on.
pub(super) type Script = fn(number: u64, from: Option<usize>) -> Vec<u8>;

pub(super) const LEN: usize = 60_000;

pub(super) fn body() -> Vec<u8> {
    let mut rng = Rng::from_seed([7; 32]);
    (0..LEN).map(|_| u8::try_from(rng.below(256)).unwrap()).collect()
}

/// The answer with the bytes from `from` on, of which only `sent` are sent.
pub(super) fn partial(from: Option<usize>, sent: usize) -> Vec<u8> {
    let start = from.unwrap_or(0);
    let status = match from {
        None => "200 OK".to_owned(),
        Some(from) => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{LEN}", LEN - 1),
    };
    let length = LEN - start;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nAccept-Ranges: bytes\r\nETag: \"v1\"\r\nConnection: close\r\n\r\n"
    );
    let body = body();
    [head.as_bytes(), &body[start..(start + sent).min(LEN)]].concat()
}

fn honest(_: u64, from: Option<usize>) -> Vec<u8> {
    partial(from, LEN)
}

fn breaks_off_twice(number: u64, from: Option<usize>) -> Vec<u8> {
    partial(from, if number < 2 { 10_000 } else { LEN })
}

fn is_busy_first(number: u64, from: Option<usize>) -> Vec<u8> {
    match number {
        0 => b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        _ => partial(from, LEN),
    }
}

fn redirects(number: u64, from: Option<usize>) -> Vec<u8> {
    match number {
        0 => b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            .to_vec(),
        _ => partial(from, LEN),
    }
}

fn has_nothing(_: u64, _: Option<usize>) -> Vec<u8> {
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
}

pub(super) const SCENARIOS: [(&str, Script); 5] = [
    ("honest", honest),
    ("breaks off twice", breaks_off_twice),
    ("is busy first", is_busy_first),
    ("redirects", redirects),
    ("has nothing", has_nothing),
];

/// A server on loopback that answers each connection once.
pub(super) fn serve(script: Script) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (number, mut socket) in (0..).zip(listener.incoming().flatten()) {
            let Some(head) = read_head(&mut socket) else { return };
            let from = head.to_ascii_lowercase();
            let from = from.lines().find_map(|line| line.strip_prefix("range: bytes=")?.split('-').next());
            let answer = script(number, from.map(|from| from.parse().unwrap()));
            let _ = socket.write_all(&answer);
        }
    });
    port
}

fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

pub(super) fn config() -> EngineConfig {
    EngineConfig::new().max_connections_per_download(1).http(HttpConfig::new().retry_delay(QUICK))
}

/// Without a name: no file is made before the first answer, so nothing races with it.
fn options() -> DownloadOptions {
    DownloadOptions::new().max_connections(1)
}

const QUICK: Duration = Duration::from_millis(20);

/// The outputs of an engine on a real runtime.
fn on_runtime(script: Script, spawn: impl FnOnce(Driver)) -> Vec<Output> {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}/file", serve(script));
    let (handle, mut driver) = Handle::start(config().download_dir(dir.path()), None).unwrap();
    let outputs = Arc::new(Mutex::new(Vec::new()));
    driver.observe({
        let outputs = Arc::clone(&outputs);
        move |output| outputs.lock().unwrap().push(output.clone())
    });
    spawn(driver);
    smol::block_on(async {
        let id = handle.add_http(&url, options()).await.unwrap();
        let _failed_or_not = handle.wait(id).await;
        handle.shutdown().await.unwrap();
    });
    std::mem::take(&mut *outputs.lock().unwrap())
}

/// The outputs of an engine in the simulator.
fn in_simulator(script: Script) -> Vec<Output> {
    let mut world = World::with_config(1, config());
    world.addresses("127.0.0.1", &[IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    for path in ["/file", "/there"] {
        // Counted over both paths, as on the real server: only the redirect's target is asked for second.
        let before = u64::from(path == "/there");
        let resource = Resource::scripted(move |request, number| {
            let from = request.range().map(|range| usize::try_from(range.start).unwrap());
            vec![Part::Bytes(script(number + before, from).into()), Part::End(End::Close)]
        });
        world.serve(&format!("http://127.0.0.1{path}"), resource);
    }
    world.outputs = Some(Vec::new());
    let id = world.add("http://127.0.0.1/file", options());
    world.expect(id, Content::Literal(body().into()));
    world.wait_done(id);
    world.shutdown(Duration::from_secs(10));
    world.outputs.take().unwrap()
}

/// What was decided, for each way by itself.
#[derive(Debug, Default, PartialEq)]
struct Decisions {
    links: Vec<String>,
    files: Vec<String>,
    downloads: Vec<String>,
    progress: Vec<String>,
    events: Vec<String>,
    replies: Vec<String>,
}

fn decisions(outputs: &[Output]) -> Decisions {
    let mut decisions = Decisions::default();
    let mut written = gosh_dl_core::base::RangeSet::new();
    for output in outputs {
        match output {
            Output::Connect { tls, .. } => decisions.links.push(format!("connect {tls:?}")),
            Output::Link { output: LinkOutput::Send(bytes), .. } => decisions.links.push(request(bytes)),
            Output::Disk { op: DiskOp::Write { offset, data, .. }, .. } => {
                let len: usize = data.iter().map(|part| part.len()).sum();
                written.insert(*offset..offset + len as u64);
            }
            Output::Disk { op, .. } => decisions.files.extend(file(op)),
            Output::Store { ops, .. } => ops.iter().for_each(|op| record(op, &mut decisions)),
            Output::Event(event) => decisions.events.extend(said(event)),
            Output::Reply { result, .. } => decisions.replies.push(format!("{result:?}")),
            _ => {}
        }
    }
    decisions.files.push(format!("written {:?}", written.iter().collect::<Vec<_>>()));
    decisions.downloads.dedup();
    decisions.progress.dedup();
    decisions
}

fn request(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<&str> =
        text.lines().filter(|line| !line.to_ascii_lowercase().starts_with("host:")).collect();
    lines.retain(|line| !line.is_empty());
    lines.join(" | ")
}

fn file(op: &DiskOp) -> Option<String> {
    Some(match op {
        DiskOp::Stat { name, .. } => format!("stat {}", name.as_str()),
        DiskOp::Open { name, mode, .. } => format!("open {} {mode:?}", name.as_str()),
        DiskOp::Rename { .. } => "rename".to_owned(),
        DiskOp::Remove { .. } => "remove".to_owned(),
        DiskOp::Sync { .. } => "sync".to_owned(),
        DiskOp::SyncDir { .. } => "sync dir".to_owned(),
        DiskOp::SetLen { len, .. } => format!("length {len}"),
        DiskOp::Allocate { len, mode, .. } => format!("allocate {len} {mode:?}"),
        _ => return None,
    })
}

fn record(op: &StoreOp, decisions: &mut Decisions) {
    match op {
        StoreOp::Put { table: Table::Download, value, .. } => {
            let state = match DownloadRecord::decode(value).unwrap().state {
                SavedState::Error { kind, retryable, .. } => format!("error {kind} {retryable}"),
                state => format!("{state:?}"),
            };
            decisions.downloads.push(state);
        }
        StoreOp::Put { table: Table::Progress, value, .. } => {
            let saved = decode_progress(value).unwrap();
            let Some(part) = saved.part else { return };
            // The file may be recorded before the first answer says how long it is, or after.
            let known = (!part.durable.is_empty()).then_some((saved.total, saved.validator));
            let (name, durable) = (part.part_name.as_str(), part.durable.iter().collect::<Vec<_>>());
            decisions.progress.push(format!("{name} {durable:?} {} {known:?}", part.finalizing));
        }
        other => decisions.downloads.push(format!("{other:?}")),
    }
}

fn said(event: &DownloadEvent) -> Option<String> {
    let text = format!("{event:?}");
    match event {
        // How it stands in between is a matter of moments.
        DownloadEvent::Progress { .. } | DownloadEvent::StateChanged { .. } => None,
        DownloadEvent::Failed { error, retryable, .. } => {
            // The URL before it names a port that is another each time.
            let why = error.to_string();
            Some(format!("failed {:?} {retryable}", why.rsplit(": ").next()))
        }
        _ => text.split([' ', '{']).next().map(str::to_owned),
    }
}

#[test]
fn every_runtime_and_the_simulator_decide_the_same() {
    for (name, script) in SCENARIOS {
        let expected = decisions(&in_simulator(script));
        assert!(expected.links.len() > 1 && expected.events.len() > 2, "{name}: {expected:#?}");
        let check = |runtime: &str, outputs: Vec<Output>| {
            assert_eq!(decisions(&outputs), expected, "{name}, {runtime} (left) and the simulator (right)");
        };
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let entered = tokio.enter();
        let on_tokio = |driver| gosh_dl_tokio::Tokio.spawn(drive(gosh_dl_tokio::Tokio, driver)).detach();
        check("tokio", on_runtime(script, on_tokio));
        drop(entered);
        let on_smol = |driver| gosh_dl_smol::Smol.spawn(drive(gosh_dl_smol::Smol, driver)).detach();
        check("smol", on_runtime(script, on_smol));
        let plain = Threads::new().unwrap();
        check("threads", on_runtime(script, |driver| plain.spawn(drive(plain.clone(), driver)).detach()));
    }
}
