//! Why a training result is not released.

use cloister_params::block::BlockKind;
use cloister_params::fixed::FixedPointError;
use cloister_params::id::Round;
use thiserror::Error;

/// Why a training result does not become a contribution.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PrepareError {
    /// Training produced numbers that are not finite.
    #[error(transparent)]
    FixedPoint(#[from] FixedPointError),
    /// The plan has a block that the training result does not have.
    #[error(
        "local training has no result for {0}; the plan is for another task than this hospital's task file"
    )]
    MissingBlock(BlockKind),
    /// A block has another number of values than the plan says.
    #[error(
        "{what} has {got} values for {kind}, the plan has {expected}; the plan is for another task than this hospital's task file"
    )]
    Length {
        /// The training result, or the model that the round starts from.
        what: &'static str,
        /// The block.
        kind: BlockKind,
        /// Its values there.
        got: usize,
        /// Its values in the plan.
        expected: u64,
    },
    /// The permit is for another round than the plan.
    #[error(
        "the privacy ledger was charged for {charged}, the contribution is to {round}; this is a fault of the program"
    )]
    Permit {
        /// The round of the charge.
        charged: Round,
        /// The round of the plan.
        round: Round,
    },
}
