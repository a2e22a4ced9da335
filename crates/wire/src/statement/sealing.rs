//! The manifest, both seals, and the statement about an upload that stands between them.

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use serde::{Deserialize, Serialize};

use super::Body;

/// What the first seal fixes: who announced, and each block's cohort (step 3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Digest of the consortium file, so that a statement counts in no other epoch.
    pub epoch: Digest,
    /// The round of the plan.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// `U1`, ascending, each with the digest of its announcement's body.
    pub announced: Vec<AnnouncedMember>,
    /// The cohort of every block, in the order of the block table.
    pub cohorts: Vec<ManifestCohort>,
}

impl Body for Manifest {
    const TAG: &'static str = "cloister/v1/manifest";
}

/// A member of `U1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AnnouncedMember {
    /// The member, which has dealt to every custodian of the plan.
    pub member: PartyId,
    /// Digest of its announcement's body, so that all parties score the same sketches.
    pub announcement: Digest,
}

/// How a block's cohort was chosen.
// Encoded in signed bodies as its position: the order does not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CohortChoice {
    /// A block whose cohort is everyone.
    Everyone,
    /// The members that align.
    Aligned,
    /// Too few align, and the plan sums everyone.
    Fallback,
    /// Too few align or announced.
    Void,
}

/// A block's cohort in the manifest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ManifestCohort {
    /// The block; cohorts are in the order of the block table.
    pub block: BlockId,
    /// How it was chosen.
    pub choice: CohortChoice,
    /// `S[b]`, ascending, with weights; empty for a void block.
    pub members: Vec<WeightedMember>,
    /// The consensus of each announced member, ascending; empty for blocks that are not scored.
    pub consensus: Vec<Option<u32>>,
}

/// A member of a cohort with its weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WeightedMember {
    /// The member, which uploads the block.
    pub member: PartyId,
    /// The integer, from 1 to 15, that the member multiplies its update by before it masks it.
    pub weight: u8,
}

/// The first seal (step 3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seal1 {
    /// Digest of the consortium file, so that a statement counts in no other epoch.
    pub epoch: Digest,
    /// The round of the manifest.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// Digest of the manifest's body.
    pub manifest: Digest,
    /// Digest of the previous round's closing or abort body; of the consortium file before the first round.
    pub previous: Digest,
    /// Root of the round's log up to the manifest, so that a custodian signs all of it.
    pub tree: Digest,
}

impl Body for Seal1 {
    const TAG: &'static str = "cloister/v1/seal-1";
}

/// What a member signs when its upload is whole (step 4).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Upload {
    /// Digest of the consortium file, so that a statement counts in no other epoch.
    pub epoch: Digest,
    /// The round of the first seal.
    pub round: Round,
    /// Digest of the first seal's body, whose manifest the masks are bound to.
    pub seal1: Digest,
    /// Merkle root over the digests of its masked blocks, ascending by block; over no leaves if the member is
    /// in no cohort.
    pub root: Digest,
}

impl Body for Upload {
    const TAG: &'static str = "cloister/v1/upload";
}

/// The second seal (step 5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seal2 {
    /// Digest of the consortium file, so that a statement counts in no other epoch.
    pub epoch: Digest,
    /// The round of the first seal.
    pub round: Round,
    /// Digest of the first seal's body.
    pub seal1: Digest,
    /// `U2`, ascending, each with its signed root.
    pub uploaded: Vec<UploadedMember>,
    /// Exactly the blocks whose `S2[b]` is below the floor, ascending. They stay masked for ever.
    pub void: Vec<BlockId>,
    /// Blocks that stay masked because they were opened from the same parameters over others, ascending
    /// (`ROUND-30`).
    pub repeated: Vec<BlockId>,
    /// Root of the round's log up to the uploads.
    pub tree: Digest,
}

impl Body for Seal2 {
    const TAG: &'static str = "cloister/v1/seal-2";
}

/// A member of `U2`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UploadedMember {
    /// The member, whose whole upload arrived.
    pub member: PartyId,
    /// The root that it signed over its masked blocks.
    pub root: Digest,
}
