//! `cloister experts task`: what a consortium agrees on before it trains a published model, without a privacy budget.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::task::{ObjectiveFlag, TrainedFlags, found_published};

/// Flags of `cloister experts task`.
#[derive(Debug, Args)]
pub(super) struct PublishedTask {
    /// The base model's folder.
    model: PathBuf,
    /// The folder to write task.json, initial.parameters and settings.toml into. It must not exist, or be empty.
    target: PathBuf,
    /// What the model learns.
    #[arg(long, value_enum)]
    objective: ObjectiveFlag,
    /// Number of members of the consortium. The smallest cohort in settings.toml is computed from it.
    #[arg(long)]
    members: usize,
    #[command(flatten)]
    trained: TrainedFlags,
}

/// Writes the files, and reports their contents.
pub(super) fn write(arguments: &PublishedTask) -> Result<(), Failure> {
    let PublishedTask { model, target, objective, members, trained } = arguments;
    found_published(model, target, *objective, *members, trained)
}
