//! What a hospital's files hold, before it trains on them: how many rows, classes and records there are, how
//! long texts are, which texts are repeated, and which rows cannot be learnt. The client rejects a file at its first
//! bad row; a survey continues and counts them.
//!
//! A survey has nothing of a row's content. It has counts, places, and names of classes, which are in the task file
//! that every member has.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sha2::{Digest, Sha256};

pub use self::report::{Lengths, SurveyReport};
use crate::classifier::encoder::Encoder;
use crate::error::ExpertsError;
use crate::families::AnyConfig;
use crate::families::finetune::Reader;
use crate::files::notes::{NoteReader, NotesError, NotesFile};
use crate::files::rows::ReadSoFar;
use crate::task::{Objective, Task};
use crate::texts::{SurveyedRow, Windows};

/// How many bad rows' messages are kept. A file may be nothing but bad rows; the others are only counted.
const NAMED: usize = 10;

/// Reads rows by the rules of a task.
pub struct Surveyor {
    reader: RowReader,
    classes: Vec<String>,
    /// The most tokens of a text that the model reads, all windows together.
    read_tokens: usize,
}

enum RowReader {
    Notes(Box<Encoder>),
    Examples { reader: Box<Reader>, are_questions: bool },
}

/// The counts of the rows that were added up to now, of one or more files.
#[derive(Default)]
pub struct Survey {
    /// Rows, good and bad.
    rows: usize,
    /// How many good rows each record has, by the file and the record's number in it.
    records: BTreeMap<(usize, usize), usize>,
    /// How many good rows each class has.
    classes: BTreeMap<String, usize>,
    /// Tokens of each good row's text.
    lengths: Vec<usize>,
    /// For each text, how many rows have it, and their classes. The key is the SHA-256 of its tokens, so that no text
    /// stays in memory.
    texts: BTreeMap<[u8; 32], (usize, BTreeSet<String>)>,
    /// The messages of the first bad rows.
    first_rejected: Vec<String>,
    /// Bad rows.
    rejected: usize,
    /// Messages on files of which the rest was not read, at most one of each file.
    unread: Vec<String>,
    /// Files that were added.
    files: usize,
}

impl Surveyor {
    /// Opens what a task's rows are read with: for MiniLM the model's folder, for a published model its configuration
    /// and tokenizer. No weights of a published model are loaded.
    ///
    /// # Errors
    /// As [`Encoder::open`], or [`Reader::open`].
    pub fn open(task: &Task, base: &Path, windows: Windows) -> Result<Self, ExpertsError> {
        match task {
            Task::Classifier(model) => {
                // One thread of the CPU is enough: a survey tokenizes, and runs no layer.
                let encoder = Encoder::open(base, model.clone(), 1, tch::Device::Cpu)?;
                // Each window has two special tokens around it, which windows do not share.
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

    /// Counts the rows of one more file. `progress` gets how much of it was read, once for each row.
    ///
    /// # Errors
    /// [`ExpertsError::Notes`] if reading cannot continue, such as for a damaged file. A bad row is counted instead.
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

    /// What a survey found. With a survey of the held-out rows, also how many rows are among them.
    pub fn report(&self, survey: &Survey, held_out: Option<&Survey>) -> SurveyReport {
        report::report(survey, held_out, &self.classes, self.read_tokens)
    }
}

/// Gives each note of a file, or its error, to `take`.
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
    /// Counts a row, or the error of a bad one.
    ///
    /// # Errors
    /// An error that is not of one row only.
    fn take(&mut self, row: Result<SurveyedRow, NotesError>) -> Result<(), ExpertsError> {
        match row {
            Ok(row) => self.count(row),
            Err(error @ NotesError::Row { .. }) => {
                self.rows += 1;
                self.rejected += 1;
                if self.first_rejected.len() < NAMED {
                    self.first_rejected.push(error.to_string());
                }
            }
            // Not counted alone: all rows after it are missing in the counts.
            Err(error @ NotesError::Unread { .. }) => {
                self.rows += 1;
                self.rejected += 1;
                self.unread.push(error.to_string());
            }
            Err(error) => return Err(ExpertsError::Notes(error)),
        }
        Ok(())
    }

    fn count(&mut self, row: SurveyedRow) {
        self.rows += 1;
        // Each file numbers its records from 0.
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
