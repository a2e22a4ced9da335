//! Rows of a file, one after the other: JSON Lines (plain, gzip, zstd) or Parquet, told apart by their first bytes.
//!
//! A file is never held as a whole: of JSON Lines one line is in memory, of Parquet a page of each column that is
//! wanted.

mod json_lines;
mod parquet;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

/// A file of rows that cannot be used.
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
    /// A row is not what it must be.
    #[error("{path}, {place}: {reason}")]
    Row {
        /// The file.
        path: PathBuf,
        /// Which row.
        place: Place,
        /// What was expected and what is there.
        reason: String,
    },
    /// A Parquet file lacks what is needed of every row.
    #[error("{path}: {reason}")]
    Columns {
        /// The file.
        path: PathBuf,
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

/// A row's place in its file, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A line of text.
    Line(usize),
    /// A row of Parquet.
    Row(usize),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Row(number) => write!(f, "row {number}"),
        }
    }
}

/// How much of a file is read: bytes of it, or rows of Parquet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReadSoFar {
    /// So much.
    pub done: u64,
    /// Of so much.
    pub total: u64,
}

/// A format that rows are read from.
trait Source {
    fn next(&mut self) -> Option<Result<Value, Broken>>;
    fn so_far(&self) -> ReadSoFar;
}

/// Why a row does not come.
enum Broken {
    File(io::Error),
    Row(String),
}

/// The rows of a file, in their order, each a JSON object.
pub struct Rows {
    path: PathBuf,
    source: Box<dyn Source>,
    place: fn(usize) -> Place,
    number: usize,
}

impl Rows {
    /// Opens a file. Of Parquet, only the columns of these names are read; of JSON Lines, every field.
    ///
    /// # Errors
    /// [`NotesError::File`], or [`NotesError::Columns`] when a Parquet file has none of the columns.
    pub fn open(path: &Path, columns: &[&str]) -> Result<Self, NotesError> {
        let failed = |source| NotesError::File { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let mut start = [0; 4];
        let length = read_start(&mut file, &mut start).map_err(failed)?;
        let file = File::open(path).map_err(failed)?;
        let (source, place): (Box<dyn Source>, fn(usize) -> Place) = match &start[..length] {
            b"PAR1" => (Box::new(parquet::open(file, path, columns)?), Place::Row),
            start => (Box::new(json_lines::open(file, start).map_err(failed)?), Place::Line),
        };
        Ok(Self { path: path.to_owned(), source, place, number: 0 })
    }

    /// The next row, as `read` takes it; what it objects to is told with file and place.
    ///
    /// # Errors
    /// [`NotesError::File`] or [`NotesError::Row`].
    pub fn next<T>(
        &mut self,
        read: impl FnOnce(Value) -> Result<T, String>,
    ) -> Option<Result<T, NotesError>> {
        self.number += 1;
        let value = self.source.next()?;
        Some(match value {
            Ok(value) => read(value).map_err(|reason| self.fault(reason)),
            Err(Broken::Row(reason)) => Err(self.fault(reason)),
            Err(Broken::File(source)) => Err(NotesError::File { path: self.path.clone(), source }),
        })
    }

    /// An error of the row that was read last.
    pub fn fault(&self, reason: String) -> NotesError {
        NotesError::Row { path: self.path.clone(), place: (self.place)(self.number), reason }
    }

    /// How much is read.
    pub fn so_far(&self) -> ReadSoFar {
        self.source.so_far()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The first bytes of a file, fewer where it is shorter.
fn read_start(file: &mut File, start: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < start.len() {
        match file.read(&mut start[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}
