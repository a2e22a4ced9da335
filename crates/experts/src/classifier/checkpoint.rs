//! The federated model as a safetensors file that stands alone beside the base model.
//!
//! Names, with MiniLM's own layer numbers: `layers.4.experts.3.up.lora_A` `[rank, 384]`, `….up.lora_B`
//! `[1536, rank]`, `….down.lora_A` `[rank, 1536]`, `….down.lora_B` `[384, rank]`, `layers.4.router.weight`
//! `[experts, 384]`, `layers.4.router.distribution` `[experts]` (the published routing distribution, 0 where
//! there is none), `head.weight` `[classes, 384]` and `head.bias` `[classes]`, all f32. An expert's weight is
//! `W + (alpha / rank) · lora_B · lora_A`. The metadata has one entry, `cloister`: a JSON object with the
//! base model's name and the model's configuration.

// The safetensors library takes its metadata as a `HashMap`; ours has one entry, which has no order.
#![allow(clippy::disallowed_types)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use cloister_params::block::{BlockKind, BlockShape};
use cloister_updates::BlockVectors;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::classifier::blocks::{block_table, block_vectors};
use crate::classifier::config::{HIDDEN, INTERMEDIATE, ModelConfig};
use crate::classifier::moe::frozen_adapter;
use crate::draw::DrawPurpose;
use crate::error::ExpertsError;
use crate::model_files::{read_file, unusable};

/// The only base model; a file that names another is rejected.
const BASE_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";
/// Name of the file's one metadata entry.
const METADATA: &str = "cloister";

/// The JSON object in the metadata.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    base_model: String,
    config: ModelConfig,
}

/// A tensor of the file.
pub(crate) struct CheckpointTensor {
    /// Its name, as in the list at the head of this module.
    pub(crate) name: String,
    /// Its one or two sizes.
    pub(crate) shape: Vec<usize>,
    /// Its values, row by row.
    pub(crate) values: Vec<f32>,
}

impl CheckpointTensor {
    fn matrix(name: String, shape: [usize; 2], values: &[f32]) -> Self {
        Self { name, shape: shape.to_vec(), values: values.to_vec() }
    }

    fn vector(name: String, values: &[f32]) -> Self {
        Self { name, shape: vec![values.len()], values: values.to_vec() }
    }

    /// The values as the file has them, in little-endian order.
    fn bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}

/// Writes a model. The reserved coordinates of the routers are left out: they carry a weight of a round, and
/// no model.
///
/// # Errors
/// [`ExpertsError::Config`], the errors of [`BlockVectors::new`] when the blocks are another configuration's,
/// or [`ExpertsError::File`].
pub fn write_checkpoint(
    path: &Path,
    config: &ModelConfig,
    blocks: &BlockVectors,
) -> Result<(), ExpertsError> {
    config.check()?;
    blocks.check_table(&block_table(config))?;
    let mut tensors = Vec::new();
    for (shape, values) in blocks.iter() {
        tensors.extend(block_tensors(config, shape.kind, values));
    }
    let file = file_bytes(config, &tensors).map_err(|error| unusable(path, error.to_string()))?;
    fs::write(path, file).map_err(|source| ExpertsError::File { path: path.to_owned(), source })
}

/// The whole file.
fn file_bytes(config: &ModelConfig, tensors: &[CheckpointTensor]) -> Result<Vec<u8>, SafeTensorError> {
    // A view borrows its bytes, so all of them are made first.
    let bytes: Vec<Vec<u8>> = tensors.iter().map(CheckpointTensor::bytes).collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (tensor, bytes) in tensors.iter().zip(&bytes) {
        views.push((&tensor.name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?));
    }
    safetensors::serialize(views, Some(metadata(config)))
}

/// The file's metadata. It has one entry only: several would be written in random order, and equal models
/// would differ in their bytes.
fn metadata(config: &ModelConfig) -> HashMap<String, String> {
    let metadata = Metadata { base_model: BASE_MODEL.to_owned(), config: config.clone() };
    let json = serde_json::to_string(&metadata).expect("a configuration is plain data");
    HashMap::from([(METADATA.to_owned(), json)])
}

/// The tensors of one block. Those of an expert include the frozen halves of its adapters, which the block
/// does not have, so that other programs can read the file without drawing them from the seed.
pub(crate) fn block_tensors(config: &ModelConfig, kind: BlockKind, values: &[f32]) -> Vec<CheckpointTensor> {
    match kind {
        BlockKind::Expert { layer, expert } => expert_tensors(config, layer, expert, values),
        BlockKind::Router { layer } => {
            let name = format!("{}.router.weight", layer_name(config, layer));
            // The last coordinate is the reserved one.
            let weight = &values[..values.len() - 1];
            vec![CheckpointTensor::matrix(name, [config.experts, HIDDEN], weight)]
        }
        BlockKind::Shared => {
            let (weight, bias) = values.split_at(config.classes.len() * HIDDEN);
            let shape = [config.classes.len(), HIDDEN];
            vec![
                CheckpointTensor::matrix("head.weight".to_owned(), shape, weight),
                CheckpointTensor::vector("head.bias".to_owned(), bias),
            ]
        }
        BlockKind::Routing { layer } => {
            let name = format!("{}.router.distribution", layer_name(config, layer));
            vec![CheckpointTensor::vector(name, values)]
        }
        // Regions and counts of records belong to no model.
        BlockKind::Evaluation | BlockKind::Regions { .. } => vec![],
    }
}

