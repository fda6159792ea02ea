//! Policy: who is asked for which part of the info dictionary (BEP 9), until it is here and has the right hash.
//!
//! All peers that have it are asked together. Where the whole turns out wrong, one peer after the other is asked for all
//! of it, so that a liar is known by its work. How long it is nobody knows but the peers, and they may differ: what comes
//! from those who name one length is kept apart from the rest, and whoever refuses or does not answer is passed over for a
//! while, so that none of them is in the way of one that has it.

use crate::base::Instant;
use crate::wire::peer::METADATA_PIECE_LEN;
use bytes::{Bytes, BytesMut};
use core::time::Duration;

/// The info dictionary as far as it has come; `K` names a peer.
#[derive(Debug)]
pub struct MetadataFetch<K> {
    /// One for each length that peers named.
    versions: Vec<Version<K>>,
    /// Who is not asked, and until when.
    passed_over: Vec<(K, Instant)>,
}

/// What came from peers that say it is so long.
#[derive(Debug)]
struct Version<K> {
    size: u32,
    parts: Vec<Part<K>>,
    /// After a wrong whole: who is asked for everything.
    alone: Option<Option<K>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part<K> {
    /// Who was asked in vain may still answer.
    Missing {
        late: Option<K>,
    },
    Asked {
        of: K,
        at: Instant,
    },
    Here {
        by: K,
        bytes: Bytes,
    },
}

impl<K: Copy + PartialEq> MetadataFetch<K> {
    /// Nothing has come yet.
    pub const fn new() -> Self {
        Self { versions: Vec::new(), passed_over: Vec::new() }
    }

    /// Which part a peer is asked for that has `size` bytes in all.
    pub fn next(&mut self, now: Instant, peer: K, size: u32) -> Option<u32> {
        self.give_up_waiting(now);
        if size == 0 || size > MAX_METADATA || self.passed_over.iter().any(|(who, _)| *who == peer) {
            return None;
        }
        let version = self.version(size)?;
        if let Some(sole) = &mut version.alone
            && *sole.get_or_insert(peer) != peer
        {
            return None;
        }
        let asked = version.parts.iter().filter(|part| part.is_asked_of(peer));
        if asked.count() >= MAX_ASKED {
            return None;
        }
        let index = version.parts.iter().position(|part| matches!(part, Part::Missing { .. }))?;
        version.parts[index] = Part::Asked { of: peer, at: now };
        u32::try_from(index).ok()
    }

    /// A part arrived. Returns the whole once all are here: its hash is for the caller to look at.
    pub fn received(&mut self, peer: K, part: u32, bytes: Bytes) -> Option<Bytes> {
        let waits = |version: &&mut Version<K>| match version.parts.get(part as usize) {
            Some(Part::Asked { of, .. }) => *of == peer,
            Some(Part::Missing { late }) => *late == Some(peer),
            _ => false,
        };
        let version = self.versions.iter_mut().find(waits)?;
        let start = part.checked_mul(METADATA_PIECE_LEN)?;
        let expected = version.size.checked_sub(start)?.min(METADATA_PIECE_LEN);
        if bytes.len() != expected as usize {
            return None;
        }
        *version.parts.get_mut(part as usize)? = Part::Here { by: peer, bytes };
        let mut whole = BytesMut::with_capacity(version.size as usize);
        for part in &version.parts {
            let Part::Here { bytes, .. } = part else { return None };
            whole.extend_from_slice(bytes);
        }
        Some(whole.freeze())
    }

    /// A peer does not give a part: others are asked before it is asked again.
    pub fn refused(&mut self, now: Instant, peer: K) {
        self.passed_over.retain(|(who, _)| *who != peer);
        self.passed_over.push((peer, now + REST));
        self.versions.iter_mut().for_each(|version| version.withdraw(peer, Some(peer)));
    }

    /// A peer has gone.
    pub fn lost(&mut self, peer: K) {
        self.passed_over.retain(|(who, _)| *who != peer);
        self.versions.iter_mut().for_each(|version| version.withdraw(peer, None));
    }

    /// The whole had a wrong hash: begins anew. Returns the peer whose work it was, where it was one alone.
    pub fn wrong(&mut self) -> Option<K> {
        let version = self.versions.iter_mut().find(|version| version.parts.iter().all(Part::is_here))?;
        let mut by = version.parts.iter().filter_map(|part| match part {
            Part::Here { by, .. } => Some(*by),
            _ => None,
        });
        let first = by.next()?;
        let sole = by.all(|other| other == first).then_some(first);
        version.restart();
        sole
    }

