//! One link: a TCP stream, secured or not, that reads only while it has credit.

use bytes::{Buf, BufMut, Bytes};
use gosh_dl_core::base::{LinkError, LinkInput, LinkOutput};
use gosh_dl_core::engine::{Input, LinkKey, TlsRequest};
use gosh_dl_runtime::Inbox;
use gosh_dl_runtime::buffers::BufferPool;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// The driver's end of a link. Dropping it closes the link at once.
pub(crate) struct LinkHandle {
    orders: Arc<Mutex<Orders>>,
    task: AbortHandle,
}

/// What the engine wants of a link and its task has not done yet.
#[derive(Default)]
struct Orders {
    send: VecDeque<Bytes>,
    credit: u64,
    close: bool,
    waker: Option<Waker>,
}

impl LinkHandle {
    /// Connects in a task of its own.
    pub(crate) fn connect(
        key: LinkKey,
        to: SocketAddr,
        tls: Option<TlsRequest>,
        inbox: Arc<Inbox>,
        pool: Arc<BufferPool>,
    ) -> Self {
        let orders = Arc::new(Mutex::new(Orders::default()));
        let task = tokio::spawn(run(key, to, tls, Arc::clone(&orders), inbox, pool)).abort_handle();
        Self { orders, task }
    }

    /// Passes an order on. Returns whether the link is still wanted.
    pub(crate) fn order(&self, output: LinkOutput) -> bool {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = !matches!(output, LinkOutput::Close);
        match output {
            LinkOutput::Send(bytes) => orders.send.push_back(bytes),
            LinkOutput::Credit(bytes) => orders.credit += u64::from(bytes),
            LinkOutput::Close => orders.close = true,
        }
        let waker = orders.waker.take();
        drop(orders);
        if let Some(waker) = waker {
            waker.wake();
        }
        wanted
    }

    /// Ends the link without another byte.
    pub(crate) fn abort(&self) {
        self.task.abort();
    }
}

async fn run(
    key: LinkKey,
    to: SocketAddr,
    _tls: Option<TlsRequest>,
    orders: Arc<Mutex<Orders>>,
    inbox: Arc<Inbox>,
    pool: Arc<BufferPool>,
) {
    let report = |input| inbox.push(Input::Link { link: key, input });
    let stream = match TcpStream::connect(to).await {
        Ok(stream) => stream,
        Err(error) => return report(LinkInput::Closed(link_error(&error))),
    };
    // Requests are small and wait for nothing.
    let _ = stream.set_nodelay(true);
    report(LinkInput::Opened);
    let mut link = Link {
        stream,
        key,
        orders,
        inbox: Arc::clone(&inbox),
        pool,
        out: VecDeque::new(),
        credit: 0,
        closing: false,
    };
    if let Err(error) = poll_fn(|cx| link.poll(cx)).await {
        report(LinkInput::Closed(error));
        return;
    }
    // Closed by the engine: what is queued may still leave, for a moment.
    let _ = tokio::time::timeout(LINGER, poll_fn(|cx| link.poll_write(cx))).await;
}

struct Link {
    stream: TcpStream,
    key: LinkKey,
    orders: Arc<Mutex<Orders>>,
    inbox: Arc<Inbox>,
    pool: Arc<BufferPool>,
    out: VecDeque<Bytes>,
    credit: u64,
    closing: bool,
}

impl Link {
    /// Moves bytes both ways. Ready with `Ok` when the engine wants it closed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.take_orders(cx);
        if self.closing {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Err(link_error(&error)));
        }
        self.poll_read(cx).map(Err)
    }

    fn take_orders(&mut self, cx: &mut Context<'_>) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        self.out.append(&mut orders.send);
        self.credit += std::mem::take(&mut orders.credit);
        self.closing |= orders.close;
        if !orders.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            orders.waker = Some(cx.waker().clone());
        }
    }

    /// Ready when everything has left, or nothing more can.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let slices: Vec<IoSlice<'_>> =
                self.out.iter().take(MAX_SLICES).map(|bytes| IoSlice::new(bytes)).collect();
            match self.stream.try_write_vectored(&slices) {
                Ok(sent) => self.sent(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.stream.poll_write_ready(cx)?.is_pending() {
                        return Poll::Pending;
                    }
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn sent(&mut self, mut sent: usize) {
        let total = u32::try_from(sent).unwrap_or(u32::MAX);
        while let Some(first) = self.out.front_mut() {
            let part = sent.min(first.len());
            first.advance(part);
            sent -= part;
            if !first.is_empty() {
                break;
            }
            self.out.pop_front();
        }
        self.report(LinkInput::Sent(total));
    }

    /// Reads while there is credit. Ready when the link is over.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let mut burst = 0;
        while self.credit > 0 {
            let mut buffer = self.pool.take();
            let limit = usize::try_from(self.credit).unwrap_or(usize::MAX);
            let result = self.stream.try_read_buf(&mut (&mut buffer).limit(limit));
            let data = buffer.split();
            self.pool.give_back(buffer);
            match result {
                Ok(0) => return Poll::Ready(LinkError::Eof),
                Ok(read) => {
                    self.credit -= read as u64;
                    self.report(LinkInput::Data(data));
                    burst += read;
                    if burst >= MAX_BURST {
                        // Others have their turn first.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match self.stream.poll_read_ready(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(error)) => return Poll::Ready(link_error(&error)),
                        Poll::Ready(Ok(())) => {}
                    }
                }
                Err(error) => return Poll::Ready(link_error(&error)),
            }
        }
        Poll::Pending
    }

    fn report(&self, input: LinkInput) {
        self.inbox.push(Input::Link { link: self.key, input });
    }
}

fn link_error(error: &io::Error) -> LinkError {
    match error.kind() {
        ErrorKind::ConnectionRefused => LinkError::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => LinkError::Reset,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            LinkError::Unreachable
        }
        ErrorKind::TimedOut => LinkError::TimedOut,
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse | ErrorKind::OutOfMemory => {
            LinkError::OutOfResources
        }
        // EMFILE and ENFILE, which have no kind of their own.
        _ if matches!(error.raw_os_error(), Some(23 | 24)) => LinkError::OutOfResources,
        _ => LinkError::Io,
    }
}

/// How many queued pieces are written at once.
const MAX_SLICES: usize = 16;
/// How many bytes one link reads before others get their turn.
const MAX_BURST: usize = 512 << 10;
/// How long a closed link may take to send what is queued.
const LINGER: Duration = Duration::from_secs(1);
