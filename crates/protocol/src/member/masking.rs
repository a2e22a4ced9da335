//! Masking a member's blocks for its upload.

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::group::AgreedSecret;
use cloister_crypto::mask::Sign;
use cloister_params::id::{BlockId, PartyId};

use crate::contribution::Contribution;
use crate::dealing::RoundSecrets;
use crate::opening::{MaskedBlocks, mask_key_of};
use crate::round::RoundContext;
use crate::sealed::SealedManifest;

/// Masks a member's blocks (`MASK-09`).
pub(super) struct Masking<'a> {
    pub(super) id: PartyId,
    pub(super) context: &'a RoundContext,
    pub(super) sealed: &'a SealedManifest,
    pub(super) secrets: &'a RoundSecrets,
}

impl Masking<'_> {
    /// Every block that this member is summed in, masked and packed.
    pub(super) fn all(&self, contribution: &Contribution) -> MaskedBlocks {
        let agreed = self.agreed();
        let blocks = self.sealed.manifest().blocks_of(self.id).iter();
        blocks.map(|(block, weight)| (*block, self.one(*block, *weight, contribution, &agreed))).collect()
    }

    /// What this member agrees on with each companion. It is the same for all blocks, and agreeing takes a
    /// group operation, so it is done once.
    fn agreed(&self) -> BTreeMap<PartyId, AgreedSecret> {
        let manifest = self.sealed.manifest();
        let blocks = manifest.blocks_of(self.id).iter();
        let companions: BTreeSet<PartyId> = blocks.flat_map(|(block, _)| self.companions(*block)).collect();
        let mut agreed = BTreeMap::new();
        for other in companions {
            let public = mask_key_of(manifest.announcements(), other).expect("announcements were checked");
            agreed.insert(other, self.secrets.mask_key().agree(&public));
        }
        agreed
    }

    /// `y = w·q(x) + PRG(Kself) + sum over v of ±PRG(Kpair)` mod `2^w`.
    fn one(
        &self,
        block: BlockId,
        weight: u8,
        contribution: &Contribution,
        agreed: &BTreeMap<PartyId, AgreedSecret>,
    ) -> Vec<u8> {
        let planned = self.context.block(block).expect("the manifest was checked to name blocks of the plan");
        let context = self.context.masking(planned, self.sealed.manifest().digest());
        let weight = u32::from(weight);
        let integers = &contribution.integers[block];
        // Negative integers wrap: arithmetic is mod 2³², and packing keeps the low bits of the ring.
        let mut words: Vec<u32> =
            integers.iter().map(|integer| integer.cast_unsigned().wrapping_mul(weight)).collect();
        let seed = self.secrets.seed(self.context, block);
        context.self_key(self.id, &seed).apply(Sign::Plus, &mut words);
        for other in self.companions(block) {
            // The two members of a pair take opposite signs, so that their mask cancels in the sum.
            let mask = context.pair_key(self.id, other, &agreed[&other]);
            mask.apply(Sign::for_pair(self.id, other), &mut words);
        }
        self.context.plan().settings.ring.pack(&words)
    }

    /// The other members of a block's cohort.
    fn companions(&self, block: BlockId) -> impl Iterator<Item = PartyId> + '_ {
        let cohort = self.sealed.manifest().cohort(block);
        let members = cohort.map(|cohort| cohort.members.as_slice()).unwrap_or_default();
        members.iter().map(|listed| listed.member).filter(|member| *member != self.id)
    }
}
