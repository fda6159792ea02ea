//! Floor 2: one conversation each.

pub mod dial;
pub mod http;
pub mod peer;
pub mod tracker;
