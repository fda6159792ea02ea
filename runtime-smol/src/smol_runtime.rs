//! Sockets, timers and tasks of smol.

use bytes::BytesMut;
use gosh_dl_runtime::{
    Datagrams, Direction, Listener, Runtime, Socket, Task, Timer, begin_connect, receive_into,
    send_file_part, send_more,
};
use smol::Async;
use socket2::SockRef;
use std::fs::File;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// smol's global executor and reactor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Smol;

impl Runtime for Smol {
    type Socket = TcpSocket;
    type Listener = SmolListener;
    type Datagrams = SmolDatagrams;
    type Task = SmolTask;
    type Timer = SmolTimer;

    async fn connect(&self, to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpSocket> {
        let stream = Async::new_nonblocking(begin_connect(to, from)?)?;
        stream.writable().await?;
        match stream.get_ref().take_error()? {
            None => Ok(TcpSocket(stream)),
            Some(error) => Err(error),
        }
    }

    fn listener(&self, socket: TcpListener) -> io::Result<SmolListener> {
        Ok(SmolListener(Async::new_nonblocking(socket)?))
    }

    fn datagrams(&self, socket: UdpSocket) -> io::Result<SmolDatagrams> {
        Ok(SmolDatagrams(Async::new_nonblocking(socket)?))
    }

    fn timer(&self) -> SmolTimer {
        SmolTimer(smol::Timer::never())
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> SmolTask {
        SmolTask(smol::spawn(future))
    }
}

/// A connection of smol's.
#[derive(Debug)]
pub struct TcpSocket(Async<TcpStream>);

impl Socket for TcpSocket {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            match receive_into(self.0.get_ref(), buffer, limit) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.0.poll_readable(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_try_write(cx, |mut stream| stream.write_vectored(slices))
    }

    fn poll_write_more(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_try_write(cx, |stream| send_more(stream, slices))
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        self.poll_try_write(cx, |stream| send_file_part(stream, file, offset, len))
    }
}

impl TcpSocket {
    fn poll_try_write(
        &self,
        cx: &mut Context<'_>,
        act: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match act(self.0.get_ref()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.0.poll_writable(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }
}

/// A listener of smol's.
#[derive(Debug)]
pub struct SmolListener(Async<TcpListener>);

impl Listener for SmolListener {
    type Socket = TcpSocket;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpSocket, SocketAddr)>> {
        loop {
            match self.0.get_ref().accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.0.poll_readable(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
                Ok((stream, from)) => {
                    stream.set_nodelay(true)?;
                    return Poll::Ready(Ok((TcpSocket(Async::new(stream)?), from)));
                }
            }
        }
    }
}

/// A UDP socket of smol's.
#[derive(Debug)]
pub struct SmolDatagrams(Async<UdpSocket>);

impl Datagrams for SmolDatagrams {
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut act: impl FnMut(SockRef<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match act(SockRef::from(self.0.get_ref())) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => match direction {
                    Direction::Read => ready!(self.0.poll_readable(cx))?,
                    Direction::Write => ready!(self.0.poll_writable(cx))?,
                },
                result => return Poll::Ready(result),
            }
        }
    }
}

/// A task of smol's.
#[derive(Debug)]
pub struct SmolTask(smol::Task<()>);

impl Task for SmolTask {
    fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    fn abort(self) {
        drop(self.0);
    }

    fn detach(self) {
        self.0.detach();
    }
}

/// A timer of smol's.
#[derive(Debug)]
pub struct SmolTimer(smol::Timer);

impl Timer for SmolTimer {
    fn set(&mut self, at: Instant) {
        self.0.set_at(at);
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}
