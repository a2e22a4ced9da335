//! The model as the protocol sees it: the trainable parameters by block, and the digest that names them.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use cloister_crypto::hash::{Domain, digest};
use cloister_params::id::{BlockId, Digest};
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{CheckedPlan, PlannedBlock};
use cloister_wire::frame::CHUNK_BYTES;
use cloister_wire::message::{ModelBlock, ModelPart, ModelTable};
use thiserror::Error;

/// Trainable parameters, one vector for each block. Clones share them, because a model is large and outputs,
/// checkpoints and reports each hold one.
#[derive(Clone)]
pub struct Model {
    blocks: Arc<PerBlock<Vec<f32>>>,
    /// The blocks' digests, once they were asked for: hashing a large model takes a second.
    digests: Arc<OnceLock<PerBlock<Digest>>>,
}

impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        self.blocks == other.blocks
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the digests: whether they were asked for makes no other model.
        f.debug_struct("Model").field("blocks", &self.blocks).finish()
    }
}

impl Model {
    /// A model of these blocks, in the order of a block table.
    pub fn new(blocks: Vec<Vec<f32>>) -> Self {
        Self::from_blocks(PerBlock::in_table_order(blocks))
    }

    /// A model of these blocks.
    pub(crate) fn from_blocks(blocks: PerBlock<Vec<f32>>) -> Self {
        Self { blocks: Arc::new(blocks), digests: Arc::default() }
    }

    /// The parameters, to change them in this clone alone.
    pub(crate) fn blocks_mut(&mut self) -> &mut PerBlock<Vec<f32>> {
        self.digests = Arc::default();
        Arc::make_mut(&mut self.blocks)
    }

    /// The parameters, without keeping them in memory.
    pub(crate) fn downgrade(&self) -> Weak<PerBlock<Vec<f32>>> {
        Arc::downgrade(&self.blocks)
    }

    /// The same with some blocks of another model of the same table.
    pub(crate) fn updated(mut self, other: &Self, takes: impl Fn(BlockId) -> bool) -> Self {
        for (block, parameters) in other.blocks.iter().filter(|(block, _)| takes(*block)) {
            self.blocks_mut()[block].clone_from(parameters);
        }
        self
    }

    /// The parameters by block.
    pub fn blocks(&self) -> &PerBlock<Vec<f32>> {
        &self.blocks
    }

    /// The parameters as a file holds them: for each block its length as a 64-bit integer, then its 32-bit
    /// floats, all little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (_, block) in self.blocks.iter() {
            bytes.extend_from_slice(&(block.len() as u64).to_le_bytes());
            bytes.extend(block.iter().flat_map(|value| value.to_le_bytes()));
        }
        bytes
    }

    /// Reads such a file; `None` when its lengths do not add up.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut blocks = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_first_chunk()?;
            // A damaged length must not overflow, nor allocate before the bytes are known to be there.
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?.checked_mul(4)?;
            let (values, rest) = rest.split_at_checked(length)?;
            blocks.push(floats(values));
            bytes = rest;
        }
        Some(Self::new(blocks))
    }

    /// The digest of each block's parameters.
    pub fn block_digests(&self) -> PerBlock<Digest> {
        self.digests.get_or_init(|| self.blocks.map(|parameters| parameters_digest(parameters))).clone()
    }

    /// The blocks with their lengths and digests.
    pub fn table(&self) -> ModelTable {
        let (digests, lengths) = (self.block_digests(), self.blocks.map(|block| block.len() as u64));
        let blocks =
            lengths.iter().map(|(block, length)| ModelBlock { length: *length, digest: digests[block] });
        ModelTable { model: Self::digest_of(&digests), blocks: blocks.collect() }
    }

    /// The digest over all blocks (`ROUND-20`).
    pub fn digest(&self) -> Digest {
        Self::digest_of(&self.block_digests())
    }

    /// The model's digest from those of its blocks.
    pub fn digest_of(blocks: &PerBlock<Digest>) -> Digest {
        Self::digest_of_blocks(blocks.values().iter().copied())
    }

    /// The digest of some of a model's blocks, from their digests in the order of the table.
    pub(crate) fn digest_of_blocks(blocks: impl IntoIterator<Item = Digest>) -> Digest {
        digest(Domain::Model, &[&blocks.into_iter().flat_map(|block| block.0).collect::<Vec<u8>>()])
    }

    /// Whether the model has these blocks, each with its length.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, planned: &[PlannedBlock]) -> Result<(), ModelMismatch> {
        let (expected, got) = (planned.len(), self.blocks.len());
        if got != expected {
            return Err(ModelMismatch::Blocks { got, expected });
        }
        for (block, parameters) in planned.iter().zip(self.blocks.values()) {
            let (expected, got) = (block.shape.length, parameters.len() as u64);
            if got != expected {
                return Err(ModelMismatch::Length { block: block.shape.id, got, expected });
            }
        }
        Ok(())
    }

    /// Whether the model has the blocks of a plan, each with its length.
    pub fn fits(&self, plan: &CheckedPlan) -> bool {
        self.check(&plan.settings.blocks).is_ok()
    }
}

/// Parameters that are not those of a block table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ModelMismatch {
    /// Another number of blocks.
    #[error("the parameters have {got} blocks, the settings {expected}; make both for one task")]
    Blocks {
        /// Number of blocks in the parameters.
        got: usize,
        /// Number of blocks in the settings.
        expected: usize,
    },
    /// A block of another length.
    #[error(
        "{block} has {got} numbers in the parameters and {expected} in the settings; make both for one task"
    )]
    Length {
        /// The first block whose lengths differ.
        block: BlockId,
        /// Length of the block in the parameters, in numbers.
        got: u64,
        /// Length of the block in the settings, in numbers.
        expected: u64,
    },
}

/// Little-endian floats; a last incomplete one is left out, so lengths are checked before or digests after.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks();
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// The parts of one block's parameters.
pub(crate) fn block_parts(block: BlockId, parameters: &[f32]) -> impl Iterator<Item = ModelPart> + '_ {
    (0u32..).map_while(move |index| block_part(block, parameters, index))
}

/// One part of a block's parameters; none after the last.
pub(crate) fn block_part(block: BlockId, parameters: &[f32], index: u32) -> Option<ModelPart> {
    // Whole floats: 4 divides the size of a chunk, so no part ends within one.
    let values = parameters.chunks(CHUNK_BYTES / size_of::<f32>()).nth(index as usize)?;
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Some(ModelPart { block, index, bytes })
}

/// The digest of one block's parameters. The block's number does not enter, because it may change between
/// epochs.
pub(crate) fn parameters_digest(parameters: &[f32]) -> Digest {
    let bytes: Vec<u8> = parameters.iter().flat_map(|value| value.to_le_bytes()).collect();
    digest(Domain::Parameters, &[&bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ROUND-20
    #[test]
    fn a_model_survives_its_file_and_a_damaged_one_is_refused() {
        let model = Model::new(vec![vec![1.5, -2.0], vec![], vec![0.25]]);
        let bytes = model.to_bytes();
        assert_eq!(Model::from_bytes(&bytes), Some(model.clone()));
        assert_eq!(Model::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Model::from_bytes(&[0xff; 8]), None);
        let mut other = model.clone();
        other.blocks_mut()[BlockId(2)][0] = 0.5;
        assert_ne!(other.digest(), model.digest());
    }
}
