//! Files that links send.

use super::bench::{Bench, PAUSE, pattern};
use super::{Rig, until};
use bytes::Bytes;
use gosh_dl_core::base::disk::{DirKey, DiskOk, DiskOp, DiskResult, FileKey, OpenMode};
use gosh_dl_core::base::{FileName, LinkError, LinkInput, LinkOutput, Rng};
use gosh_dl_core::engine::DiskKey;
use gosh_dl_runtime::disk::DiskExecutor;
use std::io::Read as _;
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// A disk executor with one open file.
struct Disk {
    executor: Arc<DiskExecutor>,
    results: mpsc::Receiver<DiskResult>,
    dir: tempfile::TempDir,
}

impl Disk {
    fn new(content: &[u8]) -> Self {
        let (sender, results) = mpsc::channel();
        let sender = Mutex::new(sender);
        let done = move |_, result| drop(sender.lock().map(|sender| sender.send(result)));
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("file"), content).expect("it can be written");
        let disk = Self { executor: Arc::new(DiskExecutor::new(Arc::new(done))), results, dir };
        let path = disk.dir.path().to_owned();
        assert_eq!(disk.run(DiskOp::OpenDir { dir: DirKey(1), path }), Ok(DiskOk::Done));
        disk.open(FileKey(1));
        disk
    }

    fn open(&self, file: FileKey) {
        let name = FileName::new("file").expect("a name");
        let opened = self.run(DiskOp::Open { dir: DirKey(1), name, file, mode: OpenMode::Existing });
        assert!(matches!(opened, Ok(DiskOk::Opened { .. })), "{opened:?}");
    }

    fn run(&self, op: DiskOp) -> DiskResult {
        let completes = op.completes();
        self.executor.submit(DiskKey(1), op);
        if completes { self.results.recv().expect("a completion") } else { Ok(DiskOk::Done) }
    }

    /// As if it had not been read for long.
    fn forget_cached(&self) {
        let file = std::fs::File::open(self.dir.path().join("file")).expect("it is there");
        file.sync_all().expect("a disk");
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice is taken");
    }
}

const fn part(offset: u64, len: u32) -> LinkOutput {
    LinkOutput::SendFile { file: FileKey(1), offset, len }
}

/// Parts of files and bytes between them arrive in order and to the byte, however they are cut and wherever they lie, in
/// memory or on disk, and `Sent` counts them all.
pub fn files_are_sent_to_the_byte(rig: &impl Rig) {
    let content = pattern(3_000_000);
    let disk = Disk::new(&content);
    let mut rng = Rng::from_seed([3; 32]);
    for cold in [false, true, false] {
        if cold {
            disk.forget_cached();
        }
        let mut bench = Bench::with_disk(rig, Arc::clone(&disk.executor));
        let mut peer = bench.pair();
        let mut expected = Vec::new();
        while expected.len() < 4_000_000 {
            let most = [1, 100, 16_384, 300_000][rng.below(4) as usize];
            let len = 1 + rng.below(most);
            let offset = rng.below(content.len() as u64 - len + 1);
            let bytes = &content[offset as usize..(offset + len) as usize];
            expected.extend_from_slice(bytes);
            match rng.below(3) {
                0 => bench.order(1, LinkOutput::Send(Bytes::copy_from_slice(bytes))),
                _ => bench.order(1, part(offset, len as u32)),
            }
        }
        bench.order(1, part(5, 0));
        let mut received = vec![0; expected.len()];
        let mut at = 0;
        while at < received.len() {
            let most = (at + 1 + rng.below(100_000) as usize).min(received.len());
            let got = peer.read(&mut received[at..most]).expect("more of it");
            assert!(got > 0, "it ended at {at}");
            at += got;
        }
        assert!(received == expected);
        until("all is told", || bench.sent() == expected.len() as u64);
        bench.order(1, LinkOutput::Close);
        assert_eq!(peer.read(&mut [0]).expect("an orderly end"), 0);
    }
}

/// While the other side reads nothing, no more is sent than fits into the system's buffers; `Close` sends the rest.
pub fn files_wait_for_the_other_side(rig: &impl Rig) {
    let content = pattern(40 << 20);
    let disk = Disk::new(&content);
    let mut bench = Bench::with_disk(rig, Arc::clone(&disk.executor));
    let mut peer = bench.pair();
    bench.order(1, part(0, 40 << 20));
    std::thread::sleep(PAUSE);
    let early = bench.sent();
    assert!(early > 0 && early < 40 << 20, "{early} bytes are in the kernel");
    // The file is closed under it, and can be opened anew: it is not locked any more.
    assert_eq!(disk.run(DiskOp::Close { file: FileKey(1) }), Ok(DiskOk::Done));
    disk.open(FileKey(2));
    let mut received = vec![0; 40 << 20];
    peer.read_exact(&mut received).expect("all of it");
    assert!(received == content);
    until("all is told", || bench.sent() == 40 << 20);
    bench.order(1, LinkOutput::SendFile { file: FileKey(2), offset: 7, len: 300_000 });
    bench.order(1, LinkOutput::Close);
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).expect("an orderly end");
    assert!(rest == content[7..300_007]);
}

/// A file that is shorter than was thought, or not open, ends its link and no other.
pub fn missing_files_end_their_link(rig: &impl Rig) {
    let disk = Disk::new(&pattern(1000));
    for order in [part(900, 101), part(5000, 1), LinkOutput::SendFile { file: FileKey(9), offset: 0, len: 1 }]
    {
        let mut bench = Bench::with_disk(rig, Arc::clone(&disk.executor));
        let mut peer = bench.pair();
        bench.order(1, LinkOutput::Send(Bytes::from_static(b"before")));
        bench.order(1, order);
        until("it is told", || bench.end().is_some());
        assert_eq!(bench.end(), Some(LinkError::Io));
        let mut before = [0; 6];
        peer.read_exact(&mut before).expect("what came before");
        assert_eq!(&before, b"before");
    }
}

/// Links that were accepted send files too; a side that has half-closed still gets all, one that resets ends it.
pub fn files_go_to_whoever_connected(rig: &impl Rig) {
    let content = pattern(2_000_000);
    let disk = Disk::new(&content);
    let mut bench = Bench::with_disk(rig, Arc::clone(&disk.executor));
    let address = bench.listen(1, (Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let mut peer = TcpStream::connect(address).expect("somebody listens");
    peer.shutdown(Shutdown::Write).expect("it is open");
    until("a connection", || {
        bench.look();
        !bench.arrivals.is_empty()
    });
    let arrival = bench.arrivals.remove(0).1;
    bench.adopt(arrival, 1);
    bench.order(1, part(0, 2_000_000));
    let mut received = vec![0; content.len()];
    peer.read_exact(&mut received).expect("all of it");
    assert!(received == content);
    bench.order(1, part(0, 2_000_000));
    std::thread::sleep(PAUSE);
    let peer = socket2::Socket::from(peer);
    peer.set_linger(Some(Duration::ZERO)).expect("an option");
    drop(peer);
    bench.order(1, part(0, 2_000_000));
    until("the end", || bench.end().is_some());
    assert!(matches!(bench.end(), Some(LinkError::Reset)), "{:?}", bench.end());
    assert!(!bench.seen.contains(&(1, LinkInput::Opened)));
}
