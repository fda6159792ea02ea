//! A link over any socket: reads only while there is credit, writes what is queued, secured or not.
//!
//! A runtime supplies the [`Socket`] and a task that polls [`Link::run`]; the driver keeps the [`LinkOrders`].

use crate::Inbox;
use crate::buffers::BufferPool;
use crate::disk::{DiskExecutor, LentFile};
use crate::outgoing::{FilePart, Outgoing, Part};
use crate::tls::{TlsContext, TlsSession};
use crate::waiting::{wait, wake};
use bytes::{Buf as _, BytesMut};
use gosh_dl_core::base::disk::{DiskOk, DiskResult, FileKey};
use gosh_dl_core::base::link::TlsError;
use gosh_dl_core::base::{LinkError, LinkInput, LinkOutput};
use gosh_dl_core::engine::{EngineConfig, HttpConfig, Input, LinkKey, TlsRequest};
use socket2::SockRef;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

/// A connected stream socket of some runtime.
pub trait Socket {
    /// Reads into the spare capacity of `buffer`, at most `limit` bytes; 0 is the end. Where nothing is there, the task
    /// is woken when there is.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<usize>>;

    /// Writes some of `slices`. Where nothing can be taken, the task is woken when it can.
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// The same where a file follows at once: the system may wait for it to fill a packet; [`send_more`](crate::send_more)
    /// says so.
    fn poll_write_more(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_write(cx, slices)
    }

    /// Sends some of `len` bytes of a file without copying them; [`send_file_part`](crate::send_file_part) does it. Where
    /// nothing can be taken, the task is woken when it can. [`ErrorKind::Unsupported`] makes the link read and write.
    fn poll_send_file(
        &mut self,
        _cx: &mut Context<'_>,
        _file: &File,
        _offset: u64,
        _len: usize,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(ErrorKind::Unsupported.into()))
    }
}

/// What all links of an engine share.
#[derive(Debug)]
pub struct LinkContext {
    inbox: Arc<Inbox>,
    pool: BufferPool,
    /// How many links and UDP sockets are open; when the last ends, the buffers are freed.
    open: AtomicUsize,
    tls: Mutex<TlsSettings>,
    /// Where the files are that links send from.
    disk: Option<Arc<DiskExecutor>>,
}

/// How links are secured, and what was made of it when the first was.
#[derive(Debug)]
struct TlsSettings {
    ca_certificate: Option<PathBuf>,
    accept_invalid_certs: bool,
    context: Option<Result<TlsContext, TlsError>>,
}

impl TlsSettings {
    fn new(config: &HttpConfig) -> Self {
        Self {
            ca_certificate: config.ca_certificate.clone(),
            accept_invalid_certs: config.accept_invalid_certs,
            context: None,
        }
    }
}

impl LinkContext {
    /// The context for an engine with these settings, whose driver reads `inbox`.
    pub fn new(config: &EngineConfig, inbox: Arc<Inbox>) -> Self {
        Self {
            inbox,
            // Buffers that are being written are bounded by the budget; half as many again are partly filled.
            pool: BufferPool::new(
                usize::try_from(config.buffer_budget.saturating_add(config.buffer_budget / 2))
                    .unwrap_or(usize::MAX),
            ),
            open: AtomicUsize::new(0),
            tls: Mutex::new(TlsSettings::new(&config.http)),
            disk: None,
        }
    }

