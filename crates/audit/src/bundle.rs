//! The evidence of an edition in one zip file: what the coordinator keeps, the consortium file, and what was found.
//!
//! Files are stored without compression, under fixed times, so that the same evidence gives the same bytes. The last file,
//! `SHA256SUMS`, lists all others as `sha256sum` writes them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The list of a bundle's files with their digests.
const SUMS: &str = "SHA256SUMS";
/// The coordinator's files in a bundle are in this folder.
pub(crate) const COORDINATOR: &str = "coordinator";

/// A file of a bundle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BundledFile {
    /// A copy of a file.
    Copy {
        /// Its path in the bundle.
        name: String,
        /// The file.
        source: PathBuf,
    },
    /// What was made for the bundle.
    Made {
        /// Its path in the bundle.
        name: String,
        /// Its content.
        content: Vec<u8>,
    },
}

impl BundledFile {
    /// Its path in the bundle.
    pub fn name(&self) -> &str {
        match self {
            Self::Copy { name, .. } | Self::Made { name, .. } => name,
        }
    }
}

/// A bundle that cannot be written or read.
#[derive(Debug, Error)]
pub enum EvidenceBundleError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is no zip file, or a damaged one.
    #[error("{} is no bundle: {source}", path.display())]
    Zip {
        /// The bundle.
        path: PathBuf,
        /// What is wrong with it.
        source: ZipError,
    },
    /// A name in the bundle leads out of it.
    #[error("{} has a file {name:?}, whose name is no path in it", path.display())]
    Name {
        /// The bundle.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

/// The files of an edition that a bundle has of a coordinator's folder. `start` is the model before the first round.
///
/// # Errors
/// A folder that cannot be read.
pub fn evidence_files(data: &Path, edition: u32, start: &str) -> io::Result<Vec<BundledFile>> {
    let logs = PathBuf::from("logs").join(format!("{edition:03}"));
    let rounds = match edition {
        1 => PathBuf::from("rounds"),
        later => PathBuf::from("rounds").join(format!("edition-{later:03}")),
    };
    let mut paths = Vec::new();
    list(data, &logs, true, &mut paths)?;
    list(data, &rounds, false, &mut paths)?;
    list(data, Path::new("models"), false, &mut paths)?;
    paths.retain(|path| !path.starts_with("models") || path.to_string_lossy().contains(start));
    for name in ["model.parameters", "privacy-ledger-member", "privacy-ledger-record"] {
        if data.join(name).is_file() {
            paths.push(PathBuf::from(name));
        }
    }
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let name = format!("{COORDINATOR}/{}", path.display());
        files.push(BundledFile::Copy { name, source: data.join(path) });
    }
    Ok(files)
}

/// The files in a folder below `data`, by their paths from there.
fn list(data: &Path, below: &Path, is_deep: bool, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in crate::folder::files(&data.join(below))? {
        let path = below.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true if is_deep => list(data, &path, true, paths)?,
            true => {}
            false => paths.push(path),
        }
    }
    Ok(())
}

/// Writes a bundle.
///
/// # Errors
/// A file that cannot be read or written.
pub fn write_bundle(out: &Path, files: &[BundledFile]) -> Result<(), EvidenceBundleError> {
    // It has what members announced, so it is for its owner alone.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let mut zip = ZipWriter::new(file.map_err(io_error(out))?);
    let mut sums = String::new();
    for file in files {
        let (name, place): (&str, &Path) = match file {
            BundledFile::Copy { source, .. } => (file.name(), source),
            BundledFile::Made { .. } => (file.name(), out),
        };
        let mut content: Box<dyn Read> = match file {
            BundledFile::Copy { source, .. } => Box::new(File::open(source).map_err(io_error(place))?),
            BundledFile::Made { content, .. } => Box::new(&content[..]),
        };
        begin(&mut zip, out, name)?;
        let mut hashed = HashedWriter { inner: &mut zip, hash: Sha256::new() };
        io::copy(&mut content, &mut hashed).map_err(io_error(place))?;
        sums.push_str(&format!("{}  {name}\n", hex::encode(hashed.hash.finalize())));
    }
    begin(&mut zip, out, SUMS)?;
    zip.write_all(sums.as_bytes()).map_err(io_error(out))?;
    let file = zip.finish().map_err(zip_error(out))?;
    file.sync_all().map_err(io_error(out))
}

