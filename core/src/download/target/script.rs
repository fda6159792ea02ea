//! Policy: a disk that forgets, beside the file of one download under any script of commands, and of operations that end in
//! any order and any way.

use super::{DiskTag, Output, Part, Target, TargetPlan};
use crate::base::disk::{
    AllocationMode, DirKey, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileIdentity, FileKey, FileStat,
    HashKey, OpenMode,
};
use crate::base::{FileName, Instant, RangeSet};
use crate::download::{ConflictPolicy, ExpectedChecksum};
use arbitrary::Arbitrary;
use bytes::Bytes;
use core::time::Duration;
use std::collections::BTreeSet;

const DIR: DirKey = DirKey(7);
const KEYS: u64 = 100;
const OURS: FileIdentity = FileIdentity { device: 1, inode: 11 };
const OTHER: FileIdentity = FileIdentity { device: 1, inode: 99 };
const BLOCK: u64 = 16 << 10;
const BLOCKS: u64 = 64;
const TOTAL: u64 = BLOCKS * BLOCK;
/// All that is ever written; it stays out of the memory that fuzzing counts.
static ZEROS: [u8; TOTAL as usize] = [0; TOTAL as usize];
const RIGHT: &str = "md5:0123456789abcdef0123456789abcdef";
const WRONG: &str = "md5:ffffffffffffffffffffffffffffffff";

/// What is done next, as far as it makes sense then.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Step {
    Dir,
    Choose,
    /// So many blocks from one on.
    Write(u8, u8),
    Time,
    Recorded,
    Checkpoint,
    Restart,
    Finish,
    Stop,
    Discard,
    /// One of the operations under way ends, one of the ways in which it can.
    End(u8, u8),
}

/// What a script begins with.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Opening {
    policy: u8,
    checksum: bool,
    allocate: bool,
    /// How much of the file an earlier life left, durable and noted, and whether it was about to rename.
    left: Option<(u8, u8, bool)>,
}

/// Nothing is recorded that is not durable, nothing is done with a file beside what must not be beside it, every script comes
/// to its end with everything closed, and whoever reads the outputs late gets the same.
pub(crate) fn play(opening: Opening, steps: &[Step]) {
    let scene = Scene::new(opening);
    let mut run = Run::new(&scene);
    steps.iter().for_each(|step| run.step(step));
    run.drive();
    let mut late = scene.target();
    run.calls.iter().for_each(|call| make(&mut late, call));
    let outputs: Vec<Output> = core::iter::from_fn(|| late.poll_output()).collect();
    assert_eq!(outputs, run.outputs, "draining late changes nothing (I1)");
}

/// A call of a target's method, to be made again.
#[derive(Clone, Debug)]
enum Call {
    Dir,
    Choose,
    Write(Instant, u64, Bytes),
    Time(Instant),
    Recorded,
    Checkpoint,
    Restart,
    Finish,
    Stop,
    Discard,
    Disk(DiskTag, DiskResult),
}

#[derive(Clone, Debug)]
struct Scene {
    plan: TargetPlan,
    resumed: Option<Part>,
    trusted: RangeSet,
}

impl Scene {
    fn new(opening: Opening) -> Self {
        const POLICIES: [ConflictPolicy; 4] =
            [ConflictPolicy::Rename, ConflictPolicy::Overwrite, ConflictPolicy::Skip, ConflictPolicy::Fail];
        let plan = TargetPlan {
            dir_path: "/d".into(),
            on_conflict: POLICIES[usize::from(opening.policy % 4)],
            allocation: if opening.allocate { AllocationMode::Full } else { AllocationMode::None },
            checksum: opening.checksum.then(|| RIGHT.parse().expect("it is a checksum")),
        };
        let to = |sixteenths: u8| RangeSet::from_iter([0..u64::from(sixteenths % 17) * (TOTAL / 16)]);
        let part = |durable: u8, whole: bool| Part {
            final_name: name(),
            part_name: name().partial(),
            identity: Some(OURS),
            durable: to(durable),
            finalizing: whole && durable % 17 == 16,
        };
        let trusted = opening.left.map_or(RangeSet::new(), |(durable, noted, _)| {
            let mut trusted = to(durable);
            trusted.union(&to(noted));
            trusted
        });
        Self { plan, resumed: opening.left.map(|(durable, _, whole)| part(durable, whole)), trusted }
    }

    fn target(&self) -> Target {
        let mut target = Target::new(self.plan.clone(), KEYS);
        target.set_total(TOTAL);
        if let Some(part) = self.resumed.clone() {
            target.resume(part, self.trusted.clone());
        }
        target
    }
}

fn name() -> FileName {
    FileName::new("f").expect("it is a safe name")
}

