//! Which rows make one record, the unit that privacy of unit `record` protects: each row alone, or all rows with the same value
//! in a column, such as all notes of a patient.

use std::collections::BTreeMap;

use super::row::Row;

/// Numbers the records of a file, from 0 in the order in which they first appear.
pub(super) struct Records {
    /// The column that says which record a row is a part of; without one, each row is a record.
    column: Option<String>,
    /// The number of each value. Values identify patients, so they are never printed.
    numbers: BTreeMap<String, usize>,
    rows: usize,
}

impl Records {
    pub(super) fn new(column: Option<String>) -> Self {
        Self { column, numbers: BTreeMap::new(), rows: 0 }
    }

    /// The number of the next row's record. A row that does not say whose it is may be anybody's, so it is refused.
    pub(super) fn number(&mut self, row: &Row) -> Result<usize, String> {
        let Some(column) = &self.column else {
            self.rows += 1;
            return Ok(self.rows - 1);
        };
        let missing = || {
            format!(
                "“{column}” is missing or empty; it groups rows into records, so each row needs a value in it: correct the row or \
                 leave it out"
            )
        };
        let value = row.name(column)?.filter(|value| !value.is_empty()).ok_or_else(missing)?;
        let next = self.numbers.len();
        Ok(*self.numbers.entry(value).or_insert(next))
    }
}
