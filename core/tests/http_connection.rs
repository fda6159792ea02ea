//! The HTTP connection machine by its public face: whole outputs, however the input is cut.

use bytes::{Bytes, BytesMut};
use gosh_dl_core::base::{Instant, LinkError, LinkInput, LinkOutput};
use gosh_dl_core::proto::http::{CloseReason, Connection, ConnectionConfig, Output};
use gosh_dl_core::wire::http::{DecodeError, HttpUrl, Request, ResponseHead};
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;

const READ_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const START: Instant = Instant::from_nanos(1_000_000_000);
const CREDIT: u32 = 1 << 20;
const REQUEST_LEN: u32 = b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n".len() as u32;

fn at(seconds: u64) -> Instant {
    START + Duration::from_secs(seconds)
}

fn request() -> Request {
    Request::get(&HttpUrl::parse("http://a/f").expect("it is a URL"))
}

fn idle() -> Connection {
    Connection::new(START, ConnectionConfig { read_timeout: READ_TIMEOUT, keep_alive: KEEP_ALIVE })
}

/// A connection that owes a response and may read it; what led there is drained.
fn asked() -> Connection {
    let mut connection = idle();
    connection.grant(START, CREDIT);
    ask(&mut connection);
    connection
}

fn ask(connection: &mut Connection) {
    connection.request(START, &request());
    connection.handle_input(START, LinkInput::Sent(REQUEST_LEN));
    drain(connection);
}

fn data(bytes: &[u8]) -> LinkInput {
    LinkInput::Data(BytesMut::from(bytes))
}

fn feed(connection: &mut Connection, bytes: impl AsRef<[u8]>) -> Vec<Output> {
    connection.handle_input(START, data(bytes.as_ref()));
    drain(connection)
}

/// All outputs; body parts that follow each other are put together, because where they are cut means nothing.
fn drain(connection: &mut Connection) -> Vec<Output> {
    merged(std::iter::from_fn(|| connection.poll_output()))
}

fn merged(outputs: impl IntoIterator<Item = Output>) -> Vec<Output> {
    let mut merged: Vec<Output> = Vec::new();
    for output in outputs {
        match (merged.last_mut(), output) {
            (Some(Output::Body(body)), Output::Body(more)) => *body = [&body[..], &more[..]].concat().into(),
            (_, output) => merged.push(output),
        }
    }
    merged
}

fn answer(wire: impl AsRef<[u8]>) -> Vec<Output> {
    feed(&mut asked(), wire)
}

fn head(wire: &str) -> Output {
    let head = ResponseHead::decode(format!("{wire}\r\n\r\n").as_bytes());
    Output::Head(Box::new(head.expect("the expected head is well-formed")))
}

fn body(bytes: &'static str) -> Output {
    Output::Body(Bytes::from(bytes))
}

const HANG_UP: Output = Output::Link(LinkOutput::Close);

fn closed(reason: CloseReason) -> Output {
    Output::Closed(reason)
}

fn violation(error: DecodeError) -> Vec<Output> {
    vec![HANG_UP, closed(CloseReason::Violation(error))]
}

#[test]
fn credit_and_request_go_to_the_link() {
    let mut connection = idle();
    connection.grant(START, 100);
    connection.grant(START, 0);
    connection.request(START, &request());
    let expected = [
        Output::Link(LinkOutput::Credit(100)),
        Output::Link(LinkOutput::Send(Bytes::from("GET /f HTTP/1.1\r\nHost: a\r\n\r\n"))),
    ];
    assert_eq!(drain(&mut connection), expected);
    assert!(!connection.is_idle() && !connection.is_closed());
    connection.handle_input(START, data(b"HTTP/1.1 "));
    assert_eq!(connection.credit(), 91);
}