fn make(target: &mut Target, call: &Call) {
    match call.clone() {
        Call::Dir => target.dir_ready(Ok(DIR)),
        Call::Choose => target.choose(name()),
        Call::Write(now, offset, bytes) => target.write(now, offset, bytes),
        Call::Time(now) => target.handle_timeout(now),
        Call::Recorded => target.recorded(),
        Call::Checkpoint => target.checkpoint(),
        Call::Restart => target.restart(),
        Call::Finish => target.finish(TOTAL),
        Call::Stop => target.stop(),
        Call::Discard => target.discard(None),
        Call::Disk(tag, result) => target.handle_disk(tag, result),
    }
}

/// An operation under way.
#[derive(Debug)]
struct Pending {
    tag: DiskTag,
    op: DiskOp,
    /// For a write: whether its bytes count once it ends. For a sync: what it covers.
    counts: bool,
    covers: RangeSet,
}

/// What a disk that forgets whatever was not synced would hold.
#[derive(Debug, Default)]
struct Disk {
    written: RangeSet,
    durable: RangeSet,
    /// What a sync covered that waits for the file's name to be durable.
    unnamed: RangeSet,
    entry_durable: bool,
    open: BTreeSet<FileKey>,
    pending: Vec<Pending>,
}

impl Disk {
    /// Nothing of before counts any more.
    fn forget(&mut self) {
        self.written = RangeSet::new();
        self.durable = RangeSet::new();
        self.unnamed = RangeSet::new();
        for pending in &mut self.pending {
            pending.counts = false;
            pending.covers = RangeSet::new();
        }
    }

    fn begin(&mut self, tag: DiskTag, op: DiskOp) {
        let file_of = |op: &DiskOp| match op {
            DiskOp::Write { file, .. }
            | DiskOp::Sync { file }
            | DiskOp::SetLen { file, .. }
            | DiskOp::Allocate { file, .. }
            | DiskOp::Close { file } => Some(*file),
            _ => None,
        };
        if let Some(file) = file_of(&op) {
            assert!(self.open.contains(&file), "{op:?} on a file that is not open");
        }
        if let DiskOp::Close { file } = op {
            let used = |pending: &Pending| file_of(&pending.op) == Some(file);
            assert!(!self.pending.iter().any(used), "closed while in use: {:?}", self.pending);
            self.open.remove(&file);
        }
        if let DiskOp::HashDrop { hash } = op {
            assert!(!self.hashing(hash), "a digest is dropped while it is fed");
        }
        if op.completes() {
            self.check_beside(tag, &op);
            let covers = match tag {
                DiskTag::Sync => self.written.clone(),
                DiskTag::SyncEntry => self.unnamed.clone(),
                _ => RangeSet::new(),
            };
            self.pending.push(Pending { tag, op, counts: true, covers });
        }
    }

    fn hashing(&self, key: HashKey) -> bool {
        self.pending.iter().any(|pending| matches!(pending.op, DiskOp::Hash { hash, .. } if hash == key))
    }

    /// Whether the operation may be under way beside the others.
    fn check_beside(&self, tag: DiskTag, op: &DiskOp) {
        let is_free = |tag: DiskTag| {
            matches!(tag, DiskTag::Write(_) | DiskTag::Sync | DiskTag::SyncEntry | DiskTag::Hash)
        };
        let tags: Vec<DiskTag> = self.pending.iter().map(|pending| pending.tag).collect();
        if !is_free(tag) {
            assert!(tags.iter().all(|&tag| is_free(tag)), "{tag:?} beside {tags:?}");
        }
        assert!(!tags.contains(&tag), "{tag:?} twice");
        match op {
            DiskOp::Write { .. } => {
                assert!(
                    !tags.iter().any(|tag| matches!(tag, DiskTag::SetLen | DiskTag::Allocate)),
                    "{tags:?}"
                );
            }
            DiskOp::SetLen { len: 0, .. } => assert_eq!(tags, [], "emptied while in use"),
            DiskOp::Hash { hash, .. } => assert!(!self.hashing(*hash), "one digest fed twice at once"),
            _ => {}
        }
    }

