//! A row, whatever format it is from: fields by name, each looked at only when it is needed.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};
use unicode_normalization::UnicodeNormalization;

/// The largest whole number up to which every whole number has a float of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A row of a file.
#[derive(Default)]
pub struct Row {
    values: Map<String, Value>,
    /// Why fields cannot be read.
    unreadable: BTreeMap<String, String>,
    /// Whether its values are cells of a table of text, which are all written as text.
    cells: bool,
}

impl Row {
    /// A row of typed values.
    pub(super) fn typed(values: Map<String, Value>) -> Self {
        Self { values, ..Self::default() }
    }

    /// A row of cells. An empty cell is a missing value.
    pub(super) fn of_cells<'a>(cells: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let filled = cells.filter(|(_, cell)| !cell.is_empty());
        let values = filled.map(|(name, cell)| (name.to_owned(), Value::String(cell.to_owned()))).collect();
        Self { values, cells: true, ..Self::default() }
    }

    /// Says of a field that it cannot be read; that is told where the field is needed.
    pub(super) fn set_unreadable(&mut self, name: &str, reason: String) {
        self.unreadable.insert(name.to_owned(), reason);
    }

    /// Whether a field is there and not null.
    pub fn has(&self, name: &str) -> bool {
        self.unreadable.contains_key(name) || self.values.get(name).is_some_and(|value| !value.is_null())
    }

    /// A field, if it is there and not null.
    ///
    /// # Errors
    /// Why it cannot be read, with its name.
    pub fn value(&self, name: &str) -> Result<Option<&Value>, String> {
        match self.unreadable.get(name) {
            Some(reason) => Err(format!("“{name}” {reason}")),
            None => Ok(self.values.get(name).filter(|value| !value.is_null())),
        }
    }

    /// A field of text, if it is there.
    ///
    /// # Errors
    /// Its name, and what kind of thing it is.
    pub fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("“{name}” must be text, not {}", kind_of(other))),
        }
    }

    /// A field that names something, such as a class or a patient, if it is there: a text, without the blanks around it and in
    /// Unicode's form NFC, or the digits of a whole number.
    ///
    /// # Errors
    /// Its name, and what kind of thing it is.
    pub fn name(&self, name: &str) -> Result<Option<String>, String> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(normal(text))),
            Some(Value::Number(number)) => whole(number).map(Some).ok_or_else(|| {
                format!("“{name}” must be a text or a whole number of at most 64 bits, not another number")
            }),
            Some(other) => Err(format!("“{name}” must be a text or a whole number, not {}", kind_of(other))),
        }
    }

    /// A field that is a list of texts, if it is there.
    ///
    /// # Errors
    /// Its name, and what kind of thing it or an entry is.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, String> {
        let Some(entries) = self.list(name)? else { return Ok(None) };
        let text = |(number, entry): (usize, &'_ Value)| match entry {
            Value::String(_) => Ok(()),
            other => Err(format!("entry {number} of “{name}” must be text, not {}", kind_of(other))),
        };
        (1..).zip(entries).try_for_each(text)?;
        Ok(Some(entries.iter().filter_map(Value::as_str).collect()))
    }

    /// A field that is a list, if it is there.
    ///
    /// # Errors
    /// Its name, and what kind of thing it is.
    pub fn list(&self, name: &str) -> Result<Option<&[Value]>, String> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::Array(entries)) => Ok(Some(entries)),
            Some(_) if self.cells => Err(format!(
                "“{name}” must be a list, which a table of text cannot hold; use JSON Lines or Parquet"
            )),
            Some(other) => Err(format!("“{name}” must be a list, not {}", kind_of(other))),
        }
    }

    /// A field that counts from 0, if it is there. In a table of text its cell is such a number.
    ///
    /// # Errors
    /// Its name, and what kind of thing it is.
    pub fn number(&self, name: &str) -> Result<Option<usize>, String> {
        let value = self.value(name)?;
        let number = match value {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_u64().and_then(|number| number.try_into().ok()),
            Some(Value::String(cell)) if self.cells => cell.trim().parse().ok(),
            Some(other) => return Err(format!("“{name}” must be a whole number, not {}", kind_of(other))),
        };
        number.map(Some).ok_or_else(|| format!("“{name}” must be a whole number from 0 on"))
    }
}

/// A name without the blanks around it, in Unicode's form NFC.
pub(crate) fn normal(name: &str) -> String {
    name.trim().nfc().collect()
}

/// A whole number's digits: pandas writes whole numbers as floats where one of a column is missing.
fn whole(number: &Number) -> Option<String> {
    match number.as_f64() {
        Some(float) if number.is_f64() => {
            (float.fract() == 0.0 && float.abs() <= EXACT).then(|| (float as i64).to_string())
        }
        _ => Some(number.to_string()),
    }
}

/// The kind of a value, for messages, which never have the value.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
