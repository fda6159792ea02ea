//! How users read downloads at rest, and wait for what comes when they go on.

use super::entry::{Entry, EntryKey, Kind, Running};
use super::error::{EngineError, Result};
use super::io::Token;
use super::machine::{DiskOwner, Engine};
use super::status::DownloadState;
use crate::base::disk::DiskResult;
use crate::base::{FileName, Instant, Key, RangeSet, Slab};
use crate::download::readers::MAX_READERS;
use crate::download::reading::{ReadError, ReadRequest};
use crate::download::shelf::{Output, Shelf, ShelfPlan, ShelfTag};
use crate::wire::torrent::Metainfo;
use std::collections::{BTreeMap, VecDeque};

/// Files of downloads at rest that somebody reads, and reads that wait until their download runs or rests.
#[derive(Debug)]
pub(super) struct Shelves {
    slots: Slab<Slot>,
    by_file: BTreeMap<(EntryKey, usize), ShelfKey>,
    touched: VecDeque<ShelfKey>,
    /// At most [`MAX_READERS`] of each download, one of each reader.
    waiting: BTreeMap<EntryKey, Vec<(ReadRequest, Token)>>,
}

/// Names a file on the shelf.
pub(super) type ShelfKey = Key<Slot>;

/// A file on the shelf, and whose it is.
#[derive(Debug)]
pub(super) struct Slot {
    entry: EntryKey,
    file: usize,
    shelf: Shelf,
}

