//! Fuzzing: what is done with the files of downloads at rest, over a disk that answers whatever it likes: reading one of
//! them, and moving all of them.

use super::machines::each;
use crate::base::disk::{DirKey, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileIdentity, FileKey, FileStat};
use crate::base::{FileName, Instant, RangeSet};
use crate::download::error::DiskAction;
use crate::download::moving::{Item, Move, MoveEnd, MovePlan, MovingSaved};
use crate::download::readers::MAX_READERS;
use crate::download::reading::{ReadError, ReadRequest};
use crate::download::shelf::{self, Shelf, ShelfPlan, ShelfTag};
use crate::download::{DownloadError, moving};
use arbitrary::Arbitrary;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What a disk answers.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Answer {
    Well,
    /// As well, but what was there is not, or is something else.
    Otherwise,
    Error(u8),
}

/// What is open: nothing is used that is not, and nothing twice.
#[derive(Debug, Default)]
struct Opened {
    dirs: BTreeSet<DirKey>,
    files: BTreeSet<FileKey>,
}

impl Opened {
    /// An operation is asked for; what it closes is closed at once.
    fn on_op(&mut self, op: &DiskOp) {
        match op {
            DiskOp::CloseDir { dir } => assert!(self.dirs.remove(dir), "{op:?} of what is not open"),
            DiskOp::Close { file } => assert!(self.files.remove(file), "{op:?} of what is not open"),
            DiskOp::OpenSubdir { parent: dir, .. }
            | DiskOp::RemoveDir { dir, .. }
            | DiskOp::Stat { dir, .. }
            | DiskOp::Open { dir, .. }
            | DiskOp::SyncDir { dir }
            | DiskOp::Remove { dir, .. } => assert!(self.dirs.contains(dir), "{op:?} in what is not open"),
            DiskOp::Rename { dir, replace, .. } => {
                assert!(self.dirs.contains(dir) && !replace, "{op:?}");
            }
            DiskOp::Move { dir, to_dir, .. } => {
                assert!(self.dirs.contains(dir) && self.dirs.contains(to_dir), "{op:?}");
            }
            DiskOp::Read { file, .. } | DiskOp::Write { file, .. } | DiskOp::Sync { file } => {
                assert!(self.files.contains(file), "{op:?} of what is not open");
            }
            _ => {}
        }
    }

    fn answer(&mut self, op: &DiskOp, answer: Answer, stat: FileStat) -> DiskResult {
        if let Answer::Error(kind) = answer {
            return Err(ERRORS[usize::from(kind) % ERRORS.len()].into());
        }
        let well = matches!(answer, Answer::Well);
        let other = FileStat { identity: FileIdentity { device: 9, inode: 9 }, ..stat };
        let stat = if well { stat } else { other };
        Ok(match op {
            DiskOp::OpenDir { dir, .. } | DiskOp::OpenSubdir { dir, .. } => {
                assert!(self.dirs.insert(*dir), "{op:?}: the key is in use");
                DiskOk::OpenedDir { created: !well }
            }
            DiskOp::Open { file, .. } => {
                assert!(self.files.insert(*file), "{op:?}: the key is in use");
                DiskOk::Opened { stat, local: true }
            }
            DiskOp::Stat { .. } => DiskOk::Found(well.then_some(stat)),
            DiskOp::Read { offset, len, .. } => {
                let end = (offset + u64::from(*len)).min(if well { stat.len } else { offset + 1 });
                DiskOk::Data((*offset..end).map(byte_at).collect::<Vec<u8>>().into())
            }
            _ => DiskOk::Done,
        })
    }

    fn assert_none(&self) {
        assert!(self.dirs.is_empty() && self.files.is_empty(), "{self:?} stay open");
    }
}

// ----- reading -------------------------------------------------------------------------------------------------------

#[derive(Arbitrary, Debug)]
enum ShelfStep {
    Read { reader: u8, offset: u8, len: u8 },
    Close(u8),
    Disk(u8, Answer),
    Stop,
}

