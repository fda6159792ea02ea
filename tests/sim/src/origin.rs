//! Machine: one connection as an HTTP/1.1 origin sees it. Bytes of requests go in, bytes of answers are pulled out.

use crate::behaviour::End;
use crate::content::Content;
use crate::reply::Part;
use crate::request::Request;
use bytes::Bytes;
use core::ops::Range;
use core::time::Duration;
use gosh_dl_core::base::Instant;
use std::collections::VecDeque;

/// The server's end of a connection.
#[derive(Debug, Default)]
pub struct Connection {
    buffer: Vec<u8>,
    parts: VecDeque<Part>,
    target: String,
    wait: Option<Instant>,
    rate: Option<u64>,
    budget: Option<(u64, End)>,
    silent: bool,
    /// When the server loses patience with a connection that asks for nothing.
    patience: Option<Instant>,
}

/// What comes out when bytes are pulled.
#[derive(Debug, PartialEq)]
pub enum Pull {
    /// Bytes to send.
    Data {
        /// The bytes.
        bytes: Bytes,
        /// Bytes per second at which this connection is served.
        rate: Option<u64>,
        /// Which part of the content it is, if it is content.
        content: Option<Range<u64>>,
    },
    /// Nothing before this instant.
    Until(Instant),
    /// Nothing before the next request.
    Idle,
    /// The connection is closed; on TLS with `close_notify`.
    Close,
    /// The connection is reset.
    Reset,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(now: Instant, idle_timeout: Option<Duration>) -> Self {
        Self { patience: idle_timeout.map(|length| now + length), ..Self::default() }
    }

    /// Takes bytes in; a request where one is whole.
    ///
    /// # Panics
    ///
    /// Where the request is illegal, or comes before an honest answer to the one before it is complete.
    pub fn handle_data(&mut self, bytes: &[u8]) -> Option<Request> {
        self.buffer.extend_from_slice(bytes);
        let request = Request::take(&mut self.buffer)?;
        if self.parts.iter().any(|part| matches!(part, Part::End(_))) || self.silent {
            // The answer was going to break off or to run over, which the engine cannot know.
            return None;
        }
        assert!(self.parts.is_empty(), "a request before the last answer is complete");
        assert!(self.buffer.is_empty(), "bytes behind a request: {:?}", self.buffer);
        self.target.clone_from(&request.target);
        self.patience = None;
        Some(request)
    }

    /// Begins to answer.
    pub fn answer(&mut self, parts: Vec<Part>) {
        self.parts = parts.into();
        self.rate = None;
        self.budget = None;
    }

    /// What is being answered.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Pulls at most `max` bytes (1 or more). `idle_timeout` starts when an answer is complete.
    pub fn pull(&mut self, now: Instant, max: u64, idle_timeout: Option<Duration>) -> Pull {
        loop {
            if self.silent {
                return Pull::Idle;
            }
            if let Some(until) = self.wait.filter(|until| *until > now) {
                return Pull::Until(until);
            }
            if let Some((0, end)) = self.budget {
                self.parts = [Part::End(end)].into();
                self.budget = None;
            }
            let Some(part) = self.parts.pop_front() else { return self.idle(now) };
            let max = self.budget.map_or(max, |(left, _)| left.min(max));
            let pull = self.pull_part(now, part, max);
            if self.parts.is_empty() {
                self.patience = idle_timeout.map(|length| now + length);
            }
            if let Some(pull) = pull {
                return pull;
            }
        }
    }

    fn idle(&mut self, now: Instant) -> Pull {
        match self.patience {
            Some(until) if until <= now => Pull::Close,
            Some(until) => Pull::Until(until),
            None => Pull::Idle,
        }
    }

    fn pull_part(&mut self, now: Instant, part: Part, max: u64) -> Option<Pull> {
        match part {
            Part::Bytes(bytes) if bytes.is_empty() => None,
            Part::Bytes(mut bytes) => {
                let taken = bytes.split_to(bytes.len().min(max as usize));
                if !bytes.is_empty() {
                    self.parts.push_front(Part::Bytes(bytes));
                }
                Some(self.data(taken, None))
            }
            Part::Content { range, .. } if range.is_empty() => None,
            Part::Content { content, range } => {
                let taken = range.start..range.end.min(range.start + max);
                if taken.end < range.end {
                    let range = taken.end..range.end;
                    self.parts.push_front(Part::Content { content: content.clone(), range });
                }
                Some(self.data(content.slice(taken.clone()), Some(taken)))
            }
            Part::Chunks { content, range, size, extension } => {
                self.next_chunk(content, range, size, extension);
                None
            }
            Part::Wait(length) => {
                self.wait = Some(now + length);
                None
            }
            Part::Rate(rate) => {
                self.rate = Some(rate);
                None
            }
            Part::CutAfter(bytes, end) => {
                self.budget = Some((bytes, end));
                None
            }
            Part::End(End::Stall) => {
                self.silent = true;
                Some(Pull::Idle)
            }
            Part::End(End::Close) => Some(Pull::Close),
            Part::End(End::Reset) => Some(Pull::Reset),
        }
    }

    fn next_chunk(&mut self, content: Content, range: Range<u64>, size: u64, extension: &'static str) {
        if range.is_empty() {
            return;
        }
        let end = range.end.min(range.start + size.max(1));
        if end < range.end {
            let rest = end..range.end;
            self.parts.push_front(Part::Chunks { content: content.clone(), range: rest, size, extension });
        }
        self.parts.push_front(Part::Bytes(Bytes::from_static(b"\r\n")));
        self.parts.push_front(Part::Content { content, range: range.start..end });
        self.parts.push_front(Part::text(format!("{:x}{extension}\r\n", end - range.start)));
    }

