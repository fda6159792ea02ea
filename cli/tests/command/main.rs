//! The program as people and scripts run it, against an origin in a thread.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod completions;
mod get;
mod lab;
mod moving;
mod origin;
mod recording;
mod resume;
mod second;
mod torrents;
