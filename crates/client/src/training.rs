//! Training on a thread of its own: one long-lived model, jobs in, results out.

use std::path::{Path, PathBuf};
use std::sync::mpsc as blocking;

use cloister_alignment::sketch::{Subject, projection};
use cloister_experts::config::HIDDEN;
use cloister_experts::{
    Averaging, BlockVectors, Device, Encoder, ExpertsError, Features, LocalResult, LocalTraining,
    ModelConfig, Note, PrivateReport, PrivateTraining, Trainer, TrainingProgress,
    checkpoint::write_checkpoint, initial_blocks,
};
use cloister_params::id::PartyId;
use cloister_params::plan::{PrivateTrainingPlan, RoundPlan, RoundSettings, TrainingPlan};
use cloister_protocol::model::Model;
use getrandom::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng, UnwrapErr};
use tokio::sync::mpsc;

use crate::prepare::region_clip;

/// What a hospital trains on and with.
#[derive(Clone, Debug)]
pub struct TrainingConfig {
    /// The folder of MiniLM's files.
    pub minilm: PathBuf,
    /// The model and its classes.
    pub model: ModelConfig,
    /// The hospital's own notes.
    pub notes: Vec<Note>,
    /// Notes that nobody trains on.
    pub held_out: Vec<Note>,
    /// Which part of them this hospital evaluates each round: every `of`-th note from `part` on.
    pub part: usize,
    /// How many hospitals share that evaluation.
    pub of: usize,
    /// CPU threads.
    pub threads: usize,
    /// Where the model computes.
    pub device: Device,
    /// Whether to train on the own notes alone for comparison, when the rounds are over.
    pub compare_local: bool,
    /// Where the federated model is written.
    pub checkpoint: PathBuf,
}

/// Right answers of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accuracy {
    /// Notes classified right.
    pub correct: usize,
    /// Notes.
    pub total: usize,
}

/// What a hospital knows at the end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FinalResult {
    /// The federated model on all held-out notes.
    pub federated: Accuracy,
    /// A model trained on the own notes alone, as long.
    pub local: Option<Accuracy>,
}

/// What the thread is asked to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Train on a model as the plan says.
    Train(Box<RoundPlan>, Box<Model>),
    /// Evaluate a model on this hospital's part of the held-out notes.
    Evaluate(Box<Model>),
    /// Write the final model, evaluate it, and compare with training alone over so many rounds.
    Finish { model: Box<Model>, plans: Vec<TrainingPlan> },
}

/// What the thread reports.
#[derive(Debug)]
pub(crate) enum Report {
    /// Notes are encoded; training can begin.
    Ready { truncated: usize },
    /// A step of local training is done; `local` when it is the comparison.
    Progress { done: usize, total: usize, local: bool },
    /// A round's training is done; with what private training did, where the plan asks for it.
    Trained(Box<LocalResult>, Option<PrivateReport>),
    /// The evaluation is done.
    Evaluated(Accuracy),
    /// Everything is done.
    Finished(FinalResult),
    /// Something failed; the thread has ended.
    Failed(String),
}

/// Starts the thread. It ends when the jobs' sender is dropped.
pub(crate) fn spawn(
    config: TrainingConfig,
    party: PartyId,
) -> (blocking::Sender<Job>, mpsc::UnboundedReceiver<Report>) {
    let (jobs, incoming) = blocking::channel();
    let (reports, outgoing) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        if let Err(error) = work(&config, party, &incoming, &reports) {
            let _ = reports.send(Report::Failed(error.to_string()));
        }
    });
    (jobs, outgoing)
}

struct Worker<'a> {
    config: &'a TrainingConfig,
    party: PartyId,
    encoder: Encoder,
    trainer: Trainer,
    part: Features,
    reports: &'a mpsc::UnboundedSender<Report>,
}

fn work(
    config: &TrainingConfig,
    party: PartyId,
    jobs: &blocking::Receiver<Job>,
    reports: &mpsc::UnboundedSender<Report>,
) -> Result<(), ExpertsError> {
    let encoder = Encoder::open(&config.minilm, config.model.clone(), config.threads, config.device)?;
    let own = encoder.features(&config.notes)?;
    let truncated = own.truncated();
    let part: Vec<Note> =
        config.held_out.iter().skip(config.part).step_by(config.of.max(1)).cloned().collect();
    let part = encoder.features(&part)?;
    let trainer = Trainer::new(&encoder, own);
    let mut worker = Worker { config, party, encoder, trainer, part, reports };
    worker.report(Report::Ready { truncated });
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Train(plan, model) => worker.train(&plan, &model)?,
            Job::Evaluate(model) => worker.evaluate(&model)?,
            Job::Finish { model, plans } => worker.finish(&model, &plans)?,
        }
    }
    Ok(())
}

