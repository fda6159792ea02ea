//! One request to a web server and its answer, over a leased connection, with its redirects.

use super::requests::{Kind, Part, judge, url_of};
use super::{Output, Slot, SlotKey, WebSeed, WebSeedError};
use crate::base::{Instant, LinkError};
use crate::download::error::DownloadError;
use crate::download::lease::{self, Destination, Lease};
use crate::download::torrent::reach::Bounds;
use crate::download::torrent::trail::{Trail, leads_to};
use crate::proto::http::{self as proto, CloseReason, Connection};
use crate::wire::http::{HttpUrl, ResponseHead, RetryAfter};
use bytes::Bytes;
use core::ops::Range;

/// An exchange under way.
#[derive(Debug)]
pub(super) struct Exchange {
    part: Part,
    trail: Trail,
    stage: Stage,
    lease: Option<Lease>,
}

#[derive(Debug)]
enum Stage {
    /// Waiting for a connection.
    Leasing,
    /// The request is under way.
    Asking,
    /// The answer arrives; so many bytes are thrown away, then so many are wanted.
    Receiving { skip: u64, left: u64 },
    /// All that is wanted is there.
    Done,
    /// It leads elsewhere; its body is of no interest.
    Leading(String),
    /// BEP 17: the body says for how long it is busy.
    Busy { seconds: Option<u64>, body: Vec<u8> },
}

impl Exchange {
    pub(super) fn part(&self) -> &Part {
        &self.part
    }

    pub(super) fn is_leasing(&self) -> bool {
        self.lease.is_none()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.lease.as_ref()?.connection.poll_timeout()
    }

    pub(super) fn credit(&self) -> Option<u64> {
        Some(self.lease.as_ref()?.connection.credit())
    }

    /// Which of `data`, were it to arrive next, nothing looks at; `None` without a connection.
    pub(super) fn payload(&self, data: &[u8]) -> Option<Vec<Range<usize>>> {
        let bodies = self.lease.as_ref()?.connection.payload(data);
        // BEP 17: a body can say for how long the server is busy, and which one does is not known before its head.
        let mut read = match self.stage {
            Stage::Leasing | Stage::Asking | Stage::Busy { .. } => MAX_DIGITS,
            Stage::Receiving { .. } | Stage::Done | Stage::Leading(_) => 0,
        };
        let unread = |span: Range<usize>| {
            let skip = read.min(span.len());
            read -= skip;
            span.start + skip..span.end
        };
        Some(bodies.into_iter().map(unread).filter(|span| !span.is_empty()).collect())
    }

    /// Where it may lead. Only what a torrent itself says is a query counts as one: that of a script is ours.
    fn bounds(&self, home: &HttpUrl) -> Bounds {
        let (url, from) = (self.trail.url(), self.trail.from());
        let target = if from.is_some() { url.target() } else { home.target() };
        Bounds::of_web_seed(url, from, target.contains('?'))
    }
}

impl WebSeed {
    /// Begins to ask for a part.
    pub(super) fn begin(&mut self, now: Instant, part: Part) {
        match url_of(&self.plan.url, &self.plan.metainfo, &part) {
            Err(error) => self.fail_for(now, part.file(), WebSeedError::BadUrl(error)),
            Ok(url) => {
                let trail = Trail::new(url);
                let exchange = Exchange { part, trail, stage: Stage::Leasing, lease: None };
                self.ask_for_lease(now, exchange);
            }
        }
    }

    fn ask_for_lease(&mut self, now: Instant, exchange: Exchange) {
        let reach = match exchange.bounds(&self.plan.url).check(exchange.trail.url()) {
            Ok(reach) => reach,
            Err(error) => return self.fail_for(now, exchange.part.file(), WebSeedError::Reach(error)),
        };
        let to =
            Destination { origin: exchange.trail.url().origin().clone(), reach, family: None, from: None };
        let slot = self.slots.insert(Slot(exchange));
        self.current = Some(slot);
        self.outputs.push_back(Output::Lease(lease::Output::Lease { slot, to }));
    }

