//! Policy: how an HTTP origin treats requests for one resource: honestly, clumsily or with malice.

use crate::content::Content;
use crate::reply::Part;
use crate::request::Request;
use core::fmt;
use core::ops::Range;
use core::time::Duration;
use gosh_dl_core::base::Instant;

/// Something at one target of a host: its versions, and how requests for it are answered.
///
/// ```
/// use gosh_dl_sim::{Behaviour, Content, Framing, Resource};
///
/// let file = Resource::new(Content::generated(1, 1 << 20))
///     .behave(Behaviour { framing: Framing::UntilClose, ..Behaviour::default() });
/// assert_eq!(file.versions[0].etag.as_deref(), Some("\"v1\""));
/// ```
#[derive(Debug)]
pub struct Resource {
    /// In the order in which they replace each other.
    pub versions: Vec<Version>,
    /// How requests are answered.
    pub behaviour: Behaviour,
    /// Answers instead of everything else.
    pub script: Option<Script>,
    /// How many requests came.
    pub requests: u64,
    /// How many content bytes were sent.
    pub bytes: u64,
}

/// One version of a resource.
#[derive(Clone, Debug)]
pub struct Version {
    /// From when on it is what is served.
    pub since: Since,
    /// Its bytes.
    pub content: Content,
    /// Its `ETag`, quotes included.
    pub etag: Option<String>,
    /// Its `Last-Modified`.
    pub last_modified: Option<String>,
}

/// When a version replaces the one before it. Answers that have begun go on with the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From the beginning.
    Start,
    /// From this instant.
    At(Instant),
    /// Once this many content bytes were sent.
    Bytes(u64),
    /// Once this many requests were answered.
    Requests(u64),
}

/// Answers requests with a script of its own; the number counts the requests before.
pub struct Script(Box<Answer>);

type Answer = dyn FnMut(&Request, u64) -> Vec<Part>;

impl Resource {
    /// One version with a strong ETag and a date, honestly served.
    pub fn new(content: Content) -> Self {
        let version = Version {
            since: Since::Start,
            content,
            etag: Some("\"v1\"".to_owned()),
            last_modified: Some("Mon, 01 Jan 2024 00:00:00 GMT".to_owned()),
        };
        Self { versions: vec![version], behaviour: Behaviour::default(), script: None, requests: 0, bytes: 0 }
    }

    /// A redirect to `location`.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::refusal(Refusal::new(status).header("Location", location))
    }

    /// Always the same refusal.
    pub fn refusal(refusal: Refusal) -> Self {
        Self::new(Content::from("")).behave(Behaviour { always: Some(refusal), ..Behaviour::default() })
    }

    /// Answers by a function of the request and of how many came before.
    pub fn scripted(script: impl FnMut(&Request, u64) -> Vec<Part> + 'static) -> Self {
        Self { script: Some(Script(Box::new(script))), ..Self::new(Content::from("")) }
    }

    /// Sets the behaviour.
    #[must_use]
    pub fn behave(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    /// Sets the validators of the last version.
    #[must_use]
    pub fn validators(mut self, etag: Option<&str>, last_modified: Option<&str>) -> Self {
        if let Some(version) = self.versions.last_mut() {
            version.etag = etag.map(str::to_owned);
            version.last_modified = last_modified.map(str::to_owned);
        }
        self
    }

    /// Adds a version, with an ETag and a date of its own.
    #[must_use]
    pub fn then(mut self, since: Since, content: Content) -> Self {
        let number = self.versions.len() + 1;
        self.versions.push(Version {
            since,
            content,
            etag: Some(format!("\"v{number}\"")),
            last_modified: Some(format!("Tue, 02 Jan 2024 00:00:{number:02} GMT")),
        });
        self
    }

    /// The version that is served now.
    pub fn current(&self, now: Instant) -> &Version {
        let due = |version: &&Version| match version.since {
            Since::Start => true,
            Since::At(at) => at <= now,
            Since::Bytes(bytes) => bytes <= self.bytes,
            Since::Requests(requests) => requests < self.requests,
        };
        self.versions.iter().rfind(due).unwrap_or(&self.versions[0])
    }
}

