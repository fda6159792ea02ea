//! Announces and scrapes over UDP: at one IPv4 and one IPv6 address of a tracker at once.

use super::error::TrackerError;
use super::exchange::Purpose;
use super::tracker::TrackerIndex;
use super::{Announcer, Output, Phase, STOP_TIME};
use crate::base::{Instant, Reach, ResolveError};
use crate::download::torrent::reach::ReachError;
use crate::proto::tracker::{self as proto, Connection, Conversation, ConversationError, Patience, Request};
use crate::wire::tracker::{AnnounceAnswer, Event, ScrapeAnswer, TrackerUrl, UdpTracker};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// What a tracker has to do with UDP.
#[derive(Debug, Default)]
pub(super) struct Udp {
    /// The addresses of its host; those that failed last.
    addresses: Vec<IpAddr>,
    /// Until when they are taken for right.
    good_until: Option<Instant>,
    /// Where it answered last, at most once for each family.
    answered: Vec<Answered>,
    /// What is under way; at most an announce and a scrape for each family.
    pub(super) talks: Vec<Talk>,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    at: SocketAddr,
    connection: Option<Connection>,
}

/// An exchange with one address.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) conversation: Conversation,
    pub(super) purpose: Purpose,
}

/// How a talk ended.
enum Ended {
    Announced(AnnounceAnswer),
    Scraped(ScrapeAnswer),
    Failed(ConversationError),
}

impl Udp {
    /// The earliest deadline of what is under way.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.talks.iter().filter_map(|talk| talk.conversation.poll_timeout()).min()
    }

    fn is_talking(&self, about: Purpose) -> bool {
        self.talks.iter().any(|talk| talk.purpose.is_scrape() == about.is_scrape())
    }

    /// One address of each family; where it is only to be told that this side leaves, those that know of it.
    fn targets(&self, tracker: &UdpTracker, leaving: bool) -> Vec<SocketAddr> {
        if leaving {
            return self.answered.iter().map(|answered| answered.at).collect();
        }
        let families = [IpAddr::is_ipv4, IpAddr::is_ipv6];
        let first = families.iter().filter_map(|of_family| self.addresses.iter().find(|ip| of_family(ip)));
        first.map(|ip| SocketAddr::new(*ip, tracker.port)).collect()
    }

    fn known_connection(&self, at: SocketAddr) -> Option<Connection> {
        self.answered.iter().find(|answered| answered.at == at)?.connection
    }

    fn note_answer(&mut self, at: SocketAddr, connection: Option<Connection>) {
        self.forget_answer(at);
        self.answered.push(Answered { at, connection });
    }

    fn forget_answer(&mut self, at: SocketAddr) {
        self.answered.retain(|answered| answered.at.is_ipv4() != at.is_ipv4());
    }

    /// The next try goes to another address of the family; where there is none, the name is looked up again.
    fn note_silence(&mut self, at: SocketAddr) {
        self.forget_answer(at);
        if let Some(place) = self.addresses.iter().position(|ip| *ip == at.ip()) {
            self.addresses[place..].rotate_left(1);
        }
        if self.addresses.iter().filter(|ip| ip.is_ipv4() == at.is_ipv4()).count() <= 1 {
            self.good_until = None;
        }
    }

    /// Those that were asked may know of this side although they have not answered. Says whether there are any.
    pub(super) fn note_asked(&mut self) -> bool {
        let asked =
            self.talks.iter().filter(|talk| !talk.purpose.is_scrape() && talk.conversation.has_asked());
        let asked: Vec<_> =
            asked.map(|talk| (talk.conversation.to(), talk.conversation.connection())).collect();
        for (at, connection) in &asked {
            self.note_answer(*at, *connection);
        }
        !asked.is_empty()
    }
}

impl Announcer {
    /// Begins to ask a tracker over UDP; its name is looked up first where that is not fresh.
    pub(super) fn begin_udp(&mut self, now: Instant, index: TrackerIndex, purpose: Purpose) {
        let Some(Some(TrackerUrl::Udp(url))) = self.trackers.get(index.0).map(|tracker| tracker.url.clone())
        else {
            return;
        };
        let leaving = matches!(purpose, Purpose::Announce(announce) if announce.event == Event::Stopped);
        let udp = &mut self.trackers[index.0].udp;
        if let Some(ip) = url.ip() {
            udp.addresses = vec![ip.to_canonical()];
            udp.good_until = Some(now + ADDRESSES_LIFE);
        }
        if leaving || udp.good_until.is_some_and(|until| now < until) {
            self.begin_talks(now, index, &url, purpose);
        } else {
            self.begin_lookup(now, index, url.host, purpose);
        }
    }

    /// The name of a tracker is looked up.
    pub(super) fn on_resolved(
        &mut self,
        now: Instant,
        index: TrackerIndex,
        purpose: Purpose,
        result: Result<Vec<IpAddr>, ResolveError>,
    ) {
        let found = result.map(|found| {
            let usable = found.into_iter().map(|ip| ip.to_canonical()).filter(|ip| MAY_BE.allows(*ip));
            usable.take(MAX_ADDRESSES).collect::<Vec<_>>()
        });
        let error = match found {
            Ok(found) if found.is_empty() => ResolveError::NotFound,
            Ok(found) => {
                let Some(Some(TrackerUrl::Udp(url))) = self.trackers.get(index.0).map(|t| t.url.clone())
                else {
                    return;
                };
                let udp = &mut self.trackers[index.0].udp;
                udp.addresses = found;
                udp.good_until = Some(now + ADDRESSES_LIFE);
                self.begin_talks(now, index, &url, purpose);
                return;
            }
            Err(error) => error,
        };
        self.on_failed(now, index, purpose, TrackerError::Resolve(error));
    }

