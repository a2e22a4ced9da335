//! What is fuzzed of a party's own files: its journal, ledger, notes and checkpoints, and what a base model brings. They are
//! read from a path, so each input is written to a file first.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cloister_client::Journal;
use cloister_experts::Long;
use cloister_experts::classifier::checkpoint::{read_checkpoint, write_checkpoint};
use cloister_experts::families::convert::gguf;
use cloister_experts::families::finetune::Reader;
use cloister_experts::files::notes::{Note, read_notes};
use cloister_privacy::ledger::History;
use sha2::{Digest, Sha256};

use crate::target::Target;

/// Bytes for a line of notes, which may be 16 MiB long however well it was compressed, with what is parsed of it.
const LONGEST_LINE: usize = 64 << 20;

/// Bytes for what Parquet's library reserves: the size that a page of each column claims, up to 2 GiB.
const PAGES: usize = 3 << 30;

/// Bytes for what a chat template may compute before it is stopped, 256 MiB in each of three texts that are compared, and for
/// the room that texts grow into.
const TEMPLATE: usize = 2 << 30;

/// Every reader of a party's own files.
pub(crate) const FILES: &[Target] = &[
    Target::new("journal", journal),
    Target::new("ledger", ledger),
    Target { allowance: LONGEST_LINE, ..Target::new("notes", notes) },
    Target { allowance: LONGEST_LINE, ..Target::new("table", table) },
    Target { allowance: PAGES, ..Target::new("parquet", parquet) },
    Target::new("checkpoint", checkpoint),
    Target::new("gguf", gguf_header),
    Target { allowance: TEMPLATE, ..Target::new("chat-template", chat_template) },
];

/// A file in memory where there is such a folder.
fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        folder.join(format!("cloister-fuzz-{}", std::process::id()))
    })
}

fn write(bytes: &[u8]) -> &'static Path {
    std::fs::write(scratch(), bytes).expect("a temporary file can be written");
    scratch()
}

/// What a journal holds is the same when it is opened again, whatever was torn off its end. Records, one a line, are chained
/// as a journal chains them, behind its first line; what follows a zero byte is the end of the file as it is.
fn journal(bytes: &[u8]) {
    let (records, end) = bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let records = [b"begun\n", records].concat();
    let path = write(
        &[&chained("cloister/v1/party-journal", &records)[..], end.get(1..).unwrap_or_default()].concat(),
    );
    let content = |journal: Journal| (journal.signed().to_vec(), journal.last_announced());
    let Ok(first) = Journal::open(path).map(content) else { return };
    let again = Journal::open(path).expect("a journal that was opened opens again");
    assert!(first == content(again), "another journal comes back");
}

/// Entries, one a line, are chained as a ledger chains them, so that what is behind the digests is reached; what is read
/// must be the same a second time, and what it costs can be told.
fn ledger(bytes: &[u8]) {
    let path = write(&chained("cloister/v1/privacy-ledger", bytes));
    let Ok(history) = History::read(path) else { return };
    assert!(History::read(path).is_ok_and(|again| again == history), "another history comes back");
    let _ = history.account();
}

/// Entries, one a line, as the lines of a file with this tag.
fn chained(tag: &str, entries: &[u8]) -> Vec<u8> {
    let mut head: [u8; 32] = [0; 32];
    let mut chained = Vec::new();
    for entry in entries.split(|byte| *byte == b'\n').filter(|entry| !entry.is_empty()) {
        head = Sha256::new()
            .chain_update([tag.len() as u8])
            .chain_update(tag)
            .chain_update(head)
            .chain_update(entry)
            .finalize()
            .into();
        chained.extend_from_slice(hex::encode(head).as_bytes());
        chained.extend([b" ", entry, b"\n"].concat());
    }
    chained
}