    /// Ends an operation in the `way`-th of the ways in which it can end.
    fn end(&mut self, index: usize, way: u8) -> Call {
        let pending = self.pending.remove(index);
        let fails = way >= 200;
        let result = if fails { Err(DiskErrorKind::Io.into()) } else { outcome(&pending.op, way) };
        match (&pending.op, &result) {
            (DiskOp::Write { offset, data, .. }, Ok(_)) if pending.counts => {
                let len: u64 = data.iter().map(|part| part.len() as u64).sum();
                self.written.insert(*offset..offset + len);
            }
            (DiskOp::Open { file, mode, .. }, Ok(_)) => {
                self.open.insert(*file);
                self.entry_durable &= *mode == OpenMode::Existing;
            }
            (DiskOp::Sync { .. }, Ok(_)) if self.entry_durable => self.durable.union(&pending.covers),
            (DiskOp::Sync { .. }, Ok(_)) => self.unnamed = pending.covers,
            (DiskOp::SyncDir { .. }, Ok(_)) if pending.tag == DiskTag::SyncEntry => {
                self.entry_durable = true;
                self.durable.union(&pending.covers);
            }
            (DiskOp::Sync { .. } | DiskOp::SyncDir { .. }, Err(_)) => {
                self.written = self.durable.clone();
                self.pending.iter_mut().for_each(|pending| pending.counts = false);
            }
            _ => {}
        }
        Call::Disk(pending.tag, result)
    }
}

/// How an operation succeeds.
fn outcome(op: &DiskOp, way: u8) -> DiskResult {
    let stat = |identity, len| FileStat { identity, len, regular: true };
    let opened = |identity, len| Ok(DiskOk::Opened { stat: stat(identity, len), local: true });
    match op {
        DiskOp::Stat { .. } if way < 30 => Ok(DiskOk::Found(Some(stat(OTHER, 5)))),
        DiskOp::Stat { .. } if way < 60 => Ok(DiskOk::Found(Some(stat(OURS, TOTAL)))),
        DiskOp::Stat { .. } => Ok(DiskOk::Found(None)),
        DiskOp::Open { mode: OpenMode::CreateNew, .. } if way < 30 => Err(DiskErrorKind::Exists.into()),
        DiskOp::Open { mode: OpenMode::CreateNew, .. } => opened(OURS, 0),
        DiskOp::Open { .. } if way < 30 => Err(DiskErrorKind::NotFound.into()),
        DiskOp::Open { .. } if way < 50 => opened(OTHER, TOTAL),
        DiskOp::Open { .. } if way < 70 => opened(OURS, 1),
        DiskOp::Open { .. } => opened(OURS, TOTAL),
        DiskOp::Rename { .. } if way < 30 => Err(DiskErrorKind::Exists.into()),
        DiskOp::Hash { finish: true, .. } => {
            let text = if way < 50 { WRONG } else { RIGHT };
            let checksum: ExpectedChecksum = text.parse().expect("it is a checksum");
            Ok(DiskOk::Hashed(Some(checksum.digest)))
        }
        DiskOp::Hash { .. } => Ok(DiskOk::Hashed(None)),
        _ => Ok(DiskOk::Done),
    }
}

/// A target, the disk under it, and what was said so far.
struct Run {
    target: Target,
    disk: Disk,
    now: Instant,
    calls: Vec<Call>,
    outputs: Vec<Output>,
    named: bool,
    told_dir: bool,
    records: usize,
    finished: bool,
    mismatched: bool,
    leaving: bool,
    /// Whether an earlier life had everything and was about to rename.
    renaming: bool,
    ended: bool,
    given: RangeSet,
}

impl Run {
    fn new(scene: &Scene) -> Self {
        let known = scene.resumed.as_ref().map(|part| part.durable.clone()).unwrap_or_default();
        let disk = Disk {
            written: scene.trusted.clone(),
            entry_durable: !known.is_empty(),
            durable: known,
            ..Disk::default()
        };
        Self {
            target: scene.target(),
            disk,
            now: Instant::ZERO,
            calls: Vec::new(),
            outputs: Vec::new(),
            named: scene.resumed.is_some(),
            told_dir: false,
            records: 0,
            finished: false,
            mismatched: false,
            leaving: false,
            renaming: scene.resumed.as_ref().is_some_and(|part| part.finalizing),
            ended: false,
            given: scene.trusted.clone(),
        }
    }

    fn call(&mut self, call: Call) {
        make(&mut self.target, &call);
        self.calls.push(call);
        while let Some(output) = self.target.poll_output() {
            self.outputs.push(output);
            self.on_output();
        }
        let durable = self.target.part().map(|part| part.durable.clone()).unwrap_or_default();
        for range in durable.iter() {
            assert!(self.disk.durable.contains(range.clone()), "{range:?} is not durable: {:?}", self.disk);
        }
    }

    fn on_output(&mut self) {
        assert!(!self.ended, "after the end: {:?}", self.outputs.last());
        let Some(output) = self.outputs.last() else { return };
        match output {
            Output::Disk(tag, op) => self.disk.begin(*tag, op.clone()),
            Output::Record => self.records += 1,
            Output::Lost => {
                self.disk.forget();
                self.given = RangeSet::new();
                (self.finished, self.renaming) = (false, false);
            }
            Output::Mismatch(_) => self.mismatched = true,
            Output::Finished | Output::Skipped | Output::Stopped(_) => {
                assert_eq!(self.disk.open, BTreeSet::new(), "every file is closed");
                assert!(self.disk.pending.is_empty(), "nothing is under way: {:?}", self.disk.pending);
                self.ended = true;
            }
            Output::Durable | Output::Opened => {}
        }
    }

