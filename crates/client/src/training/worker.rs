//! The thread that trains: one trainer for all jobs.

use std::sync::mpsc as blocking;

use cloister_experts::files::rows::ReadSoFar;
use cloister_experts::task::Task;
use cloister_experts::training::memory::{MemoryEstimate, available};
use cloister_experts::{BlockVectors, Device, ExpertsError, LocalResult, LocalTraining};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::id::{Digest, Round};
use cloister_params::plan::{RoundPlan, TrainingPlan};
use cloister_protocol::model::Model;
use tokio::sync::mpsc;

use super::adapter::AdapterTrainer;
use super::classifier::Classifier;
use super::program::Program;
use super::{
    Accuracy, FinalResult, HeldOut, Job, LocalSeed, LocalTrainer, Private, TrainingConfig, TrainingError,
    WorkerReport,
};

/// Opens the trainer, and takes jobs until there are no more.
pub(super) fn work(
    config: &TrainingConfig,
    jobs: &blocking::Receiver<Job>,
    reports: &mpsc::UnboundedSender<WorkerReport>,
) -> Result<(), TrainingError> {
    if let Task::Adapter(task) = &config.task {
        // TASK-01
        task.check_base(&config.base_model)?;
    }
    let initial = config.task.initial(&config.base_model)?;
    let width = config.task.hidden_width(&config.base_model)?;
    let trainer = open(config, reports)?;
    let mut worker = Worker { config, initial, width, trainer, reports };
    let rows = worker.trainer.rows();
    let table = worker.initial.table().to_vec();
    worker.report(WorkerReport::Ready { rows, table });
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Train { digest, plan, model, seed } => worker.train(digest, &plan, &model, &seed),
            Job::Evaluate { round, model } => worker.evaluate(round, &model),
            Job::Finish { model, trained } => worker.finish(&model, &trained)?,
        }
    }
    Ok(())
}

/// The hospital's own program, or the built-in trainer if it has room.
pub(super) fn open(
    config: &TrainingConfig,
    reports: &mpsc::UnboundedSender<WorkerReport>,
) -> Result<Box<dyn LocalTrainer>, TrainingError> {
    if let Some(program) = &config.program {
        return Ok(Box::new(Program::new(config, program)?));
    }
    Ok(match &config.task {
        Task::Classifier(model) => {
            check_memory(Classifier::memory(config, model)?, config.device, reports)?;
            Box::new(Classifier::open(config, model, &mut reading(reports))?)
        }
        Task::Adapter(task) => {
            check_memory(AdapterTrainer::memory(config, task)?, config.device, reports)?;
            Box::new(AdapterTrainer::open(config, task, &mut reading(reports))?)
        }
    })
}

/// Tells what training takes, and refuses what the machine has not.
fn check_memory(
    estimate: MemoryEstimate,
    device: Device,
    reports: &mpsc::UnboundedSender<WorkerReport>,
) -> Result<(), ExpertsError> {
    let _ = reports.send(WorkerReport::Memory { needed: estimate.total(), free: available(device) });
    estimate.check(device)
}

/// Reports each further percent of a file.
fn reading(reports: &mpsc::UnboundedSender<WorkerReport>) -> impl FnMut(ReadSoFar) {
    let mut told = 0;
    move |ReadSoFar { done, total }| {
        let percent = 100 * done / total.max(1);
        if percent > told {
            told = percent;
            let _ = reports.send(WorkerReport::Reading { done, total });
        }
    }
}

struct Worker<'a> {
    config: &'a TrainingConfig,
    /// The model before any training.
    initial: BlockVectors,
    /// Width of the hidden states that routers read.
    width: usize,
    trainer: Box<dyn LocalTrainer>,
    reports: &'a mpsc::UnboundedSender<WorkerReport>,
}