impl Worker<'_> {
    fn report(&self, report: Report) {
        // Nobody listens any more when the program is ending.
        let _ = self.reports.send(report);
    }

    fn load(&mut self, model: &Model) -> Result<(), ExpertsError> {
        self.trainer.load(&BlockVectors::new(&self.config.model, model.blocks().to_vec())?)
    }

    fn train(&mut self, plan: &RoundPlan, model: &Model) -> Result<(), ExpertsError> {
        self.load(model)?;
        let training = &plan.settings.training;
        let settings = local_training(training, self.party, plan.round.0);
        let (result, private) = match training.private {
            None => (self.trainer.train(&settings, &mut progress(self.reports, (0, 1), false))?, None),
            Some(private) => {
                let private = private_training(private, training.local_epochs);
                // Who is drawn, and the noise, must be nobody's to guess: the generator is seeded by the system.
                let mut random = ChaCha20Rng::from_rng(&mut UnwrapErr(SysRng));
                let shown = &mut progress(self.reports, (0, 1), false);
                let (mut result, report) =
                    self.trainer.train_privately(&settings, &private, &mut random, shown)?;
                result.by_record = averaging(&plan.settings).map(|own| self.trainer.record_averages(&own));
                (result, Some(report))
            }
        };
        self.report(Report::Trained(Box::new(result), private));
        Ok(())
    }

    fn evaluate(&mut self, model: &Model) -> Result<(), ExpertsError> {
        self.load(model)?;
        let accuracy = accuracy(&self.trainer, &self.part);
        self.report(Report::Evaluated(accuracy));
        Ok(())
    }

    fn finish(&mut self, model: &Model, plans: &[TrainingPlan]) -> Result<(), ExpertsError> {
        let held_out = self.encoder.features(&self.config.held_out)?;
        self.load(model)?;
        let federated = accuracy(&self.trainer, &held_out);
        write(&self.config.checkpoint, &self.config.model, model)?;
        let local = if self.config.compare_local { Some(self.train_alone(plans, &held_out)?) } else { None };
        self.report(Report::Finished(FinalResult { federated, local }));
        Ok(())
    }

    /// The comparison: the same start, the same settings, as many epochs, on the own notes alone. It stays here, so that it
    /// is never private.
    fn train_alone(&mut self, plans: &[TrainingPlan], held_out: &Features) -> Result<Accuracy, ExpertsError> {
        let mut blocks = initial_blocks(&self.config.model);
        for (done, plan) in plans.iter().enumerate() {
            self.trainer.load(&blocks)?;
            let settings = local_training(plan, self.party, done as u64 + 1);
            self.trainer.train(&settings, &mut progress(self.reports, (done, plans.len()), true))?;
            blocks = self.trainer.blocks()?;
        }
        Ok(accuracy(&self.trainer, held_out))
    }
}

fn write(path: &Path, config: &ModelConfig, model: &Model) -> Result<(), ExpertsError> {
    write_checkpoint(path, config, &BlockVectors::new(config, model.blocks().to_vec())?)
}

fn accuracy(trainer: &Trainer, features: &Features) -> Accuracy {
    let score = trainer.evaluate(features).overall;
    Accuracy { correct: score.correct, total: score.total }
}

/// Shows the progress of one of several trainings; `span` is how many of them are done of how many.
fn progress(
    reports: &mpsc::UnboundedSender<Report>,
    span: (usize, usize),
    local: bool,
) -> impl FnMut(TrainingProgress) {
    move |progress| {
        let done = span.0 * progress.steps + progress.step;
        let _ = reports.send(Report::Progress { done, total: span.1 * progress.steps, local });
    }
}

/// How a round's regions and routing are averaged, where training is private.
fn averaging(settings: &RoundSettings) -> Option<Averaging> {
    Some(Averaging {
        projection: projection(&settings.sketch, Subject::Region, HIDDEN),
        clip: region_clip(&settings.sketch),
        minimum_records: settings.training.private?.minimum_records as usize,
    })
}

fn private_training(plan: PrivateTrainingPlan, local_epochs: u16) -> PrivateTraining {
    PrivateTraining {
        clipping_norm: plan.clipping_norm(),
        noise_multiplier: plan.noise_multiplier(),
        sampling_probability: plan.sampling_probability(),
        steps: plan.steps(local_epochs) as usize,
    }
}

fn local_training(plan: &TrainingPlan, party: PartyId, round: u64) -> LocalTraining {
    LocalTraining {
        epochs: usize::from(plan.local_epochs),
        batch_size: usize::from(plan.batch_size),
        learning_rate: f64::from(plan.learning_rate_micro) / 1e6,
        routing_penalty: f64::from(plan.routing_penalty_milli) / 1e3,
        seed: plan.seed ^ (u64::from(party.0) << 32) ^ round,
        ..LocalTraining::default()
    }
}
