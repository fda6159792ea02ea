//! Codecs: what peers say to each other (BEP 3, 6, 9, 10, 11, 21, 54).

mod handshake;
mod metadata;
mod pex;

pub use handshake::{Features, Handshake};
pub use metadata::{METADATA_PIECE_LEN, MetadataMessage};
pub use pex::{Pex, PexFlags};
