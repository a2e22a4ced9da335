//! Applies a trained model to texts whose class nobody knows.
//!
//! What a text gets is what an evaluation computes for it: the same windows, pooled in the same way, and the same cut.
//! Texts are read and sorted a few at a time, so that a file may be larger than the memory.

mod model;

use std::path::{Path, PathBuf};

use tch::Device;

use crate::class_scores::ClassScores;
use crate::classifier::encoder::EncodedNote;
use crate::device::Precision;
use crate::error::ExpertsError;
use crate::families::finetune::Example;
use crate::files::notes::{NotesFile, TEXT_COLUMNS, text};
use crate::files::rows::{NotesError, ReadSoFar, Row, Rows, kind_of};
use crate::model_files::unusable;
use crate::task::Task;
use crate::texts::Windows;
use crate::training::settings::LocalTraining;

pub(crate) use model::TrainedModel;

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
    model: TrainedModel,
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
        if task.classes().is_empty() {
            return Err(ExpertsError::Settings(
                "the task has no classes, so its model sorts no texts; use the model with a program that generates text"
                    .to_owned(),
            ));
        }
        let classes = task.classes().to_vec();
        let loaded = TrainedModel::open(task, model, settings)?;
        Ok(Self { path: model.to_owned(), classes, windows: settings.windows, model: loaded })
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
            TrainedModel::Classifier { encoder, .. } => {
                ModelInput::Encoded(encoder.encode_text(&text, self.windows)?)
            }
            TrainedModel::Published { reader, .. } => ModelInput::Example(reader.unlabelled(&text)?),
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
            TrainedModel::Classifier { encoder, loaded } => {
                loaded.scores(&encoder.features_of_texts(encoded)?)
            }
            TrainedModel::Published { tuner, .. } => {
                tuner.class_scores(&examples, LocalTraining::default().batch_size)?
            }
        };
        let mut all = scores.iter().flat_map(|scores| &scores.probabilities);
        match all.all(|probability| probability.is_finite()) {
            true => Ok(scores),
            false => Err(diverged(&self.path)),
        }
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

/// The error of a model that computes values that are not finite.
pub(crate) fn diverged(model: &Path) -> ExpertsError {
    unusable(model, "it computes values that are not numbers; its training has diverged".to_owned())
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
