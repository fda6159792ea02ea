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
        assert_eq!((dirs.release(path), dirs.release(path)), (None, None));
        assert_eq!(dirs.release(path), Some(key));
        assert_eq!(dirs.acquire(path, 'd'), Acquired::Open(DirKey(1)), "keys are never used again");
    }

    #[test]
    fn directory_that_could_not_be_opened_is_tried_again() {
        let mut dirs = Dirs::new();
        let (path, error) = (Path::new("/d"), DiskError::from(DiskErrorKind::PermissionDenied));
        dirs.acquire(path, 'a');
        assert_eq!(dirs.opened(DirKey(0), Err(error)), (vec!['a'], Err(error)));
        assert_eq!(dirs.release(path), None, "there is nothing to close");
        assert_eq!(dirs.acquire(path, 'b'), Acquired::Open(DirKey(1)));
    }

    #[test]
    fn end_of_an_unknown_opening_reaches_nobody() {
        let mut dirs = Dirs::<char>::new();
        assert_eq!(dirs.opened(DirKey(9), Ok(())), (vec![], Ok(DirKey(9))));
    }

    proptest! {
        #[test]
        fn each_directory_is_open_while_it_has_users(ops in vec((0u8..4, 0u8..3), 0..100)) {
            let mut dirs = Dirs::new();
            let mut users: BTreeMap<PathBuf, (DirKey, usize, usize, bool)> = BTreeMap::new();
            for (op, path) in ops {
                let path = PathBuf::from(format!("/{path}"));
                match op {
                    0 | 1 => match (dirs.acquire(&path, ()), users.get_mut(&path)) {
                        (Acquired::Open(key), None) => {
                            users.insert(path, (key, 1, 1, false));
                        }
                        (Acquired::Wait, Some((_, count, waiting, false))) => {
                            *count += 1;
                            *waiting += 1;
                        }
                        (Acquired::Ready(key), Some((known, count, _, true))) => {
                            prop_assert_eq!(key, *known);
                            *count += 1;
                        }
                        (got, model) => prop_assert!(false, "{got:?} but {model:?}"),
                    },
                    2 => if let Some((key, _, waiting, open @ false)) = users.get_mut(&path) {
                        prop_assert_eq!(dirs.opened(*key, Ok(())), (vec![(); *waiting], Ok(*key)));
                        *open = true;
                    },
                    _ => {
                        let last = users.get_mut(&path).is_some_and(|(_, count, ..)| {
                            *count -= 1;
                            *count == 0
                        });
                        let key = if last { users.remove(&path).map(|(key, ..)| key) } else { None };
                        prop_assert_eq!(dirs.release(&path), key);
                    }
                }
            }
        }
    }
}
