//! Codec: the packets of UDP trackers (BEP 15), with the option for the rest of the URL (BEP 41).

use super::announce::{compact_v4, compact_v6, seconds, text};
use super::{AnnounceAnswer, AnnounceRequest, MAX_PEERS, ScrapeAnswer};
use crate::base::InfoHash;
use bytes::{BufMut, Bytes, BytesMut};
use core::net::IpAddr;

/// Ties an answer to its request; random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub u32);

/// What a tracker gives out, so that who asks has shown that it receives at its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// Asks for a [`ConnectionId`].
pub fn encode_connect(transaction: TransactionId) -> Bytes {
    let mut packet = BytesMut::with_capacity(16);
    packet.put_u64(PROTOCOL);
    packet.put_u32(CONNECT);
    packet.put_u32(transaction.0);
    packet.freeze()
}

/// An announce. `url_data` is the path and query of the tracker's URL (BEP 41); nothing is said of it where it is empty
/// or longer than [`MAX_URL_DATA`].
pub fn encode_announce(
    connection: ConnectionId,
    transaction: TransactionId,
    request: &AnnounceRequest,
    url_data: &str,
) -> Bytes {
    let mut packet = BytesMut::with_capacity(98 + url_data.len() + 2 * url_data.len().div_ceil(255));
    packet.put_u64(connection.0);
    packet.put_u32(ANNOUNCE);
    packet.put_u32(transaction.0);
    packet.put_slice(&request.info_hash.0);
    packet.put_slice(&request.peer_id.0);
    packet.put_u64(request.downloaded);
    packet.put_u64(request.left);
    packet.put_u64(request.uploaded);
    packet.put_u32(request.event as u32);
    packet.put_u32(match request.ip {
        Some(IpAddr::V4(ip)) => ip.to_bits(),
        _ => 0,
    });
    packet.put_u32(request.key);
    packet.put_u32(request.num_want);
    packet.put_u16(request.port);
    if url_data.len() <= MAX_URL_DATA {
        for part in url_data.as_bytes().chunks(255) {
            packet.put_u8(URL_DATA);
            packet.put_u8(u8::try_from(part.len()).unwrap_or(u8::MAX));
            packet.put_slice(part);
        }
    }
    packet.freeze()
}

/// A scrape of one torrent.
pub fn encode_scrape(connection: ConnectionId, transaction: TransactionId, info_hash: InfoHash) -> Bytes {
    let mut packet = BytesMut::with_capacity(36);
    packet.put_u64(connection.0);
    packet.put_u32(SCRAPE);
    packet.put_u32(transaction.0);
    packet.put_slice(&info_hash.0);
    packet.freeze()
}

/// A packet from a tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Which request it answers.
    pub transaction: TransactionId,
    /// What it says.
    pub answer: Answer,
}

/// What a tracker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a connect.
    Connected(ConnectionId),
    /// To an announce.
    Announced(AnnounceAnswer),
    /// To a scrape of one torrent.
    Scraped(ScrapeAnswer),
    /// To anything: it refuses, and says why.
    Refused(String),
}

impl Packet {
    /// Reads a packet that came from `from`, on whose family the form of addresses depends. Packets may be longer than
    /// they need to be.
    pub fn decode(from: IpAddr, packet: &[u8]) -> Result<Self, PacketError> {
        let mut rest = packet;
        let cut = PacketError::Truncated { transaction: None };
        let action = take(&mut rest).ok_or(cut)?;
        let transaction = TransactionId(take(&mut rest).ok_or(cut)?);
        let answer = Answer::decode(action, from, rest)?;
        answer
            .map(|answer| Self { transaction, answer })
            .ok_or(PacketError::Truncated { transaction: Some(transaction) })
    }
}

impl Answer {
    /// `None` where it is cut off.
    fn decode(action: u32, from: IpAddr, rest: &[u8]) -> Result<Option<Self>, PacketError> {
        match action {
            CONNECT => Ok(Self::connected(rest)),
            ANNOUNCE => Ok(Self::announced(from, rest)),
            SCRAPE => Ok(Self::scraped(rest)),
            ERROR => Ok(Some(Self::Refused(text(rest)))),
            _ => Err(PacketError::Action),
        }
    }

