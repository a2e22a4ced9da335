//! The federated model as a safetensors file that stands alone beside the base model.
//!
//! Names, with MiniLM's own layer numbers: `layers.4.experts.3.up.lora_A` `[rank, 384]`, `….up.lora_B`
//! `[1536, rank]`, `….down.lora_A` `[rank, 1536]`, `….down.lora_B` `[384, rank]`, `layers.4.router.weight`
//! `[experts, 384]`, `layers.4.router.distribution` `[experts]` (the published routing distribution, 0 where there
//! is none), `head.weight` `[classes, 384]` and `head.bias` `[classes]`, all f32. An expert's weight is
//! `W + (alpha / rank) · lora_B · lora_A`. The metadata has one entry, `cloister`: a JSON object with the base
//! model's name and the model's configuration.

// The safetensors library takes its metadata as a `HashMap`; ours has one entry, which has no order.
#![allow(clippy::disallowed_types)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use cloister_params::block::BlockKind;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::blocks::BlockVectors;
use crate::classifier::blocks::block_table;
use crate::classifier::config::{HIDDEN, INTERMEDIATE, ModelConfig};
use crate::classifier::moe::frozen_adapter;
use crate::draw::DrawPurpose;
use crate::error::ExpertsError;
use crate::model_files::{read_file, unusable};

const BASE_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";
const METADATA: &str = "cloister";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    base_model: String,
    config: ModelConfig,
}

