//! A party's policy that was read again while the program runs (`PLAN-20`).

use cloister_params::policy::Policy;
use tokio::sync::watch;

/// Where policies come that were read again. Clones get the same ones.
#[derive(Clone, Debug)]
pub struct PolicyUpdates(watch::Receiver<Option<Policy>>);

/// The side that reads them.
#[derive(Debug)]
pub struct PolicySender(watch::Sender<Option<Policy>>);

impl PolicyUpdates {
    /// Updates, and the side that sends them.
    pub fn new() -> (PolicySender, Self) {
        let (sender, updates) = watch::channel(None);
        (PolicySender(sender), Self(updates))
    }

    /// Updates that never come.
    pub fn never() -> Self {
        Self::new().1
    }

    /// The next policy; if several were read since the last call, the last of them. It is safe to cancel.
    pub(crate) async fn next(&mut self) -> Policy {
        loop {
            if self.0.changed().await.is_err() {
                // The sender is gone, so none will come.
                return std::future::pending().await;
            }
            if let Some(policy) = self.0.borrow_and_update().clone() {
                return policy;
            }
        }
    }
}

impl PolicySender {
    /// Hands on a policy that was read again.
    pub fn send(&self, policy: Policy) {
        // An error says that the party has ended.
        let _ = self.0.send(Some(policy));
    }
}

/// Whether a running program can go over to another policy. What the consortium file was accepted with and the ledger was
/// opened with stays until a restart (`PLAN-20`, `PRIV-05`).
///
/// # Errors
/// What differs, and what to do.
pub(crate) fn check_change(present: &Policy, next: &Policy) -> Result<(), String> {
    let unit = |policy: &Policy| policy.privacy.map(|limits| limits.unit);
    let setting = if next.governance_key != present.governance_key {
        "governance_key"
    } else if next.privacy.is_some() != present.privacy.is_some() {
        "privacy"
    } else if unit(next) != unit(present) {
        "privacy.unit"
    } else {
        return Ok(());
    };
    Err(format!(
        "the policy that was read again has another `{setting}`, which a running program cannot take over; the policy that was read \
         before stays in force as a whole until a restart"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(more: &str) -> Policy {
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        Policy::parse(&format!("governance_key = \"{key}\"\n{more}")).expect("a policy")
    }

    const BUDGET: &str = "[privacy]\nunit = \"record\"\nmaximum_epsilon = 4.0\nmaximum_delta = 1e-6";

    /// PLAN-20, PRIV-05
    #[test]
    fn limits_change_in_a_running_program_and_what_files_were_opened_with_does_not() {
        for (present, next) in [
            ("", "minimum_cohort = 5"),
            ("minimum_cohort = 5", ""),
            ("", "expires = \"2026-11-22\""),
            (BUDGET, &BUDGET.replace("4.0", "2.0")),
            (BUDGET, &BUDGET.replace("1e-6", "1e-7")),
        ] {
            assert_eq!(check_change(&policy(present), &policy(next)), Ok(()), "{next}");
        }
        let other_key = policy("");
        let other_key =
            Policy { governance_key: cloister_params::consortium::PublicBytes([9; 32]), ..other_key };
        for (present, next, setting) in [
            (policy(""), other_key, "`governance_key`"),
            (policy(""), policy(BUDGET), "`privacy`"),
            (policy(BUDGET), policy(""), "`privacy`"),
            (policy(BUDGET), policy(&BUDGET.replace("record", "member")), "`privacy.unit`"),
        ] {
            let refused = check_change(&present, &next).expect_err(setting);
            assert!(refused.contains(setting) && refused.contains("restart"), "{refused}");
        }
    }

    #[tokio::test]
    async fn the_last_policy_that_was_read_counts() {
        let (sender, mut updates) = PolicyUpdates::new();
        sender.send(policy("minimum_cohort = 5"));
        sender.send(policy("minimum_cohort = 6"));
        assert_eq!(updates.next().await.minimum_cohort, 6);
        sender.send(policy("minimum_cohort = 7"));
        assert_eq!(updates.next().await.minimum_cohort, 7);
    }
}
