//! How far a run has come.

use cloister_experts::files::notes::Twins;

use crate::results::MeasuredRound;

/// How far a run has come.
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
        /// The seed.
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
    /// Updates of some blocks were longer than their clips, which bound the numbers that enter a masked sum.
    Clipped {
        /// The round, from 1.
        round: usize,
        /// Blocks that were clipped, of all members.
        blocks: usize,
        /// All blocks of all members.
        all: usize,
    },
    /// Two classes have almost the same name, and may be meant to be one.
    Twins(Twins),
    /// A round was measured.
    Measured(MeasuredRound),
}
