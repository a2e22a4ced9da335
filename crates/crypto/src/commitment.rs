//! What an announcement commits to: each seed by itself, and each share of each secret as a leaf of a Merkle tree.
//!
//! A commitment is a hash of a uniform 252-bit value with the place that it is for, which hides the value and fits no
//! other place (`MASK-08`).

use cloister_params::id::{BlockId, Digest, PartyId, Round};

use crate::hash::{Domain, digest};
use crate::merkle;

/// The round that commitments are bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DealingContext {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// The dealer.
    pub dealer: PartyId,
}

/// Which of a dealer's secrets is shared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SharedSecret {
    /// Its mask key, `e[u]`.
    MaskKey,
    /// Its seed for one block, `σ[u,b]`.
    Seed(BlockId),
}

impl SharedSecret {
    /// Its place in a custodian's share vector: the mask key first, then the blocks.
    pub fn index(self) -> usize {
        match self {
            Self::MaskKey => 0,
            Self::Seed(BlockId(block)) => block as usize + 1,
        }
    }

    /// The secrets of a plan with so many blocks, in the order of a share vector.
    pub fn all(blocks: usize) -> impl Iterator<Item = Self> {
        std::iter::once(Self::MaskKey).chain((0..blocks as u32).map(|block| Self::Seed(BlockId(block))))
    }
}

impl DealingContext {
    /// The bytes that proofs of knowledge of this dealing's mask key are bound to.
    pub fn encode(&self) -> Vec<u8> {
        [&self.epoch.0[..], &self.round.0.to_be_bytes(), &self.dealer.0.to_be_bytes()].concat()
    }

    /// The commitment to a seed.
    pub fn seed_commitment(&self, block: BlockId, seed: &[u8; 32]) -> Digest {
        let place = [&self.encode()[..], &block.0.to_be_bytes()].concat();
        digest(Domain::Seed, &[&place, seed])
    }

    /// The leaf of a custodian's share.
    pub fn share_leaf(&self, custodian: PartyId, secret: SharedSecret, share: &[u8; 32]) -> Digest {
        let index = secret.index() as u32;
        let place = [&self.encode()[..], &custodian.0.to_be_bytes(), &index.to_be_bytes()].concat();
        merkle::leaf_hash(&digest(Domain::Share, &[&place, share]).0)
    }

    /// The context of the letter to one custodian.
    pub fn letter_context(&self, plan: Digest, custodian: PartyId) -> Vec<u8> {
        [&self.encode()[..], &custodian.0.to_be_bytes(), &plan.0].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MASK-08
    #[test]
    fn a_leaf_fits_one_place() {
        let context = DealingContext { epoch: Digest([1; 32]), round: Round(1), dealer: PartyId(1) };
        let committed = context.seed_commitment(BlockId(0), &[5; 32]);
        assert_ne!(committed, context.seed_commitment(BlockId(1), &[5; 32]));
        assert_ne!(
            committed,
            DealingContext { round: Round(2), ..context }.seed_commitment(BlockId(0), &[5; 32])
        );
        assert_ne!(
            committed,
            DealingContext { dealer: PartyId(2), ..context }.seed_commitment(BlockId(0), &[5; 32])
        );
        let share = context.share_leaf(PartyId(3), SharedSecret::MaskKey, &[5; 32]);
        assert_ne!(share, context.share_leaf(PartyId(4), SharedSecret::MaskKey, &[5; 32]));
        assert_ne!(share, context.share_leaf(PartyId(3), SharedSecret::Seed(BlockId(0)), &[5; 32]));
    }

    #[test]
    fn secrets_stand_in_the_order_of_their_indices() {
        let indices: Vec<usize> = SharedSecret::all(3).map(SharedSecret::index).collect();
        assert_eq!(indices, [0, 1, 2, 3]);
    }
}
