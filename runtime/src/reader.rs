//! Reading the files of a download while they are fetched; drivers give it the traits of their runtimes.

use crate::driver::Shared;
use bytes::Bytes;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use futures_channel::oneshot;
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::download::ReadRequest;
use gosh_dl_core::engine::{Answer, EngineError};
use std::io::{self, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads one file of a download, while it runs or at rest. What it waits for is fetched first, with a window ahead of it that follows how
/// fast it is read. Of a torrent only bytes whose hash is right come; those of a download over HTTP come as they arrived,
/// in order where the server has no ranges. Dropping it ends that.
pub struct FileReader {
    shared: Arc<Shared>,
    id: DownloadId,
    reader: u64,
    file: usize,
    at: u64,
    /// The answer to the read under way, which outlives a future that was dropped.
    pending: Option<oneshot::Receiver<Result<Answer, EngineError>>>,
    /// What was read beyond what was asked for.
    rest: Bytes,
}

impl FileReader {
    pub(crate) fn open(shared: Arc<Shared>, id: DownloadId, file: usize) -> Result<Self, EngineError> {
        shared.view(|engine, _| engine.file_len(id, file))?;
        let reader = next_reader();
        Ok(Self { shared, id, reader, file, at: 0, pending: None, rest: Bytes::new() })
    }

    /// The length of the file in bytes; `None` while the server has not told it, or where the download is gone.
    #[expect(clippy::len_without_is_empty, reason = "it is the length of a file, not of a collection")]
    pub fn len(&self) -> Option<u64> {
        self.shared.view(|engine, _| engine.file_len(self.id, self.file)).ok().flatten()
    }

    /// Where the next read begins, in bytes.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Goes to a place in the file, in bytes; beyond its end there is nothing to read. What lies there is fetched first from
    /// the next read on.
    pub fn seek(&mut self, to: u64) {
        if to == self.at {
            return;
        }
        self.at = to;
        self.rest = Bytes::new();
        if self.pending.take().is_some() {
            // The engine still waits for bytes of the old place: this reader is another one.
            self.close();
            self.reader = next_reader();
        }
    }

    /// [`seek`](Self::seek) as the traits of runtimes have it; says where the next read begins.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for a place before the beginning, [`io::ErrorKind::Unsupported`] for one that is
    /// told from an end that is not known.
    pub fn seek_from(&mut self, to: SeekFrom) -> io::Result<u64> {
        let unknown = || io::Error::new(io::ErrorKind::Unsupported, "the length is not known yet");
        let to = match to {
            SeekFrom::Start(to) => Some(to),
            SeekFrom::End(by) => self.len().ok_or_else(unknown)?.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let to =
            to.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the beginning"))?;
        self.seek(to);
        Ok(to)
    }

    /// The next bytes of the file, as soon as there are some: at most `max`, and none only at its end or where `max` is 0.
    /// Can be dropped at any time without losing bytes.
    ///
    /// # Errors
    ///
    /// Why the download failed, where it did; [`EngineError::NotFound`] where it is gone; [`EngineError::InvalidState`] for
    /// what was not fetched of a torrent that is complete; [`EngineError::InvalidInput`] where too many readers read it;
    /// [`EngineError::Storage`] where the disk fails; [`EngineError::Protocol`] once where the server has another version of the file now, and what was read does
    /// not belong to what follows.
    pub async fn read(&mut self, max: u32) -> Result<Bytes, EngineError> {
        poll_fn(|cx| self.poll_read(cx, max)).await
    }

    /// [`read`](Self::read) for those who poll.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, max: u32) -> Poll<Result<Bytes, EngineError>> {
        if self.rest.is_empty() && max > 0 {
            self.rest = ready!(self.poll_fetch(cx, max))?;
        }
        let bytes = self.rest.split_to(self.rest.len().min(max as usize));
        self.at += bytes.len() as u64;
        Poll::Ready(Ok(bytes))
    }

    fn poll_fetch(&mut self, cx: &mut Context<'_>, max: u32) -> Poll<Result<Bytes, EngineError>> {
        let reply = match &mut self.pending {
            Some(reply) => reply,
            None => {
                let (token, reply) = self.shared.expect_reply();
                let request = ReadRequest { reader: self.reader, file: self.file, offset: self.at, len: max };
                self.shared.with(|engine, now| engine.read(now, self.id, request, token));
                self.pending.insert(reply)
            }
        };
        let answer = ready!(Pin::new(reply).poll(cx));
        self.pending = None;
        Poll::Ready(match answer.unwrap_or(Err(EngineError::Shutdown)) {
            Ok(Answer::Data(bytes)) => Ok(bytes),
            Ok(_) => Err(EngineError::Internal("a read was answered without bytes".to_owned())),
            Err(error) => Err(error),
        })
    }

    fn close(&self) {
        self.shared.with(|engine, now| engine.close_reader(now, self.id, self.reader));
    }
}

impl core::fmt::Debug for FileReader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { id, reader, file, at, .. } = self;
        write!(f, "FileReader({reader} at {at} in file {file} of {id})")
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        self.close();
    }
}

/// A name that no other reader has.
fn next_reader() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
