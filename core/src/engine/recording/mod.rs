//! Record and replay: what an engine is given, written down so that the run can be repeated.
//!
//! An engine does the same whenever it is given the same, so a recording holds no more than its start (settings, seed,
//! clock, the store's records), every input and every command with their times, and from time to time a hash of what
//! came out. [`RecordedEngine`] stands in for an [`Engine`] in a driver and writes that; [`Replay`] runs it.
//!
//! ```
//! use gosh_dl_core::base::Instant;
//! use gosh_dl_core::download::DownloadOptions;
//! use gosh_dl_core::engine::recording::{RecordedEngine, Replay};
//! use gosh_dl_core::engine::{EngineConfig, EngineStart, Token};
//!
//! let start = EngineStart {
//!     config: EngineConfig::new(), seed: [1; 32], unix_millis: 0, boot_id: None, records: Vec::new(), note: None,
//! };
//! let mut engine = RecordedEngine::recorded(Instant::ZERO, start).unwrap();
//! engine.add_http(Instant::ZERO, "http://me:secret@example.com/a", DownloadOptions::new(), Token(1)).unwrap();
//! while engine.poll_output().is_some() {}
//! let file = engine.take_recording();
//! assert!(!file.windows(6).any(|six| six == b"secret"));
//!
//! let mut replay = Replay::new(&file).unwrap();
//! while let Some(step) = replay.step().unwrap() {
//!     println!("{:?} {}: {:?}", step.at, step.what, step.outputs);
//! }
//! assert_eq!(replay.trace(), engine.trace().unwrap());
//! ```
//!
//! Bodies of HTTP answers and blocks of peers stand as their length and come back as zeros: nothing in here looks at
//! them. A recording ends at [`RECORDING_LIMIT`] bytes and says so. User-info of URLs, values of the user's headers and
//! cookies are masked; other parts of URLs, paths and names of files are in it.

mod call;
mod fields;
mod lines;
mod payload;
mod reader;
mod redact;
mod replay;
mod tape;
mod vocabulary;

pub use call::Call;
pub use lines::{TraceHash, call_line, output_line};
pub use reader::{Frame, Reader, RecordingError};
pub use replay::{Replay, Step};
pub use tape::Ending;

use super::error::Result;
use super::{Engine, EngineConfig, EngineStart, Input, LinkKey, Output, Token};
use crate::base::Instant;
use crate::download::FilePriority;
use crate::download::ReadRequest;
use crate::download::torrent::Lane;
use crate::download::{DownloadId, DownloadOptions, DownloadPriority};
use crate::engine::machine::Who;
use bytes::Bytes;
use core::net::SocketAddr;
use core::ops::{Deref, Range};
use core::time::Duration;
use std::path::Path;
use tape::Tape;

/// An [`Engine`] and, where it is recorded, what it is given. Views are the engine's own; whatever changes it goes
/// through here.
#[derive(Debug)]
pub struct RecordedEngine {
    engine: Engine,
    tape: Option<Tape>,
}

impl RecordedEngine {
    /// An engine that is not recorded: [`Engine::new`].
    ///
    /// # Errors
    ///
    /// As [`Engine::new`].
    pub fn unrecorded(now: Instant, start: EngineStart) -> Result<Self> {
        Ok(Self { engine: Engine::new(now, start)?, tape: None })
    }

    /// An engine that is recorded: take [what was written](Self::take_recording) from time to time.
    ///
    /// # Errors
    ///
    /// As [`Engine::new`].
    pub fn recorded(now: Instant, start: EngineStart) -> Result<Self> {
        Self::recorded_up_to(RECORDING_LIMIT, now, start)
    }

    /// As [`recorded`](Self::recorded), with another limit in bytes.
    ///
    /// # Errors
    ///
    /// As [`Engine::new`].
    pub fn recorded_up_to(limit: u64, now: Instant, start: EngineStart) -> Result<Self> {
        let tape = Tape::new(now, &start, limit);
        Ok(Self { engine: Engine::new(now, start)?, tape: Some(tape) })
    }

    /// What was written since the last time; empty where nothing is recorded.
    pub fn take_recording(&mut self) -> Vec<u8> {
        self.tape.as_mut().map(Tape::take).unwrap_or_default()
    }

