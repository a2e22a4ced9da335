//! A hospital's privacy account: its ledger, the budget of its policy, and what a plan would release.

use cloister_params::consortium::Role;
use cloister_params::limits::{Date, PrivacyUnit};
use cloister_params::plan::RoundPlan;
use cloister_params::policy::Policy;
use cloister_privacy::budget::Budget;
use cloister_privacy::ledger::{Charge, Ledger, LedgerError, Opening, ReleasePermit};
use cloister_privacy::release::releases;

use crate::run::ClientConfig;

/// The unit of a hospital whose policy has no budget: what is released is counted all the same.
const DEFAULT_UNIT: PrivacyUnit = PrivacyUnit::Record;

/// The account of one hospital's data.
#[derive(Debug)]
pub(crate) struct ReleaseAccount {
    ledger: Ledger,
    policy: Policy,
    budget: Option<Budget>,
    unit: PrivacyUnit,
}

impl ReleaseAccount {
    /// Opens a member's ledger; a party that is no member has no data to account for.
    pub(crate) fn open(config: &ClientConfig) -> Result<Option<Self>, LedgerError> {
        let party = config.epoch.consortium().party(config.party);
        let Some(member) = party.filter(|party| party.roles.contains(&Role::Member)) else { return Ok(None) };
        let limits = config.policy.privacy;
        // PRIV-01
        let unit = limits.map_or(DEFAULT_UNIT, |limits| limits.unit);
        let ledger = Ledger::open(&config.ledger, Opening { holder: member.name.clone(), unit })?;
        let budget =
            limits.map(|limits| Budget { epsilon: limits.maximum_epsilon, delta: limits.maximum_delta });
        Ok(Some(Self { ledger, policy: config.policy.clone(), budget, unit }))
    }

    /// Why the policy does not let this round's contribution be made today, if so.
    pub(crate) fn refusal(&mut self, plan: &RoundPlan, today: Date) -> Result<Option<String>, LedgerError> {
        if let Err(why) = self.policy.check_expiry(today) {
            return Ok(Some(why.to_string()));
        }
        let Some(budget) = self.budget else { return Ok(None) };
        let charge = self.charge_of(plan)?;
        match self.ledger.would_admit(&charge, budget) {
            Ok(()) => Ok(None),
            Err(LedgerError::WouldExceed(why)) => Ok(Some(why.to_string())),
            Err(other) => Err(other),
        }
    }

    /// Charges a round's contribution, and permits to make it.
    pub(crate) fn charge(&mut self, plan: &RoundPlan) -> Result<ReleasePermit, LedgerError> {
        let charge = self.charge_of(plan)?;
        self.ledger.charge(charge, self.budget)
    }

    fn charge_of(&self, plan: &RoundPlan) -> Result<Charge, LedgerError> {
        let releases = releases(&plan.settings, self.unit)?;
        Ok(Charge { epoch: plan.epoch, round: plan.round, model: plan.model, releases })
    }
}
