//! Applies a trained model to texts whose class nobody knows.
//!
//! What a text gets is what an evaluation computes for it: the same windows, pooled in the same way, and the same cut.
//! Texts are read and sorted a few at a time, so that a file may be larger than the memory.

use std::path::{Path, PathBuf};

use tch::Device;

use crate::class_scores::ClassScores;
use crate::classifier::checkpoint::read_checkpoint;
use crate::classifier::encoder::{EncodedNote, Encoder};
use crate::classifier::predicting::LoadedClassifier;
use crate::device::{Precision, set_threads};
use crate::error::ExpertsError;
use crate::families::finetune::{Example, FineTuner, Reader};
use crate::families::{Adapter, AnyConfig, PublishedModel};
use crate::files::notes::{NotesFile, TEXT_COLUMNS, text};
use crate::files::rows::{NotesError, ReadSoFar, Row, Rows, kind_of};
use crate::model_files::unusable;
use crate::task::{AdapterTask, Objective, Task};
use crate::texts::Windows;
use crate::training::settings::LocalTraining;

/// Texts that are in memory together.
const TEXTS: usize = 32;

/// Where the base model is, and how the machine computes.
#[derive(Clone, Debug)]
pub struct PredictorSettings {
    /// The folder of the base model's files.
    pub base_model: PathBuf,
    /// How a text that is longer than the model reads is split. Use what the hospital trains with.
    pub windows: Windows,
    /// CPU threads.
    pub threads: usize,
    /// The device that the model computes on.
    pub device: Device,
    /// The floating-point type that it computes in.
    pub precision: Precision,
}

/// A trained model that sorts texts into classes.
pub struct Predictor {
    path: PathBuf,
    classes: Vec<String>,
    windows: Windows,
    model: SortingModel,
}

/// A text's row, and what the model says of it.
#[derive(Clone, PartialEq, Debug)]
pub struct PredictedRow {
    /// The number of the row or line in its file, as messages name it.
    pub row: usize,
    /// The value of the column that names rows, if there is such a column.
    pub id: Option<String>,
    /// How likely each class is.
    pub scores: ClassScores,
}

/// The kinds of models.
enum SortingModel {
    /// MiniLM with experts.
    Classifier { encoder: Box<Encoder>, loaded: Box<LoadedClassifier> },
    /// A published model with a head over classes.
    Published { reader: Box<Reader>, tuner: Box<FineTuner> },
}

/// A text as its model reads it.
enum ModelInput {
    Encoded(EncodedNote),
    Example(Example),
}

/// The rows of a file with their predictions.
pub struct Predictions<'a> {
    predictor: &'a Predictor,
    rows: Rows,
    id_column: Option<String>,
    /// Whether no row came yet.
    is_empty: bool,
}

impl Predictor {
    /// Loads a model that [`Task::write`] wrote at `model`: a classifier's file, the folder of an adapter, or that of a
    /// merged model.
    ///
    /// # Errors
    /// [`ExpertsError::Base`] for another base model than the task's (`TASK-01`), [`ExpertsError::Settings`] for a task
    /// without classes, [`ExpertsError::Content`] for the model of another task, and the errors of reading either.
    pub fn open(task: &Task, model: &Path, settings: &PredictorSettings) -> Result<Self, ExpertsError> {
        let windows = settings.windows;
        let (classes, loaded) = match task {
            Task::Classifier(config) => {
                let (trained, blocks) = read_checkpoint(model)?;
                if trained != *config {
                    return Err(of_another_task(model));
                }
                let encoder =
                    Encoder::open(&settings.base_model, trained, settings.threads, settings.device)?
                        .in_precision(settings.precision);
                encoder.check_windows(windows)?;
                let loaded = Box::new(LoadedClassifier::new(&encoder, &blocks)?);
                (config.classes.clone(), SortingModel::Classifier { encoder: Box::new(encoder), loaded })
            }
            Task::Adapter(task) => (task.adapter.classes.clone(), open_published(task, model, settings)?),
        };
        Ok(Self { path: model.to_owned(), classes, windows, model: loaded })
    }

