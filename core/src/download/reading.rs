//! Policy: who reads a download while it is fetched, and what each waits for.
//!
//! It is the same for all kinds of downloads: a reader reads one file and waits for at most one thing. Where it reads
//! follows from what it asks for, so a seek is a question about another place.

use super::readers::{MAX_READERS, ReaderKey, Readers};
use crate::base::Instant;
use crate::base::disk::{DiskError, DiskErrorKind};
use bytes::Bytes;
use core::ops::Range;
use std::collections::BTreeMap;

/// What a reader wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Who reads; chosen by the caller. A reader stays with its first file, and what it reads comes first until it is closed.
    pub reader: u64,
    /// The number of the file; 0 of a download over HTTP.
    pub file: usize,
    /// Where in the file, in bytes. Another place than where the last read ended is a seek. Beyond the end there is nothing.
    pub offset: u64,
    /// At most so many bytes; 0 gives none.
    pub len: u32,
}

/// Why a read gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The files are not known, because the metainfo has not come yet.
    #[error("the files of the torrent are not known yet")]
    Unknown,
    /// No such file.
    #[error("there is no such file in the download")]
    NoFile,
    /// The reader has another file, or waits for something already.
    #[error("the reader is busy with something else")]
    Busy,
    /// Too many read at once.
    #[error("{MAX_READERS} readers read from the download already")]
    TooMany,
    /// The download stopped meanwhile.
    #[error("the download was stopped")]
    Stopped,
    /// The reader was closed meanwhile.
    #[error("the reader was closed")]
    Closed,
    /// It was not fetched, and is not going to be.
    #[error("this part of the download was not fetched")]
    Missing,
    /// The disk failed.
    #[error(transparent)]
    Disk(DiskError),
}

/// What came of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadDone {
    /// What was asked for.
    pub request: ReadRequest,
    /// Whom to answer, as it was given.
    pub reply: u64,
    /// The bytes: none at the end of the file, or where none were asked for.
    pub result: Result<Bytes, ReadError>,
}

/// A read that can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number, for [`Reading::done`].
    pub token: u64,
    /// The first byte of the whole.
    pub at: u64,
    /// How many bytes.
    pub len: u32,
}

/// All who read one download.
#[derive(Debug, Default)]
pub struct Reading {
    readers: Readers,
    open: BTreeMap<u64, Open>,
    /// Reads of the files under way, by their numbers, and whose they are.
    under_way: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Open {
    key: ReaderKey,
    file: usize,
    wish: Option<Wish>,
}

/// What a reader waits for.
#[derive(Clone, Copy, Debug)]
struct Wish {
    request: ReadRequest,
    reply: u64,
    /// Whether it is being read from the disk.
    begun: bool,
}

impl Wish {
    fn end(self, result: Result<Bytes, ReadError>) -> ReadDone {
        ReadDone { request: self.request, reply: self.reply, result }
    }
}

impl Reading {
    /// A reader wants something of the file that lies at `range` of the whole, in bytes. Returns the place in the whole
    /// if the reader is new there: it has come, or jumped.
    ///
    /// # Errors
    ///
    /// [`ReadError::Busy`] and [`ReadError::TooMany`].
    pub fn want(
        &mut self,
        now: Instant,
        request: ReadRequest,
        range: Range<u64>,
        reply: u64,
    ) -> Result<Option<u64>, ReadError> {
        let at = range.start.saturating_add(request.offset).min(range.end);
        let is_new = !self.open.contains_key(&request.reader);
        if is_new {
            let key = self.readers.open(now, range).ok_or(ReadError::TooMany)?;
            self.open.insert(request.reader, Open { key, file: request.file, wish: None });
        }
        let open = self.open.get_mut(&request.reader);
        let open = open.filter(|open| open.file == request.file && open.wish.is_none());
        let open = open.ok_or(ReadError::Busy)?;
        open.wish = Some(Wish { request, reply, begun: false });
        let jumps = self.readers.position(open.key) != Some(at);
        if jumps {
            self.readers.seek(now, open.key, at);
        }
        Ok((is_new || jumps).then_some(at))
    }

