//! Policy: the folders of a torrent, which of them are open, and what waits for them.

use super::handles::NameWork;
use crate::base::FileName;
use crate::base::disk::DirKey;
use crate::wire::torrent::Metainfo;
use std::collections::{BTreeMap, BTreeSet};

/// The folders that files lie in; number 0 is the directory that the user chose.
#[derive(Debug)]
pub(super) struct Folders {
    folders: Vec<Folder>,
    of_file: Box<[u32]>,
    /// Those that are open, but for the root.
    open: BTreeSet<u32>,
    clock: u64,
}

/// The directory that the user chose.
pub(super) const ROOT: u32 = 0;

#[derive(Debug)]
pub(super) struct Folder {
    pub(super) parent: u32,
    /// `None` only for the root.
    pub(super) name: Option<FileName>,
    state: FolderState,
    used: u64,
    /// What is to be done in it once it is open, and whether it may be made for that.
    pub(super) waiting: Vec<(bool, NameWork)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FolderState {
    Closed,
    /// It is not there, as far as is known.
    Missing,
    /// Being opened; made, where this is set.
    Opening(bool),
    Open(DirKey),
}

impl Folders {
    /// The folders of a torrent.
    pub(super) fn new(metainfo: &Metainfo) -> Self {
        let mut folders = vec![Folder::new(ROOT, None)];
        let mut known: BTreeMap<(u32, FileName), u32> = BTreeMap::new();
        let mut below = |parent: u32, name: FileName| {
            *known.entry((parent, name)).or_insert_with_key(|(parent, name)| {
                folders.push(Folder::new(*parent, Some(name.clone())));
                u32::try_from(folders.len() - 1).unwrap_or(u32::MAX)
            })
        };
        let is_single = metainfo.is_single_file();
        let mut folder_of = |mut path: Vec<FileName>| {
            path.pop();
            path.into_iter().fold(below(ROOT, metainfo.name().clone()), &mut below)
        };
        let of_file = metainfo.files().iter().map(|file| match is_single || file.pad {
            true => ROOT,
            false => folder_of(file.path()),
        });
        let of_file = of_file.collect();
        Self { folders, of_file, open: BTreeSet::new(), clock: 0 }
    }

    /// The folder that a file lies in; what is no file of the torrent lies in the root.
    pub(super) fn of(&self, file: u32) -> u32 {
        self.of_file.get(file as usize).copied().unwrap_or(ROOT)
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.folders.len()).unwrap_or(u32::MAX)
    }

    /// One of them; every number that is given out here is one.
    pub(super) fn get(&self, folder: u32) -> &Folder {
        &self.folders[folder as usize]
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, folder: u32) -> &mut Folder {
        &mut self.folders[folder as usize]
    }

    /// The folder's key, if it is open; it was used just now.
    pub(super) fn touch(&mut self, folder: u32) -> Option<DirKey> {
        self.clock += 1;
        let clock = self.clock;
        let folder = self.get_mut(folder);
        folder.used = clock;
        match folder.state {
            FolderState::Open(key) => Some(key),
            _ => None,
        }
    }

    /// The names that lead to a folder from the root.
    pub(super) fn path(&self, mut folder: u32) -> Vec<FileName> {
        let mut path = Vec::new();
        while let Some(name) = &self.get(folder).name {
            path.push(name.clone());
            folder = self.get(folder).parent;
        }
        path.reverse();
        path
    }

    /// A folder and those that it lies in, but for the root's own.
    pub(super) fn chain(&self, folder: u32) -> impl Iterator<Item = u32> + '_ {
        core::iter::successors(Some(folder), |at| (*at != ROOT).then(|| self.get(*at).parent))
    }

    /// Where a folder is.
    pub(super) fn state(&self, folder: u32) -> FolderState {
        self.get(folder).state
    }

    /// A folder is somewhere else now.
    pub(super) fn set_state(&mut self, folder: u32, state: FolderState) {
        self.get_mut(folder).state = state;
        if folder != ROOT && matches!(state, FolderState::Open(_)) {
            self.open.insert(folder);
        } else {
            self.open.remove(&folder);
        }
    }

    /// Closes the one that was not used for longest, if more than `keep` are open besides the root.
    pub(super) fn evict(&mut self, keep: usize) -> Option<DirKey> {
        if self.open.len() <= keep {
            return None;
        }
        let oldest = self.open.iter().copied().min_by_key(|folder| self.get(*folder).used)?;
        let key = self.touch(oldest);
        self.set_state(oldest, FolderState::Closed);
        key
    }

    /// Whether any is open besides the root.
    pub(super) fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Those that are missing although the one that they lie in is not.
    pub(super) fn topmost_missing(&self) -> Vec<u32> {
        let is_missing = |folder: u32| self.get(folder).state == FolderState::Missing;
        (0..self.len())
            .filter(|folder| is_missing(*folder) && !is_missing(self.get(*folder).parent))
            .collect()
    }
}

impl Folder {
    const fn new(parent: u32, name: Option<FileName>) -> Self {
        Self { parent, name, state: FolderState::Closed, used: 0, waiting: Vec::new() }
    }
}
