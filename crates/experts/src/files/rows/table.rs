//! Tables of text, CSV and TSV: a header row, and then one row for each note. Cells with separators or line ends are
//! in quotation marks; separators are `,`, `;`, tab or `|`. Rows of blank cells are skipped.

use std::io::{BufRead, BufReader, Read};

use csv::{ReaderBuilder, StringRecord};

use super::fault::ReadError;
use super::quotes::Quotes;
use super::row::Row;
use super::stream::{ReadProgress, Stream};
use super::{ReadSoFar, RowPlace, Source};

/// The separators that are tried, in the order of preference.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

pub(super) struct Table {
    reader: csv::Reader<Quotes<Box<dyn Read>>>,
    record: StringRecord,
    /// The columns that are read, each with its place among the cells.
    columns: Vec<(String, usize)>,
    /// The number of cells of the header row, and so of each row.
    width: usize,
    /// The number of the last row, from 1, without the header row.
    row: usize,
    /// The line at which the last row was looked for, from 1.
    line: u64,
    /// Lines before the header row: 1 if the file starts with `sep=`, else 0.
    lines_above: u64,
    progress: ReadProgress,
}

/// A parser for one separator. It is flexible about the number of cells and takes the header for a row, because both
/// are checked here, with messages that name the row's place.
fn parser(separator: u8) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(separator).has_headers(false).flexible(true);
    builder
}

/// Those of the columns that a header row names, with their places among its cells.
fn named_columns(header: &StringRecord, columns: &[String]) -> Vec<(String, usize)> {
    let mut named = Vec::new();
    for column in columns {
        if let Some(place) = header.iter().position(|cell| cell.trim() == column) {
            named.push((column.clone(), place));
        }
    }
    named
}

/// The separator by which the header row names most of the columns, and among those the one by which it has most
/// cells. The number of cells alone does not decide, because a column's name may contain other separators.
fn likely_separator(start: &[u8], columns: &[String]) -> u8 {
    let mut likely = (SEPARATORS[0], (0, 0));
    for separator in SEPARATORS {
        let header = parser(separator).from_reader(start).records().next().and_then(Result::ok);
        let cells = header.map_or((0, 0), |header| (named_columns(&header, columns).len(), header.len()));
        // The first of equals stays.
        if cells > likely.1 {
            likely = (separator, cells);
        }
    }
    likely.0
}

/// Opens a table and reads its header row.
///
/// # Errors
/// As [`Table::take_header`], or why the first row cannot be read.
pub(super) fn open(stream: Stream, columns: &[String]) -> Result<Table, ReadError> {
    let declared = declared_separator(stream.start());
    let separator = declared.unwrap_or_else(|| likely_separator(stream.start(), columns));
    let (text, progress) = stream.into_parts();
    let mut text = BufReader::new(text);
    // The parser would take it for the header row.
    if declared.is_some() {
        text.read_line(&mut String::new())?;
    }
    let mut table = Table {
        reader: parser(separator).from_reader(Quotes::new(Box::new(text), separator)),
        record: StringRecord::new(),
        columns: vec![],
        width: 0,
        row: 0,
        line: 1,
        lines_above: u64::from(declared.is_some()),
        progress,
    };
    table.read()?;
    table.take_header(columns)?;
    Ok(table)
}

/// The separator that a first line such as `sep=;` declares. Excel writes and reads that line; it is not a row.
fn declared_separator(start: &[u8]) -> Option<u8> {
    match start.strip_prefix(b"sep=") {
        Some([separator, b'\r', b'\n', ..] | [separator, b'\n', ..]) if !b"\r\n\"".contains(separator) => {
            Some(*separator)
        }
        _ => None,
    }
}

impl Table {
    /// Reads the next row into `record`, and returns whether there is one.
    fn read(&mut self) -> Result<bool, ReadError> {
        // Before reading: afterwards the parser is at the row's end, which may be some lines on.
        self.line = self.reader.position().line() + self.lines_above;
        self.reader.read_record(&mut self.record).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => error.into(),
            _ => {
                ReadError::Row("it cannot be read as a row of a table; correct it or leave it out".to_owned())
            }
        })
    }

    /// Takes the row in `record` as the header row.
    ///
    /// # Errors
    /// [`ReadError::Columns`] if it names none of the columns, or one of them twice. The message has no cell of the
    /// row, because a table without a header starts with a patient's row.
    fn take_header(&mut self, columns: &[String]) -> Result<(), ReadError> {
        let header = &self.record;
        self.columns = named_columns(header, columns);
        self.width = header.len();
        if self.columns.is_empty() {
            return Err(ReadError::Columns(format!(
                "it was read as a table (CSV or TSV), and none of the {} cells of its first row is the name of a column that \
                 is read: {}; put the columns' names into the first row, or, for JSON Lines, start each line with an object",
                self.width,
                columns.join(", ")
            )));
        }
        for (name, _) in &self.columns {
            if header.iter().filter(|cell| cell.trim() == name).count() > 1 {
                return Err(ReadError::Columns(format!(
                    "its header row names the column “{name}” twice; rename or remove one of the two"
                )));
            }
        }
        Ok(())
    }

    /// The row in `record`, of which the columns that are read are taken.
    fn cells(&self) -> Result<Row, ReadError> {
        let (found, width) = (self.record.len(), self.width);
        if found != width {
            return Err(ReadError::Row(format!(
                "it has {found} cells, and the header row has {width}; a cell that contains a separator or a line end must \
                 be in quotation marks"
            )));
        }
        let cells =
            self.columns.iter().filter_map(|(name, place)| Some((name.as_str(), self.record.get(*place)?)));
        Ok(Row::from_cells(cells))
    }
}

impl Source for Table {
    fn next(&mut self) -> Option<Result<Row, ReadError>> {
        loop {
            self.row += 1;
            match self.read() {
                Ok(false) => return None,
                // A blank row does not count: row numbers are those of notes.
                Ok(true) if self.record.iter().all(|cell| cell.trim().is_empty()) => self.row -= 1,
                Ok(true) => return Some(self.cells()),
                Err(broken) => return Some(Err(broken)),
            }
        }
    }

    fn place(&self) -> RowPlace {
        RowPlace::Record { row: self.row, line: self.line as usize }
    }

    fn so_far(&self) -> ReadSoFar {
        self.progress.so_far()
    }
}
