//! Policy: one tracker: what it knows of this side, when it may be asked again, and what it has said.

use super::error::TrackerError;
use super::status::{TrackerState, TrackerStatus};
use super::udp::Udp;
use crate::base::{Instant, Rng};
use crate::download::Backoff;
use crate::wire::printable::Printable;
use crate::wire::tracker::{AnnounceAnswer, Event, Retry, ScrapeAnswer, TrackerUrl, TrackerUrlError};
use core::time::Duration;

/// Names a tracker of one torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TrackerIndex(pub(super) usize);

/// One tracker of a torrent.
#[derive(Debug)]
pub(super) struct Tracker {
    /// Where it is, if that is known.
    pub(super) url: Option<TrackerUrl>,
    /// What stands in the place of a URL that is none.
    shown: Option<String>,
    pub(super) tier: usize,
    told: Told,
    /// Whether its name has addresses of both families, as far as is known.
    pub(super) has_both_families: bool,
    /// The announce that is under way.
    pub(super) announcing: Option<Announcing>,
    pub(super) udp: Udp,
    /// What it wants to be sent back.
    pub(super) tracker_id: Option<Vec<u8>>,
    backoff: Backoff,
    /// After a failure it is not asked before then.
    retry_at: Instant,
    /// Before then nothing but an event is a reason to ask.
    min_until: Instant,
    /// Before then few peers are no reason to ask.
    eager_at: Instant,
    never: bool,
    last_answer: Option<Instant>,
    pub(super) last_scrape: Option<Instant>,
    last_error: Option<String>,
    warning: Option<String>,
    /// What the user has been told last.
    said: Option<String>,
    counts: ScrapeAnswer,
    peers_received: u64,
}

/// What a tracker knows of this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// That it takes part; `whole` if also that it has everything.
    Started {
        whole: bool,
    },
}

/// An announce that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announcing {
    pub(super) began: Instant,
    pub(super) event: Event,
    /// Whether it says that nothing is missing.
    pub(super) whole: bool,
}

impl Tracker {
    pub(super) fn new(now: Instant, url: &str, tier: usize) -> Self {
        let parsed = TrackerUrl::parse(url);
        let shown = parsed.as_ref().is_err().then(|| shown_anyway(url));
        let last_error = parsed.as_ref().err().map(TrackerUrlError::to_string);
        Self {
            url: parsed.ok(),
            shown,
            tier,
            told: Told::Nothing,
            has_both_families: false,
            announcing: None,
            udp: Udp::default(),
            tracker_id: None,
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
            retry_at: now,
            min_until: now,
            eager_at: now,
            never: false,
            last_answer: None,
            last_scrape: None,
            last_error,
            warning: None,
            said: None,
            counts: ScrapeAnswer::default(),
            peers_received: 0,
        }
    }

    /// Whether it can be asked at all.
    pub(super) fn is_enabled(&self) -> bool {
        self.url.is_some() && !self.never
    }

    /// From when on it may be asked; never if it cannot, or is being asked.
    pub(super) fn free_at(&self) -> Option<Instant> {
        (self.is_enabled() && self.announcing.is_none()).then_some(self.retry_at)
    }

    /// Whether it believes that this side takes part.
    pub(super) fn is_told(&self) -> bool {
        self.told != Told::Nothing
    }

    /// What is to be said with the next announce.
    pub(super) fn next_event(&self, completed: bool) -> Event {
        match self.told {
            Told::Nothing => Event::Started,
            Told::Started { whole: false } if completed => Event::Completed,
            Told::Started { .. } => Event::None,
        }
    }

    /// How many announces in a row failed.
    pub(super) fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Whether it has answered in this run or an earlier one.
    pub(super) fn has_answered(&self) -> bool {
        self.last_answer.is_some()
    }

    /// When it may be asked because the user wants it.
    pub(super) fn min_until(&self) -> Instant {
        self.min_until
    }

    /// When it may be asked because there are few peers.
    pub(super) fn eager_at(&self) -> Instant {
        self.eager_at
    }

    /// This side does not take part any more, or begins anew.
    pub(super) fn forget_told(&mut self) {
        self.told = Told::Nothing;
        self.announcing = None;
    }

    /// A run begins or ends: what comes next need not wait for earlier failures.
    pub(super) fn allow_events(&mut self, now: Instant) {
        self.retry_at = now;
    }

    /// The user wants it asked, whatever it has said.
    pub(super) fn allow(&mut self, now: Instant) {
        self.retry_at = now;
        self.never = false;
    }

