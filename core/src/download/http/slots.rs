//! Which exchanges a download begins: how many, with which mirror, for which bytes.

use super::exchange::{Slot, Stage};
use super::mirrors::{Mirror, MirrorIndex, Ranges};
use super::response::Expectation;
use super::segments::{Pace, Segments};
use super::{HttpDownload, Output, Phase, SlotKey};
use crate::base::Instant;
use crate::download::error::DownloadError;
use crate::download::lease::{self, Lease};
use core::ops::Range;
use core::time::Duration;

impl HttpDownload {
    /// Begins as many exchanges as make sense now, and finishes when there is nothing left to fetch.
    pub(super) fn plan_exchanges(&mut self, now: Instant) {
        self.observe_ramp(now);
        self.cut_losers(now);
        if self.segments.as_ref().is_some_and(Segments::is_complete) {
            self.finish(now);
            return;
        }
        self.hurry(now);
        while now >= self.rest_until && self.working(now) < self.wanted(now) {
            let Some(mirror) = self.pick_mirror(now) else { break };
            self.make_room();
            self.begin(now, mirror);
        }
        let stuck = self.slots.is_empty() && self.mirrors.next_wake(now).is_none() && now >= self.rest_until;
        if stuck && self.pick_mirror(now).is_none() {
            self.out_of_mirrors(now);
        }
        self.schedule_look(now);
    }

    /// How many exchanges there should be.
    pub(super) fn wanted(&self, now: Instant) -> usize {
        let Some(segments) = self.segments.as_ref().filter(|s| s.total() != u64::MAX && self.some_ranges())
        else {
            return 1;
        };
        let open =
            self.slots.iter().find(|(_, slot)| slot.open_ended).map_or(0, |(key, _)| segments.sharable(key));
        let free = segments.free().div_ceil(self.plan.min_segment).max(open);
        let more = usize::try_from(free).unwrap_or(usize::MAX).max(usize::from(self.worth_stealing(now)));
        self.level().min(segments.owners().saturating_add(more)).max(1)
    }

    pub(super) fn level(&self) -> usize {
        // Every mirror gets one connection, so that it is measured.
        let ranged = |(index, m): &(MirrorIndex, &Mirror)| {
            self.may_use(*index) && m.is_alive() && m.ranges != Ranges::No
        };
        let alive = self.mirrors.iter().filter(ranged).count();
        self.ramp.level().max(alive).min(self.plan.max_connections)
    }

    pub(super) fn some_ranges(&self) -> bool {
        let mut alive =
            self.mirrors.iter().filter(|(index, mirror)| self.may_use(*index) && mirror.is_alive());
        alive.any(|(_, mirror)| mirror.ranges != Ranges::No)
    }

    /// After a wrong digest one mirror is tried alone.
    fn may_use(&self, index: MirrorIndex) -> bool {
        self.solo.is_none_or(|alone| alone == index)
    }

    /// The mirror for the next exchange; one whose host keeps an exchange waiting gets no other.
    pub(super) fn pick_mirror(&self, now: Instant) -> Option<MirrorIndex> {
        let whole = self.segments.as_ref().is_none_or(|s| s.received().is_empty()) || !self.some_ranges();
        let waits = |index| self.slots.iter().any(|(_, slot)| slot.mirror == index && slot.waits(now));
        let idle = self.working(now) == 0;
        self.mirrors.best_of(now, whole && idle, |index| self.may_use(index) && !waits(index))
    }

    /// How many exchanges fetch or are about to: not those that throw an answer away, or wait for a host that is paced
    /// or has no connection to spare.
    pub(super) fn working(&self, now: Instant) -> usize {
        let works = |slot: &Slot| !matches!(slot.stage, Stage::Draining { .. }) && !slot.waits(now);
        self.slots.iter().filter(|(_, slot)| works(slot)).count()
    }

    /// Cuts the answer that covers the whole rest, if nothing else is free.
    fn make_room(&mut self) {
        let owners = self.level();
        let Some(segments) = &mut self.segments else { return };
        if segments.free() > 0 {
            return;
        }
        let open = self.slots.iter().find(|(_, slot)| slot.open_ended);
        if let Some((key, slot)) = open {
            segments.share(key, owners, slot.pace());
        }
    }

    fn begin(&mut self, now: Instant, mirror: MirrorIndex) {
        let to = self.mirrors.at(mirror).destination();
        let slot = self.slots.insert(Slot::new(now, mirror, to.clone()));
        self.mirrors.at_mut(mirror).busy += 1;
        self.outputs.push_back(Output::Lease(lease::Output::Lease { slot, to }));
    }