impl Worker<'_> {
    fn report(&self, report: WorkerReport) {
        // Nobody listens any more when the program is ending.
        let _ = self.reports.send(report);
    }

    fn blocks(&self, model: &Model) -> Result<BlockVectors, ExpertsError> {
        self.initial.with_values(model.blocks().values().to_vec())
    }

    /// A failure costs the round and not the party: it may be a custodian, and the next round may go well.
    fn train(&mut self, digest: Digest, plan: &RoundPlan, model: &Model, seed: &LocalSeed) {
        let settings = local_training(&plan.settings.training, seed);
        let blocks = self.blocks(model).map_err(TrainingError::from);
        let private = Private::of(&plan.settings, self.width);
        let result = blocks.and_then(|blocks| {
            let steps = &mut progress(self.reports, (0, 1), false);
            self.trainer.train(&blocks, &settings, private.as_ref(), steps)
        });
        self.report(match result {
            Ok(trained) => WorkerReport::Trained(digest, Box::new(trained)),
            Err(error) => WorkerReport::NotTrained(digest, error.to_string()),
        });
    }

    fn evaluate(&mut self, round: Round, model: &Model) {
        let blocks = self.blocks(model).map_err(TrainingError::from);
        let accuracy = blocks.and_then(|blocks| self.trainer.evaluate(&blocks, HeldOut::Part));
        self.report(match accuracy {
            Ok(accuracy) => WorkerReport::Evaluated(round, accuracy),
            Err(error) => WorkerReport::NotEvaluated(round, error.to_string()),
        });
    }

    fn finish(&mut self, model: &Model, trained: &[(TrainingPlan, LocalSeed)]) -> Result<(), TrainingError> {
        let blocks = self.blocks(model)?;
        // The model first: whatever a measurement fails at, the rounds are not lost.
        self.config.task.write(&self.config.base_model, &blocks, &self.config.folder)?;
        let federated = self.trainer.evaluate(&blocks, HeldOut::All)?;
        let local = if self.config.compare_local { Some(self.train_alone(trained)?) } else { None };
        self.report(WorkerReport::Finished(FinalResult { federated, local }));
        Ok(())
    }

    /// The comparison: the same start, the same settings, as many epochs, on the own notes alone. It stays here, so that it
    /// is never private.
    fn train_alone(&mut self, rounds: &[(TrainingPlan, LocalSeed)]) -> Result<Accuracy, TrainingError> {
        let mut blocks = self.initial.clone();
        for (done, (plan, seed)) in rounds.iter().enumerate() {
            let settings = local_training(plan, seed);
            let steps = &mut progress(self.reports, (done, rounds.len()), true);
            let trained = self.trainer.train(&blocks, &settings, None, steps)?;
            blocks = moved(&blocks, &trained.result)?;
        }
        self.trainer.evaluate(&blocks, HeldOut::All)
    }
}

/// A model after its update; there is no routing distribution that others published.
fn moved(blocks: &BlockVectors, result: &LocalResult) -> Result<BlockVectors, ExpertsError> {
    let sum =
        |(old, update): (&Vec<f32>, &Vec<f32>)| old.iter().zip(update).map(|(old, own)| old + own).collect();
    let table = blocks.table();
    let mut values: Vec<Vec<f32>> = blocks.values().iter().zip(result.updates.values()).map(sum).collect();
    for (values, _) in values.iter_mut().zip(table).filter(|(_, shape)| is_routing(shape)) {
        values.fill(0.0);
    }
    blocks.with_values(values)
}

fn is_routing(shape: &BlockShape) -> bool {
    matches!(shape.kind, BlockKind::Routing { .. })
}

/// Reports the steps of one of several trainings; `span` is how many of them are done of how many.
fn progress(
    reports: &mpsc::UnboundedSender<WorkerReport>,
    span: (usize, usize),
    local: bool,
) -> impl FnMut(usize, usize) {
    move |step, steps| {
        let done = span.0 * steps + step;
        let _ = reports.send(WorkerReport::Progress { done, total: span.1 * steps, local });
    }
}

/// What the plan asks for, with randomness that is not the plan's (`TRAIN-07`).
pub(super) fn local_training(plan: &TrainingPlan, seed: &LocalSeed) -> LocalTraining {
    LocalTraining {
        epochs: usize::from(plan.local_epochs),
        batch_size: usize::from(plan.batch_size),
        learning_rate: f64::from(plan.learning_rate_micro) / 1e6,
        routing_penalty: f64::from(plan.routing_penalty_milli) / 1e3,
        seed: seed.value(),
        ..LocalTraining::default()
    }
}