fn begin(zip: &mut ZipWriter<File>, out: &Path, name: &str) -> Result<(), EvidenceBundleError> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    zip.start_file(name, options).map_err(zip_error(out))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> EvidenceBundleError {
    let path = path.to_path_buf();
    move |source| EvidenceBundleError::Io { path, source }
}

fn zip_error(path: &Path) -> impl FnOnce(ZipError) -> EvidenceBundleError {
    let path = path.to_path_buf();
    move |source| EvidenceBundleError::Zip { path, source }
}

/// Hashes what passes through.
struct HashedWriter<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for HashedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A bundle that was unpacked into a folder of its own, which is removed at the end.
#[derive(Debug)]
pub(crate) struct UnpackedBundle {
    folder: PathBuf,
    /// What does not fit `SHA256SUMS`.
    pub(crate) difference: Option<String>,
}

impl UnpackedBundle {
    /// Unpacks a bundle, and compares its files with the list in it.
    pub(crate) fn open(path: &Path) -> Result<Self, EvidenceBundleError> {
        let mut zip = ZipArchive::new(File::open(path).map_err(io_error(path))?).map_err(zip_error(path))?;
        let folder =
            std::env::temp_dir().join(format!("cloister-bundle-{}-{}", std::process::id(), unique()));
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(io_error(path))?;
        let mut unpacked = Self { folder, difference: None };
        let mut found = BTreeMap::new();
        for index in 0..zip.len() {
            let mut file = zip.by_index(index).map_err(zip_error(path))?;
            let name = file.name().map_err(zip_error(path))?.into_owned();
            let is_inside = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
            if !is_inside || name.is_empty() || found.contains_key(&name) {
                return Err(EvidenceBundleError::Name { path: path.to_path_buf(), name });
            }
            let target = unpacked.folder.join(&name);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).map_err(io_error(path))?;
            }
            let out = File::create_new(&target).map_err(io_error(path))?;
            let mut hashed = HashedWriter { inner: out, hash: Sha256::new() };
            if let Err(error) = io::copy(&mut file, &mut hashed) {
                unpacked.difference = Some(format!("{name} cannot be unpacked: {error}"));
                return Ok(unpacked);
            }
            found.insert(name, hex::encode(hashed.hash.finalize()));
        }
        found.remove(SUMS);
        let listed = fs::read_to_string(unpacked.folder.join(SUMS)).unwrap_or_default();
        unpacked.difference = difference(&listed, &found);
        Ok(unpacked)
    }

    /// The coordinator's files.
    pub(crate) fn coordinator(&self) -> PathBuf {
        self.folder.join(COORDINATOR)
    }
}

