//! The records that a party stores of what it uploaded and helped to open (`ROUND-30`, `ROUND-38`), in the
//! canonical encoding.

use cloister_params::block::BlockKind;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, Round};
use serde::{Deserialize, Serialize};

/// Something that a party must remember over rounds and epochs. It is on disk before what follows from it
/// leaves.
// Journals on disk have the position of a variant: a new one goes to the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OpeningRecord {
    /// This party began an epoch.
    Began {
        /// Digest of the consortium file.
        epoch: Digest,
        /// The number of the edition in the consortium file. No epoch with a lower number is begun
        /// afterwards.
        number: u32,
    },
    /// This member is about to upload.
    Uploading {
        /// Digest of the consortium file in whose epoch the round is: rounds count from 1 in each epoch.
        epoch: Digest,
        /// The round whose first seal is certified.
        round: Round,
        /// The blocks that it uploads, ascending.
        blocks: Vec<UploadedBlock>,
    },
    /// This party is about to sign a second seal, or to reveal secrets for one.
    Sealed {
        /// Digest of the consortium file in whose epoch the round is: rounds count from 1 in each epoch.
        epoch: Digest,
        /// The round whose second seal is proposed or certified.
        round: Round,
        /// The valid blocks, ascending.
        blocks: Vec<OpenedBlock>,
    },
    /// This party checked how a round ended.
    Ended {
        /// Digest of the consortium file in whose epoch the round is: rounds count from 1 in each epoch.
        epoch: Digest,
        /// The round that ended.
        round: Round,
        /// Digest of the closing or abort body.
        ending: Digest,
        /// Digest of the model after it.
        model: Digest,
        /// Whether it was aborted, so that nothing was opened.
        aborted: bool,
        /// The blocks stored for the round that the closing does not list, ascending. They were not opened,
        /// so their records are dropped.
        dropped: Vec<BlockId>,
    },
    /// This party's disk was restored from a backup: it does not know what it signed, uploaded and helped to
    /// open since.
    Restored,
    /// This member may have uploaded from these parameters before its disk was restored.
    Forgotten {
        /// Digests of the parameters of each block of a plan that the member saw.
        parameters: Vec<Digest>,
    },
    /// What this party may have done in a role before its disk was restored no longer matters, or is stored
    /// by now.
    Settled {
        /// The role in which this party acts without limits again.
        role: Role,
    },
}

/// A block that a member uploads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UploadedBlock {
    /// The number of the block in that round's plan; it may be another one in a later epoch.
    pub block: BlockId,
    /// Digest of its parameters before the round.
    pub parameters: Digest,
}

/// A block as it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenedBlock {
    /// The number of the block in that round's plan.
    pub block: BlockId,
    /// The kind, by which blocks are identified within an epoch.
    pub kind: BlockKind,
    /// Digest of its parameters before the round.
    pub parameters: Digest,
    /// For a router, the digest of its layer's routing distribution, which fixes members' weights. Absent for
    /// other blocks.
    pub routing: Option<Digest>,
    /// Digest of the block's shape and scale, its members with their weights, and the routing.
    pub name: Digest,
    /// Whether all members of `S2[b]` announced that their policies have a budget.
    pub all_have_budgets: bool,
}
