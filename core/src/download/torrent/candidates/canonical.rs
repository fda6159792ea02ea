//! Codec: which of two peers is to be preferred, so that both ends of every connection agree (BEP 40).

use core::net::IpAddr;

/// The priority of a connection between two addresses; a higher one is better. 0 where one is IPv4 and the other IPv6.
/// Addresses that are equal should be compared by their ports, which is not done here: peers behind one address are
/// rare.
pub fn priority(own: IpAddr, peer: IpAddr) -> u32 {
    match (own, peer) {
        (IpAddr::V4(own), IpAddr::V4(peer)) => {
            masked(own.octets(), peer.octets(), &[0xff, 0xff, 0x55, 0x55], 2)
        }
        (IpAddr::V6(own), IpAddr::V6(peer)) => {
            let mut mask = [0x55; 16];
            mask[..6].fill(0xff);
            masked(own.octets(), peer.octets(), &mask, 6)
        }
        _ => 0,
    }
}

/// BEP 40: addresses in one network are masked less, bytes from `whole` on: one byte more for each that is equal.
fn masked<const N: usize>(a: [u8; N], b: [u8; N], mask: &[u8; N], whole: usize) -> u32 {
    let equal = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let mask: [u8; N] =
        core::array::from_fn(
            |at| if equal >= whole && at < (equal + 1).max(whole + 1) { 0xff } else { mask[at] },
        );
    let a: [u8; N] = core::array::from_fn(|at| a[at] & mask[at]);
    let b: [u8; N] = core::array::from_fn(|at| b[at] & mask[at]);
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    crc32c(low.into_iter().chain(high))
}

/// CRC-32C (RFC 3720, appendix B.4).
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let step = |crc: u32| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 };
    !bytes.fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_specification_hold() {
        let of = |a: &str, b: &str| priority(a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(of("123.213.32.10", "98.76.54.32"), 0xec2d_7224);
        assert_eq!(of("123.213.32.10", "123.213.32.234"), 0x9956_8189);
        assert_eq!(of("98.76.54.32", "123.213.32.10"), 0xec2d_7224);
        assert_eq!(of("98.76.54.32", "::1"), 0);
        assert_ne!(of("2001:db8::1", "2001:db9::1"), of("2001:db8::1", "2001:dba::1"));
    }

    #[test]
    fn check_value_of_the_polynomial_holds() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
    }
}
