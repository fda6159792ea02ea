//! What a server saw: its access log, request by request.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The `log_format` that [`read`] reads.
pub const FORMAT: &str = "$status $body_bytes_sent $connection $request_method $uri";

/// One request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The status code of the answer.
    pub status: u16,
    /// Bytes of body given to the kernel.
    pub body: u64,
    /// Names the connection.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
}

/// Every request of a log.
pub fn read(path: &Path) -> Vec<Request> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

/// Bytes of bodies that carried content.
pub fn content(requests: &[Request]) -> u64 {
    requests.iter().filter(|request| matches!(request.status, 200 | 206)).map(|request| request.body).sum()
}

/// How many connections the requests came over.
pub fn connections(requests: &[Request]) -> usize {
    requests.iter().map(|request| request.connection).collect::<BTreeSet<_>>().len()
}

fn parse(line: &str) -> Option<Request> {
    let mut words = line.split(' ');
    Some(Request {
        status: words.next()?.parse().ok()?,
        body: words.next()?.parse().ok()?,
        connection: words.next()?.parse().ok()?,
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_summed() {
        let requests: Vec<Request> = ["206 100 1 GET /a", "404 7 1 GET /b", "200 5 2 GET /c", "junk"]
            .iter()
            .filter_map(|line| parse(line))
            .collect();
        assert_eq!((requests.len(), content(&requests), connections(&requests)), (3, 105, 2));
    }
}
