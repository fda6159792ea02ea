//! Machine: checks a finished file against what is known of it, and prepares its repair.

use super::ExpectedChecksum;
use super::error::DiskAction;
use super::target::{DiskTag, Part};
use crate::base::disk::{
    Digest, DirKey, DiskError, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileKey, HashInput, HashKey,
    OpenMode,
};
use crate::base::{FileName, RangeSet};
use core::ops::Range;
use std::collections::VecDeque;

/// A check under way.
#[derive(Debug)]
pub struct Check {
    part: Part,
    total: Option<u64>,
    checksum: Option<ExpectedChecksum>,
    repair: bool,
    dir: Option<DirKey>,
    file: FileKey,
    hash: HashKey,
    open: bool,
    stopped: bool,
    hashed: u64,
    len: u64,
    report: Option<Report>,
    outputs: VecDeque<Output>,
}

/// What a check asks for.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Perform a disk operation.
    Disk(DiskTag, DiskOp),
    /// It is over; nothing follows.
    Ended(Result<Report, (DiskAction, DiskError)>),
    /// It was stopped, and the file is closed; nothing follows.
    Stopped,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What is wrong or missing; empty where all is well.
    pub bad: Vec<Range<u64>>,
    /// What is wrong, for a person.
    pub finding: Finding,
    /// The file as a repair goes on with it, where one was asked for and is needed.
    pub repair: Option<Part>,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// Its digest is right.
    Verified,
    /// There is no digest to compare with; its length is right.
    LengthOnly,
    /// It is not there.
    Missing,
    /// It is too long or too short.
    Length {
        /// How long it is.
        actual: u64,
        /// How long it should be.
        expected: u64,
    },
    /// Its digest is wrong.
    Digest {
        /// What it is.
        actual: ExpectedChecksum,
        /// What it should be.
        expected: ExpectedChecksum,
    },
}

impl Check {
    /// A check of the file that has `part`'s final name. `keys` is the first of 2^20 numbers that are its own.
    pub fn new(
        part: Part,
        total: Option<u64>,
        checksum: Option<ExpectedChecksum>,
        repair: bool,
        keys: u64,
    ) -> Self {
        Self {
            part,
            total,
            checksum,
            repair,
            dir: None,
            file: FileKey(keys),
            hash: HashKey(keys),
            open: false,
            stopped: false,
            hashed: 0,
            len: 0,
            report: None,
            outputs: VecDeque::new(),
        }
    }

    /// The directory is open, or cannot be.
    pub fn dir_ready(&mut self, dir: Result<DirKey, DiskError>) {
        match dir {
            Ok(_) if self.stopped => self.outputs.push_back(Output::Stopped),
            Ok(dir) => {
                self.dir = Some(dir);
                let (name, file) = (self.part.final_name.clone(), self.file);
                let op = DiskOp::Open { dir, name, file, mode: OpenMode::Existing };
                self.outputs.push_back(Output::Disk(DiskTag::Open, op));
            }
            Err(error) => self.outputs.push_back(Output::Ended(Err((DiskAction::OpenDirectory, error)))),
        }
    }

