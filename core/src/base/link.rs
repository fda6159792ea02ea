//! The vocabulary of the network: links, which are byte streams with credit instead of callbacks, and who listens where.

use super::Key;
use super::disk::FileKey;
use bytes::{Bytes, BytesMut};

/// What a [`LinkKey`] names.
#[derive(Debug)]
pub enum LinkTag {}
/// Names a link; generational, so a late input for a link that is gone is recognised.
pub type LinkKey = Key<LinkTag>;

/// Names a place where connections are accepted. Chosen by core, never reused within one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerKey(pub u64);

/// Names a connection that was accepted and that core has not taken yet. Chosen by the driver, never reused while its
/// engine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArrivalKey(pub u64);

/// Names a UDP socket. Chosen by core, never reused within one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UdpKey(pub u64);

/// What a link reports upwards.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkInput {
    /// The transport is connected (TCP established). On a secured link, [`Secured`](Self::Secured) follows.
    Opened,
    /// The TLS handshake is done and the certificate was accepted.
    Secured,
    /// Bytes that arrived, at most as many as there was credit for.
    Data(BytesMut),
    /// The kernel took this many bytes of what was sent.
    Sent(u32),
    /// The link is gone; nothing follows.
    Closed(LinkError),
}

/// What a machine asks of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkOutput {
    /// Send these bytes after all earlier ones.
    Send(Bytes),
    /// Send this part of an open file after all earlier bytes; [`LinkInput::Sent`] counts it like them. Core may close
    /// the file right after. A file that is not open, cannot be read or is shorter closes the link with
    /// [`LinkError::Io`].
    SendFile {
        /// The file.
        file: FileKey,
        /// Where in the file, in bytes.
        offset: u64,
        /// How many bytes.
        len: u32,
    },
    /// This many more bytes may be read; cumulative, like an HTTP/2 window.
    Credit(u32),
    /// Send what is queued, then close. Nothing more is read.
    Close,
}

/// Why a link closed, or a socket could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The other side closed in an orderly way (FIN; on TLS, after `close_notify`).
    #[error("closed by the other side")]
    Eof,
    /// TLS: the connection ended without `close_notify`, so data may be missing.
    #[error("the TLS connection was cut off without close_notify")]
    Truncated,
    /// The other side reset the connection.
    #[error("connection reset")]
    Reset,
    /// Nothing listens at that address.
    #[error("connection refused")]
    Refused,
    /// The network has no way there.
    #[error("network unreachable")]
    Unreachable,
    /// The transport gave up waiting.
    #[error("timed out")]
    TimedOut,
    /// This process or machine has no free descriptor, port or buffer.
    #[error("out of descriptors or ports")]
    OutOfResources,
    /// Another socket has that address and port already.
    #[error("the address is in use")]
    AddressInUse,
    /// This machine does not have that address.
    #[error("the address is not one of this machine's")]
    AddressNotAvailable,
    /// The user may not do that (a port below 1024, a firewall).
    #[error("permission denied")]
    PermissionDenied,
    /// The TLS handshake or a TLS record was wrong.
    #[error("TLS failed: {0}")]
    Tls(TlsError),
    /// Anything else that the operating system reports.
    #[error("input/output error")]
    Io,
}

/// Why a secured link could not be secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate's chain does not end at a trusted root.
    #[error("the certificate is not signed by a trusted authority")]
    UnknownIssuer,
    /// The certificate is for another name.
    #[error("the certificate is for another host name")]
    WrongHost,
    /// The certificate has expired or is not valid yet.
    #[error("the certificate has expired or is not yet valid")]
    Expired,
    /// The certificate is wrong in another way (revoked, wrong usage, bad signature).
    #[error("the certificate is invalid")]
    BadCertificate,
    /// The two sides share no protocol version or cipher, or the peer broke the protocol.
    #[error("the TLS protocol failed")]
    Protocol,
    /// The host name cannot stand in a certificate.
    #[error("the host name is not valid for TLS")]
    InvalidName,
}

/// Why a name look-up failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The name does not exist or has no addresses.
    #[error("no such host")]
    NotFound,
    /// The resolver failed; another try may succeed.
    #[error("the name server failed")]
    Failed,
    /// The resolver did not answer in time.
    #[error("the name server did not answer")]
    TimedOut,
}
