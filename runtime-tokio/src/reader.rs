//! Files of downloads as tokio reads files.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use gosh_dl_runtime::FileReader;
use std::io::{self, SeekFrom};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

/// Reads one file of a download, while it is fetched or afterwards: see [`FileReader`].
#[derive(Debug)]
pub struct DownloadReader(pub(crate) FileReader);

impl DownloadReader {
    /// The length of the file in bytes; `None` while the server has not told it.
    #[expect(clippy::len_without_is_empty, reason = "it is the length of a file, not of a collection")]
    pub fn len(&self) -> Option<u64> {
        self.0.len()
    }
}

impl AsyncRead for DownloadReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let max = u32::try_from(buf.remaining()).unwrap_or(u32::MAX);
        let bytes = ready!(self.0.poll_read(cx, max)).map_err(io::Error::other)?;
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for DownloadReader {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        self.0.seek_from(position).map(drop)
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.0.position()))
    }
}
