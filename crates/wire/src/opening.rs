//! What a party keeps on its disk of what it helped to open (`ROUND-30`), in the canonical encoding.

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
        /// Digest of the model that the round starts from.
        model: Digest,
    },
    /// This party is about to sign a second seal, or to reveal secrets for one.
    Sealed {
        /// The epoch.
        epoch: Digest,
        /// The round.
        round: Round,
        /// Digest of the model that the round starts from.
        model: Digest,
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
    },
}

/// A block as it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenedBlock {
    /// The block.
    pub block: BlockId,
    /// Names the members with their weights, and the scale.
    pub name: Digest,
    /// Whether all members announced that their policies have a budget.
    pub all_have_budgets: bool,
}
