//! What a folder of state is like, and who uses a file: read alone, nothing is changed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use crate::{OTHERS, parent};

/// A folder of state, as the file system describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FolderState {
    /// The user who owns it.
    pub owner: u32,
    /// The user of this process.
    pub user: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Whether this process may make files in it.
    pub is_writable: bool,
}

impl FolderState {
    /// Reads it.
    ///
    /// # Errors
    /// The system's error; [`io::ErrorKind::NotADirectory`] for a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let user = rustix::process::geteuid().as_raw();
        let is_writable = access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok();
        Ok(Self { owner: metadata.uid(), user, mode: metadata.mode() & 0o7777, is_writable })
    }

    /// Whether group or others have a permission on it.
    pub fn is_open_to_others(&self) -> bool {
        self.mode & OTHERS != 0
    }
}

/// Bytes that this user can still write to the file system of a path. Of a path that does not exist, its nearest folder
/// that does counts.
///
/// # Errors
/// The system's error.
pub fn free_space(path: &Path) -> io::Result<u64> {
    let mut folder = path;
    while !folder.exists() && folder != parent(folder) {
        folder = parent(folder);
    }
    let space = statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Who has locked a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileLock {
    /// Nobody.
    Free,
    /// A process: its number, if the system says it.
    Held(Option<u32>),
}

impl FileLock {
    /// Reads it. Nobody has locked a file that does not exist.
    ///
    /// # Errors
    /// The system's error.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Free),
            opened => opened?,
        };
        // Shared, and given back at once: only a program that starts in this moment could meet it.
        match file.try_lock_shared() {
            Ok(()) => file.unlock().map(|()| Self::Free),
            Err(TryLockError::WouldBlock) => Ok(Self::Held(holder(file.metadata()?.ino()))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The process that has locked the file with this number, as Linux lists it.
fn holder(inode: u64) -> Option<u32> {
    let list = fs::read_to_string("/proc/locks").ok()?;
    list.lines().find_map(|line| holder_in(line, inode))
}

/// A line is `number: FLOCK ADVISORY WRITE process major:minor:inode start end`.
fn holder_in(line: &str, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", process, file, ..] = words[..] else { return None };
    let number: u64 = file.rsplit(':').next()?.parse().ok()?;
    process.parse().ok().filter(|_| number == inode)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_described_as_it_is() {
        let path = std::env::temp_dir().join(format!("cloister-folder-state-{}", std::process::id()));
        crate::create_folder(&path).expect("a writable folder");
        let state = FolderState::read(&path).expect("it is there");
        assert_eq!((state.owner, state.mode, state.is_writable), (state.user, 0o700, true));
        assert!(!state.is_open_to_others());
        fs::set_permissions(&path, Permissions::from_mode(0o750)).expect("this user's folder");
        assert!(FolderState::read(&path).expect("it is there").is_open_to_others());
        assert!(free_space(&path).expect("it is there") > 0);
        assert_eq!(
            free_space(&path.join("not/yet")).is_ok(),
            free_space(&path).is_ok(),
            "what does not exist has its parent's space"
        );
        fs::write(path.join("file"), "").expect("writable");
        let error = FolderState::read(&path.join("file")).expect_err("a file");
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        fs::remove_dir_all(path).expect("there");
    }

    #[test]
    fn a_locked_file_names_its_process_and_stays_locked() {
        let path = std::env::temp_dir().join(format!("cloister-file-lock-{}", std::process::id()));
        assert_eq!(FileLock::read(&path).expect("no file"), FileLock::Free);
        let file = crate::open(&path).expect("a writable folder");
        assert_eq!(FileLock::read(&path).expect("readable"), FileLock::Free);
        file.try_lock().expect("free");
        let FileLock::Held(process) = FileLock::read(&path).expect("readable") else {
            panic!("it is locked")
        };
        if cfg!(target_os = "linux") {
            assert_eq!(process, Some(std::process::id()));
        }
        assert!(crate::open(&path).expect("there").try_lock().is_err(), "the lock is still there");
        fs::remove_file(path).expect("there");
    }

    #[test]
    fn the_system_s_list_of_locks_is_read() {
        let line = "12: FLOCK  ADVISORY  WRITE 4711 fd:01:1234567 0 EOF";
        assert_eq!(holder_in(line, 1_234_567), Some(4711));
        assert_eq!(holder_in(line, 123), None);
        assert_eq!(holder_in(&line.replace("FLOCK", "POSIX"), 1_234_567), None);
        assert_eq!(holder_in("12: -> FLOCK  ADVISORY  WRITE 4711 fd:01:1234567 0 EOF", 1_234_567), None);
    }
}
