//! A swarm of engines that fetch one torrent from a seed and from each other, against what no swarm could beat.
//!
//! Every engine has a disk, a store and a line of its own; each knows the seed and a few others, and hears of the rest
//! from its peers.

use crate::actor::Actors;
use crate::agenda::Latency;
use crate::content::Content;
use crate::internet::NodeId;
use crate::link::LinkProfile;
use crate::one_file::OneFile;
use crate::pipe::Line;
use crate::station::Station;
use crate::world::World;
use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::base::{Instant, Rng, WallClock};
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadEvent, EngineConfig};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// What a swarm is made of.
///
/// ```
/// use gosh_dl_sim::swarm::{SwarmPlan, play};
///
/// let plan = SwarmPlan { leechers: 3, len: 1 << 20, ..SwarmPlan::new(1) };
/// let outcome = play(&plan);
/// assert_eq!(outcome.finished.len(), 3);
/// assert!(outcome.last().unwrap() >= plan.bound());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwarmPlan {
    /// What everything that is random follows from.
    pub seed: u64,
    /// How many begin with nothing.
    pub leechers: u16,
    /// The length of the file in bytes.
    pub len: u64,
    /// The length of a piece in bytes.
    pub piece_len: u32,
    /// Bytes per second from the seed.
    pub seed_up: u64,
    /// Bytes per second from each of the others.
    pub up: u64,
    /// Bytes per second to each of them.
    pub down: u64,
    /// Whether pieces are fetched in order instead of the rarest first.
    pub sequential: bool,
    /// When it is given up.
    pub limit: Duration,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmOutcome {
    /// How long each of those that became complete needed, the fastest first.
    pub finished: Vec<Duration>,
    /// Bytes that the seed sent.
    pub seeded: u64,
    /// The hash of all that happened.
    pub trace_hash: u64,
}

impl SwarmPlan {
    /// 200 leechers with lines of 1 MiB/s up and 4 MiB/s down, a seed of twice that, and 64 MiB.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            leechers: 200,
            len: 64 << 20,
            piece_len: 256 << 10,
            seed_up: 2 << 20,
            up: 1 << 20,
            down: 4 << 20,
            sequential: false,
            limit: Duration::from_secs(3600),
        }
    }

    /// The least time in which a fluid could reach all, whatever the protocol: the seed has to send everything once, each
    /// line to carry it, and all together to send it as often as it is wanted.
    pub fn bound(&self) -> Duration {
        let (len, count) = (self.len as f64, f64::from(self.leechers));
        let together = self.seed_up as f64 + count * self.up as f64;
        let once = len / self.seed_up as f64;
        Duration::from_secs_f64(once.max(len / self.down as f64).max(count * len / together))
    }
}

impl SwarmOutcome {
    /// When the last of those that became complete did.
    pub fn last(&self) -> Option<Duration> {
        self.finished.last().copied()
    }

    /// When half of them were.
    pub fn median(&self) -> Option<Duration> {
        self.finished.get(self.finished.len() / 2).copied()
    }
}

/// Plays a swarm until all are complete.
///
/// # Panics
///
/// Where an engine does not take the torrent, or a file is not what it should be.
pub fn play(plan: &SwarmPlan) -> SwarmOutcome {
    let content: Arc<[u8]> = Content::generated(plan.seed, plan.len).slice(0..plan.len)[..].into();
    let torrent = OneFile::new(Content::generated(plan.seed, plan.len), plan.piece_len).raw();
    let mut swarm = Swarm { rng: Rng::from_seed(seed_of(plan.seed)), actors: None, now: Instant::ZERO };
    let seed = swarm.join(plan, 0, &torrent, &content);
    let leechers: Vec<NodeId> =
        (1..=plan.leechers).map(|number| swarm.join(plan, number, &torrent, &content).0).collect();
    swarm.run(plan, seed, &leechers, &content)
}

struct Swarm {
    rng: Rng,
    actors: Option<Actors>,
    now: Instant,
}

impl Swarm {
    fn actors(&mut self) -> &mut Actors {
        let rng = &mut self.rng;
        self.actors.get_or_insert_with(|| Actors::new(rng.fork(), &[]))
    }

