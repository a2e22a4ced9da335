//! Which tensors of an adapter each block of a round is made of: a table, the same at every member, that comes from a
//! model's configuration and the adapter's settings alone.
//!
//! A block holds its pieces one after the other, each row by row. A router's block has one more coordinate, reserved
//! for its consistency weight; a routing block is the layer's routing distribution and has no tensors. First halves of
//! low-rank additions are in no block: they are drawn from the task's seed and stay (`TASK-02`).

use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::id::BlockId;
use serde::Serialize;
use serde_json::{Value, json};
use tch::Tensor;

use crate::error::ExpertsError;
use crate::families::adapter::{Adapter, AdapterSettings, ExpertTraining};
use crate::families::models::sites::{SiteKind, SiteShape};

/// A tensor of an adapter, or one expert's part of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Piece {
    /// The tensor's name, as [`Adapter::tensors`] has it.
    pub tensor: String,
    /// The expert whose part it is; nothing for a whole tensor.
    pub expert: Option<usize>,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Piece {
    fn length(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A block and what it is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Number, kind and length.
    pub shape: BlockShape,
    /// Its pieces, in order.
    pub pieces: Vec<Piece>,
}

/// The blocks of an adapter: experts layer by layer, then routers, what all share, and routing distributions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdapterBlocks {
    blocks: Vec<Block>,
}

impl AdapterBlocks {
    /// The blocks of an adapter with these settings for a model with these modules.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] when the settings do not fit the model.
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
            let weight = |(layer, router): (u16, &&SiteShape)| (BlockKind::Router { layer }, whole(router));
            kinds.extend((0..).zip(&routers).map(weight));
        }
        let linear = sites.iter().filter(|site| site.kind == SiteKind::Linear && settings.trains(site));
        let head = sites.iter().filter(|site| site.kind == SiteKind::Head && settings.trains(site));
        let low = linear.map(|site| second_half(site, settings.rank, None));
        let shared: Vec<Piece> =
            low.chain(head.map(|site| over_classes(site, settings.classes.len()))).collect();
        if !shared.is_empty() {
            kinds.push((BlockKind::Shared, shared));
        }
        kinds.extend((0..routers.len()).map(|layer| (BlockKind::Routing { layer: layer as u16 }, vec![])));
        let experts = routers.first().map_or(0, |router| router.shape[0]);
        let numbered = (0..).zip(kinds);
        Ok(Self { blocks: numbered.map(|(id, (kind, pieces))| block(id, kind, pieces, experts)).collect() })
    }

    /// Blocks of a model that has them otherwise.
    pub(crate) fn of_blocks(blocks: Vec<Block>) -> Self {
        Self { blocks }
    }

    /// The table for programs: number, kind, length and pieces of each block.
    pub fn to_json(&self) -> Value {
        let row = |block: &Block| {
            let BlockShape { id, kind, length } = block.shape;
            json!({"id": id.0, "kind": kind, "length": length, "pieces": block.pieces})
        };
        self.blocks.iter().map(row).collect()
    }

    /// All blocks, in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The block table, as a round plan has it.
    pub fn table(&self) -> Vec<BlockShape> {
        self.blocks.iter().map(|block| block.shape).collect()
    }

    /// An adapter's values, a vector for each block; reserved coordinates and routing blocks are 0.
    ///
    /// # Errors
    /// [`ExpertsError::Adapter`] when the adapter lacks a tensor of the table or has it in another shape;
    /// [`ExpertsError::NotFinite`] when training has ruined it.
    pub fn vectors(&self, adapter: &Adapter) -> Result<Vec<Vec<f32>>, ExpertsError> {
        let tensors = adapter.tensors();
        let vector = |block: &Block| {
            let mut values = Vec::with_capacity(block.shape.length as usize);
            for piece in &block.pieces {
                values.extend(crate::device::values(&find(piece, &tensors)?.to_device(tch::Device::Cpu)));
            }
            values.resize(block.shape.length as usize, 0.0);
            match values.iter().position(|value| !value.is_finite()) {
                Some(coordinate) => Err(ExpertsError::NotFinite { block: block.shape.kind, coordinate }),
                None => Ok(values),
            }
        };
        self.blocks.iter().map(vector).collect()
    }

    /// Overwrites an adapter's tensors with the values of all blocks.
    ///
    /// # Errors
    /// [`ExpertsError::BlockCount`] or [`ExpertsError::BlockLength`] when the vectors do not follow the table,
    /// [`ExpertsError::Adapter`] as in [`vectors`](Self::vectors).
    pub fn load(&self, vectors: &[Vec<f32>], adapter: &Adapter) -> Result<(), ExpertsError> {
        if vectors.len() != self.blocks.len() {
            return Err(ExpertsError::BlockCount { expected: self.blocks.len(), got: vectors.len() });
        }
        let tensors = adapter.tensors();
        for (block, vector) in self.blocks.iter().zip(vectors) {
            let (block_kind, expected) = (block.shape.kind, block.shape.length);
            if expected != vector.len() as u64 {
                return Err(ExpertsError::BlockLength { block: block_kind, expected, got: vector.len() });
            }
            let mut start = 0;
            for piece in &block.pieces {
                let mut place = find(piece, &tensors)?;
                let values = Tensor::from_slice(&vector[start..start + piece.length()]).view_as(&place);
                tch::no_grad(|| place.copy_(&values));
                start += piece.length();
            }
        }
        Ok(())
    }
}

