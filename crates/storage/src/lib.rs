//! Files of a party's state: readable by their owner alone whatever the umask is (`CONS-07`), and there after a power cut.
//!
//! Whatever the programs write of a party's state appears through one of these functions. A folder's entry is as much a part
//! of a file as its bytes: each function syncs the folder too.

// This crate does IO.
#![allow(clippy::disallowed_methods)]

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::Mode;
use thiserror::Error;
use zeroize::Zeroizing;

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;
/// What nobody but the owner may do.
const OTHERS: u32 = 0o077;

/// From now on nobody else reads what this process and its children write, whoever writes it. To be called before threads
/// are started.
pub fn restrict_new_files() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Makes a folder, and the folders that it lies in, for their owner alone. One that is there stays as it is: it may be the
/// operator's own.
///
/// # Errors
/// What the system says.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    create_folder(parent(path))?;
    match DirBuilder::new().mode(FOLDER).create(path) {
        // Another program made it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.and_then(|()| sync_folder_of(path)),
    }
}

/// Opens a file for reading and writing, and makes it if there is none. Its bytes stay; its permissions become the owner's
/// alone.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(FILE);
    let file = options.open(path)?;
    restrict(&file)?;
    sync_folder_of(path)?;
    Ok(file)
}

/// Writes a file that replaces the one at the path once it is whole; a reader sees either all of it or the old one. The
/// file is still open for more.
///
/// # Errors
/// What the system says, or `write`.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
    let part = path.with_added_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE).open(&part)?;
    restrict(&file)?;
    write(&mut file)?;
    file.sync_all()?;
    fs::rename(part, path)?;
    sync_folder_of(path)?;
    Ok(file)
}

/// Why a secret was not read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Others than the owner can read or write it.
    #[error("others can read it (mode {mode:04o}, at most 0600 is accepted)")]
    ReadableByOthers {
        /// The file's permission bits.
        mode: u32,
    },
}

/// Reads a secret that nobody but its owner can read. The permissions are those of the file that is read, not of whatever
/// lies at the path a moment earlier (`CONS-07`).
///
/// # Errors
/// See [`SecretError`].
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    read_secret_from(File::open(path)?)
}

fn read_secret_from(mut file: File) -> Result<Zeroizing<String>, SecretError> {
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(SecretError::ReadableByOthers { mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Takes the permissions of others away: a file may be there from a version that left them to the umask.
fn restrict(file: &File) -> io::Result<()> {
    match file.metadata()?.permissions().mode() & OTHERS {
        0 => Ok(()),
        _ => file.set_permissions(Permissions::from_mode(FILE)),
    }
}

/// Makes the name of a file or folder survive a power cut.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = parent(path);
    #[cfg(test)]
    tests::SYNCED.with_borrow_mut(|synced| synced.push(folder.to_owned()));
    File::open(folder)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
