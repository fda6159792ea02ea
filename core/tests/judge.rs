//! What an answer means for its request: a table of cases, and answers that nobody would think of.

use gosh_dl_core::download::error::BadResponse;
use gosh_dl_core::download::http::response::{Expectation, Verdict, judge, same_file};
use gosh_dl_core::wire::http::{ResponseHead, RetryAfter, Validator};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::Range;

fn head(status: u16, headers: &str) -> ResponseHead {
    let text = format!("HTTP/1.1 {status} X\r\n{headers}\r\n");
    ResponseHead::decode(text.as_bytes()).expect("the head is well-formed")
}

fn ask(range: impl Into<Option<Range<u64>>>) -> Expectation {
    Expectation { range: range.into(), total: None, validator: None }
}

fn known(range: Range<u64>, total: u64) -> Expectation {
    Expectation { total: Some(total), ..ask(range) }
}

fn version(etag: &str) -> Validator {
    Validator { etag: Some(etag.to_owned()), last_modified: None }
}

fn partial(range: Range<u64>, total: u64) -> Verdict {
    Verdict::Partial { range, total: Some(total) }
}

fn bad(problem: BadResponse) -> Verdict {
    Verdict::Bad(problem)
}

#[track_caller]
fn case(expected: &Expectation, status: u16, headers: &str, verdict: Verdict) {
    assert_eq!(judge(expected, &head(status, headers)), verdict, "{status} {headers:?}");
}

#[test]
fn asked_range_may_come_whole_or_as_its_beginning() {
    let asked = known(10..20, 100);
    case(&asked, 206, "Content-Range: bytes 10-19/100\r\nContent-Length: 10\r\n", partial(10..20, 100));
    case(&asked, 206, "Content-Range: bytes 10-14/100\r\n", partial(10..15, 100));
    case(&asked, 206, "Content-Range: bytes 10-19/*\r\n", partial(10..20, 100));
    case(&ask(0..u64::MAX), 206, "Content-Range: bytes 0-99/100\r\n", partial(0..100, 100));
    let unknown = Verdict::Partial { range: 0..10, total: None };
    case(&ask(0..u64::MAX), 206, "Content-Range: bytes 0-9/*\r\n", unknown);
    case(
        &asked,
        206,
        "Content-Range: bytes 10-19/100\r\nTransfer-Encoding: chunked\r\n",
        partial(10..20, 100),
    );
}

#[test]
fn other_ranges_are_wrong() {
    let asked = known(10..20, 100);
    for range in ["9-19", "11-19", "10-20", "0-9", "90-99"] {
        let headers = format!("Content-Range: bytes {range}/100\r\n");
        case(&asked, 206, &headers, bad(BadResponse::WrongRange));
    }
    case(&ask(None), 206, "Content-Range: bytes 0-9/10\r\n", bad(BadResponse::WrongRange));
    case(&asked, 206, "", bad(BadResponse::NoContentRange));
    case(&asked, 206, "Content-Range: bytes */100\r\n", bad(BadResponse::NoContentRange));
    let other_length = "Content-Range: bytes 10-19/100\r\nContent-Length: 9\r\n";
    case(&asked, 206, other_length, bad(BadResponse::LengthMismatch));
}

#[test]
fn whole_file_is_taken_whether_a_part_was_asked_for_or_not() {
    let whole = |total| Verdict::Whole { total };
    case(&ask(None), 200, "Content-Length: 5\r\n", whole(Some(5)));
    case(&ask(3..4), 200, "Content-Length: 5\r\n", whole(Some(5)));
    case(&ask(None), 203, "Content-Length: 5\r\n", whole(Some(5)));
    case(&ask(None), 200, "", whole(None));
    case(&ask(None), 200, "Transfer-Encoding: chunked\r\n", whole(None));
    case(&ask(None), 200, "Content-Length: 0\r\n", Verdict::Empty);
}

#[test]
fn compressed_file_is_not_the_file() {
    let packed = "Content-Encoding: gzip\r\nContent-Range: bytes 0-9/100\r\n";
    case(&ask(None), 200, packed, bad(BadResponse::Encoded));
    case(&ask(0..10), 206, packed, bad(BadResponse::Encoded));
    let plain = "Content-Encoding: identity\r\nContent-Length: 5\r\n";
    case(&ask(None), 200, plain, Verdict::Whole { total: Some(5) });
}

#[test]
fn another_version_is_noticed_by_its_length_or_validator() {
    let asked = Expectation { validator: Some(version("\"a\"")), ..known(10..20, 100) };
    case(&asked, 206, "Content-Range: bytes 10-19/101\r\n", Verdict::Changed);
    case(&asked, 206, "ETag: \"b\"\r\nContent-Range: bytes 10-19/100\r\n", Verdict::Changed);
    case(&asked, 206, "ETag: \"a\"\r\nContent-Range: bytes 10-19/100\r\n", partial(10..20, 100));
    case(&asked, 206, "Content-Range: bytes 10-19/100\r\n", bad(BadResponse::NoValidator));
    case(&asked, 200, "Content-Length: 99\r\n", Verdict::Changed);
    case(&asked, 200, "ETag: \"b\"\r\nContent-Length: 100\r\n", Verdict::Changed);
    case(&asked, 416, "Content-Range: bytes */99\r\n", Verdict::Changed);
}

