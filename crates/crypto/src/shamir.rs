//! Shamir's secret sharing over the scalar field of ristretto255.
//!
//! Construction: Shamir 1979; the share of party `x` is the value at `x` of a random polynomial of degree
//! `threshold - 1` whose value at 0 is the secret (`MASK-11`). Given: `threshold - 1` shares say nothing. Not given: that a
//! dealer's shares lie on one polynomial; the protocol checks every reconstructed secret against its commitment.

use curve25519_dalek::scalar::Scalar;
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::group::ScalarSecret;

/// Shares that no secret can be computed from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CombineError {
    /// Fewer shares than the threshold.
    #[error("{got} shares came; {threshold} open the secret")]
    TooFew {
        /// Shares given.
        got: usize,
        /// Shares needed.
        threshold: usize,
    },
    /// One holder twice, or a holder numbered 0.
    #[error("the shares are not of distinct, positively numbered holders")]
    Holders,
    /// A share that is no scalar.
    #[error("the share of holder {holder} is no canonical scalar")]
    NotCanonical {
        /// Whose share.
        holder: u32,
    },
}

/// Shares a secret among holders, any `threshold` of whom can recover it; one share a holder, in their order.
///
/// # Panics
/// When a holder has the number 0, at which the polynomial has the secret itself.
pub fn split(
    secret: &ScalarSecret,
    threshold: usize,
    holders: &[u32],
    random: &mut impl CryptoRng,
) -> Vec<ScalarSecret> {
    assert!(!holders.contains(&0), "the value at 0 is the secret");
    let mut coefficients = Zeroizing::new(vec![*secret.scalar()]);
    coefficients.extend((1..threshold).map(|_| *ScalarSecret::random(random).scalar()));
    holders.iter().map(|holder| ScalarSecret::from_scalar(value_at(&coefficients, *holder))).collect()
}

fn value_at(coefficients: &[Scalar], x: u32) -> Scalar {
    let x = Scalar::from(x);
    coefficients.iter().rev().fold(Scalar::ZERO, |value, coefficient| value * x + coefficient)
}

/// Recovers a secret from `threshold` or more shares by Lagrange interpolation at 0.
///
/// # Errors
/// See [`CombineError`]. Whether the result is the dealt secret is for the caller to check.
pub fn combine(threshold: usize, shares: &[(u32, [u8; 32])]) -> Result<ScalarSecret, CombineError> {
    if shares.len() < threshold {
        return Err(CombineError::TooFew { got: shares.len(), threshold });
    }
    let used = &shares[..threshold];
    let mut holders: Vec<u32> = used.iter().map(|(holder, _)| *holder).collect();
    holders.sort_unstable();
    if holders.windows(2).any(|pair| pair[0] == pair[1]) || holders.first() == Some(&0) {
        return Err(CombineError::Holders);
    }
    let mut secret = Scalar::ZERO;
    for (holder, bytes) in used {
        let mut share: Scalar = Option::from(Scalar::from_canonical_bytes(*bytes))
            .ok_or(CombineError::NotCanonical { holder: *holder })?;
        secret += share * weight_at_zero(*holder, &holders);
        share.zeroize();
    }
    Ok(ScalarSecret::from_scalar(secret))
}

/// The Lagrange weight of one holder at 0.
fn weight_at_zero(holder: u32, holders: &[u32]) -> Scalar {
    let own = Scalar::from(holder);
    let (numerator, denominator) = holders.iter().filter(|other| **other != holder).fold(
        (Scalar::ONE, Scalar::ONE),
        |(up, down), other| {
            let other = Scalar::from(*other);
            (up * other, down * (other - own))
        },
    );
    numerator * denominator.invert()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// MASK-11
        #[test]
        fn any_threshold_of_shares_recovers_the_secret(seed: u64, holders in 1usize..20, skip in 0usize..20) {
            let mut random = ChaCha20Rng::seed_from_u64(seed);
            let threshold = holders / 2 + 1;
            let secret = ScalarSecret::random(&mut random);
            let numbers: Vec<u32> = (1..=holders as u32).collect();
            let shares = split(&secret, threshold, &numbers, &mut random);
            let mut given: Vec<(u32, [u8; 32])> = numbers.iter().zip(&shares).map(|(n, s)| (*n, *s.reveal())).collect();
            given.rotate_left(skip % holders);
            let back = combine(threshold, &given).expect("enough shares");
            prop_assert_eq!(*back.reveal(), *secret.reveal());
            given.truncate(threshold);
            given[0].1[0] ^= 1;
            if let Ok(bent) = combine(threshold, &given) {
                prop_assert_ne!(*bent.reveal(), *secret.reveal());
            }
        }
    }

    #[test]
    fn too_few_and_doubled_shares_are_refused() {
        let one = (1, [1; 32]);
        assert!(matches!(combine(2, &[one]), Err(CombineError::TooFew { got: 1, threshold: 2 })));
        let doubled = [(1, *ScalarSecret::from_scalar(Scalar::ONE).reveal()); 2];
        assert!(matches!(combine(2, &doubled), Err(CombineError::Holders)));
        let big = [(1, [0xff; 32]), (2, [0; 32])];
        assert!(matches!(combine(2, &big), Err(CombineError::NotCanonical { holder: 1 })));
    }
}
