//! Machine: one download over HTTP, from any number of mirrors over any number of connections into one file.
//!
//! It is a router over policies: [`Mirrors`] says where the next connection goes, [`Ramp`] how many there are,
//! [`Segments`] who fetches what, [`judge`](response::judge) what an answer means; [`Target`] is the file. A
//! connection is leased from the engine for one exchange and given back, so that hosts are shared fairly and paced
//! in one place.

mod answers;
mod exchange;
pub mod mirrors;
mod plan;
pub mod ramp;
mod reading;
pub mod response;
pub mod segments;
mod slots;

pub use self::plan::{HttpPlan, HttpSaved};

use self::exchange::{Slot, Stage};
use self::mirrors::{MirrorIndex, Mirrors};
use self::ramp::Ramp;
use self::segments::Segments;
use super::End;
use super::error::DownloadError;
use super::lease::{self, Lease};
use super::reading::{ReadDone, Reading};
use super::target::{self, DiskTag, Part, Target};
use crate::base::disk::{DirKey, DiskError, DiskOp, DiskResult};
use crate::base::{FileName, Instant, Key, LinkInput, RangeSet, RateMeter, Rng, Slab, WallClock};
use crate::proto::http::Connection;
use crate::wire::http::{Origin, Validator};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

/// Names one exchange of a download: a request and its answer.
pub type SlotKey = Key<Slot>;

/// What a download asks for.
#[derive(Debug)]
pub enum Output {
    /// A connection for an exchange, or what is done with one; [`HttpDownload::leased`] or [`HttpDownload::lease_failed`] answers.
    Lease(lease::Output<SlotKey>),
    /// Perform a disk operation.
    Disk(DiskTag, DiskOp),
    /// Put [`HttpDownload::saved`] into the store at once; [`HttpDownload::recorded`] answers.
    Record,
    /// Put [`HttpDownload::saved`] into the store some time.
    Durable,
    /// What arrived is thrown away: what the store was to be told of it is not true any more.
    Forgotten,
    /// Nothing may be asked of that host before then.
    Pace {
        /// The host.
        origin: Origin,
        /// Until when.
        until: Instant,
    },
    /// What [`HttpDownload::read`] asked for is here, or will not be.
    ReadDone(ReadDone),
    /// Nothing arrives any more because of `error`; the next try is not before `until`.
    Waiting {
        /// What failed last.
        error: DownloadError,
        /// When it is tried again.
        until: Instant,
    },
    /// It is over; nothing follows.
    Ended(End),
}

/// Where a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has arrived yet.
    Connecting,
    /// Data arrives.
    Receiving,
    /// Everything arrived; the file is being verified and named.
    Finishing,
    /// Coming to rest.
    Stopping,
    /// At rest.
    Ended,
}

/// What a download starts from.
#[derive(Debug)]
pub struct Start {
    /// What the store kept.
    pub saved: HttpSaved,
    /// What a note of a killed process says is written, besides what is durable.
    pub trusted: RangeSet,
    /// The first of 2^20 numbers that are its own to name files and digests.
    pub keys: u64,
    /// Its randomness.
    pub rng: Rng,
    /// The wall clock, for dates that servers send.
    pub wall: WallClock,
}

/// One download over HTTP.
#[derive(Debug)]
pub struct HttpDownload {
    plan: Arc<HttpPlan>,
    rng: Rng,
    mirrors: Mirrors,
    /// A mirror that failed, until it is known whether anything else goes on.
    failed: Option<MirrorIndex>,
    slots: Slab<Slot>,
    segments: Option<Segments<SlotKey>>,
    /// What the mirror that fixed the file's length said of its version.
    base: Option<Validator>,
    ramp: Ramp,
    target: Target,
    rate: RateMeter,
    received: u64,
    first_data: Option<Instant>,
    /// The most bytes of the file that were ever here at once.
    most_completed: u64,
    rtt: Duration,
    phase: Phase,
    restarts: u32,
    /// After a wrong digest with several mirrors: which one is tried alone.
    solo: Option<MirrorIndex>,
    next_look: Option<Instant>,
    /// After a connection found nothing to do, none is asked for until then.
    rest_until: Instant,
    wall: WallClock,
    deadline: Option<Instant>,
    reading: Reading,
    /// How many reads were begun.
    reads: u64,
    outputs: VecDeque<Output>,
}

