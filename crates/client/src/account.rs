//! A hospital's privacy account: its ledger, the budget of its policy, and what a plan's contribution would release.

use std::path::Path;

use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, Round};
use cloister_params::limits::{Date, PrivacyUnit};
use cloister_params::plan::RoundPlan;
use cloister_params::policy::Policy;
use cloister_params::time::UtcTime;
use cloister_privacy::budget::{self, Budget};
use cloister_privacy::closed::ClosedRound;
use cloister_privacy::ledger::{Charge, Ledger, LedgerError, Opening, ReleasePermit};
use cloister_privacy::release::releases;

use crate::config::ClientConfig;
use crate::journal::Journal;

/// The unit of a hospital whose policy has no budget: what is released is counted all the same.
const DEFAULT_UNIT: PrivacyUnit = PrivacyUnit::Record;

/// A warning if the policy's δ promises nothing for this many records.
pub(crate) fn warning_about_delta(policy: &Policy, records: usize) -> Option<String> {
    // For the unit `member`, δ is about a few hospitals, and no number of records bounds it.
    let limits = policy.privacy.filter(|limits| limits.unit == PrivacyUnit::Record)?;
    let why = budget::warning_about_delta(limits.maximum_delta, records as u64)?;
    Some(format!("policy `maximum_delta`: {why}"))
}

/// The account of one hospital's data.
#[derive(Debug)]
pub(crate) struct ReleaseAccount {
    ledger: Ledger,
    policy: Policy,
    budget: Option<Budget>,
    unit: PrivacyUnit,
}

impl ReleaseAccount {
    /// Opens a member's ledger, which must contain the last charge that the journal knows. A party that is not a member has no
    /// account, because it releases no data.
    pub(crate) fn open(config: &ClientConfig, journal: &Journal) -> Result<Option<Self>, LedgerError> {
        let party = config.epoch.consortium().party(config.party);
        let Some(member) = party.filter(|party| party.roles.contains(&Role::Member)) else { return Ok(None) };
        let group_by = config.member_part().and_then(|part| part.training.group_by());
        let mut account =
            Self::with_ledger(&config.ledger(), member.name.clone(), config.policy.clone(), group_by)?;
        account.require(journal)?;
        Ok(Some(account))
    }

    /// From now on the ledger must contain the last charge that the journal knows (`PRIV-12`).
    pub(crate) fn require(&mut self, journal: &Journal) -> Result<(), LedgerError> {
        journal.last_charge().map_or(Ok(()), |entry| self.ledger.require(entry, journal.path()))
    }

    /// Opens the ledger file for a policy.
    fn with_ledger(
        path: &Path,
        holder: String,
        policy: Policy,
        group_by: Option<String>,
    ) -> Result<Self, LedgerError> {
        let limits = policy.privacy;
        // PRIV-01
        let unit = limits.map_or(DEFAULT_UNIT, |limits| limits.unit);
        // If the unit is the member, all records count together, so how they are grouped does not matter.
        let group_by = group_by.filter(|_| unit == PrivacyUnit::Record);
        let ledger = Ledger::open(path, Opening { holder, unit, group_by })?;
        Ok(Self { ledger, policy, budget: limits.map(Budget::from), unit })
    }

    /// Judges by another policy from now on, which has a budget of the same unit if the present one has (`PLAN-20`).
    pub(crate) fn replace_policy(&mut self, policy: Policy) {
        self.budget = policy.privacy.map(Budget::from);
        self.policy = policy;
    }

    /// Why the policy does not allow this round's contribution today. None if it does.
    pub(crate) fn refusal(&mut self, plan: &RoundPlan, today: Date) -> Result<Option<String>, LedgerError> {
        // Before the ledger is read: an ended policy allows nothing, whatever is left of its budget.
        if let Err(why) = self.policy.check_expiry(today) {
            return Ok(Some(why.to_string()));
        }
        // ROUND-39: as if the round were no rehearsal, which itself is never charged.
        let mut charged = plan.clone();
        charged.settings.rehearsal = false;
        let charge = self.charge_of(&charged)?;
        self.refusal_of(&charge)
    }

    /// Why a contribution that is already charged must not be sent again today: the policy has expired, or its budget was
    /// lowered below what is charged. None if it may be sent.
    pub(crate) fn refusal_to_repeat(
        &mut self,
        plan: &RoundPlan,
        today: Date,
    ) -> Result<Option<String>, LedgerError> {
        if let Err(why) = self.policy.check_expiry(today) {
            return Ok(Some(why.to_string()));
        }
        // The ledger has its releases already. An empty charge asks whether the total still fits the budget.
        let nothing = Charge { releases: Vec::new(), ..self.charge_of(plan)? };
        self.refusal_of(&nothing)
    }

