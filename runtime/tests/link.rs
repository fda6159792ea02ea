//! Links over a socket that the test plays.
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

use bytes::{Bytes, BytesMut};
use gosh_dl_core::base::disk::{DirKey, DiskOp, FileKey, OpenMode};
use gosh_dl_core::base::{FileName, LinkError, LinkInput, LinkOutput};
use gosh_dl_core::engine::{DiskKey, EngineConfig, Input, LinkKey};
use gosh_dl_runtime::Inbox;
use gosh_dl_runtime::disk::DiskExecutor;
use gosh_dl_runtime::link::{Link, LinkContext, LinkOrders, Socket, link_error};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

/// What the other side does.
#[derive(Default)]
struct Peer {
    sends: VecDeque<io::Result<Vec<u8>>>,
    received: Vec<u8>,
    /// How many bytes the kernel still takes.
    room: usize,
    reads: usize,
    waker: Option<Waker>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Peer>>);

impl Socket for Fake {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let mut peer = self.0.lock().unwrap();
        peer.reads += 1;
        let limit = limit.min(buffer.capacity() - buffer.len());
        assert!(limit > 0);
        match peer.sends.pop_front() {
            None => {
                peer.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Err(error)) => Poll::Ready(Err(error)),
            Some(Ok(data)) => {
                let (now, later) = data.split_at(limit.min(data.len()));
                if !later.is_empty() {
                    peer.sends.push_front(Ok(later.to_vec()));
                }
                buffer.extend_from_slice(now);
                Poll::Ready(Ok(now.len()))
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut peer = self.0.lock().unwrap();
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let taken = all.len().min(peer.room);
        if taken == 0 {
            peer.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        peer.room -= taken;
        peer.received.extend_from_slice(&all[..taken]);
        Poll::Ready(Ok(taken))
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Fixture {
    socket: Fake,
    context: Arc<LinkContext>,
    orders: Arc<LinkOrders>,
    inbox: Arc<Inbox>,
    run: Pin<Box<dyn Future<Output = ()>>>,
    wakes: Arc<Wakes>,
}

impl Fixture {
    fn new() -> Self {
        Self::make(|context| context)
    }

    fn make(finish: impl FnOnce(LinkContext) -> LinkContext) -> Self {
        let (socket, orders, inbox) =
            (Fake::default(), Arc::new(LinkOrders::default()), Arc::new(Inbox::default()));
        let context = finish(LinkContext::new(&EngineConfig::new(), Arc::clone(&inbox)));
        let context = Arc::new(context);
        let key = LinkKey::from_u64(7);
        let mut link =
            Link::open(socket.clone(), key, None, Arc::clone(&context), Arc::clone(&orders)).unwrap();
        let run = Box::pin(async move {
            link.run().await;
            link.linger().await;
        });
        let mut fixture = Self { socket, context, orders, inbox, run, wakes: Arc::default() };
        assert_eq!(fixture.inputs(), [LinkInput::Opened]);
        fixture
    }

    fn give(&self, output: LinkOutput) {
        self.orders.give(&self.context, output);
    }

    fn peer_sends(&self, data: io::Result<Vec<u8>>) {
        let mut peer = self.socket.0.lock().unwrap();
        peer.sends.push_back(data);
        peer.waker.take().into_iter().for_each(Waker::wake);
    }

    /// Polls until nothing wakes the task; returns whether it has ended.
    fn settle(&mut self) -> bool {
        let waker = Waker::from(Arc::clone(&self.wakes));
        loop {
            self.wakes.0.store(0, Ordering::Relaxed);
            if self.run.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return true;
            }
            if self.wakes.0.load(Ordering::Relaxed) == 0 {
                return false;
            }
        }
    }

    fn inputs(&mut self) -> Vec<LinkInput> {
        let mut inputs = Vec::new();
        self.inbox.take(&mut inputs);
        let input = |input| match input {
            Input::Link { link, input } if link == LinkKey::from_u64(7) => input,
            other => panic!("{other:?}"),
        };
        inputs.into_iter().map(input).collect()
    }

    fn data(&mut self) -> Vec<u8> {
        let bytes = |input| match input {
            LinkInput::Data(data) => data.to_vec(),
            other => panic!("{other:?}"),
        };
        self.inputs().into_iter().flat_map(bytes).collect()
    }
}

#[test]
fn nothing_is_read_without_credit_and_never_more_than_there_is() {
    let mut fixture = Fixture::new();
    fixture.peer_sends(Ok(vec![1; 1000]));
    fixture.settle();
    assert_eq!((fixture.inputs(), fixture.socket.0.lock().unwrap().reads), (vec![], 0));
    for (credit, expected) in [(10, 10), (1, 1), (489, 489)] {
        fixture.give(LinkOutput::Credit(credit));
        fixture.settle();
        assert_eq!(fixture.data().len(), expected);
    }
    fixture.give(LinkOutput::Credit(300));
    fixture.give(LinkOutput::Credit(300));
    fixture.settle();
    assert_eq!(fixture.data().len(), 500, "credit adds up");
    fixture.peer_sends(Ok(vec![2; 1000]));
    fixture.settle();
    assert_eq!(fixture.data().len(), 100);
}

#[test]
fn a_long_answer_is_read_in_turns() {
    let mut fixture = Fixture::new();
    fixture.give(LinkOutput::Credit(u32::MAX));
    fixture.peer_sends(Ok(vec![3; 5 << 20]));
    let waker = Waker::from(Arc::clone(&fixture.wakes));
    assert!(fixture.run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(fixture.data().len() < 2 << 20, "others have their turn");
    assert_eq!(fixture.wakes.0.load(Ordering::Relaxed), 1);
    fixture.settle();
    assert!(fixture.data().len() > 3 << 20);
}

#[test]
fn what_is_sent_arrives_in_order_and_is_reported_as_taken() {
    let mut fixture = Fixture::new();
    for part in ["GET ", "/ HT", "TP/1.1"] {
        fixture.give(LinkOutput::Send(Bytes::from_static(part.as_bytes())));
    }
    fixture.socket.0.lock().unwrap().room = 6;
    fixture.settle();
    assert_eq!(fixture.inputs(), [LinkInput::Sent(6)]);
    fixture.socket.0.lock().unwrap().room = 100;
    fixture.settle();
    assert_eq!(fixture.inputs(), [LinkInput::Sent(8)]);
    assert_eq!(fixture.socket.0.lock().unwrap().received, b"GET / HTTP/1.1");
}

#[test]
fn the_end_and_errors_are_told_once_and_end_the_link() {
    for (end, expected) in [
        (Ok(Vec::new()), LinkError::Eof),
        (Err(io::ErrorKind::ConnectionReset.into()), LinkError::Reset),
        (Err(io::ErrorKind::TimedOut.into()), LinkError::TimedOut),
    ] {
        let mut fixture = Fixture::new();
        fixture.give(LinkOutput::Credit(100));
        fixture.peer_sends(Ok(b"last".to_vec()));
        fixture.peer_sends(end);
        assert!(fixture.settle());
        let last = LinkInput::Data(BytesMut::from(&b"last"[..]));
        assert_eq!(fixture.inputs(), [last, LinkInput::Closed(expected)]);
    }
}

#[test]
fn closing_sends_what_is_queued_and_tells_nothing() {
    let mut fixture = Fixture::new();
    fixture.socket.0.lock().unwrap().room = 3;
    fixture.give(LinkOutput::Send(Bytes::from_static(b"farewell")));
    fixture.give(LinkOutput::Close);
    assert!(!fixture.settle());
    fixture.socket.0.lock().unwrap().room = 100;
    assert!(fixture.settle());
    assert_eq!(fixture.socket.0.lock().unwrap().received, b"farewell");
    assert!(fixture.inputs().iter().all(|input| matches!(input, LinkInput::Sent(_))));
}

/// A disk executor that has a file of these bytes open.
fn disk(dir: &std::path::Path, content: &[u8]) -> Arc<DiskExecutor> {
    std::fs::write(dir.join("file"), content).unwrap();
    let (done, results) = mpsc::channel();
    let done = Mutex::new(done);
    let disk = Arc::new(DiskExecutor::new(Arc::new(move |_, result| {
        let _ = done.lock().unwrap().send(result);
    })));
    let (name, path) = (FileName::new("file").unwrap(), dir.to_owned());
    let open = DiskOp::Open { dir: DirKey(1), name, file: FileKey(1), mode: OpenMode::Existing };
    for op in [DiskOp::OpenDir { dir: DirKey(1), path }, open] {
        disk.submit(DiskKey(1), op);
        assert!(results.recv().unwrap().is_ok());
    }
    disk
}

#[test]
fn what_a_socket_cannot_send_from_a_file_is_read_and_written() {
    let content: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path(), &content);
    let mut fixture = Fixture::make(|context| context.with_disk(Arc::clone(&disk)));
    fixture.give(LinkOutput::Send(Bytes::from_static(b"before")));
    fixture.give(LinkOutput::SendFile { file: FileKey(1), offset: 10, len: 500_000 });
    fixture.give(LinkOutput::Send(Bytes::from_static(b"behind")));
    disk.submit(DiskKey(2), DiskOp::Close { file: FileKey(1) });
    let (mut sent, expected) = (0, [b"before", &content[10..500_010], b"behind"].concat());
    let mut room = 1;
    while sent < expected.len() {
        room = (room * 7) % 100_003;
        fixture.socket.0.lock().unwrap().room += room;
        fixture.settle();
        for input in fixture.inputs() {
            let LinkInput::Sent(bytes) = input else { panic!("{input:?}") };
            sent += bytes as usize;
        }
        std::thread::yield_now();
    }
    assert!(fixture.socket.0.lock().unwrap().received == expected);
}

#[test]
fn errors_of_sockets_keep_their_meaning() {
    for (code, expected) in [
        (111, LinkError::Refused),
        (104, LinkError::Reset),
        (32, LinkError::Reset),
        (110, LinkError::TimedOut),
        (113, LinkError::Unreachable),
        (101, LinkError::Unreachable),
        (24, LinkError::OutOfResources),
        (23, LinkError::OutOfResources),
        (99, LinkError::OutOfResources),
    ] {
        #[cfg(target_os = "linux")]
        assert_eq!(link_error(&io::Error::from_raw_os_error(code)), expected, "{code}");
    }
    assert_eq!(link_error(&io::Error::other("?")), LinkError::Io);
}