    /// A connection is there: asks over it, or gives it back.
    pub(super) fn on_leased(&mut self, now: Instant, key: SlotKey, lease: Lease) {
        let Some(Slot(exchange)) = self.slots.get_mut(key).filter(|slot| slot.0.is_leasing()) else {
            self.outputs.push_back(Output::Lease(lease::Output::Release(lease)));
            return;
        };
        let range = match &exchange.part {
            Part::File { range, .. } => Some(format!("bytes={}-{}", range.start, range.end - 1)),
            _ => None,
        };
        let request = exchange.trail.request(&self.plan.url, &self.plan.user_agent, range);
        exchange.stage = Stage::Asking;
        exchange.lease.insert(lease).connection.request(now, &request);
        self.drain(now, key);
    }

    /// There is no connection for the exchange that is under way.
    pub(super) fn on_lease_failed(&mut self, now: Instant, error: DownloadError) {
        let Some(Slot(exchange)) = self.current.take().and_then(|slot| self.slots.remove(slot)) else {
            return;
        };
        let error = match error {
            DownloadError::OutOfReach { .. } => WebSeedError::Reach(exchange.bounds(&self.plan.url).beyond),
            error => WebSeedError::NoConnection(Box::new(error)),
        };
        self.fail_for(now, exchange.part.file(), error);
    }

    /// Something came from below for the connection of an exchange.
    pub(super) fn with_connection(&mut self, now: Instant, key: SlotKey, act: impl FnOnce(&mut Connection)) {
        if let Some(lease) = self.slots.get_mut(key).and_then(|slot| slot.0.lease.as_mut()) {
            act(&mut lease.connection);
            self.drain(now, key);
        }
    }

    /// Reads the outputs of the connection of an exchange.
    fn drain(&mut self, now: Instant, key: SlotKey) {
        while let Some(Slot(exchange)) = self.slots.get_mut(key) {
            let Some(lease) = &mut exchange.lease else { return };
            let link = lease.link;
            match lease.connection.poll_output() {
                Some(proto::Output::Link(output)) => {
                    self.outputs.push_back(Output::Lease(lease::Output::Link(link, output)));
                }
                Some(proto::Output::Head(head)) => self.on_head(now, key, &head),
                Some(proto::Output::Body(bytes)) => self.on_body(key, bytes),
                Some(proto::Output::End) => self.on_end(now, key),
                Some(proto::Output::Closed(reason)) => self.on_closed(now, key, reason),
                // The rest of a file that was sent whole is not waited for.
                None if matches!(exchange.stage, Stage::Done) => self.close_current(now),
                None => return,
            }
        }
    }

    fn on_head(&mut self, now: Instant, key: SlotKey, head: &ResponseHead) {
        let Some(Slot(exchange)) = self.slots.get_mut(key) else { return };
        if let Some(location) = leads_to(head) {
            exchange.stage = Stage::Leading(location);
            return;
        }
        if matches!(head.status, 429 | 503) {
            let seconds = match head.retry_after() {
                Some(RetryAfter::Seconds(seconds)) => Some(seconds),
                _ => None,
            };
            exchange.stage = Stage::Busy { seconds, body: Vec::new() };
            return;
        }
        let file_len = match exchange.part {
            Part::File { file, .. } => self.plan.layout.len_of(file),
            _ => exchange.part.len(),
        };
        match judge(&exchange.part, file_len, head) {
            Ok(good) => exchange.stage = Stage::Receiving { skip: good.skip, left: exchange.part.len() },
            Err(error) => self.fail(now, error),
        }
    }

