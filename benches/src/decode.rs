//! Reading torrents: one of 500,000 pieces and one of 100,000 files, against libtorrent where its Python bindings are.

use crate::table;
use bytes::Bytes;
use gosh_dl_core::wire::torrent::Metainfo;
use gosh_dl_core::wire::torrent::create::{NewFile, NewTorrent};
use std::path::Path;
use std::process::Command;
use std::time::Instant as Clock;

/// Where to read how much memory is held, and the most that was since it was last set to that.
pub(crate) struct Memory {
    /// The bytes that are held.
    pub(crate) held: fn() -> u64,
    /// Forgets the most.
    pub(crate) reset: fn(),
    /// The most bytes that were held since.
    pub(crate) peak: fn() -> u64,
}

/// Reads each torrent so often; a reading takes some milliseconds, and other programs get in the way.
const ROUNDS: usize = 25;

/// Runs and prints.
pub(crate) fn run(memory: &Memory) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rows = Vec::new();
    for (name, torrent) in [("500,000 pieces", pieces()), ("100,000 files", files())] {
        let file = dir.path().join(name);
        std::fs::write(&file, &torrent).expect("room");
        rows.push(row(memory, name, &torrent, libtorrent(&file)));
    }
    let head = ["", "MB/s", "libtorrent MB/s", "ratio", "held / file", "most / file"];
    table::words("Reading a torrent", &head, &rows);
}

fn row(memory: &Memory, name: &str, torrent: &Bytes, peer: Option<f64>) -> Vec<String> {
    let len = torrent.len() as f64;
    let before = (memory.held)();
    (memory.reset)();
    let metainfo = Metainfo::decode(torrent.clone()).expect("it is a torrent");
    // The file itself is held by both.
    let share = |bytes: u64| format!("{:.2}", 1.0 + bytes.saturating_sub(before) as f64 / len);
    let (held, peak) = (share((memory.held)()), share((memory.peak)()));
    drop(metainfo);
    let once = || {
        let began = Clock::now();
        let metainfo = Metainfo::decode(torrent.clone());
        let took = began.elapsed();
        assert!(metainfo.is_ok());
        took
    };
    let mut times: Vec<_> = (0..ROUNDS).map(|_| once()).collect();
    times.sort();
    let ours = len / 1e6 / times[ROUNDS / 2].as_secs_f64();
    let number = |peer: Option<f64>| peer.map_or("-".to_owned(), |number| format!("{number:.1}"));
    let ratio = number(peer.map(|peer| ours / peer));
    vec![name.to_owned(), format!("{ours:.0}"), number(peer), ratio, held, peak]
}

fn pieces() -> Bytes {
    let count = 500_000;
    let torrent = NewTorrent { piece_len: Some(16 << 10), ..NewTorrent::file("a", count << 14) };
    let hash = |piece: u64| core::array::from_fn(|at| (piece >> (at % 8 * 3)) as u8);
    torrent.finish(&(0..count).map(hash).collect::<Vec<[u8; 20]>>()).expect("good numbers").raw().clone()
}

fn files() -> Bytes {
    let path = |at: u64| format!("folder {:04}/file name {at:06}.bin", at / 100);
    let files = (0..100_000).map(|at| NewFile::new(&path(at), 1000 + at)).collect();
    let torrent = NewTorrent::folder("many", files);
    let pieces = torrent.grid().expect("good numbers").pieces();
    torrent.finish(&vec![[1; 20]; pieces as usize]).expect("good numbers").raw().clone()
}

/// The median of libtorrent in MB/s; `None` where it is not there.
fn libtorrent(file: &Path) -> Option<f64> {
    let output = Command::new("/usr/bin/python3").arg("-c").arg(SCRIPT).arg(file).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// Reads a file several times and prints the median.
const SCRIPT: &str = "
import libtorrent, sys, time
data = open(sys.argv[1], 'rb').read()
limits = {'max_decode_tokens': 10**8, 'max_pieces': 10**7, 'max_buffer_size': 10**9}
times = []
for _ in range(9):
    began = time.perf_counter()
    libtorrent.torrent_info(data, limits)
    times.append(time.perf_counter() - began)
print(len(data) / 1e6 / sorted(times)[4])
";
