//! Policy: which folders of one of the two directories are open: those on the way to where something is being done.

use crate::base::FileName;
use crate::base::disk::{DirKey, DiskError, DiskErrorKind, DiskOp, DiskResult};
use std::path::PathBuf;

/// One of the two directories of a move.
#[derive(Debug)]
pub(super) struct Side {
    path: PathBuf,
    root: Option<DirKey>,
    open: Vec<(FileName, DirKey)>,
    opening: Option<(FileName, DirKey)>,
    /// The folder that turned out to be missing on the last way.
    missing: Option<Vec<FileName>>,
}

/// What must be done to be in a folder.
#[derive(Debug, PartialEq)]
pub(super) enum Entered {
    /// Nothing: this is it.
    There(DirKey),
    /// This one must be closed, and then the question asked again.
    Close(DirKey),
    /// This must be done, and then the question asked again.
    Open(DiskOp),
}

impl Side {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, root: None, open: Vec::new(), opening: None, missing: None }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The directory is opened under this key; [`not_there`](Self::not_there) where it cannot be.
    pub(super) fn open_root(&mut self, key: DirKey) -> PathBuf {
        self.root = Some(key);
        self.path()
    }

    pub(super) fn not_there(&mut self) {
        self.root = None;
    }

    pub(super) const fn root(&self) -> DirKey {
        self.root.expect("nothing is done in a directory that could not be opened")
    }

    /// Where the last way led.
    pub(super) fn reached(&self) -> DirKey {
        self.open.last().map_or(self.root(), |(_, key)| *key)
    }

    /// The next thing to do on the way to a folder; `key` is for one that must be opened.
    pub(super) fn enter(&mut self, folder: &[FileName], create: bool, key: DirKey) -> Entered {
        self.missing = None;
        let common = self.open.iter().zip(folder).take_while(|((open, _), name)| open == *name).count();
        if self.open.len() > common
            && let Some((_, dir)) = self.open.pop()
        {
            return Entered::Close(dir);
        }
        let parent = self.reached();
        let Some(name) = folder.get(common).cloned() else { return Entered::There(parent) };
        self.opening = Some((name.clone(), key));
        Entered::Open(DiskOp::OpenSubdir { parent, name, dir: key, create })
    }

    /// Whether a folder is being opened.
    pub(super) const fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// It is open, or cannot be.
    pub(super) fn opened(&mut self, result: DiskResult) -> Result<(), DiskError> {
        let Some((name, key)) = self.opening.take() else { return Ok(()) };
        match result {
            Ok(_) => self.open.push((name, key)),
            Err(error) => {
                if error.kind == DiskErrorKind::NotFound {
                    let way = self.open.iter().map(|(name, _)| name.clone());
                    self.missing = Some(way.chain([name]).collect());
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// The folder that turned out to be missing on the last way.
    pub(super) fn missing(&self) -> Option<&[FileName]> {
        self.missing.as_deref()
    }

    /// All that is open, which it is not any more.
    pub(super) fn close(&mut self) -> impl Iterator<Item = DirKey> + use<> {
        let open = core::mem::take(&mut self.open);
        open.into_iter().rev().map(|(_, key)| key).chain(self.root.take())
    }
}
