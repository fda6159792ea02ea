//! What every driver of the gosh-dl engine shares: all that is neither async nor tied to one runtime.
//!
//! A [`Runtime`] supplies connections, timers and tasks; everything else of a driver is here: the turn loop ([`drive`]),
//! links with TLS and buffers, the disk's threads, name look-up, the store's thread, events, and the public [`Handle`].
//! What is no async runtime at all implements [`Transport`] and turns the [`Driver`] itself.

pub mod buffers;
pub mod disk;
mod driver;
pub mod events;
pub mod face;
mod handle;
mod inbox;
pub mod link;
mod links;
pub mod names;
pub mod recording;
pub mod store_thread;
pub mod tls;

pub use driver::{Driver, Transport, Turn};
pub use events::EventStream;
pub use handle::Handle;
pub use inbox::Inbox;
pub use link::{Link, LinkContext, LinkOrders, Socket, receive_into};
pub use links::{Links, Runtime, Task, Timer, drive};
