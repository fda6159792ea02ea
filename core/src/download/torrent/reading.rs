//! Reading the files of a torrent while they are fetched: what readers wait for comes first, and nothing unverified.

use super::picker::PieceState;
use super::{Content, Output, Phase, Torrent};
use crate::base::disk::DiskError;
use crate::base::{Block, Instant, PieceIndex};
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
            self.hurry(now, at);
        }
        self.serve_readers(now);
        Ok(())
    }

    /// A reader waits for what nobody was asked for: that comes before what they were asked for already.
    fn hurry(&mut self, now: Instant, at: u64) {
        let Some(Content { metainfo, picker: Some(picker), .. }) = &self.content else { return };
        let missing = |piece: &PieceIndex| picker.state_of(*piece) == PieceState::Missing;
        let Some(piece) = metainfo.grid().pieces_in(at..at + 1).next().filter(missing) else { return };
        self.hurry_seeds(now);
        self.hurry_peers(now, piece);
    }

    /// Who has the piece sends what may be on its way already, and is then asked anew.
    fn hurry_peers(&mut self, now: Instant, piece: PieceIndex) {
        for peer in self.peers.keys() {
            let Some(slot) = self.peers.get_mut(peer) else { continue };
            if !slot.machine.has().is_some_and(|has| has.has(piece)) {
                continue;
            }
            let window = slot.pipeline.window(slot.down.rate(now), slot.machine.request_queue());
            let late: Vec<Block> = slot.machine.in_flight().skip((window / ON_ITS_WAY).max(1)).collect();
            late.iter().for_each(|block| slot.machine.cancel(*block));
            self.release(peer, &late);
            self.touch_peer(peer);
        }
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
        if matches!(self.phase, Phase::Finishing | Phase::Seeding) {
            // Nothing more is fetched.
            let missing = self.reading.give_up(|at| piece_at(at).is_some_and(|piece| !have.has(piece)));
            self.outputs.extend(missing.into_iter().map(Output::ReadDone));
        }
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

/// The part of a peer's requests, which last about two seconds, that may be on its way: a quarter of a second of them.
const ON_ITS_WAY: usize = 8;
