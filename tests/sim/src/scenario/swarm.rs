//! Policy: a swarm as a value, drawn from a seed: engines, peers and trackers of every kind, and what users and fate do.

pub use super::swarm_play::{run, run_keeping};

use super::draw::Dice;
use crate::agenda::Latency;
use crate::image::CrashMode;
use crate::scripted_peer::Conduct;
use crate::tracker::TrackerConduct;
use bytes::Bytes;
use core::time::Duration;

/// A swarm, and what happens in it. Engine 0 has everything and is honest.
///
/// ```
/// use gosh_dl_sim::scenario::swarm::{SwarmScenario, run};
///
/// let outcome = run(&SwarmScenario::generate(3));
/// assert_eq!(outcome.violation, None);
/// ```
#[derive(Clone, Debug)]
pub struct SwarmScenario {
    /// What it was drawn from; also the seed of everybody in it.
    pub seed: u64,
    /// The lengths of the files in bytes; one alone is not in a folder.
    pub files: Vec<u64>,
    /// The length of a piece in bytes.
    pub piece_len: u32,
    /// Whether only trackers may name peers.
    pub private: bool,
    /// The engines; the first has everything.
    pub engines: Vec<EnginePlan>,
    /// Peers that behave by a script.
    pub peers: Vec<Conduct>,
    /// The trackers, each a tier of its own.
    pub trackers: Vec<TrackerPlan>,
    /// What happens, each so long after the one before.
    pub acts: Vec<(Duration, SwarmAct)>,
}

/// An engine.
#[derive(Clone, Debug)]
pub struct EnginePlan {
    /// Bytes per second from and to it.
    pub line: (Option<u64>, Option<u64>),
    /// How long everything takes to it.
    pub latency: Latency,
    /// Its own upload limit in bytes per second.
    pub upload_limit: Option<u64>,
    /// How many peers may download from it at once.
    pub slots: Option<usize>,
    /// Whether it fetches pieces in order.
    pub sequential: bool,
    /// Whether it has only a magnet link.
    pub magnet: bool,
    /// Files that it does not want at first.
    pub skips: Vec<usize>,
    /// Which peers the user names to it; engine 0 always.
    pub knows: Vec<usize>,
}

/// A tracker.
#[derive(Clone, Debug)]
pub struct TrackerPlan {
    /// How it behaves.
    pub conduct: TrackerConduct,
    /// The interval that it names, in seconds.
    pub interval: u32,
    /// Whether over UDP.
    pub udp: bool,
}

/// Something that a user or fate does; engines are named by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwarmAct {
    /// An engine comes; the first is there from the beginning.
    Join(usize),
    /// The user pauses.
    Pause(usize),
    /// The user resumes.
    Resume(usize),
    /// The user does not want a file, or wants it again.
    Want(usize, usize, bool),
    /// The user reads at a place of a file.
    Read(usize, usize, u64),
    /// The process or the machine dies, and the engine starts again after a while.
    Crash(usize, CrashMode, Duration),
    /// The engine is stopped in an orderly way and starts again.
    Restart(usize),
}

impl SwarmScenario {
    /// The swarm of this seed.
    pub fn generate(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 0x5c);
        let piece_len = dice.pick(&[16 << 10, 32 << 10, 64 << 10]);
        let total = dice.between(1, 16 * u64::from(piece_len));
        let files = dice.files(total);
        let private = dice.one_in(4);
        let peers: Vec<Conduct> = (0..dice.between(0, 3)).map(|_| dice.conduct()).collect();
        let count = dice.between(2, 6) as usize;
        let engines = (0..count).map(|_| dice.engine(files.len(), peers.len())).collect();
        let trackers = (0..dice.between(0, 2)).map(|_| dice.tracker()).collect();
        let acts = dice.swarm_acts(count, &files);
        Self { seed, files, piece_len, private, engines, peers, trackers, acts }
    }

    /// The length of all files together.
    pub fn total(&self) -> u64 {
        self.files.iter().sum()
    }
}

