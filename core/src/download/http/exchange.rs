//! One exchange: a request and its answer, over a leased connection.

use super::mirrors::{MirrorIndex, Ranges};
use super::plan::MAX_DRAIN;
use super::response::{Expectation, Verdict, judge, same_file};
use super::segments::{Pace, Segments};
use super::{HttpDownload, Output, Phase, SlotKey};
use crate::base::link::ResolveError;
use crate::base::{FileName, Instant, LinkError, RangeSet, RateMeter};
use crate::download::error::{BadResponse, DownloadError};
use crate::download::lease::{self, Destination, Lease};
use crate::proto::http::{self as proto, CloseReason};
use crate::wire::http::{HttpUrl, ResponseHead};
use bytes::Bytes;
use core::ops::Range;
use core::time::Duration;

/// An exchange under way.
#[derive(Debug)]
pub struct Slot {
    pub(super) mirror: MirrorIndex,
    pub(super) to: Destination,
    pub(super) stage: Stage,
    /// Whether the answer goes on to the end of the file unless it is cut.
    pub(super) open_ended: bool,
    /// What was asked for.
    pub(super) url: Option<HttpUrl>,
    lease: Option<Lease>,
    rate: RateMeter,
    known_rate: u64,
    began: Instant,
    last_data: Instant,
    bytes: u64,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Waiting for a connection.
    Leasing,
    /// The request is under way.
    Asking { expected: Expectation },
    /// The answer's body arrives; the next byte belongs at `next`, the last before `covers`.
    Receiving { next: u64, covers: u64 },
    /// The answer is not wanted, but its connection is: at most so many bytes are thrown away.
    Draining { left: u64, until: Instant },
}

impl Slot {
    pub(super) fn new(now: Instant, mirror: MirrorIndex, to: Destination) -> Self {
        Self {
            mirror,
            to,
            stage: Stage::Leasing,
            open_ended: false,
            url: None,
            lease: None,
            rate: RateMeter::new(now),
            known_rate: 0,
            began: now,
            last_data: now,
            bytes: 0,
        }
    }

    pub(super) fn begin(&mut self, now: Instant, lease: Lease, expected: Expectation) {
        self.stage = Stage::Asking { expected };
        self.lease = Some(lease);
        self.began = now;
        self.last_data = now;
        self.rate = RateMeter::new(now);
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    pub(super) fn lease_mut(&mut self) -> Option<&mut Lease> {
        self.lease.as_mut()
    }

    pub(super) fn into_lease(self) -> Option<Lease> {
        self.lease
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let drained = match self.stage {
            Stage::Draining { until, .. } => Some(until),
            _ => None,
        };
        self.lease.as_ref().and_then(|lease| lease.connection.poll_timeout()).into_iter().chain(drained).min()
    }

    /// Whether it threw away long enough.
    pub(super) fn is_drained(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Draining { until, .. } if until <= now)
    }

    /// Whether its host lets it wait for a connection.
    pub(super) fn waits(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Leasing) && now - self.began >= LEASE_PATIENCE
    }

    /// When it will count as waiting, if it does not yet.
    pub(super) fn waits_from(&self, now: Instant) -> Option<Instant> {
        let at = self.began + LEASE_PATIENCE;
        (matches!(self.stage, Stage::Leasing) && at > now).then_some(at)
    }

    /// Whether it is not known yet if the server answers.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Asking { .. })
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    /// When data last arrived.
    pub(super) fn last_data(&self) -> Instant {
        self.last_data
    }

    /// How fast it goes, as last measured.
    pub(super) fn pace(&self) -> Pace {
        Pace { rate: self.known_rate }
    }

    /// How fast it goes: nothing where it owes bytes and none came for a while; as fast as can be while it is too young
    /// to tell, since what it was asked for is on its way and would be lost.
    pub(super) fn pace_at(&self, now: Instant, rtt: Duration) -> Pace {
        let held_by_us = self.lease.as_ref().is_none_or(|lease| lease.connection.credit() == 0);
        let patience = STALLED + rtt * 4;
        let rate = match now - self.last_data > patience {
            true if !held_by_us => 0,
            _ if now - self.began < patience => u64::MAX,
            _ => self.known_rate,
        };
        Pace { rate }
    }

    fn count(&mut self, now: Instant, len: u64) {
        self.rate.add(now, len);
        self.known_rate = self.rate.rate(now);
        self.last_data = now;
        self.bytes += len;
    }
}

