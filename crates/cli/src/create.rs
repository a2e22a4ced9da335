//! Writes files of a consortium and of a party.

use std::fs;
use std::path::Path;

use crate::failure::Failure;

/// Checks that a folder that a command writes does not exist yet, or is empty.
#[cfg(feature = "training")]
pub(crate) fn check_new(folder: &Path) -> Result<(), Failure> {
    let reason = match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(false) => "it is not empty, and no file is overwritten".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::config(format!(
        "cannot write into {}: {reason}; name a new folder, or an empty one",
        folder.display()
    )))
}

pub(crate) fn create_folder(folder: &Path) -> Result<(), Failure> {
    cloister_storage::create_folder(folder)
        .map_err(|error| Failure::error(format!("cannot create {}: {error}", folder.display())))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::error(format!("cannot write {}: {error}", path.display()))
}
