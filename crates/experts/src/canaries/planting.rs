//! Writes a copy of a hospital's notes with canaries in random places.

use std::io::{self, Write};
use std::path::Path;

use rand_core::Rng;
use serde_json::{Map, Value};

use super::form::CanaryForm;
use super::list::{CanaryList, PlantingSettings};
use super::random::{below, shuffle};
use crate::error::ExpertsError;
use crate::families::finetune::EXAMPLE_COLUMNS;
use crate::files::notes::NOTE_COLUMNS;
use crate::files::rows::{NotesError, NotesFile, Rows};
use crate::model_files::unusable;
use crate::task::Task;

/// A hospital's notes, which were read once and are to be copied.
pub struct Planting {
    notes: NotesFile,
    columns: &'static [&'static str],
    form: CanaryForm,
    rows: usize,
}

impl Planting {
    /// Reads the notes once, to count them and to see of which kind they are.
    ///
    /// # Errors
    /// [`ExpertsError::Notes`] for a row that cannot be copied, or if there are no notes.
    pub fn open(task: &Task, notes: NotesFile) -> Result<Self, ExpertsError> {
        let columns = match task {
            Task::Classifier(_) => NOTE_COLUMNS,
            Task::Adapter(_) => EXAMPLE_COLUMNS,
        };
        let mut reader = Rows::open(notes.clone(), columns).map_err(ExpertsError::Notes)?;
        let (mut form, mut rows) = (None, 0);
        while let Some(row) = reader.next(|row| row.fields().map(|_| CanaryForm::for_notes(task, row))) {
            let row_form = row.map_err(ExpertsError::Notes)?;
            form.get_or_insert(row_form);
            rows += 1;
        }
        match form {
            Some(form) => Ok(Self { notes, columns, form, rows }),
            None => Err(ExpertsError::Notes(NotesError::Empty { path: notes.path })),
        }
    }

    /// How many rows the notes have.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Draws canaries for these notes, and as many controls. The task's digest is that of its file, by which a test notices
    /// another task.
    ///
    /// # Errors
    /// [`ExpertsError::Canaries`] for settings outside their limits.
    pub fn draw(
        &self,
        task: &Task,
        task_digest: &str,
        settings: &PlantingSettings,
        random: &mut impl Rng,
    ) -> Result<CanaryList, ExpertsError> {
        CanaryList::draw(task, task_digest, self.form, settings, random)
    }

    /// Writes the notes as JSON Lines, in their order, with the columns that training reads. Canaries stand between them; all
    /// sets of places are equally likely. If a column groups rows into records, the copies of a canary are one record, as
    /// copies of a sentence in one patient's notes would be.
    ///
    /// # Errors
    /// [`ExpertsError::Notes`]; [`ExpertsError::Content`] if the notes changed since they were opened;
    /// [`ExpertsError::Canaries`] if the records' column is one that canaries use; [`ExpertsError::File`] for the copy.
    pub fn write(
        &self,
        secrets: &CanaryList,
        random: &mut impl Rng,
        path: &Path,
        file: &mut dyn Write,
    ) -> Result<(), ExpertsError> {
        let mut copies = self.copies(secrets, random)?;
        shuffle(random, &mut copies);
        let mut file = io::BufWriter::new(file);
        let mut reader = Rows::open(self.notes.clone(), self.columns).map_err(ExpertsError::Notes)?;
        let (mut rest, mut written) = (self.rows, 0);
        loop {
            // Each of the rows that remain is equally likely to be the next one.
            let is_canary =
                !copies.is_empty() && below(random, (rest + copies.len()) as u64) < copies.len() as u64;
            let line = match is_canary {
                true => copies.pop(),
                false => {
                    rest = rest.saturating_sub(1);
                    let row = reader.next(|row| row.fields().map(line)).transpose();
                    let row = row.map_err(ExpertsError::Notes)?;
                    written += usize::from(row.is_some());
                    row
                }
            };
            let Some(line) = line else { break };
            file.write_all(line.as_bytes()).map_err(|error| unwritable(path, error))?;
        }
        file.flush().map_err(|error| unwritable(path, error))?;
        match written == self.rows && copies.is_empty() {
            true => Ok(()),
            false => Err(unusable(&self.notes.path, "it changed while it was copied".to_owned())),
        }
    }

    /// The line of each copy of each canary.
    fn copies(&self, secrets: &CanaryList, random: &mut impl Rng) -> Result<Vec<String>, ExpertsError> {
        let mut copies = Vec::with_capacity(secrets.copies());
        for canary in &secrets.canaries {
            let mut fields = secrets.row(canary, &canary.secret);
            if let Some(column) = &self.notes.group_by {
                // 64 random bits, so that it is no patient's.
                let record = format!("canary-{:016x}", random.next_u64());
                if fields.insert(column.clone(), Value::String(record)).is_some() {
                    return Err(ExpertsError::Canaries(format!(
                        "“{column}” cannot group rows into records here, because it has the text or the class of a canary; \
                         name a column of its own, such as a patient's number"
                    )));
                }
            }
            copies.extend(std::iter::repeat_n(line(fields), canary.repeats));
        }
        Ok(copies)
    }
}

/// A row as a line of JSON Lines.
fn line(fields: Map<String, Value>) -> String {
    format!("{}\n", Value::Object(fields))
}

fn unwritable(path: &Path, source: io::Error) -> ExpertsError {
    ExpertsError::File { path: path.to_owned(), source }
}
