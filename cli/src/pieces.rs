//! Hashing the pieces of files that lie on the disk, on all processors.

use gosh_dl_core::base::{PieceGrid, PieceIndex};
use sha1::{Digest as _, Sha1};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that pieces are made of, in the order of the torrent.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Where it is; `None` is padding, which is zeros.
    pub(crate) path: Option<PathBuf>,
    /// Its length in bytes.
    pub(crate) len: u64,
}

/// The SHA-1 of each piece, or the number of the part that cannot be read and why.
pub(crate) fn hash(grid: PieceGrid, parts: &[Part]) -> Vec<Result<[u8; 20], (usize, io::Error)>> {
    let mut starts = Vec::with_capacity(parts.len());
    let mut at = 0u64;
    for part in parts {
        starts.push(at);
        at = at.saturating_add(part.len);
    }
    let next = AtomicU32::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut worker = Worker { parts, starts: &starts, open: None, buffer: vec![0; READ] };
        let mut done = Vec::new();
        while let Some(piece) = grid.piece(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((piece, worker.piece(grid, piece)));
        }
        done
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    });
    all.sort_by_key(|(piece, _)| *piece);
    all.into_iter().map(|(_, hash)| hash).collect()
}

/// One thread's way through the pieces.
struct Worker<'a> {
    parts: &'a [Part],
    starts: &'a [u64],
    /// The file that was read last.
    open: Option<(usize, File)>,
    buffer: Vec<u8>,
}

impl Worker<'_> {
    fn piece(&mut self, grid: PieceGrid, piece: PieceIndex) -> Result<[u8; 20], (usize, io::Error)> {
        let range = grid.piece_range(piece);
        let (mut at, mut digest) = (range.start, Sha1::new());
        let mut part = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        while at < range.end {
            let (start, len) = (self.starts[part], self.parts[part].len);
            let end = (start + len).min(range.end);
            self.feed(&mut digest, part, at - start, end.saturating_sub(at))
                .map_err(|error| (part, error))?;
            at = at.max(end);
            part += 1;
        }
        Ok(digest.finalize().into())
    }

    fn feed(&mut self, digest: &mut Sha1, part: usize, offset: u64, mut len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let Some(path) = &self.parts[part].path else {
            self.buffer.fill(0);
            while len > 0 {
                let step = usize::try_from(len).unwrap_or(READ).min(READ);
                digest.update(&self.buffer[..step]);
                len -= step as u64;
            }
            return Ok(());
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != part) {
            self.open = Some((part, File::open(path)?));
        }
        let Some((_, file)) = &mut self.open else { return Ok(()) };
        file.seek(SeekFrom::Start(offset))?;
        while len > 0 {
            let step = usize::try_from(len).unwrap_or(READ).min(READ);
            file.read_exact(&mut self.buffer[..step])?;
            digest.update(&self.buffer[..step]);
            len -= step as u64;
        }
        Ok(())
    }
}

/// What is read at once stays in the cache until it is hashed.
const READ: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_over_the_ends_of_files_and_padding() {
        let dir = tempfile::tempdir().unwrap();
        let part = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            Part { path: Some(path), len: content.len() as u64 }
        };
        let parts = [part("a", b"abc"), part("empty", b""), Part { path: None, len: 2 }, part("b", b"defgh")];
        let grid = PieceGrid::new(4, 10).unwrap();
        let hashes: Vec<_> = hash(grid, &parts).into_iter().map(Result::unwrap).collect();
        let expected: Vec<[u8; 20]> =
            b"abc\0\0defgh".chunks(4).map(|piece| Sha1::digest(piece).into()).collect();
        assert_eq!(hashes, expected);
    }

    #[test]
    fn a_file_that_is_too_short_spoils_its_own_pieces_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"abcd").unwrap();
        let parts = [Part { path: Some(path), len: 8 }];
        let hashes = hash(PieceGrid::new(4, 8).unwrap(), &parts);
        assert_eq!(hashes[0].as_ref().ok(), Some(&Sha1::digest(b"abcd").into()));
        assert!(matches!(&hashes[1], Err((0, error)) if error.kind() == io::ErrorKind::UnexpectedEof));
    }
}
