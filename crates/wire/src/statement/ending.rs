//! How a round ends: an abort, or a closing with the statements of custodians that recomputed its sums.

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::per_block::PerBlock;
use serde::{Deserialize, Serialize};

use super::Body;

/// A round that ends without a sum; never beside a [`Seal2`](super::Seal2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Abort {
    /// Digest of the consortium file, so that a statement counts in no other epoch.
    pub epoch: Digest,
    /// The round that ends.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// Digest of the model that the next plan starts from: the one that this round started from.
    pub model: Digest,
    /// Why the round ends. Custodians sign any reason: an abort opens nothing.
    pub reason: AbortReason,
}

impl Body for Abort {
    const TAG: &'static str = "cloister/v1/abort";
}

/// Why a round ends without a sum.
// Encoded in signed bodies as its position: the order does not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AbortReason {
    /// Too few members announced.
    TooFewAnnounced,
    /// Too few custodians signed the first seal.
    NotSealed,
    /// Too few uploads arrived whole.
    TooFewUploaded,
    /// A custodian showed after the first seal was proposed that a member dealt badly.
    BadDealing,
}

/// The end of a round with a sum (step 7).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Closing {
    /// Digest of the consortium file, so that a statement counts in no other epoch.
    pub epoch: Digest,
    /// The round that ends.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// Digest of the second seal's body.
    pub seal2: Digest,
    /// Every valid block, ascending: a block that was left out could be summed again.
    pub sums: Vec<ListedSum>,
    /// Members that were shown to have lied, ascending by block and member.
    pub blamed: Vec<BlamedMember>,
    /// Digest of each block's parameters after the round; unchanged where no sum is applied.
    pub parameters: PerBlock<Digest>,
    /// Digest over `parameters`, which the next plan starts from.
    pub model: Digest,
    /// Root of the round's log up to the reveals, late sketches and answers.
    pub tree: Digest,
}

impl Body for Closing {
    const TAG: &'static str = "cloister/v1/closing";
}

/// What a custodian signs when it recomputed sums of a closing from masked blocks and reveals (step 7).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recomputed {
    /// Digest of the consortium file, so that a statement counts in no other epoch.
    pub epoch: Digest,
    /// The round of the closing.
    pub round: Round,
    /// Digest of the closing's body: the statement counts for no other closing of the round.
    pub closing: Digest,
    /// The blocks whose sum, check and new parameters it recomputed, ascending; possibly none.
    pub blocks: Vec<BlockId>,
}

impl Body for Recomputed {
    const TAG: &'static str = "cloister/v1/recomputed";
}

/// An opened block in a closing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListedSum {
    /// A valid block of the second seal.
    pub block: BlockId,
    /// Digest of block number and packed words. The words are published as chunks.
    pub sum: Digest,
    /// Total weight of `S2[b]`, which the sum is divided by.
    pub weight: u32,
    /// The result of the late sketches, which decides whether the sum is applied.
    pub check: SumCheck,
}

/// The result of the late sketches for one sum.
// Encoded in signed bodies as its position: the order does not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SumCheck {
    /// The plan has none for this block.
    NotSketched,
    /// All members answered, and it holds.
    Checked,
    /// Not all members answered.
    Unchecked,
    /// A sketch is too large, or the sketches do not add up to the sum: it is not applied.
    Refuted,
}

/// A member that was shown to have lied about a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct BlamedMember {
    /// The block whose sum is refuted.
    pub block: BlockId,
    /// The member, which its own signed statements show to have lied.
    pub member: PartyId,
}
