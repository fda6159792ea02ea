//! Codec: peers tell each other whom they are connected to (BEP 11).

use crate::wire::bencode::{self, Document, Mode, Value};
use core::net::{IpAddr, SocketAddr};

/// One message of `ut_pex`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pex {
    /// Who is connected since the last message.
    pub added: Vec<(SocketAddr, PexFlags)>,
    /// Who is not any more.
    pub dropped: Vec<SocketAddr>,
}

/// What is known of an added peer; bits of other meanings stay as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PexFlags(pub u8);

impl PexFlags {
    /// Prefers encrypted connections.
    pub const ENCRYPTION: Self = Self(0x01);
    /// A seed, or only uploads (BEP 21).
    pub const SEED: Self = Self(0x02);
    /// Speaks uTP (BEP 29).
    pub const UTP: Self = Self(0x04);
    /// Can help others through NAT (BEP 55).
    pub const HOLEPUNCH: Self = Self(0x08);
    /// Was connected to, so it can be reached.
    pub const REACHABLE: Self = Self(0x10);

    /// Whether all flags of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Pex {
    /// The most entries that are read of each list of one message: twice what a later message may have, because the
    /// first one may have more. What is beyond it is left out.
    pub const MAX_ENTRIES: usize = 100;

    /// Reads the payload of an extended message. Lists may be missing; the rest of a list that ends within an entry is
    /// left out, as are addresses that nobody can connect to.
    pub fn decode(payload: &[u8]) -> Result<Self, MalformedPex> {
        let (document, _) = Document::decode_prefix(payload, Mode::Lax).map_err(|_| MalformedPex)?;
        let root = document.root();
        if root.entries().is_none() {
            return Err(MalformedPex);
        }
        let list = |key: &[u8]| root.get(key).and_then(Value::as_bytes).unwrap_or_default();
        let flagged = |addresses: Vec<Option<SocketAddr>>, flags: &[u8]| {
            let flags = flags.iter().copied().chain(core::iter::repeat(0)).map(PexFlags);
            let both = addresses.into_iter().zip(flags);
            both.filter_map(|(address, flags)| Some((address?, flags))).collect::<Vec<_>>()
        };
        let mut added = flagged(addresses_v4(list(b"added")), list(b"added.f"));
        added.extend(flagged(addresses_v6(list(b"added6")), list(b"added6.f")));
        let dropped = [addresses_v4(list(b"dropped")), addresses_v6(list(b"dropped6"))].concat();
        Ok(Self { added, dropped: dropped.into_iter().flatten().collect() })
    }

    /// The payload of an extended message.
    pub fn encode(&self) -> Vec<u8> {
        let [mut added, mut flags, mut added6, mut flags6, mut dropped, mut dropped6]: [Vec<u8>; 6] =
            Default::default();
        for (address, PexFlags(bits)) in &self.added {
            let v4 = push_address(&mut added, &mut added6, *address);
            if v4 { &mut flags } else { &mut flags6 }.push(*bits);
        }
        for address in &self.dropped {
            push_address(&mut dropped, &mut dropped6, *address);
        }
        let lists: [(&[u8], &[u8]); 6] = [
            (b"added", &added),
            (b"added.f", &flags),
            (b"added6", &added6),
            (b"added6.f", &flags6),
            (b"dropped", &dropped),
            (b"dropped6", &dropped6),
        ];
        bencode::encode(|value| {
            value.dict(|message| {
                for (key, list) in lists {
                    message.entry(key, |value| value.bytes(list));
                }
            })
        })
    }
}

/// The message is not a dictionary (BEP 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed peer exchange message")]
pub struct MalformedPex;

fn addresses_v4(list: &[u8]) -> Vec<Option<SocketAddr>> {
    let entries = list.as_chunks::<6>().0.iter().take(Pex::MAX_ENTRIES);
    entries.map(|[a, b, c, d, port @ ..]| connectable([*a, *b, *c, *d].into(), *port)).collect()
}

fn addresses_v6(list: &[u8]) -> Vec<Option<SocketAddr>> {
    let entries = list.as_chunks::<18>().0.iter().take(Pex::MAX_ENTRIES);
    let address = |entry: &[u8; 18]| {
        let (ip, port) = entry.split_first_chunk::<16>()?;
        connectable((*ip).into(), *port.first_chunk()?)
    };
    entries.map(address).collect()
}

