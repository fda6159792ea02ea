//! The pure, deterministic core of the gosh-dl download engine: bytes and timestamps go in, actions come out.
//!
//! There is no socket, file, thread, clock or source of randomness in here. A driver (or a simulator, or a test)
//! owns the world and runs this loop:
//!
//! ```text
//! loop {
//!     wait(ready inputs, or engine.poll_timeout());
//!     let now = clock.now();
//!     for input in ready.take(BATCH) { engine.handle_input(now, input); }
//!     if engine.poll_timeout().is_some_and(|at| at <= now) { engine.handle_timeout(now); }
//!     while let Some(output) = engine.poll_output() { perform(output); }
//! }
//! ```
//!
//! The crate has five floors; a floor names only floors below it:
//!
//! - [`engine`]: many downloads: queue, limits, links, checkpoints, events;
//! - [`download`]: one download each;
//! - [`proto`]: one conversation each (an HTTP connection, the dialling of a host);
//! - [`wire`]: bytes to values and back;
//! - [`base`]: instants, randomness, keys, ranges, and the vocabulary of links, disk and store.
#![forbid(unsafe_code)]

pub mod base;
pub mod download;
pub mod engine;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod proto;
pub mod wire;