    /// A connection is there: gives it work, or gives it back.
    pub(super) fn on_leased(&mut self, now: Instant, key: SlotKey, lease: Lease) {
        let Some(slot) = self.slots.get(key).filter(|slot| slot.lease().is_none()) else {
            self.give_back(lease);
            return;
        };
        let mirror = slot.mirror;
        // A redirect may have led the mirror to another host since this connection was asked for.
        let fits = self.mirrors.at(mirror).destination() == slot.to;
        let Some(expected) = fits.then(|| self.work_for(now, key, mirror)).flatten() else {
            self.remove_slot(key);
            if fits {
                self.rest_until = now + LOOK_EVERY;
            }
            self.give_back(lease);
            return;
        };
        let request = self.plan.request(self.mirrors.at(mirror), expected.range.as_ref());
        let url = self.mirrors.at(mirror).url.clone();
        let total = self.total();
        if let Some(slot) = self.slots.get_mut(key) {
            slot.open_ended = expected.range.as_ref().is_none_or(|range| Some(range.end) == total);
            slot.begin(now, lease, expected);
            slot.url = Some(url);
            if let Some(lease) = slot.lease_mut() {
                lease.connection.request(now, &request);
            }
        }
        self.drain(now, key);
    }

    /// What an exchange asks for.
    fn work_for(&mut self, now: Instant, key: SlotKey, index: MirrorIndex) -> Option<Expectation> {
        let owners = self.level().max(1);
        let mirror = self.mirrors.at(index);
        let validator = mirror.validator.clone();
        let whole = mirror.ranges == Ranges::No;
        let Some(segments) = &mut self.segments else {
            let alone = self.plan.max_connections == 1;
            let range = (!whole).then_some(0..if alone { u64::MAX } else { FIRST_RANGE });
            return Some(Expectation { range, total: None, validator });
        };
        let total = Some(segments.total()).filter(|&total| total != u64::MAX);
        if whole || total.is_none() {
            if segments.owners() > 0 {
                return None;
            }
            segments.take(key, 0..segments.total(), segments.total());
            return Some(Expectation { range: None, total, validator });
        }
        let pace = Pace { rate: self.mirrors.rate(index) };
        let alone = owners <= 1 && segments.owners() == 0;
        let range = if alone { take_rest(segments, key) } else { segments.assign(key, owners, pace) };
        let range = range.or_else(|| self.steal(now, key, pace))?;
        Some(Expectation { range: Some(range), total, validator })
    }

    fn steal(&mut self, now: Instant, key: SlotKey, pace: Pace) -> Option<Range<u64>> {
        let (slots, rtt) = (&self.slots, self.rtt);
        let of = |owner| slots.get(owner).map_or(Pace { rate: 0 }, |slot| slot.pace_at(now, rtt));
        self.segments.as_mut()?.steal(key, pace, min_gain(rtt), of)
    }

    /// Whether some exchange is so slow that another connection could well take over a share.
    fn worth_stealing(&self, now: Instant) -> bool {
        let of = |owner| self.slots.get(owner).map_or(Pace { rate: 0 }, |slot| slot.pace_at(now, self.rtt));
        let fastest = self.mirrors.iter().map(|(index, _)| self.mirrors.rate(index)).max().unwrap_or(0);
        now >= self.rest_until
            && self
                .segments
                .as_ref()
                .is_some_and(|s| s.can_steal(Pace { rate: fastest }, min_gain(self.rtt), of))
    }

    fn observe_ramp(&mut self, now: Instant) {
        let receiving = self.slots.iter().filter(|(_, slot)| matches!(slot.stage, Stage::Receiving { .. }));
        let last_data: Vec<Instant> = receiving.map(|(_, slot)| slot.last_data()).collect();
        if self.is_growing(now) {
            self.ramp.observe(now, self.received, &last_data, self.rtt);
        }
    }

    /// Whether it may be judged now whether more connections help.
    fn is_growing(&self, now: Instant) -> bool {
        let receives = |slot: &Slot| matches!(slot.stage, Stage::Receiving { .. });
        self.slots.iter().any(|(_, slot)| receives(slot)) && self.is_worth_growing(now)
    }

    /// Whether there is enough left for more connections to pay: what one has in flight is lost where it is cut.
    fn is_worth_growing(&self, now: Instant) -> bool {
        let Some(segments) = self.segments.as_ref().filter(|segments| segments.total() != u64::MAX) else {
            return false;
        };
        let left = (segments.total() - segments.received().len()) as f64;
        let rate =
            self.received as f64 / self.first_data.map_or(0.0, |at| (now - at).as_secs_f64()).max(1e-9);
        left / rate.max(1.0) > WORTH_GROWING.as_secs_f64()
    }

