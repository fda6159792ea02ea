//! Codec: requests of players (RFC 9112 section 3), as far as files need it: method, path, range, and who is meant.

use std::ops::Range;

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// What it is about.
    pub(super) what: What,
    /// Whether only the head of the answer is wanted.
    pub(super) head_only: bool,
    /// Whether more requests may follow on the connection.
    pub(super) keep_alive: bool,
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// All files.
    List,
    /// A file by its number, or a part of it.
    File(usize, Option<ByteRange>),
    /// It cannot be answered: the status says why.
    Bad(u16),
}

/// A range of bytes (RFC 9110 section 14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteRange {
    /// From a byte on, up to another and with it, or to the end.
    From(u64, Option<u64>),
    /// The last bytes.
    Last(u64),
}

impl ByteRange {
    /// The bytes of a file of that length; `None` where it has none of them.
    pub(super) fn of(self, len: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(start, last) => start..last.map_or(len, |last| last.saturating_add(1)).min(len),
            Self::Last(count) => len.saturating_sub(count)..len,
        };
        (range.start < range.end).then_some(range)
    }
}

/// The request at the beginning of `bytes` and how long it is; `None` while it is not whole. Where it cannot be understood,
/// no other can follow.
pub(super) fn parse(bytes: &[u8], port: u16) -> Option<(Request, usize)> {
    let bad = |status| Request { what: What::Bad(status), head_only: false, keep_alive: false };
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let len = match head.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some((bad(431), bytes.len()));
        }
        Err(_) => return Some((bad(400), bytes.len())),
    };
    let fields = |name: &'static str| {
        let named = move |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
        head.headers
            .iter()
            .filter(named)
            .map(|field| str::from_utf8(field.value).unwrap_or("\u{fffd}").trim())
    };
    let has_body =
        fields("Content-Length").any(|len| len != "0") || fields("Transfer-Encoding").next().is_some();
    // Where the name of another host leads here, a page of that host must not read what is here.
    let mut hosts = fields("Host");
    let host = hosts.next();
    if hosts.next().is_some() || host.is_none() && head.version == Some(1) || has_body {
        return Some((bad(400), len));
    }
    if host.is_some_and(|host| !is_own(host, port)) {
        return Some((bad(421), len));
    }
    let closes = fields("Connection").any(|tokens| tokens.to_ascii_lowercase().contains("close"));
    let keep_alive = head.version == Some(1) && !closes;
    let head_only = head.method == Some("HEAD");
    let what = match head.method {
        Some("GET") => {
            // Without a validator nothing tells that a part still fits, so the whole answers that question.
            let range = fields("Range").next().filter(|_| fields("If-Range").next().is_none());
            what(head.path.unwrap_or_default(), range.and_then(parse_range))
        }
        Some("HEAD") => what(head.path.unwrap_or_default(), None),
        _ => What::Bad(405),
    };
    Some((Request { what, head_only, keep_alive }, len))
}

fn what(path: &str, range: Option<ByteRange>) -> What {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if path == "/" {
        return What::List;
    }
    let number = path.strip_prefix('/').and_then(|path| path.split('/').next());
    let number = number.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| number.parse().ok()).map_or(What::Bad(404), |number| What::File(number, range))
}

/// One range of bytes. Several at once, other units and what cannot be understood are ignored, as RFC 9110 section 14.2
/// allows: the whole is the answer then.
fn parse_range(value: &str) -> Option<ByteRange> {
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (unit, range) = value.split_once('=')?;
    let (first, last) = range.trim().split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))?;
    match (first, last) {
        ("", count) => Some(ByteRange::Last(number(count)?)),
        (first, "") => Some(ByteRange::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::From(first, Some(last)))
        }
    }
}

/// Whether a host is this machine by a name that nobody else can give it.
fn is_own(host: &str, port: u16) -> bool {
    let (name, given) = host.rsplit_once(':').unwrap_or((host, "80"));
    given.parse() == Ok(port) && (name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost"))
}

/// As long as any player's head, and short enough to be kept for each connection.
pub(super) const MAX_HEAD: usize = 8 << 10;
const MAX_FIELDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> What {
        let text = format!("{text}\r\n\r\n");
        let (request, len) = parse(text.as_bytes(), 80).expect("it is whole");
        assert_eq!(len, text.len());
        request.what
    }

    fn range(value: &str) -> What {
        ask(&format!("GET /3/film.mkv HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: {value}"))
    }

    #[test]
    fn ranges_are_what_the_rfc_says() {
        for (value, expected, of_ten) in [
            ("bytes=0-4", ByteRange::From(0, Some(4)), Some(0..5)),
            ("bytes=5-", ByteRange::From(5, None), Some(5..10)),
            ("Bytes = 5-99", ByteRange::From(5, Some(99)), Some(5..10)),
            ("bytes=-3", ByteRange::Last(3), Some(7..10)),
            ("bytes=-99", ByteRange::Last(99), Some(0..10)),
            ("bytes=10-", ByteRange::From(10, None), None),
            ("bytes=-0", ByteRange::Last(0), None),
            ("bytes=0-18446744073709551615", ByteRange::From(0, Some(u64::MAX)), Some(0..10)),
        ] {
            assert_eq!(range(value), What::File(3, Some(expected)), "{value}");
            assert_eq!(expected.of(10), of_ten, "{value}");
        }
        for ignored in
            ["bytes=4-2", "bytes=0-1,3-4", "lines=0-1", "bytes=", "bytes=-", "bytes=+1-2", "bytes=a-b"]
        {
            assert_eq!(range(ignored), What::File(3, None), "{ignored}");
        }
        assert_eq!(ask("GET /0 HTTP/1.0\r\nRange: bytes=0-1\r\nIf-Range: \"x\""), What::File(0, None));
    }

    #[test]
    fn strangers_and_strange_requests_are_refused() {
        for (head, status) in [
            ("GET / HTTP/1.1\r\nHost: evil.example", 421),
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1:81", 421),
            ("GET / HTTP/1.1", 400),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost", 400),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5", 400),
            ("POST / HTTP/1.1\r\nHost: localhost", 405),
            ("GET /../etc HTTP/1.1\r\nHost: localhost", 404),
            ("GET /+1 HTTP/1.1\r\nHost: localhost", 404),
            ("GET / HTTP/1.1\r\nHost: localhost\r\n: x", 400),
        ] {
            assert_eq!(ask(head), What::Bad(status), "{head}");
        }
        assert_eq!(ask("GET /?x=1 HTTP/1.1\r\nHost: LocalHost:80"), What::List);
    }

    #[test]
    fn heads_without_end_are_refused_and_pieces_of_one_are_waited_for() {
        assert_eq!(parse(b"GET / HT", 80), None);
        let mut long = b"GET / HTTP/1.1\r\nA: ".to_vec();
        long.resize(MAX_HEAD, b'x');
        assert_eq!(parse(&long, 80).expect("it is refused").0.what, What::Bad(431));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(parse(many.as_bytes(), 80).expect("it is refused").0.what, What::Bad(431));
    }
}
