//! What an announcer is told at its start and while it runs.

use crate::base::{InfoHash, PeerId};
use core::net::{IpAddr, Ipv6Addr};

/// Everything that an announcer is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncePlan {
    /// The torrent.
    pub info_hash: InfoHash,
    /// What this side is called in the swarm.
    pub peer_id: PeerId,
    /// The TCP port at which peers reach this side.
    pub port: u16,
    /// Tells trackers that this is the same client, though its address may differ (BEP 7). Random, one per torrent.
    pub key: u32,
    /// The `User-Agent`.
    pub user_agent: String,
    /// The trackers in tiers, as the torrent has them (BEP 12).
    pub tiers: Vec<Vec<String>>,
    /// The address to be told to trackers in place of the one that they see (BEP 3 `ip`). Most ignore it.
    pub announce_ip: Option<IpAddr>,
    /// The IPv6 address of this side, for trackers that are reached over IPv4 (BEP 7 `ipv6`).
    pub ipv6: Option<Ipv6Addr>,
}

/// What this side has moved so far, in bytes; what trackers keep the statistics of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Payload sent to peers since `started`.
    pub uploaded: u64,
    /// Payload received from peers since `started`.
    pub downloaded: u64,
    /// What is still missing. Unknown while there is no metadata: anything above zero then.
    pub left: u64,
}
