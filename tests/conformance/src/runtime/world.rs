//! Where an engine lives, with a server beside it: on a real runtime, or simulated. The cases of the engine that need no
//! more than this are the same for both.

use super::home::Home;
use super::{MINUTE, Rig, until, wait};
use crate::server::Server;
use crate::store::Backend;
use bytes::Bytes;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadEvent, DownloadStatus, EngineError};
use gosh_dl_core::wire::torrent::create::NewTorrent;
use gosh_dl_runtime::{EventStream, FileReader};
use sha1::{Digest as _, Sha1};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers.
    Answers,
    /// Reads requests and never answers.
    Hangs,
    /// Sends half of what it was asked for and keeps the connection open.
    StopsHalfway,
    /// Sends a little at a time: a mebibyte or two in a second.
    Dawdles,
}

/// An engine, its store and its disk, and a server. No engine runs at first.
///
/// Time is the world's own: in a simulated one it passes without waiting.
pub trait World {
    /// What the server has under every path, and how it gives it.
    fn serve(&mut self, body: &[u8], manner: Manner);

    /// Starts an engine on what the store holds, which is opened for it.
    fn start(&mut self);

    /// The engine is gone from one moment to the next, with no time to record anything; its store is closed.
    fn drop_engine(&mut self);

    /// Ends the engine in order, and closes its store; how long it took.
    fn shut_down(&mut self) -> Duration;

    /// Adds a download of that path on the server, and waits until it is in the store.
    ///
    /// # Errors
    ///
    /// What the engine says.
    fn add(&mut self, path: &str, options: DownloadOptions) -> Result<DownloadId, EngineError>;

    /// Adds a torrent of the file that the server has under that path; the server is its web seed. Waits until it is in the
    /// store.
    ///
    /// # Errors
    ///
    /// What the engine says.
    fn add_torrent(&mut self, path: &str, options: DownloadOptions) -> Result<DownloadId, EngineError>;

    /// Reads a download's first file from a place on, at most `max` bytes, and waits for them. It is one reader that does all
    /// the reading.
    ///
    /// # Errors
    ///
    /// What the engine says.
    fn read(&mut self, id: DownloadId, at: u64, max: u32) -> Result<Bytes, EngineError>;

    /// Does something with a download, and waits for the answer.
    ///
    /// # Errors
    ///
    /// What the engine says.
    fn command(&mut self, id: DownloadId, command: Command) -> Result<(), EngineError>;

    /// All downloads.
    fn list(&mut self) -> Vec<DownloadStatus>;

    /// Lets time pass until `is_so`, and panics where that takes more than a minute.
    fn run_until(&mut self, what: &str, is_so: impl FnMut(&mut Self) -> bool);

    /// What a subscriber since the start, who has never looked yet, finds when the engine is gone.
    fn told(&mut self) -> Vec<DownloadEvent>;

    /// A file where downloads go.
    fn file(&mut self, name: &str) -> Option<Vec<u8>>;

    /// The names of all files there.
    fn files(&mut self) -> Vec<String>;

    /// How many files the engine has open.
    fn open_files(&mut self) -> usize;

    /// How many requests the server was sent.
    fn requests(&mut self) -> usize;

    /// How many connections the server has open.
    fn connections(&mut self) -> usize;
}

/// What is done with a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Pauses it.
    Pause,
    /// Resumes it.
    Resume,
    /// Takes it away, and its files.
    Cancel,
}

/// The metainfo file of a torrent of one file, which has a web seed (BEP 19) at `url`, in pieces of 64 KiB.
pub fn torrent_of(name: &str, body: &[u8], url: String) -> Bytes {
    let mut torrent = NewTorrent::file(name, body.len() as u64);
    torrent.piece_len = Some(PIECE_LEN);
    torrent.web_seeds = vec![url];
    let hashes: Vec<[u8; 20]> =
        body.chunks(PIECE_LEN as usize).map(|piece| Sha1::digest(piece).into()).collect();
    torrent.finish(&hashes).expect("one file makes a torrent").raw().clone()
}

/// A world on a real runtime, with a real store, files and sockets.
pub struct Real<'w, R: Rig, B> {
    rig: &'w R,
    home: Home<'w, B>,
    server: Option<Server>,
    engine: Option<Arc<R::Engine>>,
    events: Option<EventStream>,
    reader: Option<FileReader>,
}

impl<'w, R: Rig, B: Backend> Real<'w, R, B> {
    /// No server and no engine yet.
    pub fn new(rig: &'w R, backend: &'w B) -> Self {
        Self { rig, home: Home::new(backend), server: None, engine: None, events: None, reader: None }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("there is a server")
    }

    fn engine(&self) -> &Arc<R::Engine> {
        self.engine.as_ref().expect("an engine runs")
    }
}

impl<R: Rig, B: Backend> World for Real<'_, R, B> {
    fn serve(&mut self, body: &[u8], manner: Manner) {
        self.server = Some(Server::start(body.to_vec(), manner));
    }

    fn start(&mut self) {
        let engine = self.home.start(self.rig);
        self.events = Some(engine.subscribe());
        self.engine = Some(engine);
    }

    fn drop_engine(&mut self) {
        self.engine = None;
    }

    fn shut_down(&mut self) -> Duration {
        let began = Instant::now();
        wait(self.engine().shutdown()).expect("it ends");
        let took = began.elapsed();
        self.engine = None;
        took
    }

    fn add(&mut self, path: &str, options: DownloadOptions) -> Result<DownloadId, EngineError> {
        wait(self.engine().add_http(&self.server().url(path), options))
    }

    fn add_torrent(&mut self, path: &str, options: DownloadOptions) -> Result<DownloadId, EngineError> {
        let metainfo = torrent_of(path, self.server().body(), self.server().url(path));
        wait(self.engine().add_torrent(&metainfo, options))
    }

    fn read(&mut self, id: DownloadId, at: u64, max: u32) -> Result<Bytes, EngineError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.engine().open_reader(id, 0)?,
        };
        let reader = self.reader.insert(reader);
        reader.seek(at);
        wait(reader.read(max))
    }

    fn command(&mut self, id: DownloadId, command: Command) -> Result<(), EngineError> {
        let engine = self.engine();
        match command {
            Command::Pause => wait(engine.pause(id)),
            Command::Resume => wait(engine.resume(id)),
            Command::Cancel => wait(engine.cancel(id, true)),
        }
    }

    fn list(&mut self) -> Vec<DownloadStatus> {
        self.engine().list()
    }

    fn run_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        until(what, || is_so(self));
    }

    fn told(&mut self) -> Vec<DownloadEvent> {
        let deadline = Instant::now() + MINUTE;
        let mut events = self.events.take().expect("an engine was started");
        let told = std::iter::from_fn(|| wait(events.recv())).collect();
        assert!(Instant::now() < deadline, "the stream does not end");
        told
    }

    fn file(&mut self, name: &str) -> Option<Vec<u8>> {
        self.files().iter().any(|there| there == name).then(|| self.home.read(name))
    }

    fn files(&mut self) -> Vec<String> {
        self.home.names()
    }

    fn open_files(&mut self) -> usize {
        self.home.open_files()
    }

    fn requests(&mut self) -> usize {
        self.server().requests.load(Ordering::SeqCst)
    }

    fn connections(&mut self) -> usize {
        self.server().open.load(Ordering::SeqCst)
    }
}

/// Small, so that many of them are in a small file.
const PIECE_LEN: u32 = 64 << 10;