    /// The driver ends without a shutdown: nothing is recorded any more.
    pub fn end_recording(&mut self) {
        if let Some(tape) = &mut self.tape {
            tape.end(Ending::Stopped);
        }
    }

    /// The hash of all outputs that were taken.
    pub fn trace(&self) -> Option<TraceHash> {
        self.tape.as_ref().map(Tape::trace)
    }

    /// [`Engine::handle_input`]
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match &mut self.tape {
            None => self.engine.handle_input(now, input),
            Some(tape) => tape.input(now, input, &mut self.engine),
        }
    }

    /// [`Engine::handle_timeout`]
    pub fn handle_timeout(&mut self, now: Instant) {
        self.record(now, || Call::Timeout);
        self.engine.handle_timeout(now);
    }

    /// [`Engine::poll_output`]
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.engine.poll_output();
        if let Some(tape) = &mut self.tape {
            match &output {
                Some(output) => tape.output(output),
                None => tape.drained(),
            }
        }
        output
    }

    /// [`Engine::add_http`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn add_http(
        &mut self,
        now: Instant,
        url: &str,
        options: DownloadOptions,
        reply: Token,
    ) -> Result<DownloadId> {
        self.record(now, || Call::AddHttp { url: url.to_owned(), options: Box::new(options.clone()), reply });
        self.engine.add_http(now, url, options, reply)
    }

    /// [`Engine::add_torrent`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn add_torrent(
        &mut self,
        now: Instant,
        metainfo: Bytes,
        options: DownloadOptions,
        reply: Token,
    ) -> Result<DownloadId> {
        let call =
            || Call::AddTorrent { metainfo: metainfo.clone(), options: Box::new(options.clone()), reply };
        self.record(now, call);
        self.engine.add_torrent(now, metainfo, options, reply)
    }

    /// [`Engine::add_magnet`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn add_magnet(
        &mut self,
        now: Instant,
        uri: &str,
        options: DownloadOptions,
        reply: Token,
    ) -> Result<DownloadId> {
        self.record(now, || Call::AddMagnet {
            uri: uri.to_owned(),
            options: Box::new(options.clone()),
            reply,
        });
        self.engine.add_magnet(now, uri, options, reply)
    }

    /// [`Engine::add_peer`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn add_peer(&mut self, now: Instant, id: DownloadId, address: SocketAddr) -> Result<()> {
        self.record(now, || Call::AddPeer { id, address });
        self.engine.add_peer(now, id, address)
    }

    /// [`Engine::add_tracker`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn add_tracker(&mut self, now: Instant, id: DownloadId, url: &str) -> Result<bool> {
        self.record(now, || Call::AddTracker { id, url: url.to_owned() });
        self.engine.add_tracker(now, id, url)
    }

    /// [`Engine::force_reannounce`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn force_reannounce(&mut self, now: Instant, id: DownloadId) -> Result<()> {
        self.record(now, || Call::Reannounce { id });
        self.engine.force_reannounce(now, id)
    }

    /// [`Engine::set_file_priorities`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_file_priorities(
        &mut self,
        now: Instant,
        id: DownloadId,
        priorities: &[(usize, FilePriority)],
    ) -> Result<()> {
        self.record(now, || Call::SetFilePriorities { id, priorities: priorities.to_vec() });
        self.engine.set_file_priorities(now, id, priorities)
    }

    /// [`Engine::read`]
    pub fn read(&mut self, now: Instant, id: DownloadId, request: ReadRequest, reply: Token) {
        self.record(now, || Call::Read { id, request, reply });
        self.engine.read(now, id, request, reply);
    }

    /// [`Engine::close_reader`]
    pub fn close_reader(&mut self, now: Instant, id: DownloadId, reader: u64) {
        self.record(now, || Call::CloseReader { id, reader });
        self.engine.close_reader(now, id, reader);
    }

    /// [`Engine::scrape`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn scrape(&mut self, now: Instant, id: DownloadId) -> Result<()> {
        self.record(now, || Call::Scrape { id });
        self.engine.scrape(now, id)
    }

    /// [`Engine::pause`]
    pub fn pause(&mut self, now: Instant, id: DownloadId, reply: Token) {
        self.record(now, || Call::Pause { id, reply });
        self.engine.pause(now, id, reply);
    }

    /// [`Engine::move_to`]
    pub fn move_to(&mut self, now: Instant, id: DownloadId, dir: &Path, reply: Token) {
        self.record(now, || Call::MoveTo { id, dir: dir.to_owned(), reply });
        self.engine.move_to(now, id, dir, reply);
    }

    /// [`Engine::resume`]
    pub fn resume(&mut self, now: Instant, id: DownloadId, reply: Token) {
        self.record(now, || Call::Resume { id, reply });
        self.engine.resume(now, id, reply);
    }

    /// [`Engine::cancel`]
    pub fn cancel(&mut self, now: Instant, id: DownloadId, delete_files: bool, reply: Token) {
        self.record(now, || Call::Cancel { id, delete_files, reply });
        self.engine.cancel(now, id, delete_files, reply);
    }

    /// [`Engine::verify`]
    pub fn verify(&mut self, now: Instant, id: DownloadId, reply: Token) {
        self.record(now, || Call::Verify { id, reply });
        self.engine.verify(now, id, reply);
    }

    /// [`Engine::repair`]
    pub fn repair(&mut self, now: Instant, id: DownloadId, reply: Token) {
        self.record(now, || Call::Repair { id, reply });
        self.engine.repair(now, id, reply);
    }

    /// [`Engine::set_priority`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_priority(&mut self, now: Instant, id: DownloadId, priority: DownloadPriority) -> Result<()> {
        self.record(now, || Call::SetPriority { id, priority });
        self.engine.set_priority(now, id, priority)
    }

    /// [`Engine::set_download_limit`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_download_limit(&mut self, now: Instant, id: DownloadId, limit: Option<u64>) -> Result<()> {
        self.record(now, || Call::SetDownloadLimit { id, limit });
        self.engine.set_download_limit(now, id, limit)
    }

    /// [`Engine::set_upload_limit`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_upload_limit(&mut self, now: Instant, id: DownloadId, limit: Option<u64>) -> Result<()> {
        self.record(now, || Call::SetUploadLimit { id, limit });
        self.engine.set_upload_limit(now, id, limit)
    }

    /// [`Engine::set_seed_goal`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_seed_goal(
        &mut self,
        now: Instant,
        id: DownloadId,
        ratio: Option<f64>,
        time: Option<Duration>,
    ) -> Result<()> {
        self.record(now, || Call::SetSeedGoal { id, ratio, time });
        self.engine.set_seed_goal(now, id, ratio, time)
    }

    /// [`Engine::set_config`]
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_config(&mut self, now: Instant, config: EngineConfig) -> Result<()> {
        self.record(now, || Call::SetConfig(Box::new(config.clone())));
        self.engine.set_config(now, config)
    }

    /// [`Engine::shutdown`]
    pub fn shutdown(&mut self, now: Instant) {
        self.record(now, || Call::Shutdown);
        self.engine.shutdown(now);
    }

    fn record(&mut self, now: Instant, call: impl FnOnce() -> Call) {
        if let Some(tape) = &mut self.tape {
            tape.call(now, call());
        }
    }
}

