//! No message has a note's text. A word is planted in each kind of bad row, in each format, and searched in every
//! message and in everything that a process prints while it reads the files.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use parquet::basic::Compression;

use super::parquet_files::{Column, parquet};
use super::write;
use cloister_experts::files::notes::{Encoding, NotesFile, read_notes};

/// The word. Neither it nor its parts stand in a message for another reason.
const MARKER: &str = "Zaphod7391";
/// Set for the process that a test starts, which then reads all files.
const READ: &str = "CLOISTER_READ_MARKED_FILES";

/// A file name that only this process uses, because two processes of this test run at the same time.
fn unique(name: &str) -> String {
    format!("marked-{}-{name}", std::process::id())
}

/// Bad files of text, with the word in all of their fields.
fn texts() -> Vec<(String, Vec<u8>)> {
    let m = MARKER;
    let rows = [
        format!("{{\"text\": \"{m}\", \"label\": 1.5}}"),
        format!("{{\"text\": \"{m}\"}}"),
        format!("{{\"text\": [\"{m}\"], \"label\": \"{m}\"}}"),
        format!("{{\"text\": {{\"{m}\": \"{m}\"}}, \"label\": \"a\"}}"),
        format!("{{\"text\": \"a\", \"label\": [\"{m}\"]}}"),
        format!("{{\"text\": \"a\", \"label\": {{\"{m}\": 1}}}}"),
        format!("{{\"text\": \" \", \"label\": \"{m}\"}}"),
        format!("{{\"text\": {m}, \"label\": \"a\"}}"),
        format!("{{\"text\": \"{m}\\q\", \"label\": \"a\"}}"),
        format!("{{\"text\": \"{m}\\ud83d\", \"label\": \"a\"}}"),
        format!("{{\"text\": \"{m}\u{1}\", \"label\": \"a\"}}"),
        format!("{{\"text\": \"{m}\", \"label\": NaN}}"),
        format!("{{\"text\": \"{m}\" \"label\": \"a\"}}"),
        format!("{{\"text\": \"{m}"),
        format!("{{\"{m}\": \"{m}\"}}"),
        format!("\"{m}\""),
        format!("[\"{m}\"]"),
        format!("{{'text': '{m}'}}"),
        m.to_owned(),
    ];
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let sound = "{\"text\": \"a\", \"label\": \"b\"}\n";
    for (number, row) in rows.iter().enumerate() {
        files.push((format!("row-{number}.jsonl"), format!("{sound}{row}\n").into_bytes()));
        files.push((format!("first-{number}.jsonl"), format!("{row}\n").into_bytes()));
    }
    let latin: Vec<u8> = [format!("{{\"text\": \"{m} ").as_bytes(), b"\xfc\", \"label\": \"a\"}"].concat();
    files.push(("latin.jsonl".to_owned(), latin));
    for (number, table) in [
        format!("text,label\n{m},{m},{m}\n"),
        format!("text,label\n{m},\n"),
        format!("text,label\n,{m}\n"),
        format!("text,label\n\"{m},a\n"),
        format!("text,label\n\"{m}\"{m},a\n"),
        format!("{m},{m}\n{m},{m}\n"),
        format!("{m}\n"),
        format!("text,text,{m}\n{m},{m},{m}\n"),
    ]
    .iter()
    .enumerate()
    {
        files.push((format!("table-{number}.csv"), table.clone().into_bytes()));
    }
    files.push(("latin.csv".to_owned(), [b"text,label\n".as_slice(), m.as_bytes(), b" \xfc,a\n"].concat()));
    files
}

/// Writes a file under a unique name.
fn marked(name: &str, fields: &str, columns: Vec<Column>) -> PathBuf {
    parquet(&unique(name), fields, Compression::UNCOMPRESSED, columns)
}

/// Bad files of Parquet.
fn parquet_files() -> Vec<PathBuf> {
    let m = MARKER;
    let bad: Vec<u8> = [m.as_bytes(), b" \xfc"].concat();
    let mut files = vec![
        marked(
            "utf8.parquet",
            "required binary text (STRING); required binary label (STRING);",
            vec![Column::bytes(&[&bad]), Column::texts(&["a"])],
        ),
        marked(
            "label.parquet",
            "required binary text (STRING); required binary label (STRING);",
            vec![Column::texts(&[m]), Column::bytes(&[&bad])],
        ),
        marked(
            "bytes.parquet",
            "required binary text; required binary label (STRING);",
            vec![Column::texts(&[m]), Column::texts(&[m])],
        ),
        marked("none.parquet", "required binary text (STRING);", vec![Column::texts(&[m])]),
    ];
    let whole = std::fs::read(&files[3]).expect("it was written");
    for at in (4..whole.len()).step_by(3) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x80;
        files.push(write(&unique(&format!("damaged-{at}.parquet")), damaged));
    }
    files
}

/// The messages, causes and debug forms with which all files are rejected.
fn messages() -> String {
    let written = texts().into_iter().map(|(name, bytes)| write(&unique(&name), bytes));
    let mut messages = String::new();
    let mut rejected = 0;
    for path in written.chain(parquet_files()) {
        for encoding in ["utf-8", "utf-16le"] {
            let encoding: Encoding = encoding.parse().expect("a known encoding");
            if let Err(error) = read_notes(NotesFile { encoding, ..path.clone().into() }) {
                rejected += 1;
                let mut source: Option<&dyn std::error::Error> = Some(&error);
                writeln!(messages, "{error} {error:?}").expect("memory");
                while let Some(inner) = source {
                    writeln!(messages, "{inner} {inner:?}").expect("memory");
                    source = inner.source();
                }
            }
        }
        std::fs::remove_file(path).expect("it was written");
    }
    assert!(rejected > 100, "{rejected} files were rejected");
    messages
}

#[test]
fn a_note_s_text_is_in_no_message() {
    let messages = messages();
    let parts = [MARKER, "Zaphod", "7391", "[90, 97, 112", "WmFwaG9k"];
    let found = parts.iter().find(|part| messages.contains(**part));
    let line = found.and_then(|part| messages.lines().find(|line| line.contains(*part)));
    assert_eq!(line, None);
}

/// The Parquet library panics on some damaged files, and the panic's message must not be printed.
#[test]
fn a_note_s_text_is_never_printed() {
    if std::env::var_os(READ).is_some() {
        messages();
        return;
    }
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "marker::a_note_s_text_is_never_printed", "--nocapture"])
        .env(READ, "yes")
        .output()
        .expect("it starts");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert!(printed.contains("1 passed"), "{printed}");
    assert!(!printed.contains("Zaphod") && !printed.contains("[90, 97"), "{printed}");
    assert!(!printed.contains("panicked"), "{printed}");
}
