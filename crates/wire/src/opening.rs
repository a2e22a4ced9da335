//! What a party keeps on its disk of what it gave and helped to open (`ROUND-30`, `ROUND-38`), in the canonical encoding.

use cloister_params::block::BlockKind;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, Round};
use serde::{Deserialize, Serialize};

/// Something that a party must remember over rounds and epochs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OpeningRecord {
    /// This party began an epoch.
    Began {
        /// Digest of the consortium file.
        epoch: Digest,
        /// Its number.
        number: u32,
    },
    /// This member is about to upload.
    Uploading {
        /// The epoch.
        epoch: Digest,
        /// The round.
        round: Round,
        /// The blocks that it uploads, ascending.
        blocks: Vec<UploadedBlock>,
    },
    /// This party is about to sign a second seal, or to reveal secrets for one.
    Sealed {
        /// The epoch.
        epoch: Digest,
        /// The round.
        round: Round,
        /// The valid blocks, ascending.
        blocks: Vec<OpenedBlock>,
    },
    /// This party checked how a round ended.
    Ended {
        /// The epoch.
        epoch: Digest,
        /// The round.
        round: Round,
        /// Digest of the closing or abort body.
        ending: Digest,
        /// Digest of the model after it.
        model: Digest,
        /// Whether it was aborted, so that nothing was opened.
        aborted: bool,
        /// Of the blocks that were kept of the round: those that the closing does not list, as they were not opened; ascending.
        dropped: Vec<BlockId>,
    },
    /// This party's disk was restored from a backup: it does not know what it signed, gave and helped to open since.
    Restored,
    /// This member may have uploaded from these parameters before its disk was restored.
    Forgotten {
        /// Of each block of a plan.
        parameters: Vec<Digest>,
    },
    /// What this party may have done in a role before its disk was restored does not matter any more, or is kept.
    Settled {
        /// The role.
        role: Role,
    },
}

/// A block that a member uploads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UploadedBlock {
    /// The block.
    pub block: BlockId,
    /// Digest of its parameters before the round.
    pub parameters: Digest,
}

/// A block as it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenedBlock {
    /// The block.
    pub block: BlockId,
    /// What it holds.
    pub kind: BlockKind,
    /// Digest of its parameters before the round.
    pub parameters: Digest,
    /// Of a router the digest of its layer's routing distribution, by which members weigh what they add.
    pub routing: Option<Digest>,
    /// Names the members with their weights, and the scale.
    pub name: Digest,
    /// Whether all members announced that their policies have a budget.
    pub all_have_budgets: bool,
}