    /// It has heard `announce` and answered. Returns how long it wants to be left alone.
    pub(super) fn succeeded(
        &mut self,
        now: Instant,
        announce: Announcing,
        answer: &AnnounceAnswer,
    ) -> Duration {
        self.told = match (announce.event, self.told) {
            (Event::Stopped, _) => Told::Nothing,
            (Event::Started, _) => Told::Started { whole: announce.whole },
            (Event::Completed, _) => Told::Started { whole: true },
            (Event::None, told) => told,
        };
        self.backoff.reset();
        self.retry_at = now;
        self.last_answer = Some(now);
        self.last_error = None;
        self.warning = answer.warning.as_deref().map(|text| Printable(text).to_string());
        if let Some(id) = &answer.tracker_id {
            self.tracker_id = Some(id.clone());
        }
        self.count(answer);
        let least = answer.min_interval.map(|least| least.min(MAX_INTERVAL));
        let interval = answer.interval.unwrap_or(DEFAULT_INTERVAL).clamp(MIN_INTERVAL, MAX_INTERVAL);
        let interval = interval.max(least.unwrap_or_default());
        self.min_until = now + least.unwrap_or_default().max(SHORTEST);
        self.eager_at = now + least.unwrap_or(interval.min(EAGER)).max(MIN_INTERVAL);
        interval
    }

    /// Takes the numbers of an answer.
    pub(super) fn count(&mut self, answer: &AnnounceAnswer) {
        self.counts.seeders = answer.seeders.or(self.counts.seeders);
        self.counts.leechers = answer.leechers.or(self.counts.leechers);
        self.peers_received = self.peers_received.saturating_add(answer.peers.len() as u64);
    }

    /// Takes the numbers of a scrape.
    pub(super) fn scraped(&mut self, answer: ScrapeAnswer) {
        let ScrapeAnswer { seeders, leechers, completed } = answer;
        self.counts.seeders = seeders.or(self.counts.seeders);
        self.counts.leechers = leechers.or(self.counts.leechers);
        self.counts.completed = completed.or(self.counts.completed);
    }

    /// An announce has failed: it is left alone for a while.
    pub(super) fn failed(&mut self, now: Instant, error: &TrackerError, rng: &mut Rng) {
        let pause = self.backoff.next(rng);
        self.retry_at = match error.retry() {
            Retry::Unsaid => now + pause,
            Retry::After(after) => now + after.clamp(FIRST_RETRY, MAX_INTERVAL),
            Retry::Never => {
                self.never = true;
                now + pause
            }
        };
        self.last_error = Some(error.to_string());
    }

    /// Whether the user has not been told this yet.
    pub(super) fn is_news(&mut self, text: &str) -> bool {
        let news = self.said.as_deref() != Some(text);
        self.said = Some(text.to_owned());
        news
    }

    /// How it is called where a user sees it.
    pub(super) fn name(&self) -> String {
        match &self.url {
            Some(url) => url.to_string(),
            None => self.shown.clone().unwrap_or_default(),
        }
    }

    /// What can be seen of it; it is asked at `due` if it is the one to be asked.
    pub(super) fn status(&self, due: Option<Instant>) -> TrackerStatus {
        let state = match () {
            () if !self.is_enabled() => TrackerState::Disabled,
            () if self.announcing.is_some() => TrackerState::Announcing,
            () if self.last_error.is_some() => TrackerState::Failing,
            () if self.last_answer.is_some() => TrackerState::Working,
            () => TrackerState::Idle,
        };
        TrackerStatus {
            url: self.name(),
            tier: self.tier,
            state,
            next_announce: due.and_then(|due| Some(self.free_at()?.max(due))),
            last_answer: self.last_answer,
            last_error: self.last_error.clone(),
            warning: self.warning.clone(),
            failures: self.backoff.failures(),
            seeders: self.counts.seeders,
            leechers: self.counts.leechers,
            completed: self.counts.completed,
            peers_received: self.peers_received,
        }
    }
}

/// The scheme and host of what is no URL that is known: what follows may be secret.
fn shown_anyway(text: &str) -> String {
    let text = text.trim();
    let host = text.find("://").map_or(0, |at| at + 3);
    let end = text[host..].find(['/', '?']).map_or(text.len(), |at| host + at);
    let start = text[host..end].rfind('@').map_or(host, |at| host + at + 1);
    Printable(&format!("{}{}", &text[..host], &text[start..end])).to_string()
}

