//! Files lent to links, which send from them.

use super::perform::Medium;
use super::{DiskExecutor, FileSlot, Job, Reader};
use gosh_dl_core::base::disk::{DiskOp, DiskResult, FileKey};
use gosh_dl_core::engine::DiskKey;
use std::fs::File;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};

/// A file that core has opened, for reading. It can be read even after core has closed, renamed or removed it, but its
/// lock goes when core closes it, so that a slow reader keeps nobody from opening it again.
#[derive(Clone, Debug)]
pub struct LentFile(Arc<OpenFile>);

/// A file that is open, with what is asked of it often.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) medium: Medium,
}

impl LentFile {
    /// The file.
    pub fn file(&self) -> &File {
        &self.0.file
    }

    /// Whether the first and the last of these bytes are in memory, so that sending them waits for no disk. What lies
    /// between was read with them, unless memory is short; then one step of waiting is what it costs.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_in_memory(&self, offset: u64, len: usize) -> bool {
        use rustix::io::{ReadWriteFlags, preadv2};
        let has = |offset| {
            let (mut byte, flags) = ([0], ReadWriteFlags::NOWAIT);
            // A file system that cannot tell is asked by way of the disk threads.
            preadv2(self.file(), &mut [std::io::IoSliceMut::new(&mut byte)], offset, flags) == Ok(1)
        };
        // A file system that is memory has no answer to that question.
        self.0.medium == Medium::Memory || has(offset) && has(offset + len.saturating_sub(1) as u64)
    }

    /// Nobody can tell, so the disk threads read.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn is_in_memory(&self, _offset: u64, _len: usize) -> bool {
        false
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
