//! Policy: which addresses a host's name may lead to. Whoever asks decides; it is applied to the very addresses that are
//! dialled.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a connection may lead.
///
/// ```
/// use gosh_dl_core::base::Reach;
///
/// assert!(Reach::Host.allows([10, 0, 0, 1].into()));
/// assert!(!Reach::Elsewhere.allows([10, 0, 0, 1].into()));
/// assert!(Reach::Elsewhere.allows([192, 0, 2, 1].into()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Anywhere: the user has named it.
    Anywhere,
    /// To a host, be it this one or one of the own network: not to all hosts at once, nor to no address.
    Host,
    /// To a host that is neither this one nor one of the own network.
    Elsewhere,
}

/// One of the two families of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address; a mapped IPv4 address is one of IPv4.
    pub fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl Reach {
    /// Whether a connection may lead to `ip`. What counts is the IPv4 address that an IPv6 address carries, if it does.
    pub fn allows(self, ip: IpAddr) -> bool {
        let ip = innermost(ip);
        match self {
            Self::Anywhere => true,
            Self::Host => is_one_host(ip),
            Self::Elsewhere => is_one_host(ip) && !is_local(ip),
        }
    }
}

/// The IPv4 address that an IPv6 address carries, where it does: mapped, compatible, NAT64 (RFC 6052), 6to4 (RFC 3056).
fn innermost(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip.to_canonical() else { return ip.to_canonical() };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match (a, b) {
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => v4(g, h),
        (0x2002, _) => v4(b, c),
        (0, 0) if [c, d, e, f] == [0; 4] && g != 0 => v4(g, h),
        _ => IpAddr::V6(v6),
    }
}

fn is_one_host(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_local_v4(ip),
        IpAddr::V6(ip) => is_local_v6(ip),
    }
}

fn is_local_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && b & 0xc0 == 64;
    ip.is_loopback() || ip.is_private() || ip.is_link_local() || a == 0 || shared
}

fn is_local_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, ..] = ip.segments();
    // RFC 3879: site-local addresses are no more, but some networks still have them.
    let site = a & 0xffc0 == 0xfec0;
    // RFC 8215: a translator of the own network, and only it knows to whom.
    let translated = [a, b, c] == [0x64, 0xff9b, 1];
    ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || site || translated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> [bool; 3] {
        let ip = text.parse().expect("an address");
        [Reach::Anywhere, Reach::Host, Reach::Elsewhere].map(|reach| reach.allows(ip))
    }

    #[test]
    fn own_machine_and_network_are_not_elsewhere() {
        let local = "0.0.0.1 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.0.1 169.254.0.1 \
            169.254.169.254 172.16.0.1 172.31.255.255 192.168.0.1 ::1 fc00::1 fdff::1 fe80::1 febf::1 fec0::1 \
            ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::192.168.0.1 64:ff9b:1::8.8.8.8 2002:7f00:1:: \
            2002:a00:1::1";
        for text in local.split_whitespace() {
            assert_eq!(allowed(text), [true, true, false], "{text}");
        }
    }

    #[test]
    fn everybody_else_is() {
        let others = "1.0.0.1 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.0 126.0.0.1 128.0.0.1 169.253.0.1 \
            172.15.255.255 172.32.0.0 192.167.0.1 192.169.0.1 198.18.0.1 2001:db8::1 2606:4700::1111 \
            ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808:: fbff::1 fe00::1";
        for text in others.split_whitespace() {
            assert_eq!(allowed(text), [true; 3], "{text}");
        }
    }

    #[test]
    fn what_is_not_one_host_is_none() {
        let none = "0.0.0.0 255.255.255.255 224.0.0.1 239.255.255.255 :: ff02::1 ff0e::1 ::ffff:0.0.0.0 \
            ::ffff:224.0.0.1 64:ff9b::224.0.0.1 64:ff9b::255.255.255.255 2002:e000:1::";
        for text in none.split_whitespace() {
            assert_eq!(allowed(text), [true, false, false], "{text}");
        }
    }
}
