//! The folder of one job. Only this user can read it, and it is removed when the job is over.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct JobFolder(PathBuf);

impl JobFolder {
    /// Makes an empty folder. A job that was killed together with this process may have left an old one, which is removed.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        // Removed and made again, and not emptied: its owner and permissions are then known.
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(path)?;
        Ok(Self(path.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for JobFolder {
    fn drop(&mut self) {
        // The next job removes it, and fails if it cannot.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_private_fresh_and_leaves_nothing() {
        let path = std::env::temp_dir().join(format!("cloister-job-{}", std::process::id()));
        fs::create_dir(&path).expect("it is new");
        fs::write(path.join("left"), "by a job that was killed").expect("it can be written");
        let folder = JobFolder::create(&path).expect("it can be made");
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
        let mode = fs::metadata(folder.path()).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(folder.path().join("secret"), "1").expect("it can be written");
        drop(folder);
        assert!(!path.exists());
    }
}