/// The interval where a tracker names none: half an hour, as most of them want it.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30 * 60);
/// The shortest interval: a tracker that wants more would be asked too often by every client of it.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// The longest interval, and the longest pause that a tracker may ask for: one that says 68 years is not lost for ever.
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// With few peers a tracker that names no shortest interval is asked again after this time.
const EAGER: Duration = Duration::from_secs(5 * 60);
/// A user's impatience reaches a tracker no more often than this.
const SHORTEST: Duration = Duration::from_secs(10);
/// The first pause after a failure.
const FIRST_RETRY: Duration = Duration::from_secs(15);
/// The longest pause after failures.
const LAST_RETRY: Duration = Duration::from_secs(30 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tracker::Refusal;
    use crate::wire::tracker::http::AnswerError;

    fn tracker() -> Tracker {
        Tracker::new(Instant::ZERO, "udp://t:1", 0)
    }

    fn announce(event: Event) -> Announcing {
        Announcing { began: Instant::ZERO, event, whole: false }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn intervals_are_kept_within_reason() {
        let interval = |interval: Option<u64>, least: Option<u64>| {
            let (interval, min_interval) = (interval.map(seconds), least.map(seconds));
            let answer = AnnounceAnswer { interval, min_interval, ..AnnounceAnswer::default() };
            let mut tracker = tracker();
            let interval = tracker.succeeded(Instant::ZERO, announce(Event::None), &answer);
            let eager = tracker.eager_at() - Instant::ZERO;
            (interval.as_secs(), eager.as_secs(), (tracker.min_until() - Instant::ZERO).as_secs())
        };
        assert_eq!(interval(None, None), (1800, 300, 10));
        assert_eq!(interval(Some(1), None), (60, 60, 10));
        assert_eq!(interval(Some(1 << 31), None), (86400, 300, 10));
        assert_eq!(interval(Some(1800), Some(900)), (1800, 900, 900));
        assert_eq!(interval(Some(60), Some(900)), (900, 900, 900));
        assert_eq!(interval(Some(1800), Some(1)), (1800, 60, 10));
        assert_eq!(interval(Some(60), Some(1 << 31)), (86400, 86400, 86400));
    }

    #[test]
    fn pauses_are_kept_within_reason() {
        let pause = |retry| {
            let mut tracker = tracker();
            let refusal =
                TrackerError::Answer(AnswerError::Refused(Refusal { reason: String::new(), retry }));
            tracker.failed(Instant::ZERO, &refusal, &mut Rng::from_seed([1; 32]));
            tracker.free_at().map(|at| (at - Instant::ZERO).as_secs())
        };
        assert!((11..19).contains(&pause(Retry::Unsaid).unwrap()));
        assert_eq!(pause(Retry::After(seconds(1))), Some(15));
        assert_eq!(pause(Retry::After(seconds(300))), Some(300));
        assert_eq!(pause(Retry::After(seconds(1 << 31))), Some(86400));
        assert_eq!(pause(Retry::Never), None);
    }

    #[test]
    fn completed_is_told_once_and_only_to_who_knew_that_something_was_missing() {
        let answer = AnnounceAnswer::default();
        let mut tracker = tracker();
        assert_eq!(tracker.next_event(true), Event::Started);
        tracker.succeeded(Instant::ZERO, announce(Event::Started), &answer);
        assert_eq!((tracker.next_event(false), tracker.next_event(true)), (Event::None, Event::Completed));
        tracker.succeeded(Instant::ZERO, announce(Event::Completed), &answer);
        assert_eq!(tracker.next_event(true), Event::None);
        tracker.succeeded(Instant::ZERO, announce(Event::Stopped), &answer);
        assert!(!tracker.is_told());
        let whole = Announcing { whole: true, ..announce(Event::Started) };
        tracker.succeeded(Instant::ZERO, whole, &answer);
        assert_eq!(tracker.next_event(true), Event::None);
    }

    #[test]
    fn unknown_urls_are_shown_without_what_may_be_secret() {
        let status = |url: &str| Tracker::new(Instant::ZERO, url, 3).status(None);
        let shown = |url: &str| status(url).url;
        assert_eq!(shown("wss://me:pw@t.example/secret?secret"), "wss://t.example");
        assert_eq!(shown("\u{1b}[31mred"), "\\u{1b}[31mred");
        assert_eq!(shown("t.example/secret"), "t.example");
        let status = status("wss://t/");
        assert_eq!((status.state, status.tier), (TrackerState::Disabled, 3));
        assert_eq!(status.last_error.as_deref(), Some("only http, https and udp trackers are supported"));
    }
}
