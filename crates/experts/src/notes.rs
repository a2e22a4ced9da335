//! Notes and how they are read: JSON Lines, plain or compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// A text with the name of its class.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Note {
    /// The text.
    pub text: String,
    /// The name of the class.
    pub label: String,
}

/// A file of notes that cannot be used.
#[derive(Debug, Error)]
pub enum NotesError {
    /// The file cannot be read or decompressed.
    #[error("{path}: {source}; check the path, and that the file is whole")]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A line is not a note.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What was expected and what is there.
        reason: String,
    },
    /// The file holds nothing.
    #[error("{path} holds no notes; at least one is needed")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a file of JSON Lines: plain, gzip or zstd, told apart by their first bytes.
///
/// Each line is an object with a string `text`, or `title` and `description` in its place, and, as the class, `label_name` if it is present or else `label`,
/// a string or an integer; other fields are ignored. Lines end at `\n` only.
///
/// # Errors
/// [`NotesError`], naming the line where there is one.
pub fn read_notes(path: &Path) -> Result<Vec<Note>, NotesError> {
    let mut notes = Vec::new();
    read_lines(path, &mut |line| {
        let hint = |reason| format!("{reason}; each line must be a JSON object with “text” and “label”");
        notes.push(parse(line).map_err(hint)?);
        Ok(())
    })?;
    if notes.is_empty() {
        return Err(NotesError::Empty { path: path.to_owned() });
    }
    Ok(notes)
}

/// Hands each line of a file, plain, gzip or zstd, to a function that says what is wrong with it.
///
/// # Errors
/// [`NotesError`], naming file and line.
pub fn read_lines(path: &Path, take: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), NotesError> {
    let file_error = |source| NotesError::File { path: path.to_owned(), source };
    let mut reader = open(path).map_err(file_error)?;
    let mut line = Vec::new();
    let mut number = 0;
    while reader.read_until(b'\n', &mut line).map_err(file_error)? > 0 {
        number += 1;
        take(&line).map_err(|reason| NotesError::Line { path: path.to_owned(), line: number, reason })?;
        line.clear();
    }
    Ok(())
}

/// The names of the notes' classes, sorted, each once.
pub fn classes(notes: &[Note]) -> Vec<String> {
    let names: std::collections::BTreeSet<&str> = notes.iter().map(|note| note.label.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(File::open(path)?);
    let start = file.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file))))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Box::new(BufReader::new(zstd::Decoder::with_buffer(file)?)))
    } else {
        Ok(Box::new(file))
    }
}

#[derive(Deserialize)]
struct Row {
    text: Option<String>,
    title: Option<String>,
    description: Option<String>,
    label_name: Option<Value>,
    label: Option<Value>,
}

fn parse(line: &[u8]) -> Result<Note, String> {
    let row: Row = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let label = match row.label_name.or(row.label) {
        Some(Value::String(name)) => name,
        Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
        Some(other) => return Err(format!("the label must be a string or an integer, not {other}")),
        None => return Err("there is neither “label_name” nor “label”".to_owned()),
    };
    let text = match (row.text, row.title, row.description) {
        (Some(text), _, _) => text,
        (None, Some(title), Some(description)) => format!("{title} {description}"),
        _ => return Err("there is no “text”, nor “title” with “description”".to_owned()),
    };
    Ok(Note { text, label })
}
