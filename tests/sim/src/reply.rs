//! Policy: an answer as a list of parts, made from a resource's behaviour and one request.

use crate::behaviour::{AfterReply, Cut, End, Framing, Ranges, Refusal, Resource, Version};
use crate::content::Content;
use crate::request::Request;
use bytes::Bytes;
use core::fmt::Write as _;
use core::ops::Range;
use core::time::Duration;
use gosh_dl_core::base::{Instant, WallClock};

/// A part of an answer, in order. A test may write its own lists with [`Resource::scripted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes, whatever they are.
    Bytes(Bytes),
    /// A part of a content, counted as content sent.
    Content {
        /// Of what.
        content: Content,
        /// Which part.
        range: Range<u64>,
    },
    /// A part of a content in chunks, without the last chunk.
    Chunks {
        /// Of what.
        content: Content,
        /// Which part.
        range: Range<u64>,
        /// Bytes per chunk.
        size: u64,
        /// Stands behind each size.
        extension: &'static str,
    },
    /// Nothing for this long.
    Wait(Duration),
    /// From here on this many bytes per second.
    Rate(u64),
    /// The answer breaks off after this many bytes from here.
    CutAfter(u64, End),
    /// The answer breaks off here.
    End(End),
}

impl Part {
    /// Bytes of a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Bytes(Bytes::from(text.into()))
    }
}

/// What a resource answers, and the status.
pub(crate) fn reply(
    resource: &mut Resource,
    request: &Request,
    now: Instant,
    wall: &WallClock,
) -> (u16, Vec<Part>) {
    let before = resource.requests;
    resource.requests += 1;
    if let Some(script) = &mut resource.script {
        return (0, script.answer(request, before));
    }
    let resource = &*resource;
    let behaviour = &resource.behaviour;
    let refusal = behaviour.first.get(usize::try_from(before).unwrap_or(usize::MAX));
    let expired = behaviour.expires.filter(|(at, _)| *at <= now).map(|(_, status)| Refusal::new(status));
    if let Some(refusal) = refusal.or(behaviour.always.as_ref()).or(expired.as_ref()) {
        return (refusal.status, refuse(resource, refusal, now, wall));
    }
    if behaviour.pages.contains(&before) {
        return (200, refuse(resource, &Refusal::new(200), now, wall));
    }
    let version = resource.current(now);
    let plan = Plan::new(resource, version, request);
    let mut parts = lead(resource);
    parts.push(Part::text(plan.head(resource, version, now, wall)));
    if let Some(cut) = behaviour.cut.filter(|cut| before < cut.answers) {
        parts.push(Part::CutAfter(cut.after, cut.end));
    }
    let status = plan.status;
    if request.method != "HEAD" {
        plan.body(resource, &mut parts);
    }
    if behaviour.after != AfterReply::KeepAlive {
        parts.push(Part::End(End::Close));
    }
    (status, parts)
}

/// What is sent, before it is written down.
struct Plan {
    status: u16,
    /// Where `Content-Range` says the bytes stand; `None` leaves it out.
    label: Option<String>,
    sent: Range<u64>,
    content: Content,
}

impl Plan {
    fn new(resource: &Resource, version: &Version, request: &Request) -> Self {
        let (content, len) = (version.content.clone(), version.content.len());
        let whole = Self { status: 200, label: None, sent: 0..len, content: content.clone() };
        if request.header("if-match").is_some_and(|tag| Some(tag) != version.etag.as_deref()) {
            return Self { status: 412, sent: 0..0, ..whole };
        }
        let ranges = resource.behaviour.ranges;
        let Some(asked) = request.range().filter(|_| !matches!(ranges, Ranges::None | Ranges::Claimed))
        else {
            return whole;
        };
        if resource.behaviour.honours_if_range && !if_range_holds(request, version) {
            return whole;
        }
        if asked.start >= len || ranges == Ranges::Refused {
            return Self { status: 416, label: Some(format!("bytes */{len}")), sent: 0..0, content };
        }
        Self::partial(ranges, asked.start..asked.end.unwrap_or(len).min(len), content)
    }

    fn partial(ranges: Ranges, asked: Range<u64>, content: Content) -> Self {
        let len = content.len();
        let shift = |by: i64| move |at: u64| at.saturating_add_signed(by).min(len);
        let (mut sent, mut label, mut total) = (asked.clone(), asked.clone(), len.to_string());
        match ranges {
            Ranges::Shifted(by) => {
                sent = shift(by)(asked.start).min(len - 1)..shift(by)(asked.end).max(1);
                label = sent.clone();
            }
            Ranges::Mislabelled(by) => label = shift(by)(asked.start)..shift(by)(asked.end),
            Ranges::WrongBytes(by) => {
                let start = (asked.start + by).min(len - (asked.end - asked.start));
                sent = start..start + (asked.end - asked.start);
            }
            Ranges::WrongTotal(by) => total = shift_total(len, by).to_string(),
            Ranges::UnknownTotal => "*".clone_into(&mut total),
            Ranges::AtMost(most) => {
                sent.end = sent.end.min(sent.start + most);
                label = sent.clone();
            }
            _ => {}
        }
        let label = format!("bytes {}-{}/{total}", label.start, label.end.saturating_sub(1));
        let label = (ranges != Ranges::Unlabelled).then_some(label);
        Self { status: 206, label, sent, content }
    }

