//! Policy: which piece the first seed of a torrent shows to which peer (BEP 16, super-seeding).
//!
//! Such a seed looks as if it had nothing, and shows each peer a piece or two that others lack most. A peer is shown
//! another one when somebody else has got what it was shown: so those come first who pass things on, and the seed sends
//! little more than each piece once.

use crate::base::{Bitfield, Instant, PieceGrid, PieceIndex, Rng};
use core::time::Duration;
use std::collections::BTreeMap;

/// What was shown to whom. `K` names a peer.
#[derive(Debug)]
pub struct SuperSeed<K> {
    grid: PieceGrid,
    /// How often each piece was shown.
    shown: Box<[u16]>,
    peers: BTreeMap<K, Vec<Offer>>,
}

/// A piece that a peer was shown, and that nobody else has yet.
#[derive(Clone, Copy, Debug)]
struct Offer {
    piece: PieceIndex,
    /// When the peer said that it has it.
    fetched: Option<Instant>,
}

impl<K: Copy + Ord> SuperSeed<K> {
    /// Nothing was shown yet.
    pub fn new(grid: PieceGrid) -> Self {
        Self { grid, shown: vec![0; grid.pieces() as usize].into(), peers: BTreeMap::new() }
    }

    /// A peer has come that was told that there is nothing here.
    pub fn joined(&mut self, who: K) {
        self.peers.entry(who).or_default();
    }

    /// A peer is gone.
    pub fn left(&mut self, who: K) {
        self.peers.remove(&who);
    }

    /// Whether a peer takes part: those who knew before what is here do not.
    pub fn has(&self, who: K) -> bool {
        self.peers.contains_key(&who)
    }

    /// The next piece to show to a peer that has `has`, unless it was shown enough; `copies` says how many peers have a
    /// piece. Looks at no more than [`MAX_LOOK`] pieces, from a random one on.
    pub fn offer(
        &mut self,
        who: K,
        has: &Bitfield,
        copies: impl Fn(PieceIndex) -> u32,
        rng: &mut Rng,
    ) -> Option<PieceIndex> {
        let offers = self.peers.get_mut(&who).filter(|offers| offers.len() < MAX_OFFERS)?;
        let pieces = self.grid.pieces();
        let from = u32::try_from(rng.below(u64::from(pieces))).unwrap_or(0);
        let looked = (0..pieces.min(MAX_LOOK)).filter_map(|step| {
            let index = (u64::from(from) + u64::from(step)) % u64::from(pieces);
            self.grid.piece(u32::try_from(index).ok()?)
        });
        let lacks =
            looked.filter(|piece| !has.has(*piece) && offers.iter().all(|offer| offer.piece != *piece));
        let best = lacks.min_by_key(|piece| (copies(*piece), self.shown[piece.index()]))?;
        offers.push(Offer { piece: best, fetched: None });
        self.shown[best.index()] = self.shown[best.index()].saturating_add(1);
        Some(best)
    }

    /// A peer has a piece: says who has passed it on, and may be shown another one. A peer that is alone has nobody to
    /// pass it on to.
    pub fn saw(&mut self, now: Instant, who: K, piece: PieceIndex) -> Vec<K> {
        let alone = self.peers.len() < 2;
        let mut free = Vec::new();
        for (peer, offers) in &mut self.peers {
            let before = offers.len();
            offers.retain(|offer| offer.piece != piece || (*peer == who && !alone));
            if offers.len() < before {
                free.push(*peer);
            }
        }
        let own = self.peers.get_mut(&who).into_iter().flatten().filter(|offer| offer.piece == piece);
        own.for_each(|offer| offer.fetched = Some(now));
        free
    }

    /// Peers whose pieces nobody has fetched from them for long: there may be nobody who could. They are shown others.
    pub fn wait_no_longer(&mut self, now: Instant) -> Vec<K> {
        let mut free = Vec::new();
        for (peer, offers) in &mut self.peers {
            let before = offers.len();
            offers.retain(|offer| offer.fetched.is_none_or(|at| now - at < PATIENCE));
            if offers.len() < before {
                free.push(*peer);
            }
        }
        free
    }
}

/// Pieces that a peer is shown at once, so that it need not wait between two.
const MAX_OFFERS: usize = 2;
/// Pieces that one choice looks at.
pub const MAX_LOOK: u32 = 4096;
/// How long a peer may keep a piece for itself before it is shown another.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    struct Game {
        seed: SuperSeed<char>,
        has: BTreeMap<char, Bitfield>,
        rng: Rng,
    }

    impl Game {
        fn new(peers: &str) -> Self {
            let mut seed = SuperSeed::new(PieceGrid::new(1, 8).unwrap());
            peers.chars().for_each(|peer| seed.joined(peer));
            let has = peers.chars().map(|peer| (peer, Bitfield::new(8))).collect();
            Self { seed, has, rng: Rng::from_seed([1; 32]) }
        }

        fn offer(&mut self, who: char) -> Option<PieceIndex> {
            let all = &self.has;
            let copies = |piece| all.values().filter(|has| has.has(piece)).count() as u32;
            self.seed.offer(who, &all[&who], copies, &mut self.rng)
        }

        fn gets(&mut self, now: Instant, who: char, piece: PieceIndex) -> Vec<char> {
            self.has.get_mut(&who).unwrap().insert(piece);
            self.seed.saw(now, who, piece)
        }
    }

    #[test]
    fn peers_are_shown_different_pieces_and_no_more_than_two() {
        let mut game = Game::new("abcd");
        let mut shown: Vec<PieceIndex> = "aabbccdd".chars().filter_map(|peer| game.offer(peer)).collect();
        shown.sort_unstable();
        shown.dedup();
        assert_eq!(shown.len(), 8, "every piece goes to one of them");
        assert!("abcd".chars().all(|peer| game.offer(peer).is_none()));
    }

    #[test]
    fn who_passes_a_piece_on_is_shown_another() {
        let mut game = Game::new("ab");
        let piece = game.offer('a').unwrap();
        game.offer('a').unwrap();
        assert!(game.gets(at(1), 'a', piece).is_empty(), "it has it for itself");
        assert_eq!(game.offer('a'), None);
        assert_eq!(game.gets(at(2), 'b', piece), ['a']);
        assert!(game.offer('a').is_some_and(|next| next != piece));
    }

    #[test]
    fn nobody_waits_for_ever_for_somebody_to_pass_it_on_to() {
        let mut game = Game::new("ab");
        let piece = game.offer('a').unwrap();
        game.gets(at(1), 'a', piece);
        assert!(game.seed.wait_no_longer(at(30)).is_empty());
        assert_eq!(game.seed.wait_no_longer(at(31)), ['a']);
        let mut alone = Game::new("a");
        let piece = alone.offer('a').unwrap();
        assert_eq!(alone.gets(at(1), 'a', piece), ['a']);
    }

    #[test]
    fn peer_that_has_everything_or_came_before_is_shown_nothing() {
        let mut game = Game::new("a");
        game.has.insert('a', Bitfield::full(8));
        assert_eq!(game.offer('a'), None);
        game.has.insert('b', Bitfield::new(8));
        assert_eq!(game.offer('b'), None);
        assert!(!game.seed.has('b'));
        game.seed.left('a');
        assert_eq!(game.offer('a'), None);
    }
}
