//! UDP sockets: many datagrams in one call each way, and bounded queues that drop what is too much.
//!
//! Datagrams that follow each other to one place and have one length leave in one call, which the system cuts (GSO); what
//! the system has joined (GRO) is taken apart. Each datagram that comes is copied once, behind the one before, into a
//! pooled buffer: to keep it where it was received would pin 64 KiB for a hundred bytes.

use crate::link::{InUse, LinkContext};
use crate::links::either;
use crate::listeners::bind_error;
use crate::runtime::{Datagrams, Direction, Runtime, Task as _, Timer as _};
use crate::waiting::{wait, wake};
use bytes::{Bytes, BytesMut};
use gosh_dl_core::engine::{Input, UdpKey};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::SockRef;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

/// The UDP sockets of a driver, a task each. Dropping it ends them all.
pub(crate) struct Sockets<R: Runtime> {
    runtime: R,
    context: Arc<LinkContext>,
    sockets: HashMap<UdpKey, (Arc<Orders>, R::Task)>,
}

impl<R: Runtime> Sockets<R> {
    pub(crate) fn new(runtime: R, context: Arc<LinkContext>) -> Self {
        Self { runtime, context, sockets: HashMap::new() }
    }

    /// Makes a socket, and reports where or why not.
    pub(crate) fn bind(&mut self, key: UdpKey, on: SocketAddr) {
        let result = self.open(key, on).map_err(|error| bind_error(&error));
        self.context.inbox().push(Input::Bound { socket: key, result });
    }

    fn open(&mut self, key: UdpKey, on: SocketAddr) -> io::Result<SocketAddr> {
        let socket = begin_bind(on)?;
        let address = socket.local_addr()?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let orders = Arc::new(Orders::default());
        let socket = Socket {
            socket: self.runtime.datagrams(socket)?,
            sender: Sender::new(address),
            receiver: Receiver::new(key, state.gro_segments()),
            state,
            orders: Arc::clone(&orders),
            context: InUse::new(Arc::clone(&self.context)),
        };
        let task = self.runtime.spawn(run(self.runtime.clone(), socket));
        self.sockets.insert(key, (orders, task));
        Ok(address)
    }

    /// Closes a socket after what is queued has left.
    pub(crate) fn unbind(&mut self, key: UdpKey) {
        if let Some((orders, task)) = self.sockets.remove(&key) {
            orders.close();
            task.detach();
        }
    }

    /// Queues a datagram.
    pub(crate) fn send(&mut self, key: UdpKey, to: SocketAddr, bytes: Bytes) {
        if let Some((orders, _)) = self.sockets.get(&key) {
            orders.send(to, bytes);
        }
    }
}

impl<R: Runtime> Drop for Sockets<R> {
    fn drop(&mut self) {
        self.sockets.drain().for_each(|(_, (_, task))| task.abort());
    }
}

/// What the engine wants of a socket and its task has not done yet.
#[derive(Default)]
struct Orders {
    state: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    datagrams: VecDeque<(SocketAddr, Bytes)>,
    /// What they take, each with [`OVERHEAD`].
    bytes: usize,
    close: bool,
    waker: Option<Waker>,
}

impl Orders {
    fn send(&self, to: SocketAddr, bytes: Bytes) {
        let mut queue = self.state();
        if queue.bytes >= MAX_QUEUED {
            tracing::trace!("a datagram is dropped: more is asked for than leaves");
            return;
        }
        queue.bytes += bytes.len() + OVERHEAD;
        queue.datagrams.push_back((to, bytes));
        wake(queue, |queue| &mut queue.waker);
    }

    fn close(&self) {
        let mut queue = self.state();
        queue.close = true;
        wake(queue, |queue| &mut queue.waker);
    }

