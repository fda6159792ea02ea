//! The links of a driver and its turn loop, over what a runtime can do.

use crate::datagrams::Sockets;
use crate::driver::{Dial, Driver, Transport, Turn};
use crate::link::{Link, LinkContext, LinkOrders, link_error};
use crate::listeners::{Listeners, bind_error};
use crate::runtime::{Runtime, Task as _, Timer as _};
use bytes::Bytes;
use gosh_dl_core::base::{LinkError, LinkInput, LinkOutput};
use gosh_dl_core::engine::{ArrivalKey, LinkKey, ListenerKey, UdpKey};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

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

/// Links, listeners and UDP sockets over a runtime's, a task each. Dropping it ends them all.
pub struct Links<R: Runtime> {
    runtime: R,
    context: Arc<LinkContext>,
    links: HashMap<LinkKey, (Arc<LinkOrders>, R::Task)>,
    /// At how many links those that have ended are looked for.
    sweep_at: usize,
    listeners: Listeners<R>,
    sockets: Sockets<R>,
}

impl<R: Runtime> Links<R> {
    /// No link yet.
    pub fn new(runtime: R, context: Arc<LinkContext>) -> Self {
        let listeners = Listeners::new(runtime.clone(), Arc::clone(context.inbox()));
        let sockets = Sockets::new(runtime.clone(), Arc::clone(&context));
        Self { runtime, context, links: HashMap::new(), sweep_at: FEW, listeners, sockets }
    }

    fn spawn(
        &mut self,
        link: LinkKey,
        orders: Arc<LinkOrders>,
        run: impl Future<Output = ()> + Send + 'static,
    ) {
        if self.links.len() >= self.sweep_at {
            self.links.retain(|_, (_, task)| !task.is_over());
            self.sweep_at = self.links.len() * 2 + FEW;
        }
        self.links.insert(link, (orders, self.runtime.spawn(run)));
    }
}

impl<R: Runtime> Transport for Links<R> {
    fn connect(&mut self, link: LinkKey, dial: Dial) {
        let orders = Arc::new(LinkOrders::default());
        let (runtime, context) = (self.runtime.clone(), Arc::clone(&self.context));
        let run = run(runtime, link, dial, context, Arc::clone(&orders));
        self.spawn(link, orders, run);
    }

    fn link(&mut self, link: LinkKey, output: LinkOutput) {
        let close = output == LinkOutput::Close;
        if let Some((orders, _)) = self.links.get(&link) {
            orders.give(&self.context, output);
        }
        if close && let Some((_, task)) = self.links.remove(&link) {
            // It still sends what is queued.
            task.detach();
        }
    }

    fn listen(&mut self, listener: ListenerKey, on: SocketAddr) {
        self.listeners.listen(listener, on);
    }

    fn unlisten(&mut self, listener: ListenerKey) {
        self.listeners.unlisten(listener);
    }

    fn adopt(&mut self, arrival: ArrivalKey, link: LinkKey) {
        let Some(socket) = self.listeners.take(arrival) else {
            return self.context.report(link, LinkInput::Closed(LinkError::Reset));
        };
        let orders = Arc::new(LinkOrders::default());
        let adopted = Link::adopted(socket, link, Arc::clone(&self.context), Arc::clone(&orders));
        let run = live(self.runtime.clone(), adopted);
        self.spawn(link, orders, run);
    }

    fn dismiss(&mut self, arrival: ArrivalKey) {
        drop(self.listeners.take(arrival));
    }

    fn bind(&mut self, socket: UdpKey, on: SocketAddr) {
        self.sockets.bind(socket, on);
    }

    fn unbind(&mut self, socket: UdpKey) {
        self.sockets.unbind(socket);
    }

    fn datagram(&mut self, socket: UdpKey, to: SocketAddr, bytes: Bytes) {
        self.sockets.send(socket, to, bytes);
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
    dial: Dial,
    context: Arc<LinkContext>,
    orders: Arc<LinkOrders>,
) {
    let opened = match connect(&runtime, &dial, &orders).await {
        Ok(None) => return,
        Ok(Some(socket)) => Link::open(socket, key, dial.tls.as_ref(), Arc::clone(&context), orders),
        Err(error) => Err(error),
    };
    match opened {
        Err(error) => context.report(key, LinkInput::Closed(error)),
        Ok(link) => live(runtime, link).await,
    }
}

/// A link that is open, to its end.
async fn live<R: Runtime>(runtime: R, mut link: Link<R::Socket>) {
    link.run().await;
    // What does not leave by then is not worth waiting for.
    let mut timer = runtime.timer();
    timer.set(Instant::now() + LINGER);
    either(link.linger(), poll_fn(|cx| timer.poll_timer(cx))).await;
}

/// `None` where the link is not wanted any more.
async fn connect<R: Runtime>(
    runtime: &R,
    dial: &Dial,
    orders: &LinkOrders,
) -> Result<Option<R::Socket>, LinkError> {
    // Where the address is chosen, it may be a wrong one; else there are no ports left.
    let as_error = if dial.from.is_some() { bind_error } else { link_error };
    match either(runtime.connect(dial.to, dial.from), orders.closed()).await {
        Some(connected) => connected.map(Some).map_err(|error| as_error(&error)),
        None => Ok(None),
    }
}

/// What `future` gives, or `None` where `end` is ready before.
pub(crate) async fn either<T>(future: impl Future<Output = T>, end: impl Future<Output = ()>) -> Option<T> {
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
