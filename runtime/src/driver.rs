//! The turn of a driver: feeds the engine and performs its outputs, all but what needs sockets.

use crate::disk::DiskExecutor;
use crate::events::EventHub;
use crate::inbox::Inbox;
use crate::link::LinkContext;
use crate::names::Resolver;
use crate::recording::RecordingFile;
use crate::store_thread::StoreThread;
use crate::tls::{CertificateFileError, read_certificates};
use bytes::Bytes;
use futures_channel::oneshot;
use gosh_dl_core::base::store::{MemoryStore, Store, StoreError};
use gosh_dl_core::base::{Instant, LinkOutput};
use gosh_dl_core::engine::recording::RecordedEngine;
use gosh_dl_core::engine::{
    Answer, ArrivalKey, Engine, EngineConfig, EngineError, EngineStart, Input, LinkKey, ListenerKey, Output,
    TlsRequest, Token, UdpKey,
};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

/// What a runtime supplies: what the engine asks for, done with its sockets. What names something that is gone is
/// ignored.
pub trait Transport {
    /// Opens a link, as [`Output::Connect`] says.
    fn connect(&mut self, link: LinkKey, dial: Dial);

    /// Does something on a link, as [`Output::Link`] says.
    fn link(&mut self, link: LinkKey, output: LinkOutput);

    /// Accepts connections, as [`Output::Listen`] says.
    fn listen(&mut self, listener: ListenerKey, on: SocketAddr);

    /// Accepts no more, as [`Output::Unlisten`] says.
    fn unlisten(&mut self, listener: ListenerKey);

    /// Makes a link of a connection, as [`Output::Adopt`] says.
    fn adopt(&mut self, arrival: ArrivalKey, link: LinkKey);

    /// Closes a connection, as [`Output::Dismiss`] says.
    fn dismiss(&mut self, arrival: ArrivalKey);

    /// Makes a UDP socket, as [`Output::Bind`] says.
    fn bind(&mut self, socket: UdpKey, on: SocketAddr);

    /// Closes a UDP socket, as [`Output::Unbind`] says.
    fn unbind(&mut self, socket: UdpKey);

    /// Sends a datagram, as [`Output::Datagram`] says.
    fn datagram(&mut self, socket: UdpKey, to: SocketAddr, bytes: Bytes);
}

/// How a link is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Where to.
    pub to: SocketAddr,
    /// The address of this machine that it must come from.
    pub from: Option<IpAddr>,
    /// Whether and how to secure it.
    pub tls: Option<TlsRequest>,
}

impl Dial {
    /// Without TLS, from wherever the system takes.
    pub const fn plain(to: SocketAddr) -> Self {
        Self { to, from: None, tls: None }
    }
}

/// What the handle and the driver share.
pub(crate) struct Shared {
    engine: Mutex<RecordedEngine>,
    recording: Mutex<Option<RecordingFile>>,
    clock: Clock,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) links: Arc<LinkContext>,
    pub(crate) events: EventHub,
    replies: Mutex<Replies>,
    disk: Arc<DiskExecutor>,
    names: Resolver,
    store: StoreThread,
}

#[derive(Default)]
struct Replies {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Answer, EngineError>>>,
    closing: Vec<oneshot::Sender<()>>,
    closed: bool,
}

/// Drives one engine. A runtime calls [`turn`](Self::turn) whenever [`poll_ready`](Self::poll_ready) is ready or the
/// last turn's deadline has come, until a turn says that it is over.
pub struct Driver {
    shared: Arc<Shared>,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    observer: Option<Observer>,
}

/// Is shown every output before it is performed.
type Observer = Box<dyn FnMut(&Output) + Send + Sync>;

/// What a turn says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The next turn is due when something happens, or then.
    Wait(Option<std::time::Instant>),
    /// It is over: close every link and end.
    Over,
}

