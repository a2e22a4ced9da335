//! The thread that trains: one trainer for all jobs.

use std::io::Write;
use std::sync::mpsc as blocking;

use cloister_experts::files::rows::ReadSoFar;
use cloister_experts::task::Task;
use cloister_experts::training::memory::{MemoryEstimate, available};
use cloister_experts::{BlockVectors, Device, ExpertsError, LocalResult, LocalTraining, RecordScore};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::id::{Digest, Round};
use cloister_params::plan::{RoundPlan, RoundSettings, TrainingPlan};
use cloister_protocol::model::Model;

use super::adapter::AdapterTrainer;
use super::classifier::Classifier;
use super::program::Program;
use super::reporter::Reporter;
use super::{HeldOut, LocalTrainer, Private, TrainingConfig};
use crate::data_folder::PARAMETERS;
use crate::jobs::{Accuracy, FinalResult, Job, LocalSeed, PlannedWork, WorkerReport};
use crate::training_error::TrainingError;

/// Opens the trainer, and does jobs until their sender is dropped.
pub(super) fn work(
    config: &TrainingConfig,
    jobs: &blocking::Receiver<Job>,
    reports: &Reporter,
) -> Result<(), TrainingError> {
    if let Task::Adapter(task) = &config.task {
        // TASK-01
        task.check_base(&config.base_model)?;
    }
    let initial = config.task.initial(&config.base_model)?;
    let width = config.task.hidden_width(&config.base_model)?;
    let trainer = open(config, reports)?;
    let table = initial.table().to_vec();
    let initial = initial.for_trainers();
    let mut worker = Worker { config, initial, width, trainer, reports, evaluated: None };
    let rows = worker.trainer.rows();
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

/// Opens the hospital's own program, or the built-in trainer if there is enough memory for it.
pub(super) fn open(
    config: &TrainingConfig,
    reports: &Reporter,
) -> Result<Box<dyn LocalTrainer>, TrainingError> {
    if let Some(program) = &config.program {
        return Ok(Box::new(Program::new(config, program)?));
    }
    Ok(match &config.task {
        Task::Classifier(model) => {
            // Before anything is loaded: a program that runs out of memory is killed, perhaps in a round.
            check_memory(Classifier::memory(config, model)?, config.device, reports)?;
            Box::new(Classifier::open(config, model, &mut reading(reports))?)
        }
        Task::Adapter(task) => {
            check_memory(AdapterTrainer::memory(config, task)?, config.device, reports)?;
            Box::new(AdapterTrainer::open(config, task, &mut reading(reports))?)
        }
    })
}

/// Reports the memory that training takes, and fails if the machine does not have it.
fn check_memory(estimate: MemoryEstimate, device: Device, reports: &Reporter) -> Result<(), ExpertsError> {
    reports.send(WorkerReport::Memory { needed: estimate.total(), free: available(device) });
    estimate.check(device)
}

/// Reports each further percent of a file.
fn reading(reports: &Reporter) -> impl FnMut(ReadSoFar) {
    let mut reported = 0;
    move |ReadSoFar { done, total }| {
        let percent = 100 * done / total.max(1);
        if percent > reported {
            reported = percent;
            reports.send(WorkerReport::Reading { done, total });
        }
    }
}

struct Worker<'a> {
    config: &'a TrainingConfig,
    /// The model before any training: the blocks that trainers know.
    initial: BlockVectors,
    /// Width of the hidden states that routers read.
    width: usize,
    trainer: Box<dyn LocalTrainer>,
    reports: &'a Reporter,
    /// The model that was evaluated last, with what came of it.
    evaluated: Option<(Digest, Accuracy)>,
}

