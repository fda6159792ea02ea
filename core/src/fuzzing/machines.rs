//! Fuzzing: machines and policies under lists of operations, which `arbitrary` makes of the bytes.

use crate::base::{Instant, LinkError, LinkInput, LinkOutput, RangeSet};
use crate::download::http::segments::{Pace, Segments};
use crate::download::target::script::{Opening, Step, play};
use crate::proto::dial::{self, DialConfig, DialHost, Dialer};
use crate::proto::http::{Connection, ConnectionConfig, Output};
use crate::wire::http::{HttpUrl, Request};
use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use core::time::Duration;
use std::collections::BTreeSet;

/// Makes operations of the bytes for as long as they last.
pub(super) fn each<Op: for<'a> Arbitrary<'a>>(data: &[u8], mut apply: impl FnMut(Op)) {
    let mut bytes = Unstructured::new(data);
    for _ in 0..MAX_OPERATIONS {
        if bytes.is_empty() {
            return;
        }
        let Ok(op) = Op::arbitrary(&mut bytes) else { return };
        apply(op);
    }
}

/// What happens to a dialler.
#[derive(Arbitrary, Debug)]
enum DialStep {
    Resolved([u8; 6], u8),
    Unresolved,
    Opened(u8),
    Secured(u8),
    Failed(u8, bool),
    Later(u16),
    Due,
    Abandon,
}

/// Every attempt is new, and in the end all but the one that is connected are given up; nothing follows the end.
pub fn dialler(data: &[u8]) {
    let secure = data.first().is_some_and(|byte| byte % 2 == 1);
    let mut now = Instant::ZERO;
    let host = DialHost::Name("host.example".into());
    let mut dialer = Dialer::new(now, host, 443, secure, DialConfig::default());
    let (mut live, mut started, mut over) = (BTreeSet::new(), 0, false);
    each(data.get(1..).unwrap_or_default(), |step: DialStep| {
        match step {
            DialStep::Resolved(hosts, count) => {
                let hosts = hosts.iter().take(usize::from(count));
                let addresses = hosts.map(|host| [192, 0, 2, *host].into()).collect();
                dialer.handle_resolved(now, Ok(addresses));
            }
            DialStep::Unresolved => {
                dialer.handle_resolved(now, Err(crate::base::link::ResolveError::Failed));
            }
            DialStep::Opened(attempt) => dialer.handle_opened(now, u32::from(attempt)),
            DialStep::Secured(attempt) => dialer.handle_secured(now, u32::from(attempt)),
            DialStep::Failed(attempt, reset) => {
                let error = if reset { LinkError::Reset } else { LinkError::Refused };
                live.remove(&u32::from(attempt));
                dialer.handle_failed(now, u32::from(attempt), error);
            }
            DialStep::Later(millis) => now += Duration::from_millis(u64::from(millis)),
            DialStep::Due => {
                now = dialer.poll_timeout().map_or(now, |at| at.max(now));
                dialer.handle_timeout(now);
                assert!(dialer.poll_timeout().is_none_or(|at| at > now), "no progress (I2)");
            }
            DialStep::Abandon => dialer.abandon(now),
        }
        while let Some(output) = dialer.poll_output() {
            assert!(!over, "{output:?} after the end (I4)");
            match output {
                dial::Output::Resolve { .. } => {}
                dial::Output::Connect { attempt, .. } => {
                    assert_eq!(attempt, started, "attempts are counted");
                    started += 1;
                    live.insert(attempt);
                }
                dial::Output::Abandon { attempt } => assert!(live.remove(&attempt), "{attempt} is not live"),
                dial::Output::Connected { attempt } => {
                    over = true;
                    assert_eq!(live, BTreeSet::from([attempt]), "the others are given up");
                }
                dial::Output::Failed(_) => {
                    over = true;
                    assert!(live.is_empty(), "{live:?} are left");
                }
            }
        }
        assert!(started <= MAX_ATTEMPTS, "{started} attempts for a handful of addresses");
    });
}

/// What happens on a connection.
#[derive(Arbitrary, Debug)]
enum Talk {
    Ask,
    Hear(u8),
    HearBytes([u8; 3]),
    Grant(u16),
    Sent(u8),
    Closed(bool),
    Due,
    Close,
}

