//! What an announcer asks for, and what it has found.

use super::SlotKey;
use crate::download::lease;
use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What an announcer asks for, or has found.
#[derive(Debug)]
pub enum Output {
    /// A connection for an exchange, or what is done with one; [`Announcer::leased`](super::Announcer::leased) or
    /// [`Announcer::lease_failed`](super::Announcer::lease_failed) answers.
    Lease(lease::Output<SlotKey>),
    /// Look up a host name, never an IP literal; [`Announcer::resolved`](super::Announcer::resolved) answers.
    Resolve {
        /// Names the look-up.
        query: SlotKey,
        /// The name.
        host: Arc<str>,
    },
    /// Send a datagram, from the socket of the address's family.
    Datagram {
        /// Where to.
        to: SocketAddr,
        /// What.
        bytes: Bytes,
    },
    /// Addresses of peers that a tracker sent, at most [`MAX_PEERS`](crate::wire::tracker::MAX_PEERS); ports are never zero.
    Peers(Vec<SocketAddr>),
    /// The address under which a tracker sees this side (BEP 24).
    ExternalIp(IpAddr),
    /// A tracker has something to say to the user.
    Message {
        /// Its URL; safe to show.
        tracker: String,
        /// What it says; safe to show.
        text: String,
        /// Whether it refused.
        kind: MessageKind,
    },
    /// Nothing is under way any more after [`Announcer::stop`](super::Announcer::stop).
    Stopped,
}

/// What a tracker's message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// It answered all the same.
    Warning,
    /// It refused.
    Failure,
}
