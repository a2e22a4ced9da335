//! A row, whatever format it comes from: fields by name.
//!
//! A field is checked only when it is asked for, so that a broken field that the task does not need rejects no row.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};
use unicode_normalization::UnicodeNormalization;

/// 2⁵³: up to it, each whole number is a float exactly. Beyond it, a float may stand for several whole numbers, so it
/// is not a name.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A row of a file.
#[derive(Default)]
pub struct Row {
    values: Map<String, Value>,
    /// Fields that cannot be read, each with the reason, which continues a sentence that starts with the field's
    /// name.
    unreadable: BTreeMap<String, String>,
    /// Whether the values are cells of a CSV or TSV table, where numbers too are text.
    cells: bool,
}

impl Row {
    /// A row of typed values.
    pub(crate) fn typed(values: Map<String, Value>) -> Self {
        Self { values, ..Self::default() }
    }

    /// A row of a table's cells, each with its column's name. An empty cell counts as a missing value.
    pub(super) fn from_cells<'a>(cells: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let filled = cells.filter(|(_, cell)| !cell.is_empty());
        let values = filled.map(|(name, cell)| (name.to_owned(), Value::String(cell.to_owned()))).collect();
        Self { values, cells: true, ..Self::default() }
    }

    /// Marks a field as unreadable. Asking for the field then fails with the reason.
    pub(super) fn set_unreadable(&mut self, name: &str, reason: String) {
        self.unreadable.insert(name.to_owned(), reason);
    }

    /// All fields, for a copy of the row.
    ///
    /// # Errors
    /// The name of a field that cannot be read, and why: a copy without it would be another row.
    pub(crate) fn fields(&self) -> Result<Map<String, Value>, String> {
        match self.unreadable.first_key_value() {
            Some((name, reason)) => Err(format!("“{name}” {reason}")),
            None => Ok(self.values.clone()),
        }
    }

    /// Whether a field is present and not null. An unreadable field is present, so that its reason is reported
    /// instead of another field's value being used.
    pub fn has(&self, name: &str) -> bool {
        self.unreadable.contains_key(name) || self.values.get(name).is_some_and(|value| !value.is_null())
    }

    /// A field, if it is present and not null.
    ///
    /// # Errors
    /// The field's name, and why it cannot be read.
    pub fn value(&self, name: &str) -> Result<Option<&Value>, String> {
        match self.unreadable.get(name) {
            Some(reason) => Err(format!("“{name}” {reason}")),
            None => Ok(self.values.get(name).filter(|value| !value.is_null())),
        }
    }

    /// A field of text, if it is present.
    ///
    /// # Errors
    /// The field's name, and the kind of value that it is.
    pub fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("“{name}” must be text, not {}", kind_of(other))),
        }
    }

    /// A field that names something, such as a class or a patient, if it is present: a text, without the blanks
    /// around it and in Unicode's form NFC, or the digits of a whole number.
    ///
    /// # Errors
    /// The field's name, and the kind of value that it is.
    pub fn name(&self, name: &str) -> Result<Option<String>, String> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(normal(text))),
            Some(Value::Number(number)) => whole(number).map(Some).ok_or_else(|| {
                format!("“{name}” must be text or a whole number of at most 64 bits, not another number")
            }),
            Some(other) => Err(format!("“{name}” must be text or a whole number, not {}", kind_of(other))),
        }
    }

    /// A field that is a list of texts, if it is present.
    ///
    /// # Errors
    /// The field's name, and the kind of value that it or an entry is.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, String> {
        let Some(entries) = self.list(name)? else { return Ok(None) };
        let mut texts = Vec::with_capacity(entries.len());
        for (number, entry) in (1..).zip(entries) {
            match entry {
                Value::String(text) => texts.push(text.as_str()),
                other => {
                    return Err(format!("entry {number} of “{name}” must be text, not {}", kind_of(other)));
                }
            }
        }
        Ok(Some(texts))
    }

    /// A field that is a list, if it is present.
    ///
    /// # Errors
    /// The field's name, and the kind of value that it is.
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

    /// A field that is a whole number of at least 0, if it is present. In a table, a cell with its digits is one.
    ///
    /// # Errors
    /// The field's name, and the kind of value that it is.
    pub fn number(&self, name: &str) -> Result<Option<usize>, String> {
        let value = self.value(name)?;
        let number = match value {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_u64().and_then(|number| number.try_into().ok()),
            Some(Value::String(cell)) if self.cells => cell.trim().parse().ok(),
            Some(other) => return Err(format!("“{name}” must be a whole number, not {}", kind_of(other))),
        };
        number.map(Some).ok_or_else(|| format!("“{name}” must be a whole number of at least 0"))
    }
}

/// A name without the blanks around it, in Unicode's form NFC.
pub(crate) fn normal(name: &str) -> String {
    name.trim().nfc().collect()
}

/// A whole number's digits, or `None` if it is not whole. `7.0` counts as 7, because pandas writes a column of whole
/// numbers as floats if one of them is missing.
fn whole(number: &Number) -> Option<String> {
    match number.as_f64() {
        // Only floats: an integer of 64 bits has digits that a float would round.
        Some(float) if number.is_f64() => {
            (float.fract() == 0.0 && float.abs() <= EXACT).then(|| (float as i64).to_string())
        }
        _ => Some(number.to_string()),
    }
}

/// The kind of a value, for messages, which must not have the value.
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
