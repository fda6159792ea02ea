//! Codec: the 68 bytes that both sides begin with (BEP 3), and what their reserved bits offer (BEP 5, 6, 10).

use crate::base::{InfoHash, PeerId};

/// What a peer says first.
///
/// ```
/// use gosh_dl_core::base::{InfoHash, PeerId};
/// use gosh_dl_core::wire::peer::{Features, Handshake};
///
/// let features = Features { extended: true, fast: true, dht: false };
/// let handshake = Handshake { features, info_hash: InfoHash([1; 20]), peer_id: PeerId([2; 20]) };
/// assert_eq!(Handshake::decode(&handshake.encode()), Some(handshake));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// What it can do.
    pub features: Features,
    /// The torrent that it is about.
    pub info_hash: InfoHash,
    /// Who it is.
    pub peer_id: PeerId,
}

/// What the reserved bits of a handshake offer. Bits that mean something else are ignored (BEP 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The extension protocol (BEP 10).
    pub extended: bool,
    /// The Fast extension (BEP 6).
    pub fast: bool,
    /// A DHT node, whose port a `port` message names (BEP 5).
    pub dht: bool,
}

impl Handshake {
    /// Its length in bytes.
    pub const LEN: usize = 68;

    /// Reads it; `None` where it does not begin as BitTorrent does.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (protocol, rest) = bytes.split_first_chunk::<20>()?;
        let (reserved, rest) = rest.split_first_chunk::<8>()?;
        let (info_hash, peer_id) = rest.split_first_chunk::<20>()?;
        (protocol == PROTOCOL).then_some(Self {
            features: Features::decode(*reserved),
            info_hash: InfoHash(*info_hash),
            peer_id: PeerId(*peer_id.first_chunk()?),
        })
    }

    /// Writes it.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..20].copy_from_slice(PROTOCOL);
        out[20..28].copy_from_slice(&self.features.encode());
        out[28..48].copy_from_slice(&self.info_hash.0);
        out[48..].copy_from_slice(&self.peer_id.0);
        out
    }

    /// Whether bytes that may be fewer than a handshake can still become one.
    pub fn may_begin(bytes: &[u8]) -> bool {
        bytes.iter().zip(PROTOCOL).all(|(came, right)| came == right)
    }
}

impl Features {
    fn decode(reserved: [u8; 8]) -> Self {
        Self {
            extended: reserved[5] & EXTENDED != 0,
            fast: reserved[7] & FAST != 0,
            dht: reserved[7] & DHT != 0,
        }
    }

    fn encode(self) -> [u8; 8] {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        [0, 0, 0, 0, 0, bit(self.extended, EXTENDED), 0, bit(self.fast, FAST) | bit(self.dht, DHT)]
    }

    /// What both sides offer.
    pub fn common(self, other: Self) -> Self {
        Self {
            extended: self.extended && other.extended,
            fast: self.fast && other.fast,
            dht: self.dht && other.dht,
        }
    }
}

const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
const EXTENDED: u8 = 0x10;
const FAST: u8 = 0x04;
const DHT: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_a_real_client_sends() {
        let mut bytes =
            *b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05aaaaaaaaaaaaaaaaaaaa-TR4000-abcdefghijkl";
        let handshake = Handshake::decode(&bytes).unwrap();
        assert_eq!(handshake.features, Features { extended: true, fast: true, dht: true });
        assert_eq!(handshake.info_hash, InfoHash([b'a'; 20]));
        assert_eq!(handshake.peer_id, PeerId(*b"-TR4000-abcdefghijkl"));
        assert_eq!(handshake.encode(), bytes);
        // Bits that are nobody's, or another extension's, change nothing.
        (bytes[20], bytes[27]) = (0x80, 0x05 | 0x08);
        assert_eq!(Handshake::decode(&bytes), Some(handshake));
    }

    #[test]
    fn other_protocols_are_refused_at_their_first_wrong_byte() {
        let mut bytes = Handshake {
            features: Features::default(),
            info_hash: InfoHash([0; 20]),
            peer_id: PeerId([0; 20]),
        }
        .encode();
        bytes[19] ^= 1;
        assert_eq!(Handshake::decode(&bytes), None);
        assert!(Handshake::may_begin(&bytes[..19]) && !Handshake::may_begin(&bytes[..20]));
        assert!(Handshake::may_begin(b"") && !Handshake::may_begin(b"GET / HTTP/1.1"));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(extended: bool, fast: bool, dht: bool, hash: [u8; 20], id: [u8; 20]) {
            let features = Features { extended, fast, dht };
            let handshake = Handshake { features, info_hash: InfoHash(hash), peer_id: PeerId(id) };
            prop_assert_eq!(Handshake::decode(&handshake.encode()), Some(handshake));
        }
    }
}
