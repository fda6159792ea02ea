//! The one source of randomness: a ChaCha12 stream, seeded at the root and forked for each machine.

use chacha20::ChaCha12Rng;
use core::time::Duration;
use rand_core::{Rng as _, SeedableRng as _};

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
pub struct Rng(ChaCha12Rng);

impl Rng {
    /// A stream determined by `seed`.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// An independent stream for a child machine.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.bytes())
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
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
