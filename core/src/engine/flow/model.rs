//! Policy: links that read as they like, beside what lets them, for any list of operations.

use super::{Flow, Held, MAX_WINDOW, MIN_GRANT, Share};
use crate::base::bucket::Passed;
use crate::base::{Instant, TokenBucket};
use core::time::Duration;

/// Three bytes are one operation on eight links of two downloads. All that is granted fits into memory and into every limit;
/// whoever is told when to ask again gets something then, and whoever has nothing and is held by nothing gets it at once.
pub(crate) fn run(data: &[u8]) {
    let mut world = World::new();
    for &[op, which, much] in data.as_chunks::<3>().0.iter().take(MAX_OPS) {
        world.step(op % 16, which, much);
    }
}

struct Link {
    download: usize,
    credit: u64,
    asking: bool,
}

/// A limit: what it holds back, and what passed since it was set.
struct Limit {
    rate: Option<u64>,
    passed: Passed,
}

struct World {
    flow: Flow,
    all: Limit,
    downloads: [(TokenBucket, Limit); 2],
    links: Vec<Link>,
    /// Bytes that were read and are not on the disk yet.
    memory: u64,
    budget: u64,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::ZERO;
        let limit = |rate| Limit { rate, passed: Passed::default() };
        let links = (0..8).map(|number| Link { download: number % 2, credit: 0, asking: false }).collect();
        Self {
            flow: Flow::new(now, None, BUDGET),
            all: limit(None),
            downloads: [(); 2].map(|()| (TokenBucket::new(now, None), limit(None))),
            links,
            memory: 0,
            budget: BUDGET,
            now,
        }
    }

    fn step(&mut self, op: u8, which: u8, much: u8) {
        let link = usize::from(which) % self.links.len();
        match op {
            0..=3 => self.round(link),
            4 => _ = self.ask(link),
            5..=7 => self.read(link, much),
            8 => self.memory -= part(self.memory, much),
            9 => self.now += Duration::from_millis(much.into()),
            10 => self.now += Duration::from_secs(u64::from(much) / 16),
            11 => {
                self.all = Limit { rate: rate(which, much), passed: Passed::default() };
                self.flow.set(self.now, self.all.rate, self.budget);
            }
            12 => {
                let (bucket, limit) = &mut self.downloads[link % 2];
                *limit = Limit { rate: rate(which / 2, much), passed: Passed::default() };
                bucket.set_rate(self.now, limit.rate);
            }
            13 => {
                self.budget = (u64::from(much) + 1) << 18;
                self.flow.set(self.now, self.all.rate, self.budget);
            }
            14 => self.links[link].asking = much.is_multiple_of(2),
            _ => self.wait(link),
        }
    }

    fn read(&mut self, link: usize, much: u8) {
        let bytes = part(self.links[link].credit, much);
        self.links[link].credit -= bytes;
        self.memory += bytes;
    }

    /// All links are asked, beginning with one.
    fn round(&mut self, first: usize) {
        let before = self.used();
        let mut round = self.flow.round(self.links.len(), before);
        for place in 0..self.links.len() {
            _ = self.grant(&mut round, (first + place) % self.links.len());
        }
        assert!(self.used() <= before.max(self.budget), "more than the memory there is");
    }

    fn ask(&mut self, link: usize) -> Result<u32, Held> {
        let before = self.used();
        let mut round = self.flow.round(self.links.len(), before);
        let granted = self.grant(&mut round, link);
        assert!(self.used() <= before.max(self.budget), "more than the memory there is");
        granted
    }

    fn grant(&mut self, round: &mut super::Round, number: usize) -> Result<u32, Held> {
        let link = &mut self.links[number];
        let (bucket, own) = &mut self.downloads[link.download];
        let share = &mut Share { credit: link.credit, asking: link.asking, bucket };
        let granted = self.flow.grant(self.now, round, share);
        match granted {
            Ok(0) => assert!(link.credit > 0, "it has nothing and is held by nothing"),
            Ok(bytes) => {
                link.credit += u64::from(bytes);
                assert!(link.credit <= MAX_WINDOW, "{} for one link", link.credit);
                for (limit, bucket) in [(own, &*bucket), (&mut self.all, &self.flow.bucket)] {
                    limit.passed.add(self.now, bytes.into());
                    limit.rate.into_iter().for_each(|rate| limit.passed.check(rate, bucket.burst()));
                }
            }
            Err(Held::Rate(at)) => {
                assert!(at > self.now, "a time that is not in the future");
                assert!(self.all.rate.is_some() || own.rate.is_some(), "there is no limit");
            }
            Err(Held::Memory) => assert!(round.room < MIN_GRANT || link.credit > 0, "there is memory"),
        }
        granted
    }

    /// A link that is told when to ask again does so.
    fn wait(&mut self, link: usize) {
        if let Err(Held::Rate(at)) = self.ask(link)
            && at.as_nanos() < u64::MAX
        {
            self.now = at;
            let granted = self.ask(link);
            assert!(granted.is_ok_and(|bytes| bytes > 0), "{granted:?} at {at:?}");
        }
    }

    fn used(&self) -> u64 {
        self.memory + self.links.iter().map(|link| link.credit).sum::<u64>()
    }
}

fn part(of: u64, much: u8) -> u64 {
    of * u64::from(much) / 255
}

/// None, nothing, or from a few bytes a second to many gigabytes.
fn rate(magnitude: u8, part: u8) -> Option<u64> {
    match magnitude % 38 {
        0..=2 => None,
        3 => Some(0),
        magnitude => Some((u64::from(part) + 1) << (magnitude - 4)),
    }
}

const BUDGET: u64 = 8 << 20;
/// Longer lists find nothing that shorter ones do not.
const MAX_OPS: usize = 500;
