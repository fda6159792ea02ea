//! Peers without logic, which are the limits: a seeder that answers with `sendfile`, and a leecher that receives,
//! hashes and writes.

use bytes::Bytes;
use gosh_dl_core::base::PieceGrid;
use gosh_dl_core::wire::torrent::Metainfo;
use rustix::net::SendFlags;
use sha1::{Digest as _, Sha1};
use std::fs::File;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

/// How many bytes one request asks for.
const BLOCK: u32 = 16 << 10;
/// What stands before the bytes of a block: the length of the message, 7, the piece, the place in it.
const BLOCK_HEAD: usize = 13;
/// Requests that a leecher has under way at most: as many as everybody keeps (BEP 10, `reqq`).
const REQUESTS: u32 = 250;

/// A torrent of one file, as far as these peers know it.
struct Torrent {
    info_hash: [u8; 20],
    grid: PieceGrid,
    metainfo: Metainfo,
}

impl Torrent {
    fn read(path: &Path) -> Self {
        let raw = std::fs::read(path).expect("the torrent is there");
        let metainfo = Metainfo::decode(Bytes::from(raw)).expect("it is a torrent");
        Self { info_hash: metainfo.info_hash().0, grid: metainfo.grid(), metainfo }
    }

    fn handshake(&self, name: &[u8; 20]) -> Vec<u8> {
        [b"\x13BitTorrent protocol".as_slice(), &[0; 8], &self.info_hash, name].concat()
    }
}

/// Serves `file` on the address and as many after it as are asked for, one thread a connection, until it is killed.
pub(crate) fn seed(torrent: &Path, file: &Path, first: SocketAddr, count: u32) {
    let torrent = Arc::new(Torrent::read(torrent));
    let file = Arc::new(File::open(file).expect("the file is there"));
    let SocketAddr::V4(first) = first else { panic!("an IPv4 address") };
    let at = |number| (Ipv4Addr::from_bits(first.ip().to_bits() + number), first.port());
    let listeners: Vec<TcpListener> =
        (0..count).map(|number| TcpListener::bind(at(number)).expect("the address is free")).collect();
    println!("seeding");
    std::thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(|| {
                while let Ok((stream, _)) = listener.accept() {
                    let (torrent, file) = (Arc::clone(&torrent), Arc::clone(&file));
                    // Whoever leaves has got what he came for.
                    std::thread::spawn(move || serve(stream, &torrent, &file));
                }
            });
        }
    });
}

