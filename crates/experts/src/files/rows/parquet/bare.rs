//! A Parquet file whose texts the library takes for plain bytes.
//!
//! The library quotes a text that is not UTF-8 in its error, and the error does not say which row and column it is
//! in. So the library is given a schema in which no column is marked as text, and [`super::values`] checks the texts.
//! The types here wrap the library's reader, from the file down to the pages, to put that schema in its place.

use std::sync::Arc;

use parquet::basic::Type as PhysicalType;
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};

use super::bounded::BoundedFile;
use super::schema::is_text;

/// A file with metadata in which no column is marked as text.
pub(super) struct BareFile {
    inner: SerializedFileReader<BoundedFile>,
    metadata: ParquetMetaData,
}

impl BareFile {
    pub(super) fn new(inner: SerializedFileReader<BoundedFile>) -> Result<Self> {
        let file = inner.metadata().file_metadata();
        let schema = Arc::new(SchemaDescriptor::new(bare(&file.schema_descr().root_schema_ptr())?));
        let groups = inner.metadata().row_groups().iter().map(|group| bare_group(group, &schema));
        let groups = groups.collect::<Result<Vec<_>>>()?;
        let file = FileMetaData::new(file.version(), file.num_rows(), None, None, schema, None);
        let metadata = ParquetMetaData::new(file, groups);
        Ok(Self { inner, metadata })
    }
}

/// The metadata of a group of rows, for the schema without texts. The library reads pages through the inner reader,
/// which has the places of the columns, so these need only their types.
fn bare_group(group: &RowGroupMetaData, schema: &SchemaDescPtr) -> Result<RowGroupMetaData> {
    let columns = schema.columns().iter().map(|column| ColumnChunkMetaData::builder(column.clone()).build());
    let columns = columns.collect::<Result<Vec<_>>>()?;
    RowGroupMetaData::builder(schema.clone())
        .set_num_rows(group.num_rows())
        .set_column_metadata(columns)
        .build()
}

/// A field, and those in it, with texts as plain bytes. All else that decides how values are read stays.
fn bare(field: &TypePtr) -> Result<TypePtr> {
    let info = field.get_basic_info();
    let id = info.has_id().then(|| info.id());
    if field.is_group() {
        let mut group = Type::group_type_builder(field.name())
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_fields(field.get_fields().iter().map(bare).collect::<Result<_>>()?)
            .with_id(id);
        // The root of a schema has none, and asking it for one panics.
        if info.has_repetition() {
            group = group.with_repetition(info.repetition());
        }
        return group.build().map(Arc::new);
    }
    match is_text(field) && field.get_physical_type() == PhysicalType::BYTE_ARRAY {
        false => Ok(field.clone()),
        true => Type::primitive_type_builder(field.name(), PhysicalType::BYTE_ARRAY)
            .with_repetition(info.repetition())
            .with_id(id)
            .build()
            .map(Arc::new),
    }
}

impl FileReader for BareFile {
    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }

    fn num_row_groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    fn get_row_group(&self, number: usize) -> Result<Box<dyn RowGroupReader + '_>> {
        let inner = self.inner.get_row_group(number)?;
        Ok(Box::new(BareGroup { inner, metadata: self.metadata.row_group(number) }))
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        // Not the inner reader's iterator, which would read by the schema with texts.
        RowIter::from_file(projection, self)
    }
}

/// A group of rows of a [`BareFile`].
struct BareGroup<'a> {
    inner: Box<dyn RowGroupReader + 'a>,
    metadata: &'a RowGroupMetaData,
}

impl RowGroupReader for BareGroup<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.metadata
    }

    fn num_columns(&self) -> usize {
        self.metadata.num_columns()
    }

    fn get_column_page_reader(&self, column: usize) -> Result<Box<dyn PageReader>> {
        Ok(Box::new(CheckedPages(self.inner.get_column_page_reader(column)?)))
    }

    fn get_column_bloom_filter(&self, column: usize) -> Option<&Sbbf> {
        self.inner.get_column_bloom_filter(column)
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        // As for a whole file: through this reader, so that its schema and its checks apply.
        RowIter::from_row_group(projection, self)
    }
}

/// The pages of a column, with one check. The library reserves memory for as many values as a dictionary claims: a
/// file of a few bytes made it ask for 12 GB. A dictionary that claims more values than it has bytes is damaged.
struct CheckedPages(Box<dyn PageReader>);

impl Iterator for CheckedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        match self.0.get_next_page()? {
            Some(Page::DictionaryPage { buf, num_values, .. }) if num_values as usize > buf.len() => {
                Err(ParquetError::General("a dictionary has fewer values than it claims".to_owned()))
            }
            page => Ok(page),
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.0.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.0.at_record_boundary()
    }
}