impl Deref for RecordedEngine {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Engine {
    /// Which of `data`, were it to arrive on `link` now, is payload: bytes that nothing looks at. In order, without
    /// touching. On a link that is gone or in no use that is all of it.
    pub fn payload(&self, link: LinkKey, data: &[u8]) -> Vec<Range<usize>> {
        let known = match self.links.leased_to(link) {
            Some(Who::Http { entry, slot }) => {
                let download = self.entries.get(entry).and_then(|entry| entry.http());
                let connection = download.and_then(|download| download.connection(slot));
                connection.map(|connection| connection.payload(data))
            }
            Some(Who::Torrent { entry, lane }) => {
                let torrent = self.entries.get(entry).and_then(|entry| entry.torrent());
                torrent.map(|torrent| torrent.payload(lane, data))
            }
            // Who has not said whom he wants sends no blocks.
            Some(Who::Guest(_)) => Some(Vec::new()),
            None => None,
        };
        known.unwrap_or_else(|| vec![0..data.len()])
    }

    /// Whether what arrives on `link` is the conversation of a peer.
    fn is_peer(&self, link: LinkKey) -> bool {
        matches!(self.links.leased_to(link), Some(Who::Torrent { lane: Lane::Peer(_), .. } | Who::Guest(_)))
    }
}

/// The most bytes of a recording: some days of a few downloads, and still a file that can be sent to somebody.
pub const RECORDING_LIMIT: u64 = 64 << 20;