impl HttpDownload {
    /// A download that starts, or goes on where `start` says.
    pub fn new(now: Instant, plan: Arc<HttpPlan>, start: Start) -> Self {
        let mirrors =
            Mirrors::new(plan.urls.iter().cloned(), plan.max_retries, plan.retry_delay, plan.max_retry_delay);
        let mut download = Self {
            mirrors,
            failed: None,
            slots: Slab::new(),
            segments: None,
            base: None,
            ramp: Ramp::new(now, plan.max_connections),
            target: Target::new(plan.target.clone(), start.keys),
            rate: RateMeter::new(now),
            received: 0,
            first_data: None,
            most_completed: 0,
            rtt: FIRST_RTT,
            phase: Phase::Connecting,
            restarts: 0,
            solo: None,
            next_look: None,
            rest_until: now,
            wall: start.wall,
            deadline: plan.deadline.map(|length| now + length),
            reading: Reading::default(),
            reads: 0,
            outputs: VecDeque::new(),
            rng: start.rng,
            plan,
        };
        download.restore(start.saved, &start.trusted);
        download.settle(now);
        download
    }

    /// The directory is open, or cannot be.
    pub fn dir_ready(&mut self, now: Instant, dir: Result<DirKey, DiskError>) {
        self.target.dir_ready(dir);
        self.settle(now);
    }

    /// The connection that an exchange waits for. `reused` tells that it has served before.
    pub fn leased(&mut self, now: Instant, slot: SlotKey, lease: Lease) {
        self.on_leased(now, slot, lease);
        self.settle(now);
    }

    /// There is no connection for an exchange.
    pub fn lease_failed(&mut self, now: Instant, slot: SlotKey, error: DownloadError) {
        if let Some(slot) = self.remove_slot(slot) {
            let error = match error {
                DownloadError::OutOfReach { origin } => {
                    let url = self.mirrors.at(slot.mirror).home.clone();
                    DownloadError::LocalRedirect { url, to: origin }
                }
                error => error,
            };
            self.mirror_failed(now, slot.mirror, error);
        }
        self.settle(now);
    }

    /// The wall clock jumped.
    pub fn set_wall(&mut self, wall: WallClock) {
        self.wall = wall;
    }

    /// Something happened on the link of an exchange.
    pub fn handle_link(&mut self, now: Instant, slot: SlotKey, input: LinkInput) {
        if let Some(lease) = self.slots.get_mut(slot).and_then(Slot::lease_mut) {
            lease.connection.handle_input(now, input);
            self.drain(now, slot);
        }
        self.settle(now);
    }

    /// Lets the link of an exchange read `bytes` more.
    pub fn grant(&mut self, now: Instant, slot: SlotKey, bytes: u32) {
        if let Some(lease) = self.slots.get_mut(slot).and_then(Slot::lease_mut) {
            lease.connection.grant(now, bytes);
            self.drain(now, slot);
        }
    }

    /// The disk operation with that tag ended.
    pub fn handle_disk(&mut self, now: Instant, tag: DiskTag, result: DiskResult) {
        if !self.on_reader_read(now, tag, &result) {
            self.target.handle_disk(tag, result);
        }
        self.settle(now);
    }

    /// The store knows what [`saved`](Self::saved) said.
    pub fn recorded(&mut self, now: Instant) {
        self.target.recorded();
        self.settle(now);
    }

    /// Makes what arrived durable; [`Output::Durable`] follows.
    pub fn checkpoint(&mut self, now: Instant) {
        self.target.checkpoint();
        self.settle(now);
    }

    /// Stops, keeping what arrived.
    pub fn stop(&mut self, now: Instant) {
        self.leave(now);
        self.target.stop();
        self.settle(now);
    }

    /// Stops because of `error`, keeping what arrived.
    pub fn fail(&mut self, now: Instant, error: DownloadError) {
        self.leave(now);
        self.target.fail(error);
        self.settle(now);
    }

