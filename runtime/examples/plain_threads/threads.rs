//! A runtime without an async library: one thread, which polls its tasks and waits for sockets and timers.

use bytes::BytesMut;
use gosh_dl_core::base::store::Store;
use gosh_dl_core::engine::{EngineConfig, EngineError};
use gosh_dl_runtime::{
    Datagrams, Direction, Handle, Listener, Runtime, Socket, Task, Timer, begin_connect, drive, receive_into,
    send_file_part, send_more,
};
use polling::{AsSource, Event, Events, Poller};
use socket2::SockRef;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

/// The engine on a thread of its own.
#[derive(Debug)]
pub(crate) struct DownloadEngine {
    handle: Handle,
}

impl DownloadEngine {
    /// Starts an engine whose state is kept in `store`, or in memory.
    ///
    /// # Errors
    ///
    /// As [`Handle::start`].
    pub(crate) fn start(config: EngineConfig, store: Option<Box<dyn Store>>) -> Result<Self, EngineError> {
        let (handle, driver) = Handle::start(config, store)?;
        let threads = Threads::new().map_err(|error| EngineError::Internal(error.to_string()))?;
        threads.spawn(drive(threads.clone(), driver));
        Ok(Self { handle })
    }
}

impl Deref for DownloadEngine {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

/// A loop of tasks, sockets and timers. Its thread lives as long as there is a task.
#[derive(Clone)]
pub(crate) struct Threads {
    shared: Arc<Shared>,
}

struct Shared {
    poller: Poller,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Arc<Cell>>,
    /// Who waits for a socket to be readable, and who for it to be writable.
    sources: HashMap<usize, [Option<Waker>; 2]>,
    /// Who waits for an instant. The number tells timers of one instant apart.
    timers: BTreeMap<(Instant, usize), Waker>,
    next: usize,
    tasks: usize,
    running: bool,
}

impl Threads {
    /// A loop without tasks, and so without a thread.
    ///
    /// # Errors
    ///
    /// Those of the operating system's poller.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { shared: Arc::new(Shared { poller: Poller::new()?, state: Mutex::default() }) })
    }
}

impl Runtime for Threads {
    type Socket = Watched<TcpStream>;
    type Listener = Watched<TcpListener>;
    type Datagrams = Watched<UdpSocket>;
    type Task = ThreadTask;
    type Timer = ThreadTimer;

    async fn connect(&self, to: SocketAddr, from: Option<IpAddr>) -> io::Result<Watched<TcpStream>> {
        let socket = Watched::new(begin_connect(to, from)?, Arc::clone(&self.shared))?;
        let mut waited = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut waited, true) && socket.io.peer_addr().is_ok() {
                return Poll::Ready(Ok(()));
            }
            match socket.io.take_error() {
                Ok(Some(error)) | Err(error) => Poll::Ready(Err(error)),
                Ok(None) => socket.wait(WRITE, cx).map_ok(|never| match never {}),
            }
        })
        .await?;
        Ok(socket)
    }

    fn listener(&self, socket: TcpListener) -> io::Result<Watched<TcpListener>> {
        Watched::new(socket, Arc::clone(&self.shared))
    }

    fn datagrams(&self, socket: UdpSocket) -> io::Result<Watched<UdpSocket>> {
        Watched::new(socket, Arc::clone(&self.shared))
    }

    fn timer(&self) -> ThreadTimer {
        let number = self.shared.number();
        ThreadTimer { shared: Arc::clone(&self.shared), at: Instant::now(), number }
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> ThreadTask {
        let shared = Arc::clone(&self.shared);
        let cell = Arc::new(Cell {
            future: Mutex::new(Some(Box::pin(future))),
            queued: AtomicBool::new(false),
            over: AtomicBool::new(false),
            shared,
        });
        let start = {
            let mut state = self.shared.state();
            state.tasks += 1;
            !std::mem::replace(&mut state.running, true)
        };
        if start {
            let shared = Arc::clone(&self.shared);
            std::thread::spawn(move || shared.run());
        }
        Arc::clone(&cell).wake();
        ThreadTask(cell)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> usize {
        let mut state = self.state();
        state.next += 1;
        state.next
    }

    fn run(&self) {
        let mut events = Events::new();
        loop {
            let due = {
                let mut state = self.state();
                if state.tasks == 0 {
                    state.running = false;
                    return;
                }
                std::mem::take(&mut state.ready)
            };
            due.iter().for_each(|cell| cell.poll());
            let (timeout, wake) = self.timers();
            wake.into_iter().for_each(Waker::wake);
            events.clear();
            if self.poller.wait(&mut events, timeout).is_err() {
                continue;
            }
            let wake: Vec<Waker> = events.iter().flat_map(|event| self.woken(event)).flatten().collect();
            wake.into_iter().for_each(Waker::wake);
        }
    }

    /// Who is due, and how long to wait for the next.
    fn timers(&self) -> (Option<std::time::Duration>, Vec<Waker>) {
        let mut state = self.state();
        let now = Instant::now();
        let later = state.timers.split_off(&(now, usize::MAX));
        let due = std::mem::replace(&mut state.timers, later).into_values().collect();
        let next = state.timers.keys().next().map(|(at, _)| at.saturating_duration_since(now));
        let timeout = if state.ready.is_empty() && state.tasks > 0 { next } else { Some(Default::default()) };
        (timeout, due)
    }

    fn woken(&self, event: Event) -> [Option<Waker>; 2] {
        let mut state = self.state();
        let Some([read, write]) = state.sources.get_mut(&event.key) else { return [None, None] };
        // An event ends the interest in both directions, so both look again.
        [read.take(), write.take()]
    }
}

/// A spawned task.
pub(crate) struct ThreadTask(Arc<Cell>);

/// What the loop keeps of a task.
struct Cell {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    queued: AtomicBool,
    over: AtomicBool,
    shared: Arc<Shared>,
}

impl Cell {
    fn poll(self: &Arc<Self>) {
        self.queued.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(self));
        let mut future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = future.as_mut().map(|future| future.as_mut().poll(&mut Context::from_waker(&waker)));
        if polled == Some(Poll::Ready(())) {
            let ended = future.take();
            drop(future);
            drop(ended);
            self.end();
        }
    }

    fn end(&self) {
        if !self.over.swap(true, Ordering::SeqCst) {
            let mut state = self.shared.state();
            state.tasks -= 1;
            // A task in the queue of a loop that has ended would keep the loop, and the loop the task.
            state.ready.retain(|cell| !cell.over.load(Ordering::SeqCst));
            // The loop may wait for what does not come any more.
            let _ = self.shared.poller.notify();
        }
    }
}

impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        if !self.over.load(Ordering::SeqCst) && !self.queued.swap(true, Ordering::SeqCst) {
            state.ready.push_back(self);
            let _ = shared.poller.notify();
        }
    }
}

impl Task for ThreadTask {
    fn is_over(&self) -> bool {
        self.0.over.load(Ordering::SeqCst)
    }

    fn abort(self) {
        let future = self.0.future.lock().unwrap_or_else(PoisonError::into_inner).take();
        if future.is_some() {
            drop(future);
            self.0.end();
        }
    }

    fn detach(self) {}
}

/// A timer of the loop's.
pub(crate) struct ThreadTimer {
    shared: Arc<Shared>,
    at: Instant,
    number: usize,
}

impl Timer for ThreadTimer {
    fn set(&mut self, at: Instant) {
        self.shared.state().timers.remove(&(self.at, self.number));
        self.at = at;
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at <= Instant::now() {
            return Poll::Ready(());
        }
        self.shared.state().timers.insert((self.at, self.number), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ThreadTimer {
    fn drop(&mut self) {
        self.shared.state().timers.remove(&(self.at, self.number));
    }
}

/// A socket that the loop's poller knows.
pub(crate) struct Watched<S: AsSource> {
    io: S,
    key: usize,
    shared: Arc<Shared>,
}

impl<S: AsSource> Watched<S> {
    fn new(io: S, shared: Arc<Shared>) -> io::Result<Self> {
        let key = shared.number();
        // SAFETY: the socket is deleted from the poller before it is closed, in `drop`.
        unsafe { shared.poller.add(&io.source(), Event::none(key))? };
        shared.state().sources.insert(key, [None, None]);
        Ok(Self { io, key, shared })
    }

    /// Acts, and wakes the task when the socket can be read or written where that would block.
    fn poll<T>(
        &self,
        cx: &Context<'_>,
        direction: usize,
        mut act: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        match act(&self.io) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.wait(direction, cx).map_ok(|never| match never {})
            }
            result => Poll::Ready(result),
        }
    }

    fn wait(&self, direction: usize, cx: &Context<'_>) -> Poll<io::Result<Never>> {
        let mut state = self.shared.state();
        let Some(waiting) = state.sources.get_mut(&self.key) else { return Poll::Pending };
        waiting[direction] = Some(cx.waker().clone());
        let interest = Event::new(self.key, waiting[READ].is_some(), waiting[WRITE].is_some());
        match self.shared.poller.modify(&self.io, interest) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Socket for Watched<TcpStream> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, READ, |stream| receive_into(stream, buffer, limit))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll(cx, WRITE, |mut stream| stream.write_vectored(slices))
    }

    fn poll_write_more(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll(cx, WRITE, |stream| send_more(stream, slices))
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, WRITE, |stream| send_file_part(stream, file, offset, len))
    }
}

impl Listener for Watched<TcpListener> {
    type Socket = Watched<TcpStream>;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Watched<TcpStream>, SocketAddr)>> {
        self.poll(cx, READ, |listener| {
            let (stream, from) = listener.accept()?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            Ok((Watched::new(stream, Arc::clone(&self.shared))?, from))
        })
    }
}

impl Datagrams for Watched<UdpSocket> {
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut act: impl FnMut(SockRef<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let direction = if direction == Direction::Read { READ } else { WRITE };
        self.poll(cx, direction, |socket| act(SockRef::from(socket)))
    }
}

impl<S: AsSource> Drop for Watched<S> {
    fn drop(&mut self) {
        // One that the poller has forgotten already needs nothing more.
        let _ = self.shared.poller.delete(&self.io);
        self.shared.state().sources.remove(&self.key);
    }
}

/// What a wait never gives.
enum Never {}

const READ: usize = 0;
const WRITE: usize = 1;
