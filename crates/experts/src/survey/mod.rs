//! What a hospital's files hold before anybody trains on them: how many rows, classes and records, how long texts are, which rows
//! come twice, and which cannot be learnt. The client refuses a file at its first bad row; a survey goes on and counts them.
//!
//! A survey tells nothing of what a row says: it has counts, places, and names of classes, which every member signs.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sha2::{Digest, Sha256};

pub use self::report::{Lengths, Report};
use crate::classifier::encoder::Encoder;
use crate::error::ExpertsError;
use crate::families::AnyConfig;
use crate::families::finetune::Reader;
use crate::files::notes::{NoteReader, NotesError, NotesFile};
use crate::files::rows::ReadSoFar;
use crate::task::{Objective, Task};
use crate::texts::{SurveyedRow, Windows};

/// Bad rows that are named; others are counted.
const NAMED: usize = 10;

/// Reads rows as a task has them.
pub struct Surveyor {
    reader: RowReader,
    classes: Vec<String>,
    /// Tokens of a text that the model reads, all windows together.
    read_tokens: usize,
}

enum RowReader {
    Notes(Box<Encoder>),
    Examples { reader: Box<Reader>, are_questions: bool },
}

/// Rows of files, counted.
#[derive(Default)]
pub struct Survey {
    rows: usize,
    /// How many rows each record has, by file and number.
    records: BTreeMap<(usize, usize), usize>,
    classes: BTreeMap<String, usize>,
    lengths: Vec<usize>,
    /// Of each text, by its digest, how many rows have it, and their classes.
    texts: BTreeMap<[u8; 32], (usize, BTreeSet<String>)>,
    refused: Vec<String>,
    refused_in_all: usize,
    files: usize,
}

impl Surveyor {
    /// Reads what a task's rows are read with: of MiniLM the model, of a published one its configuration and tokenizer.
    ///
    /// # Errors
    /// As [`Encoder::open`], or [`Reader::open`].
    pub fn open(task: &Task, base: &Path, windows: Windows) -> Result<Self, ExpertsError> {
        match task {
            Task::Classifier(model) => {
                let encoder = Encoder::open(base, model.clone(), 1, tch::Device::Cpu)?;
                // The two special tokens stand around each window and are not shared.
                let room = model.max_tokens - 2;
                let read_tokens = windows.read_tokens(room)? + 2;
                let classes = model.classes.clone();
                Ok(Self { reader: RowReader::Notes(Box::new(encoder)), classes, read_tokens })
            }
            Task::Adapter(task) => {
                let config = AnyConfig::read(base)?;
                task.check_limits(&config)?;
                let (long, classes) = (windows.long(), task.adapter.classes.clone());
                let reader = Reader::open(base, task.end_token, task.max_tokens, long)?
                    .with_classes(classes.clone())?
                    .for_model(&config);
                let read_tokens = windows.read_tokens(task.max_tokens)?;
                let are_questions = task.objective == Objective::MultipleChoice;
                let reader = RowReader::Examples { reader: Box::new(reader), are_questions };
                Ok(Self { reader, classes, read_tokens })
            }
        }
    }

    /// Counts the rows of one more file. `progress` is told how much of it is read.
    ///
    /// # Errors
    /// [`ExpertsError::Notes`] for a file that cannot be read on, such as one that is no file of rows. A bad row is counted.
    pub fn add(
        &self,
        survey: &mut Survey,
        file: NotesFile,
        progress: &mut dyn FnMut(ReadSoFar),
    ) -> Result<(), ExpertsError> {
        survey.files += 1;
        let mut take = |row: Result<SurveyedRow, NotesError>, so_far: ReadSoFar| {
            progress(so_far);
            survey.take(row)
        };
        match &self.reader {
            RowReader::Notes(encoder) => survey_notes(encoder, file, &mut take),
            RowReader::Examples { reader, are_questions } => reader.survey(file, *are_questions, &mut take),
        }
    }

    /// What a survey found, beside one of held-out rows if there is one.
    pub fn report(&self, survey: &Survey, held_out: Option<&Survey>) -> Report {
        report::report(survey, held_out, &self.classes, self.read_tokens)
    }
}

/// Hands over each note of a file.
fn survey_notes(
    encoder: &Encoder,
    file: NotesFile,
    take: &mut dyn FnMut(Result<SurveyedRow, NotesError>, ReadSoFar) -> Result<(), ExpertsError>,
) -> Result<(), ExpertsError> {
    let mut reader = NoteReader::open(file).map_err(ExpertsError::Notes)?;
    while let Some(note) = reader.next() {
        let row = note.and_then(|note| {
            let row = encoder.surveyed(&note, reader.record());
            row.map_err(|reason| reader.fault(reason))
        });
        take(row, reader.so_far())?;
    }
    Ok(())
}

impl Survey {
    fn take(&mut self, row: Result<SurveyedRow, NotesError>) -> Result<(), ExpertsError> {
        match row {
            Ok(row) => self.count(row),
            Err(error @ NotesError::Row { .. }) => {
                self.rows += 1;
                self.refused_in_all += 1;
                if self.refused.len() < NAMED {
                    self.refused.push(error.to_string());
                }
            }
            Err(error) => return Err(ExpertsError::Notes(error)),
        }
        Ok(())
    }

    fn count(&mut self, row: SurveyedRow) {
        self.rows += 1;
        *self.records.entry((self.files, row.record)).or_default() += 1;
        self.lengths.push(row.tokens.len());
        let mut hash = Sha256::new();
        row.tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
        let (count, classes) = self.texts.entry(hash.finalize().into()).or_default();
        *count += 1;
        if let Some(class) = row.class {
            classes.insert(class.clone());
            *self.classes.entry(class).or_default() += 1;
        }
    }
}
