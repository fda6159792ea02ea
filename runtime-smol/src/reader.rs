//! Files of downloads as programs on smol read files: by the traits of `futures_io`.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use gosh_dl_runtime::FileReader;
use smol::io::{AsyncRead, AsyncSeek};
use std::io::{self, SeekFrom};

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
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let max = u32::try_from(buf.len()).unwrap_or(u32::MAX);
        let bytes = ready!(self.0.poll_read(cx, max)).map_err(io::Error::other)?;
        buf[..bytes.len()].copy_from_slice(&bytes);
        Poll::Ready(Ok(bytes.len()))
    }
}

impl AsyncSeek for DownloadReader {
    fn poll_seek(mut self: Pin<&mut Self>, _: &mut Context<'_>, to: SeekFrom) -> Poll<io::Result<u64>> {
        Poll::Ready(self.0.seek_from(to))
    }
}
