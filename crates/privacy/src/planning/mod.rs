//! From a target (ε, δ) over a number of rounds to the noise that keeps to it, and how large that noise is
//! compared with the signal.
//!
//! The noise is calibrated to the filter that the ledger enforces ([`Budget::admit`]), so that no round of
//! the plan is refused. For private training this is the filter of a policy that names the plan's training,
//! which loses almost nothing. For sums, the accountant finds a slightly smaller ε afterwards.

mod rounds;
#[cfg(test)]
mod tests;

use cloister_params::block::BlockKind;
use cloister_params::fixed::{RingWidth, Scale};
use cloister_params::limits::TrainingLimits;
use cloister_params::plan::{CERTAIN_MICRO, LEAST_NOISE_MULTIPLIER_MILLI, PrivateTrainingPlan, ring_reach};
use serde::Serialize;
use thiserror::Error;

use crate::accountant::{Account, Epsilon, Mechanism};
use crate::budget::Budget;
use crate::concentrated::{MapError, SummedNoise};
use crate::discrete_gaussian::MAX_SIGMA;
use crate::release::HONEST_NOISES;

pub use rounds::{RoundsPlan, RoundsTarget};

/// The largest clip that is tried, in steps: 2 to this power.
const LARGEST_CLIP_LOG2: u32 = 20;
/// The smallest clip that is tried, in steps: 2 to this power. With fewer steps, rounding loses too much of
/// an update.
const SMALLEST_CLIP_LOG2: u32 = 4;
/// The largest noise multiplier that is tried, in thousandths. With so much noise nothing is learned.
const LARGEST_MULTIPLIER_MILLI: u32 = 1_000_000_000;

/// Why no settings reach a target.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum PlanningError {
    /// No clip and noise fit the ring.
    #[error(
        "noise for ε = {epsilon} over {rounds} rounds does not fit a ring of {bits} bits with \
         {coordinates} coordinates; take a wider ring, fewer rounds or a larger ε"
    )]
    Ring {
        /// The target's ε.
        epsilon: f64,
        /// The target's rounds.
        rounds: u32,
        /// The ring's width.
        bits: u8,
        /// Coordinates of the update.
        coordinates: u64,
    },
    /// A target so strict that no noise reaches it.
    #[error("no noise reaches ε = {0}; take a larger ε or fewer rounds")]
    Multiplier(f64),
    /// An empty batch, or one that is larger than the data.
    #[error(
        "a batch of {batch} of {records} records is not a sample; a batch has at least 1 record and at most all records"
    )]
    Batch {
        /// Records in a batch.
        batch: u32,
        /// All records of the member.
        records: u32,
    },
    /// What rounds release beside what is noised to the target costs too much by itself.
    #[error(
        "no noise keeps {rounds} rounds within ε = {epsilon}: what it does not cover (sketches, token counts, routing \
         distributions) costs ε = {beside:.3} by itself; {}take a larger ε, or train fewer experts in fewer layers",
        fewer_rounds(*.possible)
    )]
    Rounds {
        /// The target's ε.
        epsilon: f64,
        /// The target's rounds.
        rounds: u32,
        /// ε of the rounds with the most noise, infinite if something is released without noise.
        beside: f64,
        /// The most rounds that are possible with the target's ε.
        possible: u32,
    },
    /// `opendp` has no answer.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// What to do about a target with room for so many rounds, as a part of a sentence.
fn fewer_rounds(possible: u32) -> String {
    match possible {
        // Not one round is possible, so fewer rounds are no help.
        0 => String::new(),
        possible => format!("plan at most {possible} rounds, "),
    }
}

/// The least noise, in thousandths of what it is relative to, that is admitted and above `too_little`. More noise must
/// never cost more. `None` if [`LARGEST_MULTIPLIER_MILLI`] is not admitted either.
fn least_noise<E>(too_little: u32, mut admits: impl FnMut(u32) -> Result<bool, E>) -> Result<Option<u32>, E> {
    // Doubling finds noise that is enough; bisection finds the least such noise.
    let (mut low, mut high) = (too_little, 1000);
    while !admits(high)? {
        if high > LARGEST_MULTIPLIER_MILLI {
            return Ok(None);
        }
        (low, high) = (high, 2 * high);
    }
    while high - low > 1 {
        let middle = u32::midpoint(low, high);
        if admits(middle)? { high = middle } else { low = middle }
    }
    Ok(Some(high))
}

