//! What a download does about answers that are not the content: elsewhere, later, no, other ranges, another version.

use super::exchange::{Slot, Stage};
use super::mirrors::{MirrorIndex, Ranges};
use super::{HttpDownload, MAX_RESTARTS, Output, SlotKey};
use crate::base::mutants::{self, Mutant};
use crate::base::{Instant, Reach};
use crate::download::OnChange;
use crate::download::error::{BadResponse, DownloadError};
use crate::wire::http::{ResponseHead, RetryAfter};
use core::time::Duration;

impl HttpDownload {
    /// The user may name a service of the own network, and that one others. Nobody else leads into it, whatever the names
    /// on the way resolve to: the address that was dialed counts, and the next one is looked at when it is dialed.
    pub(super) fn on_redirect(&mut self, now: Instant, key: SlotKey, location: &str) {
        let Some((index, current)) = self.asked(key) else { return };
        let is_local = self.slots.get(key).and_then(Slot::lease).is_some_and(|lease| lease.local);
        let may_be_local = is_local || self.plan.allow_local_redirects;
        self.skip_body(now, key);
        if !current {
            return;
        }
        let limit = self.plan.max_redirects;
        let mirror = self.mirrors.at_mut(index);
        let url = mirror.url.clone();
        match url.join(location) {
            Err(error) => self.mirrors.give_up(index, DownloadError::BadRedirect { url, error }),
            Ok(_) if mirror.redirects >= limit => {
                let url = mirror.home.clone();
                self.mirrors.give_up(index, DownloadError::TooManyRedirects { url, limit });
            }
            Ok(next) => mirror.follow(next, if may_be_local { Reach::Anywhere } else { Reach::Elsewhere }),
        }
    }

    pub(super) fn on_retry(&mut self, now: Instant, key: SlotKey, status: u16, after: Option<RetryAfter>) {
        let Some(slot) = self.slots.get(key) else { return };
        let (index, origin) = (slot.mirror, slot.to.origin.clone());
        let url = self.mirrors.at(index).url.clone();
        self.skip_body(now, key);
        let after = after.filter(|_| !mutants::is(Mutant::IgnoreRetryAfter));
        let wait = after.map(|after| match after {
            RetryAfter::Seconds(seconds) => seconds,
            RetryAfter::At(unix) => unix.saturating_sub(self.wall.unix_seconds(now)),
        });
        match wait {
            Some(seconds) if seconds > MAX_RETRY_AFTER && self.others_deliver(index) => {
                self.wants_no_more(now, index);
            }
            Some(seconds) if seconds > MAX_RETRY_AFTER => {
                self.mirrors.give_up(index, DownloadError::RetryAfter { url, status, seconds });
            }
            Some(seconds) => {
                let until = now + Duration::from_secs(seconds);
                self.outputs.push_back(Output::Pace { origin, until });
                self.mirror_failed(now, index, DownloadError::Status { url, status });
                self.mirrors.rest(index, until);
            }
            None => self.mirror_failed(now, index, DownloadError::Status { url, status }),
        }
    }

    pub(super) fn on_refused(&mut self, now: Instant, key: SlotKey, status: u16) {
        let Some((index, current)) = self.asked(key) else { return };
        let url = self.mirrors.at(index).url.clone();
        self.skip_body(now, key);
        if !current {
            return;
        }
        let mirror = self.mirrors.at_mut(index);
        if mirror.url != mirror.home && mirror.delivered {
            // What a redirect led to may have expired: the first URL knows the new place.
            mirror.go_home();
            mirror.delivered = false;
            return;
        }
        if self.others_deliver(index) {
            self.wants_no_more(now, index);
        } else {
            self.mirrors.give_up(index, DownloadError::Status { url, status });
        }
    }

    /// The mirror of an exchange, and whether what was asked for is still where it leads.
    fn asked(&self, key: SlotKey) -> Option<(MirrorIndex, bool)> {
        let slot = self.slots.get(key)?;
        Some((slot.mirror, slot.url.as_ref() == Some(&self.mirrors.at(slot.mirror).url)))
    }

    fn others_deliver(&self, index: MirrorIndex) -> bool {
        let receiving = |slot: &Slot| slot.mirror == index && matches!(slot.stage, Stage::Receiving { .. });
        self.slots.iter().any(|(_, slot)| receiving(slot))
    }

    /// The mirror delivers, but not over one connection more.
    fn wants_no_more(&mut self, now: Instant, index: MirrorIndex) {
        let busy = self.mirrors.at(index).busy.saturating_sub(1).max(1);
        self.mirrors.limit(now, index, busy);
        self.ramp.cap(now, self.slots.len().saturating_sub(1));
    }

    /// The server does not take ranges: the next request asks for the whole.
    pub(super) fn without_ranges(&mut self, now: Instant, key: SlotKey) {
        let Some(index) = self.slots.get(key).map(|slot| slot.mirror) else { return };
        self.skip_body(now, key);
        self.mirrors.at_mut(index).ranges = Ranges::No;
        if self.some_other_has_ranges(index) {
            return;
        }
        let busy = self.mirrors.at(index).busy > 1;
        if !busy {
            self.ramp.cap(now, 1);
        }
    }

    /// Wrong ranges are not asked for again.
    pub(super) fn on_bad_range(&mut self, now: Instant, key: SlotKey, problem: BadResponse) {
        let Some(index) = self.slots.get(key).map(|slot| slot.mirror) else { return };
        let url = self.mirrors.at(index).url.clone();
        self.close_slot(now, key);
        self.mirrors.at_mut(index).ranges = Ranges::No;
        self.mirror_failed(now, index, DownloadError::BadResponse { url, problem });
    }

    pub(super) fn on_changed(&mut self, now: Instant, key: SlotKey, head: &ResponseHead) {
        let Some(index) = self.slots.get(key).map(|slot| slot.mirror) else { return };
        let url = self.mirrors.at(index).url.clone();
        let never_delivered = self.mirrors.at(index).validator.is_none() && self.plan.urls.len() > 1;
        if never_delivered && self.base.is_some() {
            self.put_aside(now, key, DownloadError::OtherFile { url });
            return;
        }
        let known = self.mirrors.at(index).validator.as_ref().is_some_and(super::plan::is_some);
        if known && head.status == 200 && !super::plan::is_some(&head.validator()) {
            // A new version would have a validator like the old one. This is more like a page that says sorry.
            self.skip_body(now, key);
            self.mirror_failed(now, index, DownloadError::Changed { url });
            return;
        }
        self.restarts += 1;
        self.most_completed = 0;
        if self.plan.on_change == OnChange::Fail || self.restarts > MAX_RESTARTS {
            self.fail(now, DownloadError::Changed { url });
            return;
        }
        if head.status != 200 {
            self.restart(now);
            return;
        }
        // The answer is the new version from its first byte.
        self.close_others(now, key);
        self.reset_content();
        let total = head.content_length().ok().flatten();
        self.on_content(now, key, head, 0..total.unwrap_or(u64::MAX), total);
    }
}

/// A host that wants a longer pause than an hour does not want us.
const MAX_RETRY_AFTER: u64 = 3600;
