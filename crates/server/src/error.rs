//! Why a coordinator stops.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use cloister_params::id::{PartyId, Round};
use cloister_privacy::ledger::LedgerError;
use cloister_protocol::coordinator::RestoreError;
use cloister_transport::{BindError, RosterError};
use thiserror::Error;

use crate::journal::RoundJournalError;

/// Parties that take no part in a round, each with its reason; there is at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusals(BTreeMap<PartyId, String>);

impl Refusals {
    /// None, if nobody refused.
    pub(crate) fn new(refusals: &BTreeMap<PartyId, String>) -> Option<Self> {
        (!refusals.is_empty()).then(|| Self(refusals.clone()))
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<String> = self.0.iter().map(|(party, why)| format!("{party} ({why})")).collect();
        f.write_str(&told.join(", "))
    }
}

/// Why the coordinator stopped before its last round.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The consortium file lists one certificate twice.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// The port cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Files cannot be written, or the socket is gone.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] RoundJournalError),
    /// The account of what rounds released cannot be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The journal is not what a coordinator of this epoch left.
    #[error("the journal in {folder} does not make a coordinator: {why}; start a new epoch in a new folder")]
    Resume {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        why: Box<RestoreError>,
    },
    /// Too few members came.
    #[error(
        "{got} of the {wanted} awaited members are connected after {seconds} s; start the others, or lower min_available_nodes"
    )]
    TooFewMembers {
        /// Connected members.
        got: usize,
        /// The members that were waited for.
        wanted: usize,
        /// How long.
        seconds: u64,
    },
    /// The round cannot go on.
    #[error(
        "the round cannot go on: {0}; it has no sum. Once they are back, start this program again with the same --data: the round goes on where it stopped"
    )]
    QuorumLost(&'static str),
    /// The folder was restored from an old copy.
    #[error(
        "{folder} is an older copy of the coordinator's folder: {custodians} custodians know how {round} ended, which it does \
         not have. Restore the newest copy of it and start this program again; without one, go on in a new folder with a \
         consortium file of another epoch"
    )]
    Outdated {
        /// The folder.
        folder: PathBuf,
        /// How many custodians say so.
        custodians: usize,
        /// A round that ended.
        round: Round,
    },
    /// Signatures are missing of parties that said why they take no part.
    #[error(
        "the round cannot go on: {why}; it has no sum. These take no part in it: {refusals}. If it is the settings that they \
         refuse, agree on others; then, or once they are back, start this program again with the same --data"
    )]
    RefusedWithoutQuorum {
        /// What is missing.
        why: &'static str,
        /// Who refused.
        refusals: Refusals,
    },
    /// So many members refused that no round reaches the floor.
    #[error(
        "{rounds} rounds in a row ended without a sum, as the members that are left do not reach the floor. These take no \
         part: {refusals}. Agree with them on settings that their policies admit, and start this program again with the \
         same --data"
    )]
    Refused {
        /// Rounds without a sum.
        rounds: u64,
        /// Who refused.
        refusals: Refusals,
    },
    /// The coordinator's own settings make no valid plan.
    #[error("the round settings make no valid plan: {0}")]
    InvalidPlan(String),
    /// Every round ended without a sum.
    #[error("{0} rounds in a row ended without a sum; too few members announced or uploaded in time")]
    NothingSummed(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_refused_is_named_with_the_reason() {
        assert_eq!(Refusals::new(&BTreeMap::new()), None);
        let refused = BTreeMap::from([
            (PartyId(2), "policy `minimum_cohort`: 4, this party demands 5".to_owned()),
            (PartyId(5), "local training failed".to_owned()),
        ]);
        let refusals = Refusals::new(&refused).expect("two refused");
        let told = ServerError::Refused { rounds: 3, refusals: refusals.clone() }.to_string();
        for (party, why) in &refused {
            assert!(told.contains(&format!("{party} ({why})")), "{told}");
        }
        let told = ServerError::RefusedWithoutQuorum { why: "signatures are missing", refusals }.to_string();
        assert!(
            told.contains("signatures are missing") && told.contains("(local training failed)"),
            "{told}"
        );
    }
}
