//! Steps of private training that are taken for spent before they are, with noise beside them.

use thiserror::Error;

use super::tight::Known;
use super::{Account, Mechanism, rounded_up};

/// How far the density of all noise beside the steps may be from Gaussian, as a logarithm: fixed, as
/// everything that the filter counts with is fixed but the Gaussian noise.
const MOST_LN_DENSITY: f64 = 1e-5;

/// Steps that are taken for spent, each as the worst that it may be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reserved {
    /// The least noise over the clip.
    pub noise_multiplier: f64,
    /// The largest probability of a record to be in a step's sample.
    pub sampling_probability: f64,
    /// How many.
    pub steps: u64,
}

/// Something that neither the reserved steps nor Gaussian noise cover.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
pub enum NotPlanned {
    /// More steps than are reserved.
    #[error("with this release there would be {got} steps of private training")]
    Steps {
        /// Steps in all.
        got: u64,
    },
    /// A step with less noise, or with more sampling.
    #[error(
        "a step has noise of {noise_multiplier} of its clip and a sampling probability of {sampling_probability}"
    )]
    Noise {
        /// Noise over the clip.
        noise_multiplier: f64,
        /// Probability of a record.
        sampling_probability: f64,
    },
    /// A release that is not known to be nearly Gaussian.
    #[error("something was or would be released that has no noise, or too little on too many coordinates")]
    NotGaussian,
}

impl Reserved {
    /// One step.
    pub fn mechanism(self) -> Mechanism {
        let Self { noise_multiplier, sampling_probability, .. } = self;
        Mechanism::Gaussian { noise_multiplier, sampling_probability }
    }
}

impl Account {
    /// ε at `delta` of all reserved steps, and of the account's noise beside them (`PRIV-05`).
    ///
    /// # Errors
    /// Something in the account that is neither.
    pub fn epsilon_with_reserved(&self, reserved: Reserved, delta: f64) -> Result<f64, NotPlanned> {
        let (mut steps, mut beside) = (0u64, Vec::new());
        for (mechanism, count) in self.counted() {
            match mechanism {
                Mechanism::Gaussian { noise_multiplier, sampling_probability } => {
                    let covered = noise_multiplier >= reserved.noise_multiplier
                        && sampling_probability <= reserved.sampling_probability;
                    if !covered {
                        return Err(NotPlanned::Noise { noise_multiplier, sampling_probability });
                    }
                    // A count that is too large for a number is the largest that there is.
                    steps = steps.saturating_add(count as u64);
                }
                noise => beside.push((noise, count)),
            }
        }
        if steps > reserved.steps {
            return Err(NotPlanned::Steps { got: steps });
        }
        let known = Known::gaussian(&beside, MOST_LN_DENSITY).ok_or(NotPlanned::NotGaussian)?;
        let worst = [(reserved.mechanism(), rounded_up(reserved.steps))];
        let renyi = known.epsilon_by_renyi(&worst, delta);
        let tight = known.with(&worst).and_then(|known| known.epsilon(delta, renyi));
        Ok(tight.map_or(renyi, |tight| tight.min(renyi)))
    }
}
