//! Steps of private training that count as spent before they are made, and other noise beside them.

use thiserror::Error;

use super::tight::Known;
use super::{Account, Mechanism, rounded_up};

/// How far the density of all noise beside the steps may be from a Gaussian density, as the logarithm of
/// their quotient. It is fixed, because the filter stays valid only if nothing that it counts with depends on
/// what was released, except for the squares of sensitivity over noise.
const MOST_LN_DENSITY: f64 = 1e-5;

/// Steps that count as spent from the beginning, each at its worst.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reserved {
    /// The least noise multiplier: standard deviation of the noise, divided by the clip.
    pub noise_multiplier: f64,
    /// The largest probability that a record is in a step's sample.
    pub sampling_probability: f64,
    /// How many steps the budget is for, over all rounds.
    pub steps: u64,
}

/// What neither the reserved steps nor Gaussian noise cover.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
pub enum NotPlanned {
    /// More steps than are reserved.
    #[error("with this release there would be {got} steps of private training")]
    Steps {
        /// All steps, those of the release included.
        got: u64,
    },
    /// A step with less noise, or with more sampling.
    #[error(
        "a step has noise of {noise_multiplier} times its clip and a sampling probability of {sampling_probability}"
    )]
    Noise {
        /// The step's noise multiplier.
        noise_multiplier: f64,
        /// The step's sampling probability.
        sampling_probability: f64,
    },
    /// A release whose noise is not known to be nearly Gaussian.
    #[error(
        "something was or would be released without noise, or with too little noise on too many coordinates"
    )]
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
    /// ε at `delta` of all reserved steps together with the account's other noise (`PRIV-05`). How many of
    /// the reserved steps the account has makes no difference.
    ///
    /// # Errors
    /// Something in the account that is neither a reserved step nor nearly Gaussian noise.
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
                    // A count that does not fit the number becomes the largest number.
                    steps = steps.saturating_add(count as u64);
                }
                noise => beside.push((noise, count)),
            }
        }
        if steps > reserved.steps {
            return Err(NotPlanned::Steps { got: steps });
        }
        let known = Known::gaussian(&beside, MOST_LN_DENSITY).ok_or(NotPlanned::NotGaussian)?;
        // All steps, those not made yet included: what is counted must not depend on how far training came.
        let worst = [(reserved.mechanism(), rounded_up(reserved.steps))];
        let renyi = known.epsilon_by_renyi(&worst, delta);
        let tight = known.with(&worst).and_then(|known| known.epsilon(delta, renyi));
        Ok(tight.map_or(renyi, |tight| tight.min(renyi)))
    }
}
