//! The accountant: what mechanisms cost together, as (ε, δ).
//!
//! Two ways of composing, both upper bounds: privacy loss distributions ([`Account::epsilon_by_losses`], tight), and
//! Rényi divergences ([`Account::epsilon_by_renyi`]), which also cover mechanisms that are known by their
//! concentrated differential privacy alone. Neighbouring data sets differ in one unit that is added or removed.

mod convolution;
mod loss;
mod normal;
pub mod renyi;

use serde::{Deserialize, Serialize};

use crate::concentrated;
use loss::{Direction, LossDistribution, SampledGaussian, discrete_gaussian};

/// The finest grid of privacy losses.
const FINEST_STEP: f64 = 2e-4;
/// The most grid points that losses up to the largest plausible one may take.
const MOST_POINTS: f64 = (1 << 19) as f64;

/// Names the accountant in what is published, together with the crate's version.
pub const ACCOUNTANT: &str = concat!("cloister-privacy ", env!("CARGO_PKG_VERSION"));

/// What a release does to the data of one unit.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Mechanism {
    /// Gaussian noise of `noise_multiplier` times the L2 sensitivity, on a Poisson sample of the units.
    Gaussian {
        /// Standard deviation of the noise over the sensitivity.
        noise_multiplier: f64,
        /// Probability that a unit is in the sample; 1 is everybody.
        sampling_probability: f64,
    },
    /// Discrete Gaussian noise on one integer.
    DiscreteGaussian {
        /// Parameter of the noise.
        sigma: f64,
        /// The most by which one unit changes the integer.
        sensitivity: f64,
    },
    /// Anything that is `rho`-zero-concentrated differentially private.
    Concentrated {
        /// Its parameter.
        rho: f64,
    },
    /// A release without noise, or without a bound on what one unit changes: no ε covers it.
    Unbounded,
}

impl Mechanism {
    /// The Rényi divergence at an order above 1.
    pub fn divergence(self, order: f64) -> f64 {
        match self {
            Self::Gaussian { noise_multiplier, sampling_probability } => {
                renyi::sampled_gaussian(sampling_probability, noise_multiplier, order)
            }
            Self::DiscreteGaussian { sigma, sensitivity } => order * (sensitivity / sigma).powi(2) / 2.0,
            Self::Concentrated { rho } => order * rho,
            Self::Unbounded => f64::INFINITY,
        }
    }

    /// Its losses in a direction, if its dominating pair of distributions is known.
    fn losses(self, direction: Direction, step: f64) -> Option<LossDistribution> {
        match self {
            Self::Gaussian { noise_multiplier: sigma, sampling_probability: q } => {
                Some(SampledGaussian { sigma, q }.losses(direction, step))
            }
            Self::DiscreteGaussian { sigma, sensitivity } => {
                Some(discrete_gaussian(sigma, sensitivity, step))
            }
            Self::Concentrated { .. } | Self::Unbounded => None,
        }
    }

    /// Whether its parameters are ones that the accountant covers.
    pub fn is_valid(self) -> bool {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        match self {
            Self::Gaussian { noise_multiplier, sampling_probability } => {
                positive(noise_multiplier) && positive(sampling_probability) && sampling_probability <= 1.0
            }
            Self::DiscreteGaussian { sigma, sensitivity } => positive(sigma) && positive(sensitivity),
            Self::Concentrated { rho } => rho.is_finite() && rho >= 0.0,
            Self::Unbounded => true,
        }
    }
}

/// Mechanisms that were or will be applied to the same data, with how often.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Account {
    parts: Vec<(Mechanism, u32)>,
}

/// What an account comes to at one δ.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Epsilon {
    /// The least ε of the methods below.
    pub epsilon: f64,
    /// How it was found: `pld`, `zcdp` or `rdp`.
    pub method: &'static str,
}

impl Account {
    /// Adds `count` applications of a mechanism.
    pub fn add(&mut self, mechanism: Mechanism, count: u32) {
        if count == 0 {
            return;
        }
        match self.parts.iter_mut().find(|(known, _)| *known == mechanism) {
            Some((_, times)) => *times += count,
            None => self.parts.push((mechanism, count)),
        }
    }

    /// The Rényi divergence of everything together, at an order above 1.
    pub fn divergence(&self, order: f64) -> f64 {
        self.parts.iter().map(|(mechanism, count)| f64::from(*count) * mechanism.divergence(order)).sum()
    }

    /// The least ε at `delta` (`PRIV-07`).
    pub fn epsilon(&self, delta: f64) -> Epsilon {
        let renyi = self.epsilon_by_renyi(delta);
        let tight = [("pld", self.epsilon_by_losses(delta)), ("zcdp", self.epsilon_by_concentration(delta))];
        let found =
            tight.into_iter().filter_map(|(method, epsilon)| Some(Epsilon { epsilon: epsilon?, method }));
        found.fold(Epsilon { epsilon: renyi, method: "rdp" }, |best, other| {
            if other.epsilon <= best.epsilon { other } else { best }
        })
    }

    /// ε at `delta` by `opendp`'s composition and conversion; `None` where a mechanism's `rho` is not known.
    fn epsilon_by_concentration(&self, delta: f64) -> Option<f64> {
        let rho = |(mechanism, count): &(Mechanism, u32)| match mechanism {
            Mechanism::Concentrated { rho } => Some((rho * f64::from(*count)).next_up()),
            _ => None,
        };
        let rhos: Option<Vec<f64>> = self.parts.iter().map(rho).collect();
        concentrated::epsilon(concentrated::compose(rhos?).ok()?, delta).ok()
    }

    /// ε at `delta` by Rényi divergences, the best of [`renyi::orders`].
    pub fn epsilon_by_renyi(&self, delta: f64) -> f64 {
        if self.parts.is_empty() {
            return 0.0;
        }
        let at = |order: f64| renyi::to_epsilon(order, self.divergence(order), delta);
        renyi::orders().map(at).fold(f64::INFINITY, f64::min)
    }

    /// ε at `delta` by privacy loss distributions; `None` where a mechanism's is not known.
    pub fn epsilon_by_losses(&self, delta: f64) -> Option<f64> {
        if self.parts.is_empty() {
            return Some(0.0);
        }
        let reach = self.epsilon_by_renyi(delta * 1e-10);
        if !reach.is_finite() {
            return None;
        }
        let step = FINEST_STEP.max(reach / MOST_POINTS);
        let in_direction = |direction| {
            let parts: Option<Vec<_>> = self
                .parts
                .iter()
                .map(|(mechanism, count)| Some((mechanism.losses(direction, step)?, *count)))
                .collect();
            Some(convolution::compose(&parts?, delta).epsilon(delta))
        };
        Some(in_direction(Direction::Remove)?.max(in_direction(Direction::Add)?))
    }
}

#[cfg(test)]
mod tests;