    fn connected(mut rest: &[u8]) -> Option<Self> {
        let (high, low) = (take(&mut rest)?, take(&mut rest)?);
        Some(Self::Connected(ConnectionId(u64::from(high) << 32 | u64::from(low))))
    }

    fn announced(from: IpAddr, mut rest: &[u8]) -> Option<Self> {
        let (interval, leechers, seeders) = (take(&mut rest)?, take(&mut rest)?, take(&mut rest)?);
        let peers = match from.to_canonical() {
            IpAddr::V4(_) => compact_v4(rest).take(MAX_PEERS).collect(),
            IpAddr::V6(_) => compact_v6(rest).take(MAX_PEERS).collect(),
        };
        Some(Self::Announced(AnnounceAnswer {
            interval: seconds(i64::from(interval)),
            seeders: Some(seeders),
            leechers: Some(leechers),
            peers,
            ..AnnounceAnswer::default()
        }))
    }

    fn scraped(mut rest: &[u8]) -> Option<Self> {
        let (seeders, completed, leechers) = (take(&mut rest)?, take(&mut rest)?, take(&mut rest)?);
        Some(Self::Scraped(ScrapeAnswer {
            seeders: Some(seeders),
            leechers: Some(leechers),
            completed: Some(completed),
        }))
    }
}

/// Why a packet is none of a tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PacketError {
    /// It ends too early.
    #[error("the packet is cut off")]
    Truncated {
        /// Which request it answers, if that much of it is there.
        transaction: Option<TransactionId>,
    },
    /// It is none of the actions.
    #[error("the packet has an unknown action")]
    Action,
}

fn take(rest: &mut &[u8]) -> Option<u32> {
    let (number, behind) = rest.split_first_chunk::<4>()?;
    *rest = behind;
    Some(u32::from_be_bytes(*number))
}

/// The longest path and query that are sent along, in bytes: the packet stays below the 1,280 that every IPv6 path
/// carries in one piece.
pub const MAX_URL_DATA: usize = 1024;

