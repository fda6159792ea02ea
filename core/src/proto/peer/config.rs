//! Settings: what all peers of one torrent are told, and how long they may take.

use crate::base::{InfoHash, PeerId};
use core::time::Duration;

/// What one side of a conversation says of itself, and how long it waits. Shared by all peers of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Who we are.
    pub peer_id: PeerId,
    /// Name and version of this client, for people (BEP 10, `v`).
    pub client: String,
    /// The port that others reach us at (BEP 10, `p`).
    pub listen_port: Option<u16>,
    /// BEP 27: neither exchange peers, nor give the metadata to those who ask for it.
    pub private: bool,
    /// Whether to exchange peers (BEP 11), which a private torrent never does.
    pub pex: bool,
    /// Whether there is a DHT node, which handshakes offer (BEP 5).
    pub dht: bool,
    /// How many requests of the peer may wait for an answer (BEP 10, `reqq`): 250 to 2,000.
    pub request_queue: u32,
    /// From the beginning, the dialling included, to the peer's handshake.
    pub handshake_timeout: Duration,
    /// Without a byte from the peer, or without its taking what was sent. Most peers say something every 2 minutes.
    pub idle_timeout: Duration,
    /// A peer hears something from us at least this often; below 2 minutes (BEP 3).
    pub keep_alive: Duration,
    /// The length of the metadata in bytes, where there is some to give (BEP 9).
    pub metadata_size: Option<u32>,
    /// Whether nothing more will be asked for (BEP 21).
    pub upload_only: bool,
}

impl PeerConfig {
    /// Settings with usual times, that offer nothing but the torrent.
    pub fn new(info_hash: InfoHash, peer_id: PeerId) -> Self {
        Self {
            info_hash,
            peer_id,
            client: concat!("gosh-dl ", env!("CARGO_PKG_VERSION")).to_owned(),
            listen_port: None,
            private: false,
            pex: true,
            dht: false,
            request_queue: 500,
            handshake_timeout: Duration::from_secs(20),
            // A peer that keeps alive every 120 s, as BEP 3 says, must not be cut off by its own delay.
            idle_timeout: Duration::from_secs(150),
            keep_alive: Duration::from_secs(100),
            metadata_size: None,
            upload_only: false,
        }
    }
}
