//! Which rows make one record, the unit that privacy of unit `record` protects: each row alone, or all rows with the
//! same value in a column, such as all notes of a patient.

use std::collections::BTreeMap;

use super::row::Row;

/// Numbers the records of a file, from 0 in the order in which they first appear.
pub(super) struct Records {
    /// The column that says which record a row belongs to (`--group-by`). Without one, each row is a record.
    column: Option<String>,
    /// The number of each value of the column. Values identify patients, so they appear in no message, file or event.
    numbers: BTreeMap<String, usize>,
    /// Rows that were numbered without a column.
    rows: usize,
}

impl Records {
    pub(super) fn new(column: Option<String>) -> Self {
        Self { column, numbers: BTreeMap::new(), rows: 0 }
    }

    /// The number of the next row's record.
    ///
    /// # Errors
    /// If the row has no value in the column. It may be any patient's, and a record of its own would give that
    /// patient two records, so that the promised ε would not hold for them.
    pub(super) fn number(&mut self, row: &Row) -> Result<usize, String> {
        let Some(column) = &self.column else {
            self.rows += 1;
            return Ok(self.rows - 1);
        };
        let value = match row.name(column)? {
            Some(value) if !value.is_empty() => value,
            _ => {
                return Err(format!(
                    "“{column}” is missing or empty; it groups rows into records, so each row needs a value in it: correct \
                     the row or leave it out"
                ));
            }
        };
        let next = self.numbers.len();
        Ok(*self.numbers.entry(value).or_insert(next))
    }
}