fn connectable(ip: IpAddr, port: [u8; 2]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(port);
    // An IPv4 address in the clothes of IPv6 is that IPv4 address.
    let ip = ip.to_canonical();
    let broadcast = IpAddr::from([255, 255, 255, 255]);
    let nobody = port == 0 || ip.is_unspecified() || ip.is_multicast() || ip == broadcast;
    (!nobody).then_some(SocketAddr::new(ip, port))
}

/// Writes an address to the list of its kind; says whether that is IPv4.
fn push_address(v4: &mut Vec<u8>, v6: &mut Vec<u8>, address: SocketAddr) -> bool {
    let list = match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            v4.extend_from_slice(&ip.octets());
            &mut *v4
        }
        IpAddr::V6(ip) => {
            v6.extend_from_slice(&ip.octets());
            v6
        }
    };
    list.extend_from_slice(&address.port().to_be_bytes());
    address.ip().to_canonical().is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn reads_both_kinds_of_addresses_with_their_flags() {
        let payload = b"d5:added12:\x7f\0\0\x01\x1a\xe1\x0a\0\0\x02\0\x507:added.f1:\x126:added618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe17:dropped6:\x0a\0\0\x03\0\x51e";
        let pex = Pex::decode(payload).unwrap();
        let flags = PexFlags::SEED.with(PexFlags::REACHABLE);
        assert!(flags.has(PexFlags::SEED) && !flags.has(PexFlags::UTP));
        let added =
            [("127.0.0.1:6881", flags), ("10.0.0.2:80", PexFlags(0)), ("[2001:db8::1]:6881", PexFlags(0))];
        assert_eq!(pex.added, added.map(|(text, flags)| (address(text), flags)));
        assert_eq!(pex.dropped, [address("10.0.0.3:81")]);
    }

    #[test]
    fn addresses_of_nobody_are_left_out_with_their_flags() {
        let payload =
            b"d5:added18:\x01\x02\x03\x04\0\0\0\0\0\0\0\x01\x01\x02\x03\x04\0\x017:added.f3:\x01\x02\x04e";
        assert_eq!(Pex::decode(payload).unwrap().added, [(address("1.2.3.4:1"), PexFlags(4))]);
        let mapped = b"d6:added618:\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04\0\x01e";
        assert_eq!(Pex::decode(mapped).unwrap().added, [(address("1.2.3.4:1"), PexFlags(0))]);
    }

    #[test]
    fn what_is_no_dictionary_is_refused() {
        for wrong in [&b""[..], b"le", b"i1e", b"d5:added", b"d"] {
            assert_eq!(Pex::decode(wrong), Err(MalformedPex), "{}", wrong.escape_ascii());
        }
        assert_eq!(Pex::decode(b"de"), Ok(Pex::default()));
        assert_eq!(Pex::decode(b"d5:addedi1e7:dropped5:abcdee"), Ok(Pex::default()));
    }

    #[test]
    fn long_lists_are_cut() {
        let many = Pex { added: vec![(address("1.2.3.4:5"), PexFlags(0)); 500], dropped: Vec::new() };
        assert_eq!(Pex::decode(&many.encode()).unwrap().added.len(), Pex::MAX_ENTRIES);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            v4 in prop::collection::vec((1u8..224, any::<[u8; 3]>(), 1u16.., any::<u8>()), 0..20),
            v6 in prop::collection::vec((any::<[u8; 14]>(), 1u16.., any::<u8>()), 0..20),
        ) {
            let v4 = v4.into_iter().map(|(first, [b, c, d], port, flags)| {
                (SocketAddr::new([first, b, c, d].into(), port), PexFlags(flags))
            });
            let v6 = v6.into_iter().map(|(tail, port, flags)| {
                let mut ip = [0x20; 16];
                ip[2..].copy_from_slice(&tail);
                (SocketAddr::new(ip.into(), port), PexFlags(flags))
            });
            let added: Vec<_> = v4.chain(v6).collect();
            let dropped = added.iter().map(|(address, _)| *address).collect();
            let pex = Pex { added, dropped };
            prop_assert_eq!(Pex::decode(&pex.encode()), Ok(pex));
        }
    }
}
