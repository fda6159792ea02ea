//! How a torrent settles: the only place where its children's outputs are read.

use super::{Announced, Child, Output, PeerKey, Phase, Stop, Timer, Torrent};
use crate::base::Instant;
use crate::download::{DownloadError, End};

impl Torrent {
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            while let Some(child) = self.touched.pop_front() {
                match child {
                    Child::Peer(peer) => self.drain_peer(now, peer),
                    Child::WebSeed(seed) => self.drain_seed(now, seed),
                    Child::Files => self.drain_files(now),
                    Child::Announcer => self.drain_announcer(now),
                }
            }
            self.ask_the_idle(now);
            self.flush_peers(now);
            if self.touched.is_empty() {
                // What has just become due is done at once: after a deadline the next one is later.
                let Some(timer) = self.deadlines.pop_due(now) else { break };
                self.on_timer(now, timer);
            }
        }
        self.finish_stop();
    }

    pub(super) fn on_timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Peer(peer) => {
                if let Some(slot) = self.peers.get_mut(peer) {
                    slot.machine.handle_timeout(now);
                    self.touch_peer(peer);
                }
            }
            Timer::WebSeed(seed) => self.with_seed(seed, |seed| seed.handle_timeout(now)),
            Timer::Files => self.with_files(|files| files.handle_timeout(now)),
            Timer::Announcer => {
                self.tell_totals();
                self.announcer.handle_timeout(now);
                self.touched.push_back(Child::Announcer);
            }
            Timer::Connect => self.connect_more(now),
            Timer::Choke => self.choke_round(now),
            Timer::Requests => self.look_for_stalled(now),
            Timer::Pex => self.tell_peers(now),
            Timer::Metadata => self.fetch_metadata_anew(now),
            Timer::Goal => self.look_at_goal(now),
        }
    }

    fn look_at_goal(&mut self, now: Instant) {
        if self.phase == Phase::Seeding && self.goal_is_met(now) {
            self.end_seeding(now);
        } else if self.phase == Phase::Seeding {
            self.deadlines
                .set(Timer::Goal, self.goal_at().map(|at| at.max(now + super::trackers::GOAL_EVERY)));
        }
    }

    /// Enough was given back.
    pub(super) fn end_seeding(&mut self, now: Instant) {
        self.leave(now, End::Completed);
        self.with_files(|files| files.stop(now));
    }

    pub(super) fn ban_peer(&mut self, now: Instant, peer: PeerKey) {
        let Some(slot) = self.peers.get_mut(peer) else { return };
        self.candidates.ban(now, slot.address.ip());
        slot.machine.close(now);
        self.touch_peer(peer);
    }

    /// Ends all conversations; the files come to rest by themselves.
    pub(super) fn leave(&mut self, now: Instant, end: End) {
        if self.phase == Phase::Ended || self.stop.is_some() {
            return;
        }
        self.start.seeded = self.seeded(now);
        self.seeding_since = None;
        self.phase = Phase::Stopping;
        self.stop = Some(Stop { end, files: self.content.is_none() });
        self.close_peers(now);
        self.rest_seeds(now);
        self.uploads.clear();
        self.stop_readers();
        if self.announced == Announced::Started {
            self.announced = Announced::Leaving;
            self.tell_totals();
            self.announcer.stop(now);
            self.touched.push_back(Child::Announcer);
        }
        for timer in [Timer::Connect, Timer::Choke, Timer::Requests, Timer::Pex, Timer::Metadata, Timer::Goal]
        {
            self.deadlines.set(timer, None);
        }
    }

    /// The files are at rest, as asked or because of an error.
    pub(super) fn on_files_stopped(&mut self, now: Instant, why: Option<DownloadError>) {
        let end = why.map(End::Failed);
        self.leave(now, end.clone().unwrap_or(End::Stopped));
        if let Some(stop) = &mut self.stop {
            stop.files = true;
            if let Some(end) = end {
                stop.end = end;
            }
        }
    }

    fn finish_stop(&mut self) {
        let at_rest = self.stop.as_ref().is_some_and(|stop| stop.files)
            && self.peers.is_empty()
            && matches!(self.announced, Announced::Never | Announced::Left);
        if at_rest && self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            let end = self.stop.take().map_or(End::Stopped, |stop| stop.end);
            self.outputs.push_back(Output::Ended(end));
        }
    }
}
