//! Parquet, of which one page of each column that is read is in memory at a time.

mod bare;
mod bounded;
mod schema;
mod values;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Row as Record;
use parquet::record::reader::RowIter;

use self::bare::BareFile;
use self::bounded::BoundedFile;
use self::schema::WantedColumns;
use super::fault::ReadError;
use super::row::Row;
use super::{Columns, ReadSoFar, RowPlace, Source};
use crate::files::hidden_panics::hide_panics;

/// Rows whose columns are decoded together. Few, because their texts are in memory at the same time.
const BATCH: usize = 64;
const NO_FOOTER: &str = "its footer is missing or incomplete";
const CORRUPT: &str = "its Parquet data is corrupt";

pub(super) struct ParquetRows {
    /// `None` after the library has failed or panicked, because its state is then unknown.
    rows: Option<RowIter<'static>>,
    wanted: WantedColumns,
    /// Rows that were read, the last one included if it failed.
    done: u64,
    /// Rows of the file, as its footer has it.
    total: u64,
}

/// Opens a file, of which the columns of these names are read.
pub(super) fn open(mut file: File, columns: Columns) -> Result<ParquetRows, ReadError> {
    if ends_encrypted(&mut file)? {
        return Err(ReadError::Kind("is an encrypted Parquet file; decrypt it".to_owned()));
    }
    let reader = catch(NO_FOOTER, || SerializedFileReader::new(BoundedFile(file)))?;
    let metadata = reader.metadata();
    // A damaged footer may have a negative number.
    let total = metadata.file_metadata().num_rows().max(0) as u64;
    if let Some(codec) = unread_codec(metadata, &columns) {
        return Err(ReadError::Kind(format!(
            "is a Parquet file compressed with {codec}; write it again with zstd, snappy, gzip, brotli or \
             lz4, or uncompressed"
        )));
    }
    let (wanted, schema) =
        WantedColumns::in_schema(metadata.file_metadata().schema(), columns).map_err(ReadError::Columns)?;
    let rows = catch(CORRUPT, || {
        let file = BareFile::new(reader)?;
        RowIter::from_file_into(Box::new(file)).project(Some(schema))
    })?;
    Ok(ParquetRows { rows: Some(rows.with_batch_size(BATCH)), wanted, done: 0, total })
}

/// Whether a file ends as one with an encrypted footer does. Leaves the file at its start.
fn ends_encrypted(file: &mut File) -> std::io::Result<bool> {
    let mut end = [0; 4];
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(4)))?;
    let read = file.read(&mut end)?;
    file.rewind()?;
    Ok(end[..read] == *b"PARE")
}

/// The name of a compression that is not supported, if a column that is read has it.
fn unread_codec(metadata: &ParquetMetaData, columns: &[String]) -> Option<&'static str> {
    for chunk in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        // The first part of a path is the column; the others are within a list or struct.
        let is_read = chunk.column_path().parts().first().is_some_and(|name| columns.contains(name));
        if is_read && chunk.compression() == Compression::LZO {
            return Some("LZO");
        }
    }
    None
}

impl Source for ParquetRows {
    fn next(&mut self) -> Option<Result<Row, ReadError>> {
        let mut rows = self.rows.take()?;
        // The library's reader goes into the call and comes back only if it is still sound.
        let record =
            catch(CORRUPT, || Ok::<(Option<Record>, _), ParquetError>((rows.next().transpose()?, rows)));
        // Also for a row that fails, because its number is the failing place.
        self.done += 1;
        match record {
            Ok((record, rows)) => {
                self.rows = Some(rows);
                record.map(|record| Ok(self.wanted.row(&record)))
            }
            Err(broken) => Some(Err(broken)),
        }
    }

    fn place(&self) -> RowPlace {
        RowPlace::Row(self.done as usize)
    }

    fn so_far(&self) -> ReadSoFar {
        ReadSoFar { done: self.done.min(self.total), total: self.total }
    }
}

/// Calls the library, which panics on some damaged files. Its messages may quote values, so `damaged` is reported
/// instead.
///
/// # Errors
/// [`ReadError::Damaged`], [`ReadError::Kind`] for features that the library lacks, or [`ReadError::File`] for errors
/// of the operating system.
fn catch<T>(damaged: &str, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ReadError> {
    let damaged = ReadError::Damaged(damaged.to_owned());
    match hide_panics(read) {
        Some(Ok(read)) => Ok(read),
        Some(Err(ParquetError::NYI(_))) => Err(ReadError::Kind(
            "uses a feature of Parquet that is not supported; save it as JSON Lines".to_owned(),
        )),
        Some(Err(ParquetError::External(error))) => match error.downcast::<std::io::Error>() {
            Ok(error) if error.raw_os_error().is_some() => Err(ReadError::File(*error)),
            _ => Err(damaged),
        },
        Some(Err(_)) | None => Err(damaged),
    }
}
