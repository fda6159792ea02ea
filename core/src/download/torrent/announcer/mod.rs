//! Machine: the trackers of one torrent (BEP 3, 12, 15, 48).
//!
//! Every tier is announced to by itself. Within a tier one tracker is kept told: the first of the tier's order that
//! answers, which moves to the front (BEP 12); when it fails, the next is asked at once, and where one takes its time
//! the next is asked beside it. Failures are repeated with growing pauses. `started`, `completed` and `stopped` reach
//! each tracker that has to hear them; the last within [`STOP_TIME`].
//!
//! HTTP exchanges lease connections from above as downloads do; UDP is a conversation with one address of each family.

mod error;
mod exchange;
mod output;
mod plan;
mod schedule;
mod status;
#[cfg(test)]
mod tests;
mod tiers;
mod tracker;
mod udp;

pub use self::output::{MessageKind, Output};
pub use self::plan::{AnnouncePlan, Totals};
pub use self::status::{TrackerState, TrackerStatus};

use self::error::TrackerError;
use self::exchange::{Purpose, Slot};
use self::tiers::Tier;
use self::tracker::{Announcing, Tracker, TrackerIndex};
use crate::base::link::ResolveError;
use crate::base::{Instant, Key, LinkInput, Rng, Slab};
use crate::download::{DownloadError, Lease};
use crate::wire::printable::Printable;
use crate::wire::tracker::{AnnounceAnswer, AnnounceRequest, Event, ScrapeAnswer, TrackerUrl};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

/// Names one exchange with a tracker, or one look-up of its name.
pub type SlotKey = Key<Slot>;

/// All trackers of one torrent.
///
/// ```
/// use gosh_dl_core::base::{InfoHash, Instant, PeerId, Rng};
/// use gosh_dl_core::download::torrent::announcer::{AnnouncePlan, Announcer, Output, Totals};
///
/// let plan = AnnouncePlan {
///     info_hash: InfoHash([1; 20]),
///     peer_id: PeerId(*b"-GD0100-abcdefghijkl"),
///     port: 6881,
///     key: 7,
///     user_agent: "gosh-dl/0.1.0".into(),
///     tiers: vec![vec!["udp://192.0.2.1:6969/announce".into()], vec!["http://tracker.example/announce".into()]],
///     announce_ip: None,
///     ipv6: None,
/// };
/// let mut announcer = Announcer::new(Instant::ZERO, plan, Rng::from_seed([0; 32]));
/// announcer.set_totals(Totals { left: 1000, ..Totals::default() });
/// announcer.start(Instant::ZERO);
/// assert!(matches!(announcer.poll_output(), Some(Output::Datagram { .. })));
/// assert!(matches!(announcer.poll_output(), Some(Output::Lease { .. })));
/// ```
#[derive(Debug)]
pub struct Announcer {
    plan: AnnouncePlan,
    totals: Totals,
    rng: Rng,
    phase: Phase,
    completed: bool,
    tiers: Vec<Tier>,
    trackers: Vec<Tracker>,
    slots: Slab<Slot>,
    /// The earliest deadline, as of the last [`settle`](Self::settle).
    next: Option<Instant>,
    outputs: VecDeque<Output>,
}

/// What an announcer is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Running,
    /// Taking leave; of who is yet to hear that nothing is missing, from `hurry` on without an answer to that.
    Stopping {
        hurry: Option<Instant>,
        until: Instant,
    },
}

impl Announcer {
    /// An announcer that is at rest; [`start`](Self::start) begins.
    pub fn new(now: Instant, mut plan: AnnouncePlan, rng: Rng) -> Self {
        let tiers = core::mem::take(&mut plan.tiers);
        let mut announcer = Self {
            plan,
            totals: Totals::default(),
            rng,
            phase: Phase::Idle,
            completed: false,
            tiers: Vec::new(),
            trackers: Vec::new(),
            slots: Slab::new(),
            next: None,
            outputs: VecDeque::new(),
        };
        for tier in tiers {
            let place = announcer.tiers.len();
            for url in tier {
                announcer.insert(now, &url, place);
            }
        }
        for tier in &mut announcer.tiers {
            tier.shuffle(&mut announcer.rng);
        }
        announcer
    }