/// What a plan for the unit `member` must keep to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MemberTarget {
    /// The budget for all rounds together.
    pub budget: Budget,
    /// How many rounds the budget must last for.
    pub rounds: u32,
    /// How many members take part.
    pub members: u32,
    /// Coordinates of a member's update, all blocks together.
    pub coordinates: u64,
    /// The ring in which sums are computed.
    pub ring: RingWidth,
}

/// Settings that keep to a [`MemberTarget`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct MemberPlan {
    /// L2 clip of a member's update, all blocks together, in steps.
    pub clip_steps: u32,
    /// Standard deviation of the noise that each member adds to each coordinate, in steps.
    pub noise_steps: u32,
    /// The most by which one member changes the sum, in L2 norm, in steps, rounding included.
    pub sensitivity: f64,
    /// How many honest members' noise is counted.
    pub honest_noises: u32,
    /// The standard deviation of the counted noise, divided by the sensitivity.
    pub noise_multiplier: f64,
    /// The zCDP parameter `rho` of one round.
    pub rho_per_round: f64,
    /// ε of all rounds, by the filter that the ledger enforces.
    pub epsilon_by_filter: f64,
    /// ε of all rounds, by the accountant.
    pub epsilon: Epsilon,
    /// Bits that sums and their noise need, sign included.
    pub bits_used: u32,
    /// Bits of the ring.
    pub bits_of_ring: u8,
    /// The norm of the noise in the mean of all members' updates, divided by the clip. Above 1, the noise is
    /// larger than any update.
    pub noise_of_mean_over_clip: f64,
}

impl MemberTarget {
    /// The settings with the finest quantisation step that fits the ring.
    ///
    /// # Errors
    /// A target that no clip and noise reach in this ring.
    pub fn plan(&self) -> Result<MemberPlan, PlanningError> {
        // From the largest: the more steps a clip has, the less an update loses by rounding.
        for power in (SMALLEST_CLIP_LOG2..=LARGEST_CLIP_LOG2).rev() {
            if let Some(plan) = self.with_clip(1 << power)? {
                return Ok(plan);
            }
        }
        let Budget { epsilon, .. } = self.budget;
        let (rounds, bits, coordinates) = (self.rounds, self.ring.bits(), self.coordinates);
        Err(PlanningError::Ring { epsilon, rounds, bits, coordinates })
    }

    /// The plan with this clip; `None` if no noise reaches the target, or the sums do not fit the ring.
    fn with_clip(&self, clip_steps: u32) -> Result<Option<MemberPlan>, PlanningError> {
        // Everything here is in steps, so that the size of a step does not matter.
        let sensitivity = Scale { step_log2: 0, clip_steps }.largest_norm(BlockKind::Shared);
        if !self.admits(MAX_SIGMA, sensitivity)? {
            return Ok(None);
        }
        // More noise never costs more, so that bisection finds the least noise that is admitted.
        let (mut low, mut noise_steps) = (0, MAX_SIGMA);
        while noise_steps - low > 1 {
            let middle = u32::midpoint(low, noise_steps);
            if self.admits(middle, sensitivity)? { noise_steps = middle } else { low = middle }
        }
        // A sum that leaves the ring wraps around without a trace, so that the plan must exclude it.
        let reach = ring_reach(clip_steps, noise_steps, 1, self.members);
        if reach >= 1 << (self.ring.bits() - 1) {
            return Ok(None);
        }
        let rho_per_round = self.rho(noise_steps, sensitivity)?;
        let account = self.account(rho_per_round);
        let counted = f64::from(noise_steps) * f64::from(HONEST_NOISES).sqrt();
        let noise_of_mean =
            f64::from(noise_steps) * (self.coordinates as f64 / f64::from(self.members)).sqrt();
        Ok(Some(MemberPlan {
            clip_steps,
            noise_steps,
            sensitivity,
            honest_noises: HONEST_NOISES,
            noise_multiplier: counted / sensitivity,
            rho_per_round,
            epsilon_by_filter: self.budget.epsilon_by_filter(&account),
            epsilon: account.epsilon(self.budget.delta),
            bits_used: u128::BITS - reach.leading_zeros() + 1,
            bits_of_ring: self.ring.bits(),
            noise_of_mean_over_clip: noise_of_mean / f64::from(clip_steps),
        }))
    }

    /// `rho` of one round's sum with noise of `sigma` steps at each member.
    fn rho(&self, sigma: u32, sensitivity: f64) -> Result<f64, MapError> {
        SummedNoise { sigma, parties: HONEST_NOISES, length: self.coordinates }.rho(sensitivity)
    }

