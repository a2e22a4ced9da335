//! Files with one record on each line, which is appended and synced before the first byte that depends on it leaves
//! (`ROUND-04`). Lines are chained, so that damage is told from a write that a crash cut off ([`LineChain`]).

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use cloister_storage::chain::{ChainedLines, LineChain};
use thiserror::Error;

/// Why a file of records cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error(
        "the journal {path}: {source}; this party cannot take part without it, because it could sign twice"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process of this party runs.
    #[error(
        "another process uses the journal {0}; end it first, because two of them could sign different things for one round"
    )]
    InUse(PathBuf),
    /// A line that was changed, or a file of another program.
    #[error(
        "the journal {path}, line {line}: {why}. The file was changed or damaged, or is not this party's: a journal that lost records \
         could sign twice. Restore the file from a backup, or start a new epoch"
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A whole line that this version does not know. Its digest holds, so it is not damaged.
    #[error(
        "the journal {path}, line {line}, is sound, and this program does not know its record: a later version of the program wrote \
         it; install that version"
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// A file of records, locked for this process while it is open.
#[derive(Debug)]
pub(crate) struct RecordFile {
    path: PathBuf,
    file: File,
    chain: LineChain,
    /// Digest of the last line.
    head: [u8; 32],
}

/// The text of the first line, by which a file that a crash cut off within it is told from another program's.
const FIRST: &str = "begun";
/// The line of the first record.
const FIRST_RECORD: usize = 2;

impl RecordFile {
    /// Opens or creates the file, and reads its records. A last line that a crash cut off before anything relied on it
    /// is cut off the file. A file that is rejected is left as it is.
    pub(crate) fn open(path: &Path, chain: LineChain) -> Result<(Self, Vec<String>), JournalError> {
        // CONS-07
        let file = cloister_storage::open(path).map_err(io_error(path))?;
        // Locked before it is read, or records that another program appends in between would be missing. Not
        // `lock`, with which a second program would start by itself when the first one ends.
        file.try_lock().map_err(|_| JournalError::InUse(path.to_path_buf()))?;
        let mut records = Self { path: path.to_path_buf(), file, chain, head: [0; 32] };
        let texts = records.read()?;
        if texts.is_empty() {
            records.append(FIRST)?;
        }
        Ok((records, texts.into_iter().skip(FIRST_RECORD - 1).collect()))
    }

    /// Reads the records of a file that another process may be using. The file is neither made, locked nor changed, and
    /// a line that is being written counts as cut off.
    pub(crate) fn verify<T>(
        path: &Path,
        chain: LineChain,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, JournalError> {
        let bytes = std::fs::read(path).map_err(io_error(path))?;
        let chained = read_chain(path, chain, &bytes)?;
        parse_records(path, chained.lines.into_iter().map(|(_, text)| text).skip(FIRST_RECORD - 1), read)
    }

    /// The texts of all whole lines. Cuts off what a crash left behind them, and leaves the file's position at its end
    /// for appending.
    fn read(&mut self) -> Result<Vec<String>, JournalError> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).map_err(io_error(&self.path))?;
        let chained = read_chain(&self.path, self.chain, &bytes)?;
        // Or the next record would continue the torn line.
        self.file
            .set_len(chained.length as u64)
            .and_then(|()| self.file.seek(io::SeekFrom::End(0)))
            .map_err(io_error(&self.path))?;
        self.head = chained.lines.last().map_or([0; 32], |(digest, _)| *digest);
        Ok(chained.lines.into_iter().map(|(_, text)| text.to_owned()).collect())
    }

    /// Parses each line. The error names the first one that is not a record.
    pub(crate) fn parse<T>(
        &self,
        lines: &[String],
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, JournalError> {
        parse_records(&self.path, lines.iter().map(String::as_str), read)
    }

    /// Appends a line. It is on disk when this returns.
    pub(crate) fn append(&mut self, line: &str) -> Result<(), JournalError> {
        // Line and line break in one write: a line without its break counts as torn. `sync_data` also writes
        // the file's new length.
        let whole = self.chain.line(&self.head, line);
        let written = self.file.write_all(whole.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(io_error(&self.path))?;
        self.head = self.chain.digest(&self.head, line);
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn read_chain<'a>(path: &Path, chain: LineChain, bytes: &'a [u8]) -> Result<ChainedLines<'a>, JournalError> {
    chain.read(Some(FIRST), bytes).map_err(|broken| JournalError::Broken {
        path: path.to_path_buf(),
        line: broken.line,
        why: broken.why,
    })
}

fn parse_records<'a, T>(
    path: &Path,
    texts: impl Iterator<Item = &'a str>,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, JournalError> {
    let mut records = Vec::new();
    for (line, text) in (FIRST_RECORD..).zip(texts) {
        // FILE-01: the chain was checked, so that a program wrote the line as it is.
        let not_a_record = || JournalError::Record { path: path.to_path_buf(), line };
        records.push(read(text).ok_or_else(not_a_record)?);
    }
    Ok(records)
}

/// What makes a system error a journal's.
fn io_error(path: &Path) -> impl Fn(io::Error) -> JournalError {
    move |source| JournalError::Io { path: path.to_path_buf(), source }
}
