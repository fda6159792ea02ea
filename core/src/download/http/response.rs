//! Policy: what an answer means for the request it answers. Pure judgement; acting on it is the download's.

use crate::base::mutants::{self, Mutant};
use crate::download::error::{BadResponse, is_transient};
use crate::wire::http::{ContentRange, DecodeError, ResponseHead, RetryAfter, Validator};
use core::ops::Range;

/// What was asked for and what is known of the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The range that was asked for: `start..u64::MAX` for an open end; `None` where the request had no `Range`.
    pub range: Option<Range<u64>>,
    /// The length of the file, once known.
    pub total: Option<u64>,
    /// The validator that this mirror sent before, if any.
    pub validator: Option<Validator>,
}

/// What the answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The range that was asked for, or the beginning of it; of a file of `total` bytes.
    Partial {
        /// The bytes that follow.
        range: Range<u64>,
        /// The length of the file.
        total: Option<u64>,
    },
    /// The whole file from its first byte. `total` is unknown where it ends with the connection or is chunked.
    Whole {
        /// The length of the file.
        total: Option<u64>,
    },
    /// The file has no bytes.
    Empty,
    /// Somewhere else.
    Redirect(String),
    /// Not now.
    Retry(Option<RetryAfter>),
    /// No.
    Refused,
    /// The server does not take the `Range`; without one it may answer.
    RangeRefused,
    /// It is another version of the file than before.
    Changed,
    /// It breaks HTTP.
    Invalid(DecodeError),
    /// It contradicts the request or itself.
    Bad(BadResponse),
}

/// Judges the head of an answer.
pub fn judge(expected: &Expectation, head: &ResponseHead) -> Verdict {
    match head.status {
        200 | 203 => whole(expected, head).unwrap_or_else(Verdict::Invalid),
        206 => partial(expected, head).unwrap_or_else(Verdict::Invalid),
        204 | 205 => Verdict::Bad(BadResponse::LengthMismatch),
        301 | 302 | 303 | 307 | 308 => {
            head.location().map_or(Verdict::Bad(BadResponse::NoLocation), Verdict::Redirect)
        }
        416 => unsatisfiable(expected, head),
        400 | 501 if expected.range.is_some() => Verdict::RangeRefused,
        status if is_transient(status) => Verdict::Retry(head.retry_after()),
        _ => Verdict::Refused,
    }
}

fn whole(expected: &Expectation, head: &ResponseHead) -> Result<Verdict, DecodeError> {
    if !head.content_encoding_is_identity() {
        return Ok(Verdict::Bad(BadResponse::Encoded));
    }
    let total = if head.is_chunked()? { None } else { head.content_length()? };
    let other_length = matches!((total, expected.total), (Some(a), Some(b)) if a != b);
    if other_length || differs(expected, head) {
        return Ok(Verdict::Changed);
    }
    Ok(if total == Some(0) { Verdict::Empty } else { Verdict::Whole { total } })
}

fn partial(expected: &Expectation, head: &ResponseHead) -> Result<Verdict, DecodeError> {
    let Some(asked) = &expected.range else { return Ok(Verdict::Bad(BadResponse::WrongRange)) };
    if !head.content_encoding_is_identity() {
        return Ok(Verdict::Bad(BadResponse::Encoded));
    }
    let Some(ContentRange { range: Some(range), total }) = head.content_range()? else {
        return Ok(Verdict::Bad(BadResponse::NoContentRange));
    };
    if matches!((total, expected.total), (Some(a), Some(b)) if a != b) || differs(expected, head) {
        return Ok(Verdict::Changed);
    }
    if expected.validator.as_ref().is_some_and(|known| known.etag.is_some())
        && head.validator().etag.is_none()
    {
        // RFC 9110 section 15.3.7: a 206 carries the ETag that a 200 would have, also with `If-Range`.
        return Ok(Verdict::Bad(BadResponse::NoValidator));
    }
    let beyond = total.or(expected.total).is_some_and(|total| range.end > total);
    let range = if mutants::is(Mutant::IgnoreRange) {
        asked.start..asked.start + (range.end - range.start)
    } else {
        range
    };
    if range.start != asked.start || range.end > asked.end || beyond || range.is_empty() {
        return Ok(Verdict::Bad(BadResponse::WrongRange));
    }
    let length = if head.is_chunked()? { None } else { head.content_length()? };
    if length.is_some_and(|length| length != range.end - range.start) {
        return Ok(Verdict::Bad(BadResponse::LengthMismatch));
    }
    Ok(Verdict::Partial { range, total: total.or(expected.total) })
}

/// RFC 9110 section 15.5.17: a 416 may say how long the file is.
fn unsatisfiable(expected: &Expectation, head: &ResponseHead) -> Verdict {
    let total = head.content_range().ok().flatten().and_then(|range| range.total);
    match (total, expected.total) {
        (Some(0), None | Some(0)) => Verdict::Empty,
        (Some(total), Some(known)) if total != known => Verdict::Changed,
        _ if expected.range.is_some() => Verdict::RangeRefused,
        _ => Verdict::Refused,
    }
}

/// Whether the answer's validator says that it is another version. Every part must carry the same; one that is left
/// out says nothing.
fn differs(expected: &Expectation, head: &ResponseHead) -> bool {
    let Some(known) = expected.validator.as_ref().filter(|_| !mutants::is(Mutant::IgnoreValidator)) else {
        return false;
    };
    let new = head.validator();
    match (&known.etag, &new.etag) {
        (Some(a), Some(b)) => a != b,
        _ => matches!((&known.last_modified, &new.last_modified), (Some(a), Some(b)) if a != b),
    }
}

/// Whether two mirrors may send parts of one file: one validator that both have is the same, or neither has any.
pub fn same_file(a: &Validator, b: &Validator) -> bool {
    if mutants::is(Mutant::IgnoreValidator) {
        return true;
    }
    let none = |v: &Validator| v.etag.is_none() && v.last_modified.is_none();
    let equal = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
    equal(&a.etag, &b.etag) || equal(&a.last_modified, &b.last_modified) || (none(a) && none(b))
}