    /// Whether the budget has room for all rounds with this noise.
    fn admits(&self, sigma: u32, sensitivity: f64) -> Result<bool, MapError> {
        let rho = self.rho(sigma, sensitivity)?;
        Ok(self.budget.admit(&self.account(rho)).is_ok())
    }

    /// An account of all rounds, each with this `rho`.
    fn account(&self, rho: f64) -> Account {
        let mut account = Account::default();
        account.add(Mechanism::Concentrated { rho }, self.rounds.into());
        account
    }
}

/// What a plan for the unit `record`, with DP-SGD at each member, must keep to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RecordTarget {
    /// The budget for all rounds together.
    pub budget: Budget,
    /// How many rounds the budget must last for.
    pub rounds: u32,
    /// Passes over the records in a round.
    pub local_epochs: u16,
    /// Probability with which each record is in a step's batch, in millionths, as in a plan.
    pub sampling_probability_micro: u32,
}

/// Settings that keep to a [`RecordTarget`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct RecordPlan {
    /// The noise multiplier: the standard deviation of the noise on a batch's summed gradients, divided by
    /// the per-record clip, in thousandths, as in a plan.
    pub noise_multiplier_milli: u32,
    /// Probability that a record is in a step's batch, in millionths.
    pub sampling_probability_micro: u32,
    /// Steps of all rounds together.
    pub steps: u64,
    /// ε of all rounds, by the filter that the ledger enforces.
    pub epsilon_by_filter: f64,
    /// ε of all rounds, by the accountant.
    pub epsilon: Epsilon,
}

/// The sampling probability, in millionths and rounded up, with which a batch has this many of the records in
/// expectation.
///
/// # Errors
/// An empty batch, or one that is larger than the data.
pub fn sampling_probability_micro(batch: u32, records: u32) -> Result<u32, PlanningError> {
    if batch == 0 || batch > records {
        return Err(PlanningError::Batch { batch, records });
    }
    let micro = (u64::from(batch) * u64::from(CERTAIN_MICRO)).div_ceil(u64::from(records));
    Ok(u32::try_from(micro).unwrap_or(CERTAIN_MICRO))
}

impl RecordTarget {
    /// The settings with the least noise.
    ///
    /// # Errors
    /// A target that no noise reaches.
    pub fn plan(&self) -> Result<RecordPlan, PlanningError> {
        // Plans with less than the least multiplier are invalid.
        let admits = |milli| Ok(self.admits(milli));
        let high = least_noise::<PlanningError>(LEAST_NOISE_MULTIPLIER_MILLI - 1, admits)?
            .ok_or(PlanningError::Multiplier(self.budget.epsilon))?;
        let account = self.account(high);
        Ok(RecordPlan {
            noise_multiplier_milli: high,
            sampling_probability_micro: self.sampling_probability_micro,
            steps: self.steps(high),
            epsilon_by_filter: self.budget_for(high).epsilon_by_filter(&account),
            epsilon: account.epsilon(self.budget.delta),
        })
    }

    /// Whether the budget has room for all rounds with this noise multiplier, in thousandths.
    fn admits(&self, milli: u32) -> bool {
        self.budget_for(milli).admit(&self.account(milli)).is_ok()
    }

    /// The budget of a policy that names this training (`PRIV-05`).
    fn budget_for(&self, noise_multiplier_milli: u32) -> Budget {
        let (sampling_probability_micro, steps) =
            (self.sampling_probability_micro, self.steps(noise_multiplier_milli));
        let training = TrainingLimits { noise_multiplier_milli, sampling_probability_micro, steps };
        Budget { training: Some(training), ..self.budget }
    }

    /// The private training of these rounds' plans. Clip and minimum of records do not matter for the cost of
    /// training.
    fn training(&self, noise_multiplier_milli: u32) -> PrivateTrainingPlan {
        let sampling_probability_micro = self.sampling_probability_micro;
        PrivateTrainingPlan {
            clipping_norm_milli: 1000,
            noise_multiplier_milli,
            sampling_probability_micro,
            minimum_records: 1,
        }
    }

    /// Steps of all rounds. They fit 64 bits: a plan has at most 1000 passes in a round and a sampling
    /// probability of at least 100 millionths.
    fn steps(&self, milli: u32) -> u64 {
        u64::from(self.rounds) * self.training(milli).steps(self.local_epochs)
    }

    fn account(&self, milli: u32) -> Account {
        let training = self.training(milli);
        let (noise_multiplier, sampling_probability) =
            (training.noise_multiplier(), training.sampling_probability());
        let mut account = Account::default();
        account.add(Mechanism::Gaussian { noise_multiplier, sampling_probability }, self.steps(milli));
        account
    }
}
