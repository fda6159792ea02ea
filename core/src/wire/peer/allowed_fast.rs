//! Codec: which pieces a peer is given although it is choked, computed from its address (BEP 6).

use crate::base::InfoHash;
use core::net::Ipv4Addr;
use sha1::{Digest as _, Sha1};

/// The first `count` pieces, of `pieces`, of the allowed fast set of the peer at `ip`: the same whoever computes it.
/// Fewer where the torrent has not many pieces. (There is none for IPv6 addresses.)
///
/// ```
/// use gosh_dl_core::base::InfoHash;
/// use gosh_dl_core::wire::peer::allowed_fast_set;
///
/// let set = allowed_fast_set(InfoHash([0xaa; 20]), [80, 4, 4, 200].into(), 1313, 7);
/// assert_eq!(set, [1059, 431, 808, 1217, 287, 376, 1188]);
/// ```
pub fn allowed_fast_set(info_hash: InfoHash, ip: Ipv4Addr, pieces: u32, count: usize) -> Vec<u32> {
    let mut set = Vec::new();
    let count = count.min(pieces as usize);
    let [a, b, c, _] = ip.octets();
    let mut hash: [u8; 20] =
        Sha1::new().chain_update([a, b, c, 0]).chain_update(info_hash.0).finalize().into();
    for _ in 0..MAX_ROUNDS {
        for number in hash.as_chunks::<4>().0 {
            let index = u32::from_be_bytes(*number).checked_rem(pieces).unwrap_or(0);
            if set.len() < count && !set.contains(&index) {
                set.push(index);
            }
        }
        if set.len() >= count {
            break;
        }
        hash = Sha1::digest(hash).into();
    }
    set
}

/// More rounds than it takes to meet nearly every piece of a torrent of a few: the last of them may never come.
const MAX_ROUNDS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_pieces_are_the_same_and_some_more() {
        let set = allowed_fast_set(InfoHash([0xaa; 20]), [80, 4, 4, 200].into(), 1313, 9);
        assert_eq!(set, [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]);
        assert_eq!(set, allowed_fast_set(InfoHash([0xaa; 20]), [80, 4, 4, 1].into(), 1313, 9));
    }

    #[test]
    fn a_small_torrent_has_a_small_set() {
        for pieces in 0..20 {
            let set = allowed_fast_set(InfoHash([7; 20]), [1, 2, 3, 4].into(), pieces, 10);
            assert!(set.len() <= 10.min(pieces as usize) && set.iter().all(|index| *index < pieces));
        }
        assert_eq!(allowed_fast_set(InfoHash([7; 20]), [1, 2, 3, 4].into(), 1, 10), [0]);
    }
}