    /// When the next part may be asked for again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let parts = self.versions.iter().flat_map(|version| &version.parts);
        let asked = parts.filter_map(|part| match part {
            Part::Asked { at, .. } => Some(*at + PATIENCE),
            _ => None,
        });
        asked.chain(self.passed_over.iter().map(|(_, until)| *until)).min()
    }

    /// What came from peers that say it is `size` bytes long; `None` while others keep all the places.
    fn version(&mut self, size: u32) -> Option<&mut Version<K>> {
        let known = self.versions.iter().position(|version| version.size == size);
        let idle =
            |version: &Version<K>| !version.parts.iter().any(|part| matches!(part, Part::Asked { .. }));
        let at = match known {
            Some(at) => at,
            None if self.versions.len() < MAX_VERSIONS => {
                self.versions.push(Version::new(size));
                self.versions.len() - 1
            }
            None => {
                let at = self.versions.iter().position(idle)?;
                self.versions[at] = Version::new(size);
                at
            }
        };
        self.versions.get_mut(at)
    }

    /// Whoever has not answered in time is passed over; and whoever was, for long enough, is not any more.
    fn give_up_waiting(&mut self, now: Instant) {
        self.passed_over.retain(|(_, until)| *until > now);
        let parts = self.versions.iter().flat_map(|version| &version.parts);
        let late = parts.filter_map(|part| match part {
            Part::Asked { of, at } if *at + PATIENCE <= now => Some(*of),
            _ => None,
        });
        for peer in late.collect::<Vec<_>>() {
            self.refused(now, peer);
        }
    }
}

impl<K: Copy + PartialEq> Version<K> {
    fn new(size: u32) -> Self {
        let parts = vec![Part::Missing { late: None }; size.div_ceil(METADATA_PIECE_LEN) as usize];
        Self { size, parts, alone: None }
    }

    /// Nothing is expected of a peer any more, unless it is `late`.
    fn withdraw(&mut self, peer: K, late: Option<K>) {
        for part in &mut self.parts {
            if part.is_asked_of(peer) || *part == (Part::Missing { late: Some(peer) }) {
                *part = Part::Missing { late };
            }
        }
        if self.alone == Some(Some(peer)) {
            self.restart();
        }
    }

    fn restart(&mut self) {
        *self = Self { alone: Some(None), ..Self::new(self.size) };
    }
}

impl<K: Copy + PartialEq> Part<K> {
    fn is_asked_of(&self, peer: K) -> bool {
        matches!(self, Self::Asked { of, .. } if *of == peer)
    }

    fn is_here(&self) -> bool {
        matches!(self, Self::Here { .. })
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
/// So long is nobody asked again who refused or did not answer.
const REST: Duration = Duration::from_secs(60);
/// How many lengths are tried at the same time: one is right, and each may cost [`MAX_METADATA`] of memory.
const MAX_VERSIONS: usize = 4;

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
    fn peer_that_refuses_rests_while_others_are_asked_and_late_answers_count() {
        let mut fetch = MetadataFetch::new();
        let now = Instant::ZERO;
        assert_eq!(fetch.next(now, 'a', 10), Some(0));
        fetch.refused(now, 'a');
        assert_eq!(fetch.next(now, 'a', 10), None);
        assert_eq!(fetch.poll_timeout(), Some(now + REST));
        assert_eq!(fetch.next(now + REST, 'a', 10), Some(0), "there is nobody else");
        assert_eq!(fetch.next(now + REST + PATIENCE, 'a', 10), None, "it does not answer");
        assert!(fetch.received('a', 0, Bytes::from_static(&[0; 10])).is_some());
    }

    #[test]
    fn lengths_that_peers_invent_keep_nobody_from_the_right_one() {
        let mut fetch = MetadataFetch::new();
        let now = Instant::ZERO;
        for (peer, size) in [('a', 1), ('b', 2), ('c', 3), ('d', 4)] {
            assert_eq!(fetch.next(now, peer, size), Some(0));
        }
        assert_eq!(fetch.next(now, 'e', SIZE), None, "so many are tried");
        for asked in 0..3 {
            assert_eq!(fetch.next(now + PATIENCE, 'e', SIZE), Some(asked), "they did not answer");
        }
        assert_eq!(fetch.received('a', 0, Bytes::from_static(&[0])), None, "the first gave its place away");
        assert!(fetch.received('b', 0, Bytes::from_static(&[0; 2])).is_some());
        assert_eq!(fetch.wrong(), Some('b'));
        (0..2).for_each(|asked| assert_eq!(fetch.received('e', asked, part(asked)), None));
        assert!(fetch.received('e', 2, part(2)).is_some(), "what others said is kept apart");
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