    /// The names of the classes, in the order of the probabilities.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Opens a file of texts to sort. Rows have their text in the columns of
    /// [`NoteReader`](crate::files::notes::NoteReader), and need no class.
    ///
    /// # Errors
    /// [`ExpertsError::Notes`] as [`Rows::open`].
    pub fn predictions(
        &self,
        file: impl Into<NotesFile>,
        id_column: Option<&str>,
    ) -> Result<Predictions<'_>, ExpertsError> {
        let columns: Vec<&str> = TEXT_COLUMNS.into_iter().chain(id_column).collect();
        let rows = Rows::open(file, &columns).map_err(ExpertsError::Notes)?;
        Ok(Predictions { predictor: self, rows, id_column: id_column.map(str::to_owned), is_empty: true })
    }

    fn read(&self, row: &Row, id_column: Option<&str>) -> Result<(Option<String>, ModelInput), String> {
        let id = id_column.map(|column| id(row, column)).transpose()?;
        let text = text(row)?;
        let input = match &self.model {
            SortingModel::Classifier { encoder, .. } => {
                ModelInput::Encoded(encoder.encode_text(&text, self.windows)?)
            }
            SortingModel::Published { reader, .. } => ModelInput::Example(reader.unlabelled(&text)?),
        };
        Ok((id, input))
    }

    /// Runs texts through the model. It must not be called without texts.
    fn scores(&self, texts: Vec<ModelInput>) -> Result<Vec<ClassScores>, ExpertsError> {
        let (mut encoded, mut examples) = (vec![], vec![]);
        for text in texts {
            match text {
                ModelInput::Encoded(note) => encoded.push(note),
                ModelInput::Example(example) => examples.push(example),
            }
        }
        let scores = match &self.model {
            SortingModel::Classifier { encoder, loaded } => {
                loaded.scores(&encoder.features_of_texts(encoded)?)
            }
            SortingModel::Published { tuner, .. } => {
                tuner.class_scores(&examples, LocalTraining::default().batch_size)?
            }
        };
        let all = scores.iter().flat_map(|scores| &scores.probabilities);
        if all.into_iter().any(|probability| !probability.is_finite()) {
            let reason = "it computes values that are not numbers; its training has diverged";
            return Err(unusable(&self.path, reason.to_owned()));
        }
        Ok(scores)
    }
}

impl Predictions<'_> {
    /// How much of the file was read up to now.
    pub fn so_far(&self) -> ReadSoFar {
        self.rows.so_far()
    }

    /// The next few rows in their order, or none at the end of the file. A row that cannot be read is an error of its own,
    /// and the rows after it follow.
    ///
    /// # Errors
    /// [`ExpertsError::Notes`] if reading cannot continue or the file is empty, [`ExpertsError::Content`] if the model
    /// computes no numbers.
    pub fn next_rows(&mut self) -> Result<Vec<Result<PredictedRow, NotesError>>, ExpertsError> {
        let (mut places, mut texts) = (vec![], vec![]);
        while places.len() < TEXTS {
            let id_column = self.id_column.as_deref();
            let Some(row) = self.rows.next(|row| self.predictor.read(row, id_column)) else { break };
            match row {
                Ok((id, text)) => {
                    places.push(Ok((self.rows.place().number(), id)));
                    texts.push(text);
                }
                Err(error @ NotesError::Row { .. }) => places.push(Err(error)),
                // Also a row that does not end: what it hides would be missing without a trace.
                Err(error) => return Err(ExpertsError::Notes(error)),
            }
        }
        if places.is_empty() && self.is_empty {
            return Err(ExpertsError::Notes(NotesError::Empty { path: self.rows.path().to_owned() }));
        }
        self.is_empty = false;
        let scores = if texts.is_empty() { vec![] } else { self.predictor.scores(texts)? };
        let mut scores = scores.into_iter();
        let mut rows = Vec::with_capacity(places.len());
        for place in places {
            match place {
                // Each place has its scores.
                Ok((row, id)) => {
                    rows.extend(scores.next().map(|scores| Ok(PredictedRow { row, id, scores })))
                }
                Err(error) => rows.push(Err(error)),
            }
        }
        Ok(rows)
    }
}

fn of_another_task(model: &Path) -> ExpertsError {
    unusable(model, "it was trained for another task than the task file's".to_owned())
}

fn open_published(
    task: &AdapterTask,
    folder: &Path,
    settings: &PredictorSettings,
) -> Result<SortingModel, ExpertsError> {
    if task.objective != Objective::Classification {
        return Err(ExpertsError::Settings(
            "the task has no classes, so its model sorts no texts; use the model with a program that generates text"
                .to_owned(),
        ));
    }
    task.check_base(&settings.base_model)?;
    let config = AnyConfig::read(&settings.base_model)?;
    task.check_limits(&config)?;
    let classes = task.adapter.classes.clone();
    let long = settings.windows.long();
    let reader = Reader::open(&settings.base_model, task.end_token, task.max_tokens, long)?
        .with_classes(classes.clone())?
        .for_model(&config);
    set_threads(settings.threads)?;
    let is_adapter = folder.join("adapter_config.json").exists();
    let weights = if is_adapter { &settings.base_model } else { folder };
    let mut model = PublishedModel::open(weights, settings.precision, settings.device)?;
    let adapter = match is_adapter {
        true => Adapter::read(folder, &mut model)?,
        false => Adapter::merged_head(folder, classes.clone(), &mut model)?,
    };
    // With other names or another order, each prediction would be called by a wrong name.
    if adapter.classes != classes {
        return Err(of_another_task(folder));
    }
    let tuner = Box::new(FineTuner::new(model, adapter)?);
    Ok(SortingModel::Published { reader: Box::new(reader), tuner })
}

/// A row's value in the column that names rows, as the file has it.
fn id(row: &Row, column: &str) -> Result<String, String> {
    match row.value(column)? {
        Some(serde_json::Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(serde_json::Value::Number(number)) => Ok(number.to_string()),
        None | Some(serde_json::Value::String(_)) => Err(format!(
            "“{column}” is missing or empty, and names the row in the predictions: correct the row, or name another column"
        )),
        Some(other) => Err(format!("“{column}” must be text or a number, not {}", kind_of(other))),
    }
}
