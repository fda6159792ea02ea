//! The engine's face to the world: what a driver feeds in and what it must do.

use super::{DownloadEvent, EngineError};
use crate::base::disk::{DiskOp, DiskResult};
pub use crate::base::link::{ArrivalKey, LinkKey, LinkTag, ListenerKey, ResolveError, UdpKey};
use crate::base::store::{StoreError, StoreOp};
use crate::base::{LinkError, LinkInput, LinkOutput};
use bytes::{Bytes, BytesMut};
use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Names a name look-up. Chosen by core, never reused within one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryKey(pub u64);

/// Names a disk operation. Chosen by core, never reused within one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskKey(pub u64);

/// Names a store batch. Chosen by core, never reused within one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchKey(pub u64);

/// Names a command whose caller waits for [`Output::Reply`]. Chosen by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What comes in from the world.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Input {
    /// A name look-up ended.
    Resolved {
        /// Which.
        query: QueryKey,
        /// The addresses, in the resolver's order; never empty when `Ok`.
        result: Result<Vec<IpAddr>, ResolveError>,
    },
    /// Something happened on a link.
    Link {
        /// Which.
        link: LinkKey,
        /// What.
        input: LinkInput,
    },
    /// [`Output::Listen`] has its result.
    Listening {
        /// Which.
        listener: ListenerKey,
        /// Where it listens, with the port that a port of 0 became, or why it does not; then the key is dead.
        result: Result<SocketAddr, LinkError>,
    },
    /// Somebody has connected. Core answers with [`Output::Adopt`] or [`Output::Dismiss`], and soon: few may wait.
    Accepted {
        /// Where.
        listener: ListenerKey,
        /// Names the connection until then.
        arrival: ArrivalKey,
        /// Who.
        from: SocketAddr,
    },
    /// [`Output::Bind`] has its result.
    Bound {
        /// Which.
        socket: UdpKey,
        /// Where it is, with the port that a port of 0 became, or why it is not; then the key is dead.
        result: Result<SocketAddr, LinkError>,
    },
    /// A datagram came. Many may be lost before: in the network, or because nobody took them in time.
    Datagram {
        /// On which socket.
        socket: UdpKey,
        /// From where; an IPv4 address is never given as a mapped IPv6 one.
        from: SocketAddr,
        /// What, whole.
        bytes: BytesMut,
    },
    /// A disk operation ended.
    Disk {
        /// Which.
        key: DiskKey,
        /// How.
        result: DiskResult,
    },
    /// A store batch is durable, or failed as a whole.
    Stored {
        /// Which.
        batch: BatchKey,
        /// How.
        result: Result<(), StoreError>,
    },
    /// The wall clock jumped: it now shows this many milliseconds since the Unix epoch.
    WallClock {
        /// Milliseconds since the Unix epoch.
        unix_millis: u64,
    },
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// Look up the addresses of a host name. → [`Input::Resolved`]
    Resolve {
        /// Names the look-up.
        query: QueryKey,
        /// A host name; never an IP literal.
        host: Arc<str>,
    },
    /// Open a link over TCP, and secure it where `tls` is given.
    /// → [`LinkInput::Opened`], then with TLS [`LinkInput::Secured`], or [`LinkInput::Closed`].
    Connect {
        /// Names the link from now on.
        link: LinkKey,
        /// Where to.
        to: SocketAddr,
        /// The address of this machine that it must come from, of the same family; `None` is whatever the system takes.
        from: Option<IpAddr>,
        /// Whether and how to secure it.
        tls: Option<TlsRequest>,
    },
    /// Accept connections over TCP. An IPv6 address takes no IPv4 connections. → [`Input::Listening`], and where that is
    /// well, [`Input::Accepted`] for each.
    Listen {
        /// Names the place from now on.
        listener: ListenerKey,
        /// Where; port 0 is any free one.
        on: SocketAddr,
    },
    /// Accept no more. Connections that core has adopted stay; those that wait are closed. The key is dead at once.
    Unlisten {
        /// Which.
        listener: ListenerKey,
    },
    /// Take a connection over: it is a link from now on, open already, so that no [`LinkInput::Opened`] follows. One that
    /// is gone by now is answered with [`LinkInput::Closed`].
    Adopt {
        /// Which.
        arrival: ArrivalKey,
        /// Names the link from now on.
        link: LinkKey,
    },
    /// Close a connection that is not wanted.
    Dismiss {
        /// Which.
        arrival: ArrivalKey,
    },
    /// Make a UDP socket. An IPv6 one takes no IPv4 datagrams. → [`Input::Bound`], and where that is well,
    /// [`Input::Datagram`] for each.
    Bind {
        /// Names the socket from now on.
        socket: UdpKey,
        /// Where; port 0 is any free one.
        on: SocketAddr,
    },
    /// Close a UDP socket. The key is dead at once.
    Unbind {
        /// Which.
        socket: UdpKey,
    },
    /// Send a datagram. It may be lost: in the network, because it is too large, or because more is asked for than leaves.
    Datagram {
        /// On which socket.
        socket: UdpKey,
        /// Where to.
        to: SocketAddr,
        /// What, whole.
        bytes: Bytes,
    },
    /// Do something on a link. For [`LinkOutput::Close`] no [`LinkInput::Closed`] follows: the key is dead at once.
    Link {
        /// Which.
        link: LinkKey,
        /// What.
        output: LinkOutput,
    },
    /// Perform a disk operation. → [`Input::Disk`] where [`DiskOp::completes`].
    Disk {
        /// Names the operation.
        key: DiskKey,
        /// What to do.
        op: DiskOp,
    },
    /// Commit a batch durably. At most one is under way. → [`Input::Stored`]
    Store {
        /// Names the batch.
        batch: BatchKey,
        /// What to change, as one transaction.
        ops: Vec<StoreOp>,
    },
    /// Keep a note by [`Store::save_note`](crate::base::store::Store::save_note). No completion, errors are ignored.
    Note(Bytes),
    /// Something that users may want to know.
    Event(DownloadEvent),
    /// The command with this token is carried out, or failed.
    Reply {
        /// The caller's token.
        token: Token,
        /// How it ended.
        result: Result<Answer, EngineError>,
    },
    /// The last output, after a shutdown: everything is saved and nothing is under way.
    Closed,
}

/// What a finished command returns.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// It is done.
    Done,
    /// Bytes of a file.
    Data(Bytes),
    /// The report of a verification or a repair.
    Verified(super::VerifyReport),
}

/// How to secure a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRequest {
    /// The name that the certificate must be for: a host name or an IP literal without brackets.
    pub server_name: Arc<str>,
}
