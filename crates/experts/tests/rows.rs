//! Files of rows: Parquet, the place of a bad row, and memory that does not grow with the file.

use std::alloc::System;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap::Cap;
use cloister_experts::files::notes::{Note, NoteReader, NotesError, read_notes};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);
/// Tests share the allocator that one of them measures, so they run one after another.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A column of 64-bit integers or of texts; a missing value is a null.
enum Column<'a> {
    Texts(Vec<Option<&'a str>>),
    Numbers(Vec<i64>),
}

/// Writes a file of groups of rows, each a list of columns.
fn write_parquet(name: &str, schema: &str, compression: Compression, groups: &[Vec<Column<'_>>]) -> PathBuf {
    let path = path(name);
    let schema = Arc::new(parse_message_type(schema).expect("a sound schema"));
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let file = File::create(&path).expect("the folder of the tests can be written to");
    let mut writer = SerializedFileWriter::new(file, schema, properties).expect("it can be written");
    for columns in groups {
        let mut group = writer.next_row_group().expect("it can be written");
        for column in columns {
            let mut sink = group.next_column().expect("it can be written").expect("the schema has it");
            match column {
                Column::Texts(texts) => {
                    let values: Vec<ByteArray> =
                        texts.iter().flatten().map(|text| ByteArray::from(*text)).collect();
                    let levels: Vec<i16> = texts.iter().map(|text| i16::from(text.is_some())).collect();
                    sink.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).expect("it fits");
                }
                Column::Numbers(numbers) => {
                    sink.typed::<Int64Type>().write_batch(numbers, None, None).expect("it fits");
                }
            }
            sink.close().expect("it can be written");
        }
        group.close().expect("it can be written");
    }
    writer.close().expect("it can be written");
    path
}

const SCHEMA: &str = "message notes { optional binary text (STRING); required int64 label; }";

/// A group of rows with these texts, of which `None` is missing, and their place as the label.
fn group<'a>(texts: &[Option<&'a str>]) -> Vec<Column<'a>> {
    vec![Column::Texts(texts.to_vec()), Column::Numbers((0..texts.len() as i64).collect())]
}

#[test]
fn parquet_reads_like_json_lines_in_every_compression() {
    let _turn = turn();
    let note = |text: &str, label: &str| Note { text: text.to_owned(), label: label.to_owned() };
    let expected = [note("one", "0"), note("två", "1"), note("three", "0")];
    for (name, compression) in [
        ("plain.parquet", Compression::UNCOMPRESSED),
        ("snappy.parquet", Compression::SNAPPY),
        ("gzip.parquet", Compression::GZIP(Default::default())),
        ("zstd.parquet", Compression::ZSTD(Default::default())),
    ] {
        let groups = [group(&[Some("one"), Some("två")]), group(&[Some("three")])];
        let path = write_parquet(name, SCHEMA, compression, &groups);
        assert_eq!(read_notes(&path).expect("valid notes"), expected, "{name}");
    }
}

#[test]
fn a_bad_row_of_parquet_is_named_over_row_groups() {
    let _turn = turn();
    let groups = [group(&[Some("one"), Some("two")]), group(&[Some("three"), None])];
    let path = write_parquet("null.parquet", SCHEMA, Compression::SNAPPY, &groups);
    let error = read_notes(&path).expect_err("a text is missing").to_string();
    assert!(error.contains("null.parquet, row 4: there is no “text”"), "{error}");
    let before: Vec<_> = NoteReader::open(&path).expect("it opens").take(3).collect();
    assert!(before.iter().all(Result::is_ok), "rows before it are sound");
}

/// Changes each byte in turn. The library panics on some of these files.
#[test]
fn a_damaged_parquet_file_is_rejected_and_named() {
    let _turn = turn();
    let groups = [group(&[Some("one"), Some("two")]), group(&[Some("three")])];
    let path = write_parquet("damaged.parquet", SCHEMA, Compression::UNCOMPRESSED, &groups);
    let whole = fs::read(&path).expect("there");
    let mut rejected = 0;
    for at in 4..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x80;
        fs::write(&path, damaged).expect("writable");
        if let Err(error) = read_notes(&path) {
            assert!(error.to_string().contains("damaged.parquet"), "{error}");
            rejected += 1;
        }
    }
    assert!(rejected > whole.len() / 3, "{rejected} of {} were rejected", whole.len());
    fs::write(&path, whole).expect("writable");
    assert_eq!(read_notes(&path).expect("control: it is whole").len(), 3);
}

