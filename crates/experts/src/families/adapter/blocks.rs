//! The block table of an adapter: which of its tensors each block of a round is made of. The table follows
//! from a model's configuration and the adapter's settings alone, so it is the same at every member.
//!
//! A block holds its pieces one after another, each row by row. A router's block has one more coordinate,
//! reserved for its consistency weight. A routing block is the layer's routing distribution and has no
//! tensors. First halves of low-rank additions are in no block: they are drawn from the task's seed and never
//! change (`TASK-02`).

use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::id::BlockId;
use cloister_updates::BlockError;
use serde::Serialize;
use serde_json::{Value, json};
use tch::Tensor;

use crate::error::ExpertsError;
use crate::families::adapter::{Adapter, AdapterSettings, ExpertTraining, sizes};
use crate::families::models::sites::{SiteKind, SiteShape};

/// A tensor of an adapter, or one expert's part of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Piece {
    /// The tensor's name, as [`Adapter::tensors`] returns it.
    pub tensor: String,
    /// The expert whose part of a stacked tensor this is, counted from 0; `None` for a whole tensor.
    pub expert: Option<usize>,
    /// The shape of the part, without the dimension of the experts.
    pub shape: Vec<usize>,
}

impl Piece {
    /// How many coordinates it contributes to its block.
    fn length(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A block and what it is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Number, kind and length.
    pub shape: BlockShape,
    /// Its pieces, in the order in which their values lie in the block; empty for a routing block.
    pub pieces: Vec<Piece>,
}

/// The blocks of an adapter: experts layer by layer, then routers, the shared rest, and routing
/// distributions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdapterBlocks {
    blocks: Vec<Block>,
}

impl AdapterBlocks {
    /// The blocks of an adapter with these settings for a model with these modules.
    ///
    /// The order of `sites` and the order in which blocks are listed here fix the block numbers that every
    /// member uses.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] if the settings do not fit the model.
    pub fn new(sites: &[SiteShape], settings: &AdapterSettings) -> Result<Self, ExpertsError> {
        settings.check(sites)?;
        let routers: Vec<&SiteShape> = sites.iter().filter(|site| site.kind == SiteKind::Router).collect();
        let mut kinds = Vec::new();
        if settings.experts != ExpertTraining::Frozen {
            kinds.extend(
                (0..).zip(&routers).flat_map(|(layer, router)| experts(layer, router, sites, settings)),
            );
        }
        if settings.router {
            for (layer, router) in (0..).zip(&routers) {
                kinds.push((BlockKind::Router { layer }, vec![whole_router(router)]));
            }
        }
        let shared = shared_rest(sites, settings);
        if !shared.is_empty() {
            kinds.push((BlockKind::Shared, shared));
        }
        // Last and for every layer, whatever is trained: routing is measured, not trained.
        kinds.extend((0..routers.len()).map(|layer| (BlockKind::Routing { layer: layer as u16 }, vec![])));
        let experts = routers.first().map_or(0, |router| router.shape[0]);
        let numbered = (0..).zip(kinds);
        Ok(Self { blocks: numbered.map(|(id, (kind, pieces))| block(id, kind, pieces, experts)).collect() })
    }

    /// A table that does not follow from sites and settings, such as the classifier's.
    pub(crate) fn from_blocks(blocks: Vec<Block>) -> Self {
        Self { blocks }
    }

    /// The table for programs: number, kind, length and pieces of each block.
    pub fn to_json(&self) -> Value {
        self.blocks.iter().map(json_row).collect()
    }

    /// All blocks, in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The block table, as a round plan has it.
    pub fn table(&self) -> Vec<BlockShape> {
        self.blocks.iter().map(|block| block.shape).collect()
    }

    /// An adapter's values, one vector for each block. Reserved coordinates and routing blocks are 0.
    ///
    /// # Errors
    /// [`ExpertsError::Adapter`] if the adapter lacks a tensor of the table or has it in another shape;
    /// [`ExpertsError::Blocks`] if training has diverged to values that are not finite.
    pub fn vectors(&self, adapter: &Adapter) -> Result<Vec<Vec<f32>>, ExpertsError> {
        let tensors = adapter.tensors();
        self.blocks.iter().map(|block| block_values(block, &tensors)).collect()
    }

    /// Overwrites an adapter's tensors with the values of all blocks. The reserved coordinate of a router's
    /// block and routing blocks have no tensor, so their values are ignored.
    ///
    /// # Errors
    /// [`ExpertsError::Blocks`] if the vectors do not follow the table, [`ExpertsError::Adapter`] as in
    /// [`vectors`](Self::vectors). Then the adapter is as it was.
    pub fn load(&self, vectors: &[Vec<f32>], adapter: &Adapter) -> Result<(), ExpertsError> {
        if vectors.len() != self.blocks.len() {
            return Err(BlockError::Count { expected: self.blocks.len(), got: vectors.len() }.into());
        }
        let tensors = adapter.tensors();
        // All places are found before the first value is written, so that an error leaves the adapter as it
        // was.
        let mut writes = Vec::new();
        for (block, vector) in self.blocks.iter().zip(vectors) {
            let (block_kind, expected) = (block.shape.kind, block.shape.length);
            if expected != vector.len() as u64 {
                return Err(BlockError::Length { block: block_kind, expected, got: vector.len() }.into());
            }
            let mut rest = vector.as_slice();
            for piece in &block.pieces {
                let (values, behind) = rest.split_at(piece.length());
                writes.push((find(piece, &tensors)?, values));
                rest = behind;
            }
        }
        for (mut place, values) in writes {
            let values = Tensor::from_slice(values).view_as(&place);
            tch::no_grad(|| place.copy_(&values));
        }
        Ok(())
    }
}

