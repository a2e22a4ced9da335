//! What is fuzzed of a party's own files: its journal, ledger, notes and checkpoints. They are read from a path, so each input
//! is written to a file first.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cloister_client::Journal;
use cloister_experts::checkpoint::{read_checkpoint, write_checkpoint};
use cloister_experts::notes::read_notes;
use cloister_privacy::ledger::History;
use sha2::{Digest, Sha256};

use crate::target::Target;

/// Bytes for a line of notes, which may be 16 MiB long however well it was compressed, with what is parsed of it.
const LONGEST_LINE: usize = 64 << 20;

/// Every reader of a party's own files.
pub(crate) const FILES: &[Target] = &[
    Target::new("journal", journal),
    Target::new("ledger", ledger),
    Target { allowance: LONGEST_LINE, ..Target::new("notes", notes) },
    Target::new("checkpoint", checkpoint),
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

/// What a journal holds is the same when it is opened again, whatever was torn off its end.
fn journal(bytes: &[u8]) {
    let path = write(bytes);
    let content = |journal: Journal| (journal.signed().to_vec(), journal.last_announced());
    let Ok(first) = Journal::open(path).map(content) else { return };
    let again = Journal::open(path).expect("a journal that was opened opens again");
    assert!(first == content(again), "another journal comes back");
}

/// Entries, one a line, are chained as a ledger chains them, so that what is behind the digests is reached; what is read
/// must be the same a second time, and what it costs can be told.
fn ledger(bytes: &[u8]) {
    let mut head: [u8; 32] = [0; 32];
    let mut chained = Vec::new();
    for entry in bytes.split(|byte| *byte == b'\n').filter(|entry| !entry.is_empty()) {
        let tag = b"cloister/v1/privacy-ledger";
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
    let path = write(&chained);
    let Ok(history) = History::read(path) else { return };
    assert!(History::read(path).is_ok_and(|again| again == history), "another history comes back");
    let _ = history.account();
}

/// Rows of text, compressed or not. Parquet is read by a library that panics on damaged files, which its caller catches and
/// the fuzzer does not.
fn notes(bytes: &[u8]) {
    if bytes.starts_with(b"PAR1") {
        return;
    }
    if let Ok(notes) = read_notes(write(bytes)) {
        assert!(!notes.is_empty(), "a file without notes is refused");
    }
}

/// A checkpoint that is read and written is read as the same model.
fn checkpoint(bytes: &[u8]) {
    let Ok((config, blocks)) = read_checkpoint(write(bytes)) else { return };
    write_checkpoint(scratch(), &config, &blocks).expect("what was read can be written");
    let (config_again, blocks_again) = read_checkpoint(scratch()).expect("what was written can be read");
    assert!(config == config_again && blocks == blocks_again, "another model comes back");
}
