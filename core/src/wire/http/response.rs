//! Codec: the head of a response (RFC 9112 sections 4 and 5) and the views of it that a download needs.

use super::content_range::decimal;
use super::retry_after::http_date;
use super::{ContentRange, DecodeError, Headers, RetryAfter, content_disposition, valid_header_value};
use crate::base::FileName;

/// A status line and the headers under it.
///
/// ```
/// use gosh_dl_core::wire::http::ResponseHead;
///
/// let head = ResponseHead::decode(b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/20\r\n\r\n").unwrap();
/// assert_eq!(head.status, 206);
/// assert_eq!(head.content_range().unwrap().unwrap().range, Some(0..10));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, from 100 to 999.
    pub status: u16,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// The headers.
    pub headers: Headers,
}

impl ResponseHead {
    /// The longest head in bytes. Real ones stay below 16 KiB; whoever sends more wants our memory.
    pub const MAX_HEAD: usize = 64 * 1024;
    /// The most headers. Real responses have some twenty.
    pub const MAX_HEADERS: usize = 128;

    /// Reads one complete head, from its status line to its blank line; what follows is not looked at.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = [httparse::EMPTY_HEADER; Self::MAX_HEADERS];
        let mut response = httparse::Response::new(&mut fields);
        let mut config = httparse::ParserConfig::default();
        config
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_multiple_spaces_in_response_status_delimiters(true);
        let within = bytes.get(..Self::MAX_HEAD).unwrap_or(bytes);
        match config.parse_response(&mut response, within)? {
            httparse::Status::Complete(_) => {}
            httparse::Status::Partial if within.len() < bytes.len() => return Err(DecodeError::HeadTooLong),
            httparse::Status::Partial => return Err(DecodeError::Incomplete),
        }
        let status = response.code.filter(|code| *code >= 100).ok_or(DecodeError::StatusLine)?;
        let minor_version = response.version.ok_or(DecodeError::Version)?;
        let text_len = response.headers.iter().map(|field| field.name.len() + field.value.len()).sum();
        let mut headers = Headers::with_capacity(response.headers.len(), text_len);
        for field in response.headers.iter() {
            if !headers.push(field.name, field.value) {
                return Err(DecodeError::HeadTooLong);
            }
        }
        Ok(Self { status, minor_version, headers })
    }

    /// Whether it is an interim response (1xx), after which the real one follows.
    pub fn is_informational(&self) -> bool {
        (100..200).contains(&self.status)
    }

    /// The length of the body in bytes (RFC 9110 8.6). The same length given several times is fine.
    pub fn content_length(&self) -> Result<Option<u64>, DecodeError> {
        let mut length = None;
        for member in self.headers.get_all("Content-Length").flat_map(|value| value.split(',')) {
            let found = decimal(super::headers::trim(member)).ok_or(DecodeError::ContentLength)?;
            if length.is_some_and(|length| length != found) {
                return Err(DecodeError::ConflictingContentLength);
            }
            length = Some(found);
        }
        Ok(length)
    }

    /// Whether the body is chunked (RFC 9112 6.1). Any other coding is an error, because it hides where the body ends.
    pub fn is_chunked(&self) -> Result<bool, DecodeError> {
        let mut chunked = false;
        for coding in self.headers.list("Transfer-Encoding").filter(|coding| !is_identity(coding)) {
            if chunked || !coding.eq_ignore_ascii_case("chunked") {
                return Err(DecodeError::UnsupportedTransferCoding);
            }
            chunked = true;
        }
        Ok(chunked)
    }

    /// Which bytes of the whole the body is.
    pub fn content_range(&self) -> Result<Option<ContentRange>, DecodeError> {
        let mut range = None;
        for value in self.headers.get_all("Content-Range") {
            let found = ContentRange::decode(value)?;
            if range.as_ref().is_some_and(|range| *range != found) {
                return Err(DecodeError::ContentRange);
            }
            range = Some(found);
        }
        Ok(range)
    }

    /// Whether the body is the file itself and not a compressed form of it.
    pub fn content_encoding_is_identity(&self) -> bool {
        self.headers.list("Content-Encoding").all(is_identity)
    }

    /// What tells whether the file is still the same.
    pub fn validator(&self) -> Validator {
        let etag = self.headers.get("ETag").filter(|etag| is_strong_etag(etag)).map(str::to_owned);
        let last_modified = self.headers.get("Last-Modified").filter(|date| http_date(date).is_some());
        Validator { etag, last_modified: last_modified.map(str::to_owned) }
    }

    /// The entity tag without its `W/`, where it is a weak one: equal ones mean the same to a person, but not byte for
    /// byte (RFC 9110 8.8.1).
    pub fn weak_etag(&self) -> Option<&str> {
        let tag = self.headers.get("ETag")?.strip_prefix("W/")?;
        is_strong_etag(tag).then_some(tag)
    }

    /// When the file was last changed, in seconds since the Unix epoch.
    pub fn last_modified(&self) -> Option<u64> {
        http_date(self.headers.get("Last-Modified")?)
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<RetryAfter> {
        RetryAfter::decode(self.headers.get("Retry-After")?)
    }

    /// Where a redirect leads, as sent; [`HttpUrl::join`](super::HttpUrl::join) makes a URL of it.
    pub fn location(&self) -> Option<String> {
        self.headers.get("Location").filter(|location| !location.is_empty()).map(str::to_owned)
    }

    /// A safe form of the name that the server gives the file.
    pub fn file_name(&self) -> Option<FileName> {
        self.headers.get_all("Content-Disposition").find_map(content_disposition::file_name)
    }

    /// Whether the server says that it serves byte ranges.
    pub fn accepts_ranges(&self) -> bool {
        self.headers.list("Accept-Ranges").any(|unit| unit.eq_ignore_ascii_case("bytes"))
    }

    /// Whether the connection stays open after the body (RFC 9112 9.3).
    pub fn keep_alive(&self) -> bool {
        let says =
            |wanted: &str| self.headers.list("Connection").any(|option| option.eq_ignore_ascii_case(wanted));
        !says("close") && (self.minor_version >= 1 || says("keep-alive"))
    }
}

