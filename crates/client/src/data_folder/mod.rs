//! The files of a party's data folder, and how a party that withdraws erases them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cloister_crypto::consortium::Epoch;
use cloister_wire::opening::OpeningRecord;
use thiserror::Error;

use crate::openings::OpeningsFile;
use crate::record_file::JournalError;

const JOURNAL_PREFIX: &str = "journal-";
const OPENINGS: &str = "openings";
const LEDGER: &str = "privacy-ledger";
/// The folder of a training program's job, in a member's data folder. It has the rows of the hospital's notes.
pub const TRAINING_JOB: &str = "training-job";
/// Where tasks write what was trained; the tests of training compare.
const MODELS: [&str; 5] = ["model.safetensors", "adapter", "merged", PARAMETERS, ARRIVING];
/// The model in the encoding of the consortium, from which a coordinator can begin.
pub(crate) const PARAMETERS: &str = "model.parameters";
/// A model that arrives from the coordinator.
pub(crate) const ARRIVING: &str = "model.arriving";
/// The consortium file that the coordinator sent, its signature, and what the next one continues from.
const EDITION: [&str; 4] = ["edition.toml", "edition.toml.sig", "epoch-start.toml", "epoch-start.ending"];

/// The statement that a withdrawal leaves in the data folder.
pub const WITHDRAWAL: &str = "withdrawal.json";

/// The journal of this epoch in a party's data folder. The program that uses the folder has locked it.
pub fn journal_path(folder: &Path, epoch: &Epoch) -> PathBuf {
    folder.join(format!("{JOURNAL_PREFIX}{}", &epoch.digest().to_string()[..16]))
}

/// The file of what a party helped to open, in its data folder. All epochs share one.
pub fn openings_path(folder: &Path) -> PathBuf {
    folder.join(OPENINGS)
}

/// The privacy ledger in a hospital's data folder. All epochs share one: what was released stays spent under the next
/// consortium file.
pub fn ledger_path(folder: &Path) -> PathBuf {
    folder.join(LEDGER)
}

/// What an entry of a data folder is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DataKind {
    /// What the party signed and announced in one epoch.
    Journal,
    /// What was trained.
    Model,
    /// What a training program was given, and its result: rows of notes are in it.
    TrainingJob,
    /// What the party uploaded and helped to open.
    Openings,
    /// What was released of the hospital's data.
    Ledger,
    /// The newest edition of the consortium file that the party knows, and what the next one continues from.
    Edition,
    /// The statement of an earlier withdrawal.
    Withdrawal,
    /// A symbolic link, behind which may be anything.
    Link,
    /// No program of a party wrote it.
    Other,
}

impl DataKind {
    /// The kind of an entry with this name. `is_link` says that it is a symbolic link.
    pub(crate) fn new(name: &OsStr, is_link: bool) -> Self {
        if is_link {
            return Self::Link;
        }
        let Some(name) = name.to_str() else { return Self::Other };
        // A file that was being replaced when the power failed.
        let name = name.strip_suffix(".part").unwrap_or(name);
        match name {
            OPENINGS => Self::Openings,
            LEDGER => Self::Ledger,
            TRAINING_JOB => Self::TrainingJob,
            WITHDRAWAL => Self::Withdrawal,
            _ if name.starts_with(JOURNAL_PREFIX) => Self::Journal,
            _ if MODELS.contains(&name) => Self::Model,
            _ if EDITION.contains(&name) => Self::Edition,
            _ => Self::Other,
        }
    }
}

/// Why a data folder cannot be erased.
#[derive(Debug, Error)]
pub enum DataFolderError {
    /// The folder cannot be read, or a file cannot be erased.
    #[error("cannot {action} {}: {source}; check that this user owns the folder, and run the command again", path.display())]
    Io {
        /// `read` or `erase`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It has nothing that a party writes.
    #[error(
        "{} has no journal, no openings and no privacy ledger of a hospital or a custodian; give the folder that was --data of \
         `cloister client` or `cloister custodian`",
        .0.display()
    )]
    NoParty(PathBuf),
    /// A program works on it.
    #[error(
        "a program uses {}; stop `cloister client` or `cloister custodian` first, because it would write again what is erased",
        .0.display()
    )]
    InUse(PathBuf),
    /// The openings cannot be kept.
    #[error("{0} A damaged file of openings can only be erased, with --erase-ledger")]
    Openings(#[from] JournalError),
}

