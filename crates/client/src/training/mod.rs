//! Training on a thread of its own: one long-lived trainer, jobs in, results out.
//!
//! [`LocalTrainer`] is the seam between the protocol and whatever trains: this program's own trainer ([`classifier`])
//! or a program of the hospital's ([`program`]). What comes out of it is clipped, noised, charged and masked in the same
//! way, so a hospital that trains its own way loses nothing of the protocol.

mod adapter;
mod classifier;
mod program;
mod seed;
#[cfg(test)]
mod tests;
mod trial;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc as blocking;

use cloister_experts::Precision;
use cloister_experts::files::notes::NotesFile;
use cloister_experts::task::{Objective, Task};
use cloister_experts::{
    Averaging, BlockVectors, Device, ExpertsError, LocalResult, LocalTraining, PrivateReport,
    PrivateTraining, Windows,
};
use cloister_gate::averaging;
use cloister_params::block::BlockShape;
use cloister_params::id::{Digest, Round};
use cloister_params::plan::{RoundPlan, RoundSettings, TrainingPlan};
use cloister_protocol::model::Model;
use cloister_trainer::{Steps, TrainerError, TrainerProgram};
use thiserror::Error;
use tokio::sync::mpsc;

pub(crate) use self::seed::LocalSeed;
pub use self::trial::{Memory, Trial, UpdateNorm, block_table, training_memory, try_round};

/// What a hospital trains on and with.
#[derive(Clone, Debug)]
pub struct TrainingConfig {
    /// What is trained.
    pub task: Task,
    /// The folder of the base model's files.
    pub base_model: PathBuf,
    /// What the model computes in.
    pub precision: Precision,
    /// Whether of a published model only what enters each layer is kept for the backward pass: less memory, a third more
    /// time.
    pub recompute_layers: bool,
    /// The hospital's own notes.
    pub notes: NotesFile,
    /// Notes that nobody trains on.
    pub held_out: NotesFile,
    /// Which part of them this hospital evaluates each round: every `of`-th note from `part` on.
    pub part: usize,
    /// How many hospitals share that evaluation.
    pub of: usize,
    /// How long notes are split.
    pub windows: Windows,
    /// CPU threads.
    pub threads: usize,
    /// Where the model computes.
    pub device: Device,
    /// Whether to train on the own notes alone for comparison, when the rounds are over.
    pub compare_local: bool,
    /// The folder in which the federated model is written.
    pub folder: PathBuf,
    /// A program that trains in this program's place.
    pub program: Option<TrainerProgram>,
}

/// Right answers of all.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Accuracy {
    /// How many are right.
    pub correct: usize,
    /// Of how many.
    pub total: usize,
    /// What they are.
    pub counted: Counted,
    /// Mean loss in nats for each of them, where a published model predicts tokens or classes.
    pub loss: Option<f64>,
}

/// What an evaluation counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// Notes, sorted into classes.
    Notes,
    /// Questions, answered by a choice.
    Questions,
    /// Tokens, of which the likeliest is compared with what follows.
    Tokens,
}

impl Counted {
    /// What a published model is measured by.
    fn of(objective: Objective) -> Self {
        match objective {
            Objective::LanguageModel => Self::Tokens,
            Objective::MultipleChoice => Self::Questions,
            Objective::Classification => Self::Notes,
        }
    }

    /// The word for one of them.
    pub fn one(self) -> &'static str {
        match self {
            Self::Notes => "note",
            Self::Questions => "question",
            Self::Tokens => "token",
        }
    }

    /// The word for them.
    pub fn name(self) -> &'static str {
        match self {
            Self::Notes => "notes",
            Self::Questions => "questions",
            Self::Tokens => "tokens",
        }
    }
}

/// What a hospital knows at the end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FinalResult {
    /// The federated model on all held-out notes.
    pub federated: Accuracy,
    /// A model trained on the own notes alone, as long.
    pub local: Option<Accuracy>,
}

