//! Policy: who is asked for which part of the info dictionary (BEP 9), until it is here and has the right hash.
//!
//! All peers that have it are asked together. Where the whole turns out wrong, one peer after the other is asked for all
//! of it, so that a liar is known by its work.

use crate::base::Instant;
use crate::wire::peer::METADATA_PIECE_LEN;
use bytes::{Bytes, BytesMut};
use core::time::Duration;

/// The info dictionary as far as it has come; `K` names a peer.
#[derive(Debug)]
pub struct MetadataFetch<K> {
    /// How long it is, as the first peer said that was asked.
    size: Option<u32>,
    parts: Vec<Part<K>>,
    /// After a wrong whole: who is asked for everything.
    alone: Option<Option<K>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part<K> {
    Missing,
    Asked { of: K, at: Instant },
    Here { by: K, bytes: Bytes },
}

impl<K: Copy + PartialEq> MetadataFetch<K> {
    /// Nothing has come yet.
    pub const fn new() -> Self {
        Self { size: None, parts: Vec::new(), alone: None }
    }

    /// Which part a peer is asked for that has `size` bytes in all.
    pub fn next(&mut self, now: Instant, peer: K, size: u32) -> Option<u32> {
        if size == 0 || size > MAX_METADATA {
            return None;
        }
        if let Some(sole) = &mut self.alone
            && *sole.get_or_insert(peer) != peer
        {
            return None;
        }
        if *self.size.get_or_insert(size) != size {
            return None;
        }
        self.parts.resize(size.div_ceil(METADATA_PIECE_LEN) as usize, Part::Missing);
        let free = |part: &Part<K>| match part {
            Part::Missing => true,
            Part::Asked { at, .. } => *at + PATIENCE <= now,
            Part::Here { .. } => false,
        };
        let asked = self.parts.iter().filter(|part| matches!(part, Part::Asked { of, .. } if *of == peer));
        if asked.count() >= MAX_ASKED {
            return None;
        }
        let index = self.parts.iter().position(free)?;
        self.parts[index] = Part::Asked { of: peer, at: now };
        u32::try_from(index).ok()
    }

    /// A part arrived. Returns the whole once all are here: its hash is for the caller to look at.
    pub fn received(&mut self, peer: K, part: u32, bytes: Bytes) -> Option<Bytes> {
        let size = self.size?;
        let start = part.checked_mul(METADATA_PIECE_LEN)?;
        let expected = size.checked_sub(start)?.min(METADATA_PIECE_LEN);
        let slot = self.parts.get_mut(part as usize)?;
        let asked = matches!(slot, Part::Asked { of, .. } if *of == peer);
        if !asked || bytes.len() != expected as usize {
            return None;
        }
        *slot = Part::Here { by: peer, bytes };
        let mut whole = BytesMut::with_capacity(size as usize);
        for part in &self.parts {
            let Part::Here { bytes, .. } = part else { return None };
            whole.extend_from_slice(bytes);
        }
        Some(whole.freeze())
    }

    /// A peer does not give a part, or has gone.
    pub fn lost(&mut self, peer: K) {
        for part in &mut self.parts {
            if matches!(part, Part::Asked { of, .. } if *of == peer) {
                *part = Part::Missing;
            }
        }
        if self.alone == Some(Some(peer)) {
            self.restart();
        }
    }

    /// The whole had a wrong hash: begins anew. Returns the peer whose work it was, where it was one alone.
    pub fn wrong(&mut self) -> Option<K> {
        let mut by = self.parts.iter().filter_map(|part| match part {
            Part::Here { by, .. } => Some(*by),
            _ => None,
        });
        let first = by.next()?;
        let sole = by.all(|other| other == first).then_some(first);
        self.restart();
        sole
    }

    /// When the next part may be asked for again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let asked = self.parts.iter().filter_map(|part| match part {
            Part::Asked { at, .. } => Some(*at + PATIENCE),
            _ => None,
        });
        asked.min()
    }

    fn restart(&mut self) {
        *self = Self { size: None, parts: Vec::new(), alone: Some(None) };
    }
}

impl<K: Copy + PartialEq> Default for MetadataFetch<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// The longest info dictionary that is taken, in bytes: 800,000 pieces.
pub const MAX_METADATA: u32 = 16 << 20;
/// Parts that one peer is asked for at once.
const MAX_ASKED: usize = 4;
/// After this time another peer is asked for the same.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = METADATA_PIECE_LEN * 2 + 5;

    fn part(number: u32) -> Bytes {
        let len = (SIZE - number * METADATA_PIECE_LEN).min(METADATA_PIECE_LEN);
        Bytes::from(vec![number as u8; len as usize])
    }

    #[test]
    fn parts_come_from_several_peers() {
        let mut fetch = MetadataFetch::new();
        let now = Instant::ZERO;
        assert_eq!(fetch.next(now, 'a', SIZE), Some(0));
        assert_eq!(fetch.next(now, 'b', SIZE), Some(1));
        assert_eq!(fetch.next(now, 'c', SIZE + 1), None, "it has something else");
        assert_eq!(fetch.next(now, 'a', SIZE), Some(2));
        assert_eq!(fetch.next(now, 'a', SIZE), None);
        assert_eq!(fetch.received('b', 0, part(0)), None, "it was not asked for that");
        assert_eq!(fetch.received('b', 1, part(1)), None);
        assert_eq!(fetch.received('a', 2, part(2)), None);
        let whole = fetch.received('a', 0, part(0)).unwrap();
        assert_eq!(whole, [part(0), part(1), part(2)].concat());
    }

    #[test]
    fn silent_peer_is_passed_over() {
        let mut fetch = MetadataFetch::new();
        let now = Instant::ZERO;
        assert_eq!(fetch.next(now, 'a', 10), Some(0));
        assert_eq!(fetch.next(now, 'b', 10), None);
        assert_eq!(fetch.poll_timeout(), Some(now + PATIENCE));
        assert_eq!(fetch.next(now + PATIENCE, 'b', 10), Some(0));
        fetch.lost('b');
        assert_eq!(fetch.next(now + PATIENCE, 'c', 10), Some(0));
    }

    #[test]
    fn liar_is_found_by_asking_one_peer_for_all() {
        let mut fetch = MetadataFetch::new();
        let now = Instant::ZERO;
        for peer in ['a', 'b', 'a'] {
            let asked = fetch.next(now, peer, SIZE).unwrap();
            fetch.received(peer, asked, part(asked));
        }
        assert_eq!(fetch.wrong(), None, "either may be the liar");
        for _ in 0..3 {
            let asked = fetch.next(now, 'b', SIZE).unwrap();
            fetch.received('b', asked, part(asked));
            assert_eq!(fetch.next(now, 'a', SIZE), None, "one at a time");
        }
        assert_eq!(fetch.wrong(), Some('b'));
        assert_eq!(fetch.next(now, 'a', SIZE), Some(0));
        fetch.lost('a');
        assert_eq!(fetch.next(now, 'c', SIZE), Some(0), "who is asked alone may go");
    }

    #[test]
    fn sizes_that_nobody_has_are_not_asked_for() {
        let mut fetch = MetadataFetch::new();
        assert_eq!(fetch.next(Instant::ZERO, 'a', 0), None);
        assert_eq!(fetch.next(Instant::ZERO, 'a', MAX_METADATA + 1), None);
    }
}
