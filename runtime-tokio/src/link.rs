//! Links over tokio's sockets: a task each.

use bytes::{BufMut as _, BytesMut};
use gosh_dl_core::base::{LinkError, LinkInput, LinkOutput};
use gosh_dl_core::engine::{LinkKey, TlsRequest};
use gosh_dl_runtime::link::{Link, LinkContext, LinkOrders, Socket, link_error};
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// The driver's end of a link.
pub(crate) struct LinkHandle {
    orders: Arc<LinkOrders>,
    task: AbortHandle,
}

impl LinkHandle {
    /// Connects in a task of its own.
    pub(crate) fn connect(
        key: LinkKey,
        to: SocketAddr,
        tls: Option<TlsRequest>,
        context: Arc<LinkContext>,
    ) -> Self {
        let orders = Arc::new(LinkOrders::default());
        let task = tokio::spawn(run(key, to, tls, context, Arc::clone(&orders))).abort_handle();
        Self { orders, task }
    }

    /// Passes an order on.
    pub(crate) fn order(&self, output: LinkOutput) {
        self.orders.give(output);
    }

    /// Whether the link has ended by itself.
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends the link without another byte.
    pub(crate) fn abort(&self) {
        self.task.abort();
    }
}

async fn run(
    key: LinkKey,
    to: SocketAddr,
    tls: Option<TlsRequest>,
    context: Arc<LinkContext>,
    orders: Arc<LinkOrders>,
) {
    let opened = match connect(to, &orders).await {
        Ok(None) => return,
        Ok(Some(socket)) => Link::open(socket, key, tls.as_ref(), Arc::clone(&context), orders),
        Err(error) => Err(error),
    };
    match opened {
        Err(error) => context.report(key, LinkInput::Closed(error)),
        Ok(mut link) => {
            link.run().await;
            // What does not leave by then is not worth waiting for.
            let _left = tokio::time::timeout(LINGER, link.linger()).await;
        }
    }
}

/// `None` where the link is not wanted any more.
async fn connect(to: SocketAddr, orders: &LinkOrders) -> Result<Option<TcpSocket>, LinkError> {
    let stream = tokio::select! {
        stream = TcpStream::connect(to) => stream.map_err(|error| link_error(&error))?,
        () = orders.closed() => return Ok(None),
    };
    // Requests are small and wait for nothing.
    stream.set_nodelay(true).map_err(|error| link_error(&error))?;
    Ok(Some(TcpSocket(stream)))
}

struct TcpSocket(TcpStream);

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

/// How long a closed link may take to send what is queued.
const LINGER: Duration = Duration::from_secs(1);
