//! Zero-concentrated differential privacy (zCDP): what discrete Gaussian noise on vectors costs, by
//! `opendp`'s proven maps.
//!
//! `opendp` rounds every figure up. It has no map for a sum of several members' discrete Gaussians, which is
//! not exactly a discrete Gaussian. Its cost follows Kairouz, Liu and Steinke, "The Distributed Discrete
//! Gaussian Mechanism for Federated Learning with Secure Aggregation" (2021), theorem 1.

use opendp::combinators::{CompositionMeasure, ConcentratedMeasure};
use opendp::domains::{AtomDomain, VectorDomain};
use opendp::measurements::make_gaussian;
use opendp::measures::ZeroConcentratedDivergence;
use opendp::metrics::L2Distance;
use thiserror::Error;

/// Figures for which `opendp` has no answer, such as a negative sensitivity.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("opendp: {0}")]
pub struct MapError(String);

fn map_error(error: opendp::error::Error) -> MapError {
    MapError(error.to_string())
}

/// The zCDP parameter `rho` of an integer vector with discrete Gaussian noise `sigma` on each coordinate, if
/// one unit changes the vector by at most `sensitivity` in L2 norm. It is infinite without noise.
///
/// # Errors
/// Values that are not finite, or negative.
pub fn gaussian(sigma: f64, sensitivity: f64) -> Result<f64, MapError> {
    let domain = VectorDomain::new(AtomDomain::<i64>::default());
    let noise =
        make_gaussian::<_, _, ZeroConcentratedDivergence>(domain, L2Distance::<f64>::default(), sigma, None);
    noise.and_then(|noise| noise.map(&sensitivity)).map_err(map_error)
}

/// The `rho` of several releases together.
///
/// # Errors
/// Values that are not a `rho`: negative, or not a number.
pub fn compose(rhos: Vec<f64>) -> Result<f64, MapError> {
    ZeroConcentratedDivergence.compose(rhos).map_err(map_error)
}

/// The least ε at `delta` of a release that is `rho`-zCDP.
///
/// # Errors
/// A `rho` or `delta` out of range.
pub fn epsilon(rho: f64, delta: f64) -> Result<f64, MapError> {
    ZeroConcentratedDivergence::convert(rho).and_then(|profile| profile.epsilon(delta)).map_err(map_error)
}

/// The sum of `parties` independent discrete Gaussians with parameter `sigma` on each of `length`
/// coordinates.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SummedNoise {
    /// Parameter of each party's noise, in integer steps; 0 is no noise.
    pub sigma: u32,
    /// How many honest parties' noise is in the sum.
    pub parties: u32,
    /// Coordinates of the vector.
    pub length: u64,
}

impl SummedNoise {
    /// `tau`: how far the sum is from one discrete Gaussian. The larger the noise, the closer it is.
    fn distance(self) -> f64 {
        let variance = f64::from(self.sigma).powi(2);
        let mut sum = 0.0;
        for k in (1..self.parties).map(f64::from) {
            sum += (-2.0 * std::f64::consts::PI.powi(2) * variance * k / (k + 1.0)).exp();
        }
        10.0 * sum
    }

    /// The `rho` of a sum of vectors with this noise, if one unit changes the sum by at most `sensitivity` in
    /// L2 norm.
    ///
    /// One party's noise alone already gives the cost of [`gaussian`]; the smaller one of both bounds is
    /// taken.
    ///
    /// # Errors
    /// A sensitivity that is not finite, or negative.
    pub fn rho(self, sensitivity: f64) -> Result<f64, MapError> {
        // The others' noise is post-processing of what one member noised, so that this always holds.
        let alone = gaussian(f64::from(self.sigma), sensitivity)?;
        if self.sigma == 0 || self.parties < 2 {
            return Ok(alone);
        }
        let (tau, length) = (self.distance(), self.length as f64);
        let ratio = sensitivity / (f64::from(self.sigma) * f64::from(self.parties).sqrt());
        let by_squares = ratio * ratio + tau * length / 2.0;
        let by_sum = (ratio + tau * length.sqrt()).powi(2);
        // Rounded up, because opendp's own figures are.
        Ok(alone.min((by_squares.min(by_sum) / 2.0 * (1.0 + 4.0 * f64::EPSILON)).next_up()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gaussian_costs_half_the_squared_ratio() {
        assert_eq!(gaussian(4.0, 2.0), Ok(0.125));
        assert_eq!(gaussian(0.0, 2.0), Ok(f64::INFINITY));
        assert!(gaussian(1.0, -1.0).is_err());
    }

    #[test]
    fn wide_sums_cost_as_one_gaussian_of_their_variance_and_narrow_ones_more() {
        let noise = |sigma| SummedNoise { sigma, parties: 4, length: 1_000_000 };
        let wide = noise(16).rho(8.0).expect("in range");
        assert!((wide / 0.03125 - 1.0).abs() < 1e-12, "{wide}");
        let narrow = noise(1).rho(8.0).expect("in range");
        assert!(narrow > 8.5 && narrow < 32.0, "{narrow}");
        assert_eq!(SummedNoise { parties: 1, ..noise(16) }.rho(8.0), gaussian(16.0, 8.0));
    }
}
