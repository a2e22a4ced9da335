//! `cloister data check`: what a hospital runs before it joins.

#![cfg(feature = "training")]

mod tiny_base;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tiny_base::folder_with_base;

const CLOISTER: &str = env!("CARGO_BIN_EXE_cloister");
/// A word of every text. It must not be in anything that is printed.
const MARKER: &str = "qzx";

/// A folder with a tiny published model as `base`, whose tokenizer has a token for each letter, and a task
/// and settings for it.
fn scratch(name: &str) -> PathBuf {
    let folder = folder_with_base(&format!("data-{name}"));
    let base = folder.join("base");
    let letters = "abcdefghijklmnopqrstuvwxyz ".chars().map(|letter| letter.to_string()).zip(3..);
    let vocabulary: Vec<(String, i64)> = [("?".to_owned(), 0)].into_iter().chain(letters).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "post_processor": null, "decoder": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "model": {"type": "WordLevel", "unk_token": "?",
            "vocab": vocabulary.into_iter().collect::<std::collections::BTreeMap<_, _>>()},
    });
    fs::write(base.join("tokenizer.json"), tokenizer.to_string()).expect("it can be written");
    fs::write(folder.join("classes.jsonl"), format!("{}{}", row("a", "heart"), row("a", "lung")))
        .expect("it can be written");
    let mut command = Command::new(CLOISTER);
    command.args(["experts", "task"]).arg(&base).arg(folder.join("task"));
    command.args(["--members", "5", "--max-tokens", "8", "--objective", "classification", "--classes-of"]);
    let output = command.arg(folder.join("classes.jsonl")).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

fn row(text: &str, label: &str) -> String {
    format!("{}\n", json!({"text": text, "label": label}))
}

fn check(folder: &Path, notes: &str, flags: &[&str]) -> Output {
    let mut command = Command::new(CLOISTER);
    command.current_dir(folder).args([
        "data",
        "check",
        notes,
        "--task",
        "task/task.json",
        "--base-model",
        "base",
    ]);
    let output = command.args(flags).output().expect("the program starts");
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains(MARKER), "no text is printed");
    output
}

#[test]
fn good_files_are_counted_and_a_round_is_tried() {
    let folder = scratch("good");
    let text = |rest: &str| format!("{MARKER} {rest}");
    let rows = [
        row(&text("aaa"), "heart"),
        row(&text("aaa"), "lung"),
        row(&text("a long text"), "heart"),
        row(&text("b"), "heart"),
    ];
    fs::write(folder.join("notes.jsonl"), rows.concat()).expect("it can be written");
    fs::write(folder.join("held.jsonl"), &rows[3]).expect("it can be written");
    let flags = ["--held-out", "held.jsonl", "--settings", "task/settings.toml", "--json"];
    let output = check(&folder, "notes.jsonl", &flags);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&found["rows"], &found["bad_rows"], &found["records"]), (&json!(4), &json!(0), &json!(4)));
    assert_eq!(found["classes"], json!({"heart": 3, "lung": 1}));
    assert_eq!((&found["duplicates"], &found["texts_of_several_classes"]), (&json!(1), &json!(1)));
    assert_eq!(found["rows_held_out_too"], 1);
    assert_eq!((&found["lengths"]["read"], &found["lengths"]["longest"]), (&json!(8), &json!(15)));
    assert_eq!(found["lengths"]["cut"], 1);
    assert!(found["memory"]["needed"].as_u64() > Some(0));
    assert!(found["round"]["seconds"].as_f64() > Some(0.0));
    let clips = found["round"]["clips"].as_array().expect("a list");
    assert!(
        clips.iter().any(|clip| clip["kind"] == "experts" && clip["largest_over_clip"].as_f64() > Some(0.0))
    );
    let text = check(&folder, "notes.jsonl", &flags[..2]).stdout;
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains("longer than the 8 tokens that the model reads: 1 of 4 texts"), "{text}");
    assert!(text.contains("rows that are among the held-out rows too: 1"), "{text}");
    fs::remove_dir_all(folder).expect("it was made above");
}