/// The piece's part of the adapter's tensors, sharing their memory.
fn find(piece: &Piece, tensors: &[(String, &Tensor)]) -> Result<Tensor, ExpertsError> {
    let tensor = tensors.iter().find(|(name, _)| name == &piece.tensor);
    let Some((_, tensor)) = tensor else {
        return Err(ExpertsError::Adapter(format!("the adapter has no tensor {}", piece.tensor)));
    };
    let sizes: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
    let of_one = if piece.expert.is_some() { sizes.get(1..).unwrap_or(&[]) } else { &sizes };
    if of_one != piece.shape || piece.expert.is_some_and(|expert| expert >= sizes[0]) {
        let reason = format!("{} has the shape {sizes:?}, its block another", piece.tensor);
        return Err(ExpertsError::Adapter(reason));
    }
    let tensor = tensor.detach();
    Ok(piece.expert.map_or(tensor.shallow_clone(), |expert| tensor.get(expert as i64)))
}

fn block(id: u32, kind: BlockKind, pieces: Vec<Piece>, experts: usize) -> Block {
    let values: usize = pieces.iter().map(Piece::length).sum();
    let length = match kind {
        BlockKind::Router { .. } => values + 1,
        BlockKind::Routing { .. } => experts,
        _ => values,
    };
    Block { shape: BlockShape { id: BlockId(id), kind, length: length as u64 }, pieces }
}

/// The blocks of a layer's experts: what is trained of both maps of each, in the order of the model.
fn experts(
    layer: u16,
    router: &SiteShape,
    sites: &[SiteShape],
    settings: &AdapterSettings,
) -> Vec<(BlockKind, Vec<Piece>)> {
    let block = router.name.split(".mlp.").next().unwrap_or(&router.name);
    let inside = format!("{block}.mlp.");
    let is_of_layer = |site: &&SiteShape| site.kind == SiteKind::Experts && site.name.starts_with(&inside);
    let maps: Vec<&SiteShape> = sites.iter().filter(is_of_layer).collect();
    let of_map = |map: &SiteShape, expert| match settings.experts {
        ExpertTraining::Whole => whole_expert(map, expert),
        _ => second_half(map, settings.rank, Some(expert)),
    };
    let pieces = |expert| maps.iter().map(|map| of_map(map, expert)).collect();
    let kind = |expert| BlockKind::Expert { layer, expert: expert as u16 };
    (0..router.shape[0]).map(|expert| (kind(expert), pieces(expert))).collect()
}

fn second_half(site: &SiteShape, rank: usize, expert: Option<usize>) -> Piece {
    let mut shape = site.second_half(rank);
    if expert.is_some() {
        shape.remove(0);
    }
    Piece { tensor: format!("{}.lora_B", site.name), expert, shape }
}

fn whole_expert(map: &SiteShape, expert: usize) -> Piece {
    Piece { tensor: format!("{}.weight", map.name), expert: Some(expert), shape: map.shape[1..].to_vec() }
}

/// The head over classes.
fn over_classes(head: &SiteShape, classes: usize) -> Piece {
    Piece { tensor: format!("{}.weight", head.name), expert: None, shape: vec![classes, head.shape[0]] }
}

fn whole(router: &SiteShape) -> Vec<Piece> {
    vec![Piece { tensor: format!("{}.weight", router.name), expert: None, shape: router.shape.clone() }]
}
