//! Rows are grouped into records, the units of privacy, by a column.

use std::fs;
use std::path::PathBuf;

use cloister_experts::files::notes::{NoteReader, NotesFile};

fn file(name: &str, content: &str) -> NotesFile {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("records");
    fs::create_dir_all(&folder).expect("the folder of the tests can be written to");
    let path = folder.join(name);
    fs::write(&path, content).expect("it can be written");
    NotesFile { group_by: Some("patient".to_owned()), ..path.into() }
}

/// The record of each note, or the message that rejects one.
fn records(file: NotesFile) -> Result<Vec<usize>, String> {
    let mut reader = NoteReader::open(file).map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    while let Some(note) = reader.next() {
        note.map_err(|error| error.to_string())?;
        records.push(reader.record());
    }
    Ok(records)
}

/// A row whose patient is this JSON value.
fn line(patient: &str) -> String {
    format!("{{\"text\": \"a\", \"label\": \"b\", \"patient\": {patient}}}\n")
}

#[test]
fn rows_with_the_same_value_are_one_record_in_every_format() {
    // Blanks, Unicode's forms and how a whole number is written make no difference.
    let patients = ["\"büro\"", "7", "\"bu\u{0308}ro \"", "7.0", "\" 7\"", "\"8\""];
    let lines: String = patients.into_iter().map(line).collect();
    assert_eq!(records(file("lines.jsonl", &lines)), Ok(vec![0, 1, 0, 1, 1, 2]));
    let table = "patient;text;label\n7;a;b\n8;a;b\n7 ;a;b\n";
    assert_eq!(records(file("table.csv", table)), Ok(vec![0, 1, 0]));
    let rows = NotesFile { group_by: None, ..file("table.csv", table) };
    assert_eq!(records(rows), Ok(vec![0, 1, 2]), "control: without a column each row is a record");
}

#[test]
fn the_label_may_group_too() {
    let by_label =
        NotesFile { group_by: Some("label".to_owned()), ..file("label.jsonl", &line("1").repeat(3)) };
    assert_eq!(records(by_label), Ok(vec![0, 0, 0]));
}

/// A row without a patient may be any patient's. No message has a value of the column, because values identify
/// patients.
#[test]
fn a_row_without_a_patient_is_rejected_by_its_place() {
    for (name, second, words) in [
        ("null", "null", "line 2: “patient” is missing or empty"),
        ("blank", "\"  \"", "line 2: “patient” is missing or empty"),
        ("fraction", "7.5", "line 2: “patient” must be text or a whole number"),
        ("list", "[\"SECRET\"]", "line 2: “patient” must be text or a whole number, not a list"),
    ] {
        let lines = [line("\"SECRET\""), line(second)].concat();
        let error = records(file(&format!("{name}.jsonl"), &lines)).expect_err(name);
        assert!(error.contains(words) && !error.contains("SECRET"), "{error}");
    }
    let error = records(file("none.csv", "text,label\na,b\n")).expect_err("there is no such column");
    assert!(error.contains("row 1 (line 2): “patient” is missing or empty"), "{error}");
}