/// One row of the table for programs.
fn json_row(block: &Block) -> Value {
    let BlockShape { id, kind, length } = block.shape;
    json!({"id": id.0, "kind": kind, "length": length, "pieces": block.pieces})
}

/// The values of one block, each of them finite.
fn block_values(block: &Block, tensors: &[(String, &Tensor)]) -> Result<Vec<f32>, ExpertsError> {
    let length = block.shape.length as usize;
    let mut values = Vec::with_capacity(length);
    for piece in &block.pieces {
        values.extend(crate::device::values(&find(piece, tensors)?.to_device(tch::Device::Cpu)));
    }
    // The reserved coordinate of a router's block and all of a routing block have no tensor.
    values.resize(length, 0.0);
    // Found here, before a value enters a sum that everyone shares.
    match values.iter().position(|value| !value.is_finite()) {
        Some(coordinate) => Err(BlockError::NotFinite { block: block.shape.kind, coordinate }.into()),
        None => Ok(values),
    }
}

/// The piece's part of the adapter's tensors. It shares their memory, so that [`AdapterBlocks::load`] writes
/// through it.
fn find(piece: &Piece, tensors: &[(String, &Tensor)]) -> Result<Tensor, ExpertsError> {
    let tensor = tensors.iter().find(|(name, _)| name == &piece.tensor);
    let Some((_, tensor)) = tensor else {
        return Err(ExpertsError::Adapter(format!("the adapter has no tensor {}", piece.tensor)));
    };
    let sizes = sizes(tensor);
    let part_sizes = if piece.expert.is_some() { sizes.get(1..).unwrap_or(&[]) } else { &sizes };
    if part_sizes != piece.shape || piece.expert.is_some_and(|expert| expert >= sizes[0]) {
        let reason = format!(
            "{} has the shape {sizes:?}, which does not hold the part {:?} that the block table expects of it",
            piece.tensor, piece.shape
        );
        return Err(ExpertsError::Adapter(reason));
    }
    // Detached: values are written into leaf tensors that may require gradients.
    let tensor = tensor.detach();
    Ok(piece.expert.map_or(tensor.shallow_clone(), |expert| tensor.get(expert as i64)))
}

/// A block with its length; `experts` is the length of a routing distribution.
fn block(id: u32, kind: BlockKind, pieces: Vec<Piece>, experts: usize) -> Block {
    let values: usize = pieces.iter().map(Piece::length).sum();
    let length = match kind {
        // One more for the consistency weight.
        BlockKind::Router { .. } => values + 1,
        BlockKind::Routing { .. } => experts,
        _ => values,
    };
    Block { shape: BlockShape { id: BlockId(id), kind, length: length as u64 }, pieces }
}

/// The blocks of a layer's experts: what is trained of both maps of each expert, in the order of the model.
fn experts(
    layer: u16,
    router: &SiteShape,
    sites: &[SiteShape],
    settings: &AdapterSettings,
) -> Vec<(BlockKind, Vec<Piece>)> {
    // The experts of a layer are those under the same `mlp` as its router, whatever their numbers are.
    let layer_name = router.name.split(".mlp.").next().unwrap_or(&router.name);
    let prefix = format!("{layer_name}.mlp.");
    let maps: Vec<&SiteShape> = sites
        .iter()
        .filter(|site| site.kind == SiteKind::Experts && site.name.starts_with(&prefix))
        .collect();
    let mut blocks = Vec::with_capacity(router.shape[0]);
    for expert in 0..router.shape[0] {
        let pieces = maps.iter().map(|map| expert_piece(map, expert, settings)).collect();
        blocks.push((BlockKind::Expert { layer, expert: expert as u16 }, pieces));
    }
    blocks
}

/// What is trained of one map of one expert.
fn expert_piece(map: &SiteShape, expert: usize, settings: &AdapterSettings) -> Piece {
    match settings.experts {
        ExpertTraining::Whole => whole_expert(map, expert),
        _ => second_half(map, settings.rank, Some(expert)),
    }
}

/// The pieces of the shared rest: the second halves of linear maps, and then the head over classes.
fn shared_rest(sites: &[SiteShape], settings: &AdapterSettings) -> Vec<Piece> {
    let linear = sites.iter().filter(|site| site.kind == SiteKind::Linear && settings.trains(site));
    let head = sites.iter().filter(|site| site.kind == SiteKind::Head && settings.trains(site));
    let mut pieces: Vec<Piece> = linear.map(|site| second_half(site, settings.rank, None)).collect();
    pieces.extend(head.map(|site| over_classes(site, settings.classes.len())));
    pieces
}

/// The second half of a module's low-rank addition; of a stacked one, one expert's part.
fn second_half(site: &SiteShape, rank: usize, expert: Option<usize>) -> Piece {
    let mut shape = site.second_half(rank);
    if expert.is_some() {
        shape.remove(0);
    }
    Piece { tensor: format!("{}.lora_B", site.name), expert, shape }
}

/// One expert's weight of a map that is trained whole.
fn whole_expert(map: &SiteShape, expert: usize) -> Piece {
    Piece { tensor: format!("{}.weight", map.name), expert: Some(expert), shape: map.shape[1..].to_vec() }
}

/// The weight of the head over classes.
fn over_classes(head: &SiteShape, classes: usize) -> Piece {
    Piece { tensor: format!("{}.weight", head.name), expert: None, shape: vec![classes, head.shape[0]] }
}

/// A router's weight, which is always trained whole.
fn whole_router(router: &SiteShape) -> Piece {
    Piece { tensor: format!("{}.weight", router.name), expert: None, shape: router.shape.clone() }
}
