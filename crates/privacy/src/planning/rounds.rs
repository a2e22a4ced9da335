//! Noise for whole rounds: everything that they release fits the budget, and not the training alone.

use cloister_params::limits::{PrivacyLimits, PrivacyUnit, TrainingLimits};
use cloister_params::plan::{LEAST_NOISE_MULTIPLIER_MILLI, RoundSettings};

use super::{LARGEST_MULTIPLIER_MILLI, PlanningError, least_noise};
use crate::accountant::{Account, Epsilon};
use crate::budget::Budget;
use crate::release::{account_of_rounds, releases};

/// What rounds must keep to, whatever they release.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RoundsTarget {
    /// The largest ε of all rounds together, above 0.
    pub epsilon: f64,
    /// The δ at which ε is taken, between 0 and 1.
    pub delta: f64,
    /// Whose data is protected.
    pub unit: PrivacyUnit,
    /// How many rounds the budget must last for.
    pub rounds: u32,
}

/// Settings that keep to a [`RoundsTarget`].
#[derive(Clone, PartialEq, Debug)]
pub struct RoundsPlan {
    /// The settings with the least noise.
    pub settings: RoundSettings,
    /// The limits that hospitals put into their policies. For unit `record` they reserve the rounds' training (`PRIV-05`).
    pub limits: PrivacyLimits,
    /// ε of all rounds, by the filter that the ledger enforces.
    pub epsilon_by_filter: f64,
    /// ε of all rounds, by the accountant.
    pub epsilon: Epsilon,
}

impl RoundsTarget {
    /// The settings with the least noise. `settings` makes settings from noise in thousandths: for unit `record` the noise
    /// multiplier of private training, for unit `member` the noise of each sum over its clip. It returns `None` for more
    /// noise than settings can have.
    ///
    /// # Errors
    /// [`PlanningError::Rounds`] if no noise reaches the target, with what would be possible.
    pub fn plan(&self, settings: &dyn Fn(u32) -> Option<RoundSettings>) -> Result<RoundsPlan, PlanningError> {
        let too_little = match self.unit {
            PrivacyUnit::Record => LEAST_NOISE_MULTIPLIER_MILLI - 1,
            PrivacyUnit::Member => 0,
        };
        let admits = |milli| match settings(milli) {
            Some(settings) => self.admits(&settings),
            None => Ok(false),
        };
        let planned = least_noise(too_little, admits)?.and_then(settings);
        match planned {
            Some(planned) => self.keep(planned),
            None => Err(self.impossible(settings)?),
        }
    }

    fn keep(&self, settings: RoundSettings) -> Result<RoundsPlan, PlanningError> {
        let account = self.account(&settings)?;
        let limits = self.limits(&settings);
        Ok(RoundsPlan {
            epsilon_by_filter: Budget::from(limits).epsilon_by_filter(&account),
            epsilon: account.epsilon(self.delta),
            settings,
            limits,
        })
    }

    /// The limits of a policy for these rounds.
    fn limits(&self, settings: &RoundSettings) -> PrivacyLimits {
        let private = settings.training.private.filter(|_| self.unit == PrivacyUnit::Record);
        PrivacyLimits {
            unit: self.unit,
            maximum_epsilon: self.epsilon,
            maximum_delta: self.delta,
            training: private.map(|private| TrainingLimits {
                noise_multiplier_milli: private.noise_multiplier_milli,
                sampling_probability_micro: private.sampling_probability_micro,
                steps: u64::from(self.rounds) * private.steps(settings.training.local_epochs),
            }),
        }
    }

    fn account(&self, settings: &RoundSettings) -> Result<Account, PlanningError> {
        Ok(account_of_rounds(&releases(settings, self.unit)?, self.rounds))
    }

    fn admits(&self, settings: &RoundSettings) -> Result<bool, PlanningError> {
        let account = self.account(settings)?;
        Ok(Budget::from(self.limits(settings)).admit(&account).is_ok())
    }

    /// Why the target is impossible, and how many rounds its ε has room for.
    fn impossible(
        &self,
        settings: &dyn Fn(u32) -> Option<RoundSettings>,
    ) -> Result<PlanningError, PlanningError> {
        let Some(quietest) = most_noise(settings) else {
            return Ok(PlanningError::Multiplier(self.epsilon));
        };
        let beside = self.account(&quietest)?.epsilon(self.delta).epsilon;
        // Fewer rounds never cost more. 0 rounds are always possible, and `rounds` are not.
        let (mut possible, mut too_many) = (0, self.rounds);
        while too_many - possible > 1 {
            let middle = u32::midpoint(possible, too_many);
            let fewer = Self { rounds: middle, ..*self };
            if fewer.admits(&quietest)? { possible = middle } else { too_many = middle }
        }
        let Self { epsilon, rounds, .. } = *self;
        Ok(PlanningError::Rounds { epsilon, rounds, beside, possible })
    }
}

/// The settings with the most noise that they can have, up to a power of two.
fn most_noise(settings: &dyn Fn(u32) -> Option<RoundSettings>) -> Option<RoundSettings> {
    let mut milli = LARGEST_MULTIPLIER_MILLI;
    while milli > 0 {
        if let Some(settings) = settings(milli) {
            return Some(settings);
        }
        milli /= 2;
    }
    None
}
