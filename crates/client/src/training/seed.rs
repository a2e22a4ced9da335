//! The randomness of a local training.

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What shuffles and whatever else is random in one local training follow from. It is this hospital's alone: who knows it can
/// have a training repeated, and subtract what repeats itself (`TRAIN-07`).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct LocalSeed(u64);

impl LocalSeed {
    /// A fresh one.
    pub(crate) fn generate(random: &mut impl CryptoRng) -> Self {
        Self(random.next_u64())
    }

    /// What the trainer takes.
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
