//! Reading the files of a torrent while they are fetched: what readers wait for comes first, and nothing unverified.

use super::readers::{MAX_READERS, ReaderKey, Readers};
use super::{Content, Output, Torrent};
use crate::base::disk::DiskError;
use crate::base::{Block, Instant};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What a reader wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Who reads; chosen by the caller. A reader stays with its first file, and its pieces come first until it is closed.
    pub reader: u64,
    /// The number of the file.
    pub file: usize,
    /// Where in the file, in bytes. Another place than where the last read ended is a seek.
    pub offset: u64,
    /// At most so many bytes; 0, or an offset at the end of the file, gives none.
    pub len: u32,
}

/// Why a read gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The files are not known, because the metainfo has not come yet.
    #[error("the files of the torrent are not known yet")]
    Unknown,
    /// No such file, or a place beyond its end.
    #[error("there is no such place in the torrent's files")]
    Beyond,
    /// The reader has another file, or waits for something already.
    #[error("the reader is busy with something else")]
    Busy,
    /// Too many read at once.
    #[error("{MAX_READERS} readers read from the torrent already")]
    TooMany,
    /// The torrent stopped, or the reader was closed meanwhile.
    #[error("the torrent or the reader was stopped")]
    Stopped,
    /// The disk failed.
    #[error(transparent)]
    Disk(DiskError),
}

/// All who read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    readers: Readers,
    open: BTreeMap<u64, Open>,
    /// Reads of the files under way, by their tokens, and whose they are.
    under_way: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Open {
    key: ReaderKey,
    file: usize,
    wish: Option<Wish>,
}

/// What a reader waits for: at most one thing.
#[derive(Clone, Copy, Debug)]
struct Wish {
    reply: u64,
    len: u32,
    /// Whether it is being read from the disk.
    begun: bool,
}

impl Torrent {
    /// Reads what is verified at a place, or waits for it, and has it fetched first; [`Output::ReadDone`] follows with
    /// `reply`, and at least one byte where any was asked for.
    pub fn read(&mut self, now: Instant, request: ReadRequest, reply: u64) {
        if let Err(error) = self.begin_read(now, request, reply) {
            self.outputs.push_back(Output::ReadDone { reply, result: Err(error) });
        }
        self.settle(now);
    }

    /// A reader is gone: nothing is fetched first for it any more.
    pub fn close_reader(&mut self, now: Instant, reader: u64) {
        let Some(open) = self.reading.open.remove(&reader) else { return };
        self.reading.readers.close(open.key);
        self.reading.under_way.retain(|_, of| *of != reader);
        self.refuse(open.wish);
        self.urge(now);
        self.settle(now);
    }

    fn begin_read(&mut self, now: Instant, request: ReadRequest, reply: u64) -> Result<(), ReadError> {
        let ReadRequest { reader, file, offset, len } = request;
        if self.stop.is_some() {
            return Err(ReadError::Stopped);
        }
        let content = self.content.as_ref().ok_or(ReadError::Unknown)?;
        let number = u32::try_from(file).map_err(|_| ReadError::Beyond)?;
        let layout = content.files.layout();
        if number >= layout.files() || offset > layout.len_of(number) {
            return Err(ReadError::Beyond);
        }
        let range = layout.range(number);
        let at = range.start + offset;
        if len == 0 || at == range.end {
            self.outputs.push_back(Output::ReadDone { reply, result: Ok(Bytes::new()) });
            return Ok(());
        }
        let Reading { readers, open, .. } = &mut self.reading;
        let is_new = !open.contains_key(&reader);
        if is_new {
            let key = readers.open(now, range).ok_or(ReadError::TooMany)?;
            open.insert(reader, Open { key, file, wish: None });
        }
        let open = open.get_mut(&reader).filter(|open| open.file == file && open.wish.is_none());
        let open = open.ok_or(ReadError::Busy)?;
        open.wish = Some(Wish { reply, len: len.min(MAX_READ), begun: false });
        let jumps = readers.position(open.key) != Some(at);
        if jumps {
            readers.seek(now, open.key, at);
        }
        self.urge(now);
        if is_new || jumps {
            self.hurry_seeds(now, at);
        }
        self.serve_readers(now);
        Ok(())
    }

    /// Tells the picker which pieces readers need soon.
    pub(super) fn urge(&mut self, now: Instant) {
        let Some(Content { metainfo, files, picker: Some(picker) }) = &mut self.content else { return };
        let have = files.have();
        picker.set_urgent(self.reading.readers.urgent(now, &metainfo.grid(), |piece| !have.has(piece)));
        self.blocks_freed = true;
    }

    /// More may be readable.
    pub(super) fn serve_readers(&mut self, now: Instant) {
        let Some(content) = &self.content else { return };
        let grid = content.metainfo.grid();
        let Reading { readers, open, under_way } = &mut self.reading;
        let mut reads: Vec<(u64, Block)> = Vec::new();
        for (name, open) in open.iter_mut() {
            let Some(wish) = open.wish.as_mut().filter(|wish| !wish.begun) else { continue };
            let ready = readers.ready(open.key, &grid, content.files.have());
            let Some(at) = readers.position(open.key).filter(|_| ready > 0) else { continue };
            let Some(piece) = grid.pieces_in(at..at + 1).next() else { continue };
            let within = grid.piece_range(piece);
            let len = u64::from(wish.len).min(ready).min(within.end - at);
            let place = (u32::try_from(at - within.start), u32::try_from(len));
            let (Ok(begin), Ok(len)) = place else { continue };
            wish.begun = true;
            let token = self.reads.token();
            under_way.insert(token, *name);
            reads.push((token, Block { piece, begin, len }));
        }
        for (token, block) in reads {
            self.with_files(|files| files.read(now, token, block));
        }
    }

    /// What a reader waited for is here, or cannot be read; says whether it was for one.
    pub(super) fn on_reader_read(
        &mut self,
        now: Instant,
        token: u64,
        result: &Result<Bytes, DiskError>,
    ) -> bool {
        let Some(reader) = self.reading.under_way.remove(&token) else { return false };
        let Reading { readers, open, .. } = &mut self.reading;
        let Some(open) = open.get_mut(&reader) else { return true };
        let Some(wish) = open.wish.take() else { return true };
        if let Ok(bytes) = result {
            readers.consumed(now, open.key, bytes.len() as u64);
        }
        let result = result.clone().map_err(ReadError::Disk);
        self.outputs.push_back(Output::ReadDone { reply: wish.reply, result });
        true
    }

    /// It stops: nobody waits any longer.
    pub(super) fn stop_readers(&mut self) {
        let reading = core::mem::take(&mut self.reading);
        reading.open.into_values().for_each(|open| self.refuse(open.wish));
    }

    fn refuse(&mut self, wish: Option<Wish>) {
        if let Some(Wish { reply, .. }) = wish {
            self.outputs.push_back(Output::ReadDone { reply, result: Err(ReadError::Stopped) });
        }
    }
}

/// One answer: as much as a player takes at a time, and with all readers of a torrent 16 MiB of memory.
const MAX_READ: u32 = 256 << 10;
