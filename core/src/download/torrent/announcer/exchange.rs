//! Announces and scrapes over HTTP: one exchange each, over a leased connection, with its redirects; and look-ups.

use super::error::TrackerError;
use super::tracker::{Announcing, TrackerIndex};
use super::{Announcer, Output, Phase, SlotKey};
use crate::base::{Family, Instant, LinkError};
use crate::download::lease::{self, Destination, Lease};
use crate::download::torrent::reach::Bounds;
use crate::download::torrent::trail::{Trail, leads_to};
use crate::proto::http::{self as proto, CloseReason, Connection};
use crate::wire::http::{ResponseHead, RetryAfter};
use crate::wire::tracker::http::{AnswerError, decode_announce, decode_scrape};
use crate::wire::tracker::{Event, TrackerUrl, http as codec};
use bytes::Bytes;
use core::time::Duration;
use std::sync::Arc;

/// What a [`SlotKey`] names.
#[derive(Debug)]
pub struct Slot {
    pub(super) tracker: TrackerIndex,
    pub(super) purpose: Purpose,
    /// Then it is given up.
    until: Instant,
    /// The family of addresses that the tracker must be asked over, if only one will do.
    family: Option<Family>,
    work: Work,
}

/// What a tracker is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Announce(Announcing),
    Scrape,
}

impl Purpose {
    pub(super) fn is_scrape(self) -> bool {
        self == Self::Scrape
    }
}

#[derive(Debug)]
enum Work {
    Lookup,
    Http(Box<Exchange>),
}

/// One request, and what its redirects lead to.
#[derive(Debug)]
struct Exchange {
    trail: Trail,
    /// How often a connection turned out to be closed before it was used.
    stale: usize,
    stage: Stage,
    lease: Option<Lease>,
    /// The family of addresses that the tracker has besides the one that it was asked over.
    other_family: Option<Family>,
}

#[derive(Debug)]
enum Stage {
    /// Waiting for a connection.
    Leasing,
    /// The request is under way.
    Asking,
    /// The answer arrives.
    Reading { answer: Answer, body: Vec<u8> },
}

#[derive(Debug)]
enum Answer {
    /// It says something, whatever its status is.
    Says { status: u16, retry_after: Option<Duration> },
    /// It leads elsewhere; its body is of no interest.
    Leads(String),
}

impl Slot {
    fn exchange(&self) -> Option<&Exchange> {
        match &self.work {
            Work::Http(exchange) => Some(exchange),
            Work::Lookup => None,
        }
    }

    fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        match &mut self.work {
            Work::Http(exchange) => Some(exchange),
            Work::Lookup => None,
        }
    }

    fn lease_mut(&mut self) -> Option<&mut Lease> {
        self.exchange_mut()?.lease.as_mut()
    }

    /// The next deadline.
    pub(super) fn poll_timeout(&self) -> Instant {
        let connection =
            self.exchange().and_then(|exchange| exchange.lease.as_ref()?.connection.poll_timeout());
        connection.map_or(self.until, |at| at.min(self.until))
    }

    /// How much more its link may read.
    pub(super) fn credit(&self) -> Option<u64> {
        Some(self.exchange()?.lease.as_ref()?.connection.credit())
    }

    /// Whether the tracker owes the beginning of an answer.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.exchange(), Some(Exchange { stage: Stage::Asking, .. }))
    }

    /// Whether the tracker may have heard the request.
    pub(super) fn has_asked(&self) -> bool {
        self.exchange().is_some_and(|exchange| !matches!(exchange.stage, Stage::Leasing))
    }
}

impl Exchange {
    fn bounds(&self) -> Bounds {
        Bounds::of_tracker(self.trail.url(), self.trail.from())
    }
}

impl Announcer {
    /// Begins to ask a tracker over HTTP. One that is left, and has addresses of both families, hears it over both.
    pub(super) fn begin_http(&mut self, now: Instant, index: TrackerIndex, purpose: Purpose) {
        let is_both = self.trackers.get(index.0).is_some_and(|tracker| tracker.has_both_families);
        if is_both && matches!(purpose, Purpose::Announce(Announcing { event: Event::Stopped, .. })) {
            self.begin_http_over(now, index, purpose, Some(Family::V4));
            self.begin_http_over(now, index, purpose, Some(Family::V6));
        } else {
            self.begin_http_over(now, index, purpose, None);
        }
    }

