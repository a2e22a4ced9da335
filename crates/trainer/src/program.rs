//! The jobs of a training program: what it is told, and what is read of what it wrote.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cloister_experts::exchange::{Exchange, ExchangeError, GLOBAL, ProgramResult};
use cloister_experts::task::Task;
use cloister_experts::{BlockVectors, ExpertsError, LocalTraining};
use serde_json::{Value, json};
use thiserror::Error;

use crate::folder::JobFolder;
use crate::process::{ProgramError, Steps, TrainerProgram, run};

/// The file that says what the program is to do, in a job's folder.
const JOB: &str = "job.json";

/// Why there is no result of a training program.
#[derive(Debug, Error)]
pub enum TrainerError {
    /// The task's base model cannot be used.
    #[error(transparent)]
    Experts(#[from] ExpertsError),
    /// The program could not be run, failed, or took too long.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The program wrote something else than the contract asks for.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
}

/// What a training program works on. It gets the paths, and opens the files itself.
#[derive(Clone, Debug)]
pub struct JobInputs {
    /// What is trained.
    pub task: Task,
    /// The folder of the base model's files.
    pub base_model: PathBuf,
    /// The notes to train on.
    pub notes: PathBuf,
    /// The notes to evaluate on, which nobody trains on.
    pub held_out: PathBuf,
    /// CPU threads that the program may use.
    pub threads: usize,
}

/// A training program with what it works on.
pub struct ProgramTrainer {
    inputs: JobInputs,
    program: TrainerProgram,
    exchange: Exchange,
}

impl ProgramTrainer {
    /// Reads of the base model what the shape of the exchanged files follows from. The program is not started.
    ///
    /// # Errors
    /// [`TrainerError::Program`] if a path cannot be made absolute, [`TrainerError::Experts`] if the base model cannot be
    /// used.
    pub fn new(program: &TrainerProgram, inputs: JobInputs) -> Result<Self, TrainerError> {
        let exchange = match &inputs.task {
            Task::Classifier(model) => Exchange::for_classifier(model),
            Task::Adapter(task) => Exchange::for_adapter(task, &inputs.base_model)?,
        };
        // The program may change its working folder, so it gets no path that depends on it.
        let inputs = JobInputs {
            base_model: absolute(&inputs.base_model)?,
            notes: absolute(&inputs.notes)?,
            held_out: absolute(&inputs.held_out)?,
            ..inputs
        };
        let program = TrainerProgram { folder: absolute(&program.folder)?, ..program.clone() };
        Ok(Self { inputs, program, exchange })
    }

    /// Trains from a model. `steps` is told the steps that the program reports.
    ///
    /// # Errors
    /// [`TrainerError::Program`] or [`TrainerError::Exchange`].
    pub fn train(
        &self,
        model: &BlockVectors,
        settings: &LocalTraining,
        steps: Steps<'_>,
    ) -> Result<ProgramResult, TrainerError> {
        let folder = self.run_job(&self.train_job(settings), model, steps)?;
        Ok(self.exchange.read_training(folder.path(), model.values())?)
    }

    /// Evaluates a model on every `parts`-th held-out note from `part` on, counted from 0: how many the model gets right, and
    /// of how many.
    ///
    /// # Errors
    /// [`TrainerError::Program`] or [`TrainerError::Exchange`].
    pub fn evaluate(
        &self,
        model: &BlockVectors,
        (part, parts): (usize, usize),
    ) -> Result<(usize, usize), TrainerError> {
        let job = self.evaluate_job(part, parts);
        let folder = self.run_job(&job, model, &mut |_, _| ())?;
        Ok(self.exchange.read_evaluation(folder.path())?)
    }

    /// Runs the program on a job. The job's folder exists until the returned value is dropped.
    fn run_job(
        &self,
        job: &Value,
        model: &BlockVectors,
        steps: Steps<'_>,
    ) -> Result<JobFolder, TrainerError> {
        let path = &self.program.folder;
        let folder = JobFolder::create(path).map_err(folder_error(path))?;
        self.exchange.write_global(&folder.path().join(GLOBAL), model.values())?;
        fs::write(folder.path().join(JOB), format!("{job:#}\n")).map_err(folder_error(path))?;
        run(&self.program, folder.path(), self.inputs.threads, steps)?;
        Ok(folder)
    }

    fn train_job(&self, settings: &LocalTraining) -> Value {
        json!({
            "job": "train",
            "model": self.inputs.task,
            "table": self.exchange.table(),
            "base": self.inputs.base_model,
            "notes": self.inputs.notes,
            "threads": self.inputs.threads,
            "settings": {
                "local_epochs": settings.epochs,
                "batch_size": settings.batch_size,
                "learning_rate": settings.learning_rate,
                "routing_penalty": settings.routing_penalty,
                "seed": settings.seed,
            },
        })
    }

    fn evaluate_job(&self, part: usize, parts: usize) -> Value {
        json!({
            "job": "evaluate",
            "model": self.inputs.task,
            "table": self.exchange.table(),
            "base": self.inputs.base_model,
            "notes": self.inputs.held_out,
            "threads": self.inputs.threads,
            "part": part,
            "of": parts,
        })
    }
}

fn absolute(path: &Path) -> Result<PathBuf, ProgramError> {
    // Not `canonicalize`, which fails for a job's folder that does not exist yet.
    std::path::absolute(path).map_err(folder_error(path))
}

/// What makes a system error one of a job's folder.
fn folder_error(path: &Path) -> impl Fn(io::Error) -> ProgramError {
    move |source| ProgramError::Folder { path: path.to_owned(), source }
}
