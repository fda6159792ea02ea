//! Where a response's body ends (RFC 9112 section 6.3).

use crate::wire::http::{Chunked, ChunkedDecoder, DecodeError, ResponseHead};
use bytes::{Bytes, BytesMut};

/// What remains of a body.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked(ChunkedDecoder),
    /// Everything until the server closes.
    UntilClose,
}

/// What a [`Body`] finds in the input.
pub(super) enum Part {
    /// A part of the body, never empty.
    Data(Bytes),
    /// The body is complete.
    End,
    /// The input is consumed and more must come.
    More,
}

impl Body {
    /// The body that follows the head of an answer to GET, and whether the connection can be used again after it.
    pub(super) fn of(head: &ResponseHead) -> Result<(Self, bool), DecodeError> {
        if matches!(head.status, 204 | 304) {
            return Ok((Self::Length(0), head.keep_alive()));
        }
        if head.is_chunked()? {
            // RFC 9112 6.1, 6.3: a length beside it, or HTTP/1.0, means that someone on the way may read the framing
            // differently, so nothing that follows can be trusted.
            let doubtful = head.minor_version == 0 || head.headers.get("Content-Length").is_some();
            return Ok((Self::Chunked(ChunkedDecoder::new()), head.keep_alive() && !doubtful));
        }
        match head.content_length()? {
            Some(length) => Ok((Self::Length(length), head.keep_alive())),
            None => Ok((Self::UntilClose, false)),
        }
    }

    /// How many of the next bytes belong to it for certain.
    pub(super) fn ahead(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Chunked(decoder) => decoder.ahead(),
            Self::UntilClose => u64::MAX,
        }
    }

    /// Takes the next part off the front of `input`.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<Part, DecodeError> {
        match self {
            Self::Length(0) => Ok(Part::End),
            Self::UntilClose | Self::Length(_) if input.is_empty() => Ok(Part::More),
            Self::UntilClose => Ok(Part::Data(input.split().freeze())),
            Self::Length(left) => {
                let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= len as u64;
                Ok(Part::Data(input.split_to(len).freeze()))
            }
            Self::Chunked(decoder) => Ok(match decoder.decode(input)? {
                Some(Chunked::Data(data)) => Part::Data(data),
                Some(Chunked::End) => Part::End,
                None => Part::More,
            }),
        }
    }
}