/// Rows of text, compressed or not. Notes that are read are the same once they are written as JSON Lines and read again.
fn notes(bytes: &[u8]) {
    if bytes.starts_with(b"PAR1") {
        return;
    }
    let Ok(notes) = read_notes(write(bytes)) else { return };
    assert!(!notes.is_empty(), "a file without notes is refused");
    let line = |note: &Note| serde_json::to_string(note).expect("texts are JSON") + "\n";
    let lines: String = notes.iter().map(line).collect();
    assert!(read_notes(write(lines.as_bytes())).is_ok_and(|again| again == notes), "other notes come back");
}

/// A table, whose header row is there. Notes that are read are the same once they are written with every cell in quotation
/// marks and read again.
fn table(bytes: &[u8]) {
    const HEADERS: [&str; 4] = ["text,label\n", "label;text;x\n", "label\ttext\n", "text|label\r\n"];
    let Some((first, rest)) = bytes.split_first() else { return };
    let header = HEADERS[usize::from(*first) % HEADERS.len()];
    let Ok(notes) = read_notes(write(&[header.as_bytes(), rest].concat())) else { return };
    assert!(!notes.is_empty(), "a file without notes is refused");
    // A file that starts with zeros is no text.
    if notes.iter().any(|note| note.text.contains('\0') || note.label.contains('\0')) {
        return;
    }
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let row = |note: &Note| format!("{};{}\n", quoted(&note.text), quoted(&note.label));
    let again = format!("text;label\n{}", notes.iter().map(row).collect::<String>());
    assert!(read_notes(write(again.as_bytes())).is_ok_and(|again| again == notes), "other notes come back");
}

/// Parquet. The library that reads it panics on damaged files, which its caller catches without a word.
fn parquet(bytes: &[u8]) {
    if !bytes.starts_with(b"PAR1") {
        return;
    }
    let path = write(bytes);
    let Ok(notes) = read_notes(path) else { return };
    assert!(!notes.is_empty(), "a file without notes is refused");
    assert!(read_notes(path).is_ok_and(|again| again == notes), "other notes come back");
}

/// A checkpoint that is read and written is read as the same model.
fn checkpoint(bytes: &[u8]) {
    let Ok((config, blocks)) = read_checkpoint(write(bytes)) else { return };
    write_checkpoint(scratch(), &config, &blocks).expect("what was read can be written");
    let (config_again, blocks_again) = read_checkpoint(scratch()).expect("what was written can be read");
    assert!(config == config_again && blocks == blocks_again, "another model comes back");
}

/// The header of a GGUF file: what is said of it is said twice alike.
fn gguf_header(bytes: &[u8]) {
    let path = write(bytes);
    let said = || gguf::check_header(path).map_err(|error| error.to_string());
    assert!(said() == said(), "another header comes back");
}

/// The content of a message that no fault may quote.
const SECRET: &str = "Qzx7 coughs";
const TOKENIZER: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "a": 1}}}"#;

/// A chat template, whatever it is, ends, and says nothing of the conversation that it lays out.
fn chat_template(bytes: &[u8]) {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = scratch().with_extension("model");
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        std::fs::write(folder.join("tokenizer.json"), TOKENIZER).expect("the folder can be written");
        let rows = format!(
            r#"{{"messages": [{{"role": "user", "content": "{SECRET}"}}, {{"role": "assistant", "content": "a"}},
                {{"role": "user", "content": "a"}}, {{"role": "assistant", "content": "{SECRET}"}}]}}"#
        );
        std::fs::write(folder.join("rows.jsonl"), rows.replace('\n', "")).expect("the folder can be written");
        folder
    });
    std::fs::write(folder.join("chat_template.jinja"), bytes).expect("the folder can be written");
    let Ok(reader) = Reader::open(folder, None, 64, Long::Cut) else { return };
    let Err(fault) = reader.read(folder.join("rows.jsonl")) else { return };
    let fault = fault.to_string();
    let quotes = |word: &str| fault.contains(word) && !String::from_utf8_lossy(bytes).contains(word);
    assert!(!SECRET.split(' ').any(quotes), "a fault quotes a message");
}