/// What tells whether a file on a server is still the same (RFC 9110 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validator {
    /// A strong entity tag with its quotes. Weak ones are left out: they do not promise the same bytes.
    pub etag: Option<String>,
    /// The `Last-Modified` date as sent, if it is one.
    pub last_modified: Option<String>,
}

impl Validator {
    /// Whether there is nothing to compare.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

impl From<httparse::Error> for DecodeError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::HeaderName => Self::HeaderName,
            httparse::Error::HeaderValue => Self::HeaderValue,
            httparse::Error::NewLine => Self::NewLine,
            httparse::Error::TooManyHeaders => Self::TooManyHeaders,
            httparse::Error::Version => Self::Version,
            httparse::Error::Status | httparse::Error::Token => Self::StatusLine,
        }
    }
}

fn is_identity(coding: &str) -> bool {
    coding.eq_ignore_ascii_case("identity")
}

/// RFC 9110 8.8.3: quoted, without a quote inside.
fn is_strong_etag(etag: &str) -> bool {
    let inner = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    etag.len() <= MAX_ETAG && inner.is_some_and(|inner| !inner.contains('"')) && valid_header_value(etag)
}

/// Real tags have some forty bytes; this one is kept in a record and sent with every request.
const MAX_ETAG: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(headers: &str) -> ResponseHead {
        ResponseHead::decode(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn head_is_read() {
        let head =
            ResponseHead::decode(b"HTTP/1.0 404\r\nA: b\r\nC : \xe9 \r\nD: e\r\n f\r\nG:\r\n\r\n").unwrap();
        assert_eq!((head.status, head.minor_version), (404, 0));
        let fields: Vec<_> = head.headers.iter().collect();
        assert_eq!(fields, [("A", "b"), ("C", "é"), ("D", "e f"), ("G", "")]);
        let lines_without_cr = ResponseHead::decode(b"HTTP/1.1 200 OK\nA: b\n\nbody").unwrap();
        assert_eq!(lines_without_cr.headers.get("a"), Some("b"));
    }

    #[test]
    fn each_rule_has_its_error() {
        let error = |bytes: &[u8]| ResponseHead::decode(bytes).unwrap_err();
        assert_eq!(error(b""), DecodeError::Incomplete);
        assert_eq!(error(b"HTTP/1.1 200 OK\r\nA: b\r\n"), DecodeError::Incomplete);
        assert_eq!(error(b"HTTP/2.0 200 OK\r\n\r\n"), DecodeError::Version);
        assert_eq!(error(b"HTTP/1.1 20 OK\r\n\r\n"), DecodeError::StatusLine);
        assert_eq!(error(b"HTTP/1.1 099 OK\r\n\r\n"), DecodeError::StatusLine);
        assert_eq!(error(b"HTTP/1.1 200 O\0K\r\n\r\n"), DecodeError::StatusLine);
        assert_eq!(error(b"HTTP/1.1 200 OK\r\n: b\r\n\r\n"), DecodeError::HeaderName);
        assert_eq!(error(b"HTTP/1.1 200 OK\r\nA\r\n\r\n"), DecodeError::HeaderName);
        assert_eq!(error(b"HTTP/1.1 200 OK\r\nA: \x1b\r\n\r\n"), DecodeError::HeaderValue);
        assert_eq!(error(b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n"), DecodeError::HeaderValue);
        assert_eq!(error(b"HTTP/1.1 200 OK\r\n\rA: b\r\n\r\n"), DecodeError::NewLine);
    }

    #[test]
    fn limits_are_reached_and_kept() {
        let with_headers = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
        let most = ResponseHead::decode(with_headers(ResponseHead::MAX_HEADERS).as_bytes()).unwrap();
        assert_eq!(most.headers.len(), ResponseHead::MAX_HEADERS);
        let more = with_headers(ResponseHead::MAX_HEADERS + 1);
        assert_eq!(ResponseHead::decode(more.as_bytes()), Err(DecodeError::TooManyHeaders));

        let with_length = |len: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(len - 24));
        let longest = with_length(ResponseHead::MAX_HEAD);
        assert_eq!(longest.len(), ResponseHead::MAX_HEAD);
        assert!(ResponseHead::decode(longest.as_bytes()).is_ok());
        let longer = with_length(ResponseHead::MAX_HEAD + 1);
        assert_eq!(ResponseHead::decode(longer.as_bytes()), Err(DecodeError::HeadTooLong));
        let endless = [&longer.as_bytes()[..longer.len() - 4], b"bbbb"].concat();
        assert_eq!(ResponseHead::decode(&endless), Err(DecodeError::HeadTooLong));
    }

    #[test]
    fn content_length_may_repeat_but_not_differ() {
        let length = |headers: &str| head(headers).content_length();
        assert_eq!(length(""), Ok(None));
        assert_eq!(length("Content-Length: 5\r\ncontent-length: 5, 5\r\n"), Ok(Some(5)));
        assert_eq!(length("Content-Length: 18446744073709551615\r\n"), Ok(Some(u64::MAX)));
        assert_eq!(
            length("Content-Length: 5\r\nContent-Length: 6\r\n"),
            Err(DecodeError::ConflictingContentLength)
        );
        for bad in ["", "+5", "-5", "0x5", "5 5", "5,", "5.0", "18446744073709551616"] {
            assert_eq!(
                length(&format!("Content-Length: {bad}\r\n")),
                Err(DecodeError::ContentLength),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn only_a_single_chunked_coding_is_known() {
        let chunked = |value: &str| head(&format!("Transfer-Encoding: {value}\r\n")).is_chunked();
        assert_eq!(head("").is_chunked(), Ok(false));
        assert_eq!(chunked("Chunked"), Ok(true));
        assert_eq!(chunked("identity"), Ok(false));
        for bad in ["gzip", "gzip, chunked", "chunked, chunked", "chunked, gzip", "xchunked"] {
            assert_eq!(chunked(bad), Err(DecodeError::UnsupportedTransferCoding), "{bad:?}");
        }
    }

    #[test]
    fn content_ranges_must_agree() {
        let range = |headers: &str| head(headers).content_range();
        let expected = ContentRange { range: Some(0..2), total: Some(3) };
        assert_eq!(range(""), Ok(None));
        assert_eq!(range("Content-Range: bytes 0-1/3\r\nContent-Range: bytes 0-1/3\r\n"), Ok(Some(expected)));
        let differing = "Content-Range: bytes 0-1/3\r\nContent-Range: bytes 0-2/3\r\n";
        assert_eq!(range(differing), Err(DecodeError::ContentRange));
    }

    #[test]
    fn only_strong_tags_and_real_dates_validate() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let strong = head(&format!("ETag: \"a\"\r\nLast-Modified: {date}\r\n"));
        let expected = Validator { etag: Some("\"a\"".into()), last_modified: Some(date.into()) };
        assert_eq!(strong.validator(), expected);
        assert_eq!(strong.last_modified(), Some(784_111_777));
        assert_eq!(strong.weak_etag(), None);
        assert_eq!(head("ETag: W/\"a\"\r\n").weak_etag(), Some("\"a\""));
        let long = format!("\"{}\"", "a".repeat(MAX_ETAG));
        for bad in ["W/\"a\"", "a", "\"", "\"a\"b\"", "\"a", &long] {
            let head = head(&format!("ETag: {bad}\r\nLast-Modified: yesterday\r\n"));
            assert!(head.validator().is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn small_views_read_lists_and_first_values() {
        let full =
            "Content-Encoding: identity\r\nAccept-Ranges: none, Bytes\r\nRetry-After: 7\r\nLocation: /ü\r\n";
        let full = head(full);
        assert!(full.content_encoding_is_identity() && full.accepts_ranges());
        assert_eq!(full.retry_after(), Some(RetryAfter::Seconds(7)));
        assert_eq!(full.location().as_deref(), Some("/ü"));
        let other = head("Content-Encoding: gzip\r\nAccept-Ranges: none\r\nLocation:\r\n");
        assert!(!other.content_encoding_is_identity() && !other.accepts_ranges());
        assert_eq!((other.location(), other.retry_after(), other.file_name()), (None, None, None));
        let named =
            head("Content-Disposition: inline\r\nContent-Disposition: attachment; filename=\"a/b\"\r\n");
        assert_eq!(named.file_name(), FileName::new("b"));
    }

    #[test]
    fn connection_stays_open_by_version_and_option() {
        let keeps = |version: &str, option: &str| {
            let text = format!("HTTP/{version} 200 OK\r\nConnection: {option}\r\n\r\n");
            ResponseHead::decode(text.as_bytes()).unwrap().keep_alive()
        };
        assert!(keeps("1.1", "x") && keeps("1.0", "x, Keep-Alive"));
        assert!(!keeps("1.1", "keep-alive, Close") && !keeps("1.0", "x"));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in "HTTP/1.[01] [0-9]{3} (.|\r|\n){0,60}\r\n\r\n") {
            if let Ok(head) = ResponseHead::decode(bytes.as_bytes()) {
                let _ = (head.content_length(), head.is_chunked(), head.content_range(), head.validator());
                let _ = (head.retry_after(), head.location(), head.file_name(), head.keep_alive());
                for (_, value) in head.headers.iter() {
                    prop_assert!(!value.contains(['\r', '\n']));
                }
            }
        }
    }
}
