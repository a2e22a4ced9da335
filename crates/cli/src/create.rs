//! Writes files of a consortium and of a party.

use std::fs;
#[cfg(feature = "training")]
use std::fs::File;
#[cfg(feature = "training")]
use std::io;
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

/// Checks that a file that a command writes does not exist. `flag` names it.
#[cfg(feature = "training")]
pub(crate) fn check_no_file(path: &Path, flag: &str) -> Result<(), Failure> {
    match path.exists() {
        true => Err(Failure::config(format!(
            "{} exists, and no file is overwritten; name another file as {flag}",
            path.display()
        ))),
        false => Ok(()),
    }
}

/// Writes a whole file or none, readable by its owner alone.
#[cfg(feature = "training")]
pub(crate) fn write_private<T>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut written = None;
    let replaced = cloister_storage::replace(path, |file| {
        let result = write(file);
        let outcome = result.as_ref().map(|_| ()).map_err(|failure| io::Error::other(failure.to_string()));
        written = Some(result);
        outcome
    });
    match (written, replaced) {
        (Some(Err(failure)), _) => Err(failure),
        (Some(Ok(result)), Ok(_)) => Ok(result),
        (_, Err(error)) => Err(unwritten(path, &error)),
        // `replace` calls its argument, or fails.
        (None, Ok(_)) => Err(Failure::error(format!("nothing was written to {}", path.display()))),
    }
}

/// The failure to write a file that a command is for.
#[cfg(feature = "training")]
pub(crate) fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::error(format!(
        "cannot write {}: {error}; check the folder, its permissions and the room on the disk",
        path.display()
    ))
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
