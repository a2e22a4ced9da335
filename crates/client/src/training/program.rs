//! A hospital's own training program in the place of the built-in trainer.

use cloister_experts::exchange::ProgramResult;
use cloister_experts::task::Task;
use cloister_experts::{BlockVectors, LocalTraining, RecordScore};
use cloister_trainer::{JobInputs, ProgramTrainer, Steps, TrainerProgram};

use super::{HeldOut, LocalTrainer, Private, TrainingConfig, losses};
use crate::jobs::{Accuracy, Counted, RowCounts, TrainedRound};
use crate::training_error::TrainingError;

/// The program, with what its evaluations count and which part of the held-out notes is this hospital's.
pub(super) struct Program {
    trainer: ProgramTrainer,
    counted: Counted,
    part: (usize, usize),
    /// Whether several held-out rows may be one record.
    is_grouped: bool,
}

impl Program {
    pub(super) fn new(config: &TrainingConfig, program: &TrainerProgram) -> Result<Self, TrainingError> {
        let counted = match &config.task {
            Task::Classifier(_) => Counted::Notes,
            Task::Adapter(task) => Counted::for_objective(task.objective),
        };
        let inputs = JobInputs {
            task: config.task.clone(),
            base_model: config.base_model.clone(),
            notes: config.notes.path.clone(),
            held_out: config.held_out.path.clone(),
            threads: config.threads,
        };
        let trainer = ProgramTrainer::new(program, inputs)?;
        let is_grouped = config.held_out.group_by.is_some();
        Ok(Self { trainer, counted, part: (config.part, config.parts), is_grouped })
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
    ) -> Result<TrainedRound, TrainingError> {
        // Whether a program clips and noises each record's gradient cannot be seen from outside (`TRAIN-04`).
        if private.is_some() {
            return Err(TrainingError::PrivateProgram);
        }
        let ProgramResult { local, mut metrics } = self.trainer.train(model, settings, steps)?;
        metrics.extend(losses(&local));
        Ok(TrainedRound { result: local, metrics, private: None })
    }

    fn evaluate(&mut self, model: &BlockVectors, notes: HeldOut) -> Result<Accuracy, TrainingError> {
        let part = match notes {
            HeldOut::Part => self.part,
            HeldOut::All => (0, 1),
        };
        let (correct, total) = self.trainer.evaluate(model, part)?;
        // Several tokens of a row, or several rows of a record, would count several times.
        let by_record = match self.counted {
            Counted::Notes | Counted::Questions if !self.is_grouped => {
                Some(RecordScore { correct: correct.min(total) as f64, records: total })
            }
            _ => None,
        };
        Ok(Accuracy { correct, total, counted: self.counted, loss: None, by_record })
    }
}
