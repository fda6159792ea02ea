//! Where connections go and how many there are, whatever happens to them.

use gosh_dl_core::base::{Instant, Rng};
use gosh_dl_core::download::DownloadError;
use gosh_dl_core::download::http::mirrors::{MirrorIndex, Mirrors, Ranges};
use gosh_dl_core::download::http::ramp::Ramp;
use gosh_dl_core::wire::http::HttpUrl;
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;

const MIRRORS: usize = 4;
const MAX_FAILURES: u32 = 3;

#[derive(Clone, Debug)]
enum Op {
    Begin,
    End(usize),
    Fail(usize),
    GiveUp(usize),
    Progress(usize),
    Measure(usize, u64),
    NoRanges(usize),
    LimitBusy(usize, usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let mirror = 0..MIRRORS;
    prop_oneof![
        5 => Just(Op::Begin),
        3 => mirror.clone().prop_map(Op::End),
        3 => mirror.clone().prop_map(Op::Fail),
        1 => mirror.clone().prop_map(Op::GiveUp),
        2 => mirror.clone().prop_map(Op::Progress),
        2 => (mirror.clone(), 0..1_000_000u64).prop_map(|(mirror, bytes)| Op::Measure(mirror, bytes)),
        1 => mirror.clone().prop_map(Op::NoRanges),
        1 => (mirror, 1..4usize).prop_map(|(mirror, most)| Op::LimitBusy(mirror, most)),
        3 => (0..20_000u64).prop_map(Op::Wait),
    ]
}

fn url(index: usize) -> HttpUrl {
    HttpUrl::parse(&format!("http://m{index}.example/f")).expect("it is a URL")
}

/// What is known of a mirror, the simple way.
#[derive(Clone, Debug, Default)]
struct Model {
    failures: u32,
    resting: bool,
    dead: bool,
    limit: Option<(usize, Instant)>,
}

struct Run {
    mirrors: Mirrors,
    models: Vec<Model>,
    rng: Rng,
    now: Instant,
}

impl Run {
    fn new() -> Self {
        let mirrors =
            Mirrors::new((0..MIRRORS).map(url), MAX_FAILURES, Duration::from_secs(1), Duration::from_secs(9));
        let models = vec![Model::default(); MIRRORS];
        Self { mirrors, models, rng: Rng::from_seed([3; 32]), now: Instant::ZERO }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Begin => {
                if let Some(best) = self.mirrors.best(self.now, false) {
                    self.mirrors.at_mut(best).busy += 1;
                }
            }
            Op::End(index) => {
                let mirror = self.mirrors.at_mut(MirrorIndex(index));
                mirror.busy = mirror.busy.saturating_sub(1);
            }
            Op::Fail(index) => self.fail(index),
            Op::GiveUp(index) => {
                self.mirrors.give_up(MirrorIndex(index), DownloadError::Short { url: url(index) });
                self.models[index].dead = true;
            }
            Op::Progress(index) => {
                self.mirrors.progressed(MirrorIndex(index));
                self.models[index].failures = 0;
            }
            Op::Measure(index, bytes) => {
                self.mirrors.measured(MirrorIndex(index), bytes, Duration::from_millis(bytes % 700));
            }
            Op::NoRanges(index) => self.mirrors.at_mut(MirrorIndex(index)).ranges = Ranges::No,
            Op::LimitBusy(index, most) => {
                self.mirrors.limit(self.now, MirrorIndex(index), most);
                self.models[index].limit = Some((most, self.now + Duration::from_secs(30)));
            }
            Op::Wait(millis) => self.wait(Duration::from_millis(millis)),
        }
    }

    fn fail(&mut self, index: usize) {
        let error = DownloadError::Short { url: url(index) };
        let given_up = self.mirrors.failed(self.now, MirrorIndex(index), error, &mut self.rng);
        let model = &mut self.models[index];
        if !model.dead && !model.resting {
            model.failures += 1;
            model.resting = true;
            model.dead = model.failures >= MAX_FAILURES;
        }
        assert_eq!(given_up, model.dead);
    }

    fn wait(&mut self, length: Duration) {
        let wake = self.mirrors.next_wake(self.now);
        assert!(wake.is_none_or(|at| at > self.now && at - self.now <= Duration::from_secs(12)));
        self.now += length.max(wake.map_or(length, |at| at - self.now));
        // Whoever rests does so for at most 9 s and a quarter: after as long, all are awake.
        self.now += Duration::from_secs(12);
        self.models.iter_mut().for_each(|model| model.resting = false);
    }

    fn check(&self) {
        for whole in [false, true] {
            let best = self.mirrors.best(self.now, whole);
            let usable = |(index, mirror): &(MirrorIndex, &gosh_dl_core::download::http::mirrors::Mirror)| {
                let model = &self.models[index.0];
                let parts = whole || mirror.ranges != Ranges::No;
                let room = model.limit.is_none_or(|(most, until)| mirror.busy < most || self.now >= until);
                !model.dead && !model.resting && room && parts
            };
            let choice: Vec<MirrorIndex> =
                self.mirrors.iter().filter(usable).map(|(index, _)| index).collect();
            assert_eq!(best.is_some(), !choice.is_empty());
            assert!(best.is_none_or(|best| choice.contains(&best)), "{best:?} is not one of {choice:?}");
        }
        assert_eq!(self.mirrors.any_alive(), self.models.iter().any(|model| !model.dead));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn best_mirror_is_alive_awake_and_has_room(ops in vec(op(), 0..100)) {
        let mut run = Run::new();
        for op in &ops {
            run.apply(op);
            run.check();
        }
    }

    #[test]
    fn number_of_connections_stays_in_its_range(
        max in 0usize..70,
        caps in vec(prop::option::weighted(0.05, 0usize..20), 1..300),
        speeds in vec(0u64..50_000_000, 70),
        rtt in 0u64..2_000,
    ) {
        let mut ramp = Ramp::new(Instant::ZERO, max);
        let (most, mut now, mut received) = (max.max(1), Instant::ZERO, 0u64);
        let rtt = Duration::from_millis(rtt);
        for cap in caps {
            if let Some(cap) = cap {
                ramp.cap(now, cap);
                prop_assert!(ramp.level() <= cap.max(1), "a cap holds at once");
            }
            let before = ramp.level();
            prop_assert!((1..=most).contains(&before), "{before} of {most}");
            let at = ramp.deadline(rtt).unwrap_or(now + Duration::from_millis(100)).max(now);
            let length = (at - now).max(Duration::from_millis(1));
            received += (speeds[before.min(69)] as f64 * length.as_secs_f64()) as u64;
            now += length;
            let changed = ramp.observe(now, received, &vec![now; before], rtt);
            prop_assert_eq!(changed, ramp.level() != before);
            prop_assert!(ramp.level() <= before * 2);
        }
    }
}
