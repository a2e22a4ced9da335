//! Converts weights that PyTorch has pickled (`pytorch_model.bin`) to safetensors.
//!
//! A pickle is a program, and Python runs it. Here `candle-core` reads it: its interpreter builds lists,
//! names and descriptions of tensors and calls no function. It skips what it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::DType;
use candle_core::pickle::PthTensors;
use serde_json::json;
use tch::{Kind, Tensor};

use crate::error::ExpertsError;
use crate::families::convert::first_line;
use crate::families::weights::target::check_target;
use crate::families::weights::write::{StoredTensor, copy_others, stored, write, write_json};
use crate::families::weights::{INDEX, PICKLED, PICKLED_INDEX, SINGLE, in_two_files, indexed_files};
use crate::files::hidden_panics::hide_panics;
use crate::model_files::{unsupported, unusable};

/// Writes a model whose weights are pickled into the folder `target`. The weights become safetensors of the
/// same precision, and all files that hold no weights are copied. The tensors of one file are in memory at a
/// time.
///
/// # Errors
/// [`ExpertsError::Target`] if that would overwrite the model; [`ExpertsError::File`];
/// [`ExpertsError::Content`] for a file that is no pickle of tensors, or a tensor that two files have;
/// [`ExpertsError::Unsupported`] for tensors that are neither F32, F16 nor BF16.
pub fn convert(folder: &Path, target: &Path) -> Result<(), ExpertsError> {
    check_target(folder, target)?;
    let paths = match folder.join(PICKLED_INDEX) {
        index if index.is_file() => indexed_files(&index)?,
        _ => vec![folder.join(PICKLED)],
    };
    // All names are read before anything is written, so that a damaged file leaves no folder behind.
    let files = paths.into_iter().map(PickledFile::open).collect::<Result<Vec<_>, _>>()?;
    let mut index: BTreeMap<String, String> = BTreeMap::new();
    for (number, file) in (1..).zip(&files) {
        for tensor in file.names() {
            if index.insert(tensor.clone(), safetensors_name(number, files.len())).is_some() {
                return Err(in_two_files(folder, tensor));
            }
        }
    }
    for (number, file) in (1..).zip(&files) {
        let parts = file.parts()?;
        copy_others(folder, target)?;
        write(&parts, &target.join(safetensors_name(number, files.len())))?;
    }
    match files.len() {
        1 => Ok(()),
        _ => write_json(&target.join(INDEX), &json!({"metadata": {}, "weight_map": index})),
    }
}

/// The name in Hugging Face's folders of one of so many files of weights, counted from 1. A single file has the
/// name that is read without an index, whatever the index of the pickled weights called it.
fn safetensors_name(number: usize, count: usize) -> String {
    match count {
        1 => SINGLE.to_owned(),
        _ => format!("model-{number:05}-of-{count:05}.safetensors"),
    }
}

/// A file of pickled weights, of which the names, types and places of its tensors were read.
struct PickledFile {
    path: PathBuf,
    tensors: PthTensors,
}

impl PickledFile {
    fn open(path: PathBuf) -> Result<Self, ExpertsError> {
        // So that a missing file is reported as such, and not as a damaged pickle.
        fs::metadata(&path).map_err(|source| ExpertsError::File { path: path.clone(), source })?;
        // candle panics on some damaged files; `hide_panics` makes `None` of a panic.
        match hide_panics(|| PthTensors::new(&path, None)) {
            Some(Ok(tensors)) if tensors.tensor_infos().is_empty() => {
                Err(not_tensors(&path, "it holds none"))
            }
            Some(Ok(tensors)) => Ok(Self { path, tensors }),
            Some(Err(error)) => Err(not_tensors(&path, &first_line(&error))),
            None => Err(not_tensors(&path, "it is damaged")),
        }
    }

    /// The names of its tensors, in order.
    fn names(&self) -> BTreeSet<&String> {
        self.tensors.tensor_infos().keys().collect()
    }

    /// Its tensors, in the order of their names.
    fn parts(&self) -> Result<Vec<StoredTensor>, ExpertsError> {
        let tensor = |name: &String| tensor(&self.tensors, name, &self.path);
        self.names().into_iter().map(|name| Ok(stored(vec![name.clone()], &tensor(name)?))).collect()
    }
}

fn not_tensors(path: &Path, reason: &str) -> ExpertsError {
    unusable(path, format!("it is no pickle of tensors: {reason}"))
}

/// One tensor of a file, in its precision.
fn tensor(file: &PthTensors, name: &str, path: &Path) -> Result<Tensor, ExpertsError> {
    let info = &file.tensor_infos()[name];
    let kind = match info.dtype {
        DType::F32 => Kind::Float,
        DType::F16 => Kind::Half,
        DType::BF16 => Kind::BFloat16,
        other => {
            let reason = format!("{name} is stored as {other:?}; only F32, F16 and BF16 are read");
            return Err(unsupported(path, reason));
        }
    };
    let shape: Vec<i64> = info.layout.dims().iter().map(|&size| size as i64).collect();
    let values = hide_panics(|| {
        // By way of 32-bit floats, which hold all values of both 16-bit types exactly.
        file.get(name)?.map(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()).transpose()
    });
    match values {
        Some(Ok(Some(values))) => Ok(Tensor::from_slice(&values).view(shape.as_slice()).to_kind(kind)),
        Some(Err(error)) => Err(unusable(path, format!("{name}: {}", first_line(&error)))),
        Some(Ok(None)) | None => Err(unusable(path, format!("{name} cannot be read"))),
    }
}
