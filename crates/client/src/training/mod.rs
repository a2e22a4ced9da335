//! Training on a thread of its own, so that the link stays alive meanwhile: jobs go in, reports come out.
//!
//! [`LocalTrainer`] is the interface between the protocol and whatever trains: the built-in trainers of classifiers
//! ([`classifier`]) and of published models ([`adapter`]), or a program of the hospital's own ([`program`]). Results of all of
//! them are clipped, noised, charged and masked in the same way.

mod adapter;
mod classifier;
mod program;
mod reporter;
#[cfg(test)]
mod tests;
mod trial;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc as blocking};

use cloister_experts::Precision;
use cloister_experts::files::notes::NotesFile;
use cloister_experts::task::{Objective, Task};
use cloister_experts::{
    Averaging, BlockVectors, Device, LocalResult, LocalTraining, PrivateTraining, Windows,
};
use cloister_gate::averaging;
use cloister_params::plan::RoundSettings;
use cloister_trainer::{Steps, TrainerProgram};
use tokio::sync::mpsc;

use crate::jobs::{Accuracy, Counted, Halt, RowCounts, TrainedRound, TrainingThread, WorkerReport};
use crate::training_error::TrainingError;

use self::reporter::Reporter;
pub use self::trial::{Memory, Trial, UpdateNorm, block_table, training_memory, try_round};

/// What a hospital trains on and with.
#[derive(Clone, Debug)]
pub struct TrainingConfig {
    /// What is trained.
    pub task: Task,
    /// The folder of the base model's files.
    pub base_model: PathBuf,
    /// The floating-point type that the model computes in.
    pub precision: Precision,
    /// Whether a published model stores only each layer's input for the backward pass and computes the rest again: less
    /// memory, a third more time.
    pub recompute_layers: bool,
    /// The hospital's notes, on which it trains.
    pub notes: NotesFile,
    /// Notes that nobody trains on.
    pub held_out: NotesFile,
    /// Which part of them this hospital evaluates after each round: every `parts`-th note from number `part` on, counted
    /// from 0. Hospitals share the evaluation so that a round does not wait long for it.
    pub part: usize,
    /// How many hospitals share the evaluation.
    pub parts: usize,
    /// How a note that is longer than the model reads is split.
    pub windows: Windows,
    /// CPU threads for training.
    pub threads: usize,
    /// The device that the model computes on.
    pub device: Device,
    /// Whether to train on this hospital's notes alone for comparison, after the last round.
    pub compare_local: bool,
    /// The folder in which the federated model is written.
    pub folder: PathBuf,
    /// Whether to write the model after each round, and not only after the last one.
    pub write_each_model: bool,
    /// A program that trains in place of the built-in trainer.
    pub program: Option<TrainerProgram>,
}

/// DP-SGD with the settings of a plan.
#[derive(Debug)]
pub(crate) struct Private {
    /// Clipping, noise, sampling and number of steps.
    pub(crate) training: PrivateTraining,
    /// How regions and routing are averaged over records.
    pub(crate) averaging: Averaging,
}

impl Private {
    /// The settings of a plan, for a model whose routers read hidden states of this width. None if training is not private.
    fn from_settings(settings: &RoundSettings, width: usize) -> Option<Self> {
        let plan = settings.training.private?;
        Some(Self {
            training: PrivateTraining {
                clipping_norm: plan.clipping_norm(),
                noise_multiplier: plan.noise_multiplier(),
                sampling_probability: plan.sampling_probability(),
                steps: plan.steps(settings.training.local_epochs) as usize,
            },
            averaging: averaging(settings, width)?,
        })
    }
}

/// Which held-out notes to evaluate on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeldOut {
    /// This hospital's part of them.
    Part,
    /// All of them.
    All,
}

/// What trains at a hospital.
pub(crate) trait LocalTrainer {
    /// How many notes there are. None if that is not known before training.
    fn rows(&self) -> Option<RowCounts>;

    /// Trains from a model, with DP-SGD if `private` is given.
    fn train(
        &mut self,
        model: &BlockVectors,
        settings: &LocalTraining,
        private: Option<&Private>,
        steps: Steps<'_>,
    ) -> Result<TrainedRound, TrainingError>;

    /// Evaluates a model on held-out notes.
    fn evaluate(&mut self, model: &BlockVectors, notes: HeldOut) -> Result<Accuracy, TrainingError>;
}

impl TrainingConfig {
    /// The column by which the hospital's notes are grouped into records.
    pub(crate) fn group_by(&self) -> Option<String> {
        self.notes.group_by.clone()
    }

    /// Starts the thread.
    pub(crate) fn spawn(self) -> TrainingThread {
        let (jobs, incoming) = blocking::channel();
        let (reports, outgoing) = mpsc::unbounded_channel();
        let halt = Arc::new(Halt::default());
        let in_thread = halt.clone();
        // A thread of the system: training computes for minutes, which would hold up the tasks of a runtime.
        std::thread::spawn(move || {
            let reporter = Reporter::new(reports, in_thread.clone());
            if let Err(error) = worker::work(&self, &incoming, &reporter) {
                reporter.send(WorkerReport::Failed(error));
            }
            in_thread.rest();
        });
        TrainingThread { jobs, reports: outgoing, halt }
    }
}

impl Counted {
    /// What a published model with this objective is evaluated on.
    fn for_objective(objective: Objective) -> Self {
        match objective {
            Objective::LanguageModel => Self::Tokens,
            Objective::MultipleChoice => Self::Questions,
            Objective::Classification => Self::Notes,
        }
    }
}

/// The losses of a training, by the names that operators see.
fn losses(result: &LocalResult) -> BTreeMap<String, f64> {
    let losses = [("loss_first", result.loss_first), ("loss_last", result.loss_last)];
    losses.map(|(name, value)| (name.to_owned(), value)).into()
}
