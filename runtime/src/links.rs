//! The links of a driver and its turn loop, over what a runtime can do.

use crate::driver::{Driver, Transport, Turn};
use crate::link::{Link, LinkContext, LinkOrders, Socket, link_error};
use gosh_dl_core::base::{LinkError, LinkInput, LinkOutput};
use gosh_dl_core::engine::{LinkKey, TlsRequest};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What the engine needs of an async runtime: connections, timers, tasks.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A connected socket.
    type Socket: Socket + Send;
    /// A running task.
    type Task: Task;
    /// A timer that can be set again.
    type Timer: Timer + Send;

    /// Connects. Dropping the future gives up.
    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Socket>> + Send;

    /// A timer that is not set.
    fn timer(&self) -> Self::Timer;

    /// Runs a future by itself.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Self::Task;

    /// Lets other tasks and sockets have their turn.
    fn yield_now(&self) -> impl Future<Output = ()> + Send {
        let mut yielded = false;
        poll_fn(move |cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }
}

/// A task that was spawned.
pub trait Task: Send + 'static {
    /// Whether it has ended.
    fn is_over(&self) -> bool;

    /// Drops its future, at once or as soon as it is not running.
    fn abort(self);

    /// Lets it go on by itself.
    fn detach(self);
}

/// A timer.
pub trait Timer {
    /// Sets it, in place of what it was set to.
    fn set(&mut self, at: Instant);

    /// Ready when the instant that it was set to has come.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Turns a driver until it is over.
pub async fn drive<R: Runtime>(runtime: R, mut driver: Driver) {
    let mut links = Links::new(runtime.clone(), driver.links());
    let mut timer = runtime.timer();
    let mut armed = None;
    while let Turn::Wait(deadline) = driver.turn(&mut links) {
        if let Some(at) = deadline.filter(|_| deadline != armed) {
            timer.set(at);
        }
        armed = deadline;
        let mut polls = 0_u32;
        poll_fn(|cx| {
            polls += 1;
            match driver.poll_ready(cx) {
                Poll::Pending if armed.is_some() => timer.poll_timer(cx),
                ready => ready,
            }
        })
        .await;
        if polls == 1 {
            // There was work at once: while the disk has completions, links must have their turn all the same.
            runtime.yield_now().await;
        }
    }
}

/// Links over a runtime's sockets, a task each. Dropping it ends them all.
pub struct Links<R: Runtime> {
    runtime: R,
    context: Arc<LinkContext>,
    links: HashMap<LinkKey, (Arc<LinkOrders>, R::Task)>,
    /// At how many links those that have ended are looked for.
    sweep_at: usize,
}

impl<R: Runtime> Links<R> {
    /// No link yet.
    pub fn new(runtime: R, context: Arc<LinkContext>) -> Self {
        Self { runtime, context, links: HashMap::new(), sweep_at: FEW }
    }
}

impl<R: Runtime> Transport for Links<R> {
    fn connect(&mut self, link: LinkKey, to: SocketAddr, tls: Option<TlsRequest>) {
        if self.links.len() >= self.sweep_at {
            self.links.retain(|_, (_, task)| !task.is_over());
            self.sweep_at = self.links.len() * 2 + FEW;
        }
        let orders = Arc::new(LinkOrders::default());
        let (runtime, context) = (self.runtime.clone(), Arc::clone(&self.context));
        let task = self.runtime.spawn(run(runtime, link, to, tls, context, Arc::clone(&orders)));
        self.links.insert(link, (orders, task));
    }

    fn link(&mut self, link: LinkKey, output: LinkOutput) {
        let close = output == LinkOutput::Close;
        if let Some((orders, _)) = self.links.get(&link) {
            orders.give(output);
        }
        if close && let Some((_, task)) = self.links.remove(&link) {
            // It still sends what is queued.
            task.detach();
        }
    }
}

impl<R: Runtime> Drop for Links<R> {
    fn drop(&mut self) {
        self.links.drain().for_each(|(_, (_, task))| task.abort());
    }
}

impl<R: Runtime> std::fmt::Debug for Links<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

/// One link, from its connection to its end.
async fn run<R: Runtime>(
    runtime: R,
    key: LinkKey,
    to: SocketAddr,
    tls: Option<TlsRequest>,
    context: Arc<LinkContext>,
    orders: Arc<LinkOrders>,
) {
    let opened = match connect(&runtime, to, &orders).await {
        Ok(None) => return,
        Ok(Some(socket)) => Link::open(socket, key, tls.as_ref(), Arc::clone(&context), orders),
        Err(error) => Err(error),
    };
    match opened {
        Err(error) => context.report(key, LinkInput::Closed(error)),
        Ok(mut link) => {
            link.run().await;
            // What does not leave by then is not worth waiting for.
            let mut timer = runtime.timer();
            timer.set(Instant::now() + LINGER);
            either(link.linger(), poll_fn(|cx| timer.poll_timer(cx))).await;
        }
    }
}

/// `None` where the link is not wanted any more.
async fn connect<R: Runtime>(
    runtime: &R,
    to: SocketAddr,
    orders: &LinkOrders,
) -> Result<Option<R::Socket>, LinkError> {
    match either(runtime.connect(to), orders.closed()).await {
        Some(connected) => connected.map(Some).map_err(|error| link_error(&error)),
        None => Ok(None),
    }
}

/// What `future` gives, or `None` where `end` is ready before.
async fn either<T>(future: impl Future<Output = T>, end: impl Future<Output = ()>) -> Option<T> {
    let (mut future, mut end) = (pin!(future), pin!(end));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => end.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// So many links that have ended may lie about.
const FEW: usize = 16;
/// How long a closed link may take to send what is queued.
const LINGER: Duration = Duration::from_secs(1);
