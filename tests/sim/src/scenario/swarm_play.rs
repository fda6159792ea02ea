//! Machine: plays a swarm: the acts, then everybody comes back, and then everybody has to be complete.

use super::play::{Outcome, violation_of};
use super::swarm::{SwarmAct, SwarmScenario};
use crate::actor::Actors;
use crate::content::Content;
use crate::internet::NodeId;
use crate::invariants::{Violation, broken};
use crate::link::LinkProfile;
use crate::pipe::Line;
use crate::scripted_peer::ScriptedPeer;
use crate::station::Station;
use crate::swarm_rules::{SwarmRules, Truth};
use crate::tracker::{Tracker, TrackerConduct};
use crate::world::World;
use core::time::Duration;
use gosh_dl_core::base::{Instant, Rng, WallClock};

use gosh_dl_core::download::{DownloadId, DownloadOptions, FilePriority, ReadRequest};
use gosh_dl_core::engine::{DownloadState, EngineConfig, TorrentConfig};
use gosh_dl_core::wire::torrent::Metainfo;
use gosh_dl_core::wire::torrent::create::{NewFile, NewTorrent};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Plays a swarm to its end, or until a rule is broken.
pub fn run(scenario: &SwarmScenario) -> Outcome {
    run_keeping(scenario, crate::trace::Trace::KEPT)
}

/// Like [`run`], with this many actions in the report.
pub fn run_keeping(scenario: &SwarmScenario, actions: usize) -> Outcome {
    let mut player = Player::new(scenario, actions);
    let played = catch_unwind(AssertUnwindSafe(|| player.play()));
    let violation = match played {
        Ok(result) => result.err(),
        Err(panic) => Some(violation_of(panic.as_ref())),
    };
    Outcome {
        violation,
        report: player.report(),
        trace_hash: player.actors.trace_hash(),
        steps: player.steps,
        time: player.now - Instant::ZERO,
        faults: BTreeMap::new(),
    }
}

struct Player<'a> {
    scenario: &'a SwarmScenario,
    torrent: Metainfo,
    truth: Arc<Truth>,
    rng: Rng,
    actors: Actors,
    now: Instant,
    steps: u64,
    engines: Vec<Option<Member>>,
    trackers: Vec<NodeId>,
}

/// An engine that has come.
struct Member {
    node: NodeId,
    download: DownloadId,
    skips: BTreeSet<usize>,
    /// It has died, and starts again then.
    down_until: Option<Instant>,
}

type Played<T = ()> = Result<T, Violation>;

impl<'a> Player<'a> {
    fn new(scenario: &'a SwarmScenario, actions: usize) -> Self {
        let mut seed = [0x3c; 32];
        seed[..8].copy_from_slice(&scenario.seed.to_le_bytes());
        let mut rng = Rng::from_seed(seed);
        let content = Content::generated(scenario.seed, scenario.total());
        let torrent = torrent(scenario, &content);
        let mut actors = Actors::new(rng.fork(), &[]);
        actors.trace.kept = actions;
        let count = |len: usize| 0..u8::try_from(len).unwrap_or(u8::MAX);
        let engines = count(scenario.engines.len()).map(|number| engine_at(number).ip());
        let peers = count(scenario.peers.len()).map(|number| peer_at(number).ip());
        let truth = Truth {
            info_hash: torrent.info_hash(),
            grid: torrent.grid(),
            content: content.slice(0..content.len())[..].into(),
            files: Truth::places(NAME, &scenario.files),
            private: scenario.private,
            trackers: count(scenario.trackers.len()).map(|number| tracker_at(number).ip()).collect(),
            named: engines
                .chain(peers)
                .chain((0..=u16::MAX).filter(|_| is_haunted(scenario)).map(Tracker::ghost))
                .collect(),
        };
        Self {
            scenario,
            torrent,
            truth: Arc::new(truth),
            rng,
            actors,
            now: Instant::ZERO,
            steps: 0,
            engines: scenario.engines.iter().map(|_| None).collect(),
            trackers: Vec::new(),
        }
    }

    fn play(&mut self) -> Played {
        self.set_up();
        self.join(0)?;
        for (after, act) in &self.scenario.acts {
            self.advance(*after)?;
            self.act(act)?;
        }
        self.heal()?;
        self.finish()?;
        self.check_trackers()?;
        self.leave()
    }

    fn report(&self) -> String {
        let last: Vec<&str> = self.actors.trace.last().collect();
        let (seed, steps, now) = (self.scenario.seed, self.steps, self.now);
        format!("swarm of seed {seed}, step {steps}, time {now:?}; the last actions:\n{}", last.join("\n"))
    }

