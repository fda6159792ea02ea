//! What core costs by itself: the engine in memory, with every call to it timed and its allocations counted.

use crate::table;
use bytes::{Bytes, BytesMut};
use gosh_dl_core::base::disk::{DiskOk, DiskOp, FileIdentity, FileStat};
use gosh_dl_core::base::{Instant, LinkInput, LinkOutput, link::LinkKey};
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{DownloadEvent, Engine, EngineConfig, EngineStart, Input, Output, Token};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant as Clock};

/// How much one read brings.
const READ: usize = 64 << 10;

static CALLS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted.
pub(crate) struct Counting;

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        let live = LIVE.fetch_add(layout.size() as u64, Relaxed) + layout.size() as u64;
        if live > PEAK.load(Relaxed) {
            PEAK.store(live, Relaxed);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs and prints.
pub(crate) fn run() {
    let mut rows = Vec::new();
    for connections in [1, 16] {
        let (nanos, allocations) = per_read(connections, 1 << 30);
        rows.push(vec![
            format!("64 KiB read, {connections} connections"),
            format!("{nanos:.0} ns"),
            format!("{allocations:.2} allocations"),
        ]);
    }
    rows.push(vec!["paused download".to_owned(), format!("{} bytes", per_paused(2000)), String::new()]);
    table::words("Core alone, the timing itself included", &["", "", ""], &rows);
}

/// Runs the section of the picker and prints it.
pub(crate) fn picker() {
    let counters = crate::picker::Counters { calls: || CALLS.load(Relaxed), held: || LIVE.load(Relaxed) };
    let head = ["", "picked", "and received, verified", "allocations"];
    table::words("Choosing one block of 16 KiB", &head, &crate::picker::rows(&counters));
}

/// Runs the section of reading torrents and prints it.
pub(crate) fn decode() {
    let held = || LIVE.load(Relaxed);
    let reset = || PEAK.store(LIVE.load(Relaxed), Relaxed);
    crate::decode::run(&crate::decode::Memory { held, reset, peak: || PEAK.load(Relaxed) });
}

/// Memory for one download that waits.
fn per_paused(count: u64) -> u64 {
    let mut world = World::new(0);
    let drain = |world: &mut World| while world.step() {};
    drain(&mut world);
    let before = LIVE.load(Relaxed);
    for i in 0..count {
        world.add(&format!("http://host.example/file-{i}"), DownloadOptions::new().start_paused(true));
        drain(&mut world);
    }
    world.inputs.shrink_to_fit();
    (LIVE.load(Relaxed) - before) / count
}

/// Time and allocations within the engine for one read, everything else that a download takes included.
fn per_read(connections: usize, len: u64) -> (f64, f64) {
    let mut world = World::new(len);
    world.add("http://host.example/file", DownloadOptions::new().max_connections(connections));
    while !world.complete {
        assert!(world.step(), "it does not end");
    }
    assert!(world.written >= len, "written {} of {len}", world.written);
    let reads = world.reads as f64;
    (world.spent.as_nanos() as f64 / reads, world.allocations as f64 / reads)
}

/// A server, a disk and a store that cost as little as they can.
struct World {
    engine: Engine,
    now: Instant,
    len: u64,
    links: BTreeMap<LinkKey, Link>,
    inputs: VecDeque<Input>,
    blank: Bytes,
    spent: Duration,
    allocations: u64,
    reads: u64,
    complete: bool,
    written: u64,
}

#[derive(Default)]
struct Link {
    head: Vec<u8>,
    body: u64,
    credit: u64,
}

impl World {
    fn new(len: u64) -> Self {
        let config = EngineConfig::new().download_dir("/d");
        let start = EngineStart {
            config,
            seed: [1; 32],
            unix_millis: 0,
            boot_id: None,
            records: Vec::new(),
            note: None,
        };
        let engine = Engine::new(Instant::ZERO, start).expect("good settings");
        Self {
            engine,
            now: Instant::ZERO,
            len,
            links: BTreeMap::new(),
            inputs: VecDeque::new(),
            blank: vec![0; READ].into(),
            spent: Duration::ZERO,
            allocations: 0,
            reads: 0,
            complete: false,
            written: 0,
        }
    }

    fn add(&mut self, url: &str, options: DownloadOptions) {
        self.engine.add_http(self.now, url, options, Token(0)).expect("a good address");
    }

    /// One input or timeout, and all that comes of it; false where nothing is left to happen.
    fn step(&mut self) -> bool {
        let input = self.inputs.pop_front();
        let timeout = self.engine.poll_timeout();
        if input.is_none() {
            let Some(at) = timeout else { return self.perform_all() };
            if self.complete || self.len == 0 {
                return self.perform_all();
            }
            self.now = self.now.max(at);
        } else {
            self.now += Duration::from_micros(50);
        }
        let calls = CALLS.load(Relaxed);
        let began = Clock::now();
        match input {
            Some(input) => self.engine.handle_input(self.now, input),
            None => self.engine.handle_timeout(self.now),
        }
        self.spent += began.elapsed();
        self.allocations += CALLS.load(Relaxed) - calls;
        self.perform_all();
        true
    }

    /// Performs what the engine wants; tells whether that gave it something new.
    fn perform_all(&mut self) -> bool {
        loop {
            let began = Clock::now();
            let output = self.engine.poll_output();
            self.spent += began.elapsed();
            let Some(output) = output else { return !self.inputs.is_empty() };
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        let input = match output {
            Output::Resolve { query, .. } => {
                Input::Resolved { query, result: Ok(vec![[192, 0, 2, 1].into()]) }
            }
            Output::Connect { link, .. } => {
                self.links.insert(link, Link::default());
                Input::Link { link, input: LinkInput::Opened }
            }
            Output::Link { link, output } => return self.on_link(link, output),
            Output::Disk { key, op } if op.completes() => Input::Disk { key, result: Ok(self.on_disk(&op)) },
            Output::Store { batch, .. } => Input::Stored { batch, result: Ok(()) },
            Output::Event(DownloadEvent::Completed { .. }) => {
                self.complete = true;
                return;
            }
            _ => return,
        };
        self.inputs.push_back(input);
    }

    fn on_disk(&mut self, op: &DiskOp) -> DiskOk {
        let stat = |len| FileStat { identity: FileIdentity { device: 1, inode: 1 }, len, regular: true };
        match op {
            DiskOp::Stat { .. } => DiskOk::Found(None),
            DiskOp::Open { .. } => DiskOk::Opened { stat: stat(0), local: true },
            DiskOp::Write { data, .. } => {
                self.written += data.iter().map(|part| part.len() as u64).sum::<u64>();
                DiskOk::Done
            }
            _ => DiskOk::Done,
        }
    }

    fn on_link(&mut self, link: LinkKey, output: LinkOutput) {
        match output {
            LinkOutput::Send(request) => {
                self.inputs.push_back(Input::Link { link, input: LinkInput::Sent(request.len() as u32) });
                let (head, body) = self.answer(&String::from_utf8_lossy(&request).to_lowercase());
                let end = self.links.entry(link).or_default();
                (end.head, end.body) = (head, body);
            }
            LinkOutput::Credit(more) => self.links.entry(link).or_default().credit += u64::from(more),
            LinkOutput::SendFile { .. } => {}
            LinkOutput::Close => drop(self.links.remove(&link)),
        }
        self.serve(link);
    }

    fn answer(&self, request: &str) -> (Vec<u8>, u64) {
        let range = request.lines().find_map(|line| line.strip_prefix("range: bytes=")).unwrap_or("0-");
        let (first, last) = range.split_once('-').unwrap_or(("0", ""));
        let first: u64 = first.parse().unwrap_or(0);
        let last = last.parse().map_or(self.len - 1, |last: u64| last.min(self.len - 1));
        let (len, total) = (last + 1 - first, self.len);
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nETag: \"1\"\r\nContent-Length: {len}\r\nContent-Range: bytes {first}-{last}/{total}\r\n\r\n"
        );
        (head.into_bytes(), len)
    }

    fn serve(&mut self, link: LinkKey) {
        let Some(end) = self.links.get_mut(&link) else { return };
        while end.credit > 0 && (!end.head.is_empty() || end.body > 0) {
            let data = if end.head.is_empty() {
                let len = end.credit.min(end.body).min(READ as u64);
                end.body -= len;
                self.reads += 1;
                BytesMut::from(&self.blank[..usize::try_from(len).expect("it is no more than a read")])
            } else {
                BytesMut::from(&core::mem::take(&mut end.head)[..])
            };
            end.credit = end.credit.saturating_sub(data.len() as u64);
            self.inputs.push_back(Input::Link { link, input: LinkInput::Data(data) });
        }
    }
}
