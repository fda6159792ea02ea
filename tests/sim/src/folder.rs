//! Policy: one directory as a disk sees it: which names are durable, and which only the running system knows.

use crate::image::CrashMode;
use gosh_dl_core::base::{FileName, Rng};
use std::collections::BTreeMap;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file with this inode number.
    File(u64),
    /// A directory that the engine can open.
    Folder(u64),
    /// A link or device.
    Irregular(u64),
}

impl Entry {
    /// The inode number.
    pub const fn inode(self) -> u64 {
        match self {
            Self::File(inode) | Self::Folder(inode) | Self::Irregular(inode) => inode,
        }
    }
}

/// The names of one directory.
#[derive(Debug, Default)]
pub struct Folder {
    current: BTreeMap<FileName, Entry>,
    durable: BTreeMap<FileName, Entry>,
    pending: BTreeMap<u64, Change>,
    next_change: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Put(FileName, Entry),
    Remove(FileName),
    Rename { from: FileName, to: FileName, entry: Entry },
}

impl Folder {
    /// What `name` stands for now.
    pub fn find(&self, name: &FileName) -> Option<Entry> {
        self.current.get(name).copied()
    }

    /// What `name` would stand for after a power cut, for certain.
    pub fn find_durable(&self, name: &FileName) -> Option<Entry> {
        self.durable.get(name).copied()
    }

    /// Whether a power cut would leave some name for this inode, for certain.
    pub fn names_durably(&self, inode: u64) -> bool {
        self.durable.values().any(|entry| entry.inode() == inode)
    }

    /// Whether there is no name in it.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty()
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = (&FileName, Entry)> {
        self.current.iter().map(|(name, entry)| (name, *entry))
    }

    /// Gives `entry` a name.
    pub fn put(&mut self, name: FileName, entry: Entry) {
        self.change(Change::Put(name, entry));
    }

    /// Gives `entry` a name that is durable at once.
    pub fn put_durably(&mut self, name: FileName, entry: Entry) {
        self.durable.insert(name.clone(), entry);
        self.current.insert(name, entry);
    }

    /// Takes a name away.
    pub fn remove(&mut self, name: &FileName) {
        self.change(Change::Remove(name.clone()));
    }

    /// Gives what `from` names another name; says whether there was anything.
    pub fn rename(&mut self, from: &FileName, to: &FileName) -> bool {
        let Some(entry) = self.find(from) else { return false };
        self.change(Change::Rename { from: from.clone(), to: to.clone(), entry });
        true
    }

    /// Takes a name away that moves to another directory: the number of the change, and what the name stood for.
    pub fn take(&mut self, name: &FileName) -> Option<(u64, Entry)> {
        let entry = self.find(name)?;
        self.remove(name);
        Some((self.next_change - 1, entry))
    }

    /// Everything up to now: what a sync that is asked for now promises.
    pub fn barrier(&self) -> u64 {
        self.next_change
    }

    /// Makes the changes before `barrier` durable.
    pub fn sync(&mut self, barrier: u64) {
        let later = self.pending.split_off(&barrier);
        for change in core::mem::replace(&mut self.pending, later).into_values() {
            apply(&mut self.durable, change);
        }
    }

    /// A change that was not made durable never will be.
    pub fn forget(&mut self, change: u64) {
        self.pending.remove(&change);
    }

    /// What a crash leaves becomes the directory.
    pub fn crash(&mut self, mode: CrashMode, rng: &mut Rng) {
        let pending = core::mem::take(&mut self.pending);
        match mode {
            CrashMode::Kill => return self.pending = pending,
            CrashMode::PowerCut => {}
            CrashMode::Torn => {
                for change in pending.into_values().filter(|_| rng.below(2) == 0) {
                    apply(&mut self.durable, change);
                }
            }
        }
        self.current = self.durable.clone();
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.current, change.clone());
        self.pending.insert(self.next_change, change);
        self.next_change += 1;
    }
}

fn apply(names: &mut BTreeMap<FileName, Entry>, change: Change) {
    match change {
        Change::Put(name, entry) => {
            names.insert(name, entry);
        }
        Change::Remove(name) => {
            names.remove(&name);
        }
        Change::Rename { from, to, entry } => {
            if names.get(&from) == Some(&entry) {
                names.remove(&from);
            }
            names.insert(to, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    #[test]
    fn unsynced_rename_is_undone_by_a_power_cut_and_kept_by_a_kill() {
        for (mode, expected) in [(CrashMode::PowerCut, "a"), (CrashMode::Kill, "b")] {
            let mut folder = Folder::default();
            folder.put(name("a"), Entry::File(1));
            folder.sync(folder.barrier());
            assert!(folder.rename(&name("a"), &name("b")));
            folder.crash(mode, &mut Rng::from_seed([0; 32]));
            let names: Vec<_> = folder.names().map(|(name, _)| name.as_str().to_owned()).collect();
            assert_eq!(names, [expected]);
        }
    }

    #[test]
    fn sync_promises_only_what_came_before_it() {
        let mut folder = Folder::default();
        folder.put(name("a"), Entry::File(1));
        let barrier = folder.barrier();
        folder.put(name("b"), Entry::File(2));
        folder.sync(barrier);
        assert_eq!(folder.find_durable(&name("a")), Some(Entry::File(1)));
        assert_eq!(folder.find_durable(&name("b")), None);
    }
}
