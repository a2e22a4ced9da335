//! Rows of a file, one after another: JSON Lines, CSV and TSV (plain, gzip or zstd), or Parquet. The content of the
//! file says which; its name does not matter.
//!
//! A file is never in memory as a whole: of text one row is, of Parquet a page of each column that is read. Whatever
//! the format, a row is a [`Row`], and the rules for its fields are the same. A message about a row names file, place
//! and field, and never quotes the row.

mod cells;
mod encoding;
mod fault;
mod gzip;
mod json_lines;
mod kind;
mod parquet;
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
use self::fault::ReadError;
use self::kind::FileKind;
use self::records::Records;
pub(crate) use self::row::normal;
pub use self::row::{Row, kind_of};
use self::stream::Stream;

/// The longest row of text, in bytes. A row is in memory as a whole, so a file without line ends must not be read as
/// one row; no note comes near this length.
const LONGEST_ROW: u64 = 16 << 20;

/// The names of the columns that are read, shared with the readers of the formats.
type Columns = Arc<[String]>;

/// A file of notes, how its text is encoded, and which of its rows make a record. The hospital sets all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotesFile {
    /// Where it is.
    pub path: PathBuf,
    /// The encoding of its text (`--encoding`). A byte-order mark overrides it, and Parquet does not use it.
    pub encoding: Encoding,
    /// The column that groups rows into records (`--group-by`): rows with the same value in it, such as all notes of
    /// a patient, are one record. Without it, each row is a record.
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

/// Why a file of rows cannot be used. Messages are for the hospital's staff: they say what is wrong with the file and
/// what to do, and never have a value of it.
#[derive(Debug, Error)]
pub enum NotesError {
    /// The operating system fails to open or read the file.
    #[error("{path}: {source}; check the path and its permissions")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is sound, but of a kind that is not supported.
    #[error("{path} {reason}")]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        reason: String,
    },
    /// The file is of a supported kind, but its bytes break the rules of that kind.
    #[error("{path}{}: {reason}; the file is damaged or incomplete: copy or export it again", at(*place))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The row that was to be read, if reading came to the first row.
        place: Option<RowPlace>,
        /// What is wrong, without the library's words.
        reason: String,
    },
    /// A row is not what it must be.
    #[error("{path}, {place}: {reason}")]
    Row {
        /// The file.
        path: PathBuf,
        /// Which row.
        place: RowPlace,
        /// What was expected, and what kind of value was found.
        reason: String,
    },
    /// A row of a table does not end, so it and everything after it was not read.
    #[error("{path}, {place}: {reason}")]
    Unread {
        /// The file.
        path: PathBuf,
        /// The row, after which no other was read.
        place: RowPlace,
        /// Why, and from which line on.
        reason: String,
    },
    /// A table or Parquet file lacks the columns that every row needs.
    #[error("{path}: {reason}")]
    Columns {
        /// The file.
        path: PathBuf,
        /// Which columns were expected, and what was found.
        reason: String,
    },
    /// The file has no rows.
    #[error("{path} holds no notes; at least one is needed")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Where a row is in its file. All numbers count from 1, so that they are those of an editor or a spreadsheet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowPlace {
    /// A line of JSON Lines, blank ones counted.
    Line(usize),
    /// A row of Parquet.
    Row(usize),
    /// A row of CSV or TSV, which may span several lines.
    Record {
        /// Its number; the header row and rows of blank cells are not counted.
        row: usize,
        /// The line in which it starts.
        line: usize,
    },
}

impl RowPlace {
    /// The number of the line or row.
    pub fn number(self) -> usize {
        match self {
            Self::Line(number) | Self::Row(number) | Self::Record { row: number, .. } => number,
        }
    }
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

/// `, row 3` to put after a file's name, or nothing if there is no place.
fn at(place: Option<RowPlace>) -> String {
    place.map_or_else(String::new, |place| format!(", {place}"))
}

/// How much of a file was read up to now, for a progress display. The unit is bytes of the file as it is stored, but
/// rows for Parquet, whose columns are not read from start to end.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReadSoFar {
    /// Bytes or rows that were read, at most `total`.
    pub done: u64,
    /// Bytes or rows of the whole file.
    pub total: u64,
}

/// A reader of one format.
trait Source {
    /// The next row that is not blank, or `None` at the end of the file.
    fn next(&mut self) -> Option<Result<Row, ReadError>>;
    /// Where the last row is, whether it was read or failed.
    fn place(&self) -> RowPlace;
    /// How much of the file was read up to now.
    fn so_far(&self) -> ReadSoFar;
}

