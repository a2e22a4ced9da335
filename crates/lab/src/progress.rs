//! How far a run is.

use cloister_experts::files::notes::Twins;

use crate::results::MeasuredRound;

/// How far a run is.
#[derive(Clone, PartialEq, Debug)]
pub enum RunProgress {
    /// Texts pass through the frozen layers, in windows.
    Embedding {
        /// Windows that have passed.
        done: usize,
        /// All windows.
        all: usize,
    },
    /// A seed begins.
    Seed {
        /// Which.
        seed: u64,
        /// Whether an earlier run has measured it.
        resumed: bool,
    },
    /// A member has trained.
    Training {
        /// The round, from 1.
        round: usize,
        /// The member, from 1.
        member: usize,
        /// How many members train.
        members: usize,
    },
    /// Members' updates of some blocks were longer than what masks leave room for.
    Clipped {
        /// The round, from 1.
        round: usize,
        /// Blocks that were clipped, of all members.
        blocks: usize,
        /// All blocks of all members.
        all: usize,
    },
    /// Classes of the texts may be meant to be one.
    Twins(Twins),
    /// A round was measured.
    Measured(MeasuredRound),
}
