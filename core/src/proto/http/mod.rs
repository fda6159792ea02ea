//! Machine: HTTP/1.1 over one link, from the side of a client that fetches.

mod body;
mod connection;
mod head;

pub use connection::{CloseReason, Connection, ConnectionConfig, Output};
