//! Notes and how they are read, one after the other or all at once.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::rows::NotesError;
use crate::rows::{ReadSoFar, Rows};

/// The columns that a note is made of.
const COLUMNS: &[&str] = &["text", "title", "description", "question", "label_name", "label", "subject"];

/// A text with the name of its class.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Note {
    /// The text.
    pub text: String,
    /// The name of the class.
    pub label: String,
}

/// Reads notes one after the other, so that the file is never held as a whole.
///
/// JSON Lines (plain, gzip, zstd) or Parquet, told apart by their first bytes. Each row has a string `text`, or `title`
/// and `description` or a `question` in its place, and, as the class, `label_name`, else `label`, else `subject`, a string or an
/// integer; other fields are ignored.
pub struct NoteReader {
    rows: Rows,
    found: bool,
}

impl NoteReader {
    /// Opens a file.
    ///
    /// # Errors
    /// [`NotesError::File`] or [`NotesError::Columns`].
    pub fn open(path: &Path) -> Result<Self, NotesError> {
        Ok(Self { rows: Rows::open(path, COLUMNS)?, found: false })
    }

    /// How much of the file is read.
    pub fn so_far(&self) -> ReadSoFar {
        self.rows.so_far()
    }

    /// An error of the note that was read last, with file and place.
    pub fn fault(&self, reason: String) -> NotesError {
        self.rows.fault(reason)
    }
}

impl Iterator for NoteReader {
    type Item = Result<Note, NotesError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next(labelled_text) {
            None if !self.found => {
                self.found = true;
                Some(Err(NotesError::Empty { path: self.rows.path().to_owned() }))
            }
            next => {
                self.found = true;
                next
            }
        }
    }
}

/// Reads all notes of a file, as [`NoteReader`] does one by one.
///
/// # Errors
/// [`NotesError`], naming the row where there is one.
pub fn read_notes(path: &Path) -> Result<Vec<Note>, NotesError> {
    NoteReader::open(path)?.collect()
}

/// The names of the notes' classes, sorted, each once.
pub fn classes(notes: &[Note]) -> Vec<String> {
    let names: std::collections::BTreeSet<&str> = notes.iter().map(|note| note.label.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

#[derive(Deserialize)]
struct Row {
    text: Option<String>,
    title: Option<String>,
    description: Option<String>,
    question: Option<String>,
    label_name: Option<Value>,
    label: Option<Value>,
    subject: Option<Value>,
}

/// A row as a note, or what it lacks.
pub(crate) fn labelled_text(row: Value) -> Result<Note, String> {
    note(row).map_err(|reason| format!("{reason}; each row must have “text” and “label”"))
}

fn note(row: Value) -> Result<Note, String> {
    let row: Row = serde_json::from_value(row).map_err(|error| error.to_string())?;
    let label = match row.label_name.or(row.label).or(row.subject) {
        Some(Value::String(name)) => name,
        Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
        Some(other) => return Err(format!("the label must be a string or an integer, not {other}")),
        None => return Err("there is neither “label_name” nor “label”".to_owned()),
    };
    let text = match (row.text.or(row.question), row.title, row.description) {
        (Some(text), _, _) => text,
        (None, Some(title), Some(description)) => format!("{title} {description}"),
        _ => return Err("there is no “text”, nor “title” with “description”".to_owned()),
    };
    Ok(Note { text, label })
}
