//! Reading the file while it is fetched: what readers wait for comes first.

use super::exchange::{Slot, Stage};
use super::segments::Segments;
use super::{HttpDownload, Output, Phase, SlotKey};
use crate::base::Instant;
use crate::base::disk::DiskResult;
use crate::download::reading::{Due, ReadDone, ReadError, ReadRequest};
use crate::download::target::DiskTag;
use core::time::Duration;

impl HttpDownload {
    /// Reads what has arrived at a place, or waits for it, and has it fetched first; [`Output::ReadDone`] follows with
    /// `reply`, and at least one byte where any was asked for. A digest of the whole is not waited for.
    pub fn read(&mut self, now: Instant, request: ReadRequest, reply: u64) {
        let begun = if matches!(self.phase, Phase::Stopping | Phase::Ended) {
            Err(ReadError::Stopped)
        } else if request.file != 0 {
            Err(ReadError::NoFile)
        } else {
            self.reading.want(now, request, 0..self.total().unwrap_or(u64::MAX), reply).map(drop)
        };
        if let Err(error) = begun {
            self.outputs.push_back(Output::ReadDone(ReadDone { request, reply, result: Err(error) }));
        }
        self.settle(now);
    }

    /// A reader is gone: nothing is fetched first for it any more.
    pub fn close_reader(&mut self, now: Instant, reader: u64) {
        self.outputs.extend(self.reading.close(reader).map(Output::ReadDone));
        if let Some(segments) = self.segments.as_mut().filter(|_| self.reading.is_empty()) {
            segments.prefer(Vec::new());
        }
        self.settle(now);
    }

    /// More may be readable.
    pub(super) fn serve_readers(&mut self) {
        if self.reading.is_empty() {
            return;
        }
        self.outputs.extend(self.reading.at_end().into_iter().map(Output::ReadDone));
        let (target, reads) = (&mut self.target, &mut self.reads);
        let number = || {
            *reads += 1;
            *reads
        };
        for Due { token, at, len } in self.reading.due(|at| target.ready_from(at), number) {
            target.read(token, at, len);
        }
    }

    /// An operation on the file ended; says whether it was a read.
    pub(super) fn on_reader_read(&mut self, now: Instant, tag: DiskTag, result: &DiskResult) -> bool {
        let DiskTag::Read(token) = tag else { return false };
        let bytes = result.clone().map(|ok| ok.into_data().unwrap_or_default());
        self.outputs.extend(self.reading.done(now, token, bytes).map(Output::ReadDone));
        true
    }

    /// What was read is not what comes, or nothing comes: nobody waits any longer.
    pub(super) fn stop_readers(&mut self) {
        self.outputs.extend(self.reading.stop().into_iter().map(Output::ReadDone));
    }

    /// Has connections fetch what readers need soon. One that fetches what can wait gives way where there is no other;
    /// they do so one after the other, each when the last has found work again.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.reading.is_empty() || !self.some_ranges() {
            return;
        }
        let owners = self.level();
        let Some(segments) = self.segments.as_mut().filter(|segments| segments.total() != u64::MAX) else {
            return;
        };
        segments.prefer(self.reading.readers().windows(now, 0));
        let late: Vec<u64> =
            self.reading.waiting().filter(|at| segments.received().end_of(*at).is_none()).collect();
        if late.is_empty() {
            return;
        }
        segments.make_room(owners);
        if let Some(key) = self.silent_before(now, &late) {
            self.close_slot(now, key);
        }
        let Some(segments) = &self.segments else { return };
        let leasing = |slot: &Slot| matches!(slot.stage, Stage::Leasing) && !slot.waits(now);
        let coming = self.slots.iter().any(|(_, slot)| leasing(slot));
        let is_full = segments.first_needed().is_some() && self.working(now) >= self.wanted(now);
        if is_full
            && !coming
            && self.pick_mirror(now).is_some()
            && let Some(key) = self.least_needed()
        {
            self.close_slot(now, key);
        }
    }

    /// An exchange that has what a reader waits for and sends nothing: somebody else gets it.
    fn silent_before(&self, now: Instant, late: &[u64]) -> Option<SlotKey> {
        let segments: &Segments<SlotKey> = self.segments.as_ref()?;
        let is_silent = |slot: &Slot| {
            matches!(slot.stage, Stage::Receiving { .. })
                && now - slot.last_data() >= PATIENCE
                && slot.pace_at(now, self.rtt).rate == 0
        };
        let holds = |key| segments.remaining(key).is_some_and(|rest| late.iter().any(|at| rest.contains(at)));
        self.slots.iter().find(|(key, slot)| is_silent(slot) && holds(*key)).map(|(key, _)| key)
    }

    /// An exchange that fetches what nobody reads soon: the one that is furthest behind in the file.
    fn least_needed(&self) -> Option<SlotKey> {
        let segments: &Segments<SlotKey> = self.segments.as_ref()?;
        let fetching = |slot: &Slot| matches!(slot.stage, Stage::Asking { .. } | Stage::Receiving { .. });
        let can_wait = self.slots.iter().filter(|(key, slot)| fetching(slot) && segments.can_wait(*key));
        can_wait.map(|(key, _)| key).max_by_key(|key| segments.remaining(*key).map(|rest| rest.start))
    }
}

/// A server that pauses for longer in the middle of an answer has forgotten it, as far as somebody who waits can tell.
const PATIENCE: Duration = Duration::from_secs(2);
