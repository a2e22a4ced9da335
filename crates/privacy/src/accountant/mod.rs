//! The accountant: what mechanisms cost together, as (ε, δ).
//!
//! Two ways of composing, both upper bounds: privacy loss distributions ([`Account::epsilon_by_losses`],
//! tight), and Rényi divergences ([`Account::epsilon_by_renyi`]), which also cover mechanisms that are known
//! by their concentrated differential privacy alone. Neighbouring data sets differ in one unit that is added
//! or removed.

mod alike;
mod convolution;
mod gaussian;
mod loss;
mod normal;
pub mod renyi;
mod reserved;
mod tight;

use serde::{Deserialize, Serialize};

use crate::concentrated::{self, MapError, SummedNoise};
pub use reserved::{NotPlanned, Reserved};
use tight::Known;

/// Names the accountant in what is published, together with the crate's version.
pub const ACCOUNTANT: &str = concat!("cloister-privacy ", env!("CARGO_PKG_VERSION"));

/// The largest parameter of a mechanism, and one over the least.
const LARGEST: f64 = 1e18;

/// The most kinds of mechanisms among which an equal one is looked for.
const KINDS: usize = 256;

/// The most parties whose noise is in a sum: more than a consortium has members.
const MOST_PARTIES: u32 = 4096;

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
    /// A sum of discrete Gaussians on each coordinate of an integer vector.
    DiscreteGaussian {
        /// Parameter of each party's noise.
        sigma: u32,
        /// Parties whose noise is in the sum.
        parties: u32,
        /// Coordinates.
        coordinates: u64,
        /// The most by which one unit changes the vector, in L2 norm.
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
    /// Noise on a vector that one unit changes by at most `sensitivity` in L2 norm; without noise it is
    /// unbounded.
    ///
    /// # Errors
    /// A sensitivity that is not finite, or negative.
    pub fn from_noise(noise: SummedNoise, sensitivity: f64) -> Result<Self, MapError> {
        let SummedNoise { sigma, parties, length: coordinates } = noise;
        let bounded = noise.rho(sensitivity)?.is_finite();
        let mechanism = Self::DiscreteGaussian { sigma, parties, coordinates, sensitivity };
        Ok(if bounded { mechanism } else { Self::Unbounded })
    }

    /// The Rényi divergence at an order above 1.
    pub fn divergence(self, order: f64) -> f64 {
        match self {
            Self::Gaussian { noise_multiplier, sampling_probability } => {
                renyi::sampled_gaussian(sampling_probability, noise_multiplier, order)
            }
            _ => order * self.rho().unwrap_or(f64::INFINITY),
        }
    }

    /// The least `rho` for which it is known to be `rho`-zero-concentrated differentially private; none where
    /// none is.
    fn rho(self) -> Option<f64> {
        match self {
            Self::Gaussian { noise_multiplier, sampling_probability } => {
                (sampling_probability == 1.0).then(|| (0.5 / noise_multiplier / noise_multiplier).next_up())
            }
            Self::DiscreteGaussian { sigma, parties, coordinates, sensitivity } => {
                SummedNoise { sigma, parties, length: coordinates }.rho(sensitivity).ok()
            }
            Self::Concentrated { rho } => Some(rho),
            Self::Unbounded => None,
        }
    }

    /// Whether its parameters are ones that the accountant covers: any that a plan can have, and more.
    pub fn is_valid(self) -> bool {
        let not_negative = |value: f64| (0.0..=LARGEST).contains(&value);
        match self {
            Self::Gaussian { noise_multiplier, sampling_probability } => {
                (LARGEST.recip()..=LARGEST).contains(&noise_multiplier)
                    && (LARGEST.recip()..=1.0).contains(&sampling_probability)
            }
            Self::DiscreteGaussian { sigma, parties, coordinates, sensitivity } => {
                sigma > 0
                    && (1..=MOST_PARTIES).contains(&parties)
                    && coordinates > 0
                    && not_negative(sensitivity)
            }
            Self::Concentrated { rho } => not_negative(rho),
            Self::Unbounded => true,
        }
    }
}

