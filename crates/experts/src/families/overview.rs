//! What a model folder holds, and how much memory training it would take, before any of it is loaded.

use std::path::Path;

use serde::Serialize;
use tch::Device;

use crate::device::Precision;
use crate::error::ExpertsError;
use crate::families::adapter::blocks::AdapterBlocks;
use crate::families::adapter::{AdapterSettings, ExpertTraining};
use crate::families::models::any_config::AnyConfig;
use crate::families::models::sites::{SiteKind, SiteShape};
use crate::families::weights::Checkpoint;
use crate::training::memory::MemoryEstimate;

/// What a model folder holds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Overview {
    /// Its `model_type`, such as `olmoe`.
    pub family: &'static str,
    /// How many layers there are, in encoder and decoder together.
    pub layers: usize,
    /// How many layers have experts.
    pub sparse_layers: usize,
    /// How many experts such a layer has; 0 without sparse layers.
    pub experts: usize,
    /// How many routed experts a token uses in a sparse layer; shared experts do not count.
    pub experts_per_token: usize,
    /// Parameters of the model: values in all tensors.
    pub parameters: usize,
    /// Parameters of the adapter that are trained in rounds.
    pub trained: usize,
    /// How many blocks a round has.
    pub blocks: usize,
    /// The memory that training takes, in bytes.
    pub memory: MemoryEstimate,
}

/// The batch that passes through a model in one step of training.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// How many texts the batch has.
    pub texts: usize,
    /// How many tokens each text has.
    pub length: usize,
    /// Whether only the input of each layer is held, and the rest recomputed (gradient checkpointing).
    pub recompute_layers: bool,
    /// The device on which the model computes.
    pub device: Device,
}

/// Reads a folder's configuration and the headers of its weights.
///
/// # Errors
/// [`ExpertsError::File`], [`ExpertsError::Content`], or [`ExpertsError::Settings`] if the adapter's settings
/// do not fit the model.
pub fn overview(
    folder: &Path,
    settings: &AdapterSettings,
    precision: Precision,
    workload: Workload,
) -> Result<Overview, ExpertsError> {
    let config = AnyConfig::read(folder)?;
    // Opening maps the files and reads their headers; no weight is read.
    let parameters = Checkpoint::open(folder)?.parameters();
    // With empty settings a dense model, such as one that is to be upcycled, trains nothing. `AdapterBlocks`
    // rejects that, but the folder can still be described.
    let is_empty = config.moe().is_none() && settings.modules.is_empty() && settings.classes.is_empty();
    let (blocks, trained, frozen) = match is_empty {
        true => (0, 0, 0),
        false => {
            let (blocks, trained) = blocks_and_numbers(&AdapterBlocks::new(&config.sites(), settings)?);
            (blocks, trained, first_halves(&config.sites(), settings))
        }
    };
    let (layers, sparse_layers) = config.layers();
    let memory = MemoryEstimate {
        weights: parameters * precision.bytes(),
        adapter: 4 * (trained + frozen) + copies(&config, settings, precision),
        gradients: 4 * trained,
        // The two moments of AdamW, in 32-bit floats.
        optimizer: 8 * trained,
        activations: activations(&config, precision, workload),
        logits: logits(&config, settings, precision, workload),
    };
    Ok(Overview {
        family: config.family().name(),
        layers,
        sparse_layers,
        experts: config.moe().map_or(0, |moe| moe.experts),
        experts_per_token: config.moe().map_or(0, |moe| moe.chosen),
        parameters,
        trained,
        blocks,
        memory,
    })
}

/// Bytes of the bfloat16 copies of experts that are trained whole. The master weights are 32-bit floats, and
/// a model in bfloat16 computes with copies of them.
fn copies(config: &AnyConfig, settings: &AdapterSettings, precision: Precision) -> usize {
    if settings.experts != ExpertTraining::Whole || precision == Precision::Float32 {
        return 0;
    }
    let sites = config.sites();
    let experts = sites.iter().filter(|site| site.kind == SiteKind::Experts);
    precision.bytes() * experts.map(|site| site.shape.iter().product::<usize>()).sum::<usize>()
}

/// How many blocks the table has, and how many coordinates of the adapter.
fn blocks_and_numbers(table: &AdapterBlocks) -> (usize, usize) {
    let pieces = table.blocks().iter().flat_map(|block| &block.pieces);
    (table.blocks().len(), pieces.map(|piece| piece.shape.iter().product::<usize>()).sum())
}

/// Values in the first halves of low-rank additions, which stay as they are drawn.
fn first_halves(sites: &[SiteShape], settings: &AdapterSettings) -> usize {
    let low_rank = sites.iter().filter(|site| match site.kind {
        SiteKind::Linear => settings.trains(site),
        SiteKind::Experts => settings.experts == ExpertTraining::LowRank,
        SiteKind::Router | SiteKind::Head => false,
    });
    low_rank.map(|site| site.first_half(settings.rank).iter().product::<usize>()).sum()
}

/// Bytes of the values of a batch that a step holds for its backward pass.
///
/// For each token, a layer keeps 22 vectors of the hidden width (norms, queries, keys and values before and
/// after their rotation, residuals), and for each expert of the token 4 of the hidden width and 6 of the
/// intermediate width. Measured in `tests/memory.rs`.
fn activations(config: &AnyConfig, precision: Precision, workload: Workload) -> usize {
    let (hidden, _) = config.widths();
    let (layers, sparse) = config.layers();
    let experts = config.moe().map_or(0, |moe| moe.chosen * (4 * hidden + 6 * moe.intermediate));
    let values = match workload.recompute_layers {
        // The input of each layer, and the values of the one layer that is being recomputed.
        true => layers * hidden + 22 * hidden + experts,
        false => layers * 22 * hidden + sparse * experts,
    };
    let bytes = precision.bytes() + widened(precision, workload);
    workload.texts * workload.length * values * bytes
}

/// Bytes of the logits, their softmax and its gradient, in 32-bit floats: for every token, or for the classes
/// of every text.
fn logits(config: &AnyConfig, settings: &AdapterSettings, precision: Precision, workload: Workload) -> usize {
    if !settings.classes.is_empty() {
        return 3 * 4 * workload.texts * settings.classes.len();
    }
    let bytes = 3 * 4 + widened(precision, workload);
    bytes * workload.texts * workload.length * config.widths().1
}

/// Bytes, for each value, of the 32-bit copies that a CPU makes of bfloat16 values. It copies about every
/// second value.
fn widened(precision: Precision, workload: Workload) -> usize {
    match (precision, workload.device) {
        (Precision::Bfloat16, Device::Cpu) => 2,
        _ => 0,
    }
}