impl Drop for UnpackedBundle {
    fn drop(&mut self) {
        // Nothing else is in it, and an error cannot be answered any more.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The first line or file that the other has not.
fn difference(listed: &str, found: &BTreeMap<String, String>) -> Option<String> {
    let mut lines = BTreeMap::new();
    for line in listed.lines() {
        let Some((sum, name)) = line.split_once("  ") else {
            return Some(format!("{line:?} is no line of {SUMS}"));
        };
        lines.insert(name.to_owned(), sum.to_owned());
    }
    for (name, sum) in found {
        match lines.remove(name) {
            Some(listed) if listed == *sum => {}
            Some(_) => return Some(format!("{name} has another digest than {SUMS} says")),
            None => return Some(format!("{SUMS} does not list {name}")),
        }
    }
    lines.into_keys().next().map(|name| format!("{SUMS} lists {name}, which is missing"))
}

/// A number that no other bundle of this process has.
fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("cloister-bundle-test-{}-{name}.zip", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    fn files() -> Vec<BundledFile> {
        let made = |name: &str, content: &[u8]| BundledFile::Made {
            name: name.to_owned(),
            content: content.to_vec(),
        };
        vec![made("coordinator/model.parameters", b"the parameters"), made("evidence.json", b"{}")]
    }

    /// A zip file with these files as they are.
    fn zip_of(path: &Path, files: &[(&str, &str)]) {
        let mut zip = ZipWriter::new(File::create(path).expect("writable"));
        for (name, content) in files {
            begin(&mut zip, path, name).expect("writable");
            zip.write_all(content.as_bytes()).expect("writable");
        }
        zip.finish().expect("writable");
    }

    fn difference_of(path: &Path) -> Option<String> {
        UnpackedBundle::open(path).expect("a zip file").difference.clone()
    }

    #[test]
    fn a_bundle_unpacks_to_what_was_put_in_and_the_same_files_give_the_same_bytes() {
        let (one, other) = (scratch("one"), scratch("other"));
        write_bundle(&one, &files()).expect("writable");
        write_bundle(&other, &files()).expect("writable");
        assert_eq!(fs::read(&one).expect("there"), fs::read(&other).expect("there"));
        let unpacked = UnpackedBundle::open(&one).expect("a bundle");
        assert_eq!(unpacked.difference, None);
        let folder = unpacked.coordinator();
        assert_eq!(fs::read(folder.join("model.parameters")).expect("there"), b"the parameters");
        drop(unpacked);
        assert!(!folder.exists(), "it is removed");
        assert!(
            matches!(write_bundle(&one, &files()), Err(EvidenceBundleError::Io { .. })),
            "it is not overwritten"
        );
        fs::remove_file(one).expect("there");
        fs::remove_file(other).expect("there");
    }

    #[test]
    fn files_that_the_list_does_not_have_and_names_that_lead_out_are_found() {
        let path = scratch("changed");
        write_bundle(&path, &files()).expect("writable");
        let sound = fs::read(&path).expect("there");
        let at = sound.windows(14).position(|bytes| bytes == b"the parameters").expect("stored as it is");
        let mut changed = sound.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).expect("writable");
        let difference = difference_of(&path).expect("its checksum does not fit");
        assert!(difference.contains("coordinator/model.parameters cannot be unpacked"), "{difference}");
        let sum = hex::encode(Sha256::digest(b"text"));
        for (files, expected) in [
            (&[("a", "text"), (SUMS, &*format!("{sum}  a\n"))][..], None),
            (&[("a", "other"), (SUMS, &*format!("{sum}  a\n"))], Some("a has another digest")),
            (&[("a", "text"), ("b", "text"), (SUMS, &*format!("{sum}  a\n"))], Some("does not list b")),
            (&[(SUMS, &*format!("{sum}  a\n"))], Some("lists a, which is missing")),
            (&[("a", "text")], Some("does not list a")),
            (&[("a", "text"), (SUMS, "nothing\n")], Some("is no line")),
        ] {
            zip_of(&path, files);
            let difference = difference_of(&path);
            assert_eq!(difference.is_some(), expected.is_some(), "{difference:?}");
            assert!(difference.unwrap_or_default().contains(expected.unwrap_or_default()), "{expected:?}");
        }
        for name in ["../outside", "/outside", "a/../../outside", "./a"] {
            zip_of(&path, &[(name, "text")]);
            let error = UnpackedBundle::open(&path).expect_err("no path in the bundle");
            assert!(matches!(error, EvidenceBundleError::Name { .. }), "{name}: {error}");
        }
        fs::write(&path, "no zip file").expect("writable");
        assert!(matches!(UnpackedBundle::open(&path), Err(EvidenceBundleError::Zip { .. })));
        fs::remove_file(path).expect("there");
    }
}
