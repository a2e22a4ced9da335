//! Gaussian noise without sampling: its ε in closed form, and discrete Gaussians as approximate Gaussians.

use std::f64::consts::PI;

use super::normal::ln_above;

/// A margin on δ, relative to it, for rounding errors.
const ROUNDING: f64 = 1e-6;
/// The least mean that is computed with. Below it, rounding errors are no longer small compared with the
/// difference of the tails; a smaller mean is replaced by this one, which costs more.
const LEAST_MEAN: f64 = 1e-7;
/// How far, relatively, the density of all releases together may be from a Gaussian density in
/// [`DiscreteNoise::near`].
const CLOSENESS: f64 = 1e-8;

/// `ln` of the hockey-stick divergence at `epsilon` of two normal distributions of variance 1 whose means are
/// `mean` apart.
///
/// Source: Balle and Wang, "Improving the Gaussian Mechanism for Differential Privacy" (2018), theorem 8.
fn ln_divergence(mean: f64, epsilon: f64) -> f64 {
    let (near, far) = (ln_above(epsilon / mean - mean / 2.0), ln_above(epsilon / mean + mean / 2.0));
    // `near` is factored out: it may be too small for a float, and its logarithm is not.
    near + (-(epsilon + far - near).min(0.0).exp_m1()).ln()
}

/// The least ε at `delta` of Gaussian noise of variance 1 on a value that changes by at most `mean`, rounded
/// up; `None` if it is not a finite number.
pub(super) fn epsilon(mean: f64, delta: f64) -> Option<f64> {
    if !mean.is_finite() {
        return None;
    }
    let mean = mean.max(LEAST_MEAN);
    let ln_delta = delta.ln() - ROUNDING;
    if ln_divergence(mean, 0.0) <= ln_delta {
        return Some(0.0);
    }
    // Doubling finds an ε that is large enough; bisection keeps `high` large enough, so that the result is
    // rounded up.
    let (mut low, mut high) = (0.0, mean * mean / 2.0 + mean);
    while !fits(mean, high, ln_delta) {
        if !high.is_finite() {
            return None;
        }
        (low, high) = (high, 2.0 * high);
    }
    while high - low > 1e-9 * high {
        let middle = f64::midpoint(low, high);
        if fits(mean, middle, ln_delta) { high = middle } else { low = middle }
    }
    Some(high)
}

/// Whether the divergence at `epsilon` is at most δ. NaN is not.
fn fits(mean: f64, epsilon: f64, ln_delta: f64) -> bool {
    ln_divergence(mean, epsilon) <= ln_delta
}

/// A sum of discrete Gaussians on each coordinate of integer vectors.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct DiscreteNoise {
    /// Parameter of each discrete Gaussian, in integer steps.
    pub(super) sigma: f64,
    /// How many of them are in the sum.
    pub(super) parties: f64,
    /// Coordinates of all releases together.
    pub(super) coordinates: f64,
}

/// A Gaussian whose values, after a post-processing step, have almost the density of some discrete noise.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Near {
    /// The Gaussian's variance.
    pub(super) variance: f64,
    /// The most by which the logarithms of the densities differ, over all coordinates together.
    pub(super) ln_density: f64,
}

impl DiscreteNoise {
    /// The Gaussian that is as close as this number of coordinates needs; `None` if there is none.
    pub(super) fn near(self) -> Option<Near> {
        self.rounded((8.0 * self.coordinates / CLOSENESS).max(16.0).ln() / (2.0 * PI * PI))
    }

    /// The Gaussian that is close to this noise after it is rounded with noise of variance `rounding`; `None`
    /// if it is too far.
    ///
    /// Draw `x` from a Gaussian of variance `s²`, and round it to an integer by the discrete Gaussian around
    /// `x` with parameter `r`. By Poisson summation, the sum of `exp(-(k - x)²/2r²)` over all integers `k` is
    /// `r·sqrt(2π)` up to a relative error of `theta(r)`, whatever `x` is. So the rounded value has the
    /// density of the discrete Gaussian with `sigma² = s² + r²` up to a relative error of `2·theta(r)`. In
    /// the same way, a sum of two discrete Gaussians is a discrete Gaussian up to `theta(sigma/sqrt(2))` and
    /// the normalisations of the three.
    ///
    /// Source: Peikert, "An Efficient and Parallel Gaussian Sampler for Lattices" (2010), theorem 3.1.
    pub(super) fn rounded(self, rounding: f64) -> Option<Near> {
        // For each further party: one `theta` for the sum, and three for normalisations, which are smaller.
        let summed = (self.parties - 1.0) * 4.0 * theta(self.sigma / std::f64::consts::SQRT_2);
        let variance = self.parties * self.sigma * self.sigma - rounding;
        let ln_density = self.coordinates * (summed + 3.0 * theta(rounding.sqrt()));
        (variance > 0.0 && ln_density < 1.0).then_some(Near { variance, ln_density })
    }
}