    /// What can begin now: `ready` says how many bytes from a place on can be read at once, `token` numbers the reads.
    pub fn due(&mut self, ready: impl Fn(u64) -> u64, mut token: impl FnMut() -> u64) -> Vec<Due> {
        let mut due = Vec::new();
        for (reader, open) in &mut self.open {
            let Some(wish) = open.wish.as_mut().filter(|wish| !wish.begun) else { continue };
            let Some(rest) = self.readers.rest(open.key) else { continue };
            let most = u64::from(wish.request.len.min(MAX_READ)).min(rest.end - rest.start);
            let Ok(len) = u32::try_from(ready(rest.start).min(most)) else { continue };
            if len == 0 {
                continue;
            }
            wish.begun = true;
            let token = token();
            self.under_way.insert(token, *reader);
            due.push(Due { token, at: rest.start, len });
        }
        due
    }

    /// Those who want nothing, or are at the end: they get no bytes.
    pub fn at_end(&mut self) -> Vec<ReadDone> {
        let readers = &self.readers;
        let ends = |open: &mut Open| {
            let rest = readers.rest(open.key)?;
            let ends = |wish: &mut Wish| !wish.begun && (wish.request.len == 0 || rest.is_empty());
            open.wish.take_if(ends).map(|wish| wish.end(Ok(Bytes::new())))
        };
        self.open.values_mut().filter_map(ends).collect()
    }

    /// Those who wait for a place in the whole of which `never` says that it does not come.
    pub fn give_up(&mut self, never: impl Fn(u64) -> bool) -> Vec<ReadDone> {
        let readers = &self.readers;
        let ends = |open: &mut Open| {
            let at = readers.position(open.key)?;
            let wish = open.wish.take_if(|wish| !wish.begun && never(at))?;
            Some(wish.end(Err(ReadError::Missing)))
        };
        self.open.values_mut().filter_map(ends).collect()
    }

    /// Whether a read of that number is under way here.
    pub fn awaits(&self, token: u64) -> bool {
        self.under_way.contains_key(&token)
    }

    /// A read is over; `None` where its reader has gone.
    pub fn done(&mut self, now: Instant, token: u64, result: Result<Bytes, DiskError>) -> Option<ReadDone> {
        let open = self.open.get_mut(&self.under_way.remove(&token)?)?;
        let wish = open.wish.take()?;
        let result = result.and_then(|bytes| match bytes.len() {
            // No bytes would say that the file ends here.
            0 => Err(DiskErrorKind::UnexpectedEof.into()),
            _ => Ok(bytes),
        });
        if let Ok(bytes) = &result {
            self.readers.consumed(now, open.key, bytes.len() as u64);
        }
        Some(wish.end(result.map_err(ReadError::Disk)))
    }

    /// A reader is gone; what it waited for, if anything.
    pub fn close(&mut self, reader: u64) -> Option<ReadDone> {
        let open = self.open.remove(&reader)?;
        self.readers.close(open.key);
        self.under_way.retain(|_, of| *of != reader);
        open.wish.map(|wish| wish.end(Err(ReadError::Closed)))
    }

    /// It stops: nobody waits any longer.
    pub fn stop(&mut self) -> Vec<ReadDone> {
        let open = core::mem::take(self).open.into_values();
        open.filter_map(|open| open.wish).map(|wish| wish.end(Err(ReadError::Stopped))).collect()
    }

    /// Whether nobody reads.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The places in the whole that somebody waits for.
    pub fn waiting(&self) -> impl Iterator<Item = u64> + '_ {
        let waits = |open: &&Open| open.wish.is_some_and(|wish| !wish.begun);
        self.open.values().filter(waits).filter_map(|open| self.readers.position(open.key))
    }

    /// Where everybody is.
    pub fn readers(&self) -> &Readers {
        &self.readers
    }

