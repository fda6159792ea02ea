//! The engine without a runtime: this program is the network, the disk, the store and the clock.
//!
//! It downloads a file that never existed from a server that never ran, in no time, over several connections. The loop
//! in [`main`] is the whole contract of a driver. `cargo run -p gosh-dl-core --example by_hand`
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use bytes::{Bytes, BytesMut};
use gosh_dl_core::base::disk::{DiskOk, DiskOp, FileIdentity, FileKey, FileStat, OpenMode};
use gosh_dl_core::base::store::{MemoryStore, Store};
use gosh_dl_core::base::{Instant, LinkInput, LinkOutput, link::LinkKey};
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{
    DownloadEvent, Engine, EngineConfig, EngineError, EngineStart, Input, Output, Token,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

fn main() -> Result<(), EngineError> {
    let mut world =
        World { content: (0..24 << 20).map(|i: u32| (i / 7) as u8).collect(), ..World::default() };
    let mut now = Instant::ZERO;
    let config = EngineConfig::new().download_dir("/downloads");
    // The same seed gives the same run, to the byte.
    let start = EngineStart {
        config,
        seed: [7; 32],
        unix_millis: 0,
        boot_id: None,
        records: world.store.load()?,
        note: None,
    };
    let mut engine = Engine::new(now, start)?;
    engine.add_http(
        now,
        "http://nowhere.example/big.bin",
        DownloadOptions::new().max_connections(4),
        Token(0),
    )?;

    loop {
        while let Some(output) = engine.poll_output() {
            match output {
                Output::Event(event) => {
                    println!("{now:?} {event:?}");
                    if matches!(event, DownloadEvent::Completed { .. }) {
                        engine.shutdown(now);
                    }
                }
                Output::Closed => return world.report(),
                output => world.perform(output),
            }
        }
        if let Some(input) = world.inputs.pop_front() {
            now += Duration::from_micros(50);
            engine.handle_input(now, input);
        } else if let Some(at) = engine.poll_timeout() {
            // Nothing happens until then, so then is now.
            now = now.max(at);
            engine.handle_timeout(now);
        }
    }
}

#[derive(Default)]
struct World {
    content: Vec<u8>,
    store: MemoryStore,
    files: BTreeMap<String, Vec<u8>>,
    open: BTreeMap<FileKey, String>,
    links: BTreeMap<LinkKey, Link>,
    inputs: VecDeque<Input>,
}

/// The server's end of a connection: what it has to say, and how much of it may be said.
#[derive(Default)]
struct Link {
    reply: Bytes,
    credit: usize,
}

impl World {
    fn perform(&mut self, output: Output) {
        match output {
            Output::Resolve { query, .. } => {
                let result = Ok(vec![[192, 0, 2, 1].into()]);
                self.inputs.push_back(Input::Resolved { query, result });
            }
            Output::Connect { link, .. } => {
                self.links.insert(link, Link::default());
                self.inputs.push_back(Input::Link { link, input: LinkInput::Opened });
            }
            Output::Link { link, output } => self.on_link(link, output),
            Output::Disk { key, op } => {
                let completes = op.completes();
                let result = Ok(self.on_disk(op));
                if completes {
                    self.inputs.push_back(Input::Disk { key, result });
                }
            }
            Output::Store { batch, ops } => {
                let result = self.store.commit(&ops);
                self.inputs.push_back(Input::Stored { batch, result });
            }
            _ => {}
        }
    }

    fn on_link(&mut self, link: LinkKey, output: LinkOutput) {
        match output {
            LinkOutput::Send(request) => {
                let sent = LinkInput::Sent(request.len() as u32);
                self.inputs.push_back(Input::Link { link, input: sent });
                let reply = self.answer(&String::from_utf8_lossy(&request).to_lowercase());
                self.links.entry(link).or_default().reply = reply;
            }
            LinkOutput::Credit(more) => self.links.entry(link).or_default().credit += more as usize,
            LinkOutput::SendFile { .. } => {}
            LinkOutput::Close => drop(self.links.remove(&link)),
        }
        let Some(end) = self.links.get_mut(&link) else { return };
        let now_allowed = end.credit.min(end.reply.len());
        if now_allowed > 0 {
            end.credit -= now_allowed;
            let data = BytesMut::from(&end.reply.split_to(now_allowed)[..]);
            self.inputs.push_back(Input::Link { link, input: LinkInput::Data(data) });
        }
    }

    /// What the server says to a request, which here always comes in one piece.
    fn answer(&self, request: &str) -> Bytes {
        let total = self.content.len();
        let range = request.lines().find_map(|line| line.strip_prefix("range: bytes=")).unwrap_or("0-");
        let (first, last) = range.split_once('-').unwrap_or(("0", ""));
        let first: usize = first.parse().unwrap_or(0);
        let last = last.parse().map_or(total - 1, |last: usize| last.min(total - 1));
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nETag: \"1\"\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{last}/{total}\r\n\r\n",
            last + 1 - first,
        );
        [head.as_bytes(), &self.content[first..=last]].concat().into()
    }

    fn on_disk(&mut self, op: DiskOp) -> DiskOk {
        match op {
            DiskOp::Stat { name, .. } => DiskOk::Found(self.files.get(name.as_str()).map(|file| stat(file))),
            DiskOp::Open { name, file, mode, .. } => {
                let name = name.as_str().to_owned();
                if mode == OpenMode::CreateNew {
                    self.files.insert(name.clone(), Vec::new());
                }
                let stat = stat(&self.files[&name]);
                self.open.insert(file, name);
                DiskOk::Opened { stat, local: true }
            }
            DiskOp::Write { file, offset, data } => {
                let content = self.files.entry(self.open[&file].clone()).or_default();
                let mut at = offset as usize;
                for part in data {
                    content.resize(content.len().max(at + part.len()), 0);
                    content[at..at + part.len()].copy_from_slice(&part);
                    at += part.len();
                }
                DiskOk::Done
            }
            DiskOp::Rename { from, to, .. } => {
                let content = self.files.remove(from.as_str()).unwrap_or_default();
                self.files.insert(to.as_str().to_owned(), content);
                DiskOk::Done
            }
            _ => DiskOk::Done,
        }
    }

    fn report(&self) -> Result<(), EngineError> {
        for (name, file) in &self.files {
            println!(
                "{name}: {} bytes, {}",
                file.len(),
                if *file == self.content { "all right" } else { "WRONG" }
            );
        }
        assert!(self.files.values().eq([&self.content]), "one file, whole");
        Ok(())
    }
}

fn stat(file: &[u8]) -> FileStat {
    FileStat { identity: FileIdentity { device: 1, inode: 1 }, len: file.len() as u64, regular: true }
}

#[test]
fn it_runs() {
    main().unwrap();
}
