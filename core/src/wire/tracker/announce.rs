//! Codec: what an announce or a scrape says and is answered, whatever it travels in (BEP 3, 7, 15, 24, 31, 48).

use crate::base::{InfoHash, PeerId};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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

/// What a tracker says of a swarm (BEP 48).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrapeAnswer {
    /// Peers that have everything.
    pub seeders: Option<u32>,
    /// Peers that do not.
    pub leechers: Option<u32>,
    /// How many ever completed.
    pub completed: Option<u32>,
}

/// A tracker does not want to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, as it came.
    pub reason: String,
    /// When it may be asked again.
    pub retry: Retry,
}

/// When a tracker that refused may be asked again (BEP 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It did not say.
    Unsaid,
    /// Not before so much time has passed.
    After(Duration),
    /// Never.
    Never,
}

/// The most peers that are taken from one answer. Clients ask for some 200; a torrent keeps 3,000 addresses of all
/// sources, and one tracker shall not fill them.
pub const MAX_PEERS: usize = 1000;

/// The longest text for the user that is taken, in bytes: more would not be shown.
const MAX_TEXT: usize = 1024;

/// A number of seconds that a tracker sent, where it is one that means something.
pub(super) fn seconds(value: i64) -> Option<Duration> {
    let seconds = u32::try_from(value.min(i64::from(u32::MAX))).ok()?;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

/// A text for the user: what is no UTF-8 in it is replaced, and what is too long is cut.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..MAX_TEXT).unwrap_or(bytes)).into_owned()
}

/// The addresses in a compact list (BEP 23); a cut one at its end is left out.
pub(super) fn compact_v4(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    let peers = bytes.as_chunks::<6>().0.iter();
    peers.filter_map(|&[a, b, c, d, e, f]| peer(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([e, f])))
}

/// The addresses in a compact list of IPv6 ones (BEP 7); a cut one at its end is left out.
pub(super) fn compact_v6(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    bytes.as_chunks::<18>().0.iter().filter_map(|item| {
        let (ip, port) = item.split_first_chunk::<16>()?;
        peer(Ipv6Addr::from(*ip).into(), u16::from_be_bytes([*port.first()?, *port.get(1)?]))
    })
}

/// An address to which a connection can be tried: one host, and a port.
pub(super) fn peer(ip: IpAddr, port: u16) -> Option<SocketAddr> {
    let ip = ip.to_canonical();
    let one_host = !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST);
    (one_host && port != 0).then(|| SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_hosts_with_a_port_are_peers() {
        let list = [
            &[10, 0, 0, 1, 0x1a, 0xe1][..],
            &[10, 0, 0, 2, 0, 0],
            &[0, 0, 0, 0, 0, 1],
            &[224, 0, 0, 1, 0, 1],
            &[255, 255, 255, 255, 0, 1],
            &[1, 2, 3],
        ];
        let peers: Vec<SocketAddr> = compact_v4(&list.concat()).collect();
        assert_eq!(peers, ["10.0.0.1:6881".parse().unwrap()]);
    }

    #[test]
    fn ipv4_inside_ipv6_is_ipv4() {
        let v6 = |text: &str| [&text.parse::<Ipv6Addr>().unwrap().octets()[..], &[0, 80]].concat();
        let list = [v6("::ffff:1.2.3.4"), v6("2001:db8::1"), v6("::"), v6("ff02::1"), vec![0; 17]].concat();
        let peers: Vec<SocketAddr> = compact_v6(&list).collect();
        assert_eq!(peers, ["1.2.3.4:80".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap()]);
    }

    #[test]
    fn only_positive_numbers_are_lengths_of_time() {
        assert_eq!([-1, 0, i64::MIN].map(seconds), [None; 3]);
        assert_eq!(seconds(1800), Some(Duration::from_secs(1800)));
        assert_eq!(seconds(i64::MAX), Some(Duration::from_secs(u64::from(u32::MAX))));
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(text(&[b'a'; 5000]).len(), MAX_TEXT);
        assert_eq!(text(b"a\xff\x1b"), "a\u{fffd}\u{1b}");
    }
}
