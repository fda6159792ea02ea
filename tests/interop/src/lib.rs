//! gosh-dl against real servers: what the tests in `tests/` stand on.
//!
//! A test that needs nginx is skipped with a message where there is none, and fails where `CI` is set.

pub mod album;
pub mod binary;
pub mod certificates;
pub mod lab;
pub mod log;
pub mod nginx;
pub mod peers;
pub mod signal;
pub mod throttle;

pub use lab::Lab;
