//! Files of models: what reading one says when it fails.

use std::fs;
use std::path::Path;

use crate::error::ExpertsError;

/// The bytes of a file; an error names it.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, ExpertsError> {
    fs::read(path).map_err(|source| ExpertsError::File { path: path.to_owned(), source })
}

/// The error of a file that is damaged or has other contents than expected; `reason` says which.
pub(crate) fn unusable(path: &Path, reason: String) -> ExpertsError {
    ExpertsError::Content { path: path.to_owned(), reason }
}

/// The error of a sound file that needs a feature that this crate does not implement.
pub(crate) fn unsupported(path: &Path, reason: String) -> ExpertsError {
    ExpertsError::Unsupported { path: path.to_owned(), reason }
}