    fn data(&mut self, bytes: Bytes, content: Option<Range<u64>>) -> Pull {
        if let Some((left, _)) = &mut self.budget {
            *left = left.saturating_sub(bytes.len() as u64);
        }
        Pull::Data { bytes, rate: self.rate, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::{Behaviour, Cut, Framing, Ranges, Resource};
    use gosh_dl_core::base::WallClock;

    const WALL: WallClock = WallClock::new(Instant::ZERO, 1_700_000_000_000);

    /// Everything that a resource answers to one request, and how it ends.
    fn talk(resource: &mut Resource, fields: &str) -> (String, Pull) {
        let mut connection = Connection::new(Instant::ZERO, None);
        let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let request = connection.handle_data(bytes.as_bytes()).unwrap();
        connection.answer(crate::reply::reply(resource, &request, Instant::ZERO, &WALL).1);
        let mut text = String::new();
        loop {
            match connection.pull(Instant::ZERO, 7, None) {
                Pull::Data { bytes, .. } => text += std::str::from_utf8(&bytes).unwrap(),
                end => return (text, end),
            }
        }
    }

    fn hello(behaviour: Behaviour) -> Resource {
        Resource::new(Content::from("hello world")).behave(behaviour)
    }

    #[test]
    fn range_gets_its_bytes_and_says_which() {
        let (text, end) = talk(&mut hello(Behaviour::default()), "Range: bytes=6-\r\n");
        assert!(text.starts_with("HTTP/1.1 206 "), "{text}");
        assert!(text.contains("\r\nContent-Range: bytes 6-10/11\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nworld"), "{text}");
        assert_eq!(end, Pull::Idle);
    }

    #[test]
    fn range_of_an_older_version_gets_the_whole_of_the_new_one() {
        let (text, _) = talk(&mut hello(Behaviour::default()), "Range: bytes=6-\r\nIf-Range: \"v0\"\r\n");
        assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\nhello world"), "{text}");
    }

    #[test]
    fn range_beyond_the_end_is_refused_with_the_length() {
        let (text, _) = talk(&mut hello(Behaviour::default()), "Range: bytes=11-\r\n");
        assert!(text.starts_with("HTTP/1.1 416 ") && text.contains("Content-Range: bytes */11"), "{text}");
    }

    #[test]
    fn misbehaving_ranges_say_what_they_say() {
        let answer = |ranges| {
            let mut resource = hello(Behaviour { ranges, ..Behaviour::default() });
            talk(&mut resource, "Range: bytes=2-4\r\n").0
        };
        assert!(answer(Ranges::None).ends_with("hello world"));
        assert!(!answer(Ranges::None).contains("Accept-Ranges"));
        assert!(answer(Ranges::Claimed).contains("Accept-Ranges"));
        assert!(answer(Ranges::Shifted(1)).contains("bytes 3-5/11"));
        assert!(answer(Ranges::Shifted(1)).ends_with("\r\n\r\nlo "));
        assert!(answer(Ranges::Mislabelled(1)).contains("bytes 3-5/11"));
        assert!(answer(Ranges::Mislabelled(1)).ends_with("\r\n\r\nllo"));
        assert!(answer(Ranges::WrongBytes(1)).contains("bytes 2-4/11"));
        assert!(answer(Ranges::WrongBytes(1)).ends_with("\r\n\r\nlo "));
        assert!(answer(Ranges::WrongTotal(5)).contains("bytes 2-4/16"));
        assert!(answer(Ranges::UnknownTotal).contains("bytes 2-4/*"));
        assert!(!answer(Ranges::Unlabelled).contains("Content-Range"));
        assert!(answer(Ranges::AtMost(2)).contains("bytes 2-3/11"));
        assert!(answer(Ranges::Refused).starts_with("HTTP/1.1 416"));
    }

    #[test]
    fn chunks_have_extensions_and_trailers() {
        let trailers = vec![("X-Sum".to_owned(), "1".to_owned())];
        let framing = Framing::Chunked { size: 6, extension: ";a=b", trailers };
        let (text, end) = talk(&mut hello(Behaviour { framing, ..Behaviour::default() }), "");
        assert!(text.ends_with("6;a=b\r\nhello \r\n5;a=b\r\nworld\r\n0\r\nX-Sum: 1\r\n\r\n"), "{text}");
        assert_eq!(end, Pull::Idle);
    }

    #[test]
    fn cut_counts_from_behind_the_head() {
        let cut = Some(Cut::once(5, End::Reset));
        let mut resource = hello(Behaviour { cut, ..Behaviour::default() });
        let (text, end) = talk(&mut resource, "");
        assert!(text.ends_with("\r\n\r\nhello"), "{text}");
        assert_eq!(end, Pull::Reset);
        assert!(talk(&mut resource, "").0.ends_with("hello world"));
    }

    #[test]
    fn connection_without_requests_is_closed_in_the_end() {
        let second = Duration::from_secs(1);
        let mut connection = Connection::new(Instant::ZERO, Some(second));
        let until = Instant::ZERO + second;
        assert_eq!(connection.pull(Instant::ZERO, 1, Some(second)), Pull::Until(until));
        assert_eq!(connection.pull(until, 1, Some(second)), Pull::Close);
    }
}
