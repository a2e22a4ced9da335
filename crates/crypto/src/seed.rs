//! Seeds of self masks: values of a pseudorandom function whose key a member shares among custodians.
//!
//! Construction: Naor, Pinkas and Reingold 1999: the seed of a block is the seed key times a base that
//! hashing to the group gives (`MASK-14`); `threshold` custodians can make it from parts, each with its share
//! of the key. A party that reveals seeds proves with one proof that one secret made all of them, as in
//! RFC 9497, section 2.2 (`MASK-15`). Assumptions: decisional Diffie–Hellman in ristretto255, SHA-512 a
//! random oracle. Given: revealed seeds say nothing of others, and nobody can show another value than the
//! announced key makes. Not given: secrecy against a quantum adversary.

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::rule;
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::group::{AgreementProof, Element, ScalarSecret, prove_agreement_with, verify_agreement};
use crate::hash::wide;
use crate::shamir::{CombineError, weights_at_zero};

/// The seed of one block's self mask.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SeedSecret([u8; 32]);

impl SeedSecret {
    /// The bytes, for a reveal or a derivation.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<&Element> for SeedSecret {
    fn from(element: &Element) -> Self {
        Self(element.bytes())
    }
}

impl std::fmt::Debug for SeedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeedSecret(…)")
    }
}

/// The bases of a plan's blocks (`MASK-14`), and what proofs about seeds are bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeedBases {
    /// `epoch ‖ t:u64 ‖ plan`. It makes the bases of each round and plan different.
    place: Vec<u8>,
    bases: Vec<Element>,
}

/// Why revealed seeds, or parts of seeds, are rejected: they do not follow from their dealer's commitments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadSeeds {
    /// No seed, a block twice or out of order, or a block that the plan does not have.
    #[error("the list does not name blocks of the plan once each, in ascending order")]
    Blocks,
    /// A seed that is not an element of the group.
    #[error("the seed of {0} is not a canonical element of the group other than the identity")]
    Element(BlockId),
    /// A proof that does not fit.
    #[error("the proof does not show that the announced key made these seeds")]
    Proof,
}

impl SeedBases {
    /// The bases of a plan with this number of blocks.
    pub fn new(epoch: Digest, round: Round, plan: Digest, blocks: usize) -> Self {
        let place = [&epoch.0[..], &round.0.to_be_bytes(), &plan.0].concat();
        // A checked plan has far fewer blocks than 2³².
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        let bases = (0..blocks).map(|block| base_of(&place, block)).collect();
        Self { place, bases }
    }

    /// The base of a block; `None` if the plan does not have it.
    pub fn base(&self, block: BlockId) -> Option<&Element> {
        self.bases.get(block.0 as usize)
    }

    /// The seed that a seed key makes for a block, or the part that a share of it makes.
    ///
    /// # Panics
    /// If the plan does not have the block.
    pub fn seed(&self, secret: &ScalarSecret, block: BlockId) -> SeedSecret {
        let point = Zeroizing::new(self.point(secret, block));
        let compressed = Zeroizing::new(point.compress());
        SeedSecret(compressed.to_bytes())
    }

    fn point(&self, secret: &ScalarSecret, block: BlockId) -> RistrettoPoint {
        self.base(block).expect("a block of the plan").point() * secret.scalar()
    }

    /// The seeds of a dealer, or a custodian's parts of them, for blocks of the plan. They are elements, which
    /// are not erased: this is for what is revealed.
    ///
    /// # Panics
    /// As for [`SeedBases::seed`].
    pub fn seeds(&self, secret: &ScalarSecret, blocks: &[BlockId]) -> Vec<(BlockId, Element)> {
        blocks.iter().map(|block| (*block, Element::with_bytes(self.point(secret, *block)))).collect()
    }

