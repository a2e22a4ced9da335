//! Parquet, a page of each wanted column at a time.

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
use self::schema::Wanted;
use super::fault::Broken;
use super::row::Row;
use super::{Columns, ReadSoFar, RowPlace, Source};
use crate::files::quiet::quietly;

/// Rows whose columns are decoded together.
const BATCH: usize = 64;
const CUT: &str = "it has no whole footer";
const WRONG: &str = "its Parquet data is wrong";

pub(super) struct ParquetRows {
    /// Nothing after the library has panicked.
    rows: Option<RowIter<'static>>,
    wanted: Wanted,
    done: u64,
    total: u64,
}

/// Opens a file, for the columns of these names.
pub(super) fn open(mut file: File, columns: Columns) -> Result<ParquetRows, Broken> {
    if ends_encrypted(&mut file)? {
        return Err(Broken::Kind("is an encrypted Parquet file; decrypt it".to_owned()));
    }
    let reader = caught(CUT, || SerializedFileReader::new(BoundedFile(file)))?;
    let metadata = reader.metadata();
    let total = metadata.file_metadata().num_rows().max(0) as u64;
    if let Some(codec) = unread_codec(metadata, &columns) {
        return Err(Broken::Kind(format!(
            "is a Parquet file that is compressed with {codec}; write it with zstd, snappy, gzip, brotli, lz4, or uncompressed"
        )));
    }
    let (wanted, schema) =
        Wanted::find(metadata.file_metadata().schema(), columns).map_err(Broken::Columns)?;
    let rows = caught(WRONG, || {
        let file = BareFile::new(reader)?;
        RowIter::from_file_into(Box::new(file)).project(Some(schema))
    })?;
    Ok(ParquetRows { rows: Some(rows.with_batch_size(BATCH)), wanted, done: 0, total })
}

fn ends_encrypted(file: &mut File) -> std::io::Result<bool> {
    let mut end = [0; 4];
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(4)))?;
    let read = file.read(&mut end)?;
    file.rewind()?;
    Ok(end[..read] == *b"PARE")
}

/// A compression that is not read, of a wanted column.
fn unread_codec(metadata: &ParquetMetaData, columns: &[String]) -> Option<&'static str> {
    let is_wanted = |name: &String| columns.contains(name);
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
    let wanted = chunks.filter(|chunk| chunk.column_path().parts().first().is_some_and(is_wanted));
    wanted.map(|chunk| chunk.compression()).find_map(|codec| match codec {
        Compression::LZO => Some("LZO"),
        _ => None,
    })
}

impl Source for ParquetRows {
    fn next(&mut self) -> Option<Result<Row, Broken>> {
        let mut rows = self.rows.take()?;
        let record =
            caught(WRONG, || Ok::<(Option<Record>, _), ParquetError>((rows.next().transpose()?, rows)));
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

/// Runs the library, which panics on some damaged files. What it says may quote values, so it is not passed on.
fn caught<T>(reason: &str, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, Broken> {
    let damaged = || Err(Broken::Damaged(reason.to_owned()));
    match quietly(read) {
        Some(Ok(read)) => Ok(read),
        Some(Err(ParquetError::NYI(_))) => {
            Err(Broken::Kind("uses a part of Parquet that is not read; save it as JSON Lines".to_owned()))
        }
        Some(Err(ParquetError::External(error))) => match error.downcast::<std::io::Error>() {
            Ok(error) if error.raw_os_error().is_some() => Err(Broken::File(*error)),
            _ => damaged(),
        },
        Some(Err(_)) | None => damaged(),
    }
}
