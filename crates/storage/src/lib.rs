//! Files of a party's state: only their owner can read them, whatever the umask is (`CONS-07`), and they
//! survive a power cut.
//!
//! All programs write a party's state (journals, ledgers, models, logs, keys) by these functions. Each of
//! them also syncs the folder: after a power cut, a file whose name was not synced may be missing although
//! its bytes were.
//!
//! # What it is not
//! It does not encrypt: who may read the disk may read the files. It does not lock; [`open`] returns a file
//! that the caller may lock. It works on Unix only.
//!
//! # Trust
//! The operating system enforces permissions and writes what it has synced. The owner of a file, and the
//! administrator of the machine, can read and change everything.
//!
//! # Example
//! A file that is replaced as a whole: a reader sees the old bytes or the new ones, and no mixture.
//!
//! ```
//! use std::io::Write;
//!
//! let folder = std::env::temp_dir().join(format!("cloister-storage-example-{}", std::process::id()));
//! cloister_storage::create_folder(&folder)?;
//! let path = folder.join("model.parameters");
//! cloister_storage::replace(&path, |file| file.write_all(b"round 1"))?;
//!
//! // A write that fails leaves the old file as it was.
//! let failed = cloister_storage::replace(&path, |_| Err(std::io::Error::other("the disk is full")));
//! assert!(failed.is_err());
//! assert_eq!(std::fs::read(&path)?, b"round 1");
//! assert_eq!(*cloister_storage::read_secret(&path)?, "round 1", "nobody else can read it");
//! # std::fs::remove_dir_all(folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// This crate does IO.
#![allow(clippy::disallowed_methods)]

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::Mode;
use thiserror::Error;
use zeroize::Zeroizing;

pub mod chain;
mod folder;

pub use folder::{FileLock, FolderState, free_space};

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;
/// The permissions of group and others.
const OTHERS: u32 = 0o077;

/// Sets the umask so that others have no permission on any file that this process and its children make, also
/// by a library. A program calls it before it starts threads, because the umask belongs to the whole process.
pub fn restrict_new_files() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Makes a folder and its missing parents, with permissions for their owner alone. An existing folder stays
/// as it is, because it may belong to the operator.
///
/// # Errors
/// The system's error.
pub fn create_folder(path: &Path) -> io::Result<()> {
    // A relative path ends in an empty parent, which is the working folder.
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    // Not `create_dir_all`: each new folder's name must be synced in the folder above it.
    create_folder(parent(path))?;
    match DirBuilder::new().mode(FOLDER).create(path) {
        // Another program has made it in the meantime.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.and_then(|()| sync_folder_of(path)),
    }
}

/// Opens a file for reading and writing, and makes it if it does not exist. Its bytes stay; others lose their
/// permissions.
///
/// # Errors
/// The system's error.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(FILE);
    let file = options.open(path)?;
    restrict(&file)?;
    sync_folder_of(path)?;
    Ok(file)
}

/// Opens a file for reading and writing; `None` if there is none. Its bytes stay; others lose their permissions.
///
/// # Errors
/// The system's error.
pub fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.and_then(|file| restrict(&file).map(|()| Some(file))),
    }
}

/// Writes a file beside the path, and then replaces the file at the path by it. A reader sees the old file or
/// the whole new one. The new file is returned open, so that more can be appended.
///
/// # Errors
/// The system's error, or that of `write`. The old file is then still there.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
    let part = path.with_added_extension("part");
    // A file that an interrupted call left behind; it may have other permissions.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` follows no link, so that nobody can have a secret written to another place.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE).open(&part)?;
    restrict(&file)?;
    // The bytes must be on disk before the name points to them. Otherwise a power cut could leave an empty
    // file at the path.
    if let Err(error) = write(&mut file).and_then(|()| file.sync_all()) {
        // It may hold a part of a hospital's notes, under a name that nobody looks for.
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    // A rename within one folder is atomic. That is why the new file is made beside the old one.
    fs::rename(part, path)?;
    sync_folder_of(path)?;
    Ok(file)
}

/// Writes a secret to a file that only its owner can read. An existing file is never overwritten.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], or another error of the system.
pub fn write_new_secret(path: &Path, text: &str) -> io::Result<()> {
    // The mode is set at creation, because a later chmod would leave the secret readable for a moment.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE).open(path)?;
    let written =
        restrict(&file).and_then(|()| file.write_all(text.as_bytes())).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a secret would keep the next try out, because nothing is overwritten.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    sync_folder_of(path)
}

/// Removes a file, or what is in a folder and the folder. Symbolic links in it stay, and so do the folders that have one:
/// what a link names would still be there, and nothing would say where. The bytes are not overwritten: file systems and
/// flash memory write new bytes to another place.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if the path is a symbolic link, or the system's error.
pub fn remove(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_symlink() {
        let why = "it is a symbolic link, and what it names would stay; remove that first, and then the link";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    if kind.is_dir() {
        remove_folder(path)?;
    } else {
        fs::remove_file(path)?;
    }
    // Or the name may be back after a power cut.
    sync_folder_of(path)
}

/// Removes what is in a folder, except symbolic links, and the folder if it is then empty. The result says whether it was.
fn remove_folder(folder: &Path) -> io::Result<bool> {
    let mut is_empty = true;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            is_empty = false;
        } else if kind.is_dir() {
            is_empty &= remove_folder(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    match is_empty {
        true => fs::remove_dir(folder)?,
        false => sync_folder(folder)?,
    }
    Ok(is_empty)
}

/// Why a secret was not read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Group or others have a permission on the file.
    #[error("others can read it (mode {mode:04o}, at most 0600 is accepted); run `chmod 600` on it")]
    ReadableByOthers {
        /// The file's permission bits.
        mode: u32,
    },
}

/// Reads a secret from a file that only its owner can read. The permissions are checked on the open file,
/// because another file could be moved to the path between a check by name and the read (`CONS-07`).
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

/// Removes the permissions of group and others. An earlier version may have made the file with those of the
/// umask.
fn restrict(file: &File) -> io::Result<()> {
    match file.metadata()?.permissions().mode() & OTHERS {
        0 => Ok(()),
        _ => file.set_permissions(Permissions::from_mode(FILE)),
    }
}

/// Makes the name of a file or folder survive a power cut.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    sync_folder(parent(path))
}

/// Makes the names in a folder survive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(test)]
    tests::SYNCED.with_borrow_mut(|synced| synced.push(folder.to_owned()));
    File::open(folder)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    // A bare file name has the parent "", which cannot be opened.
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
