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

use crate::edition::EditionError;
use crate::journal::RoundJournalError;
use crate::public_log::PublicLogError;
use crate::runs::QueueError;

/// Parties that do not take part in a round, each with the reason that it sent; there is at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusals(BTreeMap<PartyId, String>);

impl Refusals {
    /// `None` if nobody refused.
    pub(crate) fn new(refusals: &BTreeMap<PartyId, String>) -> Option<Self> {
        (!refusals.is_empty()).then(|| Self(refusals.clone()))
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons: Vec<String> = self.0.iter().map(|(party, why)| format!("{party} ({why})")).collect();
        f.write_str(&reasons.join(", "))
    }
}

/// Why the coordinator stopped before its last round.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The consortium file lists one certificate twice.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// The coordinator cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Files cannot be written, or the socket is gone.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] RoundJournalError),
    /// The list of runs cannot be used.
    #[error(transparent)]
    Runs(#[from] QueueError),
    /// The ledgers of what rounds released cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The public log cannot be continued.
    #[error(transparent)]
    PublicLog(#[from] PublicLogError),
    /// No coordinator of this epoch wrote this journal.
    #[error(
        "the coordinator cannot be restored from the journal in {folder}: {why}; start a new epoch in a new folder"
    )]
    Resume {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        why: Box<RestoreError>,
    },
    /// Too few members connected in time.
    #[error(
        "{got} of {wanted} members are connected after {seconds} s; start the others, or lower min_available_nodes"
    )]
    TooFewMembers {
        /// Connected members.
        got: usize,
        /// How many members must be connected.
        wanted: usize,
        /// How long the coordinator waited, in seconds.
        seconds: u64,
    },
    /// Custodians are missing, so that the round cannot continue.
    #[error(
        "the round cannot continue: {0}; it has no sum. When the missing parties are back, start this \
         program again with the same --data: the round continues where it stopped"
    )]
    QuorumLost(&'static str),
    /// The folder is an old copy.
    #[error(
        "{folder} is an older copy of the coordinator's folder: {custodians} custodians know how {round} \
         ended, which it does not have. Restore the newest copy of it and start this program again. Without \
         one, take epoch-start.toml, epoch-start.ending and model.parameters from the data folder of a hospital that took part in \
         that round, have the next edition of the consortium file signed with `cloister consortium sign --start epoch-start.toml`, \
         and start in a new --data folder with --model model.parameters"
    )]
    Outdated {
        /// The folder.
        folder: PathBuf,
        /// How many custodians know of it.
        custodians: usize,
        /// A round that has ended.
        round: Round,
    },
    /// Custodians are missing, and some parties sent why they do not take part.
    #[error(
        "the round cannot continue: {why}; it has no sum. These parties do not take part: {refusals}. If \
         they refuse the settings, agree on others. Then, or when the parties are back, start this program \
         again with the same --data"
    )]
    RefusedWithoutQuorum {
        /// What is missing.
        why: &'static str,
        /// The parties that refused.
        refusals: Refusals,
    },
    /// So many members refused that no round reaches the floor.
    #[error(
        "{rounds} rounds in a row ended without a sum, because the remaining members do not reach the \
         floor. These parties do not take part: {refusals}. Agree with them on settings that their \
         policies admit, and start this program again with the same --data"
    )]
    Refused {
        /// Rounds without a sum.
        rounds: u64,
        /// The parties that refused.
        refusals: Refusals,
    },
    /// The folder is of the epoch before, and the edition does not continue from it.
    #[error(transparent)]
    Edition(#[from] EditionError),
    /// The coordinator's own settings do not make a valid plan.
    #[error("the round settings do not make a valid plan: {0}")]
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
        let text = ServerError::Refused { rounds: 3, refusals: refusals.clone() }.to_string();
        for (party, why) in &refused {
            assert!(text.contains(&format!("{party} ({why})")), "{text}");
        }
        let text = ServerError::RefusedWithoutQuorum { why: "signatures are missing", refusals }.to_string();
        assert!(
            text.contains("signatures are missing") && text.contains("(local training failed)"),
            "{text}"
        );
    }
}