fn expert_tensors(config: &ModelConfig, layer: u16, expert: u16, values: &[f32]) -> Vec<CheckpointTensor> {
    let rank = config.rank;
    let name = expert_name(config, layer, expert);
    let frozen_up = frozen_adapter(config, DrawPurpose::AdapterUp, layer.into(), expert.into());
    let frozen_down = frozen_adapter(config, DrawPurpose::AdapterDown, layer.into(), expert.into());
    let (up, down) = values.split_at(INTERMEDIATE * rank);
    vec![
        CheckpointTensor::matrix(format!("{name}.up.lora_A"), [rank, HIDDEN], &frozen_up),
        CheckpointTensor::matrix(format!("{name}.up.lora_B"), [INTERMEDIATE, rank], up),
        CheckpointTensor::matrix(format!("{name}.down.lora_A"), [rank, INTERMEDIATE], &frozen_down),
        CheckpointTensor::matrix(format!("{name}.down.lora_B"), [HIDDEN, rank], down),
    ]
}

/// Whether a tensor is a frozen half of an adapter.
pub(crate) fn is_frozen(tensor: &CheckpointTensor) -> bool {
    tensor.name.ends_with("lora_A")
}

/// The file numbers layers as MiniLM does, blocks number MoE layers from 0.
fn layer_name(config: &ModelConfig, layer: u16) -> String {
    format!("layers.{}", config.first_moe_layer() + usize::from(layer))
}

fn expert_name(config: &ModelConfig, layer: u16, expert: u16) -> String {
    format!("{}.experts.{expert}", layer_name(config, layer))
}

/// Reads a model that [`write_checkpoint`] wrote. The reserved coordinates of the routers are 0.
///
/// # Errors
/// [`ExpertsError::File`]; [`ExpertsError::Content`] if the file is no such model, or if its frozen halves
/// are not those of its seed; [`ExpertsError::Config`] or [`ExpertsError::Blocks`] for what it holds.
pub fn read_checkpoint(path: &Path) -> Result<(ModelConfig, BlockVectors), ExpertsError> {
    let bytes = read_file(path)?;
    let broken = |error: SafeTensorError| unusable(path, error.to_string());
    // The configuration says which tensors to expect. It is checked first, because sizes follow from it.
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let config = read_config(header.metadata().as_ref()).map_err(|reason| unusable(path, reason))?;
    config.check()?;
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let mut values = Vec::new();
    for shape in block_table(&config) {
        values.push(read_block(&config, &shape, &file).map_err(|reason| unusable(path, reason))?);
    }
    let blocks = block_vectors(&config, values)?;
    Ok((config, blocks))
}

fn read_config(metadata: Option<&HashMap<String, String>>) -> Result<ModelConfig, String> {
    let json =
        metadata.and_then(|entries| entries.get(METADATA)).ok_or("its metadata has no entry “cloister”")?;
    let metadata: Metadata = serde_json::from_str(json).map_err(|error| format!("its metadata: {error}"))?;
    if metadata.base_model != BASE_MODEL {
        return Err(format!("its base model must be {BASE_MODEL}, not {}", metadata.base_model));
    }
    Ok(metadata.config)
}

/// Reads one block by comparing with what writing a block of zeros would yield: names, shapes and frozen
/// halves.
fn read_block(config: &ModelConfig, shape: &BlockShape, file: &SafeTensors<'_>) -> Result<Vec<f32>, String> {
    let length = shape.length as usize;
    let mut block = Vec::with_capacity(length);
    for expected in block_tensors(config, shape.kind, &vec![0.0; length]) {
        let values = read_values(&expected, file)?;
        if !is_frozen(&expected) {
            block.extend(values);
        } else if values != expected.values {
            // The sum of updates is right only if all members have the same frozen halves.
            return Err(format!("{} is not drawn from the seed {}", expected.name, config.seed));
        }
    }
    // A router's reserved coordinate is not in the file.
    block.resize(length, 0.0);
    Ok(block)
}

fn read_values(expected: &CheckpointTensor, file: &SafeTensors<'_>) -> Result<Vec<f32>, String> {
    let view = file.tensor(&expected.name).map_err(|error| format!("{}: {error}", expected.name))?;
    if view.dtype() != Dtype::F32 || view.shape() != expected.shape {
        let (dtype, shape) = (view.dtype(), view.shape());
        return Err(format!("{} must be F32 {:?}, not {dtype:?} {shape:?}", expected.name, expected.shape));
    }
    // Nothing is left over: the library has compared the length with type and shape.
    let (values, _) = view.data().as_chunks();
    Ok(values.iter().copied().map(f32::from_le_bytes).collect())
}
