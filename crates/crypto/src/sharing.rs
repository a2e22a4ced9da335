//! Keys that are shared among custodians so that everybody can check each share.
//!
//! Construction: Feldman 1987. A dealer commits to the coefficients of the polynomial that shares its key
//! (`MASK-08`); from the commitments follows each holder's public share (`MASK-11`). Assumption: discrete
//! logarithms in ristretto255 are hard. Given: any `threshold` right shares make up the key whose public
//! element is the first commitment. Not given: that the public element hides anything of the key beyond its
//! discrete logarithm.

use cloister_params::id::{Digest, PartyId, Round};
use cloister_params::rule;
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::group::{Element, ScalarSecret};
use crate::shamir::value_at;

/// The round that a dealer's keys are bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DealingContext {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round, so that a proof or a letter fits no other round of the epoch.
    pub round: Round,
    /// The member that deals, so that no other member can copy its proof or letter.
    pub dealer: PartyId,
}

/// The two keys that a member shares in a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DealtKey {
    /// Its mask key, `e[u]`.
    Mask,
    /// Its seed key, `s[u]`.
    Seed,
}

impl DealingContext {
    /// `epoch ‖ t:u64 ‖ u:u32`, big-endian.
    pub fn encode(&self) -> Vec<u8> {
        [&self.epoch.0[..], &self.round.0.to_be_bytes(), &self.dealer.0.to_be_bytes()].concat()
    }

    /// What the proof of knowledge of a key is bound to (`MASK-02`).
    pub fn knowledge_context(&self, key: DealtKey) -> Vec<u8> {
        let kind = match key {
            DealtKey::Mask => 0,
            DealtKey::Seed => 1,
        };
        [&self.encode()[..], &[kind]].concat()
    }

    /// The context of the letter to one custodian. The letter fits no other custodian and no other plan.
    pub fn letter_context(&self, plan: Digest, custodian: PartyId) -> Vec<u8> {
        [&self.encode()[..], &custodian.0.to_be_bytes(), &plan.0].concat()
    }
}

/// The polynomial that shares a key; erased when dropped.
pub struct SharingSecret(Zeroizing<Vec<Scalar>>);

/// The vector erases its coefficients.
impl ZeroizeOnDrop for SharingSecret {}

impl std::fmt::Debug for SharingSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharingSecret(…)")
    }
}

impl SharingSecret {
    /// A random polynomial with `threshold` coefficients whose value at 0 is the key.
    pub fn new(key: &ScalarSecret, threshold: usize, random: &mut impl CryptoRng) -> Self {
        // With all of its capacity at once: a vector that grows leaves secret copies in freed memory.
        let mut coefficients = Zeroizing::new(Vec::with_capacity(threshold));
        coefficients.push(*key.scalar());
        coefficients.extend((1..threshold).map(|_| *ScalarSecret::random(random).scalar()));
        Self(coefficients)
    }

    /// The commitments to the coefficients, for the announcement.
    pub fn commitments(&self) -> Vec<[u8; 32]> {
        self.0.iter().map(|coefficient| RistrettoPoint::mul_base(coefficient).compress().to_bytes()).collect()
    }

    /// The share of one holder: the polynomial's value at its number.
    ///
    /// # Panics
    /// If the holder has the number 0, because the polynomial's value at 0 is the key.
    pub fn share_of(&self, holder: PartyId) -> ScalarSecret {
        assert!(holder.0 != 0, "the value at 0 is the key");
        value_at(&self.0, holder.0)
    }
}

/// Why commitments are not a sharing of a key with this threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadCommitments {
    /// The number of commitments is not the number of shares that open the key.
    #[error("{got} commitments were announced; a key that {threshold} shares open has {threshold}")]
    Number {
        /// The number of commitments.
        got: usize,
        /// Shares that open the key.
        threshold: usize,
    },
    /// A commitment that is not an element of the group.
    #[error("commitment {index} is not a canonical element of the group other than the identity")]
    Element {
        /// The commitment's place, from 0.
        index: usize,
    },
}

/// A dealer's commitments to one key, decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commitments {
    key: Element,
    others: Vec<Element>,
}

impl Commitments {
    /// Decodes announced commitments (`MASK-08`).
    ///
    /// # Errors
    /// See [`BadCommitments`].
    pub fn decode(bytes: &[[u8; 32]], threshold: usize) -> Result<Self, BadCommitments> {
        // With more coefficients, `threshold` shares would not give the key; with fewer, fewer would.
        if bytes.len() != threshold {
            return Err(BadCommitments::Number { got: bytes.len(), threshold });
        }
        let mut elements = Vec::with_capacity(bytes.len());
        for (index, bytes) in bytes.iter().enumerate() {
            elements.push(Element::decode(*bytes).map_err(|_| BadCommitments::Element { index })?);
        }
        let (key, others) = elements.split_first().ok_or(BadCommitments::Number { got: 0, threshold })?;
        Ok(Self { key: *key, others: others.to_vec() })
    }

