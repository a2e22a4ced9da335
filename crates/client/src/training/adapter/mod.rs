//! The built-in trainer of published models. Model and rows stay in memory from round to round.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use cloister_experts::device::set_threads;
use cloister_experts::families::finetune::{Example, FineTuning, Question, Reader, RoundTrainer};
use cloister_experts::families::{AnyConfig, PublishedModel, Workload, overview};
use cloister_experts::files::rows::ReadSoFar;
use cloister_experts::task::{AdapterTask, Objective};
use cloister_experts::training::memory::MemoryEstimate;
use cloister_experts::{BlockVectors, ExpertsError, LocalTraining, RecordScore, TrainingProgress};
use getrandom::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng, UnwrapErr};

use super::{HeldOut, LocalTrainer, Private, Steps, TrainingConfig, losses};
use crate::jobs::{Accuracy, Counted, RowCounts, TrainedRound};
use crate::training_error::TrainingError;

/// The model with the hospital's rows.
pub(super) struct AdapterTrainer {
    config: TrainingConfig,
    task: AdapterTask,
    trainer: RoundTrainer,
    rows: Rows,
    held_out: Measured,
}

/// The hospital's rows, to train on.
struct Rows {
    examples: Vec<Example>,
    read: usize,
    truncated: usize,
}

/// All held-out rows. They are read at the start, so that a bad row is found then and not after the last round.
enum Measured {
    /// Texts, of which tokens or classes are predicted.
    Texts(Vec<Example>),
    /// Questions, each with the number of its right choice.
    Questions(Vec<(Question, usize)>),
}

impl AdapterTrainer {
    /// The memory that training takes, from the base model's configuration and the headers of its weights.
    pub(super) fn memory(
        config: &TrainingConfig,
        task: &AdapterTask,
    ) -> Result<MemoryEstimate, TrainingError> {
        let workload = Workload {
            texts: LocalTraining::default().batch_size,
            length: task.max_tokens,
            recompute_layers: config.recompute_layers,
            device: config.device,
        };
        Ok(overview(&config.base_model, &task.adapter, config.precision, workload)?.memory)
    }

    /// Reads the rows, and then the model: loading it takes long, and a bad row should be found before. `progress` is told how
    /// many of the training rows are read.
    pub(super) fn open(
        config: &TrainingConfig,
        task: &AdapterTask,
        progress: &mut dyn FnMut(ReadSoFar),
    ) -> Result<Self, TrainingError> {
        let base = AnyConfig::read(&config.base_model)?;
        task.check_limits(&base)?;
        let long = config.windows.long();
        let reader = Reader::open(&config.base_model, task.end_token, task.max_tokens, long)?
            .with_classes(task.adapter.classes.clone())?
            .with_date(task.date)
            .for_model(&base);
        let rows = Rows::read(&reader, config, progress)?;
        let held_out = Measured::read(&reader, config, task.objective)?;
        held_out.check_part(config)?;
        set_threads(config.threads)?;
        let model = PublishedModel::open(&config.base_model, config.precision, config.device)?;
        let trainer = RoundTrainer::new(model, &task.adapter, task.seed)?;
        Ok(Self { config: config.clone(), task: task.clone(), trainer, rows, held_out })
    }

    fn settings(&self, local: &LocalTraining) -> FineTuning {
        FineTuning {
            experts: self.task.trained_experts.clone(),
            recompute_layers: self.config.recompute_layers,
            ..FineTuning::from(local)
        }
    }
}

impl Rows {
    /// Reads the rows to train on. A long row becomes several examples, one for each window.
    fn read(
        reader: &Reader,
        config: &TrainingConfig,
        progress: &mut dyn FnMut(ReadSoFar),
    ) -> Result<Self, ExpertsError> {
        let mut rows = Self { examples: vec![], read: 0, truncated: 0 };
        reader.each(config.notes.clone(), &mut |examples, so_far| {
            rows.read += 1;
            rows.truncated += usize::from(examples.iter().any(|example| example.cut));
            rows.examples.extend(examples);
            progress(so_far);
            Ok(())
        })?;
        Ok(rows)
    }
}

impl Measured {
    fn read(reader: &Reader, config: &TrainingConfig, objective: Objective) -> Result<Self, ExpertsError> {
        let file = config.held_out.clone();
        Ok(match objective {
            Objective::LanguageModel | Objective::Classification => Self::Texts(reader.read(file)?),
            Objective::MultipleChoice => Self::Questions(reader.questions(file)?),
        })
    }