    /// The same, for links that send files which `disk` has opened.
    #[must_use]
    pub fn with_disk(mut self, disk: Arc<DiskExecutor>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Reports what happened on a link.
    pub fn report(&self, link: LinkKey, input: LinkInput) {
        self.inbox.push(Input::Link { link, input });
    }

    /// Secures links that are opened from now on as `config` says.
    pub(crate) fn set_tls(&self, config: &HttpConfig) {
        let mut tls = self.tls();
        if tls.ca_certificate != config.ca_certificate
            || tls.accept_invalid_certs != config.accept_invalid_certs
        {
            *tls = TlsSettings::new(config);
        }
    }

    /// The first secured link reads the platform's certificates, which takes some milliseconds.
    fn session(&self, request: &TlsRequest) -> Result<TlsSession, TlsError> {
        let mut tls = self.tls();
        let TlsSettings { ca_certificate, accept_invalid_certs, context } = &mut *tls;
        let make = || TlsContext::new(ca_certificate.as_deref(), *accept_invalid_certs);
        let context = context.get_or_insert_with(make).clone()?;
        drop(tls);
        TlsSession::new(&context, &request.server_name, &self.pool)
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(crate) fn pool(&self) -> &BufferPool {
        &self.pool
    }

    fn lend(&self, file: FileKey) -> Option<LentFile> {
        self.disk.as_ref()?.lend(file)
    }

    fn tls(&self) -> MutexGuard<'_, TlsSettings> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The context of something that reads into its buffers.
#[derive(Debug)]
pub(crate) struct InUse(Arc<LinkContext>);

impl InUse {
    pub(crate) fn new(context: Arc<LinkContext>) -> Self {
        context.open.fetch_add(1, Ordering::Relaxed);
        Self(context)
    }
}

impl Deref for InUse {
    type Target = LinkContext;

    fn deref(&self) -> &LinkContext {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.pool.trim();
        }
    }
}

/// What the engine wants of a link and its task has not done yet.
#[derive(Debug, Default)]
pub struct LinkOrders {
    state: Mutex<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    send: Outgoing,
    credit: u64,
    close: bool,
    /// What was read of the file that is being sent.
    read: Option<DiskResult>,
    waker: Option<Waker>,
}

impl LinkOrders {
    /// Passes an order on to the link's task.
    pub fn give(&self, context: &LinkContext, output: LinkOutput) {
        // Found at once: core may close it right after.
        let lent = match output {
            LinkOutput::SendFile { file, .. } => context.lend(file),
            _ => None,
        };
        let mut orders = self.state();
        match output {
            LinkOutput::Send(bytes) => orders.send.push(Part::Bytes(bytes)),
            LinkOutput::SendFile { offset, len, .. } => {
                orders.send.push(Part::File(FilePart { file: lent, offset, len }));
            }
            LinkOutput::Credit(bytes) => orders.credit += u64::from(bytes),
            LinkOutput::Close => orders.close = true,
        }
        wake(orders, |orders| &mut orders.waker);
    }

    /// What the link wanted to read of a file is there.
    fn deliver(&self, read: DiskResult) {
        let mut orders = self.state();
        orders.read = Some(read);
        wake(orders, |orders| &mut orders.waker);
    }

    /// Ready when the engine wants the link closed: for tasks that are still connecting.
    pub async fn closed(&self) {
        poll_fn(|cx| {
            let mut orders = self.state();
            wait(&mut orders.waker, cx);
            if orders.close { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn state(&self) -> MutexGuard<'_, Orders> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task's end of a link.
#[derive(Debug)]
pub struct Link<S> {
    socket: S,
    key: LinkKey,
    context: InUse,
    orders: Arc<LinkOrders>,
    tls: Option<Box<TlsSession>>,
    secured: bool,
    out: Outgoing,
    /// Whether a disk thread reads the file that comes next.
    reading: bool,
    credit: u64,
    /// Bytes given to the TLS session and not reported as sent.
    encrypted: usize,
}

impl<S: Socket> Link<S> {
    /// A link over a socket that has just been connected, which it reports.
    ///
    /// # Errors
    ///
    /// TLS is wanted and cannot begin.
    pub fn open(
        socket: S,
        key: LinkKey,
        tls: Option<&TlsRequest>,
        context: Arc<LinkContext>,
        orders: Arc<LinkOrders>,
    ) -> Result<Self, LinkError> {
        context.report(key, LinkInput::Opened);
        let session = tls.map(|request| context.session(request)).transpose().map_err(LinkError::Tls)?;
        let mut link = Self::adopted(socket, key, context, orders);
        link.tls = session.map(Box::new);
        Ok(link)
    }

    /// A link over a socket that was accepted, of which core knows that it is open.
    pub fn adopted(socket: S, key: LinkKey, context: Arc<LinkContext>, orders: Arc<LinkOrders>) -> Self {
        Self {
            socket,
            key,
            context: InUse::new(context),
            orders,
            tls: None,
            secured: false,
            out: Outgoing::default(),
            reading: false,
            credit: 0,
            encrypted: 0,
        }
    }

    /// Moves bytes both ways until the link ends, which it reports, or the engine wants it closed.
    pub async fn run(&mut self) {
        if let Err(error) = poll_fn(|cx| self.poll(cx)).await {
            self.report(LinkInput::Closed(error));
        }
    }

    /// After [`run`](Self::run): lets what is queued leave. The caller bounds the time.
    pub async fn linger(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close(&self.context.pool);
        }
        // Whether the other side still takes it does not matter any more.
        let _sent = poll_fn(|cx| self.poll_write(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        if self.take_orders(cx) {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Err(error));
        }
        let read = if self.tls.is_some() { self.poll_read_tls(cx) } else { self.poll_read(cx) };
        read.map(Err)
    }

    /// Returns whether the link is to be closed.
    fn take_orders(&mut self, cx: &mut Context<'_>) -> bool {
        let mut orders = self.orders.state();
        self.out.append(&mut orders.send);
        self.credit += std::mem::take(&mut orders.credit);
        wait(&mut orders.waker, cx);
        orders.close
    }

    /// Ready when everything that is queued has left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let mut burst = 0;
        loop {
            self.encrypt()?;
            let is_plain = self.tls.is_none();
            let slices: Vec<IoSlice<'_>> = match &mut self.tls {
                Some(tls) => Some(&**tls.outgoing())
                    .filter(|out| !out.is_empty())
                    .map(IoSlice::new)
                    .into_iter()
                    .collect(),
                None => self.out.slices(),
            };
            let sent = if !slices.is_empty() {
                let more = is_plain && self.out.is_file_at(slices.len());
                ready!(match more {
                    true => self.socket.poll_write_more(cx, &slices),
                    false => self.socket.poll_write(cx, &slices),
                })
            } else if self.out.file().is_some() {
                ready!(self.poll_file(cx))
            } else {
                return Poll::Ready(Ok(()));
            };
            match sent {
                Ok(sent) => {
                    self.on_sent(sent);
                    burst += sent;
                    if burst >= MAX_BURST {
                        return yield_now(cx);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(link_error(&error))),
            }
        }
    }

    /// Sends a part of the file that comes next, or has a disk thread read it: where it is not in memory, so that this
    /// task never waits for a disk; where the socket cannot send files; and where it is to be encrypted.
    fn poll_file(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(part) = self.out.file() else { return Poll::Ready(Ok(0)) };
        let (Some(lent), Some(disk)) = (&part.file, &self.context.disk) else {
            return Poll::Ready(Err(ErrorKind::NotFound.into()));
        };
        let step = part.step(MAX_STEP);
        if !self.reading && self.tls.is_none() && lent.is_in_memory(part.offset, step) {
            match ready!(self.socket.poll_send_file(cx, lent.file(), part.offset, step)) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                Err(error) if is_unsupported(&error) => {}
                sent => return Poll::Ready(sent),
            }
        }
        if !std::mem::replace(&mut self.reading, true) {
            let (orders, len) =
                (Arc::clone(&self.orders), u32::try_from(part.step(READ_STEP)).unwrap_or(u32::MAX));
            disk.read_lent(lent, part.offset, len, move |read| orders.deliver(read));
        }
        let mut orders = self.orders.state();
        wait(&mut orders.waker, cx);
        let Some(read) = orders.read.take() else { return Poll::Pending };
        drop(orders);
        self.reading = false;
        match read {
            Ok(DiskOk::Data(bytes)) if !bytes.is_empty() => {
                self.out.read(bytes);
                Poll::Ready(Ok(0))
            }
            _ => Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
        }
    }

    fn encrypt(&mut self) -> Result<(), LinkError> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while let Some(data) = self.out.pop_bytes() {
            self.encrypted += data.len();
            tls.write_plaintext(data, &self.context.pool).map_err(LinkError::Tls)?;
        }
        Ok(())
    }

    fn on_sent(&mut self, mut sent: usize) {
        if let Some(tls) = &mut self.tls {
            tls.outgoing().advance(sent);
            if !tls.outgoing().is_empty() || !tls.is_all_encrypted() {
                return;
            }
            sent = std::mem::take(&mut self.encrypted);
        } else {
            self.out.advance(sent);
        }
        if sent > 0 {
            self.report(LinkInput::Sent(u32::try_from(sent).unwrap_or(u32::MAX)));
        }
    }

    /// Reads while there is credit. Ready when the link is over.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let mut burst = 0;
        while self.credit > 0 {
            let mut buffer = self.context.pool.take();
            let limit = usize::try_from(self.credit).unwrap_or(usize::MAX);
            let result = self.socket.poll_read(cx, &mut buffer, limit);
            let data = buffer.split();
            self.context.pool.give_back(buffer);
            match ready!(result) {
                Ok(0) => return Poll::Ready(LinkError::Eof),
                Ok(read) => {
                    self.deliver(data);
                    burst += read;
                    if burst >= MAX_BURST {
                        return yield_now(cx);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(link_error(&error)),
            }
        }
        Poll::Pending
    }

    /// The same for a secured link: the handshake needs no credit, data does.
    fn poll_read_tls(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let mut burst = 0;
        loop {
            burst += self.deliver_plaintext();
            let Some(tls) = &mut self.tls else { return Poll::Pending };
            if tls.is_peer_closed() && !tls.has_plaintext() {
                return Poll::Ready(LinkError::Eof);
            }
            if self.credit == 0 && !tls.is_handshaking() {
                return Poll::Pending;
            }
            if burst >= MAX_BURST {
                return yield_now(cx);
            }
            let read = self.socket.poll_read(cx, tls.incoming(&self.context.pool), usize::MAX);
            if read.is_pending() {
                tls.release(&self.context.pool);
            }
            match ready!(read) {
                Ok(0) => return Poll::Ready(tls.on_eof()),
                Ok(_) => {
                    let result = tls.process(&self.context.pool);
                    let written = self.poll_write(cx);
                    if let Err(error) = result {
                        return Poll::Ready(LinkError::Tls(error));
                    }
                    if let Poll::Ready(Err(error)) = written {
                        return Poll::Ready(error);
                    }
                    self.note_secured();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(link_error(&error)),
            }
        }
    }

    fn deliver_plaintext(&mut self) -> usize {
        let mut delivered = 0;
        while self.credit > 0 {
            let limit = usize::try_from(self.credit).unwrap_or(usize::MAX);
            let Some(data) = self.tls.as_mut().and_then(|tls| tls.read_plaintext(limit)) else { break };
            delivered += data.len();
            self.deliver(data);
        }
        delivered
    }

    fn note_secured(&mut self) {
        let done = self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking());
        if done && !std::mem::replace(&mut self.secured, true) {
            self.report(LinkInput::Secured);
        }
    }

    fn deliver(&mut self, data: BytesMut) {
        self.credit = self.credit.saturating_sub(data.len() as u64);
        self.report(LinkInput::Data(data));
    }

    fn report(&self, input: LinkInput) {
        self.context.report(self.key, input);
    }
}

/// Others have their turn first.
fn yield_now<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Receives what is there into the spare capacity of `buffer`, at most `limit` bytes; 0 is the end. For the sockets of
/// runtimes that only tell when there is something to read.
///
/// # Errors
///
/// Those of the socket; [`ErrorKind::WouldBlock`] where nothing is there.
pub fn receive_into<'s>(
    socket: impl Into<SockRef<'s>>,
    buffer: &mut BytesMut,
    limit: usize,
) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    let len = limit.min(spare.len());
    let received = socket.into().recv(&mut spare[..len])?;
    // SAFETY: `recv` has filled the first `received` bytes of the spare capacity, which begins at `len`.
    unsafe { buffer.set_len(buffer.len() + received) };
    Ok(received)
}

/// Whether a socket or a file system cannot send files. EINVAL and ENOSYS are how some say so.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput)
        || error.raw_os_error() == Some(38)
}

/// What core calls an error of a socket.
pub fn link_error(error: &io::Error) -> LinkError {
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
        // ENFILE and EMFILE, which have no kind of their own.
        _ if matches!(error.raw_os_error(), Some(23 | 24)) => LinkError::OutOfResources,
        _ => LinkError::Io,
    }
}

/// How many bytes one link reads, or sends, before others get their turn.
const MAX_BURST: usize = 512 << 10;
/// How much of a file is sent at once: should it not be in memory after all, no more than this is waited for.
const MAX_STEP: usize = 128 << 10;
/// How much of a file is read at once: it waits in memory for the socket, one of them for each link at most.
const READ_STEP: usize = 64 << 10;