#[test]
fn exchanges_follow_each_other() {
    let mut connection = asked();
    let first = feed(&mut connection, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let expected = [head("HTTP/1.1 200 OK\r\nContent-Length: 5"), body("hello"), Output::End];
    assert_eq!(first, expected);
    assert!(connection.is_idle());
    ask(&mut connection);
    let second = feed(&mut connection, "HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(second, [head("HTTP/1.1 416 No\r\nContent-Length: 0"), Output::End]);
    assert!(connection.is_idle());
}

#[test]
fn chunks_are_put_together() {
    let outputs = answer(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\nT: u\r\n\r\n",
    );
    assert_eq!(outputs, [head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"), body("abc"), Output::End]);
}

#[test]
fn body_without_length_ends_with_the_link() {
    let end = |error| {
        let mut connection = asked();
        let mut outputs = feed(&mut connection, "HTTP/1.1 200 OK\r\n\r\nab");
        outputs.extend(feed(&mut connection, "c"));
        connection.handle_input(START, LinkInput::Closed(error));
        outputs.extend(drain(&mut connection));
        assert!(connection.is_closed());
        merged(outputs)
    };
    let start = [head("HTTP/1.1 200 OK"), body("abc")];
    assert_eq!(end(LinkError::Eof), [&start[..], &[Output::End, closed(CloseReason::Finished)]].concat());
    for error in [LinkError::Truncated, LinkError::Reset, LinkError::Io] {
        assert_eq!(end(error), [&start[..], &[closed(CloseReason::Link(error))]].concat());
    }
}

#[test]
fn body_that_is_cut_off_has_no_end() {
    let cut = [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r",
    ];
    for wire in cut {
        let mut connection = asked();
        let mut outputs = feed(&mut connection, wire);
        connection.handle_input(START, LinkInput::Closed(LinkError::Eof));
        outputs.extend(drain(&mut connection));
        assert!(!outputs.contains(&Output::End), "{wire:?}");
        assert_eq!(outputs.last(), Some(&closed(CloseReason::Link(LinkError::Eof))), "{wire:?}");
        assert!(!outputs.contains(&HANG_UP), "{wire:?}");
    }
}

#[test]
fn some_statuses_have_no_body() {
    for status in ["204 No Content", "304 Not Modified"] {
        let mut connection = asked();
        let wire = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked");
        assert_eq!(feed(&mut connection, format!("{wire}\r\n\r\n")), [head(&wire), Output::End]);
        assert!(connection.is_idle());
    }
}

#[test]
fn connection_closes_after_what_cannot_be_followed() {
    let last = [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ];
    for wire in last {
        let outputs = answer([wire, "never asked for"].concat());
        assert_eq!(
            outputs[1..],
            [body("x"), Output::End, HANG_UP, closed(CloseReason::Finished)],
            "{wire:?}"
        );
    }
    let mut kept = asked();
    feed(&mut kept, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n");
    assert!(kept.is_idle());
}

#[test]
fn interim_responses_are_skipped_up_to_a_limit() {
    let interim = |count| "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(count);
    let last = "HTTP/1.1 204 No Content";
    assert_eq!(answer(format!("{}{last}\r\n\r\n", interim(16))), [head(last), Output::End]);
    assert_eq!(answer(interim(17)), violation(DecodeError::TooManyInterim));
    assert_eq!(answer("HTTP/1.1 101 Switching\r\n\r\n"), violation(DecodeError::SwitchedProtocols));
}

#[test]
fn blank_lines_before_the_head_are_skipped_up_to_a_limit() {
    assert_eq!(answer("\r\n\r\nHTTP/1.1 204 x\r\n\r\n"), [head("HTTP/1.1 204 x"), Output::End]);
    assert_eq!(answer("\r\n\r\n\r"), violation(DecodeError::TooManyBlankLines));
}

#[test]
fn each_violation_hangs_up() {
    let vectors = [
        ("SSH-2.0", DecodeError::NotHttp),
        ("HTTq", DecodeError::NotHttp),
        ("HTTP/3.0 200 OK\r\n\r\n", DecodeError::Version),
        ("HTTP/1.1 OK\r\n\r\n", DecodeError::StatusLine),
        ("HTTP/1.1 200 OK\r\nA\r\n\r\n", DecodeError::HeaderName),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", DecodeError::ContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", DecodeError::ConflictingContentLength),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", DecodeError::UnsupportedTransferCoding),
    ];
    for (wire, error) in vectors {
        assert_eq!(answer(wire), violation(error), "{wire:?}");
    }
    let chunked = answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\n");
    assert_eq!(chunked[1..], violation(DecodeError::ChunkSize));
}

#[test]
fn head_has_a_limit_however_it_arrives() {
    let of_len = |len: usize| format!("HTTP/1.1 204 x\r\nA: {}\r\n\r\n", "b".repeat(len - 23)).into_bytes();
    for step in [1, 1000, usize::MAX / 2] {
        let outputs = |len: usize| {
            let mut connection = asked();
            of_len(len).chunks(step).flat_map(|part| feed(&mut connection, part)).collect::<Vec<_>>()
        };
        assert_eq!(of_len(ResponseHead::MAX_HEAD).len(), ResponseHead::MAX_HEAD);
        assert!(matches!(outputs(ResponseHead::MAX_HEAD)[..], [Output::Head(_), Output::End]), "{step}");
        assert_eq!(outputs(ResponseHead::MAX_HEAD + 1), violation(DecodeError::HeadTooLong), "{step}");
    }
}

#[test]
fn nobody_may_speak_unasked() {
    assert_eq!(feed(&mut idle(), "H"), violation(DecodeError::Unsolicited));
    let outputs = answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(outputs[1..], [&[body("x"), Output::End], &violation(DecodeError::Unsolicited)[..]].concat());
    assert_eq!(feed(&mut idle(), ""), []);
}

#[test]
fn idle_connection_reports_that_the_link_is_gone() {
    let mut connection = idle();
    connection.handle_input(START, LinkInput::Closed(LinkError::Eof));
    assert_eq!(drain(&mut connection), [closed(CloseReason::Link(LinkError::Eof))]);
}

#[test]
fn body_is_a_slice_of_what_was_read() {
    let mut connection = asked();
    let wire = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let body_at = wire[wire.len() - 5..].as_ptr();
    connection.handle_input(START, LinkInput::Data(wire));
    let found = drain(&mut connection).into_iter().find_map(|output| match output {
        Output::Body(part) => Some(part.as_ptr()),
        _ => None,
    });
    assert_eq!(found, Some(body_at));
}

#[test]
fn server_has_time_from_its_last_sign_of_life() {
    let mut connection = idle();
    connection.grant(at(1), CREDIT);
    connection.request(at(2), &request());
    assert_eq!(connection.poll_timeout(), Some(at(12)));
    connection.handle_input(at(3), LinkInput::Sent(REQUEST_LEN));
    assert_eq!(connection.poll_timeout(), Some(at(13)));
    connection.handle_input(at(5), data(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"));
    assert_eq!(connection.poll_timeout(), Some(at(15)));
    connection.grant(at(6), CREDIT);
    assert_eq!(connection.poll_timeout(), Some(at(15)), "more credit is no sign of life");
    drain(&mut connection);
    connection.handle_timeout(at(14));
    assert_eq!(drain(&mut connection), []);
    connection.handle_timeout(at(15));
    assert_eq!(drain(&mut connection), [HANG_UP, closed(CloseReason::TimedOut)]);
    assert_eq!(connection.poll_timeout(), None);
}

#[test]
fn server_is_not_late_while_there_is_no_credit() {
    let mut connection = idle();
    connection.request(at(0), &request());
    assert_eq!(connection.poll_timeout(), Some(at(10)), "the request is still to be sent");
    connection.handle_input(at(1), LinkInput::Sent(REQUEST_LEN));
    assert_eq!(connection.poll_timeout(), None);
    connection.grant(at(100), 20);
    assert_eq!(connection.poll_timeout(), Some(at(110)));
    connection.handle_input(at(101), data(b"HTTP/1.1 200 OK\r\nA: "));
    assert_eq!((connection.credit(), connection.poll_timeout()), (0, None));
    connection.handle_timeout(at(500));
    assert!(!connection.is_closed());
}

#[test]
fn idle_connection_closes_when_its_time_is_over() {
    let mut connection = idle();
    assert_eq!(connection.poll_timeout(), Some(at(60)));
    connection.request(at(1), &request());
    connection.grant(at(1), CREDIT);
    connection.handle_input(at(2), data(b"HTTP/1.1 204 x\r\n\r\n"));
    assert_eq!(connection.poll_timeout(), Some(at(62)));
    connection.handle_input(at(3), LinkInput::Sent(REQUEST_LEN));
    connection.grant(at(4), CREDIT);
    assert_eq!(connection.poll_timeout(), Some(at(62)));
    drain(&mut connection);
    connection.handle_timeout(at(62));
    assert_eq!(drain(&mut connection), [HANG_UP, closed(CloseReason::Idle)]);
}

#[test]
fn closed_connection_is_inert() {
    let mut connection = asked();
    connection.close(START);
    assert_eq!(drain(&mut connection), [HANG_UP, closed(CloseReason::Local)]);
    connection.close(START);
    connection.grant(START, 1);
    connection.handle_timeout(at(1000));
    for input in [LinkInput::Opened, data(b"x"), LinkInput::Sent(1), LinkInput::Closed(LinkError::Reset)] {
        connection.handle_input(START, input);
    }
    assert_eq!(drain(&mut connection), []);
    assert_eq!((connection.poll_timeout(), connection.credit()), (None, u64::from(CREDIT)));
}

#[test]
fn idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 256, "{}", size_of::<Connection>());
}

/// A response as a server may send it, and its body.
fn response() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let body = vec(vec(any::<u8>(), 1..20), 0..5);
    (0..3u8, "[\r\n]{0,2}", "(X-[a-z]{1,3}: ?[a-z ]{0,5}\r?\n){0,3}", body).prop_map(
        |(kind, before, extra, parts)| {
            let interim = if extra.len() > 10 { "HTTP/1.1 100 Continue\r\n\r\n" } else { "" };
            let body = parts.concat();
            let mut wire = format!("{before}{interim}HTTP/1.1 200 OK\r\n{extra}").into_bytes();
            match kind {
                0 => {
                    wire.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
                    wire.extend(&body);
                }
                1 => {
                    wire.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                    for part in &parts {
                        wire.extend(format!("{:X}\r\n", part.len()).into_bytes());
                        wire.extend(part);
                        wire.extend(b"\r\n");
                    }
                    wire.extend(b"0\r\n\r\n");
                }
                _ => {
                    wire.extend(b"\r\n");
                    wire.extend(&body);
                }
            }
            (wire, body)
        },
    )
}

/// Feeds `wire` in pieces that end at `cuts`, then closes the link.
fn answer_cut(wire: &[u8], cuts: &[usize]) -> Vec<Output> {
    let mut connection = asked();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (wire.len() + 1)).chain([wire.len()]).collect();
    ends.sort_unstable();
    let mut start = 0;
    for end in ends {
        connection.handle_input(START, data(&wire[start..end]));
        start = end;
    }
    connection.handle_input(START, LinkInput::Closed(LinkError::Eof));
    drain(&mut connection)
}

#[derive(Clone, Debug)]
enum Step {
    Request,
    Grant(u32),
    Data(Vec<u8>),
    Sent(u32),
    Gone,
    Close,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Request),
        3 => (0..200u32).prop_map(Step::Grant),
        6 => response().prop_map(|(wire, _)| Step::Data(wire)),
        1 => vec(any::<u8>(), 0..20).prop_map(Step::Data),
        2 => (0..50u32).prop_map(Step::Sent),
        1 => Just(Step::Gone),
        1 => Just(Step::Close),
        3 => (0..8u64).prop_map(Step::Wait),
    ]
}