    fn begin_http_over(
        &mut self,
        now: Instant,
        index: TrackerIndex,
        purpose: Purpose,
        family: Option<Family>,
    ) {
        let Some(tracker) = self.trackers.get(index.0) else { return };
        let Some(TrackerUrl::Http(home)) = &tracker.url else { return };
        let url = match purpose {
            Purpose::Announce(announce) => {
                let request = self.request(index, announce);
                codec::announce_url(home, &request, tracker.tracker_id.as_deref()).map_err(TrackerError::Url)
            }
            Purpose::Scrape => {
                codec::scrape_url(home, self.plan.info_hash).ok_or(TrackerError::Answer(AnswerError::NoSwarm))
            }
        };
        match url {
            Err(error) => self.on_failed(now, index, purpose, error),
            Ok(url) => {
                let trail = Trail::new(url);
                let stage = Stage::Leasing;
                let exchange = Exchange { trail, stale: 0, stage, lease: None, other_family: None };
                let until = now + EXCHANGE_TIME;
                self.begin_exchange(
                    now,
                    Slot { tracker: index, purpose, until, family, work: Work::Http(Box::new(exchange)) },
                );
            }
        }
    }

    /// Asks for the addresses of a tracker's name.
    pub(super) fn begin_lookup(
        &mut self,
        now: Instant,
        index: TrackerIndex,
        host: Arc<str>,
        purpose: Purpose,
    ) {
        let slot =
            Slot { tracker: index, purpose, until: now + LOOKUP_TIME, family: None, work: Work::Lookup };
        let query = self.slots.insert(slot);
        self.outputs.push_back(Output::Resolve { query, host });
    }

    fn begin_exchange(&mut self, now: Instant, slot: Slot) {
        let (index, purpose, family) = (slot.tracker, slot.purpose, slot.family);
        let Some(exchange) = slot.exchange() else { return };
        match exchange.bounds().check(exchange.trail.url()) {
            Err(error) => self.on_failed(now, index, purpose, TrackerError::Reach(error)),
            Ok(reach) => {
                let to =
                    Destination { origin: exchange.trail.url().origin().clone(), reach, family, from: None };
                let slot = self.slots.insert(slot);
                self.outputs.push_back(Output::Lease(lease::Output::Lease { slot, to }));
            }
        }
    }

    /// A connection is there: asks over it, or gives it back.
    pub(super) fn on_leased(&mut self, now: Instant, key: SlotKey, lease: Lease) {
        let waits = |slot: &&mut Slot| matches!(slot.exchange(), Some(exchange) if exchange.lease.is_none());
        let slot = self.slots.get_mut(key).filter(waits);
        let tracker = slot.as_ref().and_then(|slot| self.trackers.get(slot.tracker.0));
        let home = tracker.and_then(|tracker| tracker.url.as_ref());
        let (Some(exchange), Some(TrackerUrl::Http(home))) = (slot.and_then(Slot::exchange_mut), home) else {
            self.outputs.push_back(Output::Lease(lease::Output::Release(lease)));
            return;
        };
        let request = exchange.trail.request(home, &self.plan.user_agent, None);
        exchange.stage = Stage::Asking;
        exchange.other_family = lease.other_family;
        exchange.lease.insert(lease).connection.request(now, &request);
        self.drain(now, key);
    }

    /// Reads the outputs of an exchange's connection.
    pub(super) fn drain(&mut self, now: Instant, key: SlotKey) {
        while let Some(lease) = self.slots.get_mut(key).and_then(Slot::lease_mut) {
            let link = lease.link;
            let Some(output) = lease.connection.poll_output() else { return };
            match output {
                proto::Output::Link(output) => {
                    self.outputs.push_back(Output::Lease(lease::Output::Link(link, output)));
                }
                proto::Output::Head(head) => self.on_head(now, key, &head),
                proto::Output::Body(bytes) => self.on_body(now, key, &bytes),
                proto::Output::End => self.on_end(now, key),
                proto::Output::Closed(reason) => self.on_closed(now, key, reason),
            }
        }
    }

