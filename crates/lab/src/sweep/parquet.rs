//! A table as a Parquet file, in one group of rows. Missing values are nulls, and an unbounded ε is infinite.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

use super::columns::{ColumnValues, TableColumn};
use crate::error::LabError;

/// Writes the table.
///
/// # Errors
/// A file that cannot be written.
pub(super) fn write(path: &Path, table: &[TableColumn]) -> Result<(), LabError> {
    let file = File::create(path).map_err(LabError::file(path))?;
    write_columns(file, table).map_err(|error| LabError::file(path)(io::Error::other(error)))
}

fn write_columns(file: File, table: &[TableColumn]) -> Result<(), ParquetError> {
    let fields: Vec<String> = table.iter().map(field).collect();
    let schema = Arc::new(parse_message_type(&format!("message sweep {{ {} }}", fields.join(" ")))?);
    let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
    let mut writer = SerializedFileWriter::new(file, schema, properties)?;
    let mut group = writer.next_row_group()?;
    for column in table {
        let sink = group.next_column()?;
        let mut sink = sink.ok_or_else(|| ParquetError::General(format!("no column {}", column.name)))?;
        write_values(&mut sink, &column.values)?;
        sink.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(())
}

/// A column's line of the schema.
fn field(column: &TableColumn) -> String {
    let name = column.name;
    match column.values {
        ColumnValues::Texts(_) => format!("required binary {name} (STRING);"),
        ColumnValues::Numbers(_) => format!("optional double {name};"),
        ColumnValues::Counts(_) => format!("optional int64 {name};"),
        ColumnValues::Flags(_) => format!("required boolean {name};"),
    }
}

fn write_values(sink: &mut SerializedColumnWriter<'_>, values: &ColumnValues) -> Result<(), ParquetError> {
    match values {
        ColumnValues::Texts(texts) => {
            let texts: Vec<ByteArray> = texts.iter().map(|text| ByteArray::from(text.as_str())).collect();
            sink.typed::<ByteArrayType>().write_batch(&texts, None, None)?;
        }
        ColumnValues::Numbers(numbers) => {
            let known: Vec<f64> = numbers.iter().flatten().copied().collect();
            sink.typed::<DoubleType>().write_batch(&known, Some(&levels(numbers)), None)?;
        }
        ColumnValues::Counts(counts) => {
            let known: Vec<i64> = counts.iter().flatten().copied().collect();
            sink.typed::<Int64Type>().write_batch(&known, Some(&levels(counts)), None)?;
        }
        ColumnValues::Flags(flags) => {
            sink.typed::<BoolType>().write_batch(flags, None, None)?;
        }
    }
    Ok(())
}

/// A definition level for each value: 1 for one that is there.
fn levels<T>(values: &[Option<T>]) -> Vec<i16> {
    values.iter().map(|value| i16::from(value.is_some())).collect()
}
