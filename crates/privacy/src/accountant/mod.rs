//! The accountant: what mechanisms cost together, as (ε, δ).
//!
//! It composes in two ways, and both give upper bounds. Privacy loss distributions
//! ([`Account::epsilon_by_losses`]) are tight. Rényi divergences ([`Account::epsilon_by_renyi`]) also cover
//! mechanisms of which only their concentrated differential privacy is known. Neighbouring data sets differ
//! in one unit that is added or removed.

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

/// The largest parameter of a mechanism. One over it is the smallest noise and the smallest probability.
const LARGEST: f64 = 1e18;

/// How many of the latest kinds of mechanisms are searched for an equal one.
const KINDS: usize = 256;

/// The most parties whose noise is in a sum. A consortium has at most 300 members.
/// [`SummedNoise`] adds up a term for each party, so that a ledger with any number would take for ever.
const MOST_PARTIES: u32 = 4096;

/// How a release depends on the data of one unit, and which noise it has.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Mechanism {
    /// Gaussian noise of `noise_multiplier` times the L2 sensitivity, on a Poisson sample of the units.
    Gaussian {
        /// Standard deviation of the noise, divided by the sensitivity.
        noise_multiplier: f64,
        /// Probability that a unit is in the sample; 1 takes all units.
        sampling_probability: f64,
    },
    /// A sum of discrete Gaussians on each coordinate of an integer vector.
    DiscreteGaussian {
        /// Parameter of each party's noise, in integer steps.
        sigma: u32,
        /// How many parties' noise is in the sum.
        parties: u32,
        /// Coordinates of the vector.
        coordinates: u64,
        /// The most by which one unit changes the vector, in L2 norm.
        sensitivity: f64,
    },
    /// Anything that is `rho`-zero-concentrated differentially private.
    Concentrated {
        /// The parameter `rho`, at least 0.
        rho: f64,
    },
    /// A release without noise, or without a bound on what one unit changes. No ε covers it.
    Unbounded,
}

impl Mechanism {
    /// Noise on a vector that one unit changes by at most `sensitivity` in L2 norm; [`Self::Unbounded`]
    /// without noise.
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

    /// The least `rho` for which the mechanism is known to be `rho`-zCDP; `None` if none is known.
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

    /// Whether the accountant covers these parameters. It covers all that a plan can have, and more.
    pub fn is_valid(self) -> bool {
        match self {
            Self::Gaussian { noise_multiplier, sampling_probability } => {
                (LARGEST.recip()..=LARGEST).contains(&noise_multiplier)
                    && (LARGEST.recip()..=1.0).contains(&sampling_probability)
            }
            Self::DiscreteGaussian { sigma, parties, coordinates, sensitivity } => {
                sigma > 0
                    && (1..=MOST_PARTIES).contains(&parties)
                    && coordinates > 0
                    && (0.0..=LARGEST).contains(&sensitivity)
            }
            Self::Concentrated { rho } => (0.0..=LARGEST).contains(&rho),
            Self::Unbounded => true,
        }
    }
}

/// A count as a float that is at least as large. Floats have 53 bits, so that a plain conversion may round
/// down.
fn rounded_up(count: u64) -> f64 {
    let near = count as f64;
    if (near as u64) < count { near.next_up() } else { near }
}

/// Mechanisms that were or will be applied to the same data, each with how often it is applied.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Account {
    parts: Vec<(Mechanism, u64)>,
}

/// What an account costs at one δ.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Epsilon {
    /// The least ε that one of the methods finds; infinite if something in the account is unbounded.
    pub epsilon: f64,
    /// The method: `pld` (privacy loss distributions), `zcdp` (`opendp`'s composition) or `rdp` (Rényi
    /// divergences).
    pub method: &'static str,
}

impl Account {
    /// Adds `count` applications of a mechanism.
    pub fn add(&mut self, mechanism: Mechanism, count: u64) {
        if count == 0 {
            return;
        }
        // Only the latest kinds are searched, so that a ledger with many kinds does not take quadratic time.
        let known = self.parts.iter_mut().rev().take(KINDS).find(|(known, _)| *known == mechanism);
        match known.and_then(|(_, times)| Some((times.checked_add(count)?, times))) {
            Some((sum, times)) => *times = sum,
            // A count that does not fit the number gets a second entry.
            None => self.parts.push((mechanism, count)),
        }
    }

    /// How many entries the account has: about as many as kinds of mechanisms.
    pub fn kinds(&self) -> usize {
        self.parts.len()
    }

    /// The mechanisms, with counts that are rounded up.
    fn counted(&self) -> Vec<(Mechanism, f64)> {
        self.parts.iter().map(|(mechanism, count)| (*mechanism, rounded_up(*count))).collect()
    }

    /// The Rényi divergence of everything together, at an order above 1.
    pub fn divergence(&self, order: f64) -> f64 {
        self.counted().iter().map(|(mechanism, count)| count * mechanism.divergence(order)).sum()
    }

    /// The least ε at `delta` (`PRIV-07`). Every method's ε is an upper bound, so that the smallest is one
    /// too.
    pub fn epsilon(&self, delta: f64) -> Epsilon {
        let renyi = self.epsilon_by_renyi(delta);
        let mut best = Epsilon { epsilon: renyi, method: "rdp" };
        let others =
            [("pld", self.losses_below(delta, renyi)), ("zcdp", self.epsilon_by_concentration(delta))];
        for (method, epsilon) in others {
            // NaN is at most nothing, so that it is never published.
            if let Some(epsilon) = epsilon.filter(|epsilon| *epsilon <= best.epsilon) {
                best = Epsilon { epsilon, method };
            }
        }
        best
    }

    /// ε at `delta` by `opendp`'s composition and conversion; `None` if a mechanism's `rho` is not known.
    fn epsilon_by_concentration(&self, delta: f64) -> Option<f64> {
        let mut rhos = Vec::new();
        for (mechanism, count) in self.counted() {
            // Rounded up, because `opendp`'s own figures are.
            rhos.push((mechanism.rho()? * count).next_up());
        }
        concentrated::epsilon(concentrated::compose(rhos).ok()?, delta).ok()
    }

    /// ε at `delta` by Rényi divergences: the best of all [`renyi::orders`].
    pub fn epsilon_by_renyi(&self, delta: f64) -> f64 {
        if self.parts.is_empty() {
            return 0.0;
        }
        // What is zCDP has a divergence of `order·rho`, so that one sum serves all orders.
        let (mut rho, mut others) = (0.0, Vec::new());
        for (mechanism, count) in alike::together(self.counted()) {
            match mechanism.rho() {
                Some(mechanism_rho) => rho += mechanism_rho * count,
                None => others.push((mechanism, count)),
            }
        }
        renyi::least_epsilon(rho, &others, delta)
    }

    /// ε at `delta` by privacy loss distributions; `None` if a mechanism's distribution is not known.
    pub fn epsilon_by_losses(&self, delta: f64) -> Option<f64> {
        self.losses_below(delta, self.epsilon_by_renyi(delta))
    }

    /// The same, given an upper bound on the result, from which the grid's first step follows.
    fn losses_below(&self, delta: f64, at_most: f64) -> Option<f64> {
        if self.parts.is_empty() {
            return Some(0.0);
        }
        Known::from_mechanisms(&alike::together(self.counted()))?.epsilon(delta, at_most)
    }
}

#[cfg(test)]
mod tests;
