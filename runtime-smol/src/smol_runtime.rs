//! Sockets, timers and tasks of smol.

use bytes::BytesMut;
use gosh_dl_runtime::{Runtime, Socket, Task, Timer, receive_into};
use smol::Async;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// smol's global executor and reactor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Smol;

impl Runtime for Smol {
    type Socket = TcpSocket;
    type Task = SmolTask;
    type Timer = SmolTimer;

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpSocket> {
        let stream = Async::<TcpStream>::connect(to).await?;
        // Requests are small and wait for nothing.
        stream.get_ref().set_nodelay(true)?;
        Ok(TcpSocket(stream))
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
        loop {
            match self.0.get_ref().write_vectored(slices) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.0.poll_writable(cx))?,
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
