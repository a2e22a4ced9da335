//! Rows of a file, one after the other: JSON Lines, CSV and TSV (plain, gzip, zstd), or Parquet, told apart by their content.
//!
//! A file is never held as a whole: of text one row is in memory, of Parquet a page of each column that is wanted.
//! Whatever the format, a row is a [`Row`], and the rules for its fields are the same. What is wrong with a row is told by
//! file, place and field, and never by what the row holds.

mod encoding;
mod fault;
mod gzip;
mod json_lines;
mod kind;
mod parquet;
mod quotes;
mod records;
mod row;
mod stream;
mod table;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

pub use self::encoding::Encoding;
use self::fault::Broken;
use self::kind::Kind;
use self::records::Records;
pub(crate) use self::row::normal;
pub use self::row::{Row, kind_of};
use self::stream::Stream;

/// The longest row of text, in bytes: what is longer is no note, and would be held in memory.
const LONGEST_ROW: u64 = 16 << 20;

/// The names of the columns that are read.
type Columns = Arc<[String]>;

/// A file of notes, how its text is encoded, and which of its rows make a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotesFile {
    /// Where it is.
    pub path: PathBuf,
    /// The encoding of its text, where no byte-order mark says it. Parquet has its own.
    pub encoding: Encoding,
    /// The column that groups rows into records: rows with the same value in it, such as all notes of a patient, are one. Without
    /// it, each row is a record.
    pub group_by: Option<String>,
}

impl<P: AsRef<Path> + ?Sized> From<&P> for NotesFile {
    fn from(path: &P) -> Self {
        path.as_ref().to_owned().into()
    }
}

impl From<PathBuf> for NotesFile {
    fn from(path: PathBuf) -> Self {
        Self { path, encoding: Encoding::default(), group_by: None }
    }
}

/// A file of rows that cannot be used.
#[derive(Debug, Error)]
pub enum NotesError {
    /// The operating system does not give the file.
    #[error("{path}: {source}; check the path and its permissions")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is whole, and of a kind that is not read.
    #[error("{path} {reason}")]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        reason: String,
    },
    /// The file is of a kind that is read, and damaged.
    #[error("{path}{}: {reason}; the file is damaged or cut: copy or export it again", at(*place))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The row that was to be read, if it got so far.
        place: Option<RowPlace>,
        /// What is wrong.
        reason: String,
    },
    /// A row is not what it must be.
    #[error("{path}, {place}: {reason}")]
    Row {
        /// The file.
        path: PathBuf,
        /// Which row.
        place: RowPlace,
        /// What was expected and what kind of thing is there.
        reason: String,
    },
    /// A table lacks what is needed of every row.
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
pub enum RowPlace {
    /// A line of text.
    Line(usize),
    /// A row of Parquet.
    Row(usize),
    /// A row of CSV, which may go over several lines.
    Record {
        /// Its number, the header row not counted.
        row: usize,
        /// The line after the row before.
        line: usize,
    },
}

impl std::fmt::Display for RowPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Row(number) => write!(f, "row {number}"),
            Self::Record { row, line } => write!(f, "row {row} (line {line})"),
        }
    }
}

/// A place after a file's name, where there is one.
fn at(place: Option<RowPlace>) -> String {
    place.map_or_else(String::new, |place| format!(", {place}"))
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
    /// The next row that is not blank.
    fn next(&mut self) -> Option<Result<Row, Broken>>;
    /// Where the row is that was read last, or could not be read.
    fn place(&self) -> RowPlace;
    fn so_far(&self) -> ReadSoFar;
}

/// The rows of a file, in their order.
pub struct Rows {
    path: PathBuf,
    source: Box<dyn Source>,
    records: Records,
    record: usize,
}

impl Rows {
    /// Opens a file. Only the columns of these names are read, and the one that groups rows.
    ///
    /// # Errors
    /// [`NotesError::File`], [`NotesError::Kind`], [`NotesError::Damaged`], or [`NotesError::Columns`] when a table has
    /// none of the columns.
    pub fn open(file: impl Into<NotesFile>, columns: &[&str]) -> Result<Self, NotesError> {
        let NotesFile { path, encoding, group_by } = file.into();
        let columns: Columns =
            columns.iter().copied().chain(group_by.as_deref()).map(str::to_owned).collect();
        let failed = |source| NotesError::File { path: path.clone(), source };
        let mut file = File::open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            let reason = "is a folder; give one file, which may be one of the folder's parts".to_owned();
            return Err(NotesError::Kind { path, reason });
        }
        let kind = kind::of_file(&mut file).map_err(failed)?;
        let source: Result<Box<dyn Source>, Broken> = match kind {
            Kind::Parquet => parquet::open(file, columns).map(|rows| Box::new(rows) as Box<dyn Source>),
            Kind::Foreign(foreign) => Err(Broken::Kind(foreign.to_owned())),
            kind => text(file, kind, encoding, columns),
        };
        match source {
            Ok(source) => Ok(Self { path, source, records: Records::new(group_by), record: 0 }),
            Err(broken) => Err(broken.of_file(&path, None)),
        }
    }

    /// The next row, as `read` takes it; what it objects to is told with file and place.
    ///
    /// # Errors
    /// [`NotesError::File`], [`NotesError::Damaged`] or [`NotesError::Row`].
    pub fn next<T>(&mut self, read: impl FnOnce(&Row) -> Result<T, String>) -> Option<Result<T, NotesError>> {
        Some(match self.source.next()? {
            Ok(row) => self.taken(&row, read).map_err(|reason| self.fault(reason)),
            Err(broken) => Err(broken.of_file(&self.path, Some(self.source.place()))),
        })
    }

    fn taken<T>(&mut self, row: &Row, read: impl FnOnce(&Row) -> Result<T, String>) -> Result<T, String> {
        self.record = self.records.number(row)?;
        read(row)
    }

    /// The number of the record that the row that was read last is a part of, from 0 in the order in which records first appear.
    pub fn record(&self) -> usize {
        self.record
    }

    /// An error of the row that was read last.
    pub fn fault(&self, reason: String) -> NotesError {
        NotesError::Row { path: self.path.clone(), place: self.source.place(), reason }
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

/// Opens a file of text, compressed or not.
fn text(file: File, kind: Kind, encoding: Encoding, columns: Columns) -> Result<Box<dyn Source>, Broken> {
    let stream = Stream::open(file, kind, encoding)?;
    Ok(match kind::of_text(stream.start()) {
        Kind::Foreign(foreign) => return Err(Broken::Kind(foreign.to_owned())),
        Kind::Lines => Box::new(json_lines::JsonLines::new(stream, columns)),
        _ => Box::new(table::open(stream, &columns)?),
    })
}
