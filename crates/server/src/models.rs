//! The models of the last closings, in the coordinator's folder (`FILE-02`).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cloister_params::id::Digest;
use cloister_protocol::model::Model;

/// The folder of the kept models, in the coordinator's.
const MODELS: &str = "models";
const SUFFIX: &str = ".parameters";

/// A model that the coordinator keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptModel {
    /// In the order in which the models were last in force.
    number: u64,
    /// Its digest, as its name says; the content is compared with it when it is read.
    pub digest: Digest,
    /// Its file, which has the format of initial parameters.
    pub path: PathBuf,
    /// The length of the file.
    pub bytes: u64,
}

/// The models that a coordinator's folder has, oldest first. No lock is taken.
///
/// # Errors
/// A folder that cannot be read.
pub fn kept_models(folder: &Path) -> io::Result<Vec<KeptModel>> {
    let entries = match fs::read_dir(folder.join(MODELS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut models = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some((number, digest)) = entry.file_name().to_str().and_then(parse_name) {
            models.push(KeptModel { number, digest, path: entry.path(), bytes: entry.metadata()?.len() });
        }
    }
    models.sort_by_key(|model| model.number);
    Ok(models)
}

/// The number and the digest of a file's name.
fn parse_name(name: &str) -> Option<(u64, Digest)> {
    let (number, digest) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    Some((number.parse().ok()?, digest.parse().ok()?))
}

/// Reads a kept model; none if it is not kept, or its file is not what its name says.
pub(crate) fn read_kept(folder: &Path, digest: Digest) -> io::Result<Option<Model>> {
    let kept = kept_models(folder)?;
    let Some(found) = kept.iter().rev().find(|kept| kept.digest == digest) else { return Ok(None) };
    let model = Model::from_bytes(&fs::read(&found.path)?);
    Ok(model.filter(|model| model.digest() == digest))
}

/// Keeps the model in force, and erases the oldest ones, so that `most` stay, and those that are protected.
pub(crate) fn keep_model(
    folder: &Path,
    model: &Model,
    most: usize,
    is_protected: impl Fn(Digest) -> bool,
) -> io::Result<()> {
    let (digest, before) = (model.digest(), kept_models(folder)?);
    if before.last().is_none_or(|newest| newest.digest != digest) {
        let number = before.last().map_or(1, |newest| newest.number + 1);
        let models = folder.join(MODELS);
        cloister_storage::create_folder(&models)?;
        // Eight digits, so that the names sort as the models do.
        let path = models.join(format!("{number:08}-{digest}{SUFFIX}"));
        cloister_storage::replace(&path, |file| file.write_all(&model.to_bytes()))?;
    }
    let kept = kept_models(folder)?;
    let (old, newest) = kept.split_at(kept.len().saturating_sub(most.max(1)));
    for (place, model) in old.iter().enumerate() {
        // Parameters can return to earlier values: then the later file is the one that counts.
        let comes_later = old[place + 1..].iter().chain(newest).any(|later| later.digest == model.digest);
        if comes_later || !is_protected(model.digest) {
            cloister_storage::remove(&model.path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn model(value: u8) -> Model {
        Model::new(vec![vec![f32::from(value)]])
    }

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cloister-models-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        cloister_storage::create_folder(&folder).expect("a temporary folder can be made");
        folder
    }

    fn kept(folder: &Path) -> Vec<Digest> {
        kept_models(folder).expect("readable").into_iter().map(|kept| kept.digest).collect()
    }

    /// FILE-02
    #[test]
    fn the_newest_models_and_the_start_stay_and_the_others_are_erased() {
        let folder = scratch("newest");
        assert_eq!(kept(&folder), [], "before the first");
        let digests: Vec<Digest> = (0..6).map(|value| model(value).digest()).collect();
        for value in 0..6 {
            keep_model(&folder, &model(value), 2, |digest| digest == digests[0]).expect("writable");
        }
        assert_eq!(kept(&folder), [digests[0], digests[4], digests[5]]);
        for found in kept_models(&folder).expect("readable") {
            let bytes = fs::read(&found.path).expect("it is there");
            assert_eq!(found.bytes, bytes.len() as u64);
            assert_eq!(Model::from_bytes(&bytes).map(|model| model.digest()), Some(found.digest));
            assert_eq!(found.path.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
        }
        // After an abort the model is the same.
        keep_model(&folder, &model(5), 2, |digest| digest == digests[0]).expect("writable");
        assert_eq!(kept(&folder), [digests[0], digests[4], digests[5]]);
        keep_model(&folder, &model(5), 1, |_| false).expect("writable");
        assert_eq!(kept(&folder), [digests[5]], "control: nothing else is protected");
        fs::remove_dir_all(folder).expect("it was made");
    }

    /// FILE-02: a model that comes back is the newest again.
    #[test]
    fn a_model_that_returns_is_kept_once_it_counts() {
        let folder = scratch("returns");
        for value in [1, 2, 1, 3] {
            keep_model(&folder, &model(value), 2, |_| false).expect("writable");
        }
        assert_eq!(kept(&folder), [model(1).digest(), model(3).digest()]);
        keep_model(&folder, &model(1), 3, |digest| digest == model(1).digest()).expect("writable");
        assert_eq!(kept(&folder).last(), Some(&model(1).digest()));
        fs::write(folder.join(MODELS).join("notes.txt"), "by hand").expect("writable");
        assert!(kept(&folder).len() <= 3, "what is no model is left alone");
        fs::remove_dir_all(folder).expect("it was made");
    }
}
