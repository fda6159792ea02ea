//! Codecs: what peers say to each other (BEP 3, 6, 9, 10, 11, 21, 54).

mod allowed_fast;
mod extension;
mod handshake;
mod message;
mod metadata;
mod pex;

pub use allowed_fast::allowed_fast_set;
pub use extension::{Extension, ExtensionHandshake, MalformedExtension};
pub use handshake::{Features, Handshake};
pub use message::{Message, MessageDecoder, MessageError, Span};
pub use metadata::{METADATA_PIECE_LEN, MalformedMetadata, MetadataMessage};
pub use pex::{MalformedPex, Pex, PexFlags};
