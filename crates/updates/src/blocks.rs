//! What leaves a member: the trainable parameters as flat vectors, one for each block of the block table.

use std::ops::Index;

use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::id::BlockId;

use thiserror::Error;

/// Why vectors are not those of a block table.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BlockError {
    /// There are more or fewer vectors than blocks.
    #[error(
        "the block table has {expected} blocks, but {got} came; use vectors of the same model configuration"
    )]
    Count {
        /// Blocks of the table.
        expected: usize,
        /// Blocks that came.
        got: usize,
    },
    /// One block has a wrong length.
    #[error(
        "{block} has {expected} coordinates, but {got} came; use vectors of the same model configuration"
    )]
    Length {
        /// The block.
        block: BlockKind,
        /// Coordinates in the block table.
        expected: u64,
        /// Coordinates that came.
        got: usize,
    },
    /// One block holds a value that is not a finite number.
    #[error("coordinate {coordinate} of {block} is not a finite number; refuse this model")]
    NotFinite {
        /// The block.
        block: BlockKind,
        /// The first such coordinate.
        coordinate: usize,
    },
}

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
    /// See [`BlockError`].
    pub fn new(table: Vec<BlockShape>, values: Vec<Vec<f32>>) -> Result<Self, BlockError> {
        check_blocks(&table, &values)?;
        Ok(Self { table, values })
    }

    /// Other vectors that follow the same block table.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_values(&self, values: Vec<Vec<f32>>) -> Result<Self, BlockError> {
        Self::new(self.table.clone(), values)
    }

    /// Checks that the vectors follow this block table.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub fn check_table(&self, table: &[BlockShape]) -> Result<(), BlockError> {
        check_blocks(table, &self.values)
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

    /// The blocks that training programs know: all but regions and an evaluation, which are the last of a task's table.
    pub fn for_trainers(&self) -> Self {
        let kept = self.table.iter().zip(&self.values);
        let kept = kept.filter(|(shape, _)| shape.kind.is_known_to_trainers());
        let (table, values) = kept.map(|(shape, values)| (*shape, values.clone())).unzip();
        Self { table, values }
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

fn check_blocks(table: &[BlockShape], values: &[Vec<f32>]) -> Result<(), BlockError> {
    if table.len() != values.len() {
        return Err(BlockError::Count { expected: table.len(), got: values.len() });
    }
    table.iter().zip(values).try_for_each(|(shape, vector)| check_block(shape, vector))
}

fn check_block(shape: &BlockShape, vector: &[f32]) -> Result<(), BlockError> {
    if shape.length != vector.len() as u64 {
        return Err(BlockError::Length { block: shape.kind, expected: shape.length, got: vector.len() });
    }
    match vector.iter().position(|value| !value.is_finite()) {
        Some(coordinate) => Err(BlockError::NotFinite { block: shape.kind, coordinate }),
        None => Ok(()),
    }
}
