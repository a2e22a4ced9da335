//! The errors of a run, and whose fault each is.

use std::io;
use std::path::{Path, PathBuf};

use cloister_experts::ExpertsError;
use cloister_experts::files::notes::NotesError;
use cloister_experts::partition::PartitionError;
use cloister_gate::PrepareError;
use cloister_params::fixed::FixedPointError;
use cloister_params::plan::PlanError;
use cloister_privacy::ledger::LedgerError;
use cloister_trainer::TrainerError;
use thiserror::Error;

/// Why a run cannot continue.
#[derive(Debug, Error)]
pub enum LabError {
    /// The configuration cannot be used.
    #[error("{place}: {reason}")]
    Config {
        /// The file, or the option.
        place: String,
        /// What was expected and what is there.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}; check the path and its permissions")]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A file of texts cannot be used.
    #[error(transparent)]
    Notes(#[from] NotesError),
    /// The texts cannot be divided so.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// The model or its training failed.
    #[error(transparent)]
    Experts(#[from] ExpertsError),
    /// A member's privacy ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The training program failed, or wrote something else than it should.
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    /// A training result does not make a contribution.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Statistics do not make a contribution.
    #[error(transparent)]
    FixedPoint(#[from] FixedPointError),
    /// The run's members and model admit no plan.
    #[error("no round can be planned: {0}; change `members` or the model")]
    Plan(#[from] PlanError),
    /// A round ended without a sum although no member dropped out.
    #[error(
        "round {round} ended without a sum although no member dropped out; this is a fault of the program: please report it"
    )]
    NoSum {
        /// The round.
        round: usize,
    },
    /// A sum that was opened behind masks is not that of what the members prepared.
    #[error(
        "a sum behind masks is not the sum of what was prepared; this is a fault of the program: please report it"
    )]
    OtherSum,
    /// The shared second moments are not those of a non-degenerate set of texts.
    #[error(
        "the second moments of the features cannot be inverted; raise `head.shrinkage` (it is {shrinkage})"
    )]
    Singular {
        /// The shrinkage that was tried.
        shrinkage: f64,
    },
}

impl LabError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    pub(crate) fn config(place: &str, reason: impl ToString) -> Self {
        Self::Config { place: place.to_owned(), reason: reason.to_string() }
    }
}