    /// Ends the check at the next completion.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// The operation with that tag ended.
    pub fn handle_disk(&mut self, tag: DiskTag, result: DiskResult) {
        if self.stopped && self.report.is_none() {
            self.open |= tag == DiskTag::Open && result.is_ok();
            self.close();
            self.outputs.push_back(Output::Stopped);
            return;
        }
        match (tag, result) {
            (DiskTag::Open, Ok(DiskOk::Opened { stat, .. })) => {
                self.open = true;
                self.len = stat.len;
                self.part.identity = Some(stat.identity);
                self.next();
            }
            (DiskTag::Open, Err(error)) if error.kind == DiskErrorKind::NotFound => {
                let whole = 0..self.total.unwrap_or(u64::MAX);
                self.part.identity = None;
                self.conclude(vec![whole], Finding::Missing, RangeSet::new());
            }
            (DiskTag::Hash, Ok(DiskOk::Hashed(None))) => self.next(),
            (DiskTag::Hash, Ok(DiskOk::Hashed(Some(digest)))) => self.on_digest(digest),
            (DiskTag::Rename, Ok(_)) => self.sync_dir(),
            (DiskTag::SyncDir, Ok(_)) => self.end(),
            (tag, Err(error)) => {
                self.close();
                let action = match tag {
                    DiskTag::Open => DiskAction::Open,
                    DiskTag::Rename => DiskAction::Rename,
                    DiskTag::SyncDir => DiskAction::Sync,
                    _ => DiskAction::Read,
                };
                self.outputs.push_back(Output::Ended(Err((action, error))));
            }
            _ => {}
        }
    }

    /// The next thing that is asked for.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next(&mut self) {
        let expected = self.total.unwrap_or(self.len);
        if self.len != expected {
            let good = self.len.min(expected);
            let kept = RangeSet::from_iter([0..good]);
            let bad = good..self.len.max(expected);
            self.conclude(vec![bad], Finding::Length { actual: self.len, expected }, kept);
            return;
        }
        let Some(checksum) = &self.checksum else {
            self.conclude(Vec::new(), Finding::LengthOnly, RangeSet::new());
            return;
        };
        let len = (self.len - self.hashed).min(MAX_READ);
        let input = HashInput::File { file: self.file, offset: self.hashed, len };
        self.hashed += len;
        let finish = self.hashed == self.len;
        let op = DiskOp::Hash { hash: self.hash, algorithm: checksum.algorithm, input, finish };
        self.outputs.push_back(Output::Disk(DiskTag::Hash, op));
    }

    fn on_digest(&mut self, digest: Digest) {
        let Some(expected) = self.checksum.clone() else { return };
        if digest == expected.digest {
            self.conclude(Vec::new(), Finding::Verified, RangeSet::new());
            return;
        }
        let actual = ExpectedChecksum { algorithm: expected.algorithm, digest };
        // A digest of the whole does not tell where it is wrong.
        self.conclude(vec![0..self.len], Finding::Digest { actual, expected }, RangeSet::new());
    }

    fn conclude(&mut self, bad: Vec<Range<u64>>, finding: Finding, kept: RangeSet) {
        self.close();
        let repair = (self.repair && !bad.is_empty()).then(|| Part {
            part_name: self.part.final_name.partial(),
            durable: kept,
            finalizing: false,
            ..self.part.clone()
        });
        let rename = repair.as_ref().filter(|part| part.identity.is_some());
        let names: Option<(FileName, FileName)> =
            rename.map(|part| (part.final_name.clone(), part.part_name.clone()));
        self.report = Some(Report { bad, finding, repair });
        match (self.dir, names) {
            (Some(dir), Some((from, to))) => {
                let op = DiskOp::Rename { dir, from, to, replace: false };
                self.outputs.push_back(Output::Disk(DiskTag::Rename, op));
            }
            _ => self.end(),
        }
    }

    fn sync_dir(&mut self) {
        if let Some(dir) = self.dir {
            self.outputs.push_back(Output::Disk(DiskTag::SyncDir, DiskOp::SyncDir { dir }));
        }
    }

    fn close(&mut self) {
        if core::mem::take(&mut self.open) {
            self.outputs.push_back(Output::Disk(DiskTag::Hash, DiskOp::HashDrop { hash: self.hash }));
            self.outputs.push_back(Output::Disk(DiskTag::Open, DiskOp::Close { file: self.file }));
        }
    }

    fn end(&mut self) {
        if let Some(report) = self.report.take() {
            self.outputs.push_back(Output::Ended(Ok(report)));
        }
    }
}

/// One operation reads at most this much, so that others get their turn.
const MAX_READ: u64 = 8 << 20;
