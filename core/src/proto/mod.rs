//! Floor 2: one conversation each.

pub mod dial;
