//! Why a coordinator stops.

use std::io;
use std::path::PathBuf;

use cloister_privacy::ledger::LedgerError;
use cloister_protocol::coordinator::ResumeError;
use cloister_transport::{BindError, RosterError};
use thiserror::Error;

use crate::journal::JournalError;

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
    Journal(#[from] JournalError),
    /// The account of what rounds released cannot be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The journal is not what a coordinator of this epoch left.
    #[error("the journal in {folder} does not make a coordinator: {why}; start a new epoch in a new folder")]
    Resume {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        why: Box<ResumeError>,
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
    /// The coordinator's own settings make no valid plan.
    #[error("the round settings make no valid plan: {0}")]
    InvalidPlan(String),
    /// Every round ended without a sum.
    #[error("{0} rounds in a row ended without a sum; too few members announced or uploaded in time")]
    NothingSummed(u64),
}