/// Head, body and end come in this order; nothing is read beyond the credit; nothing follows the end.
pub fn http_talk(data: &[u8]) {
    let mut now = Instant::ZERO;
    let timeout = Duration::from_secs(10);
    let mut connection =
        Connection::new(now, ConnectionConfig { read_timeout: timeout, keep_alive: timeout });
    let Ok(url) = HttpUrl::parse("http://a/f") else { return };
    let (mut credit, mut asked, mut headed, mut over) = (0u64, false, false, false);
    each(data, |step: Talk| {
        match step {
            Talk::Ask if connection.is_idle() => {
                asked = true;
                connection.request(now, &Request::get(&url));
            }
            Talk::Hear(which) => {
                let text = PHRASES[usize::from(which) % PHRASES.len()].as_bytes();
                hear(&mut connection, now, &mut credit, text);
            }
            Talk::HearBytes(bytes) => hear(&mut connection, now, &mut credit, &bytes),
            Talk::Grant(bytes) => connection.grant(now, u32::from(bytes)),
            Talk::Sent(bytes) => connection.handle_input(now, LinkInput::Sent(u32::from(bytes))),
            Talk::Closed(reset) => {
                let end = if reset { LinkError::Reset } else { LinkError::Eof };
                connection.handle_input(now, LinkInput::Closed(end));
            }
            Talk::Due => {
                now = connection.poll_timeout().map_or(now, |at| at.max(now));
                connection.handle_timeout(now);
                assert!(connection.poll_timeout().is_none_or(|at| at > now), "no progress (I2)");
            }
            Talk::Close => connection.close(now),
            Talk::Ask => {}
        }
        while let Some(output) = connection.poll_output() {
            assert!(!over, "{output:?} after the end (I4)");
            match output {
                Output::Link(LinkOutput::Credit(bytes)) => credit += u64::from(bytes),
                Output::Link(_) => {}
                Output::Head(_) => {
                    assert!(asked && !headed, "a head that nobody asked for");
                    headed = true;
                }
                Output::Body(bytes) => assert!(headed && !bytes.is_empty(), "a body without a head"),
                Output::End => {
                    assert!(headed, "an end without a head");
                    (asked, headed) = (false, false);
                }
                Output::Closed(_) => over = true,
            }
        }
        assert_eq!(over, connection.is_closed());
        assert!(over || connection.credit() == credit, "{} and {credit}", connection.credit());
    });
}

fn hear(connection: &mut Connection, now: Instant, credit: &mut u64, bytes: &[u8]) {
    let len = usize::try_from(*credit).unwrap_or(usize::MAX).min(bytes.len());
    if len > 0 {
        *credit -= len as u64;
        connection.handle_input(now, LinkInput::Data(BytesMut::from(&bytes[..len])));
    }
}

/// What a script begins with, then its steps: see `download::target::script`.
pub fn target(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(opening) = Opening::arbitrary(&mut bytes) else { return };
    let mut steps = Vec::new();
    each(bytes.take_rest(), |step: Step| steps.push(step));
    play(opening, &steps);
}

/// What is done with a map of segments.
#[derive(Arbitrary, Debug)]
enum Deal {
    Assign(u8),
    TakeFree(u8),
    Share(u8),
    Extend(u8),
    Steal(u8, u16),
    Accept(u8, u16),
    Release(u8),
}

/// Nothing is counted twice, what is free is neither here nor under way, and everything completes.
pub fn segments(data: &[u8]) {
    let mut map: Segments<u8> = Segments::new(TOTAL, RangeSet::new(), 64 << 10);
    let mut counted = RangeSet::new();
    let pace = |owner: u8| Pace { rate: u64::from(owner) * 100_000 };
    each(data, |step: Deal| {
        let idle = |map: &Segments<u8>, owner: u8| map.remaining(owner).is_none();
        match step {
            Deal::Assign(owner) if idle(&map, owner % 8) => _ = map.assign(owner % 8, 4, pace(owner % 8)),
            Deal::TakeFree(owner) if idle(&map, owner % 8) => {
                if let Some(free) = map.first_free() {
                    map.take(owner % 8, free.clone(), free.end);
                }
            }
            Deal::Share(owner) => map.share(owner % 8, 4, pace(owner % 8)),
            Deal::Extend(owner) => _ = map.extend(owner % 8, 4, pace(owner % 8)),
            Deal::Steal(owner, rate) if idle(&map, owner % 8) => {
                let rate = Pace { rate: u64::from(rate) * 1000 };
                let could = map.can_steal(rate, 0.01, pace);
                assert_eq!(map.steal(owner % 8, rate, 0.01, pace).is_some(), could);
            }
            Deal::Accept(owner, len) => accept(&mut map, &mut counted, owner % 8, u64::from(len) << 4),
            Deal::Release(owner) => map.release(owner % 8),
            _ => {}
        }
        assert_eq!(map.received(), &counted);
        let mut taken = counted.clone();
        (0..8).filter_map(|owner| map.remaining(owner)).for_each(|range| taken.insert(range));
        assert_eq!(map.free() + taken.len(), TOTAL);
        assert_eq!(map.first_free().is_some(), map.free() > 0);
    });
    (0..8).for_each(|owner| map.release(owner));
    while let Some(range) = map.assign(0, 1, pace(1)) {
        accept(&mut map, &mut counted, 0, range.end - range.start);
        map.release(0);
    }
    assert!(map.is_complete(), "{map:?}");
}

fn accept(map: &mut Segments<u8>, counted: &mut RangeSet, owner: u8, len: u64) {
    for range in map.accept(owner, len) {
        let before = counted.len();
        counted.insert(range.clone());
        assert_eq!(counted.len() - before, range.end - range.start, "{range:?} is counted twice");
    }
}

/// What servers say, whole and in pieces.
const PHRASES: [&str; 12] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 206 Partial Content\r\n",
    "HTTP/1.1 103 Early Hints\r\n\r\n",
    "HTTP/1.0 200 OK\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "\r\n",
    "abc",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
];

/// More tell nothing new.
const MAX_OPERATIONS: usize = 500;

/// At most six addresses, each of which opens once and then holds the others back.
const MAX_ATTEMPTS: u32 = 6 * 7;

/// The file that is shared out.
const TOTAL: u64 = 4 << 20;
