//! Training on a thread of its own, so that the link stays alive meanwhile: jobs go in, reports come out.
//!
//! [`LocalTrainer`] is the interface between the protocol and whatever trains: the built-in trainers of classifiers
//! ([`classifier`]) and of published models ([`adapter`]), or a program of the hospital's own ([`program`]). Results of all of
//! them are clipped, noised, charged and masked in the same way.

mod adapter;
mod classifier;
mod halt;
mod program;
mod seed;
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

pub(crate) use self::halt::Halt;
use self::halt::Reporter;
pub(crate) use self::seed::LocalSeed;
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

/// How many evaluated items were answered correctly.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Accuracy {
    /// How many were answered correctly.
    pub correct: usize,
    /// How many were evaluated.
    pub total: usize,
    /// What the items are.
    pub counted: Counted,
    /// Mean loss in nats per item, for published models that predict tokens or classes.
    pub loss: Option<f64>,
}

/// What an evaluation counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// Notes, of which the class is predicted.
    Notes,
    /// Questions, of which the right choice is predicted.
    Questions,
    /// Tokens: the likeliest one is compared with the one that follows.
    Tokens,
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

    /// The noun in the singular.
    pub fn one(self) -> &'static str {
        match self {
            Self::Notes => "note",
            Self::Questions => "question",
            Self::Tokens => "token",
        }
    }

    /// The noun in the plural.
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
    /// A model that was trained on this hospital's notes alone for as many epochs, if that was asked for.
    pub local: Option<Accuracy>,
}

/// Why there is no training result.
#[derive(Debug, Error)]
pub enum TrainingError {
    /// The built-in trainer failed, or its files or the hospital's notes cannot be used.
    #[error(transparent)]
    Experts(#[from] ExpertsError),
    /// The hospital's training program failed, or wrote something that its contract does not allow.
    #[error(transparent)]
    Program(#[from] TrainerError),
    /// The plan asks for DP-SGD, and nobody can check from outside that a program of the hospital's own does it.
    #[error(
        "the plan asks for training with DP-SGD, which a program given by --trainer-cmd cannot be checked for; leave \
         --trainer-cmd out, or do not take part in these rounds"
    )]
    PrivateProgram,
}

/// What the thread is asked to do. Each job names its plan or round, and its report names the same.
#[derive(Debug)]
pub(crate) enum Job {
    /// Train on a model as the plan of this digest says.
    Train { digest: Digest, plan: Box<RoundPlan>, model: Box<Model>, seed: LocalSeed },
    /// Evaluate the model after a round on this hospital's part of the held-out notes.
    Evaluate { round: Round, model: Box<Model> },
    /// Write the final model, evaluate it, and train alone for comparison with each round's plan and seed.
    Finish { model: Box<Model>, trained: Vec<(TrainingPlan, LocalSeed)> },
}

/// The result of one round's training.
#[derive(Debug)]
pub(crate) struct TrainedRound {
    /// What the privacy gate makes a contribution from.
    pub(crate) result: LocalResult,
    /// Losses and other metrics, which stay in this hospital.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// What private training did, if the plan asks for it.
    pub(crate) private: Option<PrivateReport>,
}

/// What the thread reports.
#[derive(Debug)]
pub(crate) enum WorkerReport {
    /// Bytes that training takes, approximately, and bytes that are free, if the system says.
    Memory { needed: usize, free: Option<usize> },
    /// How much of the hospital's notes is read.
    Reading { done: u64, total: u64 },
    /// Everything is loaded, and the model has these blocks.
    Ready { rows: Option<RowCounts>, table: Vec<BlockShape> },
    /// A step of training is done. `local` is set for the training alone.
    Progress { done: usize, total: usize, local: bool },
    /// The training for the plan of this digest is done.
    Trained(Digest, Box<TrainedRound>),
    /// The training for the plan of this digest failed. Later rounds may go well.
    NotTrained(Digest, String),
    /// The evaluation of the model after this round is done.
    Evaluated(Round, Accuracy),
    /// The evaluation of the model after this round failed.
    NotEvaluated(Round, String),
    /// Everything is done.
    Finished(FinalResult),
    /// Something failed for good, and the thread has ended.
    Failed(TrainingError),
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

/// How much a hospital trains on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowCounts {
    /// Notes.
    pub notes: usize,
    /// Records that the notes are grouped into. Private training draws and clips records, and the privacy unit `record` counts
    /// them.
    pub records: usize,
    /// Notes that are cut because they are longer than the model reads.
    pub truncated: usize,
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

/// The training thread, as the client's loop sees it.
pub(crate) struct TrainingThread {
    /// Jobs for the thread. It ends when this is dropped.
    pub(crate) jobs: blocking::Sender<Job>,
    /// What it reports.
    pub(crate) reports: mpsc::UnboundedReceiver<WorkerReport>,
    /// Brings it to rest when the program ends.
    pub(crate) halt: Arc<Halt>,
}

/// Starts the thread.
pub(crate) fn spawn(config: TrainingConfig) -> TrainingThread {
    let (jobs, incoming) = blocking::channel();
    let (reports, outgoing) = mpsc::unbounded_channel();
    let halt = Arc::new(Halt::default());
    let in_thread = halt.clone();
    // A thread of the system: training computes for minutes, which would hold up the tasks of a runtime.
    std::thread::spawn(move || {
        let reporter = Reporter::new(reports, in_thread.clone());
        if let Err(error) = worker::work(&config, &incoming, &reporter) {
            reporter.send(WorkerReport::Failed(error));
        }
        in_thread.rest();
    });
    TrainingThread { jobs, reports: outgoing, halt }
}

/// The losses of a training, by the names that operators see.
fn losses(result: &LocalResult) -> BTreeMap<String, f64> {
    let losses = [("loss_first", result.loss_first), ("loss_last", result.loss_last)];
    losses.map(|(name, value)| (name.to_owned(), value)).into()
}
