//! Codec: which rule of RFC 9110 or RFC 9112 a server broke.

/// Why bytes from a server are not a response that this client can read: one variant per rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the blank line that ends a head.
    #[error("the response head is incomplete")]
    Incomplete,
    /// The first bytes are not `HTTP/`.
    #[error("the server does not speak HTTP")]
    NotHttp,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    #[error("unsupported HTTP version")]
    Version,
    /// The status line has no status of three digits from 100 on, or a control character in its reason.
    #[error("malformed status line")]
    StatusLine,
    /// A header name is empty or holds a character that is not allowed.
    #[error("malformed header name")]
    HeaderName,
    /// A header value holds a control character.
    #[error("malformed header value")]
    HeaderValue,
    /// A line of the head ends in a carriage return without a line feed.
    #[error("malformed line end in the response head")]
    NewLine,
    /// The head is longer than [`ResponseHead::MAX_HEAD`](super::ResponseHead::MAX_HEAD).
    #[error("the response head is too long")]
    HeadTooLong,
    /// The head has more than [`ResponseHead::MAX_HEADERS`](super::ResponseHead::MAX_HEADERS) headers.
    #[error("the response has too many headers")]
    TooManyHeaders,
    /// RFC 9110 8.6: `Content-Length` is not a decimal number that fits 64 bits.
    #[error("malformed Content-Length")]
    ContentLength,
    /// RFC 9110 8.6: several lengths that differ.
    #[error("conflicting Content-Length headers")]
    ConflictingContentLength,
    /// RFC 9112 6.1: a transfer coding other than a single `chunked`.
    #[error("unsupported Transfer-Encoding")]
    UnsupportedTransferCoding,
    /// RFC 9110 14.4: `Content-Range` is malformed, of another unit, or contradicts itself.
    #[error("malformed Content-Range")]
    ContentRange,
    /// RFC 9112 7.1: a chunk does not start with hexadecimal digits, or something else follows them.
    #[error("malformed chunk size")]
    ChunkSize,
    /// RFC 9112 7.1: a chunk size of more than 16 digits.
    #[error("chunk size too large")]
    ChunkSizeTooLarge,
    /// RFC 9112 7.1.1: a control character in a chunk extension, or a line end that is not CR LF.
    #[error("malformed chunk extension")]
    ChunkExtension,
    /// RFC 9112 7.1.1: a chunk extension beyond any use.
    #[error("chunk extension too long")]
    ChunkExtensionTooLong,
    /// RFC 9112 7.1: the line with a chunk's size, or the chunk itself, is not followed by CR LF.
    #[error("malformed line end in a chunked body")]
    ChunkLineEnd,
    /// RFC 9112 7.1.2: a trailer is not a header, or its line does not end in CR LF.
    #[error("malformed trailer")]
    Trailer,
    /// RFC 9112 7.1.2: trailers beyond any use.
    #[error("trailers too long")]
    TrailersTooLong,
    /// Bytes arrived that answer no request.
    #[error("the server sent data that nobody asked for")]
    Unsolicited,
    /// RFC 9112 2.2 lets a client skip a blank line before a response; this is more.
    #[error("too many blank lines before the response")]
    TooManyBlankLines,
    /// RFC 9110 15.2: more interim responses than any server has a reason for.
    #[error("too many interim responses")]
    TooManyInterim,
    /// RFC 9110 15.2.2: `101 Switching Protocols`, which was not asked for.
    #[error("the server switched protocols unasked")]
    SwitchedProtocols,
}
