//! Rényi differential privacy of Gaussian mechanisms, and its conversion to (ε, δ).
//!
//! Sources: Mironov, Talwar and Zhang, "Rényi Differential Privacy of the Sampled Gaussian Mechanism" (2019),
//! sections 3.3 (orders that are integers and orders that are not); Canonne, Kamath and Steinke, "The
//! Discrete Gaussian for Differential Privacy" (2020), proposition 12 (conversion) and theorem 4 (discrete
//! Gaussian).

use super::Mechanism;
use super::normal::{ln_add, ln_erfc};

/// The least ε at `delta`, over all [`orders`], of something that is `rho`-zCDP and of further mechanisms,
/// each with its count.
pub(super) fn least_epsilon(rho: f64, others: &[(Mechanism, f64)], delta: f64) -> f64 {
    let mut least = f64::INFINITY;
    for order in orders() {
        let divergences = others.iter().map(|(mechanism, count)| count * mechanism.divergence(order));
        least = least.min(to_epsilon(order, order * rho + divergences.sum::<f64>(), delta));
    }
    least
}

/// The orders at which the accountant looks for the least ε.
pub fn orders() -> impl Iterator<Item = f64> {
    let fine = (1..100).map(|tenth| 1.0 + f64::from(tenth) / 10.0);
    let whole = (11..64).map(f64::from);
    fine.chain(whole).chain([64.0, 96.0, 128.0, 192.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0])
}

/// The ε at `delta` that follows from a Rényi divergence at one order.
pub fn to_epsilon(order: f64, divergence: f64, delta: f64) -> f64 {
    let epsilon = divergence + slack(order, delta);
    // NaN bounds nothing.
    if epsilon.is_nan() { f64::INFINITY } else { epsilon.max(0.0) }
}

/// The divergence at `order` that may be spent so that the ε at `delta` stays at most `epsilon`. Below 0,
/// nothing may be.
pub fn from_epsilon(order: f64, epsilon: f64, delta: f64) -> f64 {
    epsilon - slack(order, delta)
}

/// What the conversion adds to a divergence.
fn slack(order: f64, delta: f64) -> f64 {
    (-1.0 / order).ln_1p() - (delta * order).ln() / (order - 1.0)
}

/// Rényi divergence at `order` of the Gaussian mechanism with sensitivity 1 and standard deviation `sigma`,
/// on a Poisson sample with probability `q` (add or remove one).
pub(super) fn sampled_gaussian(q: f64, sigma: f64, order: f64) -> f64 {
    if q == 0.0 {
        return 0.0;
    }
    if q == 1.0 {
        return order / (2.0 * sigma * sigma);
    }
    let moment = if order.fract() == 0.0 {
        whole_moment(q, sigma, order)
    } else {
        fractional_moment(q, sigma, order).unwrap_or_else(|| between_whole_orders(q, sigma, order))
    };
    let divergence = moment / (order - 1.0);
    // With too little noise for floating-point numbers the result is NaN, which bounds nothing. Rounding must
    // not make a divergence negative.
    if divergence.is_nan() { f64::INFINITY } else { divergence.max(0.0) }
}

/// `ln E[(p/q)^order]` by the binomial theorem (section 3.3, equation 5).
fn whole_moment(q: f64, sigma: f64, order: f64) -> f64 {
    let (mut total, mut coefficient) = (f64::NEG_INFINITY, 0.0);
    // `coefficient` is the logarithm of the binomial coefficient, because coefficients overflow.
    for k in 0..=order as u32 {
        let k = f64::from(k);
        let term =
            coefficient + k * q.ln() + (order - k) * (-q).ln_1p() + k * (k - 1.0) / (2.0 * sigma * sigma);
        total = ln_add(total, term);
        coefficient += (order - k).ln() - (k + 1.0).ln();
    }
    total
}

/// The most terms of a series.
const SERIES: f64 = 1000.0;

/// `ln E[(p/q)^order]` by the two binomial series left and right of where the densities cross (section 3.3).
fn fractional_moment(q: f64, sigma: f64, order: f64) -> Option<f64> {
    let variance = sigma * sigma;
    let crossing = variance * ((1.0 / q) - 1.0).ln() + 0.5;
    // Positive and negative terms are added up separately, because their sums are logarithms; the difference
    // is taken once.
    let (mut plus, mut minus) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    let (mut coefficient, mut positive, mut k) = (0.0, true, 0.0);
    while k < SERIES {
        let rest = order - k;
        let left_moment = k * (k - 1.0) / (2.0 * variance);
        let right_moment = rest * (rest - 1.0) / (2.0 * variance);
        let left =
            coefficient + k * q.ln() + rest * (-q).ln_1p() + left_moment + ln_half_erfc(k - crossing, sigma);
        let right = coefficient
            + rest * q.ln()
            + k * (-q).ln_1p()
            + right_moment
            + ln_half_erfc(crossing - rest, sigma);
        let sum = if positive { &mut plus } else { &mut minus };
        *sum = ln_add(ln_add(*sum, left), right);
        // Beyond the order the terms alternate in sign; the series ends where they are e⁻³⁰ of the sum.
        if k > order && left.max(right) < plus - 30.0 {
            return Some(plus + (-(minus - plus).exp()).ln_1p());
        }
        coefficient += rest.abs().ln() - (k + 1.0).ln();
        // Each factor `order - k` of the binomial coefficient below 0 turns its sign.
        positive ^= rest < 0.0;
        k += 1.0;
    }
    None
}

/// `ln` of half of `erfc(argument / (sqrt(2)·sigma))`: the mass of a normal distribution beyond the argument.
fn ln_half_erfc(argument: f64, sigma: f64) -> f64 {
    ln_erfc(argument / (std::f64::consts::SQRT_2 * sigma)) - std::f64::consts::LN_2
}

/// An upper bound for an order whose series does not converge: the logarithm of the moment is convex in the
/// order, so that the line between the neighbouring whole orders is above it.
fn between_whole_orders(q: f64, sigma: f64, order: f64) -> f64 {
    let (low, part) = (order.floor(), order.fract());
    (1.0 - part) * whole_moment(q, sigma, low) + part * whole_moment(q, sigma, low + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_series_join() {
        for (q, sigma) in [(0.01, 1.0), (0.2, 0.7), (0.9, 3.0)] {
            let whole = sampled_gaussian(q, sigma, 7.0);
            let near = sampled_gaussian(q, sigma, 7.0 + 1e-9);
            assert!((whole / near - 1.0).abs() < 1e-6, "{q} {sigma}: {whole} {near}");
            assert!(whole < sampled_gaussian(1.0, sigma, 7.0), "sampling amplifies");
        }
        let (almost, all) = (sampled_gaussian(1.0 - 1e-12, 2.0, 5.0), sampled_gaussian(1.0, 2.0, 5.0));
        assert!((almost / all - 1.0).abs() < 1e-6);
    }

    /// Values of numerical integration with 30 digits (mpmath).
    #[test]
    fn orders_between_integers_agree_with_integration() {
        for (q, sigma, expected) in
            [(0.01, 1.0, 0.524_695_667_330_309e-3), (0.1904, 1.726, 0.051_743_263_566_566)]
        {
            let got = sampled_gaussian(q, sigma, 5.5);
            assert!((got / expected - 1.0).abs() < 1e-9, "{got} {expected}");
        }
    }

    #[test]
    fn the_conversion_inverts() {
        let spent = from_epsilon(8.0, 3.0, 1e-6);
        assert!((to_epsilon(8.0, spent, 1e-6) - 3.0).abs() < 1e-12);
    }
}
