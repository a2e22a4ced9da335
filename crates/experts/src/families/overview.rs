//! What a model folder holds and what training it would take, before any of it is loaded.

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
    /// The family.
    pub family: &'static str,
    /// Layers, those of the encoder and the decoder together.
    pub layers: usize,
    /// Layers with experts.
    pub sparse_layers: usize,
    /// Experts of such a layer, 0 where there are none.
    pub experts: usize,
    /// Experts that a token uses.
    pub experts_per_token: usize,
    /// Numbers in all tensors.
    pub parameters: usize,
    /// Numbers of the adapter that are trained in rounds.
    pub trained: usize,
    /// Blocks of a round.
    pub blocks: usize,
    /// What training takes, in bytes.
    pub memory: MemoryEstimate,
}

/// What passes through a model in one step of training.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Texts of a batch.
    pub texts: usize,
    /// Tokens of each.
    pub length: usize,
    /// Whether only what enters each layer is kept, and the rest computed once more.
    pub recompute_layers: bool,
    /// Where it passes through.
    pub device: Device,
}

/// Looks at a folder's configuration and at the headers of its weights.
///
/// # Errors
/// [`ExpertsError::File`], [`ExpertsError::Content`], or [`ExpertsError::Settings`] when the adapter's settings do not
/// fit the model.
pub fn overview(
    folder: &Path,
    settings: &AdapterSettings,
    precision: Precision,
    workload: Workload,
) -> Result<Overview, ExpertsError> {
    let config = AnyConfig::read(folder)?;
    let parameters = Checkpoint::open(folder)?.parameters();
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

/// Bytes of the copies that bfloat16 computes with of experts that are trained whole: the masters are 32-bit floats.
fn copies(config: &AnyConfig, settings: &AdapterSettings, precision: Precision) -> usize {
    if settings.experts != ExpertTraining::Whole || precision == Precision::Float32 {
        return 0;
    }
    let sites = config.sites();
    let experts = sites.iter().filter(|site| site.kind == SiteKind::Experts);
    precision.bytes() * experts.map(|site| site.shape.iter().product::<usize>()).sum::<usize>()
}

fn blocks_and_numbers(table: &AdapterBlocks) -> (usize, usize) {
    let pieces = table.blocks().iter().flat_map(|block| &block.pieces);
    (table.blocks().len(), pieces.map(|piece| piece.shape.iter().product::<usize>()).sum())
}

/// Numbers in the first halves of low-rank additions, which stay as they are drawn.
fn first_halves(sites: &[SiteShape], settings: &AdapterSettings) -> usize {
    let low_rank = |site: &&SiteShape| match site.kind {
        SiteKind::Linear => settings.trains(site),
        SiteKind::Experts => settings.experts == ExpertTraining::LowRank,
        SiteKind::Router | SiteKind::Head => false,
    };
    sites.iter().filter(low_rank).map(|site| site.first_half(settings.rank).iter().product::<usize>()).sum()
}

/// What the backward pass needs of a batch, and what a step has in hand besides.
///
/// Of each token, a layer keeps 22 values of the hidden width (norms, queries, keys and values before and after their
/// rotation, residuals), and for each of its experts 4 of the hidden and 6 of the intermediate width. Measured in
/// `tests/memory.rs`.
fn activations(config: &AnyConfig, precision: Precision, workload: Workload) -> usize {
    let (hidden, _) = config.widths();
    let (layers, sparse) = config.layers();
    let experts = config.moe().map_or(0, |moe| moe.chosen * (4 * hidden + 6 * moe.intermediate));
    let values = match workload.recompute_layers {
        true => layers * hidden + 22 * hidden + experts,
        false => layers * 22 * hidden + sparse * experts,
    };
    let bytes = precision.bytes() + widened(precision, workload);
    workload.texts * workload.length * values * bytes
}

/// Logits, their softmax and its gradient, in 32-bit floats: of every token, or of the classes of every text.
fn logits(config: &AnyConfig, settings: &AdapterSettings, precision: Precision, workload: Workload) -> usize {
    if !settings.classes.is_empty() {
        return 3 * 4 * workload.texts * settings.classes.len();
    }
    let bytes = 3 * 4 + widened(precision, workload);
    bytes * workload.texts * workload.length * config.widths().1
}

/// Bytes of the 32-bit copies that a CPU makes of bfloat16 values: of about every second one that it computes with.
fn widened(precision: Precision, workload: Workload) -> usize {
    match (precision, workload.device) {
        (Precision::Bfloat16, Device::Cpu) => 2,
        _ => 0,
    }
}
