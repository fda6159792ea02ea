//! Codec: HTTP/1.1 as a client that fetches needs it (RFC 9110, RFC 9112, RFC 6266).

pub mod chunked;
pub mod content_disposition;
pub mod content_range;
pub mod error;
pub mod headers;
pub mod request;
pub mod response;
pub mod retry_after;
pub mod url;

pub use self::url::{HttpUrl, Origin, UrlError};
pub use chunked::{Chunked, ChunkedDecoder};
pub use content_range::ContentRange;
pub use error::DecodeError;
pub use headers::Headers;
pub use request::{HeaderError, Request, valid_header_name, valid_header_value};
pub use response::{ResponseHead, Validator};
pub use retry_after::RetryAfter;