    /// Fails if this hospital's part has no row.
    fn check_part(&self, config: &TrainingConfig) -> Result<(), ExpertsError> {
        let rows = match self {
            Self::Texts(examples) => {
                examples.iter().filter_map(|example| example.record).max().map_or(0, |last| last + 1)
            }
            Self::Questions(questions) => questions.len(),
        };
        let (part, parts, file) = (config.part, config.parts, config.held_out.path.display());
        match part < rows {
            true => Ok(()),
            false => Err(ExpertsError::Settings(format!(
                "{file} has {rows} rows, so the part {part}/{parts} of --evaluate has no row; hold out \
                 more rows, or evaluate another part"
            ))),
        }
    }

    /// Every `parts`-th row from number `part` on, counted from 0.
    fn part(&self, part: usize, parts: usize) -> Self {
        match self {
            Self::Texts(examples) => {
                let mut examples = examples.clone();
                // An example's record is its row's number, or that of its rows' group. All windows of a row have the same.
                examples.retain(|example| example.record.is_some_and(|row| row % parts == part));
                Self::Texts(examples)
            }
            Self::Questions(questions) => {
                Self::Questions(questions.iter().skip(part).step_by(parts).cloned().collect())
            }
        }
    }

    fn measure(&self, trainer: &RoundTrainer, objective: Objective) -> Result<Accuracy, ExpertsError> {
        let counted = Counted::for_objective(objective);
        let batch_size = LocalTraining::default().batch_size;
        match self {
            Self::Texts(examples) => {
                let prediction = trainer.tuner().predict(examples, batch_size)?;
                let rows = examples.iter().zip(&prediction.by_example).map(|(example, (right, answers))| {
                    (example.record.unwrap_or_default(), *right, *answers)
                });
                Ok(Accuracy {
                    correct: prediction.right,
                    total: prediction.tokens,
                    counted,
                    by_record: Some(RecordScore::new(rows)),
                    loss: Some(prediction.loss),
                })
            }
            Self::Questions(questions) => {
                let asked: Vec<Question> = questions.iter().map(|(question, _)| question.clone()).collect();
                let chosen = trainer.tuner().choose(&asked, batch_size)?;
                let right = chosen.iter().zip(questions).filter(|(chosen, (_, right))| *chosen == right);
                let (correct, total) = (right.count(), questions.len());
                // Each question is a record, because questions are not grouped.
                let by_record = Some(RecordScore { correct: correct as f64, records: total });
                Ok(Accuracy { correct, total, counted, loss: None, by_record })
            }
        }
    }
}

impl LocalTrainer for AdapterTrainer {
    fn rows(&self) -> Option<RowCounts> {
        let Rows { read, truncated, .. } = self.rows;
        let records: BTreeSet<Option<usize>> =
            self.rows.examples.iter().map(|example| example.record).collect();
        Some(RowCounts { notes: read, records: records.len(), truncated })
    }

    fn train(
        &mut self,
        model: &BlockVectors,
        settings: &LocalTraining,
        private: Option<&Private>,
        steps: Steps<'_>,
    ) -> Result<TrainedRound, TrainingError> {
        self.trainer.load(model)?;
        let settings = self.settings(settings);
        let mut tell = |progress: TrainingProgress| steps(progress.step, progress.steps);
        let examples = &self.rows.examples;
        let (result, private) = match private {
            None => (self.trainer.train(examples, &settings, &mut tell)?, None),
            Some(Private { training, averaging }) => {
                // Who can predict the draws of records or the noise can subtract them, so the system seeds the generator.
                let mut random = ChaCha20Rng::from_rng(&mut UnwrapErr(SysRng));
                let private = (training, averaging);
                let (result, report) =
                    self.trainer.train_privately(examples, &settings, private, &mut random, &mut tell)?;
                (result, Some(report))
            }
        };
        Ok(TrainedRound { metrics: losses(&result), result, private })
    }

    fn evaluate(&mut self, model: &BlockVectors, rows: HeldOut) -> Result<Accuracy, TrainingError> {
        self.trainer.load(model)?;
        let objective = self.task.objective;
        let mut accuracy = match rows {
            HeldOut::Part => {
                self.held_out.part(self.config.part, self.config.parts).measure(&self.trainer, objective)?
            }
            HeldOut::All => self.held_out.measure(&self.trainer, objective)?,
        };
        // Questions are read one by one. If several may be one record, the score by records is not known.
        if matches!(self.held_out, Measured::Questions(_)) && self.config.held_out.group_by.is_some() {
            accuracy.by_record = None;
        }
        Ok(accuracy)
    }
}
