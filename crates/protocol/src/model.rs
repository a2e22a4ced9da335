//! The model as the protocol sees it: the trainable parameters by block, and the digest that names them.

use cloister_crypto::hash::{Domain, digest};
use cloister_params::id::{BlockId, Digest};
use cloister_params::plan::CheckedPlan;

use crate::fault::Misbehaviour;
use crate::opening::OpenedSum;

/// Trainable parameters, one vector a block, in the order of the block table.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    blocks: Vec<Vec<f32>>,
}

impl Model {
    /// A model of these blocks.
    pub fn new(blocks: Vec<Vec<f32>>) -> Self {
        Self { blocks }
    }

    /// The parameters by block.
    pub fn blocks(&self) -> &[Vec<f32>] {
        &self.blocks
    }

    /// The digest over all blocks, in order (`ROUND-20`).
    pub fn digest(&self) -> Digest {
        let digests: Vec<u8> =
            self.blocks.iter().zip(0u32..).flat_map(|(block, id)| parameters_digest(id, block).0).collect();
        digest(Domain::Model, &[&digests])
    }

    /// The model after a round: each opened sum applied to its block, every other block unchanged (`ROUND-21`).
    ///
    /// # Errors
    /// A sum for a block that the model lacks, or one that cannot be applied.
    pub fn after(&self, plan: &CheckedPlan, sums: &[OpenedSum]) -> Result<Self, Misbehaviour> {
        let mut next = self.clone();
        for opened in sums {
            let block = opened.block();
            let missing = || Misbehaviour::Sum { block, why: "the model has no such block".into() };
            let planned = plan.block(block).ok_or_else(missing)?;
            let parameters = next.blocks.get_mut(block.0 as usize).ok_or_else(missing)?;
            let lifted: Vec<i64> = opened.words().iter().map(|word| plan.ring.lift(*word)).collect();
            planned
                .scale
                .apply(planned.shape.kind, parameters, &lifted, u64::from(opened.weight()))
                .map_err(|error| Misbehaviour::Sum { block, why: error.to_string() })?;
        }
        Ok(next)
    }

    /// Whether the model has the plan's blocks, each with its length.
    pub fn fits(&self, plan: &CheckedPlan) -> bool {
        let lengths = plan.blocks.iter().map(|block| block.shape.length as usize);
        self.blocks.len() == plan.blocks.len() && self.blocks.iter().map(Vec::len).eq(lengths)
    }
}

fn parameters_digest(block: u32, parameters: &[f32]) -> Digest {
    let bytes: Vec<u8> = parameters.iter().flat_map(|value| value.to_le_bytes()).collect();
    digest(Domain::Parameters, &[&BlockId(block).0.to_le_bytes(), &bytes])
}
