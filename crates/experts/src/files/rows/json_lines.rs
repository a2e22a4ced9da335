//! JSON Lines: one object on each line. Lines end at `\n` only, because JSON texts may contain other line separators,
//! such as U+2028. Blank lines are skipped.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::fault::ReadError;
use super::row::{Row, kind_of};
use super::stream::{ReadProgress, Stream};
use super::{Columns, LONGEST_ROW, ReadSoFar, RowPlace, Source};

/// The byte-order mark. The one at a file's start is removed before; others are at the start of later lines, in files
/// that were concatenated from several.
const MARK: &[u8] = "\u{feff}".as_bytes();

pub(super) struct JsonLines {
    reader: Box<dyn BufRead>,
    columns: Columns,
    /// The last line; its memory is reused for the next one.
    line: Vec<u8>,
    /// The last line's number, from 1.
    number: usize,
    progress: ReadProgress,
}

impl JsonLines {
    pub(super) fn new(stream: Stream, columns: Columns) -> Self {
        let (text, progress) = stream.into_parts();
        Self { reader: Box::new(BufReader::new(text)), columns, line: Vec::new(), number: 0, progress }
    }
}

impl JsonLines {
    /// Passes over the rest of a line that cannot be a row, so that the next row is that of the next line. Further
    /// bytes in it that are not text were reported with the line. Other errors are left to the next read.
    fn skip_line(&mut self) {
        loop {
            self.line.clear();
            match self.reader.by_ref().take(LONGEST_ROW).read_until(b'\n', &mut self.line) {
                Ok(0) => return,
                Ok(_) if self.line.ends_with(b"\n") => return,
                Ok(_) => {}
                Err(error) => match ReadError::from(error) {
                    ReadError::Row(_) => {}
                    _ => return,
                },
            }
        }
    }
}

impl Source for JsonLines {
    fn next(&mut self) -> Option<Result<Row, ReadError>> {
        loop {
            self.line.clear();
            self.number += 1;
            // One byte more than a row may have is enough to know that it is too long.
            match self.reader.by_ref().take(LONGEST_ROW + 1).read_until(b'\n', &mut self.line) {
                Ok(0) => return None,
                Ok(length) if length as u64 > LONGEST_ROW => {
                    let reason = format!(
                        "the line is longer than {} MiB, the most that a row may have",
                        LONGEST_ROW >> 20
                    );
                    if !self.line.ends_with(b"\n") {
                        self.skip_line();
                    }
                    return Some(Err(ReadError::Row(reason)));
                }
                Ok(_) => {}
                Err(error) => {
                    let error = ReadError::from(error);
                    if matches!(error, ReadError::Row(_)) {
                        self.skip_line();
                    }
                    return Some(Err(error));
                }
            }
            let line = self.line.strip_prefix(MARK).unwrap_or(&self.line).trim_ascii();
            if !line.is_empty() {
                return Some(parse(line, &self.columns).map_err(ReadError::Row));
            }
        }
    }

    fn place(&self) -> RowPlace {
        RowPlace::Line(self.number)
    }

    fn so_far(&self) -> ReadSoFar {
        self.progress.so_far()
    }
}

/// A line as a row.
///
/// # Errors
/// Why it is not a JSON object, as [`reason`] says it.
fn parse(line: &[u8], columns: &[String]) -> Result<Row, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let fields = Fields(columns).deserialize(&mut deserializer);
    match fields.and_then(|fields| deserializer.end().map(|()| fields)) {
        Ok(fields) => Ok(Row::typed(fields)),
        Err(error) => Err(reason(line, &error)),
    }
}

/// Why a line is not a JSON object, and what to do. Of the library's messages only those on syntax are passed on,
/// which are fixed texts; those on values quote the value.
fn reason(line: &[u8], error: &serde_json::Error) -> String {
    let at = error.column();
    if error.is_data() {
        let value = serde_json::from_slice::<Value>(line);
        let kind = value.as_ref().map_or("something else", kind_of);
        return format!("each line must be a JSON object, not {kind}");
    }
    if error.is_eof() {
        return format!(
            "the JSON object does not end on its line (after {at} bytes); each object must be on one line, as `jq -c .` \
             writes it"
        );
    }
    // The two commonest faults: Python's `json` writes NaN, and `str` of a dictionary has single quotation marks.
    if let Some(word) = ["NaN", "Infinity"].into_iter().find(|word| is_near(line, at, word)) {
        return format!("{word} at byte {at} is not valid JSON; write null where a value is missing");
    }
    if line.get(at.saturating_sub(1)) == Some(&b'\'') {
        return format!("invalid JSON at byte {at}: names and texts must be in double quotation marks");
    }
    let message = error.to_string();
    // The library's line number counts from this line's start, so it is always 1.
    let syntax = message.split(" at line ").next().unwrap_or_default();
    format!("invalid JSON at byte {at}: {syntax}")
}

/// Whether a word starts at byte `at` of a line, counted from 1, or at the byte before, which is the one that the
/// library reports for some faults.
fn is_near(line: &[u8], at: usize, word: &str) -> bool {
    let rest = line.get(at.saturating_sub(2)..).unwrap_or_default();
    rest.starts_with(word.as_bytes()) || rest.get(1..).is_some_and(|rest| rest.starts_with(word.as_bytes()))
}

/// Reads those fields of an object that have these names. Others are skipped, however deep they are nested: the
/// library skips values without recursion, so its limit on depth does not hold for them. If a name comes twice, the
/// last value counts, as in Python.
struct Fields<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            match self.0.contains(&name) {
                true => drop(fields.insert(name, entries.next_value()?)),
                false => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(fields)
    }
}
