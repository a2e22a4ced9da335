//! Files with one record on each line, which is appended and synced before the first byte that depends on it leaves
//! (`ROUND-04`).

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

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
    /// A line that this program did not write.
    #[error(
        "the journal {path}, line {line}: {text:?} is not a record; restore the file from a backup, or start a new epoch"
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The line's text.
        text: String,
    },
}

/// A file of records, locked for this process while it is open.
#[derive(Debug)]
pub(crate) struct RecordFile {
    path: PathBuf,
    file: File,
}

impl RecordFile {
    /// Opens or creates the file, and reads its lines. A last line without a line break was torn off by a crash before
    /// anything relied on it, so it is cut off the file.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<String>), JournalError> {
        // CONS-07
        let file = cloister_storage::open(path).map_err(io_error(path))?;
        // Locked before it is read, or records that another program appends in between would be missing. Not
        // `lock`, with which a second program would start by itself when the first one ends.
        file.try_lock().map_err(|_| JournalError::InUse(path.to_path_buf()))?;
        let mut records = Self { path: path.to_path_buf(), file };
        let lines = records.read_whole_lines().map_err(io_error(path))?;
        Ok((records, lines))
    }

    /// Cuts off what follows the last line break, and leaves the file's position at its end for appending.
    fn read_whole_lines(&mut self) -> io::Result<Vec<String>> {
        let text = io::read_to_string(&mut self.file)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        // Or the next record would continue the torn line.
        self.file.set_len(whole as u64)?;
        self.file.seek(io::SeekFrom::End(0))?;
        Ok(text[..whole].lines().map(str::to_owned).collect())
    }

    /// Parses each line. The error names the first one that is not a record.
    pub(crate) fn parse<T>(
        &self,
        lines: &[String],
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, JournalError> {
        let mut records = Vec::with_capacity(lines.len());
        for (line, text) in (1..).zip(lines) {
            let not_a_record = || JournalError::Record { path: self.path.clone(), line, text: text.clone() };
            records.push(read(text).ok_or_else(not_a_record)?);
        }
        Ok(records)
    }

    /// Appends a line. It is on disk when this returns.
    pub(crate) fn append(&mut self, line: &str) -> Result<(), JournalError> {
        // Line and line break in one write: a line without its break counts as torn. `sync_data` also writes
        // the file's new length.
        let written =
            self.file.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(io_error(&self.path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// What makes a system error a journal's.
fn io_error(path: &Path) -> impl Fn(io::Error) -> JournalError {
    move |source| JournalError::Io { path: path.to_path_buf(), source }
}