    fn step(&mut self, step: &Step) {
        let receiving = !self.finished && !self.leaving;
        match step {
            Step::Dir if !self.told_dir => {
                self.told_dir = true;
                self.call(Call::Dir);
            }
            Step::Choose if !self.named => {
                self.named = true;
                self.call(Call::Choose);
            }
            Step::Write(at, blocks) if receiving => {
                let at = u64::from(*at) % BLOCKS;
                let end = (at + 1 + u64::from(blocks % 16)).min(BLOCKS);
                self.write(at * BLOCK..end * BLOCK);
            }
            Step::Time => self.pass_time(),
            Step::Recorded if self.records > 0 => {
                self.records -= 1;
                self.call(Call::Recorded);
            }
            Step::Checkpoint => self.call(Call::Checkpoint),
            Step::Restart if self.ended => self.call(Call::Restart),
            // A file that only has to be renamed is asked nothing of, so it cannot turn out to be another version.
            Step::Restart if self.renaming => {}
            Step::Restart if receiving || (self.mismatched && !self.leaving) => self.restart(),
            Step::Finish if receiving => self.finish(),
            Step::Stop => {
                self.leaving = true;
                self.call(Call::Stop);
            }
            Step::Discard => {
                self.leaving = true;
                self.call(Call::Discard);
            }
            Step::End(index, way) if !self.disk.pending.is_empty() => {
                let call = self.disk.end(usize::from(*index) % self.disk.pending.len(), *way);
                self.call(call);
            }
            _ => {}
        }
    }

    fn write(&mut self, range: core::ops::Range<u64>) {
        let fresh: Vec<_> = {
            let mut gaps = RangeSet::new();
            gaps.insert(range);
            self.given.iter().for_each(|given| gaps.remove(given));
            gaps.iter().collect()
        };
        for range in fresh {
            self.given.insert(range.clone());
            let bytes = Bytes::from_static(&ZEROS[..(range.end - range.start) as usize]);
            self.call(Call::Write(self.now, range.start, bytes));
        }
    }

    fn pass_time(&mut self) {
        self.now = self.target.poll_timeout().unwrap_or(self.now + Duration::from_millis(10));
        self.call(Call::Time(self.now));
        assert!(self.target.poll_timeout().is_none_or(|at| at > self.now), "no progress (I2)");
    }

    fn restart(&mut self) {
        self.disk.forget();
        self.given = RangeSet::new();
        (self.finished, self.mismatched) = (false, false);
        self.call(Call::Restart);
    }

    fn finish(&mut self) {
        self.write(0..TOTAL);
        self.finished = true;
        self.call(Call::Finish);
    }

    /// Lets everything succeed until the end, which must come.
    fn drive(&mut self) {
        for round in 0..500 {
            if self.ended {
                return;
            }
            for step in [Step::Dir, Step::Choose, Step::Recorded, Step::Finish] {
                self.step(&step);
            }
            if self.mismatched && !self.leaving {
                self.step(&Step::Discard);
            }
            let way = if round < 250 { 100 } else { 190 };
            if !self.disk.pending.is_empty() {
                let call = self.disk.end(0, way);
                self.call(call);
            }
        }
        panic!(
            "no end: {:?}, outputs {:?}",
            self.target,
            self.outputs.iter().rev().take(9).collect::<Vec<_>>()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => Just(Step::Dir),
            2 => Just(Step::Choose),
            6 => any::<(u8, u8)>().prop_map(|(at, blocks)| Step::Write(at, blocks)),
            3 => Just(Step::Time),
            4 => Just(Step::Recorded),
            3 => Just(Step::Checkpoint),
            1 => Just(Step::Restart),
            1 => Just(Step::Finish),
            1 => Just(Step::Stop),
            1 => Just(Step::Discard),
            20 => (any::<u8>(), 0..210u8).prop_map(|(index, way)| Step::End(index, way)),
        ]
    }

    fn opening() -> impl Strategy<Value = Opening> {
        let left = prop::option::of((0..=16u8, 0..=16u8, any::<bool>()));
        let opening = |(policy, checksum, allocate, left)| Opening { policy, checksum, allocate, left };
        (any::<u8>(), any::<bool>(), any::<bool>(), left).prop_map(opening)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_script_breaks_the_rules_and_each_comes_to_its_end(opening in opening(), steps in vec(step(), 0..80)) {
            play(opening, &steps);
        }
    }
}