/// Starts an engine on what `store` holds; blocks while the store is read.
///
/// # Errors
///
/// [`EngineError::InvalidInput`] for a setting out of range, [`EngineError::Database`] where the store cannot be read.
pub(crate) fn start(
    config: EngineConfig,
    store: Option<Box<dyn Store>>,
) -> Result<(Arc<Shared>, Driver), EngineError> {
    config.validate()?;
    check_certificates(&config)?;
    let mut store = store.unwrap_or_else(|| Box::new(MemoryStore::new()));
    let path = config.database_path.clone();
    let at_path = |error: StoreError| EngineError::Database { path: path.clone(), error };
    let records = store.load().map_err(at_path)?;
    let note = store.load_note().map_err(at_path)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| EngineError::Internal(format!("no randomness: {error}")))?;
    let clock = Clock::new();
    let inbox = Arc::new(Inbox::default());
    let recording = open_recording(&config)?;
    let disk = {
        let inbox = Arc::clone(&inbox);
        Arc::new(DiskExecutor::new(Arc::new(move |key, result| inbox.push(Input::Disk { key, result }))))
    };
    let links = LinkContext::new(&config, Arc::clone(&inbox)).with_disk(Arc::clone(&disk));
    let start = EngineStart { config, seed, unix_millis: unix_millis(), boot_id: boot_id(), records, note };
    let engine = match recording {
        None => RecordedEngine::unrecorded(clock.now(), start)?,
        Some(_) => RecordedEngine::recorded(clock.now(), start)?,
    };
    let into = || Arc::clone(&inbox);
    let (names, stored) = (into(), into());
    let shared = Arc::new(Shared {
        engine: Mutex::new(engine),
        recording: Mutex::new(recording),
        clock,
        events: EventHub::new(),
        replies: Mutex::default(),
        disk,
        names: Resolver::new(Arc::new(move |query, result| names.push(Input::Resolved { query, result }))),
        store: StoreThread::new(
            store,
            Arc::new(move |batch, result| stored.push(Input::Stored { batch, result })),
        ),
        inbox,
        links: Arc::new(links),
    });
    shared.inbox.nudge();
    let driver =
        Driver { shared: Arc::clone(&shared), inputs: Vec::new(), outputs: Vec::new(), observer: None };
    Ok((shared, driver))
}

impl Driver {
    /// What the links of this engine share.
    pub fn links(&self) -> Arc<LinkContext> {
        Arc::clone(&self.shared.links)
    }

    /// Shows every output to `observer` before it is performed: for tests and for those who look for a fault.
    pub fn observe(&mut self, observer: impl FnMut(&Output) + Send + Sync + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// Ready when a turn is due because something happened.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.inbox.poll_ready(cx)
    }

    /// Feeds what happened, does what is due, and performs what the engine asks for.
    pub fn turn(&mut self, transport: &mut impl Transport) -> Turn {
        if self.shared.inbox.is_stopped() {
            return Turn::Over;
        }
        self.shared.inbox.take(&mut self.inputs);
        let deadline = {
            let mut engine = self.shared.engine();
            let now = self.shared.clock.now();
            if let Some(unix_millis) = self.shared.clock.wall_jump() {
                engine.handle_input(now, Input::WallClock { unix_millis });
            }
            for input in self.inputs.drain(..) {
                engine.handle_input(now, input);
            }
            if engine.poll_timeout().is_some_and(|at| at <= now) {
                engine.handle_timeout(now);
            }
            while let Some(output) = engine.poll_output() {
                self.outputs.push(output);
            }
            engine.poll_timeout()
        };
        self.shared.record();
        for output in self.outputs.drain(..) {
            if output == Output::Closed {
                return Turn::Over;
            }
            if let Some(observer) = &mut self.observer {
                observer(&output);
            }
            self.shared.perform(output, transport);
        }
        Turn::Wait(deadline.map(|at| self.shared.clock.std(at)))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.finish();
    }
}

impl Shared {
    /// Calls the engine, and asks for a turn to perform what comes of it.
    pub(crate) fn with<T>(&self, call: impl FnOnce(&mut RecordedEngine, Instant) -> T) -> T {
        let result = call(&mut self.engine(), self.clock.now());
        self.inbox.nudge();
        result
    }

    /// Looks at the engine.
    pub(crate) fn view<T>(&self, look: impl FnOnce(&Engine, Instant) -> T) -> T {
        look(&self.engine(), self.clock.now())
    }

    /// A token for a command, and what its reply will arrive on.
    pub(crate) fn expect_reply(&self) -> (Token, oneshot::Receiver<Result<Answer, EngineError>>) {
        let (sender, receiver) = oneshot::channel();
        let mut replies = self.replies();
        replies.next += 1;
        let token = replies.next;
        if !replies.closed {
            replies.waiting.insert(token, sender);
        }
        (Token(token), receiver)
    }

    /// The command with this token was refused at once.
    pub(crate) fn forget_reply(&self, token: Token) {
        self.replies().waiting.remove(&token.0);
    }

    /// What arrives when the driver has ended.
    pub(crate) fn expect_close(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut replies = self.replies();
        if !replies.closed {
            replies.closing.push(sender);
        }
        receiver
    }

