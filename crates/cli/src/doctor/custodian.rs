//! `cloister doctor custodian`.

use std::path::PathBuf;

use cloister_client::ClientError;
use cloister_params::consortium::Role;

use super::Check;
use super::linked_party::LinkedParty;
use super::outcome::CheckOutcome;
use crate::custodian::{CustodianArguments, initial_model};
use crate::failure::Failure;
use crate::party::find_party;

/// A custodian's machine, and what the checks have read of it so far.
pub(super) struct ExaminedCustodian {
    pub(super) linked: LinkedParty,
    model: Option<PathBuf>,
}

/// The checks of a custodian beside those of every party.
pub(super) const CHECKS: &[Check<ExaminedCustodian>] = &[
    ("role", ExaminedCustodian::check_role),
    ("initial_parameters", ExaminedCustodian::check_parameters),
    ("disk_space", |custodian| {
        custodian.linked.party.check_space(Some((0, "a custodian writes no model".to_owned())))
    }),
];

impl ExaminedCustodian {
    pub(super) fn new(arguments: CustodianArguments) -> Self {
        let CustodianArguments { party, model } = arguments;
        Self { linked: LinkedParty::new(party, "custodian"), model }
    }

    /// The consortium file lists the party as a custodian alone.
    fn check_role(&mut self) -> CheckOutcome {
        let party = &self.linked.party;
        let (Some(epoch), Some(identity), Some(key)) = (&party.epoch, &party.identity, &party.signing_key)
        else {
            return CheckOutcome::not_checked("the keys or the consortium file cannot be used");
        };
        match find_party(epoch, identity, key) {
            Ok(listed) if epoch.consortium().has_role(listed.id, Role::Member) => {
                CheckOutcome::failure(&Failure::config(ClientError::IsMember))
            }
            Ok(_) => CheckOutcome::ok("this party is a custodian and no member"),
            Err(_) => CheckOutcome::not_checked("the consortium file does not list this party"),
        }
    }

    fn check_parameters(&mut self) -> CheckOutcome {
        let Some(epoch) = &self.linked.party.epoch else {
            return CheckOutcome::not_checked(
                "the consortium file cannot be used, which says what is needed",
            );
        };
        match initial_model(epoch, self.model.as_deref()) {
            Ok(digest) => {
                CheckOutcome::ok(format!("the epoch starts from the model with the digest {digest}"))
            }
            Err(failure) => CheckOutcome::failure(&failure),
        }
    }
}