    fn set_up(&mut self) {
        for (number, plan) in (0..).zip(&self.scenario.trackers) {
            let mut tracker = Tracker::new(tracker_at(number), plan.conduct.clone());
            tracker.interval = plan.interval;
            self.trackers.push(self.actors.add(self.now, &[tracker_at(number).ip()], tracker));
        }
        for (number, conduct) in (0..).zip(&self.scenario.peers) {
            let content = Content::generated(self.scenario.seed, self.scenario.total());
            let (at, hash) = (peer_at(number), self.truth.info_hash);
            let peer = ScriptedPeer::new(at, hash, content, self.scenario.piece_len, conduct.clone());
            self.actors.add(self.now, &[at.ip()], peer);
        }
    }

    fn join(&mut self, place: usize) -> Played {
        let plan = &self.scenario.engines[place];
        let at = engine_at(u8::try_from(place).unwrap_or(u8::MAX));
        let config = EngineConfig::new()
            .seed_ratio(0.0)
            .global_upload_limit(plan.upload_limit)
            .torrent(TorrentConfig::new().upload_slots(plan.slots));
        let wall = WallClock::new(Instant::ZERO, World::EPOCH_MILLIS);
        let mut station = Station::new(self.rng.fork(), wall, config);
        station.disk.shared = Some(Arc::clone(&self.truth.content));
        let skips: BTreeSet<usize> =
            plan.skips.iter().copied().filter(|_| place > 0 && !plan.magnet).collect();
        station.rules =
            Some(SwarmRules::new(Arc::clone(&self.truth), plan.slots, plan.upload_limit, skips.clone()));
        if place == 0 {
            if self.truth.files.len() > 1 {
                station.disk.make_dir(World::DIR, NAME);
            }
            for (dir, name, range) in &self.truth.files {
                station.disk.put(dir, name, &self.truth.content[range.clone()]);
            }
        }
        let started = station.start(self.now);
        started.map_err(|error| broken("engines start", &format!("{error}")))?;
        let node = self.actors.add(self.now, &[at.ip()], station);
        if let Some(there) = self.actors.node(node) {
            there.line = Line::new(plan.line.0, plan.line.1);
            there.profile = LinkProfile { latency: plan.latency, ..LinkProfile::default() };
        }
        let download = self.add(place, node, &skips)?;
        self.engines[place] = Some(Member { node, download, skips, down_until: None });
        Ok(())
    }

    fn add(&mut self, place: usize, node: NodeId, skips: &BTreeSet<usize>) -> Played<DownloadId> {
        let plan = &self.scenario.engines[place];
        let mut options = DownloadOptions::new().sequential(plan.sequential);
        if place > 0 {
            options = options.peer(engine_at(0));
        }
        for peer in &plan.knows {
            options = options.peer(peer_at(u8::try_from(*peer).unwrap_or(u8::MAX)));
        }
        for file in skips {
            options = options.file_priority(*file, FilePriority::Skip);
        }
        let (raw, link) =
            (self.torrent.raw().clone(), format!("magnet:?xt=urn:btih:{}", self.truth.info_hash));
        let magnet = place > 0 && plan.magnet && !self.scenario.private;
        let now = self.now;
        let added = self.actors.act(now, node, |station: &mut Station| {
            let add = |engine: &mut gosh_dl_core::engine::Engine, at, token| match magnet {
                true => engine.add_magnet(at, &link, options, token),
                false => engine.add_torrent(at, raw, options, token),
            };
            station.command(now, add).1
        });
        added
            .and_then(Result::ok)
            .ok_or_else(|| broken("torrents are taken", &format!("not by engine {place}")))
    }

