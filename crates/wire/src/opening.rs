//! What a party keeps on its disk of what it helped to open (`ROUND-30`), in the canonical encoding.

use cloister_params::block::BlockKind;
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
        /// The blocks that it uploads, ascending. It does not know yet over whom they are opened.
        blocks: Vec<OpenedBlock>,
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
        /// Of the blocks that were kept of the round: those that the closing does not list, as they were not opened.
        dropped: Vec<BlockId>,
    },
    /// This party's disk was restored from a backup: it does not know whether these blocks were opened from these parameters.
    Forgotten {
        /// All blocks of a plan.
        blocks: Vec<ForgottenBlock>,
    },
}

/// A block of which a party does not know whether it was opened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ForgottenBlock {
    /// What the block holds. Numbers may change between epochs.
    pub kind: BlockKind,
    /// Digest of its parameters.
    pub parameters: Digest,
}

/// A block that was opened, or may have been.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenedBlock {
    /// The block.
    pub block: BlockId,
    /// What it holds. Numbers may change between epochs.
    pub kind: BlockKind,
    /// Digest of its parameters before the round.
    pub parameters: Digest,
    /// Names the members with their weights, and the scale; none while no second seal is known.
    pub name: Option<Digest>,
    /// Whether all members announced that their policies have a budget.
    pub all_have_budgets: bool,
}