    /// Proves that one secret, whose public element everybody knows, made these seeds: those of a dealer
    /// (`by` is 0), or a custodian's parts of them (`by` is its number).
    ///
    /// The nonce is derived from the secret and everything that is proved, so that the same reveal has the
    /// same bytes, and a party that sends it again needs no memory of it.
    ///
    /// # Leakage
    /// Nothing beyond the seeds that are listed.
    pub fn prove(
        &self,
        (dealer, by): (PartyId, PartyId),
        (secret, public): (&ScalarSecret, &Element),
        seeds: &[(BlockId, Element)],
    ) -> AgreementProof {
        let transcript = self.transcript((dealer, by), public, seeds);
        let nonce = secret.derived_nonce(b"cloister/v1/seeds-nonce", &transcript);
        let bases = self.sum_of_bases(&batch_weights(&transcript, seeds), seeds);
        let composite = Element::from_point(bases).expect("weights are uniform");
        prove_agreement_with(secret, &composite, &proof_context(&transcript), &nonce).1
    }

    /// Checks revealed seeds, or parts of seeds, against the public element of the secret that made them.
    ///
    /// # Errors
    /// See [`BadSeeds`].
    ///
    /// # Timing
    /// Variable; everything here is public.
    pub fn verify(
        &self,
        (dealer, by): (PartyId, PartyId),
        public: &Element,
        listed: &[(BlockId, [u8; 32])],
        proof: &AgreementProof,
    ) -> Result<Vec<(BlockId, Element)>, BadSeeds> {
        let ascending = listed.windows(2).all(|pair| pair[0].0 < pair[1].0);
        // In ascending order the last block has the highest number. An empty list has none, and is rejected.
        let known = listed.last().is_some_and(|(last, _)| self.base(*last).is_some());
        if !ascending || !known {
            return Err(BadSeeds::Blocks);
        }
        let mut seeds = Vec::with_capacity(listed.len());
        for (block, seed) in listed {
            seeds.push((*block, Element::decode(*seed).map_err(|_| BadSeeds::Element(*block))?));
        }
        if !rule::in_force("MASK-15") {
            return Ok(seeds);
        }
        let transcript = self.transcript((dealer, by), public, &seeds);
        let weights = batch_weights(&transcript, &seeds);
        let sum =
            RistrettoPoint::vartime_multiscalar_mul(&weights, seeds.iter().map(|(_, seed)| seed.point()));
        // The weights are hashes of all seeds, so that the sums of honest seeds are not the identity.
        let bases = Element::from_point(self.sum_of_bases(&weights, &seeds)).ok_or(BadSeeds::Proof)?;
        let sum = Element::from_point(sum).ok_or(BadSeeds::Proof)?;
        verify_agreement(public, &bases, sum.bytes(), &proof_context(&transcript), proof)
            .map_err(|_| BadSeeds::Proof)?;
        Ok(seeds)
    }

    fn transcript(
        &self,
        (dealer, by): (PartyId, PartyId),
        public: &Element,
        seeds: &[(BlockId, Element)],
    ) -> [u8; 64] {
        // The only part of variable length comes last, after its count.
        let listed: Vec<u8> = seeds
            .iter()
            .flat_map(|(block, seed)| block.0.to_be_bytes().into_iter().chain(seed.bytes()))
            .collect();
        let count = u32::try_from(seeds.len()).unwrap_or(u32::MAX).to_be_bytes();
        let parts: [&[u8]; 6] =
            [&self.place, &dealer.0.to_be_bytes(), &by.0.to_be_bytes(), &public.bytes(), &count, &listed];
        wide(b"cloister/v1/seed-batch", &parts)
    }

    /// The weighted sum of the bases of these blocks, which the plan must have.
    ///
    /// # Timing
    /// Variable: a party that proves seeds is about to reveal them.
    fn sum_of_bases(&self, weights: &[Scalar], seeds: &[(BlockId, Element)]) -> RistrettoPoint {
        let bases = seeds.iter().map(|(block, _)| self.bases[block.0 as usize].point());
        RistrettoPoint::vartime_multiscalar_mul(weights, bases)
    }
}

