//! How a torrent hears of peers: from trackers, and from other peers (BEP 11).

use super::announcer::{self, Totals};
use super::candidates::Source;
use super::candidates::pex::PexNews;
use super::{Announced, Child, Goal, Lane, Output, Phase, Timer, Torrent};
use crate::base::Instant;
use crate::wire::peer::{Pex, PexFlags};
use core::net::SocketAddr;
use core::time::Duration;

impl Torrent {
    /// Tells the trackers, and looks for peers.
    pub(super) fn join_swarm(&mut self, now: Instant) {
        if self.announced == Announced::Never {
            self.announced = Announced::Started;
            self.find_magnet_peers(now);
            self.tell_totals();
            self.announcer.start(now);
            self.touched.push_back(Child::Announcer);
        }
        if self.phase == Phase::Downloading {
            // It had all that was wanted before.
            self.candidates.wake();
        }
        self.deadlines.set(Timer::Connect, Some(now));
        self.watch_peers(now);
    }

    /// Whom a magnet link names, by their addresses or their hosts.
    fn find_magnet_peers(&mut self, now: Instant) {
        for (host, port) in &self.plan.magnet_peers {
            match host.parse() {
                Ok(ip) => _ = self.candidates.add(now, SocketAddr::new(ip, *port), Source::Magnet),
                // BEP 27: only its trackers name the peers of a private torrent.
                Err(_) if self.config.private => {}
                Err(_) => {
                    let host = host.as_str().into();
                    self.outputs.push_back(Output::Resolve { lane: Lane::Host(*port), host });
                }
            }
        }
    }

    /// What is looked at now and then while there are peers begins with the first of them.
    pub(super) fn watch_peers(&mut self, now: Instant) {
        self.deadlines.set(Timer::Choke, Some(now + FIRST_CHOKE));
        self.deadlines.set(Timer::Requests, Some(now + FIRST_CHOKE));
        if self.plan.pex {
            self.deadlines.set(Timer::Pex, Some(now + PEX_EVERY));
        }
        self.deadlines.set(Timer::Goal, self.goal_at().map(|at| at.max(now)));
    }

    /// What the next announce says.
    pub(super) fn tell_totals(&mut self) {
        let left = match self.content.as_ref().and_then(|content| content.picker.as_ref()) {
            Some(picker) => picker.left(),
            // BEP 9 says nothing of it; others take a peer that has nothing left for a seed.
            None => UNKNOWN_LEFT,
        };
        self.announcer.set_totals(Totals { uploaded: self.uploaded, downloaded: self.downloaded, left });
    }

    pub(super) fn drain_announcer(&mut self, now: Instant) {
        while let Some(output) = self.announcer.poll_output() {
            self.on_announcer(now, output);
        }
        self.deadlines.set(Timer::Announcer, self.announcer.poll_timeout());
    }

    /// The link to a tracker may want credit.
    pub(super) fn feed_tracker(&mut self, slot: announcer::SlotKey) {
        let lane = Lane::Tracker(slot);
        if self.announcer.credit(slot).is_some() && !self.hungry.contains(&lane) {
            self.hungry.push_back(lane);
        }
    }

    fn on_announcer(&mut self, now: Instant, output: announcer::Output) {
        let out = match output {
            announcer::Output::Lease(lease) => Output::Lease(lease.map(Lane::Tracker)),
            announcer::Output::Resolve { query, host } => {
                Output::Resolve { lane: Lane::Tracker(query), host }
            }
            announcer::Output::Datagram { to, bytes } => Output::Datagram { to, bytes },
            announcer::Output::Message { tracker, text, .. } => Output::Message(format!("{tracker}: {text}")),
            announcer::Output::Peers(peers) => return self.on_peers_found(now, &peers, Source::Tracker),
            announcer::Output::ExternalIp(ip) => return self.candidates.set_own(ip),
            announcer::Output::Stopped => {
                self.announced = Announced::Left;
                return;
            }
        };
        self.outputs.push_back(out);
    }

    pub(super) fn on_peers_found(&mut self, now: Instant, peers: &[SocketAddr], source: Source) {
        for address in peers {
            self.candidates.add(now, *address, source);
        }
        self.deadlines.set(Timer::Connect, Some(now));
    }

    /// Whom another peer is connected to.
    pub(super) fn on_pex(&mut self, now: Instant, pex: &Pex) {
        if !self.plan.pex || self.config.private {
            return;
        }
        let added: Vec<SocketAddr> = pex.added.iter().map(|(address, _)| *address).take(MAX_PEX).collect();
        self.on_peers_found(now, &added, Source::Pex);
    }

    /// Tells peers of each other.
    pub(super) fn tell_peers(&mut self, now: Instant) {
        if self.config.private || self.stop.is_some() || self.peers.is_empty() {
            self.deadlines.set(Timer::Pex, None);
            return;
        }
        for peer in self.peers.keys() {
            let Some(slot) = self.peers.get_mut(peer).filter(|slot| slot.machine.wants_pex()) else {
                continue;
            };
            let address = slot.listens_at.unwrap_or(slot.address);
            let Some(PexNews { added, dropped }) = self.pex.news(now, &mut slot.pex, address) else {
                continue;
            };
            let added = added.into_iter().map(|(address, flags)| (address, PexFlags(flags))).collect();
            slot.machine.pex(&Pex { added, dropped });
            self.touch_peer(peer);
        }
        self.deadlines.set(Timer::Pex, Some(now + PEX_EVERY));
    }

    /// Whether enough was given back.
    pub(super) fn goal_is_met(&self, now: Instant) -> bool {
        let Some(content) = &self.content else { return false };
        self.goal.is_met(self.uploaded, content.metainfo.grid().total(), self.seeded(now))
    }

    /// Changes when seeding ends.
    pub fn set_goal(&mut self, now: Instant, goal: Goal) {
        self.goal = goal;
        if self.phase == Phase::Seeding && self.goal_is_met(now) {
            self.end_seeding(now);
        } else {
            self.deadlines.set(Timer::Goal, self.goal_at().map(|at| at.max(now)));
        }
        self.settle(now);
    }

    /// How long it has been seeded, in all its lives.
    pub(super) fn seeded(&self, now: Instant) -> Duration {
        self.start.seeded + self.seeding_since.map_or(Duration::ZERO, |since| now - since)
    }

    /// When the goal may be met next.
    pub(super) fn goal_at(&self) -> Option<Instant> {
        let since = self.seeding_since.filter(|_| self.phase == Phase::Seeding)?;
        let by_time = self.goal.time.map(|time| since + time.saturating_sub(self.start.seeded));
        // Nothing is given back where nobody is.
        let by_ratio = self.goal.ratio.filter(|_| !self.peers.is_empty()).map(|_| since + GOAL_EVERY);
        by_time.into_iter().chain(by_ratio).min()
    }
}

/// The first round of choking comes soon: whoever came first waits for it.
const FIRST_CHOKE: Duration = Duration::from_millis(500);
/// How often it is looked whether there are news for somebody.
const PEX_EVERY: Duration = Duration::from_secs(20);
/// BEP 11: not more than 50 are added at once; what is beyond is not believed.
const MAX_PEX: usize = 50;
/// What is left while it is not known: more than nothing.
const UNKNOWN_LEFT: u64 = 1 << 14;
/// How often it is looked whether enough was given back.
pub(super) const GOAL_EVERY: Duration = Duration::from_secs(1);
