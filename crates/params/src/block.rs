//! The partition of everything that is aggregated into blocks. Each block has a cohort of its own.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::BlockId;

/// What a block holds. It decides how the block's cohort is chosen, and how its sum is applied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum BlockKind {
    /// The trainable parameters of one expert. Its cohort is scored.
    Expert {
        /// Index of the MoE layer, from 0 over the MoE layers only.
        layer: u16,
        /// Index of the expert in its layer.
        expert: u16,
    },
    /// The parameters of one layer's router and, as its last coordinate, the consistency weight by which the
    /// member scaled them. Its cohort is everyone.
    Router {
        /// Index of the MoE layer, from 0 over the MoE layers only.
        layer: u16,
    },
    /// All other trainable parameters. Its cohort is everyone, or a majority if the plan says so
    /// ([`SharedCohort`](crate::plan::SharedCohort)).
    Shared,
    /// The routing distribution of one layer: one noised coordinate for each expert. Its cohort is everyone.
    Routing {
        /// Index of the MoE layer, from 0 over the MoE layers only.
        layer: u16,
    },
    /// How well the model that the round starts from does on held-out records: how many of them it answers
    /// correctly, and how many there are ([`EVALUATION_LENGTH`] coordinates). Its cohort is everyone.
    Evaluation,
    /// The regions of one layer's experts, which members compare theirs with in the next round if sketches are withheld
    /// (`ALIGN-18`): as many coordinates for each expert as a sketch has. Its cohort is everyone.
    Regions {
        /// Index of the MoE layer, from 0 over the MoE layers only.
        layer: u16,
    },
}

/// Coordinates of an evaluation block: the correct records, then all records.
pub const EVALUATION_LENGTH: u64 = 2;

impl BlockKind {
    /// Whether the block has sketches that choose its cohort by alignment. Only experts have them.
    pub fn is_scored(self) -> bool {
        matches!(self, Self::Expert { .. })
    }

    /// Whether training changes the block's parameters. Other blocks are measured: routing distributions, regions and
    /// evaluations.
    pub fn is_trained(self) -> bool {
        matches!(self, Self::Expert { .. } | Self::Router { .. } | Self::Shared)
    }

    /// Whether training programs know the block. They read published routing distributions, and measure them. What else
    /// is measured, the client makes from their results.
    pub fn is_known_to_trainers(self) -> bool {
        self.is_trained() || matches!(self, Self::Routing { .. })
    }

    /// Whether a member's values may be below 0. Distributions and counts are not.
    pub fn is_signed(self) -> bool {
        !matches!(self, Self::Routing { .. } | Self::Evaluation)
    }
}

impl fmt::Display for BlockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expert { layer, expert } => write!(f, "layer {layer} expert {expert}"),
            Self::Router { layer } => write!(f, "layer {layer} router"),
            Self::Shared => f.write_str("shared parameters"),
            Self::Routing { layer } => write!(f, "layer {layer} routing"),
            Self::Evaluation => f.write_str("evaluation"),
            Self::Regions { layer } => write!(f, "layer {layer} regions"),
        }
    }
}

/// The blocks of regions of a model with these blocks, with their lengths, if a region has so many coordinates: one for each
/// layer that has experts (`ALIGN-18`).
pub fn region_blocks(
    kinds: impl IntoIterator<Item = BlockKind>,
    coordinates: u16,
) -> BTreeMap<BlockKind, u64> {
    let mut lengths = BTreeMap::new();
    for kind in kinds {
        if let BlockKind::Expert { layer, .. } = kind {
            *lengths.entry(BlockKind::Regions { layer }).or_default() += u64::from(coordinates);
        }
    }
    lengths
}

/// One row of the partition: a block and how many coordinates it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockShape {
    /// The block's number, which is also its place in the table.
    pub id: BlockId,
    /// What the block holds.
    pub kind: BlockKind,
    /// Coordinates in the block, from 1 to [`MAX_BLOCK_LENGTH`](crate::plan::MAX_BLOCK_LENGTH).
    pub length: u64,
}
