//! What members sign about their uploads after the second seal.

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use serde::{Deserialize, Serialize};

use super::Body;

/// A member's late sketches of what it uploaded (step 6).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LateSketches {
    /// Digest of the consortium file, so that a statement counts in no other epoch.
    pub epoch: Digest,
    /// The round of the second seal.
    pub round: Round,
    /// Digest of the second seal's body, which fixes the projections together with the seeds.
    pub seal2: Digest,
    /// One for each sketched block in whose sum the member is, if all seeds of the block are known,
    /// ascending.
    pub sketches: Vec<LateSketch>,
}

impl Body for LateSketches {
    const TAG: &'static str = "cloister/v1/late-sketches";
}

/// A late sketch of one block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LateSketch {
    /// The block that is sketched.
    pub block: BlockId,
    /// 48 rows over the upload's weighted integers, noise included, as words of the ring.
    pub rows: Vec<u32>,
}

/// A member's answer when the late sketches of a block do not add up to its sum (step 6).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlameAnswer {
    /// Digest of the consortium file, so that a statement counts in no other epoch.
    pub epoch: Digest,
    /// The round of the second seal.
    pub round: Round,
    /// Digest of the second seal's body.
    pub seal2: Digest,
    /// The block whose late sketches do not add up to its sum.
    pub block: BlockId,
    /// The first row that fails, from 0 to 47. The member finds it itself.
    pub row: u32,
    /// That row over the mask of each pair that it makes with another member of `S2[b]`, ascending.
    pub pairs: Vec<PairValue>,
}

impl Body for BlameAnswer {
    const TAG: &'static str = "cloister/v1/blame";
}

/// A row over the mask of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairValue {
    /// The other member of the pair, from the same `S2[b]`.
    pub other: PartyId,
    /// The row over the mask that both expand, before its sign, as a word of the ring.
    pub value: u32,
}