    /// Tells the trackers that this side takes part, and keeps them told. Also after [`Output::Stopped`]; while a
    /// [`stop`](Self::stop) is under way, it is broken off.
    pub fn start(&mut self, now: Instant) {
        if self.phase != Phase::Running {
            if matches!(self.phase, Phase::Stopping { .. }) {
                self.drop_all(now);
            }
            self.phase = Phase::Running;
            for tier in &mut self.tiers {
                tier.due = now;
            }
            self.settle(now);
        }
    }

    /// Tells the trackers that the last missing byte has arrived.
    pub fn completed(&mut self, now: Instant) {
        self.completed = true;
        self.settle(now);
    }

    /// Takes leave of all trackers that know of this side; [`Output::Stopped`] follows within [`STOP_TIME`], and
    /// nothing but [`start`](Self::start) after it.
    pub fn stop(&mut self, now: Instant) {
        match self.phase {
            Phase::Idle => {
                self.drop_all(now);
                self.outputs.push_back(Output::Stopped);
                self.settle(now);
            }
            Phase::Stopping { .. } => {}
            Phase::Running => {
                self.phase = Phase::Stopping { hurry: Some(now + STOP_TIME / 2), until: now + STOP_TIME };
                self.take_leave(now);
                self.settle(now);
            }
        }
    }

    /// The user wants all trackers asked now. One that has just answered, or named a shortest interval, waits.
    pub fn reannounce(&mut self, now: Instant) {
        for tracker in &mut self.trackers {
            tracker.allow(now);
        }
        for tier in &mut self.tiers {
            let first = tier.first().and_then(|index| self.trackers.get(index.0));
            tier.due = first.map_or(now, |tracker| tracker.min_until().max(now));
        }
        self.settle(now);
    }

    /// There are few peers: asks for more as soon as the trackers allow. May be called as often as it is true.
    pub fn want_peers(&mut self, now: Instant) {
        for tier in &mut self.tiers {
            let first = tier.first().and_then(|index| self.trackers.get(index.0));
            tier.hungry = true;
            tier.due = first.map_or(tier.due, |tracker| tracker.eager_at().max(now).min(tier.due));
        }
        self.settle(now);
    }

