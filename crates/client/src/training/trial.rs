//! Tries what training takes and yields on this machine, before a hospital joins anything. Nothing leaves it.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cloister_experts::task::Task;
use cloister_experts::training::memory::{MemoryEstimate, available};
use cloister_experts::{BlockVectors, PrivateReport};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::plan::{PlannedBlock, RoundSettings};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde::Serialize;
use tokio::sync::mpsc;

use super::adapter::AdapterTrainer;
use super::classifier::Classifier;
use super::reporter::Reporter;
use super::worker::{local_training, open};
use super::{Private, Steps, TrainingConfig};
use crate::jobs::LocalSeed;
use crate::training_error::TrainingError;

/// Memory that training takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Memory {
    /// Bytes that it takes, approximately.
    pub needed: usize,
    /// Bytes that are free, if the system says.
    pub free: Option<usize>,
}

/// One round of training.
#[derive(Clone, PartialEq, Debug)]
pub struct Trial {
    /// Seconds that it took.
    pub seconds: f64,
    /// Each trained block's update.
    pub updates: Vec<UpdateNorm>,
    /// What private training did, if the settings ask for it.
    pub private: Option<PrivateReport>,
}

/// How large the update of a block is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct UpdateNorm {
    /// The block's kind.
    pub kind: BlockKind,
    /// Its L2 norm divided by the clip. The clip shortens an update above 1.
    pub over_clip: f64,
}

/// The memory that the built-in trainer takes.
///
/// # Errors
/// Notes or a base model that cannot be used.
pub fn training_memory(config: &TrainingConfig) -> Result<Memory, TrainingError> {
    let estimate: MemoryEstimate = match &config.task {
        Task::Classifier(model) => Classifier::memory(config, model)?,
        Task::Adapter(task) => AdapterTrainer::memory(config, task)?,
    };
    Ok(Memory { needed: estimate.total(), free: available(config.device) })
}

/// The blocks of a task.
///
/// # Errors
/// A base model that cannot be used.
pub fn block_table(task: &Task, base: &Path) -> Result<Vec<BlockShape>, TrainingError> {
    Ok(task.initial(base)?.table().to_vec())
}

/// Trains one round with these settings from the task's initial parameters.
///
/// # Errors
/// Notes, a base model or settings that training fails with.
pub fn try_round(
    config: &TrainingConfig,
    settings: &RoundSettings,
    steps: Steps<'_>,
) -> Result<Trial, TrainingError> {
    let initial = config.task.initial(&config.base_model)?.for_trainers();
    let width = config.task.hidden_width(&config.base_model)?;
    // Reports of reading and of memory are dropped: `cloister data check` shows both already.
    let (reports, _unread) = mpsc::unbounded_channel();
    let mut trainer = open(config, &Reporter::new(reports, Arc::default()))?;
    let seed = LocalSeed::generate(&mut UnwrapErr(SysRng));
    let private = Private::from_settings(settings, width);
    let local = local_training(&settings.training, &seed);
    // Reading notes and loading the model are done once and not in each round, so they do not count.
    let start = Instant::now();
    let trained = trainer.train(&initial, &local, private.as_ref(), steps)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Trial { seconds, updates: norms(&trained.result.updates, settings), private: trained.private })
}

/// The norms of all blocks that are trained: what is measured is no update.
fn norms(updates: &BlockVectors, settings: &RoundSettings) -> Vec<UpdateNorm> {
    let planned = settings.blocks.iter().filter(|block| block.shape.kind.is_trained());
    planned.filter_map(|block| norm(block, updates)).collect()
}

/// The norm of one block's update. None if the result does not have the block.
fn norm(block: &PlannedBlock, updates: &BlockVectors) -> Option<UpdateNorm> {
    let update = updates.get(block.shape.kind)?;
    // In 64 bits, as the quantiser adds them, so that a ratio above 1 is what will be clipped.
    let squares = update.iter().map(|value| f64::from(*value) * f64::from(*value));
    let over_clip = squares.sum::<f64>().sqrt() / block.scale.clip();
    Some(UpdateNorm { kind: block.shape.kind, over_clip })
}
