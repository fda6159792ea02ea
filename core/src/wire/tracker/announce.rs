//! What an announce says and what the answer to it says, whatever they travel in (BEP 3, 7, 15, 24).

use crate::base::{InfoHash, PeerId};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;

/// What a tracker is told and asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Who asks.
    pub peer_id: PeerId,
    /// The TCP port at which peers reach who asks.
    pub port: u16,
    /// Bytes sent to peers so far.
    pub uploaded: u64,
    /// Bytes received from peers so far.
    pub downloaded: u64,
    /// Bytes still missing.
    pub left: u64,
    /// What has happened.
    pub event: Event,
    /// How many peers are wanted at most.
    pub num_want: u32,
    /// Tells that it is the same client at another address (BEP 7).
    pub key: u32,
    /// The address to be told to others in place of the one that the tracker sees.
    pub ip: Option<IpAddr>,
    /// An IPv6 address of who asks (BEP 7); HTTP only.
    pub ipv6: Option<Ipv6Addr>,
}

/// What has happened to who announces (BEP 3). The numbers are those of BEP 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Nothing: it is time again.
    None = 0,
    /// The last missing byte has arrived.
    Completed = 1,
    /// It takes part from now on.
    Started = 2,
    /// It does not take part any more.
    Stopped = 3,
}

/// What a tracker answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnounceAnswer {
    /// How long to wait until the next announce; never zero.
    pub interval: Option<Duration>,
    /// How long to wait at least; never zero.
    pub min_interval: Option<Duration>,
    /// What the next announces must carry, whatever it means to the tracker.
    pub tracker_id: Option<Vec<u8>>,
    /// Peers that have everything.
    pub seeders: Option<u32>,
    /// Peers that do not.
    pub leechers: Option<u32>,
    /// At most [`MAX_PEERS`] addresses that can be connected to.
    pub peers: Vec<SocketAddr>,
    /// The address that the tracker sees (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// Something for the user to read, as it came.
    pub warning: Option<String>,
}

/// The most peers that are taken from one answer. Clients ask for some 200; a torrent keeps 3,000 addresses of all
/// sources, and one tracker shall not fill them.
pub const MAX_PEERS: usize = 1000;
