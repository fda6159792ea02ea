//! Policy: which directories are open, shared by all downloads into them.

use crate::base::disk::{DirKey, DiskError};
use crate::base::mutants::{self, Mutant};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Who uses it, or waits until it is open. Nobody, where all went away while it was being opened.
    users: BTreeSet<K>,
    open: bool,
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

impl<K: Copy + Ord> Dirs<K> {
    pub(super) fn new() -> Self {
        Self { by_path: BTreeMap::new(), next: 0 }
    }

    /// `who` uses the directory from now on.
    pub(super) fn acquire(&mut self, path: &Path, who: K) -> Acquired {
        if let Some(dir) = self.by_path.get_mut(path) {
            dir.users.insert(who);
            return if dir.open { Acquired::Ready(dir.key) } else { Acquired::Wait };
        }
        let key = DirKey(self.next);
        self.next += 1;
        self.by_path.insert(path.to_owned(), Dir { key, users: BTreeSet::from([who]), open: false });
        Acquired::Open(key)
    }

    /// It is open, or cannot be: returns who waited, and what to tell them. Where nobody waits, it is to be closed.
    pub(super) fn opened(
        &mut self,
        key: DirKey,
        result: Result<(), DiskError>,
    ) -> (Vec<K>, Result<DirKey, DiskError>) {
        let found = self.by_path.iter_mut().find(|(_, dir)| dir.key == key);
        let Some((path, dir)) = found else { return (Vec::new(), result.map(|()| key)) };
        let waiting: Vec<K> = dir.users.iter().copied().collect();
        dir.open = result.is_ok();
        if !dir.open || waiting.is_empty() {
            let path = path.clone();
            self.by_path.remove(&path);
        }
        (waiting, result.map(|()| key))
    }

    /// A user is done; returns the key to close where it was the last. One that is being opened is closed afterwards.
    pub(super) fn release(&mut self, path: &Path, who: K) -> Option<DirKey> {
        let dir = self.by_path.get_mut(path)?;
        dir.users.remove(&who);
        if !dir.users.is_empty() || !(dir.open || mutants::is(Mutant::CloseDirEarly)) {
            return None;
        }
        self.by_path.remove(path).map(|dir| dir.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::DiskErrorKind;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn directory_is_opened_once_and_closed_after_its_last_user() {
        let mut dirs = Dirs::new();
        let (path, key) = (Path::new("/d"), DirKey(0));
        assert_eq!(dirs.acquire(path, 'a'), Acquired::Open(key));
        assert_eq!(dirs.acquire(path, 'b'), Acquired::Wait);
        assert_eq!(dirs.opened(key, Ok(())), (vec!['a', 'b'], Ok(key)));
        assert_eq!(dirs.acquire(path, 'c'), Acquired::Ready(key));
        assert_eq!((dirs.release(path, 'a'), dirs.release(path, 'b')), (None, None));
        assert_eq!(dirs.release(path, 'c'), Some(key));
        assert_eq!(dirs.acquire(path, 'd'), Acquired::Open(DirKey(1)), "keys are never used again");
    }

    #[test]
    fn directory_that_could_not_be_opened_is_tried_again() {
        let mut dirs = Dirs::new();
        let (path, error) = (Path::new("/d"), DiskError::from(DiskErrorKind::PermissionDenied));
        dirs.acquire(path, 'a');
        assert_eq!(dirs.opened(DirKey(0), Err(error)), (vec!['a'], Err(error)));
        assert_eq!(dirs.release(path, 'a'), None, "there is nothing to close");
        assert_eq!(dirs.acquire(path, 'b'), Acquired::Open(DirKey(1)));
    }

    #[test]
    fn end_of_an_unknown_opening_reaches_nobody() {
        let mut dirs = Dirs::<char>::new();
        assert_eq!(dirs.opened(DirKey(9), Ok(())), (vec![], Ok(DirKey(9))));
    }

    #[test]
    fn directory_that_nobody_wants_any_more_is_closed_once_it_is_open() {
        let mut dirs = Dirs::new();
        let (path, key) = (Path::new("/d"), DirKey(0));
        dirs.acquire(path, 'a');
        assert_eq!(dirs.release(path, 'a'), None, "it is still being opened");
        assert_eq!(dirs.opened(key, Ok(())), (vec![], Ok(key)));
        assert_eq!(dirs.acquire(path, 'b'), Acquired::Open(DirKey(1)));
        assert_eq!(dirs.release(path, 'a'), None, "who has gone takes nothing with it");
        assert_eq!(dirs.opened(DirKey(1), Ok(())), (vec!['b'], Ok(DirKey(1))));
    }

    proptest! {
        #[test]
        fn each_directory_is_open_while_it_has_users(ops in vec((0u8..4, 0u8..3, 0u8..4), 0..100)) {
            let mut dirs = Dirs::new();
            let mut model: BTreeMap<PathBuf, (DirKey, BTreeSet<u8>, bool)> = BTreeMap::new();
            for (op, path, who) in ops {
                let path = PathBuf::from(format!("/{path}"));
                match op {
                    0 | 1 => match (dirs.acquire(&path, who), model.get_mut(&path)) {
                        (Acquired::Open(key), None) => {
                            model.insert(path, (key, BTreeSet::from([who]), false));
                        }
                        (Acquired::Wait, Some((_, users, false))) => _ = users.insert(who),
                        (Acquired::Ready(key), Some((known, users, true))) => {
                            prop_assert_eq!(key, *known);
                            users.insert(who);
                        }
                        (got, model) => prop_assert!(false, "{got:?} but {model:?}"),
                    },
                    2 => if let Some((key, users, open @ false)) = model.get_mut(&path) {
                        let waiting: Vec<u8> = users.iter().copied().collect();
                        let nobody = waiting.is_empty();
                        prop_assert_eq!(dirs.opened(*key, Ok(())), (waiting, Ok(*key)));
                        *open = true;
                        if nobody {
                            model.remove(&path);
                        }
                    },
                    _ => {
                        let last = model.get_mut(&path).is_some_and(|(_, users, open)| {
                            users.remove(&who);
                            users.is_empty() && *open
                        });
                        let key = if last { model.remove(&path).map(|(key, ..)| key) } else { None };
                        prop_assert_eq!(dirs.release(&path, who), key);
                    }
                }
            }
        }
    }
}