    /// Ends exchanges of which others have fetched everything.
    fn cut_losers(&mut self, now: Instant) {
        let Some(segments) = &self.segments else { return };
        let lost = |key: SlotKey, slot: &super::Slot| {
            matches!(slot.stage, Stage::Receiving { .. } | Stage::Asking { .. })
                && segments.remaining(key).is_some_and(|rest| !rest.is_empty() && segments.is_done(key))
        };
        let losers: Vec<SlotKey> =
            self.slots.iter().filter(|&(key, slot)| lost(key, slot)).map(|(key, _)| key).collect();
        for key in losers {
            self.close_slot(now, key);
        }
    }

    fn finish(&mut self, now: Instant) {
        let Some(total) = self.total() else { return };
        self.close_all(now);
        self.phase = Phase::Finishing;
        self.next_look = None;
        self.target.finish(total);
    }

    /// No mirror will ever answer again. Mirrors that were put aside because they have another file are the last
    /// resort: the file is then fetched from them, from zero.
    fn out_of_mirrors(&mut self, now: Instant) {
        if self.solo.is_none() && self.mirrors.revive_others() {
            self.restart(now);
            return;
        }
        if let Some(MirrorIndex(tried)) = self.solo.filter(|solo| solo.0 + 1 < self.plan.urls.len()) {
            self.solo = Some(MirrorIndex(tried + 1));
            self.restart(now);
            return;
        }
        let error = self.mirrors.worst_error().cloned();
        let fallback = || DownloadError::BadResponse {
            url: self.plan.urls[0].clone(),
            problem: crate::download::error::BadResponse::NoRanges,
        };
        let error = error.unwrap_or_else(fallback);
        self.fail(now, error);
    }

    /// When the plan may look different without anything having happened.
    fn schedule_look(&mut self, now: Instant) {
        let wake = self.mirrors.next_wake(now);
        let running = self.slots.iter().any(|(_, slot)| slot.lease().is_some());
        let several =
            running && self.segments.as_ref().is_some_and(|s| s.total() != u64::MAX) && self.some_ranges();
        let stragglers = several.then(|| now + LOOK_EVERY).filter(|_| self.plan.max_connections > 1);
        let growing = self.ramp.deadline(self.rtt).filter(|_| several && self.is_growing(now));
        let growing = growing.map(|at| at.max(now + MIN_LOOK));
        let kept = self.next_look.filter(|&at| at > now && stragglers.is_some());
        let rested = Some(self.rest_until).filter(|&at| at > now);
        let waited = self.slots.iter().filter_map(|(_, slot)| slot.waits_from(now)).min();
        self.next_look =
            wake.into_iter().chain(rested).chain(waited).chain(kept.or(stragglers)).chain(growing).min();
    }

    /// Removes an exchange, frees its bytes, and takes back what it waits for.
    pub(super) fn remove_slot(&mut self, key: SlotKey) -> Option<Slot> {
        let slot = self.slots.remove(key)?;
        let mirror = self.mirrors.at_mut(slot.mirror);
        mirror.busy = mirror.busy.saturating_sub(1);
        if let Some(segments) = &mut self.segments {
            segments.release(key);
        }
        Some(slot)
    }

    /// Ends an exchange; its connection goes with it unless it is idle.
    pub(super) fn close_slot(&mut self, now: Instant, key: SlotKey) {
        let Some(slot) = self.remove_slot(key) else { return };
        let to = slot.to.clone();
        match slot.into_lease() {
            Some(lease) => self.give_back(lease.break_off(now)),
            None => self.outputs.push_back(Output::Lease(lease::Output::Unlease { slot: key, to })),
        }
    }

    pub(super) fn give_back(&mut self, lease: Lease) {
        self.outputs.extend(lease.give_back().into_iter().map(Output::Lease));
    }

    pub(super) fn close_all(&mut self, now: Instant) {
        for key in self.slots.keys() {
            self.close_slot(now, key);
        }
    }
}

/// All that is free from the first free byte on: one connection that does all needs no second request.
fn take_rest(segments: &mut Segments<SlotKey>, key: SlotKey) -> Option<Range<u64>> {
    let free = segments.first_free()?;
    segments.take(key, free.clone(), free.end);
    Some(free)
}

/// The least gain for which a share is taken, in seconds: less is lost in the request itself.
fn min_gain(rtt: Duration) -> f64 {
    (rtt * 2).max(MIN_GAIN).as_secs_f64()
}

/// A share that saves less than this is not worth a request.
const MIN_GAIN: Duration = Duration::from_millis(50);
/// A download that ends within this time uses no further connections.
const WORTH_GROWING: Duration = Duration::from_millis(150);
/// The first request asks for this many bytes: it lasts until it is known whether more connections help, and the rest
/// is then handed out without cutting an answer off.
const FIRST_RANGE: u64 = 16 << 20;
/// How often stragglers are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The shortest pause between two looks.
const MIN_LOOK: Duration = Duration::from_millis(1);
