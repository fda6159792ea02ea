//! Floor 1: bytes to values and back; pure functions without time, queues or ids.

pub mod bencode;
pub mod http;
pub mod peer;
pub mod printable;
pub mod torrent;
pub mod tracker;
