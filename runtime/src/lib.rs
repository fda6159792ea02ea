//! What every driver of the gosh-dl engine shares: all that is neither async nor tied to one runtime.
//!
//! A runtime supplies sockets ([`Socket`], [`Transport`]) and waiting ([`Driver::poll_ready`]); everything else of a
//! driver is here: links with TLS and buffers, the disk's threads, name look-up, the store's thread, events, and the
//! public [`Handle`].

pub mod buffers;
pub mod disk;
mod driver;
pub mod events;
mod handle;
mod inbox;
pub mod link;
pub mod names;
pub mod store_thread;
pub mod tls;

pub use driver::{Driver, Transport, Turn};
pub use events::EventStream;
pub use handle::Handle;
pub use inbox::Inbox;
pub use link::{Link, LinkContext, LinkOrders, Socket};
