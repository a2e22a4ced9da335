//! Notes and how they are read, one after the other or all at once.

mod labels;

use serde::{Deserialize, Serialize};

pub use self::labels::{Twins, near_twins};
pub(crate) use self::labels::{check_differ, class_number};
pub use crate::files::rows::{Encoding, NotesError, NotesFile};
use crate::files::rows::{ReadSoFar, Row, Rows};

/// The columns that a note is made of.
const COLUMNS: &[&str] = &["text", "title", "description", "question", "label_name", "label", "subject"];
/// The columns that have a note's class, the first that is there.
const LABELS: [&str; 3] = ["label_name", "label", "subject"];

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
/// JSON Lines, CSV or TSV (plain, gzip, zstd), or Parquet, told apart by their content. Each row has a text `text`, or
/// `question`, or `title` and `description` in its place, and, as the class, `label_name`, else `label`, else `subject`, a text
/// or a whole number; other fields are ignored. Labels lose blanks around them, and are brought into Unicode's form NFC.
pub struct NoteReader {
    rows: Rows,
    found: bool,
}

impl NoteReader {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`Rows::open`].
    pub fn open(file: impl Into<NotesFile>) -> Result<Self, NotesError> {
        Ok(Self { rows: Rows::open(file, COLUMNS)?, found: false })
    }

    /// How much of the file is read.
    pub fn so_far(&self) -> ReadSoFar {
        self.rows.so_far()
    }

    /// The number of the record that the note that was read last is a part of, from 0 in the order in which records first appear.
    pub fn record(&self) -> usize {
        self.rows.record()
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
pub fn read_notes(file: impl Into<NotesFile>) -> Result<Vec<Note>, NotesError> {
    NoteReader::open(file)?.collect()
}

/// The names of the notes' classes, sorted, each once.
pub fn classes(notes: &[Note]) -> Vec<String> {
    let names: std::collections::BTreeSet<&str> = notes.iter().map(|note| note.label.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// A row as a note, or what it lacks.
pub(crate) fn labelled_text(row: &Row) -> Result<Note, String> {
    let note = label(row).and_then(|label| Ok(Note { text: text(row)?, label }));
    note.map_err(|reason| format!("{reason}; each row must have “text” and “label”"))
}

fn text(row: &Row) -> Result<String, String> {
    let (name, text) = if let Some(text) = row.text("text")? {
        ("text", text.to_owned())
    } else if let Some(question) = row.text("question")? {
        ("question", question.to_owned())
    } else if let (Some(title), Some(description)) = (row.text("title")?, row.text("description")?) {
        ("title", format!("{title} {description}"))
    } else {
        return Err("there is no “text”, nor “title” with “description”".to_owned());
    };
    match text.trim().is_empty() {
        true => Err(format!("“{name}” is empty")),
        false => Ok(text),
    }
}

fn label(row: &Row) -> Result<String, String> {
    let Some(name) = LABELS.into_iter().find(|name| row.has(name)) else {
        return Err("there is neither “label_name” nor “label”".to_owned());
    };
    let label = row.name(name)?.unwrap_or_default();
    match label.is_empty() {
        true => Err(format!("“{name}” is empty, and a class has a name")),
        false => Ok(label),
    }
}
