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

    /// The parameters as a file holds them: for each block its length as a 64-bit integer, then its 32-bit floats,
    /// all little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for block in &self.blocks {
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
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?.checked_mul(4)?;
            let (values, rest) = rest.split_at_checked(length)?;
            let (values, _) = values.as_chunks();
            blocks.push(values.iter().map(|value| f32::from_le_bytes(*value)).collect());
            bytes = rest;
        }
        Some(Self { blocks })
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
            let lifted: Vec<i64> = opened.words().iter().map(|word| plan.settings.ring.lift(*word)).collect();
            planned
                .scale
                .apply(planned.shape.kind, parameters, &lifted, u64::from(opened.weight()))
                .map_err(|error| Misbehaviour::Sum { block, why: error.to_string() })?;
        }
        Ok(next)
    }

    /// Whether the model has the plan's blocks, each with its length.
    pub fn fits(&self, plan: &CheckedPlan) -> bool {
        let lengths = plan.settings.blocks.iter().map(|block| block.shape.length as usize);
        self.blocks.len() == plan.settings.blocks.len() && self.blocks.iter().map(Vec::len).eq(lengths)
    }
}

fn parameters_digest(block: u32, parameters: &[f32]) -> Digest {
    let bytes: Vec<u8> = parameters.iter().flat_map(|value| value.to_le_bytes()).collect();
    digest(Domain::Parameters, &[&BlockId(block).0.to_le_bytes(), &bytes])
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
        other.blocks[2][0] = 0.5;
        assert_ne!(other.digest(), model.digest());
    }
}