impl Script {
    pub(crate) fn answer(&mut self, request: &Request, before: u64) -> Vec<Part> {
        (self.0)(request, before)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

/// How requests are answered. The default is honest.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// What a range request gets.
    pub ranges: Ranges,
    /// Whether `If-Range` is looked at.
    pub honours_if_range: bool,
    /// How the body's end is marked.
    pub framing: Framing,
    /// Whether and where answers break off.
    pub cut: Option<Cut>,
    /// Interim answers (1xx) before each answer.
    pub interim: Vec<u16>,
    /// Given to the first requests, one each, before anything else.
    pub first: Vec<Refusal>,
    /// Given to every request.
    pub always: Option<Refusal>,
    /// From then on the URL has expired, and every request gets this status.
    pub expires: Option<(Instant, u16)>,
    /// These requests (the first is 0) get a page that says sorry, with status 200 and no validators.
    pub pages: Range<u64>,
    /// How long the head takes.
    pub delay: Duration,
    /// Bytes per second and connection; `None` is as fast as the line.
    pub rate: Option<u64>,
    /// Further fields of every head with content.
    pub headers: Vec<(String, String)>,
    /// What becomes of the connection after an answer.
    pub after: AfterReply,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            ranges: Ranges::Honest,
            honours_if_range: true,
            framing: Framing::Length,
            cut: None,
            interim: Vec::new(),
            first: Vec::new(),
            always: None,
            expires: None,
            pages: 0..0,
            delay: Duration::ZERO,
            rate: None,
            headers: Vec::new(),
            after: AfterReply::KeepAlive,
        }
    }
}

/// What a range request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// 206 with what was asked for.
    Honest,
    /// 200 with the whole; no `Accept-Ranges` anywhere.
    None,
    /// 200 with the whole, although `Accept-Ranges: bytes` stands in every head.
    Claimed,
    /// 206 with a range that lies this many bytes further on, and says so.
    Shifted(i64),
    /// 206 with the bytes that were asked for, under a `Content-Range` that lies this many bytes further on.
    Mislabelled(i64),
    /// 206 with bytes from this much further on, under the `Content-Range` that was asked for.
    WrongBytes(u64),
    /// 206 with a total length that differs by this much.
    WrongTotal(i64),
    /// 206 with an unknown total length (`bytes 0-9/*`).
    UnknownTotal,
    /// 206 without `Content-Range`.
    Unlabelled,
    /// 206 with at most this many bytes of what was asked for, and says so.
    AtMost(u64),
    /// 416 to every range.
    Refused,
}

/// How the body's end is marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    Length,
    /// `Content-Length` that differs from what is sent by this much: more is a body cut short, less one too long.
    WrongLength(i64),
    /// Chunked transfer coding.
    Chunked {
        /// Bytes per chunk.
        size: u64,
        /// Stands behind each size, with its semicolon.
        extension: &'static str,
        /// Fields after the last chunk.
        trailers: Vec<(String, String)>,
    },
    /// Chunked, with something that is no size after this many bytes.
    BrokenChunks(u64),
    /// The connection is closed after the body.
    UntilClose,
}

/// Where answers break off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many answers, from the first on, break off.
    pub answers: u64,
    /// After how many bytes behind the head.
    pub after: u64,
    /// How.
    pub end: End,
}

/// How an answer breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection is closed in an orderly way.
    Close,
    /// The connection is reset.
    Reset,
    /// Nothing more comes.
    Stall,
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterReply {
    /// It waits for the next request.
    KeepAlive,
    /// It is closed, as `Connection: close` in the head said.
    Close,
    /// It is closed, although nothing said so.
    CloseSilently,
}

/// An answer without the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// Fields of the head.
    pub headers: Vec<(String, String)>,
    /// `Retry-After` as a date that lies this far ahead.
    pub retry_at: Option<Duration>,
    /// The body.
    pub body: &'static str,
}

impl Refusal {
    /// This status with a short page.
    pub const fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), retry_at: None, body: "<html>sorry</html>" }
    }

    /// Adds a field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header("Retry-After", &seconds.to_string())
    }

    /// `Retry-After` as a date.
    #[must_use]
    pub fn retry_at(mut self, ahead: Duration) -> Self {
        self.retry_at = Some(ahead);
        self
    }
}
