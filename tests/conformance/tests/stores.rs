//! The suite over every store.
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

mod backends;

use gosh_dl_conformance::{store_suite, volatile_store_suite};

store_suite!(redb_store, crate::backends::Redb);
store_suite!(sqlite_store, crate::backends::Sqlite);
volatile_store_suite!(memory_store, crate::backends::Memory::default());
