//! The rows of a table, cell by cell.
//!
//! A wrong quotation mark could make one cell of all rows after it. Here a row with such a mark is a fault, and reading
//! goes on after it where there is a right place to go on. It does too after bytes that are not text.

use std::io::BufRead;

use super::LONGEST_ROW;
use super::fault::ReadError;

const AFTER: &str = "a quotation mark ends a cell, but neither a separator nor the end of the line \
                     follows; inside a cell in quotation marks, double each mark";

/// The cells of one row.
#[derive(Default)]
pub(super) struct Cells {
    /// All cells, without the quotation marks around them.
    text: String,
    /// The end of each cell in `text`, in bytes.
    ends: Vec<usize>,
}

impl Cells {
    /// How many cells there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, place: usize) -> Option<&str> {
        let end = *self.ends.get(place)?;
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        self.text.get(start..end)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        (0..self.len()).filter_map(|place| self.get(place))
    }
}

/// Reads the rows of a table.
pub(super) struct CellReader<R> {
    inner: R,
    separator: u8,
    /// The line of the next byte, from 1.
    line: usize,
    /// Whether the last byte was `\r`. It ends a line, as in files of old Macs, and a `\n` after it ends no other.
    after_return: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CellState {
    /// At the start of a cell.
    Start,
    /// In a cell without quotation marks around it; marks inside are ordinary letters.
    Unquoted,
    /// In a cell in quotation marks.
    Quoted,
    /// After a quotation mark inside such a cell. It ends the cell, or is the first of a doubled mark.
    Mark,
    /// After a mark that is wrong. Nobody knows which of the next marks belong together, so the rest of the line is
    /// passed over.
    Lost,
}

/// A row that is being read.
struct PartialRow {
    state: CellState,
    /// The cells up to now, as long as there is no fault.
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Bytes of the row up to now.
    length: u64,
    /// The first fault.
    fault: Option<String>,
}

impl<R: BufRead> CellReader<R> {
    /// A reader of what follows the first `lines_above` lines of a file.
    pub(super) fn new(inner: R, separator: u8, lines_above: usize) -> Self {
        Self { inner, separator, line: lines_above + 1, after_return: false }
    }

    /// The line in which the next row starts, from 1, if another row follows.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The next row into `cells`; `false` at the end of the file. An empty line is a row with an empty cell.
    ///
    /// # Errors
    /// [`ReadError::Row`] for a row that cannot be read; the next call reads the row after it. [`ReadError::Unread`]
    /// if no quotation mark ends a cell; then the file is at its end. Otherwise why the file cannot be read.
    pub(super) fn read(&mut self, cells: &mut Cells) -> Result<bool, ReadError> {
        let mut text = std::mem::take(&mut cells.text).into_bytes();
        let mut ends = std::mem::take(&mut cells.ends);
        text.clear();
        ends.clear();
        let first_line = self.line;
        let mut row = PartialRow { state: CellState::Start, text, ends, length: 0, fault: None };
        loop {
            let buffer = match self.inner.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) => match ReadError::from(error) {
                    // Bytes that are not text. The marks around them still tell where the row ends.
                    ReadError::Row(reason) => {
                        row.fail(reason);
                        continue;
                    }
                    other => return Err(other),
                },
            };
            if buffer.is_empty() {
                return self.at_end(row, first_line, cells);
            }
            let mut used = 0;
            let mut is_whole = false;
            for &byte in buffer {
                used += 1;
                let is_second_of_two = byte == b'\n' && self.after_return;
                self.after_return = byte == b'\r';
                self.line += usize::from(matches!(byte, b'\r' | b'\n') && !is_second_of_two);
                // The row before ended with the `\r`.
                if is_second_of_two && row.length == 0 {
                    continue;
                }
                is_whole = row.take(byte, self.separator);
                if is_whole {
                    break;
                }
            }
            self.inner.consume(used);
            if is_whole {
                return row.finish(cells);
            }
        }
    }

    /// The last row, which no line end follows; `false` if there is none.
    fn at_end(&self, mut row: PartialRow, first_line: usize, cells: &mut Cells) -> Result<bool, ReadError> {
        match row.state {
            CellState::Quoted => Err(ReadError::Unread(format!(
                "a cell of this row starts with a quotation mark, and no mark ends it, so everything from \
                 line {first_line} to the end of the file is in that cell, and no row of it was read; end \
                 the cell, and inside a cell in quotation marks, double each mark"
            ))),
            _ if row.length == 0 && row.fault.is_none() => Ok(false),
            _ => {
                row.end_cell();
                row.finish(cells)
            }
        }
    }
}