/// Each read is answered exactly once, with bytes of its place that are there; nothing is open in the end, and nothing
/// follows the end.
pub fn shelf(data: &[u8]) {
    let Some((settings, steps)) = data.split_first() else { return };
    let bit = |at: u8| settings >> at & 1 == 1;
    let plan = ShelfPlan {
        dir: "/d".into(),
        folders: if bit(0) { vec![name("album"), name("side")] } else { Vec::new() },
        names: vec![name("song"), name("song.part")],
        identity: bit(1).then_some(IDENTITY),
        len: bit(2).then_some(LEN),
        there: if bit(3) { RangeSet::from_iter([0..LEN]) } else { RangeSet::from_iter([0..50, 60..120]) },
        is_final: bit(4),
    };
    let mut reading = Reading {
        shelf: Shelf::new(plan.clone(), 1 << 20),
        plan,
        opened: Opened::default(),
        under_way: Vec::new(),
        waiting: BTreeMap::new(),
        replies: 0,
        over: false,
    };
    each(steps, |step: ShelfStep| reading.step(step));
    reading.shelf.stop();
    reading.drain();
    while !reading.under_way.is_empty() {
        reading.step(ShelfStep::Disk(0, Answer::Well));
    }
    assert!(reading.over && reading.waiting.is_empty(), "{:?} wait for ever", reading.waiting);
    reading.opened.assert_none();
}

struct Reading {
    shelf: Shelf,
    plan: ShelfPlan,
    opened: Opened,
    under_way: Vec<(ShelfTag, DiskOp)>,
    /// By their replies.
    waiting: BTreeMap<u64, ReadRequest>,
    replies: u64,
    over: bool,
}