impl Shelves {
    pub(super) fn new() -> Self {
        Self {
            slots: Slab::new(),
            by_file: BTreeMap::new(),
            touched: VecDeque::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Whether nothing is open for anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The next whose outputs are to be read.
    pub(super) fn next_touched(&mut self) -> Option<ShelfKey> {
        self.touched.pop_front()
    }

    fn with(&mut self, key: ShelfKey, act: impl FnOnce(&mut Shelf)) {
        if let Some(slot) = self.slots.get_mut(key) {
            act(&mut slot.shelf);
            self.touched.push_back(key);
        }
    }

    /// The files of a download, or of all.
    fn of(&self, entry: Option<EntryKey>) -> Vec<ShelfKey> {
        let theirs = |(_, slot): &(ShelfKey, &Slot)| entry.is_none_or(|entry| slot.entry == entry);
        self.slots.iter().filter(theirs).map(|(key, _)| key).collect()
    }

    /// The download goes on, goes, or all ends: nothing of it is read from here any more.
    pub(super) fn stop(&mut self, entry: Option<EntryKey>) {
        for key in self.of(entry) {
            self.with(key, Shelf::stop);
        }
    }

    fn remove(&mut self, key: ShelfKey) {
        let Some(Slot { entry, file, .. }) = self.slots.remove(key) else { return };
        // Another one may have taken its place while it was being closed.
        if self.by_file.get(&(entry, file)) == Some(&key) {
            self.by_file.remove(&(entry, file));
        }
    }
}

impl Engine {
    /// Has a read wait until its download runs or rests.
    pub(super) fn wait_to_read(&mut self, key: EntryKey, request: ReadRequest, reply: Token) {
        let waiting = self.shelves.waiting.get(&key).map_or(&[][..], Vec::as_slice);
        let refused = if self.closing.is_some() {
            Some(EngineError::Shutdown)
        } else if !self.entries.contains(key) {
            Some(self.read_error(key, ReadError::Stopped))
        } else if waiting.iter().any(|(other, _)| other.reader == request.reader) {
            Some(self.read_error(key, ReadError::Busy))
        } else {
            (waiting.len() >= MAX_READERS).then(|| self.read_error(key, ReadError::TooMany))
        };
        match refused {
            Some(error) => self.reply(reply, Err(error)),
            None => {
                self.shelves.waiting.entry(key).or_default().push((request, reply));
                self.touch(key);
            }
        }
    }

    /// A download may be readable again: whoever waited asks anew.
    pub(super) fn route_waiting(&mut self, now: Instant, key: EntryKey) {
        if !self.shelves.waiting.contains_key(&key) || !self.entries.get(key).is_some_and(Entry::is_readable)
        {
            return;
        }
        for (request, reply) in self.shelves.waiting.remove(&key).unwrap_or_default() {
            self.route_read(now, key, request, reply);
        }
    }

    /// A reader is gone.
    pub(super) fn close_waiting(&mut self, key: EntryKey, reader: u64) {
        let waiting = self.shelves.waiting.get_mut(&key);
        let gone: Vec<_> = waiting
            .map(|waiting| waiting.extract_if(.., |(request, _)| request.reader == reader).collect())
            .unwrap_or_default();
        for (_, reply) in gone {
            self.reply(reply, Err(self.read_error(key, ReadError::Closed)));
        }
        for shelf in self.shelves.of(Some(key)) {
            self.shelves.with(shelf, |shelf| shelf.close_reader(reader));
        }
    }

    /// A download is gone, or all ends: nobody waits for it any longer.
    pub(super) fn stop_waiting(&mut self, entry: Option<EntryKey>, error: &EngineError) {
        let keys: Vec<EntryKey> = match entry {
            Some(key) => vec![key],
            None => self.shelves.waiting.keys().copied().collect(),
        };
        for key in keys {
            for (_, reply) in self.shelves.waiting.remove(&key).unwrap_or_default() {
                self.reply(reply, Err(error.clone()));
            }
        }
        self.shelves.stop(entry);
    }

    /// Reads a file of a download that does not run.
    pub(super) fn read_at_rest(&mut self, now: Instant, key: EntryKey, request: ReadRequest, reply: Token) {
        let file = request.file;
        let known = self.shelves.by_file.get(&(key, file)).copied();
        let shelf = match known.filter(|shelf| self.shelves.slots.contains(*shelf)) {
            Some(shelf) => Ok(shelf),
            None => self.new_shelf(key, file),
        };
        match shelf {
            Ok(shelf) => self.shelves.with(shelf, |shelf| shelf.read(now, request, reply.0)),
            Err(error) => self.reply(reply, Err(error)),
        }
    }

    fn new_shelf(&mut self, key: EntryKey, file: usize) -> Result<ShelfKey> {
        let keys = self.take_keys();
        let entry = self.entries.get(key).ok_or_else(|| EngineError::NotFound(String::new()))?;
        if let DownloadState::Error { message, .. } = &entry.state {
            return Err(entry.error.clone().unwrap_or_else(|| EngineError::Failed(message.clone())));
        }
        let dir = entry.save_dir(&self.config).to_owned();
        let empty = ShelfPlan {
            dir,
            folders: Vec::new(),
            names: Vec::new(),
            identity: None,
            len: None,
            there: RangeSet::new(),
            is_final: entry.state == DownloadState::Completed,
        };
        let plan = entry.shelf_plan(file, empty).map_err(|error| self.read_error(key, error))?;
        let slot = Slot { entry: key, file, shelf: Shelf::new(plan, keys) };
        let shelf = self.shelves.slots.insert(slot);
        self.shelves.by_file.insert((key, file), shelf);
        Ok(shelf)
    }

    pub(super) fn on_shelf_disk(&mut self, now: Instant, shelf: ShelfKey, tag: ShelfTag, result: DiskResult) {
        self.shelves.with(shelf, |shelf| shelf.handle_disk(now, tag, result));
    }

    pub(super) fn drain_shelf(&mut self, key: ShelfKey) {
        while let Some(slot) = self.shelves.slots.get_mut(key) {
            let entry = slot.entry;
            match slot.shelf.poll_output() {
                Some(Output::Disk(tag, op)) => self.emit_disk(DiskOwner::Shelf(key, tag), op),
                Some(Output::ReadDone(done)) => self.on_read_done(entry, done),
                Some(Output::Ended) => self.shelves.remove(key),
                None => return,
            }
        }
    }
}

impl Entry {
    /// Whether a read can be answered, or told that it will not be; not while it changes between running and resting.
    pub(super) fn is_readable(&self) -> bool {
        match &self.running {
            None => true,
            Some(Running::Http(_) | Running::Torrent(_)) => self.running_state().is_some(),
            Some(Running::Check { .. } | Running::Remove(_) | Running::Move { .. }) => false,
        }
    }

    /// A file of it, at rest.
    fn shelf_plan(&self, file: usize, plan: ShelfPlan) -> core::result::Result<ShelfPlan, ReadError> {
        match &self.kind {
            Kind::Http(saved) => {
                if file != 0 {
                    return Err(ReadError::NoFile);
                }
                let plan = ShelfPlan { len: saved.total, ..plan };
                let Some(part) = &saved.part else { return Ok(plan) };
                if plan.is_final {
                    let there = RangeSet::from_iter([0..saved.total.unwrap_or(0)]);
                    return Ok(ShelfPlan { names: vec![part.final_name.clone()], there, ..plan });
                }
                // Its name may have been given already when it was stopped.
                let names = vec![part.part_name.clone(), part.final_name.clone()];
                Ok(ShelfPlan { names, identity: part.identity, there: part.durable.clone(), ..plan })
            }
            Kind::Torrent(torrent) => {
                let metainfo = torrent.metainfo.as_ref().ok_or(ReadError::Unknown)?;
                let found = metainfo.files().get(file).filter(|file| !file.pad).ok_or(ReadError::NoFile)?;
                let (folders, name) = place_of(metainfo, found.path());
                let names = vec![name.clone(), name.partial()];
                let (identity, there) = torrent.saved.on_disk(metainfo, file);
                Ok(ShelfPlan { folders, names, identity, len: Some(found.len), there, ..plan })
            }
        }
    }
}

/// The folders that a file of a torrent lies in, and its name there.
fn place_of(metainfo: &Metainfo, mut path: Vec<FileName>) -> (Vec<FileName>, FileName) {
    let name = path.pop().unwrap_or_else(|| metainfo.name().clone());
    if !metainfo.is_single_file() {
        path.insert(0, metainfo.name().clone());
    }
    (path, name)
}