    /// Something came from below for the connection of an exchange.
    pub(super) fn with_connection(&mut self, now: Instant, key: SlotKey, act: impl FnOnce(&mut Connection)) {
        if let Some(lease) = self.slots.get_mut(key).and_then(Slot::lease_mut) {
            act(&mut lease.connection);
            self.drain(now, key);
        }
    }

    fn on_head(&mut self, now: Instant, key: SlotKey, head: &ResponseHead) {
        let Some(exchange) = self.slots.get_mut(key).and_then(Slot::exchange_mut) else { return };
        let answer = match leads_to(head) {
            Some(location) => Answer::Leads(location),
            None if !head.content_encoding_is_identity() => {
                self.fail_slot(now, key, TrackerError::Encoded);
                return;
            }
            None => {
                let retry_after = match head.retry_after() {
                    Some(RetryAfter::Seconds(seconds)) => Some(Duration::from_secs(seconds)),
                    _ => None,
                };
                Answer::Says { status: head.status, retry_after }
            }
        };
        exchange.stage = Stage::Reading { answer, body: Vec::new() };
    }

    fn on_body(&mut self, now: Instant, key: SlotKey, bytes: &Bytes) {
        let Some(exchange) = self.slots.get_mut(key).and_then(Slot::exchange_mut) else { return };
        let Stage::Reading { body, .. } = &mut exchange.stage else { return };
        if body.len() + bytes.len() > MAX_BODY {
            self.fail_slot(now, key, TrackerError::TooLong);
            return;
        }
        body.extend_from_slice(bytes);
    }

    fn on_end(&mut self, now: Instant, key: SlotKey) {
        let Some(Slot { tracker, purpose, until, family, work: Work::Http(mut exchange) }) =
            self.remove_slot(key)
        else {
            return;
        };
        self.give_back(exchange.lease.take());
        let stage = core::mem::replace(&mut exchange.stage, Stage::Leasing);
        let Stage::Reading { answer, body } = stage else { return };
        match answer {
            Answer::Says { status, retry_after } => {
                self.on_said(now, tracker, purpose, &body, TrackerError::Status { status, retry_after });
                match family {
                    None => self.ask_over_other(now, tracker, purpose, exchange.other_family),
                    Some(_) => self.trackers[tracker.0].has_both_families = true,
                }
            }
            Answer::Leads(location) => match exchange.trail.follow(&location) {
                Err(error) => self.on_failed(now, tracker, purpose, TrackerError::Redirect(error)),
                Ok(()) => {
                    exchange.stale = 0;
                    self.begin_exchange(
                        now,
                        Slot { tracker, purpose, until, family, work: Work::Http(exchange) },
                    )
                }
            },
        }
    }

    /// A tracker that has answered, and has addresses of the other family, is told over that one, too: it learns where this
    /// side is reached by the address that it is asked from (BEP 7).
    fn ask_over_other(&mut self, now: Instant, index: TrackerIndex, purpose: Purpose, other: Option<Family>) {
        let (Purpose::Announce(announce), Some(other)) = (purpose, other) else { return };
        let Some(tracker) = self.trackers.get_mut(index.0) else { return };
        let is_told = tracker.announcing.is_none() && tracker.failures() == 0;
        if is_told && announce.event != Event::Stopped && self.phase == Phase::Running {
            self.begin_http_over(now, index, purpose, Some(other));
        }
    }

    /// A tracker has answered. Whatever the status, a reason in the body says more than it.
    fn on_said(
        &mut self,
        now: Instant,
        index: TrackerIndex,
        purpose: Purpose,
        body: &[u8],
        status: TrackerError,
    ) {
        let is_good = matches!(status, TrackerError::Status { status: 200..300, .. });
        match purpose {
            Purpose::Announce(_) => match decode_announce(body) {
                Ok(answer) if is_good => self.on_announced(now, index, purpose, answer),
                Ok(_) => self.on_failed(now, index, purpose, status),
                Err(error @ AnswerError::Refused(_)) => {
                    self.on_failed(now, index, purpose, TrackerError::Answer(error));
                }
                Err(error) if is_good => self.on_failed(now, index, purpose, TrackerError::Answer(error)),
                Err(_) => self.on_failed(now, index, purpose, status),
            },
            Purpose::Scrape => {
                if let Ok(answer) = decode_scrape(body, self.plan.info_hash) {
                    self.on_scraped(index, answer);
                }
            }
        }
    }

