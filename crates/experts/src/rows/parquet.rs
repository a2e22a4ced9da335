//! Parquet, a page of each wanted column at a time.

use std::fs::File;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use serde_json::Value;

use super::{Broken, NotesError, ReadSoFar, Source};

/// Rows whose columns are decoded together.
const BATCH: usize = 64;

pub(super) struct ParquetRows {
    /// Nothing after the library has panicked.
    rows: Option<RowIter<'static>>,
    done: u64,
    total: u64,
}

/// Opens a file, for the columns of these names.
pub(super) fn open(file: File, path: &Path, columns: &[&str]) -> Result<ParquetRows, NotesError> {
    let failed = |source| NotesError::File { path: path.to_owned(), source };
    let reader = caught(|| SerializedFileReader::new(file)).map_err(failed)?;
    let file_metadata = reader.metadata().file_metadata();
    let total = file_metadata.num_rows().max(0) as u64;
    let wanted = wanted(file_metadata.schema(), columns)
        .map_err(|reason| NotesError::Columns { path: path.to_owned(), reason })?;
    let rows = caught(|| RowIter::from_file_into(Box::new(reader)).project(Some(wanted))).map_err(failed)?;
    Ok(ParquetRows { rows: Some(rows.with_batch_size(BATCH)), done: 0, total })
}

impl Source for ParquetRows {
    fn next(&mut self) -> Option<Result<Value, Broken>> {
        let mut rows = self.rows.take()?;
        let row = caught(|| Ok((rows.next().transpose()?.map(|row| row.to_json_value()), rows)));
        self.done += 1;
        match row {
            Ok((row, rows)) => {
                self.rows = Some(rows);
                row.map(Ok)
            }
            Err(error) => Some(Err(Broken::File(error))),
        }
    }

    fn so_far(&self) -> ReadSoFar {
        ReadSoFar { done: self.done, total: self.total }
    }
}

/// Runs the library, which panics on some damaged files.
fn caught<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> io::Result<T> {
    let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    match panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(damaged),
        Err(_) => Err(io::Error::other("it is damaged")),
    }
}

/// The part of a schema that is read. Bytes that are not marked as text are refused, as they could mean anything.
fn wanted(schema: &Type, columns: &[&str]) -> Result<Type, String> {
    let names = || schema.get_fields().iter().map(|field| field.name()).collect::<Vec<_>>().join(", ");
    let fields: Vec<_> =
        schema.get_fields().iter().filter(|field| columns.contains(&field.name())).cloned().collect();
    if fields.is_empty() {
        return Err(format!("it has none of the columns {}, but {}", columns.join(", "), names()));
    }
    if let Some(field) = fields.iter().find(|field| is_bytes(field)) {
        return Err(format!("its column {} holds bytes that are not marked as text", field.name()));
    }
    let group = Type::group_type_builder(schema.name()).with_fields(fields);
    group.build().map_err(|error| error.to_string())
}

fn is_bytes(field: &Type) -> bool {
    let info = field.get_basic_info();
    let text =
        matches!(info.logical_type_ref(), Some(LogicalType::String | LogicalType::Json | LogicalType::Enum))
            || matches!(
                info.converted_type(),
                ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM
            );
    field.is_primitive() && field.get_physical_type() == PhysicalType::BYTE_ARRAY && !text
}
