//! The store: a small transactional key-value face. Records are encoded and versioned above; backends stay thin.

use bytes::Bytes;

/// The tables a store keeps. The numbers are part of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Table {
    /// One record about the whole: the format's version.
    Meta = 0,
    /// One record per download: what was asked and how it stands.
    Download = 1,
    /// One record per download: which bytes are durable.
    Progress = 2,
    /// One record per torrent: the metainfo file as it came, or the info dictionary that peers sent.
    Torrent = 3,
}

impl Table {
    /// All tables, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Meta, Self::Download, Self::Progress, Self::Torrent];
}

/// One change in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOp {
    /// Sets the value of a key.
    Put {
        /// The table.
        table: Table,
        /// The key, at most 64 bytes.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Removes a key; a missing one is not an error.
    Delete {
        /// The table.
        table: Table,
        /// The key.
        key: Bytes,
    },
}

/// One record as loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The table.
    pub table: Table,
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// A transactional store of small records. Calls block; a driver makes them on one thread of their own.
///
/// Implement it to keep the state of an engine elsewhere; the conformance rules are: a batch is applied whole or not
/// at all, in order; when [`commit`](Self::commit) has returned `Ok`, the batch survives a power cut; and a second
/// opener of the same data gets [`StoreError::InUse`].
pub trait Store: Send + 'static {
    /// Reads every record. Called once, before any commit.
    fn load(&mut self) -> Result<Vec<Record>, StoreError>;

    /// Applies `batch` as one transaction and makes it durable before returning.
    fn commit(&mut self, batch: &[StoreOp]) -> Result<(), StoreError>;

    /// Keeps `note` where it survives the death of this process but not necessarily a power cut; cheap, never synced.
    ///
    /// The note only ever spares work after a crash, so the default keeps nothing.
    fn save_note(&mut self, note: &[u8]) -> Result<(), StoreError> {
        let _ = note;
        Ok(())
    }

    /// The last note that was kept whole, if any. Its content is checked by the caller.
    fn load_note(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
}

/// Why a store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process (or another engine in this one) has it open.
    #[error("the state file is in use by another process")]
    InUse,
    /// It was written by a newer version.
    #[error("the state file has format version {found}, newer than the {supported} that this version reads")]
    NewerVersion {
        /// The version in the file.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// It is damaged, or not a state file.
    #[error("the state file is damaged: {0}")]
    Corrupt(String),
    /// The disk is full.
    #[error("no space left for the state file")]
    Full,
    /// The operating system refused.
    #[error("the state file cannot be read or written: {0}")]
    Io(String),
}

/// A store in memory: for tests, and for engines that need not survive their process.
///
/// Clones share the records, so that a test can drop an engine and start another on what it left.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: std::sync::Arc<std::sync::Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    records: std::collections::BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    note: Option<Vec<u8>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        let memory = self.memory();
        let record = |((table, key), value): (&(Table, Vec<u8>), &Vec<u8>)| Record {
            table: *table,
            key: key.clone(),
            value: value.clone(),
        };
        Ok(memory.records.iter().map(record).collect())
    }

    fn commit(&mut self, batch: &[StoreOp]) -> Result<(), StoreError> {
        let mut memory = self.memory();
        for op in batch {
            match op {
                StoreOp::Put { table, key, value } => {
                    memory.records.insert((*table, key.to_vec()), value.to_vec());
                }
                StoreOp::Delete { table, key } => {
                    memory.records.remove(&(*table, key.to_vec()));
                }
            }
        }
        Ok(())
    }

    fn save_note(&mut self, note: &[u8]) -> Result<(), StoreError> {
        self.memory().note = Some(note.to_vec());
        Ok(())
    }

    fn load_note(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.memory().note.clone())
    }
}
