//! The normal distribution's tails, accurate where they are tiny.

use std::f64::consts::{PI, SQRT_2};

/// The probability that a standard normal number lies between `low` and `high`, without cancellation in the tails.
pub(super) fn mass(low: f64, high: f64) -> f64 {
    if low > 0.0 { above(low) - above(high) } else { above(-high) - above(-low) }
}

/// The probability that a standard normal number is above `x`.
pub(super) fn above(x: f64) -> f64 {
    0.5 * libm::erfc(x / SQRT_2)
}

/// The natural logarithm of `erfc(x)`, also where `erfc` underflows (by its asymptotic series there).
pub(super) fn ln_erfc(x: f64) -> f64 {
    if x < 20.0 {
        return libm::erfc(x).ln();
    }
    let inverse = 1.0 / (x * x);
    let series = 1.0 - 0.5 * inverse + 0.75 * inverse.powi(2) - 1.875 * inverse.powi(3);
    -x * x - x.ln() - 0.5 * PI.ln() + series.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_accurate_and_join() {
        assert!((mass(-1.0, 1.0) - 0.682_689_492_137_086).abs() < 1e-14);
        let tail = mass(10.0, 11.0);
        assert!((tail / 7.619_661_1e-24 - 1.0).abs() < 1e-6, "{tail}");
        let (left, right) = (ln_erfc(20.0 - 1e-9), ln_erfc(20.0));
        assert!((left - right).abs() < 1e-6, "{left} {right}");
    }
}
