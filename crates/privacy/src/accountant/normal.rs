//! Probabilities of the normal distribution's tails and intervals, as logarithms that are accurate where they
//! are tiny.

use std::f64::consts::{LN_2, PI, SQRT_2};

/// Error of a computed tail, relatively, for each unit of its logarithm: a few units in the last place.
const TAIL_ERROR: f64 = 8.0 * f64::EPSILON;

/// A probability, and a bound on its rounding error.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Mass {
    /// The natural logarithm of the probability.
    pub(super) ln: f64,
    /// The most by which the probability may be off, relative to it.
    pub(super) error: f64,
}

impl Mass {
    /// The probability 0.
    const NONE: Self = Self { ln: f64::NEG_INFINITY, error: 0.0 };

    /// The most that the probability may be.
    pub(super) fn at_most(self) -> f64 {
        self.ln.exp() * (1.0 + self.error)
    }

    /// The mixture of this mass with probability `1 - q` and the other with probability `q`.
    pub(super) fn mixed(self, other: Self, q: f64) -> Self {
        let (first, second) = ((-q).ln_1p() + self.ln, q.ln() + other.ln);
        let ln = ln_add(first, second);
        if ln == f64::NEG_INFINITY {
            return Self::NONE;
        }
        Self { ln, error: (first - ln).exp() * self.error + (second - ln).exp() * other.error }
    }
}

/// The probability that a standard normal number lies between `low` and `high`, without cancellation in the
/// tails.
pub(super) fn mass(low: f64, high: f64) -> Mass {
    if low >= high {
        return Mass::NONE;
    }
    // Both ends are mirrored into the upper tail, where logarithms of small masses are exact. In the lower
    // tail both probabilities above the ends are close to 1, and their difference would cancel.
    let (near, far) = if low > 0.0 { (low, high) } else { (-high, -low) };
    let tail = ln_above(near);
    if tail == f64::NEG_INFINITY {
        return Mass::NONE;
    }
    // A difference that is smaller than its error is replaced by the error, which is larger.
    let (part, error) = (-(ln_above(far) - tail).exp_m1(), TAIL_ERROR * (1.0 - tail));
    Mass { ln: tail + part.max(error).ln(), error: error / part.max(error) }
}

/// `ln` of the probability that a standard normal number is above `x`.
pub(super) fn ln_above(x: f64) -> f64 {
    ln_erfc(x / SQRT_2) - LN_2
}

/// The natural logarithm of `erfc(x)`, also where `erfc` underflows (by its asymptotic series there).
pub(super) fn ln_erfc(x: f64) -> f64 {
    // From 20 on, the first term that the series leaves out is 4·10⁻¹⁴ of it, within [`TAIL_ERROR`]. Below 20
    // `erfc` is far from underflow, which comes near 26.
    if x < 20.0 {
        return libm::erfc(x).ln();
    }
    let inverse = -0.5 / (x * x);
    let series = [9.0, 7.0, 5.0, 3.0, 1.0].iter().fold(1.0, |sum, odd| 1.0 + odd * inverse * sum);
    -x * x - x.ln() - 0.5 * PI.ln() + series.ln()
}

/// `ln(exp(a) + exp(b))`.
pub(super) fn ln_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    // Minus infinity minus minus infinity would be NaN.
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of mpmath with 30 digits.
    #[test]
    fn tails_are_accurate_and_join() {
        assert!((mass(-1.0, 1.0).ln.exp() - 0.682_689_492_137_086).abs() < 1e-14);
        for (low, high, ln) in [(10.0, 11.0, -53.231_310_226), (-41.0, -40.0, -804.608_442_014)] {
            let got = mass(low, high).ln;
            assert!((got - ln).abs() < 1e-8, "{low} to {high}: {got}");
        }
        let (left, right) = (ln_erfc(20.0f64.next_down()), ln_erfc(20.0));
        assert!((left - right).abs() < 1e-12, "{left} {right}");
        assert_eq!([mass(1.0, 1.0), mass(f64::INFINITY, f64::INFINITY)], [Mass::NONE; 2]);
        assert_eq!(mass(f64::NEG_INFINITY, f64::INFINITY).ln, 0.0);
    }

    #[test]
    fn what_rounding_may_change_covers_narrow_intervals() {
        // A density times a width is exact to 1e-9 here, whatever tails are subtracted.
        for (low, width) in [(0.5, 1e-5), (-3.0, 1e-6), (8.0, 1e-7)] {
            let middle: f64 = low + width / 2.0;
            let exact = (-middle * middle / 2.0).exp() / (2.0 * PI).sqrt() * width;
            let got = mass(low, low + width);
            assert!((got.ln.exp() / exact - 1.0).abs() <= got.error + 1e-9, "{low}: {got:?} {exact}");
            assert!(got.error < 1e-6, "{got:?}");
        }
    }
}
