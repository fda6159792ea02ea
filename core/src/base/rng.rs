//! The one source of randomness: a ChaCha12 stream, seeded at the root and forked for each machine.

use chacha20::ChaCha12Rng;
use core::time::Duration;
use rand_core::{Rng as _, SeedableRng as _};

/// How many words one block of the stream has.
const WORDS: usize = 16;

/// A deterministic, cryptographically strong random stream.
///
/// The driver seeds the root from the operating system; tests and the simulator seed it with a constant.
///
/// ```
/// use gosh_dl_core::base::Rng;
/// let (mut a, mut b) = (Rng::from_seed([7; 32]), Rng::from_seed([7; 32]));
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert!(a.below(10) < 10);
/// ```
pub struct Rng {
    seed: [u8; 32],
    /// The block that is made next.
    block: u64,
    /// One block is kept at a time, where `ChaCha12Rng` keeps four: every machine of every torrent at rest has a stream.
    words: [u32; WORDS],
    /// How many of the words are used up.
    used: usize,
}

impl Rng {
    /// A stream determined by `seed`.
    pub const fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, block: 0, words: [0; WORDS], used: WORDS }
    }

    /// An independent stream for a child machine.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.bytes())
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_word());
        low | u64::from(self.next_word()) << 32
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for part in bytes.chunks_mut(4) {
            part.copy_from_slice(&self.next_word().to_le_bytes()[..part.len()]);
        }
        bytes
    }

    fn next_word(&mut self) -> u32 {
        if self.used == WORDS {
            let mut stream = ChaCha12Rng::from_seed(self.seed);
            stream.set_block_pos(self.block);
            self.words = core::array::from_fn(|_| stream.next_u32());
            self.block = self.block.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The multiply-shift map: its bias is below 2^-32 for every bound that occurs here.
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// `length` varied evenly by up to a quarter either way, so that retries of many do not march in step.
    pub fn jitter(&mut self, length: Duration) -> Duration {
        let part = self.below(1 << 20) as f64 / f64::from(1 << 20);
        // Saturating, because lengths come from outside too (`Retry-After`).
        length.mul_f64(0.75).saturating_add(length.mul_f64(0.5).mul_f64(part))
    }
}

impl core::fmt::Debug for Rng {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_stream_of_chacha12_across_blocks() {
        let (mut ours, mut theirs) = (Rng::from_seed([3; 32]), ChaCha12Rng::from_seed([3; 32]));
        for _ in 0..100 {
            assert_eq!(ours.next_u64(), theirs.next_u64());
            let mut bytes = [0; 7];
            theirs.fill_bytes(&mut bytes);
            assert_eq!(ours.bytes(), bytes);
            let mut word = [0; 4];
            theirs.fill_bytes(&mut word);
            assert_eq!(ours.bytes(), word);
        }
    }
}