/// The rows of a file, in their order.
pub struct Rows {
    path: PathBuf,
    source: Box<dyn Source>,
    records: Records,
    /// The number of the last row's record.
    record: usize,
}

impl Rows {
    /// Opens a file. Only the columns of these names and the one that groups rows are read.
    ///
    /// # Errors
    /// [`NotesError::File`], [`NotesError::Kind`], [`NotesError::Damaged`], or [`NotesError::Columns`] when a table
    /// has none of the columns.
    pub fn open(file: impl Into<NotesFile>, columns: &[&str]) -> Result<Self, NotesError> {
        let NotesFile { path, encoding, group_by } = file.into();
        let columns: Columns =
            columns.iter().copied().chain(group_by.as_deref()).map(str::to_owned).collect();
        let (file, kind) = match open_file(&path) {
            Ok(opened) => opened,
            Err(source) => return Err(NotesError::File { path, source }),
        };
        let Some(kind) = kind else {
            let reason = "is a folder; give one file, which may be one of the folder's parts".to_owned();
            return Err(NotesError::Kind { path, reason });
        };
        let source: Result<Box<dyn Source>, ReadError> = match kind {
            FileKind::Parquet => parquet::open(file, columns).map(|rows| Box::new(rows) as Box<dyn Source>),
            FileKind::Foreign(foreign) => Err(ReadError::Kind(foreign.to_owned())),
            kind => open_text(file, kind, encoding, columns),
        };
        match source {
            Ok(source) => Ok(Self { path, source, records: Records::new(group_by), record: 0 }),
            Err(broken) => Err(broken.in_file(&path, None)),
        }
    }

    /// The next row, converted by `read`. If `read` fails, file and place are added to its reason, which must not
    /// quote the row.
    ///
    /// # Errors
    /// [`NotesError::File`], [`NotesError::Damaged`], [`NotesError::Unread`] or [`NotesError::Row`]. After the last of
    /// them, the next call reads the next row.
    pub fn next<T>(&mut self, read: impl FnOnce(&Row) -> Result<T, String>) -> Option<Result<T, NotesError>> {
        Some(match self.source.next()? {
            Ok(row) => self.convert(&row, read).map_err(|reason| self.fault(reason)),
            Err(broken) => Err(broken.in_file(&self.path, Some(self.source.place()))),
        })
    }

    /// Numbers a row's record and converts the row.
    fn convert<T>(&mut self, row: &Row, read: impl FnOnce(&Row) -> Result<T, String>) -> Result<T, String> {
        self.record = self.records.number(row)?;
        read(row)
    }

    /// The record that the last row belongs to. Records are numbered from 0, in the order in which they first appear.
    pub fn record(&self) -> usize {
        self.record
    }

    /// An error for the last row, with its file and its place. `reason` must not quote the row.
    pub fn fault(&self, reason: String) -> NotesError {
        NotesError::Row { path: self.path.clone(), place: self.source.place(), reason }
    }

    /// Where the last row is, whether it was read or failed.
    pub fn place(&self) -> RowPlace {
        self.source.place()
    }

    /// How much of the file was read up to now.
    pub fn so_far(&self) -> ReadSoFar {
        self.source.so_far()
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens a file and looks at what it is; a folder has no kind.
fn open_file(path: &Path) -> io::Result<(File, Option<FileKind>)> {
    let mut file = File::open(path)?;
    // On Linux a folder opens like a file, and only reading it fails, with a message that does not help.
    if file.metadata()?.is_dir() {
        return Ok((file, None));
    }
    let kind = kind::file_kind(&mut file)?;
    Ok((file, Some(kind)))
}

/// Opens a file of text, compressed or not, as JSON Lines or a table.
fn open_text(
    file: File,
    kind: FileKind,
    encoding: Encoding,
    columns: Columns,
) -> Result<Box<dyn Source>, ReadError> {
    let stream = Stream::open(file, kind, encoding)?;
    Ok(match kind::text_kind(stream.start()) {
        FileKind::Foreign(foreign) => return Err(ReadError::Kind(foreign.to_owned())),
        FileKind::Lines => Box::new(json_lines::JsonLines::new(stream, columns)),
        _ => Box::new(table::open(stream, &columns)?),
    })
}
