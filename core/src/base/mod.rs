//! Floor 0: what every other floor is built from. No protocol, no policy of a download.

pub mod bucket;
pub mod deadlines;
pub mod disk;
pub mod file_name;
pub mod instant;
pub mod link;
pub mod mutants;
pub mod ranges;
pub mod rate;
pub mod rng;
pub mod slab;
pub mod store;

pub use bucket::TokenBucket;
pub use deadlines::Deadlines;
pub use file_name::FileName;
pub use instant::{Instant, WallClock};
pub use link::{LinkError, LinkInput, LinkOutput, ResolveError, TlsError};
pub use ranges::RangeSet;
pub use rate::RateMeter;
pub use rng::Rng;
pub use slab::{Key, Slab};
