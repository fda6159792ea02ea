//! Floor 1: bytes to values and back; pure functions without time, queues or ids.

pub mod bencode;
pub mod http;
pub(crate) mod paths;
pub mod peer;
pub mod printable;
pub mod torrent;
pub mod tracker;
