//! What leaves a member: the trainable parameters as flat vectors, one for each block of the block table.

use std::ops::Index;

use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::id::BlockId;

use crate::error::ExpertsError;

/// One finite vector for each block, in the order of the block table: a model, or an update of it.
#[derive(Clone, PartialEq, Debug)]
pub struct BlockVectors {
    table: Vec<BlockShape>,
    values: Vec<Vec<f32>>,
}

impl BlockVectors {
    /// Takes vectors that follow a block table.
    ///
    /// # Errors
    /// [`ExpertsError::BlockCount`], [`ExpertsError::BlockLength`] or [`ExpertsError::NotFinite`].
    pub fn of_table(table: Vec<BlockShape>, values: Vec<Vec<f32>>) -> Result<Self, ExpertsError> {
        check_blocks(&table, &values)?;
        Ok(Self { table, values })
    }

    /// Other vectors that follow the same block table.
    ///
    /// # Errors
    /// As [`of_table`](Self::of_table).
    pub fn with_values(&self, values: Vec<Vec<f32>>) -> Result<Self, ExpertsError> {
        Self::of_table(self.table.clone(), values)
    }

    /// The block table that the vectors follow.
    pub fn table(&self) -> &[BlockShape] {
        &self.table
    }

    /// The vectors, in the order of the block table.
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// Each block's shape and vector.
    pub fn iter(&self) -> impl Iterator<Item = (&BlockShape, &[f32])> {
        self.table.iter().zip(self.values.iter().map(Vec::as_slice))
    }

    /// The vectors after a change of each that keeps its length.
    ///
    /// # Panics
    /// Where a vector gets another length.
    pub fn map(&self, mut change: impl FnMut(&BlockShape, &[f32]) -> Vec<f32>) -> Self {
        let values: Vec<Vec<f32>> = self.iter().map(|(shape, values)| change(shape, values)).collect();
        let kept = values.iter().zip(&self.values).all(|(new, old)| new.len() == old.len());
        assert!(kept, "a block keeps its length");
        Self { table: self.table.clone(), values }
    }

    /// The vectors without the table, not copied.
    pub fn into_values(self) -> Vec<Vec<f32>> {
        self.values
    }

    /// The vector of one block, if the table has it.
    pub fn get(&self, kind: BlockKind) -> Option<&[f32]> {
        let index = self.table.iter().position(|shape| shape.kind == kind)?;
        Some(&self.values[index])
    }
}

/// The vector of a block that is known to be in the table. A block's number is its place there (`PLAN-02`).
impl Index<BlockId> for BlockVectors {
    type Output = [f32];

    fn index(&self, block: BlockId) -> &[f32] {
        &self.values[block.0 as usize]
    }
}

pub(crate) fn check_blocks(table: &[BlockShape], values: &[Vec<f32>]) -> Result<(), ExpertsError> {
    if table.len() != values.len() {
        return Err(ExpertsError::BlockCount { expected: table.len(), got: values.len() });
    }
    table.iter().zip(values).try_for_each(|(shape, vector)| check_block(shape, vector))
}

fn check_block(shape: &BlockShape, vector: &[f32]) -> Result<(), ExpertsError> {
    if shape.length != vector.len() as u64 {
        return Err(ExpertsError::BlockLength {
            block: shape.kind,
            expected: shape.length,
            got: vector.len(),
        });
    }
    match vector.iter().position(|value| !value.is_finite()) {
        Some(coordinate) => Err(ExpertsError::NotFinite { block: shape.kind, coordinate }),
        None => Ok(()),
    }
}
