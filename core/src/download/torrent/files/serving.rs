//! Reading what is there, for peers.

use super::handles::{Access, Job, JobOp, MAX_OPEN_FILES, Slot};
use super::{Output, PARTS, Phase, Then, TorrentFiles};
use crate::base::Block;
use crate::base::disk::{DiskError, DiskErrorKind, DiskOk, DiskResult};
use crate::proto::peer::FileSpan;
use bytes::{Bytes, BytesMut};

/// A read under way: its parts in order, and how many are still to come.
#[derive(Debug)]
pub(super) struct Reading {
    parts: Vec<Part>,
    left: usize,
    failed: Option<DiskError>,
}

#[derive(Debug)]
struct Part {
    len: u64,
    bytes: Bytes,
}

/// What is, or is to be, sent from files.
#[derive(Debug)]
pub(super) struct Serving {
    spans: Vec<FileSpan>,
    slots: Vec<Slot>,
    left: usize,
    failed: Option<DiskError>,
}

impl TorrentFiles {
    pub(super) fn begin_read(&mut self, token: u64, block: Block, unproved: bool) {
        self.in_use = true;
        if !self.can_read(block, unproved) {
            let result = Err(DiskErrorKind::NotFound.into());
            self.outputs.push_back(Output::Read { token, result });
            return;
        }
        let begin = u64::from(block.begin);
        let places = self.places(block.piece, begin..begin + u64::from(block.len));
        let parts = places.iter().map(|place| Part { len: place.len, bytes: Bytes::new() }).collect();
        self.next_read += 1;
        let id = self.next_read;
        self.reading.insert(id, (token, Reading { parts, left: places.len(), failed: None }));
        for (index, place) in places.into_iter().enumerate() {
            let len = u32::try_from(place.len).unwrap_or(u32::MAX);
            if place.pad {
                let zeros = BytesMut::zeroed(len as usize).freeze();
                self.on_part_read(id, index, Ok(DiskOk::Data(zeros)));
                continue;
            }
            let op = JobOp::Read { offset: place.offset, len };
            let slot = self.reading_slot(place.file);
            self.submit(Job { slot, op, then: Then::ReadPart { id, index } });
        }
    }

    /// A file that is open anyway serves for reading too.
    fn reading_slot(&self, file: u32) -> Slot {
        let write = (file, Access::Write);
        if self.handles.is_open(write) { write } else { (file, Access::Read) }
    }

    fn can_read(&self, block: Block, unproved: bool) -> bool {
        let grid = self.plan.layout.grid();
        let is_within = grid.span(block.piece.get(), block.begin, block.len) == Some(block);
        self.phase == Phase::Ready && is_within && (unproved || self.have.has(block.piece))
    }

    pub(super) fn on_part_read(&mut self, id: u64, index: usize, result: DiskResult) {
        let Some((token, reading)) = self.reading.get_mut(&id) else { return };
        match (result, reading.parts.get_mut(index)) {
            (Ok(DiskOk::Data(bytes)), Some(part)) if bytes.len() as u64 == part.len => part.bytes = bytes,
            (Err(error), _) => reading.failed = Some(error),
            _ => reading.failed = Some(DiskErrorKind::UnexpectedEof.into()),
        }
        reading.left -= 1;
        if reading.left > 0 {
            return;
        }
        let token = *token;
        let Some((_, reading)) = self.reading.remove(&id) else { return };
        let result = match reading.failed {
            Some(error) => Err(error),
            None => Ok(join(reading.parts)),
        };
        self.outputs.push_back(Output::Read { token, result });
    }

    pub(super) fn begin_serve(&mut self, token: u64, block: Block) {
        self.in_use = true;
        let begin = u64::from(block.begin);
        let places = match self.can_read(block, false) {
            true => self.places(block.piece, begin..begin + u64::from(block.len)),
            false => Vec::new(),
        };
        let cannot = places.iter().any(|place| place.pad || place.file == PARTS)
            || self.handles.pinned + places.len() > MAX_PINNED
            || self.serving.contains_key(&token);
        if places.is_empty() || cannot {
            return self.begin_read(token, block, false);
        }
        let slots: Vec<Slot> = places.iter().map(|place| self.reading_slot(place.file)).collect();
        let spans = places.iter().map(|place| FileSpan {
            file: crate::base::disk::FileKey(0),
            offset: place.offset,
            len: u32::try_from(place.len).unwrap_or(u32::MAX),
        });
        let serving = Serving { spans: spans.collect(), left: slots.len(), slots: Vec::new(), failed: None };
        self.serving.insert(token, serving);
        for (index, slot) in slots.into_iter().enumerate() {
            self.submit(Job { slot, op: JobOp::Touch, then: Then::Serve { token, index } });
        }
    }

    pub(super) fn on_open_to_serve(&mut self, slot: Slot, token: u64, index: usize, result: DiskResult) {
        let Some(serving) = self.serving.get_mut(&token) else { return };
        serving.left -= 1;
        match (result, self.handles.pin(slot)) {
            (Ok(_), Some(key)) => {
                serving.slots.push(slot);
                if let Some(span) = serving.spans.get_mut(index) {
                    span.file = key;
                }
            }
            (result, pinned) => {
                if pinned.is_some() {
                    self.handles.unpin(slot);
                }
                serving.failed = Some(result.err().unwrap_or(DiskErrorKind::NotFound.into()));
            }
        }
        if serving.left > 0 {
            return;
        }
        let result = match serving.failed {
            Some(error) => {
                self.end_serving(token);
                Err(error)
            }
            None => Ok(core::mem::take(&mut serving.spans)),
        };
        self.outputs.push_back(Output::Spans { token, result });
    }

    pub(super) fn end_serving(&mut self, token: u64) {
        if let Some(serving) = self.serving.remove(&token) {
            serving.slots.into_iter().for_each(|slot| self.handles.unpin(slot));
        }
    }
}

fn join(mut parts: Vec<Part>) -> Bytes {
    if parts.len() == 1 {
        return parts.pop().map(|part| part.bytes).unwrap_or_default();
    }
    let len = parts.iter().map(|part| part.bytes.len()).sum();
    let mut whole = BytesMut::with_capacity(len);
    parts.iter().for_each(|part| whole.extend_from_slice(&part.bytes));
    whole.freeze()
}

/// How many open files may be held for peers: what is left serves everything else.
const MAX_PINNED: usize = MAX_OPEN_FILES / 2;
