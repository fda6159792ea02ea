//! Futures that are dropped before they are ready, at every place where they wait.

use super::home::Home;
use super::world::{Manner, torrent_of};
use super::{MINUTE, Rig, until, wait};
use crate::server::{Server, content};
use crate::store::Backend;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadEvent, DownloadState, EngineError};
use gosh_dl_runtime::{EventStream, Handle, Runtime as _, Task as _, drive};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

/// A future may be dropped before it is polled, or after any of its polls: what it asked for happens all the same once
/// it was polled, and nothing is stuck.
pub fn dropped_futures_leave_commands_in_force(rig: &impl Rig, backend: &impl Backend) {
    let server = Server::start(content(1000), Manner::Answers);
    let home = Home::new(backend);
    let engine = home.start(rig);
    for polls in 0..6 {
        let url = server.url(&format!("{polls}"));
        let _ = poll_and_drop(engine.add_http(&url, DownloadOptions::new().start_paused(true)), polls);
    }
    let expected = 5;
    until("all that was asked is there", || engine.list().len() == expected);
    let ids: Vec<_> = engine.list().iter().map(|status| status.id).collect();
    for (polls, id) in ids.iter().enumerate() {
        let _ = poll_and_drop(engine.resume(*id), polls + 1);
    }
    let is_complete = |state: &DownloadState| *state == DownloadState::Completed;
    until("all are complete", || engine.list().iter().all(|status| is_complete(&status.state)));
    wait(engine.shutdown()).expect("it ends");
}

/// Every call, dropped at every place where it waits: polled once, and dropped; polled again once it was woken, and
/// dropped; and so on until it is ready before it can be dropped. The engine works on each time, says all that it has to
/// say, and nothing is left in the end.
pub fn calls_can_be_dropped_wherever_they_wait(rig: &impl Rig, backend: &impl Backend) {
    let body = content(100_000);
    let server = Server::start(body.clone(), Manner::Answers);
    let home = Home::new(backend);
    let engine = home.start(rig);
    let kept = wait(engine.add_http(&server.url("kept"), DownloadOptions::new())).expect("it is added");
    wait(engine.wait(kept)).expect("it completes");
    let mut stage = Stage { server: &server, kept, paused: kept, events: engine.subscribe(), round: 0 };
    for (name, call) in CALLS {
        everywhere(name, |polls| {
            stage.set(&engine);
            let was_ready = poll_and_drop(call(&engine, &mut stage), polls);
            stage.clear(&engine, name);
            was_ready
        });
    }
    drop(stage);
    let valid = || wait(engine.verify(kept)).is_ok_and(|report| report.valid);
    // A check that was asked for may still be under way.
    until("it can be checked", valid);
    assert!(home.read("kept") == body);
    assert_eq!(home.names(), ["kept"], "nothing is left of what is gone");
    wait(engine.shutdown()).expect("it ends");
    drop(engine);
    assert_eq!(home.open_files(), 0, "files are closed");
    until("no connection is left", || server.open.load(Ordering::SeqCst) == 0);
}

/// The same for the end: a call of `shutdown` that is dropped goes on, and another waits for the same end. Calls that come
/// later say that it is over.
pub fn shutdown_can_be_dropped_wherever_it_waits(rig: &impl Rig, backend: &impl Backend) {
    let server = Server::start(Vec::new(), Manner::Hangs);
    let home = Home::new(backend);
    everywhere("shutdown", |polls| {
        // A download that is in the store from before asks again as soon as the engine starts.
        let requests = server.requests.load(Ordering::SeqCst);
        let engine = home.start(rig);
        let added = wait(engine.add_http(&server.url("file"), DownloadOptions::new()));
        assert!(matches!(added, Ok(_) | Err(EngineError::AlreadyExists(_))), "{added:?}");
        until("a request", || server.requests.load(Ordering::SeqCst) > requests);
        let was_ready = poll_and_drop(engine.shutdown(), polls);
        wait(engine.shutdown()).expect("it ends");
        let late = wait(engine.add_http(&server.url("late"), DownloadOptions::new()));
        assert_eq!(late, Err(EngineError::Shutdown));
        drop(engine);
        assert_eq!(home.open_files(), 0, "files are closed");
        until("no connection is left", || server.open.load(Ordering::SeqCst) == 0);
        was_ready
    });
}

