//! Fuzz target: where both read an answer to its end, the crate `ureq-proto` finds the same status, fields and body in it, and
//! no connection is used again that it would close. It is not in the library, because nothing else needs that crate.
#![no_main]

use bytes::BytesMut;
use core::time::Duration;
use gosh_dl_core::base::{Instant, LinkError, LinkInput};
use gosh_dl_core::proto::http::{Connection, ConnectionConfig, Output};
use gosh_dl_core::wire::http::{HttpUrl, Request, ResponseHead};
use ureq_proto::BodyMode;
use ureq_proto::client::{Call, RecvBodyResult, RecvResponseResult, SendRequestResult};
use ureq_proto::http::Response;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(ours) = ours(data) else { return };
    let Some(theirs) = theirs(data) else { return };
    let fields = |name: &str| ours.head.headers.get_all(name).count();
    if ours.head.minor_version == 0 && fields("Transfer-Encoding") > 0 {
        // RFC 9112 6.1: they do not believe in chunks of HTTP/1.0; here they are read, and nothing is read after them.
        assert!(!ours.reusable);
        return;
    }
    assert_eq!(ours.head.status, theirs.head.status().as_u16());
    let found = theirs.head.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    assert_eq!(sorted(ours.head.headers.iter().map(|(name, value)| (name, value.as_bytes()))), sorted(found));
    assert!(theirs.ended, "an end where they wait for more");
    assert_eq!(ours.body, theirs.body);
    assert!(!ours.reusable || theirs.reusable, "used again where they close");
});

struct Ours {
    head: ResponseHead,
    body: Vec<u8>,
    reusable: bool,
}

/// A whole answer, and nothing behind it.
fn ours(data: &[u8]) -> Option<Ours> {
    let (now, time) = (Instant::ZERO, Duration::from_secs(10));
    let mut connection = Connection::new(now, ConnectionConfig { read_timeout: time, keep_alive: time });
    connection.grant(now, u32::MAX);
    connection.request(now, &Request::get(&HttpUrl::parse("http://a/f").ok()?));
    connection.handle_input(now, LinkInput::Data(BytesMut::from(data)));
    let reusable = connection.is_idle();
    connection.handle_input(now, LinkInput::Closed(LinkError::Eof));
    let (mut head, mut body, mut ended) = (None, Vec::new(), false);
    while let Some(output) = connection.poll_output() {
        match output {
            Output::Head(found) => head = Some(*found),
            Output::Body(bytes) => body.extend_from_slice(&bytes),
            Output::End => ended = true,
            _ => {}
        }
    }
    head.filter(|_| ended).map(|head| Ours { head, body, reusable })
}

struct Theirs {
    head: Response<()>,
    body: Vec<u8>,
    ended: bool,
    reusable: bool,
}

fn theirs(mut data: &[u8]) -> Option<Theirs> {
    let request = ureq_proto::http::Request::get("http://a/f").body(()).ok()?;
    let mut call = Call::new(request).ok()?.proceed();
    call.write(&mut [0; 4096]).ok()?;
    let SendRequestResult::RecvResponse(mut call) = call.proceed().ok()?? else { return None };
    let head = loop {
        let (used, head) = call.try_response(data, false).ok()?;
        data = &data[used..];
        match head {
            Some(head) => break head,
            None if used == 0 => return None,
            None => {}
        }
    };
    let mut body = vec![0; data.len()];
    let mut call = match call.proceed()? {
        RecvResponseResult::RecvBody(call) => call,
        RecvResponseResult::Redirect(call) => {
            let reusable = !call.must_close_connection();
            return Some(Theirs { head, body: Vec::new(), ended: true, reusable });
        }
        RecvResponseResult::Cleanup(call) => {
            let reusable = !call.must_close_connection();
            return Some(Theirs { head, body: Vec::new(), ended: true, reusable });
        }
    };
    let mut filled = 0;
    loop {
        let (used, read) = call.read(data, &mut body[filled..]).ok()?;
        (data, filled) = (&data[used..], filled + read);
        if used == 0 && read == 0 {
            break;
        }
    }
    body.truncate(filled);
    let ended = call.can_proceed();
    let until_close = call.body_mode() == BodyMode::CloseDelimited;
    let reusable = match call.proceed() {
        Some(RecvBodyResult::Redirect(call)) => !call.must_close_connection(),
        Some(RecvBodyResult::Cleanup(call)) => !call.must_close_connection(),
        None => false,
    };
    Some(Theirs { head, body, ended, reusable: reusable && !until_close })
}

/// Fields by their names; values that are not ASCII are not compared, because here they become text.
fn sorted<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<(String, Option<&'a [u8]>)> {
    let field =
        |(name, value): (&str, &'a [u8])| (name.to_ascii_lowercase(), value.is_ascii().then_some(value));
    let mut fields: Vec<_> = fields.map(field).collect();
    fields.sort();
    fields
}