fn serve(mut stream: TcpStream, torrent: &Torrent, file: &File) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut theirs = [0; 68];
    stream.read_exact(&mut theirs)?;
    if theirs[28..48] != torrent.info_hash {
        // Encryption is tried first by some, and then they come again.
        return Ok(());
    }
    let pieces = torrent.grid.pieces();
    let mut bitfield = vec![0; pieces.div_ceil(8) as usize];
    for piece in 0..pieces {
        bitfield[piece as usize / 8] |= 0x80 >> (piece % 8);
    }
    let mut hello = torrent.handshake(b"-XX0001-bare seeder.");
    hello.extend_from_slice(&(bitfield.len() as u32 + 1).to_be_bytes());
    hello.push(5);
    hello.extend_from_slice(&bitfield);
    hello.extend_from_slice(&[0, 0, 0, 1, 1]);
    stream.write_all(&hello)?;
    let (mut buffer, mut filled) = (vec![0; 64 << 10], 0);
    loop {
        let more = stream.read(&mut buffer[filled..])?;
        if more == 0 {
            return Ok(());
        }
        filled += more;
        let mut at = 0;
        while let Some(message) = message(&buffer[at..filled]) {
            at += 4 + message.len();
            if let [6, request @ ..] = message {
                answer(&stream, torrent.grid, file, request)?;
            }
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}

/// The next message without its length, where it is whole.
fn message(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.get(..u32::from_be_bytes(*len) as usize)
}

fn answer(stream: &TcpStream, grid: PieceGrid, file: &File, request: &[u8]) -> io::Result<()> {
    let number =
        |at: usize| request.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
    let (Some(piece), Some(begin), Some(len)) = (number(0), number(4), number(8)) else { return Ok(()) };
    let start = u64::from(piece) * u64::from(grid.piece_len()) + u64::from(begin);
    let mut head = [0; BLOCK_HEAD];
    head[..4].copy_from_slice(&(len + 9).to_be_bytes());
    head[4] = 7;
    head[5..].copy_from_slice(&request[..8]);
    rustix::net::send(stream, &head, SendFlags::MORE | SendFlags::NOSIGNAL)?;
    let (mut offset, end) = (start, start + u64::from(len));
    while offset < end {
        let left = (end - offset) as usize;
        let sent = rustix::fs::sendfile(stream, file, Some(&mut offset), left)?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Fetches the torrent from one peer, in order: one thread, and for every byte a `recv`, a hash and a `pwritev`.
pub(crate) fn leech(torrent: &Path, peer: SocketAddr, out: &Path) {
    let torrent = Torrent::read(torrent);
    let stream = TcpStream::connect(peer).expect("the peer is there");
    stream.set_nodelay(true).expect("it can be set");
    let mut hello = torrent.handshake(b"-XX0001-bare leecher");
    hello.extend_from_slice(&[0, 0, 0, 1, 2]);
    (&stream).write_all(&hello).expect("it listens");
    let file = File::create(out).expect("the file can be made");
    let mut leecher =
        Leecher { stream, file, torrent, at: 0, asked: 0, left: 0, unchoked: false, digest: Sha1::new() };
    leecher.run();
}

struct Leecher {
    stream: TcpStream,
    file: File,
    torrent: Torrent,
    /// Bytes that are there.
    at: u64,
    /// Bytes that are asked for.
    asked: u64,
    /// Bytes of a block that are yet to come.
    left: usize,
    unchoked: bool,
    digest: Sha1,
}

impl Leecher {
    fn run(&mut self) {
        let (mut buffer, mut filled) = (vec![0; 256 << 10], 0);
        let mut hello = [0; 68];
        self.stream.read_exact(&mut hello).expect("the peer greets");
        while self.at < self.torrent.grid.total() {
            let more = self.stream.read(&mut buffer[filled..]).expect("the peer goes on");
            assert!(more > 0, "the peer left");
            filled += more;
            let (mut at, mut parts) = (0, Vec::new());
            while let Some((len, part)) = self.next(&buffer[at..filled]) {
                at += len;
                parts.extend(part);
            }
            self.take(&parts);
            buffer.copy_within(at..filled, 0);
            filled -= at;
            if self.unchoked {
                self.ask();
            }
        }
    }

    /// Reads what comes next: how long that is, and which bytes of a block are in it.
    fn next<'a>(&mut self, bytes: &'a [u8]) -> Option<(usize, Option<&'a [u8]>)> {
        if self.left > 0 {
            let part = &bytes[..bytes.len().min(self.left)];
            self.left -= part.len();
            return (!part.is_empty()).then_some((part.len(), Some(part)));
        }
        if bytes.get(4) == Some(&7) {
            let len = bytes.first_chunk().filter(|_| bytes.len() >= BLOCK_HEAD)?;
            self.left = u32::from_be_bytes(*len) as usize - 9;
            return Some((BLOCK_HEAD, None));
        }
        let message = message(bytes)?;
        self.unchoked |= message == [1];
        Some((4 + message.len(), None))
    }

    fn take(&mut self, parts: &[&[u8]]) {
        if parts.is_empty() {
            return;
        }
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        let written = rustix::io::pwritev(&self.file, &slices, self.at).expect("room");
        assert_eq!(written, len, "memory takes all of it");
        let piece_len = u64::from(self.torrent.grid.piece_len());
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let piece = self.at / piece_len;
                let end = ((piece + 1) * piece_len).min(self.torrent.grid.total());
                let (now, later) = rest.split_at(rest.len().min((end - self.at) as usize));
                self.digest.update(now);
                self.at += now.len() as u64;
                rest = later;
                if self.at == end {
                    let piece = self.torrent.grid.piece(piece as u32).expect("it is one of them");
                    let digest: [u8; 20] = self.digest.finalize_reset().into();
                    assert_eq!(&digest, self.torrent.metainfo.piece_hash(piece), "the hash is right");
                }
            }
        }
    }

    /// Asks for more where half of the window is free.
    fn ask(&mut self) {
        let total = self.torrent.grid.total();
        let window = self.at + u64::from(REQUESTS * BLOCK);
        if self.asked == total || window - self.asked < u64::from(REQUESTS * BLOCK / 2) {
            return;
        }
        let mut requests = Vec::new();
        while self.asked < window.min(total) {
            let piece_len = u64::from(self.torrent.grid.piece_len());
            let len = (total - self.asked).min(u64::from(BLOCK)) as u32;
            requests.extend_from_slice(&[0, 0, 0, 13, 6]);
            for word in [(self.asked / piece_len) as u32, (self.asked % piece_len) as u32, len] {
                requests.extend_from_slice(&word.to_be_bytes());
            }
            self.asked += u64::from(len);
        }
        self.stream.write_all(&requests).expect("the peer takes them");
    }
}