/// A read that is dropped while it waits loses no byte, also where another place is read instead; a reader that is left when its
/// engine ends says so, and holds nothing.
pub fn reads_can_be_dropped_wherever_they_wait(rig: &impl Rig, backend: &impl Backend) {
    let body = content(500_000);
    let server = Server::start(body.clone(), Manner::Dawdles);
    let home = Home::new(backend);
    let engine = home.start(rig);
    let metainfo = torrent_of("file", &body, server.url("file"));
    let id = wait(engine.add_torrent(&metainfo, DownloadOptions::new())).expect("it is added");
    let mut reader = engine.open_reader(id, 0).expect("it is read");
    for start in [400_000, 0] {
        reader.seek(start as u64);
        let mut read = Vec::new();
        while start + read.len() < body.len() {
            until("bytes", || {
                let polled = pin!(reader.read(20_000)).poll(&mut Context::from_waker(Waker::noop()));
                polled.map(|bytes| read.extend_from_slice(&bytes.expect("it is read"))).is_ready()
            });
        }
        assert!(read == body[start..]);
    }
    reader.seek(0);
    wait(engine.shutdown()).expect("it ends");
    drop(engine);
    assert_eq!(home.open_files(), 0, "files are closed");
    assert_eq!(wait(reader.read(1)), Err(EngineError::Shutdown));
}

/// Calls `drop_after` with a number of polls that grows until the future was ready before it could be dropped.
fn everywhere(name: &str, mut drop_after: impl FnMut(usize) -> bool) {
    let mut polls = 0;
    for _ in 0..MOST_WAITS {
        let was_ready = drop_after(polls);
        match polls {
            // A fast answer may be there at once. It is not always.
            1 if was_ready => {}
            _ if was_ready => return,
            _ => polls += 1,
        }
    }
    panic!("{name}: it was dropped after up to {polls} polls");
}

/// The driver's own future, dropped at every place where it waits, as when a runtime ends: calls end with an error and not
/// never, and nothing is left.
pub fn drivers_can_be_dropped_wherever_they_wait(rig: &impl Rig, backend: &impl Backend) {
    let body = content(400_000);
    let server = Server::start(body.clone(), Manner::Answers);
    let home = Home::new(backend);
    for polls in 0..MOST_WAITS {
        let handle = start_for(rig, polls, &home);
        let ended = wait(fetch(&handle, &server.url("file")));
        if ended.is_ok() {
            assert!(polls > 2, "{polls} polls are enough for all");
            assert!(home.read("file") == body);
            return;
        }
        assert!(matches!(ended, Err(EngineError::Shutdown)), "{polls} polls: {ended:?}");
        assert_eq!(home.open_files(), 0, "files are closed after {polls} polls");
        until("no connection is left", || server.open.load(Ordering::SeqCst) == 0);
    }
    panic!("{MOST_WAITS} polls are not enough for a small file");
}

/// Adds a download where it is not there yet, and waits for its end.
async fn fetch(handle: &Handle, url: &str) -> Result<(), EngineError> {
    let id = match handle.list().first() {
        Some(known) => known.id,
        None => handle.add_http(url, DownloadOptions::new()).await?,
    };
    handle.wait(id).await
}

/// Starts an engine whose driver is dropped after so many polls.
fn start_for(rig: &impl Rig, polls: usize, home: &Home<'_, impl Backend>) -> Handle {
    let started = Handle::start(home.config(), Some(home.open()));
    let (handle, driver) = started.unwrap_or_else(|error| panic!("the engine: {error}"));
    let runtime = rig.runtime();
    rig.enter(|| runtime.spawn(cut_short(drive(runtime.clone(), driver), polls)).detach());
    handle
}

/// Polls `future` so often at most, and then drops it and is ready.
async fn cut_short(future: impl Future<Output = ()> + Send + 'static, polls: usize) {
    let mut future: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = Some(Box::pin(future));
    let mut left = polls;
    poll_fn(move |cx| {
        let Some(inner) = future.as_mut().filter(|_| left > 0) else { return Poll::Ready(()) };
        left -= 1;
        let polled = inner.as_mut().poll(cx);
        if left == 0 {
            future = None;
            return Poll::Ready(());
        }
        polled
    })
    .await;
}

/// What the calls are made on.
struct Stage<'s> {
    server: &'s Server,
    /// Complete, and stays.
    kept: DownloadId,
    /// One that is not running; another each time.
    paused: DownloadId,
    events: EventStream,
    round: usize,
}

