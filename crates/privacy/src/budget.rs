//! Budgets: how much may be spent, and the filter that says when the next release would be too much.
//!
//! The filter adds up Rényi divergences at one order, fixed by the budget alone. It holds however later releases are
//! chosen from what earlier ones showed (Feldman and Zrnic, "Individual Privacy Accounting via a Rényi Filter", 2021,
//! theorem 4.3), which a sum of (ε, δ) or a privacy loss distribution does not.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::accountant::{Account, renyi};

/// The most that a member's releases may cost together.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The largest ε.
    pub epsilon: f64,
    /// The δ at which it holds.
    pub delta: f64,
}

/// Figures that are no budget.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
pub enum BudgetError {
    /// An ε that is not positive.
    #[error("a budget of ε = {0} is none; ε is a positive number")]
    Epsilon(f64),
    /// A δ that is no small probability.
    #[error("δ = {0} is not between 0 and 1; take it well below one over the number of units")]
    Delta(f64),
}

/// A release that would exceed the budget.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
#[error(
    "policy `maximum_epsilon`: with this release ε would be {got:.3} at δ = {delta:e} (by the filter that holds for any choice of releases), this party allows {limit}"
)]
pub struct WouldExceed {
    /// ε with the release.
    pub got: f64,
    /// The budget's ε.
    pub limit: f64,
    /// The budget's δ.
    pub delta: f64,
}

impl Budget {
    /// A budget.
    ///
    /// # Errors
    /// An ε that is not positive, or a δ that is not between 0 and 1.
    pub fn new(epsilon: f64, delta: f64) -> Result<Self, BudgetError> {
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(BudgetError::Epsilon(epsilon));
        }
        if !(delta > 0.0 && delta < 1.0) {
            return Err(BudgetError::Delta(delta));
        }
        Ok(Self { epsilon, delta })
    }

    /// The order at which the filter counts: the one at which most Gaussian releases fit.
    pub fn order(self) -> f64 {
        let orders = (0..2000).map(|power| 1.0 + 1e-3 * 1.01f64.powi(power));
        let fits = |order: f64| renyi::from_epsilon(order, self.epsilon, self.delta) / order;
        orders.max_by(|a, b| fits(*a).total_cmp(&fits(*b))).unwrap_or(2.0)
    }

    /// The divergence that may be spent at [`Self::order`].
    pub fn limit(self) -> f64 {
        renyi::from_epsilon(self.order(), self.epsilon, self.delta)
    }

    /// ε of an account by the filter.
    pub fn epsilon_by_filter(self, account: &Account) -> f64 {
        let order = self.order();
        renyi::to_epsilon(order, account.divergence(order), self.delta)
    }

    /// Whether everything in an account fits (`PRIV-05`).
    ///
    /// # Errors
    /// What it would come to instead.
    pub fn admit(self, account: &Account) -> Result<(), WouldExceed> {
        let got = self.epsilon_by_filter(account);
        let fits = account.divergence(self.order()) <= self.limit();
        if fits { Ok(()) } else { Err(WouldExceed { got, limit: self.epsilon, delta: self.delta }) }
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

    #[test]
    fn figures_that_are_no_budget_are_refused() {
        assert_eq!(Budget::new(0.0, 1e-6), Err(BudgetError::Epsilon(0.0)));
        assert_eq!(Budget::new(1.0, 1.0), Err(BudgetError::Delta(1.0)));
        assert!(Budget::new(f64::NAN, 1e-6).is_err());
    }
}