impl Dice {
    fn files(&mut self, total: u64) -> Vec<u64> {
        if total < 4 || self.one_in(2) {
            return vec![total];
        }
        let first = self.between(1, total - 2);
        let second = self.between(0, total - first - 1);
        vec![first, second, total - first - second]
    }

    fn conduct(&mut self) -> Conduct {
        let words: [&[u8]; 5] = [
            b"\xff\xff\xff\xff\x07",
            b"\0\0\0\x05\x04\xff\xff\xff\xff",
            b"\0\0\0\x02\x05\xff",
            b"\0\0\0\x0d\x06\0\0\0\0\0\0\0\0\xff\0\0\0",
            b"\0\0\0\x0a\x07\0\0\0\0\0\0\0\0x",
        ];
        match self.between(0, 7) {
            0 => Conduct::Honest,
            1 => Conduct::FreeRider,
            2 => Conduct::Snubber,
            3 => Conduct::Corrupt,
            4 => Conduct::ChokesAfter(self.between(1, 20) as u32),
            5 => Conduct::Violator(Bytes::from_static(self.pick(&words))),
            6 => Conduct::Garbage(Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
            _ => Conduct::OtherTorrent,
        }
    }

    fn engine(&mut self, files: usize, peers: usize) -> EnginePlan {
        let mut rate = || (!self.one_in(3)).then(|| self.between(50_000, 2_000_000));
        let line = (rate(), rate());
        let slow = self.one_in(4);
        EnginePlan {
            line,
            latency: if slow { Latency::millis(50, 300) } else { Latency::millis(1, 40) },
            upload_limit: self.one_in(3).then(|| self.between(40_000, 400_000)),
            slots: self.one_in(3).then(|| self.between(1, 3) as usize),
            sequential: self.one_in(4),
            magnet: self.one_in(5),
            skips: (1..files).filter(|_| self.one_in(6)).collect(),
            knows: (0..peers).filter(|_| !self.one_in(3)).collect(),
        }
    }

    fn tracker(&mut self) -> TrackerPlan {
        let conduct = match self.between(0, 9) {
            0 => TrackerConduct::Ghosts(self.pick(&[1, 50, 10_000])),
            1 => TrackerConduct::Refuses(Bytes::from_static(b"\x1b[31mno")),
            2 => TrackerConduct::Silent,
            3 => TrackerConduct::Confused,
            4 => TrackerConduct::Floods,
            5 => TrackerConduct::Drips,
            _ => TrackerConduct::Honest,
        };
        TrackerPlan { conduct, interval: self.pick(&[0, 5, 120, 1800, 1 << 31]), udp: self.one_in(2) }
    }

    fn swarm_acts(&mut self, engines: usize, files: &[u64]) -> Vec<(Duration, SwarmAct)> {
        let mut acts: Vec<_> =
            (1..engines).map(|engine| (self.millis(0, 1500), SwarmAct::Join(engine))).collect();
        for _ in 0..self.between(0, 6) {
            let engine = self.0.below(engines as u64) as usize;
            let file = self.0.below(files.len() as u64) as usize;
            let act = match self.between(0, 7) {
                0 => SwarmAct::Pause(engine),
                1 => SwarmAct::Resume(engine),
                2 => SwarmAct::Want(engine.max(1), file, self.one_in(2)),
                3 | 4 => SwarmAct::Read(engine.max(1), file, self.0.below(files[file].max(1))),
                5 => SwarmAct::Restart(engine),
                _ => {
                    let mode = self.pick(&[CrashMode::Kill, CrashMode::PowerCut, CrashMode::Torn]);
                    SwarmAct::Crash(engine, mode, self.millis(0, 5000))
                }
            };
            acts.push((self.millis(0, 4000), act));
        }
        acts
    }
}
