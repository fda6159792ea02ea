//! The runtime-neutral half of a gosh-dl driver.
pub mod buffers;
pub mod disk;
pub mod events;
pub mod names;
pub mod store_thread;
pub mod tls;
/// Placeholder.
#[derive(Debug)]
pub struct DownloadEngine;
