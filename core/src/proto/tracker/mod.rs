//! Machine: one exchange with a tracker over UDP (BEP 15).

mod conversation;
#[cfg(test)]
mod tests;

pub use conversation::{Connection, Conversation, ConversationError, Output, Patience, Request};
