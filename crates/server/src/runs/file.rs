//! The queue's files in a coordinator's folder: `runs.json`, and the round settings of each run that has its own.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cloister_params::consortium::PublicBytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Run;

/// The name of the format. A later one has a higher number.
const FORMAT: &str = "cloister/runs/v1";
const RUNS: &str = "runs.json";

/// Why a list of runs was not read or written.
#[derive(Debug, Error)]
pub enum QueueError {
    /// The system's error.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another version's format.
    #[error(
        "{path} has the format {got}, and this program reads {FORMAT}: a later version of the program wrote it; install that \
         version"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The file's format.
        got: String,
    },
    /// Something else has written the file.
    #[error(
        "{path} is not a list of runs: {why}; move it away, after which the number of rounds of the configuration alone counts"
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What the file has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunList {
    format: String,
    /// The number of the next run.
    pub(super) next: u32,
    /// The number of rounds of the configuration, as far as runs were made for it.
    pub(super) configured: u64,
    pub(super) runs: Vec<Run>,
}

impl RunList {
    pub(super) fn new() -> Self {
        Self { format: FORMAT.to_owned(), next: 1, configured: 0, runs: Vec::new() }
    }
}

/// The list in a folder; `None` if there is none yet.
pub(super) fn read(folder: &Path) -> Result<Option<RunList>, QueueError> {
    let path = folder.join(RUNS);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(QueueError::Io { what: "read", path, source }),
    };
    let syntax = |error: serde_json::Error| QueueError::Syntax { path: path.clone(), why: error.to_string() };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(syntax)?;
    // FILE-01: before anything else is read, because a later version may have other fields.
    if let Some(got) = value["format"].as_str().filter(|got| *got != FORMAT) {
        return Err(QueueError::Version { path, got: got.to_owned() });
    }
    let list: RunList = serde_json::from_value(value).map_err(syntax)?;
    // Or numbers would be given twice, and files of settings are named by them.
    if list.next == u32::MAX || list.runs.iter().any(|run| run.number >= list.next) {
        let why =
            format!("the next run's number, {}, is too large or not above those of all runs", list.next);
        return Err(QueueError::Syntax { path, why });
    }
    Ok(Some(list))
}

pub(super) fn write(folder: &Path, list: &RunList) -> Result<(), QueueError> {
    let path = folder.join(RUNS);
    let written = serde_json::to_string_pretty(list).map_err(io::Error::from).and_then(|text| {
        cloister_storage::create_folder(folder)?;
        cloister_storage::replace(&path, |file| writeln!(file, "{text}")).map(|_| ())
    });
    written.map_err(|source| QueueError::Io { what: "write", path, source })
}

pub(super) fn settings_digest(text: &str) -> PublicBytes {
    PublicBytes(Sha256::digest(text).into())
}

/// Keeps a run's round settings until it has ended.
pub(super) fn write_settings(folder: &Path, number: u32, text: &str) -> Result<(), QueueError> {
    let path = settings_path(folder, number);
    let written = cloister_storage::create_folder(folder)
        .and_then(|()| cloister_storage::replace(&path, |file| file.write_all(text.as_bytes())));
    written.map(|_| ()).map_err(|source| QueueError::Io { what: "write", path, source })
}

/// A run's round settings, or why they are not those that were queued.
pub(super) fn read_settings(folder: &Path, number: u32, digest: PublicBytes) -> Result<String, String> {
    let path = settings_path(folder, number);
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {error}; queue the run again", path.display()))?;
    match settings_digest(&text) == digest {
        true => Ok(text),
        false => Err(format!("{} was changed after the run was queued; queue the run again", path.display())),
    }
}

pub(super) fn remove_settings(folder: &Path, number: u32) {
    // One that stays is read by nobody, because no number is given twice.
    let _ = cloister_storage::remove(&settings_path(folder, number));
}

fn settings_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("run-{number:04}.settings.toml"))
}