    /// Stops and removes what arrived.
    pub fn discard(&mut self, now: Instant) {
        self.leave(now);
        self.target.discard(None);
        self.settle(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<SlotKey> =
            self.slots.iter().filter(|(_, s)| s.is_due(now)).map(|(key, _)| key).collect();
        for key in due {
            if self.slots.get(key).is_some_and(|slot| slot.is_drained(now)) {
                self.close_slot(now, key);
            } else if let Some(lease) = self.slots.get_mut(key).and_then(Slot::lease_mut) {
                lease.connection.handle_timeout(now);
                self.drain(now, key);
            }
        }
        self.target.handle_timeout(now);
        if let Some(length) = self.plan.deadline.filter(|_| self.deadline.is_some_and(|at| at <= now)) {
            self.deadline = None;
            self.fail(now, DownloadError::Deadline { seconds: length.as_secs() });
        }
        self.settle(now);
    }

    /// The next thing that is asked for.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Ended {
            return None;
        }
        let slots = self.slots.iter().filter_map(|(_, slot)| slot.deadline());
        slots.chain(self.target.poll_timeout()).chain(self.next_look).chain(self.deadline).min()
    }

    // ----- views -----------------------------------------------------------------------------------------------------

    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The length of the file in bytes, once known.
    pub fn total(&self) -> Option<u64> {
        self.segments.as_ref().map(Segments::total).filter(|&total| total != u64::MAX)
    }

    /// How many bytes of the file are here.
    pub fn completed(&self) -> u64 {
        match &self.segments {
            Some(segments) => segments.received().len(),
            None => self.target.written().len(),
        }
    }

    /// Bytes per second.
    pub fn speed(&self, now: Instant) -> u64 {
        self.rate.rate(now)
    }

    /// The connection of an exchange, while it has one.
    pub fn connection(&self, slot: SlotKey) -> Option<&Connection> {
        Some(&self.slots.get(slot)?.lease()?.connection)
    }

    /// How many connections it has.
    pub fn connections(&self) -> usize {
        self.slots.iter().filter(|(_, slot)| slot.lease().is_some()).count()
    }

    /// How many bytes are in memory because of it.
    pub fn backlog(&self) -> u64 {
        self.target.backlog()
    }

    /// The version of the file that is being fetched.
    pub fn validator(&self) -> Option<&Validator> {
        self.base.as_ref()
    }

    /// The final name of the file, once it is decided.
    pub fn file_name(&self) -> Option<&FileName> {
        self.target.part().map(|part| &part.final_name)
    }

    /// How many bytes of memory are spoken for because of it: what is in memory, and what links may still read.
    pub fn used(&self) -> u64 {
        let credit = |(_, slot): (SlotKey, &Slot)| slot.lease().map(|lease| lease.connection.credit());
        self.backlog() + self.slots.iter().filter_map(credit).sum::<u64>()
    }

    /// The exchanges that have a connection.
    pub fn exchanges(&self) -> impl Iterator<Item = SlotKey> + '_ {
        self.slots.iter().filter(|(_, slot)| slot.lease().is_some()).map(|(key, _)| key)
    }

    /// How much more the link of an exchange may read: granted and not used; `None` if it wants nothing.
    pub fn credit(&self, slot: SlotKey) -> Option<u64> {
        let lease = self.slots.get(slot)?.lease()?;
        Some(lease.connection.credit())
    }

    /// Whether the exchange waits for the beginning of an answer, which is short.
    pub fn is_asking(&self, slot: SlotKey) -> bool {
        self.slots.get(slot).is_some_and(Slot::is_asking)
    }

    /// What the store keeps of it.
    pub fn saved(&self) -> HttpSaved {
        HttpSaved {
            total: self.total(),
            validator: self.base.clone(),
            validators: self.mirrors.iter().map(|(_, mirror)| mirror.validator.clone()).collect(),
            part: self.target.part().cloned(),
        }
    }

    /// What is with the operating system though perhaps not durable, for a note that spares work after a kill.
    pub fn note(&self) -> Option<(&Part, &RangeSet)> {
        let part = self.target.part().filter(|_| self.target.is_local() && self.phase != Phase::Ended)?;
        Some((part, self.target.written()))
    }

    // ----- moving on -------------------------------------------------------------------------------------------------

    fn restore(&mut self, saved: HttpSaved, trusted: &RangeSet) {
        if let Some(name) = self.plan.file_name.clone().filter(|_| saved.part.is_none()) {
            self.target.choose(name);
        }
        let Some(part) = saved.part else { return };
        let mut known = part.durable.clone();
        known.union(trusted);
        // Without a validator nothing tells whether the file is still the same, except a digest at the end.
        let verifiable =
            saved.validator.as_ref().is_some_and(plan::is_some) || self.plan.target.checksum.is_some();
        let usable = saved.total.is_some() && (verifiable || part.finalizing);
        if !usable {
            known = RangeSet::new();
        }
        if let Some(total) = saved.total.filter(|_| usable && !known.is_empty() || part.finalizing) {
            self.target.set_total(total);
            self.segments = Some(Segments::new(total, known.clone(), self.plan.min_segment));
            self.base = saved.validator;
            for ((_, mirror), validator) in self.mirrors.iter_mut().zip(saved.validators) {
                mirror.validator = validator;
            }
        }
        self.target.resume(part, known);
    }

    /// The only place where the target's outputs are read and new exchanges are begun.
    fn settle(&mut self, now: Instant) {
        while let Some(output) = self.target.poll_output() {
            self.on_target(now, output);
        }
        if matches!(self.phase, Phase::Connecting | Phase::Receiving) {
            self.plan_exchanges(now);
            while let Some(output) = self.target.poll_output() {
                self.on_target(now, output);
            }
            self.tell_wait(now);
        }
        self.serve_readers();
        while let Some(output) = self.target.poll_output() {
            self.on_target(now, output);
        }
    }

    /// Says that it waits, where the mirror that failed was all there was.
    fn tell_wait(&mut self, now: Instant) {
        let Some(index) = self.failed.take() else { return };
        let goes_on = self.slots.iter().any(|(_, slot)| !matches!(slot.stage, Stage::Draining { .. }));
        let rest = self.mirrors.rest_of(index).filter(|(until, _)| *until > now && !goes_on);
        if let Some((until, error)) = rest {
            let error = error.clone();
            self.outputs.push_back(Output::Waiting { error, until });
        }
    }

    fn on_target(&mut self, now: Instant, output: target::Output) {
        match output {
            target::Output::Disk(tag, op) => self.outputs.push_back(Output::Disk(tag, op)),
            target::Output::Record => self.outputs.push_back(Output::Record),
            target::Output::Durable => self.outputs.push_back(Output::Durable),
            // The store learns soon which file it is.
            target::Output::Opened => self.outputs.push_back(Output::Durable),
            target::Output::Lost => self.on_lost(now),
            target::Output::Mismatch(actual) => self.on_mismatch(now, actual),
            target::Output::Skipped => {
                self.leave(now);
                self.end(End::Skipped);
            }
            target::Output::Finished => self.end(End::Completed),
            target::Output::Stopped(why) => {
                self.leave(now);
                self.end(why.map_or(End::Stopped, End::Failed));
            }
        }
    }

    fn end(&mut self, end: End) {
        if self.phase != Phase::Ended {
            self.stop_readers();
            self.phase = Phase::Ended;
            self.outputs.push_back(Output::Ended(end));
        }
    }

    /// The file of an earlier life is gone: everything is fetched again.
    fn on_lost(&mut self, now: Instant) {
        self.forget_read();
        self.close_all(now);
        self.segments = None;
        self.base = None;
        self.mirrors.forget_content();
        if self.phase != Phase::Stopping {
            self.phase = Phase::Connecting;
        }
    }

    /// A wrong digest may be the work of one lying mirror: each is then tried alone.
    fn on_mismatch(&mut self, now: Instant, actual: super::ExpectedChecksum) {
        let next = self.solo.map_or(0, |MirrorIndex(tried)| tried + 1);
        if self.plan.urls.len() > 1 && next < self.plan.urls.len() {
            // What the others were compared with was wrong.
            self.mirrors.revive_others();
            self.solo = Some(MirrorIndex(next));
            self.restart(now);
            return;
        }
        let Some(expected) = self.plan.target.checksum.clone() else { return };
        self.leave(now);
        self.target.discard(Some(DownloadError::ChecksumMismatch { expected, actual }));
    }

    /// Throws away what arrived and begins again.
    fn restart(&mut self, now: Instant) {
        self.close_all(now);
        self.reset_content();
        self.phase = Phase::Connecting;
    }

    fn reset_content(&mut self) {
        self.segments = None;
        self.base = None;
        self.mirrors.forget_content();
        self.target.restart();
        self.forget_read();
    }

    /// What arrived counts no more, and what was read of it neither.
    fn forget_read(&mut self) {
        self.outputs.push_back(Output::Forgotten);
        self.stop_readers();
    }

    /// Ends all exchanges.
    fn leave(&mut self, now: Instant) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Stopping;
        }
        self.next_look = None;
        self.deadline = None;
        self.stop_readers();
        self.close_all(now);
    }
}

/// The round trip that is assumed until one was measured.
const FIRST_RTT: Duration = Duration::from_millis(50);

/// A file that changes more often than this while it is fetched is not worth another try.
const MAX_RESTARTS: u32 = 5;
