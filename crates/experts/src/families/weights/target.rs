//! Where a model may be written. Its files are mapped into memory while they are read, and a file that is
//! truncated then ends the process, so a model is never written over its source.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::error::ExpertsError;

/// Checks that what is written into the folder `target` overwrites nothing of `source`, a model's folder or
/// file. The folder need not exist.
///
/// # Errors
/// [`ExpertsError::Target`] if `target` is `source` or is inside it, by whatever path or link, or if it has a
/// file that is also in `source`; [`ExpertsError::File`].
pub(crate) fn check_target(source: &Path, target: &Path) -> Result<(), ExpertsError> {
    let is_inside = resolved(target)?.starts_with(resolved(source)?);
    // A folder may hold links to files of another, as the cache of Hugging Face does.
    let shares_file = !identities(target)?.is_disjoint(&identities(source)?);
    match is_inside || shares_file {
        true => Err(ExpertsError::Target { source_path: source.to_owned(), path: target.to_owned() }),
        false => Ok(()),
    }
}

/// A path without links and `..`. A part that does not exist yet stays as it is.
fn resolved(path: &Path) -> Result<PathBuf, ExpertsError> {
    let absolute =
        std::path::absolute(path).map_err(|source| ExpertsError::File { path: path.to_owned(), source })?;
    let mut resolved = PathBuf::new();
    for component in absolute.components() {
        match component {
            // The path up to here has no links, so its last part is what `..` leaves.
            Component::ParentDir => drop(resolved.pop()),
            other => resolved.push(other),
        }
        resolved = fs::canonicalize(&resolved).unwrap_or(resolved);
    }
    Ok(resolved)
}

/// Device and number of a file, or of each file in a folder, which are the same by every name. Empty if there
/// is none.
fn identities(path: &Path) -> Result<BTreeSet<(u64, u64)>, ExpertsError> {
    let failed = |source| ExpertsError::File { path: path.to_owned(), source };
    let mut paths = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(failed)?;
        paths =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(failed)?;
    }
    paths.retain(|path| path.is_file());
    paths.iter().map(|path| fs::metadata(path).map(|file| (file.dev(), file.ino())).map_err(failed)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_target_that_would_overwrite_its_source_is_refused_by_whatever_path() {
        let scratch = std::env::temp_dir().join(format!("cloister-target-{}", std::process::id()));
        let model = scratch.join("model");
        for folder in ["model", "other", "shared", "linked"] {
            fs::create_dir_all(scratch.join(folder)).expect("a temporary folder can be made");
        }
        let weights = model.join("model.safetensors");
        fs::write(&weights, "weights").expect("it can be written");
        fs::write(scratch.join("other/model.safetensors"), "weights").expect("it can be written");
        fs::hard_link(&weights, scratch.join("shared/model.safetensors")).expect("it can be linked");
        symlink(&weights, scratch.join("linked/model.safetensors")).expect("it can be linked");
        symlink(&model, scratch.join("alias")).expect("it can be linked");
        let refused = ["model", "model/", "model/inner/deeper", "alias", "alias/inner", "other/../model"];
        let refused =
            refused.into_iter().chain(["new/../model", "shared", "linked", "model/model.safetensors"]);
        for target in refused {
            let error = check_target(&model, &scratch.join(target)).expect_err(target).to_string();
            assert!(error.contains("would overwrite"), "{error}");
        }
        for target in ["other", "new", "model-2", "alias/../new", "model/../new"] {
            check_target(&model, &scratch.join(target)).unwrap_or_else(|error| panic!("{target}: {error}"));
        }
        assert!(check_target(&weights, &scratch.join("shared")).is_err(), "the source is a file");
        assert!(check_target(&weights, &model).is_err(), "the source is a file in it");
        check_target(&weights, &scratch.join("other")).expect("another file of the same name");
        fs::remove_dir_all(scratch).expect("it was made above");
    }
}
