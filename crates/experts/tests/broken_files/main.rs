//! Files as hospitals export them, sound and broken: what is read, and with which message the rest is rejected. The
//! cases follow public bug reports of similar projects.

mod compressed;
mod examples;
mod json;
mod kinds;
mod labels;
mod marker;
mod parquet_files;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::files::notes::{Encoding, Note, NotesFile, read_notes};

/// Writes a file of a test.
fn write(name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken-files");
    fs::create_dir_all(&folder).expect("the folder of the tests can be written to");
    let path = folder.join(name);
    fs::write(&path, bytes).expect("the folder of the tests can be written to");
    path
}

/// The notes of a file, each as text and label.
fn read(name: &str, bytes: impl AsRef<[u8]>) -> Vec<(String, String)> {
    pairs(read_notes(write(name, bytes)).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// As [`read`], with an encoding that is given; or the message that rejects the file.
fn read_in(encoding: &str, name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<(String, String)>, String> {
    let encoding: Encoding = encoding.parse().expect("a known encoding");
    let file = NotesFile { encoding, ..write(name, bytes).into() };
    read_notes(file).map(pairs).map_err(|error| error.to_string())
}

fn pairs(notes: Vec<Note>) -> Vec<(String, String)> {
    notes.into_iter().map(|note| (note.text, note.label)).collect()
}

/// Checks that a file is rejected with a message that has these words and the file's name.
fn rejected(name: &str, bytes: impl AsRef<[u8]>, words: &[&str]) {
    let error = read_notes(write(name, bytes)).err().unwrap_or_else(|| panic!("{name} was read"));
    let error = error.to_string();
    for word in words.iter().chain(&[name]) {
        assert!(error.contains(word), "“{word}” is not in: {error}");
    }
}

/// Notes as JSON Lines, and as they are read.
fn four() -> (String, Vec<(String, String)>) {
    let notes = [
        ("Patient seen for chest pain, ECG normal.", "heart"),
        ("Fracture of the left radius after a fall.", "bone"),
        ("Echo shows a mild murmur.", "heart"),
        ("Knee swelling, joint aspirated.", "bone"),
    ];
    let lines = notes.map(|(text, label)| format!("{}\n", serde_json::json!({"text": text, "label": label})));
    (lines.concat(), notes.map(|(text, label)| (text.to_owned(), label.to_owned())).to_vec())
}
