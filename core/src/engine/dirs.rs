//! Policy: which directories are open, shared by all downloads into them.

use crate::base::disk::{DirKey, DiskError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Open directories; `K` names who uses one.
#[derive(Debug)]
pub(super) struct Dirs<K> {
    by_path: BTreeMap<PathBuf, Dir<K>>,
    next: u64,
}

#[derive(Debug)]
struct Dir<K> {
    key: DirKey,
    users: usize,
    /// Who waits until it is open; `None` once it is.
    waiting: Option<Vec<K>>,
}

/// Where a directory stands for somebody who wants to use it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acquired {
    /// It is open.
    Ready(DirKey),
    /// It is being opened already.
    Wait,
    /// It must be opened.
    Open(DirKey),
}

impl<K: Copy> Dirs<K> {
    pub(super) fn new() -> Self {
        Self { by_path: BTreeMap::new(), next: 0 }
    }

    /// `who` uses the directory from now on.
    pub(super) fn acquire(&mut self, path: &Path, who: K) -> Acquired {
        if let Some(dir) = self.by_path.get_mut(path) {
            dir.users += 1;
            return match &mut dir.waiting {
                None => Acquired::Ready(dir.key),
                Some(waiting) => {
                    waiting.push(who);
                    Acquired::Wait
                }
            };
        }
        let key = DirKey(self.next);
        self.next += 1;
        self.by_path.insert(path.to_owned(), Dir { key, users: 1, waiting: Some(vec![who]) });
        Acquired::Open(key)
    }

    /// It is open, or cannot be: returns who waited, and what to tell them.
    pub(super) fn opened(
        &mut self,
        key: DirKey,
        result: Result<(), DiskError>,
    ) -> (Vec<K>, Result<DirKey, DiskError>) {
        let found = self.by_path.iter_mut().find(|(_, dir)| dir.key == key);
        let Some((path, dir)) = found else { return (Vec::new(), result.map(|()| key)) };
        let waiting = dir.waiting.take().unwrap_or_default();
        if result.is_err() {
            let path = path.clone();
            self.by_path.remove(&path);
        }
        (waiting, result.map(|()| key))
    }

    /// A user is done; returns the key to close where it was the last.
    pub(super) fn release(&mut self, path: &Path) -> Option<DirKey> {
        let dir = self.by_path.get_mut(path)?;
        dir.users = dir.users.saturating_sub(1);
        if dir.users > 0 {
            return None;
        }
        self.by_path.remove(path).map(|dir| dir.key)
    }
}
