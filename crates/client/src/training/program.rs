//! A hospital's own training program in the place of this program's trainer.

use std::fs;
use std::path::Path;

use cloister_experts::exchange::{Exchange, GLOBAL, ProgramResult};
use cloister_experts::task::Task;
use cloister_experts::{BlockVectors, LocalTraining};
use serde_json::{Value, json};

use super::folder::JobFolder;
use super::process::{ProgramError, run};
use super::{
    Accuracy, Counted, HeldOut, LocalTrainer, Private, RowCounts, Steps, Trained, TrainerProgram,
    TrainingConfig, TrainingError, losses,
};

/// What the program is to do, in a job's folder.
const JOB: &str = "job.json";

/// The program, and what it is told in every job.
pub(super) struct Program {
    config: TrainingConfig,
    program: TrainerProgram,
    exchange: Exchange,
}

impl Program {
    pub(super) fn new(config: &TrainingConfig, program: &TrainerProgram) -> Result<Self, TrainingError> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|source| ProgramError::Folder { path: path.to_owned(), source })
        };
        let mut config = TrainingConfig { base_model: absolute(&config.base_model)?, ..config.clone() };
        for file in [&mut config.notes, &mut config.held_out] {
            file.path = absolute(&file.path)?;
        }
        let program = TrainerProgram { folder: absolute(&program.folder)?, ..program.clone() };
        let exchange = match &config.task {
            Task::Classifier(model) => Exchange::of_classifier(model),
            Task::Adapter(task) => Exchange::of_adapter(task, &config.base_model)?,
        };
        Ok(Self { config, program, exchange })
    }

    /// Runs the program on a job; its folder is there until it is dropped.
    fn job(&self, job: Value, model: &BlockVectors, steps: Steps<'_>) -> Result<JobFolder, TrainingError> {
        let path = &self.program.folder;
        let failed = |source| ProgramError::Folder { path: path.clone(), source };
        let folder = JobFolder::create(path).map_err(failed)?;
        self.exchange.write_global(&folder.path().join(GLOBAL), model.values())?;
        fs::write(folder.path().join(JOB), format!("{job:#}\n")).map_err(failed)?;
        run(&self.program, folder.path(), self.config.threads, steps)?;
        Ok(folder)
    }

    fn counted(&self) -> Counted {
        match &self.config.task {
            Task::Classifier(_) => Counted::Notes,
            Task::Adapter(task) => Counted::of(task.objective),
        }
    }

    fn train_job(&self, settings: &LocalTraining) -> Value {
        json!({
            "job": "train",
            "model": self.config.task,
            "table": self.exchange.table(),
            "base": self.config.base_model,
            "notes": self.config.notes.path,
            "threads": self.config.threads,
            "settings": {
                "local_epochs": settings.epochs,
                "batch_size": settings.batch_size,
                "learning_rate": settings.learning_rate,
                "routing_penalty": settings.routing_penalty,
                "seed": settings.seed,
            },
        })
    }

    fn evaluate_job(&self, notes: HeldOut) -> Value {
        let (part, of) = match notes {
            HeldOut::Part => (self.config.part, self.config.of),
            HeldOut::All => (0, 1),
        };
        json!({
            "job": "evaluate",
            "model": self.config.task,
            "table": self.exchange.table(),
            "base": self.config.base_model,
            "notes": self.config.held_out.path,
            "threads": self.config.threads,
            "part": part,
            "of": of,
        })
    }
}

impl LocalTrainer for Program {
    fn rows(&self) -> Option<RowCounts> {
        None
    }

    fn train(
        &mut self,
        model: &BlockVectors,
        settings: &LocalTraining,
        private: Option<&Private>,
        steps: Steps<'_>,
    ) -> Result<Trained, TrainingError> {
        // Whether a program clips and noises each record's gradient cannot be seen from outside (`TRAIN-04`).
        if private.is_some() {
            return Err(TrainingError::PrivateProgram);
        }
        let folder = self.job(self.train_job(settings), model, steps)?;
        let ProgramResult { local, mut metrics } =
            self.exchange.read_training(folder.path(), model.values())?;
        metrics.extend(losses(&local));
        Ok(Trained { result: local, metrics, private: None })
    }

    fn evaluate(&mut self, model: &BlockVectors, notes: HeldOut) -> Result<Accuracy, TrainingError> {
        let folder = self.job(self.evaluate_job(notes), model, &mut |_, _| ())?;
        let (correct, total) = self.exchange.read_evaluation(folder.path())?;
        Ok(Accuracy { correct, total, counted: self.counted(), loss: None })
    }
}
