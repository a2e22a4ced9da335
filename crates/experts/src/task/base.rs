//! Identifies the files of a base model by their digests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::AdapterTask;
use crate::error::ExpertsError;
use crate::families::shard_paths;
use crate::model_files::{read_file, unusable};

/// Bytes that are read and hashed at a time: a shard of weights may exceed the memory.
const BUFFER: usize = 1 << 20;
const CONFIG: &str = "config.json";
/// Files that training reads besides the weights. Each may be absent.
const READ: [&str; 4] = [CONFIG, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/// SHA-256 of every file that training reads, by name.
pub(super) fn digests(folder: &Path) -> Result<BTreeMap<String, String>, ExpertsError> {
    names(folder)?.into_iter().map(|name| Ok((name.clone(), digest(&folder.join(name))?))).collect()
}

/// The names of the files that training reads: those of [`READ`] that are there, and the weights.
fn names(folder: &Path) -> Result<Vec<String>, ExpertsError> {
    let beside = READ.iter().filter(|name| folder.join(name).exists()).map(|&name| name.to_owned());
    let weights = shard_paths(folder)?;
    let weights = weights.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    Ok(beside.chain(weights).collect())
}

fn digest(path: &Path) -> Result<String, ExpertsError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut read = || -> io::Result<()> {
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                length => hash.update(&buffer[..length]),
            }
        }
    };
    read().map_err(|source| ExpertsError::File { path: path.to_owned(), source })?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The token that ends texts: `eos_token_id` of `config.json`, or the first one if it is a list.
pub(super) fn end_token(folder: &Path) -> Result<Option<i64>, ExpertsError> {
    let path = folder.join(CONFIG);
    let config: Value =
        serde_json::from_slice(&read_file(&path)?).map_err(|error| unusable(&path, error.to_string()))?;
    let end = &config["eos_token_id"];
    Ok(end.as_i64().or_else(|| end.get(0)?.as_i64()))
}

impl AdapterTask {
    /// Compares a folder's files with those that the task names (`TASK-01`). Reads them whole.
    ///
    /// # Errors
    /// [`ExpertsError::Base`] with the first file that is missing, differs, or is not named by the task;
    /// [`ExpertsError::File`].
    pub fn check_base(&self, folder: &Path) -> Result<(), ExpertsError> {
        let other = |file: &str, expected: Option<&String>, got: Option<String>| {
            let word = |digest: Option<String>| digest.unwrap_or_else(|| "none".to_owned());
            Err(ExpertsError::Base {
                base_model: self.base_model.clone(),
                path: folder.join(file),
                expected: word(expected.cloned()),
                got: word(got),
            })
        };
        let names = names(folder)?;
        if let Some(missing) = self.base_files.keys().find(|name| !names.contains(name)) {
            return other(missing, self.base_files.get(missing), None);
        }
        // Files that the task does not name are errors too: a member's extra chat template would change what
        // it trains on.
        for name in names {
            let got = digest(&folder.join(&name))?;
            if self.base_files.get(&name) != Some(&got) {
                return other(&name, self.base_files.get(&name), Some(got));
            }
        }
        Ok(())
    }
}
