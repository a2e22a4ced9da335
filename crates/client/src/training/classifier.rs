//! The built-in trainer of classifiers: MiniLM with experts, which stays in memory from round to round.

use cloister_experts::classifier::memory::classifier_memory;
use cloister_experts::files::notes::{NoteReader, NotesError, NotesFile};
use cloister_experts::files::rows::ReadSoFar;
use cloister_experts::training::memory::MemoryEstimate;
use cloister_experts::{
    BlockVectors, Encoder, ExpertsError, Features, LocalTraining, ModelConfig, Score, Trainer,
    TrainingProgress,
};
use getrandom::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng, UnwrapErr};

use super::{
    Accuracy, Counted, HeldOut, LocalTrainer, Private, RowCounts, Steps, TrainedRound, TrainingConfig,
    TrainingError, losses,
};

/// The model with the hospital's notes.
pub(super) struct Classifier {
    config: TrainingConfig,
    encoder: Encoder,
    trainer: Trainer,
    part: Features,
}

impl Classifier {
    /// The memory that training takes. All notes are read once for it, so that a bad one is found before anything is loaded.
    pub(super) fn memory(
        config: &TrainingConfig,
        model: &ModelConfig,
    ) -> Result<MemoryEstimate, TrainingError> {
        let to_train_on = count(&config.notes, model).map_err(ExpertsError::Notes)?;
        let notes = to_train_on + count(&config.held_out, model).map_err(ExpertsError::Notes)?;
        let batch_size = LocalTraining::default().batch_size;
        Ok(classifier_memory(model, notes, config.windows, batch_size))
    }

    /// Reads the model and the notes. `progress` is told how many of the training notes are read.
    pub(super) fn open(
        config: &TrainingConfig,
        model: &ModelConfig,
        progress: &mut dyn FnMut(ReadSoFar),
    ) -> Result<Self, TrainingError> {
        let encoder = Encoder::open(&config.base_model, model.clone(), config.threads, config.device)?
            .in_precision(config.precision);
        let features = encoder.read_features(config.notes.clone(), (0, 1), config.windows, progress)?;
        let part = (config.part, config.parts);
        // Only this hospital's part stays in memory. All held-out notes are read after the last round.
        let part = encoder.read_features(config.held_out.clone(), part, config.windows, &mut |_| ())?;
        let trainer = Trainer::new(&encoder, features);
        Ok(Self { config: config.clone(), encoder, trainer, part })
    }
}

/// How many notes a file has, each of one of the model's classes.
fn count(file: &NotesFile, model: &ModelConfig) -> Result<usize, NotesError> {
    let mut reader = NoteReader::open(file.clone())?;
    let mut notes = 0;
    while let Some(note) = reader.next() {
        model.known_class(&note?.label).map_err(|reason| reader.fault(reason))?;
        notes += 1;
    }
    Ok(notes)
}

impl LocalTrainer for Classifier {
    fn rows(&self) -> Option<RowCounts> {
        let features = self.trainer.features();
        let (notes, records, truncated) = (features.notes(), features.records(), features.truncated());
        Some(RowCounts { notes, records, truncated })
    }

    fn train(
        &mut self,
        model: &BlockVectors,
        settings: &LocalTraining,
        private: Option<&Private>,
        steps: Steps<'_>,
    ) -> Result<TrainedRound, TrainingError> {
        self.trainer.load(model)?;
        let mut tell = |progress: TrainingProgress| steps(progress.step, progress.steps);
        let (result, private) = match private {
            None => (self.trainer.train(settings, &mut tell)?, None),
            Some(private) => {
                // Who can predict the draws of records or the noise can subtract them, so the system seeds the generator.
                let mut random = ChaCha20Rng::from_rng(&mut UnwrapErr(SysRng));
                let Private { training, averaging } = private;
                let (mut result, report) =
                    self.trainer.train_privately(settings, training, &mut random, &mut tell)?;
                result.by_record = Some(self.trainer.record_averages(averaging));
                (result, Some(report))
            }
        };
        Ok(TrainedRound { metrics: losses(&result), result, private })
    }

    fn evaluate(&mut self, model: &BlockVectors, notes: HeldOut) -> Result<Accuracy, TrainingError> {
        self.trainer.load(model)?;
        let score = match notes {
            HeldOut::Part => self.trainer.evaluate(&self.part),
            HeldOut::All => {
                let (file, windows) = (self.config.held_out.clone(), self.config.windows);
                let all = self.encoder.read_features(file, (0, 1), windows, &mut |_| ())?;
                self.trainer.evaluate(&all)
            }
        };
        let Score { correct, total } = score.overall;
        Ok(Accuracy { correct, total, counted: Counted::Notes, loss: None })
    }
}
