//! Policy: peers that may have sent wrong data.
//!
//! A piece that was wrong and came from one peer proves it guilty. One that came from several makes all of them
//! suspects: each must bring whole pieces alone until one is right (which clears it) or wrong (which proves it). Whoever
//! is suspected again has to bring twice as many, so that lying now and then does not pay.

/// Peers on parole.
#[derive(Debug)]
pub(super) struct Suspects<K> {
    peers: Vec<Suspect<K>>,
}

#[derive(Debug)]
struct Suspect<K> {
    who: K,
    parole: Parole,
}

/// What a suspect has to do, wherever it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parole {
    /// Pieces that it has yet to bring.
    owes: u32,
    /// How often it was suspected.
    times: u32,
}

impl Parole {
    /// That of who is suspected for the first time.
    pub const FIRST: Self = Self { owes: 1, times: 1 };

    /// That of who is suspected again.
    fn again(self) -> Self {
        Self { owes: 1 << self.times.min(MAX_DOUBLINGS), times: self.times.saturating_add(1) }
    }
}

impl<K: Copy + Ord> Suspects<K> {
    pub(super) fn new() -> Self {
        Self { peers: Vec::new() }
    }

    /// Whether a peer has to work alone.
    pub(super) fn has(&self, who: K) -> bool {
        self.peers.iter().any(|suspect| suspect.who == who && suspect.parole.owes > 0)
    }

    /// A peer took part in a piece that is wrong.
    pub(super) fn add(&mut self, who: K) {
        self.set(who, self.parole(who).map_or(Parole::FIRST, Parole::again));
    }

    /// What a peer has to do, if it ever was a suspect.
    pub(super) fn parole(&self, who: K) -> Option<Parole> {
        self.peers.iter().find(|suspect| suspect.who == who).map(|suspect| suspect.parole)
    }

    /// A peer is a suspect, and has this to do.
    pub(super) fn set(&mut self, who: K, parole: Parole) {
        if let Some(suspect) = self.peers.iter_mut().find(|suspect| suspect.who == who) {
            suspect.parole = parole;
            return;
        }
        if self.peers.len() == MAX_SUSPECTS {
            self.peers.remove(0);
        }
        self.peers.push(Suspect { who, parole });
    }

    /// A peer brought a whole piece alone, and it is right.
    pub(super) fn clear(&mut self, who: K) {
        if let Some(suspect) = self.peers.iter_mut().find(|suspect| suspect.who == who) {
            suspect.parole.owes = suspect.parole.owes.saturating_sub(1);
        }
    }

    /// A peer is gone.
    pub(super) fn forget(&mut self, who: K) {
        self.peers.retain(|suspect| suspect.who != who);
    }
}

/// More peers than share in wrong pieces before the guilty are found; the oldest is let go.
const MAX_SUSPECTS: usize = 256;
/// 64 pieces alone are proof enough.
const MAX_DOUBLINGS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suspicion_takes_twice_as_many_pieces_to_clear() {
        let mut suspects = Suspects::new();
        for pieces in [1, 2, 4] {
            suspects.add(1);
            for _ in 0..pieces {
                assert!(suspects.has(1));
                suspects.clear(1);
            }
            assert!(!suspects.has(1));
        }
    }

    #[test]
    fn suspects_are_bounded() {
        let mut suspects = Suspects::new();
        (0..1000).for_each(|who| suspects.add(who));
        assert_eq!(suspects.peers.len(), MAX_SUSPECTS);
        assert!(suspects.has(999) && !suspects.has(1));
        suspects.forget(999);
        assert!(!suspects.has(999));
    }
}