/// A tensor of the file.
pub(crate) struct CheckpointTensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Writes a model. The reserved coordinates of the routers are left out.
///
/// # Errors
/// [`ExpertsError::Config`], the errors of [`BlockVectors::new`] when the blocks are another configuration's, or
/// [`ExpertsError::File`].
pub fn write_checkpoint(
    path: &Path,
    config: &ModelConfig,
    blocks: &BlockVectors,
) -> Result<(), ExpertsError> {
    config.check()?;
    blocks.check(config)?;
    let entries: Vec<(CheckpointTensor, Vec<u8>)> = blocks
        .iter()
        .flat_map(|(shape, values)| entries(config, shape.kind, values))
        .map(|entry| {
            let bytes = entry.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (entry, bytes)
        })
        .collect();
    let broken = |error: safetensors::SafeTensorError| unusable(path, error.to_string());
    let views = entries
        .iter()
        .map(|(entry, bytes)| Ok((&entry.name, TensorView::new(Dtype::F32, entry.shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(broken)?;
    let file = safetensors::serialize(views, Some(metadata(config))).map_err(broken)?;
    fs::write(path, file).map_err(|source| ExpertsError::File { path: path.to_owned(), source })
}

/// One entry only: several would be written in random order, and equal models would differ in their bytes.
fn metadata(config: &ModelConfig) -> HashMap<String, String> {
    let metadata = Metadata { base_model: BASE_MODEL.to_owned(), config: config.clone() };
    let json = serde_json::to_string(&metadata).expect("a configuration is plain data");
    HashMap::from([(METADATA.to_owned(), json)])
}

/// The tensors of one block; an expert's frozen halves are among them.
pub(crate) fn entries(config: &ModelConfig, kind: BlockKind, values: &[f32]) -> Vec<CheckpointTensor> {
    let entry = |name: String, shape: [usize; 2], values: &[f32]| CheckpointTensor {
        name,
        shape: shape.to_vec(),
        values: values.to_vec(),
    };
    let vector = |name: String, values: &[f32]| CheckpointTensor {
        name,
        shape: vec![values.len()],
        values: values.to_vec(),
    };
    let rank = config.rank;
    match kind {
        BlockKind::Expert { layer, expert } => {
            let name = expert_name(config, layer, expert);
            let frozen = |purpose| frozen_adapter(config, purpose, layer.into(), expert.into());
            let (up, down) = values.split_at(INTERMEDIATE * rank);
            vec![
                entry(format!("{name}.up.lora_A"), [rank, HIDDEN], &frozen(DrawPurpose::AdapterUp)),
                entry(format!("{name}.up.lora_B"), [INTERMEDIATE, rank], up),
                entry(format!("{name}.down.lora_A"), [rank, INTERMEDIATE], &frozen(DrawPurpose::AdapterDown)),
                entry(format!("{name}.down.lora_B"), [HIDDEN, rank], down),
            ]
        }
        BlockKind::Router { layer } => {
            let name = format!("{}.router.weight", layer_name(config, layer));
            vec![entry(name, [config.experts, HIDDEN], &values[..values.len() - 1])]
        }
        BlockKind::Shared => {
            let (weight, bias) = values.split_at(config.classes.len() * HIDDEN);
            let shape = [config.classes.len(), HIDDEN];
            vec![entry("head.weight".to_owned(), shape, weight), vector("head.bias".to_owned(), bias)]
        }
        BlockKind::Routing { layer } => {
            vec![vector(format!("{}.router.distribution", layer_name(config, layer)), values)]
        }
    }
}

/// Whether a tensor is a frozen half of an adapter.
pub(crate) fn is_frozen(entry: &CheckpointTensor) -> bool {
    entry.name.ends_with("lora_A")
}

fn layer_name(config: &ModelConfig, layer: u16) -> String {
    format!("layers.{}", config.first_moe_layer() + usize::from(layer))
}

fn expert_name(config: &ModelConfig, layer: u16, expert: u16) -> String {
    format!("{}.experts.{expert}", layer_name(config, layer))
}

/// Reads a model that [`write_checkpoint`] wrote. The reserved coordinates of the routers are 0.
///
/// # Errors
/// [`ExpertsError::File`]; [`ExpertsError::Content`] when the file is no such model, or when its frozen halves are
/// not those of its seed; [`ExpertsError::Config`] or [`ExpertsError::NotFinite`] for what it holds.
pub fn read_checkpoint(path: &Path) -> Result<(ModelConfig, BlockVectors), ExpertsError> {
    let bytes = read_file(path)?;
    let broken = |error: safetensors::SafeTensorError| unusable(path, error.to_string());
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let config = read_config(header.metadata().as_ref()).map_err(|reason| unusable(path, reason))?;
    config.check()?;
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let values = block_table(&config)
        .iter()
        .map(|shape| read_block(&config, shape.kind, &file))
        .collect::<Result<_, _>>()
        .map_err(|reason| unusable(path, reason))?;
    let blocks = BlockVectors::new(&config, values)?;
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

/// Reads one block by comparing with what writing a block of zeros would yield: names, shapes and frozen halves.
fn read_block(config: &ModelConfig, kind: BlockKind, file: &SafeTensors<'_>) -> Result<Vec<f32>, String> {
    let shape = block_table(config).into_iter().find(|shape| shape.kind == kind);
    let length = shape.map_or(0, |shape| shape.length as usize);
    let mut block = Vec::with_capacity(length);
    for expected in entries(config, kind, &vec![0.0; length]) {
        let values = read_values(&expected, file)?;
        if !is_frozen(&expected) {
            block.extend(values);
        } else if values != expected.values {
            return Err(format!("{} is not drawn from the seed {}", expected.name, config.seed));
        }
    }
    block.resize(length, 0.0);
    Ok(block)
}

fn read_values(expected: &CheckpointTensor, file: &SafeTensors<'_>) -> Result<Vec<f32>, String> {
    let view = file.tensor(&expected.name).map_err(|error| format!("{}: {error}", expected.name))?;
    if view.dtype() != Dtype::F32 || view.shape() != expected.shape {
        let (dtype, shape) = (view.dtype(), view.shape());
        return Err(format!("{} must be F32 {:?}, not {dtype:?} {shape:?}", expected.name, expected.shape));
    }
    let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(view.data().chunks_exact(4).map(value).collect())
}
