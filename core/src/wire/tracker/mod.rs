//! Codecs: announce and scrape, over HTTP (BEP 3, 23) and UDP (BEP 15).

mod announce;

pub use announce::{AnnounceAnswer, AnnounceRequest, Event, MAX_PEERS};
