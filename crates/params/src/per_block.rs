//! Values by block. The index is a [`BlockId`], so that no other number can be taken for a block's.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use crate::id::BlockId;
use crate::planned_block::PlannedBlock;

/// One value for each block of a block table. Encoded as the values in the table's order.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PerBlock<T>(Vec<T>);

impl<T> PerBlock<T> {
    /// Calls a function for each block of a plan's table, in order, and keeps what it returns.
    pub fn from_table(table: &[PlannedBlock], make: impl FnMut(&PlannedBlock) -> T) -> Self {
        Self(table.iter().map(make).collect())
    }

    /// Values in the order of a block table, from a file or a peer. The caller has to check with
    /// [`PerBlock::fits`] that there is one for each block of its plan.
    pub fn in_table_order(values: Vec<T>) -> Self {
        Self(values)
    }

    /// Whether there is one value for each block of a table.
    pub fn fits(&self, table: &[PlannedBlock]) -> bool {
        self.0.len() == table.len()
    }

    /// The value of a block; `None` for a block that the table does not have.
    pub fn get(&self, block: BlockId) -> Option<&T> {
        self.0.get(position(block))
    }

    /// The value of a block, mutably; `None` for a block that the table does not have.
    pub fn get_mut(&mut self, block: BlockId) -> Option<&mut T> {
        self.0.get_mut(position(block))
    }

    /// Each block with its value, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (BlockId, &T)> + Clone {
        self.0.iter().enumerate().map(|(position, value)| (block_at(position), value))
    }

    /// Each block with its value, mutably, ascending.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (BlockId, &mut T)> {
        self.0.iter_mut().enumerate().map(|(position, value)| (block_at(position), value))
    }

    /// The values in the order of the table.
    pub fn values(&self) -> &[T] {
        &self.0
    }

    /// The values in the order of the table, by value.
    pub fn into_values(self) -> Vec<T> {
        self.0
    }

    /// Calls a function for each value, in order, and keeps what it returns for the same block.
    pub fn map<V>(&self, make: impl FnMut(&T) -> V) -> PerBlock<V> {
        PerBlock(self.0.iter().map(make).collect())
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Index<BlockId> for PerBlock<T> {
    type Output = T;

    /// The value of a block that is known to be in the table.
    fn index(&self, block: BlockId) -> &T {
        &self.0[position(block)]
    }
}

impl<T> IndexMut<BlockId> for PerBlock<T> {
    fn index_mut(&mut self, block: BlockId) -> &mut T {
        &mut self.0[position(block)]
    }
}

/// A block's number is its place in the table (`PLAN-02`).
fn position(block: BlockId) -> usize {
    block.0 as usize
}

/// The number of the block at a place in the table. A table is far shorter than 2³²
/// ([`MAX_BLOCKS`](crate::plan::MAX_BLOCKS)).
fn block_at(position: usize) -> BlockId {
    BlockId(position as u32)
}
