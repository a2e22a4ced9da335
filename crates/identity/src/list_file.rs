//! Lists that a coordinator keeps in its data folder, each in one TOML file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::format_version::{advice, check_version};

/// What such a file has.
pub(crate) trait KeptList: Clone + Default + Serialize + DeserializeOwned {
    /// The format's version. The list has it as its field `version`.
    const VERSION: u32;
    /// What the list is called in errors.
    const NAME: &'static str;
    /// What happens to those who were listed when the file is removed, for errors.
    const REMOVAL: &'static str;
}

/// Why the file of a list was not read or written.
#[derive(Debug, Error)]
pub enum ListFileError {
    /// The system's error.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another version's format.
    #[error(
        "{}: its format is version {got}, and this program reads version {known}: {}", path.display(), advice(*got, *known)
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The file's version.
        got: u32,
        /// The version that this program reads.
        known: u32,
    },
    /// Something else has written the file.
    #[error("{}: it is not a {name}: {why}; remove it, {removal}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the list is called.
        name: &'static str,
        /// What happens if the file is removed.
        removal: &'static str,
        /// Where reading failed.
        why: String,
    },
}

/// A list in memory and in its file.
#[derive(Debug)]
pub(crate) struct ListFile<L> {
    path: PathBuf,
    list: Mutex<L>,
}

impl<L: KeptList> ListFile<L> {
    /// Reads the file; the list is empty if there is none. Nothing is written.
    ///
    /// # Errors
    /// See [`ListFileError`].
    pub(crate) fn open(path: PathBuf) -> Result<Self, ListFileError> {
        let list = match std::fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => L::default(),
            Err(source) => return Err(ListFileError::Io { what: "read", path, source }),
        };
        Ok(Self { path, list: Mutex::new(list) })
    }

    /// The list. Nobody else reads or changes it meanwhile.
    pub(crate) fn lock(&self) -> MutexGuard<'_, L> {
        self.list.lock().expect("nothing panics while it holds the lock")
    }

    /// Changes the list. The change is on disk before it counts: after an error the list is as it was.
    ///
    /// # Errors
    /// Those of the change, and [`ListFileError::Io`].
    pub(crate) fn change<T, E: From<ListFileError>>(
        &self,
        change: impl FnOnce(&mut L) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut list = self.lock();
        let mut next = list.clone();
        let changed = change(&mut next)?;
        self.write(&next)?;
        *list = next;
        Ok(changed)
    }

    /// Writes a list into the file, which only its owner may read. The list in memory stays as it is.
    ///
    /// # Errors
    /// [`ListFileError::Io`].
    pub(crate) fn write(&self, list: &L) -> Result<(), ListFileError> {
        let written = toml::to_string(list).map_err(io::Error::other).and_then(|text| {
            cloister_storage::create_folder(self.path.parent().unwrap_or(Path::new(".")))?;
            cloister_storage::replace(&self.path, |file| file.write_all(text.as_bytes())).map(|_| ())
        });
        written.map_err(|source| ListFileError::Io { what: "write", path: self.path.clone(), source })
    }
}

fn parse<L: KeptList>(path: &Path, text: &str) -> Result<L, ListFileError> {
    // FILE-01
    check_version(text, L::VERSION).map_err(|got| ListFileError::Version {
        path: path.to_owned(),
        got,
        known: L::VERSION,
    })?;
    toml::from_str(text).map_err(|error| ListFileError::Syntax {
        path: path.to_owned(),
        name: L::NAME,
        removal: L::REMOVAL,
        why: error.message().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Names {
        version: u32,
        names: Vec<String>,
    }

    impl KeptList for Names {
        const VERSION: u32 = 1;
        const NAME: &'static str = "list of names";
        const REMOVAL: &'static str = "which forgets them";
    }

    fn add(file: &ListFile<Names>, name: &str) -> Result<usize, ListFileError> {
        file.change(|list| {
            list.version = 1;
            list.names.push(name.to_owned());
            Ok(list.names.len())
        })
    }

    /// FILE-01
    #[test]
    fn a_change_is_on_disk_before_it_counts_and_files_of_others_are_refused() {
        let folder = std::env::temp_dir().join(format!("cloister-lists-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let path = folder.join("data").join("names.toml");
        let open = || ListFile::<Names>::open(path.clone());
        let file = open().expect("there is no file yet");
        assert!(!folder.exists(), "reading writes nothing");
        assert_eq!(add(&file, "north").expect("a writable folder"), 1);
        assert_eq!(*open().expect("its own file").lock(), *file.lock());
        std::fs::remove_dir_all(&folder).expect("there");
        // A file where the folder should be: as root, a folder without permissions would not do.
        std::fs::write(&folder, "").expect("writable");
        assert!(matches!(add(&file, "south"), Err(ListFileError::Io { what: "write", .. })));
        assert_eq!(file.lock().names, ["north"]);
        std::fs::remove_file(&folder).expect("there");
        assert_eq!(add(&file, "south").expect("control"), 2);
        for (text, says) in [
            (
                "version = 2\nnames = []\n",
                "names.toml: its format is version 2, and this program reads version 1",
            ),
            ("version = 1\nnames = []\nmore = 1\n", "names.toml: it is not a list of names"),
            ("version = 1", "; remove it, which forgets them"),
        ] {
            std::fs::write(&path, text).expect("writable");
            let refused = open().expect_err(says).to_string();
            assert!(refused.contains(says), "{refused}");
        }
        std::fs::remove_dir_all(&folder).expect("there");
    }
}
