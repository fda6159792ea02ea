//! Codec: the head of a GET request (RFC 9112 sections 3 and 5).

use super::HttpUrl;
use bytes::Bytes;

/// A GET request without a body.
///
/// ```
/// use gosh_dl_core::wire::http::{HttpUrl, Request};
///
/// let mut request = Request::get(&HttpUrl::parse("http://example.com/a").unwrap());
/// request.header("Range", "bytes=0-99").unwrap();
/// assert_eq!(
///     &request.encode()[..],
///     b"GET /a HTTP/1.1\r\nHost: example.com\r\nRange: bytes=0-99\r\n\r\n",
/// );
/// assert!(request.header("X", "a\r\nInjected: b").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The target in origin form, as [`HttpUrl::target`] gives it.
    pub target: String,
    /// The value of `Host`, as [`Origin::host_header`](super::Origin::host_header) gives it.
    pub host: String,
    /// The other headers; those that are not valid are left out on the wire.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// A request for `url`, so far without headers other than `Host`.
    pub fn get(url: &HttpUrl) -> Self {
        Self { target: url.target(), host: url.origin().host_header(), headers: Vec::new() }
    }

    /// Adds a header after checking that it cannot change what the request means.
    pub fn header(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        check_header(name, value)?;
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The request as it goes on the wire. Whatever the fields hold, it is exactly one request.
    pub fn encode(&self) -> Bytes {
        let mut head = String::with_capacity(self.encoded_len());
        head.push_str("GET ");
        push_visible(&mut head, &self.target);
        head.push_str(" HTTP/1.1\r\nHost: ");
        push_visible(&mut head, &self.host);
        head.push_str("\r\n");
        for (name, value) in self.headers.iter().filter(|(name, value)| check_header(name, value).is_ok()) {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        }
        head.push_str("\r\n");
        Bytes::from(head)
    }

    fn encoded_len(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        "GET  HTTP/1.1\r\nHost: \r\n\r\n".len() + self.target.len() + self.host.len() + headers
    }
}

/// Why a header cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The name is empty or holds a character that is not allowed (RFC 9110 5.1).
    #[error("not a valid header name")]
    Name,
    /// The value holds a line break or another control character (RFC 9110 5.5).
    #[error("not a valid header value")]
    Value,
    /// `Host`, `Content-Length`, `Transfer-Encoding` and the like belong to the engine.
    #[error("this header is set by the engine")]
    Reserved,
}

/// Whether `name` is a token (RFC 9110 5.6.2).
pub fn valid_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_token_byte)
}

/// Whether `value` holds no control character other than a tab (RFC 9110 5.5).
pub fn valid_header_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control())
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn check_header(name: &str, value: &str) -> Result<(), HeaderError> {
    if !valid_header_name(name) {
        return Err(HeaderError::Name);
    }
    if !valid_header_value(value) {
        return Err(HeaderError::Value);
    }
    // A second Host, or a length on a request that has no body, is how requests are smuggled.
    let reserved = ["Host", "Content-Length", "Transfer-Encoding", "Upgrade", "Expect"];
    if reserved.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(HeaderError::Reserved);
    }
    Ok(())
}

/// Appends `text` with every byte escaped that would end a word of the request line or of a header.
fn push_visible(head: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            head.push(char::from(byte));
        } else {
            head.push_str(percent_encoding::percent_encode_byte(byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_rule_has_its_error() {
        let mut request = Request::get(&HttpUrl::parse("http://a/").unwrap());
        for name in ["", "a b", "a:", "a\r\nb", "é", "a\0"] {
            assert_eq!(request.header(name, ""), Err(HeaderError::Name), "{name:?}");
        }
        for value in ["a\r\nb: c", "a\rb", "a\nb", "a\0", "\u{1b}", "\u{7f}"] {
            assert_eq!(request.header("X", value), Err(HeaderError::Value), "{value:?}");
        }
        for name in ["host", "Content-Length", "TRANSFER-ENCODING"] {
            assert_eq!(request.header(name, "1"), Err(HeaderError::Reserved), "{name:?}");
        }
        assert_eq!(request.headers, []);
        assert_eq!(request.header("X-Key", "a\tb é"), Ok(()));
    }

    #[test]
    fn fields_set_directly_cannot_split_the_request() {
        let request = Request {
            target: "/a b\r\nX: y".into(),
            host: "h\r\n\r\nGET /evil".into(),
            headers: vec![
                ("X\r\nY".into(), "z".into()),
                ("Z".into(), "\r\n\r\n".into()),
                ("Ok".into(), "1".into()),
            ],
        };
        let expected = "GET /a%20b%0D%0AX:%20y HTTP/1.1\r\nHost: h%0D%0A%0D%0AGET%20/evil\r\nOk: 1\r\n\r\n";
        assert_eq!(request.encode(), expected.as_bytes());
    }

    proptest! {
        #[test]
        fn whatever_the_fields_hold_it_is_one_request(
            target in any::<String>(),
            host in any::<String>(),
            headers in proptest::collection::vec((".{0,8}", any::<String>()), 0..4),
        ) {
            let request = Request { target: format!("/{target}"), host, headers };
            let encoded = request.encode();
            let mut fields = [httparse::EMPTY_HEADER; 8];
            let mut parsed = httparse::Request::new(&mut fields);
            prop_assert_eq!(parsed.parse(&encoded), Ok(httparse::Status::Complete(encoded.len())));
            prop_assert_eq!(parsed.method, Some("GET"));
            prop_assert_eq!(parsed.headers[0].name, "Host");
            prop_assert!(parsed.headers.len() <= request.headers.len() + 1);
        }
    }
}
