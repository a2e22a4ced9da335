//! Tables of text, CSV and TSV: a header row, and then one row for each note. Cells with separators or line ends are
//! in quotation marks; separators are `,`, `;`, tab or `|`. Rows of blank cells are skipped.

use std::io::{BufRead, BufReader, Read};

use csv::ReaderBuilder;

use super::cells::{CellReader, Cells};
use super::fault::ReadError;
use super::row::Row;
use super::stream::{ReadProgress, Stream};
use super::{ReadSoFar, RowPlace, Source};

/// The separators that are tried, in the order of preference.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

pub(super) struct Table {
    reader: CellReader<BufReader<Box<dyn Read>>>,
    /// The cells of the last row; their memory is reused for the next one.
    cells: Cells,
    /// The columns that are read, each with its place among the cells.
    columns: Vec<(String, usize)>,
    /// The number of cells of the header row, and so of each row.
    width: usize,
    /// The number of the last row, from 1, without the header row.
    row: usize,
    /// The line in which the last row starts, from 1.
    line: usize,
    progress: ReadProgress,
}

/// Those of the columns that a header row names, with their places among its cells.
fn named_columns<'a>(
    header: impl Iterator<Item = &'a str> + Clone,
    columns: &[String],
) -> Vec<(String, usize)> {
    let mut named = Vec::new();
    for column in columns {
        if let Some(place) = header.clone().position(|cell| cell.trim() == column) {
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
        let mut parser = ReaderBuilder::new();
        // The library's parser, because it accepts a header row that is cut off in a cell.
        let mut parser = parser.delimiter(separator).has_headers(false).from_reader(start);
        let header = parser.records().next().and_then(Result::ok);
        let cells =
            header.map_or((0, 0), |header| (named_columns(header.iter(), columns).len(), header.len()));
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
        reader: CellReader::new(text, separator, usize::from(declared.is_some())),
        cells: Cells::default(),
        columns: vec![],
        width: 0,
        row: 0,
        line: 1,
        progress,
    };
    // Empty lines above the header row are no rows.
    while table.read()? && table.cells.len() == 1 && table.cells.get(0) == Some("") {}
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
    /// Reads the next row into `cells`, and returns whether there is one.
    fn read(&mut self) -> Result<bool, ReadError> {
        // Before reading: afterwards the reader is at the row's end, which may be some lines on.
        self.line = self.reader.line();
        self.reader.read(&mut self.cells)
    }

    /// Takes the row in `cells` as the header row.
    ///
    /// # Errors
    /// [`ReadError::Columns`] if it names none of the columns, or one of them twice. The message has no cell of the
    /// row, because a table without a header starts with a patient's row.
    fn take_header(&mut self, columns: &[String]) -> Result<(), ReadError> {
        let header = &self.cells;
        self.columns = named_columns(header.iter(), columns);
        self.width = header.len();
        if self.columns.is_empty() {
            return Err(ReadError::Columns(format!(
                "it was read as a table (CSV or TSV), and none of the {} cells of its first row is the \
                 name of a column that is read: {}; put the columns' names into the first row, or, for \
                 JSON Lines, start each line with an object",
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

    /// The row in `cells`, of which the columns that are read are taken.
    fn row(&self) -> Result<Row, ReadError> {
        let (found, width) = (self.cells.len(), self.width);
        if found != width {
            return Err(ReadError::Row(format!(
                "it has {found} cells, and the header row has {width}; a cell that contains a separator or a line end must \
                 be in quotation marks"
            )));
        }
        let cells =
            self.columns.iter().filter_map(|(name, place)| Some((name.as_str(), self.cells.get(*place)?)));
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
                Ok(true) if self.cells.iter().all(|cell| cell.trim().is_empty()) => self.row -= 1,
                Ok(true) => return Some(self.row()),
                Err(broken) => return Some(Err(broken)),
            }
        }
    }

    fn place(&self) -> RowPlace {
        RowPlace::Record { row: self.row, line: self.line }
    }

    fn so_far(&self) -> ReadSoFar {
        self.progress.so_far()
    }
}