    /// One more engine; number 0 is the seed.
    fn join(
        &mut self,
        plan: &SwarmPlan,
        number: u16,
        torrent: &Bytes,
        content: &Arc<[u8]>,
    ) -> (NodeId, DownloadId) {
        let is_seed = number == 0;
        let wall = WallClock::new(Instant::ZERO, 1_735_689_600_000);
        let config = EngineConfig::new().seed_ratio(0.0);
        let mut station = Station::new(self.rng.fork(), wall, config);
        station.disk.shared = Some(Arc::clone(content));
        if is_seed {
            station.disk.put(World::DIR, OneFile::NAME, content);
        }
        let now = self.now;
        let started = station.start(now);
        assert!(started.is_ok(), "the engine did not start: {started:?}");
        let id = self.actors().add(now, &[address(number)], station);
        if let Some(node) = self.actors().node(id) {
            let (up, down) = if is_seed { (plan.seed_up, plan.down) } else { (plan.up, plan.down) };
            node.line = Line::new(Some(up), Some(down));
            node.profile = LinkProfile { latency: Latency::millis(20, 40), ..LinkProfile::default() };
        }
        let mut options = DownloadOptions::new().sequential(plan.sequential);
        // Who comes knows the seed and some who came before.
        let known = (0..KNOWN.min(number)).map(|_| self.rng.below(u64::from(number)) as u16);
        let known: Vec<u16> = core::iter::once(0).chain(known).filter(|_| !is_seed).collect();
        for other in known {
            options = options.peer(SocketAddr::new(address(other), 6881));
        }
        let torrent = torrent.clone();
        let added = self.actors().act(now, id, |station: &mut Station| {
            station.command(now, |engine, at, token| engine.add_torrent(at, torrent, options, token)).1
        });
        match added {
            Some(Ok(download)) => (id, download),
            refused => panic!("the torrent was not taken: {refused:?}"),
        }
    }

    fn run(
        mut self,
        plan: &SwarmPlan,
        seed: (NodeId, DownloadId),
        leechers: &[NodeId],
        content: &[u8],
    ) -> SwarmOutcome {
        let mut left = leechers.to_vec();
        let mut finished = Vec::new();
        let mut look_at = Instant::ZERO;
        while let Some(at) = self.actors().poll_timeout().filter(|_| !left.is_empty()) {
            self.now = self.now.max(at);
            let now = self.now;
            if now - Instant::ZERO > plan.limit {
                break;
            }
            self.actors().handle_timeout(now);
            if now >= look_at {
                look_at = now + LOOK_EVERY;
                left.retain(|id| {
                    let done = self.actors().act(now, *id, |station: &mut Station| is_done(station, content));
                    finished.extend((done == Some(true)).then_some(now - Instant::ZERO));
                    done != Some(true)
                });
            }
        }
        let now = self.now;
        let seeded = self.actors().act(now, seed.0, |station: &mut Station| {
            let status = station.view(now, |engine, at| engine.status(at, seed.1)).flatten();
            status.and_then(|status| status.torrent_info).map(|info| info.uploaded)
        });
        SwarmOutcome {
            finished,
            seeded: seeded.flatten().unwrap_or_default(),
            trace_hash: self.actors().trace_hash(),
        }
    }
}

/// Whether an engine has said that it is complete, and is; what it said else is forgotten.
fn is_done(station: &mut Station, content: &[u8]) -> bool {
    let done = station.events.iter().any(|(_, event)| matches!(event, DownloadEvent::Completed { .. }));
    station.events.clear();
    if done {
        let file = station.disk.content(World::DIR, OneFile::NAME);
        assert!(file.is_some_and(|file| file == content), "a complete file is what it should be");
    }
    done
}

fn seed_of(number: u64) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    seed
}

fn address(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(20, 1, high, low))
}

/// How many others one knows who comes.
const KNOWN: u16 = 10;
/// How exactly the end is known.
const LOOK_EVERY: Duration = Duration::from_millis(100);
