//! Files of models: what reading one says when it fails.

use std::fs;
use std::path::Path;

use crate::error::ExpertsError;

/// The bytes of a file; an error names it.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, ExpertsError> {
    fs::read(path).map_err(|source| ExpertsError::File { path: path.to_owned(), source })
}

/// A file does not hold what its place says.
pub(crate) fn unusable(path: &Path, reason: String) -> ExpertsError {
    ExpertsError::Content { path: path.to_owned(), reason }
}

/// A file is sound, and asks for what is not computed here.
pub(crate) fn unsupported(path: &Path, reason: String) -> ExpertsError {
    ExpertsError::Unsupported { path: path.to_owned(), reason }
}
