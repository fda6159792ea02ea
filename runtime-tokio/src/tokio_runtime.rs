//! Sockets, timers and tasks of tokio.

use bytes::{BufMut as _, BytesMut};
use gosh_dl_runtime::{Runtime, Socket, Task, Timer};
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

/// The tokio runtime that a thread is in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokio;

impl Runtime for Tokio {
    type Socket = TcpSocket;
    type Task = TokioTask;
    type Timer = TokioTimer;

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpSocket> {
        let stream = TcpStream::connect(to).await?;
        // Requests are small and wait for nothing.
        stream.set_nodelay(true)?;
        Ok(TcpSocket(stream))
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
