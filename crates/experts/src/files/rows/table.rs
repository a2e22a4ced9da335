//! Tables of text, CSV and TSV: a header row, cells in quotation marks where they hold separators or line ends, separators
//! `,`, `;`, tab or `|`. Rows of which every cell is blank are skipped.

use std::io::{BufRead, BufReader, Read};

use csv::{ReaderBuilder, StringRecord};

use super::fault::Broken;
use super::quotes::Quotes;
use super::row::Row;
use super::stream::{Progress, Stream};
use super::{ReadSoFar, RowPlace, Source};

/// What may stand between cells.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

pub(super) struct Table {
    reader: csv::Reader<Quotes<Box<dyn Read>>>,
    record: StringRecord,
    /// The wanted columns, each with its place.
    columns: Vec<(String, usize)>,
    /// Cells of the header row.
    width: usize,
    row: usize,
    line: u64,
    /// Lines before the header row.
    above: u64,
    progress: Progress,
}

fn builder(separator: u8) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(separator).has_headers(false).flexible(true);
    builder
}

/// The wanted columns of a header row, with their places.
fn wanted(header: &StringRecord, columns: &[String]) -> Vec<(String, usize)> {
    let place = |name: &String| Some((name.clone(), header.iter().position(|cell| cell.trim() == name)?));
    columns.iter().filter_map(place).collect()
}

/// The separator by which the header row has most of the wanted columns, or else most cells.
fn likely_separator(start: &[u8], columns: &[String]) -> u8 {
    let worth = |separator: &u8| {
        let header = builder(*separator).from_reader(start).records().next().and_then(Result::ok);
        header.map_or((0, 0), |header| (wanted(&header, columns).len(), header.len()))
    };
    // Of equals the first.
    SEPARATORS.into_iter().rev().max_by_key(worth).unwrap_or(SEPARATORS[0])
}

/// Opens a table.
pub(super) fn open(stream: Stream, columns: &[String]) -> Result<Table, Broken> {
    let (above, said) = said_separator(stream.start());
    let separator = said.unwrap_or_else(|| likely_separator(stream.start(), columns));
    let (text, progress) = stream.into_parts();
    let mut text = BufReader::new(text);
    if above > 0 {
        text.read_line(&mut String::new())?;
    }
    let mut table = Table {
        reader: builder(separator).from_reader(Quotes::new(Box::new(text), separator)),
        record: StringRecord::new(),
        columns: vec![],
        width: 0,
        row: 0,
        line: 1,
        above,
        progress,
    };
    table.read()?;
    table.take_header(columns)?;
    Ok(table)
}

/// Excel's own first line, `sep=;`: how many such lines there are, and what it says.
fn said_separator(start: &[u8]) -> (u64, Option<u8>) {
    match start.strip_prefix(b"sep=") {
        Some([separator, b'\r', b'\n', ..] | [separator, b'\n', ..]) if !b"\r\n\"".contains(separator) => {
            (1, Some(*separator))
        }
        _ => (0, None),
    }
}

impl Table {
    /// Reads a record; whether there is one.
    fn read(&mut self) -> Result<bool, Broken> {
        self.line = self.reader.position().line() + self.above;
        self.reader.read_record(&mut self.record).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => error.into(),
            _ => Broken::Row("it is no row of a table".to_owned()),
        })
    }

    /// Takes the record that was read for the header row.
    fn take_header(&mut self, columns: &[String]) -> Result<(), Broken> {
        let header = &self.record;
        self.columns = wanted(header, columns);
        self.width = header.len();
        if self.columns.is_empty() {
            return Err(Broken::Columns(format!(
                "it was read as a table of text (CSV), and none of the {} cells of its header row names a column that is read: \
                 {}; name the columns in the first row, or, for JSON Lines, begin each line with an object",
                self.width,
                columns.join(", ")
            )));
        }
        let count = |name: &str| header.iter().filter(|cell| cell.trim() == name).count();
        match self.columns.iter().find(|(name, _)| count(name) > 1) {
            Some((name, _)) => {
                Err(Broken::Columns(format!("its header row names the column “{name}” twice; leave one")))
            }
            None => Ok(()),
        }
    }

    fn cells(&self) -> Result<Row, Broken> {
        let (found, width) = (self.record.len(), self.width);
        if found != width {
            return Err(Broken::Row(format!(
                "it has {found} cells, and the header row {width}; cells with a separator or a line end within must be in \
                 quotation marks"
            )));
        }
        let cells =
            self.columns.iter().filter_map(|(name, place)| Some((name.as_str(), self.record.get(*place)?)));
        Ok(Row::of_cells(cells))
    }
}

impl Source for Table {
    fn next(&mut self) -> Option<Result<Row, Broken>> {
        loop {
            self.row += 1;
            match self.read() {
                Ok(false) => return None,
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
