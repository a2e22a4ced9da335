//! Whole numbers modulo a prime.

/// The prime of the knowledge invariant. Coefficients are weights and signs, so that a relation that holds modulo this
/// prime holds among whole numbers too.
pub(crate) const LARGE_PRIME: u64 = (1 << 61) - 1;

/// A whole number modulo the prime `P`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Residue<const P: u64>(u64);

impl<const P: u64> Residue<P> {
    pub(crate) const ZERO: Self = Self(0);
    pub(crate) const ONE: Self = Self(1);

    pub(crate) fn new(number: u64) -> Self {
        Self(number % P)
    }

    pub(crate) fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0) % P)
    }

    pub(crate) fn negated(self) -> Self {
        Self((P - self.0) % P)
    }

    pub(crate) fn times(self, other: Self) -> Self {
        Self((u128::from(self.0) * u128::from(other.0) % u128::from(P)) as u64)
    }

    /// The number whose product with this one is 1, by Fermat's little theorem. 0 has none, and gives 0.
    pub(crate) fn inverse(self) -> Self {
        let (mut power, mut base, mut exponent) = (Self::ONE, self, P - 2);
        while exponent > 0 {
            if exponent % 2 == 1 {
                power = power.times(base);
            }
            base = base.times(base);
            exponent /= 2;
        }
        power
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Large = Residue<LARGE_PRIME>;

    proptest! {
        #[test]
        fn a_field_has_negatives_and_inverses(one in 1..LARGE_PRIME, other in 0..LARGE_PRIME) {
            let (one, other) = (Large::new(one), Large::new(other));
            prop_assert!(other.plus(other.negated()).is_zero());
            prop_assert_eq!(one.times(one.inverse()), Large::ONE);
            prop_assert_eq!(other.times(one).times(one.inverse()), other);
        }
    }
}
