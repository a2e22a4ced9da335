//! `cloister experts convert`, `upcycle` and `export`: commands that write the folder of a model or of an adapter.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cloister_experts::families::adapter::write_merged;
use cloister_experts::families::convert::{gguf, pickled};
use cloister_experts::families::{Adapter, Layout, PublishedModel, upcycle};
use cloister_experts::{Device, ExpertsError, Precision};

use crate::create::check_new;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct Convert {
    /// The GGUF file, or the folder.
    model: PathBuf,
    /// The folder to write. It must not exist, or be empty.
    target: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Upcycle {
    /// The dense model's folder.
    model: PathBuf,
    /// The folder to write. It must not exist, or be empty.
    target: PathBuf,
    /// Number of experts in each layer.
    #[arg(long, default_value_t = 8)]
    experts: usize,
    /// Number of experts that each token uses.
    #[arg(long, default_value_t = 2)]
    experts_per_token: usize,
    /// Seed of the routers.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// The model's folder.
    model: PathBuf,
    /// The adapter's folder, such as `adapter` in a hospital's data folder.
    adapter: PathBuf,
    /// The folder to write. It must not exist, or be empty.
    target: PathBuf,
    /// How the adapter is laid out.
    #[arg(long, value_enum, default_value = "peft-fused", conflicts_with = "merge")]
    layout: LayoutFlag,
    /// Write the whole model with the adapter added to its weights.
    #[arg(long)]
    merge: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LayoutFlag {
    /// All experts of a layer in one tensor, as in PEFT 0.19 and newer.
    PeftFused,
    /// Each matrix of each expert on its own, as in transformers 4. Not for Qwen2-MoE, which PEFT misreads.
    PerExpert,
}

pub(super) fn convert(Convert { model, target }: &Convert) -> Result<(), Failure> {
    check_new(target)?;
    let converted =
        if model.is_dir() { pickled::convert(model, target) } else { gguf::convert(model, target) };
    converted.map_err(Failure::experts)
}

pub(super) fn upcycle_dense(arguments: &Upcycle) -> Result<(), Failure> {
    let Upcycle { model, target, experts, experts_per_token, seed } = arguments;
    check_new(target)?;
    upcycle(model, target, *experts, *experts_per_token, *seed).map_err(Failure::experts)
}

pub(super) fn export(arguments: &Export) -> Result<(), Failure> {
    check_new(&arguments.target)?;
    export_adapter(arguments).map_err(Failure::experts)
}

fn export_adapter(arguments: &Export) -> Result<(), ExpertsError> {
    let mut model = PublishedModel::open(&arguments.model, Precision::Float32, Device::Cpu)?;
    let adapter = Adapter::read(&arguments.adapter, &mut model)?;
    let family = model.family();
    drop(model);
    match arguments.merge {
        true => write_merged(&arguments.model, &adapter, &arguments.target),
        false => {
            let layout = match arguments.layout {
                LayoutFlag::PeftFused => Layout::PeftFused,
                LayoutFlag::PerExpert => Layout::PerExpert,
            };
            adapter.write(&arguments.target, family, layout)
        }
    }
}