    /// The length of the whole is known now.
    pub fn set_end(&mut self, end: u64) {
        self.readers.set_end(end);
    }
}

/// One answer: as much as a player takes at a time, and with all readers of a download 16 MiB of memory.
const MAX_READ: u32 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(reader: u64, offset: u64, len: u32) -> ReadRequest {
        ReadRequest { reader, file: 0, offset, len }
    }

    #[test]
    fn each_reader_waits_for_one_thing_and_goes_on_where_it_ended() {
        let (mut reading, now) = (Reading::default(), Instant::ZERO);
        assert_eq!(reading.want(now, request(1, 10, 5), 100..200, 7), Ok(Some(110)));
        assert_eq!(reading.want(now, request(1, 10, 5), 100..200, 8), Err(ReadError::Busy));
        assert!(reading.due(|_| 0, || 0).is_empty());
        assert_eq!(reading.waiting().collect::<Vec<_>>(), [110]);
        assert_eq!(reading.due(|_| 3, || 9), [Due { token: 9, at: 110, len: 3 }]);
        assert!(reading.due(|_| 3, || 10).is_empty() && reading.waiting().next().is_none());
        let bytes = Bytes::from_static(b"abc");
        let done = ReadDone { request: request(1, 10, 5), reply: 7, result: Ok(bytes.clone()) };
        assert_eq!(reading.done(now, 9, Ok(bytes)), Some(done));
        assert_eq!(reading.want(now, request(1, 13, 5), 100..200, 8), Ok(None), "it reads on");
        assert_eq!(reading.close(1).map(|done| done.result), Some(Err(ReadError::Closed)));
        assert!(reading.is_empty());
    }

    #[test]
    fn nothing_is_read_at_the_end_and_beyond_it() {
        let (mut reading, now) = (Reading::default(), Instant::ZERO);
        for (reader, offset, len) in [(1, 100, 5), (2, u64::MAX, 5), (3, 0, 0), (4, 99, 5)] {
            reading.want(now, request(reader, offset, len), 100..200, reader).expect("they fit");
        }
        let ended = reading.at_end();
        assert_eq!(ended.iter().map(|done| done.reply).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(ended.iter().all(|done| done.result == Ok(Bytes::new())));
        assert_eq!(reading.due(|_| 50, || 0), [Due { token: 0, at: 199, len: 1 }]);
    }

    #[test]
    fn who_waits_for_what_does_not_come_is_told_and_may_ask_again() {
        let (mut reading, now) = (Reading::default(), Instant::ZERO);
        for (reader, offset) in [(1, 10), (2, 50), (3, 60)] {
            reading.want(now, request(reader, offset, 5), 0..100, reader).expect("they fit");
        }
        assert_eq!(reading.due(|at| if at == 60 { 9 } else { 0 }, || 4).len(), 1);
        let missing = ReadDone { request: request(2, 50, 5), reply: 2, result: Err(ReadError::Missing) };
        assert_eq!(reading.give_up(|at| at >= 50), [missing]);
        assert_eq!(reading.want(now, request(2, 50, 5), 0..100, 5), Ok(None));
    }

    #[test]
    fn whoever_waits_is_told_of_a_stop_and_late_reads_reach_nobody() {
        let (mut reading, now) = (Reading::default(), Instant::ZERO);
        reading.want(now, request(1, 0, 5), 0..u64::MAX, 1).expect("it fits");
        reading.want(now, request(2, 50, 5), 0..u64::MAX, 2).expect("it fits");
        assert_eq!(reading.due(|at| if at == 0 { 9 } else { 0 }, || 4).len(), 1);
        reading.set_end(50);
        assert_eq!(reading.at_end().len(), 1);
        assert_eq!(
            reading.stop().iter().map(|done| &done.result).collect::<Vec<_>>(),
            [&Err(ReadError::Stopped)]
        );
        assert!(!reading.awaits(4) && reading.done(now, 4, Ok(Bytes::new())).is_none());
    }
}