/// Why there is no training result.
#[derive(Debug, Error)]
pub enum TrainingError {
    /// This program's own trainer, its files or the hospital's notes.
    #[error(transparent)]
    Experts(#[from] ExpertsError),
    /// The hospital's training program did not do its job, or wrote something else than it should.
    #[error(transparent)]
    Program(#[from] TrainerError),
    /// The plan asks for what a program of the hospital's own cannot be held to.
    #[error(
        "the plan asks for training with DP-SGD, which this program charges to the ledger and so must do itself; leave \
         --trainer-cmd out, or sit these rounds out"
    )]
    PrivateProgram,
}

/// What the thread is asked to do. A job says what it is for, and so does its report.
#[derive(Debug)]
pub(crate) enum Job {
    /// Train on a model as the plan of this digest says.
    Train { digest: Digest, plan: Box<RoundPlan>, model: Box<Model>, seed: LocalSeed },
    /// Evaluate the model after a round on this hospital's part of the held-out notes.
    Evaluate { round: Round, model: Box<Model> },
    /// Write the final model, evaluate it, and compare with training alone, as it was trained in each round.
    Finish { model: Box<Model>, trained: Vec<(TrainingPlan, LocalSeed)> },
}

/// What training yields.
#[derive(Debug)]
pub(crate) struct TrainedRound {
    /// What enters the protocol.
    pub(crate) result: LocalResult,
    /// Numbers for the hospital's own eyes.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// What private training did, where the plan asks for it.
    pub(crate) private: Option<PrivateReport>,
}

/// What the thread reports.
#[derive(Debug)]
pub(crate) enum WorkerReport {
    /// Bytes that training takes, about, and that are free where that can be told.
    Memory { needed: usize, free: Option<usize> },
    /// How much of the hospital's notes is read.
    Reading { done: u64, total: u64 },
    /// Training can begin, on a model of these blocks.
    Ready { rows: Option<RowCounts>, table: Vec<BlockShape> },
    /// A step of local training is done; `local` when it is the comparison.
    Progress { done: usize, total: usize, local: bool },
    /// The training for the plan of this digest is done.
    Trained(Digest, Box<TrainedRound>),
    /// The training for the plan of this digest failed; later rounds may do better.
    NotTrained(Digest, String),
    /// The evaluation of the model after this round is done.
    Evaluated(Round, Accuracy),
    /// The evaluation of the model after this round failed.
    NotEvaluated(Round, String),
    /// Everything is done.
    Finished(FinalResult),
    /// Something failed; the thread has ended.
    Failed(TrainingError),
}

/// DP-SGD as a plan asks for it.
#[derive(Debug)]
pub(crate) struct Private {
    /// The steps.
    pub(crate) training: PrivateTraining,
    /// How regions and routing are averaged over records.
    pub(crate) averaging: Averaging,
}

impl Private {
    /// For a model whose routers read hidden states of this width.
    fn of(settings: &RoundSettings, width: usize) -> Option<Self> {
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

/// Which held-out notes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeldOut {
    /// This hospital's part.
    Part,
    /// All.
    All,
}

/// What a hospital trains on, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowCounts {
    /// Notes.
    pub notes: usize,
    /// Records that they make: what private training draws and clips, and unit `record` counts.
    pub records: usize,
    /// Notes that are longer than the model reads.
    pub truncated: usize,
}

/// Whatever trains at a hospital.
pub(crate) trait LocalTrainer {
    /// How many notes there are; nothing where that is not known before training.
    fn rows(&self) -> Option<RowCounts>;

    /// Trains from a model, with DP-SGD where that is asked for.
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

/// Starts the thread. It ends when the jobs' sender is dropped.
pub(crate) fn spawn(
    config: TrainingConfig,
) -> (blocking::Sender<Job>, mpsc::UnboundedReceiver<WorkerReport>) {
    let (jobs, incoming) = blocking::channel();
    let (reports, outgoing) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        if let Err(error) = worker::work(&config, &incoming, &reports) {
            let _ = reports.send(WorkerReport::Failed(error));
        }
    });
    (jobs, outgoing)
}

/// The losses of a training, for the hospital's own eyes.
fn losses(result: &LocalResult) -> BTreeMap<String, f64> {
    let losses = [("loss_first", result.loss_first), ("loss_last", result.loss_last)];
    losses.map(|(name, value)| (name.to_owned(), value)).into()
}