#[test]
fn columns_that_do_not_fit_are_named() {
    let _turn = turn();
    let other = "message notes { optional binary body (STRING); required int64 code; }";
    let path = write_parquet("other.parquet", other, Compression::SNAPPY, &[group(&[Some("one")])]);
    let error = read_notes(&path).expect_err("there is no text").to_string();
    assert!(
        error.contains("none of the columns that are read (text, ")
            && error.contains("its columns are body, code;"),
        "{error}"
    );
    let bytes = "message notes { optional binary text; required int64 label; }";
    let path = write_parquet("bytes.parquet", bytes, Compression::SNAPPY, &[group(&[Some("one")])]);
    let error = read_notes(&path).expect_err("bytes are no text").to_string();
    assert!(error.contains("“text” holds bytes that are not marked as text"), "{error}");
    let cut = path_of_half(&path);
    assert!(matches!(read_notes(&cut).expect_err("half a file"), NotesError::Damaged { .. }));
    let empty = write_parquet("empty.parquet", SCHEMA, Compression::SNAPPY, &[]);
    assert!(matches!(read_notes(&empty).expect_err("no rows"), NotesError::Empty { .. }));
}

fn path_of_half(whole: &Path) -> PathBuf {
    let bytes = fs::read(whole).expect("it was written");
    let half = path("half.parquet");
    fs::write(&half, &bytes[..bytes.len() / 2]).expect("it can be written");
    half
}

#[test]
fn a_line_without_end_is_not_read_into_memory() {
    let _turn = turn();
    let path = path("endless.jsonl.zst");
    let mut sink = zstd::Encoder::new(File::create(&path).expect("it can be written"), 1).expect("it starts");
    for _ in 0..64 {
        sink.write_all(&[b' '; 1 << 20]).expect("it can be written");
    }
    sink.finish().expect("it can be written");
    let error = read_notes(&path).expect_err("64 MiB without an end of line").to_string();
    assert!(error.contains("line 1: the line is longer than 16 MiB"), "{error}");
}

/// Rows of the files whose memory is measured.
const ROWS: usize = 20_000;
/// Bytes of each text in them, about.
const TEXT: usize = 2_000;
/// Bytes that reading may hold: buffers, a page of each column, one row.
const ALLOWANCE: usize = 12 << 20;

/// 40 MB of text as JSON Lines.
fn big_lines() -> PathBuf {
    let path = path("big.jsonl.zst");
    let mut sink = zstd::Encoder::new(File::create(&path).expect("it can be written"), 1).expect("it starts");
    for row in 0..ROWS {
        let line = format!("{{\"text\": \"{}\", \"label\": {}}}\n", text(row), row % 3);
        sink.write_all(line.as_bytes()).expect("it can be written");
    }
    sink.finish().expect("it can be written");
    path
}

/// 40 MB of text as Parquet, in groups of rows of 2 MB.
fn big_parquet() -> PathBuf {
    let texts: Vec<String> = (0..ROWS).map(text).collect();
    let texts: Vec<Option<&str>> = texts.iter().map(|text| Some(text.as_str())).collect();
    let groups: Vec<Vec<Column<'_>>> = texts.chunks(1_000).map(group).collect();
    write_parquet("big.parquet", SCHEMA, Compression::ZSTD(Default::default()), &groups)
}

/// A text that differs from row to row, so that no dictionary stores it once for all rows.
fn text(row: usize) -> String {
    format!("{row:08} ").repeat(TEXT / 9)
}

/// The most bytes that were allocated beyond those at the start while `visit` got the notes of a file.
fn most_held(path: &Path, mut visit: impl FnMut(Note)) -> usize {
    let start = MEMORY.allocated();
    let mut most = 0;
    for note in NoteReader::open(path).expect("it opens") {
        visit(note.expect("a valid note"));
        most = most.max(MEMORY.allocated().saturating_sub(start));
    }
    most
}

#[test]
fn memory_does_not_grow_with_the_file() {
    let _turn = turn();
    for path in [big_lines(), big_parquet()] {
        let mut rows = 0;
        let most = most_held(&path, |_| rows += 1);
        assert_eq!(rows, ROWS);
        assert!(most < ALLOWANCE, "{}: {most} bytes held", path.display());
        let mut kept = Vec::new();
        let control = most_held(&path, |note| kept.push(note));
        assert!(control > 3 * ALLOWANCE, "keeping all notes would be noticed: {control} bytes");
        fs::remove_file(path).expect("it was written");
    }
}

#[test]
fn progress_reaches_the_end_of_the_file() {
    let _turn = turn();
    let path = path("progress.jsonl");
    let rows = 100_000;
    fs::write(&path, "{\"text\": \"a\", \"label\": 1}\n".repeat(rows)).expect("it can be written");
    let total = 26 * rows as u64;
    let mut reader = NoteReader::open(&path).expect("it opens");
    assert!(reader.so_far().done < total / 10, "{:?}", reader.so_far());
    assert_eq!(reader.by_ref().count(), rows);
    let so_far = reader.so_far();
    assert_eq!((so_far.done, so_far.total), (total, total));
}
