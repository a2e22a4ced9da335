//! Digests of files and settings, by which results say what they were measured with.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::LabError;

/// SHA-256 of a list of byte strings, in hexadecimal digits.
pub(crate) fn bytes_digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths are hashed, or ["ab", "c"] and ["a", "bc"] would have one digest, and one cached result.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// SHA-256 of a file, as `sha256sum` prints it.
pub(crate) fn file_digest(path: &Path) -> Result<String, LabError> {
    let bytes = std::fs::read(path).map_err(LabError::file(path))?;
    Ok(hex::encode(Sha256::digest(bytes)))
}
