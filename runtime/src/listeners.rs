//! Sockets that accept connections, and the connections that the engine has not taken yet.

use crate::Inbox;
use crate::link::link_error;
use crate::runtime::{Listener as _, Runtime, Task as _, Timer as _};
use gosh_dl_core::base::LinkError;
use gosh_dl_core::engine::{ArrivalKey, Input, ListenerKey};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// The listeners of a driver, a task each. Dropping it ends them all.
pub(crate) struct Listeners<R: Runtime> {
    runtime: R,
    arrivals: Arc<Arrivals<R::Socket>>,
    tasks: HashMap<ListenerKey, R::Task>,
}

impl<R: Runtime> Listeners<R> {
    pub(crate) fn new(runtime: R, inbox: Arc<Inbox>) -> Self {
        Self { runtime, arrivals: Arc::new(Arrivals::new(inbox)), tasks: HashMap::new() }
    }

    /// Listens, and reports where or why not.
    pub(crate) fn listen(&mut self, listener: ListenerKey, on: SocketAddr) {
        let listening = begin_listen(on).and_then(|socket| {
            let address = socket.local_addr()?;
            Ok((self.runtime.listener(socket)?, address))
        });
        let result = listening.map_err(|error| bind_error(&error));
        let result = result.map(|(socket, address)| {
            let task = accept_all(self.runtime.clone(), socket, listener, Arc::clone(&self.arrivals));
            self.tasks.insert(listener, self.runtime.spawn(task));
            address
        });
        self.arrivals.inbox.push(Input::Listening { listener, result });
    }

    /// Accepts no more, and closes what waits.
    pub(crate) fn unlisten(&mut self, listener: ListenerKey) {
        if let Some(task) = self.tasks.remove(&listener) {
            task.abort();
        }
        self.arrivals.close(listener);
    }

    /// Gives a connection out; `None` where it is gone.
    pub(crate) fn take(&self, arrival: ArrivalKey) -> Option<R::Socket> {
        self.arrivals.take(arrival)
    }
}

impl<R: Runtime> Drop for Listeners<R> {
    fn drop(&mut self) {
        self.tasks.drain().for_each(|(_, task)| task.abort());
    }
}

/// Connections that wait for the engine's word.
struct Arrivals<S> {
    inbox: Arc<Inbox>,
    state: Mutex<State<S>>,
}

struct State<S> {
    next: u64,
    waiting: HashMap<ArrivalKey, (ListenerKey, S)>,
    /// Listeners that wait until fewer wait.
    full: Vec<Waker>,
}

impl<S> Arrivals<S> {
    fn new(inbox: Arc<Inbox>) -> Self {
        let state = State { next: 0, waiting: HashMap::new(), full: Vec::new() };
        Self { inbox, state: Mutex::new(state) }
    }

    /// Ready when one more may wait.
    async fn room(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.waiting.len() < MAX_ARRIVALS {
                return Poll::Ready(());
            }
            state.full.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn add(&self, listener: ListenerKey, socket: S, from: SocketAddr) {
        let mut state = self.state();
        let arrival = ArrivalKey(state.next);
        state.next += 1;
        state.waiting.insert(arrival, (listener, socket));
        drop(state);
        self.inbox.push(Input::Accepted { listener, arrival, from });
    }

    fn take(&self, arrival: ArrivalKey) -> Option<S> {
        let mut state = self.state();
        let taken = state.waiting.remove(&arrival);
        let woken = std::mem::take(&mut state.full);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        taken.map(|(_, socket)| socket)
    }

    fn close(&self, listener: ListenerKey) {
        let mut state = self.state();
        let closed: Vec<_> = state.waiting.extract_if(|_, (at, _)| *at == listener).collect();
        let woken = std::mem::take(&mut state.full);
        drop(state);
        drop(closed);
        woken.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts for as long as it is polled. What is not accepted waits in the system's own queue.
async fn accept_all<R: Runtime>(
    runtime: R,
    mut socket: R::Listener,
    listener: ListenerKey,
    arrivals: Arc<Arrivals<R::Socket>>,
) {
    let mut timer = runtime.timer();
    loop {
        for _ in 0..BURST {
            arrivals.room().await;
            match poll_fn(|cx| socket.poll_accept(cx)).await {
                Ok((connection, from)) => arrivals.add(listener, connection, from),
                // The one who connected has gone again.
                Err(error) if is_its_own(&error) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot accept");
                    timer.set(Instant::now() + PAUSE);
                    poll_fn(|cx| timer.poll_timer(cx)).await;
                }
            }
        }
        runtime.yield_now().await;
    }
}

/// Whether an error is that of one connection, not of the listener.
fn is_its_own(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

fn begin_listen(on: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(on);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    if on.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Unix a port may be had again at once after its last connections; elsewhere the option would let two have it.
    if cfg!(unix) {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&on.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What core calls an error of a socket that is to have an address.
pub(crate) fn bind_error(error: &io::Error) -> LinkError {
    match error.kind() {
        ErrorKind::AddrInUse => LinkError::AddressInUse,
        ErrorKind::AddrNotAvailable => LinkError::AddressNotAvailable,
        ErrorKind::PermissionDenied => LinkError::PermissionDenied,
        // EAFNOSUPPORT has no kind of its own: this machine has no IPv6.
        _ if matches!(error.raw_os_error(), Some(47 | 97 | 10047)) => LinkError::AddressNotAvailable,
        _ => link_error(error),
    }
}

/// So many connections may wait for the engine's word, a descriptor each. The engine answers in its next turn, so this
/// many are accepted in one.
const MAX_ARRIVALS: usize = 128;
/// So many connections may wait in the system's queue: enough for a swarm that comes at once.
const BACKLOG: i32 = 512;
/// How many connections are accepted before others get their turn.
const BURST: usize = 16;
/// How long nothing is accepted when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);
