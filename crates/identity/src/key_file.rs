//! Files of private keys: read only if nobody else can read them, and never overwritten (`CONS-07`).

use std::io;
use std::path::{Path, PathBuf};

use cloister_storage::SecretError;
use thiserror::Error;
use zeroize::Zeroizing;

/// Why a file of keys was not read or written.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// Others could have copied the key.
    #[error(
        "other users of this machine can read the key {} (mode {mode:04o}, at most 0600 is accepted); run `chmod 600 {}`, and \
         replace the key if somebody may have read it",
        path.display(),
        path.display()
    )]
    ReadableByOthers {
        /// The key's file.
        path: PathBuf,
        /// The file's permission bits.
        mode: u32,
    },
    /// A file is there already, and is not overwritten.
    #[error("{} exists and is not overwritten; choose another folder, or move the old keys away", path.display())]
    Exists {
        /// The file that is there.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl KeyFileError {
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }
}

/// Writes a new file that only its owner can read.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), KeyFileError> {
    cloister_storage::write_new_secret(path, text).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
        _ => KeyFileError::file("write", path, source),
    })
}

/// Reads a file, unless users other than its owner can read it.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    cloister_storage::read_secret(path).map_err(|error| match error {
        SecretError::Io(source) => KeyFileError::file("read", path, source),
        SecretError::ReadableByOthers { mode } => {
            KeyFileError::ReadableByOthers { path: path.to_owned(), mode }
        }
    })
}
