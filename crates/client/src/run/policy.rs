//! Going over to a policy that was read again.

use cloister_params::policy::Policy;

use super::Client;
use crate::events::ClientEvent;
use crate::policy_updates::check_change;

impl Client<'_> {
    /// Takes over a policy, or says why the present one stays (`PLAN-20`). A round in progress goes on with what was admitted:
    /// plans alone are judged by it, and the budget before anything is charged.
    pub(super) fn replace_policy(&mut self, policy: Policy) {
        if policy == self.policy {
            return;
        }
        if let Err(why) = check_change(&self.policy, &policy) {
            (self.events)(ClientEvent::Warning(why));
            return;
        }
        self.hospital.replace_policy(&policy);
        if let Some(account) = &mut self.records.account {
            account.replace_policy(policy.clone());
        }
        self.policy = policy;
        (self.events)(ClientEvent::PolicyReplaced);
    }
}