    fn state(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task's end of a socket.
struct Socket<S> {
    socket: S,
    state: UdpSocketState,
    sender: Sender,
    receiver: Receiver,
    orders: Arc<Orders>,
    context: InUse,
}

async fn run<R: Runtime>(runtime: R, mut socket: Socket<R::Datagrams>) {
    let mut timer = runtime.timer();
    loop {
        match poll_fn(|cx| socket.poll(cx)).await {
            Turn::Over => {
                timer.set(Instant::now() + LINGER);
                either(poll_fn(|cx| socket.poll_last(cx)), poll_fn(|cx| timer.poll_timer(cx))).await;
                return;
            }
            Turn::Again => runtime.yield_now().await,
            Turn::Pause => {
                timer.set(Instant::now() + PAUSE);
                poll_fn(|cx| timer.poll_timer(cx)).await;
            }
        }
    }
}

/// What a socket's task does next.
enum Turn {
    /// It sends what is queued, and ends.
    Over,
    /// It lets others have their turn.
    Again,
    /// It waits a moment: the socket has only errors to tell.
    Pause,
}

impl<S: Datagrams> Socket<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if self.take_orders(cx) {
            return Poll::Ready(Turn::Over);
        }
        let sent = self.sender.poll(cx, &mut self.socket, &self.state);
        match self.receiver.poll(cx, &mut self.socket, &self.state, &self.context) {
            Poll::Ready(turn) => Poll::Ready(turn),
            Poll::Pending => sent,
        }
    }

    /// Ready when all that is queued has left.
    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.take_orders(cx);
            if self.sender.queue.is_empty() {
                return Poll::Ready(());
            }
            let sent = self.sender.poll(cx, &mut self.socket, &self.state);
            if sent.is_pending() && !self.sender.queue.is_empty() {
                return Poll::Pending;
            }
        }
    }

    /// Takes as much as is sent in a turn; returns whether the socket is to be closed.
    fn take_orders(&mut self, cx: &Context<'_>) -> bool {
        let mut queue = self.orders.state();
        if self.sender.queue.is_empty() {
            std::mem::swap(&mut self.sender.queue, &mut queue.datagrams);
            queue.bytes = 0;
        }
        wait(&mut queue.waker, cx);
        queue.close
    }
}

/// What leaves.
struct Sender {
    queue: VecDeque<(SocketAddr, Bytes)>,
    ipv6: bool,
    /// Where datagrams that leave in one call are put together.
    joined: Vec<u8>,
}

impl Sender {
    fn new(address: SocketAddr) -> Self {
        Self { queue: VecDeque::new(), ipv6: address.is_ipv6(), joined: Vec::new() }
    }

    /// Sends what is queued. Ready when others are to have their turn.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut impl Datagrams,
        state: &UdpSocketState,
    ) -> Poll<Turn> {
        for _ in 0..BURST {
            let Some((to, first)) = self.queue.front() else { return Poll::Pending };
            if !self.can_reach(*to) {
                self.queue.pop_front();
                continue;
            }
            let (to, first) = (*to, first.clone());
            let count = self.join(to, &first, state.max_gso_segments());
            let sent = match count {
                1 => ready!(send(cx, socket, state, to, &first, None)),
                _ => ready!(send(cx, socket, state, to, &self.joined, Some(first.len()))),
            };
            match sent {
                Err(error) if count > 1 => {
                    // The whole failed for the sake of one, or the device cannot do it: one by one, then.
                    tracing::debug!(%error, count, "datagrams could not leave together");
                    for (to, bytes) in self.queue.drain(..count) {
                        let _lost = send(cx, socket, state, to, &bytes, None);
                    }
                }
                Err(error) => {
                    tracing::trace!(%error, %to, len = first.len(), "a datagram could not leave");
                    self.queue.pop_front();
                }
                Ok(()) => drop(self.queue.drain(..count)),
            }
        }
        Poll::Ready(Turn::Again)
    }

    /// What the system calls a wrong argument is not given to it: it would be taken for a lack of GSO.
    fn can_reach(&self, to: SocketAddr) -> bool {
        let scoped = match to {
            SocketAddr::V4(_) => true,
            SocketAddr::V6(to) => !to.ip().is_unicast_link_local() || to.scope_id() != 0,
        };
        to.port() != 0 && to.is_ipv6() == self.ipv6 && scoped
    }

    /// How many datagrams can leave in one call: to one place, all as long as the first, but for the last one.
    fn join(&mut self, to: SocketAddr, first: &[u8], most: usize) -> usize {
        let mut count = 1;
        self.joined.clear();
        if first.is_empty() || first.len() > MAX_SEGMENT {
            return 1;
        }
        for (also_to, bytes) in self.queue.iter().skip(1).take(most.saturating_sub(1)) {
            let fits = bytes.len() <= first.len() && !bytes.is_empty();
            if *also_to != to || !fits || (count + 1) * first.len() > MAX_JOINED {
                break;
            }
            if count == 1 {
                self.joined.extend_from_slice(first);
            }
            self.joined.extend_from_slice(bytes);
            count += 1;
            if bytes.len() < first.len() {
                break;
            }
        }
        count
    }
}

