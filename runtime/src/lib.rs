//! What every driver of the gosh-dl engine shares: all that is neither async nor tied to one runtime.
//!
//! A [`Runtime`] supplies sockets, timers and tasks; everything else of a driver is here: the turn loop ([`drive`]),
//! links with TLS and buffers, the disk's threads, name look-up, the store's thread, events, and the public [`Handle`].
//! What is no async runtime at all implements [`Transport`] and turns the [`Driver`] itself.

pub mod buffers;
mod datagrams;
pub mod disk;
mod driver;
pub mod events;
pub mod face;
mod handle;
mod inbox;
pub mod link;
mod links;
mod listeners;
pub mod names;
mod outgoing;
mod reader;
pub mod recording;
mod runtime;
pub mod store_thread;
pub mod tls;
mod waiting;

pub use driver::{Dial, Driver, Transport, Turn};
pub use events::EventStream;
pub use handle::Handle;
pub use inbox::Inbox;
pub use link::{Link, LinkContext, LinkOrders, Socket, receive_into};
pub use links::{Links, drive};
pub use reader::FileReader;
pub use runtime::{
    Datagrams, Direction, Listener, Runtime, Task, Timer, begin_connect, send_file_part, send_more,
};
