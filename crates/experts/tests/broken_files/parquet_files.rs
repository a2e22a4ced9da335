//! Parquet: compressions, types that are not text, and damage.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use cloister_experts::files::notes::read_notes;
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::{pairs, rejected, write};

/// The values of a column. With levels of definition and repetition, it may have missing values and lists.
pub(super) struct Column {
    values: Values,
    levels: Option<(Vec<i16>, Vec<i16>)>,
}

enum Values {
    Bytes(Vec<Vec<u8>>),
    Fixed(Vec<Vec<u8>>),
    Whole(Vec<i64>),
    Small(Vec<i32>),
    Floats(Vec<f64>),
}

impl Column {
    /// Values of a column in which none is missing.
    fn required(values: Values) -> Self {
        Self { values, levels: None }
    }

    pub(super) fn texts(texts: &[&str]) -> Self {
        Self::required(Values::Bytes(texts.iter().map(|text| text.as_bytes().to_vec()).collect()))
    }

    pub(super) fn bytes(values: &[&[u8]]) -> Self {
        Self::required(Values::Bytes(values.iter().map(|value| value.to_vec()).collect()))
    }
}

/// Writes a file with one group of rows. `fields` is the schema, in the notation of the Parquet library.
pub(super) fn parquet(name: &str, fields: &str, compression: Compression, columns: Vec<Column>) -> PathBuf {
    let path = write(name, b"");
    let schema = parse_message_type(&format!("message notes {{ {fields} }}")).expect("a sound schema");
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let file = File::create(&path).expect("it can be written");
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), properties).expect("it can be written");
    let mut group = writer.next_row_group().expect("it can be written");
    for column in columns {
        let mut sink = group.next_column().expect("it can be written").expect("the schema has it");
        let levels = column.levels.as_ref();
        let (definition, repetition) = (
            levels.map(|(definition, _)| definition.as_slice()),
            levels.map(|(_, repetition)| repetition.as_slice()),
        );
        let bytes = |values: Vec<Vec<u8>>| values.into_iter().map(ByteArray::from).collect::<Vec<_>>();
        match (sink.untyped(), column.values) {
            (ColumnWriter::ByteArrayColumnWriter(sink), Values::Bytes(values)) => {
                sink.write_batch(&bytes(values), definition, repetition).expect("it fits");
            }
            (ColumnWriter::FixedLenByteArrayColumnWriter(sink), Values::Fixed(values)) => {
                let values: Vec<FixedLenByteArray> = bytes(values).into_iter().map(Into::into).collect();
                sink.write_batch(&values, definition, repetition).expect("it fits");
            }
            (ColumnWriter::Int64ColumnWriter(sink), Values::Whole(values)) => {
                sink.write_batch(&values, definition, repetition).expect("it fits");
            }
            (ColumnWriter::Int32ColumnWriter(sink), Values::Small(values)) => {
                sink.write_batch(&values, definition, repetition).expect("it fits");
            }
            (ColumnWriter::DoubleColumnWriter(sink), Values::Floats(values)) => {
                sink.write_batch(&values, definition, repetition).expect("it fits");
            }
            _ => panic!("the columns are those of the schema"),
        }
        sink.close().expect("it can be written");
    }
    group.close().expect("it can be written");
    writer.close().expect("it can be written");
    path
}

const TEXT_AND_LABEL: &str = "required binary text (STRING); required binary label (STRING);";

fn sound(name: &str, compression: Compression) -> PathBuf {
    parquet(name, TEXT_AND_LABEL, compression, vec![Column::texts(&["a", "två"]), Column::texts(&["x", "y"])])
}

fn read(path: &PathBuf) -> Vec<(String, String)> {
    pairs(read_notes(path).unwrap_or_else(|error| panic!("{error}")))
}

fn expected(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(text, label)| ((*text).to_owned(), (*label).to_owned())).collect()
}

/// What a file with these columns is rejected with.
fn error_of(name: &str, fields: &str, columns: Vec<Column>) -> String {
    let path = parquet(name, fields, Compression::SNAPPY, columns);
    read_notes(&path).expect_err(name).to_string()
}

