//! The engine's face to the world: what a driver feeds in and what it must do.

use super::{DownloadEvent, EngineError};
use crate::base::disk::{DiskOp, DiskResult};
pub use crate::base::link::{LinkKey, LinkTag, ResolveError};
use crate::base::store::{StoreError, StoreOp};
use crate::base::{LinkInput, LinkOutput};
use bytes::Bytes;
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
        /// Whether and how to secure it.
        tls: Option<TlsRequest>,
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
    /// The report of a verification or a repair.
    Verified(super::VerifyReport),
}

/// How to secure a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRequest {
    /// The name that the certificate must be for: a host name or an IP literal without brackets.
    pub server_name: Arc<str>,
}