/// The base of a block. Epoch, round and plan make up its place, so that no base is used twice.
fn base_of(place: &[u8], block: u32) -> Element {
    let hash = wide(b"cloister/v1/seed-base", &[place, &block.to_be_bytes()]);
    Element::from_point(RistrettoPoint::from_uniform_bytes(&hash))
        .expect("a hash gives the identity with a probability of 2⁻²⁵²")
}

/// The weights of the seeds in the one proof about all of them: it covers each seed, because nobody can choose
/// seeds by the weights, which are hashes of all of them.
fn batch_weights(transcript: &[u8; 64], seeds: &[(BlockId, Element)]) -> Vec<Scalar> {
    let mut weights = Vec::with_capacity(seeds.len());
    for (block, _) in seeds {
        let hash = wide(b"cloister/v1/seed-weight", &[transcript, &block.0.to_be_bytes()]);
        weights.push(Scalar::from_bytes_mod_order_wide(&hash));
    }
    weights
}

fn proof_context(transcript: &[u8; 64]) -> Vec<u8> {
    [b"cloister/v1/seeds", &transcript[..]].concat()
}

/// Makes seeds from the parts of custodians, which must list the same blocks.
///
/// The caller must have verified each part, and must count them: fewer than the threshold make wrong seeds,
/// and no error.
///
/// # Errors
/// Custodians that are not distinct, or parts that do not list the same blocks.
///
/// # Timing
/// Variable; the parts are public.
pub fn combine(
    parts: &[(PartyId, Vec<(BlockId, Element)>)],
) -> Result<Vec<(BlockId, SeedSecret)>, CombineError> {
    let holders: Vec<u32> = parts.iter().map(|(holder, _)| holder.0).collect();
    let weights = weights_at_zero(&holders)?;
    let blocks: Vec<BlockId> =
        parts.first().map_or(Vec::new(), |(_, first)| first.iter().map(|part| part.0).collect());
    if parts.iter().any(|(_, seeds)| !seeds.iter().map(|part| part.0).eq(blocks.iter().copied())) {
        return Err(CombineError::Holders);
    }
    let mut combined = Vec::with_capacity(blocks.len());
    for (place, block) in blocks.into_iter().enumerate() {
        let points = parts.iter().map(|(_, seeds)| seeds[place].1.point());
        let point = RistrettoPoint::vartime_multiscalar_mul(&weights, points);
        combined.push((block, SeedSecret(point.compress().to_bytes())));
    }
    Ok(combined)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::sharing::{Commitments, SharingSecret};

    const DEALER: PartyId = PartyId(7);

    type Revealed = (Vec<(BlockId, [u8; 32])>, AgreementProof);

    fn reveal(
        bases: &SeedBases,
        who: (PartyId, PartyId),
        secret: &ScalarSecret,
        blocks: &[BlockId],
    ) -> Revealed {
        let seeds = bases.seeds(secret, blocks);
        let proof = bases.prove(who, (secret, &secret.public()), &seeds);
        (seeds.iter().map(|(block, seed)| (*block, seed.bytes())).collect(), proof)
    }

    fn bases() -> SeedBases {
        SeedBases::new(Digest([1; 32]), Round(2), Digest([3; 32]), 9)
    }

    fn blocks(numbers: &[u32]) -> Vec<BlockId> {
        numbers.iter().copied().map(BlockId).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        /// MASK-14, MASK-15
        #[test]
        fn custodians_parts_make_up_the_members_seeds(seed: u64, holders in 2u32..9, skip in 0usize..9) {
            let mut random = ChaCha20Rng::seed_from_u64(seed);
            let threshold = holders as usize / 2 + 1;
            let key = ScalarSecret::random(&mut random);
            let sharing = SharingSecret::new(&key, threshold, &mut random);
            let commitments = Commitments::decode(&sharing.commitments(), threshold).expect("an honest dealer's");
            let blocks = blocks(&[0, 4, 8]);
            let mut parts: Vec<(PartyId, Vec<(BlockId, Element)>)> = (1..=holders).map(PartyId).map(|holder| {
                let (listed, proof) = reveal(&bases(), (DEALER, holder), &sharing.share_of(holder), &blocks);
                let public = commitments.public_share(holder).expect("not the identity");
                (holder, bases().verify((DEALER, holder), &public, &listed, &proof).expect("an honest custodian's"))
            }).collect();
            parts.rotate_left(skip % holders as usize);
            parts.truncate(threshold);
            let shown = |seeds: Vec<(BlockId, SeedSecret)>| -> Vec<(BlockId, [u8; 32])> {
                seeds.iter().map(|(block, seed)| (*block, *seed.reveal())).collect()
            };
            let expected = shown(blocks.iter().map(|block| (*block, bases().seed(&key, *block))).collect());
            prop_assert_eq!(&shown(combine(&parts).expect("enough parts")), &expected);
            parts.truncate(threshold - 1);
            prop_assert_ne!(&shown(combine(&parts).expect("distinct")), &expected);
        }
    }

    /// MASK-15
    #[test]
    fn a_reveal_fits_its_key_dealer_revealer_and_blocks_alone() {
        let mut random = ChaCha20Rng::seed_from_u64(3);
        let key = ScalarSecret::random(&mut random);
        let (bases, who) = (bases(), (DEALER, DEALER));
        let (listed, proof) = reveal(&bases, who, &key, &blocks(&[1, 2, 5]));
        let public = key.public();
        assert!(bases.verify(who, &public, &listed, &proof).is_ok(), "control");
        assert_eq!(
            reveal(&bases, who, &key, &blocks(&[1, 2, 5])),
            (listed.clone(), proof),
            "the same bytes again"
        );
        let refused = |bases: &SeedBases, who, public: &Element, listed: &[_], proof: &_, why| {
            assert_eq!(bases.verify(who, public, listed, proof), Err(why));
        };
        let other = ScalarSecret::random(&mut random);
        refused(&bases, who, &other.public(), &listed, &proof, BadSeeds::Proof);
        refused(&bases, (PartyId(8), DEALER), &public, &listed, &proof, BadSeeds::Proof);
        refused(&bases, (DEALER, PartyId(8)), &public, &listed, &proof, BadSeeds::Proof);
        let later = SeedBases::new(Digest([1; 32]), Round(3), Digest([3; 32]), 9);
        refused(&later, who, &public, &listed, &proof, BadSeeds::Proof);
        refused(&bases, who, &public, &listed[..2], &proof, BadSeeds::Proof);
        let (mut swapped, mut bent) = (listed.clone(), proof);
        (swapped[0].1, swapped[1].1) = (listed[1].1, listed[0].1);
        refused(&bases, who, &public, &swapped, &proof, BadSeeds::Proof);
        bent[40] ^= 1;
        refused(&bases, who, &public, &listed, &bent, BadSeeds::Proof);
        swapped[2].1 = [0; 32];
        refused(&bases, who, &public, &swapped, &proof, BadSeeds::Element(BlockId(5)));
        refused(&bases, who, &public, &[], &proof, BadSeeds::Blocks);
        refused(&bases, who, &public, &[listed[1], listed[0]], &proof, BadSeeds::Blocks);
        refused(&bases, who, &public, &[(BlockId(9), listed[0].1)], &proof, BadSeeds::Blocks);
    }

    #[test]
    fn secrets_cannot_be_printed() {
        let key = ScalarSecret::random(&mut ChaCha20Rng::seed_from_u64(4));
        assert_eq!(format!("{:?}", bases().seed(&key, BlockId(0))), "SeedSecret(…)");
    }
}