    fn head(&self, resource: &Resource, version: &Version, now: Instant, wall: &WallClock) -> String {
        let behaviour = &resource.behaviour;
        let mut head = start(self.status, now, wall);
        if behaviour.ranges != Ranges::None {
            head += "Accept-Ranges: bytes\r\n";
        }
        field(&mut head, "ETag", version.etag.as_deref());
        field(&mut head, "Last-Modified", version.last_modified.as_deref());
        field(&mut head, "Content-Range", self.label.as_deref());
        let len = self.sent.end - self.sent.start;
        match &behaviour.framing {
            _ if self.status >= 400 => field(&mut head, "Content-Length", Some("0")),
            Framing::Length => field(&mut head, "Content-Length", Some(&len.to_string())),
            Framing::WrongLength(by) => {
                field(&mut head, "Content-Length", Some(&shift_total(len, *by).to_string()));
            }
            Framing::Chunked { .. } | Framing::BrokenChunks(_) => {
                field(&mut head, "Transfer-Encoding", Some("chunked"));
            }
            Framing::UntilClose => field(&mut head, "Connection", Some("close")),
        }
        if behaviour.after == AfterReply::Close && behaviour.framing != Framing::UntilClose {
            field(&mut head, "Connection", Some("close"));
        }
        for (name, value) in &behaviour.headers {
            field(&mut head, name, Some(value));
        }
        head + "\r\n"
    }

    fn body(self, resource: &Resource, parts: &mut Vec<Part>) {
        let Self { sent: range, content, status, .. } = self;
        if status >= 400 {
            return;
        }
        if let Some(rate) = resource.behaviour.rate {
            parts.push(Part::Rate(rate));
        }
        match &resource.behaviour.framing {
            Framing::Length => parts.push(Part::Content { content, range }),
            Framing::WrongLength(_) | Framing::UntilClose => {
                parts.push(Part::Content { content, range });
                parts.push(Part::End(End::Close));
            }
            Framing::Chunked { size, extension, trailers } => {
                parts.push(Part::Chunks { content, range, size: *size, extension });
                let mut tail = "0\r\n".to_owned();
                trailers.iter().for_each(|(name, value)| field(&mut tail, name, Some(value)));
                parts.push(Part::text(tail + "\r\n"));
            }
            Framing::BrokenChunks(after) => {
                let range = range.start..range.end.min(range.start + after);
                parts.push(Part::Chunks { content, range, size: 1000, extension: "" });
                parts.push(Part::text("xyz\r\n"));
            }
        }
    }
}

/// RFC 9110 section 13.1.5: a strong ETag or a date, equal to the letter.
fn if_range_holds(request: &Request, version: &Version) -> bool {
    request.header("if-range").is_none_or(|validator| {
        let strong = version.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        Some(validator) == strong || Some(validator) == version.last_modified.as_deref()
    })
}

fn lead(resource: &Resource) -> Vec<Part> {
    let behaviour = &resource.behaviour;
    let mut parts = Vec::new();
    if !behaviour.delay.is_zero() {
        parts.push(Part::Wait(behaviour.delay));
    }
    for status in &behaviour.interim {
        parts.push(Part::text(format!("HTTP/1.1 {status} Wait\r\nX-Interim: yes\r\n\r\n")));
    }
    parts
}

fn refuse(resource: &Resource, refusal: &Refusal, now: Instant, wall: &WallClock) -> Vec<Part> {
    let mut head = start(refusal.status, now, wall);
    for (name, value) in &refusal.headers {
        field(&mut head, name, Some(value));
    }
    if let Some(ahead) = refusal.retry_at {
        field(&mut head, "Retry-After", Some(&date(wall.unix_seconds(now + ahead))));
    }
    field(&mut head, "Content-Type", Some("text/html"));
    field(&mut head, "Content-Length", Some(&refusal.body.len().to_string()));
    let mut parts = lead(resource);
    parts.push(Part::text(head + "\r\n" + refusal.body));
    parts
}

/// A refusal without a resource behind it.
pub(crate) fn plain(status: u16, now: Instant, wall: &WallClock) -> Vec<Part> {
    let head = start(status, now, wall);
    vec![Part::text(head + "Content-Length: 0\r\n\r\n")]
}

fn start(status: u16, now: Instant, wall: &WallClock) -> String {
    format!("HTTP/1.1 {status} Status\r\nDate: {}\r\n", date(wall.unix_seconds(now)))
}

fn field(head: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        // Writing to a string cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
}

fn date(unix_seconds: u64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(unix_seconds))
}

fn shift_total(len: u64, by: i64) -> u64 {
    len.saturating_add_signed(by)
}

impl Cut {
    /// Every answer breaks off after `after` bytes behind its head.
    pub const fn always(after: u64, end: End) -> Self {
        Self { answers: u64::MAX, after, end }
    }

    /// The first answer breaks off after `after` bytes behind its head.
    pub const fn once(after: u64, end: End) -> Self {
        Self { answers: 1, after, end }
    }
}
