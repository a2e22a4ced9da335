//! The rules that a plan can break.

use thiserror::Error;

use super::{MOST_LOCAL_EPOCHS, NOISE_STEPS_FOR_WEIGHTS, ROUTING_NOISE_STEPS, STEP_LOG2, SketchForm};
use crate::consortium::MAX_WEIGHT;
use crate::id::{BlockId, Digest};

/// A rule that a plan breaks. The message names the plan's value and the limit.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PlanError {
    /// A plan for another consortium file.
    #[error(
        "the plan is for epoch {got}, this party's is {expected}: one of the two has an outdated \
         consortium file; compare both files with the consortium's"
    )]
    Epoch {
        /// The plan's epoch.
        got: Digest,
        /// This party's.
        expected: Digest,
    },
    /// A floor below the consortium's.
    #[error("the plan opens cohorts of {got} organisations; the consortium's floor is {floor}")]
    BelowFloor {
        /// The plan's floor, in organisations.
        got: usize,
        /// The consortium's.
        floor: usize,
    },
    /// A block table that is not a partition.
    #[error("the block table is not a partition: {0}")]
    BlockTable(String),
    /// A ring width that is not supported.
    #[error("rings of {got} bits are not supported; 16, 24 and 32 are")]
    Ring {
        /// The plan's width.
        got: u8,
    },
    /// A block whose sum could wrap around in the ring.
    #[error(
        "{block} could sum to {reach}, and a ring of {bits} bits holds less than {limit}; widen the ring or raise the step"
    )]
    RingWrap {
        /// The block.
        block: BlockId,
        /// The largest size of its sum, noise included, in steps.
        reach: u128,
        /// The ring's width.
        bits: u8,
        /// Half of the ring, 2^(w−1).
        limit: u128,
    },
    /// Weights that a plan may not use.
    #[error("weights up to {got} are planned; 1 to {MAX_WEIGHT} are possible")]
    Weight {
        /// The plan's largest weight.
        got: u8,
    },
    /// No pass over the records, or more passes than anybody can mean.
    #[error("{got} passes over the records of a member are planned; 1 to {MOST_LOCAL_EPOCHS} are possible")]
    LocalEpochs {
        /// The plan's passes.
        got: u16,
    },
    /// A size that something is divided by.
    #[error("the plan's {size} is 0; it must be at least 1")]
    SizeOf0 {
        /// What has this size, with its unit.
        size: &'static str,
    },
    /// A clip that leaves no room for an update or a consistency weight.
    #[error(
        "the plan clips {block} to {got} steps; its clip must be at least {least}: make its step smaller"
    )]
    Clip {
        /// The block.
        block: BlockId,
        /// The plan's clip, in steps.
        got: u32,
        /// The least clip of its kind.
        least: u32,
    },
    /// A step with which a block's parameters could leave the finite numbers, or could not change.
    #[error(
        "the plan's step of {block} is 2 to the power {got}; powers from {} to {} are possible",
        STEP_LOG2.start(),
        STEP_LOG2.end()
    )]
    Step {
        /// The block.
        block: BlockId,
        /// The power of two.
        got: i8,
    },
    /// Weights above 1 without the noise that keeps them from separating members.
    #[error("{block} has noise of {got} steps; weights above 1 need at least {NOISE_STEPS_FOR_WEIGHTS}")]
    WeightsWithoutNoise {
        /// The block.
        block: BlockId,
        /// Its noise.
        got: u32,
    },
    /// A routing distribution with too little noise.
    #[error(
        "{block} is a routing distribution with noise of {got} steps; it needs at least {ROUTING_NOISE_STEPS}"
    )]
    RoutingWithoutNoise {
        /// The block.
        block: BlockId,
        /// Its noise.
        got: u32,
    },
    /// Regions of another clip than 1.
    #[error(
        "{block} holds regions and has a clip of {got} steps of 2 to the power {step_log2}; its clip must be exactly 1"
    )]
    RegionClip {
        /// The block.
        block: BlockId,
        /// The plan's clip, in steps.
        got: u32,
        /// The power of two that a step is.
        step_log2: i8,
    },
    /// Regions with too little noise.
    #[error(
        "{block} holds regions and has noise of {got} steps; it needs at least {least} (a sixty-fourth of its clip, and no \
         less than {ROUTING_NOISE_STEPS})"
    )]
    RegionsWithoutNoise {
        /// The block.
        block: BlockId,
        /// Its noise.
        got: u32,
        /// The least that is possible.
        least: u32,
    },
    /// Scores with too little noise.
    #[error(
        "scores have noise of {got} units; without private training they need at least {least}, a sixty-fourth of the \
         largest score"
    )]
    ScoresWithoutNoise {
        /// The plan's noise, in units of 2⁻¹⁴.
        got: u16,
        /// The least that is possible.
        least: u16,
    },
    /// An evaluation with too little noise.
    #[error(
        "{block} is an evaluation with noise of {got} steps; it needs at least {least} (a sixty-fourth of its clip, and no \
         less than 1)"
    )]
    EvaluationWithoutNoise {
        /// The block.
        block: BlockId,
        /// Its noise.
        got: u32,
        /// The least that is possible.
        least: u32,
    },
    /// Token counts with less noise than their minimum asks for.
    #[error(
        "token counts have noise of {got}; with a minimum of {minimum} tokens they need at least {least} (an eighth of the \
         minimum, and no less than 1)"
    )]
    CountsWithoutNoise {
        /// The plan's noise, in tokens.
        got: u32,
        /// The least that is possible.
        least: u32,
        /// The plan's minimum of tokens.
        minimum: u32,
    },
    /// A block whose honest late sketches could be as large as half the ring, and could not be told from
    /// those of an upload that is off by half the ring.
    #[error(
        "late sketches of {block} could be as large as half of a ring of {bits} bits; widen the ring or raise the step"
    )]
    LateSketchWrap {
        /// The block.
        block: BlockId,
        /// The ring's width.
        bits: u8,
    },
    /// A sketch size that the plan's form of sketches does not have.
    #[error("sketches of {got} coordinates are planned; {form:?} can have {:?}", form.sizes())]
    Sketch {
        /// The plan's size.
        got: u16,
        /// The plan's form of sketches.
        form: SketchForm,
    },
    /// Groups of experts that the plan's form of sketches does not have.
    #[error(
        "{got} groups of experts and a score noise of {noise} are planned with sketches of the form {form:?}; withheld \
         sketches have 1 to {experts} groups, other forms have neither groups nor score noise"
    )]
    Groups {
        /// The plan's form of sketches.
        form: SketchForm,
        /// The plan's groups.
        got: u16,
        /// The plan's noise on scores.
        noise: u16,
        /// Expert blocks of the plan.
        experts: usize,
    },
    /// Blocks of regions other than those that the plan's form of sketches needs.
    #[error(
        "with sketches of the form {form:?} the plan needs these blocks of regions: {expected}; it has: {got}"
    )]
    Regions {
        /// The plan's form of sketches.
        form: SketchForm,
        /// The plan's blocks, with their lengths.
        got: String,
        /// What it needs.
        expected: String,
    },
    /// A receiving key of a party that is not a custodian, or keys out of order.
    #[error(
        "the plan's receiving keys are not those of distinct custodians of the consortium in ascending order"
    )]
    Custodians,
    /// Not one digest of parameters for each block.
    #[error("the plan names the parameters of {got} blocks; its block table has {expected}")]
    Parameters {
        /// Digests in the plan.
        got: usize,
        /// Blocks in its table.
        expected: usize,
    },
    /// Private training that would protect nobody.
    #[error("the plan's private training has the {what} {got}; it must be {limit}")]
    PrivateTraining {
        /// The setting, with its unit.
        what: &'static str,
        /// The plan's value.
        got: u32,
        /// What is possible.
        limit: &'static str,
    },
    /// Too few custodians to seal.
    #[error("{got} custodians have receiving keys in the plan; {quorum} must sign")]
    TooFewCustodians {
        /// Keys in the plan.
        got: usize,
        /// The consortium's seal quorum.
        quorum: usize,
    },
}