const PROTOCOL: u64 = 0x0417_2710_1980;
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;
/// BEP 41.
const URL_DATA: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PeerId;
    use crate::wire::tracker::Event;
    use core::time::Duration;
    use proptest::prelude::*;

    const V4: IpAddr = IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(core::net::Ipv6Addr::LOCALHOST);

    fn request() -> AnnounceRequest {
        AnnounceRequest {
            info_hash: InfoHash([0xaa; 20]),
            peer_id: PeerId([0xbb; 20]),
            port: 0x1ae1,
            uploaded: 3,
            downloaded: 1,
            left: 2,
            event: Event::Started,
            num_want: 50,
            key: 0x0102_0304,
            ip: Some("10.0.0.1".parse().unwrap()),
            ipv6: None,
        }
    }

    #[test]
    fn requests_are_laid_out_as_the_bep_says() {
        assert_eq!(
            encode_connect(TransactionId(0x1122_3344))[..],
            [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 0x11, 0x22, 0x33, 0x44]
        );
        let announce = encode_announce(ConnectionId(1), TransactionId(2), &request(), "");
        let expected = [
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2][..],
            &[0xaa; 20],
            &[0xbb; 20],
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3],
            &[0, 0, 0, 2, 10, 0, 0, 1, 1, 2, 3, 4, 0, 0, 0, 50, 0x1a, 0xe1],
        ];
        assert_eq!((announce.len(), &announce[..]), (98, &expected.concat()[..]));
        let scrape = encode_scrape(ConnectionId(1), TransactionId(3), InfoHash([0xcc; 20]));
        assert_eq!(scrape[..16], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
        assert_eq!(scrape[16..], [0xcc; 20]);
    }

    #[test]
    fn rest_of_the_url_is_an_option_in_parts_of_255() {
        let options = |url_data: &str| {
            encode_announce(ConnectionId(1), TransactionId(2), &request(), url_data).slice(98..)
        };
        assert_eq!(options("/dir?a=b&c=d")[..], *b"\x02\x0c/dir?a=b&c=d");
        assert_eq!(options("")[..], []);
        let long = options(&"x".repeat(256));
        assert_eq!((long[..2].to_vec(), &long[257..]), (vec![2, 255], &b"\x02\x01x"[..]));
        assert_eq!(options(&"x".repeat(MAX_URL_DATA)).len(), MAX_URL_DATA + 10);
        assert_eq!(options(&"x".repeat(MAX_URL_DATA + 1)).len(), 0);
    }

    #[test]
    fn answers_are_read() {
        let decode = |from, packet: &[u8]| Packet::decode(from, packet).map(|packet| packet.answer);
        let transaction = TransactionId(9);
        let connected = Packet::decode(V4, b"\0\0\0\0\0\0\0\x09\0\0\0\x01\0\0\0\x02more").unwrap();
        assert_eq!(connected, Packet { transaction, answer: Answer::Connected(ConnectionId(1 << 32 | 2)) });
        let announced = b"\0\0\0\x01\0\0\0\x09\0\0\x07\x08\0\0\0\x02\0\0\0\x03\x0a\0\0\x01\x1a\xe1\x0a\0";
        let expected = AnnounceAnswer {
            interval: Some(Duration::from_secs(1800)),
            seeders: Some(3),
            leechers: Some(2),
            peers: vec!["10.0.0.1:6881".parse().unwrap()],
            ..AnnounceAnswer::default()
        };
        assert_eq!(decode(V4, announced), Ok(Answer::Announced(expected)));
        let v6 = [&announced[..20], &[0x20; 16], &[0, 80]].concat();
        let Ok(Answer::Announced(answer)) = decode(V6, &v6) else { panic!() };
        assert_eq!(answer.peers, ["[2020:2020:2020:2020:2020:2020:2020:2020]:80".parse().unwrap()]);
        let scraped = b"\0\0\0\x02\0\0\0\x09\0\0\0\x01\0\0\0\x02\0\0\0\x03";
        let expected = ScrapeAnswer { seeders: Some(1), leechers: Some(3), completed: Some(2) };
        assert_eq!(decode(V4, scraped), Ok(Answer::Scraped(expected)));
        assert_eq!(decode(V4, b"\0\0\0\x03\0\0\0\x09no\xff"), Ok(Answer::Refused("no\u{fffd}".into())));
    }

    #[test]
    fn each_rule_has_its_error() {
        let error = |packet: &[u8]| Packet::decode(V4, packet).unwrap_err();
        assert_eq!(error(b"\0\0\0\x04\0\0\0\x09"), PacketError::Action);
        for (action, least) in [(0, 16), (1, 20), (2, 20), (3, 8)] {
            let packet = [&[0, 0, 0, action][..], &[0; 16]].concat();
            assert!(Packet::decode(V4, &packet[..least]).is_ok());
            let transaction = (least > 8).then_some(TransactionId(0));
            assert_eq!(error(&packet[..least - 1]), PacketError::Truncated { transaction }, "{action}");
        }
    }

    #[test]
    fn ten_thousand_peers_are_cut() {
        let packet = [&b"\0\0\0\x01"[..], &[0; 16], &[1, 2, 3, 4, 5, 6].repeat(10_000)].concat();
        let Answer::Announced(answer) = Packet::decode(V4, &packet).unwrap().answer else { panic!() };
        assert_eq!((answer.peers.len(), answer.interval), (MAX_PEERS, None));
    }

    proptest! {
        #[test]
        fn no_packet_is_too_strange(packet in proptest::collection::vec(any::<u8>(), 0..64), action in 0u8..5) {
            let _ = (Packet::decode(V4, &packet), Packet::decode(V6, &packet));
            let likely = [&[0, 0, 0, action][..], &packet].concat();
            let _ = (Packet::decode(V4, &likely), Packet::decode(V6, &likely));
        }
    }
}
