//! What the client's loop and the training thread say to each other: jobs go in, reports come out.
//!
//! Nothing here needs libtorch, so that the loop of a custodian alone is the same as a member's.

mod halt;
mod seed;

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc as blocking};

use cloister_params::block::BlockShape;
use cloister_params::id::{Digest, Round};
use cloister_params::plan::{RoundPlan, TrainingPlan};
use cloister_protocol::model::Model;
use cloister_updates::{LocalResult, PrivateReport, RecordScore};
use tokio::sync::mpsc;

use crate::training_error::TrainingError;

pub(crate) use self::halt::Halt;
pub(crate) use self::seed::LocalSeed;

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
    /// The same by records, of which each counts once, if the trainer can tell.
    pub by_record: Option<RecordScore>,
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

/// What a hospital's data yields for one plan.
#[derive(Debug)]
pub(crate) struct PlannedWork {
    /// The training.
    pub(crate) trained: TrainedRound,
    /// The score of the round's model on held-out records, if the plan evaluates it and the trainer can tell.
    pub(crate) score: Option<RecordScore>,
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
    Trained(Digest, Box<PlannedWork>),
    /// The plan asks for counts of held-out records, and the trainer cannot count records: none are contributed.
    NotCounted,
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

/// The training thread, as the client's loop sees it.
pub(crate) struct TrainingThread {
    /// Jobs for the thread. It ends when this is dropped.
    pub(crate) jobs: blocking::Sender<Job>,
    /// What it reports.
    pub(crate) reports: mpsc::UnboundedReceiver<WorkerReport>,
    /// Brings it to rest when the program ends.
    pub(crate) halt: Arc<Halt>,
}

impl TrainingThread {
    /// The thread of a party that does not train. It takes no job, reports nothing, and is at rest.
    pub(crate) fn idle() -> Self {
        let (jobs, _) = blocking::channel();
        let (_, reports) = mpsc::unbounded_channel();
        let halt = Arc::new(Halt::default());
        halt.rest();
        Self { jobs, reports, halt }
    }
}
