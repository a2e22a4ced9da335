//! The classifier's block table, and its blocks before any training.

use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::id::BlockId;
use cloister_updates::BlockVectors;

use crate::classifier::config::{HIDDEN, INTERMEDIATE, ModelConfig};
use crate::draw::{Draw, DrawPurpose};
use crate::error::ExpertsError;

/// Initial router weights are uniform between −bound and bound. If all were 0, each token would have equal
/// logits, and all tokens would go to the same two experts.
const ROUTER_BOUND: f32 = 0.02;

/// The block table of a model: experts layer by layer, then routers, the shared head, and routing
/// distributions.
///
/// Lengths: an expert has its two trained adapter halves, `rank · (1536 + 384)`; a router `experts · 384 +
/// 1`, the last coordinate being the consistency weight; shared has `classes · 384 + classes`; routing has
/// `experts`.
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

pub(crate) fn block_length(config: &ModelConfig, kind: BlockKind) -> usize {
    match kind {
        BlockKind::Expert { .. } => config.rank * (INTERMEDIATE + HIDDEN),
        BlockKind::Router { .. } => config.experts * HIDDEN + 1,
        BlockKind::Shared => config.classes.len() * (HIDDEN + 1),
        BlockKind::Routing { .. } => config.experts,
        // Only a task adds them, after the blocks that trainers know.
        BlockKind::Evaluation | BlockKind::Regions { .. } => 0,
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
    block_vectors(config, values).expect("the values are finite and follow the table")
}

fn initial_router(config: &ModelConfig, layer: u16) -> Vec<f32> {
    let mut draw = Draw::new(config.seed, DrawPurpose::Router, usize::from(layer));
    let mut router = draw.symmetric(config.experts * HIDDEN, ROUTER_BOUND);
    // The reserved coordinate, in which a round carries the consistency weight.
    router.push(0.0);
    router
}

/// Takes vectors that follow the configuration's block table.
///
/// # Errors
/// [`ExpertsError::Blocks`].
pub fn block_vectors(config: &ModelConfig, values: Vec<Vec<f32>>) -> Result<BlockVectors, ExpertsError> {
    Ok(BlockVectors::new(block_table(config), values)?)
}