    /// Asks all trackers for their numbers of seeders and leechers (BEP 48), each at most once a minute. Also at rest.
    pub fn scrape(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Stopping { .. }) {
            return;
        }
        for index in (0..self.trackers.len()).map(TrackerIndex) {
            let tracker = &mut self.trackers[index.0];
            let rests = tracker.last_scrape.is_some_and(|at| now - at < SCRAPE_EVERY);
            if tracker.is_enabled() && !rests {
                tracker.last_scrape = Some(now);
                self.begin(now, index, Purpose::Scrape);
            }
        }
        self.settle(now);
    }

    /// One more tracker, in a tier of its own where `tier` is past the last. Says whether it is a new one; there are at
    /// most [`MAX_TRACKERS`].
    pub fn add_tracker(&mut self, now: Instant, url: &str, tier: usize) -> bool {
        let is_new = self.insert(now, url, tier);
        self.settle(now);
        is_new
    }

    /// What has been moved so far; the next announce carries it.
    pub fn set_totals(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// The port at which peers reach this side has changed.
    pub fn set_port(&mut self, port: u16) {
        self.plan.port = port;
    }

    /// The connection that an exchange waits for. `reused` tells that it has served before.
    pub fn leased(&mut self, now: Instant, slot: SlotKey, lease: Lease) {
        self.on_leased(now, slot, lease);
        self.settle(now);
    }

    /// There is no connection for an exchange.
    pub fn lease_failed(&mut self, now: Instant, slot: SlotKey, error: DownloadError) {
        if let Some((index, purpose, bounds)) = self.end_leasing(slot) {
            let error = match error {
                DownloadError::OutOfReach { .. } => TrackerError::Reach(bounds.beyond),
                error => TrackerError::NoConnection(Box::new(error)),
            };
            self.on_failed(now, index, purpose, error);
        }
        self.settle(now);
    }

    /// Something happened on the link of an exchange.
    pub fn handle_link(&mut self, now: Instant, slot: SlotKey, input: LinkInput) {
        self.with_connection(now, slot, |connection| connection.handle_input(now, input));
        self.settle(now);
    }

    /// Lets the link of an exchange read `bytes` more.
    pub fn grant(&mut self, now: Instant, slot: SlotKey, bytes: u32) {
        self.with_connection(now, slot, |connection| connection.grant(now, bytes));
        self.settle(now);
    }

    /// A look-up ended.
    pub fn resolved(&mut self, now: Instant, query: SlotKey, result: Result<Vec<IpAddr>, ResolveError>) {
        if let Some((index, purpose)) = self.end_lookup(query) {
            self.on_resolved(now, index, purpose, result);
        }
        self.settle(now);
    }

    /// A datagram arrived. Says whether it was for this announcer.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> bool {
        let taken = self.on_datagram(now, from, bytes);
        if taken {
            self.settle(now);
        }
        taken
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next.is_none_or(|at| now < at) {
            return;
        }
        self.time_slots(now);
        self.time_talks(now);
        match self.phase {
            Phase::Stopping { until, .. } if until <= now => self.drop_all(now),
            Phase::Stopping { hurry: Some(at), until } if at <= now => {
                self.phase = Phase::Stopping { hurry: None, until };
                self.leave_unheard(now);
            }
            _ => {}
        }
        self.settle(now);
    }

    /// The next thing that is asked for or was found; nothing else happens in here.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    // ----- views -----------------------------------------------------------------------------------------------------

    /// All trackers, tier by tier in the order in which they are asked.
    pub fn trackers(&self) -> Vec<TrackerStatus> {
        let mut all = Vec::with_capacity(self.trackers.len());
        for tier in &self.tiers {
            for index in tier.order() {
                let Some(tracker) = self.trackers.get(index.0) else { continue };
                let is_next = tier.first() == Some(*index) || tracker.failures() > 0;
                all.push(tracker.status(Some(tier.due).filter(|_| is_next && self.phase == Phase::Running)));
            }
        }
        all
    }

    /// How much more the link of an exchange may read: granted and not used; `None` if it wants nothing.
    pub fn credit(&self, slot: SlotKey) -> Option<u64> {
        self.slots.get(slot)?.credit()
    }

    /// Whether the exchange waits for the beginning of an answer, which is short.
    pub fn is_asking(&self, slot: SlotKey) -> bool {
        self.slots.get(slot).is_some_and(Slot::is_asking)
    }

    /// Whether a datagram of a tracker may come: where not, [`handle_datagram`](Self::handle_datagram) need not be asked.
    pub fn awaits_datagrams(&self) -> bool {
        self.trackers.iter().any(|tracker| !tracker.udp.talks.is_empty())
    }

    // ----- moving on -------------------------------------------------------------------------------------------------

    /// The only place where announces are begun, and where the end of leave-taking is seen.
    fn settle(&mut self, now: Instant) {
        match self.phase {
            Phase::Idle => {}
            Phase::Running => self.plan_announces(now),
            Phase::Stopping { .. } => {
                if !self.trackers.iter().any(|tracker| tracker.announcing.is_some()) {
                    self.drop_all(now);
                    self.phase = Phase::Idle;
                    self.outputs.push_back(Output::Stopped);
                }
            }
        }
        self.next = self.earliest(now);
    }

    fn announce(&mut self, now: Instant, index: TrackerIndex) {
        let Some(tracker) = self.trackers.get_mut(index.0) else { return };
        let event = tracker.next_event(self.completed);
        let whole = self.completed || self.totals.left == 0;
        let announce = Announcing { began: now, event, whole };
        tracker.announcing = Some(announce);
        self.begin(now, index, Purpose::Announce(announce));
    }

    fn begin(&mut self, now: Instant, index: TrackerIndex, purpose: Purpose) {
        match self.trackers.get(index.0).and_then(|tracker| tracker.url.as_ref()) {
            Some(TrackerUrl::Http(_)) => self.begin_http(now, index, purpose),
            Some(TrackerUrl::Udp(_)) => self.begin_udp(now, index, purpose),
            None => {}
        }
    }

    /// What is said with an announce.
    fn request(&self, index: TrackerIndex, announce: Announcing) -> AnnounceRequest {
        let tracker = self.trackers.get(index.0);
        let hungry = tracker.and_then(|tracker| self.tiers.get(tracker.tier)).is_some_and(|tier| tier.hungry);
        let first = tracker.is_some_and(|tracker| !tracker.has_answered());
        let num_want = match announce.event {
            Event::Stopped => 0,
            _ if hungry || first && self.totals.left > 0 => MANY_PEERS,
            _ => SOME_PEERS,
        };
        AnnounceRequest {
            info_hash: self.plan.info_hash,
            peer_id: self.plan.peer_id,
            port: self.plan.port,
            uploaded: self.totals.uploaded,
            downloaded: self.totals.downloaded,
            left: self.totals.left,
            event: announce.event,
            num_want,
            key: self.plan.key,
            ip: self.plan.announce_ip,
            ipv6: self.plan.ipv6,
        }
    }

    fn on_announced(
        &mut self,
        now: Instant,
        index: TrackerIndex,
        purpose: Purpose,
        mut answer: AnnounceAnswer,
    ) {
        let Purpose::Announce(announce) = purpose else { return };
        // Who leaves waits until the other family of addresses has heard it, too.
        let waits = announce.event == Event::Stopped && self.is_asked(index, purpose);
        let Some(tracker) = self.trackers.get_mut(index.0) else { return };
        let is_awaited = tracker.announcing == Some(announce) && !waits;
        if is_awaited {
            tracker.announcing = None;
            let interval = tracker.succeeded(now, announce, &answer);
            let place = tracker.tier;
            if let Some(tier) = self.tiers.get_mut(place).filter(|_| announce.event != Event::Stopped) {
                tier.promote(index);
                tier.due = now + interval;
                tier.hungry = false;
                self.drop_others(now, index, place);
            }
        } else {
            // The other family of addresses has answered before.
            tracker.count(&answer);
        }
        if let Some(warning) = answer.warning.take() {
            self.tell(index, Printable(&warning).to_string(), MessageKind::Warning);
        }
        self.outputs.extend(answer.external_ip.map(Output::ExternalIp));
        if !answer.peers.is_empty() && announce.event != Event::Stopped {
            // More than were asked for would only stand before what others know.
            answer.peers.truncate(MANY_PEERS as usize);
            self.outputs.push_back(Output::Peers(answer.peers));
        }
        if is_awaited {
            self.leave_after(now, index, announce);
        }
    }

    /// Leave that waited for a tracker to hear that nothing is missing is taken now, whatever it said.
    fn leave_after(&mut self, now: Instant, index: TrackerIndex, announce: Announcing) {
        if announce.event == Event::Completed && matches!(self.phase, Phase::Stopping { .. }) {
            self.leave_from(now, index);
        }
    }

    fn on_scraped(&mut self, index: TrackerIndex, answer: ScrapeAnswer) {
        if let Some(tracker) = self.trackers.get_mut(index.0) {
            tracker.scraped(answer);
        }
    }

    fn on_failed(&mut self, now: Instant, index: TrackerIndex, purpose: Purpose, error: TrackerError) {
        // A scrape is only for show, and changes nothing where it fails.
        let Purpose::Announce(announce) = purpose else { return };
        let is_asked = self.is_asked(index, purpose);
        let Some(tracker) = self.trackers.get_mut(index.0) else { return };
        if tracker.announcing != Some(announce) || is_asked {
            return;
        }
        tracing::debug!(tracker = %tracker.name(), %error, "announce failed");
        tracker.announcing = None;
        tracker.failed(now, &error, &mut self.rng);
        if let Some(reason) = error.reason() {
            self.tell(index, reason, MessageKind::Failure);
        }
        self.leave_after(now, index, announce);
    }

    /// Whether a tracker is being asked the same over HTTP, over the other family of addresses.
    fn is_asked(&self, index: TrackerIndex, purpose: Purpose) -> bool {
        self.slots.iter().any(|(_, slot)| slot.tracker == index && slot.purpose == purpose)
    }

    /// Passes on what a tracker says, unless it has just said the same.
    fn tell(&mut self, index: TrackerIndex, text: String, kind: MessageKind) {
        let Some(tracker) = self.trackers.get_mut(index.0) else { return };
        if tracker.is_news(&text) {
            let tracker = tracker.name();
            self.outputs.push_back(Output::Message { tracker, text, kind });
        }
    }

    /// One tracker of a tier has answered: those that were asked beside it are not waited for.
    fn drop_others(&mut self, now: Instant, winner: TrackerIndex, tier: usize) {
        for index in (0..self.trackers.len()).map(TrackerIndex) {
            let tracker = &mut self.trackers[index.0];
            let beside = index != winner && tracker.tier == tier;
            if let Some(announce) =
                tracker.announcing.filter(|announce| beside && announce.event != Event::Completed)
            {
                tracker.announcing = None;
                self.drop_work(now, index, Purpose::Announce(announce));
            }
        }
    }

    /// Ends what is under way with a tracker, of that kind, without a word.
    fn drop_work(&mut self, now: Instant, index: TrackerIndex, about: Purpose) {
        self.drop_talks(index, about);
        let same = |slot: &Slot| slot.tracker == index && slot.purpose.is_scrape() == about.is_scrape();
        let slots: Vec<SlotKey> =
            self.slots.iter().filter(|(_, slot)| same(slot)).map(|(key, _)| key).collect();
        for slot in slots {
            self.close_slot(now, slot);
        }
    }

    /// Ends everything that is under way; no tracker counts as told any more.
    fn drop_all(&mut self, now: Instant) {
        for tracker in &mut self.trackers {
            tracker.forget_told();
            tracker.allow_events(now);
            tracker.udp.talks.clear();
        }
        for slot in self.slots.keys() {
            self.close_slot(now, slot);
        }
    }

    /// Tells all trackers that know of this side, or may, that it leaves.
    fn take_leave(&mut self, now: Instant) {
        for index in (0..self.trackers.len()).map(TrackerIndex) {
            let asked = self
                .slots
                .iter()
                .any(|(_, slot)| slot.tracker == index && !slot.purpose.is_scrape() && slot.has_asked());
            let tracker = &mut self.trackers[index.0];
            let talked = tracker.udp.note_asked();
            let knows = tracker.is_told() || asked || talked;
            // Who leaves as soon as he has everything is to be counted by those who count: that is said before.
            let is_last = tracker.announcing.is_some_and(|announce| announce.event == Event::Completed);
            self.drop_work(now, index, Purpose::Scrape);
            if knows && is_last {
                continue;
            }
            self.trackers[index.0].announcing = None;
            self.drop_work(now, index, Purpose::Announce(leaving(now)));
            if knows {
                self.leave_from(now, index);
            }
        }
    }

    /// Who has not answered `completed` is told `stopped` all the same, while there is time.
    fn leave_unheard(&mut self, now: Instant) {
        for index in (0..self.trackers.len()).map(TrackerIndex) {
            let announcing = self.trackers[index.0].announcing;
            if let Some(announce) = announcing.filter(|announce| announce.event == Event::Completed) {
                self.drop_work(now, index, Purpose::Announce(announce));
                self.leave_from(now, index);
            }
        }
    }

    fn leave_from(&mut self, now: Instant, index: TrackerIndex) {
        let Some(tracker) = self.trackers.get_mut(index.0) else { return };
        let announce = leaving(now);
        tracker.announcing = Some(announce);
        self.begin(now, index, Purpose::Announce(announce));
    }

    fn insert(&mut self, now: Instant, url: &str, tier: usize) -> bool {
        let place = tier.min(self.tiers.len());
        let tracker = Tracker::new(now, url, place);
        let is_known = match &tracker.url {
            Some(url) => self.trackers.iter().any(|other| other.url.as_ref() == Some(url)),
            None => self.trackers.iter().any(|other| other.url.is_none() && other.name() == tracker.name()),
        };
        if is_known || self.trackers.len() == MAX_TRACKERS {
            return false;
        }
        let index = TrackerIndex(self.trackers.len());
        self.trackers.push(tracker);
        if place == self.tiers.len() {
            self.tiers.push(Tier::new(now));
        }
        self.tiers[place].insert(index, &mut self.rng);
        true
    }
}

fn leaving(now: Instant) -> Announcing {
    Announcing { began: now, event: Event::Stopped, whole: false }
}

/// How long the leave-taking from all trackers takes at most: a shutdown waits for it.
pub const STOP_TIME: Duration = Duration::from_millis(2500);

/// The most trackers of one torrent. Public lists have a hundred, and each tier is a conversation of its own.
pub const MAX_TRACKERS: usize = 128;

/// How often a tracker is scraped at most.
const SCRAPE_EVERY: Duration = Duration::from_secs(60);
/// How many peers are asked for at the beginning, and when there are few.
const MANY_PEERS: u32 = 200;
/// How many peers are asked for otherwise.
const SOME_PEERS: u32 = 50;
