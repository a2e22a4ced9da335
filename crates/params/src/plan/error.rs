//! The rules that a plan can break.

use thiserror::Error;

use super::{MOST_LOCAL_EPOCHS, NOISE_STEPS_FOR_WEIGHTS, ROUTING_NOISE_STEPS};
use crate::consortium::MAX_WEIGHT;
use crate::id::{BlockId, Digest};

/// A rule that a plan breaks. Each names the plan's value and the limit.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PlanError {
    /// A plan for another consortium file.
    #[error("the plan is for epoch {got}, ours is {expected}; one of us has an outdated consortium file")]
    Epoch {
        /// The plan's epoch.
        got: Digest,
        /// Ours.
        expected: Digest,
    },
    /// A floor below the consortium's.
    #[error("the plan opens cohorts of {got} organisations, the consortium's floor is {floor}")]
    BelowFloor {
        /// The plan's floor.
        got: usize,
        /// The consortium's.
        floor: usize,
    },
    /// Blocks that are no partition.
    #[error("the block table is not a partition: {0}")]
    BlockTable(String),
    /// A ring of another width.
    #[error("rings of {got} bits are not supported; 16, 24 and 32 are")]
    Ring {
        /// The plan's width.
        got: u8,
    },
    /// A block whose sum could wrap around.
    #[error(
        "{block} could sum to {reach}, a ring of {bits} bits holds less than {limit}; widen the ring or raise the step"
    )]
    RingWrap {
        /// The block.
        block: BlockId,
        /// The largest sum with its noise.
        reach: u128,
        /// The ring's width.
        bits: u8,
        /// 2^(w−1).
        limit: u128,
    },
    /// Weights that a plan may not use.
    #[error("weights up to {got} are planned; 1 to {MAX_WEIGHT} are possible")]
    Weight {
        /// The plan's largest weight.
        got: u8,
    },
    /// No training, or more of it than can be meant.
    #[error("{got} passes over the records of a member are planned; 1 to {MOST_LOCAL_EPOCHS} are possible")]
    LocalEpochs {
        /// The plan's passes.
        got: u16,
    },
    /// Weights other than 1 without the noise that keeps them from separating members.
    #[error("{block} has noise of {got} steps; weights above 1 need at least {NOISE_STEPS_FOR_WEIGHTS}")]
    WeightsWithoutNoise {
        /// The block.
        block: BlockId,
        /// Its noise.
        got: u32,
    },
    /// A routing distribution without noise.
    #[error(
        "{block} is a routing distribution with noise of {got} steps; it needs at least {ROUTING_NOISE_STEPS}"
    )]
    RoutingWithoutNoise {
        /// The block.
        block: BlockId,
        /// Its noise.
        got: u32,
    },
    /// Token counts with less noise than their threshold asks for.
    #[error(
        "token counts have noise of {got}; with a minimum of {minimum} tokens they need at least {least} (an eighth of it, \
         and no less than 1)"
    )]
    CountsWithoutNoise {
        /// The plan's noise.
        got: u32,
        /// The least that is possible.
        least: u32,
        /// The plan's minimum of tokens.
        minimum: u32,
    },
    /// A block whose honest late sketches could be as large as half the ring.
    #[error(
        "late sketches of {block} could be as large as half of a ring of {bits} bits; widen the ring or raise the step"
    )]
    LateSketchWrap {
        /// The block.
        block: BlockId,
        /// The ring's width.
        bits: u8,
    },
    /// A sketch of another size.
    #[error("sketches of {got} coordinates are planned; 16, 32, 64 and 128 are possible")]
    Sketch {
        /// The plan's size.
        got: u16,
    },
    /// A receiving key of somebody who is no custodian, or keys out of order.
    #[error("the plan's custodians are not distinct custodians of the consortium in ascending order")]
    Custodians,
    /// Digests of parameters that are not one for each block.
    #[error("the plan names the parameters of {got} blocks; its block table has {expected}")]
    Parameters {
        /// Digests in the plan.
        got: usize,
        /// Blocks in its table.
        expected: usize,
    },
    /// DP-SGD that is none.
    #[error("the plan's private training has the {what} {got}; it must be {limit}")]
    PrivateTraining {
        /// The setting.
        what: &'static str,
        /// The plan's value.
        got: u32,
        /// What is possible.
        limit: &'static str,
    },
    /// Too few custodians to seal.
    #[error("{got} custodians have receiving keys; {quorum} must sign")]
    TooFewCustodians {
        /// Keys in the plan.
        got: usize,
        /// The seal quorum.
        quorum: usize,
    },
}
