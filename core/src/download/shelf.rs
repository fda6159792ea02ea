//! Machine: reads one file of a download at rest, without a lock on it and without changing anything.
//!
//! ```text
//! Idle ─▶ folders, then the file under one of its names ─▶ Ready ─▶ stop() ─▶ Ended
//! ```

use super::reading::{Due, ReadDone, ReadError, ReadRequest, Reading};
use crate::base::disk::{
    DirKey, DiskError, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileIdentity, FileKey, OpenMode,
};
use crate::base::{FileName, Instant, RangeSet};
use std::collections::VecDeque;
use std::path::PathBuf;

/// Which file, and what is known of it.
#[derive(Clone, Debug)]
pub struct ShelfPlan {
    /// The directory that the user chose.
    pub dir: PathBuf,
    /// The folders below it, one in the other, down to the one that has the file.
    pub folders: Vec<FileName>,
    /// The names that it may have there, the likeliest first.
    pub names: Vec<FileName>,
    /// Which file it is, where no other of that name will do.
    pub identity: Option<FileIdentity>,
    /// Its length in bytes, where that is known.
    pub len: Option<u64>,
    /// What is there of it.
    pub there: RangeSet,
    /// Whether no more will come unless the user asks for it: whoever wants more is refused, and need not wait.
    pub is_final: bool,
}

/// What it asks for.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Perform a disk operation.
    Disk(ShelfTag, DiskOp),
    /// What [`Shelf::read`] asked for is here, or will not be.
    ReadDone(ReadDone),
    /// Everything is closed; nothing follows.
    Ended,
}

/// Names its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShelfTag {
    /// Opening the directory, or a folder below the last.
    Dir,
    /// Opening the file.
    File,
    /// A read.
    Read(u64),
}

/// A file that is read while its download is at rest.
#[derive(Debug)]
pub struct Shelf {
    plan: ShelfPlan,
    keys: u64,
    state: State,
    /// How many directories are open, or being opened.
    dirs: u64,
    /// How many names were tried.
    tried: u64,
    /// How many operations are under way.
    under_way: u32,
    reading: Reading,
    reads: u64,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody wanted anything that is there.
    Idle,
    /// The file is being opened.
    Opening,
    /// It is open.
    Ready(FileKey),
    /// Everything is being closed.
    Stopping(Option<FileKey>),
    /// Everything is closed.
    Ended,
}

