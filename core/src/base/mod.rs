//! Floor 0: what every other floor is built from. No protocol, no policy of a download.

pub mod bitfield;
pub mod block_data;
pub mod bucket;
pub mod deadlines;
pub mod disk;
pub mod file_name;
pub mod info_hash;
pub mod instant;
pub mod link;
pub mod mutants;
pub mod piece;
pub mod ranges;
pub mod rate;
pub mod reach;
pub mod rng;
pub mod slab;
pub mod store;

pub use bitfield::Bitfield;
pub use block_data::BlockData;
pub use bucket::TokenBucket;
pub use deadlines::Deadlines;
pub use file_name::FileName;
pub use info_hash::{InfoHash, PeerId};
pub use instant::{Instant, WallClock};
pub use link::{LinkError, LinkInput, LinkOutput, ResolveError, TlsError};
pub use piece::{BLOCK_LEN, Block, PieceGrid, PieceIndex};
pub use ranges::RangeSet;
pub use rate::RateMeter;
pub use reach::{Family, Reach};
pub use rng::Rng;
pub use slab::{Key, Slab};