impl HttpDownload {
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
                proto::Output::Body(bytes) => self.on_body(now, key, bytes),
                proto::Output::End => self.on_end(now, key),
                proto::Output::Closed(reason) => self.on_closed(now, key, reason),
            }
        }
    }

    fn on_head(&mut self, now: Instant, key: SlotKey, head: &ResponseHead) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Stage::Asking { expected } = &slot.stage else { return };
        let (expected, index) = (expected.clone(), slot.mirror);
        let rtt = now - slot.began;
        slot.last_data = now;
        self.rtt = if self.received == 0 { rtt } else { self.rtt.min(rtt) };
        let url = self.mirrors.at(index).url.clone();
        match judge(&expected, head) {
            Verdict::Partial { range, total: Some(total) } if self.knows_length(index, head) => {
                self.on_content(now, key, head, range, Some(total))
            }
            Verdict::Partial { .. } | Verdict::RangeRefused => self.without_ranges(now, key),
            Verdict::Whole { total } => self.on_whole(now, key, head, total),
            Verdict::Empty => self.on_content(now, key, head, 0..0, Some(0)),
            Verdict::Redirect(location) => self.on_redirect(now, key, &location),
            Verdict::Retry(after) => self.on_retry(now, key, head.status, after),
            Verdict::Refused => self.on_refused(now, key, head.status),
            Verdict::Changed => self.on_changed(now, key, head),
            Verdict::Invalid(error) => self.exchange_failed(now, key, DownloadError::Http { url, error }),
            Verdict::Bad(BadResponse::Encoded) if is_packed_name(&url) && self.accept_packed(key) => {
                let total = head.content_length().ok().flatten();
                self.on_whole(now, key, head, total);
            }
            Verdict::Bad(
                problem @ (BadResponse::NoValidator
                | BadResponse::WrongRange
                | BadResponse::NoContentRange
                | BadResponse::LengthMismatch),
            ) if expected.range.is_some() => {
                self.on_bad_range(now, key, problem);
            }
            Verdict::Bad(problem) => self.give_up(now, key, DownloadError::BadResponse { url, problem }),
        }
    }

    /// Whether the length is that of this mirror's file: equal ETags of two hosts prove nothing, so without a digest the
    /// lengths have to be equal too.
    fn knows_length(&self, index: MirrorIndex, head: &ResponseHead) -> bool {
        let says = || head.content_range().ok().flatten().is_some_and(|range| range.total.is_some());
        let accepted = self.base.is_none() || self.mirrors.at(index).validator.is_some();
        accepted || self.plan.target.checksum.is_some() || says()
    }

    /// Some servers label `x.tar.gz` as gzip-encoded tar; then the bytes are the file.
    fn accept_packed(&mut self, key: SlotKey) -> bool {
        let slot = self.slots.get(key);
        let index = slot.map_or(MirrorIndex(0), |slot| slot.mirror);
        self.mirrors.at_mut(index).ranges = Ranges::No;
        self.segments.as_ref().is_none_or(|segments| segments.received().is_empty())
    }

    /// The bytes of `range` follow, of a file of `total` bytes.
    pub(super) fn on_content(
        &mut self,
        now: Instant,
        key: SlotKey,
        head: &ResponseHead,
        range: Range<u64>,
        total: Option<u64>,
    ) {
        let Some(index) = self.slots.get(key).map(|slot| slot.mirror) else { return };
        let validator = head.validator();
        // Whatever was compared before: the answer itself, or what its mirror said, must be of the file that was begun.
        let known = self.mirrors.at(index).validator.clone().filter(|_| !super::plan::is_some(&validator));
        let claimed = known.unwrap_or_else(|| validator.clone());
        // It may have been asked for before any length was known.
        let other_length = total.is_some_and(|total| self.total().is_some_and(|known| known != total));
        let other_version = self.plan.target.checksum.is_none()
            && self.base.as_ref().is_some_and(|base| !same_file(base, &claimed));
        if other_length || other_version {
            let url = self.mirrors.at(index).url.clone();
            self.put_aside(now, key, DownloadError::OtherFile { url });
            return;
        }
        let mirror = self.mirrors.at_mut(index);
        mirror.redirects = 0;
        if mirror.validator.is_none() {
            mirror.validator = Some(validator.clone());
        }
        if head.status == 206 {
            mirror.ranges = Ranges::Yes;
        } else if mirror.ranges == Ranges::Unknown {
            mirror.ranges = Ranges::No;
        }
        let first = self.segments.is_none();
        if first {
            self.base = Some(validator);
            self.begin_file(now, head, index, total);
        }
        let Some(segments) = &mut self.segments else { return };
        match segments.remaining(key) {
            // It was asked before the file was known, and by now others fetch it.
            None if segments.owners() > 0 => {
                self.close_slot(now, key);
                return;
            }
            Some(_) => segments.set_covers(key, range.end),
            None => segments.take(key, range.clone(), range.end),
        }
        self.phase = Phase::Receiving;
        if let Some(slot) = self.slots.get_mut(key) {
            slot.open_ended |= first && total == Some(range.end);
            slot.stage = Stage::Receiving { next: range.start, covers: range.end };
        }
    }

    /// The first answer fixes the length and the name of the file.
    fn begin_file(&mut self, _now: Instant, head: &ResponseHead, index: MirrorIndex, total: Option<u64>) {
        let total = total.unwrap_or(u64::MAX);
        self.segments = Some(Segments::new(total, RangeSet::new(), self.plan.min_segment));
        if total != u64::MAX {
            self.target.set_total(total);
            self.reading.set_end(total);
        }
        let mirror = self.mirrors.at(index);
        let name = head.file_name().or_else(|| mirror.home.file_name()).or_else(|| mirror.url.file_name());
        let name = name.map(FileName::unassuming);
        if let Some(name) = self.plan.file_name.clone().or(name).or_else(|| FileName::new(DEFAULT_NAME)) {
            self.target.choose(name);
        }
    }

    /// The whole file follows although a part may have been asked for.
    fn on_whole(&mut self, now: Instant, key: SlotKey, head: &ResponseHead, total: Option<u64>) {
        let Some(slot) = self.slots.get(key) else { return };
        let index = slot.mirror;
        let known = self.mirrors.at(index).validator.clone();
        self.mirrors.at_mut(index).ranges = Ranges::No;
        let Some(segments) = &self.segments else {
            self.on_content(now, key, head, 0..total.unwrap_or(u64::MAX), total);
            return;
        };
        let others = segments.owners() > usize::from(segments.remaining(key).is_some());
        let same = known.as_ref().is_some_and(|v| same_file(v, &head.validator()) && super::plan::is_some(v));
        let nothing_yet = segments.received().is_empty();
        let same_length = total == Some(segments.total());
        if self.some_other_has_ranges(index) && (others || !nothing_yet) {
            // Somebody else can send just what is missing.
            self.close_slot(now, key);
            return;
        }
        if others {
            self.close_others(now, key);
        }
        if !(same || same_length && nothing_yet) {
            // Nothing says that this is the version of which we have parts, or know the length.
            self.reset_content();
            self.mirrors.at_mut(index).ranges = Ranges::No;
            self.on_content(now, key, head, 0..total.unwrap_or(u64::MAX), total);
            return;
        }
        let total = total.unwrap_or_else(|| self.segments.as_ref().map_or(u64::MAX, Segments::total));
        if let Some(segments) = &mut self.segments {
            segments.release(key);
            segments.take(key, 0..total, total);
        }
        self.on_content(now, key, head, 0..total, Some(total));
    }

    pub(super) fn some_other_has_ranges(&self, index: MirrorIndex) -> bool {
        self.mirrors.iter().any(|(other, m)| other != index && m.ranges == Ranges::Yes && m.is_alive())
    }

    pub(super) fn close_others(&mut self, now: Instant, key: SlotKey) {
        for other in self.slots.keys() {
            if other != key {
                self.close_slot(now, other);
            }
        }
    }

    fn on_body(&mut self, now: Instant, key: SlotKey, bytes: Bytes) {
        let len = bytes.len() as u64;
        let Some(slot) = self.slots.get_mut(key) else { return };
        match &mut slot.stage {
            Stage::Draining { left, .. } => {
                *left = left.saturating_sub(len);
                if *left == 0 {
                    self.close_slot(now, key);
                }
            }
            Stage::Receiving { next, covers } => {
                let (offset, covers) = (*next, *covers);
                let pos = self
                    .segments
                    .as_ref()
                    .and_then(|segments| segments.remaining(key))
                    .map(|rest| rest.start);
                if pos != Some(offset) {
                    // Bytes behind a segment's end were passed over: what follows them has no place.
                    self.close_slot(now, key);
                    return;
                }
                *next += len;
                let beyond = *next > covers;
                let index = slot.mirror;
                slot.count(now, len);
                self.rate.add(now, len);
                self.received += len;
                self.first_data.get_or_insert(now);
                self.reach(key, offset.saturating_add(len).min(covers));
                let fresh =
                    self.segments.as_mut().map_or_else(Vec::new, |segments| segments.accept(key, len));
                for Range { start, end } in fresh {
                    let slice = bytes.slice((start - offset) as usize..(end - offset) as usize);
                    self.target.write(now, start, slice);
                }
                self.credit_mirror(index);
                if beyond {
                    let url = self.mirrors.at(index).url.clone();
                    let problem = BadResponse::LengthMismatch;
                    self.exchange_failed(now, key, DownloadError::BadResponse { url, problem });
                } else {
                    self.after_body(now, key);
                }
            }
            Stage::Asking { .. } | Stage::Leasing => {}
        }
    }

    /// Bytes up to `end` arrived in one piece: the segment grows to hold them, as far as they are free.
    fn reach(&mut self, key: SlotKey, end: u64) {
        let owners = self.ramp.level();
        let (Some(slot), Some(segments)) = (self.slots.get(key), &mut self.segments) else { return };
        while segments.remaining(key).is_some_and(|rest| rest.end < end) {
            if !segments.extend(key, owners, slot.pace()) {
                return;
            }
        }
    }

    /// Only bytes that this life of the download never had before excuse earlier failures: else a source that always
    /// breaks off, and has to be read from the start each time, would be tried for ever.
    fn credit_mirror(&mut self, index: MirrorIndex) {
        let completed = self.completed();
        if completed > self.most_completed {
            self.most_completed = completed;
            self.mirrors.progressed(index);
        } else {
            self.mirrors.at_mut(index).delivered = true;
        }
    }

    /// Goes on behind the segment while the answer does, or cuts it.
    fn after_body(&mut self, now: Instant, key: SlotKey) {
        let owners = self.ramp.level();
        let (Some(slot), Some(segments)) = (self.slots.get(key), &mut self.segments) else { return };
        let Stage::Receiving { next, covers } = slot.stage else { return };
        let at_end = segments.remaining(key).is_none_or(|rest| rest.is_empty());
        if at_end && next < covers && !segments.extend(key, owners, slot.pace()) {
            self.measure(now, key);
            self.close_slot(now, key);
        }
    }

    fn measure(&mut self, now: Instant, key: SlotKey) {
        if let Some(slot) = self.slots.get(key) {
            self.mirrors.measured(slot.mirror, slot.bytes, now - slot.began);
        }
    }

    fn on_end(&mut self, now: Instant, key: SlotKey) {
        let Some(slot) = self.slots.get(key) else { return };
        let index = slot.mirror;
        if let Stage::Receiving { next, covers } = slot.stage {
            if covers == u64::MAX {
                self.fix_total(next);
            } else if next < covers {
                let url = self.mirrors.at(index).url.clone();
                self.exchange_failed(now, key, DownloadError::Short { url });
                return;
            }
            self.measure(now, key);
        }
        self.release(key);
    }

    /// A body of unknown length has ended: now the length is known.
    fn fix_total(&mut self, total: u64) {
        if let Some(segments) = &mut self.segments {
            segments.set_total(total);
        }
        self.target.set_total(total);
        self.reading.set_end(total);
    }

    /// Gives the connection back and forgets the exchange.
    fn release(&mut self, key: SlotKey) {
        if let Some(lease) = self.remove_slot(key).and_then(Slot::into_lease) {
            self.give_back(lease);
        }
    }

    fn on_closed(&mut self, now: Instant, key: SlotKey, reason: CloseReason) {
        let Some(slot) = self.slots.get(key) else { return };
        let url = self.mirrors.at(slot.mirror).url.clone();
        let reused = slot.lease().is_some_and(|lease| lease.reused);
        let stale = reused
            && matches!(slot.stage, Stage::Asking { .. })
            && matches!(reason, CloseReason::Link(LinkError::Eof | LinkError::Reset | LinkError::Truncated));
        let received = matches!(slot.stage, Stage::Receiving { .. });
        let unwanted = matches!(slot.stage, Stage::Draining { .. });
        let index = slot.mirror;
        self.measure(now, key);
        if stale || unwanted {
            // The server closed an idle connection just as it was used again: nobody's fault.
            self.release(key);
            return;
        }
        let seconds = self.plan.read_timeout.as_secs();
        let error = match reason {
            CloseReason::Link(LinkError::Eof) if received => DownloadError::Short { url },
            CloseReason::Link(error) => DownloadError::Lost { url, error },
            CloseReason::Violation(error) => DownloadError::Http { url, error },
            CloseReason::TimedOut => DownloadError::Silent { url, seconds },
            CloseReason::Finished | CloseReason::Idle | CloseReason::Local => {
                self.release(key);
                return;
            }
        };
        self.release(key);
        self.mirror_failed(now, index, error);
        self.restart_if_unknown(now);
    }

    /// A body whose length or validator is unknown cannot be taken up where it broke off.
    fn restart_if_unknown(&mut self, now: Instant) {
        let unknown = self.segments.as_ref().is_some_and(|segments| segments.total() == u64::MAX);
        if unknown && self.phase == Phase::Receiving {
            self.restart(now);
        }
    }

    /// A failure of the mirror that another try may mend.
    pub(super) fn mirror_failed(&mut self, now: Instant, index: MirrorIndex, error: DownloadError) {
        tracing::debug!(mirror = index.0, %error, "exchange failed");
        let certain = matches!(
            error,
            DownloadError::Connect { error: LinkError::Tls(_), .. }
                | DownloadError::LocalRedirect { .. }
                | DownloadError::Resolve { error: ResolveError::NotFound, .. }
        );
        if certain {
            self.mirrors.give_up(index, error);
            return;
        }
        let own = |slot: &&Slot| slot.mirror == index && !matches!(slot.stage, Stage::Draining { .. });
        let others = self.slots.iter().map(|(_, slot)| slot).filter(own);
        let (busy, delivering) = others.fold((0, false), |(busy, delivering), slot| {
            (busy + 1, delivering || matches!(slot.stage, Stage::Receiving { .. }))
        });
        if delivering && is_refusal(&error) {
            // The others of this mirror deliver: it just does not want more of us.
            self.mirrors.limit(now, index, busy);
            self.ramp.cap(now, self.slots.len().max(1));
            return;
        }
        self.mirrors.failed(now, index, error, &mut self.rng);
        self.failed = Some(index);
    }

    /// The exchange ends with a failure that another try may mend.
    fn exchange_failed(&mut self, now: Instant, key: SlotKey, error: DownloadError) {
        let Some(index) = self.slots.get(key).map(|slot| slot.mirror) else { return };
        self.close_slot(now, key);
        self.mirror_failed(now, index, error);
        self.restart_if_unknown(now);
    }

    /// The exchange ends with a failure that ends its mirror.
    fn give_up(&mut self, now: Instant, key: SlotKey, error: DownloadError) {
        let Some(index) = self.slots.get(key).map(|slot| slot.mirror) else { return };
        self.skip_body(now, key);
        self.mirrors.give_up(index, error);
    }

    pub(super) fn put_aside(&mut self, now: Instant, key: SlotKey, error: DownloadError) {
        self.give_up(now, key, error);
    }

    /// Keeps the connection if what is left of the answer is short.
    pub(super) fn skip_body(&mut self, now: Instant, key: SlotKey) {
        if let Some(segments) = &mut self.segments {
            segments.release(key);
        }
        match self.slots.get_mut(key) {
            Some(slot) if !matches!(slot.stage, Stage::Draining { .. }) => {
                slot.stage = Stage::Draining { left: MAX_DRAIN, until: now + MAX_DRAIN_TIME };
            }
            _ => self.close_slot(now, key),
        }
    }
}

/// Whether the failure says that the host does not want this connection.
fn is_refusal(error: &DownloadError) -> bool {
    matches!(
        error,
        DownloadError::Connect { .. } | DownloadError::ConnectTimeout { .. } | DownloadError::Status { .. }
    )
}

fn is_packed_name(url: &HttpUrl) -> bool {
    let name = url.file_name().map(|name| name.as_str().to_ascii_lowercase()).unwrap_or_default();
    [".gz", ".tgz", ".svgz", ".br", ".zst", ".xz", ".bz2", ".z"].iter().any(|end| name.ends_with(end))
}

/// How long an unwanted answer may take to end before its connection is given up.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(1);
/// After this time without a connection other mirrors are asked.
const LEASE_PATIENCE: Duration = Duration::from_millis(250);
/// The name of a file for which neither the user, the server nor the URL has one.
const DEFAULT_NAME: &str = "download";
/// An exchange that owes bytes and sent none for this long, beyond four round trips, has stalled.
const STALLED: Duration = Duration::from_millis(150);
