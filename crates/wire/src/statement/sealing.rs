//! The manifest, both seals, and the statement about an upload that stands between them.

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use serde::{Deserialize, Serialize};

use super::Body;

/// What the first seal fixes: who announced, and each block's cohort (step 3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
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
    /// The member.
    pub member: PartyId,
    /// Digest of its announcement's body.
    pub announcement: Digest,
}

/// How a block came by its cohort.
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
    /// The block.
    pub block: BlockId,
    /// How it was chosen.
    pub choice: CohortChoice,
    /// `S[b]`, ascending, with weights.
    pub members: Vec<WeightedMember>,
    /// The consensus of each announced member, ascending; empty for blocks that are not scored.
    pub consensus: Vec<Option<u32>>,
}

/// A member of a cohort with its weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WeightedMember {
    /// The member.
    pub member: PartyId,
    /// Its integer weight, 1 to 15.
    pub weight: u8,
}

/// The first seal (step 3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seal1 {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the plan's body.
    pub plan: Digest,
    /// Digest of the manifest's body.
    pub manifest: Digest,
    /// Digest of the previous round's closing or abort body.
    pub previous: Digest,
    /// Root of the round's log up to the manifest.
    pub tree: Digest,
}

impl Body for Seal1 {
    const TAG: &'static str = "cloister/v1/seal-1";
}

/// What a member signs when its upload is whole (step 4).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Upload {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the first seal's body.
    pub seal1: Digest,
    /// Merkle root over the digests of its masked blocks, ascending by block.
    pub root: Digest,
}

impl Body for Upload {
    const TAG: &'static str = "cloister/v1/upload";
}

/// The second seal (step 5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seal2 {
    /// Digest of the consortium file.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the first seal's body.
    pub seal1: Digest,
    /// `U2`, ascending, each with its signed root.
    pub uploaded: Vec<UploadedMember>,
    /// Blocks whose cohort fell below its floor, ascending.
    pub void: Vec<BlockId>,
    /// Blocks that stay masked because they were opened from the same parameters over others, ascending (`ROUND-30`).
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
    /// The member.
    pub member: PartyId,
    /// The root that it signed.
    pub root: Digest,
}