impl PartialRow {
    /// Notes a fault, if it is the row's first.
    fn fail(&mut self, reason: String) {
        self.fault.get_or_insert(reason);
    }

    /// Follows one byte, and returns whether it ends the row.
    fn take(&mut self, byte: u8, separator: u8) -> bool {
        self.length += 1;
        if self.length > LONGEST_ROW {
            self.fail(format!("the row is longer than {} MiB", LONGEST_ROW >> 20));
        }
        let ends_line = matches!(byte, b'\n' | b'\r');
        let (state, is_content) = match (self.state, byte) {
            (CellState::Quoted, b'"') => (CellState::Mark, false),
            (CellState::Quoted, _) => (CellState::Quoted, true),
            (CellState::Start, b'"') => (CellState::Quoted, false),
            // The second of a doubled mark.
            (CellState::Mark, b'"') => (CellState::Quoted, true),
            (_, _) if ends_line => (CellState::Start, false),
            (CellState::Lost, _) => (CellState::Lost, false),
            (_, other) if other == separator => (CellState::Start, false),
            (CellState::Mark, _) => {
                self.fail(AFTER.to_owned());
                (CellState::Lost, false)
            }
            _ => (CellState::Unquoted, true),
        };
        self.state = state;
        // A row with a fault may be of any length, and is not kept.
        if self.fault.is_none() {
            match (is_content, state) {
                (true, _) => self.text.push(byte),
                (false, CellState::Start) => self.end_cell(),
                _ => {}
            }
        }
        ends_line && state == CellState::Start
    }

    fn end_cell(&mut self) {
        self.ends.push(self.text.len());
    }

    /// The whole row.
    fn finish(self, cells: &mut Cells) -> Result<bool, ReadError> {
        if let Some(fault) = self.fault {
            return Err(ReadError::Row(fault));
        }
        cells.text = String::from_utf8(self.text)
            .map_err(|_| ReadError::Row("it cannot be read as text".to_owned()))?;
        cells.ends = self.ends;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use csv::ReaderBuilder;

    use super::*;

    /// All rows of a table, each as its cells; or `None` if a row has a fault. `capacity` is how many bytes are read at
    /// a time.
    fn rows(table: &[u8], capacity: usize) -> Option<Vec<Vec<String>>> {
        let mut reader = CellReader::new(BufReader::with_capacity(capacity, table), b',', 0);
        let mut cells = Cells::default();
        let mut rows = Vec::new();
        while reader.read(&mut cells).ok()? {
            rows.push(cells.iter().map(str::to_owned).collect());
        }
        Some(rows)
    }

    /// The same by the library, which accepts wrong quotation marks and has no rows for empty lines.
    fn by_library(table: &[u8]) -> Vec<Vec<String>> {
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(table);
        let records = reader.records().map(|record| record.expect("its text is UTF-8"));
        records.map(|record| record.iter().map(str::to_owned).collect()).collect()
    }

    /// A number of a sequence that is the same in each run.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    #[test]
    fn rows_without_a_fault_are_those_of_the_csv_library() {
        let letters = ["a", ",", "\"", "\"\"", "\n", "\r\n", "\r", "é", " ", "\",\"", "b\n"];
        let (mut state, mut sound) = (1, 0);
        for _ in 0..20_000 {
            let length = next(&mut state) % 14;
            let table: String = (0..length).map(|_| letters[next(&mut state) % letters.len()]).collect();
            let Some(mut rows) = rows(table.as_bytes(), 1 + next(&mut state) % 5) else { continue };
            let is_empty_line = |row: &Vec<String>| row.len() == 1 && row[0].is_empty();
            let mut expected = by_library(table.as_bytes());
            rows.retain(|row| !is_empty_line(row));
            expected.retain(|row| !is_empty_line(row));
            assert_eq!(rows, expected, "{table:?}");
            sound += 1;
        }
        assert!(sound > 5_000, "{sound} tables without a fault");
    }

    #[test]
    fn lines_are_counted_whatever_ends_them() {
        for end in ["\n", "\r\n", "\r"] {
            let table = format!("a{end}{end}\"b{end}c\",d{end}e");
            for capacity in 1..6 {
                let mut reader =
                    CellReader::new(BufReader::with_capacity(capacity, table.as_bytes()), b',', 4);
                let mut cells = Cells::default();
                let mut lines = Vec::new();
                loop {
                    let line = reader.line();
                    match reader.read(&mut cells) {
                        Ok(true) => lines.push((line, cells.len())),
                        Ok(false) => break,
                        Err(_) => panic!("the table is sound"),
                    }
                }
                assert_eq!(lines, [(5, 1), (6, 1), (7, 2), (9, 1)], "{end:?}");
            }
        }
    }
}