/// The client stops at the first bad row; the check names more, in a table as in JSON Lines, and groups rows by patient.
#[test]
fn bad_rows_are_counted_and_named_and_end_with_status_78() {
    let folder = scratch("bad");
    let table = format!(
        "patient;text;label\n7;{MARKER};heart\n8;{MARKER} b;lung\n7;c;heart\n9;{MARKER};skin\n;d;lung\n8;;lung\n"
    );
    fs::write(folder.join("notes.csv"), table).expect("it can be written");
    let output = check(&folder, "notes.csv", &["--group-by", "patient", "--json"]);
    assert_eq!(output.status.code(), Some(78));
    let found: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&found["rows"], &found["bad_rows"], &found["records"]), (&json!(6), &json!(3), &json!(2)));
    assert_eq!(found["most_rows_of_a_record"], 2);
    let named = found["first_bad_rows"].as_array().expect("a list");
    let words = [
        "row 4 (line 5): its label is not one of the task's classes",
        "row 5 (line 6): “patient” is missing",
        "row 6 (line 7): there is no “text”",
    ];
    for (named, words) in named.iter().zip(words) {
        assert!(named.as_str().is_some_and(|named| named.contains(words)), "{named}");
    }
    assert_eq!(found["memory"], Value::Null, "what the client refuses is not tried");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("3 of 6 rows cannot be used"), "{said}");
    let other = check(&folder, "task/task.json", &[]);
    assert_eq!(other.status.code(), Some(78), "a file of another kind");
    fs::remove_dir_all(folder).expect("it was made above");
}

/// Counts of a table whose rest was not read are not complete, and no reader of them may think so.
#[test]
fn a_table_that_is_read_in_part_only_is_said_to_be() {
    let folder = scratch("unread");
    let start = format!("text,label\n{MARKER},heart\n");
    // More bad rows than are named, and after them rows that are good.
    let bytes = [start.as_bytes(), &b"M\xfcller,heart\n".repeat(12), format!("{MARKER} b,lung\n").as_bytes()]
        .concat();
    fs::write(folder.join("bytes.csv"), &bytes).expect("it can be written");
    fs::write(folder.join("unclosed.csv"), [&bytes[..], b"\"c,lung\nd,lung\ne,heart\n"].concat())
        .expect("it can be written");
    let found = |file: &str, flags: &[&str]| -> Value {
        let output = check(&folder, file, &[flags, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(78), "{file}");
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    };
    let whole = found("bytes.csv", &[]);
    assert_eq!((&whole["rows"], &whole["bad_rows"], &whole["unread"]), (&json!(14), &json!(12), &json!([])));
    assert_eq!(whole["classes"], json!({"heart": 1, "lung": 1}));
    let part = found("unclosed.csv", &[]);
    assert_eq!((&part["rows"], &part["bad_rows"]), (&json!(15), &json!(13)));
    let unread = part["unread"].as_array().expect("a list");
    let words = "row 15 (line 16): a cell of this row starts with a quotation mark, and no mark ends it, so everything \
                 from line 16 to the end of the file is in that cell, and no row of it was read";
    assert!(unread.len() == 1 && unread[0].as_str().is_some_and(|said| said.contains(words)), "{unread:?}");
    let held_out = found("bytes.csv", &["--held-out", "unclosed.csv"]);
    assert_eq!(held_out["held_out"]["unread"].as_array().map(Vec::len), Some(1));

    let output = check(&folder, "unclosed.csv", &[]);
    let (text, said) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let (text, said) = (text.expect("text"), said.expect("text"));
    assert!(text.contains("NOT READ") && text.contains("from line 16 to the end of the file"), "{text}");
    assert!(said.contains("the counts are not complete"), "{said}");
    let whole = check(&folder, "bytes.csv", &[]);
    let said = [whole.stdout, whole.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("NOT READ") && !said.contains("not complete"), "the control: {said}");
    fs::remove_dir_all(folder).expect("it was made above");
}