    fn perform(&self, output: Output, transport: &mut impl Transport) {
        match output {
            Output::Connect { link, to, from, tls } => transport.connect(link, Dial { to, from, tls }),
            Output::Link { link, output } => transport.link(link, output),
            Output::Listen { listener, on } => transport.listen(listener, on),
            Output::Unlisten { listener } => transport.unlisten(listener),
            Output::Adopt { arrival, link } => transport.adopt(arrival, link),
            Output::Dismiss { arrival } => transport.dismiss(arrival),
            Output::Bind { socket, on } => transport.bind(socket, on),
            Output::Unbind { socket } => transport.unbind(socket),
            Output::Datagram { socket, to, bytes } => transport.datagram(socket, to, bytes),
            Output::Disk { key, op } => self.disk.submit(key, op),
            Output::Store { batch, ops } => self.store.commit(batch, ops),
            Output::Note(note) => self.store.note(note),
            Output::Resolve { query, host } => self.names.resolve(query, host),
            Output::Event(event) => self.events.publish(&event),
            Output::Reply { token, result } => {
                let waiting = self.replies().waiting.remove(&token.0);
                // Whoever asked may have stopped waiting.
                let _ = waiting.map(|sender| sender.send(result));
            }
            _ => {}
        }
    }

    /// Hands on what was recorded. Whoever has the file takes the bytes, so none can overtake others.
    fn record(&self) {
        if let Some(file) = &mut *self.recording() {
            let part = self.engine().take_recording();
            file.write(part);
        }
    }

    fn end_recording(&self, patience: Duration) {
        if let Some(mut file) = self.recording().take() {
            let rest = {
                let mut engine = self.engine();
                engine.end_recording();
                engine.take_recording()
            };
            file.write(rest);
            file.close(patience);
        }
    }

    /// The end, in order or not: whatever is under way is given up, files and store are closed.
    pub(crate) fn finish(&self) {
        self.inbox.stop();
        // One patience for all: whoever drops a handle waits no longer, whatever hangs.
        let deadline = std::time::Instant::now() + CLOSE_PATIENCE;
        let left = || deadline.saturating_duration_since(std::time::Instant::now());
        self.end_recording(left());
        self.store.close(left());
        self.disk.stop(left());
        self.names.stop();
        self.events.close();
        let mut replies = self.replies();
        replies.closed = true;
        replies.waiting.clear();
        replies.closing.clear();
    }

    fn engine(&self) -> MutexGuard<'_, RecordedEngine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recording(&self) -> MutexGuard<'_, Option<RecordingFile>> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replies(&self) -> MutexGuard<'_, Replies> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_recording(config: &EngineConfig) -> Result<Option<RecordingFile>, EngineError> {
    let Some(path) = &config.record else { return Ok(None) };
    let file = RecordingFile::create(path).map_err(|error| EngineError::InvalidInput {
        field: "record",
        message: format!("{}: {error}", path.display()),
    })?;
    Ok(Some(file))
}

/// A file of certificates that cannot be used is an error now, not when the first secured link is opened.
pub(crate) fn check_certificates(config: &EngineConfig) -> Result<(), EngineError> {
    let Some(path) = &config.http.ca_certificate else { return Ok(()) };
    let unusable = |error: CertificateFileError| EngineError::InvalidInput {
        field: "ca_certificate",
        message: error.to_string(),
    };
    read_certificates(path).map(drop).map_err(unusable)
}

/// The monotonic clock of one engine, and a watch on the wall clock.
struct Clock {
    origin: std::time::Instant,
    wall: Mutex<(std::time::Instant, u64)>,
}

impl Clock {
    fn new() -> Self {
        let origin = std::time::Instant::now();
        Self { origin, wall: Mutex::new((origin, unix_millis())) }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    fn std(&self, at: Instant) -> std::time::Instant {
        self.origin + (at - Instant::ZERO)
    }

    /// The wall clock, if it no longer goes with the monotonic one. Looks every few seconds at most.
    fn wall_jump(&self) -> Option<u64> {
        let mut wall = self.wall.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = wall.0.elapsed();
        if elapsed < LOOK_AT_WALL {
            return None;
        }
        let expected = wall.1.saturating_add(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let actual = unix_millis();
        *wall = (std::time::Instant::now(), actual);
        (actual.abs_diff(expected) > TOLERATED_DRIFT).then_some(actual)
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Linux names each boot; elsewhere what a killed process had written but not synced is fetched again.
fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().ok()
}

/// How long a driver that ends waits for the recording, the store and the disk together.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);
/// How often the two clocks are compared, at most.
const LOOK_AT_WALL: Duration = Duration::from_secs(5);
/// Milliseconds that the two clocks may differ between two looks.
const TOLERATED_DRIFT: u64 = 2000;
