//! Budgets: how much may be spent, and the filter that decides whether the next release fits.
//!
//! There are two filters, and the policy fixes beforehand which one holds. Both stay valid if later releases
//! are chosen by what earlier ones showed. Adding up (ε, δ), or taking a privacy loss distribution of what
//! happened to be released, does not.
//!
//! 1. Without planned training, Rényi divergences at one order are added up. The budget alone fixes the order
//!    (Feldman and Zrnic, "Individual Privacy Accounting via a Rényi Filter", 2021, theorem 4.3).
//! 2. A policy may name the private training that its budget is for: a number of steps, the least noise and
//!    the largest sampling probability. All of these steps count as spent from the beginning, each at its
//!    worst. Everything else is counted as Gaussian noise, for which the squares of sensitivity over noise
//!    add up. What is counted then does not depend on what is chosen when (`PRIV-05`), so that a privacy loss
//!    distribution of it is valid, which is tighter.

use cloister_params::limits::{PrivacyLimits, TrainingLimits};
use cloister_params::plan::CERTAIN_MICRO;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::accountant::{Account, NotPlanned, Reserved, renyi};

/// The most that a member's releases may cost together. The hospital's policy sets it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The largest ε, above 0.
    pub epsilon: f64,
    /// The δ at which ε holds, between 0 and 1.
    pub delta: f64,
    /// The private training that the budget is for, which the second filter reserves; `None` chooses the
    /// first filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingLimits>,
}

impl From<PrivacyLimits> for Budget {
    fn from(limits: PrivacyLimits) -> Self {
        Self { epsilon: limits.maximum_epsilon, delta: limits.maximum_delta, training: limits.training }
    }
}

/// Figures that do not make a budget.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
pub enum BudgetError {
    /// An ε that is not positive.
    #[error("ε = {0} is not a budget; ε must be a positive number")]
    Epsilon(f64),
    /// A δ that is not a small probability.
    #[error("δ = {0} is not between 0 and 1; choose it well below one over the number of units")]
    Delta(f64),
    /// Training without noise, or with a sampling probability out of range.
    #[error(
        "policy `training`: a noise multiplier of {} thousandths and a sampling probability of {} \
         millionths are not private training; both must be at least 1, and the probability at most 1000000",
        .0.noise_multiplier_milli, .0.sampling_probability_micro
    )]
    Training(TrainingLimits),
}

/// Why a release does not fit the budget.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
pub enum WouldExceed {
    /// Everything together would cost too much.
    #[error(
        "policy `maximum_epsilon`: with this release ε would be {got:.3} at δ = {delta:e} (counted so that \
         it holds however releases are chosen), this party allows {limit}"
    )]
    Epsilon {
        /// ε with the release, by the filter.
        got: f64,
        /// The budget's ε.
        limit: f64,
        /// The budget's δ.
        delta: f64,
    },
    /// Something that the policy's training does not cover.
    #[error(
        "policy `training`: {why}. This party's budget is for {} steps with noise of at least {} \
         thousandths of the clip and a sampling probability of at most {} millionths; the plan must keep \
         to them, or the privacy officer must decide on others",
        .limit.steps, .limit.noise_multiplier_milli, .limit.sampling_probability_micro
    )]
    Training {
        /// What is not covered.
        why: NotPlanned,
        /// The policy's training.
        limit: TrainingLimits,
    },
}

impl Budget {
    /// A budget without planned training.
    ///
    /// # Errors
    /// As for [`Self::checked`].
    pub fn new(epsilon: f64, delta: f64) -> Result<Self, BudgetError> {
        Self { epsilon, delta, training: None }.checked()
    }

