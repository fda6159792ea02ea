//! Sockets, timers and tasks of tokio.

use bytes::{BufMut as _, BytesMut};
use gosh_dl_runtime::{
    Datagrams, Direction, Listener, Runtime, Socket, Task, Timer, send_file_part, send_more,
};
use socket2::SockRef;
use std::fs::File;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, Interest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::AbortHandle;
use tokio::time::Sleep;

/// The tokio runtime that a thread is in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokio;

impl Runtime for Tokio {
    type Socket = TcpSocket;
    type Listener = TokioListener;
    type Datagrams = TokioDatagrams;
    type Task = TokioTask;
    type Timer = TokioTimer;

    async fn connect(&self, to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpSocket> {
        let socket = match to {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        // Requests are small and wait for nothing.
        socket.set_nodelay(true)?;
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        Ok(TcpSocket(socket.connect(to).await?))
    }

    fn listener(&self, socket: std::net::TcpListener) -> io::Result<TokioListener> {
        Ok(TokioListener(TcpListener::from_std(socket)?))
    }

    fn datagrams(&self, socket: std::net::UdpSocket) -> io::Result<TokioDatagrams> {
        Ok(TokioDatagrams(UdpSocket::from_std(socket)?))
    }

    fn timer(&self) -> TokioTimer {
        TokioTimer(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> TokioTask {
        TokioTask(tokio::spawn(future).abort_handle())
    }

    async fn yield_now(&self) {
        tokio::task::yield_now().await;
    }
}

/// A connection of tokio's.
#[derive(Debug)]
pub struct TcpSocket(TcpStream);

impl Socket for TcpSocket {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        pin!(self.0.read_buf(&mut buffer.limit(limit))).poll(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn poll_write_more(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_try_write(cx, || send_more(&self.0, slices))
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        self.poll_try_write(cx, || send_file_part(&self.0, file, offset, len))
    }
}

impl TcpSocket {
    fn poll_try_write(
        &self,
        cx: &mut Context<'_>,
        mut act: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_io(Interest::WRITABLE, &mut act) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

/// A listener of tokio's.
#[derive(Debug)]
pub struct TokioListener(TcpListener);

impl Listener for TokioListener {
    type Socket = TcpSocket;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpSocket, SocketAddr)>> {
        let (stream, from) = ready!(self.0.poll_accept(cx))?;
        stream.set_nodelay(true)?;
        Poll::Ready(Ok((TcpSocket(stream), from)))
    }
}

/// A UDP socket of tokio's.
#[derive(Debug)]
pub struct TokioDatagrams(UdpSocket);

impl Datagrams for TokioDatagrams {
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut act: impl FnMut(SockRef<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            let interest = match direction {
                Direction::Read => ready!(self.0.poll_recv_ready(cx)).map(|()| Interest::READABLE)?,
                Direction::Write => ready!(self.0.poll_send_ready(cx)).map(|()| Interest::WRITABLE)?,
            };
            match self.0.try_io(interest, || act(SockRef::from(&self.0))) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

/// A task of tokio's.
#[derive(Debug)]
pub struct TokioTask(AbortHandle);

impl Task for TokioTask {
    fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    fn abort(self) {
        self.0.abort();
    }

    fn detach(self) {}
}

/// A timer of tokio's.
#[derive(Debug)]
pub struct TokioTimer(Pin<Box<Sleep>>);

impl Timer for TokioTimer {
    fn set(&mut self, at: Instant) {
        self.0.as_mut().reset(at.into());
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