#[test]
fn unsatisfiable_range_may_mean_an_empty_file() {
    case(&ask(0..u64::MAX), 416, "Content-Range: bytes */0\r\n", Verdict::Empty);
    case(&ask(0..u64::MAX), 416, "", Verdict::RangeRefused);
    case(&known(10..20, 100), 416, "Content-Range: bytes */100\r\n", Verdict::RangeRefused);
    case(&ask(None), 416, "", Verdict::Refused);
}

#[test]
fn other_statuses_mean_what_they_say() {
    for status in [301, 302, 303, 307, 308] {
        case(&ask(None), status, "Location: /b\r\n", Verdict::Redirect("/b".to_owned()));
        case(&ask(None), status, "", bad(BadResponse::NoLocation));
    }
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let later = Verdict::Retry(Some(RetryAfter::Seconds(7)));
        case(&ask(None), status, "Retry-After: 7\r\n", later);
        case(&ask(None), status, "", Verdict::Retry(None));
    }
    for status in [300, 304, 401, 403, 404, 410, 451, 505] {
        case(&ask(0..1), status, "", Verdict::Refused);
    }
    for status in [400, 501] {
        case(&ask(0..1), status, "", Verdict::RangeRefused);
        case(&ask(None), status, "", Verdict::Refused);
    }
    case(&ask(None), 204, "", bad(BadResponse::LengthMismatch));
    case(&ask(None), 205, "", bad(BadResponse::LengthMismatch));
}

#[test]
fn broken_framing_is_the_servers_fault() {
    let verdict = judge(&ask(None), &head(200, "Content-Length: 5\r\nContent-Length: 6\r\n"));
    assert!(matches!(verdict, Verdict::Invalid(_)), "{verdict:?}");
}

#[test]
fn mirrors_have_one_file_if_a_validator_of_both_is_the_same_or_neither_has_any() {
    let date = |date: &str| Validator { etag: None, last_modified: Some(date.to_owned()) };
    let both = Validator { etag: Some("\"a\"".to_owned()), last_modified: Some("d".to_owned()) };
    assert!(same_file(&version("\"a\""), &both) && same_file(&both, &date("d")));
    assert!(same_file(&Validator::default(), &Validator::default()));
    assert!(!same_file(&version("\"a\""), &version("\"b\"")));
    assert!(!same_file(&version("\"a\""), &date("d")) && !same_file(&both, &Validator::default()));
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..40u64).prop_map(|n| n.to_string()),
        prop::sample::select(vec!["*", "", "-1", "18446744073709551615", "18446744073709551616", "x"])
            .prop_map(str::to_owned),
    ]
}

fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (number(), number(), number()).prop_map(|(a, b, c)| format!("Content-Range: bytes {a}-{b}/{c}\r\n")),
        1 => number().prop_map(|n| format!("Content-Range: bytes */{n}\r\n")),
        3 => number().prop_map(|n| format!("Content-Length: {n}\r\n")),
        1 => Just("Transfer-Encoding: chunked\r\n".to_owned()),
        1 => prop::sample::select(vec!["gzip", "identity", "", ","]).prop_map(|e| format!("Content-Encoding: {e}\r\n")),
        1 => prop::sample::select(vec!["\"a\"", "\"b\"", "W/\"a\"", "a"]).prop_map(|e| format!("ETag: {e}\r\n")),
        1 => number().prop_map(|n| format!("Retry-After: {n}\r\n")),
        1 => "[ -~]{0,20}".prop_map(|text| format!("Location: {text}\r\n")),
    ]
}

fn expectation() -> impl Strategy<Value = Expectation> {
    let range = prop_oneof![
        (0..30u64, 1..30u64).prop_map(|(start, len)| start..start + len),
        (0..30u64).prop_map(|start| start..u64::MAX),
    ];
    let validator = prop::option::of(Just(version("\"a\"")));
    (prop::option::of(range), prop::option::of(1..40u64), validator)
        .prop_map(|(range, total, validator)| Expectation { range, total, validator })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn part_is_never_another_than_asked(
        expected in expectation(),
        status in prop_oneof![4 => Just(206u16), 1 => 200..600u16],
        headers in vec(header(), 0..5),
    ) {
        let text = format!("HTTP/1.1 {status} X\r\n{}\r\n", headers.concat());
        let Ok(head) = ResponseHead::decode(text.as_bytes()) else { return Ok(()) };
        match judge(&expected, &head) {
            Verdict::Partial { range, total } => {
                let asked = expected.range.expect("nobody asked for a part");
                prop_assert!(range.start == asked.start && range.end <= asked.end && !range.is_empty());
                prop_assert!(total.is_none_or(|total| range.end <= total));
                prop_assert!(expected.total.is_none_or(|known| total == Some(known)));
            }
            Verdict::Whole { total } => {
                prop_assert!(expected.total.is_none() || total.is_none() || total == expected.total);
            }
            _ => {}
        }
    }
}
