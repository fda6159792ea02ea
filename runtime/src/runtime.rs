//! What a driver needs of an async runtime: sockets, timers, tasks.

use crate::link::Socket;
use socket2::SockRef;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Instant;

/// What the engine needs of an async runtime: sockets, timers, tasks.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A connected socket.
    type Socket: Socket + Send;
    /// A socket that accepts connections.
    type Listener: Listener<Socket = Self::Socket> + Send;
    /// A UDP socket.
    type Datagrams: Datagrams + Send;
    /// A running task.
    type Task: Task;
    /// A timer that can be set again.
    type Timer: Timer + Send;

    /// Connects, from that address of this machine where one is given. Dropping the future gives up.
    fn connect(
        &self,
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> impl Future<Output = io::Result<Self::Socket>> + Send;

    /// Takes over a socket that listens and does not block.
    ///
    /// # Errors
    ///
    /// The runtime cannot wait for it.
    fn listener(&self, socket: std::net::TcpListener) -> io::Result<Self::Listener>;

    /// Takes over a socket that is bound and does not block.
    ///
    /// # Errors
    ///
    /// The runtime cannot wait for it.
    fn datagrams(&self, socket: std::net::UdpSocket) -> io::Result<Self::Datagrams>;

    /// A timer that is not set. Nobody polls it before it is.
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

/// A socket that accepts connections.
pub trait Listener {
    /// What a connection is.
    type Socket;

    /// Accepts a connection, with `TCP_NODELAY` set. Where there is none, the task is woken when there is.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Socket, SocketAddr)>>;
}

/// A UDP socket.
pub trait Datagrams {
    /// Calls `act` with the socket until it says something else than [`io::ErrorKind::WouldBlock`]; the task is woken when
    /// it is time to call it again.
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        act: impl FnMut(SockRef<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>>;
}

/// What somebody waits for at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// There is something to read.
    Read,
    /// There is room to write.
    Write,
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

/// Begins to connect, from that address of this machine where one is given. The socket does not block and has
/// `TCP_NODELAY` set; when it can be written to, [`std::net::TcpStream::take_error`] says how it went.
///
/// # Errors
///
/// Those of the operating system, where it knows at once.
pub fn begin_connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<std::net::TcpStream> {
    let domain = socket2::Domain::for_address(to);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Requests are small and wait for nothing.
    socket.set_tcp_nodelay(true)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock && !is_in_progress(&error) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// EINPROGRESS has no kind of its own: 115 on Linux, 36 on macOS and the BSDs.
fn is_in_progress(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(36 | 115))
}

/// Sends bytes behind which more follows at once, so that they need not leave in a packet of their own. For the sockets of
/// runtimes, as [`receive_into`](crate::receive_into) is.
///
/// # Errors
///
/// Those of the socket; [`io::ErrorKind::WouldBlock`] where it is full.
pub fn send_more<'s>(socket: impl Into<SockRef<'s>>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // MSG_MORE and MSG_NOSIGNAL; elsewhere there is no such thing, and nothing is lost but a packet.
    let flags = if cfg!(target_os = "linux") { 0x8000 | 0x4000 } else { 0 };
    socket.into().send_vectored_with_flags(slices, flags)
}

/// Sends a part of a file without copying it: `sendfile` on Linux. For the sockets of runtimes, as
/// [`receive_into`](crate::receive_into) is.
///
/// # Errors
///
/// Those of the socket and the file; [`io::ErrorKind::WouldBlock`] where the socket is full;
/// [`io::ErrorKind::Unsupported`] where there is no such thing.
#[cfg(target_os = "linux")]
pub fn send_file_part<'s>(
    socket: impl Into<SockRef<'s>>,
    file: &File,
    offset: u64,
    len: usize,
) -> io::Result<usize> {
    let mut offset = offset;
    Ok(rustix::fs::sendfile(&*socket.into(), file, Some(&mut offset), len)?)
}

/// Sends a part of a file without copying it, where there is such a thing.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`].
#[cfg(not(target_os = "linux"))]
pub fn send_file_part<'s>(_: impl Into<SockRef<'s>>, _: &File, _: u64, _: usize) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}
