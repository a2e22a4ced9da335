//! Which columns of a Parquet file are read, and which of them cannot be.

use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::record::Row as Record;
use parquet::schema::types::Type;
use serde_json::Map;

use super::super::Columns;
use super::super::row::Row;
use super::values::value;

const BYTES: &str = "holds bytes that are not marked as text; write the column as text (STRING, UTF8)";

/// The columns of a file that are read.
pub(super) struct WantedColumns {
    columns: Columns,
    /// Those that are in the file but cannot be read, each with the reason. It is reported only by a row that needs
    /// the column.
    unreadable: Vec<(String, String)>,
}

impl WantedColumns {
    /// Those of the columns that a schema has, and the part of the schema that is read.
    ///
    /// # Errors
    /// If the file has none of the columns, or none that can be read.
    pub(super) fn in_schema(schema: &Type, columns: Columns) -> Result<(Self, Type), String> {
        let (mut fields, mut unreadable) = (Vec::new(), Vec::new());
        for name in columns.iter() {
            for field in schema.get_fields().iter().filter(|field| field.name() == name) {
                match holds_bytes(field) {
                    true => unreadable.push((name.clone(), BYTES.to_owned())),
                    false => fields.push(field.clone()),
                }
            }
        }
        if fields.is_empty() && unreadable.is_empty() {
            let names: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
            return Err(format!(
                "it has none of the columns that are read ({}); its columns are {}; rename those that hold the notes",
                columns.join(", "),
                names.join(", ")
            ));
        }
        // No row could be used then, so the file is rejected before its first row.
        if fields.is_empty() {
            let (name, reason) = &unreadable[0];
            return Err(format!("its column “{name}” {reason}"));
        }
        let group = Type::group_type_builder(schema.name()).with_fields(fields);
        let schema = group.build().map_err(|_| "its columns cannot be read together".to_owned())?;
        Ok((Self { columns, unreadable }, schema))
    }

    /// A row from the library's record. A value that is neither null, text, a number, a list nor an object makes its
    /// field unreadable.
    pub(super) fn row(&self, record: &Record) -> Row {
        let (mut fields, mut failed) = (Map::new(), Vec::new());
        for (name, field) in record.get_column_iter() {
            match value(field) {
                Ok(value) => drop(fields.insert(name.clone(), value)),
                Err(unfit) => failed.push((name, unfit)),
            }
        }
        let mut row = Row::typed(fields);
        for (name, reason) in &self.unreadable {
            row.set_unreadable(name, reason.clone());
        }
        for (name, unfit) in failed {
            if self.columns.contains(name) {
                row.set_unreadable(name, unfit.to_string());
            }
        }
        row
    }
}

/// Whether a column, or a part of its lists and structs, holds bytes that are not marked as text. Such bytes could be
/// anything, a picture or text in an unknown encoding, so they are never guessed to be text.
fn holds_bytes(field: &Type) -> bool {
    if field.is_group() {
        return field.get_fields().iter().any(|field| holds_bytes(field));
    }
    let info = field.get_basic_info();
    let is_number = info.converted_type() == ConvertedType::DECIMAL
        || matches!(info.logical_type_ref(), Some(LogicalType::Decimal { .. } | LogicalType::Float16));
    match field.get_physical_type() {
        PhysicalType::BYTE_ARRAY => !is_text(field) && !is_number,
        PhysicalType::FIXED_LEN_BYTE_ARRAY => !is_number,
        _ => false,
    }
}

/// Whether a column is marked as text.
pub(super) fn is_text(field: &Type) -> bool {
    let info = field.get_basic_info();
    matches!(info.logical_type_ref(), Some(LogicalType::String | LogicalType::Json | LogicalType::Enum))
        || matches!(info.converted_type(), ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM)
}
