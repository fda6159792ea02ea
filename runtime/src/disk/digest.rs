//! Digests in progress.

use gosh_dl_core::base::disk::{Digest, HashAlgorithm};
use sha1::digest::Digest as _;

/// A digest that has taken some of its input.
pub(super) enum State {
    Md5(Box<md5::Md5>),
    Sha1(Box<sha1::Sha1>),
    Sha256(Box<sha2::Sha256>),
    Sha512(Box<sha2::Sha512>),
    /// An algorithm that this crate does not know yet.
    Unknown,
}

impl State {
    pub(super) fn new(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Md5 => Self::Md5(Box::default()),
            HashAlgorithm::Sha1 => Self::Sha1(Box::default()),
            HashAlgorithm::Sha256 => Self::Sha256(Box::default()),
            HashAlgorithm::Sha512 => Self::Sha512(Box::default()),
            _ => Self::Unknown,
        }
    }

    /// Feeds `bytes`, which may be cold: the next step is touched before it is needed.
    ///
    /// The hardware's own read-ahead does not keep up with SHA instructions; without the touch a sweep over cold
    /// memory runs at 0.6 of the speed.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let mut steps = bytes.chunks(STEP).peekable();
        while let Some(step) = steps.next() {
            if let Some(next) = steps.peek() {
                std::hint::black_box(next.iter().step_by(CACHE_LINE).fold(0, |sum: u8, byte| sum ^ byte));
            }
            match self {
                Self::Md5(state) => state.update(step),
                Self::Sha1(state) => state.update(step),
                Self::Sha256(state) => state.update(step),
                Self::Sha512(state) => state.update(step),
                Self::Unknown => {}
            }
        }
    }

    /// The digest of all that was fed; the state starts afresh.
    pub(super) fn finish(&mut self) -> Option<Digest> {
        match self {
            Self::Md5(state) => Some(Digest::new(&state.finalize_reset())),
            Self::Sha1(state) => Some(Digest::new(&state.finalize_reset())),
            Self::Sha256(state) => Some(Digest::new(&state.finalize_reset())),
            Self::Sha512(state) => Some(Digest::new(&state.finalize_reset())),
            Self::Unknown => None,
        }
    }
}

const STEP: usize = 512;
const CACHE_LINE: usize = 64;