fn perform(connection: &mut Connection, now: &mut Instant, step: &Step) {
    match step {
        Step::Request if connection.is_idle() => connection.request(*now, &request()),
        Step::Request => {}
        Step::Grant(bytes) => connection.grant(*now, *bytes),
        Step::Data(bytes) => connection.handle_input(*now, data(bytes)),
        Step::Sent(bytes) => connection.handle_input(*now, LinkInput::Sent(*bytes)),
        Step::Gone => connection.handle_input(*now, LinkInput::Closed(LinkError::Reset)),
        Step::Close => connection.close(*now),
        Step::Wait(seconds) => {
            *now += Duration::from_secs(*seconds);
            connection.handle_timeout(*now);
            assert!(connection.poll_timeout().is_none_or(|at| at > *now));
        }
    }
}

proptest! {
    #[test]
    fn whole_responses_are_read_however_they_are_cut(
        (wire, body) in response(),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let outputs = answer_cut(&wire, &cuts);
        prop_assert_eq!(&outputs, &answer_cut(&wire, &[]));
        let found: Vec<u8> = outputs.iter().filter_map(|output| match output {
            Output::Body(part) => Some(part.to_vec()),
            _ => None,
        }).flatten().collect();
        prop_assert_eq!(found, body);
        prop_assert!(outputs.contains(&Output::End));
    }

    #[test]
    fn damaged_responses_are_read_the_same_however_they_are_cut(
        (mut wire, _) in response(),
        damage in vec((any::<usize>(), any::<u8>()), 0..3),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        for (position, byte) in damage {
            let position = position % wire.len();
            wire[position] = byte;
        }
        prop_assert_eq!(answer_cut(&wire, &cuts), answer_cut(&wire, &[]));
    }

    #[test]
    fn closing_is_the_last_output_and_draining_late_changes_nothing(steps in vec(step(), 0..30)) {
        let (mut early, mut late, mut now) = (idle(), idle(), START);
        let mut outputs = Vec::new();
        for step in &steps {
            let mut same = now;
            perform(&mut late, &mut same, step);
            perform(&mut early, &mut now, step);
            outputs.extend(std::iter::from_fn(|| early.poll_output()));
        }
        let all: Vec<Output> = std::iter::from_fn(|| late.poll_output()).collect();
        prop_assert_eq!(&outputs, &all);
        let is_closed = |output: &Output| matches!(output, Output::Closed(_));
        prop_assert_eq!(all.iter().filter(|output| is_closed(output)).count(), usize::from(late.is_closed()));
        prop_assert!(all.iter().rev().skip(1).all(|output| !is_closed(output)));
    }
}

