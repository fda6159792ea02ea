//! Machine: one torrent, a router over its policies.

pub mod announcer;
pub mod candidates;
pub mod choker;
pub mod files;
pub mod layout;
pub mod picker;
pub mod pipeline;
pub mod readers;
pub mod web_seed;