    fn on_body(&mut self, key: SlotKey, mut bytes: Bytes) {
        let Some(Slot(exchange)) = self.slots.get_mut(key) else { return };
        match &mut exchange.stage {
            Stage::Receiving { skip, left } => {
                let cut = |len: u64, bytes: &mut Bytes| {
                    bytes.split_to(usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len()))
                };
                *skip -= cut(*skip, &mut bytes).len() as u64;
                let wanted = cut(*left, &mut bytes);
                *left -= wanted.len() as u64;
                if *left == 0 {
                    exchange.stage = Stage::Done;
                }
                self.received += wanted.len() as u64;
                if !wanted.is_empty() {
                    self.stale = 0;
                    self.backoff.reset();
                    self.deliver(wanted);
                }
            }
            Stage::Busy { body, .. } => {
                let room = MAX_DIGITS - body.len().min(MAX_DIGITS);
                body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            _ => {}
        }
    }

    fn on_end(&mut self, now: Instant, key: SlotKey) {
        let Some(Slot(mut exchange)) = self.slots.remove(key) else { return };
        self.current = None;
        self.give_back(exchange.lease.take());
        match core::mem::replace(&mut exchange.stage, Stage::Leasing) {
            Stage::Done => {}
            Stage::Receiving { .. } => self.go_on_or_fail(now, WebSeedError::Short),
            Stage::Busy { seconds, body } => {
                let said = core::str::from_utf8(&body).ok().and_then(|text| text.trim().parse().ok());
                let said = said.filter(|_| self.plan.kind == Kind::Script);
                self.fail(now, WebSeedError::Busy(seconds.or(said).unwrap_or(0)));
            }
            Stage::Leading(location) => match exchange.trail.follow(&location) {
                Ok(()) => self.ask_for_lease(now, exchange),
                Err(error) => self.fail_for(now, exchange.part.file(), WebSeedError::Redirect(error)),
            },
            Stage::Leasing | Stage::Asking => {}
        }
    }

    fn on_closed(&mut self, now: Instant, key: SlotKey, reason: CloseReason) {
        let Some(Slot(mut exchange)) = self.slots.remove(key) else { return };
        self.current = None;
        let lease = exchange.lease.take();
        let reused = lease.as_ref().is_some_and(|lease| lease.reused);
        self.give_back(lease);
        let gone =
            matches!(reason, CloseReason::Link(LinkError::Eof | LinkError::Reset | LinkError::Truncated));
        match exchange.stage {
            Stage::Done => {}
            // A kept connection was closed just as it was used again: nobody's fault.
            Stage::Asking if gone && reused => self.go_on_or_fail(now, WebSeedError::Closed(reason)),
            Stage::Receiving { .. } if gone => self.go_on_or_fail(now, WebSeedError::Closed(reason)),
            _ => self.fail(now, WebSeedError::Closed(reason)),
        }
    }

    /// What has come is good; the rest is asked for again, unless that has been in vain too often.
    fn go_on_or_fail(&mut self, now: Instant, error: WebSeedError) {
        self.stale += 1;
        if self.stale > MAX_STALE {
            self.stale = 0;
            self.fail(now, error);
        }
    }

    fn give_back(&mut self, lease: Option<Lease>) {
        let outputs = lease.into_iter().flat_map(Lease::give_back);
        self.outputs.extend(outputs.map(Output::Lease));
    }

    /// Ends the exchange that is under way, if any; a connection goes with it unless it is idle.
    pub(super) fn close_current(&mut self, now: Instant) {
        let Some(slot) = self.current.take() else { return };
        let Some(Slot(exchange)) = self.slots.remove(slot) else { return };
        if let Some(lease) = exchange.lease {
            self.give_back(Some(lease.break_off(now)));
            return;
        }
        let origin = exchange.trail.url().origin().clone();
        let to =
            Destination { origin, reach: exchange.bounds(&self.plan.url).reach, family: None, from: None };
        self.outputs.push_back(Output::Lease(lease::Output::Unlease { slot, to }));
    }
}

/// After so many exchanges in a row that brought nothing, the server is to blame.
const MAX_STALE: usize = 3;
/// The longest number of seconds that is read.
const MAX_DIGITS: usize = 20;