/// A count as a number that is at least as large.
fn rounded_up(count: u64) -> f64 {
    let near = count as f64;
    if (near as u64) < count { near.next_up() } else { near }
}

/// Mechanisms that were or will be applied to the same data, with how often.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Account {
    parts: Vec<(Mechanism, u64)>,
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
    pub fn add(&mut self, mechanism: Mechanism, count: u64) {
        if count == 0 {
            return;
        }
        // Of many kinds, those that came long ago are not looked for.
        let known = self.parts.iter_mut().rev().take(KINDS).find(|(known, _)| *known == mechanism);
        match known.and_then(|(_, times)| Some((times.checked_add(count)?, times))) {
            Some((sum, times)) => *times = sum,
            // More than a number holds is kept in two parts.
            None => self.parts.push((mechanism, count)),
        }
    }

    /// How many kinds of mechanisms there are in it.
    pub fn kinds(&self) -> usize {
        self.parts.len()
    }

    /// The parts, with counts that are rounded up.
    fn counted(&self) -> Vec<(Mechanism, f64)> {
        self.parts.iter().map(|(mechanism, count)| (*mechanism, rounded_up(*count))).collect()
    }

    /// The Rényi divergence of everything together, at an order above 1.
    pub fn divergence(&self, order: f64) -> f64 {
        self.counted().iter().map(|(mechanism, count)| count * mechanism.divergence(order)).sum()
    }

    /// The least ε at `delta` (`PRIV-07`).
    pub fn epsilon(&self, delta: f64) -> Epsilon {
        let renyi = self.epsilon_by_renyi(delta);
        let tight =
            [("pld", self.losses_below(delta, renyi)), ("zcdp", self.epsilon_by_concentration(delta))];
        let found =
            tight.into_iter().filter_map(|(method, epsilon)| Some(Epsilon { epsilon: epsilon?, method }));
        found.fold(Epsilon { epsilon: renyi, method: "rdp" }, |best, other| {
            if other.epsilon <= best.epsilon { other } else { best }
        })
    }

    /// ε at `delta` by `opendp`'s composition and conversion; `None` where a mechanism's `rho` is not known.
    fn epsilon_by_concentration(&self, delta: f64) -> Option<f64> {
        let rhos: Option<Vec<f64>> = self
            .counted()
            .into_iter()
            .map(|(mechanism, count)| mechanism.rho().map(|rho| (rho * count).next_up()))
            .collect();
        concentrated::epsilon(concentrated::compose(rhos?).ok()?, delta).ok()
    }

    /// ε at `delta` by Rényi divergences, the best of [`renyi::orders`].
    pub fn epsilon_by_renyi(&self, delta: f64) -> f64 {
        if self.parts.is_empty() {
            return 0.0;
        }
        let (mut rho, mut others) = (0.0, Vec::new());
        for (mechanism, count) in alike::together(self.counted()) {
            match mechanism.rho() {
                Some(own) => rho += own * count,
                None => others.push((mechanism, count)),
            }
        }
        let at = |order: f64| {
            let divergences = others.iter().map(|(mechanism, count)| count * mechanism.divergence(order));
            renyi::to_epsilon(order, order * rho + divergences.sum::<f64>(), delta)
        };
        renyi::orders().map(at).fold(f64::INFINITY, f64::min)
    }

    /// ε at `delta` by privacy loss distributions; `None` where a mechanism's is not known.
    pub fn epsilon_by_losses(&self, delta: f64) -> Option<f64> {
        self.losses_below(delta, self.epsilon_by_renyi(delta))
    }

    /// The same, given an ε that it is at most.
    fn losses_below(&self, delta: f64, at_most: f64) -> Option<f64> {
        if self.parts.is_empty() {
            return Some(0.0);
        }
        Known::from_mechanisms(&alike::together(self.counted()))?.epsilon(delta, at_most)
    }
}

#[cfg(test)]
mod tests;