    /// The same budget, if its figures are possible.
    ///
    /// # Errors
    /// An ε that is not positive, a δ that is not between 0 and 1, or training that is not private.
    pub fn checked(self) -> Result<Self, BudgetError> {
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return Err(BudgetError::Epsilon(self.epsilon));
        }
        if !(self.delta > 0.0 && self.delta < 1.0) {
            return Err(BudgetError::Delta(self.delta));
        }
        match self.training {
            Some(training) if !reserved(training).mechanism().is_valid() => {
                Err(BudgetError::Training(training))
            }
            _ => Ok(self),
        }
    }

    /// The order at which the first filter counts: the one at which most Gaussian releases fit. It depends on
    /// the budget alone, because an order that is chosen by what was released would make the filter invalid.
    pub fn order(self) -> f64 {
        // From 1.001 to about 400,000, each 1 % further from 1: small ε need large orders.
        let orders = (0..2000).map(|power| 1.0 + 1e-3 * 1.01f64.powi(power));
        let room = orders.map(|order| (order, renyi::from_epsilon(order, self.epsilon, self.delta) / order));
        room.max_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(2.0, |(order, _)| order)
    }

    /// The Rényi divergence that may be spent at [`Self::order`].
    pub fn limit(self) -> f64 {
        renyi::from_epsilon(self.order(), self.epsilon, self.delta)
    }

    /// ε of an account as the filter counts it; infinite if the policy's training does not cover the account.
    pub fn epsilon_by_filter(self, account: &Account) -> f64 {
        self.counted(account).unwrap_or(f64::INFINITY)
    }

    fn counted(self, account: &Account) -> Result<f64, WouldExceed> {
        let Some(limit) = self.training else {
            let order = self.order();
            return Ok(renyi::to_epsilon(order, account.divergence(order), self.delta));
        };
        let found = account.epsilon_with_reserved(reserved(limit), self.delta);
        found.map_err(|why| WouldExceed::Training { why, limit })
    }

    /// Checks that everything in an account fits the budget (`PRIV-05`).
    ///
    /// # Errors
    /// What the account would cost, or what in it the policy's training does not cover.
    pub fn admit(self, account: &Account) -> Result<(), WouldExceed> {
        let got = self.counted(account)?;
        let fits = match self.training {
            None => account.divergence(self.order()) <= self.limit(),
            Some(_) => got <= self.epsilon,
        };
        let (limit, delta) = (self.epsilon, self.delta);
        if fits { Ok(()) } else { Err(WouldExceed::Epsilon { got, limit, delta }) }
    }
}

/// A warning about a δ that is too large for the number of records; `None` if it is below one over that
/// number.
///
/// A program that publishes each record with the probability δ keeps to (0, δ). With such a δ it publishes
/// one record in expectation.
pub fn warning_about_delta(delta: f64, records: u64) -> Option<String> {
    (delta * records as f64 >= 1.0).then(|| {
        format!(
            "δ = {delta:e} is not below one over {records} records: a program that publishes one of them \
             at random would keep to this δ. Choose a δ well below {:e}",
            1.0 / records as f64
        )
    })
}

/// The policy's training in the form that the accountant uses.
fn reserved(limits: TrainingLimits) -> Reserved {
    Reserved {
        noise_multiplier: f64::from(limits.noise_multiplier_milli) / 1e3,
        sampling_probability: f64::from(limits.sampling_probability_micro) / f64::from(CERTAIN_MICRO),
        steps: limits.steps,
    }
}

#[cfg(test)]
mod tests {
    use opendp::combinators::{make_fully_adaptive_composition, make_privacy_filter};
    use opendp::domains::AtomDomain;
    use opendp::measurements::make_gaussian;
    use opendp::measures::ZeroConcentratedDivergence;
    use opendp::metrics::AbsoluteDistance;

    use super::*;
    use crate::accountant::Mechanism;
    use crate::concentrated;

    #[test]
    fn for_gaussians_the_order_loses_nothing_against_opendps_conversion() {
        for (epsilon, delta) in [(0.5, 1e-6), (4.0, 1e-6), (12.0, 1e-9)] {
            let budget = Budget::new(epsilon, delta).expect("a budget");
            let rho = budget.limit() / budget.order();
            let converted = concentrated::epsilon(rho, delta).expect("in range");
            assert!(converted <= epsilon * (1.0 + 1e-9) && converted > epsilon * 0.999, "{converted}");
        }
    }

    /// PRIV-05
    #[test]
    fn the_filter_stops_where_opendps_does() {
        let budget = Budget::new(2.0, 1e-6).expect("a budget");
        let composition = make_fully_adaptive_composition(
            AtomDomain::<i64>::default(),
            AbsoluteDistance::<f64>::default(),
            ZeroConcentratedDivergence,
        );
        let limit = budget.limit() / budget.order();
        let filter = make_privacy_filter(composition.expect("composable"), 1.0, limit).expect("a filter");
        let mut theirs = filter.invoke(&0).expect("an odometer");
        let mut ours = Account::default();
        let mut answers = 0;
        for sigma in [20.0, 9.0, 31.0, 12.0].into_iter().cycle() {
            let noise = make_gaussian(AtomDomain::<i64>::default(), AbsoluteDistance::default(), sigma, None);
            let answered = theirs.invoke(noise.expect("a measurement")).is_ok();
            ours.add(
                Mechanism::Concentrated { rho: concentrated::gaussian(sigma, 1.0).expect("in range") },
                1,
            );
            assert_eq!(budget.admit(&ours).is_ok(), answered);
            if !answered {
                break;
            }
            answers += 1;
        }
        assert!(answers > 5, "{answers}");
    }

