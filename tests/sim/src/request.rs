//! Codec: HTTP/1.1 requests (RFC 9112 section 3), read by a server that forgives nothing.
//!
//! The engine writes requests, so whatever is illegal in one is the engine's fault: it panics and names the rule.

/// The head of one request. A GET or HEAD has nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// The target in origin form: a path, and a query behind it.
    pub target: String,
    /// The fields in order; names in lower case.
    pub headers: Vec<(String, String)>,
}

/// What a `Range` field asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedRange {
    /// The first byte.
    pub start: u64,
    /// One past the last byte; `None` is to the end.
    pub end: Option<u64>,
}

impl Request {
    /// Takes the first whole request out of `buffer`; `None` while it is incomplete.
    ///
    /// # Panics
    ///
    /// Where the bytes are not a legal GET or HEAD request.
    pub fn take(buffer: &mut Vec<u8>) -> Option<Self> {
        let end = buffer.windows(4).position(|window| window == b"\r\n\r\n");
        assert!(end.unwrap_or(buffer.len()) <= MAX_HEAD, "a request head of more than {MAX_HEAD} bytes");
        let head: Vec<u8> = buffer.drain(..end? + 4).collect();
        let head = String::from_utf8(head).expect("a request head is ASCII");
        Some(Self::parse(&head[..head.len() - 4]))
    }

    /// The value of a field by its name in lower case.
    ///
    /// # Panics
    ///
    /// Where it stands there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(field, _)| field == name).map(|(_, value)| &**value);
        let value = values.next();
        assert!(values.next().is_none(), "two {name} fields in a request");
        value
    }

    /// What the `Range` field asks for.
    ///
    /// # Panics
    ///
    /// Where it is not one range of bytes, or the wrong way round.
    pub fn range(&self) -> Option<AskedRange> {
        let value = self.header("range")?;
        let (start, end) = value
            .strip_prefix("bytes=")
            .and_then(|range| range.split_once('-'))
            .unwrap_or_else(|| panic!("a strange range: {value}"));
        let start = number(start).unwrap_or_else(|| panic!("a strange range: {value}"));
        let end = if end.is_empty() { None } else { Some(number(end).expect("a strange range") + 1) };
        assert!(end.is_none_or(|end| end > start), "a range the wrong way round: {value}");
        Some(AskedRange { start, end })
    }

    fn parse(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        assert_eq!(words.next(), Some("HTTP/1.1"), "a strange request line: {line:?}");
        assert_eq!(words.next(), None, "a strange request line: {line:?}");
        assert!(matches!(method, "GET" | "HEAD"), "a strange method: {method:?}");
        let visible = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        assert!(target.starts_with('/') && visible, "a strange target: {target:?}");
        let headers = lines.map(field).collect();
        let request = Self { method: method.to_owned(), target: target.to_owned(), headers };
        request.check();
        request
    }

    fn check(&self) {
        assert!(self.header("host").is_some_and(|host| !host.is_empty()), "no Host in {self:?}");
        assert!(
            self.header("content-length").is_none() && self.header("transfer-encoding").is_none(),
            "a GET with a body: {self:?}"
        );
        let range = self.range();
        if let Some(validator) = self.header("if-range") {
            assert!(range.is_some(), "RFC 9110 section 13.1.5: If-Range without Range");
            assert!(!validator.starts_with("W/"), "RFC 9110 section 13.1.5: a weak validator in If-Range");
        }
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?}"));
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    assert!(!name.is_empty() && name.bytes().all(token), "a strange field name: {name:?}");
    let value = value.trim_matches([' ', '\t']);
    let visible = value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    assert!(visible, "a control character in {line:?}");
    (name.to_ascii_lowercase(), value.to_owned())
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Common servers refuse heads longer than 8 to 64 KiB.
const MAX_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Option<Request> {
        Request::take(&mut text.as_bytes().to_vec())
    }

    #[test]
    fn request_is_taken_only_when_whole() {
        let mut buffer = b"GET /a?b HTTP/1.1\r\nHost: h\r\nRange: bytes=5-9\r\n\r".to_vec();
        assert_eq!(Request::take(&mut buffer), None);
        buffer.push(b'\n');
        let request = Request::take(&mut buffer).unwrap();
        assert_eq!(request.target, "/a?b");
        assert_eq!(request.range(), Some(AskedRange { start: 5, end: Some(10) }));
        assert!(buffer.is_empty());
    }

    #[test]
    #[should_panic(expected = "control character")]
    fn bare_carriage_return_is_refused() {
        take("GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n");
    }

    #[test]
    #[should_panic(expected = "no Host")]
    fn missing_host_is_refused() {
        take("GET / HTTP/1.1\r\nA: b\r\n\r\n");
    }

    #[test]
    #[should_panic(expected = "two host fields")]
    fn second_host_is_refused() {
        take("GET / HTTP/1.1\r\nHost: h\r\nhost: i\r\n\r\n");
    }

    #[test]
    #[should_panic(expected = "a strange target")]
    fn absolute_form_is_refused() {
        take("GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n");
    }

    #[test]
    #[should_panic(expected = "weak validator")]
    fn weak_validator_in_if_range_is_refused() {
        take("GET / HTTP/1.1\r\nHost: h\r\nRange: bytes=1-\r\nIf-Range: W/\"a\"\r\n\r\n");
    }
}