fn send(
    cx: &mut Context<'_>,
    socket: &mut impl Datagrams,
    state: &UdpSocketState,
    to: SocketAddr,
    contents: &[u8],
    segment_size: Option<usize>,
) -> Poll<io::Result<()>> {
    let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
    socket.poll_io(cx, Direction::Write, |socket: SockRef<'_>| {
        state.try_send(UdpSockRef::from(&*socket), &transmit)
    })
}

/// What comes.
struct Receiver {
    key: UdpKey,
    /// Room for a batch; made when there is something to receive.
    room: Vec<u8>,
    /// How much of it one call of the system may fill with one sender's datagrams.
    each: usize,
    /// What is being reported.
    inputs: Vec<Input>,
    errors: u32,
}

impl Receiver {
    fn new(key: UdpKey, gro_segments: usize) -> Self {
        let each = if gro_segments > 1 { MAX_JOINED_RECEIVED } else { MAX_DATAGRAM };
        Self { key, room: Vec::new(), each, inputs: Vec::new(), errors: 0 }
    }

    /// Receives what is there. Ready when others are to have their turn.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut impl Datagrams,
        state: &UdpSocketState,
        context: &LinkContext,
    ) -> Poll<Turn> {
        for _ in 0..BURST {
            match ready!(self.receive(cx, socket, state, context)) {
                Ok(()) => self.errors = 0,
                // ICMP answers to what was sent come as errors; they are nobody's in particular.
                Err(error) => {
                    tracing::trace!(%error, "cannot receive");
                    self.errors += 1;
                    if self.errors >= MANY_ERRORS {
                        return Poll::Ready(Turn::Pause);
                    }
                }
            }
        }
        Poll::Ready(Turn::Again)
    }

    /// Receives a batch and reports it.
    fn receive(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut impl Datagrams,
        state: &UdpSocketState,
        context: &LinkContext,
    ) -> Poll<io::Result<()>> {
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let (room, each) = (&mut self.room, self.each);
        let count = ready!(socket.poll_io(cx, Direction::Read, |socket: SockRef<'_>| {
            if room.is_empty() {
                // Pages that no datagram ever reaches take no memory.
                *room = vec![0; each * BATCH_SIZE];
            }
            let mut slices = slices(room, each);
            state.recv(UdpSockRef::from(&*socket), &mut slices, &mut meta)
        }))?;
        let received = meta.iter().zip(self.room.chunks_exact(self.each)).take(count);
        let apart = received.flat_map(|(meta, room)| {
            let datagrams = room.get(..meta.len).unwrap_or_default().chunks(meta.stride.max(1));
            datagrams.map(|datagram| (meta.addr, datagram))
        });
        report(context, self.key, apart, &mut self.inputs);
        Poll::Ready(Ok(()))
    }
}

fn slices(room: &mut [u8], each: usize) -> [IoSliceMut<'_>; BATCH_SIZE] {
    let mut chunks = room.chunks_exact_mut(each);
    std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()))
}

/// Copies datagrams into pooled memory and queues them.
fn report<'d>(
    context: &LinkContext,
    socket: UdpKey,
    datagrams: impl Iterator<Item = (SocketAddr, &'d [u8])>,
    inputs: &mut Vec<Input>,
) {
    let mut buffer = BytesMut::new();
    inputs.extend(datagrams.map(|(from, datagram)| {
        if buffer.capacity() < datagram.len() {
            let full = std::mem::replace(&mut buffer, context.pool().take());
            if full.capacity() > 0 {
                context.pool().give_back(full);
            }
        }
        buffer.extend_from_slice(datagram);
        Input::Datagram { socket, from, bytes: buffer.split() }
    }));
    context.inbox().push_datagrams(inputs);
    if buffer.capacity() > 0 {
        context.pool().give_back(buffer);
    }
}