    fn on_closed(&mut self, now: Instant, key: SlotKey, reason: CloseReason) {
        let Some(Slot { tracker, purpose, until, family, work: Work::Http(mut exchange) }) =
            self.remove_slot(key)
        else {
            return;
        };
        let lease = exchange.lease.take();
        let reused = lease.as_ref().is_some_and(|lease| lease.reused);
        self.give_back(lease);
        let gone =
            matches!(reason, CloseReason::Link(LinkError::Eof | LinkError::Reset | LinkError::Truncated));
        if gone && reused && matches!(exchange.stage, Stage::Asking) && exchange.stale < MAX_STALE {
            // The server closed an idle connection just as it was used again: nobody's fault.
            exchange.stale += 1;
            exchange.stage = Stage::Leasing;
            self.begin_exchange(now, Slot { tracker, purpose, until, family, work: Work::Http(exchange) });
            return;
        }
        self.on_failed(now, tracker, purpose, TrackerError::Closed(reason));
    }

    fn give_back(&mut self, lease: Option<Lease>) {
        let outputs = lease.into_iter().flat_map(Lease::give_back);
        self.outputs.extend(outputs.map(Output::Lease));
    }

    fn remove_slot(&mut self, key: SlotKey) -> Option<Slot> {
        self.slots.remove(key)
    }

    /// Ends an exchange or a look-up without a word; a connection goes with it unless it is idle.
    pub(super) fn close_slot(&mut self, now: Instant, key: SlotKey) {
        let Some(Slot { work: Work::Http(exchange), family, .. }) = self.remove_slot(key) else { return };
        if let Some(lease) = exchange.lease {
            self.give_back(Some(lease.break_off(now)));
            return;
        }
        let origin = exchange.trail.url().origin().clone();
        let to = Destination { origin, reach: exchange.bounds().reach, family, from: None };
        self.outputs.push_back(Output::Lease(lease::Output::Unlease { slot: key, to }));
    }

    /// Ends an exchange or a look-up as a failure.
    pub(super) fn fail_slot(&mut self, now: Instant, key: SlotKey, error: TrackerError) {
        let Some((tracker, purpose)) = self.slots.get(key).map(|slot| (slot.tracker, slot.purpose)) else {
            return;
        };
        self.close_slot(now, key);
        self.on_failed(now, tracker, purpose, error);
    }

    /// A look-up has ended.
    pub(super) fn end_lookup(&mut self, key: SlotKey) -> Option<(TrackerIndex, Purpose)> {
        self.slots.get(key).filter(|slot| matches!(slot.work, Work::Lookup))?;
        self.slots.remove(key).map(|slot| (slot.tracker, slot.purpose))
    }

    /// No connection will come. Says where it might have led.
    pub(super) fn end_leasing(&mut self, key: SlotKey) -> Option<(TrackerIndex, Purpose, Bounds)> {
        let exchange = self.slots.get(key)?.exchange().filter(|exchange| exchange.lease.is_none())?;
        let bounds = exchange.bounds();
        self.slots.remove(key).map(|slot| (slot.tracker, slot.purpose, bounds))
    }

    /// Lets the exchanges do what is due.
    pub(super) fn time_slots(&mut self, now: Instant) {
        let due = self.slots.iter().filter(|(_, slot)| slot.poll_timeout() <= now);
        let due: Vec<(SlotKey, bool)> = due.map(|(key, slot)| (key, slot.until <= now)).collect();
        for (key, over) in due {
            if over {
                self.fail_slot(now, key, TrackerError::TimedOut);
            } else {
                self.with_connection(now, key, |connection| connection.handle_timeout(now));
            }
        }
    }
}

/// The longest answer, in bytes: 1,000 peers as dictionaries take 100,000.
const MAX_BODY: usize = 1 << 20;
/// After so many kept connections that were closed, the tracker is to blame.
const MAX_STALE: usize = 3;
/// How long an exchange may take with its redirects, from the wish for a connection to the end of the answer: dialling
/// takes half of it at most, and an answer that drips is worth no more.
const EXCHANGE_TIME: Duration = Duration::from_secs(60);
/// How long a look-up may take.
const LOOKUP_TIME: Duration = Duration::from_secs(30);
