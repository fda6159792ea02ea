//! Conversation: with one peer (BEP 3, 6, 9, 10, 11, 21, 54).
//!
//! ```text
//! outgoing: Peer::connecting --Opened--> sends its handshake --68 bytes--> Greeted
//! incoming: Greeting --68 bytes--> Done: the torrent is found --> Peer::accepted --> Greeted
//!
//! Greeted --> announce_have(..) at once, then commands and messages in any order --> Closed
//! ```

mod commands;
mod config;
mod extended;
mod greeting;
mod incoming;
mod machine;
mod outbox;
mod output;
mod pieces;
mod requests;
mod views;
mod violation;
mod wanted;

pub use config::PeerConfig;
pub use greeting::{Arrival, Greeting, GreetingOutput};
pub use machine::Peer;
pub use output::{CloseReason, FileSpan, Output};
pub use violation::Violation;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod judge;
#[cfg(test)]
mod tests;
