//! `cloister custodian`: a party that holds shares and signs seals, and trains nothing.

use std::path::{Path, PathBuf};

use clap::Args;
use cloister_client::{ClientError, Participation};
use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::Role;
use cloister_params::id::Digest;

use crate::failure::Failure;
use crate::folder::load_model;
use crate::party::{self, PartyFlags};

/// Flags of `cloister custodian`.
#[derive(Debug, Args)]
pub(crate) struct CustodianArguments {
    #[command(flatten)]
    pub(crate) party: PartyFlags,
    /// The initial parameters that the consortium agreed on. Needed in the first edition of the consortium file, because later
    /// ones name the model that they start from.
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
}

pub(crate) fn run(arguments: CustodianArguments) -> Result<(), Failure> {
    let CustodianArguments { party, model } = arguments;
    party::run(party, |_, epoch, number| {
        // Before the model is asked for, which a member's command takes by itself.
        if epoch.consortium().has_role(number, Role::Member) {
            return Err(Failure::config(ClientError::IsMember));
        }
        Ok(Participation::Custodian { model: initial_model(epoch, model.as_deref())? })
    })
}

/// Digest of the model that the epoch starts from (`CONS-06`). A custodian must not take it from the coordinator: members go on
/// from whatever model a quorum of custodians has signed.
pub(crate) fn initial_model(epoch: &Epoch, given: Option<&Path>) -> Result<Digest, Failure> {
    match (epoch.consortium().start(), given) {
        (Some(start), _) => Ok(Digest(start.model.0)),
        (None, Some(path)) => load_model(path).map(|model| model.digest()),
        (None, None) => Err(Failure::config(
            "the first edition of the consortium file does not name the initial model, so a custodian needs the file that the \
             members start from; give the consortium's initial parameters with --model",
        )),
    }
}

#[cfg(test)]
mod tests {
    use cloister_cluster::consortium::{consortium, next_epoch};

    use super::*;

    /// CONS-06
    #[test]
    fn later_editions_name_the_model_that_they_start_from() {
        let first = consortium(&[1; 4]);
        let refused = initial_model(&first.epoch, None).expect_err("nothing names the model");
        assert!(refused.to_string().contains("--model"), "{refused}");
        let second = next_epoch(&first, Digest([7; 32]), None);
        assert_eq!(initial_model(&second.epoch, None), Ok(Digest([7; 32])));
    }
}