    /// Lets time pass.
    fn advance(&mut self, length: Duration) -> Played {
        let end = self.now + length;
        let mut look_at = self.now + LOOK_EVERY;
        while self.now < end {
            let back = self.engines.iter().flatten().filter_map(|member| member.down_until).min();
            let next = self.actors.poll_timeout().into_iter().chain(back).chain([look_at, end]).min();
            self.now = self.now.max(next.unwrap_or(end));
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(broken("bounded work", &format!("{} steps", self.steps)));
            }
            self.actors.handle_timeout(self.now);
            if self.now >= look_at {
                look_at = self.now + LOOK_EVERY;
                self.look()?;
            }
            for place in 0..self.engines.len() {
                let due = self.engines[place].as_ref().and_then(|member| member.down_until);
                if due.is_some_and(|at| at <= self.now) {
                    self.start(place)?;
                }
            }
        }
        Ok(())
    }

    /// What engines say of themselves is held against what was seen.
    fn look(&mut self) -> Played {
        let now = self.now;
        for member in self.engines.iter().flatten() {
            let download = member.download;
            let checked = self.actors.act(now, member.node, |station: &mut Station| {
                let status = station.view(now, |engine, at| engine.status(at, download)).flatten();
                let info = status.and_then(|status| status.torrent_info);
                match (info, &mut station.rules) {
                    (Some(info), Some(rules)) => rules.on_downloaded(info.downloaded),
                    _ => Ok(()),
                }
            });
            checked.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    fn with(&mut self, place: usize, command: impl FnOnce(&mut Station, Instant, DownloadId)) {
        let now = self.now;
        let Some(Some(member)) = self.engines.get(place) else { return };
        let (node, download) = (member.node, member.download);
        self.actors.act(now, node, |station: &mut Station| {
            if station.is_running() {
                command(station, now, download);
            }
        });
    }

    fn act(&mut self, act: &SwarmAct) -> Played {
        match act {
            SwarmAct::Join(place) => return self.join(*place),
            SwarmAct::Pause(place) => self.with(*place, |station, now, id| {
                station.command(now, |engine, at, token| engine.pause(at, id, token));
                station.rules.iter_mut().for_each(SwarmRules::pause);
            }),
            SwarmAct::Resume(place) => self.with(*place, |station, now, id| {
                station.command(now, |engine, at, token| engine.resume(at, id, token));
            }),
            SwarmAct::Want(place, file, wanted) => self.want(*place, *file, *wanted),
            SwarmAct::Read(place, file, offset) => {
                let request = ReadRequest { reader: 1, file: *file, offset: *offset, len: 20_000 };
                self.with(*place, |station, now, id| {
                    station.command(now, |engine, at, token| engine.read(at, id, request, token));
                });
            }
            SwarmAct::Crash(place, mode, down) => {
                self.with(*place, |station, _, _| station.crash(*mode));
                if let Some(Some(member)) = self.engines.get_mut(*place)
                    && member.down_until.is_none()
                {
                    member.down_until = Some(self.now + *down);
                    self.actors.abort(self.now, member.node);
                }
            }
            SwarmAct::Restart(place) => {
                self.stop(*place)?;
                if self.engines.get(*place).is_some_and(Option::is_some) {
                    self.start(*place)?;
                }
            }
        }
        Ok(())
    }

    fn want(&mut self, place: usize, file: usize, wanted: bool) {
        let priority = if wanted { FilePriority::Normal } else { FilePriority::Skip };
        let mut taken = false;
        self.with(place, |station, now, id| {
            let set =
                station.command(now, |engine, at, _| engine.set_file_priorities(at, id, &[(file, priority)]));
            taken = set.1.is_ok();
        });
        let Some(Some(member)) = self.engines.get_mut(place).filter(|_| taken) else { return };
        match wanted {
            true => member.skips.remove(&file),
            false => member.skips.insert(file),
        };
        // What was not wanted may lie elsewhere for a while.
        let mut unseen = member.skips.clone();
        unseen.insert(file);
        self.with(place, |station, _, _| {
            station.rules.iter_mut().for_each(|rules| rules.skip(unseen.clone()))
        });
    }

    fn stop(&mut self, place: usize) -> Played {
        let Some(Some(member)) = self.engines.get(place) else { return Ok(()) };
        let node = member.node;
        self.with(place, |station, now, _| _ = station.command(now, |engine, at, _| engine.shutdown(at)));
        let end = self.now + SHUTDOWN_LIMIT;
        while self.actors.get::<Station>(node).is_some_and(Station::is_running) {
            if self.now >= end {
                return Err(broken("shutdown is bounded", &format!("engine {place}")));
            }
            self.advance(Duration::from_millis(50))?;
        }
        Ok(())
    }

    fn start(&mut self, place: usize) -> Played {
        let now = self.now;
        let Some(Some(member)) = self.engines.get_mut(place) else { return Ok(()) };
        member.down_until = None;
        let (node, download) = (member.node, member.download);
        let started = self.actors.act(now, node, |station: &mut Station| {
            if station.is_running() {
                return (true, true);
            }
            let started = station.start(now).is_ok();
            (started, station.view(now, |engine, at| engine.status(at, download).is_some()) == Some(true))
        });
        match started {
            Some((true, true)) => Ok(()),
            Some((true, false)) => {
                // It died before the torrent was in its store.
                let skips = self.engines[place].as_ref().map(|member| member.skips.clone());
                let again = self.add(place, node, &skips.unwrap_or_default())?;
                self.engines[place].iter_mut().for_each(|member| member.download = again);
                Ok(())
            }
            _ => Err(broken("engines start", &format!("engine {place}"))),
        }
    }

    /// Everybody comes back.
    fn heal(&mut self) -> Played {
        for place in 0..self.engines.len() {
            if self.engines[place].as_ref().is_some_and(|member| member.down_until.is_some()) {
                self.start(place)?;
            }
        }
        // Pauses that are under way end first.
        self.advance(Duration::from_secs(3))?;
        (0..self.engines.len()).try_for_each(|place| self.act(&SwarmAct::Resume(place)))
    }

    fn finish(&mut self) -> Played {
        let end = self.now + FINISH_LIMIT;
        while let Some((place, state)) = self.unfinished() {
            if self.now >= end {
                let detail = format!("engine {place} is {state:?}");
                return Err(broken("everybody completes while one seed lives", &detail));
            }
            self.advance(Duration::from_millis(500))?;
        }
        for member in self.engines.iter().flatten() {
            let Some(station) = self.actors.get::<Station>(member.node) else { continue };
            for (number, (dir, name, range)) in self.truth.files.iter().enumerate() {
                let right =
                    station.disk.content(dir, name).as_deref() == Some(&self.truth.content[range.clone()]);
                if !right && !member.skips.contains(&number) {
                    return Err(broken("complete files are right", name));
                }
            }
        }
        Ok(())
    }

    fn unfinished(&mut self) -> Option<(usize, Option<DownloadState>)> {
        let now = self.now;
        (0..self.engines.len()).find_map(|place| {
            let member = self.engines[place].as_ref()?;
            let download = member.download;
            let state = self.actors.act(now, member.node, |station: &mut Station| {
                let status = station.view(now, |engine, at| engine.status(at, download)).flatten();
                status.map(|status| status.state)
            });
            let state = state.flatten();
            let done = matches!(state, Some(DownloadState::Seeding | DownloadState::Completed));
            (!done).then_some((place, state))
        })
    }

    fn check_trackers(&self) -> Played {
        for id in &self.trackers {
            let Some(tracker) = self.actors.get::<Tracker>(*id) else { continue };
            if let Some(hasty) = tracker.hasty() {
                return Err(broken("trackers are not told too soon", &format!("{hasty:?}")));
            }
            if let Some(fault) = tracker.faults.first() {
                return Err(broken("trackers are told what they understand", fault));
            }
        }
        Ok(())
    }

    /// All leave, and every honest tracker hears of it.
    fn leave(&mut self) -> Played {
        (0..self.engines.len()).try_for_each(|place| self.stop(place))?;
        let honest = self.trackers.iter().zip(&self.scenario.trackers);
        for (id, _) in honest.filter(|(_, plan)| plan.conduct == TrackerConduct::Honest) {
            let Some(tracker) = self.actors.get::<Tracker>(*id) else { continue };
            if let Some((peer, _)) = tracker.swarm(self.truth.info_hash).next() {
                return Err(broken("trackers hear of who leaves", &format!("not of {peer}")));
            }
        }
        Ok(())
    }
}

fn is_haunted(scenario: &SwarmScenario) -> bool {
    scenario.trackers.iter().any(|plan| matches!(plan.conduct, TrackerConduct::Ghosts(_)))
}

fn torrent(scenario: &SwarmScenario, content: &Content) -> Metainfo {
    let mut torrent = match &scenario.files[..] {
        [len] => NewTorrent::file(NAME, *len),
        lens => {
            let file = |(number, len): (usize, &u64)| NewFile::new(&format!("f{number}"), *len);
            NewTorrent::folder(NAME, lens.iter().enumerate().map(file).collect())
        }
    };
    torrent.piece_len = Some(scenario.piece_len);
    torrent.private = scenario.private.then_some(true);
    let url = |(number, udp): (u8, bool)| {
        let at = tracker_at(number);
        vec![if udp { format!("udp://{at}/announce") } else { format!("http://{at}/announce") }]
    };
    torrent.trackers = (0..).zip(scenario.trackers.iter().map(|plan| plan.udp)).map(url).collect();
    torrent.finish(&content.piece_hashes(scenario.piece_len)).expect("the drawing makes torrents only")
}

const fn engine_at(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(20, 2, 0, number + 1)), 6881)
}

const fn peer_at(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(20, 3, 0, number + 1)), 6881)
}

const fn tracker_at(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(20, 4, 0, number + 1)), 6969)
}

const NAME: &str = "swarm";
/// How often engines are asked how they are.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A megabyte over the slowest of lines, after every pause and back-off that came before.
const FINISH_LIMIT: Duration = Duration::from_secs(1800);
/// The engine promises thirty seconds at most; a slow store may be in the middle of a commit.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(40);
/// A megabyte for each of six engines is some thousand steps; a loop is more.
const MAX_STEPS: u64 = 4_000_000;