#[test]
fn payload_is_told_from_what_decides() {
    let text = |connection: &Connection, data: &str| -> Vec<String> {
        connection.payload(data.as_bytes()).into_iter().map(|span| data[span].to_owned()).collect()
    };
    let mut connection = asked();
    assert_eq!(text(&connection, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP"), ["abc"]);
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\na\nb\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n";
    assert_eq!(text(&connection, chunked), ["a\nb", "de"]);
    assert_eq!(text(&connection, "HTTP/1.1 200 OK\r\n\r\nto the end\n of it"), ["to the end\n of it"]);
    assert_eq!(text(&connection, "SSH-2.0"), [""; 0]);
    feed(&mut connection, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    assert_eq!(text(&connection, "cde"), ["cde"]);
    feed(&mut connection, "cde");
    assert_eq!(text(&connection, "HTTP/1.1"), [""; 0], "nobody asked");
    connection.close(START);
    assert_eq!(text(&connection, "HTTP/1.1"), ["HTTP/1.1"], "nobody listens");
}

proptest! {
    #[test]
    fn payload_makes_no_difference(
        sizes in vec(0..40_usize, 1..5),
        chunked: bool,
        cut in 1..60_usize,
    ) {
        let mut response = b"HTTP/1.1 200 OK\r\n".to_vec();
        let total: usize = sizes.iter().sum();
        if chunked {
            response.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for size in sizes.iter().filter(|size| **size > 0) {
                response.extend_from_slice(format!("{size:x}\r\n{}\r\n", "b".repeat(*size)).as_bytes());
            }
            response.extend_from_slice(b"0\r\n\r\n");
        } else {
            response.extend_from_slice(format!("Content-Length: {total}\r\n\r\n{}", "b".repeat(total)).as_bytes());
        }
        let (mut real, mut blank) = (asked(), asked());
        let (mut from_real, mut from_blank, mut hidden) = (Vec::new(), Vec::new(), 0);
        for piece in response.chunks(cut) {
            let mut zeros = piece.to_vec();
            for span in real.payload(piece) {
                hidden += span.len();
                zeros[span].fill(0);
            }
            from_real.extend(feed(&mut real, piece));
            from_blank.extend(feed(&mut blank, &zeros));
        }
        prop_assert_eq!(hidden, total);
        let shape = |outputs: Vec<Output>| -> Vec<String> {
            let shape = |output: &Output| match output {
                Output::Body(bytes) => format!("{} bytes", bytes.len()),
                other => format!("{other:?}"),
            };
            outputs.iter().map(shape).collect()
        };
        prop_assert_eq!(shape(from_real), shape(from_blank));
    }
}