#[test]
fn every_compression_of_the_readme_is_read() {
    for (name, compression) in [
        ("none.parquet", Compression::UNCOMPRESSED),
        ("snappy.parquet", Compression::SNAPPY),
        ("gzip.parquet", Compression::GZIP(Default::default())),
        ("brotli.parquet", Compression::BROTLI(Default::default())),
        ("lz4-raw.parquet", Compression::LZ4_RAW),
        ("lz4.parquet", Compression::LZ4),
        ("zstd.parquet", Compression::ZSTD(Default::default())),
    ] {
        assert_eq!(read(&sound(name, compression)), expected(&[("a", "x"), ("två", "y")]), "{name}");
    }
}

/// A codec is a number in the footer: 0 for none, 3 for LZO.
#[test]
fn a_compression_that_is_not_read_is_named() {
    let path = sound("lzo.parquet", Compression::UNCOMPRESSED);
    let mut bytes = fs::read(&path).expect("it was written");
    // Each column's metadata ends its list of names with the name and then has the codec.
    let mut codecs = 0;
    for name in ["text", "label"] {
        let mark = [&[0x19, 0x18, name.len() as u8], name.as_bytes(), &[0x15, 0x00]].concat();
        let places: Vec<usize> = (0..bytes.len())
            .filter(|place| bytes[*place..].starts_with(&mark))
            .map(|place| place + mark.len() - 1)
            .collect();
        codecs += places.len();
        places.into_iter().for_each(|place| bytes[place] = 6);
    }
    assert_eq!(codecs, 2, "each column has its codec");
    rejected("lzo.parquet", bytes, &["is a Parquet file compressed with LZO; write it again with zstd"]);
}

#[test]
fn bytes_that_are_no_text_are_rejected_by_their_field() {
    let label = || Column::texts(&["x"]);
    let not_text = "holds bytes that are not marked as text";
    let words = |field: &str| format!("“{field}” {not_text}");
    let fixed = || Column::required(Values::Fixed(vec![b"abcd".to_vec()]));
    let error = error_of(
        "fixed.parquet",
        "required fixed_len_byte_array(4) text; required binary label (STRING);",
        vec![fixed(), label()],
    );
    assert!(error.contains("row 1: ") && error.contains(&words("text")), "{error}");
    let error = error_of(
        "bytes-label.parquet",
        "required binary text (STRING); required binary label;",
        vec![label(), Column::bytes(&[b"x"])],
    );
    assert!(error.contains(&words("label")), "{error}");
    let only = error_of("only-bytes.parquet", "required binary text;", vec![Column::bytes(&[b"x"])]);
    assert!(only.contains(&words("text")), "{only}");
    // Nobody needs the title.
    let fields = "required fixed_len_byte_array(4) title; required binary text (STRING); required binary label (STRING);";
    let path = parquet(
        "bytes-title.parquet",
        fields,
        Compression::SNAPPY,
        vec![fixed(), Column::texts(&["a"]), label()],
    );
    assert_eq!(read(&path), expected(&[("a", "x")]));
}

/// The labels of two rows whose label column has this field and these values.
fn labels_read(name: &str, field: &str, labels: Values) -> Vec<String> {
    let fields = format!("required binary text (STRING); {field};");
    let columns = vec![Column::texts(&["a", "a"]), Column::required(labels)];
    let path = parquet(name, &fields, Compression::SNAPPY, columns);
    read(&path).into_iter().map(|(_, label)| label).collect()
}