/// The most by which the sum of a Gaussian over shifted integers differs from its integral, relatively.
fn theta(sigma: f64) -> f64 {
    let first = (-2.0 * PI * PI * sigma * sigma).exp();
    // The exponents of further terms are 4, 9, 16 … times that of the first.
    2.0 * first / (1.0 - first.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean, δ and ε by mpmath with 50 digits.
    const EXACT: [(f64, f64, f64); 6] = [
        (1.0, 1e-5, 4.377_178_095_681_225),
        (0.001, 1e-6, 0.002_718_219_088_813_995),
        (0.02, 1e-15, 0.143_616_397_641_743_9),
        (5.0, 1e-15, 51.608_871_106_392_11),
        (33.0, 1e-6, 700.428_991_843_972_7),
        (1000.0, 1e-10, 506_360.344_069_977_5),
    ];

    #[test]
    fn epsilon_in_closed_form_is_that_of_high_precision() {
        for (mean, delta, expected) in EXACT {
            let got = epsilon(mean, delta).expect("finite");
            assert!(
                got >= expected && got <= expected * (1.0 + 1e-6) + 1e-12,
                "{mean} {delta}: {got}, not {expected}"
            );
        }
        assert_eq!(epsilon(1e-9, 1e-5), Some(0.0));
        assert_eq!([f64::NAN, f64::INFINITY].map(|mean| epsilon(mean, 1e-5)), [None; 2]);
    }

    /// Every density of one rounded coordinate, by summation over a fine grid of what is rounded.
    #[test]
    fn rounded_gaussians_are_as_near_as_is_said() {
        let (sigma, parties) = (2.0, 1.0);
        let near = DiscreteNoise { sigma, parties, coordinates: 1.0 }.near().expect("near");
        let rounding = sigma * sigma - near.variance;
        let gauss = |x: f64, variance: f64| (-x * x / (2.0 * variance)).exp();
        let over = |shift: f64, variance: f64| {
            (-60..=60).map(|k| gauss(f64::from(k) - shift, variance)).sum::<f64>()
        };
        let width = 1.0 / 64.0;
        for y in -8..=8 {
            let rounded = (-4096..=4096).map(|cell| {
                let x = f64::from(cell) * width;
                gauss(x, near.variance) * gauss(f64::from(y) - x, rounding) / over(x, rounding)
            });
            let density = rounded.sum::<f64>() * width / (2.0 * PI * near.variance).sqrt();
            let discrete = gauss(f64::from(y), sigma * sigma) / over(0.0, sigma * sigma);
            assert!((density / discrete).ln().abs() <= near.ln_density + 1e-13, "{y}: {density} {discrete}");
        }
    }

    /// The sum of two, exactly, beside one of twice the variance.
    #[test]
    fn sums_of_discrete_gaussians_are_as_near_as_is_said() {
        for sigma in [0.8f64, 1.0, 2.0] {
            let weight = |x: i32, variance: f64| (-f64::from(x * x) / (2.0 * variance)).exp();
            let total = |variance: f64| (-80..=80).map(|x| weight(x, variance)).sum::<f64>();
            let one = |x: i32, variance: f64| weight(x, variance) / total(variance);
            let (each, both) = (sigma * sigma, 2.0 * sigma * sigma);
            let limit = 4.0 * theta(sigma / std::f64::consts::SQRT_2);
            let mut most = 0.0f64;
            for y in -10..=10 {
                let sum: f64 = (-60..=60).map(|x| one(x, each) * one(y - x, each)).sum();
                most = most.max((sum / one(y, both)).ln().abs());
            }
            assert!(most <= limit + 1e-14, "{sigma}: {most} {limit}");
        }
    }

    #[test]
    fn noise_that_is_too_little_is_near_none() {
        assert_eq!(DiscreteNoise { sigma: 1.0, parties: 3.0, coordinates: 1e6 }.near(), None);
        assert_eq!(DiscreteNoise { sigma: 0.9, parties: 1.0, coordinates: 1e6 }.near(), None);
        let wide = DiscreteNoise { sigma: 100.0, parties: 3.0, coordinates: 1e9 }.near().expect("near");
        assert!(wide.variance > 29_997.0 && wide.ln_density < 1e-8, "{wide:?}");
    }
}
