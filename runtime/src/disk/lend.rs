//! Files lent to links, which send from them.

use super::{DiskExecutor, FileSlot, Job, Reader};
use gosh_dl_core::base::disk::{DiskOp, DiskResult, FileKey};
use gosh_dl_core::engine::DiskKey;
use std::fs::File;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};

/// A file that core has opened, for reading. It can be read even after core has closed, renamed or removed it, but its
/// lock goes when core closes it, so that a slow reader keeps nobody from opening it again.
#[derive(Clone, Debug)]
pub struct LentFile(Arc<File>);

impl LentFile {
    /// The file.
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl DiskExecutor {
    /// Lends a file; `None` where it is not open, or not yet.
    pub fn lend(&self, file: FileKey) -> Option<LentFile> {
        let state = self.shared.state();
        state.files.get(&file)?.file.get().map(|file| LentFile(Arc::clone(file)))
    }

    /// Reads up to `len` bytes at `offset` on a disk thread, which calls `done`; fewer only at the end of the file. An
    /// executor that stops drops `done`.
    pub fn read_lent(
        &self,
        file: &LentFile,
        offset: u64,
        len: u32,
        done: impl FnOnce(DiskResult) + Send + 'static,
    ) {
        let slot = FileSlot {
            file: OnceLock::from(Arc::clone(&file.0)),
            closed: AtomicBool::new(false),
            shared: Weak::new(),
        };
        // Its keys are never looked at: the file is already found, and the reader is told instead of core.
        let op = DiskOp::Read { file: FileKey(u64::MAX), offset, len };
        let reader: Reader = Box::new(done);
        self.queue(Job {
            key: DiskKey(u64::MAX),
            op,
            parent: None,
            dir: None,
            file: Some(Arc::new(slot)),
            digest: None,
            reader: Some(reader),
        });
    }
}