impl Reading {
    fn step(&mut self, step: ShelfStep) {
        match step {
            ShelfStep::Read { reader, offset, len } => {
                let reader = u64::from(reader) % (MAX_READERS as u64 + 2);
                let request = ReadRequest { reader, file: 0, offset: offset.into(), len: len.into() };
                self.replies += 1;
                self.waiting.insert(self.replies, request);
                self.shelf.read(Instant::ZERO, request, self.replies);
            }
            ShelfStep::Close(reader) => self.shelf.close_reader(u64::from(reader) % (MAX_READERS as u64 + 2)),
            ShelfStep::Stop => self.shelf.stop(),
            ShelfStep::Disk(..) if self.under_way.is_empty() => {}
            ShelfStep::Disk(which, answer) => {
                let (tag, op) = self.under_way.remove(usize::from(which) % self.under_way.len());
                let result = self.opened.answer(&op, answer, STAT);
                self.shelf.handle_disk(Instant::ZERO, tag, result);
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.shelf.poll_output() {
            match output {
                // Whoever reads after the end is told so.
                shelf::Output::ReadDone(done) => {
                    let asked = self.waiting.remove(&done.reply).expect("it waited for an answer");
                    assert_eq!(asked, done.request);
                    self.check(asked, &done.result);
                }
                shelf::Output::Disk(tag, op) => {
                    assert!(!self.over, "{op:?} after the end (I4)");
                    self.opened.on_op(&op);
                    if op.completes() {
                        self.under_way.push((tag, op));
                    }
                }
                shelf::Output::Ended => {
                    assert!(!self.over && self.under_way.is_empty(), "{:?}", self.under_way);
                    self.over = true;
                }
            }
        }
        assert!(self.under_way.len() <= MAX_READERS);
    }

    fn check(&self, asked: ReadRequest, result: &Result<Bytes, ReadError>) {
        assert!(!self.over || *result == Err(ReadError::Stopped), "{result:?} after the end");
        let Ok(bytes) = result else { return };
        let end = asked.offset + bytes.len() as u64;
        assert!(bytes.len() <= asked.len as usize);
        assert!(bytes.iter().copied().eq((asked.offset..end).map(byte_at)), "bytes of another place");
        let there = self.plan.there.end_of(asked.offset).unwrap_or(asked.offset);
        assert!(end <= there, "{asked:?} got what is not there");
    }
}

// ----- moving --------------------------------------------------------------------------------------------------------

#[derive(Arbitrary, Debug)]
enum MoveStep {
    Answer(Answer),
    Many(u8),
    Recorded,
    StoreFails,
    Stop,
}

/// One operation is under way at a time; nothing is replaced, or removed before the store knows where all is; nothing is
/// open in the end, and nothing follows the end.
pub fn moving(data: &[u8]) {
    let Some((settings, steps)) = data.split_first() else { return };
    let item = |number: u32| Item {
        number,
        folder: (1..number).map(|number| name(&format!("folder {number}"))).collect(),
        names: vec![name(&format!("file {number}")), name(&format!("file {number}.part"))],
        identity: IDENTITY,
        executable: number == 1,
    };
    let plan = MovePlan {
        dir: "/from".into(),
        items: (0..u32::from(settings % 4)).map(item).collect(),
        own_folders: BTreeSet::from([vec![name("folder 1")]]),
        copy_name: name(COPY),
        is_new: settings & 4 == 0,
    };
    let saved = MovingSaved { arrived: settings & 8 != 0, ..MovingSaved::new("/to".into()) };
    let arrived = saved.arrived;
    let mut moving = Moving {
        machine: Move::new(plan, saved, 1 << 20),
        opened: Opened::default(),
        under_way: None,
        store: false,
        arrived,
        turned_back: false,
        operations: 0,
        end: None,
    };
    moving.drain();
    each(steps, |step: MoveStep| moving.step(step));
    // With a disk that does what it is told, everything ends.
    while moving.end.is_none() {
        moving.step(MoveStep::Answer(Answer::Well));
        moving.step(MoveStep::Recorded);
    }
    assert!(moving.under_way.is_none() && !moving.store);
    moving.opened.assert_none();
}

struct Moving {
    machine: Move,
    opened: Opened,
    under_way: Option<DiskOp>,
    /// Whether the store is waited for.
    store: bool,
    /// Whether the store knows that all has arrived.
    arrived: bool,
    turned_back: bool,
    operations: u32,
    end: Option<MoveEnd>,
}

impl Moving {
    fn step(&mut self, step: MoveStep) {
        match step {
            MoveStep::Answer(answer) => {
                let Some(op) = self.under_way.take() else { return };
                let looked = matches!(op, DiskOp::Stat { .. });
                self.turned_back |=
                    matches!(answer, Answer::Error(_)) || !looked && matches!(answer, Answer::Otherwise);
                let result = self.opened.answer(&op, answer, STAT);
                self.machine.handle_disk(result);
            }
            MoveStep::Many(count) => {
                for _ in 0..count {
                    self.step(MoveStep::Answer(Answer::Well));
                    self.step(MoveStep::Recorded);
                }
            }
            MoveStep::Recorded if self.store => {
                self.store = false;
                self.machine.recorded();
            }
            MoveStep::StoreFails if self.store => {
                (self.store, self.turned_back) = (false, true);
                let error = DiskErrorKind::Full.into();
                let (action, path) = (DiskAction::Sync, "/state".into());
                self.machine.fail(DownloadError::Disk { action, path, error });
            }
            MoveStep::Recorded | MoveStep::StoreFails => {}
            MoveStep::Stop => self.machine.stop(),
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            assert!(self.end.is_none(), "{output:?} after the end (I4)");
            match output {
                moving::Output::Disk(op) => self.on_op(op),
                moving::Output::Record => self.wait_for_store(),
                moving::Output::Arrived => {
                    assert!(!core::mem::replace(&mut self.arrived, true), "it arrived already");
                    self.wait_for_store();
                }
                moving::Output::Ended(end) => self.end = Some(end),
            }
        }
    }

    fn wait_for_store(&mut self) {
        assert!(self.under_way.is_none() && !core::mem::replace(&mut self.store, true));
    }

    fn on_op(&mut self, op: DiskOp) {
        self.opened.on_op(&op);
        if let DiskOp::Remove { name, .. } = &op {
            let may = self.arrived || self.turned_back || name.as_str() == COPY;
            assert!(may, "{op:?} before the store knows where all is");
        }
        if op.completes() {
            assert!(!self.store, "{op:?} before the store has answered");
            assert!(self.under_way.replace(op).is_none(), "one at a time");
            self.operations += 1;
            assert!(self.operations < MAX_OPERATIONS, "it does not end");
        }
    }
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("it is a name")
}

fn byte_at(offset: u64) -> u8 {
    (offset % 251) as u8
}

const COPY: &str = ".copy";
const LEN: u64 = 200;
const IDENTITY: FileIdentity = FileIdentity { device: 1, inode: 2 };
const STAT: FileStat = FileStat { identity: IDENTITY, len: LEN, regular: true };
const ERRORS: [DiskErrorKind; 6] = [
    DiskErrorKind::NotFound,
    DiskErrorKind::Io,
    DiskErrorKind::Full,
    DiskErrorKind::CrossDevice,
    DiskErrorKind::Exists,
    DiskErrorKind::NotADirectory,
];
/// Three files in three folders, there and back.
const MAX_OPERATIONS: u32 = 2000;
