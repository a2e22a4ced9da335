//! Shamir's secret sharing over the scalar field of ristretto255.
//!
//! Construction: Shamir 1979; the share of party `x` is the value at `x` of a random polynomial of degree
//! `threshold - 1` whose value at 0 is the secret (`MASK-11`). Given: `threshold - 1` shares say nothing. Not
//! given: that a dealer's shares lie on one polynomial, which [`crate::sharing`] checks.

use curve25519_dalek::scalar::Scalar;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::group::ScalarSecret;

/// Why no secret can be computed from some shares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CombineError {
    /// Fewer shares than the threshold.
    #[error("{got} shares were given; {threshold} open the secret")]
    TooFew {
        /// Shares given.
        got: usize,
        /// Shares needed.
        threshold: usize,
    },
    /// One holder twice, or a holder numbered 0.
    #[error("the shares are not of distinct, positively numbered holders")]
    Holders,
    /// A share that is not a scalar.
    #[error("the share of holder {holder} is not a canonical scalar")]
    NotCanonical {
        /// The holder's number, from 1.
        holder: u32,
    },
}

/// The value of a polynomial at `x`, by Horner's rule. The constant term is the first coefficient.
pub(crate) fn value_at(coefficients: &[Scalar], x: u32) -> ScalarSecret {
    let x = Scalar::from(x);
    // One place for all intermediate values, which is erased.
    let mut value = Zeroizing::new(Scalar::ZERO);
    for coefficient in coefficients.iter().rev() {
        *value *= x;
        *value += coefficient;
    }
    ScalarSecret::from_scalar(&value)
}

/// Recovers a secret from `threshold` or more shares by Lagrange interpolation at 0.
///
/// # Errors
/// See [`CombineError`]. The caller must check that the result is the dealt secret, by its public element.
pub fn combine(threshold: usize, shares: &[(u32, [u8; 32])]) -> Result<ScalarSecret, CombineError> {
    if shares.len() < threshold {
        return Err(CombineError::TooFew { got: shares.len(), threshold });
    }
    // The polynomial is determined by this many values. More shares would give the same secret.
    let used = &shares[..threshold];
    let holders: Vec<u32> = used.iter().map(|(holder, _)| *holder).collect();
    let weights = weights_at_zero(&holders)?;
    let mut secret = Zeroizing::new(Scalar::ZERO);
    for ((holder, bytes), weight) in used.iter().zip(weights) {
        let share: Option<Scalar> = Scalar::from_canonical_bytes(*bytes).into();
        let mut share = Zeroizing::new(share.ok_or(CombineError::NotCanonical { holder: *holder })?);
        *share *= weight;
        *secret += *share;
    }
    Ok(ScalarSecret::from_scalar(&secret))
}

/// The Lagrange weights of distinct holders at 0, in their order.
///
/// # Errors
/// One holder twice, or a holder numbered 0.
pub(crate) fn weights_at_zero(holders: &[u32]) -> Result<Vec<Scalar>, CombineError> {
    let mut sorted = holders.to_vec();
    sorted.sort_unstable();
    // A share of number 0 would be the secret, and equal numbers would make a denominator zero.
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) || sorted.first() == Some(&0) {
        return Err(CombineError::Holders);
    }
    Ok(holders.iter().map(|holder| weight_at_zero(*holder, holders)).collect())
}

/// The Lagrange weight of one holder at 0.
fn weight_at_zero(holder: u32, holders: &[u32]) -> Scalar {
    let at = Scalar::from(holder);
    let (mut numerator, mut denominator) = (Scalar::ONE, Scalar::ONE);
    for other in holders.iter().filter(|other| **other != holder) {
        let other = Scalar::from(*other);
        numerator *= other;
        denominator *= other - at;
    }
    numerator * denominator.invert()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_and_doubled_shares_are_refused() {
        let one = (1, [1; 32]);
        assert!(matches!(combine(2, &[one]), Err(CombineError::TooFew { got: 1, threshold: 2 })));
        let doubled = [(1, *ScalarSecret::from_scalar(&Scalar::ONE).reveal()); 2];
        assert!(matches!(combine(2, &doubled), Err(CombineError::Holders)));
        let big = [(1, [0xff; 32]), (2, [0; 32])];
        assert!(matches!(combine(2, &big), Err(CombineError::NotCanonical { holder: 1 })));
    }
}