fn begin_bind(on: SocketAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(on);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if on.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // What the system allows is enough.
    let _as_it_is = socket.set_recv_buffer_size(SYSTEM_BUFFER);
    let _as_it_is = socket.set_send_buffer_size(SYSTEM_BUFFER);
    socket.bind(&on.into())?;
    Ok(socket.into())
}

/// What a queued datagram takes beside its bytes.
const OVERHEAD: usize = 64;
/// How much may wait to be sent on a socket: a tenth of a second of a fast line. More would only arrive late.
const MAX_QUEUED: usize = 4 << 20;
/// How many calls of the system a socket makes each way before others get their turn.
const BURST: usize = 16;
/// The longest datagram that is sent together with others: larger ones do not fit a network's frames, and fail alone.
const MAX_SEGMENT: usize = 1472;
/// How many bytes leave in one call: a datagram of IPv4, less its headers.
const MAX_JOINED: usize = 65_507;
/// The longest datagram that there is.
const MAX_DATAGRAM: usize = 65_535;
/// The most that the system joins.
const MAX_JOINED_RECEIVED: usize = 64 << 10;
/// What is asked of the system for each direction, in bytes.
const SYSTEM_BUFFER: usize = 2 << 20;
/// So many errors in a row are no answers to what was sent: a device is gone.
const MANY_ERRORS: u32 = 64;
/// How long a socket waits then.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a socket that is closed may take to send what is queued.
const LINGER: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(lens: &[(u16, usize)]) -> Sender {
        let mut sender = Sender::new(([127, 0, 0, 1], 0).into());
        for (port, len) in lens {
            sender.queue.push_back((([127, 0, 0, 1], *port).into(), Bytes::from(vec![7; *len])));
        }
        sender
    }

    fn joined(lens: &[(u16, usize)], most: usize) -> usize {
        let mut sender = sender(lens);
        let (to, first) = sender.queue[0].clone();
        let count = sender.join(to, &first, most);
        let whole: usize = lens[..count].iter().map(|(_, len)| len).sum();
        assert_eq!(sender.joined.len(), if count == 1 { 0 } else { whole });
        count
    }

    #[test]
    fn datagrams_of_one_length_to_one_place_leave_together() {
        assert_eq!(joined(&[(1, 100), (1, 100), (1, 100)], 64), 3);
        assert_eq!(joined(&[(1, 100), (1, 100), (1, 100)], 2), 2);
        assert_eq!(joined(&[(1, 100), (2, 100), (1, 100)], 64), 1, "another place");
        assert_eq!(joined(&[(1, 100), (1, 50), (1, 50)], 64), 2, "a shorter one is the last");
        assert_eq!(joined(&[(1, 100), (1, 101)], 64), 1);
        assert_eq!(joined(&[(1, 0), (1, 0)], 64), 1);
        assert_eq!(joined(&[(1, 100), (1, 0)], 64), 1);
        assert_eq!(joined(&[(1, 1400); 100], 64), 46, "no more than the system takes");
        assert_eq!(joined(&[(1, 9000); 3], 64), 1);
        assert_eq!(joined(&[(1, 10)], 0), 1);
    }

    #[test]
    fn what_the_system_would_refuse_is_not_given_to_it() {
        let sender = sender(&[]);
        assert!(sender.can_reach("127.0.0.1:1".parse().unwrap()));
        assert!(!sender.can_reach("127.0.0.1:0".parse().unwrap()));
        assert!(!sender.can_reach("[::1]:1".parse().unwrap()));
        let sender = Sender::new("[::]:0".parse().unwrap());
        assert!(sender.can_reach("[::1]:1".parse().unwrap()));
        assert!(!sender.can_reach("[fe80::1]:1".parse().unwrap()));
        assert!(sender.can_reach("[fe80::1%3]:1".parse().unwrap()));
    }

    #[test]
    fn no_more_is_queued_than_leaves() {
        let orders = Orders::default();
        for _ in 0..100_000 {
            orders.send(([127, 0, 0, 1], 1).into(), Bytes::from_static(&[0; 1000]));
        }
        let queue = orders.state();
        assert!(queue.bytes <= MAX_QUEUED + 1000 + OVERHEAD);
        assert_eq!(queue.datagrams.len(), MAX_QUEUED.div_ceil(1000 + OVERHEAD));
    }
}