    fn training(milli: u32, micro: u32, steps: u64) -> TrainingLimits {
        TrainingLimits { noise_multiplier_milli: milli, sampling_probability_micro: micro, steps }
    }

    fn step(noise_multiplier: f64, sampling_probability: f64) -> Mechanism {
        Mechanism::Gaussian { noise_multiplier, sampling_probability }
    }

    /// PRIV-05
    #[test]
    fn training_that_is_fixed_beforehand_is_counted_as_it_is_and_no_more_of_it_admitted() {
        let limits = training(1000, 10_000, 1000);
        let exact = {
            let mut account = Account::default();
            account.add(step(1.0, 0.01), 1000);
            account.epsilon(1e-5).epsilon
        };
        let budget = Budget { training: Some(limits), ..Budget::new(exact * 1.001, 1e-5).expect("a budget") };
        let mut account = Account::default();
        assert!(
            budget.epsilon_by_filter(&account) >= exact,
            "all of it is taken for spent from the beginning"
        );
        account.add(step(1.0, 0.01), 400);
        account.add(step(2.0, 0.001), 600);
        assert_eq!(budget.admit(&account), Ok(()));
        account.add(step(2.0, 0.001), 1);
        let refused = |account: &Account| match budget.admit(account) {
            Err(WouldExceed::Training { why, limit }) if limit == limits => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&account), NotPlanned::Steps { got: 1001 });
        for (sigma, q) in [(0.999, 0.01), (1.0, 0.010_001)] {
            let mut account = Account::default();
            account.add(step(sigma, q), 1);
            assert!(matches!(refused(&account), NotPlanned::Noise { .. }), "{sigma} {q}");
        }
        let mut account = Account::default();
        account.add(Mechanism::Concentrated { rho: 1e-9 }, 1);
        assert_eq!(refused(&account), NotPlanned::NotGaussian);
        // Without the limits the filter by an order admits less of the same training.
        let mut account = Account::default();
        account.add(step(1.0, 0.01), 1000);
        assert!(Budget { training: None, ..budget }.admit(&account).is_err());
    }

    /// PRIV-05: what is released beside training adds up to the budget, whatever came first.
    #[test]
    fn noise_beside_the_training_adds_up_to_the_budget() {
        let limits = Some(training(1000, 10_000, 1000));
        let budget = Budget { training: limits, ..Budget::new(4.0, 1e-5).expect("a budget") };
        let noise =
            Mechanism::DiscreteGaussian { sigma: 1000, parties: 1, coordinates: 64, sensitivity: 100.0 };
        let mut account = Account::default();
        let mut fits = 0;
        while budget.admit(&account).is_ok() {
            account.add(noise, 1);
            fits += 1;
        }
        let Err(WouldExceed::Epsilon { got, limit, delta }) = budget.admit(&account) else {
            panic!("too much")
        };
        assert!((4.0..4.2).contains(&got) && (limit, delta) == (4.0, 1e-5), "{got}");
        let mut whole = Account::default();
        whole.add(step(1.0, 0.01), 1000);
        whole.add(noise, fits - 1);
        let exact = whole.epsilon(1e-5).epsilon;
        assert!(fits > 20 && exact <= 4.0 && exact > 3.8, "{fits} {exact}");
    }

    #[test]
    fn a_delta_that_lets_a_record_be_published_is_warned_of() {
        assert_eq!(warning_about_delta(1e-6, 999_999), None);
        let warning = warning_about_delta(1e-3, 1000).expect("as likely as one of them");
        assert!(warning.contains("well below 1e-3"), "{warning}");
    }

    #[test]
    fn figures_that_are_no_budget_are_refused() {
        assert_eq!(Budget::new(0.0, 1e-6), Err(BudgetError::Epsilon(0.0)));
        assert_eq!(Budget::new(1.0, 1.0), Err(BudgetError::Delta(1.0)));
        assert!(Budget::new(f64::NAN, 1e-6).is_err());
        let budget = Budget::new(1.0, 1e-6).expect("a budget");
        for wrong in [training(0, 1000, 5), training(1000, 0, 5), training(1000, 1_000_001, 5)] {
            let refused = Budget { training: Some(wrong), ..budget }.checked();
            assert_eq!(refused, Err(BudgetError::Training(wrong)));
        }
    }
}
