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

use super::{HeldOut, LocalTrainer, Private, Steps, TrainingConfig, losses};
use crate::jobs::{Accuracy, Counted, RowCounts, TrainedRound};
use crate::training_error::TrainingError;

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
        let evaluation = match notes {
            HeldOut::Part => self.trainer.evaluate(&self.part),
            HeldOut::All => {
                let (file, windows) = (self.config.held_out.clone(), self.config.windows);
                let all = self.encoder.read_features(file, (0, 1), windows, &mut |_| ())?;
                self.trainer.evaluate(&all)
            }
        };
        let Score { correct, total } = evaluation.overall;
        let by_record = Some(evaluation.by_record);
        Ok(Accuracy { correct, total, counted: Counted::Notes, loss: None, by_record })
    }
}

#[cfg(test)]
mod tests {
    use cloister_experts::prediction::{PredictedRow, Predictor, PredictorSettings};
    use cloister_experts::synthetic::{self, Style};
    use cloister_experts::task::Task;
    use cloister_experts::{Device, Note, Precision, Windows};

    use super::*;

    fn rows(seed: u64) -> String {
        let notes: Vec<Note> = synthetic::generate(40, &[1.0; 8], Style::Dictated, seed);
        notes.iter().map(|note| serde_json::to_string(note).expect("plain data") + "\n").collect()
    }

    /// Long notes are split, and their windows averaged, as the evaluation does it.
    #[test]
    fn predictions_are_those_of_the_evaluation() {
        let Some(base_model) = std::env::var_os("CLOISTER_MINILM") else {
            eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
            return;
        };
        let folder = std::env::temp_dir().join(format!("cloister-predicted-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let path = |name: &str, seed| {
            std::fs::write(folder.join(name), rows(seed)).expect("the folder can be written");
            folder.join(name)
        };
        let classes = synthetic::CLASSES.map(str::to_owned).to_vec();
        let model = ModelConfig { rank: 2, max_tokens: 16, ..ModelConfig::new(classes) };
        let windows = Windows { most: 3, overlap: 4 };
        let held_out = path("held-out.jsonl", 2);
        let config = TrainingConfig {
            task: Task::Classifier(model.clone()),
            base_model: base_model.into(),
            precision: Precision::Float32,
            recompute_layers: false,
            notes: path("notes.jsonl", 1).into(),
            held_out: held_out.clone().into(),
            part: 0,
            parts: 1,
            windows,
            threads: 1,
            device: Device::Cpu,
            compare_local: false,
            write_each_model: false,
            folder: folder.clone(),
            program: None,
        };
        let mut trainer = Classifier::open(&config, &model, &mut |_| ()).expect("sound rows");
        let initial = config.task.initial(&config.base_model).expect("of the task alone");
        let settings = LocalTraining { epochs: 1, learning_rate: 4e-3, ..LocalTraining::default() };
        let trained = trainer.train(&initial, &settings, None, &mut |_, _| ()).expect("training works");
        let changes = trained.result.updates;
        let learnt = initial.map(|shape, values| {
            values.iter().zip(&changes[shape.id]).map(|(value, change)| value + change).collect()
        });
        let evaluated = trainer.evaluate(&learnt, HeldOut::All).expect("sound rows");
        let written = config.task.write(&config.base_model, &learnt, &folder).expect("it can be written");
        let settings = PredictorSettings {
            base_model: config.base_model.clone(),
            windows,
            threads: 1,
            device: Device::Cpu,
            precision: Precision::Float32,
        };
        let correct = |windows: Windows| {
            let settings = PredictorSettings { windows, ..settings.clone() };
            let predictor = Predictor::open(&config.task, &written, &settings).expect("the task's");
            let mut predictions = predictor.predictions(&held_out, Some("label")).expect("sound rows");
            let mut rows: Vec<PredictedRow> = Vec::new();
            loop {
                let next = predictions.next_rows().expect("numbers");
                if next.is_empty() {
                    break;
                }
                rows.extend(next.into_iter().map(|row| row.expect("a sound row")));
            }
            let is_right = |row: &&PredictedRow| {
                Some(predictor.classes()[row.scores.class].as_str()) == row.id.as_deref()
            };
            (rows.iter().filter(is_right).count(), rows.len())
        };
        assert_eq!(correct(windows), (evaluated.correct, evaluated.total));
        assert!((10..40).contains(&evaluated.correct), "something is learnt and not all: {evaluated:?}");
        assert_ne!(correct(Windows::default()).0, evaluated.correct, "control: windows make a difference");
        let mut other = model;
        other.classes.reverse();
        let error =
            Predictor::open(&Task::Classifier(other), &written, &settings).err().expect("another task");
        assert!(error.to_string().contains("was trained for another task"), "{error}");
        std::fs::remove_dir_all(folder).expect("it was made above");
    }
}
