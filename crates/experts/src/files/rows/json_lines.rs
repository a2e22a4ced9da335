//! JSON Lines: an object a line, lines ending at `\n` only. Blank lines are skipped.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::fault::Broken;
use super::row::{Row, kind_of};
use super::stream::{Progress, Stream};
use super::{Columns, LONGEST_ROW, ReadSoFar, RowPlace, Source};

/// The byte-order mark, which stays within files that were put together from several.
const MARK: &[u8] = "\u{feff}".as_bytes();

pub(super) struct JsonLines {
    reader: Box<dyn BufRead>,
    columns: Columns,
    line: Vec<u8>,
    number: usize,
    progress: Progress,
}

impl JsonLines {
    pub(super) fn new(stream: Stream, columns: Columns) -> Self {
        let (text, progress) = stream.into_parts();
        Self { reader: Box::new(BufReader::new(text)), columns, line: Vec::new(), number: 0, progress }
    }
}

impl Source for JsonLines {
    fn next(&mut self) -> Option<Result<Row, Broken>> {
        loop {
            self.line.clear();
            self.number += 1;
            match self.reader.by_ref().take(LONGEST_ROW + 1).read_until(b'\n', &mut self.line) {
                Ok(0) => return None,
                Ok(length) if length as u64 > LONGEST_ROW => {
                    let reason = format!("the line is longer than {} MiB", LONGEST_ROW >> 20);
                    return Some(Err(Broken::Row(reason)));
                }
                Ok(_) => {}
                Err(error) => return Some(Err(error.into())),
            }
            let line = self.line.strip_prefix(MARK).unwrap_or(&self.line).trim_ascii();
            if !line.is_empty() {
                return Some(parse(line, &self.columns).map_err(Broken::Row));
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
fn parse(line: &[u8], columns: &[String]) -> Result<Row, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let fields = Fields(columns).deserialize(&mut deserializer);
    match fields.and_then(|fields| deserializer.end().map(|()| fields)) {
        Ok(fields) => Ok(Row::typed(fields)),
        Err(error) => Err(reason(line, &error)),
    }
}

/// Why a line is no JSON object. Only the library's words on syntax are passed on, which are the same for every line; those on
/// values quote them.
fn reason(line: &[u8], error: &serde_json::Error) -> String {
    let at = error.column();
    if error.is_data() {
        let value = serde_json::from_slice::<Value>(line);
        let kind = value.as_ref().map_or("something else", kind_of);
        return format!("each line must be a JSON object, and this is {kind}");
    }
    if error.is_eof() {
        return format!(
            "the JSON object does not end on its line (after {at} bytes); each object must be on one line, as `jq -c .` \
             writes it"
        );
    }
    let rest = line.get(at.saturating_sub(2)..).unwrap_or_default();
    let near = |word: &str| {
        rest[..rest.len().min(word.len() + 1)].windows(word.len()).any(|window| window == word.as_bytes())
    };
    if let Some(word) = ["NaN", "Infinity"].into_iter().find(|word| near(word)) {
        return format!("{word} at byte {at} is no JSON; write null where a value is missing");
    }
    if line.get(at.saturating_sub(1)) == Some(&b'\'') {
        return format!("no JSON at byte {at}: names and texts must be in double quotation marks");
    }
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    format!("no JSON at byte {at}: {words}")
}

/// Reads those fields of an object that have these names; others are only passed over, however deep they are. Of a name that
/// comes twice, the last counts, as in Python.
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