    fn refusal_of(&mut self, charge: &Charge) -> Result<Option<String>, LedgerError> {
        let Some(budget) = self.budget else { return Ok(None) };
        match self.ledger.would_admit(charge, budget) {
            Ok(()) => Ok(None),
            Err(LedgerError::WouldExceed(why)) => Ok(Some(why.to_string())),
            Err(other) => Err(other),
        }
    }

    /// Charges a round's contribution. The permit allows making it once.
    pub(crate) fn charge(&mut self, plan: &RoundPlan, at: UtcTime) -> Result<ReleasePermit, LedgerError> {
        let charge = Charge { at: Some(at), ..self.charge_of(plan)? };
        self.ledger.charge(charge, self.budget)
    }

    /// Records in which round the contribution under this plan became public, and over how many members each block was summed.
    pub(crate) fn close(
        &mut self,
        plan: &RoundPlan,
        closing: (Round, Digest),
        summed: Vec<(BlockId, u32)>,
        at: UtcTime,
    ) -> Result<(), LedgerError> {
        self.ledger.close(ClosedRound::new(&plan.settings, closing, summed, at))
    }

    fn charge_of(&self, plan: &RoundPlan) -> Result<Charge, LedgerError> {
        let releases = releases(&plan.settings, self.unit)?;
        Ok(Charge { epoch: plan.epoch, round: plan.round, model: plan.model, releases, at: None })
    }
}

#[cfg(test)]
mod tests {
    use cloister_cluster::plan::template;
    use cloister_params::id::{Digest, Round};
    use cloister_params::per_block::PerBlock;
    use cloister_params::plan::PrivateTrainingPlan;

    use super::*;

    fn policy(limits: &str) -> Policy {
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        Policy::parse(&format!("governance_key = \"{key}\"\n{limits}")).expect("a policy")
    }

    /// Private training, with much noise on what it does not cover.
    fn plan(round: u64) -> RoundPlan {
        let mut settings = template(3, 5, 1);
        settings.training.private = Some(PrivateTrainingPlan {
            clipping_norm_milli: 1000,
            noise_multiplier_milli: 2000,
            sampling_probability_micro: 50_000,
            minimum_records: 20,
        });
        settings.blocks.iter_mut().for_each(|block| block.noise_steps = 50 * block.scale.clip_steps);
        (settings.sketch.noise_steps, settings.sketch.count_noise) = (65_535, 65_535);
        let (epoch, round) = (Digest::default(), Round(round));
        RoundPlan {
            epoch,
            round,
            previous: epoch,
            model: epoch,
            parameters: PerBlock::from_table(&settings.blocks, |_| epoch),
            custodians: vec![],
            barred: vec![],
            settings,
        }
    }

