//! One conformance suite for everything that can be plugged into the gosh-dl engine: a third party's store passes the
//! same tests as those that come with it.
//!
//! ```
//! use gosh_dl_conformance::store::Backend;
//! use gosh_dl_core::base::store::{MemoryStore, Store, StoreError};
//! use std::path::Path;
//!
//! struct Mine(MemoryStore);
//!
//! impl Backend for Mine {
//!     fn open(&self, _path: &Path) -> Result<Box<dyn Store>, StoreError> {
//!         Ok(Box::new(self.0.clone()))
//!     }
//! }
//!
//! // `store_suite!(mine, ..)` for a store that outlives its process.
//! gosh_dl_conformance::volatile_store_suite!(mine, super::Mine(gosh_dl_core::base::store::MemoryStore::new()));
//! ```

pub mod runtime;
mod server;
pub mod store;
