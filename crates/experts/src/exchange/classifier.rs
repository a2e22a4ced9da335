//! The classifier's tensors, as a training program gets them.

use cloister_params::block::{BlockKind, BlockShape};

use super::NamedTensor;
use crate::classifier::blocks::block_table;
use crate::classifier::checkpoint::{CheckpointTensor, block_tensors, is_frozen};
use crate::classifier::config::ModelConfig;
use crate::families::adapter::blocks::{AdapterBlocks, Block, Piece};

/// Which tensors each block is made of, under the names that this file has for them.
pub(super) fn blocks(config: &ModelConfig) -> AdapterBlocks {
    let piece = |entry: CheckpointTensor| Piece { tensor: entry.name, expert: None, shape: entry.shape };
    let block = |shape: BlockShape| {
        let pieces_of_block = match shape.kind {
            BlockKind::Routing { .. } => vec![],
            // Only names and shapes are used; the zeros stand for values that are not known here.
            kind => block_tensors(config, kind, &vec![0.0; shape.length as usize]),
        };
        let trained = pieces_of_block.into_iter().filter(|entry| !is_frozen(entry));
        Block { shape, pieces: trained.map(piece).collect() }
    };
    AdapterBlocks::from_blocks(block_table(config).into_iter().map(block).collect())
}

/// The frozen halves of all adapters.
pub(super) fn frozen_tensors(config: &ModelConfig) -> Vec<NamedTensor> {
    let experts = block_table(config).into_iter().filter(|shape| shape.kind.is_scored());
    let all = experts.flat_map(|shape| block_tensors(config, shape.kind, &vec![0.0; shape.length as usize]));
    let named = |CheckpointTensor { name, shape, values }| NamedTensor { name, shape, values };
    all.filter(is_frozen).map(named).collect()
}
