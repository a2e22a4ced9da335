//! Files of one record a line, appended and synced before the first byte that depends on it leaves (`ROUND-04`).

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A file that a party must remember things by, and that cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("the journal {path}: {source}; without it this party cannot take part safely")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another program of this party runs.
    #[error("another program uses the journal {0}; two of them would sign different things for one round")]
    InUse(PathBuf),
    /// A line that this program did not write.
    #[error("the journal {path}, line {line}: {text:?} is no record; restore the file, or start a new epoch")]
    Record {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What it holds.
        text: String,
    },
}

/// A file of records, which is this program's alone while it runs.
#[derive(Debug)]
pub(crate) struct RecordFile {
    path: PathBuf,
    file: File,
}

impl RecordFile {
    /// Opens or creates the file; its whole lines. A last line without its end was never relied on, and is dropped.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<String>), JournalError> {
        let io = |source| JournalError::Io { path: path.to_path_buf(), source };
        // CONS-07
        let mut file = cloister_storage::open(path).map_err(io)?;
        file.try_lock().map_err(|_| JournalError::InUse(path.to_path_buf()))?;
        let text = io::read_to_string(&mut file).map_err(io)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(io)?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(io)?;
        let lines = text[..whole].lines().map(str::to_owned).collect();
        Ok((Self { path: path.to_path_buf(), file }, lines))
    }

    /// Reads each line; the error names the first that is no record.
    pub(crate) fn parse<T>(
        &self,
        lines: &[String],
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, JournalError> {
        let read_one = |(line, text): (usize, &String)| {
            read(text).ok_or_else(|| JournalError::Record {
                path: self.path.clone(),
                line,
                text: text.clone(),
            })
        };
        (1..).zip(lines).map(read_one).collect()
    }

    /// Appends a line; on disk when this returns.
    pub(crate) fn append(&mut self, line: &str) -> Result<(), JournalError> {
        let written =
            self.file.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|source| JournalError::Io { path: self.path.clone(), source })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
