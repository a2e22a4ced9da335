//! How a round ends: an abort, or a closing with the statements of custodians that recomputed its sums.

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::per_block::PerBlock;
use serde::{Deserialize, Serialize};

use super::Body;

/// A round that ends without a sum; never beside a [`Seal2`](super::Seal2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Abort {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// Digest of the model, which stays what it was.
    pub model: Digest,
    /// Why.
    pub reason: AbortReason,
}

impl Body for Abort {
    const TAG: &'static str = "cloister/v1/abort";
}

/// Why a round ends without a sum.
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
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// Digest of the second seal's body.
    pub seal2: Digest,
    /// The opened blocks, ascending.
    pub sums: Vec<ListedSum>,
    /// Who was shown to have lied about a block, ascending.
    pub blamed: Vec<BlamedMember>,
    /// Digest of each block's parameters after the sums are applied.
    pub parameters: PerBlock<Digest>,
    /// Digest of the model, over these.
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
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the closing's body.
    pub closing: Digest,
    /// The blocks whose sums it recomputed, ascending.
    pub blocks: Vec<BlockId>,
}

impl Body for Recomputed {
    const TAG: &'static str = "cloister/v1/recomputed";
}

/// An opened block in a closing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListedSum {
    /// The block.
    pub block: BlockId,
    /// Digest of the sum's packed words.
    pub sum: Digest,
    /// The weights of its cohort, added up.
    pub weight: u32,
    /// What the late sketches say of it.
    pub check: SumCheck,
}

/// What the late sketches say of a sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SumCheck {
    /// The plan has none for this block.
    NotSketched,
    /// All members answered, and it holds.
    Checked,
    /// Not all members answered.
    Unchecked,
    /// A sketch is too large, or the sketches do not make up the sum: it is not applied.
    Refuted,
}

/// A member that was shown to have lied about a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct BlamedMember {
    /// The block.
    pub block: BlockId,
    /// The member.
    pub member: PartyId,
}
