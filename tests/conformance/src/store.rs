//! What every store must do, as functions over a [`Backend`], and as the suites
//! [`store_suite!`](crate::store_suite) and [`volatile_store_suite!`](crate::volatile_store_suite) that call them all.

mod damage;
mod death;
mod full;
mod model;

pub use damage::{another_kind_is_refused, damage_is_an_error, newer_is_refused, truncation_is_noticed};
pub use death::{commit_until_killed, killed_processes_lose_nothing};
pub use full::a_full_disk_loses_nothing;
pub use model::{
    agrees_with_the_model, notes_outlive_the_store, second_opener_is_refused, the_last_operation_counts,
};

use bytes::Bytes;
use gosh_dl_core::base::store::{Record, Store, StoreError, StoreOp, Table};
use std::path::{Path, PathBuf};

/// A kind of store.
pub trait Backend {
    /// Opens the store at `path`, and makes it where there is none, with the directories above it.
    ///
    /// # Errors
    ///
    /// Those of the store.
    fn open(&self, path: &Path) -> Result<Box<dyn Store>, StoreError>;

    /// Lets the closed store at `path` say that format version 99 wrote it. Returns `false` where there is no version.
    fn make_newer(&self, path: &Path) -> bool {
        let _ = path;
        false
    }

    /// Makes a database of the same kind at `path` that is somebody else's. Returns `false` where that cannot be.
    fn make_foreign(&self, path: &Path) -> bool {
        let _ = path;
        false
    }
}

/// The tests of a store that outlives its process: `store_suite!(name, backend)`.
#[macro_export]
macro_rules! store_suite {
    ($name:ident, $backend:expr) => {
        mod $name {
            use $crate::store as suite;

            #[test]
            fn it_keeps_what_a_model_keeps() {
                suite::agrees_with_the_model(&$backend);
            }

            #[test]
            fn the_last_operation_on_a_key_counts() {
                suite::the_last_operation_counts(&$backend);
            }

            #[test]
            fn notes_survive_a_reopening_and_the_newest_wins() {
                suite::notes_outlive_the_store(&$backend);
            }

            #[test]
            fn a_second_opener_is_refused() {
                suite::second_opener_is_refused(&$backend);
            }

            #[test]
            fn a_newer_version_is_refused() {
                suite::newer_is_refused(&$backend);
            }

            #[test]
            fn what_is_no_store_is_refused_and_left_alone() {
                suite::another_kind_is_refused(&$backend);
            }

            #[test]
            fn damage_is_an_error_and_never_a_panic() {
                suite::damage_is_an_error(&$backend);
            }

            #[test]
            fn a_truncated_store_is_not_taken_for_a_smaller_one() {
                suite::truncation_is_noticed(&$backend);
            }

            #[test]
            fn a_full_disk_loses_nothing_that_was_acknowledged() {
                suite::a_full_disk_loses_nothing(&$backend);
            }

            /// Not a test of its own: what the next one runs in a process that it kills.
            #[test]
            fn child_that_commits_until_it_is_killed() {
                suite::commit_until_killed(&$backend);
            }

            #[test]
            fn a_killed_process_loses_nothing_that_was_acknowledged() {
                let child = concat!(module_path!(), "::child_that_commits_until_it_is_killed");
                suite::killed_processes_lose_nothing(&$backend, child);
            }
        }
    };
}

/// The tests of a store that ends with its process.
#[macro_export]
macro_rules! volatile_store_suite {
    ($name:ident, $backend:expr) => {
        mod $name {
            use $crate::store as suite;

            #[test]
            fn it_keeps_what_a_model_keeps() {
                suite::agrees_with_the_model(&$backend);
            }

            #[test]
            fn the_last_operation_on_a_key_counts() {
                suite::the_last_operation_counts(&$backend);
            }

            #[test]
            fn notes_survive_a_reopening_and_the_newest_wins() {
                suite::notes_outlive_the_store(&$backend);
            }
        }
    };
}

/// A directory with room for one store.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Where its store is; the directories above it are not there yet.
    fn path(&self) -> PathBuf {
        self.dir.path().join("deep/er/state")
    }
}

fn open(backend: &impl Backend, path: &Path) -> Box<dyn Store> {
    backend.open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn put(table: Table, key: &[u8], value: &[u8]) -> StoreOp {
    StoreOp::Put { table, key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) }
}

fn commit(store: &mut Box<dyn Store>, batch: &[StoreOp]) {
    store.commit(batch).unwrap_or_else(|error| panic!("a commit failed: {error}"));
}

/// The records in the order of table and key.
fn sorted(store: &mut Box<dyn Store>) -> Vec<Record> {
    let mut records = store.load().unwrap_or_else(|error| panic!("loading failed: {error}"));
    records.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
    records
}

/// xorshift: the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap_or(0)
    }
}
