//! Floor 2: one conversation each.