    /// The key's public element, which is the first commitment.
    pub fn key(&self) -> &Element {
        &self.key
    }

    /// A holder's public share; `None` for the identity, to which no right share belongs. A dealer can choose
    /// a polynomial that is 0 at a holder's number, and this holder could prove no part of a seed.
    ///
    /// # Timing
    /// Variable; everything here is public.
    pub fn public_share(&self, holder: PartyId) -> Option<Element> {
        let x = Scalar::from(holder.0);
        let powers = std::iter::successors(Some(Scalar::ONE), |power| Some(power * x));
        let points = std::iter::once(&self.key).chain(&self.others);
        let scalars: Vec<Scalar> = powers.take(1 + self.others.len()).collect();
        let share = RistrettoPoint::vartime_multiscalar_mul(scalars, points.map(Element::point));
        Element::from_point(share)
    }

    /// Whether a share is its holder's right one (`MASK-11`): its public share is what the commitments make
    /// it.
    pub fn fits(&self, holder: PartyId, share: &ScalarSecret) -> bool {
        let fits = self.public_share(holder).is_some_and(|expected| share.public() == expected);
        fits || !rule::in_force("MASK-11")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::shamir::combine;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// MASK-08, MASK-11
        #[test]
        fn right_shares_make_up_the_committed_key(seed: u64, holders in 1u32..20, skip in 0usize..20) {
            let mut random = ChaCha20Rng::seed_from_u64(seed);
            let threshold = holders as usize / 2 + 1;
            let key = ScalarSecret::random(&mut random);
            let sharing = SharingSecret::new(&key, threshold, &mut random);
            let commitments = Commitments::decode(&sharing.commitments(), threshold).expect("an honest dealer's");
            prop_assert_eq!(commitments.key(), &key.public());
            let mut shares: Vec<(u32, [u8; 32])> = (1..=holders)
                .map(|holder| (holder, sharing.share_of(PartyId(holder))))
                .inspect(|(holder, share)| assert!(commitments.fits(PartyId(*holder), share)))
                .map(|(holder, share)| (holder, *share.reveal()))
                .collect();
            shares.rotate_left(skip % holders as usize);
            let back = combine(threshold, &shares).expect("enough shares");
            prop_assert_eq!(*back.reveal(), *key.reveal());
        }
    }

    /// MASK-11
    #[test]
    fn a_share_of_another_polynomial_or_holder_and_zero_do_not_fit() {
        let mut random = ChaCha20Rng::seed_from_u64(1);
        let key = ScalarSecret::random(&mut random);
        let sharing = SharingSecret::new(&key, 3, &mut random);
        let commitments = Commitments::decode(&sharing.commitments(), 3).expect("an honest dealer's");
        let other = SharingSecret::new(&key, 3, &mut random).share_of(PartyId(2));
        assert!(!commitments.fits(PartyId(2), &other), "the same key, another polynomial");
        assert!(!commitments.fits(PartyId(3), &sharing.share_of(PartyId(2))));
        assert!(commitments.fits(PartyId(2), &sharing.share_of(PartyId(2))), "control");
        // f(x) = (x - 2)·a has the root 2.
        let slope = ScalarSecret::random(&mut random);
        let constant = ScalarSecret::from_scalar(&-(slope.scalar() + slope.scalar()));
        let rooted = SharingSecret(Zeroizing::new(vec![*constant.scalar(), *slope.scalar()]));
        let commitments = Commitments::decode(&rooted.commitments(), 2).expect("elements");
        assert!(!commitments.fits(PartyId(2), &rooted.share_of(PartyId(2))), "zero is no share");
        assert!(commitments.fits(PartyId(1), &rooted.share_of(PartyId(1))));
    }

    #[test]
    fn commitments_of_another_number_or_outside_the_group_are_refused() {
        let mut random = ChaCha20Rng::seed_from_u64(2);
        let mut bytes = SharingSecret::new(&ScalarSecret::random(&mut random), 3, &mut random).commitments();
        assert_eq!(Commitments::decode(&bytes, 2), Err(BadCommitments::Number { got: 3, threshold: 2 }));
        assert_eq!(Commitments::decode(&[], 0), Err(BadCommitments::Number { got: 0, threshold: 0 }));
        bytes[1] = [0; 32];
        assert_eq!(Commitments::decode(&bytes, 3), Err(BadCommitments::Element { index: 1 }));
    }
}
