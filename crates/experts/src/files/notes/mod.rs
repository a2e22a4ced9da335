//! Notes, which are texts with a class, and how they are read: one after another or all at once.

mod labels;

use serde::{Deserialize, Serialize};

pub use self::labels::{Twins, near_twins};
pub(crate) use self::labels::{check_differ, class_number};
pub use crate::files::rows::{Encoding, NotesError, NotesFile};
use crate::files::rows::{ReadSoFar, Row, Rows};

/// The columns that a note is made of. Others are not read.
pub(crate) const NOTE_COLUMNS: &[&str] =
    &["text", "title", "description", "question", "label_name", "label", "subject"];
/// Those of them that have its text.
pub(crate) const TEXT_COLUMNS: [&str; 4] = ["text", "title", "description", "question"];
/// The columns that may name a note's class, in the order of preference. `label_name` comes first because data sets
/// that have it have mere numbers in `label`.
const LABELS: [&str; 3] = ["label_name", "label", "subject"];

/// A text with the name of its class.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Note {
    /// The text: not blank, otherwise as the file has it.
    pub text: String,
    /// The name of its class: not empty, without blanks around it, in Unicode's form NFC.
    pub label: String,
}

/// Reads notes one after another, so that the file is never in memory as a whole.
///
/// The file is JSON Lines, CSV or TSV (plain, gzip or zstd), or Parquet; its content says which. Each row has its
/// text in `text`, or else in `question`, or else in `title` and `description`. It has its class in `label_name`, or
/// else in `label`, or else in `subject`, as a text or a whole number. Other fields are ignored. Blanks around labels
/// are dropped, and labels are brought into Unicode's form NFC.
pub struct NoteReader {
    rows: Rows,
    /// Whether a first item was returned, be it a note or an error.
    started: bool,
}

impl NoteReader {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`Rows::open`].
    pub fn open(file: impl Into<NotesFile>) -> Result<Self, NotesError> {
        Ok(Self { rows: Rows::open(file, NOTE_COLUMNS)?, started: false })
    }

    /// How much of the file was read up to now.
    pub fn so_far(&self) -> ReadSoFar {
        self.rows.so_far()
    }

    /// The record that the last note belongs to. Records are numbered from 0, in the order in which they first
    /// appear.
    pub fn record(&self) -> usize {
        self.rows.record()
    }

    /// An error for the last note, with its file and its place. `reason` must not quote the note.
    pub fn fault(&self, reason: String) -> NotesError {
        self.rows.fault(reason)
    }
}

impl Iterator for NoteReader {
    type Item = Result<Note, NotesError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next(labelled_text) {
            // A file without notes is an error, returned once.
            None if !self.started => {
                self.started = true;
                Some(Err(NotesError::Empty { path: self.rows.path().to_owned() }))
            }
            next => {
                self.started = true;
                next
            }
        }
    }
}

/// Reads all notes of a file, as [`NoteReader`] reads them one by one.
///
/// # Errors
/// The first [`NotesError`], with the row where it belongs to one.
pub fn read_notes(file: impl Into<NotesFile>) -> Result<Vec<Note>, NotesError> {
    NoteReader::open(file)?.collect()
}

/// The names of the notes' classes, each once, in byte order.
pub fn classes(notes: &[Note]) -> Vec<String> {
    let names: std::collections::BTreeSet<&str> = notes.iter().map(|note| note.label.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// The names of the classes in a file, each once, in byte order. One note is in memory at a time.
///
/// # Errors
/// As [`read_notes`].
pub fn read_classes(file: impl Into<NotesFile>) -> Result<Vec<String>, NotesError> {
    let mut names = std::collections::BTreeSet::new();
    for note in NoteReader::open(file)? {
        names.insert(note?.label);
    }
    Ok(names.into_iter().collect())
}

/// A row as a note.
///
/// # Errors
/// What the row lacks and what to do, without its values.
pub(crate) fn labelled_text(row: &Row) -> Result<Note, String> {
    let note = label(row).and_then(|label| Ok(Note { text: text(row)?, label }));
    note.map_err(|reason| {
        format!("{reason}; each row must have “text” and “label”: correct the row or leave it out")
    })
}

/// A row's text, which must not be blank.
pub(crate) fn text(row: &Row) -> Result<String, String> {
    let (name, text) = if let Some(text) = row.text("text")? {
        ("text", text.to_owned())
    } else if let Some(question) = row.text("question")? {
        ("question", question.to_owned())
    } else if let (Some(title), Some(description)) = (row.text("title")?, row.text("description")?) {
        ("title", format!("{title} {description}"))
    } else {
        return Err("there is no “text”, no “question”, and no “title” with “description”".to_owned());
    };
    match text.trim().is_empty() {
        true => Err(format!("“{name}” is empty")),
        false => Ok(text),
    }
}

/// The name of a row's class, which must not be empty.
fn label(row: &Row) -> Result<String, String> {
    let Some(name) = LABELS.into_iter().find(|name| row.has(name)) else {
        return Err("there is neither “label_name” nor “label”".to_owned());
    };
    let label = row.name(name)?.unwrap_or_default();
    match label.is_empty() {
        true => Err(format!("“{name}” is empty; it must name a class")),
        false => Ok(label),
    }
}
