//! Runs: so many rounds with sums each, one run after another (`RUN-01` to `RUN-04`).

mod early_stop;
mod file;
mod queue;

use cloister_params::consortium::PublicBytes;
use cloister_params::time::UtcTime;
use serde::{Deserialize, Serialize};

pub use early_stop::{BestEvaluation, EarlyStop};
pub use file::QueueError;
pub(crate) use queue::{Due, RunQueue};

/// The longest name of a run, in characters.
pub(crate) const MAX_NAME: usize = 60;

/// What an operator asks of a new run.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NewRun {
    /// Text for people, of at most 60 characters, none of them a control character.
    pub name: Option<String>,
    /// How many rounds with sums, at least one.
    pub rounds: u64,
    /// The text of a file of round settings. `None`: the settings in force at its time.
    pub settings: Option<String>,
    /// Whether its rounds go through all steps without contributing anything.
    pub rehearsal: bool,
    /// No round of it starts before this time, by the coordinator's clock.
    pub not_before: Option<UtcTime>,
    /// Whether and when it ends before its last round.
    pub early_stop: Option<EarlyStop>,
}

/// A run, as the coordinator keeps it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Its number, from 1. No number is given twice.
    pub number: u32,
    /// Text for people.
    pub name: Option<String>,
    /// How many rounds with sums it has, or was to have.
    pub rounds: u64,
    /// The SHA-256 of its file of round settings, as `sha256sum` prints it; `None` if it has none of its own.
    pub settings: Option<PublicBytes>,
    /// Whether its rounds go through all steps without contributing anything.
    pub rehearsal: bool,
    /// No round of it starts before this time.
    pub not_before: Option<UtcTime>,
    /// Whether and when it ends before its last round.
    #[serde(default)]
    pub early_stop: Option<EarlyStop>,
    /// How it stands.
    #[serde(flatten)]
    pub state: RunState,
}

/// How a run stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RunState {
    /// It has not begun.
    Waiting,
    /// Its rounds go on. At most one run is in progress.
    InProgress {
        /// When it began.
        begun: UtcTime,
        /// How many rounds of the folder had ended with sums before it. The journal counts the rounds, so that a stop
        /// between the two files loses none and counts none twice.
        closed_before: u64,
        /// Whether the operator has cancelled it: the round in progress is its last.
        cancelled: bool,
    },
    /// No round of it starts any more.
    Ended {
        /// When it began; `None` if it was cancelled before.
        begun: Option<UtcTime>,
        /// When it ended.
        ended: UtcTime,
        /// How many of its rounds had sums.
        closed: u64,
        /// Why it ended.
        #[serde(flatten)]
        how: RunEnd,
    },
}

/// Why a run ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum RunEnd {
    /// All of its rounds have ended with sums.
    Finished,
    /// The operator cancelled it.
    Cancelled,
    /// The model had stopped getting better.
    StoppedEarly {
        /// The best evaluation of the run.
        best: BestEvaluation,
    },
    /// Its round settings do not fit the consortium or the model in force.
    Unfit {
        /// What does not fit.
        why: String,
    },
}

impl Run {
    /// How many of its rounds have ended with sums, when `closed_rounds` rounds of the folder have.
    pub fn closed(&self, closed_rounds: u64) -> u64 {
        match self.state {
            RunState::Waiting => 0,
            RunState::InProgress { closed_before, .. } => closed_rounds.saturating_sub(closed_before),
            RunState::Ended { closed, .. } => closed,
        }
    }

    /// How many rounds with sums are still to come.
    pub(crate) fn remaining(&self, closed_rounds: u64) -> u64 {
        match self.state {
            RunState::Waiting => self.rounds,
            RunState::InProgress { .. } => self.rounds.saturating_sub(self.closed(closed_rounds)),
            RunState::Ended { .. } => 0,
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.state == RunState::Waiting
    }

    pub(crate) fn is_in_progress(&self) -> bool {
        matches!(self.state, RunState::InProgress { .. })
    }
}

#[cfg(test)]
mod tests;
