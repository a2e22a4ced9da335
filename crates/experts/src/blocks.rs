//! What leaves a member: the trainable parameters as flat vectors, one for each block of the block table.

use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::id::BlockId;

use crate::classifier::config::{HIDDEN, INTERMEDIATE, ModelConfig};
use crate::draw::{Draw, Purpose};
use crate::error::ExpertsError;

/// Initial router weights are uniform in (−bound, bound).
const ROUTER_BOUND: f32 = 0.02;

/// The block table of a model: experts layer by layer, then routers, the shared head, and routing distributions.
///
/// Lengths: an expert has its two trained adapter halves, `rank · (1536 + 384)`; a router `experts · 384 + 1`, the
/// last coordinate being the consistency weight; shared has `classes · 384 + classes`; routing has `experts`.
pub fn block_table(config: &ModelConfig) -> Vec<BlockShape> {
    block_kinds(config)
        .enumerate()
        .map(|(index, kind)| BlockShape {
            id: BlockId(index as u32),
            kind,
            length: block_length(config, kind) as u64,
        })
        .collect()
}

fn block_kinds(config: &ModelConfig) -> impl Iterator<Item = BlockKind> {
    let layers = config.moe_layers as u16;
    let experts = config.experts as u16;
    (0..layers)
        .flat_map(move |layer| (0..experts).map(move |expert| BlockKind::Expert { layer, expert }))
        .chain((0..layers).map(|layer| BlockKind::Router { layer }))
        .chain([BlockKind::Shared])
        .chain((0..layers).map(|layer| BlockKind::Routing { layer }))
}

fn block_length(config: &ModelConfig, kind: BlockKind) -> usize {
    match kind {
        BlockKind::Expert { .. } => config.rank * (INTERMEDIATE + HIDDEN),
        BlockKind::Router { .. } => config.experts * HIDDEN + 1,
        BlockKind::Shared => config.classes.len() * (HIDDEN + 1),
        BlockKind::Routing { .. } => config.experts,
    }
}

/// The model before any training. It needs no weights of MiniLM, and every machine gets the same bits.
///
/// Adapters and head are 0, so the model starts as MiniLM exactly; routers are small and random by the
/// configuration's seed; there is no routing distribution yet (0).
pub fn initial_blocks(config: &ModelConfig) -> BlockVectors {
    let values = block_kinds(config)
        .map(|kind| match kind {
            BlockKind::Router { layer } => initial_router(config, layer),
            other => vec![0.0; block_length(config, other)],
        })
        .collect();
    BlockVectors { table: block_table(config), values }
}

fn initial_router(config: &ModelConfig, layer: u16) -> Vec<f32> {
    let mut draw = Draw::new(config.seed, Purpose::Router, usize::from(layer));
    let mut router = draw.symmetric(config.experts * HIDDEN, ROUTER_BOUND);
    router.push(0.0);
    router
}

/// One finite vector for each block, in the order of the block table: a model, or an update of it.
#[derive(Clone, PartialEq, Debug)]
pub struct BlockVectors {
    table: Vec<BlockShape>,
    values: Vec<Vec<f32>>,
}

impl BlockVectors {
    /// Takes vectors that follow the configuration's block table.
    ///
    /// # Errors
    /// [`ExpertsError::BlockCount`], [`ExpertsError::BlockLength`] or [`ExpertsError::NotFinite`].
    pub fn new(config: &ModelConfig, values: Vec<Vec<f32>>) -> Result<Self, ExpertsError> {
        Self::of_table(block_table(config), values)
    }

    /// Takes vectors that follow a block table.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_table(table: Vec<BlockShape>, values: Vec<Vec<f32>>) -> Result<Self, ExpertsError> {
        check_blocks(&table, &values)?;
        Ok(Self { table, values })
    }

    /// Other vectors that follow the same block table.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_values(&self, values: Vec<Vec<f32>>) -> Result<Self, ExpertsError> {
        Self::of_table(self.table.clone(), values)
    }

    /// Checks that the vectors follow this configuration's block table.
    pub(crate) fn check(&self, config: &ModelConfig) -> Result<(), ExpertsError> {
        check_blocks(&block_table(config), &self.values)
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

    /// Gives up the vectors.
    pub fn into_values(self) -> Vec<Vec<f32>> {
        self.values
    }

    /// The vector of one block, if the table has it.
    pub fn get(&self, kind: BlockKind) -> Option<&[f32]> {
        let index = self.table.iter().position(|shape| shape.kind == kind)?;
        Some(&self.values[index])
    }
}

fn check_blocks(table: &[BlockShape], values: &[Vec<f32>]) -> Result<(), ExpertsError> {
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
