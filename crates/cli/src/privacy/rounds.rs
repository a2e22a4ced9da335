//! What rounds with given settings cost, and whether a policy admits them.

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use cloister_params::limits::{Date, PrivacyUnit};
use cloister_params::plan::RoundSettings;
use cloister_params::policy::Policy;
use cloister_privacy::budget::{Budget, warning_about_delta};
use cloister_privacy::explanation::{KindSpent, Spent, kinds};
use cloister_privacy::ledger::History;
use cloister_privacy::release::{account_of_rounds, releases};
use serde::Serialize;

use super::file_error;
use crate::failure::{Failure, FailureKind};
use crate::folder::read_text;
use crate::output;

/// What rounds cost, with each kind of release by itself.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Cost {
    unit: PrivacyUnit,
    rounds: u32,
    delta: f64,
    spent: Spent,
    kinds_of_one_round: Vec<KindSpent>,
}

impl Cost {
    /// The cost of `rounds` rounds with these settings at `delta`.
    pub(crate) fn new(
        settings: &RoundSettings,
        unit: PrivacyUnit,
        rounds: u32,
        delta: f64,
    ) -> Result<Self, Failure> {
        let all = releases(settings, unit).map_err(Failure::error)?;
        let spent = Spent::from_account(&account_of_rounds(&all, rounds), delta);
        let kinds_of_one_round = kinds(all.iter(), delta);
        Ok(Self { unit, rounds, delta, spent, kinds_of_one_round })
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<36}{:>9}{:>12}{:>14}", "released in a round", "times", "no noise", "ε alone")?;
        for kind in &self.kinds_of_one_round {
            let what = kind.released.in_words();
            writeln!(f, "{what:<36}{:>9}{:>12}{:>14}", kind.count, kind.unbounded, kind.alone)?;
        }
        let Self { unit, rounds, delta, spent, .. } = self;
        writeln!(f, "\nε of {rounds} rounds at δ = {delta:e}, unit {unit}: {spent}")
    }
}

/// A policy, and the budget that it has.
#[derive(Clone, Debug)]
pub(crate) struct CheckedPolicy {
    pub(crate) policy: Policy,
    pub(crate) budget: Option<Budget>,
}

impl CheckedPolicy {
    /// Reads a policy file, and checks that the figures of its budget are possible.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        Self::parse(&read_text(path)?).map_err(|error| file_error(path, error))
    }

    /// The policy of a file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let policy = Policy::parse(text).map_err(Failure::config)?;
        let budget = policy.privacy.map(|limits| Budget::from(limits).checked());
        Ok(Self { budget: budget.transpose().map_err(Failure::config)?, policy })
    }

    /// Checks that the policy still admits plans today.
    pub(crate) fn check_expiry(&self) -> Result<(), Failure> {
        self.policy.check_expiry(today()).map_err(refused)
    }

    /// Checks that the policy admits so many rounds with these settings beside what the ledger says was released. Returns
    /// the ε that the ledger will count, if there is a budget.
    ///
    /// # Errors
    /// Status 5 with the first rule that refuses them, the value and the limit.
    pub(crate) fn admit(
        &self,
        settings: &RoundSettings,
        rounds: u32,
        ledger: Option<&Path>,
    ) -> Result<Option<f64>, Failure> {
        let Verdict { refusals, counted } = self.verdict(settings, rounds, ledger)?;
        refusals.first().map_or(Ok(counted), |first| Err(refused(first)))
    }

    /// Every rule that refuses these rounds, and what a ledger would count.
    pub(crate) fn verdict(
        &self,
        settings: &RoundSettings,
        rounds: u32,
        ledger: Option<&Path>,
    ) -> Result<Verdict, Failure> {
        // The expiry first: an expired policy admits nothing, whatever the settings.
        let expired = self.policy.check_expiry(today()).err();
        let rules = expired.into_iter().chain(self.policy.refusals(settings));
        let mut refusals: Vec<String> = rules.map(|refusal| refusal.to_string()).collect();
        let (Some(budget), Some(limits)) = (self.budget, self.policy.privacy) else {
            return Ok(Verdict { refusals, counted: None });
        };
        warn_about_delta(settings, budget.delta);
        let all = releases(settings, limits.unit).map_err(Failure::error)?;
        let mut account = account_of_rounds(&all, rounds);
        if let Some(path) = ledger {
            let history = History::read(path).map_err(Failure::config)?;
            history.releases().for_each(|release| account.add(release.mechanism, release.count));
        }
        // By the filter that the ledger uses, and not by the tighter accountant: the client would reject by it,
        // too.
        refusals.extend(budget.admit(&account).err().map(|refusal| refusal.to_string()));
        // JSON has no infinity.
        let counted = Some(budget.epsilon_by_filter(&account)).filter(|epsilon| epsilon.is_finite());
        Ok(Verdict { refusals, counted })
    }

    /// That the policy admits so many rounds, in a sentence.
    pub(crate) fn admission_in_words(&self, rounds: u32, counted: Option<f64>) -> String {
        match (counted, self.budget) {
            (Some(counted), Some(budget)) => {
                format!("the policy admits {rounds} rounds: ε would be {counted:.3} of {}", budget.epsilon)
            }
            _ => "the policy has no privacy budget and admits these settings".to_owned(),
        }
    }
}

/// What a policy says of rounds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Verdict {
    /// Each rule that refuses them, with the value and the limit.
    pub(crate) refusals: Vec<String>,
    /// The ε that the ledger would count; none without a budget, or if its training does not cover the rounds.
    pub(crate) counted: Option<f64>,
}

fn today() -> Date {
    Date::from_time(SystemTime::now())
}

pub(crate) fn refused(why: impl fmt::Display) -> Failure {
    Failure::new(FailureKind::PrivacyRefused, why)
}

/// Warns if δ promises nothing for the number of records. A plan does not name that number, only the least
/// number that averages divide by.
pub(super) fn warn_about_delta(settings: &RoundSettings, delta: f64) {
    let records = settings.training.private.map(|private| private.minimum_records);
    if let Some(warning) = records.and_then(|records| warning_about_delta(delta, records.into())) {
        output::tell(format_args!("warning: {warning}"));
    }
}
