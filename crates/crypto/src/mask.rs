//! Masks: a key for each pair and for each self mask of a block, expanded to words of the ring.
//!
//! Construction: Bonawitz et al. 2017, section 4 (double masking), with a key for each block so that a block
//! can be opened alone; HKDF-SHA512 over the Diffie–Hellman element or the seed with the full context
//! (`MASK-03`, `MASK-04`), AES-128-CTR as the generator (`MASK-05`). Given: an upload is uniform for anybody
//! who lacks one of its keys. Not given: anything about a member if all of its companions collude.

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use ring::hkdf::{HKDF_SHA512, KeyType, Salt};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::group::AgreedSecret;
pub use crate::keystream::Sign;
use crate::keystream::{Kernel, StreamSecret};
use crate::seed::SeedSecret;

/// Names this suite of algorithms in every derivation.
pub const SUITE: [u8; 16] = *b"cloister-v1-r255";

/// What all masks of one block have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MaskContext {
    /// Digest of the consortium file, which names the epoch.
    pub epoch: Digest,
    /// Digest of the plan.
    pub plan: Digest,
    /// Digest of the manifest, which has the cohorts. Pair masks of members that were shown different
    /// manifests do not cancel.
    pub manifest: Digest,
    /// The round's number in the epoch.
    pub round: Round,
    /// The block. Each block has its own masks, so that it can be opened over its own cohort.
    pub block: BlockId,
    /// Bits of the plan's ring: 16, 24 or 32.
    pub ring_bits: u8,
    /// Coordinates of the block, from 1 to 2³².
    pub length: u64,
}

/// Whose mask it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    SelfMask(PartyId),
    Pair { low: PartyId, high: PartyId },
}

impl MaskContext {
    /// `suite ‖ epoch ‖ plan ‖ manifest ‖ t:u64 ‖ b:u32 ‖ role:u8 ‖ lo:u32 ‖ hi:u32 ‖ w:u8 ‖ len:u64`,
    /// big-endian.
    fn encode(&self, owner: Owner) -> Vec<u8> {
        // Every field has a fixed length, so that no two contexts have the same bytes.
        let (role, low, high) = match owner {
            Owner::SelfMask(party) => (0u8, party, party),
            Owner::Pair { low, high } => (1, low, high),
        };
        [
            &SUITE[..],
            &self.epoch.0,
            &self.plan.0,
            &self.manifest.0,
            &self.round.0.to_be_bytes(),
            &self.block.0.to_be_bytes(),
            &[role],
            &low.0.to_be_bytes(),
            &high.0.to_be_bytes(),
            &[self.ring_bits],
            &self.length.to_be_bytes(),
        ]
        .concat()
    }

    /// The key of a member's self mask, from its seed for this block.
    pub fn self_key(&self, party: PartyId, seed: &SeedSecret) -> MaskKey {
        MaskKey(derive(seed.reveal(), &self.encode(Owner::SelfMask(party))))
    }

    /// The key of the mask between two members, from their Diffie–Hellman element.
    pub fn pair_key(&self, one: PartyId, other: PartyId, agreed: &AgreedSecret) -> MaskKey {
        // Ordered by number, because both members have to arrive at the same key.
        let owner = Owner::Pair { low: one.min(other), high: one.max(other) };
        MaskKey(derive(agreed.as_bytes(), &self.encode(owner)))
    }
}

impl Sign {
    /// The sign with which `party` applies the mask that it shares with `other`. The two have opposite signs,
    /// so that the mask cancels in their sum.
    pub fn for_pair(party: PartyId, other: PartyId) -> Self {
        if party < other { Self::Plus } else { Self::Minus }
    }
}

/// The key of one mask: an AES-128 key and an initial counter block. It can be expanded once: [`Self::apply`]
/// consumes it.
#[derive(ZeroizeOnDrop)]
pub struct MaskKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MaskKey(…)")
    }
}

impl MaskKey {
    /// Expands the mask and adds it to the words mod 2³² (`MASK-05`): word `i` is bytes `4i` to `4i+3` of the
    /// key stream, little-endian. Narrower rings keep the low bits.
    pub fn apply(self, sign: Sign, words: &mut [u32]) {
        // The standard library remembers what the processor has, so that asking for each mask costs little.
        Kernel::fastest().apply(&StreamSecret::new(&self.0), sign, words);
    }
}

/// The length of a derived key, as `ring` asks for it.
struct ThirtyTwo;

impl KeyType for ThirtyTwo {
    fn len(&self) -> usize {
        32
    }
}

/// HKDF-SHA512 with the suite as its salt.
pub(crate) fn derive(secret: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Salt::new(HKDF_SHA512, &SUITE)
        .extract(secret)
        .expand(&[info], ThirtyTwo)
        .and_then(|output| output.fill(key.as_mut()))
        .expect("32 bytes are far below the limit of HKDF");
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::group::ScalarSecret;

    fn seed(number: u64) -> SeedSecret {
        SeedSecret::from(&ScalarSecret::random(&mut ChaCha20Rng::seed_from_u64(number)).public())
    }

    fn context() -> MaskContext {
        MaskContext {
            epoch: Digest([1; 32]),
            plan: Digest([2; 32]),
            manifest: Digest([3; 32]),
            round: Round(4),
            block: BlockId(5),
            ring_bits: 32,
            length: 3000,
        }
    }

    fn expand(key: MaskKey) -> Vec<u32> {
        let mut words = vec![0; 3000];
        key.apply(Sign::Plus, &mut words);
        words
    }

    /// MASK-03
    #[test]
    fn pair_masks_cancel() {
        let mut random = ChaCha20Rng::seed_from_u64(1);
        let (a, b) = (ScalarSecret::random(&mut random), ScalarSecret::random(&mut random));
        let (one, two) = (PartyId(1), PartyId(2));
        let mut words = vec![42; 3000];
        context().pair_key(one, two, &a.agree(&b.public())).apply(Sign::for_pair(one, two), &mut words);
        assert!(words.iter().filter(|word| **word == 42).count() < 3, "the words are masked");
        context().pair_key(two, one, &b.agree(&a.public())).apply(Sign::for_pair(two, one), &mut words);
        assert!(words.iter().all(|word| *word == 42));
    }

    /// MASK-03, MASK-04
    #[test]
    fn every_field_of_the_context_changes_the_mask() {
        let seed = seed(2);
        let base = expand(context().self_key(PartyId(1), &seed));
        let others = [
            MaskContext { epoch: Digest([9; 32]), ..context() },
            MaskContext { plan: Digest([9; 32]), ..context() },
            MaskContext { manifest: Digest([9; 32]), ..context() },
            MaskContext { round: Round(9), ..context() },
            MaskContext { block: BlockId(9), ..context() },
            MaskContext { ring_bits: 24, ..context() },
            MaskContext { length: 9, ..context() },
        ];
        for other in others {
            assert_ne!(expand(other.self_key(PartyId(1), &seed))[..4], base[..4], "{other:?}");
        }
        assert_ne!(expand(context().self_key(PartyId(2), &seed))[..4], base[..4]);
    }

    proptest! {
        /// MASK-05
        #[test]
        fn chunks_do_not_show(length in 0usize..4000) {
            let seed = seed(3);
            let mut short = vec![0; length];
            context().self_key(PartyId(1), &seed).apply(Sign::Plus, &mut short);
            let mut long = vec![0; 4000];
            context().self_key(PartyId(1), &seed).apply(Sign::Plus, &mut long);
            prop_assert_eq!(&short[..], &long[..length]);
        }
    }
}