/// The data folder of a party whose program does not run. While this exists, none can start.
#[derive(Debug)]
pub struct IdleDataFolder {
    folder: PathBuf,
    /// A running program holds the lock of its epoch's journal and that of the openings.
    _journals: Vec<File>,
    openings: Option<File>,
}

impl IdleDataFolder {
    /// Locks a party's data folder.
    ///
    /// # Errors
    /// [`DataFolderError::NoParty`] if it is not one, [`DataFolderError::InUse`] if a program runs on it, or what the
    /// system says.
    pub fn lock(folder: &Path) -> Result<Self, DataFolderError> {
        let mut idle = Self { folder: folder.to_path_buf(), _journals: Vec::new(), openings: None };
        let entries = idle.entries()?;
        let is_state = |kind| matches!(kind, DataKind::Journal | DataKind::Openings | DataKind::Ledger);
        if !entries.iter().any(|(kind, _)| is_state(*kind)) {
            return Err(DataFolderError::NoParty(folder.to_path_buf()));
        }
        for (kind, path) in entries {
            match kind {
                DataKind::Journal => idle._journals.push(idle.locked(&path)?),
                DataKind::Openings => idle.openings = Some(idle.locked(&path)?),
                _ => {}
            }
        }
        Ok(idle)
    }

    fn locked(&self, path: &Path) -> Result<File, DataFolderError> {
        let file = File::open(path).map_err(|source| failed("read", path, source))?;
        file.try_lock().map_err(|_| DataFolderError::InUse(self.folder.clone()))?;
        Ok(file)
    }

    /// The folder's entries, by kind and name.
    ///
    /// # Errors
    /// What the system says.
    pub fn entries(&self) -> Result<Vec<(DataKind, PathBuf)>, DataFolderError> {
        let unreadable = |source| failed("read", &self.folder, source);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let is_link = entry.file_type().map_err(unreadable)?.is_symlink();
            entries.push((DataKind::new(&entry.file_name(), is_link), entry.path()));
        }
        entries.sort();
        Ok(entries)
    }

    /// The privacy ledger's file, which need not exist.
    pub fn ledger(&self) -> PathBuf {
        ledger_path(&self.folder)
    }

    /// The file of openings, which need not exist.
    pub fn openings(&self) -> PathBuf {
        openings_path(&self.folder)
    }

    /// Erases all entries of these kinds, except symbolic links in folders. Before a journal is erased, the openings record
    /// that this party may have acted without a record (`ROUND-04`, `ROUND-38`): with the same keys it could otherwise sign
    /// twice. If the openings are to be erased, a file with this record alone takes their place.
    ///
    /// # Errors
    /// Openings that cannot be written, or a file that cannot be erased. What is erased stays erased, and a second call
    /// erases the rest.
    pub fn erase(mut self, kinds: &[DataKind]) -> Result<(), DataFolderError> {
        let entries = self.entries()?;
        let path = openings_path(&self.folder);
        // An entry and not what the path leads to: openings behind a link stay.
        let has_openings = entries.iter().any(|(kind, entry)| *kind == DataKind::Openings && *entry == path);
        if kinds.contains(&DataKind::Openings) && has_openings {
            erase(&path)?;
        }
        // Opened as a program opens them, which takes their lock anew. The journals stay locked.
        self.openings = None;
        let mut openings = OpeningsFile::open(&path).map_err(|error| match error {
            JournalError::InUse(_) => DataFolderError::InUse(self.folder.clone()),
            error => DataFolderError::Openings(error),
        })?;
        openings.keep(OpeningRecord::Restored)?;
        for (kind, entry) in entries {
            if kinds.contains(&kind) && entry != path {
                erase(&entry)?;
            }
        }
        Ok(())
    }
}

fn erase(path: &Path) -> Result<(), DataFolderError> {
    cloister_storage::remove(path).map_err(|source| failed("erase", path, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> DataFolderError {
    DataFolderError::Io { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests;
