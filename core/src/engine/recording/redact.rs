//! Policy: what of a recording is nobody's business, and what stands in its place: as many bytes, so that nothing that
//! depends on lengths comes out differently.
//!
//! Gone are the user-info of URLs, the values of headers and cookies that a user gave, and cookies that a server sets.
//! The rest of a URL stays: its path and query lead to the decisions that a recording is to show.

use crate::download::DownloadOptions;
use crate::engine::RESERVED_HEADERS;
use crate::engine::record::DownloadRecord;

/// A URL without its user-info.
pub(super) fn url(url: &str) -> String {
    let Some(start) = url.find("://").map(|at| at + 3) else { return url.to_owned() };
    let authority = url[start..].split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let Some(len) = authority.rfind('@') else { return url.to_owned() };
    let (scheme, rest) = url.split_at(start);
    format!("{scheme}{}{}", user_info(&rest[..len]), &rest[len..])
}

/// An escaped byte stays an escaped byte, because it counts as one where the user-info is sent.
fn user_info(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        let escaped =
            text.as_bytes().get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        match byte {
            b':' => masked.push(':'),
            b'%' if escaped => {
                masked.push_str("%78");
                bytes.nth(1);
            }
            _ => masked.push('x'),
        }
    }
    masked
}

/// Options without what a user keeps from others.
pub(super) fn options(options: &mut DownloadOptions) {
    options.mirrors.iter_mut().for_each(|mirror| *mirror = url(mirror));
    options.referer = options.referer.as_deref().map(url);
    options.headers.iter_mut().for_each(|(_, value)| *value = "x".repeat(value.len()));
    for cookie in options.cookies.iter_mut().flatten() {
        let name = cookie.find('=').map_or(0, |at| at + 1);
        *cookie = format!("{}{}", &cookie[..name], "x".repeat(cookie.len() - name));
    }
}

/// A record of a download; one that cannot be read stays as it is, since no engine starts on it.
pub(super) fn record(value: &[u8]) -> Vec<u8> {
    let Ok(mut record) = DownloadRecord::decode(value) else { return value.to_vec() };
    record.url = url(&record.url);
    options(&mut record.options);
    record.encode()
}

/// The head of a request with the values of those headers only that the engine decides.
pub(super) fn request(head: &[u8]) -> Vec<u8> {
    let mut masked = Vec::with_capacity(head.len());
    for (number, line) in head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let colon = line.iter().position(|byte| *byte == b':');
        let known =
            |name: &[u8]| RESERVED_HEADERS.iter().any(|ours| ours.as_bytes().eq_ignore_ascii_case(name));
        match colon {
            Some(at) if number > 0 && !known(&line[..at]) => {
                masked.extend_from_slice(&line[..=at]);
                masked.extend(line[at + 1..].iter().map(|&byte| if is_line_end(byte) { byte } else { b'x' }));
            }
            _ => masked.extend_from_slice(line),
        }
    }
    masked
}

/// Finds the values of `Set-Cookie` in what a server sends, wherever that is cut.
#[derive(Clone, Debug, Default)]
pub(super) struct CookieMask {
    /// How many bytes of the name this line has matched; `None` where it is another line.
    matched: Option<usize>,
}

impl CookieMask {
    /// Masks one byte that comes next.
    pub(super) fn mask(&mut self, byte: &mut u8) {
        if *byte == b'\n' {
            self.matched = Some(0);
        } else if self.matched == Some(SET_COOKIE.len()) {
            if !is_line_end(*byte) {
                *byte = b'x';
            }
        } else {
            let at = self.matched.filter(|at| SET_COOKIE[*at] == byte.to_ascii_lowercase());
            self.matched = at.map(|at| at + 1);
        }
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

const SET_COOKIE: &[u8] = b"set-cookie:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_info_is_masked_and_nothing_else() {
        assert_eq!(url("http://me:s%41cret@h/p@q?a=b@c"), "http://xx:x%78xxxx@h/p@q?a=b@c");
        for same in ["http://h/a@b", "https://h?x@y", "nonsense@", "http://h/"] {
            assert_eq!(url(same), same);
        }
        assert_eq!(url(&url("http://me:pw@h/")), url("http://me:pw@h/"));
    }

    #[test]
    fn a_user_s_own_values_are_masked_with_their_length() {
        let mut given = DownloadOptions::new()
            .header("Authorization", "Bearer abc")
            .cookies(vec!["session=abc".to_owned()])
            .mirror("http://a:b@h/f");
        options(&mut given);
        assert_eq!(given.headers, [("Authorization".to_owned(), "xxxxxxxxxx".to_owned())]);
        assert_eq!(given.cookies, Some(vec!["session=xxx".to_owned()]));
        assert_eq!(given.mirrors, ["http://x:x@h/f"]);
    }

    #[test]
    fn a_request_keeps_what_the_engine_decides() {
        let head = b"GET /a:b HTTP/1.1\r\nHost: h:1\r\nRange: bytes=0-9\r\nAuthorization: Basic eA\r\n\r\n";
        let expected =
            b"GET /a:b HTTP/1.1\r\nHost: h:1\r\nRange: bytes=0-9\r\nAuthorization:xxxxxxxxx\r\n\r\n";
        assert_eq!(request(head), expected);
    }

    #[test]
    fn cookies_of_a_server_are_masked_wherever_the_head_is_cut() {
        let mut head = b"HTTP/1.1 200 OK\r\nset-Cookie: a=b\r\nETag: set-cookie: x\r\n\r\n".to_vec();
        let mut mask = CookieMask::default();
        head.iter_mut().for_each(|byte| mask.mask(byte));
        assert_eq!(head, b"HTTP/1.1 200 OK\r\nset-Cookie:xxxx\r\nETag: set-cookie: x\r\n\r\n");
    }
}