    fn account(name: &str, policy: Policy) -> (std::path::PathBuf, ReleaseAccount) {
        let path = std::env::temp_dir().join(format!("cloister-account-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let account =
            ReleaseAccount::with_ledger(&path, "hospital 1".into(), policy, None).expect("a new ledger");
        (path, account)
    }

    fn now() -> UtcTime {
        UtcTime::try_from("2026-11-23T05:58:12Z".to_owned()).expect("a time")
    }

    fn today() -> Date {
        Date::try_from("2026-11-23".to_owned()).expect("a day")
    }

    const BUDGET: &str = "[privacy]\nunit = \"record\"\nmaximum_epsilon = 4.0\nmaximum_delta = 1e-6\n";

    /// PRIV-05, PRIV-10
    #[test]
    fn a_spent_budget_refuses_the_round_with_rule_value_and_limit() {
        let (path, mut account) = account("spent", policy(BUDGET));
        let mut taken = 0;
        let reason = loop {
            match account.refusal(&plan(taken + 1), today()).expect("a sound ledger") {
                Some(reason) => break reason,
                None => {
                    let _ = account.charge(&plan(taken + 1), now()).expect("admitted").redeem();
                    taken += 1;
                }
            }
        };
        assert!((1..100).contains(&taken), "{taken} rounds fit");
        assert!(reason.contains("policy `maximum_epsilon`") && reason.contains("allows 4"), "{reason}");
        // ROUND-39: a rehearsal shows that the budget is spent.
        let mut rehearsal = plan(taken + 1);
        rehearsal.settings.rehearsal = true;
        let refused = account.refusal(&rehearsal, today()).expect("a sound ledger");
        assert!(refused.is_some_and(|reason| reason.contains("policy `maximum_epsilon`")));
        // A charge that was not checked first is refused as well, and nothing is written.
        assert!(matches!(account.charge(&plan(taken + 1), now()), Err(LedgerError::WouldExceed(_))));
        let history = cloister_privacy::ledger::History::read(&path).expect("sound");
        assert_eq!(history.charges.len() as u64, taken);
        // Control: a hospital without a budget is charged, and not stopped.
        let (other, mut open) = self::account("open", policy(""));
        for round in 1..=taken + 3 {
            let _ = open.charge(&plan(round), now()).expect("no limit").redeem();
        }
        assert_eq!(open.refusal(&plan(99), today()).expect("a sound ledger"), None);
        for path in [path, other] {
            std::fs::remove_file(path).expect("it was written");
        }
    }

    /// PRIV-12
    #[test]
    fn a_ledger_from_an_older_backup_is_refused_and_the_current_one_is_not() {
        let (path, mut account) = account("older", policy(""));
        let journal_path = path.with_extension("journal");
        let _ = std::fs::remove_file(&journal_path);
        let mut journal = Journal::open(&journal_path).expect("a new file");
        let mut release = |account: &mut ReleaseAccount, round| {
            let permit = account.charge(&plan(round), now()).expect("no limit");
            journal.keep_charged(permit.entry()).expect("writable");
            permit.redeem()
        };
        assert_eq!(release(&mut account, 1), Round(1));
        let backup = std::fs::read(&path).expect("there");
        assert_eq!(release(&mut account, 2), Round(2));
        let closing = (Round(2), Digest([7; 32]));
        account.close(&plan(2), closing, vec![(BlockId(0), 4)], now()).expect("writable");
        drop(account);
        let reopened = || {
            let mut account = ReleaseAccount::with_ledger(&path, "hospital 1".into(), policy(""), None)?;
            account.require(&journal)?;
            Ok::<_, LedgerError>(account)
        };
        reopened().expect("control: the current ledger has what was charged");
        let current = std::fs::read(&path).expect("there");
        std::fs::write(&path, &backup).expect("writable");
        let older = reopened().expect_err("what was charged since is not in it");
        assert!(matches!(older, LedgerError::Older { .. }), "{older}");
        let said = older.to_string();
        assert!(said.contains("Put the newest copy back") && said.contains("journal"), "{said}");
        std::fs::remove_file(&path).expect("there");
        assert!(matches!(reopened(), Err(LedgerError::Older { .. })), "nor is a new one");
        // While a program runs, too.
        std::fs::write(&path, &current).expect("writable");
        let mut running = reopened().expect("it is back");
        std::fs::write(&path, &backup).expect("writable");
        assert!(matches!(running.charge(&plan(3), now()), Err(LedgerError::Older { .. })));
        for path in [path, journal_path] {
            std::fs::remove_file(path).expect("it was written");
        }
    }

    /// ROUND-03: what was charged may go out again while the policy lasts, although nothing more fits into the budget.
    #[test]
    fn what_goes_out_again_is_checked_and_not_charged_again() {
        let limits = format!("expires = \"2026-11-23\"\n{BUDGET}");
        let (path, mut account) = account("again", policy(&limits));
        let mut round = 1;
        while account.refusal(&plan(round), today()).expect("a sound ledger").is_none() {
            let _ = account.charge(&plan(round), now()).expect("admitted").redeem();
            round += 1;
        }
        assert_eq!(account.refusal_to_repeat(&plan(round - 1), today()).expect("a sound ledger"), None);
        let tomorrow = Date::try_from("2026-11-24".to_owned()).expect("a day");
        let reason = account.refusal_to_repeat(&plan(round - 1), tomorrow).expect("a sound ledger");
        assert!(reason.is_some_and(|reason| reason.contains("policy `expires`")));
        std::fs::remove_file(path).expect("it was written");
    }

    #[test]
    fn a_delta_that_is_not_below_one_over_the_records_is_warned_of() {
        let policy = policy(BUDGET);
        assert_eq!(warning_about_delta(&policy, 999_999), None);
        let warning = warning_about_delta(&policy, 1_000_000).expect("δ is 1e-6");
        assert!(
            warning.contains("policy `maximum_delta`") && warning.contains("1000000 records"),
            "{warning}"
        );
        assert_eq!(warning_about_delta(&self::policy(""), 1_000_000), None, "no budget");
    }

    /// PRIV-08
    #[test]
    fn a_policy_that_has_ended_refuses_before_anything_is_trained() {
        let (path, mut account) = account("ended", policy("expires = \"2026-11-22\""));
        let reason = account.refusal(&plan(1), today()).expect("a sound ledger").expect("it has ended");
        assert!(reason.contains("policy `expires`") && reason.contains("2026-11-22"), "{reason}");
        std::fs::remove_file(path).expect("it was written");
    }
}
