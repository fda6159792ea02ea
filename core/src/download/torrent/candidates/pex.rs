//! Policy: what is told to which peer about other peers (BEP 11).
//!
//! One journal of who came and went is kept for all; each peer has a [`PexCursor`] into it, so that a peer costs 16
//! bytes however many others there are.

use crate::base::Instant;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Who is connected, and what changed of late.
#[derive(Debug, Default)]
pub struct PexJournal {
    connected: BTreeMap<SocketAddr, u8>,
    changes: VecDeque<SocketAddr>,
    /// The number of the first of `changes`.
    first: u64,
}

/// What one peer was told.
#[derive(Clone, Copy, Debug, Default)]
pub struct PexCursor {
    seen: Option<u64>,
    next_at: Instant,
}

/// What one message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PexNews {
    /// Those who came, with their flags (BEP 11: 0x02 seed, 0x10 reachable, ..).
    pub added: Vec<(SocketAddr, u8)>,
    /// Those who went.
    pub dropped: Vec<SocketAddr>,
}

impl PexJournal {
    /// Nobody is connected.
    pub fn new() -> Self {
        Self::default()
    }

    /// A peer is connected; the address is the one at which it listens.
    pub fn connected(&mut self, address: SocketAddr, flags: u8) {
        if self.connected.len() < MAX_CONNECTED && self.connected.insert(address, flags).is_none() {
            self.changed(address);
        }
    }

    /// A peer is gone.
    pub fn dropped(&mut self, address: SocketAddr) {
        if self.connected.remove(&address).is_some() {
            self.changed(address);
        }
    }

    /// What the peer at `address` is to be told now; `None` if it was told within the last minute or there is nothing.
    pub fn news(&self, now: Instant, cursor: &mut PexCursor, address: SocketAddr) -> Option<PexNews> {
        if now < cursor.next_at {
            return None;
        }
        let end = self.first + self.changes.len() as u64;
        let mut news = PexNews::default();
        let mut upto = end;
        match cursor.seen.filter(|seen| *seen >= self.first) {
            Some(seen) => upto = self.since(seen, address, &mut news),
            None => {
                let others = self.connected.iter().filter(|(other, _)| **other != address);
                news.added.extend(others.take(MAX_NEWS).map(|(other, flags)| (*other, *flags)));
            }
        }
        cursor.seen = Some(upto);
        if news == PexNews::default() {
            return None;
        }
        cursor.next_at = now + INTERVAL;
        Some(news)
    }

    /// Tells the changes from `seen` on, as far as they fit; says how far that was.
    fn since(&self, seen: u64, address: SocketAddr, news: &mut PexNews) -> u64 {
        let skip = usize::try_from(seen - self.first).unwrap_or(usize::MAX);
        let mut at = seen;
        for other in self.changes.iter().skip(skip) {
            if news.added.len() == MAX_NEWS || news.dropped.len() == MAX_NEWS {
                break;
            }
            at += 1;
            let told = news.dropped.contains(other) || news.added.iter().any(|(told, _)| told == other);
            match self.connected.get(other) {
                _ if told || *other == address => {}
                Some(flags) => news.added.push((*other, *flags)),
                None => news.dropped.push(*other),
            }
        }
        at
    }

    fn changed(&mut self, address: SocketAddr) {
        self.changes.push_back(address);
        if self.changes.len() > MAX_CHANGES {
            self.changes.pop_front();
            self.first += 1;
        }
    }
}

/// BEP 11: "clients must batch updates to send no more than 1 PEX message per minute".
pub const INTERVAL: Duration = Duration::from_secs(60);
/// BEP 11: no more than 50 added and 50 dropped in one message.
const MAX_NEWS: usize = 50;
/// Whoever heard nothing for longer is told anew who is there.
const MAX_CHANGES: usize = 256;
/// As many as a torrent can have connections.
const MAX_CONNECTED: usize = 5000;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn news(added: &[u16], dropped: &[u16]) -> Option<PexNews> {
        Some(PexNews {
            added: added.iter().map(|number| (peer(*number), 0)).collect(),
            dropped: dropped.iter().map(|number| peer(*number)).collect(),
        })
    }

    #[test]
    fn peer_is_told_of_all_others_and_then_of_changes_once_a_minute() {
        let mut journal = PexJournal::new();
        (1..=3).for_each(|number| journal.connected(peer(number), 0));
        let mut cursor = PexCursor::default();
        assert_eq!(journal.news(at(0), &mut cursor, peer(1)), news(&[2, 3], &[]));
        journal.connected(peer(4), 0);
        journal.dropped(peer(2));
        assert_eq!(journal.news(at(59), &mut cursor, peer(1)), None);
        assert_eq!(journal.news(at(60), &mut cursor, peer(1)), news(&[4], &[2]));
        assert_eq!(journal.news(at(120), &mut cursor, peer(1)), None, "nothing changed");
        journal.connected(peer(5), 0);
        assert_eq!(journal.news(at(121), &mut cursor, peer(1)), news(&[5], &[]));
    }

    #[test]
    fn message_names_fifty_at_most_and_the_next_goes_on() {
        let mut journal = PexJournal::new();
        let mut cursor = PexCursor::default();
        assert_eq!(journal.news(at(0), &mut cursor, peer(1)), None);
        (1..=70).for_each(|number| journal.connected(peer(number), 0));
        let first = journal.news(at(60), &mut cursor, peer(1)).unwrap();
        let second = journal.news(at(120), &mut cursor, peer(1)).unwrap();
        assert_eq!((first.added.len(), second.added.len()), (50, 19));
    }

    #[test]
    fn peer_that_missed_changes_is_told_anew_who_is_there() {
        let mut journal = PexJournal::new();
        let mut cursor = PexCursor::default();
        journal.connected(peer(9), 0);
        assert_eq!(journal.news(at(0), &mut cursor, peer(1)), news(&[9], &[]));
        for _ in 0..200 {
            journal.connected(peer(7), 0);
            journal.dropped(peer(7));
        }
        assert!(journal.changes.len() <= MAX_CHANGES);
        assert_eq!(journal.news(at(60), &mut cursor, peer(1)), news(&[9], &[]));
    }
}
