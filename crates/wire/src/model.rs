//! What travels of a model, in parts.

use cloister_params::id::{BlockId, Digest};
use serde::{Deserialize, Serialize};

/// What a receiver lacks of one block's parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MissingParts {
    /// The block.
    pub block: BlockId,
    /// The first part that is lacking; all after it are lacking, too.
    pub first: u32,
}

/// The blocks of a model. Its digests make up the model's, so that a receiver need not trust the sender for
/// them (`ROUND-42`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModelTable {
    /// The model's digest.
    pub model: Digest,
    /// In the order of the model's block table.
    pub blocks: Vec<ModelBlock>,
}

/// A block of a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModelBlock {
    /// How many parameters it has.
    pub length: u64,
    /// The digest of its parameters.
    pub digest: Digest,
}

/// A part of a block's parameters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModelPart {
    /// The block, which has at least one coordinate, so no part is empty.
    pub block: BlockId,
    /// The part's number in its block, from 0.
    pub index: u32,
    /// Little-endian 32-bit floats: 4 MiB, or the rest in a block's last part.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}