impl Stage<'_> {
    fn set(&mut self, engine: &Handle) {
        self.round += 1;
        let url = self.server.url(&format!("paused-{}", self.round));
        let options = DownloadOptions::new().start_paused(true);
        self.paused = wait(engine.add_http(&url, options)).expect("it is added");
        while self.events.try_recv().is_some() {}
    }

    fn new_url(&self) -> String {
        self.server.url(&format!("new-{}", self.round))
    }

    /// Takes away what a call has left: the engine works on, and says of each that it is gone.
    fn clear(&mut self, engine: &Handle, name: &str) {
        loop {
            let left: Vec<_> = engine.list().iter().map(|status| status.id).collect();
            let Some(id) = left.into_iter().find(|id| *id != self.kept) else { return };
            let cancelled = wait(engine.cancel(id, true));
            assert!(matches!(cancelled, Ok(()) | Err(EngineError::NotFound(_))), "{name}: {cancelled:?}");
            let is_it =
                |event: &DownloadEvent| matches!(event, DownloadEvent::Removed { id: gone } if *gone == id);
            let told = std::iter::from_fn(|| wait(self.events.recv())).any(|event| is_it(&event));
            assert!(told, "{name}: it was not told that {id} is gone");
        }
    }
}

type Call = for<'c> fn(&'c Handle, &'c mut Stage<'_>) -> Pin<Box<dyn Future<Output = ()> + 'c>>;

/// Every call of the handle that waits, and that of an event stream.
const CALLS: [(&str, Call); 14] = [
    ("add_http", |engine, stage| {
        let url = stage.new_url();
        Box::pin(async move { drop(engine.add_http(&url, DownloadOptions::new()).await) })
    }),
    ("add_torrent", |engine, _| {
        let options = DownloadOptions::new().start_paused(true);
        Box::pin(async { drop(engine.add_torrent(TORRENT, options).await) })
    }),
    ("add_magnet", |engine, _| {
        let options = DownloadOptions::new().start_paused(true);
        Box::pin(async { drop(engine.add_magnet(MAGNET, options).await) })
    }),
    ("resume", |engine, stage| Box::pin(async { drop(engine.resume(stage.paused).await) })),
    ("pause", |engine, stage| {
        let id = running(engine, stage);
        Box::pin(async move { drop(engine.pause(id).await) })
    }),
    ("cancel", |engine, stage| Box::pin(async { drop(engine.cancel(stage.paused, true).await) })),
    ("wait", |engine, stage| {
        let id = running(engine, stage);
        Box::pin(async move { drop(engine.wait(id).await) })
    }),
    ("verify", |engine, stage| Box::pin(async { drop(engine.verify(stage.kept).await) })),
    ("repair", |engine, stage| Box::pin(async { drop(engine.repair(stage.kept).await) })),
    ("pause_all", |engine, stage| {
        running(engine, stage);
        Box::pin(async { drop(engine.pause_all().await) })
    }),
    ("resume_all", |engine, _| Box::pin(async { drop(engine.resume_all().await) })),
    ("cancel of one that runs", |engine, stage| {
        let id = running(engine, stage);
        Box::pin(async move { drop(engine.cancel(id, true).await) })
    }),
    ("resume, and events until it is complete", |engine, stage| {
        Box::pin(async {
            let _ = engine.resume(stage.paused).await;
            while let Some(event) = stage.events.recv().await {
                if matches!(event, DownloadEvent::Completed { .. }) {
                    return;
                }
            }
        })
    }),
    ("recv", |engine, stage| {
        let _ = running(engine, stage);
        Box::pin(async {
            while !matches!(stage.events.recv().await, Some(DownloadEvent::Completed { .. }) | None) {}
        })
    }),
];

/// The paused one, told to run just now.
fn running(engine: &Handle, stage: &Stage<'_>) -> DownloadId {
    let _ = poll_and_drop(engine.resume(stage.paused), 1);
    stage.paused
}

/// Polls a future so often, each time once it was woken, and drops it; whether it was ready by then.
fn poll_and_drop(future: impl Future, polls: usize) -> bool {
    let mut future = pin!(future);
    let wakes = Arc::new(Wakes { count: AtomicUsize::new(0), thread: std::thread::current() });
    let waker = Waker::from(Arc::clone(&wakes));
    let deadline = Instant::now() + MINUTE;
    for poll in 0..polls {
        let before = wakes.count.load(Ordering::SeqCst);
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return true;
        }
        if poll + 1 == polls {
            return false;
        }
        while wakes.count.load(Ordering::SeqCst) == before {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody wakes it after {} polls", poll + 1);
            std::thread::park_timeout(left);
        }
    }
    false
}

/// Counts how often it was woken.
struct Wakes {
    count: AtomicUsize,
    thread: Thread,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// More than any call waits, even one that reads every event of a download.
const MOST_WAITS: usize = 200;
const TORRENT: &[u8] =
    b"d4:infod6:lengthi5e4:name4:five12:piece lengthi16384e6:pieces20:01234567890123456789ee";
const MAGNET: &str = "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567&dn=five";