impl Shelf {
    /// A file on the shelf. `keys` is the first of 2^20 numbers that are its own to name directories and files.
    pub fn new(plan: ShelfPlan, keys: u64) -> Self {
        Self {
            plan,
            keys,
            state: State::Idle,
            dirs: 0,
            tried: 0,
            under_way: 0,
            reading: Reading::default(),
            reads: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Reads what is there at a place, or waits; [`Output::ReadDone`] follows with `reply`.
    pub fn read(&mut self, now: Instant, request: ReadRequest, reply: u64) {
        let len = self.plan.len.unwrap_or(u64::MAX);
        let is_missing = request.offset < len && !self.is_there(request.offset);
        let begun = match self.state {
            State::Stopping(_) | State::Ended => Err(ReadError::Stopped),
            _ if self.plan.is_final && is_missing && request.len > 0 => Err(ReadError::Missing),
            _ => self.reading.want(now, request, 0..len, reply).map(drop),
        };
        if let Err(error) = begun {
            self.outputs.push_back(Output::ReadDone(ReadDone { request, reply, result: Err(error) }));
        }
        self.serve();
    }

    /// A reader is gone; after the last everything is closed.
    pub fn close_reader(&mut self, reader: u64) {
        self.outputs.extend(self.reading.close(reader).map(Output::ReadDone));
        if self.reading.is_empty() {
            self.stop();
        }
    }

    /// The download goes on, or goes: who waits is told, and everything is closed.
    pub fn stop(&mut self) {
        self.outputs.extend(self.reading.stop().into_iter().map(Output::ReadDone));
        self.state = match self.state {
            State::Ready(file) => State::Stopping(Some(file)),
            State::Idle | State::Opening => State::Stopping(None),
            state => state,
        };
        self.end_if_quiet();
    }

    /// The operation with that tag ended.
    pub fn handle_disk(&mut self, now: Instant, tag: ShelfTag, result: DiskResult) {
        self.under_way = self.under_way.saturating_sub(1);
        match (tag, result) {
            (ShelfTag::Read(token), result) => {
                let bytes = result.map(|ok| ok.into_data().unwrap_or_default());
                self.outputs.extend(self.reading.done(now, token, bytes).map(Output::ReadDone));
            }
            (ShelfTag::Dir, Ok(_)) if self.state == State::Opening => self.open_next(),
            (ShelfTag::Dir, Err(error)) => {
                self.dirs -= 1;
                self.fail(error);
            }
            (ShelfTag::File, Ok(DiskOk::Opened { stat, .. })) => {
                let file = self.file_key();
                let known = self.plan.identity;
                match self.state {
                    State::Opening if known.is_none_or(|known| known == stat.identity) => {
                        self.state = State::Ready(file);
                        self.close_dirs();
                    }
                    State::Opening => {
                        self.outputs.push_back(Output::Disk(ShelfTag::File, DiskOp::Close { file }));
                        self.open_other(DiskErrorKind::NotFound.into());
                    }
                    _ => self.state = State::Stopping(Some(file)),
                }
            }
            (ShelfTag::File, Err(error)) => self.open_other(error),
            (ShelfTag::Dir | ShelfTag::File, Ok(_)) => {}
        }
        self.serve();
        self.end_if_quiet();
    }

    /// The next thing that is asked for.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn is_there(&self, at: u64) -> bool {
        self.plan.there.end_of(at).is_some()
    }

    fn serve(&mut self) {
        self.outputs.extend(self.reading.at_end().into_iter().map(Output::ReadDone));
        let file = match self.state {
            State::Ready(file) => file,
            State::Idle if self.reading.waiting().any(|at| self.is_there(at)) => {
                self.state = State::Opening;
                let op = DiskOp::OpenDir { dir: self.dir_key(0), path: self.plan.dir.clone() };
                self.dirs = 1;
                self.emit(ShelfTag::Dir, op);
                return;
            }
            _ => return,
        };
        let (there, reads) = (&self.plan.there, &mut self.reads);
        let ready = |at: u64| there.end_of(at).map_or(0, |end| end - at);
        let number = || {
            *reads += 1;
            *reads
        };
        for Due { token, at, len } in self.reading.due(ready, number) {
            self.emit(ShelfTag::Read(token), DiskOp::Read { file, offset: at, len });
        }
    }

    /// A directory is open: now the next one, or the file.
    fn open_next(&mut self) {
        let parent = self.dir_key(self.dirs - 1);
        let below = usize::try_from(self.dirs - 1).ok().and_then(|index| self.plan.folders.get(index));
        match below.cloned() {
            Some(name) => {
                let dir = self.dir_key(self.dirs);
                self.dirs += 1;
                self.emit(ShelfTag::Dir, DiskOp::OpenSubdir { parent, name, dir, create: false });
            }
            None => self.open_other(DiskErrorKind::NotFound.into()),
        }
    }

    /// Opens the file under the next of its names; where there is none left, `error` is why it cannot be read.
    fn open_other(&mut self, error: DiskError) {
        let name = usize::try_from(self.tried).ok().and_then(|index| self.plan.names.get(index)).cloned();
        match name.filter(|_| self.state == State::Opening && error.kind == DiskErrorKind::NotFound) {
            Some(name) => {
                self.tried += 1;
                let (dir, file) = (self.dir_key(self.dirs - 1), self.file_key());
                self.emit(ShelfTag::File, DiskOp::Open { dir, name, file, mode: OpenMode::ReadOnly });
            }
            None => self.fail(error),
        }
    }

    /// Nothing can be read; whoever asks again tries again.
    fn fail(&mut self, error: DiskError) {
        let refuse = |done: ReadDone| ReadDone { result: Err(ReadError::Disk(error)), ..done };
        self.outputs.extend(self.reading.stop().into_iter().map(refuse).map(Output::ReadDone));
        self.stop();
    }

    fn end_if_quiet(&mut self) {
        let State::Stopping(file) = self.state else { return };
        if self.under_way > 0 {
            return;
        }
        self.state = State::Ended;
        if let Some(file) = file {
            self.outputs.push_back(Output::Disk(ShelfTag::File, DiskOp::Close { file }));
        }
        self.close_dirs();
        self.outputs.push_back(Output::Ended);
    }

    fn close_dirs(&mut self) {
        for dir in (0..core::mem::take(&mut self.dirs)).rev() {
            let op = DiskOp::CloseDir { dir: self.dir_key(dir) };
            self.outputs.push_back(Output::Disk(ShelfTag::Dir, op));
        }
    }

    fn emit(&mut self, tag: ShelfTag, op: DiskOp) {
        self.under_way += 1;
        self.outputs.push_back(Output::Disk(tag, op));
    }

    /// Directories that the engine shares among downloads have small numbers.
    fn dir_key(&self, number: u64) -> DirKey {
        DirKey((self.keys + number) | 1 << 63)
    }

    /// Each name that is tried has a key of its own.
    fn file_key(&self) -> FileKey {
        FileKey(self.keys + self.tried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::FileStat;
    use bytes::Bytes;

    const IDENTITY: FileIdentity = FileIdentity { device: 1, inode: 2 };

    fn shelf(is_final: bool) -> Shelf {
        let name = |text: &str| FileName::new(text).unwrap();
        let plan = ShelfPlan {
            dir: "/d".into(),
            folders: vec![name("album")],
            names: vec![name("song"), name("song.part")],
            identity: Some(IDENTITY),
            len: Some(100),
            there: RangeSet::from_iter([0..50]),
            is_final,
        };
        Shelf::new(plan, 1000)
    }

    fn request(reader: u64, offset: u64) -> ReadRequest {
        ReadRequest { reader, file: 0, offset, len: 10 }
    }

    /// What it asks for, in words.
    fn asked(shelf: &mut Shelf) -> Vec<String> {
        let word = |output| match output {
            Output::Disk(_, DiskOp::OpenDir { .. }) => "open dir".to_owned(),
            Output::Disk(_, DiskOp::OpenSubdir { name, create: false, .. }) => format!("open {name}/"),
            Output::Disk(_, DiskOp::Open { name, mode: OpenMode::ReadOnly, .. }) => format!("open {name}"),
            Output::Disk(_, DiskOp::Read { offset, len, .. }) => format!("read {len} at {offset}"),
            Output::Disk(_, DiskOp::Close { .. }) => "close".to_owned(),
            Output::Disk(_, DiskOp::CloseDir { .. }) => "close dir".to_owned(),
            Output::Disk(_, op) => format!("{op:?}"),
            Output::ReadDone(done) => format!("done {:?}", done.result),
            Output::Ended => "ended".to_owned(),
        };
        core::iter::from_fn(|| shelf.poll_output()).map(word).collect()
    }

    fn done(shelf: &mut Shelf, tag: ShelfTag, result: DiskResult) -> Vec<String> {
        shelf.handle_disk(Instant::ZERO, tag, result);
        asked(shelf)
    }

    fn opened(inode: u64) -> DiskResult {
        let identity = FileIdentity { inode, ..IDENTITY };
        Ok(DiskOk::Opened { stat: FileStat { identity, len: 100, regular: true }, local: true })
    }

    #[test]
    fn file_is_found_by_its_identity_and_closed_after_its_last_reader() {
        let mut shelf = shelf(false);
        shelf.read(Instant::ZERO, request(1, 45), 7);
        assert_eq!(asked(&mut shelf), ["open dir"]);
        assert_eq!(done(&mut shelf, ShelfTag::Dir, Ok(DiskOk::Done)), ["open album/"]);
        let opened_dir = Ok(DiskOk::OpenedDir { created: false });
        assert_eq!(done(&mut shelf, ShelfTag::Dir, opened_dir), ["open song"]);
        assert_eq!(done(&mut shelf, ShelfTag::File, opened(9)), ["close", "open song.part"]);
        assert_eq!(done(&mut shelf, ShelfTag::File, opened(2)), ["close dir", "close dir", "read 5 at 45"]);
        let bytes = Ok(DiskOk::Data(Bytes::from_static(b"bytes")));
        assert_eq!(done(&mut shelf, ShelfTag::Read(1), bytes), ["done Ok(b\"bytes\")"]);
        shelf.read(Instant::ZERO, request(1, 50), 8);
        assert_eq!(asked(&mut shelf), [""; 0], "it waits for what is not there");
        shelf.close_reader(1);
        assert_eq!(asked(&mut shelf), ["done Err(Closed)", "close", "ended"]);
    }

    #[test]
    fn nothing_is_opened_for_what_is_not_there() {
        let mut shelf = shelf(false);
        shelf.read(Instant::ZERO, request(1, 60), 7);
        shelf.read(Instant::ZERO, request(2, 100), 8);
        assert_eq!(asked(&mut shelf), ["done Ok(b\"\")"], "only the end is known");
        shelf.stop();
        assert_eq!(asked(&mut shelf), ["done Err(Stopped)", "ended"]);
        let mut shelf = self::shelf(true);
        shelf.read(Instant::ZERO, request(1, 60), 7);
        assert_eq!(asked(&mut shelf), ["done Err(Missing)"]);
    }

    #[test]
    fn file_that_is_being_opened_is_closed_once_it_is_open() {
        let mut shelf = shelf(false);
        shelf.read(Instant::ZERO, request(1, 0), 7);
        done(&mut shelf, ShelfTag::Dir, Ok(DiskOk::Done));
        done(&mut shelf, ShelfTag::Dir, Ok(DiskOk::OpenedDir { created: false }));
        shelf.stop();
        assert_eq!(asked(&mut shelf), ["done Err(Stopped)"]);
        assert_eq!(done(&mut shelf, ShelfTag::File, opened(2)), ["close", "close dir", "close dir", "ended"]);
    }

    #[test]
    fn file_that_is_gone_is_an_error_and_everything_is_closed() {
        let mut shelf = shelf(false);
        shelf.read(Instant::ZERO, request(1, 0), 7);
        done(&mut shelf, ShelfTag::Dir, Ok(DiskOk::Done));
        let missing = || Err(DiskErrorKind::NotFound.into());
        let said = done(&mut shelf, ShelfTag::Dir, missing());
        assert!(said[0].starts_with("done Err(Disk") && said[1..] == ["close dir", "ended"], "{said:?}");
    }
}
