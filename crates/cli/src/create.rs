//! Writes files of a consortium and of a party.

use std::fs;
use std::path::Path;

use crate::failure::Failure;

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
