//! Reading the files of a torrent while they are fetched: what readers wait for comes first, and nothing unverified.

use super::{Content, Output, Torrent};
use crate::base::disk::DiskError;
use crate::base::{Block, Instant};
use crate::download::reading::{Due, ReadDone, ReadError, ReadRequest};
use bytes::Bytes;
use core::ops::Range;

impl Torrent {
    /// Reads what is verified at a place, or waits for it, and has it fetched first; [`Output::ReadDone`] follows with
    /// `reply`, and at least one byte where any was asked for.
    pub fn read(&mut self, now: Instant, request: ReadRequest, reply: u64) {
        if let Err(error) = self.begin_read(now, request, reply) {
            self.outputs.push_back(Output::ReadDone(ReadDone { request, reply, result: Err(error) }));
        }
        self.settle(now);
    }

    /// A reader is gone: nothing is fetched first for it any more.
    pub fn close_reader(&mut self, now: Instant, reader: u64) {
        self.outputs.extend(self.reading.close(reader).map(Output::ReadDone));
        self.urge(now);
        self.settle(now);
    }

    fn begin_read(&mut self, now: Instant, request: ReadRequest, reply: u64) -> Result<(), ReadError> {
        if self.stop.is_some() {
            return Err(ReadError::Stopped);
        }
        let range = self.range_of(request.file)?;
        let place = self.reading.want(now, request, range, reply)?;
        self.urge(now);
        if let Some(at) = place {
            self.hurry_seeds(now, at);
        }
        self.serve_readers(now);
        Ok(())
    }

    /// Where a file lies in the whole.
    fn range_of(&self, file: usize) -> Result<Range<u64>, ReadError> {
        let layout = self.content.as_ref().ok_or(ReadError::Unknown)?.files.layout();
        let file = u32::try_from(file).ok().filter(|file| *file < layout.files());
        Ok(layout.range(file.ok_or(ReadError::NoFile)?))
    }

    /// Tells the picker which pieces readers need soon.
    pub(super) fn urge(&mut self, now: Instant) {
        let Some(Content { metainfo, files, picker: Some(picker) }) = &mut self.content else { return };
        let (readers, have) = (self.reading.readers(), files.have());
        picker.set_urgent(readers.urgent(now, &metainfo.grid(), |piece| !have.has(piece)));
        self.blocks_freed = true;
    }

    /// More may be readable.
    pub(super) fn serve_readers(&mut self, now: Instant) {
        let Some(content) = &self.content else { return };
        self.outputs.extend(self.reading.at_end().into_iter().map(Output::ReadDone));
        let (grid, have) = (content.metainfo.grid(), content.files.have());
        let piece_at = |at: u64| grid.pieces_in(at..at + 1).next();
        let there = |at: u64| piece_at(at).filter(|piece| have.has(*piece));
        let ready = |at: u64| there(at).map_or(0, |piece| grid.piece_range(piece).end - at);
        let due = self.reading.due(ready, || self.reads.token());
        for Due { token, at, len } in due {
            let Some(piece) = piece_at(at) else { continue };
            let Ok(begin) = u32::try_from(at - grid.piece_range(piece).start) else { continue };
            self.with_files(|files| files.read(now, token, Block { piece, begin, len }));
        }
    }

    /// What a reader waited for is here, or cannot be read; says whether it was for one.
    pub(super) fn on_reader_read(
        &mut self,
        now: Instant,
        token: u64,
        result: &Result<Bytes, DiskError>,
    ) -> bool {
        let ours = self.reading.awaits(token);
        if ours {
            self.outputs.extend(self.reading.done(now, token, result.clone()).map(Output::ReadDone));
        }
        ours
    }

    /// It stops: nobody waits any longer.
    pub(super) fn stop_readers(&mut self) {
        self.outputs.extend(self.reading.stop().into_iter().map(Output::ReadDone));
    }
}
