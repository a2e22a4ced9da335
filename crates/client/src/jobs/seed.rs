//! The randomness of a local training.

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The seed of shuffles and of everything else that is random in one local training. It never leaves this hospital: a party
/// that knew it could have the same training repeated, and subtract what both results share (`TRAIN-07`).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct LocalSeed(u64);

impl LocalSeed {
    /// Draws a fresh seed.
    pub(crate) fn generate(random: &mut impl CryptoRng) -> Self {
        Self(random.next_u64())
    }

    /// The seed as the trainer takes it.
    pub(crate) fn value(&self) -> u64 {
        self.0
    }
}

/// It is secret, so it is never printed.
impl std::fmt::Debug for LocalSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalSeed(…)")
    }
}