    fn begin_talks(&mut self, now: Instant, index: TrackerIndex, url: &UdpTracker, purpose: Purpose) {
        let patience = match self.phase {
            Phase::Stopping { .. } => LEAVING,
            _ => PATIENCE,
        };
        let leaving = matches!(purpose, Purpose::Announce(announce) if announce.event == Event::Stopped);
        self.drop_talks(index, purpose);
        for to in self.trackers[index.0].udp.targets(url, leaving) {
            if !MAY_BE.allows(to.ip()) {
                continue;
            }
            let request = match purpose {
                Purpose::Announce(announce) => Request::Announce {
                    request: Box::new(self.request(index, announce)),
                    url_data: url.url_data.clone(),
                },
                Purpose::Scrape => Request::Scrape(self.plan.info_hash),
            };
            let rng = self.rng.fork();
            let udp = &mut self.trackers[index.0].udp;
            let connection = udp.known_connection(to);
            let conversation = Conversation::new(now, to, request, patience, connection, rng);
            udp.talks.push(Talk { conversation, purpose });
        }
        if !self.trackers[index.0].udp.is_talking(purpose) {
            self.on_failed(now, index, purpose, TrackerError::Reach(ReachError::NoHost));
        }
        self.drain_talks(now, index);
    }

    /// A datagram arrived: for the talk that waits for it, if one does.
    pub(super) fn on_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> bool {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let talks = self.trackers.iter_mut().enumerate();
        let taken =
            talks.filter(|(_, tracker)| !tracker.udp.talks.is_empty()).find_map(|(index, tracker)| {
                let mut talks = tracker.udp.talks.iter_mut();
                let taken = talks.any(|talk| talk.conversation.handle_datagram(now, from, bytes));
                taken.then_some(TrackerIndex(index))
            });
        if let Some(index) = taken {
            self.drain_talks(now, index);
        }
        taken.is_some()
    }

    /// Lets the talks do what is due.
    pub(super) fn time_talks(&mut self, now: Instant) {
        for index in (0..self.trackers.len()).map(TrackerIndex) {
            let tracker = &mut self.trackers[index.0];
            if tracker.udp.poll_timeout().is_some_and(|at| at <= now) {
                tracker.udp.talks.iter_mut().for_each(|talk| talk.conversation.handle_timeout(now));
                self.drain_talks(now, index);
            }
        }
    }

    /// Ends the talks of that kind without a word.
    pub(super) fn drop_talks(&mut self, index: TrackerIndex, about: Purpose) {
        let talks = &mut self.trackers[index.0].udp.talks;
        talks.retain(|talk| talk.purpose.is_scrape() != about.is_scrape());
    }

    /// The only place where the outputs of talks are read.
    fn drain_talks(&mut self, now: Instant, index: TrackerIndex) {
        let Some(tracker) = self.trackers.get_mut(index.0) else { return };
        let mut ended = Vec::new();
        for talk in &mut tracker.udp.talks {
            let to = talk.conversation.to();
            while let Some(output) = talk.conversation.poll_output() {
                let end = match output {
                    proto::Output::Datagram(bytes) => {
                        self.outputs.push_back(Output::Datagram { to, bytes });
                        continue;
                    }
                    proto::Output::Announced(answer) => Ended::Announced(answer),
                    proto::Output::Scraped(answer) => Ended::Scraped(answer),
                    proto::Output::Failed(error) => Ended::Failed(error),
                };
                ended.push((to, talk.conversation.connection(), talk.purpose, end));
            }
        }
        tracker.udp.talks.retain(|talk| !talk.conversation.has_ended());
        for (to, connection, purpose, end) in ended {
            let udp = &mut self.trackers[index.0].udp;
            match end {
                Ended::Announced(answer) => {
                    udp.note_answer(to, connection);
                    self.on_announced(now, index, purpose, answer);
                }
                Ended::Scraped(answer) => {
                    udp.note_answer(to, connection);
                    self.on_scraped(index, answer);
                }
                Ended::Failed(error) => {
                    if error == ConversationError::TimedOut {
                        udp.note_silence(to);
                    }
                    // The other family may still answer.
                    if !udp.is_talking(purpose) {
                        self.on_failed(now, index, purpose, TrackerError::Udp(error));
                    }
                }
            }
        }
    }
}

/// A tracker in the own network is fine: until it has answered as one, it gets nothing but 16 bytes that ask for a
/// connection.
const MAY_BE: Reach = Reach::Host;
/// BEP 15: repeated after 15 and 45 seconds. Waiting longer would only keep the rest of the tier waiting.
const PATIENCE: Patience = Patience { resend: Duration::from_secs(15), total: Duration::from_secs(60) };
/// A lost packet is repeated once within the time that leave-taking has.
const LEAVING: Patience = Patience { resend: Duration::from_secs(1), total: STOP_TIME };
/// How long the addresses of a name are taken for right.
const ADDRESSES_LIFE: Duration = Duration::from_secs(30 * 60);
/// The most addresses of one name that are kept: one of each family is asked, the others stand by.
const MAX_ADDRESSES: usize = 8;