#[test]
fn numbers_of_every_kind_are_labels_as_they_are_written() {
    let whole =
        labels_read("scale-0.parquet", "required int64 label (DECIMAL(10, 0))", Values::Whole(vec![1, -20]));
    assert_eq!(whole, ["1", "-20"]);
    let scaled = labels_read(
        "scale-2.parquet",
        "required int32 label (DECIMAL(5, 2))",
        Values::Small(vec![100, 2000]),
    );
    assert_eq!(scaled, ["1", "20"]);
    let wide = Values::Fixed(vec![[&[0; 15][..], &[7]].concat(), vec![0xff; 16]]);
    let field = "required fixed_len_byte_array(16) label (DECIMAL(38, 0))";
    assert_eq!(labels_read("wide.parquet", field, wide), ["7", "-1"]);
    assert_eq!(
        labels_read("double.parquet", "required double label", Values::Floats(vec![0.0, 1.0])),
        ["0", "1"]
    );
    let error = error_of(
        "half.parquet",
        "required binary text (STRING); required int32 label (DECIMAL(5, 2));",
        vec![Column::texts(&["a"]), Column::required(Values::Small(vec![150]))],
    );
    assert!(error.contains("row 1: “label” must be text or a whole number"), "{error}");
    let error = error_of(
        "nan.parquet",
        "required binary text (STRING); required double label;",
        vec![Column::texts(&["a"]), Column::required(Values::Floats(vec![f64::NAN]))],
    );
    assert!(error.contains("row 1: there is neither “label_name” nor “label”"), "{error}");
    let error = error_of(
        "date.parquet",
        "required binary text (STRING); required int32 label (DATE);",
        vec![Column::texts(&["a"]), Column::required(Values::Small(vec![1]))],
    );
    assert!(error.contains("row 1: “label” holds a date or a time"), "{error}");
}

#[test]
fn text_that_is_not_utf_8_is_reported_by_row_and_field_without_the_text() {
    let columns = vec![Column::bytes(&[b"sound", b"M\xfcller"]), Column::texts(&["x", "y"])];
    let error = error_of("bad-utf8.parquet", TEXT_AND_LABEL, columns);
    assert!(error.contains("row 2: “text” is marked as text, but is not UTF-8"), "{error}");
    assert!(!error.contains("ller") && !error.contains("damaged"), "{error}");
}

#[test]
fn cut_and_encrypted_files_are_rejected() {
    let whole = fs::read(sound("whole.parquet", Compression::SNAPPY)).expect("it was written");
    let damaged = "the file is damaged or incomplete: copy or export it again";
    rejected("cut.parquet", &whole[..whole.len() - 30], &["its footer is missing or incomplete", damaged]);
    rejected("cut-data.parquet", &whole[..30], &["its footer is missing or incomplete", damaged]);
    rejected("only-magic.parquet", b"PAR1", &["its footer is missing or incomplete"]);
    let encrypted = [&whole[..whole.len() - 4], b"PARE"].concat();
    rejected("encrypted-footer.parquet", encrypted, &["is an encrypted Parquet file; decrypt it"]);
}

/// Found by fuzzing: the library reserved memory for as many values as the dictionary claims, 12 GB of it.
#[test]
fn a_dictionary_that_claims_more_than_it_has_is_damaged() {
    let claims = "../../tests/fuzz/regressions/parquet/dictionary-that-claims-more-than-it-has";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(claims);
    let bytes = fs::read(path).expect("it is committed");
    rejected("claims.parquet", bytes, &["row 1: its Parquet data is corrupt"]);
}

/// Lists and structs as the standard has them, and bytes within.
#[test]
fn bytes_within_lists_are_rejected_too() {
    let fields = |text: &str| {
        format!(
            "required binary question (STRING); required int64 answer; \
             required group choices (LIST) {{ repeated group list {{ required binary element {text}; }} }}"
        )
    };
    let choices = || Column {
        values: Values::Bytes(vec![b"radius".to_vec(), b"femur".to_vec()]),
        levels: Some((vec![1, 1], vec![0, 1])),
    };
    let columns =
        || vec![Column::texts(&["Which bone?"]), Column::required(Values::Whole(vec![1])), choices()];
    let text = parquet("list.parquet", &fields("(STRING)"), Compression::SNAPPY, columns());
    let bytes = parquet("list-bytes.parquet", &fields(""), Compression::SNAPPY, columns());
    let reader = super::examples::reader("lists", 64);
    let questions = reader.questions(&text).expect("a sound question");
    assert_eq!((questions.len(), questions[0].1, questions[0].0.options.len()), (1, 1, 2));
    let error = reader.questions(&bytes).expect_err("bytes in a list").to_string();
    assert!(error.contains("row 1: “choices” holds bytes that are not marked as text"), "{error}");
}