impl Worker<'_> {
    fn report(&self, report: WorkerReport) {
        self.reports.send(report);
    }

    /// The blocks of a round's model that trainers know. They are the first ones of the task's table.
    fn blocks(&self, model: &Model) -> Result<BlockVectors, ExpertsError> {
        let known = self.initial.table().len();
        Ok(self.initial.with_values(model.blocks().values().iter().take(known).cloned().collect())?)
    }

    /// A failure costs this hospital the round. The thread goes on, because the next round may go well.
    fn train(&mut self, digest: Digest, plan: &RoundPlan, model: &Model, seed: &LocalSeed) {
        let settings = local_training(&plan.settings.training, seed);
        let blocks = self.blocks(model).map_err(TrainingError::from);
        let private = Private::from_settings(&plan.settings, self.width);
        let result = blocks.and_then(|blocks| {
            let score = self.score(&plan.settings, model, &blocks)?;
            let steps = &mut progress(self.reports, (0, 1), false);
            let trained = self.trainer.train(&blocks, &settings, private.as_ref(), steps)?;
            Ok(PlannedWork { trained, score })
        });
        self.report(match result {
            Ok(work) => WorkerReport::Trained(digest, Box::new(work)),
            Err(error) => WorkerReport::NotTrained(digest, error.to_string()),
        });
    }

    /// The score of the round's model, if the plan evaluates it (`PRIV-15`).
    fn score(
        &mut self,
        settings: &RoundSettings,
        model: &Model,
        blocks: &BlockVectors,
    ) -> Result<Option<RecordScore>, TrainingError> {
        if !settings.has_evaluation() {
            return Ok(None);
        }
        // After a round its model is evaluated for the hospital, and not once more for the next round.
        let known = self.evaluated.filter(|(evaluated, _)| *evaluated == model.digest());
        let accuracy = match known {
            Some((_, accuracy)) => accuracy,
            None => self.trainer.evaluate(blocks, HeldOut::Part)?,
        };
        if accuracy.by_record.is_none() {
            self.report(WorkerReport::NotCounted);
        }
        Ok(accuracy.by_record)
    }

    fn evaluate(&mut self, round: Round, model: &Model) {
        let blocks = self.blocks(model).map_err(TrainingError::from).and_then(|blocks| {
            // Written first, so that a failed evaluation does not lose what the round made.
            if self.config.write_each_model {
                self.write(model, &blocks)?;
            }
            Ok(blocks)
        });
        let accuracy = blocks.and_then(|blocks| self.trainer.evaluate(&blocks, HeldOut::Part));
        self.evaluated = accuracy.as_ref().ok().map(|accuracy| (model.digest(), *accuracy));
        self.report(match accuracy {
            Ok(accuracy) => WorkerReport::Evaluated(round, accuracy),
            Err(error) => WorkerReport::NotEvaluated(round, error.to_string()),
        });
    }

    /// Writes the model as other programs read it, and as a coordinator does that lost its folder.
    fn write(&self, model: &Model, blocks: &BlockVectors) -> Result<(), TrainingError> {
        self.config.task.write(&self.config.base_model, blocks, &self.config.folder)?;
        let path = self.config.folder.join(PARAMETERS);
        cloister_storage::replace(&path, |file| file.write_all(&model.to_bytes()))
            .map(|_| ())
            .map_err(|source| ExpertsError::File { path, source }.into())
    }

    fn finish(&mut self, model: &Model, trained: &[(TrainingPlan, LocalSeed)]) -> Result<(), TrainingError> {
        let blocks = self.blocks(model)?;
        // The model is written first, so that a failed evaluation does not lose what the rounds made.
        self.write(model, &blocks)?;
        let federated = self.trainer.evaluate(&blocks, HeldOut::All)?;
        let local = if self.config.compare_local { Some(self.train_alone(trained)?) } else { None };
        self.report(WorkerReport::Finished(FinalResult { federated, local }));
        Ok(())
    }

    /// Trains on this hospital's notes alone for comparison: from the same start, with the settings and seed of each round. The
    /// result stays here, so it needs no noise.
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

/// A model after its update. Routing distributions are 0, because nobody published one.
fn moved(blocks: &BlockVectors, result: &LocalResult) -> Result<BlockVectors, ExpertsError> {
    let mut values = blocks.values().to_vec();
    for ((values, update), shape) in values.iter_mut().zip(result.updates.values()).zip(blocks.table()) {
        if is_routing(shape) {
            values.fill(0.0);
        } else {
            values.iter_mut().zip(update).for_each(|(value, change)| *value += change);
        }
    }
    Ok(blocks.with_values(values)?)
}

fn is_routing(shape: &BlockShape) -> bool {
    matches!(shape.kind, BlockKind::Routing { .. })
}

/// Reports the steps of one of several trainings. `span` is how many of them are done, and how many there are.
fn progress(reports: &Reporter, span: (usize, usize), local: bool) -> impl FnMut(usize, usize) {
    move |step, steps| {
        let done = span.0 * steps + step;
        reports.send(WorkerReport::Progress { done, total: span.1 * steps, local });
    }
}

/// The plan's settings, with a seed that does not follow from the plan (`TRAIN-07`).
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
